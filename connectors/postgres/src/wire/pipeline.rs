//! Many steps in one round trip.

use std::fmt;
use std::io;

use bytes::{BufMut, BytesMut};
use postgres_protocol::message::frontend;
use understudy_contract::Failure;

use super::client::{Statement, bind};
use super::copy::push_copy_data;

/// Steps that are encoded as they are added, and sent together by [`Client::run`](super::Client::run).
///
/// Unless they hold their own BEGIN and COMMIT, all steps are one transaction.
#[derive(Default)]
pub struct Pipeline {
    encoded: BytesMut,
    steps: usize,
    error: Option<io::Error>,
}

impl Pipeline {
    /// A pipeline without steps.
    pub fn new() -> Pipeline {
        Pipeline::default()
    }

    /// Adds one execution of a prepared statement, with its parameters in text form.
    pub fn execute<'a>(&mut self, statement: &Statement, params: impl IntoIterator<Item = Option<&'a [u8]>>) {
        let encoded = &mut self.encoded;
        let result = bind(&statement.name, params, encoded).and_then(|()| frontend::execute("", 0, encoded));
        self.added(result);
    }

    /// Adds one statement without parameters, such as BEGIN.
    pub fn simple(&mut self, sql: &str) {
        let result = self.push_unprepared(sql);
        self.added(result);
    }

    /// Adds a `COPY ... FROM STDIN` with all its rows.
    pub fn copy_in(&mut self, sql: &str, rows: &[u8]) {
        let result = self.push_unprepared(sql);
        push_copy_data(&mut self.encoded, rows);
        frontend::copy_done(&mut self.encoded);
        self.added(result);
    }

    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.steps
    }

    /// Whether it has no step.
    pub fn is_empty(&self) -> bool {
        self.steps == 0
    }

    /// How many bytes its steps take on the wire.
    pub fn bytes_len(&self) -> usize {
        self.encoded.len()
    }

    /// Removes all steps.
    pub fn clear(&mut self) {
        self.encoded.clear();
        (self.steps, self.error) = (0, None);
    }

    fn push_unprepared(&mut self, sql: &str) -> io::Result<()> {
        frontend::parse("", sql, [], &mut self.encoded)?;
        bind("", [], &mut self.encoded)?;
        frontend::execute("", 0, &mut self.encoded)
    }

    fn added(&mut self, result: io::Result<()>) {
        self.steps += 1;
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }

    /// Moves the encoded steps to `output`, or reports why one could not be encoded.
    pub(super) fn take_into(&mut self, output: &mut BytesMut) -> io::Result<()> {
        let error = self.error.take();
        if error.is_none() {
            if output.is_empty() {
                std::mem::swap(output, &mut self.encoded);
            } else {
                output.put_slice(&self.encoded);
            }
        }
        self.clear();
        error.map_or(Ok(()), Err)
    }
}

/// How a pipeline failed.
#[derive(Debug)]
pub struct PipelineFailure {
    /// The step that failed, counted from zero. Equal to the number of steps when it was the end of the transaction.
    pub step: usize,
    /// Why.
    pub failure: Failure,
}

impl fmt::Display for PipelineFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl std::error::Error for PipelineFailure {}

impl From<PipelineFailure> for Failure {
    fn from(failure: PipelineFailure) -> Failure {
        failure.failure
    }
}
