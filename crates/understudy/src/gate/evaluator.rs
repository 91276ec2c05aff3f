//! The task that has the evidence judged every second.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use understudy_control::{Bulletin, BulletinHandle, GateDocument, StatusHandle};
use understudy_cutover::{Gate, GateName, Policy, ProbePolicy, QueryPolicy};

use super::board::VerifyBoard;
use super::documents::{self, Moment};
use super::evidence::Sources;
use super::prometheus::{self, Answers};
use super::time::GateClock;
use crate::settings::Settings;

/// How often the evidence is judged.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a verdict counts.
const VALID_FOR: Duration = Duration::from_secs(5);

/// How long a changed row may wait for its check. Under load some always wait; they are checked once more at the flip.
const CHANGED_MAX: Duration = Duration::from_secs(60);

/// The gates that are judged.
pub const GATES: [GateName; 3] = GateName::ALL;

/// The bulletin of a migration, on which nothing has been put up.
pub fn bulletin(settings: &Settings) -> BulletinHandle {
    let verify = &settings.verify;
    Bulletin::new(&GATES.map(GateName::as_str), verify.enabled, verify.yield_at_lag)
}

/// Judges from the start of a run to its end, whatever becomes of the pipeline meanwhile.
#[derive(Debug)]
pub struct Evaluator {
    tasks: JoinSet<()>,
    bulletin: BulletinHandle,
}

impl Evaluator {
    /// Starts to judge. `faults` are the test faults that are armed: with any, no gate opens.
    pub fn start(
        settings: &Settings,
        status: StatusHandle,
        board: Arc<VerifyBoard>,
        faults: Vec<String>,
        bulletin: BulletinHandle,
    ) -> Evaluator {
        let mut tasks = JoinSet::new();
        let answers = prometheus::start(&settings.gate.checks, prometheus::EVERY, &mut tasks);
        let interval_ms = u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
        let judge = Judge {
            policy: policy(settings),
            // Where nothing can be compared, the board says so whether or not it was asked for.
            verifying: settings.verify.enabled || settings.green_dynamo().is_some(),
            gates: GATES.map(|name| Gate::new(name, interval_ms)),
            clock: GateClock::start(Instant::now(), SystemTime::now()),
            verify_shown: None,
            status,
            board,
            faults,
            answers,
            bulletin: bulletin.clone(),
        };
        tasks.spawn(judge.run());
        Evaluator { tasks, bulletin }
    }

    /// Ends, and takes every verdict back.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        let gone = |name: GateName| GateDocument::unknown(name.as_str(), "the sidecar ends");
        self.bulletin.post_gates(GATES.map(gone).into(), VALID_FOR);
    }
}

fn policy(settings: &Settings) -> Policy {
    let gate = &settings.gate;
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let query = |check: &crate::settings::PrometheusCheck| QueryPolicy {
        name: check.name.clone(),
        limit: check.limit,
    };
    let probe = |probe: &crate::settings::ProbeSettings| ProbePolicy {
        name: probe.name.clone(),
        every_ms: ms(probe.every),
    };
    Policy {
        max_lag_seconds: gate.max_lag.as_secs_f64(),
        soak_ms: ms(gate.soak),
        coverage: gate.coverage,
        max_age_ms: ms(gate.max_age),
        max_changed_ms: ms(CHANGED_MAX),
        queries: gate.checks.iter().map(query).collect(),
        probes: settings.probes.iter().map(probe).collect(),
        freezes: gate.freezes.clone(),
        accepted: gate.accepted.clone(),
    }
}

struct Judge {
    policy: Policy,
    verifying: bool,
    gates: [Gate; GATES.len()],
    clock: GateClock,
    /// Which report of verification was last put up.
    verify_shown: Option<Instant>,
    status: StatusHandle,
    board: Arc<VerifyBoard>,
    faults: Vec<String>,
    answers: Answers,
    bulletin: BulletinHandle,
}

impl Judge {
    async fn run(mut self) {
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.sample(Instant::now(), SystemTime::now());
        }
    }

    fn sample(&mut self, at: Instant, wall: SystemTime) {
        let now = self.clock.tick(at, wall);
        let status = self.status.report();
        let posted = self.board.look();
        let sources = Sources {
            clock: &self.clock,
            at,
            wall: wall.try_into().unwrap_or_default(),
            status: &status,
            since_counted: self.status.since_counted(),
            posted: &posted,
            answers: &self.answers,
            faults: &self.faults,
            verifying: self.verifying,
        };
        let evidence = sources.evidence();
        let moment = Moment { now, wall };
        let mut documents = Vec::with_capacity(self.gates.len());
        for gate in &mut self.gates {
            let verdict = gate.sample(&self.policy, &evidence, now);
            let basis = (&self.policy, &evidence);
            documents.push(documents::gate(gate.name(), &verdict, basis, &status, moment));
        }
        self.bulletin.post_gates(documents, VALID_FOR);
        if let Some((said_at, Ok(report))) = &posted.verify
            && self.verify_shown != Some(*said_at)
        {
            self.verify_shown = Some(*said_at);
            let age = at.saturating_duration_since(*said_at);
            let document = documents::verify(report, wall.checked_sub(age).unwrap_or(wall));
            self.bulletin.post_verify(document, documents::mismatches(report));
        }
    }
}

#[cfg(test)]
mod tests {
    use understudy_control::{GateVerdict, Phase, Status};

    use super::*;
    use crate::settings::{Secrets, Surroundings, parse};

    fn settings() -> Settings {
        let text = "version: 1\nname: shop\nblue: { url: postgres://u@blue/shop }\n\
                    green: { postgres: { url: postgres://u@green/shop } }\ntables: [{ from: public.* }]\n\
                    gate: { soak: 1s }\n";
        let surroundings = Surroundings {
            variables: std::collections::HashMap::new(),
            folder: std::path::PathBuf::new(),
            secrets: Secrets::LeaveOut,
        };
        parse("shop.yaml", text, &surroundings).unwrap()
    }

    /// From the first moment, with nothing known, every gate is there and held; when the task ends no verdict stays behind.
    #[tokio::test]
    async fn a_run_begins_and_ends_held() {
        let (settings, status) = (settings(), Status::new("shop", "1", Duration::from_secs(1)));
        status.phase(Phase::Failed);
        status.failed("column dropped");
        let bulletin = bulletin(&settings);
        let board = VerifyBoard::new();
        let evaluator = Evaluator::start(&settings, status, board, Vec::new(), bulletin.clone());
        while bulletin.gates()[0].evaluated_at.is_none() {
            tokio::task::yield_now().await;
        }
        let gates = bulletin.gates();
        assert_eq!(
            gates.iter().map(|gate| gate.gate.as_str()).collect::<Vec<_>>(),
            ["backfilled", "verified", "cutover"]
        );
        for gate in &gates {
            assert_eq!((gate.verdict, gate.ready, gate.phase.as_str()), (GateVerdict::Fail, false, "failed"));
            assert!(
                gate.reason.starts_with("replication stopped and needs a person: column dropped"),
                "{}",
                gate.reason
            );
        }
        evaluator.stop().await;
        assert!(
            bulletin
                .gates()
                .iter()
                .all(|gate| gate.verdict == GateVerdict::Unknown && gate.reason == "the sidecar ends")
        );
    }
}
