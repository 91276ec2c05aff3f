//! A durable log between blue and green: what a capture has written of blue, as an apply reads it.
//!
//! A capture follows blue and writes rows as blue has them, with its progress; an apply maps them and writes green. The log
//! keeps what blue may have forgotten by then.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use understudy_model::{
    BlockRange, Checkpoint, Key, Lsn, Nonce, OldImage, Relation, RelationId, SourceChange, TableName, Tuple,
};

use crate::Failure;
use crate::chunk_reader::Unit;

/// A place in a log, as the log itself writes it. Nobody else looks inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub Bytes);

/// One event of a log. Tables are known by the object id of their root on blue: partitions are one table here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// Later rows of this table have this shape. May repeat without any difference.
    Table(Arc<Relation>),
    /// A committed transaction starts, or goes on after [`LogEvent::Whole`]; its changes follow.
    Begin {
        /// Address of the commit record.
        commit: Lsn,
        /// Commit time on blue, microseconds since 2000-01-01 UTC.
        commit_time_us: i64,
        /// Top-level transaction id.
        xid: u32,
        /// How many of its changes came before. A capture that was stopped within the transaction writes all of it again,
        /// from zero.
        from_ordinal: u64,
    },
    /// A row changed, or whole tables were emptied.
    Change(SourceChange),
    /// So many changes of the open transaction follow that others take, where several share a log.
    Elsewhere {
        /// How many.
        changes: u64,
    },
    /// A row came to its key from another one, under which somebody else removes it: one change.
    Arrived {
        /// The table.
        relation: RelationId,
        /// The row as it was.
        old: OldImage,
        /// The row; what was not sent is unchanged.
        new: Tuple,
    },
    /// Outside any transaction: what comes next concerns the rows of all who share a log. It is not shown before each of them
    /// has recorded this place, with everything before it on green, chunks included.
    Fence {
        /// The place.
        cursor: Cursor,
    },
    /// The rows of one leaf of a table were removed.
    TruncateLeaf {
        /// The table.
        table: RelationId,
        /// SQL over blue's columns that is true for exactly these rows.
        predicate: String,
    },
    /// The open transaction ends here.
    Commit {
        /// Address of the commit record.
        commit: Lsn,
        /// Where the next transaction can start.
        end: Lsn,
    },
    /// Outside any transaction: blue holds nothing more of ours before this address.
    Reached {
        /// The address.
        end: Lsn,
    },
    /// Rows read from blue that belong exactly here.
    Rows(LoggedChunk),
    /// What the capture has recorded of the copy.
    Entry(LoggedEntry),
    /// A beat that the capture has sent through blue has come back: the way through the log can be timed.
    Beat {
        /// Which.
        nonce: Nonce,
        /// When it was sent, microseconds since 1970-01-01 UTC by the capture's clock.
        sent_us: i64,
        /// Green shows it from here on.
        at: Checkpoint,
    },
    /// Everything so far is whole: who has taken all of it, and the end of the transaction that is open here if one is, may
    /// go on from this place.
    Whole {
        /// The place.
        cursor: Cursor,
    },
}

/// Rows read from blue, placed at an exact point of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedChunk {
    /// The table.
    pub table: RelationId,
    /// The checkpoint at which the rows are blue's truth.
    pub at: Checkpoint,
    /// What they were read for.
    pub kind: LoggedKind,
    /// The rows, every value present, in the columns of the table as announced last.
    pub rows: Vec<Tuple>,
}

/// What rows were read for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggedKind {
    /// A part of the first copy.
    Copy {
        /// Object id of the table or leaf.
        unit: RelationId,
        /// The part.
        range: BlockRange,
    },
    /// Rows read again by key, because somebody lacked a part of them or asked for them.
    Heal {
        /// Their keys on blue. Of a key without a row among the chunk's, the log itself tells what became of it.
        keys: Vec<Key>,
        /// Those of them that blue does not have at this point.
        gone: Vec<Key>,
    },
}

/// What the capture has recorded, in the order of its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggedEntry {
    /// A table is followed from here on, and was not before: its plans come next, if it has anything to be planned.
    Join {
        /// The table.
        table: RelationId,
        /// It was followed once, and changes of it have been missed since: what the log holds of its rows before this place is
        /// void, and so is what anybody has of them.
        is_void: bool,
    },
    /// The copy of a table or leaf starts, or starts again. The routes in it are the capture's own.
    Plan(Unit),
    /// A table or leaf has another name, schema, condition, file or marks than it was planned with.
    Refresh(Unit),
    /// A table or leaf is no longer part of this table.
    Forget {
        /// Object id of the table or leaf.
        unit: RelationId,
        /// The table.
        table: RelationId,
    },
    /// The log holds every row of this table, as it was at some point, and every change since.
    Complete {
        /// The table.
        table: RelationId,
    },
}

/// A log of blue's changes, read from a place on.
///
/// - Transactions are whole and in commit order, except that a large one may be interrupted by [`LogEvent::Whole`], and that one
///   may come twice, or begin again, after its capture was stopped.
/// - A table is announced before the first event that needs it, in every session anew.
/// - A chunk's rows belong after everything before it and before everything after it.
/// - What was written by a capture that has lost the right to write is not shown.
/// - A log that no longer holds the place asked for, or that lacks something, fails as diverged.
pub trait ChangeLog: Send {
    /// The next event. Cancel-safe. Waits for ever while nothing is written.
    fn next(&mut self) -> impl Future<Output = Result<LogEvent, Failure>> + Send;

    /// Whether the next event is at hand without waiting for the network.
    fn ready(&self) -> bool;
}

/// A row that an apply wants the capture to read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its table on blue.
    pub table: TableName,
    /// Its key on blue.
    pub key: Key,
}

/// The way back to the capture.
pub trait AskCapture: Send {
    /// Asks for rows to be read again: they come as a heal, unless the capture is copying their table, which brings them too.
    /// Returns once the request is durable. Asking twice is harmless.
    fn ask(&mut self, rows: Vec<Wanted>) -> impl Future<Output = Result<(), Failure>> + Send;
}
