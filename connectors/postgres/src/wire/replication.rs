//! The two directions of a replication stream, each usable on its own.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use understudy_contract::Failure;

use super::link::{Input, Link};
use super::message::{COPY_DATA, COPY_DONE, ERROR, NOTICE, NOTIFICATION, PARAMETER_STATUS};
use super::socket::Socket;
use crate::error::{ServerError, lost, protocol};

/// Parts a link whose server has started a two-way copy.
pub(super) fn split(link: Link) -> (CopyReader, CopyWriter) {
    let (reader, writer) = tokio::io::split(link.socket);
    (CopyReader { socket: reader, input: link.input }, CopyWriter { socket: writer, output: BytesMut::new() })
}

/// What comes from the server.
pub struct CopyReader {
    socket: ReadHalf<Socket>,
    input: Input,
}

impl CopyReader {
    /// The content of the next CopyData message. `None` when the server has ended the stream.
    ///
    /// Cancel-safe: bytes that have been read stay here when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same for those who poll.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            while let Some(frame) = self.input.frame()? {
                match frame.tag {
                    COPY_DATA => return Poll::Ready(Ok(Some(frame.body))),
                    COPY_DONE => return Poll::Ready(Ok(None)),
                    ERROR => return Poll::Ready(Err(ServerError::from_fields(&frame.body).into_failure())),
                    NOTICE | NOTIFICATION | PARAMETER_STATUS => {}
                    _ => return Poll::Ready(Err(protocol("a message that does not belong to a stream"))),
                }
            }
            match self.input.poll_fill(cx, &mut self.socket) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether a whole frame is here, so that the next call does not wait.
    pub fn has_frame(&self) -> bool {
        self.input.has_frame()
    }
}

/// What goes to the server.
pub struct CopyWriter {
    socket: WriteHalf<Socket>,
    output: BytesMut,
}

impl CopyWriter {
    /// Sends one CopyData message, after whatever a dropped call has left unsent.
    pub async fn send(&mut self, content: &[u8]) -> Result<(), Failure> {
        self.output.put_u8(COPY_DATA);
        self.output.put_u32(content.len() as u32 + 4);
        self.output.put_slice(content);
        self.flush().await
    }

    /// Ends the stream from our side and says goodbye.
    pub async fn finish(mut self) -> Result<(), Failure> {
        frontend::copy_done(&mut self.output);
        frontend::terminate(&mut self.output);
        self.flush().await?;
        self.socket.shutdown().await.map_err(lost)
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.socket.write_all_buf(&mut self.output).await.map_err(lost)?;
        self.socket.flush().await.map_err(lost)
    }
}
