//! Rows that replication has changed and that are to be checked soon: remembered in bounded memory, never forgotten.

mod packed;
mod queue;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use understudy_contract::RowName;
use understudy_model::{Lsn, RouteId};

use self::packed::Packed;
use self::queue::{Queue, Slot};
use crate::circumstances::Millis;

/// Bytes for each row that may be remembered, on average: where keys are longer, fewer rows are.
const ROW_BYTES: usize = 160;

/// Rows that replication has changed, shared between it and verification.
///
/// Replication calls, for each batch that green has committed, [`ChangedRows::note_unlisted`] for every route of which it
/// does not list rows, and then [`ChangedRows::note`] once, also when there is no row to list: that closes the batch.
#[derive(Debug)]
pub struct ChangedRows {
    max: Limits,
    inner: Mutex<Inner>,
}

/// What is remembered at most. One row always is.
#[derive(Debug, Clone, Copy)]
struct Limits {
    rows: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    /// What waits, by route. None is empty.
    queues: BTreeMap<RouteId, Queue>,
    /// Rows in all of them.
    rows: usize,
    /// Bytes that they take.
    bytes: usize,
    /// Where names are packed.
    packed: Packed,
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
    /// Remembers this many rows at most, and fewer where their keys take more than a hundred bytes.
    pub fn new(max: usize) -> ChangedRows {
        // Rows have numbers of 32 bits.
        let rows = max.clamp(1, 1 << 31);
        let max = Limits { rows, bytes: rows.saturating_mul(ROW_BYTES) };
        ChangedRows { max, inner: Mutex::default() }
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
        let oldest = inner.oldest().filter(|(route, _)| may(*route)).map(|(route, slot)| (slot.since, route));
        let (_, route) = oldest.min()?;
        let queue = inner.queues.get_mut(&route)?;
        let taken: Vec<_> = std::iter::from_fn(|| queue.pop()).take(max).collect();
        if queue.len() == 0 {
            // What it has allocated would stay with it.
            inner.queues.remove(&route);
        }
        inner.gone = taken.iter().map(|noted| noted.last).fold(inner.gone, Lsn::max);
        inner.count(self.max);
        Some((route, taken))
    }

    /// Drops the rows of routes that are not compared yet: whatever changes them, they are verified in full later.
    pub(crate) fn keep(&self, compared: impl Fn(RouteId) -> bool) {
        let mut inner = self.lock();
        inner.queues.retain(|route, _| compared(*route));
        inner.count(self.max);
    }

    /// What was not listed since the last call, and how far everything else is known.
    pub(crate) fn told(&self) -> Told {
        let mut inner = self.lock();
        let dirty: Vec<_> = std::mem::take(&mut inner.dirty).into_iter().collect();
        inner.gone = dirty.iter().map(|(_, upto)| *upto).fold(inner.gone, Lsn::max);
        let waiting_after = inner.oldest().map(|(_, slot)| slot.after).min();
        Told { dirty, upto: inner.told, waiting_after }
    }

    /// Rows that wait, and since when the oldest does.
    pub(crate) fn waiting(&self) -> (usize, Option<Millis>) {
        let inner = self.lock();
        (inner.rows, inner.oldest().map(|(_, slot)| slot.since).min())
    }

    /// Nothing that replication notes is lost by a panic elsewhere: every update below is complete in itself.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn note(&mut self, max: Limits, (route, name): (RouteId, RowName), at: Lsn, now: Millis) {
        self.packed.set(&name);
        let number = self.queues.get(&route).and_then(|queue| queue.find(&self.packed));
        let taken = match number {
            Some(number) => self.note_again(max, (route, number), &name, at),
            None => self.note_first(max, route, at, now),
        };
        if !taken {
            self.full = true;
            self.mark(route, at);
        }
    }

    /// Notes the row whose name is packed. `false`: there is no room for it.
    fn note_first(&mut self, max: Limits, route: RouteId, at: Lsn, now: Millis) -> bool {
        let cost = Queue::cost(&self.packed);
        if self.rows >= max.rows || (self.rows > 0 && self.bytes + cost > max.bytes) {
            return false;
        }
        // A change of our own making may stand where everything has been told: it waits nevertheless.
        let last = at.max(self.told);
        let after = self.told.min(Lsn::new(last.raw().saturating_sub(1)));
        self.queues.entry(route).or_default().push(&self.packed, Slot::new(after, last, now));
        (self.rows, self.bytes) = (self.rows + 1, self.bytes + cost);
        true
    }

    /// Notes a row that waits already. `false`: there is no room for its new name, so that it may be looked for under an old one.
    fn note_again(&mut self, max: Limits, (route, number): (RouteId, u32), name: &RowName, at: Lsn) -> bool {
        let Some(queue) = self.queues.get_mut(&route) else { return false };
        queue.touch(number, at);
        let Some(blue) = &name.blue else { return true };
        let cost = queue.rename_cost(number, &self.packed, blue);
        if cost == 0 {
            return true;
        }
        if self.bytes + cost > max.bytes {
            return false;
        }
        let before = queue.bytes();
        queue.rename(number, blue);
        self.bytes = self.bytes + queue.bytes() - before;
        true
    }

    /// Counts what is left; it is full until half of it has gone.
    fn count(&mut self, max: Limits) {
        self.rows = self.queues.values().map(Queue::len).sum();
        self.bytes = self.queues.values().map(Queue::bytes).sum();
        self.full = self.full && (self.rows > max.rows / 2 || self.bytes > max.bytes / 2);
    }

    /// The row of each route that was noted first: neither its address nor its moment is later than another's.
    fn oldest(&self) -> impl Iterator<Item = (RouteId, &Slot)> {
        self.queues.iter().filter_map(|(route, queue)| Some((*route, queue.first()?)))
    }

    fn mark(&mut self, route: RouteId, at: Lsn) {
        let upto = self.dirty.entry(route).or_default();
        *upto = at.max(*upto);
    }
}

#[cfg(test)]
mod tests {
    use understudy_model::Key;

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

    /// Long keys count for what they take, or a hundred thousand of them would take all memory there is. A row that alone is
    /// too large is noted nevertheless: nothing would ever make room for it.
    #[test]
    fn long_keys_take_the_room_of_many() {
        let changed = ChangedRows::new(10);
        let long = |row: usize| name(&format!("{row}{}", "k".repeat(1_000)));
        changed.note([(ROUTE, long(0))], lsn(10), Millis(1));
        assert!(changed.is_open());
        changed.note([(ROUTE, long(1)), row("a")], lsn(20), Millis(1));
        assert_eq!(changed.waiting().0, 2, "a short one still fits");
        assert!(!changed.is_open());
        assert_eq!(changed.told().dirty, [(ROUTE, lsn(20))]);
        changed.take(1, |_| true).unwrap();
        assert!(changed.is_open());
        changed.note([(ROUTE, long(2)), (ROUTE, long(3))], lsn(25), Millis(1));
        changed.take(1, |_| true).unwrap();
        assert!(!changed.is_open(), "it does not open before half of the room is free");
        changed.keep(|_| false);
        assert!(changed.is_open());
        changed.note([(ROUTE, name(&"k".repeat(10_000)))], lsn(30), Millis(1));
        assert!(changed.is_open());
        assert_eq!(changed.take(9, |_| true).unwrap().1.len(), 1);
    }

    /// A row is looked for on blue by what blue calls it now. Where there is no room for that its route is verified anew.
    #[test]
    fn a_row_goes_by_the_last_name_that_blue_gave_it() {
        let named = |blue: Option<&str>| {
            let blue = blue.map(|text| Key::from_texts([text.as_bytes()]));
            (ROUTE, RowName { blue, ..name("a") })
        };
        let changed = ChangedRows::new(10);
        for blue in [None, Some("1"), Some("22"), None] {
            changed.note([named(blue)], lsn(10), Millis(1));
        }
        assert_eq!(changed.take(10, |_| true).unwrap().1[0].name, named(Some("22")).1);
        changed.note([named(Some("22"))], lsn(20), Millis(1));
        changed.note([named(Some(&"k".repeat(2_000)))], lsn(30), Millis(1));
        assert_eq!(changed.told().dirty, [(ROUTE, lsn(30))]);
        let taken = &changed.take(10, |_| true).unwrap().1[0];
        assert_eq!((&taken.name, taken.last), (&named(Some("22")).1, lsn(30)));
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
