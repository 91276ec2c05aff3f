//! The files that users start from: each example loads, the schema is the one the program prints, and both agree.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use understudy::demo::shop;
use understudy::settings::{self, Secrets, Surroundings};
use understudy_model::{RouteId, TableName};
use understudy_transform::expr::{Collation, MaskKey, Modifier, Scope, ScopeColumn, SqlType};
use understudy_transform::{BlueTable, GreenColumn, GreenShape, Mapping, RouteSpec};

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

fn examples() -> Vec<PathBuf> {
    let entries = [config(), config().join("compose")].map(|folder| fs::read_dir(folder).unwrap());
    let files = entries.into_iter().flatten().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

#[test]
fn every_example_loads() {
    let files = examples();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let surroundings =
            Surroundings { variables: HashMap::new(), folder: config(), secrets: Secrets::LeaveOut };
        let text = fs::read_to_string(&file).unwrap();
        if let Err(error) = settings::parse(&file.display().to_string(), &text, &surroundings) {
            panic!("{error}");
        }
        let schema = text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap();
        assert!(file.parent().unwrap().join(schema).exists(), "{} names {schema}", file.display());
    }
}

/// The tables of blue that `config/transforms.yaml` is written for, each with its key first.
const TRANSFORMED: &[(&str, &str)] = &[
    (
        "users",
        "id bigint, first_name text, last_name text, email text, phone text, created_at timestamptz, spent_cents bigint, \
         locale text, wants_news bool, street text, city text, country text, deleted_at timestamptz",
    ),
    ("card_payments", "id bigint, amount_cents bigint, paid_at timestamptz"),
    ("bank_transfers", "id bigint, amount numeric, booked_on date"),
    ("orders", "order_no text, user_id bigint, note text"),
];

/// The keys of green's tables in the same example.
const KEYS: &[(&str, &[&str])] = &[
    ("customers", &["customer_id"]),
    ("addresses", &["customer_id"]),
    ("payments", &["kind", "payment_id"]),
    ("orders", &["region", "order_id"]),
];

fn transformed(name: &TableName) -> BlueTable {
    let (_, columns) = TRANSFORMED.iter().find(|(known, _)| *known == name.name).unwrap();
    let columns = columns.split(", ").map(|column| column.split_once(' ').unwrap());
    let ty = |name: &str| match name {
        "bigint" => SqlType::Int8,
        "numeric" => SqlType::Numeric,
        "bool" => SqlType::Bool,
        "date" => SqlType::Date,
        "timestamptz" => SqlType::TimestampTz,
        _ => SqlType::Text,
    };
    let collation = Collation { is_default: true, ..Collation::bytes() };
    let column = |(name, kind): (&str, &str)| {
        let collation = (kind == "text").then(|| collation.clone());
        ScopeColumn { name: name.to_owned(), ty: ty(kind), modifier: Modifier::NONE, collation }
    };
    let columns = columns.map(column).collect::<Vec<_>>();
    let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
    let named = BlueTable::named(name.clone(), &names, &names[..1]);
    let mask_key = Some(MaskKey::new(b"a key for the tests"));
    let scope =
        Scope { table: name.clone(), columns: columns.clone(), types: HashMap::new(), collation, mask_key };
    BlueTable { scope: Some(scope), ..named }
}

/// An example that the compiler refuses teaches the wrong SQL.
#[test]
fn the_example_of_transforms_compiles() {
    let settings = settings::load(&config().join("transforms.yaml"), Secrets::LeaveOut).unwrap();
    assert_eq!(settings.notes(), []);
    let entries = settings.tables.iter().filter(|entry| entry.columns.is_some()).collect::<Vec<_>>();
    assert_eq!(entries.len(), 5);
    for entry in entries {
        let settings::TablePattern::Table(source) = &entry.from else { panic!("{}", entry.from) };
        let target = entry.target_of(source);
        let (_, key) = KEYS.iter().find(|(name, _)| *name == target.name).unwrap();
        let key = key.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>();
        let column = |name: &String| {
            let ty = if name.ends_with("_id") { SqlType::Int8 } else { SqlType::Text };
            GreenColumn { name: name.clone(), ty, modifier: Modifier::NONE }
        };
        let green = GreenShape { columns: key.iter().map(column).collect(), keys: vec![key] };
        let mapping = Mapping { columns: entry.columns.as_deref(), filter: entry.filter_text() };
        let route = RouteSpec::compile(RouteId(0), &transformed(source), (target, Some(&green)), mapping);
        assert!(route.is_ok(), "{}: {}", entry.from, route.unwrap_err());
    }
}

/// To renew it: `cargo run -p understudy -- config schema > config/understudy.schema.json`.
#[test]
fn the_committed_schema_is_fresh() {
    let committed = fs::read_to_string(config().join("understudy.schema.json")).unwrap();
    assert!(committed == settings::schema(), "config/understudy.schema.json is not what the program prints");
}

#[test]
fn the_schema_documents_every_key() {
    fn walk(schema: &serde_json::Value, path: &str, silent: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property["description"].as_str().is_none_or(str::is_empty) {
                silent.push(path.clone());
            }
            walk(property, &path, silent);
        }
        for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
            walk(definition, name, silent);
        }
    }
    let schema: serde_json::Value = serde_json::from_str(&settings::schema()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    let mut silent = Vec::new();
    walk(&schema, "", &mut silent);
    assert!(silent.is_empty(), "{silent:?}");
}

/// The containers show the same shop as the demonstration.
#[test]
fn the_containers_move_the_demos_tables() {
    let side = || shop::Side { url: "postgres://u@h/d".to_owned(), password_file: PathBuf::from("p") };
    let demo = shop::migration_file("shop", &side(), &side(), "127.0.0.1:7070");
    let compose = fs::read_to_string(config().join("compose/migration.yaml")).unwrap();
    let tables = |text: &str| {
        let (_, rest) = text.split_once("\ntables:\n").unwrap();
        rest.lines().take_while(|line| line.starts_with(' ')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(tables(&compose), tables(&demo));
}
