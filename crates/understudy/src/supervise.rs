//! Keeps a migration running: connects again after passing failures, stops for good after others, ends on request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use understudy_contract::{Class, Failure};
use understudy_control::{Phase, StatusHandle};
use understudy_model::TableName;
use understudy_observe::Recorder;
use understudy_replicate::{Decision, End, decide};

use crate::assemble::{self, Replaying};
use crate::reporting::Beats;
use crate::settings::Settings;
use crate::verifying::Shared;

/// First pause after a failure; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// Longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often a part is seen to be alive that waits for its next attempt.
const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// An attempt that ran this long has done its work: the next failure starts from the shortest pause again.
const STEADY: Duration = Duration::from_secs(60);

/// Until both sides have answered, passing failures are given up after this long: an address may be wrong.
const FIRST_CONNECT_MAX: Duration = Duration::from_secs(30);

/// The same where both sides have answered, and the migration could not be taken over yet: brokers without which the log cannot be
/// read may be away for longer than any restart of theirs takes.
const FIRST_CLAIM_MAX: Duration = Duration::from_secs(600);

/// Which parts of a migration a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Role {
    /// Everything
    #[default]
    All,
    /// From blue into the log that `through` names; green may be away
    Capture,
    /// From the log into green, and the comparison of both sides
    Apply,
}

impl Role {
    /// Its name, as it is typed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::All => "all",
            Role::Capture => "capture",
            Role::Apply => "apply",
        }
    }
}

/// How a run differs from what the file says.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Which parts run.
    pub role: Role,
    /// Tables of blue to be copied again from the start.
    pub recopy: Vec<TableName>,
    /// An earlier attempt of an apply has recorded that they are.
    pub(crate) recopy_recorded: bool,
    /// Green is built anew from the log alone.
    pub(crate) replay: Option<Replaying>,
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
    shutdown: Shutdown,
) -> Result<End, Failure> {
    let recorder = Recorder::new(settings.name.as_str());
    shared.faults.warn();
    let run = Run {
        instance: rand::random(),
        first: Instant::now(),
        has_answered: AtomicBool::new(false),
        goes_on: AtomicBool::new(false),
        has_reached: AtomicBool::new(false),
        captures: AtomicBool::new(false),
        applies: AtomicBool::new(false),
        log_in_order: watch::Sender::new(false),
        beats: Beats::default(),
        settings,
        options,
        status,
        recorder,
        shared,
    };
    match (run.settings.through.is_some(), run.options.role) {
        (false, _) => run.keep(Part::Whole, shutdown).await,
        (true, Role::Capture) => run.keep(Part::Capture, shutdown).await,
        (true, Role::Apply) => run.keep(Part::Apply, shutdown).await,
        (true, Role::All) => run.both(shutdown).await,
    }
}

/// A part of a run that is kept going by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// From blue straight into green.
    Whole,
    /// From blue into the log.
    Capture,
    /// From the log into green.
    Apply,
}

/// What all parts of a run have in common.
struct Run {
    settings: Settings,
    options: RunOptions,
    status: StatusHandle,
    recorder: Recorder,
    shared: Shared,
    /// Tells this process from others that run the same migration.
    instance: u64,
    first: Instant,
    /// Whether brokers of the log have answered; each part asks them after blue, and an apply after green too.
    has_answered: AtomicBool,
    /// Whether the migration had begun before this process: its slot is there, or green has taken something of it.
    goes_on: AtomicBool,
    /// Whether any part has reached both of its ends.
    has_reached: AtomicBool,
    /// Whether the capture has taken the migration over, and whether what fills green has.
    captures: AtomicBool,
    applies: AtomicBool,
    /// Whether the capture has found blue and the log in order, and has recorded what it was asked for.
    log_in_order: watch::Sender<bool>,
    beats: Beats,
}

impl Run {
    /// Keeps the capture and the apply going beside each other, each after its own failures: with green away, blue is
    /// followed all the same. What needs a person in one of them ends both.
    ///
    /// In order: 1. the capture, so that blue hears what the log holds; 2. the apply. What is in the log then, and not on
    /// green, is there at the next start.
    async fn both(&self, mut shutdown: Shutdown) -> Result<End, Failure> {
        let ((stop_capture, of_capture), (stop_apply, of_apply)) = (shutdown_channel(), shutdown_channel());
        let mut capture = Box::pin(self.keep(Part::Capture, of_capture));
        let mut apply = Box::pin(self.keep(Part::Apply, of_apply));
        let first = tokio::select! {
            biased;
            // 1. The end that was asked for.
            () = shutdown.requested() => None,
            // 2. One that came by itself.
            ended = &mut apply => Some((Part::Apply, ended)),
            ended = &mut capture => Some((Part::Capture, ended)),
        };
        let (captured, applied) = match first {
            None => {
                stop_capture.pull();
                let captured = async {
                    let ended = capture.await;
                    stop_apply.pull();
                    ended
                };
                tokio::join!(captured, apply)
            }
            Some((Part::Apply, applied)) => {
                stop_capture.pull();
                (capture.await, applied)
            }
            Some((_, captured)) => {
                stop_apply.pull();
                (captured, apply.await)
            }
        };
        match (captured?, applied?) {
            (End::InOrder, End::InOrder) => Ok(End::InOrder),
            (End::GivenUp, _) | (_, End::GivenUp) => Ok(End::GivenUp),
        }
    }

    /// Keeps a part going: one attempt after another.
    async fn keep(&self, part: Part, mut shutdown: Shutdown) -> Result<End, Failure> {
        let mut options = self.options.clone();
        let has_owned = if part == Part::Capture { &self.captures } else { &self.applies };
        let mut pause = PAUSE_MIN;
        let mut refused = None;
        loop {
            self.alive(part);
            let began = Instant::now();
            let attempt = assemble::Attempt {
                settings: &self.settings,
                options: &options,
                status: &self.status,
                recorder: &self.recorder,
                instance: self.instance,
                has_answered: &self.has_answered,
                goes_on: &self.goes_on,
                has_owned,
                shared: &self.shared,
                log_in_order: &self.log_in_order,
                beats: &self.beats,
            };
            let ended = match part {
                Part::Whole => Box::pin(attempt.direct(shutdown.clone())).await,
                Part::Capture => Box::pin(attempt.capture(shutdown.clone())).await,
                Part::Apply if self.has_lanes() => Box::pin(attempt.lanes(shutdown.clone())).await,
                Part::Apply => Box::pin(attempt.apply(shutdown.clone())).await,
            };
            if self.leave(part) {
                self.has_reached.store(true, Ordering::Relaxed);
                // What was to be copied again has been recorded by now; an apply still waits for the log to bring it.
                options.recopy_recorded = part == Part::Apply;
                if part != Part::Apply {
                    options.recopy.clear();
                }
            }
            let failure = match ended {
                Ok(end) => return Ok(end),
                Err(failure) if shutdown.is_requested() && failure.class() == Class::Transient => {
                    return Ok(End::InOrder);
                }
                Err(failure) => failure,
            };
            self.status.failed(failure.to_string());
            match decide(failure.class()) {
                Decision::Retry if self.reach().hopes(self.first.elapsed()) => {}
                Decision::Stop if part == Part::Capture && adapts(&failure, &mut refused) => {}
                Decision::Retry | Decision::Stop => {
                    self.status.phase(Phase::Failed);
                    self.phase_of(part, Phase::Failed);
                    return Err(failure);
                }
            }
            if began.elapsed() > STEADY {
                pause = PAUSE_MIN;
            }
            tracing::warn!(error = %failure, pause_ms = pause.as_millis() as u64, "connecting again");
            self.recorder.retry("transient");
            self.phase_of(part, Phase::Retrying);
            tokio::select! {
                () = shutdown.requested() => return Ok(End::InOrder),
                () = self.pause(part, pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Waits, and is seen to be alive meanwhile.
    async fn pause(&self, part: Part, pause: Duration) {
        let end = tokio::time::Instant::now() + pause;
        loop {
            self.alive(part);
            let next = tokio::time::Instant::now() + ALIVE_EVERY;
            tokio::time::sleep_until(next.min(end)).await;
            if next >= end {
                return self.alive(part);
            }
        }
    }

    /// What keeps a part going is at work, whatever has become of its figures.
    fn alive(&self, part: Part) {
        match (part, self.options.role) {
            (Part::Capture, Role::All) => self.status.capture_alive(),
            _ => self.status.alive(),
        }
    }

    /// Whether several may apply the log side by side.
    fn has_lanes(&self) -> bool {
        let through = self.settings.through.as_ref();
        through.is_some_and(|kafka| kafka.consistency == understudy_kafka::Consistency::Key)
    }

    /// How far any part has come with both of its ends. The other part waits for its own then, however long that takes: with
    /// green away, blue is followed all the same. Nothing is taken over before brokers have answered once, whose address may be
    /// wrong; a migration that goes on has had the right one.
    fn reach(&self) -> Reach {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if [&self.has_reached, &self.captures, &self.applies, &self.goes_on].into_iter().any(is_set) {
            Reach::Owns
        } else if is_set(&self.has_answered) {
            Reach::Answered
        } else {
            Reach::Nothing
        }
    }

    /// Shows what a part is at. The whole is as its apply is, where there is one.
    fn phase_of(&self, part: Part, phase: Phase) {
        let is_beside = part == Part::Capture && self.options.role == Role::All;
        self.status.update(|report| {
            if let (Part::Capture, Some(through)) = (part, &mut report.through) {
                through.capture = Some(phase);
            }
            if !is_beside {
                report.phase = phase;
            }
        });
    }

    /// After an attempt nothing of its part is connected. Returns whether all of it was.
    fn leave(&self, part: Part) -> bool {
        let report = self.status.report();
        // With both parts in one process each tells of the server that only it talks to; alone, of the log as well.
        let alone = self.options.role != Role::All;
        let (source, target) = (part != Part::Apply || alone, part != Part::Capture || alone);
        let was_connected = (!source || report.source_connected) && (!target || report.target_connected);
        match part {
            Part::Capture => self.status.capture_waits_for(Vec::new()),
            Part::Whole | Part::Apply => self.status.waiting_for(Vec::new()),
        }
        if source {
            self.status.source_connected(false);
        }
        if target {
            self.status.target_connected(false);
        }
        was_connected
    }
}

/// How far a process has come with what it connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Something has not answered yet.
    Nothing,
    /// Both sides have.
    Answered,
    /// The migration has been taken over, or both sides have been connected, or it had begun before.
    Owns,
}

impl Reach {
    /// Whether a failure that may pass is tried again so long after the first attempt.
    fn hopes(self, since_first: Duration) -> bool {
        match self {
            Reach::Nothing => since_first <= FIRST_CONNECT_MAX,
            Reach::Answered => since_first <= FIRST_CLAIM_MAX,
            Reach::Owns => true,
        }
    }
}

/// Whether another attempt of a capture may get past a failure. It takes every table as it is, so that the next one takes a
/// table that has changed as it is then; what comes up again just the same is none of that kind.
fn adapts(failure: &Failure, refused: &mut Option<String>) -> bool {
    let told = failure.to_string();
    failure.class() == Class::SchemaChange && refused.replace(told.clone()) != Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that starts while a broker is away for minutes waits for it, as one does that has begun before; one with a wrong
    /// address says so while somebody still looks; and none waits for ever for what it never had.
    #[test]
    fn who_has_been_answered_waits_for_longer() {
        let hopes = |reach: Reach| [20, 60, 599, 601].map(|secs| reach.hopes(Duration::from_secs(secs)));
        assert_eq!(hopes(Reach::Nothing), [true, false, false, false]);
        assert_eq!(hopes(Reach::Answered), [true, true, true, false]);
        assert_eq!(hopes(Reach::Owns), [true; 4]);
    }

    /// A column that comes in on blue must not stop a capture, or blue keeps its log until somebody looks; what no new look
    /// at blue gets past must not be tried for ever.
    #[test]
    fn a_capture_takes_tables_as_they_have_become() {
        let mut refused = None;
        let failure = |class, what: &str| Failure::new(class, what);
        assert!(adapts(&failure(Class::SchemaChange, "a column is new"), &mut refused));
        assert!(adapts(&failure(Class::SchemaChange, "another column is new"), &mut refused));
        assert!(!adapts(&failure(Class::SchemaChange, "another column is new"), &mut refused));
        assert!(!adapts(&failure(Class::Diverged, "the slot is gone"), &mut refused));
    }
}
