//! Blue's committed transactions as events, over a connection that only reads.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};
use understudy_contract::{ChangeStream, Class, Failure, StreamEvent};
use understudy_model::Checkpoint;
use understudy_pgoutput::{DecodeError, Frame, Message, decode, decode_frame};

use super::feedback::Shared;
pub use super::feedback::{FeedbackTask, PostgresConfirm};
use super::pacing::Pacing;
use super::slot::{self, SlotState, Waiting};
use crate::error::{has_sqlstate, protocol};
use crate::ident::{quote_ident, quote_literal};
use crate::wire::{Client, ConnectOptions, CopyReader, CopyWriter};

/// What to stream, and from where.
#[derive(Debug, Clone)]
pub struct StartStream {
    /// The slot to read.
    pub slot: String,
    /// The publication to follow.
    pub publication: String,
    /// Everything before it is durable on green.
    pub from: Checkpoint,
    /// How often blue hears of us at least; shortened where its own timeout asks for more.
    pub status_interval: Duration,
    /// How long blue may stay silent although it was asked for a sign of life.
    pub stall_timeout: Duration,
    /// Memory in which blue may gather open transactions before it writes them to its disk; the server's own limit where
    /// that is higher.
    pub decoding_memory_bytes: u64,
}

/// A running stream.
///
/// When it is dropped, its feedback task sends the last confirmation and ends.
pub struct PostgresStream {
    reader: CopyReader,
    shared: Arc<Shared>,
    in_transaction: bool,
    quiet: Quiet,
    pacing: Pacing,
}

impl PostgresStream {
    /// Starts a stream at a checkpoint, after a comparison of the slot with it.
    ///
    /// The feedback task must be spawned: without it blue ends the stream after a while.
    pub async fn start(
        options: &ConnectOptions,
        start: StartStream,
    ) -> Result<(PostgresStream, PostgresConfirm, FeedbackTask), Failure> {
        let connected = Box::pin(connect(options, &start)).await;
        let (reader, writer, interval) = connected
            .map_err(|failure| failure.while_doing(format!("start streaming from slot {}", start.slot)))?;
        let shared = Arc::new(Shared::new(start.from.lsn()));
        let stream = PostgresStream {
            reader,
            shared: shared.clone(),
            in_transaction: false,
            quiet: Quiet { timeout: start.stall_timeout, stage: Stage::Busy, alarm: None },
            pacing: Pacing::new(),
        };
        let feedback = FeedbackTask { shared: shared.clone(), writer, interval };
        Ok((stream, PostgresConfirm { shared }, feedback))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<StreamEvent, Failure>> {
        loop {
            if !self.reader.has_frame() && self.pacing.poll_hold(cx).is_pending() {
                return Poll::Pending;
            }
            let Poll::Ready(read) = self.reader.poll_next(cx) else {
                if self.quiet.stage == Stage::Busy {
                    self.pacing.drained();
                    if self.pacing.poll_hold(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                return self.quiet.poll_wait(cx, &self.shared).map(Err);
            };
            let Some(content) = read.map_err(|failure| failure.while_doing("read the stream"))? else {
                return Poll::Ready(Err(Failure::new(Class::Transient, "blue ended the stream")));
            };
            self.quiet.stage = Stage::Busy;
            self.pacing.took();
            if let Some(event) = self.event(content)? {
                return Poll::Ready(Ok(event));
            }
        }
    }

    /// The event in a frame, if it holds one.
    fn event(&mut self, content: Bytes) -> Result<Option<StreamEvent>, Failure> {
        let message = match decode_frame(content).map_err(malformed)? {
            Frame::Data(payload) => decode(payload).map_err(malformed)?,
            Frame::Keepalive { end, reply } => {
                if reply {
                    self.shared.answer();
                }
                return Ok(Some(StreamEvent::Keepalive { end }));
            }
        };
        Ok(Some(match message {
            Message::Change(change) => {
                if !self.in_transaction {
                    return Err(protocol("a change outside a transaction"));
                }
                StreamEvent::Change(change)
            }
            Message::Begin { commit, commit_time_us, xid } => {
                if std::mem::replace(&mut self.in_transaction, true) {
                    return Err(protocol("a transaction inside another one"));
                }
                StreamEvent::Begin { commit, commit_time_us, xid }
            }
            Message::Commit { commit, end, .. } => {
                if !std::mem::replace(&mut self.in_transaction, false) {
                    return Err(protocol("a commit outside a transaction"));
                }
                StreamEvent::Commit { commit, end }
            }
            Message::Relation(relation) => StreamEvent::Relation(Arc::new(relation)),
            Message::Logical { prefix, content, transactional } => {
                StreamEvent::Message { prefix, content, transactional }
            }
            Message::Origin | Message::Type => return Ok(None),
        }))
    }
}

impl ChangeStream for PostgresStream {
    async fn next(&mut self) -> Result<StreamEvent, Failure> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    fn ready(&self) -> bool {
        self.reader.has_frame()
    }
}

impl Drop for PostgresStream {
    fn drop(&mut self) {
        self.shared.close();
    }
}

fn malformed(error: DecodeError) -> Failure {
    protocol(&error).caused_by(error)
}

/// Notices that nothing comes any more, although someone waits for it.
///
/// Time counts only from when a read has found nothing: a stream that nobody reads is not silent.
struct Quiet {
    timeout: Duration,
    stage: Stage,
    alarm: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Busy,
    /// Nothing to read since a while ago.
    Waiting,
    /// Still nothing, so a sign of life was asked for.
    Asked,
}

impl Quiet {
    /// Waits until the silence is a failure.
    fn poll_wait(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<Failure> {
        if self.stage == Stage::Busy {
            self.stage = Stage::Waiting;
            self.wake_after(self.timeout / 3);
        }
        loop {
            let Some(alarm) = &mut self.alarm else {
                return Poll::Pending;
            };
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.stage == Stage::Asked {
                let text =
                    format!("blue sent nothing for {} s although it was asked to", self.timeout.as_secs());
                return Poll::Ready(Failure::new(Class::Transient, text));
            }
            shared.ask();
            self.stage = Stage::Asked;
            self.wake_after(self.timeout - self.timeout / 3);
        }
    }

    fn wake_after(&mut self, pause: Duration) {
        let at = Instant::now() + pause;
        match &mut self.alarm {
            Some(alarm) => alarm.as_mut().reset(at),
            None => self.alarm = Some(Box::pin(sleep_until(at))),
        }
    }
}

async fn connect(
    options: &ConnectOptions,
    start: &StartStream,
) -> Result<(CopyReader, CopyWriter, Duration), Failure> {
    let mut client = Client::connect_replication(options).await?;
    let interval = status_interval(&mut client, start.status_interval).await?;
    allow_memory(&mut client, start.decoding_memory_bytes).await?;
    let publication = quote_literal(&quote_ident(&start.publication));
    let sql = format!(
        "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {publication}, messages 'true')",
        quote_ident(&start.slot),
        start.from.lsn()
    );
    let mut waiting = Waiting::new();
    loop {
        // Compared anew each time: whoever held the slot may have moved it.
        let state = slot::inspect(&mut client, &start.slot).await?;
        check(state, options, start)?;
        match client.try_copy_both(&sql).await {
            Ok((reader, writer)) => return Ok((reader, writer, interval)),
            Err((back, failure)) if has_sqlstate(&failure, "55006") => client = back,
            Err((_, failure)) => return Err(failure),
        }
        waiting.release(&mut client, &start.slot, slot::prefix_of(&options.application_name)).await?;
    }
}

/// Blue gives up on a client that it has not heard of for its timeout: six updates in that time leave room.
async fn status_interval(client: &mut Client, wanted: Duration) -> Result<Duration, Failure> {
    let rows =
        client.query("SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'").await?;
    let timeout = rows.first().and_then(|row| row.text(0)?.parse().ok()).filter(|timeout| *timeout > 0);
    Ok(timeout.map_or(wanted, |timeout: u64| {
        wanted.min(Duration::from_millis(timeout / 6).max(Duration::from_millis(10)))
    }))
}

/// Writing a large transaction to disk and reading it back costs blue about as much again as decoding it.
async fn allow_memory(client: &mut Client, bytes: u64) -> Result<(), Failure> {
    let most_kib = u64::from(i32::MAX.unsigned_abs());
    let sql = format!(
        "SELECT pg_catalog.set_config(name, {}::text, false) FROM pg_catalog.pg_settings \
         WHERE name = 'logical_decoding_work_mem' AND setting::bigint < {0}",
        (bytes / 1024).min(most_kib)
    );
    client.query(&sql).await.map(drop).map_err(|failure| failure.while_doing("set logical_decoding_work_mem"))
}

/// Whether the slot can continue exactly at the checkpoint. Blue itself would move the start forward in silence.
fn check(state: Option<SlotState>, options: &ConnectOptions, start: &StartStream) -> Result<(), Failure> {
    let slot = &start.slot;
    let gap = |cause: String| {
        Err(Failure::new(Class::Diverged, cause).remedy(
            "changes may be missing from here on: run `understudy abort`, empty green's tables, and run again",
        ))
    };
    let Some(state) = state else {
        return gap(format!("slot {slot} does not exist on blue"));
    };
    if state.plugin.as_deref() != Some("pgoutput") || state.database.as_deref() != Some(&options.database) {
        let (plugin, database) = (state.plugin.as_deref(), state.database.as_deref());
        let cause = format!(
            "slot {slot} is not ours: its plugin is {} and its database {}",
            plugin.unwrap_or("none"),
            database.unwrap_or("none")
        );
        return Err(Failure::new(Class::Configuration, cause)
            .remedy("give the migration another name, or drop that slot if nobody needs it"));
    }
    if state.is_lost() {
        let why = state.invalidation_reason.as_deref().unwrap_or("blue removed log that it needed");
        return gap(format!("slot {slot} is lost: {why}"));
    }
    match state.confirmed {
        Some(confirmed) if confirmed > start.from.lsn() => gap(format!(
            "slot {slot} was moved forward to {confirmed}, but green has only what came before {}",
            start.from
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Host;
    use understudy_model::Lsn;

    fn state() -> SlotState {
        SlotState {
            plugin: Some("pgoutput".into()),
            database: Some("shop".into()),
            active_pid: None,
            restart: Some(Lsn::new(10)),
            confirmed: Some(Lsn::new(50)),
            wal_status: Some("reserved".into()),
            safe_wal_bytes: None,
            invalidation_reason: None,
            failover: false,
        }
    }

    #[test]
    fn a_slot_that_cannot_continue_is_refused_with_a_remedy() {
        // F9, F10, F16: blue would start wherever it can and say nothing.
        let options = ConnectOptions::new(Host::Tcp("h".into()), 5432, "u", "shop");
        let start = StartStream {
            slot: "s".into(),
            publication: "p".into(),
            from: Checkpoint::at_commit_end(Lsn::new(50)),
            status_interval: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            decoding_memory_bytes: 1 << 20,
        };
        assert!(check(Some(state()), &options, &start).is_ok());
        for (state, class, said) in [
            (None, Class::Diverged, "does not exist"),
            (Some(SlotState { plugin: None, ..state() }), Class::Configuration, "is not ours"),
            (Some(SlotState { database: Some("x".into()), ..state() }), Class::Configuration, "is not ours"),
            (Some(SlotState { wal_status: Some("lost".into()), ..state() }), Class::Diverged, "is lost"),
            (
                Some(SlotState { confirmed: Some(Lsn::new(51)), ..state() }),
                Class::Diverged,
                "was moved forward to 0/33",
            ),
        ] {
            let failure = check(state, &options, &start).unwrap_err();
            assert_eq!(failure.class(), class);
            assert!(failure.to_string().contains(said) && failure.remedy_text().is_some(), "{failure}");
        }
    }
}
