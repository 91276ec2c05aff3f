//! The files that users start from: each example loads, the schema is the one the program prints, and both agree.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use understudy::demo::shop;
use understudy::settings::{self, Secrets, Surroundings};

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
    assert!(files.len() >= 4, "{files:?}");
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
