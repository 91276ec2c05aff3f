//! One route: its passes, why it is not compared, and what has been counted.

use understudy_contract::{
    ComparedRoute, KeyRelation, LedgerWrite, PassRecord, Resolution, SavedComparison, Sweep,
};
use understudy_model::{Key, Lsn, RouteId};

use super::cases::MayRead;
use super::ranges::{Moment, Next, Range, Ranges, Step};
use super::ranging::About;
use crate::circumstances::Millis;
use crate::throttle::Sizes;

/// Names read at once, unless that is too slow.
pub(crate) const NAMES_MAX: usize = 500;

/// Rows of a range that are read at once where rows have to be looked up one by one.
pub(crate) const LOOKUP_ROWS_MAX: u64 = 10_000;

/// First and longest pause before a route that cannot be read is tried again.
const BLOCKED_MS: (u64, u64) = (1_000, 60_000);

/// A route and its work.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) plan: ComparedRoute,
    pub(crate) sweeps: Vec<Ranges>,
    pub(crate) pass: Pass,
    pub(crate) copied: Copied,
    pub(crate) blocked: Option<Blocked>,
    /// What was begun under another number counts for nothing.
    pub(crate) generation: u64,
    /// Names read at once.
    pub(crate) names_max: usize,
    /// All of blue is not searched for names before: each search costs a look at every row.
    pub(crate) search_from: Millis,
    pub(crate) counts: Counts,
}

/// Whether the first copy of a route is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    /// That is not known.
    Unknown,
    /// It is not.
    InPart,
    /// It is.
    Whole,
}

/// Where the passes of a route are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pass {
    pub(crate) number: u64,
    pub(crate) completed: u64,
    pub(crate) completed_when: Option<Moment>,
    pub(crate) dirty_upto: Lsn,
}

/// Why a route cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) why: String,
    /// It is not tried before.
    pub(crate) until: Millis,
    /// The range that could not be read; `None` when rows could not.
    about: Option<About>,
    backoff_ms: u64,
}

/// What has been counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) rows_checked: u64,
    pub(crate) changes_checked: u64,
    pub(crate) found: [u64; 3],
    pub(crate) resolved: [u64; 4],
    pub(crate) wrong_digests: u64,
}

impl Counts {
    pub(crate) fn count(&mut self, resolution: Resolution) {
        let at = Resolution::ALL.iter().position(|one| *one == resolution);
        self.resolved[at.unwrap_or_default()] += 1;
    }
}

impl Route {
    /// A route of which nothing is known.
    pub(crate) fn new(plan: ComparedRoute) -> Route {
        let sweeps = sweeps(plan.keys).iter().map(|sweep| Ranges::new(*sweep)).collect();
        Route {
            plan,
            sweeps,
            pass: Pass::default(),
            copied: Copied::Unknown,
            blocked: None,
            generation: 0,
            names_max: NAMES_MAX,
            search_from: Millis(0),
            counts: Counts::default(),
        }
    }

    /// Takes up what the ledger holds, and forgets there what is of no use.
    pub(crate) fn resume(&mut self, saved: SavedComparison, now: Millis) -> Vec<LedgerWrite> {
        let when = saved.pass.completed_age_ms.map(|age| Moment::ago(age, now));
        self.pass = Pass {
            number: saved.pass.number,
            completed: saved.pass.completed,
            completed_when: when,
            dirty_upto: saved.pass.dirty_upto,
        };
        let mut writes = Vec::new();
        let mut records = saved.ranges;
        for ranges in &mut self.sweeps {
            let sweep = ranges.sweep;
            let (own, rest) = records.into_iter().partition(|record| record.sweep == sweep);
            records = rest;
            let (resumed, lost) = Ranges::saved(sweep, own, now);
            *ranges = resumed;
            writes.extend(lost.into_iter().map(|after| LedgerWrite::Forget(saved.route, sweep, after)));
        }
        let other = |record: understudy_contract::RangeRecord| {
            LedgerWrite::Forget(saved.route, record.sweep, record.range.after)
        };
        writes.extend(records.into_iter().map(other));
        // What was verified after the last pass had been completed belongs to the one that is under way.
        let Pass { number, completed, .. } = self.pass;
        for range in self.sweeps.iter_mut().flat_map(|ranges| &mut ranges.list) {
            let since = range.verified_when > when;
            range.pass = if number > completed && range.verified.is_some() && since { number } else { 0 };
        }
        writes
    }

    pub(crate) fn id(&self) -> RouteId {
        self.plan.route
    }

    /// Whether green's rows do not tell blue's key.
    pub(crate) fn is_computed(&self) -> bool {
        self.plan.keys == KeyRelation::Computed
    }

    /// Whether anything of it may be read now.
    pub(crate) fn may_read(&self, now: Millis) -> bool {
        self.copied == Copied::Whole && self.blocked.as_ref().is_none_or(|blocked| blocked.until <= now)
    }

    /// What may be read of it by name now.
    pub(crate) fn may_read_names(&self, now: Millis) -> MayRead {
        let most = if self.may_read(now) { self.names_max } else { 0 };
        MayRead { most, search: self.search_from <= now }
    }

    /// It cannot be read.
    pub(crate) fn block(&mut self, why: String, about: Option<About>, now: Millis) -> Millis {
        let (least, most) = BLOCKED_MS;
        let backoff_ms = self.blocked.as_ref().map_or(least, |before| (before.backoff_ms * 2).min(most));
        let until = Millis(now.0 + backoff_ms);
        self.blocked = Some(Blocked { why, until, about, backoff_ms });
        until
    }

    /// Something of it was read. That tells nothing of another range that could not be.
    pub(crate) fn was_read(&mut self, about: Option<&About>) {
        let same = |range: &About| {
            about.is_some_and(|about| about.sweep == range.sweep && about.after == range.after)
        };
        if self.blocked.as_ref().is_some_and(|blocked| blocked.about.as_ref().is_none_or(same)) {
            self.blocked = None;
        }
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = &Range> {
        self.sweeps.iter().flat_map(|ranges| &ranges.list)
    }

    /// Whether every row lies in a range that counts as verified.
    pub(crate) fn is_verified(&self) -> bool {
        let whole = self.sweeps.iter().all(|ranges| ranges.whole);
        whole && self.ranges().all(|range| range.counts(self.pass.dirty_upto))
    }

    /// Nothing of it counts as verified any more, and what is being read of it counts for nothing.
    pub(crate) fn forget(&mut self, now: Millis) -> Vec<LedgerWrite> {
        self.generation += 1;
        let mut writes = Vec::new();
        let route = self.id();
        for ranges in &mut self.sweeps {
            ranges.cutting = false;
            let sweep = ranges.sweep;
            for range in &mut ranges.list {
                let was_verified = range.verified.is_some();
                range.forget();
                if was_verified {
                    writes.push(LedgerWrite::Range(route, range.record(sweep, now)));
                }
            }
        }
        writes
    }

    /// Begins the next pass when it is due, or the first one.
    pub(crate) fn begin_pass(&mut self, pause_ms: u64, now: Millis) -> Option<LedgerWrite> {
        let Pass { number, completed, completed_when, .. } = self.pass;
        let paused = completed_when.is_some_and(|when| when.age_ms(now) < pause_ms);
        if number > completed || (paused && self.is_verified()) {
            return None;
        }
        self.pass.number = completed + 1;
        Some(self.pass_record(now))
    }

    /// Ends the pass when every range has been verified in it.
    pub(crate) fn end_pass(&mut self, sizes: Sizes, now: Millis) -> Vec<LedgerWrite> {
        let Pass { number, completed, .. } = self.pass;
        let whole = self.sweeps.iter().all(|ranges| ranges.whole);
        if number <= completed || !whole || !self.ranges().all(|range| range.pass >= number) {
            return Vec::new();
        }
        self.pass.completed = number;
        self.pass.completed_when = Some(Moment::ago(0, now));
        let mut writes = vec![self.pass_record(now)];
        let (route, keys) = (self.id(), self.plan.keys);
        for ranges in &mut self.sweeps {
            let (joined, gone) = ranges.join(rows_max(keys, ranges.sweep, sizes) / 2, now);
            let sweep = ranges.sweep;
            writes.extend(joined.into_iter().map(|record| LedgerWrite::Range(route, record)));
            writes.extend(gone.into_iter().map(|after| LedgerWrite::Forget(route, sweep, after)));
        }
        writes
    }

    pub(crate) fn pass_record(&self, now: Millis) -> LedgerWrite {
        let Pass { number, completed, completed_when, dirty_upto } = self.pass;
        let completed_age_ms = completed_when.map(|when| when.age_ms(now));
        LedgerWrite::Pass(self.id(), PassRecord { number, completed, completed_age_ms, dirty_upto })
    }

    /// The range to read next: what is begun goes on first, then what does not count as verified, then the rest of the pass.
    pub(crate) fn next_range(&self, now: Millis) -> Option<(usize, usize, Next)> {
        let mut best: Option<(u8, usize, usize, Next)> = None;
        for (sweep, ranges) in self.sweeps.iter().enumerate() {
            for (at, range) in ranges.list.iter().enumerate() {
                let (next, from) = match range.step {
                    Step::Idle(next, from) => (next, from),
                    // It counts, and rows of it that keep changing do not keep the next pass from it.
                    Step::Settling { open: 0, .. } => (Next::Begin, now),
                    Step::Settling { .. } | Step::Reading(_) => continue,
                };
                if from > now {
                    continue;
                }
                let rank = match next {
                    Next::Rows | Next::Audit | Next::Cut(_) => 0,
                    Next::Begin if !range.counts(self.pass.dirty_upto) && range.pass < self.pass.number => 1,
                    Next::Begin if range.pass < self.pass.number => 2,
                    Next::Begin => continue,
                };
                if best.is_none_or(|(least, ..)| rank < least) {
                    best = Some((rank, sweep, at, next));
                }
            }
        }
        best.map(|(_, sweep, at, next)| (sweep, at, next))
    }

    /// The sweep whose next range is to be cut now: as long as few are ready to be read.
    pub(crate) fn next_cut(&self, now: Millis) -> Option<usize> {
        let ready = |range: &&Range| {
            matches!(range.step, Step::Idle(_, from) if from <= now) && range.verified.is_none()
        };
        self.sweeps.iter().position(|ranges| {
            !ranges.whole && !ranges.cutting && ranges.list.iter().rev().take(4).filter(ready).count() < 2
        })
    }

    /// The range of a sweep that begins beyond a key.
    pub(crate) fn find(&mut self, sweep: usize, after: &Option<Key>) -> Option<usize> {
        self.sweeps[sweep].list.iter().position(|range| range.range.after == *after)
    }
}

/// Rows that a range of a sweep may have.
pub(crate) fn rows_max(keys: KeyRelation, sweep: Sweep, sizes: Sizes) -> u64 {
    match (sweep, keys) {
        (Sweep::Both, _) => sizes.target,
        // Each of these costs a look at every row of blue, however few keys are asked for.
        (Sweep::Green, KeyRelation::Computed) => sizes.full,
        (Sweep::Blue | Sweep::Green, _) => sizes.target.min(LOOKUP_ROWS_MAX),
    }
}

/// The ways in which passes go over a route.
const fn sweeps(keys: KeyRelation) -> &'static [Sweep] {
    match keys {
        KeyRelation::Aligned => &[Sweep::Both],
        KeyRelation::Passed | KeyRelation::Computed => &[Sweep::Blue, Sweep::Green],
    }
}
