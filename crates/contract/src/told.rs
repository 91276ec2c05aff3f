//! What people are told of the ledger of verification: mismatches, and how far passes are.

use sha2::{Digest, Sha256};
use understudy_model::{Key, Lsn, TableName};

use crate::verify_ledger::{Cause, MismatchId, MismatchKind, Resolution};

/// Which mismatches are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichMismatches {
    /// Those that are open, or that somebody decided to live with.
    Standing,
    /// Those that have come to an end too.
    All,
}

/// A mismatch, as people are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownMismatch {
    /// Its number.
    pub id: MismatchId,
    /// The table on blue.
    pub source: TableName,
    /// The table on green.
    pub target: TableName,
    /// Its key on green.
    pub key: Key,
    /// Its key on blue, where it is known.
    pub blue_key: Option<Key>,
    /// In which way it differs.
    pub kind: MismatchKind,
    /// The columns that differ.
    pub columns: Vec<String>,
    /// What made it differ.
    pub cause: Cause,
    /// Where blue's log was when it was found.
    pub found_lsn: Lsn,
    /// When that was, as RFC 3339.
    pub found_at: String,
    /// Milliseconds since then.
    pub age_ms: u64,
    /// Whether the stream found it.
    pub by_stream: bool,
    /// When a repair was asked for, as RFC 3339.
    pub repair_asked_at: Option<String>,
    /// Who waived it, why and when.
    pub waived: Option<(String, String, String)>,
    /// How and when it came to an end.
    pub resolved: Option<(Resolution, String)>,
}

impl KnownMismatch {
    /// Whether it differs as far as is known, and nobody has decided to live with it.
    pub fn is_open(&self) -> bool {
        self.resolved.is_none()
    }

    /// Its key as it may be shown where values may not: the start of a digest.
    pub fn key_hash(&self) -> String {
        key_hash(&self.key)
    }
}

/// How far a route is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableProgress {
    /// The table on blue.
    pub source: TableName,
    /// The table on green.
    pub target: TableName,
    /// The pass under way, or the last one.
    pub pass: u64,
    /// Passes completed.
    pub completed: u64,
    /// Milliseconds since the last one was completed.
    pub completed_age_ms: Option<u64>,
    /// Whether one has been completed since the time that was asked about, and every range verified since.
    pub anew: bool,
    /// Ranges that it is cut into.
    pub ranges: u64,
    /// Those of them that have been verified since the time that was asked about.
    pub ranges_anew: u64,
    /// Those of them that count as verified.
    pub ranges_verified: u64,
    /// Rows seen in its ranges last, each counted once.
    pub rows: u64,
    /// Rows that were seen in ranges that count as verified, over every way of comparing.
    pub rows_verified: u64,
    /// Rows seen in ranges, over every way of comparing.
    pub rows_seen: u64,
    /// Milliseconds since the range that was verified longest ago was; `None` while one never was.
    pub oldest_age_ms: Option<u64>,
    /// Mismatches that are open, in the order of [`MismatchKind::ALL`].
    pub open: [u64; 3],
    /// Mismatches that somebody decided to live with.
    pub waived: u64,
}

impl TableProgress {
    /// The share of rows, from 0 to 1, in ranges that count as verified. 1 only when every range does.
    pub fn coverage(&self) -> f64 {
        if self.ranges == 0 {
            0.0
        } else if self.ranges_verified == self.ranges {
            1.0
        } else if self.rows_seen == 0 {
            0.0
        } else {
            (self.rows_verified as f64 / self.rows_seen as f64).min(0.999_999)
        }
    }

    /// Mismatches that are open.
    pub fn open_total(&self) -> u64 {
        self.open.iter().sum()
    }
}

/// A key as errors and logs may show it: the start of a digest. Of a key of one column, what Postgres
/// gives for `left(encode(sha256(convert_to(key, 'UTF8')), 'hex'), 16)`; of several, with a comma between their texts.
pub fn key_hash(key: &Key) -> String {
    let mut digest = Sha256::new();
    for (at, text) in key.texts().enumerate() {
        if at > 0 {
            digest.update(b",");
        }
        digest.update(text);
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
