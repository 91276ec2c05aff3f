//! Asking green, in a snapshot that shows how far replication had come.

use std::time::{Duration, Instant};

use understudy_contract::{
    Failure, GreenAnswer, GreenMoment, GreenProbe, NotAnswered, ProbeParams, ProbeQuery, ScannedRelation,
    Tried,
};
use understudy_model::{Checkpoint, Lsn};

use super::session::{Connection, Session, Stepped};
use super::{ProbeLimits, plan};
use crate::error::has_sqlstate;
use crate::sink::xids;
use crate::wire::{ConnectOptions, Row};

/// What replication says of itself in the snapshot of the answer.
fn moment_sql() -> String {
    let (moment, lanes) = (crate::verify::MOMENT, crate::sink::LANES);
    format!(
        "WITH ours AS (SELECT name, checkpoint, unseen FROM understudy.migration WHERE {lanes}) \
         SELECT {moment}, \
         EXISTS (SELECT FROM understudy.routes AS r, ours WHERE r.migration = ours.name AND NOT r.complete), \
         EXISTS (SELECT FROM understudy.heals AS h, ours WHERE h.migration = ours.name) FROM ours"
    )
}

/// How long green is left alone between two looks at how far it is: the first pause and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// Asks green on a connection of its own.
pub struct PostgresGreenProbe {
    session: Session,
    migration: String,
    patience: Duration,
}

impl PostgresGreenProbe {
    /// Connects with the first call. `migration` is the name that the bookkeeping has it under.
    pub fn new(
        options: &ConnectOptions,
        migration: impl Into<String>,
        limits: ProbeLimits,
    ) -> PostgresGreenProbe {
        let (session, patience) = (Session::new(options, limits), limits.green_patience);
        PostgresGreenProbe { session, migration: migration.into(), patience }
    }
}

impl GreenProbe for PostgresGreenProbe {
    async fn ask(
        &mut self,
        query: &ProbeQuery,
        params: &ProbeParams,
        at_least: Lsn,
    ) -> Result<Tried<GreenAnswer>, Failure> {
        let (began, mut pause) = (Instant::now(), PAUSES.0);
        let mut connection = self.session.lend().await.map_err(asking)?;
        let answer = loop {
            let answer = answer(&mut connection, (query, params), (&self.migration, at_least)).await;
            let answer = connection.end(answer).await.map_err(asking)?;
            if answer != Err(NotAnswered::NotYet) || began.elapsed() > self.patience {
                break answer;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        };
        self.session.give_back(connection);
        Ok(answer)
    }

    async fn plan(&mut self, query: &ProbeQuery) -> Result<Tried<Vec<ScannedRelation>>, Failure> {
        let mut connection = self.session.lend().await.map_err(asking)?;
        let planned = plan::scanned(&mut connection, query).await;
        let planned = connection.end(planned).await.map_err(asking)?;
        self.session.give_back(connection);
        Ok(planned)
    }
}

fn asking(failure: Failure) -> Failure {
    failure.while_doing("ask green a probe")
}

async fn answer(
    connection: &mut Connection,
    (query, params): (&ProbeQuery, &ProbeParams),
    (migration, at_least): (&str, Lsn),
) -> Stepped<GreenAnswer> {
    let facts = connection.begin(&moment_sql(), &[Some(migration)]).await;
    let facts = match facts {
        Ok(facts) => facts,
        // The first start has not come to its bookkeeping.
        Err(failure) if has_sqlstate(&failure, "42P01") || has_sqlstate(&failure, "3F000") => {
            return Err(NotAnswered::NotCopied.into());
        }
        Err(failure) => return Err(failure.into()),
    };
    let Some((moment, owed)) = facts.first().map(moment).transpose()?.flatten() else {
        return Err(NotAnswered::NotCopied.into());
    };
    if moment.checkpoint.lsn() < at_least {
        return Err(NotAnswered::NotYet.into());
    }
    let (answer, took) = connection.ask(query, params).await?;
    Ok(GreenAnswer { moment, answer, took, owed })
}

/// How far replication was, and whether it owes rows. `None` while there is nothing to compare with.
fn moment(row: &Row) -> Result<Option<(GreenMoment, bool)>, Failure> {
    let Some(checkpoint) = row.optional::<Lsn>(0)?.filter(|_| !row.is_true(2)) else {
        return Ok(None);
    };
    let unseen = row.text(1).map(xids).transpose()?;
    let checkpoint = Checkpoint::at_commit_end(checkpoint);
    Ok(Some((GreenMoment { checkpoint, unseen }, row.is_true(3))))
}
