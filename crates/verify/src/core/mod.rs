//! The deciding part of verification: what is read next, and what each result means. No clock, no socket.
//!
//! Rows that are being settled come first, then rows that replication has changed, then ranges, which have a turn now and
//! then however much changes; only ranges are throttled.

mod job;
mod ranging;
mod settling;

mod cases;
mod mismatches;
mod ranges;
mod route;

mod reporting;
mod requests;
mod window;

pub use job::{Audit, Brought, Done, Job, JobId, Side, Task};

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use understudy_contract::{
    Class, ComparedRoute, Failure, GreenMoment, KeyRelation, LedgerWrite, NotRead, Resolution, RowName,
    SavedVerification, Sweep,
};
use understudy_model::{Checkpoint, HealKey, Key, Lsn, RouteId};

use self::cases::{Cases, MayRead, Open, Together};
use self::mismatches::Mismatches;
use self::ranging::About;
use self::route::{Copied, Route};
use self::window::{Dice, Window};
use crate::changed::{ChangedRows, Noted};
use crate::circumstances::{Circumstances, Load, Millis};
use crate::settings::VerifySettings;
use crate::settle::Horizon;
use crate::throttle::Throttle;

/// For how long a changed row is left alone: rows that change often are read less often, and by then some read of green has
/// shown that blue's log is visible beyond the change.
const DWELL_MS: u64 = 250;

/// Pause before rows are asked for again that green has not applied yet.
const NOT_YET_MS: u64 = 200;

/// Reads of single rows after which a range has its turn.
const NAMES_IN_ROW_MAX: u32 = 8;

/// Entries for the ledger that may wait; no range is read while there are more.
const WRITES_MAX: usize = 20_000;

/// What a run begins with.
#[derive(Debug, Clone)]
pub struct VerifyStart {
    /// Every route of the migration.
    pub routes: Vec<ComparedRoute>,
    /// For each column of a route whether updates may leave its value out, since it can be stored apart from its row.
    pub large: BTreeMap<RouteId, Vec<bool>>,
    /// What the ledger holds.
    pub saved: SavedVerification,
    /// How the run is paced.
    pub settings: VerifySettings,
}

/// A question to replication's evaluator: what it makes of a row of blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    /// The route.
    pub route: RouteId,
    /// The row's key on green.
    pub green: Key,
    /// Its key on blue.
    pub blue: Key,
}

/// Everything that verification knows.
#[derive(Debug)]
pub struct VerifyCore {
    routes: Vec<Route>,
    large: BTreeMap<RouteId, Vec<bool>>,
    throttle: Throttle,
    load: Load,
    changed: Arc<ChangedRows>,
    cases: Cases,
    mismatches: Mismatches,
    explains: VecDeque<Explain>,
    horizon: Arc<Horizon>,
    newest: Checkpoint,
    jobs: FxHashMap<JobId, InFlight>,
    last_job: u64,
    /// Reads of single rows since the last one of a range, or since one had its chance.
    names_in_row: u32,
    /// The route whose turn it is.
    turn: usize,
    /// Readings of ranges so far.
    tokens: u64,
    dice: Dice,
    writes: Vec<LedgerWrite>,
    is_urgent: bool,
    changed_upto: Lsn,
    rereads: Vec<(RouteId, HealKey)>,
    /// How long changed rows waited, over the last minute.
    ages: Window,
    /// Rows of ranges, over the last seconds.
    rate: Window,
}

/// A job that a worker has.
#[derive(Debug)]
struct InFlight {
    route: RouteId,
    worker: usize,
    generation: u64,
    what: What,
    /// When it was given away.
    given: Millis,
    /// What reads of green that ended before it was given away tell.
    horizon: Arc<Horizon>,
}

#[derive(Debug)]
enum What {
    Range(About),
    Names(Together),
}

impl VerifyCore {
    /// Takes up what the ledger holds. `changed` may hold rows already.
    pub fn new(start: VerifyStart, changed: Arc<ChangedRows>, now: Millis) -> Result<VerifyCore, Failure> {
        let VerifyStart { mut routes, large, saved, settings } = start;
        routes.sort_by_key(|route| route.route);
        if routes.iter().enumerate().any(|(index, route)| route.route.index() != index) {
            return Err(Failure::new(
                Class::Internal,
                "the routes to compare are not numbered without a gap",
            ));
        }
        let mut core = VerifyCore {
            routes: routes.into_iter().map(Route::new).collect(),
            large,
            throttle: Throttle::new(settings.limits, settings.range_rows, now),
            load: Load::default(),
            changed,
            cases: Cases::default(),
            mismatches: Mismatches::default(),
            explains: VecDeque::new(),
            horizon: Arc::default(),
            newest: Checkpoint::default(),
            jobs: FxHashMap::default(),
            last_job: 0,
            names_in_row: 0,
            turn: 0,
            tokens: 0,
            dice: Dice::new(settings.seed),
            writes: Vec::new(),
            is_urgent: false,
            changed_upto: saved.changed_upto,
            rereads: Vec::new(),
            ages: Window::new(60_000),
            rate: Window::new(10_000),
        };
        core.resume(saved, now);
        Ok(core)
    }

    fn resume(&mut self, saved: SavedVerification, now: Millis) {
        let mut of_ledger: FxHashMap<RouteId, _> =
            saved.routes.into_iter().map(|route| (route.route, route)).collect();
        let mut kept = vec![false; self.routes.len()];
        for route in &mut self.routes {
            let same = of_ledger.remove(&route.id()).filter(|of| of.fingerprint == route.plan.fingerprint);
            if let Some(same) = same {
                kept[route.id().index()] = true;
                self.writes.extend(route.resume(same, now));
            } else {
                let (route, fingerprint) = (route.id(), route.plan.fingerprint.clone());
                self.writes.push(LedgerWrite::Plan { route, fingerprint });
            }
        }
        let stays = |route: RouteId| kept.get(route.index()).copied().unwrap_or(false);
        let (open, gone): (Vec<_>, Vec<_>) = saved.mismatches.into_iter().partition(|one| stays(one.route));
        for mismatch in gone {
            if let Some(route) = self.routes.get_mut(mismatch.route.index()) {
                route.counts.count(Resolution::Gone);
            }
            self.writes.push(LedgerWrite::Resolved(mismatch.id, Resolution::Gone));
        }
        self.mismatches = Mismatches::new(open, saved.last_mismatch, now);
        // What green applied since, and what an earlier run in this process took, is followed by nobody who is still here.
        let upto = saved.checkpoint.max(self.changed.gone());
        if upto > saved.changed_upto {
            (0..self.routes.len()).for_each(|index| self.mark_dirty(index, upto, now));
            self.changed_upto = upto;
            self.writes.push(LedgerWrite::ChangedUpto(upto));
        }
        self.is_urgent = true;
    }

    fn mark_dirty(&mut self, index: usize, upto: Lsn, now: Millis) {
        let route = &mut self.routes[index];
        if upto > route.pass.dirty_upto {
            route.pass.dirty_upto = upto;
            self.writes.push(route.pass_record(now));
        }
    }

    fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(id.index())
    }

    /// The world is not as it was.
    pub fn set_circumstances(&mut self, circumstances: &Circumstances, now: Millis) {
        self.load = circumstances.load;
        for route in &mut self.routes {
            let id = route.id();
            let copied = match &circumstances.incomplete {
                None => Copied::Unknown,
                Some(incomplete) if incomplete.contains(&id) => Copied::InPart,
                Some(_) => Copied::Whole,
            };
            let before = std::mem::replace(&mut route.copied, copied);
            if copied == Copied::InPart && before != Copied::InPart {
                // Ranges are verified after the copy is complete, whatever was changed until then.
                self.writes.extend(route.forget(now));
            }
        }
    }

    /// What a worker reads next; `None` when there is nothing for it now.
    pub fn next_job(&mut self, worker: usize, now: Millis) -> Option<Job> {
        self.recheck(now);
        // However much changes, passes go on.
        if self.names_in_row >= NAMES_IN_ROW_MAX {
            self.names_in_row = 0;
            if let Some(job) = self.range_job(worker, now) {
                return Some(job);
            }
        }
        let routes = &self.routes;
        let nothing = MayRead { most: 0, search: false };
        let may = |route: RouteId| routes.get(route.index()).map_or(nothing, |of| of.may_read_names(now));
        if let Some(together) = self.cases.take(may, now) {
            return Some(self.names_job(together, worker, now));
        }
        if let Some(together) = self.take_changed(now) {
            return Some(self.names_job(together, worker, now));
        }
        self.range_job(worker, now)
    }

    fn range_job(&mut self, worker: usize, now: Millis) -> Option<Job> {
        if self.throttle.held_back(&self.load).is_some() || self.writes.len() > WRITES_MAX {
            return None;
        }
        let (about, task) = self.next_of_ranges(worker, now)?;
        Some(self.job((about.route, task), What::Range(about), worker, now))
    }

    fn names_job(&mut self, together: Together, worker: usize, now: Millis) -> Job {
        self.names_in_row += 1;
        let Together { route, ref names, detail, thorough } = together;
        let task = Task::Names { names: names.clone(), detail, thorough };
        self.job((route, task), What::Names(together), worker, now)
    }

    fn job(&mut self, (route, task): (RouteId, Task), what: What, worker: usize, given: Millis) -> Job {
        self.last_job += 1;
        let id = JobId(self.last_job);
        let generation = self.routes[route.index()].generation;
        let horizon = self.horizon.clone();
        self.jobs.insert(id, InFlight { route, worker, generation, what, given, horizon });
        Job { id, route, task }
    }

    /// Rows that replication has changed, unless they are being settled anyway.
    fn take_changed(&mut self, now: Millis) -> Option<Together> {
        while self.cases.room() >= route::NAMES_MAX {
            let ripe = self.changed.waiting().1.is_some_and(|since| now.since(since) >= DWELL_MS);
            if !ripe {
                return None;
            }
            let routes = &self.routes;
            let may = |route: RouteId| routes.get(route.index()).is_some_and(|of| of.may_read(now));
            let (route, rows) = self.changed.take(route::NAMES_MAX, may)?;
            let of = &self.routes[route.index()];
            let (keys, may_now) = (of.plan.keys, of.may_read_names(now));
            let nothing = MayRead { most: 0, search: false };
            for noted in rows {
                self.enter_changed(route, keys, noted, now);
            }
            if let Some(together) = self.cases.take(|one| if one == route { may_now } else { nothing }, now) {
                return Some(together);
            }
        }
        None
    }

    fn enter_changed(&mut self, route: RouteId, keys: KeyRelation, noted: Noted, now: Millis) {
        let name = full(keys, noted.name.clone());
        let id = (route, name.green.clone());
        let is_new = !self.cases.holds(&id);
        let mismatch = self.mismatches.of_row(&id);
        let open = if is_new {
            Open::new(keys, name.clone(), mismatch)
        } else {
            Open::new(keys, name.clone(), None)
        };
        let open = self.cases.enter(id.clone(), open);
        open.name.blue = name.blue.or(open.name.blue.take());
        open.changed = Some(match open.changed.take() {
            Some(before) => Noted { last: before.last.max(noted.last), ..before },
            None => noted,
        });
        if is_new {
            self.cases.schedule(&id, now);
        }
    }

    /// A worker has done its job, or could not.
    pub fn on_done(&mut self, done: Done, now: Millis) {
        let Some(job) = self.jobs.remove(&done.id) else { return };
        let (index, generation) = (job.route.index(), self.routes[job.route.index()].generation);
        if let What::Range(about) = &job.what {
            let rows = done.answer.as_ref().map_or(0, rows_of);
            self.throttle.has_read(job.worker, rows, done.spent, now);
            let route = &self.routes[index];
            // A search of all of blue takes as long for fewer keys.
            if !route.is_computed() || route.sweeps[about.sweep].sweep != Sweep::Green {
                self.throttle.adapt(rows, done.spent.blue_ms);
            }
        }
        if let What::Names(Together { thorough: true, .. }) = &job.what {
            let rest_ms = self.throttle.rest_ms(done.spent.blue_ms);
            self.routes[index].search_from = Millis(now.0 + rest_ms);
        }
        match (done.answer, &job.what) {
            (Ok(brought), What::Range(about)) => {
                self.hear_green(&brought);
                if generation == job.generation {
                    self.routes[index].was_read(Some(about));
                    self.on_range(&job, about, brought, now);
                }
            }
            (Ok(brought), What::Names(together)) => {
                self.hear_green(&brought);
                self.routes[index].was_read(None);
                if let Brought::Rows(blue, green) = brought {
                    self.on_names(&job, together, (blue, green), now);
                }
            }
            (Err(why), What::Range(about)) => {
                if generation == job.generation {
                    self.range_not_read(about, why, now);
                }
            }
            (Err(why), What::Names(together)) => {
                let most = self.routes[index].names_max;
                if together.thorough {
                    // Searching for fewer rows takes as long, and tells nothing of looking them up.
                    self.routes[index].names_max = 1;
                }
                let from = self.not_read(job.route, None, why, now);
                if together.thorough {
                    self.routes[index].names_max = most;
                }
                self.names_again(together, from);
            }
        }
    }

    /// Reads of blue that begin from now on are later than these reads of green.
    fn hear_green(&mut self, brought: &Brought) {
        let mut hear = |moment: &GreenMoment| {
            // Workers report in any order: what is behind another read tells nothing new.
            if moment.checkpoint >= self.newest {
                self.newest = moment.checkpoint;
                Arc::make_mut(&mut self.horizon).green(moment);
            }
        };
        match brought {
            Brought::Boundary(_) => {}
            Brought::Digests(_, green) => hear(&green.moment),
            Brought::Rows(_, green) | Brought::FromGreen(green, _) => hear(&green.moment),
            Brought::Audit(audit) => hear(&audit.green_after.moment),
            Brought::FromBlue(_, green) => green.iter().for_each(|read| hear(&read.moment)),
        }
    }

    /// Something of a route could not be read. Returns when it is tried again.
    fn not_read(&mut self, route: RouteId, about: Option<&About>, why: NotRead, now: Millis) -> Millis {
        let of = &mut self.routes[route.index()];
        let table = &of.plan.source;
        match why {
            NotRead::NotYet => Millis(now.0 + NOT_YET_MS),
            NotRead::TooSlow if about.is_none() && of.names_max > 1 => {
                of.names_max /= 2;
                now
            }
            NotRead::TooSlow => {
                let why = format!(
                    "reading {table} takes longer than it may: raise max_read_time, or index what it is looked up by"
                );
                of.block(why, about.cloned(), now)
            }
            NotRead::Busy => {
                let why =
                    format!("{table} or its table on green is locked by somebody else, or throttles reads");
                of.block(why, about.cloned(), now)
            }
            NotRead::Changed(what) => {
                // Rewriting a table changes its rows without a trace in the stream.
                let written = of.forget(now);
                self.writes.extend(written);
                self.routes[route.index()].block(what, about.cloned(), now)
            }
            NotRead::Unreadable(what) => of.block(what, about.cloned(), now),
        }
    }

    /// To be called about once a second: marks what was not followed row by row, and ends passes.
    pub fn tick(&mut self, now: Millis) {
        let told = self.changed.told();
        let routes = &self.routes;
        let compared =
            |route: RouteId| routes.get(route.index()).is_some_and(|of| of.copied != Copied::InPart);
        self.changed.keep(compared);
        for (route, upto) in told.dirty {
            if self.route(route).is_some() {
                self.mark_dirty(route.index(), upto, now);
            }
        }
        let waiting = [told.waiting_after, self.cases.changed_after()];
        let upto = waiting.into_iter().flatten().chain([told.upto]).min().unwrap_or_default();
        if upto > self.changed_upto {
            self.changed_upto = upto;
            self.writes.push(LedgerWrite::ChangedUpto(upto));
        }
        self.explain_more(now);
        let sizes = self.throttle.sizes();
        for index in 0..self.routes.len() {
            let ended = self.routes[index].end_pass(sizes, now);
            self.writes.extend(ended);
        }
    }

    /// The next row of which to ask what replication makes of it.
    pub fn next_explain(&mut self) -> Option<Explain> {
        self.explains.pop_front()
    }

    /// Whether something is to be written without delay.
    pub fn is_urgent(&self) -> bool {
        self.is_urgent
    }

    /// What is to be written to the ledger, in one piece.
    pub fn take_writes(&mut self) -> Vec<LedgerWrite> {
        self.is_urgent = false;
        std::mem::take(&mut self.writes)
    }

    /// Rows that replication is to read again.
    pub fn take_rereads(&mut self) -> Vec<(RouteId, HealKey)> {
        std::mem::take(&mut self.rereads)
    }

    fn write_now(&mut self, entry: LedgerWrite) {
        self.writes.push(entry);
        self.is_urgent = true;
    }
}

/// A name with its key on blue, where that is known from the one on green.
fn full(keys: KeyRelation, name: RowName) -> RowName {
    match (keys, name.blue) {
        (KeyRelation::Aligned | KeyRelation::Passed, None) => {
            RowName { blue: Some(name.green.clone()), green: name.green }
        }
        (_, blue) => RowName { green: name.green, blue },
    }
}

/// Rows that were read of a range.
fn rows_of(brought: &Brought) -> u64 {
    match brought {
        Brought::Boundary(_) => 0,
        Brought::Digests(blue, _) => blue.value.rows,
        Brought::Rows(blue, _) | Brought::FromBlue(blue, _) => blue.value.len() as u64,
        Brought::FromGreen(green, _) => green.value.len() as u64,
        Brought::Audit(audit) => 2 * audit.blue_before.value.len() as u64,
    }
}
