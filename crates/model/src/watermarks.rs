//! How far the pipeline has come, as four marks that only move forward.

use crate::position::{Checkpoint, Lsn};

/// The pipeline's progress. `confirmed <= durable <= received` holds at all times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watermarks {
    received: Lsn,
    applied: Checkpoint,
    durable: Checkpoint,
    confirmed: Lsn,
}

impl Watermarks {
    /// All marks at the point from which the stream starts.
    pub const fn resume_at(checkpoint: Checkpoint) -> Watermarks {
        let lsn = checkpoint.lsn();
        Watermarks { received: lsn, applied: checkpoint, durable: checkpoint, confirmed: lsn }
    }

    /// The furthest address that blue has sent us.
    pub const fn received(&self) -> Lsn {
        self.received
    }

    /// The furthest checkpoint whose rows are visible on green.
    pub const fn applied(&self) -> Checkpoint {
        self.applied
    }

    /// The furthest checkpoint whose rows survive a crash of green.
    pub const fn durable(&self) -> Checkpoint {
        self.durable
    }

    /// The furthest address that blue may forget.
    pub const fn confirmed(&self) -> Lsn {
        self.confirmed
    }

    /// Blue has sent everything before `lsn`.
    pub fn receive(&mut self, lsn: Lsn) {
        self.received = self.received.max(lsn);
    }

    /// Green shows everything before `checkpoint`.
    pub fn apply(&mut self, checkpoint: Checkpoint) {
        self.applied = self.applied.max(checkpoint);
        self.receive(checkpoint.lsn());
    }

    /// Green keeps everything before `checkpoint` through a crash.
    pub fn persist(&mut self, checkpoint: Checkpoint) {
        self.durable = self.durable.max(checkpoint);
        self.apply(checkpoint);
        self.confirmed = self.confirmed.max(self.durable.lsn());
    }

    /// Blue has decoded up to `end` and found nothing of ours beyond what is durable: it may forget that too.
    ///
    /// Call only when no transaction is open and everything received is durable.
    pub fn confirm_idle(&mut self, end: Lsn) {
        self.receive(end);
        self.confirmed = self.confirmed.max(end);
    }
}
