//! What a run has met, counted.

use understudy_model::{Before, RowChange};

/// What a run has met, so that a sample can prove that it met everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Changes streamed.
    pub changes: u64,
    /// Transactions streamed while no snapshot showed them.
    pub streamed_before_visible: u64,
    /// Transactions that ran, or were committed and invisible, when the slot was created.
    pub born_into: u64,
    /// Chunks placed.
    pub placed: u64,
    /// Rows found missing of which only a part was sent.
    pub heals: u64,
    /// Batches that ended inside a transaction.
    pub split_transactions: u64,
    /// Chunks that held too many bytes.
    pub too_large: u64,
    /// Stops and starts of the sidecar.
    pub restarts: u64,
    /// Rewrites, and changes of type or identity.
    pub rewrites: u64,
    /// Truncations.
    pub truncates: u64,
    /// Leaves attached, detached or dropped.
    pub leaves: u64,
    /// Tables that joined later.
    pub later_tables: u64,
    /// Copies over rows of green that are out of date.
    pub recopies: u64,
    /// Tables that several routes take.
    pub splits: u64,
    /// Routes that give rows another key.
    pub rekeyed: u64,
    /// Changes of rows of which nobody knows whether they were on green.
    pub unknown: u64,
    /// Rows in chunks that a condition leaves out.
    pub left_out: u64,
    /// Changes of which too little was sent to compute anything.
    pub rereads: u64,
    /// Changes, and rows in chunks, that cannot be computed.
    pub refused: u64,
    /// Starts of the sidecar because types are others than expressions were compiled for.
    pub recompiled: u64,
    /// Rows of green that somebody else damaged.
    pub damaged: u64,
}

impl Seen {
    pub(super) fn note(&mut self, change: &RowChange) {
        match change {
            RowChange::Update { before: Before::Unknown, .. }
            | RowChange::Delete { before: Before::Unknown, .. } => self.unknown += 1,
            RowChange::Reread { .. } => self.rereads += 1,
            RowChange::Refused { .. } => self.refused += 1,
            _ => {}
        }
    }

    pub(super) fn add(&mut self, other: &Seen) {
        self.changes += other.changes;
        self.streamed_before_visible += other.streamed_before_visible;
        self.born_into += other.born_into;
        self.placed += other.placed;
        self.heals += other.heals;
        self.split_transactions += other.split_transactions;
        self.too_large += other.too_large;
        self.restarts += other.restarts;
        self.rewrites += other.rewrites;
        self.truncates += other.truncates;
        self.leaves += other.leaves;
        self.later_tables += other.later_tables;
        self.recopies += other.recopies;
        self.splits += other.splits;
        self.rekeyed += other.rekeyed;
        self.unknown += other.unknown;
        self.left_out += other.left_out;
        self.rereads += other.rereads;
        self.refused += other.refused;
        self.recompiled += other.recompiled;
        self.damaged += other.damaged;
    }
}
