//! Rows that green waits to have read again: asked of the capture, until a chunk of the log brings them.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::{FxHashMap, FxHashSet};
use understudy_model::{ChunkId, HealKey, Key, RouteId, RowChange};
use understudy_transform::RouteSpec;

/// How many rows that do not wait any more may be among those to be asked for, beyond as many again as wait.
const TO_ASK_SPARE: usize = 10_000;

/// Every row that green waits for. It may hold some that have come already, never too few.
#[derive(Debug, Default)]
pub(super) struct Waits {
    routes: BTreeMap<RouteId, RouteWaits>,
    to_ask: VecDeque<(RouteId, HealKey)>,
    pending: usize,
}

/// Those of one route.
#[derive(Debug, Default)]
struct RouteWaits {
    rows: FxHashMap<HealKey, Wait>,
    /// The keys on green of a row of blue, and those on blue of a row of green.
    green: FxHashMap<Key, Vec<Key>>,
    blue: FxHashMap<Key, Vec<Key>>,
}

/// One of them.
#[derive(Debug, Clone, Copy, Default)]
struct Wait {
    /// A change since has told green the whole row, or that there is none, and nothing after it has left that in doubt.
    is_whole: bool,
    /// The chunk that brings it, where that has been handed out, and whether it was reported again since.
    placed: Option<ChunkId>,
    is_reported_again: bool,
}

impl Waits {
    /// Green has recorded that it lacks a row, or a part of it.
    pub(super) fn report(&mut self, route: RouteId, key: HealKey) {
        let of = self.routes.entry(route).or_default();
        if let Some(wait) = of.rows.get_mut(&key) {
            wait.is_whole = false;
            wait.is_reported_again = wait.placed.is_some();
            return;
        }
        of.rows.insert(key.clone(), Wait::default());
        of.green.entry(key.blue.clone()).or_default().push(key.green.clone());
        of.blue.entry(key.green.clone()).or_default().push(key.blue.clone());
        self.pending += 1;
        self.to_ask.push_back((route, key));
        self.tidy();
    }

    /// While nobody takes what is to be asked for, most of it may have come by itself.
    fn tidy(&mut self) {
        if self.to_ask.len() <= 2 * self.pending + TO_ASK_SPARE {
            return;
        }
        let (routes, mut kept) = (&self.routes, FxHashSet::default());
        self.to_ask.retain(|one| {
            let waits = routes.get(&one.0).is_some_and(|of| of.rows.contains_key(&one.1));
            waits && kept.insert(one.clone())
        });
    }

    /// Whether a route has rows that wait.
    pub(super) fn any(&self, route: RouteId) -> bool {
        self.routes.get(&route).is_some_and(|of| !of.rows.is_empty())
    }

    /// How many rows wait.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// A change that green is about to be told.
    pub(super) fn note(&mut self, spec: &RouteSpec, change: &RowChange) {
        match change {
            RowChange::Insert { new, .. } => self.told(spec.id, new.key(&spec.key).as_ref(), true),
            RowChange::Update { old_key, new, .. } => {
                // What left its key is not there any more; what takes another one with a part of its values is in doubt.
                self.told(spec.id, old_key.as_ref(), true);
                if !new.has_unchanged() || old_key.is_some() {
                    self.told(spec.id, new.key(&spec.key).as_ref(), !new.has_unchanged());
                }
            }
            RowChange::Delete { key, .. } => self.told(spec.id, Some(key), true),
            RowChange::Reread { key, .. } => self.told(spec.id, Some(&key.green), false),
            RowChange::Refused { old_key, key, .. } => {
                self.told(spec.id, old_key.as_ref(), true);
                self.told(spec.id, Some(key), false);
            }
            RowChange::Truncate { .. } | RowChange::TruncateLeaf { .. } => {}
        }
    }

    fn told(&mut self, route: RouteId, green: Option<&Key>, is_whole: bool) {
        let Some((of, green)) = self.routes.get_mut(&route).zip(green) else { return };
        for blue in of.blue.get(green).into_iter().flatten() {
            let key = HealKey { green: green.clone(), blue: blue.clone() };
            if let Some(wait) = of.rows.get_mut(&key) {
                wait.is_whole = is_whole;
            }
        }
    }

    /// The rows of a route that wait under this key of blue, each with whether changes have told it whole since.
    pub(super) fn of_blue(&self, route: RouteId, blue: &Key) -> Vec<(HealKey, bool)> {
        let Some(of) = self.routes.get(&route) else { return Vec::new() };
        let one = |green: &Key| {
            let key = HealKey { green: green.clone(), blue: blue.clone() };
            of.rows.get(&key).map(|wait| (key, wait.is_whole))
        };
        of.green.get(blue).into_iter().flatten().filter_map(one).collect()
    }

    /// A chunk that settles these rows has been handed out.
    pub(super) fn placed(&mut self, route: RouteId, keys: &[HealKey], chunk: ChunkId) {
        let Some(of) = self.routes.get_mut(&route) else { return };
        for key in keys {
            if let Some(wait) = of.rows.get_mut(key) {
                (wait.placed, wait.is_reported_again) = (Some(chunk), false);
            }
        }
    }

    /// The chunk has been committed. What was reported meanwhile waits on.
    pub(super) fn done(&mut self, route: RouteId, keys: Vec<HealKey>, chunk: ChunkId) {
        let Some(of) = self.routes.get_mut(&route) else { return };
        for key in keys {
            match of.rows.get_mut(&key) {
                Some(wait) if wait.placed != Some(chunk) => {}
                Some(wait) if wait.is_reported_again => {
                    *wait = Wait::default();
                    self.to_ask.push_back((route, key));
                }
                Some(_) => {
                    of.rows.remove(&key);
                    forget(&mut of.green, &key.blue, &key.green);
                    forget(&mut of.blue, &key.green, &key.blue);
                    self.pending -= 1;
                }
                None => {}
            }
        }
    }

    /// A row that waits is to be asked for once more.
    pub(super) fn ask(&mut self, route: RouteId, key: HealKey) {
        self.to_ask.push_back((route, key));
    }

    /// All that waits is to be asked for once more: of one route, or of all. The capture passes over what it is copying.
    pub(super) fn ask_again(&mut self, route: Option<RouteId>) {
        for (of, waits) in &self.routes {
            if route.is_none_or(|route| route == *of) {
                let open = waits.rows.iter().filter(|(_, wait)| wait.placed.is_none());
                self.to_ask.extend(open.map(|(key, _)| (*of, key.clone())));
            }
        }
    }

    /// Whether anything is to be asked for.
    pub(super) fn wants(&self) -> bool {
        !self.to_ask.is_empty()
    }

    /// The next row to be asked for, if it still waits.
    pub(super) fn next(&mut self) -> Option<(RouteId, HealKey)> {
        loop {
            let (route, key) = self.to_ask.pop_front()?;
            if self.routes.get(&route).is_some_and(|of| of.rows.contains_key(&key)) {
                return Some((route, key));
            }
        }
    }
}

fn forget(names: &mut FxHashMap<Key, Vec<Key>>, key: &Key, other: &Key) {
    if let Some(others) = names.get_mut(key) {
        others.retain(|known| known != other);
        if others.is_empty() {
            names.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: usize) -> HealKey {
        let key = Key::from_texts([id.to_string().as_bytes()]);
        HealKey { green: key.clone(), blue: key }
    }

    /// Guards memory while a log is replayed: nothing is asked for meanwhile, and what its later records bring is not kept until
    /// the end to be asked for. What still waits is, once.
    #[test]
    fn what_has_come_by_itself_is_not_kept_to_be_asked_for() {
        let mut waits = Waits::default();
        waits.report(RouteId(0), key(usize::MAX));
        for id in 0..3 * TO_ASK_SPARE {
            waits.report(RouteId(0), key(id % 7));
            waits.placed(RouteId(0), &[key(id % 7)], ChunkId(1));
            waits.done(RouteId(0), vec![key(id % 7)], ChunkId(1));
            assert!(waits.to_ask.len() <= TO_ASK_SPARE + 10);
        }
        assert_eq!(waits.next(), Some((RouteId(0), key(usize::MAX))));
        assert_eq!(waits.next(), None);
    }
}
