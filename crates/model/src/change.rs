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

/// What is known of a row on green before a change to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Before {
    /// It is there, once the table's copy is complete.
    There,
    /// It may be there or not: whether it met the route's condition before is not known.
    Unknown,
}

/// A row under both of its names, to be read again from blue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HealKey {
    /// Its key on green.
    pub green: Key,
    /// Its key on blue, by which it is read.
    pub blue: Key,
}

impl HealKey {
    /// A row whose key is the same on both sides.
    pub fn same(key: Key) -> HealKey {
        HealKey { green: key.clone(), blue: key }
    }
}

/// Why a row cannot be computed. Holds no value of the row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The column of green whose expression fails; `None` for the route's condition.
    pub column: Option<String>,
    /// The five letters by which SQL names the error.
    pub sqlstate: String,
    /// What went wrong, in words.
    pub reason: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.column {
            Some(column) => write!(f, "the expression of column `{column}` fails: {}", self.reason)?,
            None => write!(f, "the condition under `where` fails: {}", self.reason)?,
        }
        write!(f, " (SQLSTATE {})", self.sqlstate)
    }
}

/// One change to green, in green's columns. Keys are green's where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    /// A row to be added. It must not exist yet.
    Insert {
        /// Where it belongs.
        route: RouteId,
        /// The route's columns in order; every value present.
        new: Tuple,
    },
    /// A row to be changed.
    Update {
        /// Where it belongs.
        route: RouteId,
        /// The key to look for, when it differs from that in `new`.
        old_key: Option<Key>,
        /// The route's columns in order; `Unchanged` ones keep their value. Key columns are always present.
        new: Tuple,
        /// The key of the new row on blue, where it is not the same as on green and a value is `Unchanged`.
        blue_key: Option<Key>,
        /// Whether it must exist. Where that is unknown, a row with every value present is added if there is none.
        before: Before,
    },
    /// A row to be removed.
    Delete {
        /// Where it belongs.
        route: RouteId,
        /// The key to look for.
        key: Key,
        /// Whether it must exist.
        before: Before,
    },
    /// A row that has changed, but of which too little was sent to tell what it is on green: it must be read again by
    /// key. What green has of it is left alone until then.
    Reread {
        /// Where it belongs.
        route: RouteId,
        /// Its key.
        key: HealKey,
    },
    /// A row whose new values cannot be computed: it is set aside, or replication stops.
    Refused {
        /// Where it belongs.
        route: RouteId,
        /// The key that green knows it by, when it differs from `key`.
        old_key: Option<Key>,
        /// Its key.
        key: Key,
        /// Why.
        refusal: Box<Refusal>,
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
            | RowChange::Reread { route, .. }
            | RowChange::Refused { route, .. }
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
            RowChange::Reread { key, .. } => key.green.bytes_len() + key.blue.bytes_len(),
            RowChange::Refused { old_key, key, .. } => {
                key.bytes_len() + old_key.as_ref().map_or(0, Key::bytes_len)
            }
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
