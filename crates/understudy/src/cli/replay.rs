//! `understudy replay`: green is built anew from the log alone.
//!
//! It is an apply that looks first whether the log lacks anything, and ends when it has what the log held by then.

mod look;
mod progress;

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;
use understudy_contract::Failure;
use understudy_kafka::{KafkaSettings, ReplayFrom};

use super::args::ReplayArgs;
use super::exit::{CliError, Exit};
use super::output::Output;
use super::run::{Ended, Until, keep_running};
use super::sides::load;
use crate::assemble::Replaying;
use crate::settings::{ExistingRows, Settings};
use crate::supervise::{Role, RunOptions};
use look::Look;
use progress::{Outcome, Progress};

/// Looks, and then runs until green has what the log held when it began.
pub(super) async fn replay(args: &ReplayArgs, output: Output) -> Result<(), CliError> {
    let file = args.file.file.display().to_string();
    let mut settings = load(&args.file.file)?;
    into_tables(&settings, &file)?;
    let kafka = log_of(&settings, &file)?;
    settings.existing_rows = ExistingRows::Refuse;
    // Blue is compared with what follows it, and that is only what goes on.
    settings.verify.enabled &= args.follow;
    let failed = |failure: Failure| CliError {
        next: format!("understudy replay {file} --dry-run"),
        ..CliError::of(&failure, &file)
    };
    let look = Look::at(&settings, &kafka, args.from).await.map_err(failed)?;
    let refused = look.objection(args.follow);
    if args.dry_run {
        if output.is_json() {
            output.json(&look.to_json(&settings))?;
        } else {
            output.data(look.to_text(&kafka))?;
        }
        return refused.map_err(failed);
    }
    refused.map_err(failed)?;
    if !output.is_json() {
        output.message(look.to_text(&kafka).trim_end());
    }
    let again = again(&file, args);
    carry_out((settings, kafka), look, (args.follow, again), (&file, output)).await
}

/// The same command: where nothing has been recorded on green yet, it still has to say where to begin.
fn again(file: &str, args: &ReplayArgs) -> String {
    let from = match args.from {
        ReplayFrom::Lsn(lsn) => format!(" --from {lsn}"),
        ReplayFrom::Time(ms) => {
            Timestamp::from_millisecond(ms).map_or(String::new(), |at| format!(" --from {at}"))
        }
        ReplayFrom::Start | ReplayFrom::Group(_) => String::new(),
    };
    format!("understudy replay {file}{from}{}", if args.follow { " --follow" } else { "" })
}

async fn carry_out(
    (settings, kafka): (Settings, KafkaSettings),
    look: Look,
    (follow, again): (bool, String),
    (file, output): (&str, Output),
) -> Result<(), CliError> {
    let (reached, has_reached) = watch::channel(false);
    let begin = look.survey.cursor.clone().filter(|_| look.is_new());
    let options = RunOptions {
        role: Role::Apply,
        replay: Some(Replaying { begin, has_reached }),
        ..RunOptions::default()
    };
    let outcome = Arc::new(Mutex::new(None));
    let progress = Progress::new(&settings, kafka, look, (follow, reached));
    let progress = progress.map_err(|failure| CliError::of(&failure, file))?;
    let told = Arc::clone(&outcome);
    let done = async move {
        let ended = progress.watch().await;
        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
    };
    let ended = keep_running((settings, options), Until::Done(Box::pin(done)), (file, &again)).await?;
    let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (ended, outcome) {
        (Ended::Done, Some(Outcome::Built(built))) => {
            if output.is_json() {
                return output.json(&built);
            }
            output.data(built.to_text())?;
            output.message(format!("next: understudy run {file} --role apply"));
            Ok(())
        }
        (Ended::Done, Some(Outcome::Lacking(what))) => {
            let what = format!("green is not whole: {what}");
            Err(CliError::new(Exit::OperatorNeeded, what, again).remedy(
                "the log lacks what these rows need, and only blue has it: start the capture that fills the log, \
                 understudy run FILE --role capture, and go on",
            ))
        }
        _ => {
            output.message(format!("stopped in order; the same command goes on from here: {again}"));
            Ok(())
        }
    }
}

/// Refuses a green that is built anew in another way.
fn into_tables(settings: &Settings, file: &str) -> Result<(), CliError> {
    if settings.green_dynamo().is_none() {
        return Ok(());
    }
    let what = "replay builds tables of Postgres anew, and green is DynamoDB".to_owned();
    Err(CliError::new(Exit::Configuration, what, format!("understudy check {file}")).remedy(
        "give the migration another name and empty tables, keep `topic_prefix`, and start: understudy run FILE --role apply;          it begins where the log does",
    ))
}

fn log_of(settings: &Settings, file: &str) -> Result<KafkaSettings, CliError> {
    settings.own_log().cloned().ok_or_else(|| {
        CliError::new(
            Exit::Configuration,
            "the migration file names no log that could be replayed",
            format!("understudy check {file}"),
        )
        .remedy(
            "add `through: { kafka: { brokers: [...], topic_prefix: ... } }`, with the prefix of the capture",
        )
    })
}
