//! The table `understudy.versions`: created by its first use, read and written here alone.

use understudy_contract::Failure;

use super::{Expand, Version};
use crate::sink::BOOKKEEPING_LOCK;
use crate::wire::Client;

/// It outlives the migrations that it tells of: what they were given stays on green when they are ended, and a version
/// that runs again must know.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS understudy.versions (
    migration text PRIMARY KEY,
    number integer NOT NULL,
    directory text NOT NULL,
    file_sha256 text NOT NULL,
    expand_sha256 text,
    contract_sha256 text,
    statements_done integer NOT NULL DEFAULT 0,
    statement_begun integer,
    done_sha256 text,
    expanded_at timestamptz,
    contracted_at timestamptz
)";

/// What green remembers of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the project.
    pub number: u32,
    /// The directory, without its path.
    pub directory: String,
    /// SHA-256 of the migration file.
    pub file_sha256: String,
    /// SHA-256 of expand.sql, if there was one.
    pub expand_sha256: Option<String>,
    /// SHA-256 of contract.sql, if there was one.
    pub contract_sha256: Option<String>,
    /// How many statements of expand.sql have been run.
    pub statements_done: u32,
    /// The statement that was begun outside a transaction and may or may not have finished, counted from one.
    pub statement_begun: Option<u32>,
    /// Tells the statements that have been run from any others.
    pub done_sha256: Option<String>,
    /// Whether all of expand.sql has been run.
    pub expanded: bool,
    /// Whether contract.sql has been run.
    pub contracted: bool,
}

/// What green remembers of a migration's version. Creates nothing.
pub async fn recorded(client: &mut Client, migration: &str) -> Result<Option<Recorded>, Failure> {
    let there = client.query("SELECT pg_catalog.to_regclass('understudy.versions') IS NOT NULL").await?;
    if !there.first().is_some_and(|row| row.is_true(0)) {
        return Ok(None);
    }
    let sql = "SELECT number, directory, file_sha256, expand_sha256, contract_sha256, statements_done, statement_begun, \
        done_sha256, expanded_at IS NOT NULL, contracted_at IS NOT NULL FROM understudy.versions WHERE migration = $1";
    let rows = client.query_with(sql, &[Some(migration)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let text = |at| row.text(at).map(str::to_owned);
    Ok(Some(Recorded {
        number: row.parse(0)?,
        directory: row.required(1)?.to_owned(),
        file_sha256: row.required(2)?.to_owned(),
        expand_sha256: text(3),
        contract_sha256: text(4),
        statements_done: row.parse(5)?,
        statement_begun: row.optional(6)?,
        done_sha256: text(7),
        expanded: row.is_true(8),
        contracted: row.is_true(9),
    }))
}

/// Creates the table, and the schema that it lies in.
pub(super) async fn ensure(client: &mut Client) -> Result<(), Failure> {
    let missing = "SELECT pg_catalog.to_regnamespace('understudy') IS NULL, \
        pg_catalog.to_regclass('understudy.versions') IS NULL";
    client.batch(&format!("BEGIN; SELECT pg_catalog.pg_advisory_xact_lock({BOOKKEEPING_LOCK})")).await?;
    let rows = client.query(missing).await?;
    let is_missing = |at| rows.first().is_none_or(|row| row.is_true(at));
    if is_missing(1) {
        // Asked for only where it is missing: it takes a right that is not needed otherwise.
        let schema = if is_missing(0) { "CREATE SCHEMA understudy;" } else { "" };
        client.batch(&format!("{schema}{TABLE}")).await.map_err(|failure| {
            failure.while_doing("create the table understudy.versions on green").remedy(
                "let the role create it: GRANT CREATE ON DATABASE ... TO ..., or create the schema understudy for the role",
            )
        })?;
    }
    client.batch("COMMIT").await
}

/// Whether the migration has begun on green.
pub(super) async fn has_begun(client: &mut Client, migration: &str) -> Result<bool, Failure> {
    let there = client.query("SELECT pg_catalog.to_regclass('understudy.migration') IS NOT NULL").await?;
    if !there.first().is_some_and(|row| row.is_true(0)) {
        return Ok(false);
    }
    let sql = "SELECT FROM understudy.migration WHERE name = $1 AND checkpoint IS NOT NULL";
    Ok(!client.query_with(sql, &[Some(migration)]).await?.is_empty())
}

/// Records a version as its files are now, with how much of its SQL has been run.
pub(super) async fn note(client: &mut Client, version: &Version, progress: Progress) -> Result<(), Failure> {
    let Progress { done, begun, expanded } = progress;
    let expand = version.expand.as_ref();
    let (number, done_text) = (version.number.to_string(), done.to_string());
    let begun = begun.map(|begun| begun.to_string());
    let digest = expand.map(|expand: &Expand| expand.digest(done));
    let sql = "INSERT INTO understudy.versions AS known (migration, number, directory, file_sha256, expand_sha256, \
        contract_sha256, statements_done, statement_begun, done_sha256, expanded_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $10::boolean THEN pg_catalog.now() END) \
        ON CONFLICT (migration) DO UPDATE SET directory = excluded.directory, file_sha256 = excluded.file_sha256, \
        expand_sha256 = excluded.expand_sha256, contract_sha256 = \
        CASE WHEN known.contracted_at IS NULL THEN excluded.contract_sha256 ELSE known.contract_sha256 END, \
        statements_done = excluded.statements_done, statement_begun = excluded.statement_begun, \
        done_sha256 = excluded.done_sha256, expanded_at = coalesce(known.expanded_at, excluded.expanded_at)";
    let params = [
        Some(version.migration.as_str()),
        Some(number.as_str()),
        Some(version.directory.as_str()),
        Some(version.file_sha256.as_str()),
        expand.map(|expand| expand.sha256.as_str()),
        version.contract_sha256.as_deref(),
        Some(done_text.as_str()),
        begun.as_deref(),
        digest.as_deref(),
        Some(if expanded { "t" } else { "f" }),
    ];
    let noted = client.execute_with(sql, &params).await;
    noted.map(drop).map_err(|failure| failure.while_doing("record the version on green"))
}

/// How much of a version's SQL has been run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) done: u32,
    pub(super) begun: Option<u32>,
    pub(super) expanded: bool,
}
