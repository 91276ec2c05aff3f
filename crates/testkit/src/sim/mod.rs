//! Random interleavings of blue, stream, chunk readers, catalog, core and green, with accidents, until all is quiet;
//! then green must equal blue.
//!
//! A run follows from its seed alone. `UNDERSTUDY_TRACE=1` makes a failing test print the run step by step.

mod check;
mod outdated;
mod scenario;
mod sidecar;
mod trace;

#[cfg(test)]
mod tests;

pub use scenario::Class;

use understudy_contract::{Failure, Lineage, Unit};
use understudy_model::{Checkpoint, RouteId};
use understudy_replicate::{Core, CoreStart, Rules};
use understudy_transform::RouteSpec;

use crate::blue::Blue;
use crate::dice::Dice;
use crate::green::Green;
use crate::workload;
use scenario::Scenario;
use sidecar::{Sidecar, World};
use trace::Trace;

/// Steps that a run may take to come to rest once blue is quiet.
const REST_STEPS_MAX: usize = 200_000;

/// What a run has met, so that a sample can prove that it met everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Changes streamed.
    pub changes: u64,
    /// Transactions streamed while no snapshot showed them.
    pub streamed_before_visible: u64,
    /// Transactions that ran, or were committed and invisible, when the slot was created.
    pub born_into: u64,
    /// Chunks placed.
    pub placed: u64,
    /// Rows found missing of which only a part was sent.
    pub heals: u64,
    /// Batches that ended inside a transaction.
    pub split_transactions: u64,
    /// Chunks that held too many bytes.
    pub too_large: u64,
    /// Stops and starts of the sidecar.
    pub restarts: u64,
    /// Rewrites, and changes of type or identity.
    pub rewrites: u64,
    /// Truncations.
    pub truncates: u64,
    /// Leaves attached, detached or dropped.
    pub leaves: u64,
    /// Tables that joined later.
    pub later_tables: u64,
    /// Copies over rows of green that are out of date.
    pub recopies: u64,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.changes += other.changes;
        self.streamed_before_visible += other.streamed_before_visible;
        self.born_into += other.born_into;
        self.placed += other.placed;
        self.heals += other.heals;
        self.split_transactions += other.split_transactions;
        self.too_large += other.too_large;
        self.restarts += other.restarts;
        self.rewrites += other.rewrites;
        self.truncates += other.truncates;
        self.leaves += other.leaves;
        self.later_tables += other.later_tables;
        self.recopies += other.recopies;
    }
}

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
    match sim.play() {
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
    trace: Trace,
    seen: Seen,
}

impl Sim {
    fn new(seed: u64, class: Class, rules: Rules, traced: bool) -> Sim {
        let mut dice = Dice::new(seed ^ 0x5eed_0000);
        let scenario = Scenario::draw(class, &mut dice, rules.clone());
        let mut blue = Blue::new(seed, &scenario.tables, scenario.later);
        match class {
            Class::Heal => blue.leave_large_values(),
            Class::Recopy => blue.change_keys(),
            _ => {}
        }
        let (green, trace) = (Green::with_rules(Vec::new(), rules), Trace::new(traced));
        let (routes, tables) = (Vec::new(), Vec::new());
        let mut sim = Sim { scenario, dice, blue, green, routes, tables, trace, seen: Seen::default() };
        for table in 0..sim.blue.tables().len() {
            if sim.blue.is_published(table) {
                sim.add_route(table);
            }
        }
        sim.trace.note(|| format!("{:?}", sim.scenario));
        sim
    }

    fn add_route(&mut self, table: usize) {
        let route = check::route(&self.blue, table, self.routes.len() as u16);
        self.green.add_table(check::green_table(&route));
        self.routes.push(route);
        self.tables.push(table);
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
            if follows && self.dice.percent(self.scenario.blue_share) {
                self.act();
            } else {
                self.step(&mut sidecar)?;
            }
        }
        if self.routes.len() < self.blue.tables().len() {
            sidecar = self.restart(sidecar).map_err(|failure| format!("restart: {failure}"))?;
        }
        self.rest(&mut sidecar)?;
        self.seen.add(&sidecar.seen);
        check::equal((&self.blue, &self.green), &self.routes, &self.tables, self.scenario.adopts)
    }

    /// Blue comes to rest, then the pipeline must.
    fn rest(&mut self, sidecar: &mut Sidecar) -> Result<(), String> {
        self.trace.note(|| "blue comes to rest".to_owned());
        self.scenario.pace = sidecar::STEPS.iter().map(|(_, weight)| *weight).collect();
        workload::settle_all(&mut self.blue, &mut self.dice);
        let mut quiet = 0;
        for _ in 0..REST_STEPS_MAX {
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
        sidecar.step(&mut world).map_err(|failure| format!("step: {failure}"))
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
                self.add_route(table);
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

fn lineage() -> Lineage {
    Lineage {
        system_id: 1,
        timeline: 1,
        database: "shop".to_owned(),
        slot: "understudy_sim".to_owned(),
        publication: None,
    }
}
