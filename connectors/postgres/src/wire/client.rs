//! One connection and the statements it runs, one after the other.

use std::sync::Arc;

use bytes::Bytes;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend::{self, BindError};
use understudy_contract::{Class, Failure};

use super::auth::Session;
use super::cancel::CancelToken;
use super::connect;
use super::copy::{CopyIn, CopyOut};
use super::link::{Frame, Link};
use super::message::{
    COMMAND_COMPLETE, COPY_BOTH, COPY_OUT, DATA_ROW, EMPTY_QUERY, ERROR, NOTICE, NOTIFICATION,
    PARAMETER_DESCRIPTION, PARAMETER_STATUS, READY, parameter_types, rows_affected,
};
use super::options::ConnectOptions;
use super::pipeline::{Pipeline, PipelineFailure};
use super::replication::{self, CopyReader, CopyWriter};
use super::row::Row;
use crate::error::{ServerError, protocol};

/// Where a session stands between statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    /// Outside a transaction.
    Idle,
    /// Inside a transaction.
    Open,
    /// Inside a transaction that has failed and can only be rolled back.
    Failed,
}

/// A statement that the server has prepared. It lives as long as the connection that prepared it.
#[derive(Debug, Clone)]
pub struct Statement {
    pub(super) name: Arc<str>,
    parameter_types: Box<[u32]>,
}

impl Statement {
    /// Object ids of the parameters' types, as the server inferred them.
    pub fn parameter_types(&self) -> &[u32] {
        &self.parameter_types
    }
}

/// One connection to a server.
///
/// A call whose future is dropped before it has finished leaves the connection in an unknown state: every later call
/// fails as transient, and the client is to be dropped.
pub struct Client {
    pub(super) link: Link,
    /// Set while a call is under way, and for good once one was dropped or lost the connection.
    pub(super) busy: bool,
    session: Session,
    options: ConnectOptions,
    transaction: TransactionState,
    statements: u64,
}

impl Client {
    /// An ordinary connection.
    pub async fn connect(options: &ConnectOptions) -> Result<Client, Failure> {
        Client::open(options, false).await
    }

    /// A connection that also takes replication commands.
    pub async fn connect_replication(options: &ConnectOptions) -> Result<Client, Failure> {
        Client::open(options, true).await
    }

    async fn open(options: &ConnectOptions, replication: bool) -> Result<Client, Failure> {
        let (link, session) = Box::pin(connect::connect(options, replication)).await?;
        Ok(Client {
            link,
            busy: false,
            session,
            options: options.clone(),
            transaction: TransactionState::Idle,
            statements: 0,
        })
    }

    /// The server's version as `server_version_num` counts it: 150018 for 15.18.
    pub fn server_version(&self) -> u32 {
        self.session.server_version
    }

    /// The server process behind this connection.
    pub fn backend_pid(&self) -> i32 {
        self.session.pid
    }

    /// Where the session stands after the last statement.
    pub fn transaction(&self) -> TransactionState {
        self.transaction
    }

    /// Whether a call was dropped midway or lost the connection: nothing works any more.
    pub fn is_broken(&self) -> bool {
        self.busy
    }

    /// What it takes to cancel a statement of this connection from elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        CancelToken { options: self.options.clone(), session: self.session }
    }

    /// Runs any number of statements and ignores their results.
    pub async fn batch(&mut self, sql: &str) -> Result<(), Failure> {
        self.start_query(sql)?;
        self.until_ready(|_| Ok(())).await
    }

    /// Runs one statement without parameters. Works on a replication connection too.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        self.start_query(sql)?;
        self.rows().await
    }

    /// Runs one statement with parameters in text form, and returns its rows.
    pub async fn query_with(&mut self, sql: &str, params: &[Option<&str>]) -> Result<Vec<Row>, Failure> {
        self.start_extended(sql, params)?;
        self.rows().await
    }

    /// Runs one statement with parameters in text form, and returns how many rows it affected.
    pub async fn execute_with(&mut self, sql: &str, params: &[Option<&str>]) -> Result<u64, Failure> {
        self.start_extended(sql, params)?;
        let mut affected = 0;
        self.until_ready(|frame| {
            if frame.tag == COMMAND_COMPLETE {
                affected = rows_affected(&frame.body);
            }
            Ok(())
        })
        .await?;
        Ok(affected)
    }

    /// Prepares a statement; the server infers the types of its parameters.
    pub async fn prepare(&mut self, sql: &str) -> Result<Statement, Failure> {
        let name: Arc<str> = format!("s{}", self.statements).into();
        self.start()?;
        let output = &mut self.link.output;
        let queued =
            frontend::parse(&name, sql, [], output).and_then(|()| frontend::describe(b'S', &name, output));
        self.queued(queued)?;
        frontend::sync(&mut self.link.output);
        self.statements += 1;
        let mut types = Box::default();
        self.until_ready(|frame| {
            if frame.tag == PARAMETER_DESCRIPTION {
                types = parameter_types(&frame.body)?;
            }
            Ok(())
        })
        .await?;
        Ok(Statement { name, parameter_types: types })
    }

    /// Lets the server forget a prepared statement.
    pub async fn close_statement(&mut self, statement: Statement) -> Result<(), Failure> {
        self.start()?;
        let queued = frontend::close(b'S', &statement.name, &mut self.link.output);
        self.queued(queued)?;
        frontend::sync(&mut self.link.output);
        self.until_ready(|_| Ok(())).await
    }

    /// Runs all steps of a pipeline in one round trip and returns how many rows each affected. The pipeline is empty
    /// afterwards. When a step fails, the server skips those after it.
    pub async fn run(&mut self, pipeline: &mut Pipeline) -> Result<Vec<u64>, PipelineFailure> {
        self.run_with(pipeline, |_, _| Ok(())).await
    }

    /// The same, handing each row that a step returns to `on_row`, with the number of the step.
    pub async fn run_with(
        &mut self,
        pipeline: &mut Pipeline,
        mut on_row: impl FnMut(usize, Row) -> Result<(), Failure>,
    ) -> Result<Vec<u64>, PipelineFailure> {
        let mut affected = Vec::with_capacity(pipeline.len());
        let started = self.start().and_then(|()| {
            let queued = pipeline.take_into(&mut self.link.output);
            self.queued(queued)
        });
        if let Err(failure) = started {
            return Err(PipelineFailure { step: 0, failure });
        }
        frontend::sync(&mut self.link.output);
        let result = self.until_ready(|frame| {
            match frame.tag {
                COMMAND_COMPLETE => affected.push(rows_affected(&frame.body)),
                EMPTY_QUERY => affected.push(0),
                DATA_ROW => on_row(affected.len(), Row::from_body(&frame.body)?)?,
                _ => {}
            }
            Ok(())
        });
        match result.await {
            Ok(()) => Ok(affected),
            Err(failure) => Err(PipelineFailure { step: affected.len(), failure }),
        }
    }

    /// Starts `COPY ... FROM STDIN`. The statement travels with the first data: an error in it shows up in
    /// [`CopyIn::send`] or [`CopyIn::finish`].
    pub async fn copy_in(&mut self, sql: &str) -> Result<CopyIn<'_>, Failure> {
        self.start_query(sql)?;
        Ok(CopyIn::new(self))
    }

    /// Starts `COPY ... TO STDOUT`.
    pub async fn copy_out(&mut self, sql: &str) -> Result<CopyOut<'_>, Failure> {
        self.start_query(sql)?;
        self.expect(COPY_OUT).await?;
        Ok(CopyOut::new(self))
    }

    /// Starts a command that answers with a two-way stream, and parts the connection into its two directions.
    ///
    /// When the server refuses, the connection is gone with the error: connect again for the next attempt, or use
    /// [`Client::try_copy_both`].
    pub async fn copy_both(mut self, sql: &str) -> Result<(CopyReader, CopyWriter), Failure> {
        self.start_copy_both(sql).await?;
        Ok(replication::split(self.link))
    }

    /// The same, but hands the connection back when the server refuses.
    pub async fn try_copy_both(mut self, sql: &str) -> Result<(CopyReader, CopyWriter), (Client, Failure)> {
        match self.start_copy_both(sql).await {
            Ok(()) => Ok(replication::split(self.link)),
            Err(failure) => Err((self, failure)),
        }
    }

    async fn start_copy_both(&mut self, sql: &str) -> Result<(), Failure> {
        self.start_query(sql)?;
        self.expect(COPY_BOTH).await
    }

    /// Says goodbye. Dropping the client does the same without the courtesy.
    pub async fn close(mut self) {
        if !self.busy {
            frontend::terminate(&mut self.link.output);
            // The server notices either way.
            let _ = self.link.flush().await;
        }
    }

    /// Marks the connection as busy, unless it already is.
    fn start(&mut self) -> Result<(), Failure> {
        if self.busy {
            return Err(Failure::new(
                Class::Transient,
                "the connection was lost, or left in the middle of a call",
            ));
        }
        self.busy = true;
        Ok(())
    }

    /// Takes a message back whose encoding failed, before any of it was sent.
    fn queued(&mut self, result: std::io::Result<()>) -> Result<(), Failure> {
        result.map_err(|error| {
            self.link.output.clear();
            self.busy = false;
            Failure::new(Class::Data, format!("a statement or parameter cannot be sent: {error}"))
                .caused_by(error)
        })
    }

    fn start_query(&mut self, sql: &str) -> Result<(), Failure> {
        self.start()?;
        let queued = frontend::query(sql, &mut self.link.output);
        self.queued(queued)
    }

    fn start_extended(&mut self, sql: &str, params: &[Option<&str>]) -> Result<(), Failure> {
        self.start()?;
        let output = &mut self.link.output;
        let queued = frontend::parse("", sql, [], output)
            .and_then(|()| bind("", params.iter().map(|param| param.map(str::as_bytes)), output))
            .and_then(|()| frontend::execute("", 0, output));
        self.queued(queued)?;
        frontend::sync(&mut self.link.output);
        Ok(())
    }

    async fn rows(&mut self) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        self.until_ready(|frame| {
            if frame.tag == DATA_ROW {
                rows.push(Row::from_body(&frame.body)?);
            }
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// Reads up to the end of the call and hands over every frame that says something. The first error counts; what
    /// `each` refuses is reported once the server is ready again.
    pub(super) async fn until_ready(
        &mut self,
        mut each: impl FnMut(Frame) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut result = Ok(());
        loop {
            let frame = self.link.next().await?;
            match frame.tag {
                READY => {
                    self.ready(&frame.body);
                    return result;
                }
                ERROR => {
                    let failure = self.refusal(&frame.body)?;
                    result = result.and(Err(failure));
                }
                NOTICE | NOTIFICATION | PARAMETER_STATUS => {}
                _ if result.is_ok() => result = each(frame),
                _ => {}
            }
        }
    }

    /// Waits for the answer that starts a copy, or for the refusal.
    async fn expect(&mut self, wanted: u8) -> Result<(), Failure> {
        loop {
            let frame = self.link.next().await?;
            match frame.tag {
                tag if tag == wanted => return Ok(()),
                ERROR => {
                    let failure = self.refusal(&frame.body)?;
                    self.until_ready(|_| Ok(())).await?;
                    return Err(failure);
                }
                READY => {
                    self.ready(&frame.body);
                    return Err(protocol("no copy, where one was asked for"));
                }
                _ => {}
            }
        }
    }

    /// The server's error as a failure to go on with; as an error when it is the last word of the session.
    pub(super) fn refusal(&self, body: &Bytes) -> Result<Failure, Failure> {
        let error = ServerError::from_fields(body);
        if error.is_fatal() { Err(error.into_failure()) } else { Ok(error.into_failure()) }
    }

    pub(super) fn ready(&mut self, body: &Bytes) {
        self.transaction = match body.first() {
            Some(b'T') => TransactionState::Open,
            Some(b'E') => TransactionState::Failed,
            _ => TransactionState::Idle,
        };
        self.busy = false;
    }
}

/// Appends a Bind of text parameters to the unnamed portal.
pub(super) fn bind<'a>(
    statement: &str,
    params: impl IntoIterator<Item = Option<&'a [u8]>>,
    output: &mut bytes::BytesMut,
) -> std::io::Result<()> {
    let append = |param: Option<&[u8]>, output: &mut bytes::BytesMut| match param {
        Some(text) => {
            output.extend_from_slice(text);
            Ok(IsNull::No)
        }
        None => Ok(IsNull::Yes),
    };
    frontend::bind("", statement, [], params, append, [], output).map_err(|error| match error {
        BindError::Conversion(error) => std::io::Error::other(error),
        BindError::Serialization(error) => error,
    })
}
