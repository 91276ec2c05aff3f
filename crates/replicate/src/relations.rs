//! Relations of the stream, each bound to the routes that gather its rows, and what its changes come to on green.

use rustc_hash::{FxHashMap, FxHashSet};
use understudy_contract::{Class, Failure, Unit};
use understudy_model::{Relation, RelationId, ReplicaIdentity, RouteId, SourceChange, UnitId};
use understudy_transform::RouteSpec;

use crate::effect::{BoundRoute, Effect, RowEvent, Watching};

/// Which routes every table and leaf belongs to, and how the current session's relations are bound.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    /// Several homes where several routes take the table.
    homes: FxHashMap<RelationId, Vec<Home>>,
    bound: FxHashMap<RelationId, Bound>,
    /// How often the catalog has been looked at.
    looks: u64,
    /// Tables and leaves that green followed and the migration no longer has.
    departed: FxHashSet<RelationId>,
}

/// Where a relation's rows belong.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) route: RouteId,
    pub(crate) unit: UnitId,
    /// The relation is the route's own table, not one of its leaves.
    pub(crate) is_root: bool,
    /// The conditions that the last look at the catalog showed, and the one before it where that is another: what a look
    /// lists can be older than the conditions that come with it.
    pub(crate) conditions: Vec<Condition>,
    /// Whether other leaves determine its condition.
    pub(crate) is_default: bool,
    /// Which look was the first to show it.
    pub(crate) first_look: u64,
}

/// What is true for the rows of a leaf.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) sql: String,
    /// Which look was the first to tell it: it leaves out what leaves take that an earlier look had shown.
    pub(crate) first_look: u64,
}

/// A relation as this session announced it.
#[derive(Debug)]
enum Bound {
    To {
        identity: ReplicaIdentity,
        routes: Vec<BoundRoute>,
    },
    /// It has left the migration, or its table, before its changes were streamed, and the policy is to drop such rows.
    Ignored,
}

impl Relations {
    /// Knows no relation yet, but those whose last changes are to be passed over unless they belong to a route again.
    pub(crate) fn new(departed: &[RelationId]) -> Relations {
        Relations { departed: departed.iter().copied().collect(), ..Relations::default() }
    }

    /// The catalog as it is now. Homes of relations that are gone are kept: the stream may still show them.
    pub(crate) fn look(&mut self, units: &[Unit]) {
        self.looks += 1;
        for unit in units {
            let home = self.home_of(unit);
            self.settle_in(unit.id.relation(), home);
            let root = Home {
                route: unit.route,
                unit: unit.root,
                is_root: true,
                conditions: Vec::new(),
                is_default: false,
                first_look: self.looks,
            };
            self.settle_in(unit.root.relation(), root);
        }
    }

    fn home_of(&self, unit: &Unit) -> Home {
        let look = self.looks;
        let known = self.home(unit.id);
        let first_look = known.map_or(look, |home| home.first_look);
        let before = known.and_then(|home| home.conditions.first());
        let conditions = match (&unit.predicate, before) {
            (Some(now), Some(before)) if before.sql == *now => vec![before.clone()],
            (now, before) => {
                let now = now.iter().map(|sql| Condition { sql: sql.clone(), first_look: look });
                now.chain(before.cloned()).collect()
            }
        };
        let (route, is_root) = (unit.route, unit.id == unit.root);
        Home { route, unit: unit.id, is_root, conditions, is_default: unit.is_default_leaf(), first_look }
    }

    fn settle_in(&mut self, relation: RelationId, home: Home) {
        let homes = self.homes.entry(relation).or_default();
        match homes.iter_mut().find(|known| known.route == home.route) {
            Some(known) => *known = home,
            None => homes.push(home),
        }
    }

    /// A table of a log goes to these routes from now on, once it is announced: there its leaves are one table with it.
    pub(crate) fn gather(&mut self, relation: RelationId, routes: impl Iterator<Item = RouteId>) {
        let home = |route| Home {
            route,
            unit: UnitId::new(relation.0, route),
            is_root: true,
            conditions: Vec::new(),
            is_default: false,
            first_look: self.looks,
        };
        self.homes.insert(relation, routes.map(home).collect());
        self.bound.remove(&relation);
    }

    /// A leaf has gone, and all that it published is gathered: should it be attached again, wherever that is, it is looked for.
    pub(crate) fn forget(&mut self, unit: UnitId) {
        let relation = unit.relation();
        if let Some(homes) = self.homes.get_mut(&relation) {
            homes.retain(|home| home.route != unit.route);
            if homes.is_empty() {
                self.homes.remove(&relation);
            }
        }
        if let Some(Bound::To { routes, .. }) = self.bound.get_mut(&relation) {
            routes.retain(|bound| bound.route != unit.route);
        }
        if self.is_unknown(relation) {
            self.bound.remove(&relation);
        }
    }

    /// Whether no route of a relation is known, so that the catalog must be looked at first.
    pub(crate) fn is_unknown(&self, relation: RelationId) -> bool {
        !self.homes.contains_key(&relation)
    }

    /// Where a relation's rows belong, route by route.
    pub(crate) fn homes(&self, relation: RelationId) -> &[Home] {
        self.homes.get(&relation).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn home(&self, unit: UnitId) -> Option<&Home> {
        self.homes(unit.relation()).iter().find(|home| home.route == unit.route)
    }

    /// Binds a relation to its routes. Returns whether its replica identity differs from what it was.
    pub(crate) fn announce(
        &mut self,
        relation: &Relation,
        routes: &[RouteSpec],
        ignore_unknown: bool,
    ) -> Result<bool, Failure> {
        let Some(homes) = self.homes.get(&relation.id) else {
            if ignore_unknown || self.departed.contains(&relation.id) {
                self.bound.insert(relation.id, Bound::Ignored);
                return Ok(false);
            }
            return Err(gone(relation));
        };
        let before = match self.bound.get(&relation.id) {
            Some(Bound::To { identity, .. }) => Some(*identity),
            Some(Bound::Ignored) | None => None,
        };
        let bind = |home: &Home| {
            let spec = &routes[home.route.index()];
            Ok(BoundRoute { route: home.route, binding: spec.bind(&relation.columns).map_err(does_not_fit)? })
        };
        let bound = homes.iter().map(bind).collect::<Result<Vec<_>, Failure>>()?;
        let identity = relation.identity;
        self.bound.insert(relation.id, Bound::To { identity, routes: bound });
        Ok(before.is_some_and(|before| before != identity))
    }

    /// The routes of a relation, as they are bound to its columns.
    pub(crate) fn bound(&self, relation: RelationId) -> Result<&[BoundRoute], Failure> {
        match self.bound.get(&relation) {
            Some(Bound::To { routes, .. }) => Ok(routes),
            Some(Bound::Ignored) => Ok(&[]),
            None => Err(Failure::new(
                Class::Internal,
                "blue sent a change of a relation that it had not announced",
            )),
        }
    }

    /// What a change of one row comes to. Whole tables that are emptied are none of its concern.
    pub(crate) fn row_change(
        &self,
        change: &SourceChange,
        (routes, watching): (&[RouteSpec], &Watching<'_>),
        out: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let (relation, event) = match change {
            SourceChange::Insert { relation, new } => (*relation, RowEvent::Insert { new }),
            SourceChange::Update { relation, old, new } => {
                (*relation, RowEvent::Update { old: old.as_ref(), new })
            }
            SourceChange::Delete { relation, old } => (*relation, RowEvent::Delete { old }),
            SourceChange::Truncate { .. } => return Ok(()),
        };
        for bound in self.bound(relation)? {
            let spec = &routes[bound.route.index()];
            out.push(bound.effect_of(&event, watching).map_err(|why| why.failure(spec))?);
        }
        Ok(())
    }
}

fn does_not_fit(mismatch: understudy_transform::BindError) -> Failure {
    Failure::new(Class::SchemaChange, mismatch.to_string()).remedy(
        "change green and the migration file to match (carry the column or leave it out), then run again: \
         replication goes on from this commit",
    )
}

fn gone(relation: &Relation) -> Failure {
    Failure::new(
        Class::SchemaChange,
        format!(
            "blue streams changes of {}, which is no longer part of any table of the migration",
            relation.name
        ),
    )
    .remedy("set `partitions: { on_detach: delete }` to drop the rows of detached partitions, then run again")
}
