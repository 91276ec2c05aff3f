//! One run of the sidecar: a core between a stream, readers, the catalog and a session of green, one step at a time.
//!
//! Each step hands over one thing, and anything may happen on blue between two steps.

use std::collections::{BTreeSet, VecDeque};

use understudy_contract::{
    Applied, Batch, ChunkDone, ChunkOutcome, ChunkScope, Class, Failure, StreamEvent, Unit,
};
use understudy_model::{Checkpoint, Nonce, RouteId, Snapshot, UnitId, Xid};
use understudy_replicate::{Core, ReadJob, Tally, Work};

use super::trace::{self, Trace};
use crate::blue::{Blue, Feed};
use crate::dice::Dice;
use crate::green::{Green, Session};

/// What every marker of the simulated migration is labelled with.
pub(super) const PREFIX: &str = "understudy/sim";

/// Work that may wait between the core and green.
const QUEUE_MAX: usize = 4;

/// What a run of the sidecar is connected to.
pub(super) struct World<'a> {
    pub(super) blue: &'a mut Blue,
    pub(super) green: &'a mut Green,
    pub(super) dice: &'a mut Dice,
    pub(super) trace: &'a mut Trace,
    /// Tables in the order of the routes.
    pub(super) tables: &'a [usize],
    /// How likely each step is.
    pub(super) pace: &'a [u32],
}

/// A chunk that a reader is busy with.
struct Read {
    job: ReadJob,
    outcome: Option<ChunkOutcome>,
}

/// News from green, in order.
enum Report {
    Applied(Applied),
    Done(ChunkDone),
}

/// A run of the sidecar.
pub(super) struct Sidecar {
    pub(super) core: Core,
    pub(super) session: Session,
    pub(super) feed: Feed,
    /// An event that waits for a look at the catalog.
    held: Option<StreamEvent>,
    readers: usize,
    reads: Vec<Read>,
    /// Markers to be committed on blue.
    marks: Vec<Nonce>,
    units: Option<Vec<Unit>>,
    /// Units that a look at the catalog has shown.
    listed: BTreeSet<UnitId>,
    snapshot: Option<Snapshot>,
    barrier: Option<Xid>,
    queue: VecDeque<Work>,
    reports: VecDeque<Report>,
    persisted: Option<Checkpoint>,
    batches: usize,
    /// A chunk of a copy has just been read.
    pub(super) has_read: bool,
    /// What has been observed, for the shares of the sample.
    pub(super) seen: super::Seen,
}

/// What a step can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Stream,
    Keepalive,
    IssueRead,
    TakeRead,
    DeliverRead,
    Mark,
    Units,
    Snapshot,
    Barrier,
    Work,
    Write,
    Finish,
    Report,
    Seal,
    Tick,
    Heartbeat,
    Persist,
}

/// Every step, and how likely it is.
pub(super) const STEPS: [(Step, u32); 17] = [
    (Step::Stream, 40),
    (Step::Keepalive, 2),
    (Step::IssueRead, 8),
    (Step::TakeRead, 10),
    (Step::DeliverRead, 10),
    (Step::Mark, 10),
    (Step::Units, 5),
    (Step::Snapshot, 8),
    (Step::Barrier, 8),
    (Step::Work, 15),
    (Step::Write, 15),
    (Step::Finish, 8),
    (Step::Report, 15),
    (Step::Seal, 6),
    (Step::Tick, 2),
    (Step::Heartbeat, 1),
    (Step::Persist, 5),
];

/// A pace at which no chunk is read.
pub(super) fn without_reads(pace: &[u32]) -> Vec<u32> {
    let unless_read =
        |((step, _), weight): (&(Step, u32), &u32)| if *step == Step::IssueRead { 0 } else { *weight };
    STEPS.iter().zip(pace).map(unless_read).collect()
}

impl Sidecar {
    pub(super) fn new(core: Core, session: Session, feed: Feed, readers: usize) -> Sidecar {
        Sidecar {
            core,
            session,
            feed,
            held: None,
            readers,
            reads: Vec::new(),
            marks: Vec::new(),
            units: None,
            listed: BTreeSet::new(),
            snapshot: None,
            barrier: None,
            queue: VecDeque::new(),
            reports: VecDeque::new(),
            persisted: None,
            batches: 0,
            has_read: false,
            seen: super::Seen::default(),
        }
    }

    /// Takes one random step.
    pub(super) fn step(&mut self, world: &mut World<'_>) -> Result<(), Failure> {
        let (step, _) = STEPS[world.dice.weighted(world.pace)];
        match step {
            Step::Stream => self.stream(world),
            Step::Keepalive if self.held.is_none() => {
                let event = self.feed.keepalive(world.blue);
                self.core.on_event(event)
            }
            Step::Keepalive => Ok(()),
            Step::IssueRead | Step::TakeRead | Step::DeliverRead | Step::Mark => {
                self.chunks(step, world);
                Ok(())
            }
            Step::Units | Step::Snapshot | Step::Barrier => self.catalog(step, world),
            Step::Work => {
                if self.queue.len() < QUEUE_MAX {
                    self.queue.extend(self.core.next_work());
                }
                Ok(())
            }
            Step::Write => self.write(world),
            Step::Finish => {
                let at = world.dice.below(self.session.writing());
                self.finish(world, at)
            }
            Step::Report => {
                self.report(world);
                Ok(())
            }
            Step::Seal => {
                self.core.seal();
                Ok(())
            }
            Step::Tick => {
                self.core.on_tick();
                Ok(())
            }
            Step::Heartbeat => {
                self.marks.push(self.core.heartbeat());
                let _ = self.core.heartbeats_seen();
                Ok(())
            }
            Step::Persist => self.persist(world),
        }
    }

    /// Hands the next event to the core, unless the catalog must be looked at first.
    fn stream(&mut self, world: &mut World<'_>) -> Result<(), Failure> {
        if self.held.is_some() || self.queue.len() >= QUEUE_MAX {
            return Ok(());
        }
        let Some(event) = self.feed.next(world.blue, world.dice) else { return Ok(()) };
        if self.core.needs_catalog(&event) {
            world.trace.note(|| format!("stream waits for the catalog: {}", trace::event(&event)));
            self.held = Some(event);
            return Ok(());
        }
        self.deliver(event, world)
    }

    fn deliver(&mut self, event: StreamEvent, world: &mut World<'_>) -> Result<(), Failure> {
        world.trace.note(|| format!("stream: {}", trace::event(&event)));
        match &event {
            StreamEvent::Begin { xid, .. } => {
                let snapshot = world.blue.snapshot();
                let invisible = !snapshot.sees(Xid::widen(*xid, snapshot.xmax()));
                self.seen.streamed_before_visible += u64::from(invisible);
            }
            StreamEvent::Change(_) => self.seen.changes += 1,
            StreamEvent::Relation(_)
            | StreamEvent::Message { .. }
            | StreamEvent::Commit { .. }
            | StreamEvent::Keepalive { .. } => {}
        }
        self.core.on_event(event)
    }

    fn chunks(&mut self, step: Step, world: &mut World<'_>) {
        match step {
            Step::IssueRead if self.reads.len() < self.readers => {
                if let Some(job) = self.core.next_read() {
                    world.trace.note(|| {
                        format!(
                            "read {:?}: unit {} {:?}",
                            job.request.id, job.request.unit.oid, job.request.scope
                        )
                    });
                    self.reads.push(Read { job, outcome: None });
                }
            }
            Step::TakeRead => {
                let waiting = self.reads.iter_mut().filter(|read| read.outcome.is_none()).collect::<Vec<_>>();
                let at = world.dice.below(waiting.len());
                if let Some(read) = waiting.into_iter().nth(at) {
                    let busy = || world.dice.percent(50).then_some(ChunkOutcome::Busy);
                    read.outcome = world.blue.read(&read.job.request).or_else(busy);
                    if let Some(outcome) = &read.outcome {
                        self.has_read |= matches!(read.job.request.scope, ChunkScope::Blocks(_));
                        world.trace.note(|| {
                            format!("rows of {:?}: {}", read.job.request.id, trace::outcome(outcome))
                        });
                    }
                }
            }
            Step::DeliverRead => {
                let ready =
                    (0..self.reads.len()).filter(|at| self.reads[*at].outcome.is_some()).collect::<Vec<_>>();
                if let Some(at) = world.dice.pick(&ready) {
                    let Read { job, outcome } = self.reads.swap_remove(*at);
                    if let Some(outcome) = outcome {
                        self.seen.too_large += u64::from(outcome == ChunkOutcome::TooLarge);
                        let marked = self.core.on_chunk(job.request.id, outcome);
                        world.trace.note(|| format!("taken {:?}: marker {marked}", job.request.id));
                        self.marks.extend(marked.then_some(job.nonce));
                    }
                }
            }
            _ => {
                self.marks.extend(self.core.markers_to_emit());
                if !self.marks.is_empty() {
                    let at = world.dice.below(self.marks.len());
                    let nonce = self.marks.swap_remove(at);
                    world.trace.note(|| format!("mark {nonce}"));
                    world.blue.mark(PREFIX, nonce);
                }
            }
        }
    }

    /// Looks at the catalog, or hands over what was found there some time ago.
    fn catalog(&mut self, step: Step, world: &mut World<'_>) -> Result<(), Failure> {
        match step {
            Step::Units => match self.units.take() {
                Some(mut units) => {
                    self.describe_leaves(&mut units, world);
                    world.trace.note(|| format!("units: {}", units_text(&units)));
                    self.core.on_units(units)?;
                    let answered = !self.core.awaits_look();
                    if let Some(event) = self.held.take_if(|_| answered) {
                        self.deliver(event, world)?;
                    }
                }
                None => {
                    self.units = world.blue.units(world.tables);
                    if self.units.is_some() {
                        self.core.asking_units();
                    }
                }
            },
            Step::Snapshot => match self.snapshot.take() {
                Some(snapshot) => {
                    world.trace.note(|| format!("snapshot {snapshot:?}"));
                    self.core.on_snapshot(&snapshot);
                }
                None => self.snapshot = Some(world.blue.snapshot()),
            },
            _ => match self.barrier.take() {
                Some(xid) => {
                    world.trace.note(|| format!("barrier {xid}"));
                    self.core.on_barrier(xid);
                }
                None if self.core.wants_barrier() => {
                    self.core.asking_barrier();
                    self.barrier = Some(world.blue.barrier());
                }
                None => {}
            },
        }
        Ok(())
    }

    /// The conditions of leaves are asked for after the units are listed, and a lock can hide them.
    fn describe_leaves(&mut self, units: &mut [Unit], world: &mut World<'_>) {
        if world.dice.percent(30) {
            world.blue.describe_leaves(units);
        }
        for unit in units {
            let seen = !self.listed.insert(unit.id);
            if seen && !unit.is_default_leaf() && world.dice.percent(5) {
                unit.predicate = None;
            }
        }
    }

    /// Does the oldest piece of work.
    fn write(&mut self, world: &mut World<'_>) -> Result<(), Failure> {
        let Some(work) = self.queue.pop_front() else { return Ok(()) };
        world.trace.note(|| format!("green: {}", trace::work(&work)));
        match work {
            Work::Batch(batch) => {
                self.seen.split_transactions += u64::from(batch.open.is_some());
                batch.changes.iter().for_each(|change| self.seen.note(change));
                self.batches += 1;
                // Whoever compares has had enough of them for a while.
                self.core.name_rows(!self.batches.is_multiple_of(5));
                let applied = self.apply(&batch, world)?;
                self.seen.heals += applied.heals.len() as u64;
                self.reports.push_back(Report::Applied(applied));
            }
            Work::Place(chunk) => {
                self.seen.left_out += chunk.left_out.len() as u64;
                self.seen.refused += chunk.refused.len() as u64;
                self.session.place(world.green, chunk)?;
                self.seen.placed += 1;
            }
            Work::Record(entry) => self.session.record(world.green, &entry)?,
        }
        self.collect();
        Ok(())
    }

    /// Applies a batch: every row that it changes on green is among those that it lists, by its names on both sides.
    fn apply(&mut self, batch: &Batch, world: &mut World<'_>) -> Result<Applied, Failure> {
        let tally = Tally::of(batch, &self.core.route_keys());
        let routes =
            batch.changes.iter().flat_map(|change| change.routes().to_vec()).collect::<BTreeSet<_>>();
        let listed = |route: &RouteId| !tally.changed_unlisted.contains(route);
        let routes = routes.into_iter().filter(listed).collect::<Vec<_>>();
        let before = self.session.rows_before(world.green, &routes)?;
        let applied = self.session.apply(world.green, batch)?;
        let after = self.session.rows_now(world.green, &routes);
        let named = tally.changed.iter().filter(|(_, name)| name.blue.is_some());
        let named = named.map(|(route, name)| (*route, &name.green)).collect::<BTreeSet<_>>();
        for (route, (before, after)) in routes.iter().zip(before.iter().zip(&after)) {
            let changed = before.keys().chain(after.keys()).filter(|key| before.get(*key) != after.get(*key));
            if let Some(key) = changed.into_iter().find(|key| !named.contains(&(*route, *key))) {
                let cause = format!("{} of route {} changed and is not listed", trace::key(key), route.0);
                return Err(Failure::new(Class::Internal, cause));
            }
        }
        Ok(applied)
    }

    fn finish(&mut self, world: &mut World<'_>, at: usize) -> Result<(), Failure> {
        self.session.finish(world.green, at)?;
        self.collect();
        Ok(())
    }

    fn collect(&mut self) {
        while let Some(done) = self.session.placed() {
            self.reports.push_back(Report::Done(done));
        }
    }

    fn report(&mut self, world: &mut World<'_>) {
        match self.reports.pop_front() {
            Some(Report::Applied(applied)) => {
                let heals =
                    applied.heals.iter().map(|(_, key)| trace::heal_key(key)).collect::<Vec<_>>().join(" ");
                world.trace.note(|| format!("applied, heals {heals}, mismatches {}", applied.mismatches));
                self.core.on_applied(applied);
            }
            Some(Report::Done(done)) => {
                world.trace.note(|| format!("done {:?}", done.id));
                self.core.on_chunk_done(&done);
            }
            None => {}
        }
    }

    /// Makes green's commits durable, and later lets blue forget them.
    fn persist(&mut self, world: &mut World<'_>) -> Result<(), Failure> {
        match self.persisted.take() {
            Some(checkpoint) => world.blue.confirm(checkpoint.lsn()),
            None => self.persisted = Some(self.session.persist(world.green)?),
        }
        Ok(())
    }

    /// Ends in good order: whole transactions are handed over and everything handed over is done.
    pub(super) fn stop(mut self, world: &mut World<'_>) -> Result<super::Seen, Failure> {
        world.trace.note(|| "the sidecar stops in good order".to_owned());
        self.core.seal_last();
        while let Some(work) = self.core.next_work() {
            self.queue.push_back(work);
        }
        while !self.queue.is_empty() {
            self.write(world)?;
        }
        while self.session.writing() > 0 {
            self.finish(world, 0)?;
        }
        self.session.persist(world.green)?;
        Ok(self.seen)
    }

    /// Whether nothing is on its way anywhere.
    pub(super) fn is_at_rest(&self, blue: &Blue) -> bool {
        let idle = self.reads.is_empty()
            && self.marks.is_empty()
            && self.queue.is_empty()
            && self.reports.is_empty();
        let streamed = self.held.is_none() && self.feed.is_drained(blue);
        idle && streamed && self.session.writing() == 0 && self.core.is_settled() && !self.core.wants_units()
    }
}

fn units_text(units: &[Unit]) -> String {
    let leaf = |unit: &Unit| unit.predicate.as_ref().map_or(String::new(), |leaf| format!(" {leaf}"));
    let one =
        |unit: &Unit| format!("{} file {} blocks {}{}", unit.id.oid, unit.filenode, unit.blocks, leaf(unit));
    units.iter().map(one).collect::<Vec<_>>().join(", ")
}
