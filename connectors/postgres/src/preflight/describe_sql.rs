//! The catalog queries behind `describe`, and their rows.

use rustc_hash::FxHashMap;
use understudy_contract::Failure;
use understudy_model::{ReplicaIdentity, TableName};

use super::describe::{ColumnDescription, Generated, Identity, Persistence, TableKind};
use super::facts::{self, DEFAULT_COLLATION, DatabaseFacts};
use crate::source::units::identity_of;
use crate::wire::{Client, Row};

/// Everything that a description is made of.
pub(super) struct Catalog {
    /// Relations, ordered by name.
    pub(super) tables: Vec<TableRow>,
    /// Table, column number, column.
    pub(super) columns: Vec<(u32, i16, ColumnDescription)>,
    /// Table, unique index over plain columns; oldest first.
    pub(super) indexes: Vec<(u32, IndexRow)>,
    pub(super) facts: DatabaseFacts,
}

/// One relation.
pub(super) struct TableRow {
    pub(super) oid: u32,
    pub(super) name: TableName,
    pub(super) kind: TableKind,
    pub(super) persistence: Persistence,
    pub(super) identity: ReplicaIdentity,
    pub(super) is_partition: bool,
    pub(super) parent: Option<u32>,
    pub(super) has_heirs: bool,
    pub(super) row_security: bool,
    pub(super) in_extension: bool,
    pub(super) bytes: u64,
    pub(super) rows_estimate: Option<u64>,
}

/// One unique index.
pub(super) struct IndexRow {
    pub(super) name: String,
    pub(super) primary: bool,
    pub(super) replica_identity: bool,
    pub(super) valid: bool,
    pub(super) immediate: bool,
    pub(super) exclusion: bool,
    pub(super) partial: bool,
    pub(super) columns: Vec<i16>,
}

/// The relations that count: no system schema, nobody's temporary tables, not our bookkeeping.
pub(super) const OURS: &str = "c.relkind IN ('r', 'p', 'f', 'v', 'm') AND n.nspname NOT LIKE 'pg\\_%' \
                    AND n.nspname <> 'information_schema' AND n.nspname <> 'understudy'";

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '2s'";

/// Reads the catalog in one transaction.
pub(super) async fn read(client: &mut Client) -> Result<Catalog, Failure> {
    client.batch(BEGIN).await?;
    let catalog = read_catalog(client).await;
    if catalog.is_err() {
        client.batch("ROLLBACK").await?;
        return catalog;
    }
    let mut catalog = catalog?;
    match sizes(client).await {
        Ok(sizes) => {
            for table in &mut catalog.tables {
                table.bytes = sizes.get(&table.oid).copied().unwrap_or(table.bytes);
            }
            client.batch("COMMIT").await?;
        }
        // Measuring a table needs a lock on it; while another holds it exclusively the recorded page count has to do.
        Err(_) => client.batch("ROLLBACK").await?,
    }
    Ok(catalog)
}

async fn read_catalog(client: &mut Client) -> Result<Catalog, Failure> {
    let tables = client.query(&tables_sql()).await?;
    let columns = client.query(&columns_sql()).await?;
    let indexes = client.query(&indexes_sql()).await?;
    Ok(Catalog {
        tables: tables.iter().map(table_row).collect::<Result<_, _>>()?,
        columns: columns.iter().map(column_row).collect::<Result<_, _>>()?,
        indexes: indexes.iter().map(index_row).collect::<Result<_, _>>()?,
        facts: facts::read(client).await?,
    })
}

async fn sizes(client: &mut Client) -> Result<FxHashMap<u32, u64>, Failure> {
    let sql = format!(
        "SELECT c.oid, pg_catalog.pg_table_size(c.oid) FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm') AND {OURS}"
    );
    let rows = client.query(&sql).await?;
    rows.iter().map(|row| Ok((row.parse(0)?, row.optional(1)?.unwrap_or(0)))).collect()
}

fn tables_sql() -> String {
    format!(
        "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident, c.relispartition, \
           (SELECT i.inhparent FROM pg_catalog.pg_inherits i \
             WHERE i.inhrelid = c.oid AND c.relispartition AND NOT i.inhdetachpending LIMIT 1), \
           c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid), \
           c.relrowsecurity, \
           EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass \
             AND d.objid = c.oid AND d.deptype = 'e'), \
           greatest(c.relpages, 0)::bigint * current_setting('block_size')::bigint, c.reltuples::bigint \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE {OURS} ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\""
    )
}

fn columns_sql() -> String {
    format!(
        "SELECT a.attrelid, a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid, \
           a.atttypmod, a.attnotnull, a.atthasdef, a.attgenerated, a.attidentity, \
           CASE WHEN l.oid <> {DEFAULT_COLLATION} THEN l.oid END, l.collisdeterministic IS FALSE \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND {OURS} ORDER BY a.attrelid, a.attnum"
    )
}

fn indexes_sql() -> String {
    format!(
        "SELECT i.indrelid, x.relname, i.indisprimary, i.indisreplident, i.indisvalid, i.indimmediate, \
           i.indisexclusion, i.indpred IS NOT NULL, i.indkey::text, i.indnkeyatts \
         FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
         JOIN pg_catalog.pg_class c ON c.oid = i.indrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE i.indisunique AND i.indexprs IS NULL AND {OURS} ORDER BY i.indrelid, i.indexrelid"
    )
}

fn table_row(row: &Row) -> Result<TableRow, Failure> {
    Ok(TableRow {
        oid: row.parse(0)?,
        name: TableName::new(row.required(1)?, row.required(2)?),
        kind: match row.required(3)? {
            "p" => TableKind::Partitioned,
            "f" => TableKind::Foreign,
            "v" => TableKind::View,
            "m" => TableKind::MaterializedView,
            _ => TableKind::Ordinary,
        },
        persistence: match row.required(4)? {
            "u" => Persistence::Unlogged,
            "t" => Persistence::Temporary,
            _ => Persistence::Permanent,
        },
        identity: identity_of(row.required(5)?),
        is_partition: row.is_true(6),
        parent: row.optional(7)?,
        has_heirs: row.is_true(8),
        row_security: row.is_true(9),
        in_extension: row.is_true(10),
        bytes: row.parse(11)?,
        rows_estimate: u64::try_from(row.parse::<i64>(12)?).ok(),
    })
}

fn column_row(row: &Row) -> Result<(u32, i16, ColumnDescription), Failure> {
    let column = ColumnDescription {
        name: row.required(2)?.to_owned(),
        type_name: row.required(3)?.to_owned(),
        type_oid: row.parse(4)?,
        type_modifier: row.parse(5)?,
        not_null: row.is_true(6),
        has_default: row.is_true(7),
        generated: match row.required(8)? {
            "s" => Generated::Stored,
            "v" => Generated::Virtual,
            _ => Generated::No,
        },
        identity: match row.required(9)? {
            "a" => Identity::Always,
            "d" => Identity::ByDefault,
            _ => Identity::No,
        },
        collation: row.optional(10)?,
        nondeterministic: row.is_true(11),
    };
    Ok((row.parse(0)?, row.parse(1)?, column))
}

fn index_row(row: &Row) -> Result<(u32, IndexRow), Failure> {
    let numbers = row.required(8)?.split(' ').filter_map(|number| number.parse::<i16>().ok());
    let index = IndexRow {
        name: row.required(1)?.to_owned(),
        primary: row.is_true(2),
        replica_identity: row.is_true(3),
        valid: row.is_true(4),
        immediate: row.is_true(5),
        exclusion: row.is_true(6),
        partial: row.is_true(7),
        columns: numbers.take(row.parse(9)?).collect(),
    };
    Ok((row.parse(0)?, index))
}
