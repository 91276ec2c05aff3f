//! Removes what a migration has left on green beside its rows: bookkeeping, replication origins, sessions.

use understudy_contract::{Class, Failure};

use super::books::{Books, Role};
use super::claim::evict;
use super::settings::SinkSettings;
use crate::ident::quote_literal;
use crate::verify_ledger;
use crate::wire::{Client, ConnectOptions};

/// Tables of the bookkeeping, with the column that names the migration.
const TABLES: [(&str, &str); 9] = [
    ("chunks_done", "migration"),
    ("units", "migration"),
    ("departed", "migration"),
    ("heals", "migration"),
    ("mismatches", "migration"),
    ("quarantine", "migration"),
    ("routes", "migration"),
    ("flush", "name"),
    ("migration", "name"),
];

/// Those, and before them the ledger of verification.
fn tables() -> impl Iterator<Item = (&'static str, &'static str)> {
    verify_ledger::NAMES.into_iter().chain(TABLES)
}

/// Ends the migration's sessions on green and removes its origins and, unless it is to be kept, its bookkeeping: with the
/// last migration the tables and the schema `understudy` too. Rows that were copied stay. May be repeated. Returns what
/// was removed, as noun phrases for a person.
pub async fn forget(
    options: &ConnectOptions,
    settings: &SinkSettings,
    keep_bookkeeping: bool,
) -> Result<Vec<String>, Failure> {
    let books = Books::new(settings.migration.clone(), settings.instance);
    let options = options.clone().with_application_name(&books.application_name(Role::Flush));
    let mut client = Client::connect(&options).await?;
    let mut removed = Vec::new();
    let ended = evict(&mut client, &books).await? + evict_lanes(&mut client, &settings.migration).await?;
    if ended > 0 {
        removed.push(format!("{ended} sessions of this migration on green"));
    }
    forget_origins(&mut client, &settings.origin(None), &mut removed).await?;
    if !keep_bookkeeping {
        let forgotten = forget_bookkeeping(&mut client, &settings.migration).await;
        removed.extend(forgotten.map_err(|failure| failure.while_doing("remove the bookkeeping on green"))?);
    }
    client.close().await;
    Ok(removed)
}

async fn forget_bookkeeping(client: &mut Client, migration: &str) -> Result<Option<String>, Failure> {
    let there = client.query("SELECT to_regclass('understudy.migration') IS NOT NULL").await?;
    if !there.first().is_some_and(|row| row.is_true(0)) {
        return Ok(None);
    }
    client.batch("BEGIN").await?;
    let mut rows = 0;
    for (table, column) in tables() {
        let sql =
            format!("DELETE FROM understudy.{table} WHERE {column} = $1 OR starts_with({column}, $1 || '#')");
        rows += client.execute_with(&sql, &[Some(migration)]).await?;
    }
    let last = client.query("SELECT FROM understudy.migration LIMIT 1").await?.is_empty();
    if last {
        let tables = tables().map(|(table, _)| format!("understudy.{table}")).collect::<Vec<_>>().join(", ");
        client.batch(&format!("DROP TABLE {tables}, understudy.format")).await?;
    }
    client.batch("COMMIT").await?;
    if !last {
        return Ok((rows > 0).then(|| format!("{rows} rows of the bookkeeping on green")));
    }
    if has_versions(client).await? {
        return Ok(Some(
            "the bookkeeping on green; its table understudy.versions stays and tells what expand.sql has made".to_owned(),
        ));
    }
    // Somebody else may own the schema, or keep something in it: then it stays, empty of ours.
    match client.batch("DROP SCHEMA understudy").await {
        Ok(()) => Ok(Some("schema understudy with the bookkeeping on green".to_owned())),
        Err(failure) if failure.class() == Class::Transient => Err(failure),
        Err(_) => Ok(Some(
            "the bookkeeping on green; its schema understudy stays, since it is not ours alone".to_owned(),
        )),
    }
}

/// Ends the sessions of the lanes of a migration.
async fn evict_lanes(client: &mut Client, migration: &str) -> Result<u64, Failure> {
    let sql = format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
         WHERE starts_with(application_name, {}) AND usename = session_user \
         AND datname = current_database() AND pid <> pg_backend_pid()",
        quote_literal(&format!("understudy/{migration}#"))
    );
    let ended =
        client.query(&sql).await.map_err(|failure| failure.while_doing("end the sessions of lanes"))?;
    Ok(ended.len() as u64)
}

/// Whether versions are recorded. What green was given for them stays when they end, and with it the record that it was.
async fn has_versions(client: &mut Client) -> Result<bool, Failure> {
    let there = client.query("SELECT to_regclass('understudy.versions') IS NOT NULL").await?;
    if !there.first().is_some_and(|row| row.is_true(0)) {
        return Ok(false);
    }
    if client.query("SELECT FROM understudy.versions LIMIT 1").await?.is_empty() {
        client.batch("DROP TABLE understudy.versions").await?;
        return Ok(false);
    }
    Ok(true)
}

async fn forget_origins(client: &mut Client, name: &str, removed: &mut Vec<String>) -> Result<(), Failure> {
    let name = quote_literal(name);
    let sql = format!(
        "SELECT roname FROM pg_replication_origin WHERE roname = {name} OR starts_with(roname, {name} || '/') ORDER BY 1"
    );
    for row in client.query(&sql).await? {
        let origin = row.required(0)?;
        let dropped =
            client.query(&format!("SELECT pg_replication_origin_drop({})", quote_literal(origin))).await;
        dropped.map_err(|failure| {
            failure.while_doing(format!("drop the replication origin {origin} on green"))
        })?;
        removed.push(format!("replication origin {origin} on green"));
    }
    Ok(())
}
