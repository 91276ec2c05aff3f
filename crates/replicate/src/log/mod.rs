//! Applying a log: what a capture has written of blue becomes ordered work for green. Holds no socket, reads no clock.
//!
//! [`LogCore`] decides and [`LogPipeline`] runs it, as their elder siblings do for blue itself. Nothing is read from blue here:
//! the log brings rows, and rows that green lacks are asked of the capture.

mod chunks;
mod entries;
mod events;
mod pipeline;
mod places;
mod shared;
mod tables;
mod waits;

#[cfg(test)]
mod tests;

pub use pipeline::{LogLimits, LogPipeline};
pub use tables::in_order;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use rustc_hash::FxHashMap;
use understudy_contract::{Applied, Batch, ChunkDone, Class, Failure, LedgerEntry, Saved, Wanted};
use understudy_model::{
    BlockRange, Checkpoint, ChunkId, HealKey, Lsn, Nonce, RelationId, RouteId, RowChange, TableName, UnitId,
};
use understudy_transform::RouteSpec;

use crate::batch::BatchBuilder;
use crate::core::{Progress, Work};
use crate::effect::Effect;
use crate::relations::Relations;
use crate::rules::Rules;
use crate::tally::RouteKeys;
use events::{OpenTransaction, Passing};
use places::Places;
use tables::{LoggedTable, PlannedUnit};
use waits::Waits;

/// Rows that may wait for the end of the open transaction. Whoever asks for more waits.
const REREADS_MAX: usize = 1_000;

/// Limits.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// Changes after which a batch is handed out at the next place of the log, within a transaction if need be.
    pub batch_changes_max: usize,
    /// Bytes after which it is.
    pub batch_bytes_max: usize,
    /// The rules in force: all of them outside tests.
    pub rules: Rules,
}

/// What a core starts from.
#[derive(Debug)]
pub struct LogStart {
    /// The routes, by number.
    pub routes: Vec<RouteSpec>,
    /// For each table of blue the columns of its key, in the order in which the log has them in its keys.
    pub keys: HashMap<TableName, Vec<String>>,
    /// What green remembers.
    pub saved: Saved,
    /// Where blue's log ended when the routes were compiled: rows that are newer may have other types than they know.
    pub compiled_at: Lsn,
    /// Routes whose table the capture has been asked to copy again: the log will tell of that later on.
    pub awaited: Vec<RouteId>,
}

/// A beat that has come through the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Which.
    pub nonce: Nonce,
    /// When it was sent, microseconds since 1970-01-01 UTC by the capture's clock.
    pub sent_us: i64,
    /// Green shows it from here on.
    pub at: Checkpoint,
}

/// The state of one run between a log and green.
#[derive(Debug)]
pub struct LogCore {
    rules: Rules,
    routes: Vec<RouteSpec>,
    keys: HashMap<TableName, Vec<String>>,
    compiled_at: Lsn,
    relations: Relations,
    /// What a change means to each route, kept for its room.
    effects: Vec<Effect>,
    batch: BatchBuilder,
    tables: FxHashMap<RelationId, LoggedTable>,
    units: BTreeMap<UnitId, PlannedUnit>,
    incomplete: BTreeSet<RouteId>,
    /// Routes whose tables have been planned on green. Of others nothing is applied.
    followed: BTreeSet<RouteId>,
    /// Those of them that were planned in this run before anything came that green did not have.
    followed_late: BTreeSet<RouteId>,
    awaited: BTreeSet<RouteId>,
    /// Rows that were read again are taken whether or not green waits for them.
    takes_heals: bool,
    /// The log is read from its beginning.
    from_start: bool,
    /// How often a copy has begun or been completed.
    turns: u64,
    waits: Waits,
    places: Places,
    /// Where green was when this run started: what ends before that comes again and is passed over.
    resumed_at: Checkpoint,
    /// What of the copy was on green by then.
    done: HashSet<(UnitId, BlockRange)>,
    open: Option<OpenTransaction>,
    passing: Option<Passing>,
    /// The commit record of the transaction that was taken last.
    last_commit: Option<Lsn>,
    /// Nothing has come since the last place of the log.
    at_place: bool,
    placed: HashMap<ChunkId, PlacedNote>,
    next_id: u64,
    out: VecDeque<Work>,
    beats: Vec<Beat>,
    rereads: VecDeque<(RouteId, HealKey)>,
    /// Routes whose rows are to go at the end of the open transaction.
    voided: Vec<RouteId>,
    /// The log tells changes at least once each, so that none may expect anything of the row before it.
    as_they_come: bool,
}

/// What is remembered of a chunk that green is writing.
#[derive(Debug)]
enum PlacedNote {
    Copy { unit: UnitId, range: BlockRange },
    Heal { route: RouteId, keys: Vec<HealKey> },
}

impl LogCore {
    /// Starts from what green remembers.
    pub fn new(settings: LogSettings, start: LogStart) -> Result<LogCore, Failure> {
        let LogStart { routes, keys, saved, compiled_at, awaited } = start;
        routes.iter().try_for_each(|route| fits_log(route, &keys))?;
        let batch = BatchBuilder::new(settings.batch_changes_max, settings.batch_bytes_max, saved.checkpoint);
        let mut core = LogCore {
            rules: settings.rules,
            keys,
            compiled_at,
            relations: Relations::default(),
            effects: Vec::new(),
            batch,
            tables: FxHashMap::default(),
            units: BTreeMap::new(),
            incomplete: routes.iter().map(|route| route.id).collect(),
            followed: BTreeSet::new(),
            followed_late: BTreeSet::new(),
            awaited: awaited.into_iter().collect(),
            takes_heals: false,
            from_start: saved.cursor.is_none(),
            turns: 0,
            waits: Waits::default(),
            places: Places::new(saved.cursor.clone()),
            resumed_at: saved.checkpoint,
            done: HashSet::new(),
            open: None,
            passing: None,
            last_commit: None,
            at_place: true,
            placed: HashMap::new(),
            next_id: 0,
            out: VecDeque::new(),
            beats: Vec::new(),
            rereads: VecDeque::new(),
            voided: Vec::new(),
            as_they_come: false,
            routes,
        };
        core.restore(&saved)?;
        Ok(core)
    }

    /// The log is one that may tell of a change again, and after others: each is made whatever the row was before.
    pub fn take_changes_as_they_come(&mut self) {
        self.as_they_come = true;
    }

    /// The next piece of work for green, in order. Work that is taken must be done.
    pub fn next_work(&mut self) -> Option<Work> {
        self.out.pop_front()
    }

    /// Pieces of work that wait to be handed out.
    pub fn work_waiting(&self) -> usize {
        self.out.len()
    }

    /// Whether work is ready that [`LogCore::next_work`] would hand out.
    pub fn has_work(&self) -> bool {
        !self.out.is_empty()
    }

    /// Changes gathered since the last batch was sealed.
    pub fn gathered(&self) -> usize {
        self.batch.gathered()
    }

    /// Seals the batch being gathered when it ends at a commit and at a place of the log, so that green can have it now.
    pub fn seal(&mut self) {
        if self.at_place && self.batch.ends_at_commit() {
            self.seal_here();
        }
    }

    /// Seals what is whole and drops the rest, because the run is about to end: it comes again.
    pub fn seal_last(&mut self) {
        self.seal();
    }

    fn seal_here(&mut self) {
        if self.batch.gathered() == 0 && !self.batch.has_marks() {
            return;
        }
        let batch = self.batch.seal(None);
        self.hand_out(batch);
    }

    fn hand_out(&mut self, mut batch: Batch) {
        if batch.checkpoint().is_some() {
            batch.cursor = self.places.at_commit();
        }
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

    /// Beats that have come through the log.
    pub fn beats_seen(&mut self) -> Vec<Beat> {
        std::mem::take(&mut self.beats)
    }

    /// Called at short intervals: a place that no checkpoint names yet is named while nothing else happens.
    pub fn on_tick(&mut self) {
        if self.at_place && self.open.is_none() && self.batch.is_idle() && self.out.is_empty() {
            self.name_place();
        }
    }

    /// Hands out a checkpoint that names the place before what comes now.
    fn name_place(&mut self) {
        if let Some(place) = self.places.unnamed() {
            self.batch.mark_again();
            let batch = self.batch.seal(None);
            self.out.push_back(Work::Batch(Batch { cursor: Some(place), ..batch }));
        }
    }

    /// Green has applied a batch.
    pub fn on_applied(&mut self, applied: Applied) {
        for (route, key) in applied.heals {
            self.waits.report(route, key);
        }
    }

    /// Green has committed a chunk.
    pub fn on_chunk_done(&mut self, done: &ChunkDone) {
        self.places.release(done.id);
        match self.placed.remove(&done.id) {
            Some(PlacedNote::Copy { unit, range }) => {
                if let Some(unit) = self.units.get_mut(&unit) {
                    unit.done(range, done.rows);
                }
            }
            Some(PlacedNote::Heal { route, keys }) => self.waits.done(route, keys, done.id),
            None => {}
        }
    }

    /// Whether another [`LogCore::reread`] is taken now.
    pub fn takes_rereads(&self) -> bool {
        self.rereads.len() < REREADS_MAX
    }

    /// A row is to be read again from blue: green is to have what blue has under its key, and nothing where blue has nothing.
    ///
    /// It is recorded on green as a change of our own, so that a restart does not lose it, and then asked of the capture. A
    /// route that is being copied is passed over: the copy brings its rows.
    pub fn reread(&mut self, route: RouteId, key: HealKey) {
        self.rereads.push_back((route, key));
        self.push_rereads();
    }

    /// Hands on what has been asked for, unless that would stand in the middle of a transaction of blue.
    fn push_rereads(&mut self) {
        if self.open.is_some() {
            return;
        }
        for (route, key) in std::mem::take(&mut self.rereads) {
            if route.index() < self.routes.len() && !self.incomplete.contains(&route) {
                self.push_own_reread(route, key);
            }
        }
    }

    fn push_own_reread(&mut self, route: RouteId, key: HealKey) {
        let change = RowChange::Reread { route, key: key.clone() };
        self.waits.note(&self.routes[route.index()], &change);
        // Green does not report what it waits for already, and what was asked for may have been read before.
        self.waits.ask(route, key);
        self.batch.push_own(change);
    }

    /// Whether there are rows to ask of the capture.
    pub fn wants_rows(&self) -> bool {
        self.waits.wants()
    }

    /// The next rows to ask of the capture, at most so many. Asking for them is up to the caller; whatever he loses in a crash is
    /// asked for again by the next run.
    pub fn wanted(&mut self, rows_max: usize) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        while wanted.len() < rows_max
            && let Some((route, key)) = self.waits.next()
        {
            let spec = &self.routes[route.index()];
            let names = self.keys.get(&spec.source).unwrap_or(&spec.key_source);
            let key = tables::in_order(&key.blue, &spec.key_source, names);
            wanted.push(Wanted { table: spec.source.clone(), key });
        }
        wanted
    }

    /// The tables of blue of which green has no whole copy, each once.
    pub fn tables_to_copy(&self) -> Vec<TableName> {
        let mut tables = Vec::new();
        for route in &self.incomplete {
            let source = &self.routes[route.index()].source;
            if !tables.contains(source) {
                tables.push(source.clone());
            }
        }
        tables
    }

    /// How many rows green waits for.
    pub fn rows_waiting(&self) -> usize {
        self.waits.pending()
    }

    /// Whatever has not come yet is to be asked for once more: the capture may have lost it, or was copying.
    pub fn ask_again(&mut self) {
        if !self.waits.wants() {
            self.waits.ask_again(None);
        }
    }

    /// How far everything has come.
    pub fn progress(&self) -> Progress {
        let unit = |unit: &PlannedUnit| unit.progress(!self.incomplete.contains(&unit.unit.route));
        Progress {
            units: self.units.values().map(unit).collect(),
            incomplete: self.incomplete.iter().copied().collect(),
            unplanned: self
                .incomplete
                .iter()
                .copied()
                .filter(|route| !self.followed.contains(route))
                .collect(),
            heals: self.waits.pending(),
            waiting_for: Vec::new(),
            windows: self.placed.len(),
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

    /// Whether every route is copied, no row is waited for and nothing waits to be handed out.
    pub fn is_settled(&self) -> bool {
        self.incomplete.is_empty()
            && self.waits.pending() == 0
            && self.placed.is_empty()
            && self.rereads.is_empty()
            && self.open.is_none()
            && self.batch.is_idle()
            && self.out.is_empty()
    }

    fn new_id(&mut self) -> ChunkId {
        let id = ChunkId(self.next_id);
        self.next_id += 1;
        id
    }
}

/// Whether the log and a route name rows of blue by the same columns. What a route has to know of old rows beyond that the log
/// has of every change with which blue has sent it.
fn fits_log(route: &RouteSpec, keys: &HashMap<TableName, Vec<String>>) -> Result<(), Failure> {
    let source = &route.source;
    let named = keys.get(source).is_some_and(|names| {
        names.len() == route.key_source.len() && route.key_source.iter().all(|name| names.contains(name))
    });
    named.then_some(()).ok_or_else(|| {
        let cause = format!("the capture and the apply do not name the rows of {source} by the same columns");
        Failure::new(Class::Internal, cause)
    })
}
