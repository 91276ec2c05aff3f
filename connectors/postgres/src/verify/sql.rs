//! The statements that read one side of a route, as pure text.

use understudy_contract::{Class, Failure, KeyRange, SideQuery};
use understudy_model::Key;

use super::keys::{self, KeyColumn};
use crate::ident::{quote_ident, quote_literal, quote_table};

/// One side of a route with what its server says of it.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) query: &'a SideQuery,
    /// Its own key, in the order of its index.
    pub(super) key: &'a [KeyColumn],
    /// Whether the server holds texts in UTF-8. A digest is over the same bytes on both sides, whatever they hold them in.
    pub(super) utf8: bool,
}

/// The rows that a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Picked {
    /// An interval of the side's own key.
    Range(KeyRange),
    /// By the side's own key.
    Own(Vec<Key>),
    /// By green's key, which is computed for every row.
    Green(Vec<Key>),
}

/// Rows are found through an index whatever the statistics say: a table that was never analyzed would be scanned whole for
/// each range.
const BY_INDEX: &str = "SET LOCAL enable_seqscan = off; ";
/// Its order, too, comes from the index.
const IN_ORDER: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; ";
/// The index is asked for each key, instead of being read from end to end beside the list of keys.
const BY_KEY: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; ";

impl Side<'_> {
    /// Keeps others from changing the table's shape, or from emptying it, until the end of the transaction.
    pub(super) fn lock(&self) -> String {
        let only = if self.query.from.starts_with("ONLY ") { "ONLY " } else { "" };
        format!("LOCK TABLE {only}{} IN ACCESS SHARE MODE", quote_table(&self.query.table))
    }

    /// The key columns in the order that names rows.
    pub(super) fn name_columns(&self) -> Vec<&str> {
        let mut columns = self.key.iter().collect::<Vec<_>>();
        columns.sort_by_key(|column| column.place);
        columns.into_iter().map(|column| column.sql.as_str()).collect()
    }

    /// SQL of a row's digest. The text of a record keeps null, an empty text and the bounds of columns apart.
    pub(super) fn row_digest(&self) -> String {
        let compared =
            self.query.columns.iter().filter_map(|column| column.compared.as_deref()).collect::<Vec<_>>();
        let values = if compared.is_empty() { "NULL::int4".to_owned() } else { compared.join(", ") };
        let text = format!("ROW({values})::text");
        if self.utf8 {
            format!("pg_catalog.md5({text})")
        } else {
            format!("pg_catalog.md5(pg_catalog.convert_to({text}, 'UTF8'))")
        }
    }

    /// The last key of the first `rows` rows beyond a key.
    pub(super) fn boundary(&self, after: Option<&Key>, rows: u64) -> Result<String, Failure> {
        let range = KeyRange { after: after.cloned(), upto: None };
        let order = self.key.iter().map(|column| column.sql.as_str()).collect::<Vec<_>>();
        Ok(format!(
            "{IN_ORDER}SELECT {} FROM {}{} ORDER BY {} OFFSET {} LIMIT 1",
            self.name_columns().join(", "),
            self.query.from,
            self.filter(self.in_range(&range)?),
            order.join(", "),
            rows.saturating_sub(1),
        ))
    }

    /// The digest of a range: count and two sums. OFFSET keeps the planner from computing each row's digest twice.
    pub(super) fn digest(&self, range: &KeyRange) -> Result<String, Failure> {
        let sum = |side: &str| {
            format!("coalesce(sum(('x' || pg_catalog.{side}(s.d, 16))::pg_catalog.bit(64)::int8), 0)")
        };
        Ok(format!(
            "{BY_INDEX}SELECT count(*), {}, {} FROM (SELECT {} AS d FROM {}{} OFFSET 0) AS s",
            sum("left"),
            sum("right"),
            self.row_digest(),
            self.query.from,
            self.filter(self.in_range(range)?),
        ))
    }

    /// A list of expressions over rows: what has to be set before, and the query.
    pub(super) fn select(&self, list: &str, picked: &Picked) -> Result<(&'static str, String), Failure> {
        let from = &self.query.from;
        Ok(match picked {
            Picked::Range(range) => {
                (BY_INDEX, format!("SELECT {list} FROM {from}{}", self.filter(self.in_range(range)?)))
            }
            Picked::Own(keys) | Picked::Green(keys) if keys.is_empty() => {
                ("", format!("SELECT {list} FROM {from} WHERE false"))
            }
            Picked::Own(keys) => {
                let (values, condition) = self.by_own_key(keys)?;
                (BY_KEY, format!("SELECT {list} FROM {from}, {values}{}", self.filter(vec![condition])))
            }
            Picked::Green(keys) => {
                let (values, condition) = self.by_green_key(keys)?;
                ("", format!("SELECT {list} FROM {from}, {values}{}", self.filter(vec![condition])))
            }
        })
    }

    /// The version of a row and the transaction that wrote it.
    pub(super) fn version(&self) -> String {
        if !self.query.versioned {
            return "NULL, NULL".to_owned();
        }
        let table = quote_ident(&self.query.table.name);
        format!(
            "{table}.tableoid::text || ':' || {table}.xmin::text || ':' || {table}.ctid::text, {table}.xmin"
        )
    }

    /// The replication origin of whoever wrote a row.
    pub(super) fn origin(&self) -> String {
        format!(
            "(SELECT understudy_o.roident FROM pg_catalog.pg_xact_commit_timestamp_origin({}.xmin) AS understudy_o)",
            quote_ident(&self.query.table.name)
        )
    }

    fn filter(&self, mut conditions: Vec<String>) -> String {
        conditions.extend(self.query.condition.iter().map(|condition| format!("({condition})")));
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
    }

    fn in_range(&self, range: &KeyRange) -> Result<Vec<String>, Failure> {
        let after = range.after.as_ref().map(|key| self.bound(key, true));
        let upto = range.upto.as_ref().map(|key| self.bound(key, false));
        after.into_iter().chain(upto).collect()
    }

    /// Beyond a key, or up to it, in the order of the index. One comparison of rows is what an index is best at; operators of
    /// several schemas cannot share one, so it is spelled out for them.
    fn bound(&self, key: &Key, beyond: bool) -> Result<String, Failure> {
        let literals = keys::literals(self.key, key)?;
        let operator = |column: &KeyColumn| match beyond {
            true => column.operators.beyond.clone(),
            false => column.operators.at_most.clone(),
        };
        let Some(first) = self.key.first() else {
            return Err(Failure::new(Class::Internal, "a range needs a key"));
        };
        let columns = self.key.iter().map(|column| column.sql.as_str()).collect::<Vec<_>>();
        if self.key.iter().all(|column| operator(column) == operator(first)) {
            let row =
                |parts: &str| if columns.len() == 1 { parts.to_owned() } else { format!("ROW({parts})") };
            return Ok(format!(
                "{} OPERATOR({}) {}",
                row(&columns.join(", ")),
                operator(first),
                row(&literals.join(", "))
            ));
        }
        let mut after = String::new();
        for (column, literal) in self.key.iter().zip(&literals).rev() {
            let (sql, operators) = (&column.sql, &column.operators);
            let more = match after.is_empty() {
                true => String::new(),
                false => format!(" OR ({sql} OPERATOR({}) {literal} AND {after})", operators.equal),
            };
            after = format!("({sql} OPERATOR({}) {literal}{more})", operators.beyond);
        }
        // What the index can be entered by comes first.
        let enter = |operator: &str| format!("{} OPERATOR({operator}) {}", first.sql, literals[0]);
        Ok(match beyond {
            true => format!("{} AND {after}", enter(&first.operators.at_least)),
            false => format!("{} AND NOT {after}", enter(&first.operators.at_most)),
        })
    }

    /// Equal is not the same everywhere: 1.0 equals 1.00, and a case-blind type equals itself in capitals. Rows are named by
    /// the text of their key, so the text decides, and the type's own operator only leads to the index. It is the text of a
    /// record, as a cast to text would drop the blanks of `character(n)`.
    fn by_own_key(&self, keys: &[Key]) -> Result<(String, String), Failure> {
        let mut values = Vec::with_capacity(keys.len());
        for key in distinct(keys) {
            let texts = keys::texts(key, self.key.len())?;
            values.push(format!("({}, {})", keys::literals(self.key, key)?.join(", "), text_record(&texts)));
        }
        let names = (0..self.key.len()).map(|at| format!("understudy_k{at}")).collect::<Vec<_>>();
        let equal = self.key.iter().zip(&names).map(|(column, name)| {
            format!("{} OPERATOR({}) understudy_v.{name}", column.sql, column.operators.equal)
        });
        let condition = format!(
            "{} AND {}",
            equal.collect::<Vec<_>>().join(" AND "),
            same_text(&self.name_columns().join(", "))
        );
        let values = values.join(", ");
        Ok((format!("(VALUES {values}) AS understudy_v({}, understudy_t)", names.join(", ")), condition))
    }

    fn by_green_key(&self, keys: &[Key]) -> Result<(String, String), Failure> {
        let mut values = Vec::with_capacity(keys.len());
        for key in distinct(keys) {
            let texts = keys::texts(key, self.query.green_key.len())?;
            values.push(format!("({})", text_record(&texts)));
        }
        let values = format!("(VALUES {}) AS understudy_v(understudy_t)", values.join(", "));
        Ok((values, same_text(&self.query.green_key.join(", "))))
    }
}

fn distinct(keys: &[Key]) -> Vec<&Key> {
    let mut keys = keys.iter().collect::<Vec<_>>();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn text_record(texts: &[&str]) -> String {
    let texts = texts.iter().map(|text| format!("{}::text", quote_literal(text))).collect::<Vec<_>>();
    format!("ROW({})::text", texts.join(", "))
}

fn same_text(expressions: &str) -> String {
    format!(
        "ROW({expressions})::text COLLATE pg_catalog.\"C\" = understudy_v.understudy_t COLLATE pg_catalog.\"C\""
    )
}

#[cfg(test)]
mod tests {
    use understudy_contract::{ColumnQuery, KeyPart};
    use understudy_model::TableName;

    use super::super::keys::Operators;
    use super::*;

    fn column(sql: &str, place: usize, schema: &str) -> KeyColumn {
        let operators = Operators::of_schema(schema);
        KeyColumn { sql: sql.to_owned(), place, type_name: "int4".to_owned(), operators }
    }

    fn query(compared: &[Option<&str>]) -> SideQuery {
        let column = |compared: &Option<&str>| ColumnQuery {
            value: "\"v\"".to_owned(),
            compared: compared.map(str::to_owned),
        };
        SideQuery {
            table: TableName::new("s", "t"),
            from: "ONLY \"s\".\"t\"".to_owned(),
            condition: Some("\"live\"".to_owned()),
            key: ["a", "b"].map(|name| KeyPart { sql: name.to_owned(), name: name.to_owned() }).into(),
            green_key: vec!["lower(\"n\")".to_owned()],
            key_order: vec![1, 0],
            columns: compared.iter().map(column).collect(),
            settings: Vec::new(),
            versioned: true,
        }
    }

    fn key(texts: &[&str]) -> Key {
        Key::from_texts(texts.iter().map(|text| text.as_bytes()))
    }

    fn range(after: Option<&[&str]>, upto: Option<&[&str]>) -> KeyRange {
        KeyRange { after: after.map(key), upto: upto.map(key) }
    }

    /// A key is named in another order than the index has: mixed up, a range would hold other rows than its neighbours leave.
    #[test]
    fn bounds_follow_the_index_and_names_their_own_order() {
        let query = query(&[Some("\"v\"")]);
        let columns = [column("\"t\".\"a\"", 1, "pg_catalog"), column("\"t\".\"b\"", 0, "pg_catalog")];
        let side = Side { query: &query, key: &columns, utf8: true };
        let bounds = side.in_range(&range(Some(&["2", "1"]), Some(&["4", "3"]))).unwrap();
        let wanted = [
            "ROW(\"t\".\"a\", \"t\".\"b\") OPERATOR(pg_catalog.>) ROW('1'::int4, '2'::int4)",
            "ROW(\"t\".\"a\", \"t\".\"b\") OPERATOR(pg_catalog.<=) ROW('3'::int4, '4'::int4)",
        ];
        assert_eq!(bounds, wanted);
        assert_eq!(side.name_columns(), ["\"t\".\"b\"", "\"t\".\"a\""]);
        assert!(side.in_range(&KeyRange::default()).unwrap().is_empty());
        let boundary = side.boundary(None, 10).unwrap();
        assert!(boundary.ends_with("WHERE (\"live\") ORDER BY \"t\".\"a\", \"t\".\"b\" OFFSET 9 LIMIT 1"));
        assert!(side.in_range(&range(Some(&["1"]), None)).is_err(), "a key of another table");
    }

    /// Operators of an extension's schema cannot be mixed in one comparison of rows.
    #[test]
    fn a_bound_over_several_schemas_is_spelled_out() {
        let query = query(&[]);
        let columns = [column("a", 0, "ext"), column("b", 1, "pg_catalog")];
        let side = Side { query: &query, key: &columns, utf8: true };
        let beyond = "(a OPERATOR(ext.>) '1'::int4 OR (a OPERATOR(ext.=) '1'::int4 AND (b OPERATOR(pg_catalog.>) '2'::int4)))";
        let bounds = side.in_range(&range(Some(&["1", "2"]), Some(&["1", "2"]))).unwrap();
        assert_eq!(bounds[0], format!("a OPERATOR(ext.>=) '1'::int4 AND {beyond}"));
        assert_eq!(bounds[1], format!("a OPERATOR(ext.<=) '1'::int4 AND NOT {beyond}"));
    }

    /// A route of which every column is ignored still has rows that are there or not.
    #[test]
    fn a_digest_is_over_what_is_compared_in_utf8() {
        let some = query(&[Some("\"x\""), None, Some("\"y\"::text")]);
        let side = Side { query: &some, key: &[], utf8: true };
        assert_eq!(side.row_digest(), "pg_catalog.md5(ROW(\"x\", \"y\"::text)::text)");
        let none = query(&[None]);
        let side = Side { query: &none, key: &[], utf8: false };
        assert_eq!(side.row_digest(), "pg_catalog.md5(pg_catalog.convert_to(ROW(NULL::int4)::text, 'UTF8'))");
    }

    /// Names that are quoted wrongly would name other rows, or run as SQL.
    #[test]
    fn keys_are_literals_and_asked_for_once() {
        let query = query(&[]);
        let mut columns = [column("\"t\".\"a\"", 0, "pg_catalog")];
        columns[0].type_name = "text".to_owned();
        let side = Side { query: &query, key: &columns, utf8: true };
        let odd = key(&["it's \\ here"]);
        let (settings, sql) = side.select("1", &Picked::Own(vec![odd.clone(), odd])).unwrap();
        let literal = " E'it''s \\\\ here'::text";
        assert_eq!(sql.matches(literal).count(), 2, "{sql}");
        assert!(settings.contains("enable_hashjoin") && sql.contains(" AND (\"live\")"), "{sql}");
        let (_, sql) = side.select("1", &Picked::Green(vec![key(&["x"])])).unwrap();
        assert!(sql.contains("ROW(lower(\"n\"))::text COLLATE") && sql.contains("ROW('x'::text)::text"));
        let (_, sql) = side.select("1", &Picked::Own(Vec::new())).unwrap();
        assert!(sql.ends_with("WHERE false"));
    }

    /// Promise 9: a table that only inherits is not read, and whoever holds it holds nobody up.
    #[test]
    fn a_table_is_locked_as_it_is_read() {
        let mut query = query(&[]);
        let lock = |query: &SideQuery| Side { query, key: &[], utf8: true }.lock();
        assert_eq!(lock(&query), "LOCK TABLE ONLY \"s\".\"t\" IN ACCESS SHARE MODE");
        query.from = "\"s\".\"t\"".to_owned();
        assert_eq!(lock(&query), "LOCK TABLE \"s\".\"t\" IN ACCESS SHARE MODE");
    }
}
