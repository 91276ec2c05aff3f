//! Writing: what a call holds is folded to what comes of it, and committed as one transaction of a few statements.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use understudy_contract::{
    Class, ComparedRoute, Failure, LedgerWrite, MismatchId, MismatchRecord, PassRecord, RangeRecord,
    Resolution, Sweep,
};
use understudy_model::{Key, Lsn, RouteId};

use super::Held;
use super::claim::{ended, names};
use super::texts::{List, bound, key, list, sweep};
use crate::wire::Client;

/// How many rows one statement writes.
const ROWS_AT_ONCE: usize = 5_000;

/// What comes of the entries of one call: of several about the same thing, the last one counts.
#[derive(Default)]
struct Folded<'a> {
    plans: BTreeMap<RouteId, &'a str>,
    passes: BTreeMap<RouteId, &'a PassRecord>,
    /// `None`: it is no more.
    ranges: HashMap<(RouteId, Sweep, Option<&'a Key>), Option<&'a RangeRecord>>,
    changed_upto: Option<Lsn>,
    mismatches: BTreeMap<MismatchId, &'a MismatchRecord>,
    /// Written after the mismatches.
    resolved: BTreeMap<MismatchId, Resolution>,
    answers: BTreeMap<u64, &'a str>,
}

impl<'a> Folded<'a> {
    fn of(entries: &'a [LedgerWrite]) -> Folded<'a> {
        let mut folded = Folded::default();
        for entry in entries {
            match entry {
                LedgerWrite::Plan { route, fingerprint } => {
                    folded.plans.insert(*route, fingerprint);
                    folded.passes.remove(route);
                    folded.ranges.retain(|(of, ..), _| of != route);
                }
                LedgerWrite::Range(route, range) => {
                    let place = (*route, range.sweep, range.range.after.as_ref());
                    folded.ranges.insert(place, Some(range));
                }
                LedgerWrite::Forget(route, sweep, after) => {
                    folded.ranges.insert((*route, *sweep, after.as_ref()), None);
                }
                LedgerWrite::Pass(route, pass) => {
                    folded.passes.insert(*route, pass);
                }
                LedgerWrite::ChangedUpto(lsn) => folded.changed_upto = Some(*lsn),
                LedgerWrite::Mismatch(record) => {
                    folded.mismatches.insert(record.id, record);
                    folded.resolved.remove(&record.id);
                }
                LedgerWrite::Resolved(id, resolution) => {
                    folded.resolved.insert(*id, *resolution);
                }
                LedgerWrite::Answered(request, answer) => {
                    folded.answers.insert(*request, answer);
                }
            }
        }
        folded
    }
}

/// The transaction that is under way.
struct Writing<'a> {
    client: &'a mut Client,
    migration: &'a str,
    routes: &'a [ComparedRoute],
}

/// Writes all entries, or none.
pub(super) async fn write(
    client: &mut Client,
    (migration, routes): (&str, &[ComparedRoute]),
    held: &mut Held,
    entries: &[LedgerWrite],
) -> Result<(), Failure> {
    let folded = Folded::of(entries);
    client.batch("BEGIN; SET LOCAL synchronous_commit = on").await?;
    let mut writing = Writing { client, migration, routes };
    writing.state(&folded, held.surprises_upto).await?;
    writing.plan(&folded, held).await?;
    writing.forget_ranges(&folded, held).await?;
    writing.ranges(&folded, held).await?;
    writing.passes(&folded, held).await?;
    writing.mismatches(&folded).await?;
    writing.resolve(&folded).await?;
    writing.answer(&folded).await?;
    writing.client.batch("COMMIT").await?;
    folded.answers.keys().for_each(|request| {
        held.told.remove(request);
    });
    Ok(())
}

impl Writing<'_> {
    /// The migration's own row comes first: it is gone once the migration has been ended, and then nothing is written.
    async fn state(&mut self, folded: &Folded<'_>, surprises_upto: i64) -> Result<(), Failure> {
        let sql = "UPDATE understudy.verify_state SET changed_upto = coalesce($2, changed_upto), \
            last_mismatch = greatest(last_mismatch, $3), surprises_upto = greatest(surprises_upto, $4) WHERE migration = $1";
        let changed = folded.changed_upto.map(|lsn| lsn.to_string());
        let last = folded.mismatches.keys().next_back().map_or(0, |id| id.0).to_string();
        let surprises = surprises_upto.to_string();
        let params = [Some(self.migration), changed.as_deref(), Some(&last), Some(&surprises)];
        if self.client.execute_with(sql, &params).await? == 1 { Ok(()) } else { Err(ended()) }
    }

    async fn run(&mut self, sql: &str, params: &[Cow<'_, str>]) -> Result<u64, Failure> {
        let mut all = vec![Some(self.migration)];
        all.extend(params.iter().map(|param| Some(param.as_ref())));
        self.client.execute_with(sql, &all).await
    }

    fn route(&self, route: RouteId) -> Result<&ComparedRoute, Failure> {
        self.routes.iter().find(|one| one.route == route).ok_or_else(|| {
            Failure::new(Class::Internal, "an entry of the ledger is about a route that is not compared")
        })
    }

    async fn plan(&mut self, folded: &Folded<'_>, held: &mut Held) -> Result<(), Failure> {
        for (route, fingerprint) in &folded.plans {
            let known = held.numbers.get(route).copied();
            let number = known.unwrap_or(held.next);
            held.next = held.next.max(number + 1);
            held.numbers.insert(*route, number);
            let number = number.to_string();
            let mut params = vec![Cow::from(&number)];
            params.extend(names(self.route(*route)?).map(|name| Cow::Owned(name.to_owned())));
            params.push(Cow::from(*fingerprint));
            let sql = "INSERT INTO understudy.verify_routes AS known \
                (migration, route, source_schema, source_name, target_schema, target_name, fingerprint) \
                VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (migration, route) DO UPDATE SET \
                fingerprint = excluded.fingerprint, pass = 0, completed = 0, completed_at = NULL, dirty_upto = '0/0'";
            self.run(sql, &params).await?;
            let sql = "DELETE FROM understudy.verify_ranges WHERE migration = $1 AND route = $2";
            self.run(sql, &[Cow::from(&number)]).await?;
        }
        Ok(())
    }

    async fn forget_ranges(&mut self, folded: &Folded<'_>, held: &Held) -> Result<(), Failure> {
        let gone = folded.ranges.iter().filter(|(_, range)| range.is_none()).map(|(place, _)| *place);
        for some in gone.collect::<Vec<_>>().chunks(ROWS_AT_ONCE) {
            let (mut numbers, mut sweeps, mut bounds) = (List::new(), List::new(), List::new());
            for (route, of, after) in some {
                numbers.push(Some(&held.number(*route)?));
                sweeps.push(Some(sweep(*of)));
                bounds.push(Some(&bound(*after)));
            }
            let sql = "DELETE FROM understudy.verify_ranges AS r USING \
                unnest($2::integer[], $3::text[], $4::uuid[]) AS gone (route, sweep, bound) WHERE r.migration = $1 \
                AND r.route = gone.route AND r.sweep = gone.sweep AND r.bound = gone.bound";
            self.run(sql, &[numbers, sweeps, bounds].map(|list| Cow::Owned(list.finish()))).await?;
        }
        Ok(())
    }

    async fn ranges(&mut self, folded: &Folded<'_>, held: &Held) -> Result<(), Failure> {
        let kept = folded.ranges.iter().filter_map(|((route, ..), range)| Some((*route, (*range)?)));
        let sql = "INSERT INTO understudy.verify_ranges AS known (migration, route, sweep, bound, after, upto, rows, \
            digest_rows, digest_upper, digest_lower, verified, horizon, verified_at) \
            SELECT $1, new.route, new.sweep, new.bound, new.after::text[], new.upto::text[], new.rows, new.digest_rows, \
            new.upper, new.lower, new.verified, new.horizon, \
            CASE WHEN new.verified IS NOT NULL THEN now() - new.age * interval '1 millisecond' END \
            FROM unnest($2::integer[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], \
            $9::numeric[], $10::numeric[], $11::pg_lsn[], $12::bigint[], $13::bigint[]) AS new (route, sweep, bound, after, \
            upto, rows, digest_rows, upper, lower, verified, horizon, age) \
            ON CONFLICT (migration, route, sweep, bound) DO UPDATE SET upto = excluded.upto, rows = excluded.rows, \
            digest_rows = excluded.digest_rows, digest_upper = excluded.digest_upper, \
            digest_lower = excluded.digest_lower, verified = excluded.verified, horizon = excluded.horizon, \
            verified_at = excluded.verified_at";
        for some in kept.collect::<Vec<_>>().chunks(ROWS_AT_ONCE) {
            let mut columns: [List; 12] = std::array::from_fn(|_| List::new());
            for (route, range) in some {
                let texts = range_texts(&held.number(*route)?, range);
                columns.iter_mut().zip(&texts).for_each(|(column, text)| column.push(text.as_deref()));
            }
            self.run(sql, &columns.map(|column| Cow::Owned(column.finish()))).await?;
        }
        Ok(())
    }

    async fn passes(&mut self, folded: &Folded<'_>, held: &Held) -> Result<(), Failure> {
        if folded.passes.is_empty() {
            return Ok(());
        }
        let mut columns: [List; 5] = std::array::from_fn(|_| List::new());
        for (route, pass) in &folded.passes {
            let texts = [
                Some(held.number(*route)?),
                Some(pass.number.to_string()),
                Some(pass.completed.to_string()),
                pass.completed_age_ms.map(|age| age.to_string()),
                Some(pass.dirty_upto.to_string()),
            ];
            columns.iter_mut().zip(&texts).for_each(|(column, text)| column.push(text.as_deref()));
        }
        let sql = "UPDATE understudy.verify_routes AS r SET pass = new.pass, completed = new.completed, \
            completed_at = now() - new.age * interval '1 millisecond', dirty_upto = new.dirty_upto \
            FROM unnest($2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::pg_lsn[]) \
            AS new (route, pass, completed, age, dirty_upto) WHERE r.migration = $1 AND r.route = new.route";
        self.run(sql, &columns.map(|column| Cow::Owned(column.finish()))).await.map(drop)
    }

    async fn mismatches(&mut self, folded: &Folded<'_>) -> Result<(), Failure> {
        let sql = "INSERT INTO understudy.verify_mismatches AS known (migration, id, source_schema, source_name, \
            target_schema, target_name, key, blue_key, kind, columns, cause, blue_digest, green_digest, found_lsn, by_stream, \
            repair_asked_at, waived_by, waived_reason, waived_at, resolution, resolved_at) \
            SELECT $1, n.id, n.source_schema, n.source_name, n.target_schema, n.target_name, n.key::text[], \
            n.blue_key::text[], n.kind, n.columns::text[], n.cause, n.blue_digest, n.green_digest, n.found_lsn, n.by_stream, \
            CASE WHEN n.repair_asked THEN now() END, n.waived_by, n.waived_reason, \
            CASE WHEN n.waived_by IS NOT NULL THEN now() END, CASE WHEN n.waived_by IS NOT NULL THEN 'waived' END, \
            CASE WHEN n.waived_by IS NOT NULL THEN now() END \
            FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], \
            $10::text[], $11::text[], $12::text[], $13::text[], $14::pg_lsn[], $15::boolean[], $16::boolean[], $17::text[], \
            $18::text[]) AS n (id, source_schema, source_name, target_schema, target_name, key, blue_key, kind, columns, \
            cause, blue_digest, green_digest, found_lsn, by_stream, repair_asked, waived_by, waived_reason) \
            ON CONFLICT (migration, id) DO UPDATE SET key = excluded.key, blue_key = excluded.blue_key, \
            kind = excluded.kind, columns = excluded.columns, cause = excluded.cause, \
            blue_digest = excluded.blue_digest, green_digest = excluded.green_digest, \
            found_lsn = excluded.found_lsn, by_stream = excluded.by_stream, repair_asked_at = \
            CASE WHEN excluded.repair_asked_at IS NOT NULL THEN coalesce(known.repair_asked_at, now()) END, \
            waived_by = excluded.waived_by, waived_reason = excluded.waived_reason, waived_at = \
            CASE WHEN excluded.waived_by IS NOT NULL THEN coalesce(known.waived_at, now()) END, \
            resolution = excluded.resolution, resolved_at = \
            CASE WHEN excluded.waived_by IS NOT NULL THEN coalesce(known.waived_at, now()) END";
        let records = folded.mismatches.values().collect::<Vec<_>>();
        for some in records.chunks(ROWS_AT_ONCE) {
            let mut columns: [List; 17] = std::array::from_fn(|_| List::new());
            for record in some {
                let texts = mismatch_texts(names(self.route(record.route)?), record);
                columns.iter_mut().zip(&texts).for_each(|(column, text)| column.push(text.as_deref()));
            }
            self.run(sql, &columns.map(|column| Cow::Owned(column.finish()))).await?;
        }
        Ok(())
    }

    async fn resolve(&mut self, folded: &Folded<'_>) -> Result<(), Failure> {
        if folded.resolved.is_empty() {
            return Ok(());
        }
        let sql = "UPDATE understudy.verify_mismatches AS m SET resolution = n.resolution, resolved_at = now() \
            FROM unnest($2::bigint[], $3::text[]) AS n (id, resolution) WHERE m.migration = $1 AND m.id = n.id";
        let ids = list(folded.resolved.keys().map(MismatchId::to_string));
        let resolutions = list(folded.resolved.values().map(|resolution| resolution.as_str()));
        self.run(sql, &[Cow::from(ids), Cow::from(resolutions)]).await.map(drop)
    }

    async fn answer(&mut self, folded: &Folded<'_>) -> Result<(), Failure> {
        if folded.answers.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO understudy.answers (request, migration, answer) SELECT r.id, $1, n.answer \
            FROM unnest($2::bigint[], $3::text[]) AS n (request, answer) \
            JOIN understudy.requests AS r ON r.migration = $1 AND r.id = n.request \
            ON CONFLICT (request) DO UPDATE SET answer = excluded.answer, answered_at = excluded.answered_at";
        let ids = list(folded.answers.keys().map(u64::to_string));
        self.run(sql, &[Cow::from(ids), Cow::from(list(folded.answers.values()))]).await.map(drop)
    }
}

impl Held {
    /// The number of a route, as text.
    fn number(&self, route: RouteId) -> Result<String, Failure> {
        let number = self.numbers.get(&route).ok_or_else(|| {
            Failure::new(Class::Internal, "an entry of the ledger is about a route that is not planned")
        })?;
        Ok(number.to_string())
    }
}

fn range_texts(number: &str, range: &RangeRecord) -> [Option<String>; 12] {
    let bounds = &range.range;
    [
        Some(number.to_owned()),
        Some(sweep(range.sweep).to_owned()),
        Some(bound(bounds.after.as_ref()).into_owned()),
        bounds.after.as_ref().map(key),
        bounds.upto.as_ref().map(key),
        Some(range.rows.to_string()),
        Some(range.digest.rows.to_string()),
        Some(range.digest.upper.to_string()),
        Some(range.digest.lower.to_string()),
        range.verified.map(|lsn| lsn.to_string()),
        range.horizon.map(|xid| xid.raw().to_string()),
        Some(range.age_ms.to_string()),
    ]
}

fn mismatch_texts(
    [schema, source, green, target]: [&str; 4],
    record: &MismatchRecord,
) -> [Option<String>; 17] {
    let text = |text: &str| Some(text.to_owned());
    let waived = record.waived.as_ref();
    [
        Some(record.id.to_string()),
        text(schema),
        text(source),
        text(green),
        text(target),
        Some(key(&record.name.green)),
        record.name.blue.as_ref().map(key),
        text(record.kind.as_str()),
        Some(list(&record.columns)),
        text(record.cause.as_str()),
        text(&record.digests.0),
        text(&record.digests.1),
        Some(record.found_at.to_string()),
        Some(record.by_stream.to_string()),
        Some(record.repair_asked.to_string()),
        waived.map(|waiver| waiver.by.clone()),
        waived.map(|waiver| waiver.reason.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use understudy_contract::{KeyRange, RangeDigest};

    use super::*;

    fn range(after: Option<&Key>, rows: u64) -> RangeRecord {
        RangeRecord {
            sweep: Sweep::Both,
            range: KeyRange { after: after.cloned(), upto: None },
            rows,
            digest: RangeDigest::default(),
            verified: None,
            horizon: None,
            age_ms: 0,
        }
    }

    /// One statement cannot write a row twice, and an older entry must not win over a newer one.
    #[test]
    fn of_several_entries_about_one_thing_the_last_one_counts() {
        let (route, key) = (RouteId(0), Key::from_texts([&b"7"[..]]));
        let entries = [
            LedgerWrite::Range(route, range(None, 1)),
            LedgerWrite::Plan { route, fingerprint: "f".to_owned() },
            LedgerWrite::Range(route, range(Some(&key), 2)),
            LedgerWrite::Range(route, range(Some(&key), 3)),
            LedgerWrite::Range(RouteId(1), range(None, 4)),
            LedgerWrite::Forget(RouteId(1), Sweep::Both, None),
            LedgerWrite::Answered(9, "yes".to_owned()),
        ];
        let folded = Folded::of(&entries);
        let rows =
            |route, after| folded.ranges.get(&(route, Sweep::Both, after)).map(|range| range.map(|r| r.rows));
        assert_eq!(rows(route, None), None, "a plan forgets what was written before");
        assert_eq!(rows(route, Some(&key)), Some(Some(3)));
        assert_eq!(rows(RouteId(1), None), Some(None));
        assert_eq!((folded.plans.len(), folded.answers.len()), (1, 1));
    }
}
