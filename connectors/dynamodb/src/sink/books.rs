//! What the sink remembers while it runs: rows that wait to be read again, and rows of which changes are set aside.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;
use understudy_model::{HealKey, Key, RouteId, RowChange};

/// The rows that wait, by their keys on green; with the keys on blue by which they are read, nearly always one.
#[derive(Debug, Default)]
pub(super) struct Heals(FxHashMap<(RouteId, Key), Vec<Key>>);

impl Heals {
    /// Whether the row that green knows by this key waits, by whatever key it is read.
    pub(super) fn contains(&self, route: RouteId, key: &Key) -> bool {
        !self.0.is_empty() && self.0.contains_key(&(route, key.clone()))
    }

    /// Whether exactly this row waits. Another row of blue that takes the same key on green is not read with it.
    pub(super) fn covers(&self, route: RouteId, key: &HealKey) -> bool {
        !self.0.is_empty()
            && self.0.get(&(route, key.green.clone())).is_some_and(|blue| blue.contains(&key.blue))
    }

    pub(super) fn add(&mut self, route: RouteId, key: &HealKey) {
        let of_green = self.0.entry((route, key.green.clone())).or_default();
        if !of_green.contains(&key.blue) {
            of_green.push(key.blue.clone());
        }
    }

    /// The row is on green as it is on blue.
    pub(super) fn settle(&mut self, route: RouteId, key: &HealKey) {
        if let Entry::Occupied(mut of_green) = self.0.entry((route, key.green.clone())) {
            of_green.get_mut().retain(|blue| *blue != key.blue);
            if of_green.get().is_empty() {
                of_green.remove();
            }
        }
    }
}

/// The keys of which changes are set aside, with what tells of them in the state table.
#[derive(Debug, Default)]
pub(super) struct Aside(FxHashMap<(RouteId, Key), Vec<String>>);

impl Aside {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, route: RouteId, key: &Key) -> bool {
        !self.0.is_empty() && self.0.contains_key(&(route, key.clone()))
    }

    pub(super) fn add(&mut self, route: RouteId, key: Key, of: String) {
        let told = self.0.entry((route, key)).or_default();
        if !told.contains(&of) {
            told.push(of);
        }
    }

    /// A key is aside no more; with what told of it.
    pub(super) fn settle(&mut self, route: RouteId, key: &Key) -> Vec<String> {
        self.0.remove(&(route, key.clone())).unwrap_or_default()
    }

    /// No key of a route is aside any more; with what told of them.
    pub(super) fn settle_route(&mut self, route: RouteId) -> Vec<String> {
        let mut told = Vec::new();
        self.0.retain(|(of, _), told_of| {
            if *of == route {
                told.append(told_of);
            }
            *of != route
        });
        told
    }

    /// Those of these keys that are aside, with what tells of them.
    pub(super) fn among(
        &self,
        route: RouteId,
        keys: impl IntoIterator<Item = Key>,
    ) -> Vec<(Key, Vec<String>)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let aside = |key: Key| self.0.get(&(route, key.clone())).map(|told| (key, told.clone()));
        keys.into_iter().filter_map(aside).collect()
    }
}

/// The names of the row that an update leaves.
pub(super) fn heal_key(green: Key, change: &RowChange) -> HealKey {
    match change {
        RowChange::Update { blue_key: Some(blue), .. } => HealKey { green, blue: blue.clone() },
        _ => HealKey::same(green),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::from_texts([text.as_bytes()])
    }

    /// Two rows of blue that take one key on green are read each by its own: settling one settles not the other.
    #[test]
    fn heals_are_settled_one_by_one() {
        let (route, mut heals) = (RouteId(1), Heals::default());
        let named = |blue: &str| HealKey { green: key("g"), blue: key(blue) };
        heals.add(route, &named("a"));
        heals.add(route, &named("b"));
        heals.settle(route, &named("a"));
        assert!(heals.contains(route, &key("g")) && !heals.covers(route, &named("a")));
        heals.settle(route, &named("b"));
        assert!(!heals.contains(route, &key("g")) && !heals.contains(RouteId(2), &key("g")));
    }

    /// A key counts once, however many of its changes are aside, and all that tells of it goes with it.
    #[test]
    fn keys_are_counted_once() {
        let mut aside = Aside::default();
        for (route, text, of) in [(1, "a", "1"), (1, "a", "2"), (1, "b", "3"), (2, "a", "4")] {
            aside.add(RouteId(route), key(text), of.to_owned());
        }
        assert_eq!(aside.len(), 3);
        assert_eq!(aside.among(RouteId(1), [key("a"), key("c")]).len(), 1);
        assert_eq!(aside.settle(RouteId(1), &key("a")), ["1", "2"]);
        assert_eq!(aside.settle_route(RouteId(1)), ["3"]);
        assert!(aside.contains(RouteId(2), &key("a")) && aside.len() == 1);
    }
}
