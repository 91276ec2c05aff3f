//! Dual reads while a migration runs: asks all probes for ever, each at its pace, and shows what is known of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use understudy_contract::{Class, Failure, NotAnswered, ProbeQuery};
use understudy_observe::Recorder;
use understudy_postgres::probes::{PostgresBlueProbe, PostgresGreenProbe, ProbeLimits};
use understudy_postgres::wire::ConnectOptions;
use understudy_verify::Millis;
use understudy_verify::probes::{Asked, ProbePlan, ProbeReport, Probes, Stepped, step};

use crate::settings::ProbeSettings;

/// First and longest pause after a connection failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// One step takes no longer: a network that swallows everything is noticed.
const STEP_MAX: Duration = Duration::from_secs(300);

/// Reports are shown at least this often.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// What is known of all probes, for whoever wants to show it or decide on it.
#[derive(Debug)]
pub struct ProbeBoard {
    shown: Mutex<(Vec<ProbeReport>, Instant)>,
}

impl ProbeBoard {
    /// A board on which every probe waits to be asked.
    pub fn new(probes: &[ProbeSettings]) -> ProbeBoard {
        let waiting = |probe: &ProbeSettings| ProbeReport::waiting(&probe.name, "it has not been asked yet");
        ProbeBoard { shown: Mutex::new((probes.iter().map(waiting).collect(), Instant::now())) }
    }

    /// What is known now. Answers grow old here also while nobody asks any more.
    pub fn reports(&self) -> Vec<ProbeReport> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let age_ms = u64::try_from(shown.1.elapsed().as_millis()).unwrap_or(u64::MAX);
        shown.0.iter().map(|report| report.clone().aged(age_ms)).collect()
    }

    fn show(&self, reports: Vec<ProbeReport>) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = (reports, Instant::now());
    }
}

/// What is asked, and where.
#[derive(Debug, Clone)]
pub struct ProbingSettings {
    /// Blue, for a connection of this task's own.
    pub blue: ConnectOptions,
    /// Green.
    pub green: ConnectOptions,
    /// The name that green's bookkeeping has the migration under.
    pub migration: String,
    /// What the prefix of our messages in blue's log is.
    pub prefix: String,
    /// The probes.
    pub probes: Vec<ProbeSettings>,
    /// How much one question may take.
    pub limits: ProbeLimits,
    /// Decides which parameters are asked.
    pub seed: u64,
    /// Where latencies and answers are counted.
    pub recorder: Recorder,
}

/// Asks until it is dropped or `shutdown` resolves. Nothing that goes wrong ends it: connections are made again, and what
/// cannot be asked is on the board.
pub async fn run(settings: ProbingSettings, board: Arc<ProbeBoard>, shutdown: impl Future<Output = ()>) {
    if settings.probes.is_empty() {
        return;
    }
    tokio::select! {
        biased;
        () = shutdown => {}
        () = Box::pin(ask_all(&settings, &board)) => {}
    }
}

async fn ask_all(settings: &ProbingSettings, board: &ProbeBoard) {
    let began = Instant::now();
    let now = || Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    let plans = settings.probes.iter().map(plan).collect();
    let mut probes = Probes::new(plans, settings.seed, now());
    let mut blue = PostgresBlueProbe::new(&settings.blue, settings.prefix.as_str(), settings.limits);
    let mut green = PostgresGreenProbe::new(&settings.green, settings.migration.as_str(), settings.limits);
    let (mut pause, mut differing) = (PAUSES.0, BTreeSet::new());
    loop {
        let stepped = tokio::time::timeout(STEP_MAX, step(&mut probes, (&mut blue, &mut green), now));
        let stepped = stepped.await.unwrap_or_else(|_| Err(no_answer()));
        let reports = probes.report(now());
        tell_of_new(&mut differing, &reports);
        board.show(reports);
        match stepped {
            Ok(Stepped::Wait(until)) => {
                tokio::time::sleep(Duration::from_millis(until.since(now())).min(SHOW_EVERY)).await;
            }
            Ok(Stepped::Prepared) => pause = PAUSES.0,
            Ok(Stepped::Asked { probe, asked, took }) => {
                pause = PAUSES.0;
                let name = &probes.plan(probe).name;
                took.iter().for_each(|(side, took)| settings.recorder.probe_took(name, side.as_str(), *took));
                settings.recorder.probe_answered(name, result_of(&asked));
            }
            Err(failure) => {
                tracing::debug!(error = %failure, "cannot ask probes");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// Warns of probes that have begun to differ, once each time.
fn tell_of_new(differing: &mut BTreeSet<String>, reports: &[ProbeReport]) {
    for report in reports {
        match report.differing.first() {
            Some(first) if differing.insert(report.name.clone()) => {
                tracing::warn!(probe = report.name, first = %first, "blue and green answer differently");
            }
            Some(_) => {}
            None => {
                differing.remove(&report.name);
            }
        }
    }
}

fn plan(settings: &ProbeSettings) -> ProbePlan {
    let query = |sql: &String| ProbeQuery { sql: sql.clone(), ordered: settings.ordered };
    ProbePlan {
        name: settings.name.clone(),
        blue: query(&settings.blue),
        green: query(&settings.green),
        params: settings.params.clone(),
        every_ms: u64::try_from(settings.every.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The label's value of an asking.
fn result_of(asked: &Asked) -> &'static str {
    match asked {
        Asked::Agrees => "agrees",
        Asked::Differs(_) => "differs",
        Asked::Unsettled => "unsettled",
        Asked::NotAnswered(_, NotAnswered::TooSlow(_) | NotAnswered::Refused(_)) => "fails",
        Asked::NotAnswered(_, NotAnswered::Busy | NotAnswered::NotYet | NotAnswered::NotCopied) => "waits",
    }
}

fn no_answer() -> Failure {
    Failure::new(Class::Transient, "a server did not answer a probe within five minutes")
}
