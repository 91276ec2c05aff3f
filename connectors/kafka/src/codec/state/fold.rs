//! What all records of the bookkeeping come to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use understudy_contract::{Saved, SavedRoute, SavedUnit};
use understudy_model::{Ctid, HealKey, RelationId, RouteId, TableName, UnitId, Xid};

use super::super::error::CodecError;
use super::{DoneRange, DoneRanges, Progress, RouteState, StateKey, StateRecord, UnitState, form};

/// Gathers the records of the topic, read from its start to its end.
#[derive(Debug, Clone, Default)]
pub struct StateFold {
    progress: Option<(Progress, u32)>,
    /// The group that each part was written with, and what it holds.
    unseen: HashMap<u32, (u64, Vec<Xid>)>,
    routes: BTreeMap<TableName, RouteState>,
    units: BTreeMap<(TableName, u32), UnitState>,
    done: BTreeMap<(TableName, u32, Ctid), DoneRange>,
    heals: BTreeSet<(TableName, understudy_model::Key)>,
    departed: BTreeSet<RelationId>,
    schemas: BTreeMap<TableName, u32>,
}

/// What they come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedState {
    /// What a sink gives on its claim. There is no cursor.
    pub saved: Saved,
    /// The last group.
    pub group: u64,
    /// Offset of the first request that has not been taken.
    pub requests: i64,
    /// The newest version of every table's shape.
    pub schemas: BTreeMap<TableName, u32>,
    /// The tables of this run that were followed, by route.
    pub routes: HashMap<RouteId, RouteState>,
    /// What is done of every unit in `saved`, with the generation of its plan.
    pub done: HashMap<UnitId, DoneRanges>,
    /// What is recorded of tables that the migration no longer has: to be voided, in the transaction that records
    /// `saved.departed`.
    pub absent: Vec<StateKey>,
}

impl StateFold {
    /// Takes the next record.
    pub fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), CodecError> {
        match StateRecord::read(key, value)? {
            // Who writes is asked apart from what is written.
            StateRecord::Owner(_) | StateRecord::Claim { .. } => {}
            StateRecord::Progress { progress, parts } => self.progress = Some((progress, parts)),
            StateRecord::Unseen { part, group, xids } => {
                self.unseen.insert(part, (group, xids));
            }
            StateRecord::Route(route) => {
                self.routes.insert(route.source.clone(), route);
            }
            StateRecord::Unit(unit) => {
                self.units.insert((unit.source.clone(), unit.unit.id.oid), unit);
            }
            StateRecord::Done(done) => {
                self.done.insert((done.source.clone(), done.unit, done.range.from), done);
            }
            StateRecord::Heal(wanted) => {
                self.heals.insert((wanted.table, wanted.key));
            }
            StateRecord::Departed(relation) => {
                self.departed.insert(relation);
            }
            StateRecord::Schema { table, version } => {
                self.schemas.insert(table, version);
            }
            StateRecord::Gone(key) => self.forget(key),
        }
        Ok(())
    }

    fn forget(&mut self, key: StateKey) {
        match key {
            StateKey::Owner | StateKey::Claim => {}
            StateKey::Progress => self.progress = None,
            StateKey::Unseen { part } => {
                self.unseen.remove(&part);
            }
            StateKey::Route { source } => {
                self.routes.remove(&source);
            }
            StateKey::Unit { source, unit } => {
                self.units.remove(&(source, unit));
            }
            StateKey::Done { source, unit, from } => {
                self.done.remove(&(source, unit, from));
            }
            StateKey::Heal { source, key } => {
                self.heals.remove(&(source, key));
            }
            StateKey::Departed(relation) => {
                self.departed.remove(&relation);
            }
            StateKey::Schema { table } => {
                self.schemas.remove(&table);
            }
        }
    }

    /// All records were taken. `None`: nothing was begun. `routes` gives the number of a table in this run.
    pub fn finish(
        mut self,
        routes: impl Fn(&TableName) -> Option<RouteId>,
    ) -> Result<Option<FoldedState>, CodecError> {
        let Some((progress, parts)) = self.progress.take() else { return Ok(None) };
        let unseen = match parts {
            0 => progress.unseen,
            parts => Some(self.unseen_in_parts(parts, progress.group)?),
        };
        let absent = self.absent(&routes);
        let (units, done) = self.units(&routes);
        let saved = Saved {
            lineage: progress.lineage,
            checkpoint: progress.checkpoint,
            unseen,
            routes: self.routes.values().map(|route| saved_route(route, &routes)).collect(),
            units,
            departed: self.departed(&routes),
            heals: self.heals(&routes),
            cursor: None,
        };
        let ours = self.routes.into_iter().filter_map(|(source, route)| Some((routes(&source)?, route)));
        let (group, requests) = (progress.group, progress.requests);
        let routes = ours.collect();
        Ok(Some(FoldedState { saved, group, requests, schemas: self.schemas, routes, done, absent }))
    }

    fn unseen_in_parts(&mut self, parts: u32, group: u64) -> Result<Vec<Xid>, CodecError> {
        let mut all = Vec::new();
        for part in 0..parts {
            match self.unseen.remove(&part) {
                Some((of, xids)) if of == group => all.extend(xids),
                Some(_) | None => {
                    let reason = "a part of the list of unseen transactions is missing".to_owned();
                    return Err(CodecError::Record { what: form::WHAT, reason });
                }
            }
        }
        Ok(all)
    }

    /// The units of this run's tables, and what of their last plans is done.
    fn units(
        &self,
        routes: &impl Fn(&TableName) -> Option<RouteId>,
    ) -> (Vec<SavedUnit>, HashMap<UnitId, DoneRanges>) {
        let (mut units, mut all_done) = (Vec::new(), HashMap::new());
        for ((source, oid), state) in &self.units {
            let Some(route) = routes(source) else { continue };
            let id = UnitId::new(*oid, route);
            let mut done = DoneRanges::new(source.clone(), *oid, state.generation);
            let start = (source.clone(), *oid, Ctid { block: 0, line: 0 });
            let ranges =
                self.done.range(start..).take_while(|((of, unit, _), _)| (of, unit) == (source, oid));
            ranges
                .filter(|(_, range)| range.generation == state.generation)
                .for_each(|(_, range)| done.restore(range));
            units.push(SavedUnit {
                id,
                route,
                done: done.iter().map(|(range, _)| range).collect(),
                rows_done: done.iter().map(|(_, rows)| rows).sum(),
                ..state.unit.clone()
            });
            all_done.insert(id, done);
        }
        (units, all_done)
    }

    fn departed(&self, routes: &impl Fn(&TableName) -> Option<RouteId>) -> Vec<RelationId> {
        let left = self.units.keys().filter(|(source, _)| routes(source).is_none());
        let left = left.map(|(_, unit)| RelationId(*unit));
        self.departed.iter().copied().chain(left).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn heals(&self, routes: &impl Fn(&TableName) -> Option<RouteId>) -> Vec<(RouteId, HealKey)> {
        let ours = self.heals.iter().filter_map(|(source, key)| Some((routes(source)?, key)));
        ours.map(|(route, key)| (route, HealKey::same(key.clone()))).collect()
    }

    /// Everything about tables that are not of this run. Versions of shapes stay: rows in the log refer to them.
    fn absent(&self, routes: &impl Fn(&TableName) -> Option<RouteId>) -> Vec<StateKey> {
        let tables = self.routes.keys().map(|source| StateKey::Route { source: source.clone() });
        let units =
            self.units.keys().map(|(source, unit)| StateKey::Unit { source: source.clone(), unit: *unit });
        let done = self.done.keys().map(|(source, unit, from)| StateKey::Done {
            source: source.clone(),
            unit: *unit,
            from: *from,
        });
        let heals = self
            .heals
            .iter()
            .map(|(source, key)| StateKey::Heal { source: source.clone(), key: key.clone() });
        let all = tables.chain(units).chain(done).chain(heals);
        all.filter(|key| key.source().is_some_and(|source| routes(source).is_none())).collect()
    }
}

impl StateKey {
    /// The table that it is about, where it has no meaning without it.
    fn source(&self) -> Option<&TableName> {
        match self {
            StateKey::Route { source }
            | StateKey::Unit { source, .. }
            | StateKey::Done { source, .. }
            | StateKey::Heal { source, .. } => Some(source),
            StateKey::Owner
            | StateKey::Claim
            | StateKey::Progress
            | StateKey::Unseen { .. }
            | StateKey::Departed(_)
            | StateKey::Schema { .. } => None,
        }
    }
}

/// A table of blue goes into the log under its own name.
fn saved_route(state: &RouteState, routes: &impl Fn(&TableName) -> Option<RouteId>) -> SavedRoute {
    let RouteState { source, fingerprint, complete, renewed: _, void: _, published } = state.clone();
    SavedRoute { route: routes(&source), target: source.clone(), source, fingerprint, complete, published }
}
