//! What can be typed: verbs, options and their help.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::demo::{DemoArgs, LoadgenArgs};

/// Where the sidecar's HTTP interface is looked for unless told otherwise.
const CONTROL_DEFAULT: &str = "127.0.0.1:7070";

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

Exit codes: 0 done; 1 internal, or a server stayed away; 2 usage or configuration; 4 rows differ; 5 timed out;
7 aborted, nothing changed; 9 an operator is needed; 130 interrupted."
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

It goes on where it stopped, however it stopped. The first Ctrl-C or SIGTERM ends it in order, the second at once.")]
    Run(RunArgs),
    /// Show how far a running sidecar is
    #[command(
        after_help = "Examples:\n  understudy status\n  understudy status --watch\n  understudy status -o json"
    )]
    Status(StatusArgs),
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
    /// End as soon as everything is copied and green has what blue had at that moment
    #[arg(long)]
    pub until_caught_up: bool,
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
