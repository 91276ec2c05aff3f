//! `understudy status` and `understudy healthcheck`: what a running sidecar says of itself.

use std::fmt::Write as _;
use std::time::Duration;

use understudy_control::{ProjectStatus, SlotStatus, StatusReport, ThroughStatus};

use super::args::{ControlArgs, StatusArgs};
use super::exit::{CliError, Exit};
use super::http;
use super::output::{Output, bytes, known, table};

/// Shows the status, once or again and again.
pub(super) async fn status(args: &StatusArgs, output: Output) -> Result<(), CliError> {
    if !args.watch {
        let report = ask(&args.control).await?;
        return show(&report, output, false);
    }
    let over = output.is_terminal() && !output.is_json();
    let mut tick = tokio::time::interval(Duration::from_secs(args.every));
    loop {
        tick.tick().await;
        let report = ask(&args.control).await?;
        if over {
            // Home, then clear what is below: no flicker.
            output.data(format_args!("\x1b[H\x1b[J{}", whole(&report)))?;
        } else {
            show(&report, output, true)?;
        }
    }
}

fn show(report: &StatusReport, output: Output, again: bool) -> Result<(), CliError> {
    match (output.is_json(), again) {
        (true, true) => output.json_line(report),
        (true, false) => output.json(report),
        (false, true) => output.data(format!("{} {}\n", report.reported_at, line(report))),
        (false, false) => output.data(whole(report)),
    }
}

async fn ask(args: &ControlArgs) -> Result<StatusReport, CliError> {
    let failed = |what: String| {
        CliError::new(Exit::Internal, what, "understudy run FILE").remedy(
            "is a sidecar running, and does `control.listen` of its migration file say this address? \
             Name another one with --control HOST:PORT",
        )
    };
    let control = &args.control;
    let (code, body) = http::get(control, "/v1/status")
        .await
        .map_err(|why| failed(format!("cannot ask the sidecar at {control}: {why}")))?;
    if code != 200 {
        return Err(failed(format!("the sidecar at {control} answered with status {code}")));
    }
    serde_json::from_str(&body)
        .map_err(|error| failed(format!("the answer of {control} is not a status: {error}")))
}

/// Succeeds when the sidecar is ready.
pub(super) async fn healthcheck(args: &ControlArgs) -> Result<(), CliError> {
    let control = &args.control;
    let unwell =
        |what: String| CliError::new(Exit::Internal, what, format!("understudy status --control {control}"));
    match http::get(control, "/readyz?verbose").await {
        Ok((200, _)) => Ok(()),
        Ok((_, body)) => Err(unwell(format!("not ready: {}", body.trim().replace('\n', ", ")))),
        Err(why) => Err(unwell(format!("cannot ask the sidecar at {control}: {why}"))),
    }
}

/// Everything of one moment on one line.
fn line(report: &StatusReport) -> String {
    let copied =
        report.tables.iter().filter(|table| table.state == understudy_control::TableState::Following).count();
    let mut line = format!(
        "{} {} lag={}/{} copied={copied}/{} changes={} heals={} quarantined={}",
        report.migration,
        report.phase.as_str(),
        report.lag_seconds.map_or_else(|| "unknown".to_owned(), |lag| format!("{lag:.1}s")),
        known(report.lag_bytes.map(|lag| format!("{lag}B"))),
        report.tables.len(),
        report.changes_total,
        report.heals,
        report.quarantined,
    );
    if let Some(verify) = &report.verify {
        let share = verify.coverage_ratio.map(|ratio| format!("{:.1}%", ratio * 100.0));
        let (open, pending, suspended) = (verify.open, verify.pending, verify.suspended);
        let _ = write!(line, " verify={} open={open} pending={pending} suspended={suspended}", known(share));
    }
    if let Some(slot) = &report.slot {
        let limit =
            slot.safe_bytes.map_or_else(|| "no limit".to_owned(), |safe| bytes(slot.retained_bytes + safe));
        let _ = write!(line, " slot={}/{limit}", bytes(slot.retained_bytes));
    }
    if let Some(gate) = &report.gate {
        let _ = write!(line, " gate={}:{}", gate.gate, gate.verdict.as_str());
    }
    // A state that does not move names its reason.
    if let Some(reason) = report.waiting_for.first() {
        let _ = write!(line, " waiting for {reason}");
    } else if report.backpressure {
        line.push_str(" waiting for green");
    }
    line
}

/// The log between blue and green.
fn log(through: &ThroughStatus) -> String {
    let mut line = format!("through {} {}.*, role {}", through.log, through.topic_prefix, through.role);
    if let Some(phase) = through.capture {
        let _ = write!(line, ": capture {}, to {}", phase.as_str(), known(through.captured.clone()));
    }
    if through.role != "capture" {
        let behind = through.records_behind.map(|behind| format!("{behind} records"));
        let _ = write!(line, "; green is behind by {}", known(behind));
    }
    if let Some(ignored) = through.requests_ignored {
        let _ = write!(line, "; {ignored} requests for rows that cannot be read were passed over");
    }
    line
}

/// Everything of one moment.
fn whole(report: &StatusReport) -> String {
    let mut text = format!("{}\n", line(report));
    if let Some(ProjectStatus { number, directory }) = &report.project {
        let _ = writeln!(text, "serving version {number} of the project, {directory}");
    }
    if let Some(SlotStatus { name, active, wal_status, .. }) = &report.slot {
        let wal = wal_status.map_or("unknown", |status| status.as_str());
        let _ = writeln!(text, "slot {name}: {}, wal {wal}", if *active { "in use" } else { "not in use" });
    }
    if let Some(through) = &report.through {
        let _ = writeln!(text, "{}", log(through));
    }
    if let Some(marks) = &report.positions {
        let _ = writeln!(
            text,
            "received {}, applied {}, durable {}, confirmed {}",
            marks.received, marks.applied, marks.durable, marks.confirmed
        );
    }
    for reason in &report.waiting_for {
        let _ = writeln!(text, "waiting for {reason}");
    }
    if let Some(gate) = &report.gate {
        let _ = writeln!(text, "gate {}: {}", gate.gate, gate.reason);
    }
    if let Some(reason) = report.verify.as_ref().and_then(|verify| verify.held_back.as_ref()) {
        let _ = writeln!(text, "full passes wait: {reason}");
    }
    if let Some(error) = &report.last_error {
        let _ = writeln!(text, "last failure: {error}");
    }
    if !report.tables.is_empty() {
        let row = |one: &understudy_control::TableStatus| {
            let chunks = match one.chunks_total {
                Some(total) => format!("{}/{total}", one.chunks_done),
                None => one.chunks_done.to_string(),
            };
            vec![
                one.source.clone(),
                one.target.clone(),
                one.state.as_str().to_owned(),
                one.rows_copied.to_string(),
                known(one.rows_estimate),
                chunks,
                one.changes.to_string(),
            ]
        };
        let rows = report.tables.iter().map(row).collect::<Vec<_>>();
        let header = ["BLUE", "GREEN", "STATE", "COPIED", "ESTIMATE", "CHUNKS", "CHANGES"];
        let _ = write!(text, "\n{}", table(&header, &rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use understudy_control::{
        GateSummary, GateVerdict, Phase, Status, TableState, TableStatus, VerifySummary, WalStatus,
    };

    use super::*;

    fn report() -> StatusReport {
        let status = Status::new("shop", "1", Duration::from_secs(1));
        status.update(|report| {
            report.phase = Phase::Copying;
            report.waiting_for = vec!["transaction 7: psql of me, 5 min".to_owned()];
            report.tables = vec![TableStatus {
                source: "public.users".to_owned(),
                target: "app.customers".to_owned(),
                state: TableState::Copying,
                rows_copied: 250,
                rows_estimate: None,
                chunks_done: 1,
                chunks_total: Some(4),
                changes: 9,
            }];
            report.slot = Some(SlotStatus {
                name: "understudy_shop".to_owned(),
                active: true,
                wal_status: Some(WalStatus::Reserved),
                retained_bytes: 1 << 20,
                safe_bytes: Some(3 << 20),
            });
        });
        status.report()
    }

    #[test]
    fn one_line_says_it_all_and_never_guesses() {
        assert_eq!(
            line(&report()),
            "shop copying lag=unknown/unknown copied=0/1 changes=0 heals=0 quarantined=0 \
             slot=1.0 MiB/4.0 MiB waiting for transaction 7: psql of me, 5 min"
        );
    }

    /// Rows that are not settled stand beside those that differ, and a gate that is held says so.
    #[test]
    fn verification_and_the_gate_are_on_the_line() {
        let mut report = report();
        report.verify = Some(VerifySummary {
            coverage_ratio: Some(0.982),
            open: 1,
            pending: 12,
            suspended: 2,
            held_back: Some("green is 7 s behind".to_owned()),
        });
        let reason = "one row differs".to_owned();
        report.gate = Some(GateSummary { gate: "cutover".to_owned(), verdict: GateVerdict::Fail, reason });
        let expected =
            " verify=98.2% open=1 pending=12 suspended=2 slot=1.0 MiB/4.0 MiB gate=cutover:fail waiting for ";
        assert!(line(&report).contains(expected), "{}", line(&report));
        let whole = whole(&report);
        assert!(
            whole.contains("gate cutover: one row differs\nfull passes wait: green is 7 s behind\n"),
            "{whole}"
        );
    }

    /// Of several versions under way, each is told by its directory.
    #[test]
    fn the_version_of_a_project_is_told() {
        let mut report = report();
        assert!(!whole(&report).contains("serving"));
        report.project = Some(ProjectStatus { number: 2, directory: "002_new_key".to_owned() });
        let shown = whole(&report);
        assert_eq!(shown.lines().nth(1), Some("serving version 2 of the project, 002_new_key"), "{shown}");
    }

    #[test]
    fn the_table_lists_every_route() {
        let expected = "
BLUE          GREEN          STATE    COPIED  ESTIMATE  CHUNKS  CHANGES
public.users  app.customers  copying     250  unknown      1/4        9
";
        assert!(whole(&report()).ends_with(expected), "{}", whole(&report()));
    }
}
