//! Frames over a socket: an input buffer that frames are split off without copying, and an output buffer.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use understudy_contract::Failure;

use super::socket::Socket;
use crate::error::{lost, protocol};

/// What one read may bring at most. A frame kept alive pins one such step, never the whole history of the connection.
const READ_STEP: usize = 64 * 1024;
/// A read with less room than this is not worth a system call.
const ROOM_MIN: usize = 8 * 1024;
/// Servers send no longer messages.
const FRAME_MAX: usize = 1 << 30;

/// One message of the server.
pub(super) struct Frame {
    pub(super) tag: u8,
    pub(super) body: Bytes,
}

/// Bytes that have been read and not yet been taken as frames. Reading into it is cancel-safe.
#[derive(Default)]
pub(super) struct Input {
    buffer: BytesMut,
}

impl Input {
    /// The next whole frame, if it is here.
    pub(super) fn frame(&mut self) -> Result<Option<Frame>, Failure> {
        let Some(len) = self.frame_len()? else {
            return Ok(None);
        };
        if self.buffer.len() < len {
            return Ok(None);
        }
        let tag = self.buffer[0];
        let mut body = self.buffer.split_to(len).freeze();
        body.advance(5);
        Ok(Some(Frame { tag, body }))
    }

    /// Whether a whole frame is here.
    pub(super) fn has_frame(&self) -> bool {
        // A malformed header counts: taking the frame will report it.
        self.frame_len().map_or(true, |len| len.is_some_and(|len| self.buffer.len() >= len))
    }

    /// The length of the frame at the front, header included, once its header is here.
    fn frame_len(&self) -> Result<Option<usize>, Failure> {
        let Some(header) = self.buffer.first_chunk::<5>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if (4..FRAME_MAX).contains(&len) {
            Ok(Some(len + 1))
        } else {
            Err(protocol("a message of impossible length"))
        }
    }

    /// Reads what is there, at least one byte.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut (impl AsyncRead + Unpin),
    ) -> Poll<Result<(), Failure>> {
        let missing = match self.frame_len() {
            Ok(len) => len.unwrap_or(0).saturating_sub(self.buffer.len()),
            Err(failure) => return Poll::Ready(Err(failure)),
        };
        if self.buffer.capacity() - self.buffer.len() < ROOM_MIN {
            // A long frame is not trusted with its whole length before it has come: the buffer doubles as it fills.
            self.buffer.reserve(missing.min(self.buffer.len()).max(READ_STEP));
        }
        // The future holds no state between polls, so that a new one each time loses nothing.
        match pin!(socket.read_buf(&mut self.buffer)).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) => {
                Poll::Ready(Err(lost(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it"))))
            }
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(lost(error))),
        }
    }
}

/// A socket with both buffers. Whatever waits for the server also sends what is queued, and the other way round, so
/// that two full socket buffers never wait for each other.
pub(super) struct Link {
    pub(super) socket: Socket,
    pub(super) input: Input,
    /// Messages to be sent.
    pub(super) output: BytesMut,
    unflushed: bool,
}

impl Link {
    pub(super) fn new(socket: Socket) -> Link {
        Link { socket, input: Input::default(), output: BytesMut::new(), unflushed: false }
    }

    /// The next frame; what is queued is sent meanwhile.
    pub(super) async fn next(&mut self) -> Result<Frame, Failure> {
        loop {
            if let Some(frame) = self.input.frame()? {
                return Ok(frame);
            }
            self.progress().await?;
        }
    }

    /// Sends or receives something, whichever comes first.
    pub(super) async fn progress(&mut self) -> Result<(), Failure> {
        poll_fn(|cx| {
            let sent = match self.poll_send(cx) {
                Ok(sent) => sent,
                Err(error) => return Poll::Ready(self.last_words(cx, error)),
            };
            match self.input.poll_fill(cx, &mut self.socket) {
                Poll::Pending if sent => Poll::Ready(Ok(())),
                other => other,
            }
        })
        .await
    }

    /// Sends everything that is queued; what comes meanwhile is kept.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        while !self.output.is_empty() || self.unflushed {
            self.progress().await?;
        }
        Ok(())
    }

    /// Sends what the socket takes now. True if anything moved.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while !self.output.is_empty() {
            match pin!(self.socket.write_buf(&mut self.output)).poll(cx) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(_)) => (moved, self.unflushed) = (true, true),
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        if self.unflushed {
            match std::pin::Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => (moved, self.unflushed) = (true, false),
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// A server that hangs up says why before it does: that is worth more than a broken pipe. What was queued is lost.
    fn last_words(&mut self, cx: &mut Context<'_>, error: io::Error) -> Result<(), Failure> {
        self.output.clear();
        self.unflushed = false;
        if self.input.has_frame() || matches!(self.input.poll_fill(cx, &mut self.socket), Poll::Ready(Ok(())))
        {
            return Ok(());
        }
        Err(lost(error))
    }
}
