//! Records of groups as a partition holds them: written once, or again after they were given up.
//!
//! What is written again may be interrupted in its turn, and then the partition holds a part of it behind the whole. A copy is
//! written at once, by one transaction, and between two transactions stands a mark or what was written to be given up. So
//! records of a group without a gap between them are one copy.

use std::collections::BTreeMap;

use rdkafka::message::Message;

use super::recovery::{copy, headers};
use super::transaction::{Pen, Touch};
use crate::error::Error;
use crate::read_all::{Stretch, Told, read};
use crate::settled::Extent;

/// How many offsets beyond those that are needed are looked at, at first.
const TAIL: i64 = 16;

/// How much further back the next look goes.
const WIDER: i64 = 32;

/// A partition of a topic.
pub(super) type At = (String, i32);

/// How many records of each group a partition holds.
pub(super) type Counts = BTreeMap<u64, u64>;

/// How what hangs in a partition of a table is to be finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is committed as it stands.
    Shown,
    /// It is given up, and these are written again: they were committed, and hang together with what was not, or in part. One
    /// mark counts for all that hangs in a partition.
    Hidden(Counts),
}

/// How what hangs in a partition is to be finished, given offset and group of each record, the last group that counts, and what
/// groups tell of the partition: all that stand in the order from the first one that hangs on.
pub(super) fn ending(hanging: &[(i64, u64)], last: u64, told: &Counts) -> Ending {
    let groups = hanging.iter().map(|(_, group)| *group);
    let Some(first) = groups.filter(|group| *group <= last).min() else {
        return Ending::Hidden(Counts::new());
    };
    let mut counts = Counts::new();
    for (_, group) in hanging.iter().filter(|(_, group)| *group <= last && !told.contains_key(group)) {
        // Of a group whose time is over nobody tells more.
        *counts.entry(*group).or_default() += 1;
    }
    counts.extend(told.range(first..=last).filter(|(_, count)| **count > 0));
    let is_right = hanging.len() as u64 == counts.values().sum::<u64>()
        && counts.iter().all(|(group, count)| last_copy(hanging, (*group, *count), |row| *row).is_some());
    if is_right { Ending::Shown } else { Ending::Hidden(counts) }
}

/// The last copy of a group that is whole, given offset and group of each record.
fn last_copy<T>(records: &[T], (group, count): (u64, u64), of: impl Fn(&T) -> (i64, u64)) -> Option<&[T]> {
    let mut copies = records.chunk_by(|one, next| {
        let (one, next) = (of(one), of(next));
        one.1 == next.1 && one.0 + 1 == next.0
    });
    copies.rfind(|copy| copy.len() as u64 == count && copy.first().is_some_and(|first| of(first).1 == group))
}

/// A record of a table, by its place; of a group that nobody looks for without what it says.
#[derive(Debug, Clone)]
struct Lying {
    offset: i64,
    group: u64,
    touch: Option<Touch>,
}

/// What a look back into a partition has found of groups.
enum Look {
    /// All of them, as they were written last.
    All(Vec<Touch>),
    /// Something may stand before.
    Further,
    /// Something is there no more, though nobody has deleted it.
    Lost,
}

/// The records of groups as they were written last, shown or not. Where the partition has been shortened, groups whose time was
/// over are left out. Blocks its thread.
pub(super) fn last_written(pen: &Pen, at: &At, extent: Extent, counts: &Counts) -> Result<Vec<Touch>, Error> {
    let expected = counts.values().sum::<u64>();
    let mut tail = i64::try_from(expected).unwrap_or(i64::MAX).saturating_add(TAIL);
    loop {
        let from = extent.low.max(extent.whole.saturating_sub(tail));
        let stretch = Stretch { topic: &at.0, partition: at.1, from, until: extent.whole, uncommitted: true };
        let mut lying = Vec::new();
        read(&pen.settings, stretch, |message| {
            if let Ok(headers) = headers(message) {
                let touch = counts.contains_key(&headers.group).then(|| copy(message));
                lying.push(Lying { offset: message.offset(), group: headers.group, touch });
            }
            Told::GoOn
        })?;
        match look(&lying, counts, (from, extent.low)) {
            Look::All(records) => return Ok(records),
            Look::Further => tail = tail.saturating_mul(WIDER),
            Look::Lost => {
                let why = "it does not hold what groups count of it".to_owned();
                return Err(Error::Torn { topic: at.0.clone(), why });
            }
        }
    }
}

/// What was found from this offset on, in a partition that begins at `low`. Brokers delete from the front: a group is over its
/// time only where nothing stands that was written before it.
fn look(lying: &[Lying], counts: &Counts, (from, low): (i64, i64)) -> Look {
    let mut found = Vec::new();
    for (group, count) in counts {
        let copy = last_copy(lying, (*group, *count), |record| (record.offset, record.group));
        match copy {
            Some(copy) => found.extend(copy.iter().filter_map(|record| record.touch.clone())),
            None if from > low => return Look::Further,
            None if low == 0 || lying.iter().any(|record| record.group < *group) => return Look::Lost,
            None => {}
        }
    }
    Look::All(found)
}

#[cfg(test)]
mod tests;
