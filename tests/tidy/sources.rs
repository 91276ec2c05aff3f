//! What every source file keeps to.

use crate::tree::{assert_none, rust_files, texts_below};

/// Longer files hold two ideas.
const LINES_MAX: usize = 600;

/// Where tests may wait by the clock: helpers that poll a condition until its deadline, and one test whose condition is
/// that nothing happens for a while.
const WAITING: [&str; 5] = [
    "tests/support/wait.rs",
    "connectors/postgres/tests/support/mod.rs",
    "connectors/postgres/tests/stream/harness.rs",
    "connectors/postgres/tests/stream/feedback.rs",
    "connectors/postgres/tests/catalog/chunks.rs",
];

#[test]
fn every_file_says_what_it_is_for() {
    let offences: Vec<String> = rust_files()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    assert_none("these files do not open with a `//!` sentence:", &offences);
}

#[test]
fn no_file_is_too_long() {
    let offences: Vec<String> = rust_files()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert_none("these files are longer than 600 lines:", &offences);
}

/// Lines of Rust files that hold one of `words`, outside comments.
fn lines_with(words: &[&str], skip: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in rust_files() {
        if skip(&path) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| code.contains(word)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn no_test_is_switched_off() {
    let word = concat!("#[", "ignore");
    assert_none("tests run or do not exist:", &lines_with(&[word], |_| false));
}

#[test]
fn tests_wait_for_conditions() {
    let words = [concat!("time::", "sleep"), concat!("thread::", "sleep")];
    let in_tests =
        |path: &str| path.starts_with("tests/") || path.contains("/tests/") || path.contains("testkit");
    let offences = lines_with(&words, |path| !in_tests(path) || WAITING.contains(&path));
    assert_none("wait for a condition with a deadline, as tests/support/wait.rs does:", &offences);
}

#[test]
fn nothing_is_unfinished_or_unsafe() {
    let words =
        [concat!("un", "safe {"), concat!("un", "safe fn"), concat!("todo", "!("), concat!("dbg", "!(")];
    assert_none("finish it or leave it out:", &lines_with(&words, |_| false));
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let offences: Vec<String> = texts_below("")
        .into_iter()
        .filter(|(path, _)| path != "Cargo.lock")
        .filter(|(_, text)| marks.iter().any(|mark| text.contains(mark)))
        .map(|(path, _)| path)
        .collect();
    assert_none("these files promise work instead of doing it:", &offences);
}

/// A machine's own paths and the hosts of package registries belong to nobody's source.
#[test]
fn nothing_names_a_machine_or_a_registry() {
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("registry.", "npmjs"),
        concat!("crates.", "io/api"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("repo1.", "maven"),
        concat!("proxy.", "golang"),
        concat!("pypi.", "org"),
    ];
    let mut offences = Vec::new();
    for (path, text) in texts_below("").into_iter().filter(|(path, _)| path != "Cargo.lock") {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                offences.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("these lines name a machine's path or a registry's host:", &offences);
}
