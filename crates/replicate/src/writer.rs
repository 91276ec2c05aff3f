//! The writing task: does the core's work on green in order, makes it durable beside that, and confirms that to blue.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use understudy_contract::{Applied, ChangeSink, ChunkDone, Confirm, Failure, PlacedChunk, PlacedKind};
use understudy_model::{Checkpoint, ChunkId};

use crate::core::Work;
use crate::pipeline::{Observer, Ticks};
use crate::tally::{Healed, RouteKeys, Tally};

/// What the writer tells the core.
#[derive(Debug)]
pub(crate) enum Report {
    Applied(Applied),
    Placed(ChunkDone),
}

/// Green, and what has happened on it.
pub(crate) struct Writer<K, F, O> {
    sink: K,
    durability: Durability<F, O>,
    reports: mpsc::Sender<Report>,
    keys: RouteKeys,
    placing: usize,
    /// How many rows are set aside, as last told.
    aside: u64,
    /// What the chunks among those read again by key.
    healing: HashMap<ChunkId, Healed>,
}

/// How far green is, how much of that survives a crash, and who hears of it.
struct Durability<F, O> {
    confirm: Arc<F>,
    observer: Arc<O>,
    applied: Checkpoint,
    durable: Checkpoint,
    persist: Option<Persist>,
}

type Persist = Pin<Box<dyn Future<Output = Result<Checkpoint, Failure>> + Send>>;

impl<K: ChangeSink, F: Confirm, O: Observer> Writer<K, F, O> {
    /// A writer on a green that is at `start`, durably.
    pub(crate) fn new(
        sink: K,
        (confirm, observer): (Arc<F>, Arc<O>),
        reports: mpsc::Sender<Report>,
        start: Checkpoint,
        keys: RouteKeys,
    ) -> Writer<K, F, O> {
        let aside = sink.aside();
        observer.aside(aside);
        let durability = Durability { confirm, observer, applied: start, durable: start, persist: None };
        Writer { sink, durability, reports, keys, placing: 0, aside, healing: HashMap::new() }
    }

    /// Works until the queue is closed, then finishes what is under way and makes it durable.
    pub(crate) async fn run(
        mut self,
        mut work: mpsc::Receiver<Work>,
        mut ticks: impl Ticks,
    ) -> Result<(), Failure> {
        loop {
            tokio::select! {
                biased;
                // 1: a finished chunk frees memory and lets the copy go on.
                done = self.sink.placed() => self.on_placed(done?).await,
                // 2: blue keeps its log until we confirm.
                persisted = self.durability.persisted() => persisted?,
                // 3: what was applied since is made durable next.
                () = ticks.tick() => self.durability.persist(&mut self.sink),
                // 4: the next piece of work.
                next = work.recv() => match next {
                    Some(next) => self.on_work(next).await?,
                    None => break,
                },
            }
        }
        while self.placing > 0 {
            let done = self.durability.beside(self.sink.placed()).await?;
            self.on_placed(done).await;
        }
        self.durability.catch_up(&mut self.sink).await
    }

    async fn on_work(&mut self, work: Work) -> Result<(), Failure> {
        match work {
            Work::Batch(batch) => {
                let tally = Tally::of(&batch, &self.keys);
                self.durability.observer.applying();
                let applied = self.durability.beside(self.sink.apply(batch)).await?;
                // Before green is said to be there: a gate that looks in between must not find it with nothing aside.
                self.tell_aside();
                self.durability.observer.applied(&tally, &applied);
                self.durability.applied = tally.checkpoint.unwrap_or(self.durability.applied);
                if !applied.heals.is_empty() {
                    // The core is gone only when the run is ending; the heals are recorded on green.
                    let _ = self.reports.send(Report::Applied(applied)).await;
                }
            }
            Work::Place(chunk) => {
                self.healing.extend(healed(&chunk).map(|healed| (chunk.id, healed)));
                self.durability.beside(self.sink.place(chunk)).await?;
                self.placing += 1;
            }
            Work::Record(entry) => self.durability.beside(self.sink.record(entry)).await?,
        }
        Ok(())
    }

    fn tell_aside(&mut self) {
        let aside = self.sink.aside();
        if std::mem::replace(&mut self.aside, aside) != aside {
            self.durability.observer.aside(aside);
        }
    }

    async fn on_placed(&mut self, done: ChunkDone) {
        self.placing -= 1;
        self.tell_aside();
        self.durability.observer.chunk_done(&done);
        if let Some(healed) = self.healing.remove(&done.id) {
            self.durability.observer.healed(&healed);
        }
        // As above: a core that is gone needs no report, the chunk is recorded on green.
        let _ = self.reports.send(Report::Placed(done)).await;
    }
}

/// What a chunk has read again by key.
fn healed(chunk: &PlacedChunk) -> Option<Healed> {
    match &chunk.kind {
        PlacedKind::Heal { keys } => Some(Healed { route: chunk.route, keys: keys.clone(), at: chunk.at }),
        PlacedKind::Copy { .. } => None,
    }
}

impl<F: Confirm, O: Observer> Durability<F, O> {
    /// Starts to make durable what has been applied, unless it is or an earlier part of it is on its way.
    fn persist<K: ChangeSink>(&mut self, sink: &mut K) {
        if self.persist.is_none() && self.applied > self.durable {
            self.persist = Some(Box::pin(sink.persist()));
        }
    }

    /// Confirms what has become durable. Cancel-safe. Waits for ever while nothing is on its way.
    async fn persisted(&mut self) -> Result<(), Failure> {
        let Some(persist) = &mut self.persist else {
            return pending().await;
        };
        let persisted = persist.await;
        // Nothing may be waited for from here on, or a dropped call would lose what has become durable.
        self.persist = None;
        self.durable = persisted?;
        self.confirm.confirm(self.durable.lsn());
        self.observer.durable(self.durable);
        Ok(())
    }

    /// Does something on green, and confirms meanwhile what becomes durable.
    async fn beside<T>(&mut self, doing: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::pin!(doing);
        loop {
            tokio::select! {
                biased;
                // 1: blue keeps its log until we confirm.
                persisted = self.persisted() => persisted?,
                // 2: what is done.
                done = &mut doing => return done,
            }
        }
    }

    /// Makes everything durable that has been applied.
    async fn catch_up<K: ChangeSink>(&mut self, sink: &mut K) -> Result<(), Failure> {
        loop {
            self.persist(sink);
            if self.persist.is_none() {
                return Ok(());
            }
            self.persisted().await?;
        }
    }
}
