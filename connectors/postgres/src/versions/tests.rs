//! What may change in a version that green has been given.

use super::*;

fn expand(statements: &[&str]) -> Expand {
    let step = |sql: &&str| Step { sql: (*sql).to_owned(), line: 1, how: How::Plain };
    let steps = statements.iter().map(step).collect::<Vec<_>>();
    let sha256 = format!("{:0<64}", statements.concat().replace(' ', ""));
    Expand { file: "001_a/expand.sql".to_owned(), sha256, whole: false, steps }
}

fn version(expand: Option<Expand>) -> Version {
    Version {
        migration: "shop".to_owned(),
        number: 1,
        directory: "001_a".to_owned(),
        file_sha256: "f".repeat(64),
        expand,
        contract_sha256: None,
    }
}

fn recorded_of(version: &Version, done: u32, expanded: bool) -> Recorded {
    Recorded {
        number: version.number,
        directory: version.directory.clone(),
        file_sha256: version.file_sha256.clone(),
        expand_sha256: version.expand.as_ref().map(|expand| expand.sha256.clone()),
        contract_sha256: None,
        statements_done: done,
        statement_begun: None,
        done_sha256: version.expand.as_ref().map(|expand| expand.digest(done)),
        expanded,
        contracted: false,
    }
}

/// What green has been given is not what another file says: the run that follows would rest on tables that nobody made.
#[test]
fn a_changed_file_is_refused_with_both_checksums() {
    let first = version(Some(expand(&["aaaaaaaaaaaaaaaa", "b"])));
    let known = recorded_of(&first, 2, true);
    assert!(compare(&first, &known).is_ok());
    let moved =
        Version { file_sha256: "0".repeat(64), contract_sha256: Some("1".repeat(64)), ..first.clone() };
    assert!(compare(&moved, &known).is_ok(), "the mapping has its own check");
    let refusal = compare(&version(Some(expand(&["cccccccccccccccc", "b"]))), &known).unwrap_err();
    assert_eq!(refusal.class(), Class::Configuration);
    let text = refusal.to_string();
    assert!(text.contains("recorded aaaaaaaaaaaa, now cccccccccccc"), "{text}");
    assert!(refusal.remedy_text().is_some_and(|remedy| remedy.contains("new version")));
    let gone = compare(&version(None), &known).unwrap_err().to_string();
    assert!(gone.contains("recorded aaaaaaaaaaaa, now no file"), "{gone}");
    let renumbered = Version { number: 2, ..first };
    assert!(compare(&renumbered, &known).is_err());
}

/// A statement that fails can be mended; one that has been run cannot be changed any more.
#[test]
fn what_has_not_been_run_may_change() {
    let first = version(Some(expand(&["a", "b", "c"])));
    let known = recorded_of(&first, 1, false);
    assert!(compare(&version(Some(expand(&["a", "better"]))), &known).is_ok());
    for changed in [expand(&["x", "b", "c"]), expand(&[]), expand(&["ab"])] {
        assert!(compare(&version(Some(changed)), &known).is_err());
    }
    assert!(compare(&version(Some(expand(&["x"]))), &recorded_of(&first, 0, false)).is_ok());
}

#[test]
fn names_are_quoted_for_a_look_up() {
    assert_eq!(quote_name(Some("app"), "By X"), "\"app\".\"By X\"");
    assert_eq!(quote_name(None, "i"), "\"i\"");
}
