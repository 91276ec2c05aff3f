//! Relations of the stream, each bound to the route that gathers its rows, and the transform of their changes.

use rustc_hash::{FxHashMap, FxHashSet};
use understudy_contract::{Class, Failure, Unit};
use understudy_model::{OldImage, Relation, RelationId, ReplicaIdentity, RouteId, RowChange, Tuple, UnitId};
use understudy_transform::{Binding, RouteSpec, fill_unchanged};

/// Which route every table and leaf belongs to, and how the current session's relations are bound.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    homes: FxHashMap<RelationId, Home>,
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
        route: RouteId,
        binding: Box<Binding>,
        identity: ReplicaIdentity,
    },
    /// It has left the migration, or its table, before its changes were streamed, and the policy is to drop such rows.
    Ignored,
}

impl Relations {
    /// Knows no relation yet, but those whose last changes are to be passed over unless they belong to a route again.
    pub(crate) fn new(departed: &[UnitId]) -> Relations {
        let departed = departed.iter().map(|unit| RelationId(unit.0)).collect();
        Relations { departed, ..Relations::default() }
    }

    /// The catalog as it is now. Homes of relations that are gone are kept: the stream may still show them.
    pub(crate) fn look(&mut self, units: &[Unit]) {
        self.looks += 1;
        let look = self.looks;
        for unit in units {
            let relation = RelationId(unit.id.0);
            let known = self.homes.get(&relation);
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
            let is_default = unit.is_default_leaf();
            let home = Home { route, unit: unit.id, is_root, conditions, is_default, first_look };
            self.homes.insert(relation, home);
            let root = Home {
                route,
                unit: unit.root,
                is_root: true,
                conditions: Vec::new(),
                is_default: false,
                first_look: look,
            };
            self.homes.insert(RelationId(unit.root.0), root);
        }
    }

    /// A leaf has gone, and all that it published is gathered: should it be attached again, wherever that is, it is looked for.
    pub(crate) fn forget(&mut self, unit: UnitId) {
        self.homes.remove(&RelationId(unit.0));
        self.bound.remove(&RelationId(unit.0));
    }

    /// Whether a relation's route is not known, so that the catalog must be looked at first.
    pub(crate) fn is_unknown(&self, relation: RelationId) -> bool {
        !self.homes.contains_key(&relation)
    }

    pub(crate) fn home(&self, relation: RelationId) -> Option<&Home> {
        self.homes.get(&relation)
    }

    /// Binds a relation to its route. Returns whether its replica identity differs from what it was.
    pub(crate) fn announce(
        &mut self,
        relation: &Relation,
        routes: &[RouteSpec],
        ignore_unknown: bool,
    ) -> Result<bool, Failure> {
        let Some(home) = self.homes.get(&relation.id) else {
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
        let columns = relation.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
        let spec = &routes[home.route.index()];
        let binding = Box::new(spec.bind(&columns).map_err(|mismatch| {
            Failure::new(Class::SchemaChange, mismatch.to_string()).remedy(
                "change green and the migration file to match (carry the column or leave it out), then run again: \
                 replication goes on from this commit",
            )
        })?);
        let identity = relation.identity;
        self.bound.insert(relation.id, Bound::To { route: home.route, binding, identity });
        Ok(before.is_some_and(|before| before != identity))
    }

    fn bound(&self, relation: RelationId) -> Result<&Bound, Failure> {
        self.bound.get(&relation).ok_or_else(|| {
            Failure::new(Class::Internal, "blue sent a change of a relation that it had not announced")
        })
    }

    /// A new row.
    pub(crate) fn insert(&self, relation: RelationId, new: &Tuple) -> Result<Option<RowChange>, Failure> {
        match self.bound(relation)? {
            Bound::To { route, binding, .. } => {
                Ok(Some(RowChange::Insert { route: *route, new: binding.up(new) }))
            }
            Bound::Ignored => Ok(None),
        }
    }

    /// A changed row.
    pub(crate) fn update(
        &self,
        relation: RelationId,
        old: Option<&OldImage>,
        new: &Tuple,
        routes: &[RouteSpec],
    ) -> Result<Option<RowChange>, Failure> {
        let Bound::To { route, binding, .. } = self.bound(relation)? else {
            return Ok(None);
        };
        let Some(old) = old else {
            return Ok(Some(RowChange::Update { route: *route, old_key: None, new: binding.up(new) }));
        };
        let image = match old {
            OldImage::Identity(image) | OldImage::Full(image) => image,
        };
        let old_key = binding.key_of(image).ok_or_else(|| no_key(&routes[route.index()]))?;
        // A key that is stored out of line is not sent again; what identifies the row is the same as before.
        let new = match old {
            OldImage::Full(old) => fill_unchanged(new, old),
            OldImage::Identity(old) if binding.key_of(new).is_none() => fill_key(new, old, binding),
            OldImage::Identity(_) => new.clone(),
        };
        let new_key = binding.key_of(&new).ok_or_else(|| no_key(&routes[route.index()]))?;
        let moved = (old_key != new_key).then_some(old_key);
        Ok(Some(RowChange::Update { route: *route, old_key: moved, new: binding.up(&new) }))
    }

    /// A vanished row.
    pub(crate) fn delete(
        &self,
        relation: RelationId,
        old: &OldImage,
        routes: &[RouteSpec],
    ) -> Result<Option<RowChange>, Failure> {
        let Bound::To { route, binding, .. } = self.bound(relation)? else {
            return Ok(None);
        };
        let (OldImage::Identity(image) | OldImage::Full(image)) = old;
        let key = binding.key_of(image).ok_or_else(|| no_key(&routes[route.index()]))?;
        Ok(Some(RowChange::Delete { route: *route, key }))
    }
}

/// The new row with unsent key columns taken from the old identity.
fn fill_key(new: &Tuple, old: &Tuple, binding: &Binding) -> Tuple {
    let mut out = understudy_model::TupleBuilder::with_capacity(new.bytes_len() + old.bytes_len());
    for (at, (new, old)) in new.values().zip(old.values()).enumerate() {
        let unsent_key = new == understudy_model::Value::Unchanged && binding.is_key(at);
        out.push(if unsent_key { &old } else { &new });
    }
    out.finish()
}

fn no_key(spec: &RouteSpec) -> Failure {
    Failure::new(
        Class::SchemaChange,
        format!("a change of {} does not carry the row's key", spec.source),
    )
    .remedy(format!(
        "set a replica identity on blue that covers {} (ALTER TABLE {} REPLICA IDENTITY ...), then run with \
             --recopy {}",
        spec.key_source.join(", "),
        spec.source,
        spec.source
    ))
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
