//! A group: what one transaction of the capture put into the log, in order, and how many records of it each partition holds.

mod form;
#[cfg(test)]
mod tests;

use understudy_contract::{LoggedEntry, LoggedKind};
use understudy_model::{Checkpoint, Lsn, Nonce, Position, RelationId, TableName};

use super::error::CodecError;
use super::wire;

pub(crate) use form::entry_bytes_max;

/// No group record is larger, so that brokers take it with their default limits.
pub const GROUP_BYTES_MAX: usize = 900 * 1024;

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Counts up by one, without gaps.
    pub number: u64,
    /// Every table that its work speaks of.
    pub tables: Vec<GroupTable>,
    /// What it holds.
    pub work: Work,
    /// Outside any transaction, after its work: blue holds nothing more of ours before this address.
    pub reached: Option<Lsn>,
    /// Beats that came back, after its work.
    pub beats: Vec<Beat>,
}

/// A table in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupTable {
    /// Its name, by which its topic is found.
    pub name: TableName,
    /// Its object id, by which the rest of the group speaks of it.
    pub id: RelationId,
    /// The version of its shape at the end of the group.
    pub version: u32,
    /// Partitions and how many records of the group each holds, tombstones included; those with none are left out.
    pub records: Vec<(u32, u64)>,
}

/// What a group holds: never more than one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Nothing beside what [`Group::reached`] and [`Group::beats`] tell.
    None,
    /// Changes.
    Batch {
        /// Transactions and parts of them, in order. Those without changes of ours may be left out.
        parts: Vec<Part>,
        /// Tables or leaves that were emptied, in order.
        truncates: Vec<Truncated>,
    },
    /// Rows read from blue.
    Chunk {
        /// The table.
        table: RelationId,
        /// The checkpoint at which they belong.
        at: Checkpoint,
        /// What they were read for.
        kind: LoggedKind,
        /// How many.
        rows: u64,
    },
    /// What was recorded of the copy, in order. Routes are not kept: units come back with route 0.
    Entries(Vec<LoggedEntry>),
}

/// A transaction, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Address of the commit record.
    pub commit: Lsn,
    /// How many of its changes earlier groups hold.
    pub from_ordinal: u64,
    /// How many this group holds, truncates included; one that changes a key counts once.
    pub changes: u64,
    /// Where the next transaction can start; `None` while this one goes on in the next group.
    pub end: Option<Lsn>,
    /// Commit time on blue, microseconds since 2000-01-01 UTC.
    pub time_us: i64,
    /// Top-level transaction id.
    pub xid: u32,
}

/// Rows that were removed without being named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncated {
    /// The change that removed them.
    pub position: Position,
    /// Which.
    pub what: LeafOrTables,
}

/// What was emptied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeafOrTables {
    /// Whole tables.
    Tables(Vec<RelationId>),
    /// One leaf of a table.
    Leaf {
        /// The table.
        table: RelationId,
        /// SQL over blue's columns that is true for exactly its rows.
        predicate: String,
    },
}

/// A beat that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Which.
    pub nonce: Nonce,
    /// When it was sent, microseconds since 1970-01-01 UTC.
    pub sent_us: i64,
    /// Green shows it from here on.
    pub at: Checkpoint,
}

impl Group {
    /// How large its record is at most, without writing it.
    pub fn bytes_max(&self) -> usize {
        form::bytes_max(self)
    }

    /// The key of its record.
    pub fn record_key(&self) -> Vec<u8> {
        self.number.to_string().into_bytes()
    }

    /// The value of its record. Fails when it is larger than [`GROUP_BYTES_MAX`].
    pub fn to_json(&self) -> Result<Vec<u8>, CodecError> {
        let json = wire::write(&form::GroupWire::from(self));
        match json.len() {
            bytes if bytes > GROUP_BYTES_MAX => {
                Err(CodecError::TooLarge { what: form::WHAT, bytes, bytes_max: GROUP_BYTES_MAX })
            }
            _ => Ok(json),
        }
    }

    /// Reads the value of a record.
    pub fn from_json(value: &[u8]) -> Result<Group, CodecError> {
        wire::read::<form::GroupWire>(form::WHAT, value)?.try_into()
    }
}
