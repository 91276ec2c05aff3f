//! Where changes come from: committed transactions in commit order.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use understudy_model::{Lsn, Relation, SourceChange};

use crate::Failure;

/// One event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// A committed transaction starts; its changes follow, then its commit.
    Begin {
        /// Address of the commit record.
        commit: Lsn,
        /// Commit time on blue, microseconds since 2000-01-01 UTC.
        commit_time_us: i64,
        /// Top-level transaction id, 32 bits as sent.
        xid: u32,
    },
    /// Later changes of this relation have this shape. May repeat without any difference.
    Relation(Arc<Relation>),
    /// A row changed.
    Change(SourceChange),
    /// A logical message, of ours or not.
    Message {
        /// The namespace its writer chose.
        prefix: String,
        /// Its content.
        content: Bytes,
        /// Whether it belongs to the open transaction. Others arrive at once and prove nothing about order.
        transactional: bool,
    },
    /// The open transaction ends here.
    Commit {
        /// Address of the commit record.
        commit: Lsn,
        /// Where the next transaction can start.
        end: Lsn,
    },
    /// Blue has decoded everything before this address.
    Keepalive {
        /// The address.
        end: Lsn,
    },
}

/// Committed transactions of blue, whole and in commit order.
///
/// - Every transaction that committed after the requested checkpoint arrives exactly once, between Begin and Commit.
/// - A relation is announced before the first change that needs it, in every session anew.
/// - Dropping the stream loses nothing that has not been confirmed.
pub trait ChangeStream: Send {
    /// The next event. Cancel-safe: a dropped future loses no bytes. Waits for ever while nothing happens.
    fn next(&mut self) -> impl Future<Output = Result<StreamEvent, Failure>> + Send;

    /// Whether the next event is at hand without waiting for the network.
    fn ready(&self) -> bool;
}

/// Tells blue what it may forget. Works while the stream is not being read.
pub trait Confirm: Send + Sync {
    /// Everything before `lsn` is durable on green. Never goes back.
    fn confirm(&self, lsn: Lsn);
}
