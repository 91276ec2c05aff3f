//! What several lanes do, put together: what each tells goes into one status, and how far all are is read from green's books.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use understudy_contract::{Applied, Blocker, ChunkDone};
use understudy_control::StatusHandle;
use understudy_kafka::LanePlaces;
use understudy_model::{Checkpoint, Lsn, Nonce, RouteId, TableName};
use understudy_postgres::sink::{LaneBooks, LanesSeen};
use understudy_replicate::{Healed, Observer, Progress, Tally};

use super::changed::ChangedByLanes;
use crate::reporting::Reporting;

/// How often the books of all lanes are looked at. What lanes wait for, and what the lag says, is as old as that.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Beats that are remembered, so that those which come through several lanes count once.
const BEATS_MAX: usize = 64;

/// What a lane waits for, for people.
type Wait = Arc<Mutex<Option<String>>>;

/// What the lanes of this process tell, and what is known of all others.
pub(super) struct Together {
    inner: Reporting,
    status: StatusHandle,
    /// The routes by number, with their ends.
    routes: Vec<(RouteId, (TableName, TableName))>,
    told: Mutex<Told>,
    changed: Mutex<ChangedByLanes>,
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
}

impl Together {
    pub(super) fn new(
        (inner, status): (Reporting, StatusHandle),
        routes: Vec<(RouteId, (TableName, TableName))>,
        changed: ChangedByLanes,
    ) -> Together {
        Together { inner, status, routes, told: Mutex::default(), changed: Mutex::new(changed) }
    }

    fn changed(&self) -> MutexGuard<'_, ChangedByLanes> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // A panic elsewhere leaves figures that are old at worst.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane runs here. `wait` tells what it waits for.
    pub(super) fn begins(&self, number: u32, wait: Wait) {
        self.told().lanes.insert(number, Lane { progress: None, wait });
        self.changed().begins(number);
        self.show_lanes();
    }

    /// A lane does not run here any more.
    pub(super) fn ends(&self, number: u32) {
        self.told().lanes.remove(&number);
        self.changed().ends(number);
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

    /// Takes over what green's books say of all lanes.
    fn seen(&self, seen: &LanesSeen) {
        let complete = self.routes.iter().filter(|(_, ends)| seen.complete.contains(ends));
        let complete = complete.map(|(id, _)| *id).collect();
        let waits = {
            let mut told = self.told();
            (told.complete, told.heals) = (complete, seen.heals);
            let wait = |lane: &Lane| lane.wait.lock().unwrap_or_else(PoisonError::into_inner).clone();
            told.lanes.values().filter_map(wait).collect::<Vec<_>>()
        };
        if let Some(checkpoint) = seen.checkpoint {
            self.inner.received(checkpoint.lsn());
            self.inner.reached(checkpoint, 0);
            self.changed().seen(checkpoint.lsn());
        }
        self.show();
        self.status.waiting_for(waits);
        self.status.update(|report| report.quarantined = seen.quarantined);
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
        self.together.changed().applied(self.number, tally);
        self.together.inner.counted(tally, applied);
    }

    fn healed(&self, healed: &Healed) {
        self.together.changed().healed(self.number, healed);
    }

    fn wants_changed(&self) -> bool {
        self.together.changed().wants_rows()
    }

    fn durable(&self, _: Checkpoint) {}

    fn chunk_done(&self, done: &ChunkDone) {
        self.together.inner.chunk_done(done);
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
        if let Some(lane) = self.together.told().lanes.get_mut(&self.number) {
            lane.progress = Some(progress.clone());
        }
        self.together.show();
    }

    fn waiting_for(&self, _: &[Blocker]) {}
}
