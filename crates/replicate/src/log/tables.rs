//! The tables of a log and what is planned of them, as the routes of this migration see them.

use std::sync::Arc;

use understudy_contract::{Class, Failure, Saved, SavedUnit, Unit};
use understudy_model::{
    BlockRange, Ctid, Key, Relation, RelationId, ReplicaIdentity, RouteId, SourceChange, UnitId,
};

use super::LogCore;
use crate::copy_plan::UnitProgress;

/// A table as the log announced it last.
#[derive(Debug)]
pub(super) struct LoggedTable {
    pub(super) relation: Arc<Relation>,
    /// The routes that take it.
    pub(super) routes: Vec<RouteId>,
    /// Whether those that are followed are bound to its columns. That is left until a change or a chunk needs it: what is
    /// announced may be how the table was before the migration file was written.
    is_bound: bool,
}

/// A table or leaf whose copy green has planned.
#[derive(Debug)]
pub(super) struct PlannedUnit {
    pub(super) unit: Unit,
    chunks_done: u64,
    blocks_done: u64,
    rows_done: u64,
}

impl PlannedUnit {
    /// One of which nothing is on green.
    pub(super) fn new(unit: Unit) -> PlannedUnit {
        PlannedUnit { unit, chunks_done: 0, blocks_done: 0, rows_done: 0 }
    }

    fn restored(saved: &SavedUnit) -> PlannedUnit {
        let unit = Unit {
            id: saved.id,
            route: saved.route,
            root: saved.id,
            name: saved.name.clone(),
            filenode: saved.filenode,
            fingerprint: saved.fingerprint,
            marks: saved.marks,
            membership: saved.membership,
            blocks: saved.blocks,
            block_bytes: 8192,
            rows_estimate: None,
            identity: ReplicaIdentity::Default,
            predicate: saved.predicate.clone(),
        };
        let mut planned = PlannedUnit::new(unit);
        saved.done.iter().for_each(|range| planned.done(*range, 0));
        planned.rows_done = saved.rows_done;
        planned
    }

    /// A part of it is on green.
    pub(super) fn done(&mut self, range: BlockRange, rows: u64) {
        let upto = range.to.min(Ctid::start_of(self.unit.blocks)).block;
        self.blocks_done += u64::from(upto.saturating_sub(range.from.block));
        self.chunks_done += 1;
        self.rows_done += rows;
    }

    /// How far it has come. How many chunks are to come only the capture knows: those that came tell how large they are.
    pub(super) fn progress(&self, is_complete: bool) -> UnitProgress {
        let blocks_left = u64::from(self.unit.blocks).saturating_sub(self.blocks_done);
        let blocks_each = (self.blocks_done / self.chunks_done.max(1)).max(1);
        UnitProgress {
            unit: self.unit.clone(),
            chunks_done: self.chunks_done,
            chunks_left: if is_complete { 0 } else { blocks_left.div_ceil(blocks_each).max(1) },
            rows_done: self.rows_done,
        }
    }
}

impl LogCore {
    /// Takes up what green remembers: what is planned, what of it is done, which rows wait.
    pub(super) fn restore(&mut self, saved: &Saved) -> Result<(), Failure> {
        for route in saved.routes.iter().filter(|known| known.complete) {
            if let Some(route) = route.route {
                self.incomplete.remove(&route);
                self.followed.insert(route);
            }
        }
        for unit in &saved.units {
            self.followed.insert(unit.route);
            self.units.insert(unit.id, PlannedUnit::restored(unit));
            self.done.extend(unit.done.iter().map(|range| (unit.id, *range)));
        }
        for (route, key) in &saved.heals {
            self.waits.report(*route, key.clone());
        }
        // Every route of a table is planned before anything of it is copied: one that is not by then never was.
        let is_copied = |route: &RouteId| {
            let has_some = |unit: &SavedUnit| unit.route == *route && !unit.done.is_empty();
            self.followed.contains(route)
                && (!self.incomplete.contains(route) || saved.units.iter().any(has_some))
        };
        let is_behind = |late: &RouteId| {
            let source = &self.routes[late.index()].source;
            self.routes.iter().any(|of| of.source == *source && is_copied(&of.id))
        };
        match self.unplanned_routes().find(is_behind) {
            Some(late) => Err(self.begins_midway(late)),
            None => Ok(()),
        }
    }

    /// Routes that the log has yet to bring the plan of, and that nobody has asked it for.
    fn unplanned_routes(&self) -> impl Iterator<Item = RouteId> {
        let unplanned = |route: &RouteId| !self.followed.contains(route) && !self.awaited.contains(route);
        self.routes.iter().map(|route| route.id).filter(unplanned)
    }

    /// Later rows of a table have this shape.
    pub(super) fn on_table(&mut self, relation: Arc<Relation>) {
        let id = relation.id;
        if self.tables.get(&id).is_some_and(|known| known.relation == relation) {
            return;
        }
        let routes = self.routes.iter().filter(|route| route.source == relation.name);
        let routes = routes.map(|route| route.id).collect();
        self.tables.insert(id, LoggedTable { relation, routes, is_bound: false });
    }

    /// A table that has been announced.
    pub(super) fn table(&self, id: RelationId) -> Result<&LoggedTable, Failure> {
        self.tables.get(&id).ok_or_else(|| {
            Failure::new(Class::Internal, "the log speaks of a table that it has not announced")
        })
    }

    /// The routes of a table that are followed.
    pub(super) fn followed_routes(&self, id: RelationId) -> Result<Vec<RouteId>, Failure> {
        let routes = &self.table(id)?.routes;
        Ok(routes.iter().copied().filter(|route| self.followed.contains(route)).collect())
    }

    /// A route is followed from here on.
    pub(super) fn follow(&mut self, table: RelationId, route: RouteId) {
        if self.followed.insert(route) {
            self.awaited.remove(&route);
            if !self.has_moved() {
                self.followed_late.insert(route);
            }
            if let Some(table) = self.tables.get_mut(&table) {
                table.is_bound = false;
            }
        }
    }

    /// Binds the routes of a table to its columns, when that has not been done.
    pub(super) fn bind(&mut self, id: RelationId) -> Result<(), Failure> {
        if self.table(id)?.is_bound {
            return Ok(());
        }
        let routes = self.followed_routes(id)?;
        let Some(table) = self.tables.get_mut(&id) else { return Ok(()) };
        table.is_bound = true;
        self.relations.gather(id, routes.into_iter());
        self.relations.announce(&table.relation, &self.routes, true).map(drop)
    }

    /// The log holds something of a table: every route of it must have been planned by then, unless it is told otherwise.
    /// One that is planned among changes that are passed over, since other routes have them, lacks those.
    pub(super) fn check_planned(&self, id: RelationId, is_passed_over: bool) -> Result<(), Failure> {
        let routes = &self.table(id)?.routes;
        let lacks = |route: &&RouteId| {
            let is_planned = self.followed.contains(*route) || self.awaited.contains(*route);
            !is_planned || (is_passed_over && self.followed_late.contains(*route))
        };
        match routes.iter().find(lacks) {
            Some(late) => Err(self.begins_midway(*late)),
            None => Ok(()),
        }
    }

    pub(super) fn check_change(&self, change: &SourceChange, is_passed_over: bool) -> Result<(), Failure> {
        let tables = match change {
            SourceChange::Insert { relation, .. }
            | SourceChange::Update { relation, .. }
            | SourceChange::Delete { relation, .. } => std::slice::from_ref(relation),
            SourceChange::Truncate { relations } => relations.as_slice(),
        };
        tables.iter().try_for_each(|table| self.check_planned(*table, is_passed_over))
    }

    fn begins_midway(&self, route: RouteId) -> Failure {
        let spec = &self.routes[route.index()];
        Failure::new(
            Class::Configuration,
            format!(
                "{} is to be filled from {}, whose rows lie in the log before the place that this apply goes on from",
                spec.target, spec.source
            ),
        )
        .remedy(format!(
            "run with --recopy {}, which has the capture write its rows into the log once more",
            spec.source
        ))
    }

    /// Whether anything has been taken that green did not have when this run started.
    pub(super) fn has_moved(&self) -> bool {
        self.batch.last_checkpoint() > self.resumed_at
    }

    /// The unit of a log's table or leaf for one of our routes.
    pub(super) fn unit_of(unit: &Unit, route: RouteId) -> Unit {
        Unit {
            id: UnitId::new(unit.id.oid, route),
            root: UnitId::new(unit.root.oid, route),
            route,
            ..unit.clone()
        }
    }
}

/// A key with its columns in another order. Columns that are missing leave it as it is.
pub fn in_order(key: &Key, names: &[String], wanted: &[String]) -> Key {
    if names == wanted {
        return key.clone();
    }
    let texts = key.texts().collect::<Vec<_>>();
    let place = |name: &String| names.iter().position(|other| other == name);
    match wanted.iter().map(place).collect::<Option<Vec<_>>>() {
        Some(places) if texts.len() == names.len() => Key::from_texts(places.iter().map(|at| texts[*at])),
        Some(_) | None => key.clone(),
    }
}
