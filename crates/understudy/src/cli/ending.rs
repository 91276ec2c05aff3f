//! `understudy finish` and `understudy abort`: what a migration created is removed; green's rows stay.
//!
//! Both may be repeated: what is already gone is no failure.

mod items;
mod sweep;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use understudy_contract::Failure;
use understudy_kafka::KafkaSettings;
use understudy_kafka::codec::Owner;
use understudy_model::TableName;
use understudy_postgres::preflight::{self, Known};
use understudy_postgres::sink::{SinkSettings, forget};
use understudy_postgres::source::{publication, slot};
use understudy_postgres::wire::Client;

use super::args::{AbortArgs, EndingArgs, FinishArgs};
use super::exit::{CliError, Exit};
use super::output::Output;
use super::sides::{Sides, load};
use crate::publishing;
use crate::settings::{Settings, TablePattern};

/// How long a session of a sidecar may take to end after the sidecar has.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// How often that is looked at.
const LINGER_LOOK: Duration = Duration::from_millis(100);

/// Ends a migration that is complete.
pub(super) async fn finish(args: &FinishArgs, output: Output) -> Result<(), CliError> {
    let books = if args.keep_bookkeeping { Books::Keep } else { Books::Remove };
    let (file, strips) = (&args.file.file, args.strip_items);
    Ending { kind: Kind::Finish, books, file, args: args.ending, strips }.carry_out(output).await
}

/// Gives a migration up.
pub(super) async fn abort(args: &AbortArgs, output: Output) -> Result<(), CliError> {
    let (file, args) = (&args.file.file, args.ending);
    Ending { kind: Kind::Abort, books: Books::Remove, file, args, strips: false }.carry_out(output).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Finish,
    Abort,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Books {
    Keep,
    Remove,
}

struct Ending<'a> {
    kind: Kind,
    books: Books,
    file: &'a std::path::Path,
    args: EndingArgs,
    /// Whether items lose what is ours beside their rows.
    strips: bool,
}

impl Ending<'_> {
    fn verb(&self) -> &'static str {
        match self.kind {
            Kind::Finish => "finish",
            Kind::Abort => "abort",
        }
    }

    async fn carry_out(&self, output: Output) -> Result<(), CliError> {
        let file = self.file.display().to_string();
        let settings = load(self.file)?;
        if let Some(dynamo) = settings.green_dynamo() {
            return Box::pin(self.carry_out_items(&settings, dynamo, output)).await;
        }
        let failed = |failure: Failure| CliError::of(&failure, &file);
        let mut sides = Sides::connect(&settings, self.verb()).await.map_err(failed)?;
        let log = Log::look(&settings).await;
        let objections = self.objections(&mut sides, &settings, log.as_ref()).await.map_err(failed)?;
        self.may_go_on(&objections, &file)?;
        self.confirm(&settings, &file, output)?;
        let removed = self.remove(&mut sides, &settings).await.map_err(failed)?;
        sides.close().await;
        self.conclude(&settings, (removed, log), &file, output).await
    }

    /// Refuses to go on against objections, unless that is insisted on.
    fn may_go_on(&self, objections: &[String], file: &str) -> Result<(), CliError> {
        if objections.is_empty() || self.args.force {
            return Ok(());
        }
        let what = format!("nothing was changed: {}", objections.join("; "));
        Err(CliError::new(Exit::Aborted, what, "understudy status").remedy(format!(
            "stop the sidecar and settle this first, or go on all the same: understudy {} {file} --force",
            self.verb()
        )))
    }

    /// Removes the topics too, and tells of all that was removed.
    async fn conclude(
        &self,
        settings: &Settings,
        (mut removed, log): (Vec<String>, Option<Log<'_>>),
        file: &str,
        output: Output,
    ) -> Result<(), CliError> {
        let in_log = self.remove_from_log(settings, log).await;
        removed.extend(in_log.as_ref().map_or(&[][..], Vec::as_slice).iter().cloned());
        self.tell(settings, &removed, in_log.is_err(), output)?;
        in_log.map(drop).map_err(|failure| {
            let again = format!("understudy {} {file}", self.verb());
            let what = format!("the topics in Kafka are still there, everything else is removed: {failure}");
            CliError::new(Exit::of(failure.class()), what, &again)
                .remedy(format!("once Kafka answers: {again}; or remove the topics with tools of Kafka"))
        })
    }

    /// What was removed, on stdout.
    fn tell(
        &self,
        settings: &Settings,
        removed: &[String],
        is_more_left: bool,
        output: Output,
    ) -> Result<(), CliError> {
        if output.is_json() {
            return output.json(&serde_json::json!({
                "schema": format!("understudy/v1/{}", self.verb()), "migration": settings.name.as_str(), "removed": removed,
            }));
        }
        if removed.is_empty() && !is_more_left {
            return output.data(format!("nothing of migration {} is left to be removed\n", settings.name));
        }
        output.data(removed.iter().map(|what| format!("removed {what}\n")).collect::<String>())
    }

    /// Why an operator may not want this now.
    async fn objections(
        &self,
        sides: &mut Sides,
        settings: &Settings,
        log: Option<&Log<'_>>,
    ) -> Result<Vec<String>, Failure> {
        let mut objections = Vec::new();
        let name = settings.name.slot();
        if let Some(pid) = slot::inspect(&mut sides.blue, &name).await?.and_then(|slot| slot.active_pid) {
            objections.push(format!("a sidecar is running: process {pid} of blue reads the slot {name}"));
        }
        for (client, side) in [(&mut sides.blue, "blue"), (&mut sides.green, "green")] {
            if !objections.is_empty() {
                break;
            }
            let sessions = lasting_sessions(client, settings.name.as_str()).await?;
            if sessions > 0 {
                objections.push(format!("a sidecar is running: it has {sessions} sessions on {side}"));
            }
        }
        if let Some(log) = log {
            objections.extend(self.objection_of_log(&mut sides.blue, settings, log).await);
        }
        if self.kind == Kind::Finish && has_books(&mut sides.green).await? {
            objections.extend(unfinished(&mut sides.green, settings.name.as_str()).await?);
            let known = preflight::known(&mut sides.green, settings.name.as_str()).await?;
            objections.extend(missed(&mut sides.blue, settings, (log, &known)).await?);
        }
        Ok(objections)
    }

    /// Why the topics may not be this migration's to remove. Brokers that do not answer are no reason to keep what is on blue, of
    /// which its disk may be full: giving up does not wait for them.
    async fn objection_of_log(
        &self,
        blue: &mut Client,
        settings: &Settings,
        log: &Log<'_>,
    ) -> Option<String> {
        let (prefix, ours) = (&log.kafka.topic_prefix, owner(settings));
        let whose = match &log.whose {
            Ok(whose) => whose,
            Err(_) if self.kind == Kind::Abort => return None,
            Err(failure) => {
                return Some(format!("whose the topics of prefix {prefix} are cannot be told: {failure}"));
            }
        };
        let system_id = system_identifier(blue).await;
        // Those of a migration by another name are left alone in any case.
        let is_named_so = whose.another(&ours, None).is_none();
        let whose = whose.another(&ours, system_id).filter(|_| is_named_so)?;
        Some(format!("the topics of prefix {prefix} belong to {whose}"))
    }

    fn confirm(&self, settings: &Settings, file: &str, output: Output) -> Result<(), CliError> {
        if self.args.yes {
            return Ok(());
        }
        let refused = |what: &str| {
            CliError::new(
                Exit::Aborted,
                format!("nothing was changed: {what}"),
                format!("understudy {} {file} --yes", self.verb()),
            )
        };
        if !std::io::stdin().is_terminal() {
            return Err(refused("there is no terminal to ask for the migration's name on"));
        }
        let purpose = match self.kind {
            Kind::Finish => "ends the migration: blue's later changes no longer reach green",
            Kind::Abort => "gives the migration up: everything that it created is removed, green's rows stay",
        };
        let stays = settings.green_dynamo().map_or(String::new(), |dynamo| self.stays(&dynamo.state_table));
        output
            .message(format!("This {purpose}{stays}.\nBlue:  {}\nGreen: {}", settings.blue, settings.green));
        // A prompt that cannot be shown shows in the answer that does not come.
        let _ = write!(std::io::stderr().lock(), "Type the migration's name to go on: ");
        let mut typed = String::new();
        let read = std::io::stdin().lock().read_line(&mut typed);
        match read {
            Ok(_) if typed.trim() == settings.name.as_str() => Ok(()),
            Ok(_) | Err(_) => Err(refused("that is not the migration's name")),
        }
    }

    /// What stays on DynamoDB.
    fn stays(&self, state_table: &str) -> String {
        let marks = if self.strips { "" } else { " and what marks them (`_v`, `_t`, `_h`)" };
        let tombstones = match (self.kind, self.books) {
            (Kind::Finish, Books::Remove) => "",
            _ => ", tombstones of deleted rows (until their time to live ends, where their table has one)",
        };
        format!(
            ". On DynamoDB these stay: the tables with their items{marks}{tombstones}, and the state table {state_table}"
        )
    }

    /// Whether the topics are those of another migration, which may only be read along here: they stay, whatever an operator
    /// insists on.
    async fn is_foreign(&self, settings: &Settings, kafka: &KafkaSettings) -> Result<bool, Failure> {
        let whose = understudy_kafka::whose(kafka).await?.another(&owner(settings), None);
        if let Some(whose) = &whose {
            tracing::warn!(
                topic_prefix = kafka.topic_prefix,
                "topics are left alone: they belong to {whose}"
            );
        }
        Ok(whose.is_some())
    }

    /// Removes what there is on blue and green, blue first: from then on nothing is kept there for us.
    async fn remove(&self, sides: &mut Sides, settings: &Settings) -> Result<Vec<String>, Failure> {
        let mut removed = remove_from_blue(&mut sides.blue, settings).await?;
        let (green, sink) = (settings.green_postgres()?, SinkSettings::new(settings.name.as_str()));
        removed.extend(forget(green, &sink, self.books == Books::Keep).await?);
        Ok(removed)
    }

    /// Removes the topics, last of all: brokers that are away hold up nothing else. Where they did not answer before, they are not
    /// asked again.
    async fn remove_from_log(
        &self,
        settings: &Settings,
        log: Option<Log<'_>>,
    ) -> Result<Vec<String>, Failure> {
        let Some(Log { kafka, whose }) = log else { return Ok(Vec::new()) };
        whose?;
        if self.is_foreign(settings, kafka).await? {
            return Ok(Vec::new());
        }
        // What others read stays when a migration has done its work.
        let own: Vec<TablePattern> = settings.tables.iter().map(|table| table.from.clone()).collect();
        let is_own = move |table: &TableName| own.iter().any(|one| one.matches(table));
        understudy_kafka::forget(kafka, self.kind == Kind::Finish, is_own).await
    }
}

/// Removes what there is on blue.
async fn remove_from_blue(blue: &mut Client, settings: &Settings) -> Result<Vec<String>, Failure> {
    let name = settings.name.slot();
    let mut removed = Vec::new();
    if slot::drop(blue, &name, &format!("understudy/{}", settings.name)).await? {
        removed.push(format!("replication slot {name} on blue"));
    }
    if publication::drop(blue, &name).await? {
        removed.push(format!("publication {name} on blue"));
    }
    Ok(removed)
}

/// The log of the migration's own.
struct Log<'a> {
    kafka: &'a KafkaSettings,
    /// Whose it is; or why nobody can tell.
    whose: Result<understudy_kafka::Whose, Failure>,
}

impl Log<'_> {
    async fn look(settings: &Settings) -> Option<Log<'_>> {
        let kafka = settings.own_log()?;
        Some(Log { kafka, whose: understudy_kafka::whose(kafka).await })
    }
}

/// The migration, as the books of a log name it.
fn owner(settings: &Settings) -> Owner {
    Owner {
        migration: settings.name.as_str().to_owned(),
        slot: settings.name.slot(),
        database: settings.blue.database.clone(),
        system_id: 0,
        token: 0,
    }
}

/// Which cluster blue is, where we may know.
async fn system_identifier(blue: &mut Client) -> Option<u64> {
    let rows = blue.query("SELECT system_identifier FROM pg_catalog.pg_control_system()").await.ok()?;
    rows.first()?.parse(0).ok()
}

/// Sessions of a sidecar that do not end by themselves: one that was stopped may have left a statement to its server.
async fn lasting_sessions(client: &mut Client, name: &str) -> Result<u64, Failure> {
    let until = Instant::now() + LINGER_MAX;
    loop {
        let sessions = sessions_of_a_sidecar(client, name).await?;
        if sessions == 0 || Instant::now() > until {
            return Ok(sessions);
        }
        tokio::time::sleep(LINGER_LOOK).await;
    }
}

/// Sessions of a sidecar of this migration; those of the verbs that only look do not count.
async fn sessions_of_a_sidecar(client: &mut Client, name: &str) -> Result<u64, Failure> {
    let sql = "SELECT count(*) FROM pg_catalog.pg_stat_activity \
               WHERE (pg_catalog.starts_with(application_name, $1 || '/') \
               OR pg_catalog.starts_with(application_name, $1 || '#')) AND pid <> pg_catalog.pg_backend_pid() \
               AND application_name !~ '/(init|check|plan|finish|abort|verify|mismatches|repair)$'";
    let rows = client.query_with(sql, &[Some(&format!("understudy/{name}"))]).await?;
    rows.first().map_or(Ok(0), |row| row.parse(0))
}

/// What may be missing on green because somebody has touched the publication since the last run looked at it.
async fn missed(
    blue: &mut Client,
    settings: &Settings,
    (log, known): (Option<&Log<'_>>, &Known),
) -> Result<Option<String>, Failure> {
    // With brokers away, what the capture has counted on cannot be read.
    if log.is_some_and(|log| log.whose.is_err()) {
        return Ok(None);
    }
    if settings.through.is_some() && settings.own_log().is_none() {
        // What writes such a log has a publication of its own, if any.
        return Ok(None);
    }
    let there = publication::inspect(blue, &settings.name.slot()).await?;
    let followed = publishing::counted_on(settings, known).await?;
    // One that is gone was removed by an ending that was interrupted.
    let Some(there) = there else { return Ok(None) };
    let gap = followed.gap_on(blue, Some(&there)).await?;
    Ok(gap.map(|gap| followed.failure(&gap).to_string()))
}

async fn has_books(green: &mut Client) -> Result<bool, Failure> {
    let rows = green.query("SELECT pg_catalog.to_regclass('understudy.migration') IS NOT NULL").await?;
    Ok(rows.first().is_some_and(|row| row.is_true(0)))
}

/// What of a migration is not settled on green.
async fn unfinished(green: &mut Client, name: &str) -> Result<Vec<String>, Failure> {
    let questions = [
        (
            "SELECT count(DISTINCT (source_schema, source_name, target_schema, target_name)) FROM understudy.routes \
             WHERE (migration = $1 OR pg_catalog.starts_with(migration, $1 || '#')) AND NOT complete",
            "tables that are not copied completely",
        ),
        (
            "SELECT count(*) FROM understudy.heals \
             WHERE migration = $1 OR pg_catalog.starts_with(migration, $1 || '#')",
            "rows that wait to be read again",
        ),
        (
            "SELECT count(*) FROM understudy.quarantine \
             WHERE (migration = $1 OR pg_catalog.starts_with(migration, $1 || '#')) AND NOT settled",
            "quarantined changes",
        ),
    ];
    let mut found = Vec::new();
    for (sql, what) in questions {
        let rows = green.query_with(sql, &[Some(name)]).await?;
        let count = rows.first().map_or(Ok(0), |row| row.parse::<u64>(0))?;
        if count > 0 {
            found.push(format!("{what}: {count}"));
        }
    }
    Ok(found)
}
