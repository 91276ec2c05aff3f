//! Taking ownership of a migration: sends older sessions away, sets a new owner, and reads what was saved.

use std::collections::HashMap;

use understudy_contract::{Class, ColumnMarks, Failure, Lineage, Saved, SavedRoute, SavedUnit};
use understudy_model::{BlockRange, Checkpoint, Key, Lsn, RelationId, RouteId, TableName, UnitId};

use super::books::{Books, CURSOR_SQL, cursor, heal_keys_from, keys_from, superseded, xids};
use super::ledger::check_fence;
use super::schema;
use super::target::Target;
use crate::error::has_sqlstate;
use crate::ident::quote_literal;
use crate::verify_ledger;
use crate::wire::{Client, Row};

/// What a claim finds beyond what the contract asks for.
pub(super) struct Claimed {
    /// As the contract wants it. `None` when the migration has never begun.
    pub(super) saved: Option<Saved>,
    /// Keys of which changes are set aside.
    pub(super) quarantined: Vec<(RouteId, Key)>,
}

/// Ends the sessions of earlier instances. One that is stopped in the middle of a transaction would otherwise hold
/// locks that nobody could wait out.
pub(super) async fn evict(client: &mut Client, books: &Books) -> Result<u64, Failure> {
    let prefix = quote_literal(&books.application_prefix());
    let own = quote_literal(&format!("/{}", books.token.get(..8).unwrap_or(&books.token)));
    let sql = format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
         WHERE starts_with(application_name, {prefix}) AND right(application_name, 9) <> {own} \
         AND application_name ~ '/(apply|chunk|flush|books)/[0-9a-f]{{8}}$' \
         AND usename = session_user AND datname = current_database() AND pid <> pg_backend_pid()"
    );
    let ended = client
        .query(&sql)
        .await
        .map_err(|failure| failure.while_doing("end the sessions of an earlier instance"))?;
    Ok(ended.len() as u64)
}

/// Fails when another instance has become the owner since this process was, or when the migration has been ended: then
/// there is nothing here for this process any more.
pub(super) async fn still_owner(client: &mut Client, books: &Books) -> Result<(), Failure> {
    let sql = "SELECT owner FROM understudy.migration WHERE name = $1";
    let owner = match client.query_with(sql, &[Some(books.migration.as_str())]).await {
        Ok(rows) => rows.first().and_then(|row| row.text(0).map(str::to_owned)),
        Err(failure) if has_sqlstate(&failure, "42P01") || has_sqlstate(&failure, "3F000") => None,
        Err(failure) => return Err(failure),
    };
    match owner {
        Some(owner) if books.is_ours(&owner) => Ok(()),
        Some(_) => Err(superseded()),
        None => Err(Failure::new(
            Class::Superseded,
            "green no longer knows this migration: it was finished or aborted",
        )
        .remedy("to begin it anew: understudy run FILE")),
    }
}

/// Makes this instance the owner and reads the bookkeeping. Targets learn their numbers and whether they are complete.
/// Nothing that was recorded is removed: blue may yet turn out to be another server than the one it is of.
pub(super) async fn claim(
    client: &mut Client,
    books: &Books,
    targets: &mut [Target],
    reclaim: bool,
) -> Result<Claimed, Failure> {
    // An owner that vanished in a crash of green would let its predecessor back in.
    client.batch("BEGIN; SET LOCAL synchronous_commit = on").await?;
    schema::ensure(client).await?;
    let (name, token) = (books.migration.as_str(), books.token.as_str());
    let insert = "INSERT INTO understudy.migration (name, owner) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    if !reclaim {
        client.execute_with(insert, &[Some(name), Some(token)]).await?;
    }
    let lock = "SELECT owner FROM understudy.migration WHERE name = $1 FOR UPDATE";
    let owner = client.query_with(lock, &[Some(name)]).await?;
    if reclaim && !owner.first().and_then(|row| row.text(0)).is_some_and(|owner| books.is_ours(owner)) {
        client.batch("ROLLBACK").await?;
        return Err(superseded());
    }
    let flush = "INSERT INTO understudy.flush (name, flushed_at) VALUES ($1, now()) ON CONFLICT DO NOTHING";
    client.execute_with(flush, &[Some(name)]).await?;
    let own = format!(
        "UPDATE understudy.migration SET owner = $2, claimed_at = now() WHERE name = $1 \
         RETURNING system_id, timeline, database, slot, checkpoint, unseen, publication, {CURSOR_SQL}"
    );
    let rows = client.query_with(&own, &[Some(name), Some(token)]).await?;
    let row = rows
        .first()
        .ok_or_else(|| Failure::new(Class::Internal, "the migration's row vanished while it was locked"))?;
    let claimed = read(client, name, row, targets).await?;
    client.batch("COMMIT").await?;
    Ok(claimed)
}

async fn read(
    client: &mut Client,
    name: &str,
    row: &Row,
    targets: &mut [Target],
) -> Result<Claimed, Failure> {
    let (routes, of_number) = routes(client, name, targets).await?;
    let quarantined = of_routes(set_aside(client, name).await?, &of_number);
    let Some(checkpoint) = row.optional::<Lsn>(4)? else {
        return Ok(Claimed { saved: None, quarantined });
    };

    let heals = "SELECT h.route, k.place, k.text, cardinality(h.key) FROM understudy.heals AS h \
        CROSS JOIN LATERAL unnest(h.key || h.blue_key) WITH ORDINALITY AS k (text, place) \
        WHERE h.migration = $1 ORDER BY h.route, h.key, h.blue_key, k.place";
    let heals = of_routes(heal_keys_from(&client.query_with(heals, &[Some(name)]).await?)?, &of_number);
    let lineage = Lineage {
        system_id: row.parse(0)?,
        timeline: row.parse(1)?,
        database: row.required(2)?.to_owned(),
        slot: row.required(3)?.to_owned(),
        publication: row.text(6).map(str::to_owned),
    };
    let units = units(client, name, &of_number).await?;
    let departed = departed(client, name, &numbers(targets)).await?;
    let saved = Saved {
        lineage,
        checkpoint: Checkpoint::at_commit_end(checkpoint),
        unseen: row.text(5).map(xids).transpose()?,
        routes,
        units,
        departed,
        heals,
        cursor: row.text(7).map(cursor).transpose()?,
    };
    Ok(Claimed { saved: Some(saved), quarantined })
}

/// The keys of which changes are set aside, each with the number of its route.
pub(super) async fn set_aside(client: &mut Client, name: &str) -> Result<Vec<(i32, Key)>, Failure> {
    let sql = "SELECT q.route, k.place, k.text FROM \
        (SELECT DISTINCT route, key FROM understudy.quarantine WHERE migration = $1 AND NOT settled) AS q \
        CROSS JOIN LATERAL unnest(q.key) WITH ORDINALITY AS k (text, place) ORDER BY q.route, q.key, k.place";
    keys_from(&client.query_with(sql, &[Some(name)]).await?)
}

/// Those that belong to routes of this run, under their numbers in it.
fn of_routes<T>(keys: Vec<(i32, T)>, routes: &HashMap<i32, RouteId>) -> Vec<(RouteId, T)> {
    keys.into_iter().filter_map(|(number, key)| Some((*routes.get(&number)?, key))).collect()
}

async fn routes(
    client: &mut Client,
    name: &str,
    targets: &mut [Target],
) -> Result<(Vec<SavedRoute>, HashMap<i32, RouteId>), Failure> {
    let sql = "SELECT route, source_schema, source_name, target_schema, target_name, fingerprint, complete, renewed, \
        published FROM understudy.routes WHERE migration = $1 ORDER BY route";
    let (mut routes, mut of_number, mut next) = (Vec::new(), HashMap::new(), 0);
    for row in client.query_with(sql, &[Some(name)]).await? {
        let number = row.parse::<i32>(0)?;
        next = next.max(number + 1);
        let source = TableName::new(row.required(1)?, row.required(2)?);
        let target = TableName::new(row.required(3)?, row.required(4)?);
        let complete = row.text(6) == Some("t");
        let ours = targets.iter_mut().find(|ours| ours.green.source == source && ours.green.name == target);
        let route = ours.as_ref().map(|ours| ours.green.route);
        if let Some(ours) = ours {
            (ours.number, ours.registered, ours.complete) = (number, true, complete);
            ours.renewed = row.is_true(7);
            of_number.insert(number, ours.green.route);
        }
        let (fingerprint, published) = (row.required(5)?.to_owned(), row.text(8).map(str::to_owned));
        routes.push(SavedRoute { route, source, target, fingerprint, complete, published });
    }
    for target in targets.iter_mut().filter(|target| !target.registered) {
        target.number = next;
        of_number.insert(next, target.green.route);
        next += 1;
    }
    Ok((routes, of_number))
}

async fn units(
    client: &mut Client,
    name: &str,
    routes: &HashMap<i32, RouteId>,
) -> Result<Vec<SavedUnit>, Failure> {
    let sql = "SELECT unit, route, schema, name, filenode, fingerprint, blocks, predicate, places, written, keys, membership \
        FROM understudy.units WHERE migration = $1 ORDER BY unit, route";
    let mut units: Vec<SavedUnit> = Vec::new();
    let mut at: HashMap<(u32, RouteId), usize> = HashMap::new();
    for row in client.query_with(sql, &[Some(name)]).await? {
        let Some(route) = routes.get(&row.parse(1)?) else {
            continue;
        };
        let id = row.parse(0)?;
        at.insert((id, *route), units.len());
        units.push(SavedUnit {
            id: UnitId::new(id, *route),
            route: *route,
            name: TableName::new(row.required(2)?, row.required(3)?),
            filenode: row.parse(4)?,
            fingerprint: row.parse(5)?,
            marks: marks(&row)?,
            membership: row.parse(11)?,
            blocks: row.parse(6)?,
            predicate: row.text(7).map(str::to_owned),
            done: Vec::new(),
            rows_done: 0,
        });
    }
    let sql = "SELECT unit, route, from_row, to_row, rows FROM understudy.chunks_done WHERE migration = $1";
    for row in client.query_with(sql, &[Some(name)]).await? {
        let route = routes.get(&row.parse(1)?);
        if let Some(unit) = route.and_then(|route| at.get(&(row.parse(0).ok()?, *route))) {
            units[*unit].done.push(BlockRange { from: row.parse(2)?, to: row.parse(3)? });
            units[*unit].rows_done += row.parse::<u64>(4)?;
        }
    }
    Ok(units)
}

/// The marks of a unit, if they are known.
fn marks(row: &Row) -> Result<Option<ColumnMarks>, Failure> {
    let marks = row.optional(8)?.zip(row.optional(9)?).zip(row.optional(10)?);
    Ok(marks.map(|((places, written), keys)| ColumnMarks { places, written, keys }))
}

/// The tables and leaves of routes that the migration had once, and has no more.
async fn departed(client: &mut Client, name: &str, ours: &str) -> Result<Vec<RelationId>, Failure> {
    let sql = "SELECT unit FROM understudy.departed WHERE migration = $1 \
        UNION SELECT unit FROM understudy.units WHERE migration = $1 AND route <> ALL ($2::int[]) ORDER BY 1";
    let rows = client.query_with(sql, &[Some(name), Some(ours)]).await?;
    rows.iter().map(|row| Ok(RelationId(row.parse(0)?))).collect()
}

/// A route that the migration no longer has is not followed any more, so what is known of its copy is void: should it
/// come back, it is copied anew. That its tables and leaves were followed is remembered: their last changes may still come.
pub(super) async fn forget_absent(
    client: &mut Client,
    books: &Books,
    targets: &[Target],
) -> Result<(), Failure> {
    client.batch("BEGIN; SET LOCAL synchronous_commit = on").await?;
    check_fence(client, books).await?;
    let (name, ours) = (books.migration.as_str(), numbers(targets));
    let note = "INSERT INTO understudy.departed (migration, unit) SELECT DISTINCT migration, unit FROM understudy.units \
        WHERE migration = $1 AND route <> ALL ($2::int[]) ON CONFLICT DO NOTHING";
    client.execute_with(note, &[Some(name), Some(ours.as_str())]).await?;
    let absent = "SELECT route FROM understudy.routes WHERE migration = $1 AND route <> ALL ($2::int[])";
    for row in client.query_with(absent, &[Some(name), Some(ours.as_str())]).await? {
        forget_route(client, name, row.parse(0)?).await?;
    }
    client.batch("COMMIT").await
}

/// The numbers of the routes that the migration has, as an array.
fn numbers(targets: &[Target]) -> String {
    let numbers = targets.iter().map(|target| target.number.to_string()).collect::<Vec<_>>();
    format!("{{{}}}", numbers.join(","))
}

/// Removes all that is known of a route, inside the open transaction.
pub(super) async fn forget_route(client: &mut Client, name: &str, number: i32) -> Result<(), Failure> {
    let number = number.to_string();
    verify_ledger::forget_route(client, name, &number).await?;
    for table in ["chunks_done", "units", "heals", "mismatches", "quarantine", "routes"] {
        let sql = format!("DELETE FROM understudy.{table} WHERE migration = $1 AND route = $2");
        client.execute_with(&sql, &[Some(name), Some(number.as_str())]).await?;
    }
    Ok(())
}
