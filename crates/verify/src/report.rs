//! What is known at one moment: the figures that status, metrics and the gate are made of.

use understudy_contract::{Cause, CompareRule, KeyRelation, MismatchKind, MismatchRecord};
use understudy_model::{Lsn, RouteId, TableName};

/// Whether a route is being compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RouteState {
    /// Its first copy is not complete.
    #[default]
    Waiting,
    /// It is.
    Comparing,
    /// It cannot be, and why.
    Blocked(String),
}

/// One route.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteReport {
    /// Its number.
    pub route: RouteId,
    /// The table on blue.
    pub source: TableName,
    /// The table on green.
    pub target: TableName,
    /// Whether it is being compared.
    pub state: RouteState,
    /// How the keys of both sides relate.
    pub keys: KeyRelation,
    /// The rules of columns that are not compared exactly.
    pub rules: Vec<(String, CompareRule)>,
    /// Ranges that it is cut into, as far as known.
    pub ranges: u64,
    /// Those of them that count as verified.
    pub ranges_verified: u64,
    /// Rows seen in its ranges last.
    pub rows: u64,
    /// The share of its rows, from 0 to 1, in ranges that count as verified. 1 only when every range does.
    pub coverage: f64,
    /// Milliseconds since the range that was verified longest ago was; `None` while one never was.
    pub oldest_age_ms: Option<u64>,
    /// Every row was verified at this address of blue's log or later; `None` while one never was.
    pub verified_at: Option<Lsn>,
    /// The pass under way, counted from one; zero before the first.
    pub pass: u64,
    /// The share of the pass that is done, from 0 to 1.
    pub pass_progress: f64,
    /// Passes completed.
    pub passes_completed: u64,
    /// Milliseconds since the last one was completed; `None` when none was.
    pub last_pass_age_ms: Option<u64>,
    /// Mismatches that are open, by kind in the order of [`MismatchKind::ALL`].
    pub open: [u64; 3],
    /// Mismatches that somebody decided to live with.
    pub waived: u64,
    /// Rows that differ, or differed when last read, and of which that is not settled.
    pub pending: u64,
    /// Rows that kept changing for so long that they are looked at now and then only. Not known to be equal.
    pub suspended: u64,
    /// Open mismatches that somebody else's writes on green made.
    pub foreign_writes: u64,
    /// Rows compared in passes since the start.
    pub rows_checked: u64,
    /// Changed rows checked since the start.
    pub changes_checked: u64,
    /// Mismatches found since the start, by kind.
    pub found: [u64; 3],
    /// Mismatches that came to an end since the start, in the order of [`understudy_contract::Resolution::ALL`].
    pub resolved: [u64; 4],
    /// Times that a digest was not what its rows add up to.
    pub wrong_digests: u64,
}

impl RouteReport {
    /// Mismatches that are open.
    pub fn open_total(&self) -> u64 {
        self.open.iter().sum()
    }
}

/// Changed rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChangedReport {
    /// Rows changed and not yet checked since.
    pub waiting: u64,
    /// Milliseconds for which the oldest of them waits; `None` when none does.
    pub oldest_ms: Option<u64>,
    /// Of the rows checked in the last minute: milliseconds that 99 % of them waited at most; `None` when there were none.
    pub age_p99_ms: Option<u64>,
    /// Whether there are more than can be remembered, so that their tables are verified anew.
    pub overflowed: bool,
}

/// Everything that is known at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VerifyReport {
    /// The routes.
    pub routes: Vec<RouteReport>,
    /// Changed rows.
    pub changed: ChangedReport,
    /// Why full passes wait; `None` when they do not.
    pub held_back: Option<String>,
    /// Rows compared per second in full passes, averaged over the last seconds.
    pub rows_per_second: f64,
    /// Open and waived mismatches, newest first; at most a thousand.
    pub mismatches: Vec<MismatchRecord>,
}

impl VerifyReport {
    /// Open mismatches of a cause.
    pub fn of_cause(&self, cause: Cause) -> u64 {
        let of = |one: &&MismatchRecord| one.cause == cause && one.waived.is_none();
        self.mismatches.iter().filter(of).count() as u64
    }

    /// Open mismatches of a kind.
    pub fn of_kind(&self, kind: MismatchKind) -> u64 {
        let at = MismatchKind::ALL.iter().position(|one| *one == kind);
        at.map_or(0, |at| self.routes.iter().map(|route| route.open[at]).sum())
    }
}
