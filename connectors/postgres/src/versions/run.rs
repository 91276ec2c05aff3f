//! Running the SQL of a version on green, once.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use understudy_contract::{Class, Failure};

use super::record::{Progress, ensure, has_begun, note, recorded};
use super::{Expand, How, Recorded, Step, Version, compare};
use crate::error::{has_sqlstate, server_error};
use crate::ident::quote_literal;
use crate::wire::{Client, ConnectOptions};

/// How long another session that runs the same version's SQL is waited for before the run tries again as a whole.
const PATIENCE: Duration = Duration::from_secs(10);

/// A statement that waits for a lock makes everybody wait who comes after it. One that runs for long is a mistake in a
/// database that is only about to be filled; the file can set both for itself.
const SETUP: &str = "SET lock_timeout = '5s'; SET statement_timeout = '10min'; \
    SET idle_in_transaction_session_timeout = '1min'; SET synchronous_commit = on";

/// What became of a version's SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is none.
    NothingToRun,
    /// It had been run before.
    Before,
    /// It has been run now; so many statements of it, where an earlier run had stopped midway.
    Now(usize),
}

/// Records a version on green and runs its SQL, unless that has been done. A version whose SQL is not what was run is
/// refused.
pub async fn bring_up(options: &ConnectOptions, version: &Version) -> Result<Outcome, Failure> {
    let mut client =
        Client::connect(options).await.map_err(|failure| failure.while_doing("connect to green"))?;
    client.batch(SETUP).await?;
    // A session whose sidecar has died would otherwise hold its place until the statement ends. Not every system can.
    match client.batch("SET client_connection_check_interval = '2s'").await {
        Err(failure) if client.is_broken() => return Err(failure),
        Ok(()) | Err(_) => {}
    }
    let known = recorded(&mut client, &version.migration).await?;
    if let Some(known) = &known {
        compare(version, known)?;
        if known.expanded && is_same(version, known) {
            client.close().await;
            return Ok(outcome(version, None));
        }
    }
    alone(&mut client, &version.migration).await?;
    ensure(&mut client).await?;
    let ran = Running { client: &mut client, version }.run().await?;
    client.close().await;
    Ok(outcome(version, ran))
}

fn outcome(version: &Version, ran: Option<usize>) -> Outcome {
    match ran {
        _ if version.expand.is_none() => Outcome::NothingToRun,
        None => Outcome::Before,
        Some(statements) => Outcome::Now(statements),
    }
}

/// Whether everything that is recorded is as the files are.
fn is_same(version: &Version, known: &Recorded) -> bool {
    known.directory == version.directory
        && known.file_sha256 == version.file_sha256
        && (known.contracted || known.contract_sha256 == version.contract_sha256)
}

/// Waits until no other session runs the SQL of this migration.
async fn alone(client: &mut Client, migration: &str) -> Result<(), Failure> {
    let name = quote_literal(&format!("understudy/expand/{migration}"));
    let sql = format!("SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended({name}, 0))");
    let deadline = Instant::now() + PATIENCE;
    loop {
        if client.query(&sql).await?.first().is_some_and(|row| row.is_true(0)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let cause = "another session is running expand.sql of this migration on green";
            return Err(Failure::new(Class::Transient, cause).remedy(
                "wait for it; pg_stat_activity on green shows it by its application name, which ends in /expand",
            ));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

struct Running<'a> {
    client: &'a mut Client,
    version: &'a Version,
}

impl Running<'_> {
    /// How many statements were run; `None` where there was nothing left to do.
    async fn run(&mut self) -> Result<Option<usize>, Failure> {
        let known = recorded(self.client, &self.version.migration).await?;
        if let Some(known) = &known {
            compare(self.version, known)?;
        }
        let Some(expand) = &self.version.expand else {
            self.note(0, None, true).await?;
            return Ok(None);
        };
        match known {
            Some(known) if known.expanded => {
                self.note(known.statements_done, None, true).await?;
                Ok(None)
            }
            None if has_begun(self.client, &self.version.migration).await? => {
                let cause = format!(
                    "migration {} has begun without {}: it cannot come before the copy any more",
                    self.version.migration, expand.file
                );
                Err(Failure::new(Class::Configuration, cause)
                    .remedy("take the file away again, or put it into a new version"))
            }
            None if expand.whole => self.whole(expand).await.map(Some),
            known => self.stepwise(expand, known.as_ref()).await.map(Some),
        }
    }

    async fn note(&mut self, done: u32, begun: Option<u32>, expanded: bool) -> Result<(), Failure> {
        note(self.client, self.version, Progress { done, begun, expanded }).await
    }

    /// In one transaction, with its record.
    async fn whole(&mut self, expand: &Expand) -> Result<usize, Failure> {
        self.client.batch("BEGIN").await?;
        for step in &expand.steps {
            let ran = self.client.execute_with(&step.sql, &[]).await;
            ran.map_err(|failure| explain(failure, expand, step, "nothing of it has been kept"))?;
        }
        self.as_ourselves().await?;
        self.note(count(expand.steps.len()), None, true).await?;
        // What is deferred is checked only now.
        let committed = self.client.batch("COMMIT").await;
        committed.map_err(|failure| failure.while_doing(format!("commit {} on green", expand.file)))?;
        Ok(expand.steps.len())
    }

    /// One statement after the other, from the first that has not been run.
    async fn stepwise(&mut self, expand: &Expand, known: Option<&Recorded>) -> Result<usize, Failure> {
        let done = known.map_or(0, |known| known.statements_done);
        let begun = known.and_then(|known| known.statement_begun);
        self.note(done, begun, false).await?;
        let mut ran = 0;
        for (step, number) in expand.steps.iter().zip(1..) {
            if number > done {
                self.step(expand, step, number, begun == Some(number)).await?;
                ran += 1;
            } else if step.how == How::Session {
                self.client.execute_with(&step.sql, &[]).await.map(drop)?;
            }
        }
        self.client.batch("BEGIN").await?;
        self.as_ourselves().await?;
        self.note(count(expand.steps.len()), None, true).await?;
        self.client.batch("COMMIT").await?;
        Ok(ran)
    }

    async fn step(
        &mut self,
        expand: &Expand,
        step: &Step,
        number: u32,
        doubtful: bool,
    ) -> Result<(), Failure> {
        let kept = "the statements before it have been run and are not run again";
        let explain = |failure| explain(failure, expand, step, kept);
        match &step.how {
            How::Plain | How::Session => {
                // What is set inside a transaction stays set after it.
                self.client.batch("BEGIN").await?;
                self.client.execute_with(&step.sql, &[]).await.map_err(explain)?;
                self.as_ourselves().await?;
                self.note(number, None, false).await?;
                return self.client.batch("COMMIT").await.map_err(explain);
            }
            How::CreateIndex { index, table } if doubtful => {
                if self.is_built(index, table).await.map_err(explain)? {
                    return self.record(number, None).await;
                }
            }
            How::CreateIndex { .. } | How::DropIndex | How::Repeatable => {}
        }
        self.record(number - 1, Some(number)).await?;
        match self.client.execute_with(&step.sql, &[]).await {
            Ok(_) => {}
            Err(failure) if doubtful && step.how == How::DropIndex && has_sqlstate(&failure, "42704") => {}
            Err(failure) => {
                // It met somebody else's index, which is not to be mistaken for one that it has left unfinished.
                if has_sqlstate(&failure, "42P07") {
                    self.record(number - 1, None).await?;
                }
                return Err(explain(failure));
            }
        }
        self.record(number, None).await
    }

    /// Whether an index that was begun is there and whole. What is left of an unfinished one is removed.
    async fn is_built(&mut self, index: &str, table: &str) -> Result<bool, Failure> {
        let sql = "SELECT indisvalid FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass($1) \
            AND indrelid = pg_catalog.to_regclass($2)";
        let rows = self.client.query_with(sql, &[Some(index), Some(table)]).await?;
        match rows.first() {
            Some(row) if row.is_true(0) => Ok(true),
            Some(_) => {
                self.client.batch(&format!("DROP INDEX CONCURRENTLY {index}")).await?;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    async fn record(&mut self, done: u32, begun: Option<u32>) -> Result<(), Failure> {
        self.client.batch("BEGIN").await?;
        self.as_ourselves().await?;
        self.note(done, begun, false).await?;
        self.client.batch("COMMIT").await
    }

    /// The file may have taken another role for its objects: the bookkeeping is written under our own.
    async fn as_ourselves(&mut self) -> Result<(), Failure> {
        self.client.batch("SET LOCAL ROLE TO DEFAULT").await
    }
}

fn count(statements: usize) -> u32 {
    u32::try_from(statements).unwrap_or(u32::MAX)
}

/// A statement's failure with its place. Anything that coming again would not mend is for the author of the file.
fn explain(failure: Failure, expand: &Expand, step: &Step, kept: &str) -> Failure {
    let doing = format!("run {}:{} on green", expand.file, step.line);
    if has_sqlstate(&failure, "57014") {
        let cause = failure.to_string();
        return Failure::new(Class::Configuration, cause).while_doing(doing).remedy(format!(
            "give it longer with SET statement_timeout = '...' in the file, then run again: {kept}"
        ));
    }
    if failure.class() == Class::Transient || server_error(&failure).is_none() {
        return failure.while_doing(doing).remedy(format!("it is tried again by itself; {kept}"));
    }
    let hint = failure.remedy_text().map_or_else(String::new, |hint| format!("{hint}; "));
    Failure::new(Class::Configuration, failure.to_string())
        .while_doing(doing)
        .remedy(format!("{hint}mend the file, then run again: {kept}"))
}
