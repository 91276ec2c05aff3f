//! The capture's own bookkeeping, as records of a compacted topic.
//!
//! The newest record of every key counts. Routes are known by their table on blue, since their numbers are another run's.

mod fold;
mod form;
mod record;

#[cfg(test)]
mod tests;

pub use fold::{FoldedState, StateFold};
pub use record::{StateKey, StateRecord, progress_records};

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use understudy_contract::{Lineage, SavedUnit};
use understudy_model::{BlockRange, Checkpoint, Ctid, TableName, Xid};

/// Whose log it is, and who writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The name of the migration.
    pub migration: String,
    /// The slot that its changes come from.
    pub slot: String,
    /// The database on blue.
    pub database: String,
    /// The identifier of blue's cluster.
    pub system_id: u64,
    /// Tells the process that writes from others that run the same migration.
    pub token: u64,
}

impl Owner {
    /// Whether the log is that of the same migration, whichever process writes it.
    pub fn is_of(&self, other: &Owner) -> bool {
        let Owner { migration, slot, database, system_id, token: _ } = self;
        (migration, slot, database, *system_id)
            == (&other.migration, &other.slot, &other.database, other.system_id)
    }
}

/// Where the capture is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The lineage of `checkpoint`.
    pub lineage: Lineage,
    /// Everything before it is in the log.
    pub checkpoint: Checkpoint,
    /// Transactions streamed and not yet seen visible; `None` when too many to list.
    pub unseen: Option<Vec<Xid>>,
    /// The last group.
    pub group: u64,
    /// Offset of the first request that has not been taken.
    pub requests: i64,
}

/// A table that the capture follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteState {
    /// The table on blue.
    pub source: TableName,
    /// Digest of its mapping.
    pub fingerprint: String,
    /// Whether the log holds all its rows.
    pub complete: bool,
    /// Whether it is renewed, as the contract of a sink says.
    pub renewed: bool,
    /// Whether changes of it have been missed, so that what the log holds of it is void. It is followed no more, and yet to join anew.
    pub void: bool,
    /// The state of its place in the publication since it is followed.
    pub published: Option<String>,
}

/// A unit whose copy has been planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    /// The table on blue of the route that gathers its rows.
    pub source: TableName,
    /// Changes with every plan (the group that it was recorded with will do): ranges of another one count for nothing.
    pub generation: u64,
    /// The unit. The number of its route, and what is done of it, are not recorded with it.
    pub unit: SavedUnit,
}

/// A range that is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneRange {
    /// The table on blue of the unit's route.
    pub source: TableName,
    /// Object id of the unit.
    pub unit: u32,
    /// That of the plan.
    pub generation: u64,
    /// The range.
    pub range: BlockRange,
    /// Rows in it.
    pub rows: u64,
}

/// The ranges of one unit that are in the log. Neighbours are one range, so that few records stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneRanges {
    source: TableName,
    unit: u32,
    generation: u64,
    ranges: BTreeMap<Ctid, (Ctid, u64)>,
}

impl DoneRanges {
    /// None yet.
    pub fn new(source: TableName, unit: u32, generation: u64) -> DoneRanges {
        DoneRanges { source, unit, generation, ranges: BTreeMap::new() }
    }

    /// The plan's generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The ranges, in order, with the rows in each.
    pub fn iter(&self) -> impl Iterator<Item = (BlockRange, u64)> {
        self.ranges.iter().map(|(from, (to, rows))| (BlockRange { from: *from, to: *to }, *rows))
    }

    /// Adds a range, and gives the records by which that is known. They belong in one transaction.
    pub fn add(&mut self, range: BlockRange, rows: u64) -> Vec<StateRecord> {
        let (mut whole, mut rows) = (range, rows);
        if let Some((from, (to, before))) = self.ranges.range(..=range.from).next_back()
            && *to >= range.from
        {
            if *to >= range.to {
                return Vec::new();
            }
            whole.from = *from;
            rows += *before;
        }
        let mut swallowed = Vec::new();
        while let Some((from, (to, more))) =
            self.ranges.range((Excluded(whole.from), Included(whole.to))).next()
        {
            (whole.to, rows) = (whole.to.max(*to), rows + *more);
            swallowed.push(*from);
            self.ranges.remove(&swallowed[swallowed.len() - 1]);
        }
        self.ranges.insert(whole.from, (whole.to, rows));
        let (source, unit) = (&self.source, self.unit);
        let gone = |from| StateRecord::Gone(StateKey::Done { source: source.clone(), unit, from });
        let done =
            DoneRange { source: source.clone(), unit, generation: self.generation, range: whole, rows };
        std::iter::once(StateRecord::Done(done)).chain(swallowed.into_iter().map(gone)).collect()
    }

    /// Takes a range as it was recorded.
    fn restore(&mut self, done: &DoneRange) {
        self.ranges.insert(done.range.from, (done.range.to, done.rows));
    }
}
