//! How far blue's log was visible in full to a snapshot.

use std::collections::VecDeque;

use understudy_contract::{BlueMoment, GreenMoment};
use understudy_model::{Checkpoint, Lsn, Xid};

/// Reads of green that are remembered. The older ones serve while something newer is not visible on blue yet.
const KEPT_MAX: usize = 16;

/// Where reads of green were, so that a later read of blue tells how far blue's log it could see without a gap.
///
/// `lsn` of a read of blue does not tell that: a transaction may be logged for a while before blue shows it.
#[derive(Debug, Clone, Default)]
pub struct Horizon {
    kept: VecDeque<(Checkpoint, Vec<Xid>)>,
}

impl Horizon {
    /// A read of green has ended. Reads of blue that are told of from now on began after that.
    pub fn green(&mut self, moment: &GreenMoment) {
        let Some(unseen) = &moment.unseen else {
            return;
        };
        if self.kept.back().is_some_and(|(last, _)| moment.checkpoint < *last) {
            self.kept.clear();
        }
        // Among reads at one place the last one lists the fewest.
        self.kept.retain(|(checkpoint, _)| *checkpoint != moment.checkpoint);
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((moment.checkpoint, unseen.clone()));
    }

    /// Every transaction of ours that was logged up to here was visible to this read; `None` when nothing is known.
    pub fn of(&self, blue: &BlueMoment) -> Option<Lsn> {
        let sees = |unseen: &[Xid]| unseen.iter().all(|xid| blue.snapshot.sees(*xid));
        let found = self.kept.iter().rev().find(|(_, unseen)| sees(unseen))?;
        Some(found.0.lsn())
    }
}
