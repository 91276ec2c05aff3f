//! What the pipeline reports of itself: filled by the pipeline, read by every answer.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use understudy_model::{Lsn, Watermarks};

use crate::clock::rfc3339;
use crate::lag::MarkerLag;
use crate::summary::{GateSummary, VerifySummary};

/// The name and version of [`StatusReport`] as JSON. Fields are only ever added.
const SCHEMA: &str = "understudy/v1/status";

/// Without a beat for this long the pipeline's loop counts as dead.
const BEAT_MAX: Duration = Duration::from_secs(30);

/// What the migration is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Connecting, comparing saved state with the servers, creating the slot.
    #[default]
    Starting,
    /// The first copy runs, and changes are followed beside it.
    Copying,
    /// Every table is copied; changes are followed.
    Following,
    /// A server or the network is away: trying again.
    Retrying,
    /// Going down on request.
    Stopping,
    /// Stopped by a failure that needs a person.
    Failed,
}

impl Phase {
    /// Every phase, by its name in JSON and in labels.
    pub const NAMES: [&str; 6] = ["starting", "copying", "following", "retrying", "stopping", "failed"];

    /// Its name in JSON and in labels.
    pub const fn as_str(self) -> &'static str {
        Phase::NAMES[self as usize]
    }
}

/// How far a table's first copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableState {
    /// Not begun.
    #[default]
    Waiting,
    /// Being copied.
    Copying,
    /// Complete; changes are followed.
    Following,
}

impl TableState {
    /// Every state, by its name in JSON and in labels.
    pub const NAMES: [&str; 3] = ["waiting", "copying", "following"];

    /// Its name in JSON and in labels.
    pub const fn as_str(self) -> &'static str {
        TableState::NAMES[self as usize]
    }
}

/// One route.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TableStatus {
    /// The table on blue.
    pub source: String,
    /// The table on green.
    pub target: String,
    /// How far its first copy is.
    pub state: TableState,
    /// Rows written by the first copy, also before the last start.
    pub rows_copied: u64,
    /// The planner's estimate of its rows; `None` when unknown.
    pub rows_estimate: Option<u64>,
    /// Chunks of the first copy that are committed.
    pub chunks_done: u64,
    /// Chunks of the first copy as planned now; `None` when unknown.
    pub chunks_total: Option<u64>,
    /// Changes applied.
    pub changes: u64,
}

/// The states in which blue reports a slot's write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WalStatus {
    /// Within `max_wal_size`.
    Reserved,
    /// Beyond it, and still kept.
    Extended,
    /// About to be removed.
    Unreserved,
    /// Gone: the slot is of no use any more.
    Lost,
}

impl WalStatus {
    /// Every state, by its name in JSON and in labels.
    pub const NAMES: [&str; 4] = ["reserved", "extended", "unreserved", "lost"];

    /// Its name in JSON and in labels.
    pub const fn as_str(self) -> &'static str {
        WalStatus::NAMES[self as usize]
    }

    /// From blue's `wal_status`.
    pub fn parse(text: &str) -> Option<WalStatus> {
        [WalStatus::Reserved, WalStatus::Extended, WalStatus::Unreserved, WalStatus::Lost]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// Blue's slot, as last looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Its name.
    pub name: String,
    /// Whether it is in use.
    pub active: bool,
    /// How safe its write-ahead log is; `None` when blue does not say.
    pub wal_status: Option<WalStatus>,
    /// Bytes of write-ahead log that it keeps.
    pub retained_bytes: u64,
    /// Bytes that blue can still write before it is lost; `None` without a limit.
    pub safe_bytes: Option<u64>,
}

/// The version of a project that a run serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectStatus {
    /// Its number.
    pub number: u32,
    /// The directory, without its path.
    pub directory: String,
}

/// The pipeline's marks in blue's write-ahead log, as `X/Y`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// The furthest that blue has sent.
    pub received: String,
    /// The furthest that green shows.
    pub applied: String,
    /// The furthest that survives a crash of green.
    pub durable: String,
    /// The furthest that blue may forget.
    pub confirmed: String,
}

impl Positions {
    fn of(marks: Watermarks) -> Positions {
        Positions {
            received: marks.received().to_string(),
            applied: marks.applied().to_string(),
            durable: marks.durable().to_string(),
            confirmed: marks.confirmed().to_string(),
        }
    }
}

/// One partition of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: u32,
    /// Records of it that green has yet to take.
    pub records_behind: u64,
}

/// The log between blue and green, and the part of the sidecar that fills it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThroughStatus {
    /// What kind of log it is: `kafka`.
    pub log: String,
    /// What the names of its topics start with.
    pub topic_prefix: String,
    /// Which parts of the sidecar run in this process: `all`, `capture` or `apply`.
    pub role: String,
    /// What the capture is doing; `None` where it does not run here.
    pub capture: Option<Phase>,
    /// The furthest point of blue that the log holds, `X/Y`; `None` where the capture does not run here.
    pub captured: Option<String>,
    /// Records of the log that green has yet to take, over all partitions; `None` where no apply runs here.
    pub records_behind: Option<u64>,
    /// The same for each partition; `None` where it is not known.
    #[serde(default)]
    pub partitions: Option<Vec<PartitionStatus>>,
    /// The lanes of the log that this process applies; `None` where one process applies all of it in whole transactions.
    #[serde(default)]
    pub lanes: Option<Vec<u32>>,
    /// Requests to read rows again that no capture can heed, since it started; `None` where there were none.
    #[serde(default)]
    pub requests_ignored: Option<u64>,
}

/// Everything there is to say of a migration at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// `understudy/v1/status`.
    pub schema: String,
    /// The migration.
    pub migration: String,
    /// The version of the sidecar.
    pub version: String,
    /// The version of the project that it serves; `None` for a file by itself.
    pub project: Option<ProjectStatus>,
    /// The log between blue and green; `None` where there is none.
    pub through: Option<ThroughStatus>,
    /// When the sidecar started, RFC 3339.
    pub started_at: String,
    /// When this report was made, RFC 3339.
    pub reported_at: String,
    /// What it is doing.
    pub phase: Phase,
    /// Whether blue's stream is connected.
    pub source_connected: bool,
    /// Whether green is connected.
    pub target_connected: bool,
    /// Bytes of write-ahead log between blue's end and what green shows; `None` while blue's end is unknown.
    pub lag_bytes: Option<u64>,
    /// Age of the newest moment of blue that green is proved to hold; zero only when a marker proves it. Where markers are
    /// another process's: how long the newest one took, and how long the next one is overdue.
    pub lag_seconds: Option<f64>,
    /// The pipeline's marks; `None` before it has started.
    pub positions: Option<Positions>,
    /// The routes, in the order of the migration.
    pub tables: Vec<TableStatus>,
    /// Rows to be read again by key.
    pub heals: u64,
    /// Rows that are set aside on green.
    pub quarantined: u64,
    /// Rows that were not as a completed copy promises.
    pub mismatches: u64,
    /// What verification knows of all tables together; `None` where nothing is compared.
    pub verify: Option<VerifySummary>,
    /// The gate before the flip; `None` before it was evaluated.
    pub gate: Option<GateSummary>,
    /// Whether reading waits because green is slower.
    pub backpressure: bool,
    /// What the pipeline waits for: transactions on blue, a lock, a server. Empty when for nothing.
    pub waiting_for: Vec<String>,
    /// Blue's slot.
    pub slot: Option<SlotStatus>,
    /// Changes applied.
    pub changes_total: u64,
    /// Transactions of blue with changes of the migration, applied.
    pub transactions_total: u64,
    /// The last failure, also when it has been overcome since.
    pub last_error: Option<String>,
}

/// The state behind the reports.
#[derive(Debug)]
struct State {
    report: StatusReport,
    /// What a capture beside the rest waits for.
    capture_waits: Vec<String>,
    /// What calls to green wait for.
    green_waits: Vec<String>,
    marks: Option<Watermarks>,
    blue_end: Option<Lsn>,
    lag: MarkerLag,
    marker_interval: Duration,
    applied_commit: Option<SystemTime>,
    marker_sent_at: Option<SystemTime>,
    marker_applied_at: Option<SystemTime>,
}

/// The figures that only the metrics show.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extra {
    pub(crate) received_lag: Option<u64>,
    pub(crate) confirmed_lag: Option<u64>,
    pub(crate) applied_commit: Option<SystemTime>,
    pub(crate) marker_sent_at: Option<SystemTime>,
    pub(crate) marker_applied_at: Option<SystemTime>,
}

/// A status that the pipeline fills and every answer reads.
#[derive(Debug)]
pub struct Status {
    state: Mutex<State>,
    started: Instant,
    /// The last sign of life of the loop that fills green, or of a capture that runs by itself.
    alive: Moment,
    /// When what that loop reports was so.
    counted: Moment,
    /// The last sign of life of a capture beside it, once there was one.
    capture: Moment,
}

/// Milliseconds from the start to a moment; [`NEVER`] before the first.
type Moment = AtomicU64;

const NEVER: u64 = u64::MAX;

/// A shared status.
pub type StatusHandle = Arc<Status>;

impl Status {
    /// The status of a migration that is starting. `marker_interval` is how often markers are sent; zero where those are not
    /// heard of before they have come.
    pub fn new(migration: &str, version: &str, marker_interval: Duration) -> StatusHandle {
        let now = rfc3339(SystemTime::now());
        let report = StatusReport {
            schema: SCHEMA.to_owned(),
            migration: migration.to_owned(),
            version: version.to_owned(),
            project: None,
            through: None,
            started_at: now.clone(),
            reported_at: now,
            phase: Phase::default(),
            source_connected: false,
            target_connected: false,
            lag_bytes: None,
            lag_seconds: None,
            positions: None,
            tables: Vec::new(),
            heals: 0,
            quarantined: 0,
            mismatches: 0,
            verify: None,
            gate: None,
            backpressure: false,
            waiting_for: Vec::new(),
            slot: None,
            changes_total: 0,
            transactions_total: 0,
            last_error: None,
        };
        let state = State {
            report,
            capture_waits: Vec::new(),
            green_waits: Vec::new(),
            marks: None,
            blue_end: None,
            lag: MarkerLag::default(),
            marker_interval,
            applied_commit: None,
            marker_sent_at: None,
            marker_applied_at: None,
        };
        Arc::new(Status {
            state: Mutex::new(state),
            started: Instant::now(),
            alive: Moment::new(0),
            counted: Moment::new(0),
            capture: Moment::new(NEVER),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves at worst a half-updated report, which is still worth showing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop that fills green is alive, and what it has reported is so now. Call at least every few seconds, also while
    /// green is blocked.
    pub fn beat(&self) {
        self.counted();
        self.alive();
    }

    /// What was reported of green is so now.
    pub fn counted(&self) {
        self.touch(&self.counted);
    }

    /// The same, where what was reported may be old: while an attempt is waited for, or green cannot be asked.
    pub fn alive(&self) {
        self.touch(&self.alive);
    }

    /// A capture beside it is alive, which says nothing of what was reported of green.
    pub fn capture_alive(&self) {
        self.touch(&self.capture);
    }

    fn touch(&self, moment: &Moment) {
        // One that is never reached.
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER - 1);
        moment.store(since, Ordering::Relaxed);
    }

    /// How long ago a moment was; `None` before the first.
    fn since(&self, moment: &Moment) -> Option<Duration> {
        let last = Some(moment.load(Ordering::Relaxed)).filter(|last| *last != NEVER)?;
        Some(self.started.elapsed().saturating_sub(Duration::from_millis(last)))
    }

    /// Whether every loop that runs here has given a sign of life lately.
    pub fn is_alive(&self) -> bool {
        [&self.alive, &self.capture]
            .iter()
            .all(|moment| self.since(moment).is_none_or(|since| since < BEAT_MAX))
    }

    /// How long ago what is reported of green was so.
    pub fn since_counted(&self) -> Duration {
        self.since(&self.counted).unwrap_or_else(|| self.started.elapsed())
    }

    /// Whether both sides are connected. Says nothing of lag: one that lags must stay reachable.
    pub fn is_ready(&self) -> bool {
        let state = self.state();
        state.report.source_connected && state.report.target_connected && state.report.phase != Phase::Failed
    }

    /// Changes what is reported. For positions, lag and times use the methods below: they are filled in from them.
    pub fn update(&self, change: impl FnOnce(&mut StatusReport)) {
        change(&mut self.state().report);
    }

    /// Sets the phase.
    pub fn phase(&self, phase: Phase) {
        self.update(|report| report.phase = phase);
    }

    /// Blue's stream is connected, or no longer.
    pub fn source_connected(&self, connected: bool) {
        self.update(|report| report.source_connected = connected);
    }

    /// Green is connected, or no longer.
    pub fn target_connected(&self, connected: bool) {
        self.update(|report| report.target_connected = connected);
    }

    /// Changes one route, by its place in the migration.
    pub fn table(&self, route: usize, change: impl FnOnce(&mut TableStatus)) {
        if let Some(table) = self.state().report.tables.get_mut(route) {
            change(table);
        }
    }

    /// The pipeline waits for these things; for nothing when empty.
    pub fn waiting_for(&self, what: Vec<String>) {
        self.update(|report| report.waiting_for = what);
    }

    /// The same of a capture, which runs beside whoever fills green and knows nothing of what that one waits for.
    pub fn capture_waits_for(&self, what: Vec<String>) {
        self.state().capture_waits = what;
    }

    /// The same of calls to green, where something else than the pipeline sees what they wait for.
    pub fn green_waits_for(&self, what: Vec<String>) {
        self.state().green_waits = what;
    }

    /// A failure happened. The text must hold no row values.
    pub fn failed(&self, what: impl Into<String>) {
        let what = what.into();
        self.update(|report| report.last_error = Some(what));
    }

    /// The pipeline's marks moved.
    pub fn watermarks(&self, marks: Watermarks) {
        self.state().marks = Some(marks);
    }

    /// Blue's write-ahead log reaches at least to `end`.
    pub fn blue_end(&self, end: Lsn) {
        let mut state = self.state();
        state.blue_end = state.blue_end.max(Some(end));
    }

    /// Green shows a transaction that committed on blue at this time, microseconds since 2000-01-01 UTC.
    pub fn applied_commit_time(&self, commit_time_us: i64) {
        /// From the Unix epoch to Postgres' own.
        const POSTGRES_EPOCH: Duration = Duration::from_secs(946_684_800);
        let epoch = SystemTime::UNIX_EPOCH + POSTGRES_EPOCH;
        let since = Duration::from_micros(commit_time_us.unsigned_abs());
        self.state().applied_commit =
            if commit_time_us < 0 { epoch.checked_sub(since) } else { epoch.checked_add(since) };
    }

    /// A marker was committed on blue.
    pub fn marker_sent(&self, at: Instant) {
        let mut state = self.state();
        state.lag.sent(at);
        state.marker_sent_at = Some(SystemTime::now());
    }

    /// Green has applied everything before the marker that was sent at `sent_at`.
    pub fn marker_applied(&self, sent_at: Instant) {
        let mut state = self.state();
        state.lag.applied(sent_at, Instant::now());
        state.marker_applied_at = Some(SystemTime::now());
    }

    /// Whether the first copy of every table is complete and no row waits to be read again.
    pub fn is_settled(&self) -> bool {
        let state = self.state();
        let followed = |table: &TableStatus| table.state == TableState::Following;
        let tables = &state.report.tables;
        !tables.is_empty() && tables.iter().all(followed) && state.report.heals == 0
    }

    /// The latest moment of which it is proved that green has everything that blue had committed by then.
    pub fn proved(&self) -> Option<Instant> {
        self.state().lag.proved()
    }

    /// The report at this moment.
    pub fn report(&self) -> StatusReport {
        self.snapshot().0
    }

    /// The report and what only the metrics show, of the same moment.
    pub(crate) fn snapshot(&self) -> (StatusReport, Extra) {
        let state = self.state();
        let behind = |lsn: Lsn| Some(state.blue_end?.bytes_since(lsn));
        let mut report = state.report.clone();
        report.reported_at = rfc3339(SystemTime::now());
        report.waiting_for.extend_from_slice(&state.green_waits);
        report.waiting_for.extend_from_slice(&state.capture_waits);
        report.positions = state.marks.map(Positions::of);
        report.lag_bytes = state.marks.and_then(|marks| behind(marks.applied().lsn()));
        let lag = match state.marker_interval {
            Duration::ZERO => state.lag.by_arrivals(Instant::now()),
            // Markers that keep coming back are missed only after a few intervals.
            interval => state.lag.at(Instant::now(), interval.saturating_mul(3)),
        };
        report.lag_seconds = lag.map(|lag| lag.as_secs_f64());
        let extra = Extra {
            received_lag: state.marks.and_then(|marks| behind(marks.received())),
            confirmed_lag: state.marks.and_then(|marks| behind(marks.confirmed())),
            applied_commit: state.applied_commit,
            marker_sent_at: state.marker_sent_at,
            marker_applied_at: state.marker_applied_at,
        };
        (report, extra)
    }
}
