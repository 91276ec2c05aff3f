//! SQL that finds rows by their keys, through the key's index and then by exact text.

use understudy_contract::{Class, Failure};
use understudy_model::Key;

use crate::ident::{quote_ident, quote_literal};
use crate::wire::Client;

/// How values of a key column are written and compared.
pub(super) struct KeyType {
    /// The type without modifiers, fit for a cast.
    name: String,
    /// The equality operator of the type's default B-tree order, schema and name: with an empty search path the
    /// operators of extension types are not found by themselves.
    equal: (String, String),
}

/// The types of key columns, in order. `None` when a column is gone.
pub(super) async fn types(
    client: &mut Client,
    table: u32,
    columns: &[String],
) -> Result<Option<Vec<KeyType>>, Failure> {
    let rows = client.query(&types_sql(table)).await?;
    let mut types = Vec::with_capacity(columns.len());
    for column in columns {
        let Some(row) = rows.iter().find(|row| row.text(0) == Some(column.as_str())) else {
            return Ok(None);
        };
        let equal = (row.text(2).unwrap_or("pg_catalog").to_owned(), row.text(3).unwrap_or("=").to_owned());
        types.push(KeyType { name: row.required(1)?.to_owned(), equal });
    }
    Ok(Some(types))
}

/// With -1 as modifier `format_type` says `bpchar` and `"bit"`, which do not cut values short as `character` would.
fn types_sql(table: u32) -> String {
    format!(
        "WITH RECURSIVE base(attname, declared, type) AS ( \
           SELECT a.attname, a.atttypid, a.atttypid FROM pg_catalog.pg_attribute a \
           WHERE a.attrelid = {table} AND a.attnum > 0 AND NOT a.attisdropped \
           UNION ALL \
           SELECT b.attname, b.declared, t.typbasetype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type \
           WHERE t.typtype = 'd') \
         SELECT b.attname, pg_catalog.format_type(b.declared, -1), n.nspname, o.oprname FROM base b \
         JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype <> 'd' \
         LEFT JOIN pg_catalog.pg_opclass k ON k.opcintype = b.type AND k.opcdefault \
           AND k.opcmethod = (SELECT oid FROM pg_catalog.pg_am WHERE amname = 'btree') \
         LEFT JOIN pg_catalog.pg_amop p ON p.amopfamily = k.opcfamily AND p.amopstrategy = 3 \
           AND p.amoplefttype = k.opcintype AND p.amoprighttype = k.opcintype \
         LEFT JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace"
    )
}

/// `(VALUES ...) AS v(...) ON ...` that picks the rows of `x` with these keys.
///
/// Equal is not the same everywhere: 1.0 equals 1.00, and a case-blind type equals itself in capitals. Rows are named by
/// the text of their key, so the text decides, and the type's own operator only leads to the index.
pub(super) fn join_sql(columns: &[String], types: &[KeyType], keys: &[Key]) -> Result<String, Failure> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    let mut values = Vec::with_capacity(keys.len());
    for key in &keys {
        let texts = key.texts().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>();
        let texts = texts.map_err(|_| Failure::new(Class::Data, "a key is not valid UTF-8"))?;
        if texts.len() != types.len() {
            return Err(Failure::new(Class::Internal, "a key has another number of columns than its table"));
        }
        let casts =
            texts.iter().zip(types).map(|(text, kind)| format!("{}::{}", quote_literal(text), kind.name));
        values.push(format!("({})", casts.collect::<Vec<_>>().join(", ")));
    }
    let names = (0..columns.len()).map(|at| format!("k{at}")).collect::<Vec<_>>();
    let conditions = columns.iter().zip(types).zip(&names).map(|((column, kind), name)| {
        let (column, (schema, operator)) = (quote_ident(column), &kind.equal);
        format!(
            "x.{column} OPERATOR({}.{operator}) v.{name} \
             AND x.{column}::text COLLATE pg_catalog.\"C\" = v.{name}::text COLLATE pg_catalog.\"C\"",
            quote_ident(schema)
        )
    });
    let conditions = conditions.collect::<Vec<_>>().join(" AND ");
    Ok(format!("(VALUES {}) AS v({}) ON {conditions}", values.join(", "), names.join(", ")))
}
