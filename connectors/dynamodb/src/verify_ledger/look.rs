//! What people read of the ledger: mismatches, and how far passes are.

use std::collections::HashMap;

use understudy_contract::{
    Failure, KnownMismatch, MismatchId, MismatchKind, RangeRecord, Resolution, Sweep, TableProgress,
    WhichMismatches,
};
use understudy_model::{CivilDate, Lsn};

use super::claim::{pages, plan_in};
use super::forms::{
    ENDED, Kept, MISMATCH, RANGE, ROUTE, ended_of, mismatch_in, mismatch_of, range_in, route_in,
};
use super::{DynamoBooks, now_ms};
use crate::error::Error;
use crate::layout::Item;
use crate::state::{Fields, MIGRATION, OF, Reading};

/// A mismatch, as people are told of it.
fn known(kept: Kept, now_ms: u64) -> KnownMismatch {
    let Kept { record, source, target, times, resolved } = kept;
    let waived_at = rfc3339(times.waived.unwrap_or(times.found));
    let resolved = resolved.map(|(resolution, at_ms)| (resolution, rfc3339(at_ms)));
    let waived = record.waived.map(|waiver| (waiver.by, waiver.reason, waived_at.clone()));
    KnownMismatch {
        id: record.id,
        source,
        target,
        key: record.name.green,
        blue_key: record.name.blue,
        kind: record.kind,
        columns: record.columns,
        cause: record.cause,
        found_lsn: record.found_at,
        found_at: rfc3339(times.found),
        age_ms: now_ms.saturating_sub(times.found),
        by_stream: record.by_stream,
        repair_asked_at: times.repair_asked.map(rfc3339),
        resolved: resolved.or_else(|| waived.is_some().then_some((Resolution::Waived, waived_at))),
        waived,
    }
}

impl DynamoBooks {
    /// The mismatches of a migration, in the order in which they were found.
    pub async fn mismatches(&self, which: WhichMismatches) -> Result<Vec<KnownMismatch>, Failure> {
        let read = async {
            let (mut items, now_ms) = (self.items(MISMATCH).await?, now_ms());
            if which == WhichMismatches::All {
                items.extend(self.items(ENDED).await?);
            }
            let known = |item: &Item| Ok(known(self.kept(item)?, now_ms));
            let mut found = items.iter().map(known).collect::<Result<Vec<_>, Error>>()?;
            found.sort_by_key(|known| known.id);
            // One that is just being moved from those that stand to those that have ended is read twice.
            found.dedup_by_key(|known| known.id);
            Ok::<_, Error>(found)
        };
        read.await.map_err(unread)
    }

    /// One mismatch.
    pub async fn mismatch(&self, id: MismatchId) -> Result<Option<KnownMismatch>, Failure> {
        let key = |of: &str| Fields::default().text(MIGRATION, &self.state.migration).text(OF, of).0;
        for of in [mismatch_of(id), ended_of(id)] {
            let item = match self.calls.get(&self.state.table, key(&of)).await {
                Err(Error::NoTable { .. }) => return Ok(None),
                item => item.map_err(unread)?,
            };
            if let Some(item) = item {
                return Ok(Some(known(self.kept(&item).map_err(unread)?, now_ms())));
            }
        }
        Ok(None)
    }

    /// The time, as text that [`DynamoBooks::progress`] takes.
    pub fn time() -> String {
        now_ms().to_string()
    }

    /// How far every route is, and how much of it has been verified since a time of [`DynamoBooks::time`].
    pub async fn progress(&self, since: &str) -> Result<Vec<TableProgress>, Failure> {
        let (now_ms, since_ms) = (now_ms(), since.parse().unwrap_or(u64::MAX));
        let ranges = self.ranges(now_ms).await.map_err(unread)?;
        let standing = self.mismatches(WhichMismatches::Standing).await?;
        let mut found = Vec::new();
        for item in self.items(ROUTE).await.map_err(unread)? {
            let read = route_in(&item, now_ms).ok_or_else(|| self.unreadable("a route of verification"));
            let (known, pass, (source, target)) = read.map_err(unread)?;
            let own = ranges.get(&(known.number, known.plan)).map_or(&[][..], Vec::as_slice);
            let of_route = |one: &&KnownMismatch| (&one.source, &one.target) == (&source, &target);
            let (open, waived): (Vec<&KnownMismatch>, Vec<_>) =
                standing.iter().filter(of_route).partition(|one| one.is_open());
            let open =
                MismatchKind::ALL.map(|kind| open.iter().filter(|one| one.kind == kind).count() as u64);
            let counted = Counted::of(own, (pass.dirty_upto, now_ms.saturating_sub(since_ms)));
            let completed_anew = pass.completed_age_ms.is_some_and(|age| now_ms - age.min(now_ms) > since_ms);
            found.push(TableProgress {
                source,
                target,
                pass: pass.number,
                completed: pass.completed,
                completed_age_ms: pass.completed_age_ms,
                anew: completed_anew && counted.anew == own.len() as u64,
                ranges: own.len() as u64,
                ranges_anew: counted.anew,
                ranges_verified: counted.verified,
                rows: counted.rows,
                rows_verified: counted.rows_verified,
                rows_seen: counted.rows_seen,
                oldest_age_ms: counted.oldest_ms,
                open,
                waived: waived.len() as u64,
            });
        }
        Ok(found)
    }

    async fn ranges(&self, now_ms: u64) -> Result<HashMap<(u32, u64), Vec<RangeRecord>>, Error> {
        let mut ranges = HashMap::<_, Vec<_>>::new();
        for item in self.items(RANGE).await? {
            let plan = Reading(&item).text(OF).and_then(plan_in);
            let read = plan.zip(range_in(&item, now_ms));
            let (plan, range) = read.ok_or_else(|| self.unreadable("a range of verification"))?;
            ranges.entry(plan).or_default().push(range);
        }
        Ok(ranges)
    }

    /// Where there is no state table, nothing is known.
    async fn items(&self, beginning: &str) -> Result<Vec<Item>, Error> {
        match pages(&self.state, &self.calls, beginning).await {
            Err(Error::NoTable { .. }) => Ok(Vec::new()),
            items => items,
        }
    }

    fn kept(&self, item: &Item) -> Result<Kept, Error> {
        mismatch_in(item).ok_or_else(|| self.unreadable("a mismatch"))
    }

    fn unreadable(&self, what: &'static str) -> Error {
        Error::Unreadable { table: self.state.table.clone(), what }
    }
}

/// What the ranges of a route come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    anew: u64,
    verified: u64,
    rows: u64,
    rows_verified: u64,
    rows_seen: u64,
    oldest_ms: Option<u64>,
}

impl Counted {
    /// `dirty_upto` as of the route's passes, and how long ago the time was that is asked about.
    fn of(ranges: &[RangeRecord], (dirty_upto, since_age_ms): (Lsn, u64)) -> Counted {
        let mut counted = Counted::default();
        let ever = ranges.iter().all(|range| range.verified.is_some());
        for range in ranges {
            let counts = range.verified.is_some_and(|verified| verified >= dirty_upto);
            counted.anew += u64::from(range.verified.is_some() && range.age_ms < since_age_ms);
            counted.verified += u64::from(counts);
            counted.rows += if range.sweep == Sweep::Green { 0 } else { range.rows };
            counted.rows_verified += if counts { range.rows } else { 0 };
            counted.rows_seen += range.rows;
            counted.oldest_ms = counted.oldest_ms.max(Some(range.age_ms).filter(|_| ever));
        }
        counted
    }
}

fn unread(failure: impl Into<Failure>) -> Failure {
    failure.into().while_doing("read the ledger of verification on green")
}

/// Milliseconds since 1970 as a time of RFC 3339.
fn rfc3339(at_ms: u64) -> String {
    let (days, of_day_ms) = (at_ms / 86_400_000, at_ms % 86_400_000);
    let CivilDate { year, month, day } = CivilDate::from_unix_days(i64::try_from(days).unwrap_or(0));
    let (seconds, ms) = (of_day_ms / 1_000, of_day_ms % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use understudy_contract::{KeyRange, RangeDigest};

    use super::*;

    #[test]
    fn times_are_told_as_people_write_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_366_984_056), "2026-11-22T17:03:04.056Z");
    }

    /// A range that was verified before the last change that nobody followed does not count, and the age told is the oldest.
    #[test]
    fn only_ranges_that_count_are_counted() {
        let range = |sweep, verified: Option<u64>, age_ms| RangeRecord {
            sweep,
            range: KeyRange::default(),
            rows: 10,
            digest: RangeDigest::default(),
            verified: verified.map(Lsn::new),
            horizon: None,
            age_ms,
        };
        let ranges = [range(Sweep::Blue, Some(5), 40), range(Sweep::Green, Some(9), 20)];
        let counted = Counted::of(&ranges, (Lsn::new(7), 30));
        let wanted =
            Counted { anew: 1, verified: 1, rows: 10, rows_verified: 10, rows_seen: 20, oldest_ms: Some(40) };
        assert_eq!(counted, wanted);
        let never = [range(Sweep::Blue, None, 0), range(Sweep::Green, Some(9), 20)];
        assert_eq!(Counted::of(&never, (Lsn::ZERO, 30)).oldest_ms, None);
    }
}
