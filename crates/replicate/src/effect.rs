//! What one change of blue means to one route: what green is to do, and what open windows must know.

use understudy_contract::{Class, Failure};
use understudy_model::{
    Before, HealKey, Key, OldImage, Refusal, RouteId, RowChange, Tuple, TupleBuilder, Value,
};
use understudy_transform::{Binding, Mapped, RouteSpec, fill_unchanged};

use crate::window::Touch;

/// A route bound to the columns in which a relation's rows arrive.
#[derive(Debug)]
pub(crate) struct BoundRoute {
    pub(crate) route: RouteId,
    pub(crate) binding: Binding,
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
pub(crate) enum RowEvent<'a> {
    Insert { new: &'a Tuple },
    Update { old: Option<&'a OldImage>, new: &'a Tuple },
    Delete { old: &'a OldImage },
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
    /// What a change means to the route.
    pub(crate) fn effect_of(
        &self,
        event: &RowEvent<'_>,
        watching: &Watching<'_>,
    ) -> Result<Effect, Nameless> {
        let watched = (watching.has_window)(self.route);
        match event {
            RowEvent::Insert { new } => self.insert(new, watched),
            RowEvent::Update { old, new } => self.update(*old, new, (watched, watching)),
            RowEvent::Delete { old } => self.delete(old, (watched, watching)),
        }
    }

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

/// The new row with unsent key columns taken from the old identity.
fn fill_key(new: &Tuple, old: &Tuple, binding: &Binding) -> Tuple {
    let mut out = TupleBuilder::with_capacity(new.bytes_len() + old.bytes_len());
    for (at, (new, old)) in new.values().zip(old.values()).enumerate() {
        let unsent_key = new == Value::Unchanged && binding.is_key(at);
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
