//! `understudy repair`: lets the sidecar read rows of blue again and place them on green. Without --apply it only tells.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};
use understudy_contract::{Ask, KnownMismatch, MismatchId, MismatchKind, Resolution, WhichMismatches};

use super::args::RepairArgs;
use super::asking::{Books, GLANCE, Progress};
use super::exit::{CliError, Exit};
use super::output::{Output, table};

/// How a row is repaired, whatever was wrong with it.
const HOW: &str = "The sidecar reads each row of blue again between two markers, and green takes it in its place in the \
                   stream: a change that blue makes meanwhile is not overwritten.";

/// Shows what would be done, or has it done.
pub(super) async fn repair(args: &RepairArgs, output: Output) -> Result<(), CliError> {
    let mut books = Books::open(&args.file.file, "repair").await?;
    let chosen = chosen(&mut books, args).await?;
    let file = books.file.clone();
    if chosen.is_empty() {
        books.close().await;
        if output.is_json() {
            return output.json(&document(&[], args.apply, None));
        }
        return output.data("nothing to repair\n");
    }
    if !args.apply {
        books.close().await;
        if output.is_json() {
            output.json(&document(&chosen, false, None))?;
        } else {
            output.data(planned(&chosen))?;
        }
        let which = if args.all { "--all".to_owned() } else { ids(&chosen).join(" ") };
        output.message(format!("nothing was changed; next: understudy repair {file} {which} --apply"));
        return Ok(());
    }
    let asked = chosen.iter().map(|one| one.id).collect::<Vec<_>>();
    let answer = books.ask(&Ask::Repair(asked.clone())).await?;
    output.message(&answer);
    let after = awaited(&mut books, &asked, args).await?;
    books.close().await;
    if output.is_json() {
        output.json(&document(&after, true, Some(&answer)))?;
    } else {
        output.data(repaired(&after))?;
    }
    ended(&after, args, &file, output)
}

fn ids(chosen: &[KnownMismatch]) -> Vec<String> {
    chosen.iter().map(|one| one.id.to_string()).collect()
}

/// The mismatches that are meant. Those that have come to an end already are left out, unless somebody waived them and they
/// are named.
async fn chosen(books: &mut Books, args: &RepairArgs) -> Result<Vec<KnownMismatch>, CliError> {
    let standing = books.ledger.mismatches(WhichMismatches::Standing).await;
    let mut standing = standing.map_err(|failure| books.failed(&failure))?;
    let file = &books.file;
    if args.all {
        standing.retain(KnownMismatch::is_open);
        return Ok(standing);
    }
    if args.ids.is_empty() {
        let what = "name mismatches by their numbers, or say --all";
        let next = format!("understudy mismatches list {file}");
        return Err(CliError::new(Exit::Configuration, what, next));
    }
    let unknown = args.ids.iter().filter(|id| standing.iter().all(|one| one.id.0 != **id));
    let unknown = unknown.map(u64::to_string).collect::<Vec<_>>();
    if !unknown.is_empty() {
        let what = format!("there is no such mismatch, or it has come to an end: {}", unknown.join(", "));
        let next = format!("understudy mismatches list {file} --all");
        return Err(CliError::new(Exit::Configuration, what, next));
    }
    standing.retain(|one| args.ids.contains(&one.id.0));
    Ok(standing)
}

/// Waits until every one has come to an end, or for as long as is allowed.
async fn awaited(
    books: &mut Books,
    asked: &[MismatchId],
    args: &RepairArgs,
) -> Result<Vec<KnownMismatch>, CliError> {
    let (started, mut told) = (Instant::now(), Progress::new());
    loop {
        let all = books.ledger.mismatches(WhichMismatches::All).await;
        let mut all = all.map_err(|failure| books.failed(&failure))?;
        all.retain(|one| asked.contains(&one.id));
        let left = all.iter().filter(|one| is_left(one)).count();
        if left == 0 || started.elapsed() >= args.wait || !is_taken(&all, started) {
            told.end();
            return Ok(all);
        }
        told.tell(|| format!("repairing: {} of {} rows seen equal", asked.len() - left, asked.len()));
        sleep(GLANCE).await;
    }
}

/// Whether it still differs, as far as is known.
fn is_left(one: &KnownMismatch) -> bool {
    matches!(one.resolved, None | Some((Resolution::Waived, _)))
}

/// Whether the sidecar has taken up any of what is left. Its answer is written before, or with, the mark of a repair.
fn is_taken(all: &[KnownMismatch], started: Instant) -> bool {
    let fresh = started.elapsed() < GLANCE * 12;
    fresh || all.iter().filter(|one| is_left(one)).any(|one| one.repair_asked_at.is_some())
}

/// What a repair would do to one row.
fn deed(one: &KnownMismatch) -> String {
    match one.kind {
        MismatchKind::Missing => "insert the row".to_owned(),
        MismatchKind::Extra => "delete the row".to_owned(),
        MismatchKind::Differs if one.columns.is_empty() => "overwrite the row".to_owned(),
        MismatchKind::Differs => format!("overwrite {}", one.columns.join(", ")),
    }
}

fn planned(chosen: &[KnownMismatch]) -> String {
    let row = |one: &KnownMismatch| {
        vec![
            one.id.to_string(),
            one.target.to_string(),
            one.key_hash(),
            deed(one),
            one.cause.as_str().to_owned(),
        ]
    };
    let rows = chosen.iter().map(row).collect::<Vec<_>>();
    let mut text = table(&["ID", "GREEN", "KEY (HASH)", "WOULD", "CAUSE"], &rows);
    let _ = write!(text, "\n{HOW}\n");
    text
}

fn outcome(one: &KnownMismatch) -> &'static str {
    match one.resolved {
        Some((Resolution::Repaired | Resolution::Converged, _)) => "equal",
        Some((Resolution::Gone, _)) => "gone",
        None | Some((Resolution::Waived, _)) if one.repair_asked_at.is_some() => "not seen equal yet",
        None | Some((Resolution::Waived, _)) => "not repaired",
    }
}

fn repaired(after: &[KnownMismatch]) -> String {
    let row = |one: &KnownMismatch| {
        vec![one.id.to_string(), one.target.to_string(), one.key_hash(), outcome(one).to_owned()]
    };
    table(&["ID", "GREEN", "KEY (HASH)", "NOW"], &after.iter().map(row).collect::<Vec<_>>())
}

fn document(chosen: &[KnownMismatch], applied: bool, answer: Option<&str>) -> Json {
    let one = |one: &KnownMismatch| {
        json!({
            "id": one.id.0,
            "source": one.source.to_string(),
            "target": one.target.to_string(),
            "key_hash": one.key_hash(),
            "kind": one.kind.as_str(),
            "cause": one.cause.as_str(),
            "columns": one.columns,
            "deed": deed(one),
            "repaired": applied.then(|| !is_left(one)),
        })
    };
    json!({
        "schema": "understudy/v1/repair", "applied": applied, "answer": answer,
        "mismatches": chosen.iter().map(one).collect::<Vec<_>>(),
    })
}

/// How the program ends once a repair was asked for.
fn ended(after: &[KnownMismatch], args: &RepairArgs, file: &str, output: Output) -> Result<(), CliError> {
    let left = after.iter().filter(|one| is_left(one)).collect::<Vec<_>>();
    let Some(first) = left.first() else {
        output.message(format!("next: understudy mismatches list {file}"));
        return Ok(());
    };
    let numbers = left.iter().map(|one| one.id.to_string()).collect::<Vec<_>>().join(", ");
    let next = format!("understudy mismatches explain {file} {}", first.id);
    if left.iter().all(|one| one.repair_asked_at.is_none()) {
        let what = format!("the sidecar did not repair {numbers}; its answer says why");
        return Err(CliError::new(Exit::Mismatches, what, next));
    }
    let what = format!("not seen equal within {} s: {numbers}", args.wait.as_secs());
    Err(CliError::new(Exit::TimedOut, what, next)
        .remedy("the sidecar goes on reading them; a cause that lasts makes a row differ again"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::super::args::{FileArgs, OutputFormat};
    use super::super::mismatches::tests::known;
    use super::*;

    fn args() -> RepairArgs {
        let (file, wait) = (FileArgs { file: PathBuf::from("shop.yaml") }, Duration::from_secs(60));
        RepairArgs { file, ids: vec![1], all: false, apply: true, wait }
    }

    /// A dry run is read before rows are changed: it names what is inserted, overwritten and deleted, and no value.
    #[test]
    fn a_dry_run_names_every_deed() {
        let missing = KnownMismatch { kind: MismatchKind::Missing, columns: Vec::new(), ..known(2) };
        let extra = KnownMismatch { kind: MismatchKind::Extra, columns: Vec::new(), ..known(3) };
        let text = planned(&[known(1), missing, extra]);
        for part in ["overwrite name, email", "insert the row", "delete the row", HOW] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains(" 42 "), "{text}");
        assert_eq!(document(&[known(1)], false, None)["mismatches"][0]["repaired"], Json::Null);
    }

    /// Scripts decide by the exit code: only what was seen equal is repaired.
    #[test]
    fn only_what_was_seen_equal_counts_as_repaired() {
        let asked = KnownMismatch { repair_asked_at: Some("t".to_owned()), ..known(1) };
        let resolved =
            |resolution| KnownMismatch { resolved: Some((resolution, "t".to_owned())), ..known(1) };
        let exit = |one: KnownMismatch| {
            let output = Output { format: OutputFormat::Table };
            ended(&[one], &args(), "shop.yaml", output).map_err(|error| error.exit)
        };
        assert_eq!(exit(resolved(Resolution::Repaired)), Ok(()));
        assert_eq!(exit(resolved(Resolution::Gone)), Ok(()));
        assert_eq!(exit(asked), Err(Exit::TimedOut));
        assert_eq!(exit(known(1)), Err(Exit::Mismatches));
        assert_eq!(exit(resolved(Resolution::Waived)), Err(Exit::Mismatches));
        assert_eq!(outcome(&resolved(Resolution::Converged)), "equal");
    }
}
