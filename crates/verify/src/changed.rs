//! Rows that replication has changed and that are to be checked soon: remembered in bounded memory, never forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use understudy_contract::RowName;
use understudy_model::{Key, Lsn, RouteId};

use crate::circumstances::Millis;

/// Rows that replication has changed, shared between it and verification.
///
/// Replication calls, for each batch that green has committed, [`ChangedRows::note_unlisted`] for every route of which it
/// does not list rows, and then [`ChangedRows::note`] once, also when there is no row to list: that closes the batch.
#[derive(Debug)]
pub struct ChangedRows {
    max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    rows: FxHashMap<(RouteId, Key), Noted>,
    /// Keys in the order in which they were noted first. Each is in `rows`.
    order: BTreeMap<RouteId, VecDeque<Key>>,
    /// Routes with changes up to an address that are not listed.
    dirty: BTreeMap<RouteId, Lsn>,
    /// Every change up to here has been told.
    told: Lsn,
    /// What nobody waits here for any more, because it was handed out or dropped, changed up to here.
    gone: Lsn,
    full: bool,
}

/// A row that was changed and is not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted {
    /// The row, as it was named last.
    pub(crate) name: RowName,
    /// Whatever changed up to here had been told before its first change that is not checked; below `last`.
    pub(crate) after: Lsn,
    /// Its last change.
    pub(crate) last: Lsn,
    /// When the first was noted.
    pub(crate) since: Millis,
}

/// What was not listed, and how far everything else is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Told {
    /// Routes with changes up to an address that are not listed.
    pub(crate) dirty: Vec<(RouteId, Lsn)>,
    /// Every change up to here is listed, or its route is in `dirty` or was before.
    pub(crate) upto: Lsn,
    /// No change up to here waits to be taken; `None` when none does at all.
    pub(crate) waiting_after: Option<Lsn>,
}

impl ChangedRows {
    /// Remembers this many rows at most.
    pub fn new(max: usize) -> ChangedRows {
        ChangedRows { max: max.max(1), inner: Mutex::default() }
    }

    /// Whether rows are worth listing. While they are not, [`ChangedRows::note_unlisted`] is called instead.
    pub fn is_open(&self) -> bool {
        !self.lock().full
    }

    /// A batch up to `at` has changed these rows. Those that do not fit make their routes be verified anew.
    pub fn note(&self, rows: impl IntoIterator<Item = (RouteId, RowName)>, at: Lsn, now: Millis) {
        let mut inner = self.lock();
        for (route, name) in rows {
            inner.note(self.max, (route, name), at, now);
        }
        inner.told = inner.told.max(at);
    }

    /// Rows of a route have changed up to `at` and are not listed: all of it is verified anew.
    pub fn note_unlisted(&self, route: RouteId, at: Lsn) {
        self.lock().mark(route, at);
    }

    /// Drops everything: routes may be numbered in another way from now on. Whoever compares them next verifies all of them
    /// anew.
    pub fn begin_anew(&self) {
        let mut inner = self.lock();
        let told = inner.told;
        *inner = Inner { told, gone: told, ..Inner::default() };
    }

    /// What was handed out or dropped so far changed up to here: of that, whoever begins to compare now hears nothing.
    pub(crate) fn gone(&self) -> Lsn {
        self.lock().gone
    }

    /// Takes at most `max` rows of the route that waits longest, among those that `may` allows; oldest first.
    pub(crate) fn take(&self, max: usize, may: impl Fn(RouteId) -> bool) -> Option<(RouteId, Vec<Noted>)> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let oldest =
            inner.oldest().filter(|(route, _)| may(*route)).map(|(route, noted)| (noted.since, route));
        let (_, route) = oldest.min()?;
        let keys = inner.order.get_mut(&route)?;
        let keys = keys.drain(..keys.len().min(max));
        let taken: Vec<_> = keys.filter_map(|key| inner.rows.remove(&(route, key))).collect();
        inner.gone = taken.iter().map(|noted| noted.last).fold(inner.gone, Lsn::max);
        inner.full = inner.full && inner.rows.len() > self.max / 2;
        Some((route, taken))
    }

    /// Drops the rows of routes that are not compared yet: whatever changes them, they are verified in full later.
    pub(crate) fn keep(&self, compared: impl Fn(RouteId) -> bool) {
        let mut inner = self.lock();
        if inner.order.keys().all(|route| compared(*route)) {
            return;
        }
        inner.order.retain(|route, _| compared(*route));
        inner.rows.retain(|(route, _), _| compared(*route));
        inner.full = inner.full && inner.rows.len() > self.max / 2;
    }

    /// What was not listed since the last call, and how far everything else is known.
    pub(crate) fn told(&self) -> Told {
        let mut inner = self.lock();
        let dirty: Vec<_> = std::mem::take(&mut inner.dirty).into_iter().collect();
        inner.gone = dirty.iter().map(|(_, upto)| *upto).fold(inner.gone, Lsn::max);
        let waiting_after = inner.oldest().map(|(_, noted)| noted.after).min();
        Told { dirty, upto: inner.told, waiting_after }
    }

    /// Rows that wait, and since when the oldest does.
    pub(crate) fn waiting(&self) -> (usize, Option<Millis>) {
        let inner = self.lock();
        (inner.rows.len(), inner.oldest().map(|(_, noted)| noted.since).min())
    }

    /// Nothing that replication notes is lost by a panic elsewhere: every update below is complete in itself.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn note(&mut self, max: usize, (route, name): (RouteId, RowName), at: Lsn, now: Millis) {
        let key = name.green.clone();
        if let Some(noted) = self.rows.get_mut(&(route, key.clone())) {
            noted.last = noted.last.max(at);
            if name.blue.is_some() {
                noted.name = name;
            }
        } else if self.rows.len() >= max {
            self.full = true;
            self.mark(route, at);
        } else {
            self.order.entry(route).or_default().push_back(key.clone());
            // A change of our own making may stand where everything has been told: it waits nevertheless.
            let last = at.max(self.told);
            let after = self.told.min(Lsn::new(last.raw().saturating_sub(1)));
            self.rows.insert((route, key), Noted { name, after, last, since: now });
        }
    }

    /// The row of each route that was noted first: neither its address nor its moment is later than another's.
    fn oldest(&self) -> impl Iterator<Item = (RouteId, &Noted)> {
        let first = |(route, keys): (&RouteId, &VecDeque<Key>)| {
            let noted = self.rows.get(&(*route, keys.front()?.clone()))?;
            Some((*route, noted))
        };
        self.order.iter().filter_map(first)
    }

    fn mark(&mut self, route: RouteId, at: Lsn) {
        let upto = self.dirty.entry(route).or_default();
        *upto = at.max(*upto);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RowName {
        let key = Key::from_texts([text.as_bytes()]);
        RowName { green: key.clone(), blue: Some(key) }
    }

    const ROUTE: RouteId = RouteId(0);

    fn row(text: &str) -> (RouteId, RowName) {
        (ROUTE, name(text))
    }

    fn lsn(at: u64) -> Lsn {
        Lsn::new(at)
    }

    /// A row that changes again while it waits is one row, as old as its first change and not equal before its last.
    #[test]
    fn a_row_is_remembered_once() {
        let changed = ChangedRows::new(10);
        changed.note([row("a"), row("b")], lsn(10), Millis(1));
        changed.note([row("a")], lsn(20), Millis(2));
        let (route, taken) = changed.take(10, |_| true).unwrap();
        assert_eq!(route, ROUTE);
        let a = Noted { name: name("a"), after: lsn(0), last: lsn(20), since: Millis(1) };
        let b = Noted { name: name("b"), after: lsn(0), last: lsn(10), since: Millis(1) };
        assert_eq!(taken, [a, b]);
        assert!(changed.take(10, |_| true).is_none());
    }

    /// What does not fit is never forgotten: its route is marked up to the change, and listing stops until there is room.
    #[test]
    fn an_overflow_marks_the_route() {
        let changed = ChangedRows::new(4);
        changed.note(["a", "b", "c", "d"].map(row), lsn(10), Millis(1));
        assert!(changed.is_open());
        changed.note([(RouteId(1), name("e")), row("a")], lsn(20), Millis(2));
        assert!(!changed.is_open());
        changed.note_unlisted(RouteId(1), lsn(30));
        changed.note([], lsn(30), Millis(3));
        let told = changed.told();
        assert_eq!(
            told,
            Told { dirty: vec![(RouteId(1), lsn(30))], upto: lsn(30), waiting_after: Some(lsn(0)) }
        );
        assert!(changed.told().dirty.is_empty(), "each is told once");
        changed.take(1, |_| true).unwrap();
        assert!(!changed.is_open(), "it does not open for a single row");
        changed.take(1, |_| true).unwrap();
        assert!(changed.is_open());
    }

    /// A row that is mended where everything has been told already must not look checked while it waits.
    #[test]
    fn a_row_waits_below_its_own_change() {
        let changed = ChangedRows::new(10);
        changed.note([], lsn(10), Millis(1));
        changed.note([row("a")], lsn(7), Millis(2));
        assert_eq!(changed.told().waiting_after, Some(lsn(9)));
        let (_, taken) = changed.take(10, |_| true).unwrap();
        assert_eq!((taken[0].after, taken[0].last), (lsn(9), lsn(10)));
    }

    /// What nobody waits for any more is known to whoever begins next: rows and marks handed out, and all that was dropped.
    #[test]
    fn what_was_handed_out_or_dropped_is_remembered() {
        let changed = ChangedRows::new(10);
        changed.note([row("a")], lsn(10), Millis(1));
        assert_eq!(changed.gone(), lsn(0), "it still waits");
        changed.take(10, |_| true).unwrap();
        assert_eq!(changed.gone(), lsn(10));
        changed.note_unlisted(ROUTE, lsn(20));
        changed.told();
        assert_eq!(changed.gone(), lsn(20));
        changed.note([row("b")], lsn(30), Millis(1));
        changed.begin_anew();
        assert_eq!((changed.waiting(), changed.gone(), changed.told().upto), ((0, None), lsn(30), lsn(30)));
    }

    /// A route that cannot be read keeps its rows, and does not keep others waiting.
    #[test]
    fn routes_that_may_not_be_read_are_passed_over() {
        let changed = ChangedRows::new(10);
        changed.note([row("a")], lsn(10), Millis(1));
        changed.note([(RouteId(1), name("b"))], lsn(20), Millis(2));
        let (route, _) = changed.take(10, |route| route != ROUTE).unwrap();
        assert_eq!(route, RouteId(1));
        assert!(changed.take(10, |route| route != ROUTE).is_none());
        assert_eq!(changed.waiting(), (1, Some(Millis(1))));
    }
}
