//! What `demo` and `loadgen` can be told on the command line.

use std::path::PathBuf;

use clap::Args;

/// The demonstration's options.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Rows that blue starts with, over all tables
    #[arg(long, default_value_t = 300_000, value_name = "N")]
    pub rows: u64,
    /// Seconds of load after the copy is complete
    #[arg(long, default_value_t = 12, value_name = "S")]
    pub seconds: u64,
    /// Operations of the load per second
    #[arg(long, default_value_t = 400.0, value_name = "R")]
    pub rate: f64,
    /// Clients of the load
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub clients: u8,
    /// Major release of blue; the newest on this machine by default
    #[arg(long, value_name = "MAJOR")]
    pub blue: Option<u32>,
    /// Major release of green; the newest on this machine by default
    #[arg(long, value_name = "MAJOR")]
    pub green: Option<u32>,
    /// Kill the sidecar with SIGKILL half way, and start it again
    #[arg(long)]
    pub kill: bool,
    /// Leave servers' data, logs and the migration file in place at the end
    #[arg(long)]
    pub keep: bool,
}

/// The load generator's options.
#[derive(Debug, Clone, Args)]
pub struct LoadgenArgs {
    /// Address of blue; the password may come from the environment or from a file
    #[arg(long, env = "UNDERSTUDY_LOADGEN_URL", hide_env_values = true, value_name = "URL")]
    pub url: String,
    /// File that holds the password
    #[arg(long, env = "UNDERSTUDY_LOADGEN_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Operations per second
    #[arg(long, default_value_t = 200.0, value_name = "R")]
    pub rate: f64,
    /// Clients, each with a connection of its own
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub clients: u8,
    /// Seconds until it stops by itself; without end by default
    #[arg(long, value_name = "S")]
    pub duration: Option<u64>,
    /// Create the shop and fill it first, unless it is there
    #[arg(long)]
    pub init: bool,
    /// Create green's empty tables at this address, unless they are there
    #[arg(long, value_name = "URL")]
    pub init_green: Option<String>,
    /// Rows that a new shop starts with
    #[arg(long, default_value_t = 300_000, value_name = "N")]
    pub rows: u64,
    /// Only create and fill, then end
    #[arg(long)]
    pub init_only: bool,
    /// Append the number of each committed operation to this file
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
}
