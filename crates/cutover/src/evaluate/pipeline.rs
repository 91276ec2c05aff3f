//! The checks of replication: whether it runs, is complete, and keeps up.

use super::Moment;
use crate::check::Check;
use crate::evidence::{Replication, ReplicationState, fresh, fresh_for};
use crate::words::{count, list, seconds};

pub(super) fn checks(moment: Moment<'_>, checks: &mut Vec<Check>) {
    checks.push(test_fault(moment));
    checks.push(replication(moment));
    checks.push(copy(moment));
    checks.push(heals(moment));
    checks.push(quarantine(moment));
    checks.push(lag(moment));
}

fn test_fault(moment: Moment<'_>) -> Check {
    let name = "test_fault";
    let what = "whether a test fault is armed";
    match fresh(moment.evidence.faults.as_ref(), fresh_for::PIPELINE, moment.now, what) {
        Err(why) => Check::unknown(name, why),
        Ok(armed) if armed.is_empty() => Check::pass(name, "no test fault is armed"),
        Ok(armed) => {
            let names = list(armed.iter().map(String::as_str));
            Check::fail(name, format!("a test fault is armed: {names}"))
                .remedy("start the sidecar without it; a fault is never armed in earnest")
        }
    }
}

fn replication(moment: Moment<'_>) -> Check {
    let name = "replication";
    let what = "whether replication runs";
    let found = fresh(moment.evidence.replication.as_ref(), fresh_for::PIPELINE, moment.now, what);
    let found = match found {
        Err(why) => return Check::unknown(name, why),
        Ok(found) => found,
    };
    let after = |text: &str| match &found.last_error {
        Some(error) => format!("{text}: {error}"),
        None => text.to_owned(),
    };
    match found {
        Replication { state: ReplicationState::Failed, .. } => {
            Check::fail(name, after("replication stopped and needs a person"))
                .remedy("do what the failure says, then start the sidecar again: understudy run FILE")
        }
        Replication { state: ReplicationState::Retrying, .. } => {
            Check::unknown(name, after("a server is away, and is tried again"))
        }
        Replication { state: ReplicationState::Starting, .. } => {
            Check::pending(name, "replication is starting")
        }
        Replication { state: ReplicationState::Stopping, .. } => {
            Check::fail(name, "the sidecar is stopping").remedy("start it again: understudy run FILE")
        }
        Replication { blue_connected: false, .. } => Check::unknown(name, "blue's stream is not connected"),
        Replication { green_connected: false, .. } => Check::unknown(name, "green is not connected"),
        Replication { state: ReplicationState::Running, .. } => {
            Check::pass(name, "changes are followed, and both sides are connected")
        }
    }
}

fn copy(moment: Moment<'_>) -> Check {
    let name = "copy";
    let what = "whether every table is copied";
    let tables = match fresh(moment.evidence.tables.as_ref(), fresh_for::COUNTED, moment.now, what) {
        Err(why) => return Check::unknown(name, why).figure(None, "==", 0.0, "tables"),
        Ok(tables) => tables,
    };
    if tables.is_empty() {
        // Of nothing it is true that all of it is copied; that is no reason to flip.
        return Check::unknown(name, "no table is known yet").figure(None, "==", 0.0, "tables");
    }
    let incomplete = tables.iter().filter(|table| !table.complete).collect::<Vec<_>>();
    let left = incomplete.len() as u64;
    let check = match left {
        0 => Check::pass(name, format!("{} copied", count(tables.len() as u64, "table is", "tables are"))),
        _ => {
            let names = list(incomplete.iter().map(|table| table.name.as_str()));
            let share = format!("{left} of {} tables", tables.len());
            Check::pending(name, format!("the first copy of {share} is not complete: {names}"))
        }
    };
    check.none_of(left, "tables")
}

fn heals(moment: Moment<'_>) -> Check {
    let name = "heals";
    let what = "how many rows are to be read again";
    match fresh(moment.evidence.heals.as_ref(), fresh_for::COUNTED, moment.now, what) {
        Err(why) => Check::unknown(name, why).figure(None, "==", 0.0, "rows"),
        Ok(0) => Check::pass(name, "no row waits to be read again").none_of(0, "rows"),
        Ok(rows) => {
            let waiting = count(*rows, "row waits", "rows wait");
            Check::pending(name, format!("{waiting} to be read again from blue")).none_of(*rows, "rows")
        }
    }
}

fn quarantine(moment: Moment<'_>) -> Check {
    let name = "quarantine";
    let what = "how many rows are set aside";
    match fresh(moment.evidence.quarantined.as_ref(), fresh_for::COUNTED, moment.now, what) {
        Err(why) => Check::unknown(name, why).figure(None, "==", 0.0, "rows"),
        Ok(0) => Check::pass(name, "no row is set aside").none_of(0, "rows"),
        Ok(rows) => {
            let aside = count(*rows, "row is set aside", "rows are set aside");
            Check::fail(name, format!("{aside} because green refused them"))
                .none_of(*rows, "rows")
                .remedy("mend the rows on blue or the mapping, then copy the table again: understudy run FILE --recopy SCHEMA.TABLE")
        }
    }
}

fn lag(moment: Moment<'_>) -> Check {
    let name = "lag";
    let most = moment.policy.max_lag_seconds;
    let figure = |check: Check, lag: Option<f64>| check.figure(lag, "<=", most, "seconds");
    let what = "how far green is behind";
    match fresh(moment.evidence.lag_seconds.as_ref(), fresh_for::PIPELINE, moment.now, what) {
        Err(why) => figure(Check::unknown(name, why), None),
        Ok(Some(lag)) if *lag >= 0.0 && *lag <= most => {
            let (behind, most) = (seconds(*lag), seconds(most));
            figure(
                Check::pass(name, format!("green is {behind} behind, at most {most} are allowed")),
                Some(*lag),
            )
        }
        Ok(Some(lag)) if *lag > most => {
            let text = format!("green is {} behind, more than {}", seconds(*lag), seconds(most));
            let check = Check::fail(name, text).remedy("see what holds green up: understudy status");
            figure(check, Some(*lag))
        }
        Ok(_) => figure(
            Check::unknown(name, "how far green is behind is not known: no marker has come back"),
            None,
        ),
    }
}
