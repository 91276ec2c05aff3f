//! Row changes: as blue reports them, and as green is to apply them.

use crate::position::{Checkpoint, Position};
use crate::snapshot::Xid;
use crate::table::{RelationId, RouteId};
use crate::tuple::{Key, Tuple};

/// What a change says of the row before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OldImage {
    /// Only identity columns are meaningful; every other column is absent, not null.
    Identity(Tuple),
    /// The whole old row, large values included.
    Full(Tuple),
}

/// One change inside a transaction of blue, in blue's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceChange {
    /// A row appeared.
    Insert {
        /// Table, or leaf partition.
        relation: RelationId,
        /// The new row.
        new: Tuple,
    },
    /// A row changed, its key possibly too.
    Update {
        /// Table, or leaf partition.
        relation: RelationId,
        /// Sent when the key changed or is stored out of line, and always with full identity.
        old: Option<OldImage>,
        /// The new row; unchanged large values are not sent.
        new: Tuple,
    },
    /// A row vanished.
    Delete {
        /// Table, or leaf partition.
        relation: RelationId,
        /// The row that vanished.
        old: OldImage,
    },
    /// Tables, or leaf partitions, were emptied.
    Truncate {
        /// All relations that one statement emptied and that are published.
        relations: Vec<RelationId>,
    },
}

/// One change to green, in green's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    /// A row to be added. It must not exist yet.
    Insert {
        /// Where it belongs.
        route: RouteId,
        /// The route's columns in order; every value present.
        new: Tuple,
    },
    /// A row to be changed. It must exist once the table's copy is complete.
    Update {
        /// Where it belongs.
        route: RouteId,
        /// The key to look for, when it differs from that in `new`.
        old_key: Option<Key>,
        /// The route's columns in order; `Unchanged` ones keep their value. Key columns are always present.
        new: Tuple,
    },
    /// A row to be removed. It must exist once the table's copy is complete.
    Delete {
        /// Where it belongs.
        route: RouteId,
        /// The key to look for.
        key: Key,
    },
    /// Every row of these routes is to be removed, in one step.
    Truncate {
        /// The routes to be emptied.
        routes: Vec<RouteId>,
    },
    /// The rows of one leaf partition are to be removed from the route that gathers it.
    TruncateLeaf {
        /// The route that gathers the leaf.
        route: RouteId,
        /// A boolean SQL expression over blue's column names that is true for exactly the leaf's rows.
        predicate: String,
    },
}

impl RowChange {
    /// The routes this change touches.
    pub fn routes(&self) -> &[RouteId] {
        match self {
            RowChange::Insert { route, .. }
            | RowChange::Update { route, .. }
            | RowChange::Delete { route, .. }
            | RowChange::TruncateLeaf { route, .. } => std::slice::from_ref(route),
            RowChange::Truncate { routes } => routes,
        }
    }

    /// Bytes of row data held, for budgets.
    pub fn bytes(&self) -> usize {
        match self {
            RowChange::Insert { new, .. } => new.bytes_len(),
            RowChange::Update { old_key, new, .. } => {
                new.bytes_len() + old_key.as_ref().map_or(0, Key::bytes_len)
            }
            RowChange::Delete { key, .. } => key.bytes_len(),
            RowChange::Truncate { .. } => 0,
            RowChange::TruncateLeaf { predicate, .. } => predicate.len(),
        }
    }
}

/// The end of one source transaction inside a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitMark {
    /// How many changes of the batch precede this commit.
    pub changes_before: usize,
    /// Identity of the commit; its ordinal is the number of changes in the transaction.
    pub position: Position,
    /// Where the stream continues once this commit has been applied.
    pub checkpoint: Checkpoint,
    /// Commit time on blue, microseconds since 2000-01-01 UTC.
    pub commit_time_us: i64,
    /// The transaction on blue.
    pub xid: Xid,
}
