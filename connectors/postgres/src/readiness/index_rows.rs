//! The indexes of tables, key by key.

use rustc_hash::FxHashMap;
use understudy_contract::Failure;
use understudy_model::TableName;

use crate::wire::{Client, Row};

/// One index.
pub(super) struct Index {
    pub(super) table: u32,
    pub(super) name: TableName,
    pub(super) method: String,
    pub(super) unique: bool,
    /// Whether nulls count as different values.
    pub(super) nulls_distinct: bool,
    /// Whether it serves an exclusion constraint.
    pub(super) exclusion: bool,
    pub(super) usable: bool,
    pub(super) partitioned: bool,
    /// Whether it is part of an index of one of the tables that were asked for.
    pub(super) inherited: bool,
    pub(super) predicate: Option<String>,
    pub(super) keys: Vec<Key>,
    pub(super) included: Vec<String>,
    /// Every column that it reads, keys and expressions alike, sorted.
    pub(super) columns: Vec<String>,
}

/// One key of an index.
pub(super) struct Key {
    /// `None` for an expression.
    pub(super) column: Option<String>,
    /// The column quoted, or the expression, as a statement names it.
    pub(super) text: String,
    /// The operator class where it is not the type's own.
    pub(super) class: Option<String>,
}

impl Index {
    /// Whether it is made of plain columns over all rows.
    pub(super) fn is_plain(&self) -> bool {
        self.predicate.is_none() && self.keys.iter().all(|key| key.column.is_some())
    }
}

/// The indexes of these tables.
pub(super) async fn read(client: &mut Client, oids: &str) -> Result<Vec<Index>, Failure> {
    let nulls = if client.server_version() >= 150_000 { "NOT i.indnullsnotdistinct" } else { "true" };
    let mut keys = FxHashMap::<u32, Vec<Row>>::default();
    for row in client.query(&keys_sql(oids)).await? {
        keys.entry(row.parse(0)?).or_default().push(row);
    }
    let mut read = FxHashMap::<u32, Vec<String>>::default();
    for row in client.query(&columns_sql(oids)).await? {
        read.entry(row.parse(0)?).or_default().push(row.required(1)?.to_owned());
    }
    let rows = client.query(&indexes_sql(oids, nulls)).await?;
    let index = |row: &Row| {
        let oid = row.parse::<u32>(0)?;
        let (keys, read) = (keys.remove(&oid).unwrap_or_default(), read.remove(&oid).unwrap_or_default());
        index(row, &keys, read)
    };
    rows.iter().map(index).collect()
}

fn indexes_sql(oids: &str, nulls: &str) -> String {
    format!(
        "SELECT i.indexrelid, i.indrelid, n.nspname, x.relname, m.amname, i.indisunique, {nulls}, i.indisexclusion, \
           i.indisvalid AND i.indisready AND i.indislive, x.relkind = 'I', \
           EXISTS (SELECT FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_index p ON p.indexrelid = h.inhparent \
             WHERE h.inhrelid = i.indexrelid AND p.indrelid = ANY ('{oids}'::oid[])), \
           pg_catalog.pg_get_expr(i.indpred, i.indrelid) \
         FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace JOIN pg_catalog.pg_am m ON m.oid = x.relam \
         WHERE i.indrelid = ANY ('{oids}'::oid[]) ORDER BY n.nspname, x.relname"
    )
}

fn keys_sql(oids: &str) -> String {
    format!(
        "SELECT i.indexrelid, a.attname, pg_catalog.pg_get_indexdef(i.indexrelid, k, false), k <= i.indnkeyatts, \
           CASE WHEN NOT o.opcdefault THEN pg_catalog.format('%I.%I', n.nspname, o.opcname) END \
         FROM pg_catalog.pg_index i CROSS JOIN LATERAL generate_series(1, i.indnatts::int) AS k \
         LEFT JOIN pg_catalog.pg_attribute a \
           ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1] AND a.attnum <> 0 \
         LEFT JOIN pg_catalog.pg_opclass o ON k <= i.indnkeyatts AND o.oid = i.indclass[k - 1] \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = o.opcnamespace \
         WHERE i.indrelid = ANY ('{oids}'::oid[]) ORDER BY i.indexrelid, k"
    )
}

/// What expressions and conditions read. The index of a constraint has no such entries, and neither of the two.
fn columns_sql(oids: &str) -> String {
    format!(
        "SELECT DISTINCT i.indexrelid, a.attname FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid \
           AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0 \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
         WHERE i.indrelid = ANY ('{oids}'::oid[])"
    )
}

fn index(row: &Row, attributes: &[Row], read: Vec<String>) -> Result<Index, Failure> {
    let (mut keys, mut included, mut columns) = (Vec::new(), Vec::new(), read);
    for attribute in attributes {
        let column = attribute.text(1).map(str::to_owned);
        columns.extend(column.clone().filter(|_| attribute.is_true(3)));
        if attribute.is_true(3) {
            let (text, class) = (attribute.required(2)?.to_owned(), attribute.text(4).map(str::to_owned));
            keys.push(Key { column, text, class });
        } else {
            included.extend(column);
        }
    }
    columns.retain(|column| {
        !included.contains(column) || keys.iter().any(|key| key.column.as_ref() == Some(column))
    });
    columns.sort();
    columns.dedup();
    Ok(Index {
        table: row.parse(1)?,
        name: TableName::new(row.required(2)?, row.required(3)?),
        method: row.required(4)?.to_owned(),
        unique: row.is_true(5),
        nulls_distinct: row.is_true(6),
        exclusion: row.is_true(7),
        usable: row.is_true(8),
        partitioned: row.is_true(9),
        inherited: row.is_true(10),
        predicate: row.text(11).map(str::to_owned),
        keys,
        included,
        columns,
    })
}
