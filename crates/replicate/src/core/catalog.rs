//! What blue's catalog shows: tables rewritten, altered, attached and detached, and transactions that end.

use std::collections::{BTreeMap, HashMap};

use understudy_contract::{Class, Failure, LedgerEntry, Saved, SavedUnit, Unit};
use understudy_model::{Nonce, RelationId, ReplicaIdentity, RouteId, RowChange, Snapshot, UnitId, Xid};
use understudy_transform::{BindError, RouteSpec};

use super::{Core, DetachPolicy, Unknown};
use crate::rules::Rule;
use crate::window::{Window, WindowWork};

pub(super) fn does_not_bind(mismatch: BindError) -> Failure {
    Failure::new(Class::SchemaChange, mismatch.to_string())
        .remedy("make the migration file fit blue's table, then run again")
}

impl Core {
    /// Takes up what green remembers: which ranges are copied, which routes are complete, which rows need healing.
    pub(super) fn restore(
        &mut self,
        saved: &Saved,
        (recopy, asked): (&[RouteId], &[RouteId]),
        units: &[Unit],
    ) -> Result<(), Failure> {
        let complete = |route: RouteId| {
            let known = saved.routes.iter().find(|known| known.route == Some(route));
            known.is_some_and(|known| known.complete)
        };
        let now: HashMap<UnitId, &Unit> = units.iter().map(|unit| (unit.id, unit)).collect();
        for unit in &saved.units {
            let there = now.get(&unit.id).copied();
            let planned = planned_unit(unit, there);
            if recopy.contains(&unit.route) && self.is_forgotten((&planned, unit), there, asked)? {
                continue;
            }
            // Its blocks may have been counted too early, and none has been read.
            if unit.done.is_empty() && !complete(unit.route) {
                self.unmeasured.insert(unit.id);
            }
            if complete(unit.route) {
                self.plan.copied(planned, unit);
            } else {
                self.plan.go_on(planned, unit);
            }
        }
        self.incomplete.retain(|route| !complete(*route) || recopy.contains(route));
        for (route, key) in &saved.heals {
            self.heals.report(*route, key.clone());
        }
        Ok(())
    }

    /// Whether a route that is copied again starts without what is known of a unit: not where that tells of rows that the new
    /// copy would leave on green. An operator who asks for the copy has removed them where he was told to.
    fn is_forgotten(
        &mut self,
        (planned, saved): (&Unit, &SavedUnit),
        there: Option<&Unit>,
        asked: &[RouteId],
    ) -> Result<bool, Failure> {
        let Some(now) = there else { return Ok(self.lets_go(saved, asked)) };
        let by_hand = asked.contains(&saved.route);
        if !by_hand && self.is_key_rewritten(planned, now) {
            return Err(self.key_rewritten(now.route));
        }
        if !by_hand && planned.membership != now.membership {
            return Err(self.reattached(planned, now));
        }
        Ok(true)
    }

    /// Whether a leaf that is gone is of no concern to a new copy of its route. Its rows are on green and have to go, unless
    /// no condition tells them: then an operator who asks for the copy has removed them.
    fn lets_go(&mut self, unit: &SavedUnit, asked: &[RouteId]) -> bool {
        if !self.settings.rules.holds(Rule::DetachedLeaf) {
            return true;
        }
        let removed = unit.predicate.is_none() && asked.contains(&unit.route);
        if removed {
            self.record(LedgerEntry::Forget(unit.id));
        }
        removed
    }

    /// The catalog as it is now.
    pub fn on_units(&mut self, mut units: Vec<Unit>) -> Result<(), Failure> {
        self.wants_units = self.looks_asked < self.looks_needed;
        units.iter_mut().for_each(|unit| self.keep_condition(unit));
        self.relations.look(&units);
        self.looked_for();
        let now: HashMap<UnitId, &Unit> = units.iter().map(|unit| (unit.id, unit)).collect();
        let gone = self.plan.units().filter(|unit| !now.contains_key(&unit.id)).cloned().collect::<Vec<_>>();
        for unit in gone {
            self.on_gone(unit)?;
        }
        for unit in units {
            self.on_unit(unit)?;
        }
        self.mark_joining();
        self.complete_routes();
        Ok(())
    }

    /// A lock can hide a leaf's condition for a while. Unless it depends on other leaves it is what it was.
    fn keep_condition(&self, unit: &mut Unit) {
        let is_same = |known: &&Unit| !known.is_default_leaf() && known.membership == unit.membership;
        if let Some(known) = self.plan.unit(unit.id).filter(is_same)
            && unit.predicate.is_none()
        {
            unit.predicate.clone_from(&known.predicate);
        }
    }

    fn on_unit(&mut self, unit: Unit) -> Result<(), Failure> {
        let Some(known) = self.plan.unit(unit.id) else {
            if let Some(joining) = self.joining.get_mut(&unit.route) {
                // As it is first seen: should its rows be written anew before it joins, it is planned twice, and green knows.
                let membership = unit.membership;
                joining.entry(unit.id).or_insert(unit).membership = membership;
            } else if self.settings.rules.holds(Rule::AttachedLeaf) || unit.id == unit.root {
                self.copy_from_start(unit);
            }
            return Ok(());
        };
        if self.is_leaving(unit.id) {
            // It is copied again once its rows have gone. Until then green must remember that they have to.
            self.returning.entry(unit.id).or_insert(unit);
            return Ok(());
        }
        if known.membership != unit.membership {
            return Err(self.reattached(known, &unit));
        }
        // Also where nothing is copied yet: the stream may still bring rows as they were before.
        if self.is_key_rewritten(known, &unit) {
            return Err(self.key_rewritten(known.route));
        }
        let up_to_date = !self.awaits_look();
        if up_to_date && self.unmeasured.remove(&unit.id) {
            if (known.filenode, known.fingerprint) == (unit.filenode, unit.fingerprint) {
                self.drop_windows(unit.id);
                // Leaves that are read from here on are not told by the condition that it was planned with.
                self.refresh(&unit);
                self.plan.start(unit);
            } else {
                self.copy_from_start(unit);
            }
            return Ok(());
        }
        if up_to_date && (self.unreadable.remove(&unit.id) || self.unreadable.remove(&unit.root)) {
            let spec = &self.routes[unit.route.index()];
            let source = &spec.source;
            if spec.source_types.is_some() {
                let cause = format!("columns of {source} have changed on blue: it is looked at again");
                return Err(Failure::new(Class::Transient, cause));
            }
            return Err(Failure::new(
                Class::SchemaChange,
                format!("a column that the mapping needs is gone from {} on blue", unit.name),
            )
            .remedy(format!("make green and the mapping of {source} fit blue's columns, then run again")));
        }
        let identity_changed = known.identity != unit.identity;
        let copy_again = self.is_outdated(known, &unit);
        if identity_changed && self.settings.rules.holds(Rule::PublicationChange) {
            self.visibility.require_barrier();
        }
        if copy_again {
            self.copy_from_start(unit);
        } else {
            self.refresh(&unit);
        }
        Ok(())
    }

    /// Green remembers what is known of a unit now: after a restart its rows are told by that, should it have left meanwhile.
    fn refresh(&mut self, unit: &Unit) {
        if self.plan.refresh(unit)
            && let Some(known) = self.plan.unit(unit.id).cloned()
        {
            self.record(LedgerEntry::Refresh(known));
        }
    }

    /// Whether what has been copied of a unit may differ from what blue has by now, although no change of the stream tells.
    ///
    /// VACUUM FULL and CLUSTER give a table another file but leave the descriptions of its columns alone. Where a column was
    /// once added with a constant default, they may take note there that no row lacks its value any more: then the table
    /// is copied again in vain. While a column is missing nothing can be compared, and what is known stays known.
    fn is_outdated(&self, known: &Unit, now: &Unit) -> bool {
        let rules = &self.settings.rules;
        let rewritten = known.filenode != now.filenode && rules.holds(Rule::Rewrite);
        let both = known.marks.zip(now.marks);
        let (moved, written) = if rules.holds(Rule::Marks) {
            (
                both.is_some_and(|(known, now)| known.places != now.places),
                both.is_some_and(|(known, now)| known.written != now.written),
            )
        } else {
            (false, known.fingerprint != now.fingerprint)
        };
        moved || (rewritten && (written || self.plan.is_copying(now.id)))
    }

    /// Whether the columns of a unit's key may have other values since it was copied, so that green has rows under keys that
    /// are not on blue any more: no copy removes those. A note about a column alone moves no row.
    fn is_key_rewritten(&self, known: &Unit, now: &Unit) -> bool {
        let Some((then, marks)) = known.marks.zip(now.marks) else { return false };
        let moved = then.places != marks.places || known.filenode != now.filenode;
        then.keys != marks.keys && moved && self.settings.rules.holds(Rule::Marks)
    }

    fn key_rewritten(&self, route: RouteId) -> Failure {
        let source = &self.routes[route.index()].source;
        Failure::new(
            Class::SchemaChange,
            format!(
                "the key of {source} was rewritten on blue, so rows on green may stand under keys that blue no longer has \
                 (a wider type, and VACUUM FULL together with another ALTER of a key column, look the same)"
            ),
        )
        .remedy(self.start_empty(route))
    }

    /// What is read again by key may have been read before the table was altered. Where the row changes meanwhile, that chunk
    /// fills in what the change leaves alone, while the copy leaves the row to the stream: so it is read once more.
    fn discard_heals_of(&mut self, route: RouteId) {
        self.discard_windows(|window| window.route == route && matches!(window.work, WindowWork::Heal(_)));
    }

    /// Finds the routes that join the migration now: green remembers no unit of theirs.
    pub(super) fn find_joining(&mut self, saved: &Saved) {
        let new = |route: &RouteId| saved.units.iter().all(|unit| unit.route != *route);
        self.joining =
            self.incomplete.iter().copied().filter(new).map(|route| (route, BTreeMap::new())).collect();
        if !self.settings.rules.holds(Rule::PublicationChange) {
            self.joining.clear();
        } else if !self.joining.is_empty() {
            self.visibility.require_barrier();
        }
    }

    /// Plans the units as they were before the slot was created, as far as they are still there. One whose rows have been
    /// written anew since is planned twice: green then knows that what the stream brings may be out of date.
    pub(super) fn plan_before(&mut self, before: Vec<Unit>, now: &[Unit]) -> Result<(), Failure> {
        let there = |unit: &Unit| now.iter().any(|other| other.id == unit.id);
        self.on_units(before.into_iter().filter(there).collect())
    }

    /// Once no barrier stands, a marker tells where in the stream the last transaction lies that may hide changes of the
    /// joining routes.
    fn mark_joining(&mut self) {
        if !self.joining.is_empty() && !self.visibility.has_barrier() && self.join_marker.is_none() {
            let (_, nonce) = self.new_nonce();
            self.to_emit.push(nonce);
            self.join_marker = Some(nonce);
        }
    }

    /// That marker has come. From here on the changes of the joining routes are applied, so the plans are recorded first.
    pub(super) fn end_joining(&mut self) {
        self.join_marker = None;
        for unit in std::mem::take(&mut self.joining).into_values().flat_map(BTreeMap::into_values) {
            self.unmeasured.insert(unit.id);
            self.copy_from_start(unit);
        }
        self.need_look();
    }

    pub(super) fn copy_from_start(&mut self, unit: Unit) {
        self.discard_heals_of(unit.route);
        self.drop_windows(unit.id);
        self.turns += u64::from(self.incomplete.insert(unit.route));
        self.record(LedgerEntry::Plan(unit.clone()));
        self.plan.start(unit);
    }

    /// All of a route is copied anew, because somebody needs what its rows are and has not kept all of them. What is planned by
    /// then starts again; a route that has yet to join is copied in any case.
    pub fn copy_again(&mut self, route: RouteId) {
        let units = self.plan.units().filter(|unit| unit.route == route && !self.is_leaving(unit.id));
        for unit in units.cloned().collect::<Vec<_>>() {
            // It has grown since its blocks were counted.
            self.unmeasured.insert(unit.id);
            self.copy_from_start(unit);
        }
        self.need_look();
    }

    /// Windows of a plan that no longer holds come to nothing.
    fn drop_windows(&mut self, unit: UnitId) {
        let is_copy = |work: &WindowWork| matches!(work, WindowWork::Copy(_));
        self.windows.retain(|_, window| window.unit != unit || !is_copy(&window.work));
    }

    fn on_gone(&mut self, unit: Unit) -> Result<(), Failure> {
        self.unreadable.remove(&unit.id);
        self.unmeasured.remove(&unit.id);
        if self.is_leaving(unit.id) {
            self.returning.remove(&unit.id);
            return Ok(());
        }
        if self.settings.on_detach == DetachPolicy::Stop || unit.id == unit.root || unit.predicate.is_none() {
            return Err(self.left_behind(&unit));
        }
        self.begin_detach(unit);
        Ok(())
    }

    /// Its rows go once every change has been gathered that it published until now.
    fn begin_detach(&mut self, unit: Unit) {
        self.drop_windows(unit.id);
        let (_, nonce) = self.new_nonce();
        self.to_emit.push(nonce);
        self.detaching.insert(nonce, unit);
    }

    fn is_leaving(&self, unit: UnitId) -> bool {
        self.detaching.values().any(|leaving| leaving.id == unit)
    }

    /// What happened to a leaf while it was detached, before it was attached again, was not published.
    fn reattached(&self, known: &Unit, now: &Unit) -> Failure {
        let source = &self.routes[known.route.index()].source;
        let fate = if known.route == now.route { "again" } else { "to another table" };
        let cause = format!(
            "{} was detached from {source} on blue and attached {fate}, so changes of it in between are missing",
            known.name
        );
        Failure::new(Class::SchemaChange, cause).remedy(self.start_empty(known.route))
    }

    /// The way on where rows of a route may have to go that nobody can name.
    pub(super) fn start_empty(&self, route: RouteId) -> String {
        let spec @ RouteSpec { source, target, .. } = &self.routes[route.index()];
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let table = format!("{}.{}", quoted(&target.schema), quoted(&target.name));
        // The rows of other tables of blue would not come back with the new copy.
        let is_shared = self.routes.iter().any(|other| other.id != route && other.target == *target);
        let own = spec.predicate().filter(|_| is_shared);
        let (what, sql) = match own {
            Some(own) => ("remove its rows on green", format!("DELETE FROM {table} WHERE {own}")),
            None => ("empty its table on green", format!("TRUNCATE {table}")),
        };
        format!("{what} ({sql}) and run again with --recopy {source}")
    }

    fn left_behind(&self, unit: &Unit) -> Failure {
        let source = &self.routes[unit.route.index()].source;
        if unit.id == unit.root {
            return Failure::new(Class::SchemaChange, format!("{source} is gone from blue"))
                .remedy("take it out of the migration file, then run again; its rows stay on green");
        }
        let name = &unit.name;
        Failure::new(Class::SchemaChange, format!("{name} is no longer a partition of {source} on blue"))
            .remedy(match unit.predicate {
            Some(_) => {
                "attach it again, or set `partitions: { on_detach: delete }` to delete its rows from green, \
                            then run again"
                    .to_owned()
            }
            None => self.start_empty(unit.route),
        })
    }

    /// Every change that the leaf published has been gathered: its rows go now.
    pub(super) fn finish_detach(&mut self, nonce: Nonce) {
        let Some(unit) = self.detaching.remove(&nonce) else {
            return;
        };
        self.plan.forget(unit.id);
        self.relations.forget(unit.id);
        if self.settings.rules.holds(Rule::DetachedLeaf) {
            if let Some(predicate) = unit.predicate.clone() {
                self.discard_windows_of(unit.route);
                let rest = unit.is_default_leaf().then(|| self.rows_of_no_leaf(unit.route)).flatten();
                for predicate in [predicate].into_iter().chain(rest) {
                    self.batch.push_own(RowChange::TruncateLeaf { route: unit.route, predicate });
                }
                self.seal_here();
            }
            // Rows of the same range may since have gone to a new leaf, or to a default leaf, whose range has grown: they were
            // deleted with them. A new leaf has not been read yet; its blocks are counted anew, as it has grown meanwhile.
            let leaving = self.detaching.values().map(|unit| unit.id).collect::<Vec<_>>();
            let untouched = self.plan.untouched(unit.route).filter(|id| !leaving.contains(id));
            self.unmeasured.extend(untouched);
            let heirs = |other: &&Unit| {
                other.route == unit.route && other.is_default_leaf() && !leaving.contains(&other.id)
            };
            let others = self.plan.units().filter(heirs).cloned();
            for other in others.collect::<Vec<_>>() {
                self.unmeasured.insert(other.id);
                self.copy_from_start(other);
            }
        }
        self.record(LedgerEntry::Forget(unit.id));
        if let Some(again) = self.returning.remove(&unit.id) {
            // Planned as it was first seen: should it have left once more since, the next look tells.
            self.unmeasured.insert(again.id);
            self.copy_from_start(again);
        }
        self.need_look();
    }

    /// The condition of rows that belong to no leaf of a route. A default leaf can have had more than its condition told
    /// when it was last looked at. `None` when the condition of some leaf is not known.
    fn rows_of_no_leaf(&self, route: RouteId) -> Option<String> {
        let leaves = self.plan.units().filter(|unit| unit.route == route);
        let conditions = leaves.map(|leaf| Some(format!("({}) IS NOT TRUE", leaf.predicate.as_ref()?)));
        let conditions = conditions.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())?;
        Some(format!("({})", conditions.join(" AND ")))
    }

    /// Windows of a route some of whose rows green loses now: their rows may be among the lost.
    fn discard_windows_of(&mut self, route: RouteId) {
        self.discard_windows(|window| window.route == route);
    }

    /// Copies of a unit all of whose rows green loses now.
    pub(super) fn discard_copies_of(&mut self, unit: UnitId) {
        self.discard_windows(|window| window.unit == unit && matches!(window.work, WindowWork::Copy(_)));
    }

    fn discard_windows(&mut self, which: impl Fn(&Window) -> bool) {
        let ids = self.windows.values().filter(|window| which(window)).map(|window| window.id);
        for id in ids.collect::<Vec<_>>() {
            if let Some(window) = self.windows.remove(&id) {
                self.discard(window, false);
            }
        }
    }

    /// A current snapshot of blue.
    pub fn on_snapshot(&mut self, snapshot: &Snapshot) {
        self.visibility.seen(snapshot);
        self.show_unknown(|xid| snapshot.sees(xid));
        self.mark_joining();
    }

    /// A relation must be looked for: the stream waits at it.
    pub(super) fn look_for(&mut self, relation: RelationId) {
        let xid = self.batch.open_xid();
        let is_visible = xid.is_none_or(|xid| self.visibility.has_seen(xid));
        self.unknown = Some(Unknown { relation, xid, is_visible, look_shows: false, too_early: false });
        self.need_look();
    }

    /// A look at the catalog has shown the relation that is looked for, or that there is none, or was too early to tell: a
    /// commit can be streamed before it is visible.
    fn looked_for(&mut self) {
        let Some(unknown) = &mut self.unknown else { return };
        if !self.relations.is_unknown(unknown.relation) || unknown.look_shows {
            self.unknown = None;
        } else if !unknown.too_early {
            unknown.too_early = true;
            self.show_unknown(|_| false);
        }
    }

    /// Looks again once the transaction is visible that changes the relation.
    fn show_unknown(&mut self, shows: impl Fn(Xid) -> bool) {
        let Some(unknown) = &mut self.unknown else { return };
        unknown.is_visible |= unknown.xid.is_some_and(shows);
        if unknown.is_visible && unknown.too_early {
            unknown.too_early = false;
            self.need_look();
        }
    }

    /// From now on only a look at the catalog will do that has not started yet.
    pub(super) fn need_look(&mut self) {
        self.wants_units = true;
        self.looks_needed += 1;
    }

    /// The catalog is about to be looked at: what [`Core::on_units`] is told next will be no older than this call.
    pub fn asking_units(&mut self) {
        self.looks_asked = self.looks_needed;
        if let Some(unknown) = &mut self.unknown {
            unknown.look_shows = unknown.is_visible;
        }
    }

    /// Whether something waits for a look that has not been asked for, or not been answered, since it was needed.
    pub fn awaits_look(&self) -> bool {
        self.looks_asked < self.looks_needed || self.unknown.as_ref().is_some_and(|unknown| unknown.too_early)
    }

    /// Whether the catalog should be looked at before the next regular poll.
    pub fn wants_units(&self) -> bool {
        self.wants_units || self.plan.any_suspect()
    }

    /// Whether a fresh snapshot would let windows open.
    pub fn wants_snapshot(&self) -> bool {
        !self.visibility.may_open() || self.unknown.as_ref().is_some_and(|unknown| unknown.too_early)
    }

    /// Whether [`Core::on_barrier`] must be told an id above that of every transaction in progress.
    pub fn wants_barrier(&self) -> bool {
        self.visibility.wants_barrier()
    }

    /// That id is about to be asked for. One question at a time.
    pub fn asking_barrier(&mut self) {
        self.visibility.asking_barrier();
    }

    /// The id that was asked for.
    pub fn on_barrier(&mut self, xid: Xid) {
        self.visibility.barrier(xid);
    }
}

/// A unit as its copy was planned, with what the catalog adds now.
fn planned_unit(saved: &SavedUnit, now: Option<&Unit>) -> Unit {
    Unit {
        id: saved.id,
        route: saved.route,
        root: now.map_or(UnitId::new(0, saved.route), |unit| unit.root),
        name: saved.name.clone(),
        filenode: saved.filenode,
        fingerprint: saved.fingerprint,
        marks: saved.marks,
        membership: saved.membership,
        blocks: saved.blocks,
        block_bytes: now.map_or(8192, |unit| unit.block_bytes),
        rows_estimate: now.and_then(|unit| unit.rows_estimate),
        identity: now.map_or(ReplicaIdentity::Default, |unit| unit.identity),
        predicate: saved.predicate.clone(),
    }
}
