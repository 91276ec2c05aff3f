//! What can be given back, and that it is.

use std::sync::Arc;

use understudy_model::{RouteId, TableName};

use super::*;
use crate::expr::{Collation, EnumType, NamedType, ScopeColumn};
use crate::route::{GreenColumn, GreenShape, Mapping, Requested};

fn scope(table: &str, columns: &[(&str, SqlType, Modifier)]) -> Scope {
    let column = |(name, ty, modifier): &(&str, SqlType, Modifier)| ScopeColumn {
        name: (*name).to_owned(),
        ty: ty.clone(),
        modifier: *modifier,
        collation: ty.is_string().then(Collation::bytes),
    };
    Scope {
        table: TableName::new("public", table),
        columns: columns.iter().map(column).collect(),
        types: Default::default(),
        collation: Collation::bytes(),
        mask_key: None,
    }
}

fn blue(columns: &[(&str, SqlType, Modifier)]) -> BlueTable {
    let names = columns.iter().map(|(name, ..)| *name).collect::<Vec<_>>();
    let mut table = BlueTable::named(TableName::new("public", "t"), &names, &[names[0]]);
    table.scope = Some(scope("t", columns));
    table
}

fn route(blue: &BlueTable, green: &Scope, requested: &[Requested], filter: Option<&str>) -> RouteSpec {
    let column = |column: &ScopeColumn| GreenColumn {
        name: column.name.clone(),
        ty: column.ty.clone(),
        modifier: column.modifier,
    };
    let shape = GreenShape { columns: green.columns.iter().map(column).collect(), keys: Vec::new() };
    let mapping = Mapping { columns: Some(requested), filter };
    RouteSpec::compile(RouteId(0), blue, (green.table.clone(), Some(&shape)), mapping).unwrap()
}

fn pass(name: &str, from: &str) -> Requested {
    Requested::Column(name.to_owned(), ColumnSource::Column(from.to_owned()))
}

fn sql(name: &str, text: &str) -> Requested {
    Requested::Sql(name.to_owned(), text.to_owned())
}

fn mood() -> SqlType {
    let name = NamedType { schema: Some("public".to_owned()), name: "mood".to_owned() };
    SqlType::Enum(Arc::new(EnumType { name, labels: vec!["sad".to_owned()] }))
}

type Case = (SqlType, Modifier, SqlType, Modifier, bool, &'static [&'static str]);

/// One column of blue as another type on green, with texts that come back where the types say so.
fn cases() -> Vec<Case> {
    use SqlType::{
        Bool, Bpchar, Bytea, Cidr, Date, Float4, Float8, Inet, Int2, Int4, Int8, Interval, Json, Jsonb,
        Numeric, Text, Time, TimeTz, Timestamp, TimestampTz, Uuid, Varchar,
    };
    let none = Modifier::NONE;
    let chars = Modifier::of_characters;
    let digits = Modifier::of_numeric;
    vec![
        (Int2, none, Int8, none, true, &["-32768", "7"]),
        (Int8, none, Int4, none, true, &["7"]),
        (Int8, none, Numeric, none, true, &["-9223372036854775808"]),
        (Int4, none, Numeric, digits(12, 2), false, &[]),
        (Numeric, digits(10, 0), Int8, none, true, &["12"]),
        (Numeric, none, Int8, none, false, &[]),
        (Numeric, digits(10, 2), Numeric, none, true, &["1.50", "NaN"]),
        (Numeric, digits(10, 2), Numeric, digits(12, 4), true, &["1.50"]),
        (Numeric, none, Numeric, digits(12, 4), false, &[]),
        (Numeric, none, Float8, none, false, &[]),
        (Int4, none, Float8, none, true, &["2147483647", "-1000000"]),
        (Int8, none, Float8, none, false, &[]),
        (
            Float4,
            none,
            Float8,
            none,
            true,
            &["0.1", "1e+06", "3.4028235e+38", "1e-45", "-0", "NaN", "-Infinity"],
        ),
        (Float8, none, Numeric, none, false, &[]),
        (Float8, none, Text, none, true, &["0.1", "-0", "1e-300"]),
        (Varchar, chars(5), Text, none, true, &["ab  ", ""]),
        (Varchar, chars(5), Varchar, chars(6), true, &["ab  "]),
        (Text, none, Varchar, chars(6), false, &[]),
        (Text, none, Bpchar, chars(6), false, &[]),
        (Bpchar, chars(5), Text, none, true, &["ab   "]),
        (Bpchar, chars(5), Bpchar, chars(9), true, &["ab   "]),
        (Bpchar, chars(5), Varchar, chars(4), false, &[]),
        (Bool, none, Text, none, true, &["t", "f"]),
        (Uuid, none, Text, none, true, &["6f1c2b1e-0000-4000-8000-000000000001"]),
        (Text, none, Uuid, none, false, &[]),
        (Bytea, none, Text, none, true, &[r"\x00ff"]),
        (Date, none, Timestamp, none, true, &["2020-01-31", "infinity", "0044-03-15 BC"]),
        (Date, none, TimestampTz, none, true, &["2020-01-31"]),
        (Timestamp, none, Date, none, false, &[]),
        (Timestamp, none, TimestampTz, none, true, &["2020-01-31 10:20:30.123456", "-infinity"]),
        (TimestampTz, none, Timestamp, none, true, &["2020-01-31 10:20:30.1+00"]),
        (Timestamp, none, Timestamp, Modifier(3), false, &[]),
        (Timestamp, Modifier(3), TimestampTz, Modifier(3), true, &["2020-01-31 10:20:30.123"]),
        (TimestampTz, none, Text, none, true, &["2020-01-31 10:20:30.1+00"]),
        (Time, none, TimeTz, none, true, &["10:20:30.5", "24:00:00"]),
        (Interval, none, Text, none, true, &["1 year 2 mons -3 days +04:05:06.7", "-00:00:00.5"]),
        (Json, none, Jsonb, none, false, &[]),
        (Json, none, Text, none, true, &["{\"b\":1 ,\"a\":2}"]),
        (Jsonb, none, Json, none, true, &["{\"a\": 1.10}"]),
        (Text, none, Json, none, true, &["[1, 2 ]"]),
        (Cidr, none, Inet, none, true, &["10.0.0.0/8", "10.1.2.3/32", "::1/128"]),
        (Inet, none, Text, none, true, &["10.0.0.1", "10.0.0.0/8"]),
        (Inet, none, Cidr, none, false, &[]),
        (mood(), none, Text, none, true, &["sad"]),
        (Text, none, mood(), none, true, &["sad"]),
        (Int4.array_of(), none, Int8.array_of(), none, true, &["{1,NULL,3}"]),
        (Date.array_of(), none, Timestamp.array_of(), none, true, &["{2020-01-31}"]),
        (Json.array_of(), none, Jsonb.array_of(), none, false, &[]),
        (Int4.array_of(), none, Text, none, true, &["{1,NULL,3}"]),
    ]
}

/// A column said to come back that does not would be lost without a word.
#[test]
fn passed_columns_come_back_where_the_type_keeps_them() {
    for (from, narrow, to, wide, expected, texts) in cases() {
        let label = format!("{from} {narrow:?} -> {to} {wide:?}");
        let blue = blue(&[("id", SqlType::Int4, Modifier::NONE), ("v", from, narrow)]);
        let green = scope("g", &[("id", SqlType::Int4, Modifier::NONE), ("w", to.clone(), wide)]);
        let route = route(&blue, &green, &[pass("id", "id"), pass("w", "v")], None);
        let inverse = route.inverse(&blue, Some(&green), &[]).unwrap();
        let kind = &inverse.columns()[1].kind;
        assert_eq!(matches!(kind, ReturnKind::Lossless(_)), expected, "{label}: {kind:?}");
        for text in texts {
            let stored = text::input(&to, wide, text).unwrap();
            let stored = text::output(&stored, &to);
            let down = inverse.down(&[Some("1".into()), Some(stored)]).unwrap();
            assert_eq!(down[1], ("v", Some((*text).to_owned())), "{label}");
        }
    }
}

/// A cast that the user wrote is no reason to lose a column, unless it loses something.
#[test]
fn casts_come_back_where_they_keep_every_value() {
    let none = Modifier::NONE;
    let chars = Modifier::of_characters;
    for (from, narrow, text, value, expected) in [
        (SqlType::Int4, none, "v::text", "7", true),
        (SqlType::Int4, none, "v::numeric::text", "7", true),
        (SqlType::Int4, none, "v::varchar(2)", "7", false),
        (SqlType::Bool, none, "v::text", "t", true),
        (SqlType::Bool, none, "v::int::text", "f", true),
        (SqlType::Bpchar, chars(5), "v::text", "ab   ", true),
        (SqlType::Bpchar, none, "v::text", "ab   ", false),
        (SqlType::Float4, none, "v::float8::text", "0.1", true),
        (SqlType::Inet, none, "v::text", "10.0.0.1", true),
        (SqlType::Inet, none, "v::cidr::text", "10.0.0.1", false),
        (SqlType::Date, none, "v::timestamp::text", "2020-01-31", true),
        (SqlType::Timestamp, none, "v::date::text", "2020-01-31 10:00:00", false),
        (SqlType::Text, none, "lower(v)", "a", false),
        (SqlType::Text, none, "v::int::text", "07", false),
        (SqlType::Int4.array_of(), none, "v::int8[]::text", "{1,2}", true),
    ] {
        let blue = blue(&[("id", SqlType::Int4, none), ("v", from.clone(), narrow)]);
        let green = scope("g", &[("id", SqlType::Int4, none), ("w", SqlType::Text, none)]);
        let route = route(&blue, &green, &[pass("id", "id"), sql("w", text)], None);
        let inverse = route.inverse(&blue, Some(&green), &[]).unwrap();
        let kind = &inverse.columns()[1].kind;
        assert_eq!(matches!(kind, ReturnKind::Lossless(_)), expected, "{from} {text}: {kind:?}");
        if expected {
            let ColumnSource::Computed(up) = &route.columns[1].from else { panic!("{text}") };
            let stored = up.expression.evaluate(&[None, Some(value.into())]).unwrap();
            let down = inverse.down(&[Some("1".into()), stored.map(Into::into)]).unwrap();
            assert_eq!(down[1], ("v", Some(value.to_owned())), "{from} {text}");
        }
    }
}

/// What the condition says of a column is known on the way back; an equality that keeps no text says nothing.
#[test]
fn columns_fixed_by_the_condition_come_back() {
    let none = Modifier::NONE;
    let columns = [
        ("id", SqlType::Int4, none),
        ("gone", SqlType::Timestamp, none),
        ("kind", SqlType::Varchar, Modifier::of_characters(9)),
        ("live", SqlType::Bool, none),
        ("price", SqlType::Numeric, none),
        ("n", SqlType::Int2, none),
    ];
    let blue = blue(&columns);
    let green = scope("g", &[("id", SqlType::Int4, none)]);
    let filter = "gone IS NULL AND kind = 'a' AND NOT live AND price = 1 AND 7 = n";
    let inverse =
        route(&blue, &green, &[pass("id", "id")], Some(filter)).inverse(&blue, Some(&green), &[]).unwrap();
    let down = inverse.down(&[Some("1".into())]).unwrap();
    let text = |text: &str| Some(text.to_owned());
    let expected =
        [("id", text("1")), ("gone", None), ("kind", text("a")), ("live", text("f")), ("n", text("7"))];
    assert_eq!(down, expected);
    assert_eq!(inverse.columns()[4].kind, ReturnKind::Lost);
    let either = route(&blue, &green, &[pass("id", "id")], Some("kind = 'a' OR gone IS NULL"));
    let inverse = either.inverse(&blue, Some(&green), &[]).unwrap();
    assert!(inverse.columns()[1..].iter().all(|back| back.kind == ReturnKind::Lost));
}

/// What cannot be derived is declared, over green's columns and in blue's type.
#[test]
fn declared_columns_are_computed_from_green() {
    let none = Modifier::NONE;
    let blue =
        blue(&[("id", SqlType::Int4, none), ("first", SqlType::Text, none), ("n", SqlType::Int4, none)]);
    let green = scope(
        "g",
        &[("stamp", SqlType::Timestamp, none), ("name", SqlType::Text, none), ("id", SqlType::Int4, none)],
    );
    let route = route(&blue, &green, &[pass("id", "id"), sql("name", "first || ' x'")], None);
    let back = |column: &str, text: &str| vec![(column.to_owned(), text.to_owned())];
    let inverse = route.inverse(&blue, Some(&green), &back("first", "split_part(name, ' ', 1)")).unwrap();
    let shown = inverse.columns().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown, ["lossless: id", "declared: split_part(name, ' ', 1)", "lost on rollback"]);
    let row = [Some("1".into()), Some("Ann x".into())];
    assert_eq!(
        inverse.down(&row).unwrap(),
        [("id", Some("1".to_owned())), ("first", Some("Ann".to_owned()))]
    );
    // The route does not fill it, so the row does not tell.
    let inverse = route.inverse(&blue, Some(&green), &back("first", "stamp::text")).unwrap();
    assert_eq!(inverse.down(&row).unwrap(), [("id", Some("1".to_owned()))]);

    let error = route.inverse(&blue, Some(&green), &back("n", "name")).unwrap_err();
    assert!(
        matches!(error, MappingError::Back { .. }) && error.to_string().starts_with("back.n: "),
        "{error}"
    );
    assert!(route.inverse(&blue, None, &back("n", "1")).is_err());
    assert!(route.inverse(&blue, Some(&green), &back("n", "1 / 0")).is_err());
    assert!(matches!(
        route.inverse(&blue, Some(&green), &back("nope", "1")),
        Err(MappingError::NoSuchColumn { .. })
    ));
}

/// Promise 8: a value that does not come back fails without being shown.
#[test]
fn failures_name_the_column_of_blue() {
    let none = Modifier::NONE;
    let blue = blue(&[("id", SqlType::Int4, none), ("n", SqlType::Int4, none)]);
    let green = scope("g", &[("id", SqlType::Int4, none), ("name", SqlType::Text, none)]);
    let route = route(&blue, &green, &[pass("id", "id"), sql("name", "n || 'x'")], None);
    let back = [("n".to_owned(), "name::int".to_owned())];
    let inverse = route.inverse(&blue, Some(&green), &back).unwrap();
    let refusal = inverse.down(&[Some("1".into()), Some("secret".into())]).unwrap_err();
    assert_eq!((refusal.column.as_deref(), refusal.sqlstate.as_str()), (Some("n"), "22P02"));
    assert!(!refusal.reason.contains("secret"));
}
