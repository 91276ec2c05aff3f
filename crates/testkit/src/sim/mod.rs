//! Random interleavings of blue, stream, chunk readers, catalog, core and green, with accidents, until all is quiet;
//! then green must equal blue.
//!
//! A run follows from its seed alone. `UNDERSTUDY_TRACE=1` makes a failing test print the run step by step.

mod check;
mod damage;
mod mapping;
mod outdated;
mod scenario;
mod seen;
mod sidecar;
mod through_log;
mod trace;

#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod tests;

pub use scenario::Class;
pub use seen::Seen;
pub use through_log::run_through_log;

use understudy_contract::{Failure, Lineage, Unit};
use understudy_model::{Checkpoint, RouteId};
use understudy_replicate::{Core, CoreStart, Rules};
use understudy_transform::RouteSpec;

use crate::blue::Blue;
use crate::dice::Dice;
use crate::green::Green;
use crate::workload;
use mapping::Mapping;
use scenario::Scenario;
use sidecar::{Sidecar, World};
use trace::Trace;

/// Steps that a run may take to come to rest once blue is quiet.
const REST_STEPS_MAX: usize = 200_000;

/// A run in which the property does not hold.
#[derive(Debug)]
pub struct CounterExample {
    /// The seed that shows it.
    pub seed: u64,
    /// The class of its scenario.
    pub class: Class,
    /// What went wrong.
    pub why: String,
    /// The run step by step, when it was asked for.
    pub trace: Vec<String>,
}

/// Runs one seed. The property: the run comes to rest with every route complete, no heal pending, no mismatch, and
/// green equal to blue.
pub fn run(seed: u64, class: Class, rules: &Rules, traced: bool) -> Result<Seen, CounterExample> {
    let mut sim = Sim::new(seed, class, rules.clone(), traced);
    let played = sim.add_routes().and_then(|()| sim.play());
    match played {
        Ok(()) => Ok(sim.seen),
        Err(why) => Err(CounterExample { seed, class, why, trace: sim.trace.into_lines() }),
    }
}

/// What a start of the sidecar finds changed.
#[derive(Debug, Default)]
struct Start {
    slot_is_new: bool,
    publication_changed: bool,
    /// Routes to be copied again.
    recopy: Vec<RouteId>,
}

/// How the sidecar comes to be started again.
#[derive(Debug, Clone, Copy)]
enum Accident {
    Killed,
    Stopped,
    BlueCrashed,
    GreenCrashed,
}

struct Sim {
    scenario: Scenario,
    dice: Dice,
    blue: Blue,
    green: Green,
    routes: Vec<RouteSpec>,
    /// Tables in the order of the routes.
    tables: Vec<usize>,
    /// Mappings in the order of the routes.
    mappings: Vec<Mapping>,
    trace: Trace,
    seen: Seen,
    /// What befalls green's rows, drawn apart from all else.
    damage_dice: Dice,
}

impl Sim {
    fn new(seed: u64, class: Class, rules: Rules, traced: bool) -> Sim {
        let mut dice = Dice::new(seed ^ 0x5eed_0000);
        let scenario = Scenario::draw(class, &mut dice, rules.clone());
        let mut blue = Blue::new(seed, &scenario.tables, scenario.later);
        match class {
            Class::Heal => blue.leave_large_values(),
            Class::Recopy => blue.change_keys(),
            Class::Repair if dice.percent(50) => blue.leave_large_values(),
            Class::Computed if dice.percent(80) => blue.leave_large_values(),
            _ => {}
        }
        let (green, trace) = (Green::with_rules(Vec::new(), rules), Trace::new(traced));
        let (routes, tables, mappings) = (Vec::new(), Vec::new(), Vec::new());
        let seen = Seen::default();
        let damage_dice = Dice::new(seed ^ 0xda_4a6e);
        Sim { scenario, dice, blue, green, routes, tables, mappings, trace, seen, damage_dice }
    }

    /// The routes of every table that is published from the start.
    fn add_routes(&mut self) -> Result<(), String> {
        let scenario = &self.scenario;
        self.trace.note(|| format!("{scenario:?}"));
        let published = (0..self.blue.tables().len()).filter(|table| self.blue.is_published(*table));
        for table in published.collect::<Vec<_>>() {
            self.add_routes_of(table)?;
        }
        Ok(())
    }

    fn add_routes_of(&mut self, table: usize) -> Result<(), String> {
        if self.green.log().is_some() {
            return self.add_logged_table(table);
        }
        let mappings = self.scenario.mappings[table].clone();
        self.seen.splits += u64::from(mappings.len() > 1);
        for mapping in mappings {
            let route = mapping.compile(&self.blue, table, self.routes.len() as u16)?;
            self.seen.rekeyed += u64::from(!route.passes_key());
            self.green.add_table(check::green_table(&route));
            self.routes.push(route);
            self.tables.push(table);
            self.mappings.push(mapping);
        }
        Ok(())
    }

    /// Expressions are compiled for the types that the catalog shows whenever the sidecar starts.
    fn compile_again(&mut self) -> Result<(), Failure> {
        for (route, (table, mapping)) in self.routes.iter_mut().zip(self.tables.iter().zip(&self.mappings)) {
            if !mapping.is_plain() {
                *route = mapping.compile(&self.blue, *table, route.id.0).map_err(does_not_fit)?;
            }
        }
        Ok(())
    }

    fn play(&mut self) -> Result<(), String> {
        for _ in 0..self.scenario.acts_before {
            self.act();
        }
        if self.scenario.adopts {
            self.fill_green();
        }
        let mut sidecar = self
            .start(Start { slot_is_new: true, ..Start::default() })
            .map_err(|failure| format!("start: {failure}"))?;
        let pace = self.scenario.pace.clone();
        let mut without_reads = self.scenario.head_start;
        let mut restarts = self.scenario.restarts;
        for at in 0..self.scenario.head_start + self.scenario.steps {
            let follows = at >= self.scenario.head_start;
            if self.scenario.rests && self.press(&mut sidecar) {
                without_reads = at + 100 + self.dice.below(200);
            }
            let reads = at >= without_reads;
            self.scenario.pace = if reads { pace.clone() } else { sidecar::without_reads(&pace) };
            if follows && restarts > 0 && self.dice.below(self.scenario.steps) < restarts * 2 {
                restarts -= 1;
                sidecar = self.restart(sidecar).map_err(|failure| format!("restart: {failure}"))?;
            }
            if self.damage_dice.percent(self.scenario.damages) {
                self.damage(&mut sidecar);
            }
            if follows && self.dice.percent(self.scenario.blue_share) {
                self.act();
            } else {
                self.step(&mut sidecar)?;
            }
        }
        if (0..self.blue.tables().len()).any(|table| !self.tables.contains(&table)) {
            sidecar = self.restart(sidecar).map_err(|failure| format!("restart: {failure}"))?;
        }
        self.rest(&mut sidecar)?;
        self.seen.add(&sidecar.seen);
        self.seen.damaged += self.green.damaged();
        check::equal(
            (&self.blue, &self.green),
            (&self.routes, &self.tables, &self.mappings),
            self.scenario.adopts,
        )
    }

    /// Blue comes to rest, then the pipeline must.
    fn rest(&mut self, sidecar: &mut Sidecar) -> Result<(), String> {
        self.trace.note(|| "blue comes to rest".to_owned());
        self.scenario.pace = sidecar::STEPS.iter().map(|(_, weight)| *weight).collect();
        workload::settle_all(&mut self.blue, &mut self.dice);
        let mut quiet = 0;
        for at in 0..REST_STEPS_MAX {
            if at < self.scenario.rest_damaged && self.damage_dice.percent(self.scenario.damages) {
                self.damage(sidecar);
            }
            self.step(sidecar)?;
            for xid in self.blue.late() {
                if self.dice.percent(30) {
                    self.blue.settle(xid);
                }
            }
            quiet = if sidecar.is_at_rest(&self.blue) { quiet + 1 } else { 0 };
            if quiet > 200 {
                return Ok(());
            }
        }
        Err(format!("the run does not come to rest: {:?}", sidecar.core.progress()))
    }

    fn step(&mut self, sidecar: &mut Sidecar) -> Result<(), String> {
        let mut world = self.world();
        let Err(failure) = sidecar.step(&mut world) else { return Ok(()) };
        if failure.class() != understudy_contract::Class::Transient {
            return Err(format!("step: {failure}"));
        }
        self.trace.note(|| format!("the sidecar starts again: {failure}"));
        self.seen.recompiled += 1;
        self.seen.add(&sidecar.seen);
        *sidecar = self.start(Start::default()).map_err(|failure| format!("start again: {failure}"))?;
        Ok(())
    }

    fn world(&mut self) -> World<'_> {
        World {
            blue: &mut self.blue,
            green: &mut self.green,
            dice: &mut self.dice,
            trace: &mut self.trace,
            tables: &self.tables,
            pace: &self.scenario.pace,
        }
    }

    fn act(&mut self) {
        use workload::Act;
        let Some(act) = workload::step(&mut self.blue, &mut self.dice, &self.scenario.weights) else {
            return;
        };
        match act {
            Act::Rewrite | Act::AlterType | Act::AddColumnAgain | Act::AlterIdentity => {
                self.seen.rewrites += 1;
            }
            Act::Truncate | Act::TruncateLeaf => self.seen.truncates += 1,
            Act::Attach | Act::Detach | Act::Drop => self.seen.leaves += 1,
            _ => {}
        }
        let blue = &self.blue;
        self.trace.note(|| format!("blue: {act:?}, running {:?}, late {:?}", blue.unfinished(), blue.late()));
    }

    /// Starts the sidecar from what green remembers, creating the slot when it is new.
    fn start(&mut self, start: Start) -> Result<Sidecar, Failure> {
        let Start { slot_is_new, publication_changed, recopy } = start;
        let mut units_before = Vec::new();
        if slot_is_new {
            units_before = self.units();
            self.seen.born_into += (self.blue.unfinished().len() + self.blue.late().len()) as u64;
            let checkpoint = self.blue.create_slot();
            let (session, _) = self.green.claim();
            session.begin(&mut self.green, &lineage(), checkpoint)?;
        }
        let (mut session, saved) = self.green.claim();
        let units = self.units();
        self.compile_again()?;
        let mut saved = saved.ok_or_else(|| {
            Failure::new(understudy_contract::Class::Internal, "green has forgotten the migration")
        })?;
        if slot_is_new {
            saved.unseen = saved.unseen.or_else(|| Some(Vec::new()));
        }
        let from: Checkpoint = saved.checkpoint;
        for route in &recopy {
            session.start_again(&mut self.green, *route)?;
        }
        let trace = &mut self.trace;
        trace.note(|| format!("start from {from}, unseen {:?}, again {recopy:?}", saved.unseen));
        self.scenario.settings.nonce_base = self.scenario.settings.nonce_base.wrapping_add(1);
        let start = CoreStart {
            routes: self.routes.clone(),
            units,
            units_before,
            snapshot: self.blue.snapshot(),
            saved,
            slot_is_new,
            publication_changed,
            recopy_asked: if self.dice.percent(50) { recopy.clone() } else { Vec::new() },
            recopy,
        };
        let core = Core::new(self.scenario.settings.clone(), start)?;
        let feed = self.blue.stream(from, self.scenario.show_empty);
        Ok(Sidecar::new(core, session, feed, self.scenario.readers))
    }

    /// The catalog, once no lock keeps it from answering.
    fn units(&mut self) -> Vec<Unit> {
        loop {
            match self.blue.units(&self.tables) {
                Some(units) => return units,
                None => self.wait_for_locks(),
            }
        }
    }

    fn wait_for_locks(&mut self) {
        for xid in self.blue.late() {
            self.blue.settle(xid);
        }
        let unfinished = self.blue.unfinished();
        if let Some(xid) = self.dice.pick(&unfinished) {
            self.blue.commit(*xid);
        }
    }

    fn restart(&mut self, sidecar: Sidecar) -> Result<Sidecar, Failure> {
        let accidents = [
            Accident::Killed,
            Accident::Killed,
            Accident::Stopped,
            Accident::BlueCrashed,
            Accident::GreenCrashed,
        ];
        let accident = accidents[self.dice.below(accidents.len())];
        self.trace.note(|| format!("restart: {accident:?}"));
        self.seen.restarts += 1;
        self.seen.add(&sidecar.seen);
        match accident {
            Accident::Killed => drop(sidecar),
            Accident::Stopped => {
                let mut world = self.world();
                sidecar.stop(&mut world)?;
            }
            Accident::BlueCrashed => self.blue.crash(),
            Accident::GreenCrashed => {
                let keep = 1 + self.dice.below(self.green.unpersisted() + 1);
                self.green.crash(keep);
            }
        }
        if self.dice.percent(50) {
            // Blue goes on while nobody looks.
            (0..self.dice.below(30)).for_each(|_| self.act());
        }
        let joining = (0..self.blue.tables().len()).find(|table| !self.tables.contains(table));
        let publication_changed = match joining.filter(|_| self.dice.percent(60) || self.seen.restarts > 2) {
            Some(table) => {
                self.trace.note(|| format!("table {table} joins"));
                self.blue.publish(table);
                self.add_routes_of(table).map_err(does_not_fit)?;
                self.seen.later_tables += 1;
                true
            }
            None => false,
        };
        let recopy = self.outdate();
        if !recopy.is_empty() && self.dice.percent(20) {
            // Killed before anything is planned anew: the next start is not told that it was asked for.
            drop(self.start(Start { publication_changed, recopy, ..Start::default() })?);
            return self.start(Start::default());
        }
        self.start(Start { publication_changed, recopy, ..Start::default() })
    }
}

fn does_not_fit(why: String) -> Failure {
    Failure::new(understudy_contract::Class::Internal, why)
}

fn lineage() -> Lineage {
    Lineage {
        system_id: 1,
        timeline: 1,
        database: "shop".to_owned(),
        slot: "understudy_sim".to_owned(),
        publication: None,
    }
}
