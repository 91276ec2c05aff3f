//! docs/reference/ is written by the code that it describes: `make docs`. Examples are read by that code.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use serde_json::Value;
use understudy::demo::shop::{Side, migration_file};
use understudy_observe::names::{ALL, Kind};

use crate::tree::{read, root};

/// Opens every generated page.
pub(crate) const NOTE: &str = "<!-- Written by `make docs` from the code; a test compares. -->\n";

/// Compares a file with what the code says, or writes it when UPDATE_DOCS=1.
pub(crate) fn keep_fresh(path: &str, text: &str) {
    if std::env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
        let file = root().join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("create the folder");
        fs::write(file, text).expect("write a generated file");
    }
    assert!(read(path) == text, "{path} is not what the code says: run `make docs`");
}

#[test]
fn reference_of_the_command_line() {
    let mut page = format!("# The command line\n{NOTE}");
    let mut command = understudy::cli::Cli::command().term_width(100);
    command.build();
    describe_verb(&mut page, &mut command, "understudy");
    keep_fresh("docs/reference/cli.md", &page);
}

fn describe_verb(page: &mut String, command: &mut Command, name: &str) {
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    for verb in command.get_subcommands_mut() {
        if !verb.is_hide_set() && verb.get_name() != "help" {
            let name = format!("{name} {}", verb.get_name());
            describe_verb(page, verb, &name);
        }
    }
}

#[test]
fn reference_of_the_settings() {
    let schema: Value = serde_json::from_str(&understudy::settings::schema()).expect("the schema is JSON");
    let mut page = format!(
        "# The migration file\n{NOTE}\nAn editor completes and checks it with the schema that `understudy config schema` prints.\n"
    );
    let _ = write!(page, "\n| key | value | meaning |\n|---|---|---|\n");
    describe_keys(&mut page, &schema, &schema, "");
    keep_fresh("docs/reference/settings.md", &page);
}

/// What a schema stands for, behind references.
fn resolve<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    while let Some(reference) = schema["$ref"].as_str() {
        schema = root.pointer(reference.trim_start_matches('#')).expect("a definition");
    }
    schema
}

fn describe_keys(page: &mut String, root: &Value, schema: &Value, prefix: &str) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let inner = inner(root, value);
        let text = value["description"].as_str().or(inner["description"].as_str()).unwrap_or_default();
        let mut text = text.replace('\n', " ").replace('|', "\\|");
        if let Some(default) =
            value.get("default").filter(|default| !default.is_null() && !default.is_object())
        {
            let _ = write!(text, " Default: `{}`.", default.to_string().trim_matches('"'));
        }
        let path = format!("{prefix}{key}");
        let _ = writeln!(page, "| `{path}` | {} | {text} |", kind(root, value));
        if inner["type"] == "array" || inner["items"].is_object() {
            describe_keys(page, root, resolve(root, &inner["items"]), &format!("{path}[]."));
        } else {
            describe_keys(page, root, inner, &format!("{path}."));
        }
    }
}

/// The schema of a value that is there: optional ones are a choice between it and null.
fn inner<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let schema = resolve(root, schema);
    let choice = schema["anyOf"].as_array().into_iter().flatten().find(|each| each["type"] != "null");
    choice.map_or(schema, |choice| resolve(root, choice))
}

fn kind(root: &Value, schema: &Value) -> String {
    let inner = inner(root, schema);
    let choices = |values: &Value, field: &str| -> Vec<String> {
        let values = values.as_array().into_iter().flatten();
        values
            .filter_map(|value| if field.is_empty() { value.as_str() } else { value[field].as_str() })
            .map(str::to_owned)
            .collect()
    };
    let mut words = choices(&inner["enum"], "");
    words.extend(choices(&inner["oneOf"], "const"));
    if !words.is_empty() {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
    }
    let named = match &inner["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("").to_owned()
        }
        _ => String::new(),
    };
    match named.as_str() {
        "object" => "section".to_owned(),
        "array" => "list".to_owned(),
        "string"
            if inner["pattern"].is_string()
                && inner["description"].as_str().is_some_and(|d| d.contains('`')) =>
        {
            "text with unit".to_owned()
        }
        "string" => "text".to_owned(),
        "integer" => "number".to_owned(),
        other => other.to_owned(),
    }
}

#[test]
fn reference_of_the_metrics() {
    let mut page = format!(
        "# Metrics\n{NOTE}\nServed at `/metrics`. Every series carries the label `pipeline`, the migration's name.\n"
    );
    let _ = write!(page, "\n| name | kind | more labels | meaning |\n|---|---|---|---|\n");
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ =
            writeln!(page, "| `{}` | {kind} | {} | {} |", metric.name, metric.labels.join(", "), metric.help);
    }
    keep_fresh("docs/reference/metrics.md", &page);
}

/// The containers move the demo's own tables.
#[test]
fn the_containers_tables_are_those_of_the_demo() {
    let nobody = Side { url: String::new(), password_file: PathBuf::new() };
    let demo: Value = serde_saphyr::from_str(&migration_file("demo", &nobody, &nobody, "")).expect("YAML");
    let compose: Value = serde_saphyr::from_str(&read("config/compose/migration.yaml")).expect("YAML");
    assert_eq!(compose["tables"], demo["tables"]);
}

/// Every example loads; its secrets need not exist here.
#[test]
fn examples_load() {
    for (path, _) in crate::tree::texts_below("config") {
        let is_for_others = ["prometheus", "grafana", "gates"].iter().any(|folder| path.contains(folder));
        if path.ends_with(".yaml") && !is_for_others {
            let loaded =
                understudy::settings::load(&root().join(&path), understudy::settings::Secrets::LeaveOut);
            assert!(loaded.is_ok(), "{path}: {}", loaded.expect_err("it was just found to fail"));
        }
    }
}
