//! What reads of single rows come to: settled as equal, recorded as a mismatch, or read again.

use rustc_hash::FxHashMap;
use understudy_contract::{
    Awaits, BlueRead, Cause, ComparedRoute, Detail, GreenRead, LedgerWrite, MismatchId, MismatchKind,
    MismatchRecord, Resolution, RowName, RowSeen,
};
use understudy_model::{Key, Lsn, RouteId, Xid};

use super::cases::{ATTEMPTS_MAX, Open, RowId, Together};
use super::mismatches::digest_text;
use super::ranges::{Next, Step};
use super::{Explain, InFlight, VerifyCore};
use crate::cause::{Evidence, classify};
use crate::circumstances::Millis;
use crate::settle::{Difference, Ruling, Sight};

/// Pause before a row is read again because blue could not show every change that it is checked for.
const SHOWN_MS: u64 = 50;

/// Differences that wait to be explained, at most.
const EXPLAINS_MAX: usize = 100;

/// Mismatches from which on none is recorded any more: further rows that differ leave their tables unverified.
const RECORDED_MAX: usize = 20_000;

/// For how long a row of a table with partitions must have differed. A partition that was attached or detached on blue
/// brings its rows there at once, and is noticed a moment later: from then on the table waits until it is copied.
const ATTACH_NOTICED_MS: u64 = 5_000;

/// What replication makes of a row of blue, as far as it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said<'e> {
    /// These values.
    This(&'e [Option<Box<str>>]),
    /// Nothing: it was not asked, or has no answer.
    Nothing,
    /// It is asked when it has fewer rows to tell of.
    Later,
}

/// The rows with one key, as one side has them.
type ByKey = FxHashMap<Key, (RowSeen, bool)>;

impl VerifyCore {
    /// Opens cases for mismatches that are to be looked at again.
    pub(super) fn recheck(&mut self, now: Millis) {
        for id in self.mismatches.take_due(now) {
            let Some(record) = self.mismatches.get(id) else { continue };
            let row = (record.route, record.name.green.clone());
            let Some(keys) = self.route(record.route).map(|route| route.plan.keys) else { continue };
            if !self.cases.holds(&row) {
                let open = Open::new(keys, record.name.clone(), Some(id));
                self.cases.enter(row.clone(), open);
                self.cases.schedule(&row, now);
            }
        }
    }

    /// Rows under their names have been read.
    pub(super) fn on_names(
        &mut self,
        job: &InFlight,
        together: &Together,
        (blue, green): (BlueRead<Vec<RowSeen>>, GreenRead<Vec<RowSeen>>),
        now: Millis,
    ) {
        let computed = self.routes[together.route.index()].is_computed();
        // Blue's log up to here was visible in full: equality covers no change beyond.
        let covered = job.horizon.of(&blue.moment).map(|upto| upto.min(blue.moment.lsn));
        let (mut blue_rows, mut green_rows) = (by_key(blue.value), by_key(green.value));
        let mut awaited: FxHashMap<Key, Awaits> =
            green.awaited.into_iter().map(|awaited| (awaited.key, awaited.why)).collect();
        for name in &together.names {
            let (on_blue, on_green) = (blue_rows.remove(&name.green), green_rows.remove(&name.green));
            let is_twice = |side: &Option<(RowSeen, bool)>| side.as_ref().is_some_and(|(_, twice)| *twice);
            let sight = Sight {
                ambiguous: is_twice(&on_blue) || is_twice(&on_green),
                blue: blue.moment.clone(),
                green: green.moment.clone(),
                on_blue: on_blue.map(|(row, _)| row),
                on_green: on_green.map(|(row, _)| row),
                awaited: awaited.remove(&name.green),
                thorough: together.thorough || !computed,
            };
            self.on_sight(&(together.route, name.green.clone()), sight, covered, now);
        }
    }

    fn on_sight(&mut self, id: &RowId, sight: Sight, covered: Option<Lsn>, now: Millis) {
        let route = &self.routes[id.0.index()];
        let Some(open) = self.cases.get_mut(id) else { return };
        open.reads = open.reads.saturating_add(1);
        if let Some(blue) = sight.on_blue.as_ref().and_then(|row| row.name.blue.as_ref()) {
            open.name.blue = Some(blue.clone());
        }
        let snapshot_end = sight.blue.snapshot.xmax();
        match open.case.see(sight, &route.plan.columns) {
            Ruling::Equal { .. } => {
                if open.changed.as_ref().is_none_or(|noted| covered >= Some(noted.last)) {
                    self.settled(id, true, now);
                } else {
                    open.anew(route.plan.keys);
                    self.cases.schedule(id, Millis(now.0 + SHOWN_MS));
                }
            }
            Ruling::Again { thorough } => {
                open.detail = Detail::Digests;
                open.thorough = thorough || (route.is_computed() && open.name.blue.is_none());
                self.unsettled(id, now);
            }
            Ruling::Confirm => {
                open.detail = Detail::Values;
                open.unequal.get_or_insert(now);
                self.cases.schedule(id, now);
            }
            Ruling::Differs(difference) => {
                let since = *open.unequal.get_or_insert(now);
                let noticed = Millis(since.0 + ATTACH_NOTICED_MS);
                if has_partitions(&route.plan) && now < noticed && open.mismatch.is_none() {
                    self.cases.schedule(id, noticed);
                } else {
                    self.differs(id, difference, snapshot_end, now);
                }
            }
        }
    }

    /// A row is read again later.
    fn unsettled(&mut self, id: &RowId, now: Millis) {
        let Some(open) = self.cases.get_mut(id) else { return };
        open.unequal.get_or_insert(now);
        let from = open.next_read(now);
        let turns_pending = open.reads >= ATTEMPTS_MAX && !open.is_pending;
        if open.reads >= ATTEMPTS_MAX {
            self.mismatches.was_looked_at(id);
        }
        if turns_pending {
            open.is_pending = true;
            let owners = open.owners.clone();
            self.owners_hear(id.0, &owners, |open, pending| (open - 1, pending + 1), now);
        }
        self.cases.schedule(id, from);
    }

    /// A row was seen equal, or is recorded.
    pub(super) fn settled(&mut self, id: &RowId, equal: bool, now: Millis) {
        let Some(open) = self.cases.remove(id) else { return };
        self.mismatches.was_looked_at(id);
        if let Some(noted) = &open.changed {
            self.ages.push(now, now.since(noted.since));
            self.routes[id.0.index()].counts.changes_checked += 1;
        }
        if equal && let Some(mismatch) = self.mismatches.of_row(id) {
            let repaired = self.mismatches.get(mismatch).is_some_and(|record| record.repair_asked);
            self.resolve(mismatch, if repaired { Resolution::Repaired } else { Resolution::Converged });
        }
        let was_pending = open.is_pending;
        let leave = |open: u64, pending: u64| {
            if was_pending { (open, pending.saturating_sub(1)) } else { (open.saturating_sub(1), pending) }
        };
        self.owners_hear(id.0, &open.owners, leave, now);
    }

    /// A mismatch has come to an end.
    pub(super) fn resolve(&mut self, id: MismatchId, how: Resolution) {
        if let Some(record) = self.mismatches.remove(id) {
            self.routes[record.route.index()].counts.count(how);
            self.write_now(LedgerWrite::Resolved(id, how));
        }
    }

    /// Readings of ranges that wait for a row hear that it is not what it was to them.
    fn owners_hear(
        &mut self,
        route: RouteId,
        owners: &[u64],
        change: impl Fn(u64, u64) -> (u64, u64),
        now: Millis,
    ) {
        for owner in owners {
            let place =
                self.routes[route.index()].sweeps.iter_mut().enumerate().find_map(|(sweep, ranges)| {
                    let at = ranges.list.iter().position(
                        |range| matches!(range.step, Step::Settling { token, .. } if token == *owner),
                    )?;
                    Some((sweep, at))
                });
            let Some((sweep, at)) = place else { continue };
            let range = &mut self.routes[route.index()].sweeps[sweep].list[at];
            if let Step::Settling { open, pending, .. } = &mut range.step {
                let before = *open;
                (*open, *pending) = change(*open, *pending);
                let (first, nothing_left) = (before > 0 && *open == 0, *open == 0 && *pending == 0);
                if first || nothing_left {
                    self.range_settled(route, (sweep, at), first, now);
                }
            }
        }
    }

    /// No row of a range is left of which nothing is known: it counts, and is kept as verified once none is pending.
    pub(super) fn range_settled(
        &mut self,
        route: RouteId,
        (sweep, at): (usize, usize),
        first: bool,
        now: Millis,
    ) {
        let of = &mut self.routes[route.index()];
        let (number, way) = (of.pass.number, of.sweeps[sweep].sweep);
        let range = &mut of.sweeps[sweep].list[at];
        let Step::Settling { pending, verdict, .. } = range.step else { return };
        if first {
            range.verify(verdict, number);
        }
        range.has_pending = pending > 0;
        if pending == 0 {
            range.step = Step::Idle(Next::Begin, now);
        }
        let record = range.record(way, now);
        self.writes.push(LedgerWrite::Range(route, record));
        let sizes = self.throttle.sizes();
        let ended = self.routes[route.index()].end_pass(sizes, now);
        self.writes.extend(ended);
    }

    fn differs(&mut self, id: &RowId, difference: Box<Difference>, snapshot_end: Xid, now: Millis) {
        let known = self.mismatches.of_row(id).and_then(|id| self.mismatches.get(id));
        // One that differs in another way than it was explained for is explained anew.
        let digests = (digest_text(&difference.on_blue), digest_text(&difference.on_green));
        let is_told =
            known.is_some_and(|known| known.digests == digests && !self.mismatches.is_unexplained(known.id));
        let Some(open) = self.cases.get_mut(id) else { return };
        let blue =
            difference.on_blue.as_ref().and_then(|row| row.name.blue.clone()).or(open.name.blue.clone());
        open.unchanged = unchanged(&difference, open.horizon, snapshot_end);
        let worth = !is_told && difference.kind == MismatchKind::Differs && difference.awaited.is_none();
        match blue.filter(|_| worth) {
            Some(blue) if self.explains.len() < EXPLAINS_MAX => {
                open.difference = Some(difference);
                self.explains.push_back(Explain { route: id.0, green: id.1.clone(), blue });
            }
            Some(_) => self.record(id, &difference, Said::Later, now),
            None => self.record(id, &difference, Said::Nothing, now),
        }
    }

    /// Differences that were recorded before they could be explained are looked at again, some at a time.
    pub(super) fn explain_more(&mut self, now: Millis) {
        let room = EXPLAINS_MAX.saturating_sub(self.explains.len());
        for id in self.mismatches.unexplained(room) {
            self.mismatches.recheck_at(id, now);
        }
    }

    /// What replication makes of a row of blue is known, or that it cannot be.
    pub fn on_explained(&mut self, explain: &Explain, evaluated: Option<&[Option<Box<str>>]>, now: Millis) {
        let id = (explain.route, explain.green.clone());
        if let Some(difference) = self.cases.get_mut(&id).and_then(|open| open.difference.take()) {
            self.record(&id, &difference, evaluated.map_or(Said::Nothing, Said::This), now);
        }
    }

    /// A difference is recorded, or an earlier record of the row is brought up to date.
    fn record(&mut self, id: &RowId, difference: &Difference, said: Said<'_>, now: Millis) {
        let Some(open) = self.cases.get_mut(id) else { return };
        let (name, unchanged) = (open.name.clone(), open.unchanged);
        let known = self.mismatches.of_row(id);
        let digests = (digest_text(&difference.on_blue), digest_text(&difference.on_green));
        let evidence = Evidence {
            columns: &self.routes[id.0.index()].plan.columns,
            difference,
            blue_unchanged_since_verified: unchanged,
            evaluated: if let Said::This(values) = said { Some(values) } else { None },
            large: self.large.get(&id.0).map_or(&[], Vec::as_slice),
        };
        let cause = match classify(&evidence) {
            // What is left when the mapping is not to blame, which is not known yet.
            Cause::MissedEvent if said == Said::Later => Cause::Unknown,
            cause => cause,
        };
        let (kind, columns) = (difference.kind, difference.columns.clone());
        match known.and_then(|known| self.mismatches.get(known)).cloned() {
            Some(before) => self.seen_again(before, (kind, columns, cause), digests, name),
            None if self.mismatches.len() >= RECORDED_MAX => {
                let beyond = Lsn::new(difference.at.raw().saturating_add(1));
                self.mark_dirty(id.0.index(), beyond, now);
            }
            None => {
                let mismatch = self.mismatches.next_id();
                let found_at = difference.at;
                let record = MismatchRecord {
                    id: mismatch,
                    route: id.0,
                    name,
                    kind,
                    columns,
                    cause,
                    digests,
                    found_at,
                    by_stream: false,
                    repair_asked: false,
                    waived: None,
                };
                self.found(record);
            }
        }
        if let Some(mismatch) = self.mismatches.of_row(id) {
            self.mismatches.explain_later(mismatch, said == Said::Later);
            self.mismatches.recheck_later(mismatch, now);
        }
        self.settled(id, false, now);
    }

    /// A mismatch is new.
    pub(super) fn found(&mut self, record: MismatchRecord) {
        let at = MismatchKind::ALL.iter().position(|kind| *kind == record.kind).unwrap_or_default();
        self.routes[record.route.index()].counts.found[at] += 1;
        self.mismatches.put(record.clone());
        self.write_now(LedgerWrite::Mismatch(record));
    }

    fn seen_again(
        &mut self,
        before: MismatchRecord,
        (kind, columns, cause): (MismatchKind, Vec<String>, Cause),
        digests: (String, String),
        name: RowName,
    ) {
        let mut record = before.clone();
        // What was found with more evidence stays, as long as the row differs in the same way.
        if before.digests != digests || before.kind != kind || before.columns != columns {
            (record.kind, record.columns, record.cause) = (kind, columns, cause);
            record.digests = digests;
            record.waived = None;
        } else if before.cause == Cause::Unknown {
            record.cause = cause;
        }
        record.name.blue = name.blue.or(record.name.blue);
        if record != before {
            self.mismatches.put(record.clone());
            self.write_now(LedgerWrite::Mismatch(record));
        }
    }

    /// Rows could not be read.
    pub(super) fn names_again(&mut self, together: &Together, from: Millis) {
        for name in &together.names {
            self.cases.schedule(&(together.route, name.green.clone()), from);
        }
    }
}

/// Whether blue's rows may lie in partitions.
fn has_partitions(plan: &ComparedRoute) -> bool {
    !plan.blue.from.starts_with("ONLY ")
}

/// Whether blue's row was written by a transaction below the horizon of its last verification; `None` when not known.
fn unchanged(difference: &Difference, horizon: Option<Xid>, snapshot_end: Xid) -> Option<bool> {
    let version = difference.on_blue.as_ref().and_then(|row| row.version.as_ref())?;
    Some(Xid::widen(version.xid, snapshot_end) < horizon?)
}

/// Rows by their keys on green, and whether there is more than one.
fn by_key(rows: Vec<RowSeen>) -> ByKey {
    let mut map = ByKey::default();
    for row in rows {
        let key = row.name.green.clone();
        map.entry(key).and_modify(|(_, twice)| *twice = true).or_insert((row, false));
    }
    map
}
