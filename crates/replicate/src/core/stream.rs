//! Events of the stream: transactions into batches, markers into placed chunks.

use understudy_contract::{Class, Failure, PlacedChunk, StreamEvent, Unit};
use understudy_model::{Nonce, Relation, RelationId, RouteId, RowChange, SourceChange, UnitId};

use super::{Core, PlacedNote, Work};
use crate::effect::{Effect, Watching};
use crate::relations::Home;
use crate::rules::Rule;
use crate::window::Touch;

/// What every marker's prefix begins with; the migration's name follows.
pub(super) const MARKER_PREFIX: &str = "understudy/";

impl Core {
    /// Whether the catalog must be looked at before this event can be taken. If so, the event waits until
    /// [`Core::awaits_look`] no longer holds: a look that is already under way may be too old to know the relation.
    pub fn needs_catalog(&mut self, event: &StreamEvent) -> bool {
        let StreamEvent::Relation(relation) = event else { return false };
        let unknown = self.relations.is_unknown(relation.id);
        if unknown {
            self.look_for(relation.id);
        }
        unknown
    }

    /// Takes one event of the stream.
    pub fn on_event(&mut self, event: StreamEvent) -> Result<(), Failure> {
        match event {
            StreamEvent::Begin { commit, commit_time_us, xid } => {
                self.batch.begin(commit, commit_time_us, self.visibility.widen(xid));
                Ok(())
            }
            StreamEvent::Relation(relation) => self.on_relation(&relation),
            StreamEvent::Change(change) => self.on_change(change),
            StreamEvent::Message { prefix, content, transactional } => {
                if transactional && prefix.starts_with(MARKER_PREFIX) {
                    let nonce =
                        std::str::from_utf8(&content).ok().and_then(|text| text.parse::<Nonce>().ok());
                    self.markers.extend(nonce);
                }
                Ok(())
            }
            StreamEvent::Commit { end, .. } => {
                self.batch.commit(end);
                self.on_markers()?;
                self.push_rereads();
                if self.batch.is_full() {
                    self.seal_here();
                }
                Ok(())
            }
            StreamEvent::Keepalive { end } => {
                self.idle_end = self.idle_end.max(end);
                Ok(())
            }
        }
    }

    fn on_relation(&mut self, relation: &Relation) -> Result<(), Failure> {
        let ignore_unknown = self.settings.on_detach == super::DetachPolicy::Delete;
        let identity_changed = self.relations.announce(relation, &self.routes, ignore_unknown)?;
        if identity_changed && self.settings.rules.holds(Rule::PublicationChange) {
            self.visibility.require_barrier();
        }
        if self.settings.raw {
            self.tell_types(relation);
        }
        Ok(())
    }

    /// A sink that keeps rows as blue has them is told when they come with other types.
    fn tell_types(&mut self, relation: &Relation) {
        let type_of = |name: &String| {
            let column = relation.columns.iter().find(|column| column.name == *name)?;
            Some((column.type_oid, column.type_modifier))
        };
        for home in self.relations.homes(relation.id) {
            let spec = &self.routes[home.route.index()];
            let Some(types) = spec.source_columns().iter().map(type_of).collect::<Option<Vec<_>>>() else {
                continue;
            };
            let known = self.types_told.get(&home.route).or(spec.source_types.as_ref());
            if known != Some(&types) {
                self.batch.types(home.route, types.clone());
                self.types_told.insert(home.route, types);
            }
        }
    }

    fn on_change(&mut self, change: SourceChange) -> Result<(), Failure> {
        let at = self.batch.next_position();
        let place = |failure: Failure| match at {
            Some(position) => failure.at(position),
            None => failure,
        };
        let mut effects = std::mem::take(&mut self.effects);
        let has_window = |route| self.windows.values().any(|window| window.route == route);
        let trusts = !self.settings.rules.holds(Rule::EarlierCondition);
        let is_complete = |route| trusts || !self.incomplete.contains(&route);
        let is_followed = |route| !self.joining.contains_key(&route);
        let watching = Watching {
            has_window: &has_window,
            is_followed: &is_followed,
            is_complete: &is_complete,
            names_rows: self.batch.names_rows(),
            keeps_old: self.settings.raw,
        };
        let with = (self.routes.as_slice(), &watching);
        match &change {
            SourceChange::Truncate { relations } => self.on_truncate(relations).map_err(place)?,
            SourceChange::Insert { .. } | SourceChange::Update { .. } | SourceChange::Delete { .. } => {
                self.relations.row_change(&change, with, &mut effects).map_err(place)?;
            }
        }
        let routes_max = if self.settings.rules.holds(Rule::EveryRoute) { usize::MAX } else { 1 };
        for effect in effects.drain(..).take(routes_max) {
            self.push(effect);
        }
        self.effects = effects;
        if self.batch.is_full() {
            self.seal_here();
        }
        Ok(())
    }

    fn push(&mut self, effect: Effect) {
        let Effect { route, changes, touch, names, old_row } = effect;
        self.note_streamed();
        if let Some(touch) = touch {
            self.observe(route, &touch);
        }
        let rules = &self.settings.rules;
        let changes = changes.into_iter().flatten().filter_map(|change| rules.leave(change));
        if let Some(row) = old_row {
            self.batch.old_row(row);
        }
        for change in changes {
            if let Some(names) = &names {
                self.batch.name(names);
            }
            self.batch.push(change);
        }
    }

    /// The open transaction has a change of ours: until a snapshot shows it, windows must know of it.
    fn note_streamed(&mut self) {
        if self.batch.open_is_empty()
            && let Some(xid) = self.batch.open_xid()
        {
            self.visibility.streamed(xid);
        }
    }

    fn on_truncate(&mut self, relations: &[RelationId]) -> Result<(), Failure> {
        let homes = relations.iter().flat_map(|relation| self.relations.homes(*relation)).cloned();
        let (joining, homes): (Vec<_>, Vec<_>) =
            homes.partition(|home| self.joining.contains_key(&home.route));
        if !joining.is_empty() {
            self.note_streamed();
        }
        let (roots, leaves): (Vec<_>, Vec<_>) = homes.into_iter().partition(|home| home.is_root);
        let whole = roots.iter().map(|home| home.route).collect::<Vec<_>>();
        if !whole.is_empty() {
            self.note_streamed();
            for route in &whole {
                self.observe(*route, &Touch::Emptied { unit: None });
            }
            self.batch.push(RowChange::Truncate { routes: whole.clone() });
        }
        for leaf in leaves.into_iter().filter(|leaf| !whole.contains(&leaf.route)) {
            self.truncate_leaf(leaf)?;
        }
        Ok(())
    }

    fn truncate_leaf(&mut self, leaf: Home) -> Result<(), Failure> {
        let Home { route, unit, conditions, is_default, .. } = leaf;
        self.note_streamed();
        self.observe(route, &Touch::Emptied { unit: Some(unit) });
        if !self.settings.rules.holds(Rule::LeafTruncate) {
            return Ok(());
        }
        if conditions.is_empty() {
            let source = &self.routes[route.index()].source;
            return Err(Failure::new(
                Class::SchemaChange,
                format!(
                    "a partition of {source} was truncated on blue, and no condition tells its rows on green"
                ),
            )
            .remedy(self.start_empty(route)));
        }
        let former = conditions.get(1).map(|former| former.first_look);
        for condition in conditions {
            self.batch.push(RowChange::TruncateLeaf { route, predicate: condition.sql });
        }
        if is_default && self.settings.rules.holds(Rule::DefaultLeaf) {
            self.truncate_young_leaves(route, unit);
            if let Some(former) = former {
                self.copy_leaves_since(former, route, unit);
            }
        }
        Ok(())
    }

    /// A default leaf was emptied whose condition has just become narrower, and by the former one too, which that look was the
    /// first to tell: what green has of the leaves that were attached since has gone with it. They are copied again.
    fn copy_leaves_since(&mut self, look: u64, route: RouteId, emptied: UnitId) {
        let is_new = |unit: &&Unit| {
            let home = self.relations.home(unit.id);
            unit.route == route && unit.id != emptied && home.is_some_and(|home| home.first_look >= look)
        };
        let units = self.plan.units().filter(is_new).cloned().collect::<Vec<_>>();
        units.into_iter().for_each(|unit| self.copy_from_start(unit));
    }

    /// A default leaf that was emptied may have held rows of leaves that were attached since, and its condition, as known now,
    /// leaves them out. Such a leaf has not been read yet: what green has of its values goes too, and its copy brings
    /// back what belongs there.
    fn truncate_young_leaves(&mut self, route: RouteId, emptied: UnitId) {
        let is_placed = |unit: UnitId| {
            let copies =
                |note: &PlacedNote| matches!(note, PlacedNote::Copy { unit: copied } if *copied == unit);
            self.placed.values().any(copies)
        };
        let young = self.plan.without_chunks(route).filter(|unit| unit.id != emptied && !is_placed(unit.id));
        let young = young.filter_map(|unit| Some((unit.id, unit.predicate.clone()?))).collect::<Vec<_>>();
        for (unit, predicate) in young {
            self.discard_copies_of(unit);
            self.batch.push(RowChange::TruncateLeaf { route, predicate });
        }
    }

    fn observe(&mut self, route: RouteId, touch: &Touch) {
        let Some(xid) = self.batch.open_xid() else { return };
        let key_of = super::chunks::key_of(&self.settings.rules, &self.chunk_bindings[route.index()]);
        for window in self.windows.values_mut().filter(|window| window.route == route) {
            window.observe(&self.settings.rules, xid, touch, &key_of);
        }
    }

    /// The transaction that carried these markers has committed: everything before it has been gathered.
    fn on_markers(&mut self) -> Result<(), Failure> {
        let markers = std::mem::take(&mut self.markers);
        let mut placed = Vec::new();
        for nonce in &markers {
            placed.extend(self.on_marker(*nonce)?);
        }
        if placed.is_empty() {
            return Ok(());
        }
        if self.settings.rules.holds(Rule::Order) {
            self.seal();
            self.out.extend(placed.into_iter().map(Work::Place));
        } else {
            self.out.extend(placed.into_iter().map(Work::Place));
            self.seal_here();
        }
        Ok(())
    }

    fn on_marker(&mut self, nonce: Nonce) -> Result<Option<PlacedChunk>, Failure> {
        let checkpoint = self.batch.last_checkpoint();
        if self.join_marker == Some(nonce) {
            // The plans say that the routes are followed from here on: green must be here before it has them.
            self.seal();
            self.end_joining();
            return Ok(None);
        }
        if self.detaching.contains_key(&nonce) {
            self.finish_detach(nonce);
            return Ok(None);
        }
        let window = self.windows.values().find(|window| window.nonce == nonce && window.is_read());
        match window.map(|window| window.id) {
            Some(id) => self.place(id, checkpoint),
            None => {
                self.heartbeats.push((nonce, checkpoint));
                Ok(None)
            }
        }
    }
}
