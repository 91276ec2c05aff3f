//! The same runs with a log between: a capture writes blue into it, and an apply makes green of it, each stopped and started
//! on its own; then green must equal blue.

use std::collections::{HashMap, VecDeque};

use understudy_contract::{Applied, ChunkDone, Failure, LogEvent, Wanted};
use understudy_model::{Checkpoint, HealKey, Lsn, Relation, RelationId, RouteId};
use understudy_replicate::{LogCore, LogSettings, LogStart, Rules, Work};
use understudy_transform::RouteSpec;

use super::mapping::Mapping;
use super::sidecar::{self, Sidecar};
use super::{Class, CounterExample, REST_STEPS_MAX, Seen, Sim, Start, check, damage, lineage, trace};
use crate::dice::Dice;
use crate::fake_log::{FakeLog, LogFeed};
use crate::green::{Green, Session};
use crate::workload::{self, Act};

/// Work that may wait between the core and green.
const QUEUE_MAX: usize = 4;

/// What an apply says that cannot go on within a transaction.
const OTHERWISE: &str = "otherwise after it was stopped within it";

/// What an apply does at each of its steps, and how likely that is.
const STEPS: [(Step, u32); 9] = [
    (Step::Read, 40),
    (Step::Work, 15),
    (Step::Write, 15),
    (Step::Finish, 8),
    (Step::Report, 12),
    (Step::Seal, 6),
    (Step::Ask, 8),
    (Step::Tick, 2),
    (Step::Persist, 4),
];

#[derive(Debug, Clone, Copy)]
enum Step {
    Read,
    Work,
    Write,
    Finish,
    Report,
    Seal,
    Ask,
    Tick,
    Persist,
}

/// News from green, in order.
enum Report {
    Applied(Applied),
    Done(ChunkDone),
}

/// A run of the apply.
struct Apply {
    core: LogCore,
    session: Session,
    feed: LogFeed,
    /// An event that waits until green has every chunk.
    held: Option<LogEvent>,
    queue: VecDeque<Work>,
    reports: VecDeque<Report>,
}

struct LogSim {
    /// Blue, the capture and the log.
    capture: Sim,
    green: Green,
    routes: Vec<RouteSpec>,
    tables: Vec<usize>,
    mappings: Vec<Mapping>,
    dice: Dice,
    /// Rows that the capture is asked for.
    requests: VecDeque<Wanted>,
    /// Those that it has taken in this run, and may lose.
    taken: Vec<Wanted>,
    /// How likely each step of the apply is.
    pace: Vec<u32>,
    settings: LogSettings,
    /// How often the apply is stopped, about.
    restarts: usize,
}

/// Runs one seed through a log. The property is that of [`super::run`].
pub fn run_through_log(seed: u64, class: Class, rules: &Rules, traced: bool) -> Result<Seen, CounterExample> {
    let mut sim = LogSim::new(seed, class, rules, traced);
    match sim.play() {
        Ok(()) => Ok(sim.capture.seen),
        // A capture that is stopped within a transaction leaves out changes of leaves that are detached by then. An apply that
        // has begun it already says so.
        Err(why) if why.contains(OTHERWISE) && sim.has_partitions() => Ok(sim.capture.seen),
        Err(why) => Err(CounterExample { seed, class, why, trace: sim.capture.trace.into_lines() }),
    }
}

impl Sim {
    /// The capture's route of a table: every column as it is.
    pub(super) fn add_logged_table(&mut self, table: usize) -> Result<(), String> {
        let route = self.routes.len() as u16;
        let (spec, shape) = (&self.blue.tables()[table], self.blue.shape(table));
        let columns = shape.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let key = shape.key.iter().map(|at| columns[*at]).collect::<Vec<_>>();
        let source = understudy_transform::BlueTable::named(spec.name.clone(), &columns, &key);
        let target = (spec.name.clone(), None);
        let route =
            RouteSpec::compile(RouteId(route), &source, target, understudy_transform::Mapping::default())
                .map_err(|error| error.to_string())?;
        let relation = Relation {
            id: RelationId(spec.oid),
            name: spec.name.clone(),
            identity: understudy_model::ReplicaIdentity::Default,
            columns: (0..columns.len())
                .map(|at| understudy_model::Column {
                    name: columns[at].to_owned(),
                    type_oid: shape.type_of(at).0,
                    type_modifier: shape.type_of(at).1,
                    in_identity: shape.key.contains(&at),
                })
                .collect(),
        };
        self.green.add_table(check::green_table(&route));
        if let Some(log) = self.green.log_mut() {
            log.add_table(relation, route.key.clone());
        }
        self.routes.push(route);
        self.tables.push(table);
        self.mappings.push(Mapping::AS_IT_IS);
        Ok(())
    }
}

impl LogSim {
    fn new(seed: u64, class: Class, rules: &Rules, traced: bool) -> LogSim {
        let mut capture = Sim::new(seed, class, Rules::all(), traced);
        let mut dice = Dice::new(seed ^ 0x106_0000);
        capture.green = Green::into_log(FakeLog::new(1 + dice.below(12)));
        let scenario = &mut capture.scenario;
        scenario.settings.raw = true;
        if scenario.mappings.iter().flatten().any(|mapping| !mapping.is_plain()) {
            // Which types rows have is told by whoever writes the log, and this one does not.
            scenario.weights.retain(|(act, _)| *act != Act::AlterType);
        }
        if dice.percent(50) {
            scenario.restarts += 1 + dice.below(3);
        }
        let settings = LogSettings {
            batch_changes_max: 1 + dice.below(8),
            batch_bytes_max: 1 << 20,
            rules: rules.clone(),
        };
        let restarts = [3, 6, 20][dice.below(3)];
        let pace = STEPS.iter().map(|(_, weight)| weight * [1, 1, 2, 4][dice.below(4)]).collect();
        LogSim {
            capture,
            green: Green::with_rules(Vec::new(), rules.clone()),
            routes: Vec::new(),
            tables: Vec::new(),
            mappings: Vec::new(),
            dice,
            requests: VecDeque::new(),
            taken: Vec::new(),
            pace,
            settings,
            restarts,
        }
    }

    fn play(&mut self) -> Result<(), String> {
        self.capture.add_routes()?;
        for _ in 0..self.capture.scenario.acts_before {
            self.capture.act();
        }
        let start = Start { slot_is_new: true, ..Start::default() };
        let mut sidecar = self.capture.start(start).map_err(|failure| format!("start: {failure}"))?;
        self.add_routes()?;
        let (session, _) = self.green.claim();
        session
            .begin(&mut self.green, &lineage(), Checkpoint::default())
            .map_err(|failure| failure.to_string())?;
        let mut apply = self.start_apply()?;
        let (steps, head_start) = (self.capture.scenario.steps, self.capture.scenario.head_start);
        let pace = self.capture.scenario.pace.clone();
        let mut restarts = self.capture.scenario.restarts;
        // Now and then the apply stands still, or the capture does.
        let mut share = 50;
        for at in 0..head_start + 2 * steps {
            let follows = at >= head_start;
            self.capture.scenario.pace = if follows { pace.clone() } else { sidecar::without_reads(&pace) };
            if self.dice.percent(2) {
                share = [5, 30, 50, 70, 95][self.dice.below(5)];
            }
            if follows && restarts > 0 && self.dice.below(2 * steps) < restarts * 2 {
                restarts -= 1;
                (sidecar, apply) = self.restart_capture(sidecar, apply)?;
            }
            if self.dice.below(2 * steps) < self.restarts {
                apply = self.restart_apply(apply)?;
            }
            if self.dice.percent(self.capture.scenario.damages) {
                self.damage(&mut apply);
            }
            if self.dice.percent(share) {
                self.step(&mut apply)?;
            } else if follows && self.dice.percent(self.capture.scenario.blue_share) {
                self.capture.act();
            } else {
                self.capture.step(&mut sidecar)?;
                self.deliver_request(&mut sidecar);
            }
        }
        if (0..self.capture.blue.tables().len()).any(|table| !self.capture.tables.contains(&table)) {
            (sidecar, apply) = self.restart_capture(sidecar, apply)?;
        }
        self.rest(&mut sidecar, apply)?;
        self.capture.seen.add(&sidecar.seen);
        self.capture.seen.damaged += self.green.damaged();
        check::equal((&self.capture.blue, &self.green), (&self.routes, &self.tables, &self.mappings), false)
    }

    fn has_partitions(&self) -> bool {
        self.capture.blue.tables().iter().any(|table| table.kind.is_partitioned())
    }

    /// Blue comes to rest, then both pipelines must.
    fn rest(&mut self, sidecar: &mut Sidecar, mut apply: Apply) -> Result<(), String> {
        self.capture.trace.note(|| "blue comes to rest".to_owned());
        self.capture.scenario.pace = sidecar::STEPS.iter().map(|(_, weight)| *weight).collect();
        workload::settle_all(&mut self.capture.blue, &mut self.capture.dice);
        let mut quiet = 0;
        for at in 0..REST_STEPS_MAX {
            if at < self.capture.scenario.rest_damaged {
                if self.dice.percent(self.capture.scenario.damages) {
                    self.damage(&mut apply);
                }
                if self.dice.below(1_000) < 2 {
                    apply = self.restart_apply(apply)?;
                }
            }
            self.capture.step(sidecar)?;
            self.deliver_request(sidecar);
            self.step(&mut apply)?;
            for xid in self.capture.blue.late() {
                if self.dice.percent(30) {
                    self.capture.blue.settle(xid);
                }
            }
            let at_rest = sidecar.is_at_rest(&self.capture.blue) && self.is_at_rest(&apply);
            quiet = if at_rest { quiet + 1 } else { 0 };
            if quiet > 200 {
                return Ok(());
            }
        }
        let why = format!("{:?}, the capture: {:?}", apply.core.progress(), sidecar.core.progress());
        Err(format!("the run does not come to rest: {why}"))
    }

    fn is_at_rest(&self, apply: &Apply) -> bool {
        let log = self.capture.green.log();
        apply.queue.is_empty()
            && apply.reports.is_empty()
            && apply.held.is_none()
            && self.requests.is_empty()
            && log.is_some_and(|log| apply.feed.is_drained(log))
            && apply.session.writing() == 0
            && apply.core.is_settled()
    }

    /// The routes of every table that the capture follows.
    fn add_routes(&mut self) -> Result<(), String> {
        for table in self.capture.tables.clone() {
            if self.tables.contains(&table) {
                continue;
            }
            let mappings = self.capture.scenario.mappings[table].clone();
            self.capture.seen.splits += u64::from(mappings.len() > 1);
            for mapping in mappings {
                let route = mapping.compile(&self.capture.blue, table, self.routes.len() as u16)?;
                self.capture.seen.rekeyed += u64::from(!route.passes_key());
                self.green.add_table(check::green_table(&route));
                self.routes.push(route);
                self.tables.push(table);
                self.mappings.push(mapping);
            }
        }
        Ok(())
    }

    fn restart_capture(&mut self, sidecar: Sidecar, apply: Apply) -> Result<(Sidecar, Apply), String> {
        let sidecar = self.capture.restart(sidecar).map_err(|failure| format!("restart: {failure}"))?;
        // What it had taken may have been lost before anything came of it; asking twice is harmless.
        self.requests.extend(self.taken.drain(..));
        if self.capture.tables.iter().all(|table| self.tables.contains(table)) {
            return Ok((sidecar, apply));
        }
        self.add_routes()?;
        Ok((sidecar, self.restart_apply(apply)?))
    }

    fn deliver_request(&mut self, sidecar: &mut Sidecar) {
        if self.requests.is_empty() || !sidecar.core.takes_rereads() || self.dice.percent(70) {
            return;
        }
        let Some(wanted) = self.requests.pop_front() else { return };
        let route = self.capture.routes.iter().find(|route| route.source == wanted.table);
        if let Some(route) = route {
            self.capture.trace.note(|| format!("asked for {} {}", wanted.table, trace::key(&wanted.key)));
            sidecar.core.reread(route.id, HealKey::same(wanted.key.clone()));
        }
        self.taken.push(wanted);
    }

    fn start_apply(&mut self) -> Result<Apply, String> {
        let compiled = self.routes.iter_mut().zip(self.tables.iter().zip(&self.mappings));
        for (route, (table, mapping)) in compiled.filter(|(_, (_, mapping))| !mapping.is_plain()) {
            *route = mapping.compile(&self.capture.blue, *table, route.id.0)?;
        }
        let (session, saved) = self.green.claim();
        let saved = saved.ok_or("green has forgotten the migration")?;
        let log = self.capture.green.log().ok_or("there is no log")?;
        let feed = log.read(saved.cursor.as_ref());
        let (at, cursor) = (saved.checkpoint, saved.cursor.clone());
        self.capture.trace.note(|| format!("the apply starts from {at}, {cursor:?}"));
        let raw = self.capture.routes.iter();
        let keys: HashMap<_, _> = raw.map(|route| (route.source.clone(), route.key_source.clone())).collect();
        let start = LogStart {
            routes: self.routes.clone(),
            keys,
            saved,
            compiled_at: Lsn::new(u64::MAX),
            awaited: Vec::new(),
        };
        let core = LogCore::new(self.settings.clone(), start).map_err(|failure| failure.to_string())?;
        let (queue, reports) = (VecDeque::new(), VecDeque::new());
        Ok(Apply { core, session, feed, held: None, queue, reports })
    }

    /// The apply is killed, stopped in good order, or green crashes.
    fn restart_apply(&mut self, mut apply: Apply) -> Result<Apply, String> {
        match self.dice.below(4) {
            0 => self.stop(&mut apply).map_err(|failure| format!("stop: {failure}"))?,
            1 => {
                let keep = 1 + self.dice.below(self.green.unpersisted() + 1);
                self.capture.trace.note(|| format!("green crashes and keeps {keep}"));
                self.green.crash(keep);
            }
            _ => {}
        }
        drop(apply);
        self.start_apply()
    }

    /// What is whole is handed over, and everything handed over is done.
    fn stop(&mut self, apply: &mut Apply) -> Result<(), Failure> {
        apply.core.seal_last();
        while let Some(work) = apply.core.next_work() {
            apply.queue.push_back(work);
        }
        while !apply.queue.is_empty() {
            self.write(apply)?;
        }
        while apply.session.writing() > 0 {
            apply.session.finish(&mut self.green, 0)?;
        }
        apply.session.persist(&mut self.green).map(drop)
    }

    fn step(&mut self, apply: &mut Apply) -> Result<(), String> {
        self.step_once(apply).map_err(|failure| format!("step of the apply: {failure}"))
    }

    fn step_once(&mut self, apply: &mut Apply) -> Result<(), Failure> {
        match STEPS[self.dice.weighted(&self.pace)].0 {
            Step::Read => self.read(apply)?,
            Step::Work if apply.queue.len() < QUEUE_MAX => apply.queue.extend(apply.core.next_work()),
            Step::Work => {}
            Step::Write => self.write(apply)?,
            Step::Finish => {
                let at = self.dice.below(apply.session.writing());
                apply.session.finish(&mut self.green, at)?;
            }
            Step::Report => match apply.reports.pop_front() {
                Some(Report::Applied(applied)) => apply.core.on_applied(applied),
                Some(Report::Done(done)) => apply.core.on_chunk_done(&done),
                None => {}
            },
            Step::Seal => apply.core.seal(),
            Step::Ask => {
                let most = 1 + self.dice.below(5);
                self.requests.extend(apply.core.wanted(most));
            }
            Step::Tick => apply.core.on_tick(),
            Step::Persist => drop(apply.session.persist(&mut self.green)?),
        }
        while let Some(done) = apply.session.placed() {
            apply.reports.push_back(Report::Done(done));
        }
        Ok(())
    }

    fn read(&mut self, apply: &mut Apply) -> Result<(), Failure> {
        if apply.queue.len() >= QUEUE_MAX {
            return Ok(());
        }
        let log = self.capture.green.log();
        let next = apply.held.take().or_else(|| apply.feed.next(log?));
        let Some(event) = next else { return Ok(()) };
        if apply.core.must_wait(&event) {
            apply.held = Some(event);
            return Ok(());
        }
        self.capture.trace.note(|| format!("log: {}", trace::log_event(&event)));
        apply.core.on_event(event)
    }

    fn write(&mut self, apply: &mut Apply) -> Result<(), Failure> {
        let Some(work) = apply.queue.pop_front() else { return Ok(()) };
        self.capture.trace.note(|| format!("applied: {}", trace::work(&work)));
        let seen = &mut self.capture.seen;
        match work {
            Work::Batch(batch) => {
                batch.changes.iter().for_each(|change| seen.note(change));
                apply.core.name_rows(self.dice.percent(80));
                let applied = apply.session.apply(&mut self.green, &batch)?;
                let heals = applied.heals.iter().map(|(_, key)| trace::heal_key(key)).collect::<Vec<_>>();
                self.capture.trace.note(|| format!("lacks {heals:?}, mismatches {}", applied.mismatches));
                apply.reports.push_back(Report::Applied(applied));
            }
            Work::Place(chunk) => {
                seen.left_out += chunk.left_out.len() as u64;
                seen.refused += chunk.refused.len() as u64;
                apply.session.place(&mut self.green, chunk)?;
            }
            Work::Record(entry) => apply.session.record(&mut self.green, &entry)?,
        }
        Ok(())
    }

    fn damage(&mut self, apply: &mut Apply) {
        let at = self.dice.below(self.routes.len());
        let of = (&self.routes[at], self.tables[at], self.mappings[at]);
        let around = (&self.capture.blue, &self.green);
        let Some((key, damage)) = damage::draw(around, of, &mut self.dice) else { return };
        let route = of.0.id;
        self.capture.trace.note(|| format!("route {}: {} is damaged", route.0, trace::heal_key(&key)));
        self.green.plan_damage(route, key.green.clone(), damage);
        apply.core.reread(route, key);
    }
}
