//! Asking blue.

use understudy_contract::{
    BlueAnswer, BlueMoment, BlueProbe, Failure, ProbeParams, ProbeQuery, ScannedRelation, Tried,
};
use understudy_model::Nonce;

use super::session::{Connection, Session, Stepped, columns, only};
use super::{ProbeLimits, plan};
use crate::source::emit;
use crate::wire::ConnectOptions;

/// Sets of parameters that one sampling brings.
const SETS_MAX: usize = 1_000;

/// Read after the snapshot has been taken: all that it sees was in the log before.
const MOMENT: &str = "SELECT pg_catalog.pg_current_snapshot(), pg_catalog.pg_current_wal_insert_lsn()";

/// Asks blue on a connection of its own.
pub struct PostgresBlueProbe {
    session: Session,
    prefix: String,
}

impl PostgresBlueProbe {
    /// Connects with the first call. `prefix` names our messages.
    pub fn new(
        options: &ConnectOptions,
        prefix: impl Into<String>,
        limits: ProbeLimits,
    ) -> PostgresBlueProbe {
        PostgresBlueProbe { session: Session::new(options, limits), prefix: prefix.into() }
    }
}

impl BlueProbe for PostgresBlueProbe {
    async fn sample(&mut self, sql: &str) -> Result<Tried<Vec<ProbeParams>>, Failure> {
        let mut connection = self.session.lend().await.map_err(asking)?;
        let sampled = sample(&mut connection, sql).await;
        let sampled = connection.end(sampled).await.map_err(asking)?;
        self.session.give_back(connection);
        Ok(sampled)
    }

    async fn ask(&mut self, query: &ProbeQuery, params: &ProbeParams) -> Result<Tried<BlueAnswer>, Failure> {
        let mut connection = self.session.lend().await.map_err(asking)?;
        let answer = answer(&mut connection, query, params).await;
        let answer = connection.end(answer).await.map_err(asking)?;
        if answer.is_ok() {
            emit(&mut connection.client, &self.prefix, Nonce(rand::random())).await.map_err(asking)?;
        }
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
    failure.while_doing("ask blue a probe")
}

async fn sample(connection: &mut Connection, sql: &str) -> Stepped<Vec<ProbeParams>> {
    connection.begin("SELECT", &[]).await?;
    // The line break ends a comment that the text may end with.
    let sql = format!("SELECT * FROM (\n{sql}\n) AS sampled LIMIT {SETS_MAX}");
    let mut sets = Vec::new();
    let take = |row| sets.push(ProbeParams::new(columns(&row).map(|text| text.map(Box::from))));
    connection.execute(&sql, &ProbeParams::default(), take).await?;
    Ok(sets)
}

async fn answer(
    connection: &mut Connection,
    query: &ProbeQuery,
    params: &ProbeParams,
) -> Stepped<BlueAnswer> {
    let facts = connection.begin(MOMENT, &[]).await?;
    let row = only(&facts)?;
    let moment = BlueMoment { snapshot: row.parse(0)?, lsn: row.parse(1)? };
    let (answer, took) = connection.ask(query, params).await?;
    Ok(BlueAnswer { moment, answer, took })
}
