//! What reads of ranges come to: verified, rows to be settled, rows to be read, or a cut.

use rustc_hash::FxHashMap;
use understudy_contract::{
    BlueRead, GreenRead, LedgerWrite, NotRead, RangeDigest, RowDigest, RowName, RowSeen, Sweep,
};
use understudy_model::{Key, RouteId, Xid};

use super::cases::Open;
use super::job::{Audit, Brought, Side, Task};
use super::ranges::{Moment, Next, Step, Verdict};
use super::route::rows_max;
use super::{InFlight, VerifyCore, full};
use crate::circumstances::Millis;

/// Rows of a range that are read at once. A larger one whose digests differ is cut first.
const ROWS_AT_ONCE: u64 = 50_000;

/// Rows of one range that are settled at the same time, at most.
const CANDIDATES_MAX: usize = 50_000;

/// Open mismatches from which on no more are looked for: further rows that differ leave their ranges unverified.
const OPEN_MAX: usize = 10_000;

/// One range in so many is read row by row although its digests agree.
const SAMPLE_ONE_IN: u64 = 50;

/// Pause before a range is read again of which not every row could be settled, or whose digest was wrong.
const AGAIN_MS: u64 = 10_000;

/// Pause before a range is read again that blue could not show in full yet.
const SHOWN_MS: u64 = 100;

/// The range that a job is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) route: RouteId,
    pub(crate) sweep: usize,
    /// It begins beyond this key.
    pub(crate) after: Option<Key>,
    pub(crate) next: Next,
}

/// What a reading of a range shows.
struct Reading {
    verdict: Option<Verdict>,
    /// Rows that differ.
    candidates: Vec<RowName>,
}

impl VerifyCore {
    /// The next cut or range of the routes in turn.
    pub(super) fn next_of_ranges(&mut self, worker: usize, now: Millis) -> Option<(About, Task)> {
        if !self.throttle.may_read(worker, now) {
            return None;
        }
        let pause_ms = u64::try_from(self.throttle.limits().pass_pause.as_millis()).unwrap_or(u64::MAX);
        for step in 0..self.routes.len() {
            let index = (self.turn + step) % self.routes.len();
            let id = self.routes[index].id();
            if !self.routes[index].may_read(now) || !self.mismatches.may_go_on(id) {
                continue;
            }
            let begun = self.routes[index].begin_pass(pause_ms, now);
            self.writes.extend(begun);
            if let Some(found) = self.next_of_route(index, now) {
                self.turn = index + 1;
                return Some(found);
            }
        }
        None
    }

    fn next_of_route(&mut self, index: usize, now: Millis) -> Option<(About, Task)> {
        let sizes = self.throttle.sizes();
        let route = &mut self.routes[index];
        let (id, keys) = (route.id(), route.plan.keys);
        if let Some(sweep) = route.next_cut(now) {
            let ranges = &mut route.sweeps[sweep];
            ranges.cutting = true;
            let (rows, after) = (rows_max(keys, ranges.sweep, sizes), ranges.end());
            let about = About { route: id, sweep, after: after.clone(), next: Next::Cut(rows) };
            return Some((about, Task::Boundary { side: side_of(ranges.sweep), after, rows }));
        }
        let (sweep, at, next) = route.next_range(now)?;
        let computed = route.is_computed();
        let ranges = &mut route.sweeps[sweep];
        let way = ranges.sweep;
        let range = &mut ranges.list[at];
        let most = rows_max(keys, way, sizes);
        let grown = next == Next::Begin && range.rows > most.saturating_mul(2);
        let next = if grown { Next::Cut(most) } else { next };
        range.step = Step::Reading(next);
        let about = About { route: id, sweep, after: range.range.after.clone(), next };
        let range = range.range.clone();
        let task = match (next, way) {
            (Next::Cut(rows), _) => Task::Boundary { side: side_of(way), after: range.after, rows },
            (_, Sweep::Blue) => Task::FromBlue(range),
            (_, Sweep::Green) => Task::FromGreen { range, thorough: computed },
            (Next::Begin, Sweep::Both) => Task::Digests(range),
            (Next::Rows, Sweep::Both) => Task::Both(range),
            (Next::Audit, Sweep::Both) => Task::Audit(range),
        };
        Some((about, task))
    }

    /// A range could not be read.
    pub(super) fn range_not_read(&mut self, about: &About, why: NotRead, now: Millis) {
        if let NotRead::TooSlow = why {
            self.throttle.too_slow();
        }
        let route = &mut self.routes[about.route.index()];
        let at = route
            .find(about.sweep, &about.after)
            .filter(|at| matches!(route.sweeps[about.sweep].list[*at].step, Step::Reading(_)));
        let ranges = &mut route.sweeps[about.sweep];
        let Some(range) = at.map(|at| &mut ranges.list[at]) else {
            ranges.cutting = false;
            if why != NotRead::TooSlow || self.throttle.is_least() {
                self.not_read(about.route, Some(about), why, now);
            }
            return;
        };
        let again = Step::Idle(Next::Begin, Millis(now.0 + SHOWN_MS));
        if let NotRead::Unreadable(_) = why {
            (range.verified, range.pass) = (None, 0);
        }
        range.step = match (&why, about.next) {
            (NotRead::TooSlow, Next::Cut(rows)) if rows > 1 => Step::Idle(Next::Cut(rows / 2), now),
            (NotRead::TooSlow, Next::Begin | Next::Rows | Next::Audit) => {
                let rows = if range.rows > 0 { range.rows } else { self.throttle.sizes().target };
                if rows > 1 { Step::Idle(Next::Cut(rows / 2), now) } else { again }
            }
            _ => again,
        };
        let can_be_cut = matches!(range.step, Step::Idle(Next::Cut(_), _));
        if !can_be_cut {
            self.not_read(about.route, Some(about), why, now);
        }
    }

    /// A range, or its end, has been read.
    pub(super) fn on_range(&mut self, job: &InFlight, about: &About, brought: Brought, now: Millis) {
        if let (Next::Cut(rows), Brought::Boundary(key)) = (about.next, &brought) {
            self.on_cut(about, rows, key.clone(), now);
            return;
        }
        let Some(at) = self.routes[about.route.index()].find(about.sweep, &about.after) else { return };
        match brought {
            Brought::Digests(blue, green) => self.on_digests(job, (about, at), (blue, green), now),
            Brought::Audit(audit) => self.on_audit(job, (about, at), *audit, now),
            Brought::Rows(blue, green) => {
                let reading = self.read_both(job, &blue, &green);
                let next = if reading.candidates.is_empty() { Some(Next::Audit) } else { None };
                self.on_reading((about, at), reading, next, now);
            }
            Brought::FromBlue(blue, green) => {
                let (verdict, rows) = (self.verdict(job, &blue, digest_of(&blue.value)), blue.value);
                let names = self.unequal(&rows, green.iter().flat_map(|read| &read.value));
                let reading = Reading { verdict, candidates: names };
                self.on_reading((about, at), reading, None, now);
            }
            Brought::FromGreen(green, blue) => {
                let names = self.unequal(&green.value, blue.iter().flat_map(|read| &read.value));
                let digest = digest_of(&green.value);
                let verdicts = blue.iter().map(|read| self.verdict(job, read, digest));
                let lowest = verdicts.reduce(|one, other| Some(earlier(one?, other?)));
                let checkpoint = green.moment.checkpoint.lsn();
                let verdict =
                    lowest.flatten().map(|verdict| Verdict { lsn: verdict.lsn.min(checkpoint), ..verdict });
                let reading = Reading { verdict, candidates: names };
                self.on_reading((about, at), reading, None, now);
            }
            Brought::Boundary(_) => {}
        }
    }

    fn on_cut(&mut self, about: &About, rows: u64, key: Option<Key>, now: Millis) {
        let route = &mut self.routes[about.route.index()];
        let at = route.find(about.sweep, &about.after);
        let ranges = &mut route.sweeps[about.sweep];
        let way = ranges.sweep;
        let Some(at) = at else {
            // A new range; a key that does not move on would never come to an end.
            ranges.cutting = false;
            let end = key.filter(|key| Some(key) != about.after.as_ref());
            let rows = if end.is_some() { rows } else { 0 };
            let record = ranges.push(end, rows).record(way, now);
            self.writes.push(LedgerWrite::Range(about.route, record));
            return;
        };
        let is_cut = key.is_some_and(|key| ranges.cut(at, &key, rows));
        if is_cut {
            let halves = ranges.list[at..at + 2].iter().map(|half| half.record(way, now));
            self.writes.extend(halves.map(|record| LedgerWrite::Range(about.route, record)));
        } else {
            // It holds fewer rows by now, or cannot be cut there: half as many will do, or it is read as it is.
            let range = &mut ranges.list[at];
            range.rows = if range.rows == 0 { rows } else { range.rows.min(rows) };
            range.step = Step::Idle(Next::Begin, now);
        }
    }

    fn on_digests(
        &mut self,
        job: &InFlight,
        (about, at): (&About, usize),
        (blue, green): (BlueRead<RangeDigest>, GreenRead<RangeDigest>),
        now: Millis,
    ) {
        self.count_rows(about.route, blue.value.rows, now);
        let rows = blue.value.rows.max(green.value.rows);
        if blue.value != green.value {
            let next = if rows > ROWS_AT_ONCE { Next::Cut(rows.div_ceil(2)) } else { Next::Rows };
            let range = &mut self.routes[about.route.index()].sweeps[about.sweep].list[at];
            range.rows = rows;
            range.step = Step::Idle(next, now);
            return;
        }
        let verdict = self.verdict(job, &blue, blue.value);
        // A digest that was wrong once is believed again only together with the rows.
        let was_wrong = self.routes[about.route.index()].sweeps[about.sweep].list[at].wrong;
        let sampled = was_wrong || (rows <= ROWS_AT_ONCE && self.dice.one_in(SAMPLE_ONE_IN));
        let reading = Reading { verdict, candidates: Vec::new() };
        self.on_reading((about, at), reading, sampled.then_some(Next::Audit), now);
    }

    fn on_audit(&mut self, job: &InFlight, (about, at): (&About, usize), audit: Audit, now: Millis) {
        let blue_wrong = is_wrong(&audit.blue_before.value, audit.blue_digest.value, &audit.blue_after.value);
        let green_wrong =
            is_wrong(&audit.green_before.value, audit.green_digest.value, &audit.green_after.value);
        let wrong = blue_wrong || green_wrong;
        if wrong {
            let route = &mut self.routes[about.route.index()];
            route.counts.wrong_digests += 1;
            let range = &mut route.sweeps[about.sweep].list[at];
            range.wrong = true;
            range.verified = None;
            range.step = Step::Idle(Next::Begin, Millis(now.0 + AGAIN_MS));
            let way = route.sweeps[about.sweep].sweep;
            let record = route.sweeps[about.sweep].list[at].record(way, now);
            self.write_now(LedgerWrite::Range(about.route, record));
        }
        let reading = self.read_both(job, &audit.blue_after, &audit.green_before);
        if wrong {
            let room = self.room().min(reading.candidates.len());
            self.open_cases(about, &reading.candidates[..room], (None, None), now);
        } else {
            self.on_reading((about, at), reading, None, now);
        }
    }

    fn read_both(
        &self,
        job: &InFlight,
        blue: &BlueRead<Vec<RowSeen>>,
        green: &GreenRead<Vec<RowSeen>>,
    ) -> Reading {
        let mut candidates = self.unequal(&blue.value, &green.value);
        candidates.extend(self.unequal(&green.value, &blue.value));
        candidates.sort_unstable();
        candidates.dedup_by(|one, other| one.green == other.green);
        let verdict = self.verdict(job, blue, digest_of(&blue.value));
        Reading { verdict, candidates }
    }

    /// What a range comes to if nothing of it differs; `None` when blue could not show everything that had been logged.
    fn verdict<T>(&self, job: &InFlight, blue: &BlueRead<T>, digest: RangeDigest) -> Option<Verdict> {
        let lsn = job.horizon.of(&blue.moment)?.min(blue.moment.lsn);
        Some(Verdict { lsn, horizon: blue.moment.snapshot.xmin(), digest, when: Moment::ago(0, job.given) })
    }

    /// Rows of one side that the other lacks, has otherwise, or has more than once.
    fn unequal<'r>(&self, rows: &[RowSeen], others: impl IntoIterator<Item = &'r RowSeen>) -> Vec<RowName> {
        let mut by_key: FxHashMap<&Key, Option<RowDigest>> = FxHashMap::default();
        for row in others {
            by_key.entry(&row.name.green).and_modify(|twice| *twice = None).or_insert(Some(row.digest));
        }
        let differs = |row: &&RowSeen| by_key.get(&row.name.green) != Some(&Some(row.digest));
        rows.iter().filter(differs).map(|row| row.name.clone()).collect()
    }

    /// A range has been read. Without rows that differ it is verified, or `quiet` is done first.
    fn on_reading(
        &mut self,
        (about, at): (&About, usize),
        reading: Reading,
        quiet: Option<Next>,
        now: Millis,
    ) {
        let Reading { verdict, candidates } = reading;
        let range = &mut self.routes[about.route.index()].sweeps[about.sweep].list[at];
        if let (Some(next), true) = (quiet, candidates.is_empty()) {
            range.step = Step::Idle(next, now);
            return;
        }
        let Some(verdict) = verdict else {
            range.step = Step::Idle(Next::Begin, Millis(now.0 + SHOWN_MS));
            return;
        };
        if !self.is_digested(about) {
            self.count_rows(about.route, verdict.digest.rows, now);
        }
        let room = self.room();
        self.tokens += 1;
        let token = self.tokens;
        let horizon = self.routes[about.route.index()].sweeps[about.sweep].list[at].horizon;
        let fits = candidates.len() <= room;
        let taken = &candidates[..candidates.len().min(room)];
        let owner = fits.then_some(token);
        let (open, pending) = self.open_cases(about, taken, (owner, horizon), now);
        let range = &mut self.routes[about.route.index()].sweeps[about.sweep].list[at];
        if !fits {
            range.rows = verdict.digest.rows;
            range.unexamined = (candidates.len() - taken.len()) as u64;
            range.step = Step::Idle(Next::Begin, Millis(now.0 + AGAIN_MS));
            return;
        }
        range.step = Step::Settling { token, open, pending, verdict };
        if open == 0 {
            self.range_settled(about.route, (about.sweep, at), true, now);
        }
    }

    fn is_digested(&self, about: &About) -> bool {
        self.routes[about.route.index()].sweeps[about.sweep].sweep == Sweep::Both
    }

    fn room(&self) -> usize {
        if self.mismatches.len() < OPEN_MAX { CANDIDATES_MAX.min(self.cases.room()) } else { 0 }
    }

    /// Rows that differ are settled one by one. Returns how many an owner waits for, and how many of them keep changing.
    /// Rows that are recorded already are counted on their own.
    fn open_cases(
        &mut self,
        about: &About,
        names: &[RowName],
        (owner, horizon): (Option<u64>, Option<Xid>),
        now: Millis,
    ) -> (u64, u64) {
        let keys = self.routes[about.route.index()].plan.keys;
        let (mut open, mut pending) = (0, 0);
        for name in names {
            let id = (about.route, name.green.clone());
            if let Some(mismatch) = self.mismatches.of_row(&id) {
                if self.mismatches.get(mismatch).is_some_and(|record| record.waived.is_some()) {
                    self.mismatches.recheck_at(mismatch, now);
                }
                continue;
            }
            let is_new = !self.cases.holds(&id);
            let case = self.cases.enter(id.clone(), Open::new(keys, full(keys, name.clone()), None));
            case.horizon = case.horizon.or(horizon);
            case.owners.extend(owner);
            if case.is_pending {
                pending += 1;
            } else {
                open += 1;
            }
            if is_new {
                self.cases.schedule(&id, now);
            }
        }
        (open, pending)
    }

    fn count_rows(&mut self, route: RouteId, rows: u64, now: Millis) {
        self.routes[route.index()].counts.rows_checked += rows;
        self.rate.push(now, rows);
    }
}

const fn side_of(sweep: Sweep) -> Side {
    match sweep {
        Sweep::Both | Sweep::Blue => Side::Blue,
        Sweep::Green => Side::Green,
    }
}

fn digest_of(rows: &[RowSeen]) -> RangeDigest {
    rows.iter().map(|row| row.digest).collect()
}

fn earlier(one: Verdict, other: Verdict) -> Verdict {
    Verdict { lsn: one.lsn.min(other.lsn), horizon: one.horizon.min(other.horizon), ..one }
}

/// Whether a digest is not what the rows add up to that were there before and after it without a change. One of more rows
/// tells nothing: others may have come and gone meanwhile.
fn is_wrong(before: &[RowSeen], digest: RangeDigest, after: &[RowSeen]) -> bool {
    let versions = |rows: &[RowSeen]| {
        let version = |row: &RowSeen| (row.name.green.clone(), (row.version.clone(), row.digest));
        rows.iter().map(version).collect::<FxHashMap<_, _>>()
    };
    let is_same = before.len() == after.len() && versions(before) == versions(after);
    is_same && digest.rows <= before.len() as u64 && digest_of(before) != digest
}
