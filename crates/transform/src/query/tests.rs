//! Queries of routes.

use understudy_model::{RouteId, TableName};

use super::*;
use crate::expr::{Collation, MaskKey, ScopeColumn};
use crate::route::{BlueTable, GreenColumn, Mapping, Requested};

fn blue() -> BlueTable {
    let mut table =
        BlueTable::named(TableName::new("app", "user"), &["id", "Name", "price", "gone"], &["id"]);
    let types = [SqlType::Int4, SqlType::Text, SqlType::Numeric, SqlType::Timestamp];
    let columns = table.columns.iter().zip(types).map(|(name, ty)| ScopeColumn {
        name: name.clone(),
        collation: ty.is_string().then(Collation::bytes),
        ty,
        modifier: Modifier::NONE,
    });
    table.scope = Some(Scope {
        table: table.name.clone(),
        columns: columns.collect(),
        types: Default::default(),
        collation: Collation::bytes(),
        mask_key: Some(MaskKey::new(b"key")),
    });
    table
}

fn green() -> GreenShape {
    let column = |name: &str, ty, modifier| GreenColumn { name: name.to_owned(), ty, modifier };
    GreenShape {
        columns: vec![
            column("id", SqlType::Int8, Modifier::NONE),
            column("label", SqlType::Varchar, Modifier::of_characters(9)),
            column("cents", SqlType::Int8, Modifier::NONE),
            column("kind", SqlType::Text, Modifier::NONE),
            column("note", SqlType::Jsonb, Modifier::NONE),
        ],
        keys: vec![vec!["id".to_owned()]],
    }
}

fn route(green: Option<&GreenShape>, key: &[u8]) -> RouteSpec {
    let mut blue = blue();
    blue.scope.as_mut().unwrap().mask_key = Some(MaskKey::new(key));
    let sql = |name: &str, text: &str| Requested::Sql(name.to_owned(), text.to_owned());
    let constant = |name: &str, text: Option<&str>| {
        Requested::Column(name.to_owned(), ColumnSource::Constant(text.map(str::to_owned)))
    };
    let requested = [
        Requested::Column("id".to_owned(), ColumnSource::Column("id".to_owned())),
        sql("label", "mask(\"Name\")"),
        sql("cents", "price * 100"),
        constant("kind", Some("it's")),
        constant("note", None),
    ];
    let mapping = Mapping { columns: Some(&requested), filter: Some("gone IS NULL -- all that live") };
    RouteSpec::compile(RouteId(0), &blue, (TableName::new("app", "people"), green), mapping).unwrap()
}

/// The query is the independent opinion on what is computed here, so every part of it has to say the same.
#[test]
fn a_route_is_one_query() {
    let green = green();
    let masked = crate::expr::render::own_text("mask(\"Name\")", blue().scope.as_ref().unwrap()).unwrap();
    let expected = format!(
        r#"SELECT "id" AS "id", CAST({masked} AS character varying) AS "label", CAST((price * 100) AS bigint) AS "cents", CAST('it''s' AS text) AS "kind", CAST(NULL AS jsonb) AS "note" FROM "app"."user" WHERE (gone IS NULL -- all that live"#
    ) + "\n)";
    let route = route(Some(&green), b"key");
    assert_eq!(route.query(Some(&green), blue().scope.as_ref()), expected);
    assert_eq!(route.key_sql(), [r#""user"."id""#]);
}

/// Without green's types nothing is cast.
#[test]
fn what_is_not_known_is_not_cast() {
    let route = route(None, b"key");
    let sql = route.query(None, blue().scope.as_ref());
    assert!(sql.contains(r#"(price * 100) AS "cents", 'it''s' AS "kind", NULL AS "note""#), "{sql}");
}

/// Another key makes other masks, so rows copied under the old one have to be copied again.
#[test]
fn another_key_is_another_mapping() {
    let (one, same, other) = (route(None, b"key"), route(None, b"key"), route(None, b"other"));
    assert_eq!(one.fingerprint(), same.fingerprint());
    assert_ne!(one.fingerprint(), other.fingerprint());
    assert!(one == same && one != other);
}
