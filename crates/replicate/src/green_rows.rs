//! Whole rows of blue, as chunks bring them, turned into what green has of them.

use understudy_contract::{Class, Failure};
use understudy_model::{Key, Refusal, Tuple};
use understudy_transform::{Binding, ColumnSource, Mapped, RouteSpec};

use crate::effect::Nameless;

/// What the rows of a chunk come to.
#[derive(Debug, Default)]
pub(crate) struct GreenRows {
    pub(crate) rows: Vec<Tuple>,
    /// Keys of rows that the condition leaves out.
    pub(crate) left_out: Vec<Key>,
    pub(crate) refused: Vec<(Key, Refusal)>,
}

/// Whole rows of blue as green has them.
pub(crate) fn green_rows<'a>(
    spec: &RouteSpec,
    binding: &Binding,
    rows: impl IntoIterator<Item = &'a Tuple>,
) -> Result<GreenRows, Failure> {
    let rows = rows.into_iter();
    let mut green = GreenRows { rows: Vec::with_capacity(rows.size_hint().0), ..GreenRows::default() };
    for row in rows {
        let refusal = match binding.holds(row) {
            Ok(Some(true)) => match binding.up(row) {
                Ok(Mapped::Row(row)) => {
                    green.rows.push(row);
                    continue;
                }
                Ok(Mapped::Unknown) => return Err(outdated(spec)),
                Err(refusal) => refusal,
            },
            Ok(Some(false)) => {
                // Without a key it is not on green; and another row may be what green has under its key.
                let key = if binding.narrows_key() { None } else { binding.green_key(row).ok().flatten() };
                green.left_out.extend(key);
                continue;
            }
            Ok(None) => return Err(outdated(spec)),
            Err(refusal) => refusal,
        };
        green.refused.push((green_key(spec, binding, row)?, refusal));
    }
    Ok(green)
}

/// A row that was read has every value, so one of them is a label that its enum did not have before.
fn outdated(spec: &RouteSpec) -> Failure {
    let source = &spec.source;
    let cause =
        format!("an enum that {source} has on blue has new labels: its expressions are compiled again");
    Failure::new(Class::Transient, cause)
}

/// The key of a row on green, which must have one.
pub(crate) fn green_key(spec: &RouteSpec, binding: &Binding, row: &Tuple) -> Result<Key, Failure> {
    binding
        .green_key(row)
        .map_err(Nameless::Refused)
        .and_then(|key| key.ok_or(Nameless::Null))
        .map_err(|why| why.failure(spec))
}

/// Whether blue's key stands in green's, column by column, so that no other row of blue can have the same key on green.
///
/// Then a row that blue does not have at the marker is none that green may have: nothing that was streamed before it is still
/// to come, and the chunk takes effect before anything later. Of other routes such a row is left where it is. Its key may be
/// another row's by now, and replication cannot know: what to do about it is told by comparing both sides, and left to whoever
/// looks after green.
pub(crate) fn names_one_row(spec: &RouteSpec) -> bool {
    let stands = |blue: &String| {
        let is_it =
            |at: &usize| matches!(&spec.columns[*at].from, ColumnSource::Column(name) if name == blue);
        spec.key.iter().any(is_it)
    };
    spec.key_source.iter().all(stands)
}
