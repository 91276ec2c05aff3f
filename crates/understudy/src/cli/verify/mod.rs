//! `understudy verify`: asks the running sidecar for a new pass over everything, waits for it, and tells what came of it.

mod outcome;

use std::time::Duration;

use tokio::time::{Instant, sleep};
use understudy_contract::{Ask, TableProgress};
use understudy_model::TableName;

use super::args::VerifyArgs;
use super::asking::{Books, GLANCE, Progress, control_address, is_wanted, tables};
use super::exit::{CliError, Exit};
use super::http;
use super::output::Output;
use outcome::{Outcome, said};

/// How long is waited unless told otherwise.
const WAIT: Duration = Duration::from_secs(30 * 60);

/// Asks for a pass and waits for it; with limits alone, changes those.
pub(super) async fn verify(args: &VerifyArgs, output: Output) -> Result<(), CliError> {
    let file = &args.file.file;
    let wanted = tables(&args.table, &file.display().to_string(), "verify")?;
    let mut books = Books::open(file, "verify").await?;
    if !args.limit.is_empty() {
        let answer = books.ask(&Ask::Limits(args.limit.clone())).await?;
        if args.table.is_empty() && args.wait.is_none() {
            books.close().await;
            return limits_told(&answer, output);
        }
        output.message(answer);
    }
    let outcome = pass(&mut books, wanted, args.wait.unwrap_or(WAIT), output).await?;
    books.close().await;
    if output.is_json() {
        output.json(&outcome.json())?;
    } else {
        output.data(outcome.text())?;
    }
    ended(&outcome, &file.display().to_string(), output)
}

fn limits_told(answer: &str, output: Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&serde_json::json!({ "schema": "understudy/v1/limits", "answer": answer }));
    }
    output.data(format!("{answer}\n"))
}

/// Asks for a pass over these tables of either side and waits until it is complete, or for as long as is allowed.
async fn pass(
    books: &mut Books,
    wanted: Vec<TableName>,
    wait: Duration,
    output: Output,
) -> Result<Outcome, CliError> {
    let since = books.ledger.time().await.map_err(|failure| books.failed(&failure))?;
    let sources = sources(books, &wanted, &since).await?;
    let answer = books.ask(&Ask::Pass(sources)).await?;
    output.message(&answer);
    let (started, mut told) = (Instant::now(), Progress::new());
    let (tables, complete) = loop {
        let tables = look(books, &wanted, &since).await?;
        let complete = !tables.is_empty() && tables.iter().all(|table| table.anew);
        if complete || started.elapsed() >= wait {
            break (tables, complete);
        }
        told.tell(|| how_far(&tables));
        sleep(GLANCE).await;
    };
    told.end();
    let report = http::get(&control_address(&books.settings), "/v1/verify").await;
    let said = report.ok().filter(|(code, _)| *code == 200).and_then(|(_, body)| said(&body));
    let (migration, rules) = (books.migration().to_owned(), Vec::new());
    let outcome = Outcome { migration, answer, complete, wait, tables, said, rules };
    Ok(outcome.with_rules(&books.settings))
}

async fn look(books: &mut Books, wanted: &[TableName], since: &str) -> Result<Vec<TableProgress>, CliError> {
    let found = books.ledger.progress(since).await;
    let mut found = found.map_err(|failure| books.failed(&failure))?;
    found.retain(|table| is_wanted(wanted, &table.source, &table.target));
    Ok(found)
}

/// The tables of blue that a pass is asked for.
async fn sources(books: &mut Books, wanted: &[TableName], since: &str) -> Result<Vec<TableName>, CliError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let all = look(books, &[], since).await?;
    let mut sources = Vec::new();
    for one in wanted {
        let of =
            all.iter().filter(|table| is_wanted(std::slice::from_ref(one), &table.source, &table.target));
        let before = sources.len();
        sources.extend(of.map(|table| table.source.clone()));
        if sources.len() == before {
            let names = all.iter().map(|table| table.source.to_string()).collect::<Vec<_>>().join(", ");
            let known = if names.is_empty() { "none yet".to_owned() } else { names };
            let what = format!("--table {one}: nothing of that name is compared; what is: {known}");
            return Err(CliError::new(Exit::Configuration, what, format!("understudy plan {}", books.file)));
        }
    }
    sources.sort();
    sources.dedup();
    Ok(sources)
}

/// How far a pass is, on one line.
fn how_far(tables: &[TableProgress]) -> String {
    let (done, all) = (tables.iter().filter(|table| table.anew).count(), tables.len());
    let anew = tables.iter().map(|table| table.ranges_anew).sum::<u64>();
    let ranges = tables.iter().map(|table| table.ranges).sum::<u64>();
    let open = tables.iter().map(TableProgress::open_total).sum::<u64>();
    format!(
        "verifying: {done} of {all} tables complete, {anew} of {ranges} ranges verified anew, open={open}"
    )
}

/// How the program ends.
fn ended(outcome: &Outcome, file: &str, output: Output) -> Result<(), CliError> {
    let open = outcome.tables.iter().map(TableProgress::open_total).sum::<u64>();
    if open > 0 {
        let plural = if open == 1 { "row differs" } else { "rows differ" };
        let next = format!("understudy mismatches list {file}");
        return Err(CliError::new(Exit::Mismatches, format!("{open} {plural}"), next));
    }
    if !outcome.complete {
        let left = outcome.tables.iter().filter(|table| !table.anew).map(|table| table.source.to_string());
        let left = left.collect::<Vec<_>>().join(", ");
        let left =
            if left.is_empty() { "nothing is compared yet".to_owned() } else { format!("left are {left}") };
        let what = format!("the pass is not complete after {} s: {left}", outcome.wait.as_secs());
        return Err(CliError::new(Exit::TimedOut, what, "understudy status")
            .remedy("the sidecar goes on with it; wait again with a longer --wait"));
    }
    if outcome.unsettled_total() > 0 {
        output.message(
            "rows that are pending or suspended kept changing: they are read again, and do not count as equal",
        );
    }
    output.message("next: understudy status");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_names_tables_ranges_and_what_is_open() {
        let table =
            |anew, ranges_anew| TableProgress { anew, ranges: 4, ranges_anew, ..outcome::tests::table() };
        assert_eq!(
            how_far(&[table(true, 4), table(false, 1)]),
            "verifying: 1 of 2 tables complete, 5 of 8 ranges verified anew, open=2"
        );
    }

    /// Scripts decide by the exit code: a pass that did not end, or rows that differ, must not pass for clean.
    #[test]
    fn only_a_complete_pass_without_open_mismatches_is_clean() {
        let output = Output { format: super::super::args::OutputFormat::Table };
        let with = |open, complete| {
            let table = TableProgress { open: [0, 0, open], anew: complete, ..outcome::tests::table() };
            let outcome = Outcome { tables: vec![table], complete, ..outcome::tests::outcome() };
            ended(&outcome, "shop.yaml", output).map_err(|error| (error.exit, error.next))
        };
        assert_eq!(with(0, true), Ok(()));
        let list = "understudy mismatches list shop.yaml".to_owned();
        assert_eq!(with(1, true), Err((Exit::Mismatches, list.clone())));
        assert_eq!(with(1, false), Err((Exit::Mismatches, list)));
        assert_eq!(with(0, false), Err((Exit::TimedOut, "understudy status".to_owned())));
    }
}
