//! Where changes stand for their versions: each behind the one before.
//!
//! Who reads topics that do not tell where a transaction stands in blue's log gives several the address that has been reached
//! before them. Two changes of one version would be one to DynamoDB, and the second would be lost.

use understudy_contract::Batch;
use understudy_model::Position;

/// The places of a run's changes.
#[derive(Debug, Default)]
pub(super) struct Places {
    last: Option<Position>,
    of_batch: Vec<Position>,
}

impl Places {
    /// The next batch begins. Changes of transactions at one address are counted on.
    pub(super) fn begin(&mut self, batch: &Batch) {
        let told = (0..batch.changes.len()).map_while(|at| batch.position_of(at));
        let behind = |told: Position, last: Position| match told > last {
            true => told,
            false => Position { ordinal: last.ordinal.saturating_add(1), ..last },
        };
        self.of_batch.clear();
        for told in told {
            let place = self.last.map_or(told, |last| behind(told, last));
            self.of_batch.push(place);
            self.last = Some(place);
        }
    }

    /// The place of a change of the batch; `None`: it belongs to no transaction.
    pub(super) fn at(&self, at: usize) -> Option<Position> {
        self.of_batch.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use understudy_model::{Checkpoint, CommitMark, Lsn, RowChange, Xid};

    use super::*;

    /// A batch of transactions with so many changes each, all of them at these addresses.
    fn batch(transactions: &[(usize, u64)]) -> Batch {
        let mut batch = Batch::default();
        for (changes, commit) in transactions {
            let of = RowChange::Truncate { routes: Vec::new() };
            batch.changes.extend(std::iter::repeat_n(of, *changes));
            batch.commits.push(CommitMark {
                changes_before: batch.changes.len(),
                position: Position { commit: Lsn::new(*commit), ordinal: 0 },
                checkpoint: Checkpoint::at_commit_end(Lsn::new(*commit)),
                commit_time_us: 0,
                xid: Xid::new(0),
            });
        }
        batch
    }

    /// Promise 1: changes of two transactions at one address, in one batch or in two, are two: the later one takes effect.
    #[test]
    fn no_two_changes_share_a_place() {
        let mut places = Places::default();
        let mut taken = |transactions: &[(usize, u64)]| {
            places.begin(&batch(transactions));
            let count = transactions.iter().map(|(changes, _)| changes).sum::<usize>();
            assert!(places.at(count).is_none());
            (0..count).filter_map(|at| places.at(at)).map(|p| (p.commit.raw(), p.ordinal)).collect::<Vec<_>>()
        };
        assert_eq!(taken(&[(2, 10), (1, 10), (1, 20)]), [(10, 0), (10, 1), (10, 2), (20, 0)]);
        assert_eq!(taken(&[(1, 20), (2, 30)]), [(20, 1), (30, 0), (30, 1)]);
        assert_eq!(taken(&[]), []);
        assert_eq!(taken(&[(1, 30)]), [(30, 2)]);
    }
}
