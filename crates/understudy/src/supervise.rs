//! Keeps a migration running: connects again after passing failures, stops for good after others, ends on request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use understudy_contract::{Class, Failure};
use understudy_control::{Phase, StatusHandle};
use understudy_model::TableName;
use understudy_observe::Recorder;
use understudy_replicate::{Decision, End, decide};

use crate::assemble;
use crate::settings::Settings;
use crate::verifying::Shared;

/// First pause after a failure; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// Longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// An attempt that ran this long has done its work: the next failure starts from the shortest pause again.
const STEADY: Duration = Duration::from_secs(60);

/// Until the first attempt has connected both sides, passing failures are given up after this long.
const FIRST_CONNECT_MAX: Duration = Duration::from_secs(30);

/// How a run differs from what the file says.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Tables of blue to be copied again from the start.
    pub recopy: Vec<TableName>,
}

/// Asks a run to end.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

/// Tells a run that it has been asked to end.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and what it triggers.
pub fn shutdown_channel() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

impl ShutdownTrigger {
    /// Asks the run to end: what is whole is finished, made durable and confirmed.
    pub fn pull(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Resolves once the run has been asked to end. Never resolves when nobody can ask any more.
    pub async fn requested(&mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}

/// Runs a migration until it is asked to end or something needs a person.
pub(crate) async fn run(
    settings: Settings,
    options: RunOptions,
    status: StatusHandle,
    shared: Shared,
    mut shutdown: Shutdown,
) -> Result<End, Failure> {
    let recorder = Recorder::new(settings.name.as_str());
    let first = Instant::now();
    let mut options = options;
    let (instance, has_owned) = (rand::random(), AtomicBool::new(false));
    shared.faults.warn();
    let mut was_connected = false;
    let mut pause = PAUSE_MIN;
    loop {
        let began = Instant::now();
        let attempt = assemble::Attempt {
            settings: &settings,
            options: &options,
            status: &status,
            recorder: &recorder,
            instance,
            has_owned: &has_owned,
            shared: &shared,
        };
        let ended = attempt.run(shutdown.clone()).await;
        let report = status.report();
        if report.source_connected && report.target_connected {
            was_connected = true;
            // What was to be copied again has been recorded on green by now.
            options.recopy.clear();
        }
        status.source_connected(false);
        status.target_connected(false);
        let failure = match ended {
            Ok(end) => return Ok(end),
            Err(failure) if shutdown.is_requested() && failure.class() == Class::Transient => {
                return Ok(End::InOrder);
            }
            Err(failure) => failure,
        };
        status.failed(failure.to_string());
        // Once green has been claimed, both sides have answered.
        let was_reached = was_connected || has_owned.load(Ordering::Relaxed);
        let hopeless = !was_reached && first.elapsed() > FIRST_CONNECT_MAX;
        match decide(failure.class()) {
            Decision::Retry if !hopeless => {}
            Decision::Retry | Decision::Stop => {
                status.phase(Phase::Failed);
                return Err(failure);
            }
        }
        if began.elapsed() > STEADY {
            pause = PAUSE_MIN;
        }
        tracing::warn!(error = %failure, pause_ms = pause.as_millis() as u64, "connecting again");
        recorder.retry("transient");
        status.phase(Phase::Retrying);
        tokio::select! {
            () = shutdown.requested() => return Ok(End::InOrder),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
