//! The capture's bookkeeping: what it comes to in memory, and the records by which every change of it is known.

use std::collections::{BTreeMap, HashMap};

use rustc_hash::FxHashSet;
use understudy_contract::{Class, Failure, Lineage, SavedUnit, Unit, Wanted};
use understudy_model::{BlockRange, Checkpoint, Key, RouteId, TableName, UnitId, Xid};

use super::notes::Planned;
use crate::codec::{
    DoneRanges, FoldedState, Progress, RouteState, StateKey, StateRecord, UnitState, progress_records,
};

/// What is known. Everything that changes here is written with the transaction that it belongs to; when that fails, the
/// books are dropped with the sink.
#[derive(Default)]
pub(super) struct Books {
    /// `None` until something was begun.
    pub(super) lineage: Option<Lineage>,
    pub(super) checkpoint: Checkpoint,
    pub(super) unseen: Option<Vec<Xid>>,
    /// The last group.
    pub(super) group: u64,
    /// Offset of the first request that has not been taken.
    pub(super) requests: i64,
    pub(super) routes: HashMap<RouteId, RouteState>,
    units: HashMap<UnitId, SavedUnit>,
    done: HashMap<UnitId, DoneRanges>,
    /// Rows that wait to be read again. Keys are the same on both sides.
    heals: FxHashSet<(RouteId, Key)>,
    pub(super) schemas: BTreeMap<TableName, u32>,
    /// The state of tables in the publication, to be recorded with them.
    published: HashMap<RouteId, String>,
    /// What is recorded of tables that the migration no longer has.
    absent: Vec<StateKey>,
}

impl Books {
    /// What an earlier capture has left.
    pub(super) fn of(folded: FoldedState) -> Books {
        let saved = folded.saved;
        Books {
            lineage: Some(saved.lineage),
            checkpoint: saved.checkpoint,
            unseen: saved.unseen,
            group: folded.group,
            requests: folded.requests,
            routes: folded.routes,
            units: saved.units.into_iter().map(|unit| (unit.id, unit)).collect(),
            done: folded.done,
            heals: saved.heals.into_iter().map(|(route, key)| (route, key.blue)).collect(),
            schemas: folded.schemas,
            published: HashMap::new(),
            absent: folded.absent,
        }
    }

    /// What is recorded under these keys is of no use: voided together with what is recorded of tables that are gone.
    pub(super) fn void(&mut self, keys: Vec<StateKey>) {
        self.absent.extend(keys);
    }

    /// Where the capture is, to be written with every transaction once something was begun.
    pub(super) fn progress(&self) -> Vec<StateRecord> {
        let Some(lineage) = &self.lineage else { return Vec::new() };
        progress_records(&Progress {
            lineage: lineage.clone(),
            checkpoint: self.checkpoint,
            unseen: self.unseen.clone(),
            group: self.group,
            requests: self.requests,
        })
    }

    pub(super) fn is_complete(&self, route: RouteId) -> bool {
        self.routes.get(&route).is_some_and(|known| known.complete)
    }

    pub(super) fn waits(&self, route: RouteId, key: &Key) -> bool {
        !self.heals.is_empty() && self.heals.contains(&(route, key.clone()))
    }

    /// A row is to be read again. Nothing is to be recorded where it waits already.
    pub(super) fn heal(&mut self, table: &TableName, route: RouteId, key: &Key) -> Option<StateRecord> {
        let is_new = self.heals.insert((route, key.clone()));
        is_new.then(|| StateRecord::Heal(Wanted { table: table.clone(), key: key.clone() }))
    }

    /// A row was read again.
    pub(super) fn healed(&mut self, table: &TableName, route: RouteId, key: &Key) -> Option<StateRecord> {
        let waited = self.heals.remove(&(route, key.clone()));
        waited.then(|| StateRecord::Gone(StateKey::Heal { source: table.clone(), key: key.clone() }))
    }

    /// In which state tables are in the publication.
    pub(super) fn set_published(&mut self, published: Vec<(RouteId, String)>) {
        self.published.extend(published);
    }

    /// A table is followed: as before, or newly.
    pub(super) fn follow(&mut self, route: RouteId, source: &TableName, fingerprint: &str) -> StateRecord {
        let known = self.routes.entry(route).or_insert_with(|| RouteState {
            source: source.clone(),
            fingerprint: String::new(),
            complete: false,
            renewed: false,
            void: false,
            published: None,
        });
        known.fingerprint = fingerprint.to_owned();
        if let Some(published) = self.published.get(&route) {
            known.published = Some(published.clone());
        }
        StateRecord::Route(known.clone())
    }

    /// Whether the log holds all rows of a table. To be recorded by following it.
    pub(super) fn set_complete(&mut self, route: RouteId, complete: bool) {
        if let Some(known) = self.routes.get_mut(&route) {
            known.renewed = !complete && (known.renewed || known.complete);
            known.complete = complete;
        }
    }

    /// The copy of a unit starts, or starts again.
    pub(super) fn plan(&mut self, source: &TableName, unit: SavedUnit) -> Vec<StateRecord> {
        let mut records = self.forget_ranges(source, unit.id);
        let generation = self.group;
        let done = DoneRanges::new(source.clone(), unit.id.oid, generation);
        self.done.insert(unit.id, done);
        self.units.insert(unit.id, unit.clone());
        records.push(StateRecord::Unit(UnitState { source: source.clone(), generation, unit }));
        records
    }

    /// A unit is another, but what is done of it stands.
    pub(super) fn refresh(&mut self, source: &TableName, unit: &Unit) -> Option<StateRecord> {
        let known = self.units.get_mut(&unit.id)?;
        let generation = self.done.get(&unit.id)?.generation();
        *known = SavedUnit { blocks: known.blocks, ..planned(unit) };
        Some(StateRecord::Unit(UnitState { source: source.clone(), generation, unit: known.clone() }))
    }

    /// A unit is no longer part of its route.
    pub(super) fn forget(&mut self, source: &TableName, id: UnitId) -> Vec<StateRecord> {
        let mut records = self.forget_ranges(source, id);
        self.done.remove(&id);
        if self.units.remove(&id).is_some() {
            records.push(StateRecord::Gone(StateKey::Unit { source: source.clone(), unit: id.oid }));
        }
        records
    }

    /// Everything that is known of a route is void, and so is what the log holds of it: readers are told once it joins anew.
    pub(super) fn forget_route(&mut self, source: &TableName, route: RouteId) -> Vec<StateRecord> {
        let mut records = Vec::new();
        for unit in self.units_of(route) {
            records.extend(self.forget(source, unit.id));
        }
        let waiting = self.heals.iter().filter(|(of, _)| *of == route).map(|(_, key)| key.clone());
        for key in waiting.collect::<Vec<_>>() {
            records.extend(self.healed(source, route, &key));
        }
        if let Some(known) = self.routes.get_mut(&route) {
            *known = RouteState {
                source: source.clone(),
                fingerprint: String::new(),
                complete: false,
                renewed: false,
                void: true,
                published: None,
            };
            records.push(StateRecord::Route(known.clone()));
        }
        records
    }

    /// Whether a table whose copy is recorded has not been followed before; and if so, whether what the log holds of it is void.
    pub(super) fn join(&mut self, route: RouteId) -> Option<bool> {
        let Some(known) = self.routes.get_mut(&route) else { return Some(false) };
        std::mem::take(&mut known.void).then_some(true)
    }

    /// What is recorded of tables that the migration no longer has is void, but for their numbers on blue: the stream may
    /// still show their last changes.
    pub(super) fn forget_absent(&mut self) -> Vec<StateRecord> {
        let absent = std::mem::take(&mut self.absent);
        let departed = absent.iter().filter_map(|key| match key {
            StateKey::Unit { unit, .. } => Some(StateRecord::Departed(understudy_model::RelationId(*unit))),
            _ => None,
        });
        let mut records = departed.collect::<Vec<_>>();
        records.extend(absent.into_iter().map(StateRecord::Gone));
        records
    }

    /// A range of a unit is in the log.
    pub(super) fn range_done(
        &mut self,
        unit: UnitId,
        range: BlockRange,
        rows: u64,
    ) -> Result<Vec<StateRecord>, Failure> {
        let unplanned = || Failure::new(Class::Internal, "a chunk belongs to no planned unit");
        Ok(self.done.get_mut(&unit).ok_or_else(unplanned)?.add(range, rows))
    }

    /// The units of a route, in the order of their numbers.
    pub(super) fn units_of(&self, route: RouteId) -> Vec<SavedUnit> {
        let mut units = self.units.values().filter(|unit| unit.route == route).cloned().collect::<Vec<_>>();
        units.sort_by_key(|unit| unit.id);
        units
    }

    /// Where the copy of a route is planned; `None` where nothing of it is.
    pub(super) fn planned_of(&self, route: RouteId) -> Option<Planned> {
        let of_route = self.units.values().filter(|unit| unit.route == route);
        let plans = of_route.filter_map(|unit| self.done.get(&unit.id)).map(DoneRanges::generation);
        let one = |at| Planned { all: at, last: at };
        plans
            .map(one)
            .reduce(|one, other| Planned { all: one.all.min(other.all), last: one.last.max(other.last) })
    }

    fn forget_ranges(&self, source: &TableName, id: UnitId) -> Vec<StateRecord> {
        let ranges = self.done.get(&id).into_iter().flat_map(DoneRanges::iter);
        let gone = ranges.map(|(range, _)| {
            StateRecord::Gone(StateKey::Done { source: source.clone(), unit: id.oid, from: range.from })
        });
        gone.collect()
    }
}

/// A unit as it is recorded when its copy starts.
pub(super) fn planned(unit: &Unit) -> SavedUnit {
    SavedUnit {
        id: unit.id,
        route: unit.route,
        name: unit.name.clone(),
        filenode: unit.filenode,
        fingerprint: unit.fingerprint,
        marks: unit.marks,
        membership: unit.membership,
        blocks: unit.blocks,
        predicate: unit.predicate.clone(),
        done: Vec::new(),
        rows_done: 0,
    }
}
