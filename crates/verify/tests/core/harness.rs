//! A core that reads the world in memory, one job after the other, on a clock that only the test moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use understudy_contract::{Answer, Ask, Detail, LedgerNews, Request, Which};
use understudy_model::{Lsn, RouteId};
use understudy_verify::{
    Audit, Brought, ChangedRows, Circumstances, Done, Explain, Job, Load, Millis, RouteReport, RouteState,
    Spent, Task, VerifyCore, VerifyLimits, VerifyReport, VerifySettings, VerifyStart,
};

use crate::ledger::Ledger;
use crate::world::World;

/// How long one job takes.
const JOB_MS: u64 = 10;

pub(crate) fn settings(range_rows: u64) -> VerifySettings {
    VerifySettings {
        range_rows,
        seed: 1,
        limits: VerifyLimits {
            rows_per_second: None,
            busy: 1.0,
            max_active_sessions: None,
            max_replica_lag: None,
            max_read_time: Duration::from_secs(2),
            yield_at_lag: Duration::from_secs(5),
            pass_pause: Duration::from_secs(60),
        },
    }
}

pub(crate) fn start(world: &World, routes: u16, ledger: &Ledger, settings: VerifySettings) -> VerifyStart {
    VerifyStart {
        routes: (0..routes).map(|route| world.route(route)).collect(),
        large: BTreeMap::new(),
        saved: ledger.saved(world.checkpoint()),
        settings,
    }
}

pub(crate) fn at_ease() -> Circumstances {
    let load = Load { active_sessions: Some(0), replica_lag_ms: Some(0), lag_ms: Some(0) };
    Circumstances { incomplete: Some(BTreeSet::new()), load }
}

/// A core and its surroundings.
pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) core: VerifyCore,
    pub(crate) changed: Arc<ChangedRows>,
    pub(crate) ledger: Ledger,
    pub(crate) now: Millis,
    pub(crate) jobs: Vec<Job>,
    pub(crate) rereads: Vec<(RouteId, understudy_model::HealKey)>,
    pub(crate) settings: VerifySettings,
    pub(crate) routes: u16,
    pub(crate) changed_max: usize,
    /// Whether what differs is explained.
    pub(crate) explains: bool,
    /// Differences that were explained so far, one for each time.
    pub(crate) explained: Vec<Explain>,
    /// How long a search of all of blue for rows takes.
    pub(crate) search_ms: u64,
    requests: u64,
    flushed: Millis,
}

impl Run {
    pub(crate) fn new(world: World, routes: u16, range_rows: u64) -> Run {
        Run::with_settings(world, routes, settings(range_rows), 100_000)
    }

    pub(crate) fn with_settings(
        world: World,
        routes: u16,
        settings: VerifySettings,
        changed_max: usize,
    ) -> Run {
        let (changed, ledger) = (Arc::new(ChangedRows::new(changed_max)), Ledger::default());
        let now = Millis(5);
        let start = start(&world, routes, &ledger, settings.clone());
        let core = VerifyCore::new(start, changed.clone(), now).unwrap();
        let mut run = Run {
            world,
            core,
            changed,
            ledger,
            now,
            jobs: Vec::new(),
            rereads: Vec::new(),
            settings,
            routes,
            changed_max,
            explains: true,
            explained: Vec::new(),
            search_ms: 5,
            requests: 0,
            flushed: now,
        };
        run.core.set_circumstances(&at_ease(), now);
        run
    }

    /// Everything that is not in the ledger is lost.
    pub(crate) fn restart(&mut self) {
        self.changed = Arc::new(ChangedRows::new(self.changed_max));
        self.now = Millis(3);
        self.flushed = self.now;
        self.begin_again();
    }

    /// Verification begins anew, while replication goes on.
    pub(crate) fn begin_again(&mut self) {
        self.jobs.clear();
        let start = start(&self.world, self.routes, &self.ledger, self.settings.clone());
        self.core = VerifyCore::new(start, self.changed.clone(), self.now).unwrap();
        self.core.set_circumstances(&at_ease(), self.now);
    }

    /// Replication applies what has been logged, and tells which rows changed.
    pub(crate) fn replicate(&mut self) {
        self.world.apply();
        self.note();
    }

    fn note(&mut self) {
        let rows = std::mem::take(&mut self.world.to_note);
        self.changed.note(rows, self.world.checkpoint(), self.now);
    }

    /// One job, or a pause of the same length when there is nothing to read.
    pub(crate) fn step(&mut self) {
        if let Some(job) = self.core.next_job(0, self.now) {
            let answer = execute(&mut self.world, &job);
            self.note();
            let is_search = matches!(job.task, Task::Names { thorough: true, .. });
            let blue_ms = if is_search { self.search_ms } else { 5 };
            self.now.0 += JOB_MS.max(blue_ms);
            let done = Done { id: job.id, spent: Spent { blue_ms, green_ms: 5 }, answer };
            self.jobs.push(job);
            self.core.on_done(done, self.now);
        } else {
            self.now.0 += JOB_MS;
        }
        while let Some(explain) = self.core.next_explain().filter(|_| self.explains) {
            self.core.on_explained(&explain, None, self.now);
            self.explained.push(explain);
        }
        if self.now.since(self.flushed) >= 1_000 || self.core.is_urgent() {
            self.flush();
        }
        self.rereads.extend(self.core.take_rereads());
    }

    pub(crate) fn flush(&mut self) {
        self.flushed = self.now;
        self.core.tick(self.now);
        let entries = self.core.take_writes();
        self.ledger.write(&entries);
    }

    /// Steps until something is so, which it must be within so many seconds of the clock.
    pub(crate) fn until(&mut self, seconds: u64, what: &str, is_so: impl Fn(&VerifyReport) -> bool) {
        let end = Millis(self.now.0 + seconds * 1_000);
        while !is_so(&self.report()) {
            assert!(self.now < end, "not within {seconds} s: {what}\n{:#?}", self.report());
            self.step();
        }
        self.flush();
    }

    pub(crate) fn pass_time(&mut self, seconds: u64) {
        let end = Millis(self.now.0 + seconds * 1_000);
        while self.now < end {
            self.step();
        }
    }

    pub(crate) fn until_verified(&mut self) {
        self.until(600, "everything is verified", |report| {
            report.routes.iter().all(|route| route.coverage == 1.0)
        });
    }

    pub(crate) fn report(&self) -> VerifyReport {
        self.core.report(self.now)
    }

    pub(crate) fn first(&self) -> RouteReport {
        self.report().routes[0].clone()
    }

    pub(crate) fn ask(&mut self, ask: Ask) -> String {
        self.requests += 1;
        let id = self.requests;
        let requests = vec![Request { id, ask }];
        self.core.on_news(LedgerNews { requests, surprises: Vec::new() }, self.now);
        self.flush();
        self.ledger.answers[&id].clone()
    }

    /// Replication does what it was asked to.
    pub(crate) fn place_rereads(&mut self) {
        for (route, reread) in std::mem::take(&mut self.rereads) {
            let text = String::from_utf8(reread.green.texts().next().unwrap().to_vec()).unwrap();
            self.world.reread(route.0, text.parse().unwrap());
        }
    }
}

pub(crate) fn is_blocked(route: &RouteReport) -> bool {
    matches!(route.state, RouteState::Blocked(_))
}

/// Does a job as a worker does.
pub(crate) fn execute(world: &mut World, job: &Job) -> Answer<Brought> {
    let route = job.route;
    let digests = Detail::Digests;
    match &job.task {
        Task::Boundary { side, after, rows } => {
            world.boundary(*side, route, after.as_ref(), *rows).map(Brought::Boundary)
        }
        Task::Digests(range) => {
            let blue = world.blue_digest(route, range)?;
            world.mark();
            let green = world.green_digest(route, range, blue.moment.lsn)?;
            Ok(Brought::Digests(blue, green))
        }
        Task::Both(range) => {
            let which = Which::Range(range.clone());
            let blue = world.blue_rows(route, &which, digests)?;
            world.mark();
            let green = world.green_rows(route, &which, digests, blue.moment.lsn)?;
            Ok(Brought::Rows(blue, green))
        }
        Task::Audit(range) => {
            let which = Which::Range(range.clone());
            let blue_before = world.blue_rows(route, &which, digests)?;
            let blue_digest = world.blue_digest(route, range)?;
            let blue_after = world.blue_rows(route, &which, digests)?;
            world.mark();
            let upto = blue_after.moment.lsn;
            let green_before = world.green_rows(route, &which, digests, upto)?;
            let green_digest = world.green_digest(route, range, upto)?;
            let green_after = world.green_rows(route, &which, digests, upto)?;
            let audit =
                Audit { blue_before, blue_digest, blue_after, green_before, green_digest, green_after };
            Ok(Brought::Audit(Box::new(audit)))
        }
        Task::FromBlue(range) => {
            let blue = world.blue_rows(route, &Which::Range(range.clone()), digests)?;
            world.mark();
            let which = Which::Names(blue.value.iter().map(|row| row.name.clone()).collect());
            let green = world.green_rows(route, &which, digests, blue.moment.lsn)?;
            Ok(Brought::FromBlue(blue, vec![green]))
        }
        Task::FromGreen { range, thorough } => {
            let green = world.green_rows(route, &Which::Range(range.clone()), digests, Lsn::ZERO)?;
            let names = green.value.iter().map(|row| row.name.clone());
            let which = if *thorough {
                Which::Thorough(names.map(|name| name.green).collect())
            } else {
                Which::Names(names.collect())
            };
            let blue = world.blue_rows(route, &which, digests)?;
            Ok(Brought::FromGreen(green, vec![blue]))
        }
        Task::Names { names, detail, thorough } => {
            let by_name = Which::Names(names.clone());
            let by_key = Which::Thorough(names.iter().map(|name| name.green.clone()).collect());
            let blue = world.blue_rows(route, if *thorough { &by_key } else { &by_name }, *detail)?;
            world.mark();
            let green = world.green_rows(route, &by_name, *detail, blue.moment.lsn)?;
            Ok(Brought::Rows(blue, green))
        }
    }
}
