//! What green remembers of a migration between runs.

use understudy_model::{BlockRange, Checkpoint, HealKey, RelationId, RouteId, TableName, UnitId, Xid};

use crate::change_log::Cursor;
use crate::chunk_reader::ColumnMarks;

/// Where a stream comes from. A saved checkpoint means nothing on any other lineage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// The cluster's system identifier.
    pub system_id: u64,
    /// The timeline on which the checkpoint was reached.
    pub timeline: u32,
    /// The database.
    pub database: String,
    /// The slot.
    pub slot: String,
    /// Which publication the stream goes through, and in which state of it; `None` until it has been made.
    pub publication: Option<String>,
}

/// Everything needed to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The lineage of `checkpoint`.
    pub lineage: Lineage,
    /// Everything before it has been applied, nothing after it.
    pub checkpoint: Checkpoint,
    /// Transactions streamed before the checkpoint and not seen visible; `None` when they were too many to list.
    pub unseen: Option<Vec<Xid>>,
    /// The routes it has seen.
    pub routes: Vec<SavedRoute>,
    /// The units whose copy has been planned.
    pub units: Vec<SavedUnit>,
    /// The tables and leaves of routes that the migration no longer has. The stream may still show their last changes.
    pub departed: Vec<RelationId>,
    /// Rows to be read again by key.
    pub heals: Vec<(RouteId, HealKey)>,
    /// Where to go on in the log that the changes are read from; `None` where they come from blue.
    pub cursor: Option<Cursor>,
}

/// One route as it was last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedRoute {
    /// Its number in this run; `None` when the migration file no longer has it.
    pub route: Option<RouteId>,
    /// The table on blue.
    pub source: TableName,
    /// The table on green.
    pub target: TableName,
    /// Digest of the mapping at that time.
    pub fingerprint: String,
    /// Whether its copy is complete.
    pub complete: bool,
    /// The state of its table's place in the publication since it is followed; `None` until it is.
    pub published: Option<String>,
}

/// One unit whose copy has been planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedUnit {
    /// The table or leaf, and the route that gathers its rows.
    pub id: UnitId,
    /// The route that gathers its rows.
    pub route: RouteId,
    /// The table or leaf.
    pub name: TableName,
    /// The filenode that the ranges refer to.
    pub filenode: u32,
    /// The schema's digest when the copy was planned.
    pub fingerprint: u64,
    /// The marks of its columns when last all of them were there.
    pub marks: Option<ColumnMarks>,
    /// What made a leaf a partition when its copy was planned.
    pub membership: u64,
    /// Heap size in blocks when the copy was planned.
    pub blocks: u32,
    /// For a leaf: SQL that is true for exactly its rows, as it was when the copy was planned.
    pub predicate: Option<String>,
    /// Ranges that are copied, in no particular order.
    pub done: Vec<BlockRange>,
    /// Rows that were written with them.
    pub rows_done: u64,
}
