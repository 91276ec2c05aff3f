//! The deciding part of replication: events of blue in, ordered work for green out. Holds no socket, reads no clock.

mod catalog;
mod chunks;
mod rereads;
mod stream;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use rustc_hash::FxHashMap;
use understudy_contract::{
    Applied, Batch, ChunkDone, ChunkRequest, Failure, LedgerEntry, PlacedChunk, Saved, Unit,
};
use understudy_model::{
    Checkpoint, ChunkId, HealKey, Lsn, Nonce, RelationId, RouteId, Snapshot, UnitId, Xid,
};
use understudy_transform::{Binding, RouteSpec};

use crate::batch::BatchBuilder;
use crate::copy_plan::{CopyPlan, UnitProgress};
use crate::effect::Effect;
use crate::heal::Heals;
use crate::relations::Relations;
use crate::rules::{Rule, Rules};
use crate::tally::RouteKeys;
use crate::visibility::Visibility;
use crate::window::Window;

/// Limits and policies.
#[derive(Debug, Clone)]
pub struct CoreSettings {
    /// Heap bytes that one chunk spans.
    pub chunk_bytes: u64,
    /// Row bytes that one chunk may hold before it is read again in halves.
    pub chunk_bytes_max: usize,
    /// Bytes of touched keys that one window may hold before it is read again in halves.
    pub window_bytes_max: usize,
    /// Windows and placed chunks that may be under way at once.
    pub windows_max: usize,
    /// Changes after which a batch is handed out, in the middle of a transaction if need be.
    pub batch_changes_max: usize,
    /// Bytes after which a batch is handed out, in the middle of a transaction if need be.
    pub batch_bytes_max: usize,
    /// What becomes of rows whose partition leaves its table.
    pub on_detach: DetachPolicy,
    /// Whether the sink keeps rows as blue has them, for others: it is told of whole old rows and of the types of columns.
    pub raw: bool,
    /// First half of every marker, random for each run.
    pub nonce_base: u64,
    /// The rules in force: all of them outside tests.
    pub rules: Rules,
}

/// What becomes of the rows of a partition that is detached or dropped on blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DetachPolicy {
    /// Replication stops with a message.
    #[default]
    Stop,
    /// The rows are deleted from green.
    Delete,
}

/// What a core starts from.
#[derive(Debug)]
pub struct CoreStart {
    /// The routes, by number.
    pub routes: Vec<RouteSpec>,
    /// The catalog, read after the slot and the publication were made ready.
    pub units: Vec<Unit>,
    /// The catalog as it was before the slot was created, if it was created in this run.
    pub units_before: Vec<Unit>,
    /// A snapshot, read after the slot and the publication were made ready.
    pub snapshot: Snapshot,
    /// What green remembers.
    pub saved: Saved,
    /// The slot was created in this run.
    pub slot_is_new: bool,
    /// Tables were added to the publication in this run.
    pub publication_changed: bool,
    /// Routes to be copied again from the start.
    pub recopy: Vec<RouteId>,
    /// Those of them that an operator asked for.
    pub recopy_asked: Vec<RouteId>,
}

/// Work for green, to be done in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Apply.
    Batch(Batch),
    /// Place.
    Place(PlacedChunk),
    /// Record.
    Record(LedgerEntry),
}

/// A chunk to be read from blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadJob {
    /// What to read.
    pub request: ChunkRequest,
    /// The marker to emit once [`Core::on_chunk`] has taken the rows and asked for it.
    pub nonce: Nonce,
}

/// How far everything has come, for status.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The copy of each table and leaf.
    pub units: Vec<UnitProgress>,
    /// Routes whose copy is not complete.
    pub incomplete: Vec<RouteId>,
    /// Those of them that a log has yet to bring the plan of: nothing of theirs is applied before.
    pub unplanned: Vec<RouteId>,
    /// Rows waiting to be read again by key.
    pub heals: usize,
    /// Transactions on blue that must end before the copy goes on.
    pub waiting_for: Vec<Xid>,
    /// Windows open.
    pub windows: usize,
}

/// The state of one run between blue and green.
#[derive(Debug)]
pub struct Core {
    settings: CoreSettings,
    routes: Vec<RouteSpec>,
    chunk_bindings: Vec<Binding>,
    relations: Relations,
    /// What a change means to each route, kept for its room.
    effects: Vec<Effect>,
    batch: BatchBuilder,
    visibility: Visibility,
    plan: CopyPlan,
    heals: Heals,
    incomplete: BTreeSet<RouteId>,
    /// How often a copy has begun or been completed.
    turns: u64,
    windows: FxHashMap<ChunkId, Window>,
    placed: HashMap<ChunkId, PlacedNote>,
    /// Leaves that the catalog no longer shows, whose last changes may still be on their way.
    detaching: HashMap<Nonce, Unit>,
    /// Those of them that are attached again already, as they were first seen then.
    returning: HashMap<UnitId, Unit>,
    /// Markers whose commit has not arrived yet.
    markers: Vec<Nonce>,
    heartbeats: Vec<(Nonce, Checkpoint)>,
    to_emit: Vec<Nonce>,
    out: VecDeque<Work>,
    idle_end: Lsn,
    next_id: u64,
    heal_keys_max: usize,
    wants_units: bool,
    /// Looks at the catalog that were needed, and how many of them the last one asked for can answer: one that was
    /// already under way when the need arose cannot.
    looks_needed: u64,
    looks_asked: u64,
    /// The relation that the stream waits at because no route is known to gather it.
    unknown: Option<Unknown>,
    /// Units that a chunk could not be read from, until the catalog tells why.
    unreadable: BTreeSet<UnitId>,
    /// Units whose blocks must be counted anew before any of them is read.
    unmeasured: BTreeSet<UnitId>,
    /// Routes that green knows nothing of, with every unit of theirs that was seen, also those gone since. Up to the
    /// last transaction that ran when they were published, the stream does not show every change of theirs: none is
    /// applied, and nothing planned.
    joining: BTreeMap<RouteId, BTreeMap<UnitId, Unit>>,
    /// The marker from which on the joining routes are followed.
    join_marker: Option<Nonce>,
    /// Rows to be read again that wait for the end of the open transaction.
    rereads: VecDeque<(RouteId, HealKey)>,
    /// The types of columns that a raw sink was told of last, where they are not those that the route was compiled for.
    types_told: HashMap<RouteId, Vec<(u32, i32)>>,
}

/// What is remembered of a chunk that green is writing.
#[derive(Debug)]
enum PlacedNote {
    Copy { unit: UnitId },
    Heal { route: RouteId, keys: Vec<HealKey> },
}

/// A relation of the stream that no look at the catalog has shown yet.
#[derive(Debug)]
struct Unknown {
    relation: RelationId,
    /// The transaction that changes it, and whether a snapshot has shown that one: before, a look need not show what it
    /// created or attached.
    xid: Option<Xid>,
    is_visible: bool,
    /// Whether the look that is under way started after that.
    look_shows: bool,
    /// A look that started before has not shown it: the next one starts once the transaction is visible.
    too_early: bool,
}

impl Core {
    /// Starts from what green remembers and what blue's catalog shows.
    pub fn new(settings: CoreSettings, start: CoreStart) -> Result<Core, Failure> {
        let CoreStart { routes, units, snapshot, saved, slot_is_new, publication_changed, .. } = start;
        let (recopy, asked) = (start.recopy, start.recopy_asked);
        let chunk_bindings = routes
            .iter()
            .map(|route| route.bind_chunk().map_err(catalog::does_not_bind))
            .collect::<Result<_, _>>()?;
        let rules = settings.rules.clone();
        let known = if slot_is_new { Some(Vec::new()) } else { saved.unseen.clone() };
        let mut visibility = Visibility::new(rules.clone(), snapshot, known);
        let born = slot_is_new && rules.holds(Rule::SlotBirth);
        if born || (publication_changed && rules.holds(Rule::PublicationChange)) {
            visibility.require_barrier();
        }
        let mut batch =
            BatchBuilder::new(settings.batch_changes_max, settings.batch_bytes_max, saved.checkpoint);
        if settings.raw {
            batch.keep_raw();
        }
        let mut core = Core {
            plan: CopyPlan::new(settings.chunk_bytes),
            settings,
            incomplete: routes.iter().map(|route| route.id).collect(),
            turns: 0,
            routes,
            chunk_bindings,
            relations: Relations::new(&saved.departed),
            effects: Vec::new(),
            batch,
            visibility,
            heals: Heals::default(),
            windows: FxHashMap::default(),
            placed: HashMap::new(),
            detaching: HashMap::new(),
            returning: HashMap::new(),
            markers: Vec::new(),
            heartbeats: Vec::new(),
            to_emit: Vec::new(),
            out: VecDeque::new(),
            idle_end: Lsn::ZERO,
            next_id: 0,
            heal_keys_max: heal_keys_start(),
            wants_units: false,
            looks_needed: 0,
            looks_asked: 0,
            unknown: None,
            unreadable: BTreeSet::new(),
            unmeasured: BTreeSet::new(),
            joining: BTreeMap::new(),
            join_marker: None,
            rereads: VecDeque::new(),
            types_told: HashMap::new(),
        };
        core.restore(&saved, (&recopy, &asked), &units)?;
        if slot_is_new {
            core.plan_before(start.units_before, &units)?;
        } else {
            core.find_joining(&saved);
        }
        core.on_units(units)?;
        Ok(core)
    }

    /// The next piece of work for green, in order. Work that is taken must be done.
    pub fn next_work(&mut self) -> Option<Work> {
        self.out.pop_front()
    }

    /// Pieces of work that wait to be handed out.
    pub fn work_waiting(&self) -> usize {
        self.out.len()
    }

    /// Changes gathered since the last batch was sealed.
    pub fn gathered(&self) -> usize {
        self.batch.gathered()
    }

    /// Whether work is ready that [`Core::next_work`] would hand out.
    pub fn has_work(&self) -> bool {
        !self.out.is_empty()
    }

    /// Seals the batch being gathered when it ends at a commit, so that green can have it now.
    pub fn seal(&mut self) {
        if self.batch.ends_at_commit() {
            self.seal_here();
        }
    }

    /// Seals whole transactions and drops the rest, because the run is about to end.
    pub fn seal_last(&mut self) {
        let unseen = self.visibility.to_save();
        if let Some(batch) = self.batch.seal_whole(unseen)
            && self.batch.sealed_at_commit()
        {
            self.out.push_back(Work::Batch(batch));
        }
    }

    fn seal_here(&mut self) {
        let unseen = self.visibility.to_save();
        let batch = self.batch.seal(unseen);
        self.out.push_back(Work::Batch(batch));
    }

    fn record(&mut self, entry: LedgerEntry) {
        self.out.push_back(Work::Record(entry));
    }

    /// Whether batches begun from here on name the rows of blue that their changes are about, for whoever compares them.
    pub fn name_rows(&mut self, wanted: bool) {
        self.batch.name_rows(wanted);
    }

    /// How each route names its rows.
    pub fn route_keys(&self) -> RouteKeys {
        RouteKeys::of(&self.routes)
    }

    /// Markers to be committed on blue, apart from those of chunks.
    pub fn markers_to_emit(&mut self) -> Vec<Nonce> {
        std::mem::take(&mut self.to_emit)
    }

    /// A marker of the caller's own, to time the way through the stream.
    pub fn heartbeat(&mut self) -> Nonce {
        self.new_nonce().1
    }

    /// Heartbeats that have come back, each with the checkpoint that holds once green has applied it.
    pub fn heartbeats_seen(&mut self) -> Vec<(Nonce, Checkpoint)> {
        std::mem::take(&mut self.heartbeats)
    }

    /// Called at short intervals: lets an idle stream move its checkpoint on.
    pub fn on_tick(&mut self) {
        if self.batch.is_idle() && self.idle_end > self.batch.last_checkpoint().lsn() {
            self.batch.idle_until(self.idle_end);
        }
    }

    /// Green has applied a batch.
    pub fn on_applied(&mut self, applied: Applied) {
        for (route, key) in applied.heals {
            if self.settings.rules.holds(Rule::Heal) {
                self.heals.report(route, key);
            }
        }
    }

    /// Green has committed a chunk.
    pub fn on_chunk_done(&mut self, done: &ChunkDone) {
        match self.placed.remove(&done.id) {
            Some(PlacedNote::Copy { unit }) => self.plan.done(unit, done.id, done.rows),
            Some(PlacedNote::Heal { route, keys }) => self.heals.done(route, keys),
            None => {}
        }
        self.complete_routes();
    }

    /// How far everything has come.
    pub fn progress(&self) -> Progress {
        let mut waiting_for = self.visibility.waiting_for().to_vec();
        // The stream stands still until the catalog can show what this transaction did.
        let held_by =
            self.unknown.as_ref().filter(|unknown| unknown.too_early).and_then(|unknown| unknown.xid);
        waiting_for.extend(held_by.filter(|xid| !waiting_for.contains(xid)));
        Progress {
            units: self.plan.progress(),
            incomplete: self.incomplete.iter().copied().collect(),
            unplanned: Vec::new(),
            heals: self.heals.pending(),
            waiting_for,
            windows: self.windows.len(),
        }
    }

    /// Differs whenever a route's copy has begun or been completed since: whoever compares must not miss a short one.
    pub fn copy_turns(&self) -> u64 {
        self.turns
    }

    /// The checkpoint that holds once all work handed out and gathered has been done.
    pub fn last_checkpoint(&self) -> Checkpoint {
        self.batch.last_checkpoint()
    }

    /// Whether every route is copied, no row is to be healed and nothing waits to be handed out.
    pub fn is_settled(&self) -> bool {
        self.incomplete.is_empty()
            && self.heals.pending() == 0
            && self.windows.is_empty()
            && self.placed.is_empty()
            && self.detaching.is_empty()
            && self.joining.is_empty()
            && self.rereads.is_empty()
            && self.batch.is_idle()
            && self.out.is_empty()
    }

    fn new_nonce(&mut self) -> (ChunkId, Nonce) {
        let id = self.next_id;
        self.next_id += 1;
        (ChunkId(id), Nonce(u128::from(self.settings.nonce_base) << 64 | u128::from(id)))
    }

    fn complete_routes(&mut self) {
        let early = !self.settings.rules.holds(Rule::Strictness);
        let copied = self.plan.copied_routes();
        let ready = self.incomplete.iter().copied().filter(|route| {
            let has_units = self.plan.root_of(*route).is_some() || self.joining.contains_key(route);
            // Rows that are still to be read again do not hold it back: green knows them, and expects nothing of them.
            early || ((copied.contains(route) || !has_units) && !self.is_detaching(*route))
        });
        for route in ready.collect::<Vec<_>>() {
            self.incomplete.remove(&route);
            self.turns += 1;
            self.record(LedgerEntry::Complete(route));
        }
    }

    fn is_detaching(&self, route: RouteId) -> bool {
        self.detaching.values().any(|unit| unit.route == route)
    }
}

/// Keys that a heal window takes at first; fewer after one was too large.
const fn heal_keys_start() -> usize {
    200
}
