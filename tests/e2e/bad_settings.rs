//! Mistakes in a migration file and on the command line: exit code 2, with line, column and a suggestion.

use std::path::Path;

use understudy_tests::{Scratch, understudy};

const GOOD: &str = "version: 1\nname: shop\nblue:\n  url: postgres://u@blue/shop\ngreen:\n  postgres:\n    url: postgres://u@green/shop\n\
                    tables:\n  - from: public.orders\n";

/// Checks a file that replaces `from` in the good one by `to`; it is refused, and says all of `words`.
async fn refused(from: &str, to: &str, words: &[&str]) {
    let scratch = Scratch::create("tests").expect("a throw-away folder");
    assert!(GOOD.contains(from), "the good file holds `{from}`");
    let file = scratch.path().join("migration.yaml");
    std::fs::write(&file, GOOD.replacen(from, to, 1)).expect("write the file");
    let path = file.to_string_lossy().into_owned();
    for command in [&["config", "check", &path][..], &["run", &path][..]] {
        let exit = understudy(scratch.path(), command).await;
        assert_eq!(exit.code, Some(2), "{command:?}: {}{}", exit.stdout, exit.stderr);
        for word in words {
            assert!(exit.stderr.contains(word), "`{word}` is not in:\n{}", exit.stderr);
        }
        assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_file_is_accepted() {
    let scratch = Scratch::create("tests").expect("a throw-away folder");
    let file = scratch.path().join("migration.yaml");
    std::fs::write(&file, GOOD).expect("write the file");
    let exit = understudy(scratch.path(), &["config", "check", &file.to_string_lossy()]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_are_refused_with_a_suggestion() {
    refused("tables:", "tabels:", &["tabels", "tables", "migration.yaml:8"]).await;
    refused("  - from: public.orders", "  - form: public.orders", &["form", "from", "migration.yaml:9:5"])
        .await;
    refused("version: 1\n", "version: 1\napply: { writer: 3 }\n", &["writer", "writers", "migration.yaml:2"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_types_are_refused_with_their_place() {
    refused("version: 1", "version: one", &["version", "migration.yaml:1"]).await;
    refused("version: 1\n", "version: 1\ncopy: { readers: many }\n", &["readers", "migration.yaml:2"]).await;
    refused("version: 1\n", "version: 1\nstream: { heartbeat: 5 parsecs }\n", &["heartbeat", "5s"]).await;
    refused("  - from: public.orders", "  from: public.orders", &["tables"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_make_no_sense_are_refused() {
    refused("version: 1", "version: 7", &["version"]).await;
    refused("name: shop", "name: Shop Two", &["name"]).await;
    refused("postgres://u@blue/shop", "mysql://u@blue/shop", &["postgres://"]).await;
    refused("postgres://u@blue/shop", "postgres://u:secret@blue/shop", &["password"]).await;
    refused("public.orders", "orders", &["orders", "schema"]).await;
    let columns = "public.orders\n    columns:\n      id: lower(id\n";
    refused("public.orders\n", columns, &["lower(id", "migration.yaml:11:19", "^"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_yaml_or_not_there() {
    refused("tables:", "tables: [", &["migration.yaml"]).await;
    let scratch = Scratch::create("tests").expect("a throw-away folder");
    let exit = understudy(scratch.path(), &["run", "nowhere.yaml"]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("nowhere.yaml"), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_line_that_is_wrong() {
    let scratch = Scratch::create("tests").expect("a throw-away folder");
    for args in [&["rnu"][..], &["run"][..], &["status", "--wacth"][..]] {
        let exit = understudy(scratch.path(), args).await;
        assert_eq!(exit.code, Some(2), "{args:?}: {}", exit.stderr);
        assert!(exit.stderr.contains("Usage") || exit.stderr.contains("--help"), "{}", exit.stderr);
    }
}

/// Examples are copied. Each says how its connections are protected, and none has anything that a strict check objects to;
/// the demo's own file, whose servers share a network, tells of nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn every_example_passes_a_strict_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let entries = std::fs::read_dir(&folder).expect("the examples");
    let files = entries.map(|entry| entry.expect("an example").path().to_string_lossy().into_owned());
    let files = files.filter(|file| file.ends_with(".yaml")).collect::<Vec<_>>();
    assert!(files.len() >= 3, "{files:?}");
    let mut args = vec!["config", "check", "--strict"];
    args.extend(files.iter().map(String::as_str));
    let scratch = Scratch::create("tests").expect("a throw-away folder");
    let exit = understudy(scratch.path(), &args).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let demo = folder.join("compose/migration.yaml").to_string_lossy().into_owned();
    let exit = understudy(scratch.path(), &["config", "check", "--strict", &demo]).await;
    let problems = exit.stderr.lines().filter(|line| line.contains("migration.yaml:")).collect::<Vec<_>>();
    assert_eq!(problems.len(), 2, "{}", exit.stderr);
    assert!(problems.iter().all(|line| line.contains("is not encrypted")), "{}", exit.stderr);
}
