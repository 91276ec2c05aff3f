//! Key columns as a server knows them: how their values are written and compared whatever the search path.

use understudy_contract::{Class, Failure, NotRead, SideQuery};
use understudy_model::Key;

use super::stop::Step;
use crate::ident::{quote_literal, quote_table};
use crate::wire::Client;

/// A column of a side's own key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyColumn {
    /// SQL that names it.
    pub(super) sql: String,
    /// Its place in the key that names rows.
    pub(super) place: usize,
    /// Its type below all domains, without modifiers: fit for a cast that neither refuses nor cuts.
    pub(super) type_name: String,
    /// The operators of the type's default order, each with its schema.
    pub(super) operators: Operators,
}

/// Operators as `OPERATOR(...)` takes them: those of extension types are not found with an empty search path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operators {
    pub(super) at_most: String,
    pub(super) equal: String,
    pub(super) at_least: String,
    pub(super) beyond: String,
}

impl Operators {
    #[cfg(test)]
    pub(super) fn of_schema(schema: &str) -> Operators {
        let named = |name: &str| format!("{schema}.{name}");
        Operators { at_most: named("<="), equal: named("="), at_least: named(">="), beyond: named(">") }
    }
}

/// Looks the key columns of a side up. They come in the order of its index.
pub(super) async fn look_up(client: &mut Client, query: &SideQuery) -> Step<Vec<KeyColumn>> {
    let rows = client.query(&columns_sql(query)).await?;
    let mut columns = Vec::with_capacity(query.key.len());
    for (at, part) in query.key.iter().enumerate() {
        let Some(row) = rows.iter().find(|row| row.text(0) == Some(part.name.as_str())) else {
            let gone = format!("column {} of {} is not there", part.name, query.table);
            return Err(NotRead::Changed(gone).into());
        };
        let place = query.key_order.get(at).copied().unwrap_or(at);
        let operator = |at: usize, usual: &str| row.text(at).unwrap_or(usual).to_owned();
        columns.push(KeyColumn {
            sql: part.sql.clone(),
            place,
            type_name: row.required(1)?.to_owned(),
            operators: Operators {
                at_most: operator(2, "pg_catalog.<="),
                equal: operator(3, "pg_catalog.="),
                at_least: operator(4, "pg_catalog.>="),
                beyond: operator(5, "pg_catalog.>"),
            },
        });
    }
    Ok(columns)
}

/// With -1 as modifier `format_type` says `bpchar` and `"bit"`, which do not cut values short as `character` would. A type
/// without an order of its own (an enum, an array, varchar) is compared by operators of `pg_catalog`.
fn columns_sql(query: &SideQuery) -> String {
    let operator = |strategy: u8| {
        format!(
            "(SELECT pg_catalog.format('%I.%s', n.nspname, o.oprname) FROM pg_catalog.pg_amop p \
              JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr \
              JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace \
              WHERE p.amopfamily = k.opcfamily AND p.amopstrategy = {strategy} \
                AND p.amoplefttype = k.opcintype AND p.amoprighttype = k.opcintype)"
        )
    };
    format!(
        "WITH RECURSIVE base(attname, type) AS ( \
           SELECT a.attname, a.atttypid FROM pg_catalog.pg_attribute a \
           WHERE a.attrelid = pg_catalog.to_regclass({}) AND a.attnum > 0 AND NOT a.attisdropped \
           UNION ALL \
           SELECT b.attname, t.typbasetype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type \
           WHERE t.typtype = 'd') \
         SELECT b.attname, pg_catalog.format_type(b.type, -1), {}, {}, {}, {} FROM base b \
         JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype <> 'd' \
         LEFT JOIN pg_catalog.pg_opclass k ON k.opcintype = b.type AND k.opcdefault \
           AND k.opcmethod = (SELECT oid FROM pg_catalog.pg_am WHERE amname = 'btree')",
        quote_literal(&quote_table(&query.table)),
        operator(2),
        operator(3),
        operator(4),
        operator(5),
    )
}

/// The texts of a key, in its order.
pub(super) fn texts(key: &Key, columns: usize) -> Result<Vec<&str>, Failure> {
    let texts = key.texts().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>();
    let texts = texts.map_err(|_| Failure::new(Class::Data, "a key is not valid UTF-8"))?;
    if texts.len() != columns {
        return Err(Failure::new(Class::Internal, "a key has another number of columns than its table"));
    }
    Ok(texts)
}

/// For each column in the order of the index: the value that a key has for it, as a literal of its type.
pub(super) fn literals(columns: &[KeyColumn], key: &Key) -> Result<Vec<String>, Failure> {
    let texts = texts(key, columns.len())?;
    let literal = |column: &KeyColumn| {
        let text = texts.get(column.place).copied();
        let text =
            text.ok_or_else(|| Failure::new(Class::Internal, "a key column is named beyond the key"))?;
        Ok(format!("{}::{}", quote_literal(text), column.type_name))
    };
    columns.iter().map(literal).collect()
}

/// Those of some keys that are values of the columns' types at all. What is not cannot be in the table: a number beyond the
/// range of a column is in no row of it.
pub(super) async fn possible(client: &mut Client, columns: &[KeyColumn], keys: &[Key]) -> Step<Vec<Key>> {
    let (mut possible, mut rest) = (Vec::with_capacity(keys.len()), vec![keys]);
    while let Some(part) = rest.pop().filter(|part| !part.is_empty()) {
        let values = part.iter().map(|key| Ok(format!("({})", literals(columns, key)?.join(", "))));
        let values = values.collect::<Result<Vec<_>, Failure>>()?;
        match client.query(&format!("SELECT FROM (VALUES {}) AS v LIMIT 1", values.join(", "))).await {
            Ok(_) => possible.extend_from_slice(part),
            Err(failure) => match super::stop::Stop::from(failure) {
                super::stop::Stop::Not(NotRead::Unreadable(_)) if part.len() == 1 => {}
                super::stop::Stop::Not(NotRead::Unreadable(_)) => {
                    let (left, right) = part.split_at(part.len() / 2);
                    rest.extend([right, left]);
                }
                other => return Err(other),
            },
        }
    }
    Ok(possible)
}
