//! The ranges that one sweep cuts a route into: a chain from before the first key to beyond the last.

use rustc_hash::FxHashMap;
use understudy_contract::{KeyRange, RangeDigest, RangeRecord, Sweep};
use understudy_model::{Key, Lsn, Xid};

use crate::circumstances::Millis;

/// A moment that may lie before the start of the caller's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i64);

impl Moment {
    /// So many milliseconds before `now`.
    pub(crate) fn ago(age_ms: u64, now: Millis) -> Moment {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        Moment(signed(now.0).saturating_sub(signed(age_ms)))
    }

    /// Milliseconds from here to `now`.
    pub(crate) fn age_ms(self, now: Millis) -> u64 {
        let now = i64::try_from(now.0).unwrap_or(i64::MAX);
        u64::try_from(now.saturating_sub(self.0)).unwrap_or(0)
    }
}

/// What is known of a range from its last reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Where blue's log was.
    pub(crate) lsn: Lsn,
    /// Every transaction of blue below this one had ended.
    pub(crate) horizon: Xid,
    /// Blue's digest.
    pub(crate) digest: RangeDigest,
    /// When it was read, however long its rows then take to be settled.
    pub(crate) when: Moment,
}

/// What is read of a range next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// What its sweep begins with.
    Begin,
    /// Its rows, since the digests differ.
    Rows,
    /// Its rows and digests once more. `equal` tells that the digests agreed.
    Audit,
    /// The key after so many rows, to cut it there.
    Cut(u64),
}

/// What a range waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// To be read, not before a moment.
    Idle(Next, Millis),
    /// It is being read.
    Reading(Next),
    /// It was read, and some of its rows are not settled.
    Settling {
        /// Tells this reading from every other.
        token: u64,
        /// Rows of which nothing is known yet.
        open: u64,
        /// Rows that keep changing.
        pending: u64,
        /// What it comes to.
        verdict: Verdict,
    },
}

/// One range.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) range: KeyRange,
    pub(crate) rows: u64,
    pub(crate) digest: RangeDigest,
    pub(crate) verified: Option<Lsn>,
    pub(crate) horizon: Option<Xid>,
    pub(crate) verified_when: Option<Moment>,
    /// The pass in which it was last verified.
    pub(crate) pass: u64,
    pub(crate) step: Step,
    /// Some of its rows keep changing, as it was last verified.
    pub(crate) has_pending: bool,
    /// Its digest was shown not to be what its rows add up to.
    pub(crate) wrong: bool,
    /// Rows that differed and of which none could be taken in.
    pub(crate) unexamined: u64,
}

impl Range {
    fn new(range: KeyRange) -> Range {
        Range {
            range,
            rows: 0,
            digest: RangeDigest::default(),
            verified: None,
            horizon: None,
            verified_when: None,
            pass: 0,
            step: Step::Idle(Next::Begin, Millis(0)),
            has_pending: false,
            wrong: false,
            unexamined: 0,
        }
    }

    /// Whether it was verified at this address or later.
    pub(crate) fn counts(&self, dirty_upto: Lsn) -> bool {
        self.verified.is_some_and(|lsn| lsn >= dirty_upto)
    }

    /// Every row was seen equal, or is counted on its own.
    pub(crate) fn verify(&mut self, verdict: Verdict, pass: u64) {
        self.rows = verdict.digest.rows;
        self.digest = verdict.digest;
        self.verified = Some(verdict.lsn);
        self.horizon = Some(verdict.horizon);
        self.verified_when = Some(verdict.when);
        self.pass = pass;
        self.wrong = false;
        self.unexamined = 0;
    }

    /// Nothing of it counts any more.
    pub(crate) fn forget(&mut self) {
        (self.verified, self.horizon, self.verified_when, self.pass) = (None, None, None, 0);
        self.has_pending = false;
        self.step = Step::Idle(Next::Begin, Millis(0));
    }

    /// As the ledger keeps it: rows that keep changing are not remembered there, so with any it was not verified.
    pub(crate) fn record(&self, sweep: Sweep, now: Millis) -> RangeRecord {
        RangeRecord {
            sweep,
            range: self.range.clone(),
            rows: self.rows,
            digest: self.digest,
            verified: self.verified.filter(|_| !self.has_pending),
            horizon: self.horizon.filter(|_| !self.has_pending),
            age_ms: self.verified_when.map_or(0, |when| when.age_ms(now)),
        }
    }
}

/// The chain of one sweep.
#[derive(Debug)]
pub(crate) struct Ranges {
    pub(crate) sweep: Sweep,
    /// In the order of keys; each begins where the one before ends.
    pub(crate) list: Vec<Range>,
    /// Whether the last one is open-ended: all rows are covered.
    pub(crate) whole: bool,
    /// Whether the end of the next range is being asked for.
    pub(crate) cutting: bool,
}

impl Ranges {
    pub(crate) fn new(sweep: Sweep) -> Ranges {
        Ranges { sweep, list: Vec::new(), whole: false, cutting: false }
    }

    /// Those of the ledger, as far as they form a chain. The others are to be forgotten.
    pub(crate) fn saved(sweep: Sweep, records: Vec<RangeRecord>, now: Millis) -> (Ranges, Vec<Option<Key>>) {
        let mut ranges = Ranges::new(sweep);
        let by_start = records.into_iter().map(|record| (record.range.after.clone(), record));
        let mut by_start: FxHashMap<Option<Key>, RangeRecord> = by_start.collect();
        while let Some(record) = by_start.remove(&ranges.end()).filter(|_| !ranges.whole) {
            ranges.whole = record.range.upto.is_none();
            ranges.list.push(Range {
                rows: record.rows,
                digest: record.digest,
                verified: record.verified,
                horizon: record.horizon,
                verified_when: record.verified.map(|_| Moment::ago(record.age_ms, now)),
                ..Range::new(record.range)
            });
        }
        (ranges, by_start.into_keys().collect())
    }

    /// The key beyond which nothing is cut yet.
    pub(crate) fn end(&self) -> Option<Key> {
        self.list.last().and_then(|last| last.range.upto.clone())
    }

    /// The end of the next range is known.
    pub(crate) fn push(&mut self, upto: Option<Key>, rows: u64) -> &Range {
        let range = Range { rows, ..Range::new(KeyRange { after: self.end(), upto }) };
        self.whole = range.range.upto.is_none();
        self.list.push(range);
        &self.list[self.list.len() - 1]
    }

    /// Cuts a range in two; `false` when that would not make it smaller. Both halves were verified when it was.
    ///
    /// A cut beyond the range's own end makes the first half larger and the second empty: nothing is left uncovered.
    pub(crate) fn cut(&mut self, at: usize, key: &Key, rows: u64) -> bool {
        let starts_here = |one: &Range| one.range.after.as_ref() == Some(key);
        if self.list[at].range.upto.as_ref() == Some(key) || self.list.iter().any(starts_here) {
            return false;
        }
        let mut upper = self.list[at].clone();
        let lower = &mut self.list[at];
        lower.range.upto = Some(key.clone());
        lower.rows = rows;
        upper.range.after = Some(key.clone());
        upper.rows = upper.rows.saturating_sub(rows);
        for half in [lower, &mut upper] {
            half.digest = RangeDigest::default();
            half.step = Step::Idle(Next::Begin, Millis(0));
        }
        self.list.insert(at + 1, upper);
        true
    }

    /// Joins neighbours that hold few rows; returns the bounds that are no more.
    pub(crate) fn join(&mut self, rows_max: u64, now: Millis) -> (Vec<RangeRecord>, Vec<Option<Key>>) {
        let (mut joined, mut gone) = (Vec::new(), Vec::new());
        let mut list: Vec<Range> = Vec::with_capacity(self.list.len());
        let mut grown = false;
        let quiet = |one: &Range| {
            matches!(one.step, Step::Idle(Next::Begin, _)) && one.verified.is_some() && !one.has_pending
        };
        for next in std::mem::take(&mut self.list) {
            match list.last_mut() {
                Some(last) if quiet(last) && quiet(&next) && last.rows + next.rows <= rows_max => {
                    gone.push(next.range.after.clone());
                    last.take_in(next);
                    grown = true;
                }
                Some(_) | None => {
                    if std::mem::take(&mut grown) {
                        joined.extend(list.last().map(|last| last.record(self.sweep, now)));
                    }
                    list.push(next);
                }
            }
        }
        if grown {
            joined.extend(list.last().map(|last| last.record(self.sweep, now)));
        }
        self.list = list;
        (joined, gone)
    }
}

impl Range {
    fn take_in(&mut self, next: Range) {
        self.range.upto = next.range.upto;
        self.rows += next.rows;
        self.digest.rows += next.digest.rows;
        self.digest.upper += next.digest.upper;
        self.digest.lower += next.digest.lower;
        self.verified = self.verified.min(next.verified);
        self.horizon = self.horizon.min(next.horizon);
        self.verified_when = self.verified_when.min(next.verified_when);
        self.pass = self.pass.min(next.pass);
    }
}
