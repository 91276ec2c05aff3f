//! What the capture has recorded of the copy, recorded on green for each of our routes.

use understudy_contract::{Class, Failure, LedgerEntry, LoggedEntry, Unit};
use understudy_model::{RelationId, RouteId, RowChange, UnitId};

use super::LogCore;
use super::tables::PlannedUnit;
use crate::rules::Rule;

impl LogCore {
    /// What is recorded here must not be recorded again once anything has been applied after it: a plan would forget what is
    /// done. So first everything before it is handed out, and a checkpoint that names the place before it; the next one names a
    /// place beyond it.
    pub(super) fn on_entry(&mut self, entry: LoggedEntry) -> Result<(), Failure> {
        self.seal_here();
        // Within a transaction that green has begun it is recorded together with that, or not at all.
        if self.batch.sealed_at_commit() && self.rules.holds(Rule::LogEntries) {
            self.name_place();
        }
        match entry {
            LoggedEntry::Join { table, is_void } => self.join(table, is_void),
            LoggedEntry::Plan(unit) => self.plan(&unit),
            LoggedEntry::Refresh(unit) => self.refresh(&unit),
            LoggedEntry::Forget { unit, table } => self.forget(unit, table),
            LoggedEntry::Complete { table } => self.complete(table),
        }
    }

    /// A table is new to the log, or as good as new: rows that green has of it by then may be such as blue has no more.
    fn join(&mut self, table: RelationId, is_void: bool) -> Result<(), Failure> {
        let routes = self.table(table)?.routes.clone();
        for route in &routes {
            self.follow(table, *route);
        }
        if !is_void {
            return Ok(());
        }
        if self.takes_heals {
            return Err(self.void_among_several(table));
        }
        for route in &routes {
            self.turns += u64::from(self.incomplete.insert(*route));
            self.done.retain(|(known, _)| known.route != *route);
            let known = self.units.keys().filter(|unit| unit.route == *route).copied().collect::<Vec<_>>();
            for unit in known {
                self.units.remove(&unit);
                self.record(LedgerEntry::Forget(unit));
            }
        }
        self.voided.extend(routes);
        self.push_voided();
        Ok(())
    }

    /// Empties what is void, unless that would stand in the middle of a transaction of blue.
    pub(super) fn push_voided(&mut self) {
        if self.open.is_some() || self.voided.is_empty() {
            return;
        }
        let routes = std::mem::take(&mut self.voided);
        self.batch.push_own(RowChange::Truncate { routes });
        self.seal_here();
    }

    /// Others have rows of the same table, and may have placed new ones by the time that these are removed.
    fn void_among_several(&self, table: RelationId) -> Failure {
        let name = self.table(table).map(|table| table.relation.name.to_string()).unwrap_or_default();
        let cause =
            format!("changes of {name} have been missed, and its rows are to go before it is copied anew");
        Failure::new(Class::Configuration, cause).remedy(
            "run with `consistency: transaction` under `through.kafka`, or begin anew with an apply on an empty green",
        )
    }

    fn plan(&mut self, unit: &Unit) -> Result<(), Failure> {
        let table = unit.root.relation();
        for route in self.table(table)?.routes.clone() {
            self.follow(table, route);
            self.turns += u64::from(self.incomplete.insert(route));
            let unit = LogCore::unit_of(unit, route);
            self.done.retain(|(known, _)| *known != unit.id);
            self.units.insert(unit.id, PlannedUnit::new(unit.clone()));
            self.record(LedgerEntry::Plan(unit));
        }
        Ok(())
    }

    fn refresh(&mut self, unit: &Unit) -> Result<(), Failure> {
        let table = unit.root.relation();
        self.check_planned(table, false)?;
        for route in self.followed_routes(table)? {
            let unit = LogCore::unit_of(unit, route);
            if let Some(known) = self.units.get_mut(&unit.id) {
                known.unit.clone_from(&unit);
                self.record(LedgerEntry::Refresh(unit));
            }
        }
        Ok(())
    }

    fn forget(&mut self, unit: RelationId, table: RelationId) -> Result<(), Failure> {
        for route in self.followed_routes(table)? {
            let id = UnitId::new(unit.0, route);
            self.units.remove(&id);
            self.done.retain(|(known, _)| *known != id);
            self.record(LedgerEntry::Forget(id));
        }
        Ok(())
    }

    /// Every row of a table has come. The capture passes over what is asked for while it copies, so that is asked for again.
    fn complete(&mut self, table: RelationId) -> Result<(), Failure> {
        let routes = self.table(table)?.routes.clone();
        if self.from_start {
            // A table without any leaf has nothing to be planned.
            routes.iter().for_each(|route| self.follow(table, *route));
        }
        self.check_planned(table, false)?;
        let is_copied = |route: &RouteId| self.followed.contains(route) && self.incomplete.contains(route);
        for route in routes.into_iter().filter(is_copied).collect::<Vec<_>>() {
            self.incomplete.remove(&route);
            self.turns += 1;
            self.waits.ask_again(Some(route));
            self.record(LedgerEntry::Complete(route));
        }
        Ok(())
    }
}
