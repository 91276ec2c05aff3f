//! The checks of what the migration file names beside the data: probes, Prometheus queries, freezes.

use super::Moment;
use crate::check::Check;
use crate::evidence::{ProbeOutcome, fresh, fresh_for};
use crate::policy::{Limit, ProbePolicy, QueryPolicy};
use crate::words::count;

pub(super) fn checks(moment: Moment<'_>, checks: &mut Vec<Check>) {
    checks.extend(moment.policy.probes.iter().map(|one| probe(moment, one)));
    checks.extend(moment.policy.queries.iter().map(|one| query(moment, one)));
    checks.push(freeze(moment));
}

fn probe(moment: Moment<'_>, asked: &ProbePolicy) -> Check {
    let name = format!("probe/{}", asked.name);
    let what = format!("whether the answers to probe {} agree", asked.name);
    let item = moment.evidence.probes.get(&asked.name);
    let limit = fresh_for::probe(asked.every_ms, item.map_or(0, |item| item.value.fresh_for_ms));
    match fresh(item, limit, moment.now, &what).map(|found| &found.outcome) {
        Err(why) => Check::unknown(&name, why),
        Ok(ProbeOutcome::Failed(why)) => {
            Check::unknown(&name, format!("probe {} cannot be asked: {why}", asked.name))
        }
        Ok(ProbeOutcome::Agrees(0)) => {
            Check::unknown(&name, format!("probe {} was not compared yet", asked.name))
        }
        Ok(ProbeOutcome::Agrees(times)) => {
            let times = count(*times, "answer agrees", "answers agree");
            Check::pass(&name, format!("{times} on both sides"))
        }
        Ok(ProbeOutcome::Differs(how)) => {
            Check::fail(&name, format!("both sides answer probe {} differently: {how}", asked.name))
                .remedy("compare both queries by hand, and mend the mapping or the query")
        }
        Ok(ProbeOutcome::PlanRegression(how)) => {
            Check::fail(&name, format!("green answers probe {} by a worse plan: {how}", asked.name))
                .remedy("create the missing index on green, or ANALYZE its tables")
        }
    }
}

fn query(moment: Moment<'_>, asked: &QueryPolicy) -> Check {
    let name = format!("prometheus/{}", asked.name);
    let (op, bound) = match asked.limit {
        Limit::Below(bound) => ("<", bound),
        Limit::Above(bound) => (">", bound),
    };
    let figure = |check: Check, value: Option<f64>| check.figure(value, op, bound, "");
    let what = format!("the answer of Prometheus to {}", asked.name);
    match fresh(moment.evidence.queries.get(&asked.name), fresh_for::QUERY, moment.now, &what) {
        Err(why) => figure(Check::unknown(&name, why), None),
        Ok(Err(why)) => figure(Check::unknown(&name, format!("{what} cannot be used: {why}")), None),
        Ok(Ok(value)) => {
            let holds = match asked.limit {
                Limit::Below(bound) => *value < bound,
                Limit::Above(bound) => *value > bound,
            };
            let must = if matches!(asked.limit, Limit::Below(_)) { "below" } else { "above" };
            let check = if !value.is_finite() {
                return figure(Check::unknown(&name, format!("{what} is not a number")), None);
            } else if holds {
                Check::pass(&name, format!("{} is {value}, {must} {bound}", asked.name))
            } else {
                Check::fail(&name, format!("{} is {value} and must be {must} {bound}", asked.name))
            };
            figure(check, Some(*value))
        }
    }
}

fn freeze(moment: Moment<'_>) -> Check {
    let name = "freeze";
    if moment.policy.freezes.is_empty() {
        return Check::pass(name, "no freeze is planned");
    }
    let what = "the time of day";
    match fresh(moment.evidence.wall.as_ref(), fresh_for::WALL, moment.now, what) {
        Err(why) => Check::unknown(name, why),
        Ok(at) => {
            let active = moment.policy.freezes.iter().filter_map(|one| Some((one.until(*at)?, one)));
            match active.max_by_key(|(until, _)| *until) {
                None => Check::pass(name, "no freeze is in force"),
                Some((until, freeze)) => {
                    Check::fail(name, format!("frozen until {until:.0}: {}", freeze.reason))
                        .remedy("wait for its end, or change `gate.freeze` in the migration file")
                }
            }
        }
    }
}
