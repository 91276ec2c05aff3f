//! Measures Understudy beside Postgres' own logical replication, through Kafka beside Debezium, into DynamoDB beside a plain writer,
//! and with expressions beside without; prints medians and ratios.

mod debezium;
mod options;
mod rig;

mod copy;
mod customers;
mod drain;
mod dynamodb;
mod evaluate;
mod expressions;
mod kafka;
mod latency;
mod memory;
mod verify;

mod report;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use understudy_contract::Failure;

use options::{CommandLine, Options, What};
use report::Figure;

#[tokio::main]
async fn main() -> ExitCode {
    let line = CommandLine::parse();
    let measured = tokio::select! {
        measured = Box::pin(measure(line.what.unwrap_or(What::All), &line.options)) => measured,
        _ = tokio::signal::ctrl_c() => {
            say("stopped");
            return ExitCode::from(130);
        }
    };
    match measured.and_then(|figures| report::markdown(&figures, &line.options)) {
        Ok(table) => {
            let mut out = std::io::stdout();
            drop(writeln!(out, "\n{table}").and_then(|()| out.flush()));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&format!("failed: {failure}"));
            if let Some(remedy) = failure.remedy_text() {
                say(remedy);
            }
            ExitCode::FAILURE
        }
    }
}

async fn measure(what: What, options: &Options) -> Result<Vec<Figure>, Failure> {
    let wants = |each: What| what == What::All || what == each;
    let mut figures = Vec::new();
    if wants(What::Drain) {
        figures.extend(Box::pin(drain::drain(options)).await?);
    }
    if wants(What::Copy) {
        figures.extend(Box::pin(copy::copy(options)).await?);
    }
    if wants(What::Latency) {
        figures.extend(Box::pin(latency::latency(options)).await?);
    }
    if wants(What::Evaluate) {
        figures.extend(evaluate::evaluate(options).await?);
    }
    if wants(What::Expressions) {
        figures.extend(Box::pin(expressions::expressions(options)).await?);
    }
    if wants(What::Verify) {
        figures.extend(Box::pin(verify::verify(options)).await?);
    }
    if wants(What::Memory) {
        figures.extend(Box::pin(memory::memory(options)).await?);
    }
    // With a broker and Java beside everything else: only when it is asked for.
    if what == What::Kafka {
        figures.extend(Box::pin(kafka::kafka(options)).await?);
    }
    // With Java as well.
    if what == What::Dynamodb {
        figures.extend(Box::pin(dynamodb::dynamodb(options)).await?);
    }
    Ok(figures)
}

/// A line of progress. A screen that went away stops nothing.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
