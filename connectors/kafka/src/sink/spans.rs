//! A batch as the transactions, and parts of transactions, that it is made of.

use std::ops::Range;

use understudy_contract::{Batch, Class, Failure};
use understudy_model::{Lsn, RowChange};

/// The changes of one transaction in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// Address of the commit record.
    pub(super) commit: Lsn,
    /// Where the next transaction can start; `None` while this one goes on in the next batch.
    pub(super) end: Option<Lsn>,
    /// Commit time on blue, microseconds since 2000-01-01 UTC; zero while it goes on, as the end alone tells it.
    pub(super) time_us: i64,
    /// Top-level transaction id; zero while it goes on.
    pub(super) xid: u32,
    /// Its changes in the batch.
    pub(super) changes: Range<usize>,
    /// How many of its changes earlier groups hold.
    pub(super) from_ordinal: u64,
    /// How many changes it has; zero while that is not known.
    pub(super) size: u64,
}

/// A transaction that goes on in the next batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenSpan {
    pub(super) commit: Lsn,
    /// How many of its changes have been written.
    pub(super) written: u64,
    /// The same for each table, by its place.
    pub(super) of_table: Vec<u64>,
}

/// Whether a change is one of blue's own. What is only to be read again has no place in blue's transaction: counted, it would
/// give the changes after it other places when the transaction comes again.
pub(super) fn counts(change: &RowChange) -> bool {
    !matches!(change, RowChange::Reread { .. })
}

/// Takes a batch apart. `open` is what the batch before has left open.
pub(super) fn spans(batch: &Batch, open: Option<&OpenSpan>) -> Result<Vec<Span>, Failure> {
    let out_of_order = |what: &str| Failure::new(Class::Internal, format!("a batch is out of order: {what}"));
    let mut spans = Vec::with_capacity(batch.commits.len() + 1);
    let mut from = 0;
    for mark in &batch.commits {
        if mark.changes_before < from || mark.changes_before > batch.changes.len() {
            return Err(out_of_order("its commits are"));
        }
        spans.push(Span {
            commit: mark.position.commit,
            end: Some(mark.checkpoint.lsn()),
            time_us: mark.commit_time_us,
            // The log tells it as the stream does: the lower half.
            xid: mark.xid.raw() as u32,
            changes: from..mark.changes_before,
            from_ordinal: 0,
            size: 0,
        });
        from = mark.changes_before;
    }
    match batch.open {
        Some(commit) => {
            let changes = from..batch.changes.len();
            let origin = batch.open_origin;
            spans.push(Span {
                commit,
                end: None,
                time_us: origin.map_or(0, |origin| origin.commit_time_us),
                xid: origin.map_or(0, |origin| origin.xid.raw() as u32),
                changes,
                from_ordinal: 0,
                size: 0,
            });
        }
        None if from < batch.changes.len() => return Err(out_of_order("changes belong to no transaction")),
        None => {}
    }
    if let (Some(open), Some(first)) = (open, spans.first_mut()) {
        if first.commit != open.commit {
            return Err(out_of_order("it leaves a transaction without its end"));
        }
        first.from_ordinal = open.written;
    } else if batch.first_ordinal > 0 {
        return Err(out_of_order("it goes on with a transaction that was not begun"));
    }
    for span in spans.iter_mut().filter(|span| span.end.is_some()) {
        let counted = batch.changes[span.changes.clone()].iter().filter(|change| counts(change)).count();
        span.size = span.from_ordinal + counted as u64;
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use understudy_contract::Origin;
    use understudy_model::{Checkpoint, CommitMark, HealKey, Key, Position, RouteId, Xid};

    use super::*;

    fn change() -> RowChange {
        RowChange::Truncate { routes: vec![RouteId(0)] }
    }

    fn reread() -> RowChange {
        RowChange::Reread { route: RouteId(0), key: HealKey::same(Key::from_texts([&b"1"[..]])) }
    }

    fn mark(changes_before: usize, commit: u64) -> CommitMark {
        CommitMark {
            changes_before,
            position: Position { commit: Lsn::new(commit), ordinal: 0 },
            checkpoint: Checkpoint::at_commit_end(Lsn::new(commit + 1)),
            commit_time_us: 7,
            xid: Xid::new((1 << 32) + 5),
        }
    }

    /// Guards the numbers by which a reader knows a transaction that comes again: what is only read again has none.
    #[test]
    fn changes_are_counted_without_what_is_read_again() {
        let batch = Batch {
            changes: vec![change(), reread(), change(), change(), reread()],
            commits: vec![mark(3, 10)],
            first_ordinal: 4,
            open: Some(Lsn::new(20)),
            open_origin: Some(Origin { commit_time_us: 8, xid: Xid::new((1 << 32) + 6) }),
            ..Batch::default()
        };
        let open = OpenSpan { commit: Lsn::new(10), written: 3, of_table: Vec::new() };
        let spans = spans(&batch, Some(&open)).unwrap();
        assert_eq!((spans[0].from_ordinal, spans[0].size, spans[0].xid), (3, 5, 5));
        assert_eq!((spans[1].from_ordinal, spans[1].size, spans[1].end), (0, 0, None));
        assert_eq!(spans[1].changes, 3..5);
        // Every part of a large transaction tells whose it is, and when it was committed.
        assert_eq!((spans[1].xid, spans[1].time_us), (6, 8));
    }

    /// Guards that a gap in what is written is noticed before it is written.
    #[test]
    fn a_transaction_is_never_left_without_its_end() {
        let open = OpenSpan { commit: Lsn::new(10), written: 3, of_table: Vec::new() };
        let batch = Batch { changes: vec![change()], commits: vec![mark(1, 30)], ..Batch::default() };
        assert!(spans(&batch, Some(&open)).is_err());
        assert!(spans(&Batch { first_ordinal: 2, ..batch }, None).is_err());
    }
}
