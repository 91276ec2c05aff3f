//! The demonstration's proof: green is verified while it is written, a planted mismatch holds the gate, is explained and
//! repaired, and the gate opens again.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use understudy_contract::{Class, Failure};
use understudy_control::VerifyDocument;
use understudy_postgres::wire::{Client, ConnectOptions};

use super::screen::{Screen, brief, thousands};
use super::sidecar::{Sidecar, SidecarFiles};

/// How long any single step may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often the sidecar is asked.
const GLANCE: Duration = Duration::from_millis(100);

/// What somebody does to green, behind our back: to a row that no client of the load changes.
const DAMAGE: &str = "UPDATE store.products SET name = 'Nothing in particular' \
                      WHERE id = (SELECT min(id) FROM store.products)";

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Proved {
    /// Rows that a pass covers.
    pub(super) rows: u64,
    /// From the damage to its discovery.
    pub(super) found_after: Duration,
    /// From the request to the proof that the row is equal again.
    pub(super) repaired_after: Duration,
}

/// Tells that part of the story. The sidecar runs, and so does the load.
pub(super) async fn prove(
    sidecar: &mut Sidecar,
    files: &SidecarFiles,
    green: &ConnectOptions,
    screen: &mut Screen,
) -> Result<Proved, Failure> {
    let rows = verified(sidecar, screen).await?;
    screen.step("verified", &format!("all {} rows, while they were being changed", thousands(rows)));
    held(files, screen).await?;
    let mut client = Client::connect(green).await?;
    client.batch("ANALYZE").await?;
    screen.step("analysed", "green's tables, as the gate asks: ANALYZE");
    open(files, screen).await?;
    let began = Instant::now();
    client.batch(DAMAGE).await?;
    client.close().await;
    screen.step("planted", "somebody changes a row of store.products on green, behind our back");
    found(sidecar, screen).await?;
    let found_after = began.elapsed();
    screen.step("found", &format!("one mismatch, {} after it was made", brief(found_after)));
    held(files, screen).await?;
    let file = files.migration.display().to_string();
    for line in verb(files, &["mismatches", "explain", &file, "1"]).await?.out.lines() {
        screen.step("explain", line);
    }
    let began = Instant::now();
    let repaired = verb(files, &["repair", &file, "--all", "--apply"]).await?;
    if repaired.code != 0 {
        let said = format!("{}{}", repaired.out, repaired.err);
        return Err(Failure::new(
            Class::Internal,
            format!("the repair ended with {}: {said}", repaired.code),
        ));
    }
    let repaired_after = began.elapsed();
    screen.step("repaired", &format!("read again from blue and seen equal after {}", brief(repaired_after)));
    open(files, screen).await?;
    Ok(Proved { rows, found_after, repaired_after })
}

/// Waits until every row has been verified. Returns how many there are.
async fn verified(sidecar: &mut Sidecar, screen: &mut Screen) -> Result<u64, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(report) = sidecar.verification().await? {
            let (share, rows) = covered(&report);
            if share >= 1.0 {
                return Ok(rows);
            }
            screen.progress("verify", &format!("{:.0} % of the rows compared", share * 100.0));
        }
        in_time(deadline, "verify every row")?;
        tokio::time::sleep(GLANCE).await;
    }
}

async fn found(sidecar: &mut Sidecar, screen: &mut Screen) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let report = sidecar.verification().await?;
        if report.is_some_and(|report| report.tables.iter().any(|table| table.open.total() > 0)) {
            return Ok(());
        }
        screen.progress("verify", "the next pass is on its way");
        in_time(deadline, "find what was planted")?;
        tokio::time::sleep(GLANCE).await;
    }
}

/// Asks the gate, which has to be held.
async fn held(files: &SidecarFiles, screen: &mut Screen) -> Result<(), Failure> {
    let held = verb(files, &["gate", "--control", &files.listen()]).await?;
    screen.step("gate", &first_line(&held.out));
    if held.code != 3 {
        return Err(Failure::new(Class::Internal, format!("the gate ended with {}, not with 3", held.code)));
    }
    Ok(())
}

/// Waits until the gate opens.
async fn open(files: &SidecarFiles, screen: &mut Screen) -> Result<(), Failure> {
    screen.progress("gate", "everything has to hold for a while without a break");
    let opened = verb(files, &["gate", "--control", &files.listen(), "--wait", "90s"]).await?;
    if opened.code != 0 {
        let said = format!("{}{}", opened.out, opened.err);
        return Err(Failure::new(Class::Internal, format!("the gate ended with {}: {said}", opened.code)));
    }
    screen.step("gate", &first_line(&opened.out));
    Ok(())
}

/// The share of all rows that is covered, and their number.
fn covered(report: &VerifyDocument) -> (f64, u64) {
    let rows = report.tables.iter().map(|table| table.rows).sum();
    let shares = report.tables.iter().map(|table| table.coverage_ratio).sum::<f64>();
    (if report.tables.is_empty() { 0.0 } else { shares / report.tables.len() as f64 }, rows)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// How a verb ended and what it said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs a verb as an operator would type it.
async fn verb(files: &SidecarFiles, args: &[&str]) -> Result<Said, Failure> {
    let run = Command::new(&files.program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, run).await;
    let output = output
        .map_err(|_| Failure::new(Class::Transient, format!("`understudy {}` does not end", args.join(" "))))?
        .map_err(|error| {
            Failure::new(Class::Internal, format!("could not start our own program: {error}"))
        })?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) })
}

fn in_time(deadline: Instant, what: &str) -> Result<(), Failure> {
    if Instant::now() < deadline {
        return Ok(());
    }
    Err(Failure::new(Class::Transient, format!("it took too long to {what}")))
}
