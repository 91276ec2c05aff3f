//! What is known, and since when. Every kind of evidence counts only for a while.

use std::collections::BTreeMap;

use jiff::Timestamp;
use understudy_contract::{Found, ReadinessCheck};

/// Milliseconds of a clock that never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// Milliseconds from `earlier` to this moment; zero when it is not earlier.
    pub const fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A value and when it was true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated<T> {
    /// When.
    pub at: Millis,
    /// What.
    pub value: T,
}

impl<T> Dated<T> {
    /// A value that was true at a moment.
    pub const fn new(at: Millis, value: T) -> Dated<T> {
        Dated { at, value }
    }
}

/// For how many milliseconds each kind of evidence counts.
pub mod fresh_for {
    /// Whether replication runs, how far green is behind, and whether a test fault is armed.
    pub const PIPELINE: u64 = 5_000;
    /// What the pipeline's loop has counted: it may be busy for a while.
    pub const COUNTED: u64 = 30_000;
    /// What verification says of itself.
    pub const VERIFICATION: u64 = 10_000;
    /// What was found on the servers.
    pub const READINESS: u64 = 120_000;
    /// The answer of a Prometheus server.
    pub const QUERY: u64 = 60_000;
    /// The time of day.
    pub const WALL: u64 = 5_000;
    /// The answers to a probe that is asked every `every` milliseconds, or less often where it would be a burden: then it
    /// says itself for how long they count, within bounds.
    pub const fn probe(every: u64, says: u64) -> u64 {
        let three = every.saturating_mul(3);
        let least = if three < 30_000 { 30_000 } else { three };
        let says = if says > PROBE_MAX { PROBE_MAX } else { says };
        if says > least { says } else { least }
    }
    /// The longest that a probe may say.
    const PROBE_MAX: u64 = 600_000;
}

/// What replication is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicationState {
    /// Connecting and preparing.
    Starting,
    /// Changes are followed, whether or not the first copy runs beside them.
    Running,
    /// A server or the network is away: it is tried again.
    Retrying,
    /// It ends on request.
    Stopping,
    /// It was stopped by a failure that needs a person.
    Failed,
}

/// How replication fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    /// What it is doing.
    pub state: ReplicationState,
    /// Whether blue's stream is connected.
    pub blue_connected: bool,
    /// Whether green is.
    pub green_connected: bool,
    /// Its last failure, also when it has been overcome since.
    pub last_error: Option<String>,
}

/// One route and whether its first copy is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedTable {
    /// The route, as `public.users -> app.customers`.
    pub name: String,
    /// Whether its first copy is complete.
    pub complete: bool,
}

/// One route as verification sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedTable {
    /// The route, by the same name as in [`CopiedTable`].
    pub name: String,
    /// Why it cannot be compared; `None` when it can.
    pub blocked: Option<String>,
    /// The share of its rows that counts as verified, from 0 to 1.
    pub coverage: f64,
    /// Milliseconds since the range that was verified longest ago was; `None` while one never was.
    pub oldest_age_ms: Option<u64>,
    /// Mismatches that are open.
    pub open: u64,
    /// Rows of which it is not settled whether they differ.
    pub pending: u64,
    /// Rows that are looked at now and then only. Not known to be equal.
    pub suspended: u64,
    /// Open mismatches that somebody else's writes on green made.
    pub foreign_writes: u64,
    /// Times that a digest was not what its rows add up to.
    pub wrong_digests: u64,
}

/// Changed rows that have not been checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangedRows {
    /// How many wait.
    pub waiting: u64,
    /// Milliseconds for which the oldest of them waits; `None` when none does.
    pub oldest_ms: Option<u64>,
    /// Whether there are more than can be remembered.
    pub overflowed: bool,
}

/// What verification knows.
#[derive(Debug, Clone, PartialEq)]
pub enum Verification {
    /// The migration file switches it off.
    Disabled,
    /// It failed, and is started again: why.
    Failing(String),
    /// It runs.
    Running {
        /// The routes.
        tables: Vec<ComparedTable>,
        /// Changed rows.
        changed: ChangedRows,
        /// Why full passes wait; `None` when they do not.
        held_back: Option<String>,
    },
}

/// What came of asking a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Both sides gave the same answers, this many times since the start.
    Agrees(u64),
    /// They did not: in which way, without values.
    Differs(String),
    /// Green answers, but by a worse plan: in which way.
    PlanRegression(String),
    /// It could not be asked, and why.
    Failed(String),
}

/// What is known of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// What came of asking it.
    pub outcome: ProbeOutcome,
    /// For how many milliseconds that counts, as the probe itself says.
    pub fresh_for_ms: u64,
}

/// Everything that is known at one moment; `None`, or no entry, for what was never gathered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// How replication fares.
    pub replication: Option<Dated<Replication>>,
    /// The routes and how far their first copies are.
    pub tables: Option<Dated<Vec<CopiedTable>>>,
    /// How far green is behind, in seconds, as markers tell; `None` within while they do not.
    pub lag_seconds: Option<Dated<Option<f64>>>,
    /// Rows to be read again by key.
    pub heals: Option<Dated<u64>>,
    /// Rows that are set aside on green.
    pub quarantined: Option<Dated<u64>>,
    /// What verification knows.
    pub verification: Option<Dated<Verification>>,
    /// What was found on the servers, by check.
    pub readiness: BTreeMap<ReadinessCheck, Dated<Found>>,
    /// What came of probes, by name.
    pub probes: BTreeMap<String, Dated<Probed>>,
    /// What Prometheus answered, by the check's name: a figure, or why there is none.
    pub queries: BTreeMap<String, Dated<Result<f64, String>>>,
    /// The time of day.
    pub wall: Option<Dated<Timestamp>>,
    /// Test faults that are armed, by name.
    pub faults: Option<Dated<Vec<String>>>,
}

/// The value while it counts; otherwise the sentence that says why it does not.
pub(crate) fn fresh<'a, T>(
    item: Option<&'a Dated<T>>,
    limit_ms: u64,
    now: Millis,
    what: &str,
) -> Result<&'a T, String> {
    let Some(item) = item else {
        return Err(format!("{what} is not known yet"));
    };
    let age = now.since(item.at);
    if age > limit_ms {
        let (age, limit) = (crate::words::span(age), crate::words::span(limit_ms));
        return Err(format!("{what} was last known {age} ago, which counts for {limit} only"));
    }
    Ok(&item.value)
}
