//! The command line: one module per verb, one for what they share.

mod args;
mod exit;
mod http;
mod output;

mod config;
mod gate;
mod replay;
mod run;
mod status;

mod check;
mod draft;
mod init;
mod items;
mod plan;
mod sides;

mod asking;
mod ledger;
mod mismatches;
mod repair;
mod verify;

mod ending;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use tokio::task::JoinSet;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use tracing_subscriber::EnvFilter;

pub use args::{
    AbortArgs, Cli, ConfigCheckArgs, ConfigVerb, ControlArgs, EndingArgs, FileArgs, FinishArgs, GateArgs,
    InitArgs, KindArg, LogFormat, MismatchArgs, MismatchListArgs, MismatchesVerb, OutputFormat, PlanArgs,
    RepairArgs, ReplayArgs, RunArgs, Shell, StatusArgs, Verb, VerifyArgs, WaiveArgs,
};
pub use exit::{CliError, Exit};

use crate::demo;
use output::Output;

/// How long what nobody waits for any more may hold up the end: somebody may be asking a broker that is away how far a log reaches.
const LEFT_OVER_MAX: Duration = Duration::from_secs(2);

/// Reads the command line, does what it says, and tells how it ended.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // A terminal that went away changes nothing about the outcome.
            let _ = error.print();
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked_for { Exit::Done } else { Exit::Configuration });
        }
    };
    start_log(cli.log, &cli.verb);
    let output = Output { format: cli.output };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(on_a_worker(dispatch(cli.verb, output)));
            runtime.shutdown_timeout(LEFT_OVER_MAX);
            ended
        }
        Err(error) => {
            Err(CliError::new(Exit::Internal, format!("cannot start: {error}"), "understudy --help"))
        }
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            if error.exit != Exit::Done {
                output.message(&error);
            }
            error.exit.into()
        }
    }
}

async fn dispatch(verb: Verb, output: Output) -> Result<ExitCode, CliError> {
    match verb {
        Verb::Demo(args) => {
            let ended = Box::pin(demo::run(args)).await;
            return ended.map(|ending| ExitCode::from(ending.exit_code())).map_err(|failure| CliError {
                next: "understudy demo --help".to_owned(),
                ..CliError::of(&failure, "")
            });
        }
        Verb::Loadgen(args) => Box::pin(demo::generate(args)).await.map_err(|failure| CliError {
            next: "understudy loadgen --help".to_owned(),
            ..CliError::of(&failure, "")
        }),
        Verb::Init(args) => init::init(&args, output).await,
        Verb::Check(args) => check::check(&args, output).await,
        Verb::Plan(args) => plan::plan(&args, output).await,
        Verb::Run(args) => Box::pin(run::run(&args, output)).await,
        Verb::Replay(args) => Box::pin(replay::replay(&args, output)).await,
        Verb::Status(args) => status::status(&args, output).await,
        Verb::Verify(args) => verify::verify(&args, output).await,
        Verb::Mismatches(verb) => mismatches::mismatches(&verb, output).await,
        Verb::Repair(args) => repair::repair(&args, output).await,
        Verb::Gate(args) => gate::gate(&args, output).await,
        Verb::Config(verb) => config::config(&verb, output).await,
        Verb::Finish(args) => ending::finish(&args, output).await,
        Verb::Abort(args) => ending::abort(&args, output).await,
        Verb::Healthcheck(args) => status::healthcheck(&args).await,
        Verb::Completions(args) => completions(args.shell, output),
    }
    .map(|()| ExitCode::from(Exit::Done))
}

fn completions(shell: Shell, output: Output) -> Result<(), CliError> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "understudy", &mut script);
    output.data(String::from_utf8_lossy(&script))
}

/// Messages go to stderr. `run` and `replay` tell what they do; the other verbs only what is out of the ordinary.
fn start_log(format: LogFormat, verb: &Verb) {
    let usual = if matches!(verb, Verb::Run(_) | Verb::Replay(_)) { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call, as in tests, leaves the first one in place.
    let _ = match format {
        LogFormat::Text => log.with_ansi(output::colours()).with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// Runs a verb on a worker of the runtime, where sockets wake it up; the first thread would be woken up by a worker each
/// time.
async fn on_a_worker(
    verb: impl Future<Output = Result<ExitCode, CliError>> + Send + 'static,
) -> Result<ExitCode, CliError> {
    let mut worker = JoinSet::new();
    worker.spawn(verb);
    match worker.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(_)) | None => Err(CliError::new(Exit::Internal, "ended unexpectedly", "understudy --help")),
    }
}
