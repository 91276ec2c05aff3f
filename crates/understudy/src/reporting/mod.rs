//! What the pipeline does, turned into status and metrics. The only place of the pipeline that looks at the clock.

pub(crate) mod capture;
pub(crate) mod reads;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use understudy_contract::{Applied, Blocker, ChunkDone, RowName};
use understudy_control::{Phase, StatusHandle, TableState};
use understudy_model::{Checkpoint, HealKey, Lsn, Nonce, RouteId, TableName, Watermarks};
use understudy_observe::{OTHER_TABLES, Op, Recorder, TABLES_MAX};
use understudy_replicate::{Healed, Observer, Progress, RouteTally, Tally};

use crate::verifying::Shared;

/// From the Unix epoch to Postgres' own.
const POSTGRES_EPOCH: Duration = Duration::from_secs(946_684_800);

/// Fills the status and the metrics from what the pipeline says.
pub(crate) struct Reporting {
    status: StatusHandle,
    recorder: Recorder,
    /// Where changed rows go; `None` when nothing is compared.
    shared: Option<Shared>,
    tables: Vec<String>,
    received: AtomicU64,
    /// Of a capture in this process.
    beats: Beats,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    marks: Watermarks,
    batch_started: Option<Instant>,
    heartbeats: HashMap<Nonce, Instant>,
    /// Routes whose copy was not complete when that was last told.
    incomplete: HashSet<RouteId>,
    /// Heartbeats that have come back and that green does not show yet.
    returned: VecDeque<(Checkpoint, Instant)>,
}

/// When the beats were sent that a capture in this process has sent and no apply has seen, by the clock of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beats {
    sent: Arc<Mutex<HashMap<Nonce, Instant>>>,
    /// It was told that another capture's clock is ahead of ours.
    is_warned: Arc<AtomicBool>,
}

impl Beats {
    fn lock(&self) -> MutexGuard<'_, HashMap<Nonce, Instant>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self, nonce: Nonce, at: Instant) {
        let mut beats = self.lock();
        if beats.len() >= HEARTBEATS_MAX {
            // Lost with a log that was cut off, or with an apply that stands still: the newest tell as much.
            beats.retain(|_, sent| at.saturating_duration_since(*sent) < BEAT_AGE_MAX);
        }
        if beats.len() < HEARTBEATS_MAX {
            beats.insert(nonce, at);
        }
    }

    /// When a beat was sent; of another process's, as well as both clocks agree. One from the future proves nothing: by as much
    /// as the sender's clock is ahead, green could be behind.
    fn sent_at(&self, nonce: Nonce, sent_us: i64, now: SystemTime) -> Option<Instant> {
        if let Some(at) = self.lock().remove(&nonce) {
            return Some(at);
        }
        let sent = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(sent_us).ok()?);
        let age = match now.duration_since(sent) {
            Ok(age) => age,
            Err(ahead) if ahead.duration() <= AHEAD_MAX => Duration::ZERO,
            Err(ahead) => {
                if !self.is_warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        ahead_ms = ahead.duration().as_millis() as u64,
                        "the clock of the capture's host is ahead of this one's: how far green is behind cannot be told \
                         until both agree"
                    );
                }
                return None;
            }
        };
        Instant::now().checked_sub(age)
    }
}

/// Clocks that are kept together still differ by this much.
const AHEAD_MAX: Duration = Duration::from_millis(100);

/// A beat that is older is not waited for.
const BEAT_AGE_MAX: Duration = Duration::from_secs(600);

/// Heartbeats that are remembered while none comes back.
const HEARTBEATS_MAX: usize = 1_024;

impl Reporting {
    /// Reports of a run that starts at `checkpoint`; `tables` are the routes' tables by number.
    pub(crate) fn new(
        (status, recorder, shared): (StatusHandle, Recorder, Option<Shared>),
        tables: Vec<String>,
        checkpoint: Checkpoint,
    ) -> Reporting {
        let inner = Inner { marks: Watermarks::resume_at(checkpoint), ..Inner::default() };
        status.watermarks(inner.marks);
        let received = AtomicU64::new(checkpoint.lsn().raw());
        let (beats, inner) = (Beats::default(), Mutex::new(inner));
        Reporting { status, recorder, shared, tables, received, beats, inner }
    }

    /// The same, where a capture may run in this process.
    pub(crate) fn with_beats(self, beats: Beats) -> Reporting {
        Reporting { beats, ..self }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves figures that are old at worst.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn label(&self, route: usize) -> &str {
        self.tables.get(route).filter(|_| route < TABLES_MAX).map_or(OTHER_TABLES, String::as_str)
    }

    fn count(&self, route: usize, tally: &RouteTally) {
        let counts = [
            (Op::Insert, tally.inserts),
            (Op::Update, tally.updates),
            (Op::Delete, tally.deletes),
            (Op::Truncate, tally.truncates),
        ];
        for (op, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            self.recorder.events_received(op, count);
            self.recorder.events_applied(self.label(route), op, count);
        }
        let sum = counts.iter().map(|(_, count)| count).sum::<u64>();
        self.status.table(route, |table| table.changes += sum);
        self.status.update(|report| report.changes_total += sum);
    }

    /// What a copy has placed is listed nowhere: with its end the route is verified anew, also where nobody saw it begin.
    fn copied(&self, incomplete: &HashSet<RouteId>) {
        let mut inner = self.inner();
        let before = std::mem::replace(&mut inner.incomplete, incomplete.clone());
        let applied = inner.marks.applied().lsn();
        drop(inner);
        if let Some(shared) = &self.shared {
            before.difference(incomplete).for_each(|route| shared.changed.note_unlisted(*route, applied));
        }
    }

    /// Counts what a batch held, whatever it says of how far green is.
    pub(crate) fn counted(&self, tally: &Tally, applied: &Applied) {
        for (route, counts) in tally.changes.iter().enumerate() {
            self.count(route, counts);
        }
        self.recorder.transactions_applied(tally.transactions);
        self.status.update(|report| {
            report.transactions_total += tally.transactions;
            report.mismatches += applied.mismatches;
        });
    }

    pub(crate) fn reached(&self, checkpoint: Checkpoint, commit_time_us: i64) {
        let mut inner = self.inner();
        inner.marks.receive(Lsn::new(self.received.load(Ordering::Relaxed)));
        inner.marks.apply(checkpoint);
        self.status.watermarks(inner.marks);
        while let Some((_, sent)) = inner.returned.pop_front_if(|(at, _)| *at <= checkpoint) {
            self.status.marker_applied(sent);
        }
        drop(inner);
        if commit_time_us != 0 {
            self.status.applied_commit_time(commit_time_us);
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + POSTGRES_EPOCH);
            let committed = Duration::from_micros(commit_time_us.unsigned_abs());
            if let Some(latency) = since.ok().and_then(|now| now.checked_sub(committed)) {
                self.recorder.end_to_end(latency);
            }
        }
    }
}

impl Observer for Reporting {
    fn received(&self, lsn: Lsn) {
        self.received.fetch_max(lsn.raw(), Ordering::Relaxed);
    }

    fn applying(&self) {
        self.inner().batch_started = Some(Instant::now());
    }

    fn applied(&self, tally: &Tally, applied: &Applied) {
        if let Some(shared) = &self.shared {
            let changed = &shared.changed;
            tally.changed_unlisted.iter().for_each(|route| changed.note_unlisted(*route, tally.upto));
            // Also without any row: it tells how far everything is listed.
            changed.note(tally.changed.iter().cloned(), tally.upto, shared.now());
        }
        self.counted(tally, applied);
        if let Some(started) = self.inner().batch_started.take() {
            self.recorder.batch_applied(started.elapsed());
        }
        if let Some(checkpoint) = tally.checkpoint {
            self.reached(checkpoint, tally.commit_time_us);
        }
    }

    fn durable(&self, checkpoint: Checkpoint) {
        let mut inner = self.inner();
        inner.marks.persist(checkpoint);
        self.status.watermarks(inner.marks);
    }

    fn chunk_done(&self, _: &ChunkDone) {
        self.status.beat();
    }

    fn aside(&self, rows: u64) {
        self.status.update(|report| report.quarantined = rows);
    }

    fn healed(&self, healed: &Healed) {
        if let Some(shared) = &self.shared {
            let name = |key: &HealKey| RowName { green: key.green.clone(), blue: Some(key.blue.clone()) };
            let rows = healed.keys.iter().map(|key| (healed.route, name(key)));
            shared.changed.note(rows, healed.at.lsn(), shared.now());
        }
    }

    fn wants_changed(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.changed.is_open())
    }

    fn heartbeat_sent(&self, nonce: Nonce) {
        let now = Instant::now();
        let mut inner = self.inner();
        if inner.heartbeats.len() < HEARTBEATS_MAX {
            inner.heartbeats.insert(nonce, now);
        }
        drop(inner);
        self.status.marker_sent(now);
        self.status.beat();
    }

    fn heartbeat_seen(&self, nonce: Nonce, checkpoint: Checkpoint) {
        let mut inner = self.inner();
        if let Some(sent) = inner.heartbeats.remove(&nonce) {
            inner.returned.push_back((checkpoint, sent));
        }
    }

    fn beat_seen(&self, nonce: Nonce, sent_us: i64, checkpoint: Checkpoint) {
        if let Some(sent) = self.beats.sent_at(nonce, sent_us, SystemTime::now()) {
            self.inner().returned.push_back((checkpoint, sent));
        }
    }

    fn alive(&self) {
        self.status.beat();
    }

    fn progress(&self, progress: &Progress) {
        let incomplete: HashSet<_> = progress.incomplete.iter().copied().collect();
        self.copied(&incomplete);
        if let Some(shared) = &self.shared {
            let known = Some(progress.incomplete.iter().copied().collect());
            shared.circumstances.send_if_modified(|circumstances| {
                let differs = circumstances.incomplete != known;
                circumstances.incomplete = known;
                differs
            });
        }
        let mut figures: HashMap<RouteId, (u64, u64, u64, Option<u64>)> = HashMap::new();
        for unit in &progress.units {
            let (done, total, rows, estimate) = figures.entry(unit.unit.route).or_default();
            *done += unit.chunks_done;
            *total += unit.chunks_done + unit.chunks_left;
            *rows += unit.rows_done;
            *estimate = match (*estimate, unit.unit.rows_estimate) {
                (Some(a), Some(b)) => Some(a + b),
                (one, other) => one.or(other),
            };
        }
        for (route, (done, total, rows, estimate)) in figures {
            // The status outlives an attempt: what an earlier one has counted is not counted again.
            let mut counted = 0;
            self.status.table(route.index(), |table| {
                counted = std::mem::replace(&mut table.rows_copied, rows);
                (table.chunks_done, table.chunks_total) = (done, Some(total));
                table.rows_estimate = estimate;
            });
            self.recorder.rows_copied(self.label(route.index()), rows.saturating_sub(counted));
        }
        for route in 0..self.tables.len() {
            let copying = incomplete.iter().any(|id| id.index() == route);
            self.status.table(route, |table| {
                table.state = match (copying, table.chunks_done) {
                    (false, _) => TableState::Following,
                    (true, 0) => TableState::Waiting,
                    (true, _) => TableState::Copying,
                };
            });
        }
        self.status.update(|report| {
            report.heals = progress.heals as u64;
            report.phase = if incomplete.is_empty() { Phase::Following } else { Phase::Copying };
        });
    }

    fn waiting_for(&self, blockers: &[Blocker]) {
        self.status.waiting_for(sentences(blockers));
    }

    fn awaits_copy(&self, tables: &[TableName]) {
        self.status.waiting_for(copies_awaited(tables));
    }
}

/// Which copies are waited for, for people.
pub(crate) fn copies_awaited(tables: &[TableName]) -> Vec<String> {
    let wait = |table: &TableName| {
        format!(
            "the capture, to copy {table}: if it follows it and copies nothing, stop it and start it once with \
             --recopy {table}"
        )
    };
    tables.iter().map(wait).collect()
}

/// What is waited for, for people.
fn sentences(blockers: &[Blocker]) -> Vec<String> {
    let sentence = |blocker: &Blocker| format!("transaction {}: {}", blocker.xid, blocker.description);
    blockers.iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use understudy_contract::{
        CompareRule, ComparedColumn, ComparedRoute, KeyRelation, LedgerWrite, SavedVerification, SideQuery,
    };
    use understudy_control::Status;
    use understudy_model::TableName;
    use understudy_verify::{Millis, VerifyCore, VerifyLimits, VerifySettings, VerifyStart};

    use super::*;
    use crate::gate::VerifyBoard;
    use crate::settings::{Secrets, Surroundings, parse};

    fn shared() -> Shared {
        let text = "version: 1\nname: shop\nblue: { url: postgres://u@blue/shop }\n\
                    green: { postgres: { url: postgres://u@green/shop } }\ntables: [{ from: public.* }]\n";
        let surroundings = Surroundings {
            variables: HashMap::new(),
            folder: std::path::PathBuf::new(),
            secrets: Secrets::LeaveOut,
        };
        let settings = parse("shop.yaml", text, &surroundings).unwrap();
        Shared::new(&settings.verify, VerifyBoard::new(), crate::faults::TestFaults::default())
    }

    fn start() -> VerifyStart {
        let side = SideQuery {
            table: TableName::new("public", "t"),
            from: "ONLY t".to_owned(),
            condition: None,
            key: Vec::new(),
            green_key: Vec::new(),
            key_order: Vec::new(),
            columns: Vec::new(),
            settings: Vec::new(),
            versioned: true,
        };
        let route = ComparedRoute {
            route: RouteId(0),
            source: side.table.clone(),
            target: side.table.clone(),
            keys: KeyRelation::Aligned,
            columns: vec![ComparedColumn { name: "id".to_owned(), rule: CompareRule::Exact }],
            key: vec![0],
            blue: side.clone(),
            green: side,
            rows_estimate: None,
            fingerprint: "f".to_owned(),
        };
        let limits = VerifyLimits {
            rows_per_second: None,
            busy: 1.0,
            max_active_sessions: None,
            max_replica_lag: None,
            max_read_time: Duration::from_secs(1),
            yield_at_lag: Duration::from_secs(5),
            pass_pause: Duration::from_secs(60),
        };
        let settings = VerifySettings { range_rows: 10, limits, seed: 1 };
        VerifyStart {
            routes: vec![route],
            large: Default::default(),
            saved: SavedVerification::default(),
            settings,
        }
    }

    /// A capture whose clock is ahead must not make green look as if it were no further behind than its beats are young: the
    /// gate would open on changes that green lacks.
    #[test]
    fn a_beat_from_the_future_proves_nothing() {
        let beats = Beats::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let sent_at = |sent_ms: i64| beats.sent_at(Nonce(1), sent_ms * 1_000, now);
        let age = sent_at(98_000).unwrap().elapsed();
        assert!(age >= Duration::from_secs(2) && age < Duration::from_secs(30), "{age:?}");
        assert!(sent_at(100_050).is_some(), "clocks that are kept together");
        assert_eq!(sent_at(110_000), None);
        beats.sent(Nonce(1), Instant::now());
        assert!(sent_at(110_000).is_some(), "one of our own is timed by our own clock");
    }

    /// What a copy places is listed nowhere. A copy that is over before verification has looked must not leave in force what
    /// was verified before it.
    #[test]
    fn a_copy_that_ends_has_its_route_verified_anew() {
        let shared = shared();
        let status = Status::new("shop", "1", Duration::from_secs(1));
        let to = (status, Recorder::new("shop"), Some(shared.clone()));
        let reporting = Reporting::new(to, vec!["public.t".to_owned()], Checkpoint::default());
        let mut core = VerifyCore::new(start(), shared.changed.clone(), Millis(0)).unwrap();
        let progress = |incomplete: &[RouteId]| Progress {
            units: Vec::new(),
            incomplete: incomplete.to_vec(),
            unplanned: Vec::new(),
            heals: 0,
            waiting_for: Vec::new(),
            windows: 0,
        };
        reporting.progress(&progress(&[RouteId(0)]));
        let at = Lsn::new(500);
        let checkpoint = Some(Checkpoint::at_commit_end(at));
        reporting.applied(&Tally { checkpoint, upto: at, ..Tally::default() }, &Applied::default());
        reporting.progress(&progress(&[]));
        core.tick(Millis(1));
        let is_marked =
            |entry: &LedgerWrite| matches!(entry, LedgerWrite::Pass(_, pass) if pass.dirty_upto == at);
        assert!(core.take_writes().iter().any(is_marked));
    }
}
