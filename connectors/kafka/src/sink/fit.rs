//! Whether the ends of the order and of the bookkeeping that brokers show can be the true ones.
//!
//! Every transaction writes to both. A broker that has just begun to lead a partition may for a while tell less of it than it
//! holds; and where all who held the end are gone, the end is. Whoever finished what hangs by such a sight would give up what was
//! committed, and would give its numbers to other groups. So nothing is written before the two fit each other and what is known
//! from elsewhere: the group that we have written last ourselves, and how far blue was told that the log has come.
//!
//! What was given up in one of the two counts as being there: it is written again (`restore`), and is found by that.

use std::collections::BTreeSet;

use rdkafka::message::{BorrowedMessage, Message};
use understudy_model::Lsn;

use super::transaction::Pen;
use crate::codec::{Group, StateRecord};
use crate::error::Error;
use crate::read_all::{Stretch, Told, read_each};
use crate::settled::{Extent, Extents};

/// How many offsets before the end are looked at, at first.
const TAIL: i64 = 64;

/// How much further back the next look goes.
const WIDER: i64 = 32;

/// What is known of a log from elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// The last group, where we have written it ourselves.
    pub(super) group: Option<u64>,
    /// Blue has been told that the log holds everything before it.
    pub(super) confirmed: Option<Lsn>,
}

/// The ends of both, of what is committed there or of all that stands there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ends {
    /// The greatest number of a group in the order.
    order: Option<u64>,
    /// The same in the bookkeeping, and how far that has come on blue.
    books: Option<(u64, Lsn)>,
}

/// Refuses ends that cannot be the true ones. Blocks its thread.
pub(super) fn fit(pen: &Pen, extents: &Extents, known: Known) -> Result<(), Error> {
    let (order, state) = (extents.of(&pen.topics.order, 0), extents.of(&pen.topics.state, 0));
    // What it means that one of them is not there is seen to by whoever makes the topics.
    let (Some(order), Some(state)) = (order, state) else { return Ok(()) };
    let committed = read_ends(pen, (order, state), false)?;
    let written = read_ends(pen, (order, state), true)?;
    let is_shortened = written.order.is_none() && order.low > 0;
    let torn = |topic: &str, why| Error::Torn { topic: topic.to_owned(), why };
    order_fits(&committed, &written, (known, is_shortened)).map_err(|why| torn(&pen.topics.order, why))?;
    let (_, reached) = written.books.unwrap_or_default();
    reaches(reached, known.confirmed).map_err(|why| torn(&pen.topics.state, why))
}

/// Whether nothing is missing that the other topic, or our own memory, tells of. `is_shortened`: of the order nothing is left,
/// since its time was over.
fn order_fits(committed: &Ends, written: &Ends, (known, is_shortened): (Known, bool)) -> Result<(), String> {
    let books = |ends: &Ends| ends.books.map(|(group, _)| group);
    let in_order = committed.order.into_iter().chain(known.group).max().unwrap_or(0);
    let in_books = books(committed).into_iter().chain(known.group).max().unwrap_or(0);
    let (order, books) = (written.order.unwrap_or(0), books(written).unwrap_or(0));
    if order < in_books && !is_shortened {
        return Err(format!("it ends with group {order}, though group {in_books} was committed"));
    }
    if books < in_order {
        return Err(format!("it has group {in_order}, and the books end with group {books}"));
    }
    Ok(())
}

/// Whether the books, which have come so far, hold what blue was told of. Before a slot was made blue was told nothing.
pub(super) fn reaches(reached: Lsn, confirmed: Option<Lsn>) -> Result<(), String> {
    match confirmed {
        Some(confirmed) if reached != Lsn::ZERO && reached < confirmed => Err(format!(
            "by it the log holds what blue has up to {reached}, and blue was told of {confirmed}: the brokers have lost what they \
             had said to hold, or the slot has been moved forward"
        )),
        Some(_) | None => Ok(()),
    }
}

/// The ends of what is committed, or of all that stands there.
fn read_ends(pen: &Pen, (order, state): (Extent, Extent), uncommitted: bool) -> Result<Ends, Error> {
    let mut ends = Ends::default();
    let mut open = vec![(pen.topics.order.as_str(), order), (pen.topics.state.as_str(), state)];
    let mut tail = TAIL;
    while !open.is_empty() {
        let stretches = open.iter().map(|(topic, extent)| Stretch {
            topic,
            partition: 0,
            from: extent.low.max(extent.stable.saturating_sub(tail)),
            until: if uncommitted { extent.whole } else { extent.stable },
            uncommitted,
        });
        let stretches = stretches.collect::<Vec<_>>();
        let mut found = BTreeSet::new();
        read_each(&pen.settings, &stretches, |at, message| {
            let is_order = open[at].0 == pen.topics.order;
            if ends.take(message, is_order) {
                found.insert(at);
            }
            Told::GoOn
        })?;
        let is_open = |at: usize, extent: &Extent| {
            !found.contains(&at) && extent.stable.saturating_sub(tail) > extent.low
        };
        let mut at = 0..;
        open.retain(|(_, extent)| at.next().is_some_and(|at| is_open(at, extent)));
        tail = tail.saturating_mul(WIDER);
    }
    Ok(ends)
}

impl Ends {
    /// Takes a record of one of the two. Whether it tells of a group.
    fn take(&mut self, message: &BorrowedMessage<'_>, is_order: bool) -> bool {
        let (key, value) = (message.key().unwrap_or_default(), message.payload());
        if is_order {
            // What was written to be given up is no group.
            let group = Group::from_json(value.unwrap_or_default()).ok();
            self.order = self.order.max(group.as_ref().map(|group| group.number));
            group.is_some()
        } else if let Ok(StateRecord::Progress { progress, .. }) = StateRecord::read(key, value) {
            self.books = self.books.max(Some((progress.group, progress.checkpoint.lsn())));
            true
        } else {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(order: u64, books: u64) -> Ends {
        Ends { order: Some(order), books: Some((books, Lsn::new(7))) }
    }

    /// Guards that nothing is finished, given up or numbered by the sight of a broker that does not know the end yet, whichever of
    /// the two topics it leads.
    #[test]
    fn an_end_that_is_too_short_is_known() {
        let fits = |committed, written, known| {
            order_fits(&committed, &written, (Known { group: known, confirmed: None }, false)).is_ok()
        };
        assert!(fits(ends(9, 9), ends(9, 9), None));
        assert!(!fits(ends(7, 9), ends(7, 9), None), "the order is short");
        assert!(!fits(ends(9, 7), ends(9, 7), None), "the books are short");
        assert!(!fits(ends(7, 7), ends(7, 7), Some(9)), "both are, and we have written more");
        assert!(!fits(Ends::default(), Ends::default(), Some(9)), "nothing is shown at all");
        assert!(fits(Ends::default(), Ends::default(), None), "nothing was begun");
        // What hangs in one of the two, or was given up there.
        assert!(fits(ends(8, 9), ends(9, 9), None) && fits(ends(9, 8), ends(9, 9), None));
        // A transaction that was given up in both, or has come to only one of them.
        assert!(fits(ends(9, 9), ends(10, 9), None) && fits(ends(9, 9), ends(9, 10), None));
        // The time of all groups is over.
        let old = Ends { order: None, ..ends(0, 9) };
        assert!(order_fits(&old, &old, (Known::default(), true)).is_ok());
        assert!(order_fits(&old, &old, (Known::default(), false)).is_err());
    }

    /// Guards against a hole where the brokers have lost the ends of both topics alike: blue has let go of what was there.
    #[test]
    fn a_log_that_blue_was_told_more_of_is_known() {
        let at = Lsn::new;
        assert!(reaches(at(7), None).is_ok() && reaches(at(7), Some(at(7))).is_ok());
        assert!(reaches(at(8), Some(at(7))).is_ok());
        assert!(reaches(at(6), Some(at(7))).is_err());
        assert!(reaches(Lsn::ZERO, Some(at(7))).is_ok(), "the slot was being made");
    }
}
