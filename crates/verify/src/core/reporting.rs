//! What is known at one moment, summed up.

use understudy_contract::{Cause, CompareRule, MismatchKind};

use super::VerifyCore;
use super::ranges::Range;
use super::route::{Copied, Route};
use crate::circumstances::Millis;
use crate::report::{ChangedReport, RouteReport, RouteState, VerifyReport};

/// Mismatches that a report lists, at most.
const LISTED_MAX: usize = 1_000;

impl VerifyCore {
    /// What is known now.
    pub fn report(&self, now: Millis) -> VerifyReport {
        let mut routes: Vec<RouteReport> = self.routes.iter().map(|route| of_route(route, now)).collect();
        for record in self.mismatches.newest() {
            let Some(route) = routes.get_mut(record.route.index()) else { continue };
            if record.waived.is_some() {
                route.waived += 1;
                continue;
            }
            let at = MismatchKind::ALL.iter().position(|kind| *kind == record.kind).unwrap_or_default();
            route.open[at] += 1;
            route.foreign_writes += u64::from(record.cause == Cause::ForeignWrite);
        }
        let (waiting, oldest) = self.changed.waiting();
        let mut changed = ChangedReport {
            waiting: waiting as u64,
            oldest_ms: None,
            age_p99_ms: self.ages.p99(now),
            overflowed: !self.changed.is_open(),
        };
        let mut oldest = oldest;
        for ((id, _), open) in self.cases.iter() {
            if let Some(noted) = &open.changed {
                changed.waiting += 1;
                oldest = Some(oldest.map_or(noted.since, |before| before.min(noted.since)));
            }
            let Some(route) = routes.get_mut(id.index()) else { continue };
            // What was shown to differ and is being explained is no mismatch yet, and must not look settled.
            if open.mismatch.is_none() && (open.keeps_changing() || open.difference.is_some()) {
                let suspended = open.is_suspended(now);
                *(if suspended { &mut route.suspended } else { &mut route.pending }) += 1;
            }
        }
        changed.oldest_ms = oldest.map(|since| now.since(since));
        VerifyReport {
            routes,
            changed,
            held_back: self.throttle.held_back(&self.load),
            rows_per_second: self.rate.per_second(now),
            mismatches: self.mismatches.newest().take(LISTED_MAX).cloned().collect(),
        }
    }
}

fn of_route(route: &Route, now: Millis) -> RouteReport {
    let dirty_upto = route.pass.dirty_upto;
    let counts = |range: &&Range| route.blocked.is_none() && range.counts(dirty_upto);
    let ranges = route.ranges().count() as u64;
    let ranges_verified = route.ranges().filter(counts).count() as u64;
    let rows: u64 = route.ranges().map(|range| range.rows).sum();
    let rows_verified: u64 = route.ranges().filter(counts).map(|range| range.rows).sum();
    let is_verified = route.blocked.is_none() && route.is_verified();
    let sweeps = route.sweeps.len() as u64;
    let done = route.ranges().filter(|range| range.pass >= route.pass.number).map(|range| range.rows).sum();
    let whole = route.sweeps.iter().all(|ranges| ranges.whole);
    let estimate = if whole { 0 } else { route.plan.rows_estimate.unwrap_or(0) * sweeps };
    let is_over = route.pass.number == route.pass.completed;
    let wrong = route.ranges().filter(|range| range.wrong).count();
    RouteReport {
        route: route.id(),
        source: route.plan.source.clone(),
        target: route.plan.target.clone(),
        state: state(route, wrong),
        keys: route.plan.keys,
        rules: rules(route),
        ranges,
        ranges_verified,
        rows: route.sweeps.first().map_or(0, |ranges| ranges.list.iter().map(|range| range.rows).sum()),
        coverage: if is_verified { 1.0 } else { share(rows_verified, rows.max(estimate)) },
        oldest_age_ms: is_verified.then(|| oldest_age_ms(route, now)).flatten(),
        verified_at: if is_verified { route.ranges().filter_map(|range| range.verified).min() } else { None },
        pass: route.pass.number,
        pass_progress: match route.pass.number {
            0 => 0.0,
            _ if is_over => 1.0,
            _ => share(done, rows.max(estimate)),
        },
        passes_completed: route.pass.completed,
        last_pass_age_ms: route.pass.completed_when.map(|when| when.age_ms(now)),
        open: [0; 3],
        waived: 0,
        pending: route.ranges().map(|range| range.unexamined).sum(),
        suspended: 0,
        foreign_writes: 0,
        rows_checked: route.counts.rows_checked,
        changes_checked: route.counts.changes_checked,
        found: route.counts.found,
        resolved: route.counts.resolved,
        wrong_digests: route.counts.wrong_digests,
    }
}

fn state(route: &Route, wrong: usize) -> RouteState {
    match (&route.blocked, route.copied) {
        (_, Copied::Unknown | Copied::InPart) => RouteState::Waiting,
        (Some(blocked), Copied::Whole) => RouteState::Blocked(blocked.why.clone()),
        (None, Copied::Whole) if wrong > 0 => RouteState::Blocked(format!(
            "wrong digest: the digest that a server gave of {wrong} ranges is not what their rows add up to"
        )),
        (None, Copied::Whole) => RouteState::Comparing,
    }
}

fn rules(route: &Route) -> Vec<(String, CompareRule)> {
    let columns = route.plan.columns.iter().filter(|column| column.rule != CompareRule::Exact);
    columns.map(|column| (column.name.clone(), column.rule.clone())).collect()
}

fn oldest_age_ms(route: &Route, now: Millis) -> Option<u64> {
    route.ranges().filter_map(|range| range.verified_when).min().map(|when| when.age_ms(now))
}

/// Below 1, since something is missing.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(0.999) }
}
