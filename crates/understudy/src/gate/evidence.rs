//! What is put up and reported, turned into evidence.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use understudy_control::{Phase, StatusReport, TableState};
use understudy_cutover::{
    ChangedRows, ComparedTable, CopiedTable, Dated, Evidence, Millis, ProbeOutcome, Probed, Replication,
    ReplicationState, Verification,
};
use understudy_verify::probes::{ProbeReport, ProbeState};
use understudy_verify::{RouteReport, RouteState, VerifyReport};

use super::board::Posted;
use super::prometheus::Answers;
use super::time::GateClock;

/// Everything that evidence is made of, at one moment.
pub(super) struct Sources<'a> {
    pub(super) clock: &'a GateClock,
    pub(super) at: Instant,
    pub(super) wall: Timestamp,
    pub(super) status: &'a StatusReport,
    /// How long ago what the status says of green was so.
    pub(super) since_counted: Duration,
    pub(super) posted: &'a Posted,
    pub(super) answers: &'a Answers,
    /// Test faults that are armed.
    pub(super) faults: &'a [String],
    pub(super) verifying: bool,
}

impl Sources<'_> {
    pub(super) fn evidence(&self) -> Evidence {
        let now = self.clock.at(self.at);
        let status = self.status;
        // The loop's figures are those of this attempt only once it is running.
        let counted_at = self.at.checked_sub(self.since_counted).map(|at| self.clock.at(at));
        let counted_at = counted_at.filter(|_| state(status.phase) == ReplicationState::Running);
        let connected = status.source_connected && status.target_connected;
        Evidence {
            replication: Some(Dated::new(now, replication(status))),
            tables: counted_at.map(|at| Dated::new(at, tables(status))),
            lag_seconds: Some(Dated::new(now, status.lag_seconds.filter(|_| connected))),
            heals: counted_at.map(|at| Dated::new(at, status.heals)),
            quarantined: counted_at.map(|at| Dated::new(at, status.quarantined)),
            verification: self.verification(now),
            readiness: self.readiness(),
            probes: self.probes(),
            queries: self.answers.dated(self.clock),
            wall: Some(Dated::new(now, self.wall)),
            faults: Some(Dated::new(now, self.faults.to_vec())),
        }
    }

    fn verification(&self, now: Millis) -> Option<Dated<Verification>> {
        if !self.verifying {
            return Some(Dated::new(now, Verification::Disabled));
        }
        let (at, said) = self.posted.verify.as_ref()?;
        let found = match said {
            Ok(report) => verification(report),
            Err(why) => Verification::Failing(why.clone()),
        };
        Some(Dated::new(self.clock.at(*at), found))
    }

    fn readiness(&self) -> BTreeMap<understudy_contract::ReadinessCheck, Dated<understudy_contract::Found>> {
        let Some((at, found)) = &self.posted.readiness else { return BTreeMap::new() };
        let at = self.clock.at(*at);
        found.iter().map(|one| (one.check, Dated::new(at, one.found.clone()))).collect()
    }

    /// A probe's evidence is as old as its last answers, not as the report of them.
    fn probes(&self) -> BTreeMap<String, Dated<Probed>> {
        let Some((at, reports)) = &self.posted.probes else { return BTreeMap::new() };
        let dated = |report: &ProbeReport| {
            let age = report.last_settled_age_ms.unwrap_or(0);
            let at = Millis(self.clock.at(*at).0.saturating_sub(age));
            let probed = Probed { outcome: outcome(report), fresh_for_ms: report.stale_after_ms };
            (report.name.clone(), Dated::new(at, probed))
        };
        reports.iter().map(dated).collect()
    }
}

const fn state(phase: Phase) -> ReplicationState {
    match phase {
        Phase::Starting => ReplicationState::Starting,
        Phase::Copying | Phase::Following => ReplicationState::Running,
        Phase::Retrying => ReplicationState::Retrying,
        Phase::Stopping => ReplicationState::Stopping,
        Phase::Failed => ReplicationState::Failed,
    }
}

fn replication(status: &StatusReport) -> Replication {
    Replication {
        state: state(status.phase),
        blue_connected: status.source_connected,
        green_connected: status.target_connected,
        last_error: status.last_error.clone(),
    }
}

fn tables(status: &StatusReport) -> Vec<CopiedTable> {
    let copied = |table: &understudy_control::TableStatus| CopiedTable {
        name: route(&table.source, &table.target),
        complete: table.state == TableState::Following,
    };
    status.tables.iter().map(copied).collect()
}

/// A route as evidence names it.
fn route(source: &str, target: &str) -> String {
    format!("{source} -> {target}")
}

fn verification(report: &VerifyReport) -> Verification {
    let changed = ChangedRows {
        waiting: report.changed.waiting,
        oldest_ms: report.changed.oldest_ms,
        overflowed: report.changed.overflowed,
    };
    let tables = report.routes.iter().map(compared).collect();
    Verification::Running { tables, changed, held_back: report.held_back.clone() }
}

fn compared(one: &RouteReport) -> ComparedTable {
    ComparedTable {
        name: route(&one.source.to_string(), &one.target.to_string()),
        blocked: match &one.state {
            RouteState::Blocked(why) => Some(why.clone()),
            RouteState::Waiting | RouteState::Comparing => None,
        },
        coverage: one.coverage,
        oldest_age_ms: one.oldest_age_ms,
        open: one.open_total(),
        pending: one.pending,
        suspended: one.suspended,
        foreign_writes: one.foreign_writes,
        wrong_digests: one.wrong_digests,
    }
}

fn outcome(report: &ProbeReport) -> ProbeOutcome {
    match &report.state {
        ProbeState::Waiting(why) => ProbeOutcome::Failed(why.clone()),
        ProbeState::Failing { side, why } => {
            ProbeOutcome::Failed(format!("{} does not answer: {why}", side.as_str()))
        }
        ProbeState::Differs => match report.differing.first() {
            Some(set) => ProbeOutcome::Differs(set.to_string()),
            None => ProbeOutcome::Differs("for parameters that are not known any more".to_owned()),
        },
        ProbeState::Agrees if report.last_settled_age_ms.is_none() => ProbeOutcome::Agrees(0),
        ProbeState::Agrees => match report.regressions.first() {
            Some(how) => ProbeOutcome::PlanRegression(how.clone()),
            None => ProbeOutcome::Agrees(report.agreed),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use understudy_contract::{Found, KeyRelation, Readiness, ReadinessCheck};
    use understudy_control::{Status, TableStatus};
    use understudy_model::{RouteId, TableName};
    use understudy_verify::ChangedReport;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Scene {
        clock: GateClock,
        at: Instant,
        status: StatusReport,
        since_counted: Duration,
        posted: Posted,
        verifying: bool,
    }

    /// A pipeline that follows, ten seconds after the start.
    fn scene() -> Scene {
        let began = Instant::now();
        let status = Status::new("shop", "1", SECOND);
        status.update(|report| {
            report.phase = Phase::Following;
            (report.source_connected, report.target_connected) = (true, true);
            report.tables = vec![TableStatus {
                source: "public.users".to_owned(),
                target: "app.customers".to_owned(),
                state: TableState::Following,
                ..TableStatus::default()
            }];
        });
        let (mut report, posted) = (status.report(), Posted::default());
        report.lag_seconds = Some(0.5);
        let clock = GateClock::start(began, SystemTime::now());
        let at = began + 10 * SECOND;
        Scene { clock, at, status: report, since_counted: SECOND, posted, verifying: true }
    }

    impl Scene {
        fn evidence(&self) -> Evidence {
            let answers = Answers::default();
            let sources = Sources {
                clock: &self.clock,
                at: self.at,
                wall: Timestamp::UNIX_EPOCH,
                status: &self.status,
                since_counted: self.since_counted,
                posted: &self.posted,
                answers: &answers,
                faults: &["digest=public.users".to_owned()],
                verifying: self.verifying,
            };
            sources.evidence()
        }
    }

    fn route_report() -> RouteReport {
        RouteReport {
            route: RouteId(0),
            source: TableName::new("public", "users"),
            target: TableName::new("app", "customers"),
            state: RouteState::Blocked("no key".to_owned()),
            keys: KeyRelation::Aligned,
            rules: Vec::new(),
            ranges: 2,
            ranges_verified: 1,
            rows: 9,
            coverage: 0.5,
            oldest_age_ms: Some(7),
            verified_at: None,
            pass: 1,
            pass_progress: 0.5,
            passes_completed: 0,
            last_pass_age_ms: None,
            open: [1, 2, 3],
            waived: 4,
            pending: 5,
            suspended: 6,
            foreign_writes: 7,
            rows_checked: 8,
            changes_checked: 9,
            found: [1, 2, 3],
            resolved: [0; 4],
            wrong_digests: 10,
        }
    }

    /// Figures of a loop that does not beat, or has not begun in this attempt, are not figures of now.
    #[test]
    fn what_the_loop_counted_is_as_old_as_its_last_beat() {
        let mut scene = scene();
        scene.since_counted = 4 * SECOND;
        let evidence = scene.evidence();
        let name = "public.users -> app.customers".to_owned();
        assert_eq!(
            evidence.tables,
            Some(Dated::new(Millis(6_000), vec![CopiedTable { name, complete: true }]))
        );
        assert_eq!(evidence.heals, Some(Dated::new(Millis(6_000), 0)));
        assert_eq!(evidence.quarantined, Some(Dated::new(Millis(6_000), 0)));
        for phase in [Phase::Starting, Phase::Retrying, Phase::Stopping, Phase::Failed] {
            scene.status.phase = phase;
            let evidence = scene.evidence();
            assert_eq!(
                (evidence.tables, evidence.heals, evidence.quarantined),
                (None, None, None),
                "{phase:?}"
            );
        }
    }

    /// A lag from before the connection was lost is not a lag of now.
    #[test]
    fn the_lag_is_unknown_while_a_side_is_away() {
        let mut scene = scene();
        assert_eq!(scene.evidence().lag_seconds, Some(Dated::new(Millis(10_000), Some(0.5))));
        scene.status.target_connected = false;
        assert_eq!(scene.evidence().lag_seconds, Some(Dated::new(Millis(10_000), None)));
    }

    /// Every figure of verification must reach the gate, and under the name by which the copy calls the route.
    #[test]
    fn what_verification_says_is_handed_on() {
        let mut scene = scene();
        assert_eq!(scene.evidence().verification, None);
        let changed = ChangedReport { waiting: 3, oldest_ms: Some(4), age_p99_ms: None, overflowed: true };
        let report = VerifyReport { routes: vec![route_report()], changed, ..VerifyReport::default() };
        scene.posted.verify = Some((scene.at - SECOND, Ok(Arc::new(report))));
        let evidence = scene.evidence();
        let table = ComparedTable {
            name: evidence.tables.unwrap().value[0].name.clone(),
            blocked: Some("no key".to_owned()),
            coverage: 0.5,
            oldest_age_ms: Some(7),
            open: 6,
            pending: 5,
            suspended: 6,
            foreign_writes: 7,
            wrong_digests: 10,
        };
        let changed = ChangedRows { waiting: 3, oldest_ms: Some(4), overflowed: true };
        let expected = Verification::Running { tables: vec![table], changed, held_back: None };
        assert_eq!(evidence.verification, Some(Dated::new(Millis(9_000), expected)));
        scene.posted.verify = Some((scene.at, Err("green is away".to_owned())));
        let failing = Verification::Failing("green is away".to_owned());
        assert_eq!(scene.evidence().verification.unwrap().value, failing);
        scene.verifying = false;
        assert_eq!(scene.evidence().verification.unwrap().value, Verification::Disabled);
    }

    /// What was found on the servers keeps its date, and armed faults are handed on.
    #[test]
    fn findings_keep_their_date() {
        let mut scene = scene();
        let found = Found::Unknown("no".to_owned());
        let readiness = Readiness { check: ReadinessCheck::Roles, found: found.clone() };
        scene.posted.readiness = Some((scene.at - 3 * SECOND, [readiness].into()));
        let evidence = scene.evidence();
        assert_eq!(
            evidence.readiness,
            BTreeMap::from([(ReadinessCheck::Roles, Dated::new(Millis(7_000), found))])
        );
        assert_eq!(evidence.faults.unwrap().value, ["digest=public.users"]);
    }

    /// A probe whose report is new and whose last answers are old is old.
    #[test]
    fn probes_are_as_old_as_their_answers() {
        let mut scene = scene();
        let agrees = ProbeReport {
            state: ProbeState::Agrees,
            agreed: 17,
            last_settled_age_ms: Some(2_000),
            stale_after_ms: 30_000,
            ..ProbeReport::waiting("a", "")
        };
        let worse =
            ProbeReport { name: "b".to_owned(), regressions: vec!["scan".to_owned()], ..agrees.clone() };
        let waiting = ProbeReport::waiting("c", "the first copy is not complete");
        scene.posted.probes = Some((scene.at - SECOND, [agrees, worse, waiting].into()));
        let probes = scene.evidence().probes;
        let probed = |at, outcome| Dated::new(Millis(at), Probed { outcome, fresh_for_ms: 30_000 });
        assert_eq!(probes["a"], probed(7_000, ProbeOutcome::Agrees(17)));
        assert_eq!(probes["b"], probed(7_000, ProbeOutcome::PlanRegression("scan".to_owned())));
        let why = "the first copy is not complete".to_owned();
        assert_eq!(probes["c"].value.outcome, ProbeOutcome::Failed(why));
    }
}
