//! Rows in bulk, in the text format of COPY, to and from a server.

use bytes::{BufMut, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use understudy_contract::{Class, Failure};

use super::client::Client;
use super::message::{
    COMMAND_COMPLETE, COPY_DATA, COPY_DONE, COPY_IN, ERROR, NOTICE, NOTIFICATION, PARAMETER_STATUS, READY,
    rows_affected,
};
use crate::error::{has_sqlstate, protocol};

/// Rows travel in messages of about this size, whatever pieces they are given in.
const MESSAGE_BYTES: usize = 64 * 1024;
const HEADER: usize = 5;

/// A running `COPY ... FROM STDIN`. Dropping it before it is finished breaks the connection, and the copy with it.
pub struct CopyIn<'a> {
    client: &'a mut Client,
    /// Where the message under construction starts in the output.
    message: usize,
    /// What the server has said of the outcome so far; it counts once the server is ready again.
    verdict: Option<Result<u64, Failure>>,
    state: State,
}

enum State {
    Running,
    /// The server has answered for good.
    Ended(Result<u64, Failure>),
    /// Its answer has been handed out.
    Told,
}

impl<'a> CopyIn<'a> {
    pub(super) fn new(client: &'a mut Client) -> CopyIn<'a> {
        let mut copy = CopyIn { client, message: 0, verdict: None, state: State::Running };
        copy.open_message();
        copy
    }

    /// Adds bytes: whole lines or parts of them. Waits only while the server falls behind.
    pub async fn send(&mut self, mut rows: &[u8]) -> Result<(), Failure> {
        while !rows.is_empty() {
            let output = &mut self.client.link.output;
            let room = MESSAGE_BYTES.saturating_sub(output.len() - self.message - HEADER);
            let (now, later) = rows.split_at(rows.len().min(room));
            output.extend_from_slice(now);
            rows = later;
            if self.client.link.output.len() - self.message >= HEADER + MESSAGE_BYTES {
                self.seal_message();
                self.push().await?;
                self.open_message();
            }
        }
        Ok(())
    }

    /// Ends the copy and returns how many rows the server took.
    pub async fn finish(mut self) -> Result<u64, Failure> {
        self.seal_message();
        if matches!(self.state, State::Running) {
            frontend::copy_done(&mut self.client.link.output);
        }
        self.outcome().await
    }

    /// Ends the copy without taking any of its rows. An open transaction has failed after this.
    pub async fn abort(mut self, why: &str) -> Result<(), Failure> {
        self.seal_message();
        if matches!(self.state, State::Running) {
            let clean = why.replace('\0', " ");
            frontend::copy_fail(&clean, &mut self.client.link.output).map_err(|error| protocol(&error))?;
        }
        match self.outcome().await {
            Ok(_) => Err(protocol("a copy that ended well although it was called off")),
            Err(failure) if self.client.is_broken() => Err(failure),
            Err(_) => Ok(()),
        }
    }

    async fn outcome(&mut self) -> Result<u64, Failure> {
        while matches!(self.state, State::Running) {
            match self.answer()? {
                true => {}
                false => self.client.link.progress().await?,
            }
        }
        // What the server no longer reads must still leave, or it would precede the next statement.
        self.client.link.flush().await?;
        self.told()
    }

    fn told(&mut self) -> Result<u64, Failure> {
        match std::mem::replace(&mut self.state, State::Told) {
            State::Ended(result) => result,
            State::Running | State::Told => Err(Failure::new(Class::Transient, "the copy has failed before")),
        }
    }

    fn open_message(&mut self) {
        let output = &mut self.client.link.output;
        self.message = output.len();
        output.put_u8(COPY_DATA);
        output.put_u32(0);
    }

    fn seal_message(&mut self) {
        let output = &mut self.client.link.output;
        if output.len() == self.message + HEADER {
            output.truncate(self.message);
        } else {
            let len = (output.len() - self.message - 1) as u32;
            output[self.message + 1..self.message + HEADER].copy_from_slice(&len.to_be_bytes());
        }
    }

    /// Sends until little is left, and fails as soon as the server has refused.
    async fn push(&mut self) -> Result<(), Failure> {
        while self.client.link.output.len() > MESSAGE_BYTES && matches!(self.state, State::Running) {
            self.client.link.progress().await?;
            while matches!(self.state, State::Running) && self.answer()? {}
        }
        if matches!(self.state, State::Running) { Ok(()) } else { self.outcome().await.map(drop) }
    }

    /// Takes one answer of the server, if there is one.
    fn answer(&mut self) -> Result<bool, Failure> {
        let Some(frame) = self.client.link.input.frame()? else {
            return Ok(false);
        };
        match frame.tag {
            READY => {
                self.client.ready(&frame.body);
                let early = || Err(protocol("the end of a copy that was not finished"));
                self.state = State::Ended(self.verdict.take().unwrap_or_else(early));
            }
            ERROR => {
                let failure = self.client.refusal(&frame.body)?;
                self.verdict = Some(Err(failure));
            }
            COMMAND_COMPLETE => {
                let rows = rows_affected(&frame.body);
                self.verdict.get_or_insert(Ok(rows));
            }
            COPY_IN | NOTICE | NOTIFICATION | PARAMETER_STATUS => {}
            _ => return Err(protocol("an answer that does not belong to a copy")),
        }
        Ok(true)
    }
}

/// Appends rows as CopyData messages.
pub(super) fn push_copy_data(output: &mut BytesMut, rows: &[u8]) {
    output.reserve(rows.len() + HEADER * (rows.len() / MESSAGE_BYTES + 1));
    for part in rows.chunks(MESSAGE_BYTES) {
        output.put_u8(COPY_DATA);
        output.put_u32(part.len() as u32 + 4);
        output.put_slice(part);
    }
}

/// A running `COPY ... TO STDOUT`. Dropping it before its end breaks the connection.
pub struct CopyOut<'a> {
    client: &'a mut Client,
    ended: bool,
}

impl<'a> CopyOut<'a> {
    pub(super) fn new(client: &'a mut Client) -> CopyOut<'a> {
        CopyOut { client, ended: false }
    }

    /// The next line, newline included, as a slice of the read buffer. `None` at the end, and after it.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while !self.ended {
            let frame = self.client.link.next().await?;
            match frame.tag {
                COPY_DATA => return Ok(Some(frame.body)),
                COPY_DONE => {
                    self.ended = true;
                    self.client.until_ready(|_| Ok(())).await?;
                }
                ERROR => {
                    self.ended = true;
                    let failure = self.client.refusal(&frame.body)?;
                    self.client.until_ready(|_| Ok(())).await?;
                    return Err(failure);
                }
                NOTICE | NOTIFICATION | PARAMETER_STATUS => {}
                _ => return Err(protocol("a message that does not belong to a copy")),
            }
        }
        Ok(None)
    }

    /// Calls the copy off and drops what is under way. The connection stays usable; an open transaction has failed,
    /// unless the copy had ended before the request arrived.
    pub async fn cancel(mut self) -> Result<(), Failure> {
        self.client.cancel_token().cancel().await?;
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(failure) if has_sqlstate(&failure, "57014") => return Ok(()),
                Err(failure) => return Err(failure),
            }
        }
    }
}
