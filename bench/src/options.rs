//! What the benchmarks can be told on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use understudy::demo::installation::Installation;
use understudy_contract::{Class, Failure};

use crate::rig::Who;

/// Benchmarks beside Postgres' own logical replication, both in the same run
#[derive(Debug, Parser)]
#[command(name = "understudy-bench")]
pub(crate) struct CommandLine {
    /// What to measure; everything by default
    #[command(subcommand)]
    pub(crate) what: Option<What>,
    /// How to measure
    #[command(flatten)]
    pub(crate) options: Options,
}

/// The benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum What {
    /// All of them
    All,
    /// Drain a backlog: TPC-B transactions, one large insert, one large update
    Drain,
    /// The first copy of one table
    Copy,
    /// From commit on blue to visible on green, at 1,000 transactions a second
    Latency,
    /// Evaluate expressions on rows in memory
    Evaluate,
    /// Drain a backlog through a route with expressions, and through one that passes rows on
    Expressions,
    /// A full pass of verification, beside sessions that aggregate the same digests
    Verify,
    /// Through Kafka, beside Debezium with its JDBC sink; no part of `all`
    Kafka,
    /// Into DynamoDB Local, beside a plain writer of the same rows; no part of `all`
    Dynamodb,
    /// Memory while a very large transaction arrives in the middle of a copy
    Memory,
}

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Size of everything, as a factor
    #[arg(long, global = true, default_value_t = 1.0)]
    pub(crate) scale: f64,
    /// Rounds; the order of the two alternates
    #[arg(long, global = true, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Seconds of each measurement of the delay
    #[arg(long, global = true, default_value_t = 20)]
    pub(crate) seconds: u64,
    /// Major release of all servers; the newest by default
    #[arg(long, global = true)]
    pub(crate) postgres: Option<u32>,
    /// Measure one side alone
    #[arg(long, global = true)]
    pub(crate) only: Option<Who>,
    /// The sidecar's program; beside this one by default
    #[arg(long, global = true)]
    pub(crate) understudy: Option<PathBuf>,
    /// Write the table to this file as well
    #[arg(long, global = true)]
    pub(crate) markdown: Option<PathBuf>,
    /// Leave servers' data and logs in place
    #[arg(long, global = true)]
    pub(crate) keep: bool,
}

impl Options {
    /// How many rows or transactions stand for `full` at this scale.
    pub(crate) fn scaled(&self, full: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(10)
    }

    /// The two in the order of this round, or the only one.
    pub(crate) fn order(&self, round: usize) -> Vec<Who> {
        self.order_beside(Who::Native, round)
    }

    /// The same beside another one than Postgres' own.
    pub(crate) fn order_beside(&self, other: Who, round: usize) -> Vec<Who> {
        let mut order = vec![other, Who::Understudy];
        if round % 2 == 1 {
            order.reverse();
        }
        order.retain(|who| self.measures(*who));
        order
    }

    /// Whether this side is measured.
    pub(crate) fn measures(&self, who: Who) -> bool {
        self.only.is_none_or(|only| only == who)
    }

    /// The servers' programs.
    pub(crate) fn installation(&self) -> Result<Installation, Failure> {
        self.postgres.map_or_else(Installation::newest, Installation::of_major)
    }

    /// Time that any single wait may take.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs_f64(120.0 + 900.0 * self.scale)
    }

    /// The sidecar's program.
    pub(crate) fn program(&self) -> Result<PathBuf, Failure> {
        let beside =
            || std::env::current_exe().map(|own| own.with_file_name("understudy")).unwrap_or_default();
        let program = self.understudy.clone().unwrap_or_else(beside);
        if program.is_file() || !self.measures(Who::Understudy) {
            return Ok(program);
        }
        let message = format!("the sidecar's program {} is not there", program.display());
        Err(Failure::new(Class::Configuration, message)
            .remedy("build it first: cargo build --release -p understudy"))
    }
}
