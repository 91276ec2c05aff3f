//! Reading pieces of blue under short snapshots, and what blue's catalog says of the tables.

use std::future::Future;

use understudy_model::{
    BlockRange, ChunkId, Key, Nonce, ReplicaIdentity, RouteId, Snapshot, TableName, Tuple, UnitId, Xid,
};

use crate::Failure;

/// A table or leaf partition that is copied on its own, as the catalog describes it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Object id on blue.
    pub id: UnitId,
    /// The route that gathers its rows.
    pub route: RouteId,
    /// Object id of the route's own table: the root for a leaf, otherwise the same as `id`.
    pub root: UnitId,
    /// Its own name; the leaf's for a partitioned table.
    pub name: TableName,
    /// Changes when the table is rewritten, and then earlier block numbers mean nothing.
    pub filenode: u32,
    /// Digest over names, numbers and types of its columns, and for a leaf over its root; changes with its schema, and
    /// when a leaf is detached.
    pub fingerprint: u64,
    /// Tells whether the columns that the route reads are those that were copied. `None` while one of them is missing.
    pub marks: Option<ColumnMarks>,
    /// For a leaf a digest over what made it, and each table that it is part of, a partition: another one when it was detached
    /// in between. Zero for a table that is no leaf.
    pub membership: u64,
    /// Heap size in blocks.
    pub blocks: u32,
    /// Heap block size in bytes.
    pub block_bytes: u32,
    /// The planner's estimate of its rows; `None` when it was never analysed.
    pub rows_estimate: Option<u64>,
    /// What updates and deletes say of the old row.
    pub identity: ReplicaIdentity,
    /// For a leaf: SQL over blue's columns that is true for exactly its rows, if one can be evaluated elsewhere.
    pub predicate: Option<String>,
}

/// What the catalog says of the columns that a route reads from a unit. It tells when their values have changed without
/// any event in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnMarks {
    /// Digest over their names, numbers and types. Some types have another text for the same bytes, so that no row is written
    /// anew when one becomes the other. A column that was dropped and added again has another number, and nothing of
    /// what the one before it held.
    pub places: u64,
    /// Digest over what last wrote each of their descriptions. Together with another filenode: their values may have been
    /// computed anew, also where their types are as before.
    pub written: u64,
    /// The same digest without types over those of them that make up the key.
    pub keys: u64,
}

impl Unit {
    /// Whether it is a leaf that takes what other leaves leave over, so that its condition changes as others come and go. So
    /// is taken to be a leaf whose condition is not known.
    pub fn is_default_leaf(&self) -> bool {
        // Postgres writes the condition of a default partition as the negation of those of its siblings, and the catalog
        // that of one without siblings as the negation of nothing.
        self.id != self.root && self.predicate.as_ref().is_none_or(|condition| condition.contains("NOT ("))
    }
}

/// Which rows a chunk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkScope {
    /// The rows that stand in these blocks.
    Blocks(BlockRange),
    /// The rows with these keys.
    Keys {
        /// Names of the key columns on blue, in the order of each key.
        columns: Vec<String>,
        /// At most a few hundred keys.
        keys: Vec<Key>,
    },
}

/// One chunk to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRequest {
    /// Number under which the answer comes back.
    pub id: ChunkId,
    /// The table or leaf; for [`ChunkScope::Keys`] the root, with its partitions.
    pub unit: UnitId,
    /// Blue's columns to read, in this order.
    pub columns: Vec<String>,
    /// Object id and modifier of the type that each of them must have; `None` when any will do.
    pub types: Option<Vec<(u32, i32)>>,
    /// Which rows.
    pub scope: ChunkScope,
    /// Give up when the rows take more bytes than this.
    pub bytes_max: usize,
}

/// The rows of a chunk, and the snapshot that they were read under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRows {
    /// Taken after the table was locked and in the same transaction as the rows.
    pub snapshot: Snapshot,
    /// Read under the same lock. Zero for a partitioned root.
    pub filenode: u32,
    /// Read under the same lock.
    pub fingerprint: u64,
    /// The rows, with the requested columns in order.
    pub rows: Vec<Tuple>,
}

/// How reading a chunk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkOutcome {
    /// All its rows.
    Read(ChunkRows),
    /// More bytes than allowed: ask for a smaller range. Never the answer for a single row.
    TooLarge,
    /// Somebody holds the table exclusively: ask again later.
    Busy,
    /// The table, or a column asked for, is no longer there, or has another type than was asked for.
    Gone,
}

/// Reads chunks on a connection of its own.
///
/// - A read locks its table against schema changes first, takes its snapshot after that, and ends its transaction
///   before it returns: no snapshot outlives a call.
/// - A marker is emitted by a transaction that starts after the read's transaction has ended.
pub trait ChunkReader: Send {
    /// Reads one chunk.
    fn read(&mut self, request: &ChunkRequest) -> impl Future<Output = Result<ChunkOutcome, Failure>> + Send;

    /// Commits a marker, so that the stream shows it after everything that the last read could see.
    fn mark(&mut self, nonce: Nonce) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A transaction on blue that something waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Its id.
    pub xid: Xid,
    /// Process, user, application and age, for a person; never the query's text.
    pub description: String,
}

/// Looks at blue's catalog on a connection of its own.
pub trait BlueCatalog: Send {
    /// Every unit of every route, as it is now.
    fn units(&mut self) -> impl Future<Output = Result<Vec<Unit>, Failure>> + Send;

    /// The current snapshot.
    fn snapshot(&mut self) -> impl Future<Output = Result<Snapshot, Failure>> + Send;

    /// An id above that of every transaction in progress now.
    fn barrier(&mut self) -> impl Future<Output = Result<Xid, Failure>> + Send;

    /// Who runs these transactions.
    fn blockers(&mut self, xids: &[Xid]) -> impl Future<Output = Result<Vec<Blocker>, Failure>> + Send;

    /// Commits a heartbeat marker.
    fn mark(&mut self, nonce: Nonce) -> impl Future<Output = Result<(), Failure>> + Send;
}
