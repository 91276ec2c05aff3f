//! Rows that are being settled: each is read again until it was seen equal or shown to differ.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use understudy_contract::{Detail, KeyRelation, MismatchId, RowName};
use understudy_model::{Key, Lsn, RouteId, Xid};

use crate::changed::Noted;
use crate::circumstances::Millis;
use crate::settle::{Case, Difference};

/// Rows that are settled at the same time, at most.
pub(crate) const CASES_MAX: usize = 100_000;

/// Reads after which a row that is not settled counts as pending.
pub(crate) const ATTEMPTS_MAX: u32 = 8;

/// For how long a row is tried before it is looked at now and then only.
const SUSPEND_AFTER_MS: u64 = 60_000;

/// Pauses between reads of a row: at first, at most, and of one that is suspended.
const PAUSES_MS: (u64, u64, u64) = (50, 1_000, 5_000);

/// Cases that are looked at to fill one batch.
const LOOK_MAX: usize = 4_000;

/// A row of a route, by its key on green.
pub(crate) type RowId = (RouteId, Key);

/// A row that is being settled.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) name: RowName,
    pub(crate) case: Case,
    pub(crate) detail: Detail,
    /// Whether all of blue is searched for it.
    pub(crate) thorough: bool,
    pub(crate) reads: u32,
    /// When it was first read and not equal.
    pub(crate) unequal: Option<Millis>,
    /// Readings of ranges that wait for it.
    pub(crate) owners: Vec<u64>,
    /// Changes that it is checked for.
    pub(crate) changed: Option<Noted>,
    /// What it was recorded as before.
    pub(crate) mismatch: Option<MismatchId>,
    /// Blue's row has not changed since it was last verified, if a transaction below this one wrote it.
    pub(crate) horizon: Option<Xid>,
    /// Whether blue's row has not changed since it was last verified, as far as that is known.
    pub(crate) unchanged: Option<bool>,
    /// A difference that is being explained.
    pub(crate) difference: Option<Box<Difference>>,
    /// Whether its owners count it as pending.
    pub(crate) is_pending: bool,
    at: At,
}

/// Where a case is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// It waits for this moment.
    Due(Millis),
    /// It is being read or explained.
    Busy,
}

impl Open {
    pub(crate) fn new(keys: KeyRelation, name: RowName, mismatch: Option<MismatchId>) -> Open {
        let mut open = Open {
            name,
            case: Case::new(keys),
            detail: Detail::Digests,
            thorough: false,
            reads: 0,
            unequal: None,
            owners: Vec::new(),
            changed: None,
            mismatch,
            horizon: None,
            unchanged: None,
            difference: None,
            is_pending: false,
            at: At::Busy,
        };
        open.anew(keys);
        open
    }

    /// What was seen so far no longer matters.
    pub(crate) fn anew(&mut self, keys: KeyRelation) {
        self.case = if self.mismatch.is_some() { Case::of_mismatch(keys) } else { Case::new(keys) };
        self.detail = Detail::Digests;
        // Without its key on blue, looking it up would find nothing there, which proves nothing.
        self.thorough = keys == KeyRelation::Computed && self.name.blue.is_none();
    }

    /// Whether it is not known to differ, and kept changing.
    pub(crate) fn keeps_changing(&self) -> bool {
        self.reads >= ATTEMPTS_MAX && self.unequal.is_some()
    }

    /// Whether it kept changing for so long that it is looked at now and then only.
    pub(crate) fn is_suspended(&self, now: Millis) -> bool {
        self.keeps_changing() && self.unequal.is_some_and(|since| now.since(since) >= SUSPEND_AFTER_MS)
    }

    /// When it is read again, after one more read has settled nothing.
    pub(crate) fn next_read(&self, now: Millis) -> Millis {
        let (first, most, suspended) = PAUSES_MS;
        let growing = first << self.reads.saturating_sub(1).min(10);
        let pause_ms = if self.is_suspended(now) { suspended } else { growing.min(most) };
        Millis(now.0 + pause_ms)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Cases {
    map: FxHashMap<RowId, Open>,
    /// Those that wait for a moment. A route that cannot be read keeps no other waiting.
    due: BTreeMap<RouteId, BTreeSet<(Millis, Key)>>,
}

impl Cases {
    pub(crate) fn room(&self) -> usize {
        CASES_MAX.saturating_sub(self.map.len())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RowId, &Open)> {
        self.map.iter()
    }

    pub(crate) fn get_mut(&mut self, id: &RowId) -> Option<&mut Open> {
        self.map.get_mut(id)
    }

    /// Takes a row in, busy; what is there is kept.
    pub(crate) fn enter(&mut self, id: RowId, open: Open) -> &mut Open {
        self.map.entry(id).or_insert(open)
    }

    pub(crate) fn holds(&self, id: &RowId) -> bool {
        self.map.contains_key(id)
    }

    /// It is to be read from a moment on.
    pub(crate) fn schedule(&mut self, id: &RowId, from: Millis) {
        let Some(open) = self.map.get_mut(id) else { return };
        let due = self.due.entry(id.0).or_default();
        if let At::Due(before) = std::mem::replace(&mut open.at, At::Due(from)) {
            due.remove(&(before, id.1.clone()));
        }
        due.insert((from, id.1.clone()));
    }

    /// It is settled.
    pub(crate) fn remove(&mut self, id: &RowId) -> Option<Open> {
        let open = self.map.remove(id)?;
        if let (At::Due(from), Some(due)) = (open.at, self.due.get_mut(&id.0)) {
            due.remove(&(from, id.1.clone()));
        }
        Some(open)
    }

    /// Takes rows that are due and can be read together, as `may` allows for each route; they are busy from now on.
    pub(crate) fn take(&mut self, may: impl Fn(RouteId) -> MayRead, now: Millis) -> Option<Together> {
        let first = |(route, due): (&RouteId, &BTreeSet<(Millis, Key)>)| {
            let from = due.first().map(|(from, _)| *from).filter(|from| *from <= now)?;
            (may(*route).most > 0).then_some((from, *route))
        };
        let mut routes: Vec<_> = self.due.iter().filter_map(first).collect();
        routes.sort_unstable();
        routes.into_iter().find_map(|(_, route)| self.take_of(route, may(route), now))
    }

    fn take_of(&mut self, route: RouteId, may: MayRead, now: Millis) -> Option<Together> {
        let mut together: Option<Together> = None;
        let due = self.due.get_mut(&route)?;
        let ripe = due.iter().take(LOOK_MAX).take_while(|(from, _)| *from <= now);
        for (_, key) in ripe {
            let Some(open) = self.map.get(&(route, key.clone())) else { continue };
            if open.thorough && !may.search {
                continue;
            }
            let like = Together { route, detail: open.detail, thorough: open.thorough, names: Vec::new() };
            let batch = together.get_or_insert(like);
            if (batch.detail, batch.thorough) == (open.detail, open.thorough) {
                batch.names.push(open.name.clone());
                if batch.names.len() >= may.most {
                    break;
                }
            }
        }
        for name in together.iter().flat_map(|together| &together.names) {
            if let Some(open) = self.map.get_mut(&(route, name.green.clone())) {
                if let At::Due(from) = open.at {
                    due.remove(&(from, name.green.clone()));
                }
                open.at = At::Busy;
            }
        }
        together
    }

    /// No change up to here is being checked; `None` when none is at all.
    pub(crate) fn changed_after(&self) -> Option<Lsn> {
        self.map.values().filter_map(|open| open.changed.as_ref()).map(|noted| noted.after).min()
    }
}

/// What may be read of a route now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MayRead {
    /// Rows at once.
    pub(crate) most: usize,
    /// Whether all of blue may be searched for some.
    pub(crate) search: bool,
}

/// Rows that are read together.
#[derive(Debug)]
pub(crate) struct Together {
    pub(crate) route: RouteId,
    pub(crate) names: Vec<RowName>,
    pub(crate) detail: Detail,
    pub(crate) thorough: bool,
}
