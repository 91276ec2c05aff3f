//! Verdicts and reports as the HTTP interface shows them: no key and no value of a row leaves this file.

use std::time::{Duration, SystemTime};

use understudy_contract::{KeyRelation, MismatchRecord, key_hash};
use understudy_control::{
    ByEnd, ByKind, GateCheck, GateDocument, GateLag, GateMismatches, GateSoak, GateVerdict, MismatchEntry,
    StatusReport, VerifyChanged, VerifyDocument, VerifyRule, VerifyTable, rfc3339,
};
use understudy_cutover::{
    Check, ComparedTable, Evidence, GateName, Millis, Policy, Status, Verdict, Verification, fresh_for,
};

use understudy_verify::{RouteReport, RouteState, VerifyReport};

/// What a moment is on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Millis,
    pub(super) wall: SystemTime,
}

impl Moment {
    fn stamp(self, at: Millis) -> String {
        let ago = Duration::from_millis(self.now.since(at));
        rfc3339(self.wall.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH))
    }
}

/// A verdict with the figures that it rests on.
pub(super) fn gate(
    name: GateName,
    verdict: &Verdict,
    (policy, evidence): (&Policy, &Evidence),
    status: &StatusReport,
    moment: Moment,
) -> GateDocument {
    let tables = compared(evidence, moment.now);
    let sum = |of: fn(&ComparedTable) -> u64| tables.map(|tables| tables.iter().map(of).sum::<u64>());
    let soak_ms = if name.soaks() { policy.soak_ms } else { 0 };
    GateDocument {
        verdict: word(verdict.verdict),
        ready: verdict.ready,
        phase: status.phase.as_str().to_owned(),
        soak: GateSoak { seconds: seconds(soak_ms), left_seconds: seconds(verdict.soak_left_ms) },
        checks: verdict.checks.iter().map(|one| check(one, moment)).collect(),
        lag: GateLag {
            seconds: evidence.lag_seconds.as_ref().and_then(|lag| lag.value),
            bytes: status.lag_bytes.filter(|_| status.source_connected),
        },
        mismatches: GateMismatches {
            open: sum(|table| table.open),
            pending: sum(|table| table.pending),
            suspended: sum(|table| table.suspended),
        },
        coverage_ratio: tables
            .filter(|tables| !tables.is_empty())
            .map(|tables| tables.iter().map(|table| table.coverage).fold(1.0, f64::min)),
        ..GateDocument::unknown(name.as_str(), &verdict.reason)
    }
}

/// The routes as verification sees them, while that counts.
fn compared(evidence: &Evidence, now: Millis) -> Option<&[ComparedTable]> {
    let found = evidence.verification.as_ref()?;
    match &found.value {
        Verification::Running { tables, .. } if now.since(found.at) <= fresh_for::VERIFICATION => {
            Some(tables)
        }
        Verification::Running { .. } | Verification::Disabled | Verification::Failing(_) => None,
    }
}

fn check(check: &Check, moment: Moment) -> GateCheck {
    GateCheck {
        name: check.name.clone(),
        status: word(check.status),
        value: check.value,
        op: check.op.map(str::to_owned),
        threshold: check.threshold,
        unit: check.unit.to_owned(),
        reason: check.reason.clone(),
        remedy: check.remedy.clone(),
        since: moment.stamp(check.since),
    }
}

const fn word(status: Status) -> GateVerdict {
    match status {
        Status::Pass => GateVerdict::Pass,
        Status::Fail => GateVerdict::Fail,
        Status::Pending => GateVerdict::Pending,
        Status::Unknown => GateVerdict::Unknown,
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// What verification knows.
pub(super) fn verify(report: &VerifyReport, at: SystemTime) -> VerifyDocument {
    VerifyDocument {
        reported_at: Some(rfc3339(at)),
        held_back: report.held_back.clone(),
        rows_per_second: report.rows_per_second,
        changed: VerifyChanged {
            waiting: report.changed.waiting,
            oldest_seconds: report.changed.oldest_ms.map(seconds),
            age_p99_seconds: report.changed.age_p99_ms.map(seconds),
            overflowed: report.changed.overflowed,
        },
        tables: report.routes.iter().map(table).collect(),
        ..VerifyDocument::empty(true)
    }
}

fn table(one: &RouteReport) -> VerifyTable {
    let (state, reason) = match &one.state {
        RouteState::Waiting => ("waiting", None),
        RouteState::Comparing => ("comparing", None),
        RouteState::Blocked(why) => ("blocked", Some(why.clone())),
    };
    let keys = match one.keys {
        KeyRelation::Aligned => "aligned",
        KeyRelation::Passed => "passed",
        KeyRelation::Computed => "computed",
    };
    let rule = |(column, rule): &(String, understudy_contract::CompareRule)| VerifyRule {
        column: column.clone(),
        rule: rule.to_string(),
    };
    let by_kind = |[missing, extra, differs]: [u64; 3]| ByKind { missing, extra, differs };
    let [converged, repaired, waived, gone] = one.resolved;
    VerifyTable {
        source: one.source.to_string(),
        target: one.target.to_string(),
        state: state.to_owned(),
        reason,
        keys: keys.to_owned(),
        rules: one.rules.iter().map(rule).collect(),
        ranges: one.ranges,
        ranges_verified: one.ranges_verified,
        rows: one.rows,
        coverage_ratio: one.coverage,
        oldest_age_seconds: one.oldest_age_ms.map(seconds),
        verified_at: one.verified_at.map(|lsn| lsn.to_string()),
        pass: one.pass,
        pass_progress_ratio: one.pass_progress,
        passes_completed: one.passes_completed,
        last_pass_age_seconds: one.last_pass_age_ms.map(seconds),
        open: by_kind(one.open),
        waived: one.waived,
        pending: one.pending,
        suspended: one.suspended,
        foreign_writes: one.foreign_writes,
        rows_checked: one.rows_checked,
        changes_checked: one.changes_checked,
        found: by_kind(one.found),
        resolved: ByEnd { converged, repaired, waived, gone },
        wrong_digests: one.wrong_digests,
    }
}

/// Mismatches that are open or waived.
pub(super) fn mismatches(report: &VerifyReport) -> Vec<MismatchEntry> {
    report.mismatches.iter().map(|one| mismatch(one, &report.routes)).collect()
}

fn mismatch(one: &MismatchRecord, routes: &[RouteReport]) -> MismatchEntry {
    let route = routes.iter().find(|route| route.route == one.route);
    let name = |of: fn(&RouteReport) -> String| route.map_or_else(String::new, of);
    let state = match (&one.waived, one.repair_asked) {
        (Some(_), _) => "waived",
        (None, true) => "repair_asked",
        (None, false) => "open",
    };
    MismatchEntry {
        id: one.id.0,
        source: name(|route| route.source.to_string()),
        target: name(|route| route.target.to_string()),
        key_hash: key_hash(&one.name.green),
        kind: one.kind.as_str().to_owned(),
        cause: one.cause.as_str().to_owned(),
        columns: one.columns.clone(),
        state: state.to_owned(),
        found_by: if one.by_stream { "stream" } else { "comparison" }.to_owned(),
        found_at: one.found_at.to_string(),
    }
}
