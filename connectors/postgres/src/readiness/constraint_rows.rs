//! The constraints of tables.

use understudy_contract::Failure;
use understudy_model::TableName;

use crate::wire::{Client, Row};

/// One constraint.
pub(super) struct Constraint {
    pub(super) table_oid: u32,
    pub(super) table: TableName,
    pub(super) name: String,
    /// As in `pg_constraint.contype`.
    pub(super) kind: char,
    pub(super) validated: bool,
    pub(super) enforced: bool,
    pub(super) deferrable: bool,
    pub(super) deferred: bool,
    /// Whether it comes from the table above.
    pub(super) inherited: bool,
    /// As `pg_get_constraintdef` writes it, without what says that it is not validated.
    pub(super) definition: String,
    pub(super) columns: Vec<String>,
    pub(super) refers: Option<Reference>,
}

/// What a foreign key refers to.
pub(super) struct Reference {
    pub(super) table: TableName,
    pub(super) columns: Vec<String>,
    /// What happens on delete, on update, and how nulls match, as in `pg_constraint`.
    pub(super) manner: String,
}

/// The constraints of these tables.
pub(super) async fn read(client: &mut Client, oids: &str) -> Result<Vec<Constraint>, Failure> {
    let enforced = if client.server_version() >= 180_000 { "k.conenforced" } else { "true" };
    client.query(&sql(oids, enforced)).await?.iter().map(constraint).collect()
}

/// Between names of columns; no name holds it.
const SEPARATOR: char = '\u{1}';

fn sql(oids: &str, enforced: &str) -> String {
    let columns = |table: &str, numbers: &str| {
        format!(
            "(SELECT string_agg(a.attname, chr(1) ORDER BY u.n) \
              FROM unnest(k.{numbers}) WITH ORDINALITY AS u (attnum, n) \
              JOIN pg_catalog.pg_attribute a ON a.attrelid = k.{table} AND a.attnum = u.attnum)"
        )
    };
    format!(
        "SELECT k.conrelid, n.nspname, c.relname, k.conname, k.contype, k.convalidated, {enforced}, \
           k.condeferrable, k.condeferred, k.conparentid <> 0 OR (k.coninhcount > 0 AND NOT k.conislocal), \
           pg_catalog.pg_get_constraintdef(k.oid), {}, m.nspname, f.relname, {}, \
           k.confdeltype::text || k.confupdtype::text || k.confmatchtype::text \
         FROM pg_catalog.pg_constraint k \
         JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_class f ON k.contype = 'f' AND f.oid = k.confrelid \
         LEFT JOIN pg_catalog.pg_namespace m ON m.oid = f.relnamespace \
         WHERE k.conrelid = ANY ('{oids}'::oid[]) ORDER BY n.nspname, c.relname, k.conname",
        columns("conrelid", "conkey"),
        columns("confrelid", "confkey")
    )
}

fn constraint(row: &Row) -> Result<Constraint, Failure> {
    let names = |at: usize| {
        let text = row.text(at).unwrap_or_default();
        text.split(SEPARATOR).filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let refers = match row.text(12) {
        None => None,
        Some(schema) => Some(Reference {
            table: TableName::new(schema, row.required(13)?),
            columns: names(14),
            manner: row.required(15)?.to_owned(),
        }),
    };
    let definition = row.required(10)?;
    Ok(Constraint {
        table_oid: row.parse(0)?,
        table: TableName::new(row.required(1)?, row.required(2)?),
        name: row.required(3)?.to_owned(),
        kind: row.required(4)?.chars().next().unwrap_or('?'),
        validated: row.is_true(5),
        enforced: row.is_true(6),
        deferrable: row.is_true(7),
        deferred: row.is_true(8),
        inherited: row.is_true(9),
        definition: definition.trim_end_matches(" NOT VALID").to_owned(),
        columns: names(11),
        refers,
    })
}
