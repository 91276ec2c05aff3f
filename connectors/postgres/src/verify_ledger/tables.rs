//! The tables of the ledger. They are made with the rest of the bookkeeping on green, and go with it.

/// SQL that makes them. A range is known by a digest of its lower bound: a key may be longer than an index entry.
pub(crate) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS understudy.verify_state (
    migration text PRIMARY KEY,
    changed_upto pg_lsn NOT NULL DEFAULT '0/0',
    last_mismatch bigint NOT NULL DEFAULT 0,
    surprises_upto bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
CREATE TABLE IF NOT EXISTS understudy.verify_routes (
    migration text NOT NULL,
    route integer NOT NULL,
    source_schema text NOT NULL,
    source_name text NOT NULL,
    target_schema text NOT NULL,
    target_name text NOT NULL,
    fingerprint text NOT NULL,
    pass bigint NOT NULL DEFAULT 0,
    completed bigint NOT NULL DEFAULT 0,
    completed_at timestamptz,
    dirty_upto pg_lsn NOT NULL DEFAULT '0/0',
    PRIMARY KEY (migration, route),
    UNIQUE (migration, source_schema, source_name, target_schema, target_name)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
CREATE TABLE IF NOT EXISTS understudy.verify_ranges (
    migration text NOT NULL,
    route integer NOT NULL,
    sweep text NOT NULL,
    bound uuid NOT NULL,
    after text[],
    upto text[],
    rows bigint NOT NULL,
    digest_rows bigint NOT NULL,
    digest_upper numeric NOT NULL,
    digest_lower numeric NOT NULL,
    verified pg_lsn,
    horizon bigint,
    verified_at timestamptz,
    PRIMARY KEY (migration, route, sweep, bound)
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.1);
CREATE TABLE IF NOT EXISTS understudy.verify_mismatches (
    migration text NOT NULL,
    id bigint NOT NULL,
    source_schema text NOT NULL,
    source_name text NOT NULL,
    target_schema text NOT NULL,
    target_name text NOT NULL,
    key text[] NOT NULL,
    blue_key text[],
    kind text NOT NULL,
    columns text[] NOT NULL,
    cause text NOT NULL,
    blue_digest text NOT NULL,
    green_digest text NOT NULL,
    found_lsn pg_lsn NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now(),
    by_stream boolean NOT NULL,
    repair_asked_at timestamptz,
    waived_by text,
    waived_reason text,
    waived_at timestamptz,
    resolution text,
    resolved_at timestamptz,
    PRIMARY KEY (migration, id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.1);
CREATE INDEX IF NOT EXISTS verify_mismatches_open ON understudy.verify_mismatches (migration)
    WHERE resolution IS NULL OR resolution = 'waived';
CREATE TABLE IF NOT EXISTS understudy.requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration text NOT NULL,
    kind text NOT NULL,
    body text[] NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS understudy.answers (
    request bigint PRIMARY KEY,
    migration text NOT NULL,
    answer text NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT now()
);
";

/// Their names, each with the column that names the migration. The first comes first also where rows are removed: who
/// writes to the ledger locks its row there before anything else.
pub(crate) const NAMES: [(&str, &str); 6] = [
    ("verify_state", "migration"),
    ("verify_routes", "migration"),
    ("verify_ranges", "migration"),
    ("verify_mismatches", "migration"),
    ("requests", "migration"),
    ("answers", "migration"),
];
