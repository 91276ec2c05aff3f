//! Chunks of a log: rows of blue at an exact point, placed on green for each of our routes, unless it has them already.

use std::collections::HashSet;

use rustc_hash::FxHashMap;
use understudy_contract::{Class, Failure, LoggedChunk, LoggedKind, PlacedChunk, PlacedKind};
use understudy_model::{BlockRange, Checkpoint, HealKey, Key, RelationId, RouteId, Tuple, UnitId};

use super::events::diverged;
use super::tables::in_order;
use super::{LogCore, PlacedNote, Work};
use crate::effect::BoundRoute;
use crate::green_rows::{GreenRows, green_key, green_rows, names_one_row};
use crate::rules::Rule;

/// A heal as a route sees it: every key in the order of the route's key on blue.
struct Healed<'a> {
    rows: FxHashMap<Key, &'a Tuple>,
    gone: HashSet<Key>,
    keys: Vec<Key>,
}

impl LogCore {
    pub(super) fn on_rows(&mut self, chunk: LoggedChunk) -> Result<(), Failure> {
        let LoggedChunk { table, at, kind, rows } = chunk;
        let checkpoint = self.batch.last_checkpoint();
        let goes_back = at < checkpoint && (self.has_moved() || at > self.resumed_at);
        if self.open.is_some() || self.passing.is_some() || goes_back {
            return Err(diverged(format!("the log has rows as of {at} where {checkpoint} has been passed")));
        }
        self.check_planned(table, false)?;
        let routes = self.followed_routes(table)?;
        if routes.is_empty() {
            return Ok(());
        }
        self.bind(table)?;
        self.batch.idle_until(at.lsn());
        self.moved();
        match kind {
            LoggedKind::Copy { unit, range } => {
                for route in routes {
                    self.copy((table, route), (unit, range), at, &rows)?;
                }
                Ok(())
            }
            // It may have been read before green lacked what it waits for now; that is asked for again in every run.
            LoggedKind::Heal { .. } if at < self.resumed_at && self.rules.holds(Rule::LogHeals) => Ok(()),
            LoggedKind::Heal { keys, gone } => {
                for route in routes {
                    self.heal((table, route), (&keys, &gone), at, &rows)?;
                }
                Ok(())
            }
        }
    }

    /// Everything before a chunk is handed out first: it belongs after that, and before everything later.
    fn seal_before_chunk(&mut self) {
        self.seal_here();
    }

    fn bound_route(&self, table: RelationId, route: RouteId) -> Result<&BoundRoute, Failure> {
        let bound = self.relations.bound(table)?.iter().find(|bound| bound.route == route);
        bound.ok_or_else(|| Failure::new(Class::Internal, "a route of the log is followed and not bound"))
    }

    /// A part of the first copy. One that is not on green by now belongs where green stands, also when it comes again: no
    /// later change to its route has been applied without it.
    fn copy(
        &mut self,
        (table, route): (RelationId, RouteId),
        (unit, range): (RelationId, BlockRange),
        at: Checkpoint,
        rows: &[Tuple],
    ) -> Result<(), Failure> {
        let unit = UnitId::new(unit.0, route);
        let is_done = self.done.contains(&(unit, range)) && self.rules.holds(Rule::LogDone);
        if is_done || (!self.units.contains_key(&unit) && !self.has_moved()) {
            return Ok(());
        }
        if !self.units.contains_key(&unit) {
            return Err(diverged(format!(
                "the log has rows of a table or leaf ({}) that it has not planned",
                unit.oid
            )));
        }
        let spec = &self.routes[route.index()];
        let binding = &self.bound_route(table, route)?.binding;
        let mut unknown = Vec::new();
        let green = if binding.types_differ() {
            if at.lsn() > self.compiled_at {
                return Err(self.outdated(route));
            }
            for row in rows {
                let blue = binding.blue_key(row).ok_or_else(|| self.keyless(route))?;
                unknown.push(HealKey { green: green_key(spec, binding, row)?, blue });
            }
            GreenRows::default()
        } else {
            green_rows(spec, binding, rows)?
        };
        for key in unknown {
            // Recorded before the chunk is: what nobody can compute here is read again as it is now.
            self.push_own_reread(route, key);
        }
        self.seal_before_chunk();
        let GreenRows { rows, mut left_out, refused } = green;
        if !self.rules.holds(Rule::CopyCondition) {
            left_out.clear();
        }
        let id = self.new_id();
        if self.rules.holds(Rule::LogCursor) {
            self.places.hold(id);
        }
        self.placed.insert(id, PlacedNote::Copy { unit, range });
        let (at, kind) = (self.batch.last_checkpoint(), PlacedKind::Copy { unit, range });
        self.out.push_back(Work::Place(PlacedChunk { id, route, at, kind, rows, left_out, refused }));
        Ok(())
    }

    /// Rows read again by key: only those that green waits for are placed. Whatever else was read again is on green by the
    /// changes that the log has of it.
    fn heal(
        &mut self,
        (table, route): (RelationId, RouteId),
        (keys, gone): (&[Key], &[Key]),
        at: Checkpoint,
        rows: &[Tuple],
    ) -> Result<(), Failure> {
        let takes_all = self.takes_heals && !self.incomplete.contains(&route);
        if !takes_all && !self.waits.any(route) {
            return Ok(());
        }
        let healed = self.healed((table, route), (keys, gone), rows)?;
        let (mut settled, mut here, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        let names_one_row = names_one_row(&self.routes[route.index()]);
        for blue in &healed.keys {
            let mut waiting = self.waits.of_blue(route, blue);
            if waiting.is_empty() && takes_all {
                waiting.extend(self.unasked((table, route), blue, &healed)?);
            }
            if waiting.is_empty() {
                continue;
            }
            if let Some(row) = healed.rows.get(blue) {
                here.push(*row);
            } else if healed.gone.contains(blue) {
                if names_one_row && self.rules.holds(Rule::HealGone) {
                    left_out.extend(waiting.iter().map(|(key, _)| key.green.clone()));
                }
            } else {
                // Changes of the log tell what became of it, as far as they told this green everything.
                for (key, is_whole) in waiting {
                    if is_whole || !self.rules.holds(Rule::LogWhole) {
                        settled.push(key);
                    } else {
                        self.waits.ask(route, key);
                    }
                }
                continue;
            }
            settled.extend(waiting.into_iter().map(|(key, _)| key));
        }
        if settled.is_empty() {
            return Ok(());
        }
        let spec = &self.routes[route.index()];
        let binding = &self.bound_route(table, route)?.binding;
        if binding.types_differ() && !here.is_empty() {
            if at.lsn() > self.compiled_at {
                return Err(self.outdated(route));
            }
            settled.into_iter().for_each(|key| self.waits.ask(route, key));
            return Ok(());
        }
        let mut green = green_rows(spec, binding, here)?;
        if !self.rules.holds(Rule::HealCondition) {
            green.left_out.clear();
        }
        left_out.append(&mut green.left_out);
        self.seal_before_chunk();
        let id = self.new_id();
        self.waits.placed(route, &settled, id);
        self.placed.insert(id, PlacedNote::Heal { route, keys: settled.clone() });
        let (at, kind) = (self.batch.last_checkpoint(), PlacedKind::Heal { keys: settled });
        let GreenRows { rows, refused, .. } = green;
        self.out.push_back(Work::Place(PlacedChunk { id, route, at, kind, rows, left_out, refused }));
        Ok(())
    }

    /// The names of a row that was read again although green does not wait for it, as far as they are told.
    fn unasked(
        &self,
        (table, route): (RelationId, RouteId),
        blue: &Key,
        healed: &Healed<'_>,
    ) -> Result<Option<(HealKey, bool)>, Failure> {
        let binding = &self.bound_route(table, route)?.binding;
        let green = match healed.rows.get(blue) {
            Some(row) => binding.green_key(row).ok().flatten(),
            None if healed.gone.contains(blue) && binding.passes_key() => Some(blue.clone()),
            None => None,
        };
        Ok(green.map(|green| (HealKey { green, blue: blue.clone() }, true)))
    }

    fn healed<'a>(
        &self,
        (table, route): (RelationId, RouteId),
        (keys, gone): (&[Key], &[Key]),
        rows: &'a [Tuple],
    ) -> Result<Healed<'a>, Failure> {
        let spec = &self.routes[route.index()];
        let names = self.keys.get(&spec.source).unwrap_or(&spec.key_source);
        let ours = |key: &Key| in_order(key, names, &spec.key_source);
        let binding = &self.bound_route(table, route)?.binding;
        let named = rows.iter().map(|row| {
            let key = binding.blue_key(row);
            key.map(|key| (key, row)).ok_or_else(|| self.keyless(route))
        });
        Ok(Healed {
            rows: named.collect::<Result<_, Failure>>()?,
            gone: gone.iter().map(ours).collect(),
            keys: keys.iter().map(ours).collect(),
        })
    }

    fn keyless(&self, route: RouteId) -> Failure {
        let source = &self.routes[route.index()].source;
        Failure::new(Class::Internal, format!("the log has a row of {source} without its key"))
    }

    /// The rows are newer than what the route was compiled for.
    fn outdated(&self, route: RouteId) -> Failure {
        let source = &self.routes[route.index()].source;
        let cause = format!("columns of {source} have changed on blue: its expressions are compiled again");
        Failure::new(Class::Transient, cause)
    }
}
