//! The running pipeline: one loop feeds the core from the stream, from readers of blue and from green's reports.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use understudy_contract::{
    Applied, Blocker, BlueCatalog, ChangeSink, ChangeStream, ChunkDone, ChunkReader, Class, Confirm, Failure,
    StreamEvent,
};
use understudy_model::{Checkpoint, HealKey, Lsn, Nonce, RouteId, TableName};

use crate::core::{Core, Progress, Work};
use crate::readers::{CatalogAsk, CatalogSays, ReaderJob, ReaderSays, read_catalog, read_chunks};
use crate::tally::{Healed, Tally};
use crate::writer::{Report, Writer};

/// Events taken from the stream before other branches get their turn.
pub(crate) const EVENTS_PER_TURN: usize = 1_024;

/// Changes from which on a batch is worth sealing although more are at hand.
pub(crate) const BATCH_WORTHWHILE_CHANGES: usize = 1_000;

/// Ticks between looks at the catalog: a second.
pub(crate) const CATALOG_TICKS: u32 = 20;

/// Pieces of sealed work that may wait for the writer while the stream is read on.
pub(crate) const SEALED_MAX: usize = 2;

/// A steady beat of the caller's clock, every 50 ms.
pub trait Ticks: Send {
    /// The next beat. Cancel-safe.
    fn tick(&mut self) -> impl Future<Output = ()> + Send;
}

/// Hears what happens, to time, count and show it. Calls must return at once.
pub trait Observer: Send + Sync {
    /// Blue has sent everything before `lsn`.
    fn received(&self, lsn: Lsn);
    /// Green is being given a batch.
    fn applying(&self);
    /// Green has taken a batch.
    fn applied(&self, tally: &Tally, applied: &Applied);
    /// Green keeps everything before `checkpoint` through a crash, and blue has been told.
    fn durable(&self, checkpoint: Checkpoint);
    /// A chunk has been committed on green.
    fn chunk_done(&self, done: &ChunkDone);
    /// So many rows are set aside on green. Told before anything else, and whenever it has changed.
    fn aside(&self, _rows: u64) {}
    /// The chunk that has just been said to be done held rows that were read again by key.
    fn healed(&self, _healed: &Healed) {}
    /// Whether batches begun from now on shall list the rows that they change. Asked once for each batch.
    fn wants_changed(&self) -> bool {
        false
    }
    /// A heartbeat is about to be committed on blue.
    fn heartbeat_sent(&self, nonce: Nonce);
    /// A heartbeat has come back; green shows it from `checkpoint` on.
    fn heartbeat_seen(&self, nonce: Nonce, checkpoint: Checkpoint);
    /// The same of a heartbeat that came through a log, from a capture that may be another process: it was sent at
    /// `sent_us`, microseconds since 1970-01-01 UTC.
    fn beat_seen(&self, nonce: Nonce, _sent_us: i64, checkpoint: Checkpoint) {
        self.heartbeat_seen(nonce, checkpoint);
    }
    /// The loop that reads a log is at work, also while green is blocked: many times a second.
    fn alive(&self) {}
    /// How far everything has come.
    fn progress(&self, progress: &Progress);
    /// Transactions on blue that the copy waits for.
    fn waiting_for(&self, blockers: &[Blocker]);
    /// Tables of blue that green needs a copy of, while the log brings nothing of one: whoever fills it may not have heard that
    /// one was asked for. None: that is over.
    fn awaits_copy(&self, _tables: &[TableName]) {}
}

/// What is to be read again from blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reread {
    /// A row, since green has something else under its key. See [`Core::reread`].
    Row {
        /// Its route. One that is not copied yet is passed over.
        route: RouteId,
        /// Its keys.
        key: HealKey,
    },
    /// Every row of a route. See [`Core::copy_again`].
    Table(RouteId),
}

/// How a run came to its end without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// What had been taken is durable on green.
    InOrder,
    /// Green did not take it in time. What it lacks will be streamed again.
    GivenUp,
}

/// Paces, in ticks and bytes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Ticks between heartbeats.
    pub heartbeat_ticks: u32,
    /// Bytes of chunks to be read in one tick, averaged; `None` for no limit.
    pub read_bytes_per_tick: Option<u64>,
    /// Ticks for which the end of a run waits for green.
    pub grace_ticks: u32,
}

/// Everything a run is made of.
pub struct Pipeline<S, R, C, K, F, O> {
    /// The deciding part.
    pub core: Core,
    /// Blue's changes.
    pub stream: S,
    /// Readers of chunks, each on its own connection.
    pub readers: Vec<R>,
    /// Blue's catalog.
    pub catalog: C,
    /// Green, already claimed.
    pub sink: K,
    /// Tells blue what it may forget.
    pub confirm: Arc<F>,
    /// Hears what happens.
    pub observer: Arc<O>,
    /// Rows that somebody asks to have read again. It may be closed.
    pub rereads: mpsc::Receiver<Reread>,
    /// Paces.
    pub limits: Limits,
}

impl<S, R, C, K, F, O> Pipeline<S, R, C, K, F, O>
where
    S: ChangeStream,
    R: ChunkReader + 'static,
    C: BlueCatalog + 'static,
    K: ChangeSink + 'static,
    F: Confirm + 'static,
    O: Observer + 'static,
{
    /// Runs until `shutdown` resolves or something fails. `ticks` gives each task its own beat.
    ///
    /// On shutdown, in order: no more changes are taken; whole transactions already taken are applied; chunks being
    /// written are finished; all of it is made durable and confirmed; readers are dropped. A green that takes nothing is
    /// left to itself after a grace.
    pub async fn run<T: Ticks + 'static>(
        self,
        shutdown: impl Future<Output = ()> + Send,
        ticks: impl Fn() -> T,
    ) -> Result<End, Failure> {
        let start = self.core.last_checkpoint();
        let (work, work_queue) = mpsc::channel(1);
        let (report_queue, reports) = mpsc::channel(64);
        let (says_queue, chunk_says) = mpsc::channel(self.readers.len() + 1);
        let (ask_queue, asks) = mpsc::channel(8);
        let (catalog_queue, catalog_says) = mpsc::channel(8);
        let mut helpers = JoinSet::new();
        let mut reader_jobs = Vec::new();
        for (index, reader) in self.readers.into_iter().enumerate() {
            let (jobs, queue) = mpsc::channel(1);
            reader_jobs.push(jobs);
            helpers.spawn(read_chunks(index, reader, queue, says_queue.clone()));
        }
        helpers.spawn(read_catalog(self.catalog, asks, catalog_queue));
        let mut writer = JoinSet::new();
        let (confirm, observer) = (self.confirm, self.observer.clone());
        let writing =
            Writer::new(self.sink, (confirm, observer), report_queue, start, self.core.route_keys());
        writer.spawn(writing.run(work_queue, ticks()));
        let grace_ticks = self.limits.grace_ticks;
        let mut turn = Turn {
            idle_readers: (0..reader_jobs.len()).collect(),
            turns_told: self.core.copy_turns(),
            core: self.core,
            observer: self.observer,
            limits: self.limits,
            reader_jobs,
            asks: ask_queue,
            held: None,
            to_ask: VecDeque::new(),
            asked_units: false,
            asked_barrier: false,
            read_budget_bytes: 0,
            tick: 0,
        };
        let rereads = self.rereads;
        let mut inputs = Inputs { stream: self.stream, reports, chunk_says, catalog_says, rereads };
        let ended = turn.follow(&mut inputs, &work, &mut helpers, &mut writer, shutdown, ticks()).await;
        drop(helpers);
        // What is whole is kept, however the run ended; only a writer that has failed itself takes no more.
        turn.core.seal_last();
        let mut core = turn.core;
        let last = finish(|| core.next_work(), work, inputs.reports, &mut writer);
        let drained = tokio::select! {
            biased;
            drained = last => drained.map(|()| End::InOrder),
            () = after(grace_ticks, ticks()) => Ok(End::GivenUp),
        };
        ended.and(drained)
    }
}

/// Hands the writer what is left and waits until it is durable.
pub(crate) async fn finish(
    mut next_work: impl FnMut() -> Option<Work>,
    work: mpsc::Sender<Work>,
    mut reports: mpsc::Receiver<Report>,
    writer: &mut JoinSet<Result<(), Failure>>,
) -> Result<(), Failure> {
    loop {
        // Work is taken only once there is a place for it: whatever else ends this wait would drop it, and what comes after it
        // would be done without it.
        tokio::select! {
            permit = work.reserve() => match permit {
                Ok(permit) => match next_work() {
                    Some(next) => permit.send(next),
                    None => break,
                },
                Err(_) => break,
            },
            Some(_) = reports.recv() => {}
        }
    }
    drop(work);
    loop {
        tokio::select! {
            ended = writer.join_next() => return ended.map_or(Ok(()), joined),
            Some(_) = reports.recv() => {}
        }
    }
}

/// Resolves after so many beats.
pub(crate) async fn after(count: u32, mut ticks: impl Ticks) {
    for _ in 0..count.max(1) {
        ticks.tick().await;
    }
}

pub(crate) fn joined(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    ended.unwrap_or_else(|crash| {
        Err(Failure::new(Class::Internal, "a task ended unexpectedly").caused_by(crash))
    })
}

/// Where events come from.
struct Inputs<S> {
    stream: S,
    reports: mpsc::Receiver<Report>,
    chunk_says: mpsc::Receiver<ReaderSays>,
    catalog_says: mpsc::Receiver<CatalogSays>,
    rereads: mpsc::Receiver<Reread>,
}

/// The core and what surrounds it while it follows the stream.
struct Turn<O> {
    core: Core,
    observer: Arc<O>,
    limits: Limits,
    reader_jobs: Vec<mpsc::Sender<ReaderJob>>,
    idle_readers: Vec<usize>,
    asks: mpsc::Sender<CatalogAsk>,
    /// An event that waits for the catalog.
    held: Option<StreamEvent>,
    to_ask: VecDeque<CatalogAsk>,
    asked_units: bool,
    asked_barrier: bool,
    /// Bytes that may still be read; below zero after a chunk that was larger than what was left.
    read_budget_bytes: i64,
    tick: u32,
    /// The copies that were begun or completed when that was last told.
    turns_told: u64,
}

impl<O: Observer> Turn<O> {
    #[expect(clippy::too_many_arguments, reason = "the loop's inputs stay visible; it has one caller")]
    async fn follow<S: ChangeStream>(
        &mut self,
        inputs: &mut Inputs<S>,
        work: &mpsc::Sender<Work>,
        helpers: &mut JoinSet<Result<(), Failure>>,
        writer: &mut JoinSet<Result<(), Failure>>,
        shutdown: impl Future<Output = ()> + Send,
        mut ticks: impl Ticks,
    ) -> Result<(), Failure> {
        tokio::pin!(shutdown);
        self.core.name_rows(self.observer.wants_changed());
        loop {
            self.tell_turns();
            self.start_reads().await;
            self.ask_catalog();
            if work.capacity() > 0
                && !self.core.has_work()
                && !(inputs.stream.ready() && self.core.gathered() < BATCH_WORTHWHILE_CHANGES)
            {
                self.core.seal();
            }
            let reading = self.held.is_none() && self.core.work_waiting() < SEALED_MAX;
            tokio::select! {
                biased;
                // 1: the end.
                () = &mut shutdown => return Ok(()),
                Some(ended) = writer.join_next() => return joined(ended).and(Err(Failure::new(Class::Internal, "the writer ended early"))),
                Some(ended) = helpers.join_next() => joined(ended)?,
                // 2: green is waiting for work.
                Ok(permit) = work.reserve(), if self.core.has_work() => {
                    if let Some(next) = self.core.next_work() {
                        if matches!(next, Work::Batch(_)) {
                            self.core.name_rows(self.observer.wants_changed());
                        }
                        permit.send(next);
                    }
                }
                // 3: what others have done.
                Some(report) = inputs.reports.recv() => self.on_report(report),
                Some(says) = inputs.chunk_says.recv() => self.on_reader(says).await,
                Some(says) = inputs.catalog_says.recv() => self.on_catalog(says)?,
                () = ticks.tick() => self.on_tick(),
                Some(reread) = inputs.rereads.recv(), if self.core.takes_rereads() => {
                    match reread {
                        Reread::Row { route, key } => self.core.reread(route, key),
                        Reread::Table(route) => self.core.copy_again(route),
                    }
                }
                // 4: the stream.
                event = inputs.stream.next(), if reading => self.on_events(event?, &mut inputs.stream).await?,
            }
        }
    }

    /// A copy that begins is told at once: until it is complete, rows that green lacks are no differences.
    fn tell_turns(&mut self) {
        let turns = self.core.copy_turns();
        if std::mem::replace(&mut self.turns_told, turns) != turns {
            self.observer.progress(&self.core.progress());
        }
    }

    async fn on_events<S: ChangeStream>(
        &mut self,
        first: StreamEvent,
        stream: &mut S,
    ) -> Result<(), Failure> {
        let mut event = first;
        let mut taken = 0;
        loop {
            if self.core.needs_catalog(&event) {
                self.held = Some(event);
                self.want_units();
                return Ok(());
            }
            self.take(event)?;
            taken += 1;
            // What is fetched from here on must be taken: nothing else may end the turn after this line.
            if taken == EVENTS_PER_TURN || !stream.ready() || self.core.work_waiting() >= SEALED_MAX {
                return Ok(());
            }
            event = stream.next().await?;
        }
    }

    fn take(&mut self, event: StreamEvent) -> Result<(), Failure> {
        match &event {
            StreamEvent::Commit { end, .. } | StreamEvent::Keepalive { end } => self.observer.received(*end),
            StreamEvent::Begin { .. }
            | StreamEvent::Relation(_)
            | StreamEvent::Change(_)
            | StreamEvent::Message { .. } => {}
        }
        let is_commit = matches!(event, StreamEvent::Commit { .. });
        self.core.on_event(event)?;
        if is_commit {
            for (nonce, checkpoint) in self.core.heartbeats_seen() {
                self.observer.heartbeat_seen(nonce, checkpoint);
            }
        }
        Ok(())
    }

    async fn start_reads(&mut self) {
        while !self.idle_readers.is_empty() && self.may_read() {
            let Some(job) = self.core.next_read() else { return };
            if let Some(reader) = self.idle_readers.pop() {
                // A reader that is gone has failed, and its failure ends the loop.
                let _ = self.reader_jobs[reader].send(ReaderJob::Read(job)).await;
            }
        }
    }

    fn may_read(&self) -> bool {
        self.limits.read_bytes_per_tick.is_none() || self.read_budget_bytes > 0
    }

    fn ask_catalog(&mut self) {
        if self.core.wants_units() {
            self.want_units();
        }
        if self.core.wants_barrier() && !self.asked_barrier {
            self.asked_barrier = true;
            self.core.asking_barrier();
            self.to_ask.push_back(CatalogAsk::Barrier);
        }
        self.to_ask.extend(self.core.markers_to_emit().into_iter().map(CatalogAsk::Mark));
        while let Some(ask) = self.to_ask.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(ask)) = self.asks.try_send(ask) {
                self.to_ask.push_front(ask);
                return;
            }
        }
    }

    fn want_units(&mut self) {
        if !self.asked_units {
            self.asked_units = true;
            self.core.asking_units();
            self.to_ask.push_back(CatalogAsk::Units);
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Applied(applied) => self.core.on_applied(applied),
            Report::Placed(done) => self.core.on_chunk_done(&done),
        }
    }

    async fn on_reader(&mut self, says: ReaderSays) {
        match says {
            ReaderSays::Read { reader, id, nonce, outcome } => {
                if let understudy_contract::ChunkOutcome::Read(read) = &outcome {
                    let bytes = read.rows.iter().map(|row| row.bytes_len() as i64).sum::<i64>();
                    self.read_budget_bytes = self.read_budget_bytes.saturating_sub(bytes);
                }
                if self.core.on_chunk(id, outcome) {
                    // As above: a reader that is gone ends the loop by its failure.
                    let _ = self.reader_jobs[reader].send(ReaderJob::Mark(nonce)).await;
                } else {
                    self.idle_readers.push(reader);
                }
            }
            ReaderSays::Marked { reader } => self.idle_readers.push(reader),
        }
    }

    fn on_catalog(&mut self, says: CatalogSays) -> Result<(), Failure> {
        match says {
            CatalogSays::Units(units) => {
                self.asked_units = false;
                self.core.on_units(units)?;
                // A look that began before the event was held does not answer it; the next one is asked for at once.
                match self.held.take_if(|_| !self.core.awaits_look()) {
                    Some(event) => self.take(event),
                    None => Ok(()),
                }
            }
            CatalogSays::Snapshot(snapshot) => {
                self.core.on_snapshot(&snapshot);
                Ok(())
            }
            CatalogSays::Barrier(xid) => {
                self.asked_barrier = false;
                self.core.on_barrier(xid);
                Ok(())
            }
            CatalogSays::Blockers(blockers) => {
                self.observer.waiting_for(&blockers);
                Ok(())
            }
            CatalogSays::Marked => Ok(()),
        }
    }

    fn on_tick(&mut self) {
        self.tick = self.tick.wrapping_add(1);
        self.core.on_tick();
        if let Some(bytes) = self.limits.read_bytes_per_tick {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            let most = bytes.saturating_mul(i64::from(CATALOG_TICKS));
            self.read_budget_bytes = self.read_budget_bytes.saturating_add(bytes).min(most);
        }
        let waiting = self.core.wants_snapshot();
        if self.to_ask.is_empty() && (waiting || self.tick.is_multiple_of(4)) {
            self.to_ask.push_back(CatalogAsk::Snapshot);
        }
        if self.tick.is_multiple_of(CATALOG_TICKS) {
            let progress = self.core.progress();
            self.observer.progress(&progress);
            if progress.waiting_for.is_empty() {
                self.observer.waiting_for(&[]);
            } else {
                self.to_ask.push_back(CatalogAsk::Blockers(progress.waiting_for));
            }
            self.want_units();
        }
        if self.tick.is_multiple_of(self.limits.heartbeat_ticks.max(1)) {
            let nonce = self.core.heartbeat();
            self.observer.heartbeat_sent(nonce);
            self.to_ask.push_back(CatalogAsk::Mark(nonce));
        }
    }
}

#[cfg(test)]
mod tests {
    use understudy_contract::{Applied, LedgerEntry};
    use understudy_model::RouteId;

    use super::*;

    /// Nothing is lost at the end of a run, however much is reported while the last work is handed on: a piece that went
    /// missing would be passed over by the checkpoint of the next one.
    #[tokio::test]
    async fn reports_displace_no_work() {
        const PIECES: u16 = 100;
        let (work, mut queue) = mpsc::channel(1);
        let (reporting, reports) = mpsc::channel(64);
        let mut writer = JoinSet::new();
        writer.spawn(async move {
            for expected in 0..PIECES {
                while reporting.try_send(Report::Applied(Applied::default())).is_ok() {}
                let done = match queue.recv().await {
                    Some(Work::Record(LedgerEntry::Complete(route))) => route,
                    other => return Err(Failure::new(Class::Internal, format!("{other:?}"))),
                };
                if done != RouteId(expected) {
                    return Err(Failure::new(Class::Internal, format!("{done:?} instead of {expected}")));
                }
            }
            Ok(())
        });
        let mut left = (0..PIECES).map(|piece| Work::Record(LedgerEntry::Complete(RouteId(piece))));
        assert_eq!(
            finish(|| left.next(), work, reports, &mut writer).await.map_err(|f| f.to_string()),
            Ok(())
        );
    }
}
