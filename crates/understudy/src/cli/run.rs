//! `understudy run`: the sidecar with its HTTP interface.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use understudy_contract::Failure;
use understudy_control::{BulletinHandle, Metrics, Phase, Status, StatusHandle, ThroughStatus};
use understudy_model::TableName;
use understudy_replicate::End;

use super::args::RunArgs;
use super::exit::{CliError, Exit};
use super::output::Output;
use crate::faults::TestFaults;
use crate::gate::{self, Evaluator, VerifyBoard};
use crate::project;
use crate::settings::{self, Secrets, Settings};
use crate::supervise::{self, Role, RunOptions, Shutdown, ShutdownTrigger};
use crate::verifying::Shared;

/// How often `--until-caught-up` looks.
const GLANCE: Duration = Duration::from_millis(100);

/// Runs until it is done, told to stop, or cannot go on.
pub(super) async fn run(args: &RunArgs, output: Output) -> Result<(), CliError> {
    let file = args.file.file.display().to_string();
    let settings = settings::load(&args.file.file, Secrets::Read);
    let settings = settings.map_err(|error| CliError::of_settings(&error))?;
    may_be_divided(&settings, args, &file)?;
    let options =
        RunOptions { role: args.role, recopy: recopy(&args.recopy, &file)?, ..RunOptions::default() };
    let until = if args.until_caught_up { Until::CaughtUp } else { Until::Stopped };
    let again = format!("understudy run {file}");
    if keep_running((settings, options), until, (&file, &again)).await? == Ended::Asked {
        output.message("stopped in order; the same command goes on from here");
    }
    Ok(())
}

/// When a run ends by itself.
pub(super) enum Until {
    /// When it is told to.
    Stopped,
    /// Once every table is copied and green has everything that blue had committed at that moment.
    CaughtUp,
    /// Once this says so.
    Done(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// How it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was told to, or had caught up.
    Asked,
    /// What it was to do is done.
    Done,
}

/// Who may take nothing any more when a run is to end, and what to do about it.
fn slow_to_take(is_through: bool, role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Capture => ("Kafka", "see whether its brokers answer"),
        Role::All if is_through => (
            "green, or Kafka,",
            "see what holds green up, such as a lock (pg_stat_activity names it), and whether the brokers answer",
        ),
        Role::All | Role::Apply => {
            ("green", "see what holds green up, such as a lock (pg_stat_activity names it)")
        }
    }
}

/// Runs with the HTTP interface beside it until it is done, told to stop, or cannot go on. `again` is the command that goes on.
pub(super) async fn keep_running(
    (settings, options): (Settings, RunOptions),
    until: Until,
    (file, again): (&str, &str),
) -> Result<Ended, CliError> {
    let internal = |what: String| CliError::new(Exit::Internal, what, again);
    let role = options.role;
    let slow = slow_to_take(settings.through.is_some(), role);

    // 1. Signals first: from here on a stop is a request.
    let mut signals =
        Signals::listen().map_err(|error| internal(format!("cannot listen for signals: {error}")))?;
    // 2. The HTTP interface next, so that waiting for servers can be watched.
    let metrics = Metrics::install().map_err(|error| internal(error.to_string()))?;
    // Which markers are under way an apply does not hear: by itself it counts only on those that have come.
    let marker_interval = if role == Role::Apply { Duration::ZERO } else { settings.stream.heartbeat };
    let status = Status::new(settings.name.as_str(), env!("CARGO_PKG_VERSION"), marker_interval);
    status.update(|report| report.through = through(&settings, role));
    status.update(|report| report.project = settings.project.as_ref().map(project::status));
    let bulletin = gate::bulletin(&settings);
    let interface = Interface::open(&settings, status.clone(), bulletin.clone(), metrics).await?;
    // 3. The gate beside the pipeline, so that one that fails holds it.
    let faults = TestFaults::from_env().map_err(|what| CliError::new(Exit::Configuration, what, again))?;
    let board = VerifyBoard::new();
    let evaluator = Evaluator::start(&settings, status.clone(), board.clone(), faults.names(), bulletin);
    let shared = Shared::new(&settings.verify, board, faults);
    // 4. The pipeline, until its end.
    let (ended, is_done) = pipeline((settings, options, shared), status, until, &mut signals).await;
    evaluator.stop().await;
    // 5. The interface last, so that the end can be seen too.
    interface.close().await;
    match ended {
        Some(Ok(End::InOrder)) => Ok(if is_done { Ended::Done } else { Ended::Asked }),
        Some(Ok(End::GivenUp)) => Err(CliError::new(
            Exit::Interrupted,
            format!(
                "{} did not take what was under way within `apply.stop_grace`; nothing is lost, it will be streamed again",
                slow.0
            ),
            again,
        )
        .remedy(slow.1)),
        Some(Err(failure)) => Err(CliError::of(&failure, file)),
        None => Err(CliError::new(
            Exit::Interrupted,
            "ended at once by a second signal; nothing is lost",
            again,
        )),
    }
}

/// Runs the pipeline. The first signal, or being done, asks it to end; `None` after the second signal. Tells whether it was
/// done.
async fn pipeline(
    (settings, options, shared): (Settings, RunOptions, Shared),
    status: StatusHandle,
    mut until: Until,
    signals: &mut Signals,
) -> (Option<Result<End, Failure>>, bool) {
    let (trigger, shutdown): (ShutdownTrigger, Shutdown) = supervise::shutdown_channel();
    let mut pipeline = Box::pin(supervise::run(settings, options, status.clone(), shared, shutdown));
    let (mut stopping, mut is_done) = (false, false);
    loop {
        tokio::select! {
            biased;
            // 1. Its end, however it came about.
            ended = &mut pipeline => return (Some(ended), is_done),
            // 2. Whoever asks for the end; who asks twice does not wait for it.
            () = signals.next() => {
                if stopping {
                    return (None, is_done);
                }
                tracing::info!("stopping: what is whole is finished; a second signal ends it at once");
            }
            // 3. The end that was ordered beforehand.
            () = until.reached(&status), if !stopping => is_done = matches!(until, Until::Done(_)),
        }
        stopping = true;
        trigger.pull();
    }
}

impl Until {
    async fn reached(&mut self, status: &Status) {
        match self {
            Until::Stopped => std::future::pending().await,
            Until::CaughtUp => {
                caught_up(status).await;
                tracing::info!("caught up: stopping");
            }
            Until::Done(done) => done.await,
        }
    }
}

/// Resolves once every table is copied and green has everything that blue had committed at that moment.
async fn caught_up(status: &Status) {
    let mut copied_at = None;
    let mut tick = tokio::time::interval(GLANCE);
    loop {
        tick.tick().await;
        if !status.is_settled() {
            copied_at = None;
            continue;
        }
        let since: Instant = *copied_at.get_or_insert_with(Instant::now);
        if status.proved().is_some_and(|moment| moment > since) {
            return;
        }
    }
}

/// The two signals that ask for the end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The HTTP interface while it is being served.
struct Interface {
    stop: oneshot::Sender<()>,
    task: JoinSet<std::io::Result<()>>,
}

impl Interface {
    async fn open(
        settings: &Settings,
        status: StatusHandle,
        bulletin: BulletinHandle,
        metrics: Metrics,
    ) -> Result<Interface, CliError> {
        let listen = settings.control.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            let what = format!("cannot listen on {listen}: {error}");
            CliError::new(Exit::Configuration, what, format!("understudy status --control {listen}")).remedy(
                "another sidecar may be running there; or change `control.listen` in the migration file",
            )
        })?;
        let (stop, stopped) = oneshot::channel::<()>();
        let mut task = JoinSet::new();
        task.spawn(understudy_control::serve(listener, status, bulletin, metrics, async {
            // A sender that is dropped ends it too.
            let _ = stopped.await;
        }));
        tracing::info!(migration = %settings.name, "status on http://{listen}/v1/status");
        Ok(Interface { stop, task })
    }

    /// Lets open requests finish, for a moment.
    async fn close(mut self) {
        drop(self.stop);
        let _ = tokio::time::timeout(Duration::from_secs(1), self.task.join_next()).await;
        self.task.shutdown().await;
    }
}

/// What there is to say of the log before anything is connected.
fn through(settings: &Settings, role: Role) -> Option<ThroughStatus> {
    let kafka = settings.through.as_ref()?;
    Some(ThroughStatus {
        log: "kafka".to_owned(),
        topic_prefix: kafka.topic_prefix.clone(),
        role: role.as_str().to_owned(),
        capture: (role != Role::Apply).then(Phase::default),
        captured: None,
        records_behind: None,
        partitions: None,
        lanes: None,
        requests_ignored: None,
    })
}

/// Only a log between blue and green makes two parts of a run.
fn may_be_divided(settings: &Settings, args: &RunArgs, file: &str) -> Result<(), CliError> {
    let role = args.role.as_str();
    let refuse = |what: String, remedy: &str| {
        Err(CliError::new(Exit::Configuration, what, format!("understudy check {file}")).remedy(remedy))
    };
    if args.role != Role::All && settings.through.is_none() {
        return refuse(
            format!("--role {role}: the migration goes straight into green, so there is nothing to divide"),
            "leave --role out; or add `through: { kafka: { brokers: [...] } }` to the migration file before its first run",
        );
    }
    if args.role != Role::Apply && settings.own_log().is_none() && settings.through.is_some() {
        return refuse(
            format!(
                "--role {role}: the topics are written by Debezium, and there is nothing for a capture to do"
            ),
            "give --role apply, which reads them",
        );
    }
    if args.role == Role::Capture && args.until_caught_up {
        return refuse(
            "--until-caught-up: a capture does not know what green has".to_owned(),
            "give it to the apply: understudy run FILE --role apply --until-caught-up",
        );
    }
    Ok(())
}

fn recopy(names: &[String], file: &str) -> Result<Vec<TableName>, CliError> {
    let read = |name: &String| {
        settings::table_name(name).ok_or_else(|| {
            let what = format!("--recopy {name}: not of the form schema.table");
            CliError::new(Exit::Configuration, what, format!("understudy plan {file}"))
        })
    };
    names.iter().map(read).collect()
}
