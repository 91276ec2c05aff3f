//! The bookkeeping on green: its tables, created on the first claim, and the version that tells who may read them.

use understudy_contract::{Class, Failure};

use crate::verify_ledger;
use crate::wire::Client;

/// Version of the tables below. A newer one was written by a newer program.
const FORMAT: i32 = 1;

/// Taken while the tables are created, so that two first claims do not collide.
pub(crate) const LOCK: i64 = 0x756e_6465_7273_7475;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS understudy.format (version integer NOT NULL);
CREATE TABLE IF NOT EXISTS understudy.migration (
    name text PRIMARY KEY,
    owner text NOT NULL,
    system_id text,
    timeline bigint,
    database text,
    slot text,
    publication text,
    checkpoint pg_lsn,
    unseen text,
    cursor bytea,
    claimed_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
CREATE TABLE IF NOT EXISTS understudy.flush (
    name text PRIMARY KEY,
    flushed_at timestamptz NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE IF NOT EXISTS understudy.routes (
    migration text NOT NULL,
    route integer NOT NULL,
    source_schema text NOT NULL,
    source_name text NOT NULL,
    target_schema text NOT NULL,
    target_name text NOT NULL,
    fingerprint text NOT NULL,
    complete boolean NOT NULL DEFAULT false,
    renewed boolean NOT NULL DEFAULT false,
    published text,
    PRIMARY KEY (migration, route),
    UNIQUE (migration, source_schema, source_name, target_schema, target_name)
);
CREATE TABLE IF NOT EXISTS understudy.units (
    migration text NOT NULL,
    unit bigint NOT NULL,
    route integer NOT NULL,
    schema text NOT NULL,
    name text NOT NULL,
    filenode bigint NOT NULL,
    fingerprint numeric NOT NULL,
    places numeric,
    written numeric,
    keys numeric,
    membership numeric NOT NULL,
    blocks bigint NOT NULL,
    predicate text,
    PRIMARY KEY (migration, unit, route)
);
CREATE TABLE IF NOT EXISTS understudy.departed (
    migration text NOT NULL,
    unit bigint NOT NULL,
    PRIMARY KEY (migration, unit)
);
CREATE TABLE IF NOT EXISTS understudy.chunks_done (
    migration text NOT NULL,
    unit bigint NOT NULL,
    route integer NOT NULL,
    from_row text NOT NULL,
    to_row text NOT NULL,
    rows bigint NOT NULL,
    done_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS chunks_done_of_unit ON understudy.chunks_done (migration, unit, route);
CREATE TABLE IF NOT EXISTS understudy.heals (
    migration text NOT NULL,
    route integer NOT NULL,
    key text[] NOT NULL,
    blue_key text[] NOT NULL,
    commit_lsn pg_lsn NOT NULL,
    ordinal bigint NOT NULL,
    PRIMARY KEY (migration, route, key, blue_key)
);
CREATE TABLE IF NOT EXISTS understudy.mismatches (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration text NOT NULL,
    route integer NOT NULL,
    key text[] NOT NULL,
    kind text NOT NULL,
    commit_lsn pg_lsn NOT NULL,
    ordinal bigint NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS understudy.quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration text NOT NULL,
    route integer NOT NULL,
    key text[] NOT NULL,
    commit_lsn pg_lsn NOT NULL,
    ordinal bigint NOT NULL,
    sqlstate text,
    constraint_name text,
    reason text NOT NULL,
    set_aside_at timestamptz NOT NULL DEFAULT now(),
    settled boolean NOT NULL DEFAULT false
);
CREATE INDEX IF NOT EXISTS quarantine_open ON understudy.quarantine (migration, route) WHERE NOT settled;
INSERT INTO understudy.format (version) SELECT 1 WHERE NOT EXISTS (SELECT FROM understudy.format);
";

/// Makes sure that the tables exist and that this program understands them. Runs inside the claim's transaction.
pub(super) async fn ensure(client: &mut Client) -> Result<(), Failure> {
    client.query(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    let known = "SELECT to_regnamespace('understudy') IS NULL, to_regclass('understudy.format') IS NULL";
    let known = client.query(known).await?;
    let missing = |at| known.first().is_none_or(|row| row.text(at) != Some("f"));
    if missing(1) {
        // Asked for only where it is missing: it takes a right that is not needed otherwise.
        let schema = if missing(0) { "CREATE SCHEMA understudy;" } else { "" };
        client.batch(&format!("{schema}{TABLES}{}", verify_ledger::TABLES)).await.map_err(|failure| {
            failure.while_doing("create the bookkeeping schema `understudy` on green").remedy(
                "let the role create it: GRANT CREATE ON DATABASE ... TO ..., or create the schema for the role",
            )
        })?;
    }
    let version = match client.query("SELECT version FROM understudy.format").await?.first() {
        Some(row) => row.parse::<i32>(0)?,
        None => 0,
    };
    if version == FORMAT {
        return Ok(());
    }
    let cause =
        format!("the bookkeeping on green has version {version}, this program knows version {FORMAT}");
    Err(Failure::new(Class::Configuration, cause)
        .remedy("run the version of understudy that wrote it, or a newer one"))
}
