//! `understudy gate`: whether a gate of a running sidecar is open, and what holds it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use understudy_control::{GateCheck, GateDocument, GateVerdict};

use super::args::GateArgs;
use super::exit::{CliError, Exit};
use super::http;
use super::output::{Output, table};

/// How often a gate that is waited for is asked.
const EVERY: Duration = Duration::from_secs(1);

/// How often progress is told though the same checks hold.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Shows the verdict; succeeds when the gate is open.
pub(super) async fn gate(args: &GateArgs, output: Output) -> Result<(), CliError> {
    let asked = match args.wait {
        None => ask(args).await,
        Some(wait) => awaited(args, wait, output).await,
    };
    let gate = asked?;
    if output.is_json() {
        output.json(&gate)?;
    } else {
        output.data(whole(&gate))?;
    }
    if gate.ready { Ok(()) } else { Err(held(args, &gate)) }
}

/// Asks until the gate is open or the time is over. A sidecar that is away may come back meanwhile.
async fn awaited(args: &GateArgs, wait: Duration, output: Output) -> Result<GateDocument, CliError> {
    let until = Instant::now() + wait;
    let mut told: Option<(String, String, Instant)> = None;
    loop {
        let asked = ask(args).await;
        let (state, line) = match &asked {
            Ok(gate) if gate.ready => return asked,
            Ok(gate) => (holders(gate), format!("{}: {}", gate.verdict.as_str(), gate.reason)),
            Err(error) if error.exit == Exit::Configuration => return asked,
            Err(error) => ("away".to_owned(), error.what.clone()),
        };
        // Figures move all the time; what is told is which checks hold, and now and then how far they are.
        let is_new = told.as_ref().is_none_or(|(before, text, at)| {
            *before != state || (*text != line && at.elapsed() >= TELL_EVERY)
        });
        if is_new {
            output.message(&line);
            told = Some((state, line, Instant::now()));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return match asked {
                Ok(gate) => Ok(gate),
                Err(error) => Err(CliError { exit: Exit::TimedOut, ..error }),
            };
        }
        tokio::time::sleep(left.min(EVERY)).await;
    }
}

/// Which checks hold, and how.
fn holders(gate: &GateDocument) -> String {
    let held = gate.checks.iter().filter(|check| check.status != GateVerdict::Pass);
    let held = held.map(|check| format!("{}={}", check.name, check.status.as_str())).collect::<Vec<_>>();
    format!("{} {}", gate.verdict.as_str(), held.join(" "))
}

async fn ask(args: &GateArgs) -> Result<GateDocument, CliError> {
    let control = &args.control.control;
    let failed = |what: String| {
        CliError::new(Exit::Internal, what, "understudy run FILE").remedy(
            "is a sidecar running, and does `control.listen` of its migration file say this address? \
             Name another one with --control HOST:PORT",
        )
    };
    let (code, body) = http::get(control, &format!("/v1/gates/{}", args.name))
        .await
        .map_err(|why| failed(format!("cannot ask the sidecar at {control}: {why}")))?;
    match code {
        200 => serde_json::from_str(&body)
            .map_err(|error| failed(format!("the answer of {control} is not a gate: {error}"))),
        404 => {
            let what = format!("there is no gate `{}`: {}", args.name, body.trim());
            Err(CliError::new(Exit::Configuration, what, format!("understudy gate{}", elsewhere(args))))
        }
        code => Err(failed(format!("the sidecar at {control} answered with status {code}"))),
    }
}

/// The option that names another sidecar, where one was named.
fn elsewhere(args: &GateArgs) -> String {
    match args.control.control.as_str() {
        super::args::CONTROL_DEFAULT => String::new(),
        control => format!(" --control {control}"),
    }
}

fn held(args: &GateArgs, gate: &GateDocument) -> CliError {
    let (name, elsewhere) = (&gate.gate, elsewhere(args));
    let next = format!("understudy gate {name} --wait 15m{elsewhere}");
    let worst = ordered(&gate.checks);
    let remedy = worst.iter().filter(|check| check.status != GateVerdict::Pass);
    let remedy = remedy.filter_map(|check| check.remedy.clone()).next();
    let (exit, what) = match args.wait {
        None => (Exit::Held, format!("gate {name} is not open: {}", gate.reason)),
        Some(_) => (Exit::TimedOut, format!("gate {name} did not open in time: {}", gate.reason)),
    };
    CliError { remedy, ..CliError::new(exit, what, next) }
}

/// What holds first, and the worst of it at the very top.
fn ordered(checks: &[GateCheck]) -> Vec<&GateCheck> {
    let mut checks = checks.iter().collect::<Vec<_>>();
    checks.sort_by_key(|check| match check.status {
        GateVerdict::Fail => 0,
        GateVerdict::Unknown => 1,
        GateVerdict::Pending => 2,
        GateVerdict::Pass => 3,
    });
    checks
}

/// Everything of one moment.
fn whole(gate: &GateDocument) -> String {
    let state = if gate.ready { "open" } else { gate.verdict.as_str() };
    let mut text = format!("{} {state}: {}\n", gate.gate, gate.reason);
    if gate.checks.is_empty() {
        return text;
    }
    let row = |check: &&GateCheck| {
        let threshold = match (&check.op, check.threshold) {
            (Some(op), Some(threshold)) => format!("{op} {} {}", figure(threshold), check.unit),
            _ => String::new(),
        };
        let value = match (check.value, check.threshold) {
            (Some(value), _) => figure(value),
            (None, Some(_)) => "unknown".to_owned(),
            (None, None) => "-".to_owned(),
        };
        let (name, status) = (check.name.clone(), check.status.as_str().to_owned());
        vec![name, status, value, threshold.trim_end().to_owned(), check.reason.clone()]
    };
    let rows = ordered(&gate.checks).iter().map(row).collect::<Vec<_>>();
    let _ = write!(text, "\n{}", table(&["CHECK", "STATUS", "VALUE", "THRESHOLD", "REASON"], &rows));
    text
}

/// A figure without digits that nobody reads.
fn figure(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::args::{CONTROL_DEFAULT, ControlArgs};
    use super::*;

    fn check(name: &str, status: GateVerdict, value: Option<f64>, threshold: Option<f64>) -> GateCheck {
        GateCheck {
            name: name.to_owned(),
            status,
            value,
            op: threshold.map(|_| "<=".to_owned()),
            threshold,
            unit: threshold.map_or("", |_| "seconds").to_owned(),
            reason: format!("what {name} came to"),
            remedy: (status == GateVerdict::Fail).then(|| format!("mend {name}")),
            since: String::new(),
        }
    }

    fn document() -> GateDocument {
        GateDocument {
            verdict: GateVerdict::Fail,
            checks: vec![
                check("copy", GateVerdict::Pass, None, None),
                check("lag", GateVerdict::Unknown, None, Some(1.0)),
                check("heals", GateVerdict::Pending, Some(2.0), Some(0.0)),
                check("roles", GateVerdict::Fail, Some(12.25), Some(0.5)),
            ],
            ..GateDocument::unknown("cutover", "role web is not there on green")
        }
    }

    fn args(control: &str, wait: Option<Duration>) -> GateArgs {
        GateArgs { name: "cutover".to_owned(), control: ControlArgs { control: control.to_owned() }, wait }
    }

    /// An operator reads from the top: what holds the gate must stand there, the worst of it first.
    #[test]
    fn what_holds_stands_first() {
        let expected = "cutover fail: role web is not there on green

CHECK  STATUS   VALUE    THRESHOLD       REASON
roles  fail     12.25    <= 0.5 seconds  what roles came to
lag    unknown  unknown  <= 1 seconds    what lag came to
heals  pending  2        <= 0 seconds    what heals came to
copy   pass     -                        what copy came to
";
        assert_eq!(whole(&document()), expected);
    }

    /// A script goes by the code, a person by the last line.
    #[test]
    fn a_held_gate_is_an_error_with_its_code_and_next_command() {
        let now = held(&args(CONTROL_DEFAULT, None), &document());
        assert_eq!(now.exit.code(), 3);
        assert_eq!(
            now.to_string(),
            "error: gate cutover is not open: role web is not there on green\nremedy: mend roles\n\
             next: understudy gate cutover --wait 15m"
        );
        let late = held(&args("10.0.0.1:7070", Some(EVERY)), &document());
        assert_eq!(late.exit.code(), 5);
        let shown = late.to_string();
        assert!(shown.contains("did not open in time"), "{shown}");
        assert!(
            shown.ends_with("next: understudy gate cutover --wait 15m --control 10.0.0.1:7070"),
            "{shown}"
        );
    }

    /// While somebody waits, the same state is told once, though its figures move.
    #[test]
    fn progress_is_told_by_what_holds() {
        let (mut one, before) = (document(), holders(&document()));
        one.reason = "role web is still not there on green".to_owned();
        one.checks[3].value = Some(11.0);
        assert_eq!(holders(&one), before);
        one.checks[1].status = GateVerdict::Pass;
        assert_ne!(holders(&one), before);
    }

    /// A sidecar that is away: an error at once without `--wait`, and a time-out with it.
    #[tokio::test]
    async fn a_sidecar_that_is_away_is_no_open_gate() {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = closed.local_addr().unwrap().to_string();
        drop(closed);
        let output = Output { format: crate::cli::OutputFormat::Json };
        let error = gate(&args(&address, None), output).await.unwrap_err();
        assert_eq!(error.exit.code(), 1);
        let error = gate(&args(&address, Some(Duration::from_millis(1))), output).await.unwrap_err();
        assert_eq!(error.exit.code(), 5);
    }
}
