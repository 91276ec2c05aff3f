//! A table of ordinary rows and the routes that the benchmarks of expressions take it through.

use understudy_contract::{Class, Failure};
use understudy_model::{Column, RouteId, TableName, Tuple, TupleBuilder, Value};
use understudy_transform::expr::{Collation, Modifier, Scope, ScopeColumn, SqlType};
use understudy_transform::{
    Binding, BlueTable, ColumnSource, GreenColumn, GreenShape, Mapping, Requested, RouteSpec,
};

/// The table on blue.
pub(crate) const ON_BLUE: &str = "(id bigint PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL, email text NOT NULL,
        city text NOT NULL, total_cents bigint NOT NULL, status int NOT NULL, created_at timestamptz NOT NULL, note text)";

/// Columns of blue: name, type, and the type's object id.
const COLUMNS: [(&str, SqlType, u32); 9] = [
    ("id", SqlType::Int8, 20),
    ("first_name", SqlType::Text, 25),
    ("last_name", SqlType::Text, 25),
    ("email", SqlType::Text, 25),
    ("city", SqlType::Text, 25),
    ("total_cents", SqlType::Int8, 20),
    ("status", SqlType::Int4, 23),
    ("created_at", SqlType::TimestampTz, 1184),
    ("note", SqlType::Text, 25),
];

/// What a green column is filled with: its name, its type there, and SQL over blue's columns.
pub(crate) type Entry = (&'static str, SqlType, &'static str);

/// Three simple expressions; everything else is passed on.
pub(crate) const THREE: &[Entry] = &[
    ("name", SqlType::Text, "first_name || ' ' || last_name"),
    ("address", SqlType::Text, "lower(email)"),
    ("total", SqlType::Numeric, "total_cents / 100.0"),
];

/// Five typical expressions; everything else is passed on.
pub(crate) const FIVE: &[Entry] = &[
    ("name", SqlType::Text, "first_name || ' ' || last_name"),
    ("address", SqlType::Text, "lower(email)"),
    ("total", SqlType::Numeric, "total_cents / 100.0"),
    ("state", SqlType::Text, "CASE status WHEN 1 THEN 'active' WHEN 2 THEN 'paused' ELSE 'closed' END"),
    ("profile", SqlType::Jsonb, "jsonb_build_object('city', city, 'since', to_char(created_at, 'YYYY-MM'))"),
];

/// The route with these expressions, bound to rows as the stream has them.
pub(crate) fn bound(entries: &[Entry]) -> Result<Binding, Failure> {
    let named = |(name, _, text): &Entry| Requested::Sql((*name).to_owned(), (*text).to_owned());
    let mut requested = vec![Requested::Column("id".to_owned(), ColumnSource::Column("id".to_owned()))];
    requested.extend(entries.iter().map(named));
    requested.push(Requested::Rest);
    let green = |(name, ty, _): &Entry| GreenColumn {
        name: (*name).to_owned(),
        ty: ty.clone(),
        modifier: Modifier::NONE,
    };
    let shape = GreenShape { columns: entries.iter().map(green).collect(), keys: Vec::new() };
    let target = TableName::new("bench", "customers");
    let mapping = Mapping { columns: Some(&requested), filter: None };
    let spec = RouteSpec::compile(RouteId(0), &table(), (target, Some(&shape)), mapping)
        .map_err(|error| internal(&error.to_string()))?;
    spec.bind(&columns()).map_err(|error| internal(&error.to_string()))
}

fn internal(what: &str) -> Failure {
    Failure::new(Class::Internal, format!("the route of the benchmark: {what}"))
}

fn columns() -> Vec<Column> {
    let column = |(name, _, oid): &(&str, SqlType, u32)| Column {
        name: (*name).to_owned(),
        type_oid: *oid,
        type_modifier: -1,
        in_identity: *name == "id",
    };
    COLUMNS.iter().map(column).collect()
}

fn table() -> BlueTable {
    let names = COLUMNS.map(|(name, ..)| name);
    let mut table = BlueTable::named(TableName::new("bench", "customers"), &names, &["id"]);
    table.types = COLUMNS.iter().map(|(_, _, oid)| (*oid, -1)).collect();
    let collation = Collation { is_default: true, ..Collation::bytes() };
    let column = |(name, ty, _): &(&str, SqlType, u32)| ScopeColumn {
        name: (*name).to_owned(),
        ty: ty.clone(),
        modifier: Modifier::NONE,
        collation: (*ty == SqlType::Text).then(|| collation.clone()),
    };
    table.scope = Some(Scope {
        table: table.name.clone(),
        columns: COLUMNS.iter().map(column).collect(),
        types: std::collections::HashMap::new(),
        mask_key: None,
        collation: collation.clone(),
    });
    table
}

/// SQL that inserts rows like those of [`row`], numbered from behind `first`.
pub(crate) fn insert(table: &str, first: u64, rows: u64) -> String {
    format!(
        "INSERT INTO {table} SELECT {first} + n, 'First' || n % 1000, 'Lastname' || n % 7919, \
         'First' || n % 1000 || '.Last' || n || '@Example.com', 'City ' || n % 500, n * 37 % 1000000, n % 4, \
         '2020-01-01 00:00+00'::timestamptz + n % 100000000 * interval '1.000017 seconds', \
         CASE WHEN n % 5 > 0 THEN pg_catalog.md5(n::text) END FROM pg_catalog.generate_series(1, {rows}) n"
    )
}

/// A row as the stream carries it.
pub(crate) fn row(n: u64) -> Tuple {
    let (day, second) = (1 + n % 28, n % 60);
    let values = [
        Some(n.to_string()),
        Some(format!("First{}", n % 1000)),
        Some(format!("Lastname{}", n % 7919)),
        Some(format!("First{}.Last{n}@Example.com", n % 1000)),
        Some(format!("City {}", n % 500)),
        Some((n * 37 % 1_000_000).to_string()),
        Some((n % 4).to_string()),
        Some(format!("20{}-{:02}-{day:02} 12:34:{second:02}.{:06}+00", 20 + n % 5, 1 + n % 12, n % 999_983)),
        (!n.is_multiple_of(5))
            .then(|| format!("{:032x}", u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060))),
    ];
    let mut out = TupleBuilder::default();
    for value in &values {
        out.push(&value.as_ref().map_or(Value::Null, |text| Value::Text(text.as_bytes().into())));
    }
    out.finish()
}
