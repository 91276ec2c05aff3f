//! What several lanes do, put together: what each tells goes into one status, and how far all are is read from green's books.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use understudy_contract::{Applied, Blocker, ChunkDone};
use understudy_control::StatusHandle;
use understudy_kafka::{LanePlaces, PartitionLag};
use understudy_model::{Checkpoint, Lsn, Nonce, RouteId, TableName};
use understudy_postgres::sink::{LaneBooks, LanesSeen};
use understudy_replicate::{Observer, Progress, Tally};

use crate::assemble::apply::show_lag;
use crate::reporting::{Reporting, copies_awaited};

/// How often the books of all lanes are looked at. What lanes wait for, and what the lag says, is as old as that.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A lane of this process that gives no sign of life for this long hangs.
const LANE_SILENCE_MAX: Duration = Duration::from_secs(5);

/// Beats that are remembered, so that those which come through several lanes count once.
const BEATS_MAX: usize = 64;

/// What a process without a lane waits for: another has them all, or the group is about to share them out.
const NO_LANES: &str = "the group of workers in Kafka, to give this process lanes";

/// What a lane waits for, for people.
type Wait = Arc<Mutex<Option<String>>>;

/// What the lanes of this process tell, and what is known of all others.
pub(super) struct Together {
    inner: Reporting,
    status: StatusHandle,
    /// The routes by number, with their ends.
    routes: Vec<(RouteId, (TableName, TableName))>,
    told: Mutex<Told>,
    /// Everything before it is on green, whichever lane it belongs to.
    applied: watch::Sender<Lsn>,
}

#[derive(Default)]
struct Told {
    lanes: BTreeMap<u32, Lane>,
    beats: VecDeque<Nonce>,
    /// Routes that are copied in every lane, as green's books say.
    complete: HashSet<RouteId>,
    heals: u64,
}

/// What is known of a lane of this process.
#[derive(Default)]
struct Lane {
    progress: Option<Progress>,
    wait: Wait,
    /// The copies that it waits for, for people.
    copies: Vec<String>,
    /// When it has last given a sign of life, or begun.
    alive: Option<Instant>,
    /// How far behind it is in each partition that it reads, while that is known.
    lags: Vec<PartitionLag>,
}

impl Together {
    pub(super) fn new(
        (inner, status): (Reporting, StatusHandle),
        routes: Vec<(RouteId, (TableName, TableName))>,
    ) -> Together {
        Together { inner, status, routes, told: Mutex::default(), applied: watch::Sender::new(Lsn::ZERO) }
    }

    /// Up to where everything is on green.
    pub(super) fn applied(&self) -> watch::Receiver<Lsn> {
        self.applied.subscribe()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // A panic elsewhere leaves figures that are old at worst.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane runs here. `wait` tells what it waits for.
    pub(super) fn begins(&self, number: u32, wait: Wait) {
        let lane = Lane { wait, alive: Some(Instant::now()), ..Lane::default() };
        self.told().lanes.insert(number, lane);
        self.show_lanes();
    }

    /// A lane does not run here any more.
    pub(super) fn ends(&self, number: u32) {
        self.told().lanes.remove(&number);
        self.show_lanes();
    }

    fn show_lanes(&self) {
        let lanes = self.told().lanes.keys().copied().collect::<Vec<_>>();
        self.status.update(|report| {
            if let Some(through) = &mut report.through {
                through.lanes = Some(lanes);
            }
        });
    }

    /// How far behind a lane is in the partitions that it reads, while that is known.
    pub(super) fn lags(&self, number: u32, partitions: Option<&[PartitionLag]>) {
        let mut told = self.told();
        let Some(lane) = told.lanes.get_mut(&number) else { return };
        lane.lags = partitions.unwrap_or_default().to_vec();
        let mut all = BTreeMap::<(&str, u32), &PartitionLag>::new();
        for lag in told.lanes.values().flat_map(|lane| &lane.lags) {
            // Every lane reads the topic that tells the order.
            let furthest = all.entry((&lag.topic, lag.partition)).or_insert(lag);
            if lag.records() > furthest.records() {
                *furthest = lag;
            }
        }
        let all = all.into_values().cloned().collect::<Vec<_>>();
        show_lag(&self.status, Some(&all));
    }

    fn lane(&self, number: u32, change: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.told().lanes.get_mut(&number) {
            change(lane);
        }
    }

    /// Tells that what runs here is at work, unless a lane gives no sign of life.
    fn alive(&self) {
        let hangs = |lane: &Lane| lane.alive.is_some_and(|alive| alive.elapsed() > LANE_SILENCE_MAX);
        if !self.told().lanes.values().any(hangs) {
            self.status.alive();
        }
    }

    /// Takes over what green's books say of all lanes.
    fn seen(&self, seen: &LanesSeen) {
        let complete = self.routes.iter().filter(|(_, ends)| seen.complete.contains(ends));
        let complete = complete.map(|(id, _)| *id).collect();
        let waits = {
            let mut told = self.told();
            (told.complete, told.heals) = (complete, seen.heals);
            let wait = |lane: &Lane| lane.wait.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let waits = told.lanes.values().filter_map(wait);
            let copies = told.lanes.values().flat_map(|lane| &lane.copies).collect::<BTreeSet<_>>();
            let idle = told.lanes.is_empty().then(|| NO_LANES.to_owned());
            waits.chain(copies.into_iter().cloned()).chain(idle).collect::<Vec<_>>()
        };
        if let Some(checkpoint) = seen.checkpoint {
            self.inner.received(checkpoint.lsn());
            self.inner.reached(checkpoint, 0);
            self.applied.send_replace(checkpoint.lsn());
        }
        self.show();
        self.status.waiting_for(waits);
        self.status.update(|report| report.quarantined = seen.aside);
        self.status.counted();
    }

    /// Shows how far the copy is: rows as far as lanes here have them, its end once every lane has come to it.
    fn show(&self) {
        let told = self.told();
        let mut whole = Progress { heals: told.heals as usize, ..Progress::default() };
        let missing = self.routes.iter().map(|(id, _)| *id).filter(|id| !told.complete.contains(id));
        whole.incomplete = missing.collect();
        for (at, progress) in told.lanes.values().filter_map(|lane| lane.progress.as_ref()).enumerate() {
            whole.windows += progress.windows;
            whole.units.extend(progress.units.iter().cloned().map(|mut unit| {
                // Each lane has a part of the rows, and the estimate is of all.
                unit.unit.rows_estimate = unit.unit.rows_estimate.filter(|_| at == 0);
                unit
            }));
        }
        drop(told);
        self.inner.progress(&whole);
    }
}

/// Looks at the books of all lanes until it is dropped.
pub(super) async fn watch(mut books: LaneBooks, together: Arc<Together>, places: watch::Sender<LanePlaces>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        together.alive();
        match books.look().await {
            Ok(Some(seen)) => {
                together.seen(&seen);
                places.send_if_modified(|places| {
                    let differ = *places != seen.places;
                    places.clone_from(&seen.places);
                    differ
                });
            }
            Ok(None) => {}
            Err(failure) => tracing::debug!(error = %failure, "cannot look how far the lanes are"),
        }
    }
}

/// What one lane tells.
pub(super) struct LaneReporting {
    pub(super) number: u32,
    pub(super) together: Arc<Together>,
}

impl Observer for LaneReporting {
    fn received(&self, _: Lsn) {}

    fn applying(&self) {}

    fn applied(&self, tally: &Tally, applied: &Applied) {
        self.together.inner.counted(tally, applied);
    }

    fn durable(&self, _: Checkpoint) {}

    fn chunk_done(&self, _: &ChunkDone) {}

    // What is set aside in all lanes is read from green's books.
    fn aside(&self, _: u64) {}

    fn alive(&self) {
        self.together.lane(self.number, |lane| lane.alive = Some(Instant::now()));
        self.together.alive();
    }

    fn heartbeat_sent(&self, _: Nonce) {}

    fn heartbeat_seen(&self, _: Nonce, _: Checkpoint) {}

    fn beat_seen(&self, nonce: Nonce, sent_us: i64, checkpoint: Checkpoint) {
        let mut told = self.together.told();
        if told.beats.contains(&nonce) {
            return;
        }
        told.beats.push_back(nonce);
        if told.beats.len() > BEATS_MAX {
            told.beats.pop_front();
        }
        drop(told);
        self.together.inner.beat_seen(nonce, sent_us, checkpoint);
    }

    fn progress(&self, progress: &Progress) {
        self.together.lane(self.number, |lane| lane.progress = Some(progress.clone()));
        self.together.show();
    }

    fn waiting_for(&self, _: &[Blocker]) {}

    fn awaits_copy(&self, tables: &[TableName]) {
        self.together.lane(self.number, |lane| lane.copies = copies_awaited(tables));
    }
}
