//! What can be typed: verbs, options and their help.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use understudy_contract::MismatchKind;
use understudy_kafka::ReplayFrom;
use understudy_verify::VerifyLimits;

use crate::demo::{DemoArgs, LoadgenArgs};
use crate::settings;
use crate::supervise::Role;

/// Where the sidecar's HTTP interface is looked for unless told otherwise.
pub(super) const CONTROL_DEFAULT: &str = "127.0.0.1:7070";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Keeps a shadow store (green) in step with a live Postgres database (blue) while the application keeps writing
#[derive(Debug, Parser)]
#[command(
    name = "understudy",
    version,
    styles = STYLES,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Examples:
  understudy demo                                   the whole story on throw-away servers
  understudy init --name shop --blue URL --green URL > shop.yaml
  understudy check shop.yaml                        every requirement on both sides
  understudy plan shop.yaml                         what would be created and moved
  understudy run shop.yaml                          copy and follow
  understudy status --watch                         how far it is
  understudy verify shop.yaml                       compare everything anew
  understudy mismatches list shop.yaml              rows that differ
  understudy gate --wait 15m                        whether everything holds that must before the flip

Exit codes: 0 done, or open; 1 internal, or a server stayed away; 2 usage or configuration; 3 the gate is held;
4 rows differ; 5 timed out; 7 aborted, nothing changed; 9 an operator is needed; 130 interrupted."
)]
pub struct Cli {
    /// How data on stdout is written
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// How messages on stderr are written; RUST_LOG chooses which
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub log: LogFormat,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
    /// For people
    #[default]
    Table,
    /// For programs; each document names its schema
    Json,
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the whole story on throw-away servers of this machine, under live load
    #[command(after_help = "Examples:\n  understudy demo\n  understudy demo --kill --seconds 20")]
    Demo(DemoArgs),
    /// Draft a migration file from two databases
    #[command(after_help = "Example:
  understudy init --name shop-v2 --blue postgres://me@blue/shop --green postgres://me@green/shop > shop.yaml

Passwords come from libpq's password file or from the URL; they are never written into the draft.")]
    Init(InitArgs),
    /// Look at every requirement on both sides; creates nothing
    #[command(after_help = "Example:\n  understudy check shop.yaml\n\nExits with 2 when an error is found.")]
    Check(FileArgs),
    /// Show what would be created and moved, with sample rows before and after; creates nothing
    #[command(
        after_help = "Examples:\n  understudy plan shop.yaml\n  understudy plan shop.yaml --no-samples -o json"
    )]
    Plan(PlanArgs),
    /// Run the sidecar: copy what is there, follow what changes
    #[command(after_help = "Examples:
  understudy run shop.yaml
  understudy run shop.yaml --until-caught-up
  understudy run shop.yaml --recopy public.orders
  understudy run shop.yaml --role capture           with `through`: blue into Kafka only
  understudy run shop.yaml --role apply             with `through`: Kafka into green, elsewhere

It goes on where it stopped, however it stopped. The first Ctrl-C or SIGTERM ends it in order, the second at once.")]
    Run(RunArgs),
    /// Build an empty green anew from the log in Kafka alone, with the mapping that the file has
    #[command(after_help = "Examples:
  understudy replay shop-v3.yaml --dry-run          whether the log is whole, and how much it is
  understudy replay shop-v3.yaml                    up to what is the end of the log when it starts
  understudy replay shop-v3.yaml --follow           and on from there
  understudy replay shop-v3.yaml --from 16/B374D848

The file has a name of its own and, under `through.kafka`, the `topic_prefix` of the capture that fills the log. Rows and
changes come from the log; of blue its catalogs alone are read, against which mappings are compiled. It goes on where it
stopped, however it stopped. From the middle a log can be read only where every table is copied anew behind that: the
refusal names the place. Exits with 0 once green has all that the log held, with 9 when the log lacks something.")]
    Replay(ReplayArgs),
    /// Show how far a running sidecar is
    #[command(
        after_help = "Examples:\n  understudy status\n  understudy status --watch\n  understudy status -o json"
    )]
    Status(StatusArgs),
    /// Have everything compared anew by the running sidecar, and wait for it
    #[command(after_help = "Examples:
  understudy verify shop.yaml
  understudy verify shop.yaml --table public.orders --wait 2h
  understudy verify shop.yaml --limit rows_per_second=5000 --limit busy=0.2

Exits with 0 when everything was verified and nothing differs, with 4 when rows differ, with 5 when it takes longer than
--wait. With --limit alone nothing is compared anew: the limits hold until the sidecar starts again.")]
    Verify(VerifyArgs),
    /// Look at rows that were proved to differ, and decide about them
    #[command(subcommand)]
    Mismatches(MismatchesVerb),
    /// Make rows that differ as blue has them; without --apply it only tells what would be done
    #[command(after_help = "Examples:
  understudy repair shop.yaml --all
  understudy repair shop.yaml 7 12 --apply
  understudy repair shop.yaml --all --apply --wait 10m

Exits with 0 once every row was seen equal, with 4 when some were not repaired, with 5 when it takes longer than --wait.")]
    Repair(RepairArgs),
    /// Ask a running sidecar whether a gate is open, and what holds it
    #[command(after_help = "Examples:
  understudy gate
  understudy gate verified -o json
  understudy gate --wait 15m && echo go

Gates: backfilled (everything is copied), verified (and proved to agree), cutover (and everything else that must hold
before the flip, for as long as `gate.soak` says). Exits with 0 when it is open, with 3 when it is held or nobody knows,
with 5 when it did not open within --wait.")]
    Gate(GateArgs),
    /// Work with migration files
    #[command(subcommand)]
    Config(ConfigVerb),
    /// End a migration that is complete: remove slot, publication and bookkeeping, keep green's rows
    #[command(
        after_help = "Example:\n  understudy finish shop.yaml\n\nStop the sidecar first. May be repeated."
    )]
    Finish(FinishArgs),
    /// Give a migration up: remove everything that it created on both sides, keep green's rows
    #[command(
        after_help = "Example:\n  understudy abort shop.yaml\n\nStop the sidecar first. May be repeated."
    )]
    Abort(AbortArgs),
    /// Ask a sidecar whether it is ready: exit code 0 or 1
    #[command(after_help = "Example, in a container:\n  HEALTHCHECK CMD [\"understudy\", \"healthcheck\"]")]
    Healthcheck(ControlArgs),
    /// Print a completion script
    #[command(after_help = "Example:\n  understudy completions bash > /etc/bash_completion.d/understudy")]
    Completions(CompletionsArgs),
    /// Make changes on blue, as the demonstration does
    #[command(hide = true)]
    Loadgen(LoadgenArgs),
}

/// Work on a migration file.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the JSON schema of migration files
    Schema,
    /// Print a file as it takes effect: variables replaced, defaults filled in, secrets masked
    Render(FileArgs),
    /// Check files; only with --connect are servers asked, and nothing is created
    #[command(after_help = "Examples:
  understudy config check shop.yaml
  understudy config check config/*.yaml --strict
  understudy config check shop.yaml --connect --strict -o json

Exits with 2 when a file must be mended, with 1 when a server cannot be asked.")]
    Check(ConfigCheckArgs),
}

/// Look at mismatches, and decide about them.
#[derive(Debug, Subcommand)]
pub enum MismatchesVerb {
    /// List those that are open or waived
    #[command(after_help = "Examples:
  understudy mismatches list shop.yaml
  understudy mismatches list shop.yaml --table public.orders --kind missing --keys
  understudy mismatches list shop.yaml --all -o json")]
    List(MismatchListArgs),
    /// Show what is known of one, with its key
    #[command(after_help = "Example:\n  understudy mismatches show shop.yaml 7")]
    Show(MismatchArgs),
    /// Read its row on both sides now, and show both column by column, values included
    #[command(after_help = "Example:\n  understudy mismatches explain shop.yaml 7")]
    Explain(MismatchArgs),
    /// Live with one, as long as its row differs in just this way
    #[command(
        after_help = "Example:\n  understudy mismatches waive shop.yaml 7 --reason 'test account, not needed on green'"
    )]
    Waive(WaiveArgs),
}

/// Which mismatches are listed, and how.
#[derive(Debug, Clone, Args)]
pub struct MismatchListArgs {
    /// The migration file
    #[command(flatten)]
    pub file: FileArgs,
    /// Those that have come to an end too
    #[arg(long)]
    pub all: bool,
    /// Only those of a table, by its name on blue or green; may be given several times
    #[arg(long, value_name = "SCHEMA.TABLE")]
    pub table: Vec<String>,
    /// Only those of a kind
    #[arg(long, value_enum, value_name = "KIND")]
    pub kind: Option<KindArg>,
    /// Show keys as they are, instead of the start of a digest
    #[arg(long)]
    pub keys: bool,
}

/// In which way a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Blue has it and green lacks it
    Missing,
    /// Green has it and blue does not
    Extra,
    /// Both have it with different values
    Differs,
}

impl KindArg {
    /// The same, as mismatches have it.
    pub const fn of(self) -> MismatchKind {
        match self {
            KindArg::Missing => MismatchKind::Missing,
            KindArg::Extra => MismatchKind::Extra,
            KindArg::Differs => MismatchKind::Differs,
        }
    }
}

/// One mismatch.
#[derive(Debug, Clone, Args)]
pub struct MismatchArgs {
    /// The migration file
    #[command(flatten)]
    pub file: FileArgs,
    /// Its number
    #[arg(value_name = "ID")]
    pub id: u64,
}

/// A decision to live with a mismatch.
#[derive(Debug, Clone, Args)]
pub struct WaiveArgs {
    /// The mismatch
    #[command(flatten)]
    pub mismatch: MismatchArgs,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Who decides; the user of the operating system unless given
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// What `verify` asks for.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// The migration file
    #[command(flatten)]
    pub file: FileArgs,
    /// Only a table, by its name on blue or green; may be given several times
    #[arg(long, value_name = "SCHEMA.TABLE")]
    pub table: Vec<String>,
    /// How long to wait at most; 30m unless given
    #[arg(long, value_name = "DURATION", value_parser = settings::duration)]
    pub wait: Option<Duration>,
    /// Change a limit of `verify` in the migration file until the sidecar starts again; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = limit)]
    pub limit: Vec<(String, String)>,
}

/// `rows_per_second=5000`.
fn limit(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it like rows_per_second=5000")?;
    // The sidecar would refuse it too, but only in words: a script goes by the exit code.
    let mut limits = VerifyLimits {
        rows_per_second: None,
        busy: 1.0,
        max_active_sessions: None,
        max_replica_lag: None,
        max_read_time: Duration::ZERO,
        yield_at_lag: Duration::ZERO,
        pass_pause: Duration::ZERO,
    };
    limits.change(name.trim(), value)?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// What `repair` does.
#[derive(Debug, Clone, Args)]
pub struct RepairArgs {
    /// The migration file
    #[command(flatten)]
    pub file: FileArgs,
    /// Numbers of mismatches
    #[arg(value_name = "ID")]
    pub ids: Vec<u64>,
    /// Every mismatch that is open
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// Do it
    #[arg(long)]
    pub apply: bool,
    /// How long to wait at most until the rows are seen equal
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = settings::duration)]
    pub wait: Duration,
}

/// Which files are checked, and how closely.
#[derive(Debug, Clone, Args)]
pub struct ConfigCheckArgs {
    /// The migration files, projects or numbered directories of projects
    #[arg(value_name = "FILE", env = "UNDERSTUDY_FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Connect to both servers and look at every requirement, as `check` does
    #[arg(long)]
    pub connect: bool,
    /// Let warnings count as errors
    #[arg(long)]
    pub strict: bool,
}

/// A migration file.
#[derive(Debug, Clone, Args)]
pub struct FileArgs {
    /// The migration file; or a project, for its highest number, or one of its numbered directories
    #[arg(value_name = "FILE", env = "UNDERSTUDY_FILE")]
    pub file: PathBuf,
}

/// What `init` starts from.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The migration's name: lower-case letters, digits and hyphens
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// The live database
    #[arg(long, value_name = "URL", env = "UNDERSTUDY_BLUE", hide_env_values = true)]
    pub blue: String,
    /// The database that is to take over, with its tables already created
    #[arg(long, value_name = "URL", env = "UNDERSTUDY_GREEN", hide_env_values = true)]
    pub green: String,
}

/// What `plan` shows.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// The migration file
    #[command(flatten)]
    pub file: FileArgs,
    /// Rows of each table that are shown before and after
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub samples: u32,
    /// Show no row values at all
    #[arg(long, conflicts_with = "samples")]
    pub no_samples: bool,
    /// Show the definitions of DynamoDB's tables, and create those that are missing
    #[arg(long)]
    pub create_tables: bool,
}

/// How `run` behaves.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The migration file
    #[command(flatten)]
    pub file: FileArgs,
    /// Copy a table of blue again from its start; may be given several times
    #[arg(long, value_name = "SCHEMA.TABLE")]
    pub recopy: Vec<String>,
    /// Which parts to run
    #[arg(long, value_enum, default_value_t, value_name = "ROLE")]
    pub role: Role,
    /// End as soon as everything is copied and green has what blue had at that moment
    #[arg(long)]
    pub until_caught_up: bool,
}

/// From where and how far a log is replayed.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The migration file
    #[command(flatten)]
    pub file: FileArgs,
    /// `start`, a position of blue as X/Y, or a time as 2026-11-22T06:00:00Z
    #[arg(long, value_name = "PLACE", default_value = "start", value_parser = place)]
    pub from: ReplayFrom,
    /// Go on with what comes after
    #[arg(long)]
    pub follow: bool,
    /// Only look whether the log is whole, and tell what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// A place in a log.
fn place(text: &str) -> Result<ReplayFrom, String> {
    if text == "start" {
        return Ok(ReplayFrom::Start);
    }
    if let Ok(lsn) = text.parse() {
        return Ok(ReplayFrom::Lsn(lsn));
    }
    let time = text.parse::<jiff::Timestamp>();
    time.map(|time| ReplayFrom::Time(time.as_millisecond())).map_err(|_| {
        "neither `start`, nor a position such as 16/B374D848, nor a time such as 2026-11-22T06:00:00Z"
            .to_owned()
    })
}

/// Where a sidecar is asked.
#[derive(Debug, Clone, Args)]
pub struct ControlArgs {
    /// Host and port of the sidecar's HTTP interface
    #[arg(long, value_name = "HOST:PORT", env = "UNDERSTUDY_CONTROL", default_value = CONTROL_DEFAULT)]
    pub control: String,
}

/// How `status` is shown.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Where the sidecar is asked
    #[command(flatten)]
    pub control: ControlArgs,
    /// Show it again and again until interrupted
    #[arg(long)]
    pub watch: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "S", default_value_t = 2, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
}

/// Which gate, and how long it is waited for.
#[derive(Debug, Clone, Args)]
pub struct GateArgs {
    /// The gate
    #[arg(value_name = "NAME", default_value = "cutover", value_parser = gate_name)]
    pub name: String,
    /// Where the sidecar is asked
    #[command(flatten)]
    pub control: ControlArgs,
    /// How long to wait for it to open
    #[arg(long, value_name = "DURATION", value_parser = settings::duration)]
    pub wait: Option<Duration>,
}

/// A name that can stand in an address.
fn gate_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c == '_' || c == '-';
    let good = !text.is_empty() && text.chars().all(plain);
    good.then(|| text.to_owned()).ok_or_else(|| "a gate's name has lower-case letters only".to_owned())
}

/// What `finish` may do.
#[derive(Debug, Clone, Args)]
pub struct FinishArgs {
    /// The migration file
    #[command(flatten)]
    pub file: FileArgs,
    /// What both endings have in common
    #[command(flatten)]
    pub ending: EndingArgs,
    /// Leave the bookkeeping on green, with its record of mismatches and quarantined rows
    #[arg(long)]
    pub keep_bookkeeping: bool,
    /// Remove what marks items of DynamoDB as the migration's (`_v`, `_t`, `_h`) too: each is written once more
    #[arg(long, conflicts_with = "keep_bookkeeping")]
    pub strip_items: bool,
}

/// What `abort` may do.
#[derive(Debug, Clone, Args)]
pub struct AbortArgs {
    /// The migration file
    #[command(flatten)]
    pub file: FileArgs,
    /// What both endings have in common
    #[command(flatten)]
    pub ending: EndingArgs,
}

/// How an ending is confirmed.
#[derive(Debug, Clone, Copy, Args)]
pub struct EndingArgs {
    /// Do not ask for the migration's name
    #[arg(long, short)]
    pub yes: bool,
    /// Go on although a sidecar is running or the migration is not complete
    #[arg(long)]
    pub force: bool,
}

/// For which shell.
#[derive(Debug, Clone, Copy, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Shells with completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}
