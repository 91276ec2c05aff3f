//! What one change of blue means to one route: what green is to do, and what open windows must know.

use understudy_contract::{BlueNames, Class, Failure};
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
    /// The row's keys on blue, where they are asked for and are not the same as on green.
    pub(crate) names: Option<Box<BlueNames>>,
    /// The whole old row in the route's columns, where it is asked for and was sent.
    pub(crate) old_row: Option<Tuple>,
}

/// What has to be known of a route beside its mapping.
pub(crate) struct Watching<'a> {
    /// Whether it has windows open.
    pub(crate) has_window: &'a dyn Fn(RouteId) -> bool,
    /// Whether its changes are applied yet. Those of a route that still joins are not, so nothing of them need be told.
    pub(crate) is_followed: &'a dyn Fn(RouteId) -> bool,
    /// Whether its copy is complete: before, green may hold rows that an earlier condition let in.
    pub(crate) is_complete: &'a dyn Fn(RouteId) -> bool,
    /// Whether somebody wants to know which rows of blue changes are about.
    pub(crate) names_rows: bool,
    /// Whether whole old rows are to be kept.
    pub(crate) keeps_old: bool,
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
    /// The whole old row was not sent, and what was sent does not tell the key on green.
    Untold,
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
            Nameless::Untold => return untold(spec),
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
        if !(watching.is_followed)(self.route) {
            return Ok(self.effect([None, None], None));
        }
        let watched = (watching.has_window)(self.route);
        let full = match event {
            RowEvent::Insert { .. } => true,
            RowEvent::Update { old, .. } => matches!(old, Some(OldImage::Full(_))),
            RowEvent::Delete { old } => matches!(old, OldImage::Full(_)),
        };
        if !full && self.binding.needs_old_rows() {
            return Err(Nameless::Untold);
        }
        let mut effect = match event {
            RowEvent::Insert { new } => self.insert(new, watched),
            RowEvent::Update { old, new } => self.update(*old, new, (watched, watching)),
            RowEvent::Delete { old } => self.delete(old, (watched, watching)),
        }?;
        if effect.changes.iter().all(Option::is_none) {
            effect.touch = effect.touch.map(Touch::untold);
        } else if watching.names_rows && !self.binding.passes_key() {
            effect.names = Some(Box::new(self.names(event)));
        }
        if full && watching.keeps_old {
            effect.old_row = self.old_row(event)?;
        }
        Ok(effect)
    }

    /// What it means that a row has come to its key from another one, under which somebody else removes it.
    pub(crate) fn arrived(
        &self,
        old: &OldImage,
        new: &Tuple,
        watching: &Watching<'_>,
    ) -> Result<Effect, Nameless> {
        let new = match old {
            OldImage::Full(old) => fill_unchanged(new, old),
            OldImage::Identity(old) => fill_key(new, old, &self.binding),
        };
        let event = RowEvent::Insert { new: &new };
        if !self.binding.inputs(&new).has_unchanged() {
            return self.effect_of(&event, watching);
        }
        if self.is_left_out(&new) {
            return Ok(self.effect([None, None], None));
        }
        let mut effect = self.reread(&new, None, None)?;
        if watching.names_rows && !self.binding.passes_key() {
            effect.names = Some(Box::new(self.names(&event)));
        }
        Ok(effect)
    }

    /// The whole old row, with every value.
    fn old_row(&self, event: &RowEvent<'_>) -> Result<Option<Tuple>, Nameless> {
        let (RowEvent::Update { old: Some(OldImage::Full(old)), .. }
        | RowEvent::Delete { old: OldImage::Full(old) }) = event
        else {
            return Ok(None);
        };
        Ok(match self.binding.up(old)? {
            Mapped::Row(row) if !row.has_unchanged() => Some(row),
            Mapped::Row(_) | Mapped::Unknown => None,
        })
    }

    /// The keys on blue of the row that an event is about.
    #[cold]
    fn names(&self, event: &RowEvent<'_>) -> BlueNames {
        let key = |row: &Tuple| self.binding.blue_key(row);
        let image = |old: &OldImage| match old {
            OldImage::Identity(row) | OldImage::Full(row) => row.clone(),
        };
        let (old, new) = match event {
            RowEvent::Insert { new } => (None, key(new)),
            RowEvent::Delete { old } => (key(&image(old)), None),
            RowEvent::Update { old: None, new } => (None, key(new)),
            RowEvent::Update { old: Some(old), new } => {
                let old = image(old);
                (key(&old), key(new).or_else(|| key(&fill_key(new, &old, &self.binding))))
            }
        };
        BlueNames { change: 0, old: old.filter(|old| Some(old) != new.as_ref()), new }
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

    /// The same of a row that need not be on green: none where that follows from its having no key there.
    fn green_key_if_any(&self, row: &Tuple, blue: &Key) -> Result<Option<Key>, Nameless> {
        match self.green_key(row, blue) {
            Err(Nameless::Null | Nameless::Refused(_))
                if self.binding.filters() && !self.binding.types_differ() =>
            {
                Ok(None)
            }
            key => key.map(Some),
        }
    }

    fn effect(&self, changes: [Option<RowChange>; 2], touch: Option<Touch>) -> Effect {
        Effect { route: self.route, changes, touch, names: None, old_row: None }
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
            // One that came from another key is known to be unclear, and is not under that one any more.
            Some(Touch::Keys { old: None, new: Some(key) }) => {
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
            if self.binding.narrows_key() && self.is_left_out(new) {
                // What tells whether it meets the condition has not changed.
                return Ok(self.effect([None, None], touch));
            }
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
        match self.green_key_if_any(image, &old_blue)? {
            Some(key) => self.changed((Some(key), before), new, (blue, touch)),
            None => self.entering(new, touch),
        }
    }

    fn is_left_out(&self, row: &Tuple) -> bool {
        !self.binding.types_differ() && self.binding.holds(row) == Ok(Some(false))
    }

    /// Whether a row was on green, as far as its old image tells.
    fn was_in(&self, old: &OldImage, watching: &Watching<'_>) -> Option<bool> {
        let was_in = match old {
            _ if !self.binding.filters() => Some(true),
            OldImage::Full(image) if !self.binding.types_differ() => {
                self.binding.holds(image).unwrap_or(None)
            }
            // Where it has to tell that, it does.
            OldImage::Identity(image) if self.binding.narrows_key() && !self.binding.types_differ() => {
                self.binding.holds(image).unwrap_or(None)
            }
            OldImage::Full(_) | OldImage::Identity(_) => None,
        };
        // Where another row may be what green has under the key, this one is not looked for there.
        let trusted = self.binding.narrows_key() || (watching.is_complete)(self.route);
        was_in.filter(|was_in| *was_in || trusted)
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
        let effect = self.insert(new, false)?;
        // Green is not told to give up the key that the row had: it never had it there, as far as we know.
        let moved = matches!(touch, Some(Touch::Keys { old: Some(_), .. }));
        let touch = if moved { touch.map(Touch::untold) } else { touch };
        Ok(Effect { touch, ..effect })
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
        let leaves = |key: Key| RowChange::Delete { route, key, before };
        let holds = if self.binding.types_differ() { Ok(None) } else { self.binding.holds(new) };
        if holds == Ok(Some(false)) {
            // It needs no key any more.
            let key = old.map_or_else(|| self.green_key_if_any(new, &blue), |old| Ok(Some(old)))?;
            return Ok(self.effect([key.map(leaves), None], touch));
        }
        let green = self.green_key(new, &blue)?;
        let moved = old.filter(|old| *old != green);
        let change = match holds {
            Ok(Some(false) | None) => return self.reread(new, moved.map(leaves), touch),
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
        let key = self.green_key_if_any(image, &blue)?;
        let touch = watched.then(|| Touch::Keys { old: Some(blue), new: None });
        let Some(key) = key else { return Ok(self.effect([None, None], touch)) };
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

fn untold(spec: &RouteSpec) -> Failure {
    let source = &spec.source;
    let cause = format!(
        "a change of {source} came without the whole old row, and blue's key alone does not tell which row of {} it is",
        spec.target
    );
    Failure::new(Class::SchemaChange, cause).remedy(format!(
        "ALTER TABLE {source} REPLICA IDENTITY FULL (of a partitioned table: each partition); take its entries out of the \
         migration file and run until that has caught up; then empty its tables on green and take them in again"
    ))
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

#[cfg(test)]
mod tests {
    use understudy_model::{Column, TableName};
    use understudy_transform::expr::{Collation, Modifier, Scope, ScopeColumn, SqlType};
    use understudy_transform::{BlueTable, GreenShape, Mapping, Requested};

    use super::*;

    /// A route that adds to `n`, which has this type in the stream.
    fn bound(type_oid: u32) -> BoundRoute {
        let column = |(name, ty)| ScopeColumn {
            name: String::from(name),
            ty,
            modifier: Modifier::NONE,
            collation: None,
        };
        let mut table = BlueTable::named(TableName::new("public", "t"), &["id", "n"], &["id"]);
        table.types = vec![(23, -1), (23, -1)];
        table.scope = Some(Scope {
            table: table.name.clone(),
            columns: [("id", SqlType::Int4), ("n", SqlType::Int4)].map(column).to_vec(),
            types: std::collections::HashMap::new(),
            collation: Collation::bytes(),
            mask_key: None,
        });
        let requested = [Requested::Sql("m".into(), "n + 1".into()), Requested::Rest];
        let mapping = Mapping { columns: Some(&requested), filter: None };
        let target = (table.name.clone(), None);
        let spec = RouteSpec::compile(RouteId(0), &table, target, mapping).unwrap();
        let column = |(name, type_oid): (&str, u32)| Column {
            name: name.to_owned(),
            type_oid,
            type_modifier: -1,
            in_identity: name == "id",
        };
        let columns = [("id", 23), ("n", type_oid)].map(column);
        BoundRoute { route: RouteId(0), binding: spec.bind(&columns).unwrap() }
    }

    fn row(values: [&str; 2]) -> Tuple {
        let mut out = TupleBuilder::default();
        values.iter().for_each(|value| out.push(&Value::Text(value.as_bytes().into())));
        out.finish()
    }

    fn watching(names_rows: bool) -> Watching<'static> {
        let keeps_old = false;
        Watching {
            has_window: &|_| true,
            is_followed: &|_| true,
            is_complete: &|_| true,
            names_rows,
            keeps_old,
        }
    }

    /// A route that names the row `id` of blue `k` and `id` on green.
    fn rekeyed() -> BoundRoute {
        let column = |name: &str| ScopeColumn {
            name: name.to_owned(),
            ty: SqlType::Text,
            modifier: Modifier::NONE,
            collation: Some(Collation::bytes()),
        };
        let mut table = BlueTable::named(TableName::new("public", "t"), &["id", "n"], &["id"]);
        table.types = vec![(25, -1), (25, -1)];
        table.scope = Some(Scope {
            table: table.name.clone(),
            columns: vec![column("id"), column("n")],
            types: std::collections::HashMap::new(),
            collation: Collation::bytes(),
            mask_key: None,
        });
        let requested = [Requested::Sql("code".into(), "'k' || id".into()), Requested::Rest];
        let mapping = Mapping { columns: Some(&requested), filter: None };
        let green = GreenShape { keys: vec![vec!["code".to_owned()]], ..GreenShape::default() };
        let spec =
            RouteSpec::compile(RouteId(0), &table, (table.name.clone(), Some(&green)), mapping).unwrap();
        let column = |name: &str| Column {
            name: name.to_owned(),
            type_oid: 25,
            type_modifier: -1,
            in_identity: name == "id",
        };
        BoundRoute { route: RouteId(0), binding: spec.bind(&["id", "n"].map(column)).unwrap() }
    }

    /// Whoever compares both sides looks for a changed row on blue too, where another key leads to it; and nothing is looked
    /// for while nobody does.
    #[test]
    fn rows_that_green_knows_by_another_key_are_named_as_on_blue() {
        let key = |text: &str| Some(Key::from_texts([text.as_bytes()]));
        let (one, two) = (row(["1", "5"]), row(["2", "5"]));
        let old = OldImage::Identity(one.clone());
        let events = [
            (RowEvent::Insert { new: &two }, (None, key("2"))),
            (RowEvent::Update { old: None, new: &two }, (None, key("2"))),
            (RowEvent::Update { old: Some(&old), new: &two }, (key("1"), key("2"))),
            (RowEvent::Update { old: Some(&old), new: &one }, (None, key("1"))),
            (RowEvent::Delete { old: &old }, (key("1"), None)),
        ];
        for (event, expected) in &events {
            let Ok(effect) = rekeyed().effect_of(event, &watching(true)) else { panic!("it has a key") };
            let names = effect.names.expect("its names are asked for");
            assert_eq!((&names.old, &names.new), (&expected.0, &expected.1));
            let Ok(effect) = rekeyed().effect_of(event, &watching(false)) else { panic!("it has a key") };
            assert!(effect.names.is_none());
            let Ok(effect) = bound(23).effect_of(event, &watching(true)) else { panic!("it has a key") };
            assert!(effect.names.is_none(), "where keys are passed on they are known already");
        }
    }

    /// A row that takes another key while it has to be read again is not under the former one any more: a chunk whose snapshot
    /// still shows it there must not bring it back.
    #[test]
    fn a_row_that_is_read_again_under_another_key_has_left_the_former_one() {
        let watching = watching(false);
        let key = |text: &str| Some(Key::from_texts([text.as_bytes()]));
        let old = OldImage::Identity(row(["1", "5"]));
        let new = row(["2", "5"]);
        for (old, expected) in [(Some(&old), ("1", "2")), (None, ("2", "2"))] {
            let event = RowEvent::Update { old, new: &new };
            let Ok(effect) = bound(20).effect_of(&event, &watching) else { panic!("it has a key") };
            assert!(effect.changes.iter().flatten().any(|change| matches!(change, RowChange::Reread { .. })));
            let Some(Touch::Keys { old, new }) = effect.touch else { panic!("both keys are touched") };
            assert_eq!((old, new), (key(expected.0), key(expected.1)));
        }
    }
}
