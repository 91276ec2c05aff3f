//! The checks of both servers: what has to be true of them beside the data.

use understudy_contract::{Found, Lack, ReadinessCheck};

use super::Moment;
use crate::check::Check;
use crate::evidence::{fresh, fresh_for};
use crate::policy::Accepted;

/// How many findings are told in full.
const TOLD_MAX: usize = 3;

pub(super) fn checks(moment: Moment<'_>, checks: &mut Vec<Check>) {
    checks.extend(ReadinessCheck::ALL.into_iter().map(|check| server(moment, check)));
}

fn server(moment: Moment<'_>, check: ReadinessCheck) -> Check {
    let name = check.as_str();
    let what = format!("what the servers say of `{name}`");
    let item = moment.evidence.readiness.get(&check);
    match fresh(item, fresh_for::READINESS, moment.now, &what) {
        Err(why) => Check::unknown(name, why).figure(None, "==", 0.0, "findings"),
        Ok(Found::Unknown(why)) => Check::unknown(name, why.as_str()).figure(None, "==", 0.0, "findings"),
        Ok(Found::Good) => Check::pass(name, good(check)).none_of(0, "findings"),
        Ok(Found::Inapplicable(why)) => Check::pass(name, why.as_str()).none_of(0, "findings"),
        Ok(Found::Lacks(lacks)) => found(name, lacks, &moment.policy.accepted),
    }
}

fn found(name: &str, lacks: &[Lack], accepted: &[Accepted]) -> Check {
    let is_accepted = |lack: &&Lack| accepted.iter().any(|one| one.what == lack.subject);
    let left = lacks.iter().filter(|lack| !is_accepted(lack)).collect::<Vec<_>>();
    let number = left.len() as u64;
    if left.is_empty() {
        let all = lacks.iter().map(|lack| lack.subject.as_str());
        let text = format!("accepted in the migration file: {}", crate::words::list(all));
        return Check::pass(name, text).none_of(0, "findings");
    }
    let told = left.iter().take(TOLD_MAX).map(|lack| format!("{}: {}", lack.subject, lack.reason));
    let mut reason = told.collect::<Vec<_>>().join("; ");
    if left.len() > TOLD_MAX {
        reason.push_str(&format!("; and {} more", left.len() - TOLD_MAX));
    }
    let remedies = left.iter().filter_map(|lack| lack.remedy.as_deref()).take(TOLD_MAX).collect::<Vec<_>>();
    let accept = "or say why it does no harm under `gate.accept` in the migration file";
    let remedy = match remedies.as_slice() {
        [] => format!("mend it, {accept}"),
        some => format!("{}; {accept}", some.join("; ")),
    };
    Check::fail(name, reason).none_of(number, "findings").remedy(remedy)
}

/// What a check says when nothing is wrong.
const fn good(check: ReadinessCheck) -> &'static str {
    match check {
        ReadinessCheck::Slot => "blue's slot is in use and its log is kept",
        ReadinessCheck::LongTransactions => "no transaction on blue has been open for long",
        ReadinessCheck::PreparedTransactions => "no transaction on blue is prepared",
        ReadinessCheck::Sequences => "every sequence has its headroom and is there on green",
        ReadinessCheck::Indexes => "every index is there on green and valid",
        ReadinessCheck::Constraints => "every constraint is there on green and validated",
        ReadinessCheck::Analysed => "green's tables were analysed after their copy",
        ReadinessCheck::Roles => "every role is there on green",
        ReadinessCheck::Grants => "every right is granted on green",
        ReadinessCheck::Policies => "row security is on green as on blue",
        ReadinessCheck::Extensions => "every extension is there on green",
        ReadinessCheck::Limits => "green's limits are no lower than blue's",
        ReadinessCheck::NotMoved => "everything that is not moved is accounted for",
    }
}
