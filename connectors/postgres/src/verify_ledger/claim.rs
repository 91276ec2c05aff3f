//! Taking the ledger: one verifier at a time, and everything that it holds in one snapshot.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use understudy_contract::{
    Class, ComparedRoute, Failure, KeyRange, MismatchId, MismatchRecord, PassRecord, RangeDigest,
    RangeRecord, RowName, SavedComparison, SavedVerification, Waiver,
};
use understudy_model::{Lsn, RouteId, Xid};

use super::texts::{cause_of, items, key_of, kind_of, list, sweep_of};
use super::{Held, ROLE};
use crate::error::has_sqlstate;
use crate::wire::{Client, Row};

/// What the advisory lock of a migration's ledger is called.
fn lock(migration: &str) -> i64 {
    let digest = Sha256::digest(format!("understudy/{migration}/{ROLE}"));
    digest.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)) as i64
}

/// The table of blue and that of green: what identifies a route from one run to the next.
pub(super) fn names(route: &ComparedRoute) -> [&str; 4] {
    [&route.source.schema, &route.source.name, &route.target.schema, &route.target.name]
}

/// The route of this run between two tables, whose names stand in four columns of a row.
pub(super) fn route_of(routes: &[ComparedRoute], row: &Row, from: usize) -> Result<Option<RouteId>, Failure> {
    let found =
        [row.required(from)?, row.required(from + 1)?, row.required(from + 2)?, row.required(from + 3)?];
    Ok(routes.iter().find(|route| names(route) == found).map(|route| route.route))
}

/// The ledger holds no row for the migration any more.
pub(super) fn ended() -> Failure {
    Failure::new(Class::Superseded, "green no longer knows this migration: it was finished or aborted")
        .remedy("to begin it anew: understudy run FILE")
}

/// Takes the lock, and reads what the ledger holds.
pub(super) async fn claim(
    client: &mut Client,
    migration: &str,
    routes: &[ComparedRoute],
) -> Result<(SavedVerification, Held), Failure> {
    take_lock(client, migration).await?;
    // Only now: an earlier snapshot could lack what the one before us wrote last.
    client.batch("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    let checkpoint = format!(
        "SELECT min(coalesce(checkpoint, '0/0')) FROM understudy.migration WHERE {} HAVING count(*) > 0",
        crate::sink::LANES
    );
    let checkpoint = match client.query_with(&checkpoint, &[Some(migration)]).await {
        Err(failure) if has_sqlstate(&failure, "42P01") || has_sqlstate(&failure, "3F000") => {
            return Err(ended());
        }
        rows => rows?.first().ok_or_else(ended)?.optional::<Lsn>(0)?,
    };
    let begin = "INSERT INTO understudy.verify_state (migration) VALUES ($1) ON CONFLICT DO NOTHING";
    client.execute_with(begin, &[Some(migration)]).await?;
    forget_absent(client, migration, routes).await?;
    let mut held = Held::default();
    let mut saved = SavedVerification {
        routes: comparisons(client, migration, routes, &mut held).await?,
        mismatches: mismatches(client, migration, routes).await?,
        checkpoint: checkpoint.unwrap_or(Lsn::ZERO),
        ..SavedVerification::default()
    };
    let state = "SELECT changed_upto, last_mismatch, surprises_upto FROM understudy.verify_state WHERE migration = $1";
    let state = client.query_with(state, &[Some(migration)]).await?;
    let state = state.first().ok_or_else(ended)?;
    (saved.changed_upto, saved.last_mismatch) = (state.parse(0)?, state.parse(1)?);
    held.surprises_upto = state.parse(2)?;
    client.batch("COMMIT").await?;
    Ok((saved, held))
}

async fn take_lock(client: &mut Client, migration: &str) -> Result<(), Failure> {
    let lock = lock(migration);
    let take = format!("SELECT pg_catalog.pg_try_advisory_lock({lock})");
    if client.query(&take).await?.first().is_some_and(|row| row.is_true(0)) {
        return Ok(());
    }
    let (upper, lower) = ((lock as u64 >> 32) as u32, lock as u64 as u32);
    let holder = format!(
        "SELECT a.pid, a.application_name, a.usename, a.backend_start::timestamptz(0), \
         a.application_name = current_setting('application_name') FROM pg_catalog.pg_locks AS l \
         JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {upper} AND l.objid = {lower} AND l.objsubid = 1 \
         AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
    );
    let holders = client.query(&holder).await?;
    // A connection of our own that broke, and of which the server does not know yet.
    for row in holders.iter().filter(|row| row.is_true(4)) {
        let pid = row.parse::<i32>(0)?;
        client.query(&format!("SELECT pg_catalog.pg_terminate_backend({pid}, 5000)")).await?;
    }
    if client.query(&take).await?.first().is_some_and(|row| row.is_true(0)) {
        return Ok(());
    }
    let who = holders.first().map_or_else(
        || "a session that has just ended".to_owned(),
        |row| {
            let text = |at| row.text(at).unwrap_or("unknown");
            format!("{} (process {} of green, role {}, since {})", text(1), text(0), text(2), text(3))
        },
    );
    Err(Failure::new(Class::Transient, format!("another verifier holds it: {who}")).remedy(
        "leave the other sidecar running, or stop it: the ledger is free as soon as its session has ended",
    ))
}

/// What is known of routes that the migration no longer has counts for nothing: should one come back, it is copied anew.
async fn forget_absent(
    client: &mut Client,
    migration: &str,
    routes: &[ComparedRoute],
) -> Result<(), Failure> {
    let column = |at: usize| list(routes.iter().map(|route| names(route)[at]));
    let (schemas, sources, green, targets) = (column(0), column(1), column(2), column(3));
    let params = [migration, &schemas, &sources, &green, &targets].map(Some);
    let ours = "(source_schema, source_name, target_schema, target_name) NOT IN \
        (SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]))";
    let sql = format!(
        "WITH gone AS (DELETE FROM understudy.verify_routes WHERE migration = $1 AND {ours} RETURNING route) \
         DELETE FROM understudy.verify_ranges AS r USING gone WHERE r.migration = $1 AND r.route = gone.route"
    );
    client.execute_with(&sql, &params).await?;
    let sql = format!(
        "UPDATE understudy.verify_mismatches SET resolution = 'gone', resolved_at = now() WHERE migration = $1 \
         AND (resolution IS NULL OR resolution = 'waived') AND {ours}"
    );
    client.execute_with(&sql, &params).await.map(drop)
}

/// Forgets what is known of a route of the sink's, inside its open transaction: its rows are no longer followed, or are copied
/// anew.
pub(crate) async fn forget_route(client: &mut Client, migration: &str, number: &str) -> Result<(), Failure> {
    let same = "(v.source_schema, v.source_name, v.target_schema, v.target_name) = \
        (r.source_schema, r.source_name, r.target_schema, r.target_name)";
    let route = format!("r.migration = $1 AND r.route = $2 AND v.migration = $1 AND {same}");
    let sql = format!(
        "WITH gone AS (DELETE FROM understudy.verify_routes AS v USING understudy.routes AS r WHERE {route} \
         RETURNING v.route) DELETE FROM understudy.verify_ranges AS s USING gone \
         WHERE s.migration = $1 AND s.route = gone.route"
    );
    let params = [Some(migration), Some(number)];
    client.execute_with(&sql, &params).await?;
    let sql = format!(
        "UPDATE understudy.verify_mismatches AS v SET resolution = 'gone', resolved_at = now() \
         FROM understudy.routes AS r WHERE (v.resolution IS NULL OR v.resolution = 'waived') AND {route}"
    );
    client.execute_with(&sql, &params).await.map(drop)
}

/// SQL of the milliseconds since a time, by the server's clock; null for no time.
pub(super) fn age_ms(time: &str) -> String {
    format!(
        "CASE WHEN {time} IS NOT NULL THEN greatest(0, floor(extract(epoch FROM now() - {time}) * 1000))::bigint END"
    )
}

async fn comparisons(
    client: &mut Client,
    migration: &str,
    routes: &[ComparedRoute],
    held: &mut Held,
) -> Result<Vec<SavedComparison>, Failure> {
    let sql = format!(
        "SELECT route, source_schema, source_name, target_schema, target_name, fingerprint, pass, completed, {}, \
         dirty_upto FROM understudy.verify_routes WHERE migration = $1 ORDER BY route",
        age_ms("completed_at")
    );
    let mut found = Vec::new();
    for row in client.query_with(&sql, &[Some(migration)]).await? {
        let Some(route) = route_of(routes, &row, 1)? else { continue };
        let number = row.parse::<i32>(0)?;
        held.next = held.next.max(number + 1);
        held.numbers.insert(route, number);
        let pass = PassRecord {
            number: row.parse(6)?,
            completed: row.parse(7)?,
            completed_age_ms: row.optional(8)?,
            dirty_upto: row.parse(9)?,
        };
        let ranges = ranges(client, migration, number).await?;
        found.push(SavedComparison { route, fingerprint: row.required(5)?.to_owned(), pass, ranges });
    }
    Ok(found)
}

async fn ranges(client: &mut Client, migration: &str, number: i32) -> Result<Vec<RangeRecord>, Failure> {
    let sql = format!(
        "SELECT sweep, after, upto, rows, digest_rows, digest_upper, digest_lower, verified, horizon, {} \
         FROM understudy.verify_ranges WHERE migration = $1 AND route = $2",
        age_ms("verified_at")
    );
    let rows = client.query_with(&sql, &[Some(migration), Some(&number.to_string())]).await?;
    let range = |row: &Row| {
        Ok(RangeRecord {
            sweep: sweep_of(row.required(0)?)?,
            range: KeyRange {
                after: row.text(1).map(key_of).transpose()?,
                upto: row.text(2).map(key_of).transpose()?,
            },
            rows: row.parse(3)?,
            digest: RangeDigest { rows: row.parse(4)?, upper: row.parse(5)?, lower: row.parse(6)? },
            verified: row.optional(7)?,
            horizon: row.optional::<u64>(8)?.map(Xid::new),
            age_ms: row.optional(9)?.unwrap_or(0),
        })
    };
    rows.iter().map(range).collect()
}

async fn mismatches(
    client: &mut Client,
    migration: &str,
    routes: &[ComparedRoute],
) -> Result<Vec<MismatchRecord>, Failure> {
    let sql = "SELECT source_schema, source_name, target_schema, target_name, id, key, blue_key, kind, columns, cause, \
        blue_digest, green_digest, found_lsn, by_stream, repair_asked_at IS NOT NULL, waived_by, waived_reason \
        FROM understudy.verify_mismatches WHERE migration = $1 AND (resolution IS NULL OR resolution = 'waived') ORDER BY id";
    let by_names = routes.iter().map(|route| (names(route), route.route)).collect::<HashMap<_, _>>();
    let mut found = Vec::new();
    for row in client.query_with(sql, &[Some(migration)]).await? {
        let between = [row.required(0)?, row.required(1)?, row.required(2)?, row.required(3)?];
        let Some(route) = by_names.get(&between) else { continue };
        let waived = row.text(15).zip(row.text(16));
        found.push(MismatchRecord {
            id: MismatchId(row.parse(4)?),
            route: *route,
            name: RowName { green: key_of(row.required(5)?)?, blue: row.text(6).map(key_of).transpose()? },
            kind: kind_of(row.required(7)?)?,
            columns: items(row.required(8)?)?,
            cause: cause_of(row.required(9)?)?,
            digests: (row.required(10)?.to_owned(), row.required(11)?.to_owned()),
            found_at: row.parse(12)?,
            by_stream: row.is_true(13),
            repair_asked: row.is_true(14),
            waived: waived.map(|(by, reason)| Waiver { by: by.to_owned(), reason: reason.to_owned() }),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two migrations on one green must not keep each other from being verified, and a new version must meet the lock of
    /// an old one.
    #[test]
    fn each_migration_has_a_lock_of_its_own() {
        assert_ne!(lock("shop"), lock("shop-v2"));
        assert_eq!(lock("shop"), lock("shop"));
    }
}
