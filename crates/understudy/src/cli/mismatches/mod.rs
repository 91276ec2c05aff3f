//! `understudy mismatches`: rows that were proved to differ, as the ledger on green has them.

mod explain;
mod explanation;
mod words;

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use understudy_contract::{Ask, KnownMismatch, MismatchId, Waiver, WhichMismatches};
use understudy_model::Key;

use super::args::{MismatchArgs, MismatchListArgs, MismatchesVerb, WaiveArgs};
use super::asking::{Books, is_wanted, os_user, seconds, span, tables};
use super::exit::{CliError, Exit};
use super::output::{Output, table};

/// Does what one of the verbs under `mismatches` says.
pub(super) async fn mismatches(verb: &MismatchesVerb, output: Output) -> Result<(), CliError> {
    match verb {
        MismatchesVerb::List(args) => list(args, output).await,
        MismatchesVerb::Show(args) => show(args, output).await,
        MismatchesVerb::Explain(args) => Box::pin(explain::explain(args, output)).await,
        MismatchesVerb::Waive(args) => waive(args, output).await,
    }
}

async fn list(args: &MismatchListArgs, output: Output) -> Result<(), CliError> {
    let file = args.file.file.display().to_string();
    let wanted = tables(&args.table, &file, "mismatches list")?;
    let mut books = Books::open(&args.file.file, "mismatches").await?;
    let which = if args.all { WhichMismatches::All } else { WhichMismatches::Standing };
    let found = books.ledger.mismatches(which).await;
    let mut found = found.map_err(|failure| books.failed(&failure))?;
    let migration = books.migration().to_owned();
    books.close().await;
    let is_kind = |one: &KnownMismatch| args.kind.is_none_or(|kind| kind.of() == one.kind);
    found.retain(|one| is_kind(one) && is_wanted(&wanted, &one.source, &one.target));
    if output.is_json() {
        let all = found.iter().map(|one| json_of(one, args.keys)).collect::<Vec<_>>();
        let open = found.iter().filter(|one| one.is_open()).count();
        output.json(&json!({
            "schema": "understudy/v1/mismatches", "migration": migration, "open": open, "mismatches": all,
        }))?;
    } else {
        output.data(listed(&found, args.keys))?;
    }
    output.message(match found.iter().find(|one| one.is_open()) {
        Some(first) => format!("next: understudy mismatches explain {file} {}", first.id),
        None => "next: understudy status".to_owned(),
    });
    Ok(())
}

/// Mismatches for people, the latest last.
fn listed(found: &[KnownMismatch], keys: bool) -> String {
    if found.is_empty() {
        return "no mismatches\n".to_owned();
    }
    let row = |one: &KnownMismatch| {
        vec![
            one.id.to_string(),
            one.target.to_string(),
            if keys { key_text(&one.key) } else { one.key_hash() },
            one.kind.as_str().to_owned(),
            one.columns.join(", "),
            one.cause.as_str().to_owned(),
            words::state(one).to_owned(),
            format!("{} ago", span(one.age_ms)),
        ]
    };
    let header = [
        "ID",
        "GREEN",
        if keys { "KEY" } else { "KEY (HASH)" },
        "KIND",
        "COLUMNS",
        "CAUSE",
        "STATE",
        "FOUND",
    ];
    let open = found.iter().filter(|one| one.is_open()).count();
    format!("{}{open} open of {}\n", table(&header, &found.iter().map(row).collect::<Vec<_>>()), found.len())
}

/// A key as people read it.
pub(super) fn key_text(key: &Key) -> String {
    key.texts().map(String::from_utf8_lossy).collect::<Vec<_>>().join(", ")
}

fn key_json(key: &Key) -> Vec<String> {
    key.texts().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// A mismatch for programs.
fn json_of(one: &KnownMismatch, keys: bool) -> Json {
    let mut json = json!({
        "id": one.id.0,
        "source": one.source.to_string(),
        "target": one.target.to_string(),
        "key_hash": one.key_hash(),
        "kind": one.kind.as_str(),
        "cause": one.cause.as_str(),
        "columns": one.columns,
        "state": words::state(one),
        "found_by": words::found_by(one),
        "found_at": one.found_lsn.to_string(),
        "found_time": one.found_at,
        "age_seconds": seconds(one.age_ms),
        "repair_asked_time": one.repair_asked_at,
        "waived": one.waived.as_ref().map(|(by, why, at)| json!({ "by": by, "reason": why, "time": at })),
        "resolved_time": one.resolved.as_ref().map(|(_, at)| at),
    });
    if keys && let Some(fields) = json.as_object_mut() {
        fields.insert("key".to_owned(), json!(key_json(&one.key)));
        fields.insert("blue_key".to_owned(), json!(one.blue_key.as_ref().map(key_json)));
    }
    json
}

/// The mismatch of a number, or an error that says what is done instead.
async fn one(books: &mut Books, id: u64) -> Result<KnownMismatch, CliError> {
    let found = books.ledger.mismatch(MismatchId(id)).await;
    found.map_err(|failure| books.failed(&failure))?.ok_or_else(|| {
        let what = format!("migration {} has no mismatch {id}", books.settings.name);
        CliError::new(Exit::Configuration, what, format!("understudy mismatches list {} --all", books.file))
    })
}

async fn show(args: &MismatchArgs, output: Output) -> Result<(), CliError> {
    let mut books = Books::open(&args.file.file, "mismatches").await?;
    let found = one(&mut books, args.id).await?;
    let file = books.file.clone();
    books.close().await;
    if output.is_json() {
        let mut json = json_of(&found, true);
        if let Some(fields) = json.as_object_mut() {
            fields.insert("schema".to_owned(), json!("understudy/v1/mismatch"));
        }
        output.json(&json)?;
    } else {
        output.data(shown(&found))?;
    }
    output.message(format!("next: understudy mismatches explain {file} {}", args.id));
    Ok(())
}

/// What the ledger has of one mismatch, for people.
fn shown(one: &KnownMismatch) -> String {
    let (means, next) = words::cause(one.cause);
    let mut text = format!("Mismatch {}, {}\n", one.id, words::state(one));
    let mut line = |name: &str, what: &str| {
        let _ = writeln!(text, "  {name:<9} {what}");
    };
    line("blue", &one.source.to_string());
    line("green", &one.target.to_string());
    line("key", &key_text(&one.key));
    if let Some(blue) = one.blue_key.as_ref().filter(|blue| **blue != one.key) {
        line("on blue", &key_text(blue));
    }
    line("kind", &format!("{}: {}", one.kind.as_str(), words::kind(one.kind)));
    if !one.columns.is_empty() {
        line("columns", &one.columns.join(", "));
    }
    line("cause", &format!("{}: {means}", one.cause.as_str()));
    line("to do", next);
    line(
        "found",
        &format!(
            "{} ({} ago) by the {}, at {}",
            one.found_at,
            span(one.age_ms),
            words::found_by(one),
            one.found_lsn
        ),
    );
    if let Some(at) = &one.repair_asked_at {
        line("repair", &format!("asked for {at}"));
    }
    if let Some((by, why, at)) = &one.waived {
        line("waived", &format!("{at} by {by}: {why}"));
    }
    if let Some((resolution, at)) = &one.resolved {
        line("ended", &format!("{at}: {}", resolution.as_str()));
    }
    text
}

async fn waive(args: &WaiveArgs, output: Output) -> Result<(), CliError> {
    let mut books = Books::open(&args.mismatch.file.file, "mismatches").await?;
    let file = books.file.clone();
    let list = format!("understudy mismatches list {file}");
    if args.reason.trim().is_empty() {
        let what = "--reason says why the row may differ: it cannot be empty";
        return Err(CliError::new(Exit::Configuration, what, "understudy mismatches waive --help"));
    }
    let before = one(&mut books, args.mismatch.id).await?;
    if !before.is_open() {
        let what = format!("mismatch {} is not open: {}", before.id, words::state(&before));
        return Err(CliError::new(Exit::Configuration, what, list));
    }
    let by = args.by.clone().unwrap_or_else(os_user);
    let answer = books.ask(&Ask::Waive(before.id, Waiver { by, reason: args.reason.clone() })).await?;
    let after = one(&mut books, args.mismatch.id).await?;
    books.close().await;
    if output.is_json() {
        let document = json!({
            "schema": "understudy/v1/waived", "answer": answer, "mismatch": json_of(&after, false),
        });
        output.json(&document)?;
    } else {
        output.data(format!("{answer}\n"))?;
    }
    if after.is_open() {
        return Err(CliError::new(Exit::Mismatches, format!("mismatch {} was not waived", after.id), list));
    }
    output.message(format!("next: {list}"));
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use understudy_contract::{Cause, MismatchKind, Resolution};
    use understudy_model::{Lsn, TableName};

    use super::*;

    pub(in crate::cli) fn known(id: u64) -> KnownMismatch {
        KnownMismatch {
            id: MismatchId(id),
            source: TableName::new("public", "users"),
            target: TableName::new("app", "customers"),
            key: Key::from_texts([&b"42"[..]]),
            blue_key: Some(Key::from_texts([&b"42"[..]])),
            kind: MismatchKind::Differs,
            columns: vec!["name".to_owned(), "email".to_owned()],
            cause: Cause::ForeignWrite,
            found_lsn: Lsn::new(0x1234),
            found_at: "2026-11-21T10:00:00.000Z".to_owned(),
            age_ms: 65_000,
            by_stream: false,
            repair_asked_at: None,
            waived: None,
            resolved: None,
        }
    }

    /// What a list shows may end up in a ticket: a key is a value of a row.
    #[test]
    fn a_list_shows_keys_only_when_asked() {
        let waived = KnownMismatch {
            waived: Some(("me".to_owned(), "so".to_owned(), "2026-11-21T10:01:00.000Z".to_owned())),
            resolved: Some((Resolution::Waived, "2026-11-21T10:01:00.000Z".to_owned())),
            ..known(2)
        };
        let found = [known(1), waived];
        let expected = "\
ID  GREEN          KEY (HASH)        KIND     COLUMNS      CAUSE          STATE   FOUND
 1  app.customers  73475cb40a568e8d  differs  name, email  foreign_write  open    1m 5s ago
 2  app.customers  73475cb40a568e8d  differs  name, email  foreign_write  waived  1m 5s ago
1 open of 2
";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&listed(&found, false)), squeezed(expected), "{}", listed(&found, false));
        assert!(listed(&found, true).contains(" 42 "), "{}", listed(&found, true));
        assert_eq!(json_of(&found[0], false).get("key"), None);
        assert_eq!(json_of(&found[0], true)["key"], json!(["42"]));
        assert_eq!(listed(&[], false), "no mismatches\n");
    }

    #[test]
    fn one_is_shown_with_what_it_means_and_what_is_done_next() {
        let text = shown(&known(7));
        for part in [
            "Mismatch 7, open\n",
            "key       42\n",
            "kind      differs: both have the row, with different values\n",
            "columns   name, email\n",
            "cause     foreign_write: somebody else than understudy wrote the row on green\n",
            "found     2026-11-21T10:00:00.000Z (1m 5s ago) by the comparison, at 0/1234\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("on blue"), "the same key is shown once");
    }
}
