//! A connection for the user's own queries, and the transaction that one of them runs in.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use understudy_contract::{Class, Failure, NotAnswered, ProbeAnswer, ProbeParams, ProbeQuery, Tried};

use super::ProbeLimits;
use crate::error::server_error;
use crate::wire::{Client, ConnectOptions, Pipeline, Row, Statement};

/// Our own statements find what they name in `pg_catalog` only; the user's are then given the path they rely on.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''";
const AS_APPLICATION: &str = "SET LOCAL search_path TO DEFAULT";

/// Statements that are kept prepared. There are two for each probe.
const STATEMENTS_MAX: usize = 1_000;

/// Where to connect, and the connection while nobody uses it.
pub(super) struct Session {
    options: ConnectOptions,
    limits: ProbeLimits,
    idle: Option<Connection>,
}

/// A connection, and what it has prepared.
pub(super) struct Connection {
    pub(super) client: Client,
    limits: ProbeLimits,
    statements: FxHashMap<String, Statement>,
}

/// Why a step inside a transaction went no further.
pub(super) enum Stop {
    Not(NotAnswered),
    Failed(Failure),
}

pub(super) type Stepped<T> = Result<T, Stop>;

impl From<NotAnswered> for Stop {
    fn from(not: NotAnswered) -> Stop {
        Stop::Not(not)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

impl Session {
    pub(super) fn new(options: &ConnectOptions, limits: ProbeLimits) -> Session {
        Session { options: options.clone().with_default_search_path(), limits, idle: None }
    }

    /// The connection, for one call. A call that fails or is dropped keeps it, and the next one gets a new one.
    pub(super) async fn lend(&mut self) -> Result<Connection, Failure> {
        if let Some(connection) = self.idle.take() {
            return Ok(connection);
        }
        let mut client = Client::connect(&self.options).await?;
        let ProbeLimits { statement, lock, .. } = self.limits;
        // Markers only need to be decoded: a local flush does, also while a synchronous standby is away.
        let setup = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = '1min'; \
             SET synchronous_commit = local",
            statement.as_millis(),
            lock.as_millis()
        );
        client.batch(&setup).await?;
        Ok(Connection { client, limits: self.limits, statements: FxHashMap::default() })
    }

    /// Takes the connection back, outside any transaction.
    pub(super) fn give_back(&mut self, connection: Connection) {
        self.idle = Some(connection);
    }
}

impl Connection {
    /// Begins a transaction and reads `facts` of ours, which takes its snapshot. The user's queries come next.
    pub(super) async fn begin(&mut self, facts: &str, params: &[Option<&str>]) -> Result<Vec<Row>, Failure> {
        self.client.batch(BEGIN).await?;
        let facts = self.client.query_with(facts, params).await?;
        self.client.batch(AS_APPLICATION).await?;
        Ok(facts)
    }

    /// Ends the transaction, whatever became of it, and says what is to be made of it.
    pub(super) async fn end<T>(&mut self, stepped: Stepped<T>) -> Result<Tried<T>, Failure> {
        let tried = match stepped {
            Ok(value) => Ok(value),
            Err(Stop::Not(not)) => Err(not),
            Err(Stop::Failed(failure)) => Err(self.refusal(failure)?),
        };
        self.client.batch("ROLLBACK").await?;
        Ok(tried)
    }

    /// Asks a query inside the open transaction, and measures how long its answer takes.
    pub(super) async fn ask(
        &mut self,
        query: &ProbeQuery,
        params: &ProbeParams,
    ) -> Stepped<(ProbeAnswer, Duration)> {
        let mut answer = ProbeAnswer::new(query.ordered);
        let took = self.execute(&query.sql, params, |row| answer.add(columns(&row))).await?;
        Ok((answer, took))
    }

    /// Runs a query of the user's inside the open transaction.
    pub(super) async fn execute(
        &mut self,
        sql: &str,
        params: &ProbeParams,
        mut on_row: impl FnMut(Row),
    ) -> Stepped<Duration> {
        let statement = self.prepared(sql).await?;
        let takes = statement.parameter_types().len();
        if takes > params.len() {
            let why = format!("it takes {takes} parameters, and its sample has {}", params.len());
            return Err(NotAnswered::Refused(why).into());
        }
        let mut pipeline = Pipeline::new();
        // What the query does not use is not sent: the other side's may.
        pipeline.execute(&statement, params.texts().take(takes).map(|text| text.map(str::as_bytes)));
        let began = Instant::now();
        let run = self.client.run_with(&mut pipeline, |_, row| {
            on_row(row);
            Ok(())
        });
        match run.await {
            Ok(_) => Ok(began.elapsed()),
            Err(failure) => {
                // A table may have changed under it: the next asking prepares it anew.
                self.statements.remove(sql);
                Err(failure.failure.into())
            }
        }
    }

    /// A statement under the search path that is set.
    pub(super) async fn prepared(&mut self, sql: &str) -> Result<Statement, Failure> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= STATEMENTS_MAX {
            let why = format!("more than {STATEMENTS_MAX} different queries");
            return Err(Failure::new(Class::Configuration, why).remedy("have fewer probes"));
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// What a failure says about the query, or the failure itself where it is not about it.
    fn refusal(&self, failure: Failure) -> Result<NotAnswered, Failure> {
        if self.client.is_broken() {
            return Err(failure);
        }
        let Some(error) = server_error(&failure) else {
            // An answer that is no text, for one.
            return Ok(NotAnswered::Refused(failure.to_string()));
        };
        let limit_ms = u64::try_from(self.limits.statement.as_millis()).unwrap_or(u64::MAX);
        let state = error.sqlstate.as_str();
        match (state, state.get(..2)) {
            ("57014", _) => Ok(NotAnswered::TooSlow(limit_ms)),
            // The last is a prepared statement whose table has got other columns since.
            ("55P03" | "40001" | "40P01", _) => Ok(NotAnswered::Busy),
            ("0A000", _) if error.message.starts_with("cached plan") => Ok(NotAnswered::Busy),
            (_, Some("08" | "53" | "57" | "58")) => Err(failure),
            _ => Ok(NotAnswered::Refused(failure.to_string())),
        }
    }
}

/// The texts of a row.
pub(super) fn columns(row: &Row) -> impl ExactSizeIterator<Item = Option<&str>> {
    (0..row.len()).map(|column| row.text(column))
}

/// The only row of a statement of ours.
pub(super) fn only(rows: &[Row]) -> Result<&Row, Failure> {
    rows.first().ok_or_else(|| Failure::new(Class::Internal, "a statement of ours answered without a row"))
}
