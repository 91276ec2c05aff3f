//! Relations of the stream, each bound to the routes that gather its rows, and what its changes come to on green.

use rustc_hash::{FxHashMap, FxHashSet};
use understudy_contract::{Class, Failure, Unit};
use understudy_model::{
    Before, HealKey, Key, OldImage, Refusal, Relation, RelationId, ReplicaIdentity, RouteId, RowChange,
    Tuple, UnitId,
};
use understudy_transform::{Binding, Mapped, RouteSpec, fill_unchanged};

use crate::window::Touch;

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

#[derive(Debug)]
struct BoundRoute {
    route: RouteId,
    binding: Binding,
}

/// What one change of blue means to one route.
#[derive(Debug)]
pub(crate) struct Effect {
    pub(crate) route: RouteId,
    /// What green is to do, in order; nothing where the row is none of the route's.
    pub(crate) changes: [Option<RowChange>; 2],
    /// What open windows of the route must know; `None` when it has none.
    pub(crate) touch: Option<Touch>,
}

/// What has to be known of a route beside its mapping.
pub(crate) struct Watching<'a> {
    /// Whether it has windows open.
    pub(crate) has_window: &'a dyn Fn(RouteId) -> bool,
    /// Whether its copy is complete: before, green may hold rows that an earlier condition let in.
    pub(crate) is_complete: &'a dyn Fn(RouteId) -> bool,
}

/// What a change does to one row of blue.
enum RowEvent<'a> {
    Insert { new: &'a Tuple },
    Update { old: Option<&'a OldImage>, new: &'a Tuple },
    Delete { old: &'a OldImage },
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

    fn bound(&self, relation: RelationId) -> Result<&[BoundRoute], Failure> {
        match self.bound.get(&relation) {
            Some(Bound::To { routes, .. }) => Ok(routes),
            Some(Bound::Ignored) => Ok(&[]),
            None => Err(Failure::new(
                Class::Internal,
                "blue sent a change of a relation that it had not announced",
            )),
        }
    }

    /// A new row.
    pub(crate) fn insert(
        &self,
        relation: RelationId,
        new: &Tuple,
        (routes, watching): (&[RouteSpec], &Watching<'_>),
        out: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        self.effects(relation, &RowEvent::Insert { new }, (routes, watching), out)
    }

    /// A changed row.
    pub(crate) fn update(
        &self,
        relation: RelationId,
        (old, new): (Option<&OldImage>, &Tuple),
        (routes, watching): (&[RouteSpec], &Watching<'_>),
        out: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        self.effects(relation, &RowEvent::Update { old, new }, (routes, watching), out)
    }

    /// A vanished row.
    pub(crate) fn delete(
        &self,
        relation: RelationId,
        old: &OldImage,
        (routes, watching): (&[RouteSpec], &Watching<'_>),
        out: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        self.effects(relation, &RowEvent::Delete { old }, (routes, watching), out)
    }

    fn effects(
        &self,
        relation: RelationId,
        event: &RowEvent<'_>,
        (routes, watching): (&[RouteSpec], &Watching<'_>),
        out: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        for bound in self.bound(relation)? {
            let spec = &routes[bound.route.index()];
            let watched = (watching.has_window)(bound.route);
            out.push(
                match event {
                    RowEvent::Insert { new } => bound.insert(new, watched),
                    RowEvent::Update { old, new } => bound.update(*old, new, (watched, watching)),
                    RowEvent::Delete { old } => bound.delete(old, (watched, watching)),
                }
                .map_err(|why| why.failure(spec))?,
            );
        }
        Ok(())
    }
}

/// Why a change cannot be turned into one of green.
pub(crate) enum Nameless {
    /// Its row's key was not sent.
    Unsent,
    /// The expression of a key column fails.
    Refused(Refusal),
    /// A column of green's key comes to null.
    Null,
}

impl From<Refusal> for Nameless {
    fn from(refusal: Refusal) -> Nameless {
        Nameless::Refused(refusal)
    }
}

impl Nameless {
    pub(crate) fn failure(self, spec: &RouteSpec) -> Failure {
        let cause = match self {
            Nameless::Unsent => return no_key(spec),
            Nameless::Refused(refusal) => format!("a row of {} has no key on green: {refusal}", spec.source),
            Nameless::Null => {
                format!("a row of {} has no key on green: a column of the key comes to null", spec.source)
            }
        };
        Failure::new(Class::Data, cause).remedy(format!(
            "a row without a key cannot be set aside: correct the expressions of the key of {} in the migration \
             file, or leave such rows out with `where`, then run again",
            spec.target
        ))
    }
}

impl BoundRoute {
    fn blue_key(&self, row: &Tuple) -> Result<Key, Nameless> {
        self.binding.blue_key(row).ok_or(Nameless::Unsent)
    }

    fn green_key(&self, row: &Tuple, blue: &Key) -> Result<Key, Nameless> {
        if self.binding.passes_key() {
            return Ok(blue.clone());
        }
        self.binding.green_key(row)?.ok_or(Nameless::Null)
    }

    fn effect(&self, changes: [Option<RowChange>; 2], touch: Option<Touch>) -> Effect {
        Effect { route: self.route, changes, touch }
    }

    fn refused(&self, old_key: Option<Key>, key: Key, refusal: Refusal) -> RowChange {
        RowChange::Refused { route: self.route, old_key, key, refusal: Box::new(refusal) }
    }

    fn insert(&self, new: &Tuple, watched: bool) -> Result<Effect, Nameless> {
        let route = self.route;
        // What nobody asks for need not be found: most tables are passed on as they are, and have no window open.
        let touch =
            if watched { Some(Touch::Keys { old: None, new: self.binding.blue_key(new) }) } else { None };
        if self.binding.types_differ() {
            return self.reread(new, None, touch);
        }
        let change = match self.binding.holds(new) {
            Ok(Some(true)) => match self.binding.up(new) {
                Ok(Mapped::Row(new)) => Some(RowChange::Insert { route, new }),
                Ok(Mapped::Unknown) => return self.reread(new, None, touch),
                Err(refusal) => Some(self.refused(None, self.key_of(new)?, refusal)),
            },
            Ok(Some(false)) => None,
            Ok(None) => return self.reread(new, None, touch),
            Err(refusal) => Some(self.refused(None, self.key_of(new)?, refusal)),
        };
        Ok(self.effect([change, None], touch))
    }

    fn key_of(&self, row: &Tuple) -> Result<Key, Nameless> {
        self.green_key(row, &self.blue_key(row)?)
    }

    /// The row must be read again by key: nothing is done to it until then, but that it leaves the key it had.
    fn reread(&self, new: &Tuple, gone: Option<RowChange>, touch: Option<Touch>) -> Result<Effect, Nameless> {
        let blue = self.blue_key(new)?;
        let green = self.green_key(new, &blue)?;
        let reread = RowChange::Reread { route: self.route, key: HealKey { green, blue } };
        // Only another read can tell what the row is: one whose snapshot does not show this change is of no use.
        let touch = match touch {
            Some(Touch::Keys { new: Some(key), .. }) if self.binding.types_differ() => {
                Some(Touch::Keys { old: Some(key.clone()), new: Some(key) })
            }
            Some(Touch::Partial { key, .. }) if self.binding.types_differ() => {
                Some(Touch::Keys { old: Some(key.clone()), new: Some(key) })
            }
            Some(Touch::Partial { key, row, .. }) => Some(Touch::Partial { key, row, applied: false }),
            other => other,
        };
        Ok(match gone {
            Some(gone) => self.effect([Some(gone), Some(reread)], touch),
            None => self.effect([Some(reread), None], touch),
        })
    }

    fn update(
        &self,
        old: Option<&OldImage>,
        new: &Tuple,
        (watched, watching): (bool, &Watching<'_>),
    ) -> Result<Effect, Nameless> {
        let Some(old) = old else {
            if !watched
                && !self.binding.filters()
                && self.binding.passes_key()
                && !self.binding.types_differ()
            {
                return self.plain_update(new);
            }
            let blue = self.blue_key(new)?;
            let touch = watched.then(|| self.touch(None, &blue, new));
            return self.changed((None, Before::There), new, (blue, touch));
        };
        let (OldImage::Identity(image) | OldImage::Full(image)) = old;
        let old_blue = self.blue_key(image)?;
        // A key that is stored out of line is not sent again; what identifies the row is the same as before.
        let filled = match old {
            OldImage::Full(old) => fill_unchanged(new, old),
            OldImage::Identity(old) if self.binding.blue_key(new).is_none() => {
                fill_key(new, old, &self.binding)
            }
            OldImage::Identity(_) => new.clone(),
        };
        let new = &filled;
        let blue = self.blue_key(new)?;
        let moved = (old_blue != blue).then(|| old_blue.clone());
        let touch = watched.then(|| self.touch(moved, &blue, new));
        let before = match self.was_in(old, watching) {
            Some(true) => Before::There,
            // It was not on green: whatever it is now is new there.
            Some(false) => return self.entering(new, touch),
            None => Before::Unknown,
        };
        self.changed((Some(self.green_key(image, &old_blue)?), before), new, (blue, touch))
    }

    /// Whether a row was on green, as far as its old image tells.
    fn was_in(&self, old: &OldImage, watching: &Watching<'_>) -> Option<bool> {
        let was_in = match old {
            _ if !self.binding.filters() => Some(true),
            OldImage::Full(image) if !self.binding.types_differ() => {
                self.binding.holds(image).unwrap_or(None)
            }
            OldImage::Full(_) | OldImage::Identity(_) => None,
        };
        was_in.filter(|was_in| *was_in || (watching.is_complete)(self.route))
    }

    /// An update of a row whose key stays, of a route that takes all rows and has no window open.
    fn plain_update(&self, new: &Tuple) -> Result<Effect, Nameless> {
        let route = self.route;
        let change = match self.binding.up(new) {
            Ok(Mapped::Row(new)) => {
                RowChange::Update { route, old_key: None, new, blue_key: None, before: Before::There }
            }
            Ok(Mapped::Unknown) => return self.reread(new, None, None),
            Err(refusal) => self.refused(None, self.key_of(new)?, refusal),
        };
        Ok(self.effect([Some(change), None], None))
    }

    /// A row that the condition left out until now.
    fn entering(&self, new: &Tuple, touch: Option<Touch>) -> Result<Effect, Nameless> {
        Ok(Effect { touch, ..self.insert(new, false)? })
    }

    /// A row that was on green, or may have been, under `old` or the key that it has now.
    fn changed(
        &self,
        (old, before): (Option<Key>, Before),
        new: &Tuple,
        (blue, touch): (Key, Option<Touch>),
    ) -> Result<Effect, Nameless> {
        let route = self.route;
        let before = if self.binding.filters() { before_of_filtered(&old, before) } else { Before::There };
        let green = self.green_key(new, &blue)?;
        let moved = old.clone().filter(|old| *old != green);
        let leaves = |key: Key| RowChange::Delete { route, key, before };
        if self.binding.types_differ() {
            return self.reread(new, moved.map(leaves), touch);
        }
        let change = match self.binding.holds(new) {
            Ok(Some(false)) => leaves(old.unwrap_or(green)),
            Ok(None) => return self.reread(new, moved.map(leaves), touch),
            Err(refusal) => self.refused(moved, green, refusal),
            Ok(Some(true)) => match self.binding.up(new) {
                Ok(Mapped::Row(new)) => {
                    let differs = new.has_unchanged() && blue != green;
                    RowChange::Update {
                        route,
                        old_key: moved,
                        new,
                        blue_key: differs.then_some(blue),
                        before,
                    }
                }
                Ok(Mapped::Unknown) => return self.reread(new, moved.map(leaves), touch),
                Err(refusal) => self.refused(moved, green, refusal),
            },
        };
        Ok(self.effect([Some(change), None], touch))
    }

    fn delete(&self, old: &OldImage, (watched, watching): (bool, &Watching<'_>)) -> Result<Effect, Nameless> {
        let (OldImage::Identity(image) | OldImage::Full(image)) = old;
        let blue = self.blue_key(image)?;
        let key = self.green_key(image, &blue)?;
        let touch = watched.then(|| Touch::Keys { old: Some(blue), new: None });
        let before = match self.was_in(old, watching) {
            Some(true) => Before::There,
            Some(false) => return Ok(self.effect([None, None], touch)),
            None => Before::Unknown,
        };
        Ok(self.effect([Some(RowChange::Delete { route: self.route, key, before }), None], touch))
    }

    /// What windows must know of an update.
    fn touch(&self, moved: Option<Key>, key: &Key, new: &Tuple) -> Touch {
        if moved.is_none() && new.has_unchanged() {
            let row = self.binding.inputs(new);
            if row.has_unchanged() {
                return Touch::Partial { key: key.clone(), row, applied: true };
            }
        }
        Touch::Keys { old: moved, new: Some(key.clone()) }
    }
}

/// Without an old image nobody knows whether a row met the condition before.
fn before_of_filtered(old: &Option<Key>, before: Before) -> Before {
    if old.is_some() { before } else { Before::Unknown }
}

fn does_not_fit(mismatch: understudy_transform::BindError) -> Failure {
    Failure::new(Class::SchemaChange, mismatch.to_string()).remedy(
        "change green and the migration file to match (carry the column or leave it out), then run again: \
         replication goes on from this commit",
    )
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
