//! What made a row differ, as far as can be told from both rows and from what is known of them.

mod forms;

use understudy_contract::{Awaits, Cause, ComparedColumn, MismatchKind, SeenValue};

use crate::settle::Difference;
use forms::{same_number, same_text};

/// A value of fewer bytes is not taken for one that was stored apart from its row.
const APART_BYTES_MIN: usize = 256;

/// What is known of a difference.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'e> {
    /// The route's columns.
    pub columns: &'e [ComparedColumn],
    /// Both rows, and how they differ.
    pub difference: &'e Difference,
    /// Whether blue's row is still the one that was seen equal last. `None` where that is not known.
    pub blue_unchanged_since_verified: Option<bool>,
    /// What replication makes of blue's row, in the order of the columns; `None` where it was not asked, or refuses the row.
    pub evaluated: Option<&'e [Option<Box<str>>]>,
    /// For each column whether updates may leave its value out, since it can be stored apart from its row. Columns beyond
    /// its end cannot.
    pub large: &'e [bool],
}

/// The cause that the evidence is surest of: what is on record first, then what the values show, then what is left.
pub fn classify(evidence: &Evidence<'_>) -> Cause {
    if evidence.difference.awaited == Some(Awaits::Quarantine) {
        return Cause::SetAside;
    }
    let foreign = evidence.difference.on_green.as_ref().and_then(|row| row.foreign);
    // Blue's row was seen equal as it is: whatever differs now happened on green, and not by us unless we wrote it last.
    let of_itself = evidence.blue_unchanged_since_verified == Some(true);
    if foreign == Some(true) || (of_itself && foreign.is_none()) {
        return Cause::ForeignWrite;
    }
    match evidence.difference.kind {
        // Blue's row is new, or newer than what was verified, and no change of it arrived.
        MismatchKind::Missing => Cause::MissedEvent,
        // Our own row, which blue has deleted since.
        MismatchKind::Extra if foreign == Some(false) => Cause::MissedEvent,
        MismatchKind::Extra => Cause::Unknown,
        MismatchKind::Differs => by_values(evidence, foreign),
    }
}

/// Values of one column that differ.
struct Pair<'e> {
    blue: &'e SeenValue,
    green: &'e SeenValue,
    evaluated: Option<&'e Option<Box<str>>>,
    is_large: bool,
}

fn by_values(evidence: &Evidence<'_>, foreign: Option<bool>) -> Cause {
    let pairs = pairs(evidence).unwrap_or_default();
    let all = |holds: fn(&Pair<'_>) -> bool| !pairs.is_empty() && pairs.iter().all(holds);
    if pairs.iter().any(Pair::is_mapped_otherwise) {
        Cause::Mapping
    } else if all(|pair| pair.is_rounded()) {
        Cause::Precision
    } else if all(|pair| pair.is_rounded() || pair.is_written_otherwise()) {
        Cause::CollationOrZone
    } else if all(|pair| pair.may_have_been_left_out()) {
        Cause::PartialRow
    } else if foreign == Some(false) || evidence.blue_unchanged_since_verified == Some(false) {
        // Our own row is out of date, or blue's has changed since both were equal.
        Cause::MissedEvent
    } else {
        Cause::Unknown
    }
}

/// The columns that differ; `None` where their values were not read.
fn pairs<'e>(evidence: &Evidence<'e>) -> Option<Vec<Pair<'e>>> {
    let difference = evidence.difference;
    let blue = difference.on_blue.as_ref()?.values.as_ref()?;
    let green = difference.on_green.as_ref()?.values.as_ref()?;
    let differs = |(_, column): &(usize, &ComparedColumn)| difference.columns.contains(&column.name);
    let pair = |(at, _): (usize, &ComparedColumn)| {
        Some(Pair {
            blue: blue.get(at)?,
            green: green.get(at)?,
            evaluated: evidence.evaluated.and_then(|evaluated| evaluated.get(at)),
            is_large: evidence.large.get(at).copied().unwrap_or(false),
        })
    };
    evidence.columns.iter().enumerate().filter(differs).map(pair).collect()
}

impl Pair<'_> {
    /// Green has what replication computes, and blue computes something else.
    fn is_mapped_otherwise(&self) -> bool {
        self.evaluated.is_some_and(|ours| *ours == self.green.text && *ours != self.blue.text)
    }

    /// The same number or moment to fewer digits.
    fn is_rounded(&self) -> bool {
        self.texts().is_some_and(|(blue, green)| same_number(blue, green))
    }

    /// The same text but for case, blanks and normal form, or the same moment but for its zone.
    fn is_written_otherwise(&self) -> bool {
        self.texts().is_some_and(|(blue, green)| same_text(blue, green))
    }

    /// Blue's value is long enough to have been left out of an update, and green has none or another.
    fn may_have_been_left_out(&self) -> bool {
        self.is_large && self.blue.text.as_ref().is_some_and(|text| text.len() >= APART_BYTES_MIN)
    }

    fn texts(&self) -> Option<(&str, &str)> {
        self.blue.text.as_deref().zip(self.green.text.as_deref())
    }
}

#[cfg(test)]
mod tests;
