//! What verification knows, as JSON. Neither keys nor values of rows are in it.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::server::Shared;

/// The name and version of [`VerifyDocument`] as JSON. Fields are only ever added.
const SCHEMA: &str = "understudy/v1/verify";

/// Mismatches by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ByKind {
    /// Blue has the row and green lacks it.
    pub missing: u64,
    /// Green has it and blue does not.
    pub extra: u64,
    /// Both have it with different values.
    pub differs: u64,
}

impl ByKind {
    /// Each kind with its name.
    pub const fn each(self) -> [(&'static str, u64); 3] {
        [("missing", self.missing), ("extra", self.extra), ("differs", self.differs)]
    }

    /// All kinds together.
    pub const fn total(self) -> u64 {
        self.missing + self.extra + self.differs
    }
}

/// Mismatches by how they came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ByEnd {
    /// Seen equal without a repair.
    pub converged: u64,
    /// Seen equal after a repair.
    pub repaired: u64,
    /// Somebody decided to live with it.
    pub waived: u64,
    /// No longer compared, or in another way.
    pub gone: u64,
}

impl ByEnd {
    /// Each end with its name.
    pub const fn each(self) -> [(&'static str, u64); 4] {
        [
            ("converged", self.converged),
            ("repaired", self.repaired),
            ("waived", self.waived),
            ("gone", self.gone),
        ]
    }
}

/// When two values of a column count as equal, where that is not exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRule {
    /// The column of green.
    pub column: String,
    /// The rule.
    pub rule: String,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VerifyTable {
    /// The table on blue.
    pub source: String,
    /// The table on green.
    pub target: String,
    /// `waiting`, `comparing` or `blocked`.
    pub state: String,
    /// Why it is blocked.
    pub reason: Option<String>,
    /// How the keys of both sides relate: `aligned`, `passed` or `computed`.
    pub keys: String,
    /// Columns that are not compared exactly.
    pub rules: Vec<VerifyRule>,
    /// Ranges that it is cut into, as far as known.
    pub ranges: u64,
    /// Those that count as verified.
    pub ranges_verified: u64,
    /// Rows seen last.
    pub rows: u64,
    /// The share of them, from 0 to 1, that counts as verified.
    pub coverage_ratio: f64,
    /// Since the range that was verified longest ago was; `None` while one never was.
    pub oldest_age_seconds: Option<f64>,
    /// Every row was verified at this address of blue's log or later.
    pub verified_at: Option<String>,
    /// The pass under way, from one; zero before the first.
    pub pass: u64,
    /// The share of the pass that is done.
    pub pass_progress_ratio: f64,
    /// Passes completed.
    pub passes_completed: u64,
    /// Since the last one was.
    pub last_pass_age_seconds: Option<f64>,
    /// Mismatches that are open.
    pub open: ByKind,
    /// Mismatches that somebody decided to live with.
    pub waived: u64,
    /// Rows of which it is not settled whether they differ.
    pub pending: u64,
    /// Rows that change too often to be settled.
    pub suspended: u64,
    /// Open mismatches that somebody else's writes on green made.
    pub foreign_writes: u64,
    /// Rows compared in passes since the start.
    pub rows_checked: u64,
    /// Changed rows checked since the start.
    pub changes_checked: u64,
    /// Mismatches found since the start.
    pub found: ByKind,
    /// Mismatches that came to an end since the start.
    pub resolved: ByEnd,
    /// Times that a digest was not what its rows add up to.
    pub wrong_digests: u64,
}

/// Changed rows that have not been checked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VerifyChanged {
    /// How many wait.
    pub waiting: u64,
    /// For how long the oldest of them does.
    pub oldest_seconds: Option<f64>,
    /// How long 99 % of those of the last minute waited at most.
    pub age_p99_seconds: Option<f64>,
    /// Whether there are more than can be remembered.
    pub overflowed: bool,
}

/// Everything that verification knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyDocument {
    /// `understudy/v1/verify`.
    pub schema: String,
    /// Whether green is compared with blue at all.
    pub enabled: bool,
    /// When all this was so, RFC 3339; `None` while nothing is known.
    pub reported_at: Option<String>,
    /// Why full passes wait; `None` when they do not.
    pub held_back: Option<String>,
    /// Rows compared per second in full passes.
    pub rows_per_second: f64,
    /// Changed rows.
    pub changed: VerifyChanged,
    /// The routes.
    pub tables: Vec<VerifyTable>,
}

impl VerifyDocument {
    /// Nothing is known yet, or ever will be.
    pub fn empty(enabled: bool) -> VerifyDocument {
        VerifyDocument {
            schema: SCHEMA.to_owned(),
            enabled,
            reported_at: None,
            held_back: None,
            rows_per_second: 0.0,
            changed: VerifyChanged::default(),
            tables: Vec::new(),
        }
    }
}

/// One mismatch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MismatchEntry {
    /// Its number.
    pub id: u64,
    /// The table on blue.
    pub source: String,
    /// The table on green.
    pub target: String,
    /// The start of a digest of its key on green.
    pub key_hash: String,
    /// `missing`, `extra` or `differs`.
    pub kind: String,
    /// What made it differ.
    pub cause: String,
    /// The columns of green that differ.
    pub columns: Vec<String>,
    /// `open`, `repair_asked` or `waived`.
    pub state: String,
    /// `stream` or `comparison`.
    pub found_by: String,
    /// Where blue's log was when it was found.
    pub found_at: String,
}

/// Mismatches that are open or waived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct MismatchList {
    schema: String,
    /// How many are open, also those that are not listed.
    open: u64,
    /// The newest ones.
    mismatches: Vec<MismatchEntry>,
}

pub(crate) async fn report(State(shared): State<Shared>) -> Response {
    axum::Json(shared.bulletin.verify().0).into_response()
}

pub(crate) async fn mismatches(State(shared): State<Shared>) -> Response {
    let (document, mismatches) = shared.bulletin.verify();
    let open = document.tables.iter().map(|table| table.open.total()).sum();
    let list = MismatchList { schema: "understudy/v1/mismatches".to_owned(), open, mismatches };
    axum::Json(list).into_response()
}
