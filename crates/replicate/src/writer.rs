//! The writing task: does the core's work on green in order, makes it durable, and confirms that to blue.

use std::sync::Arc;

use tokio::sync::mpsc;
use understudy_contract::{Applied, ChangeSink, ChunkDone, Confirm, Failure};
use understudy_model::Checkpoint;

use crate::core::Work;
use crate::pipeline::{Observer, Tally, Ticks};

/// What the writer tells the core.
#[derive(Debug)]
pub(crate) enum Report {
    Applied(Applied),
    Placed(ChunkDone),
}

/// Green, and what has happened on it.
pub(crate) struct Writer<K, F, O> {
    pub(crate) sink: K,
    pub(crate) confirm: Arc<F>,
    pub(crate) observer: Arc<O>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) applied: Checkpoint,
    pub(crate) durable: Checkpoint,
    pub(crate) placing: usize,
}

impl<K: ChangeSink, F: Confirm, O: Observer> Writer<K, F, O> {
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
                () = ticks.tick() => self.persist().await?,
                // 3: the next piece of work.
                next = work.recv() => match next {
                    Some(next) => self.on_work(next).await?,
                    None => break,
                },
            }
        }
        while self.placing > 0 {
            let done = self.sink.placed().await?;
            self.on_placed(done).await;
        }
        self.persist().await
    }

    async fn on_work(&mut self, work: Work) -> Result<(), Failure> {
        match work {
            Work::Batch(batch) => {
                let tally = Tally::of(&batch);
                self.observer.applying();
                let applied = self.sink.apply(batch).await?;
                self.observer.applied(&tally, &applied);
                self.applied = tally.checkpoint.unwrap_or(self.applied);
                if !applied.heals.is_empty() {
                    // The core is gone only when the run is ending; the heals are recorded on green.
                    let _ = self.reports.send(Report::Applied(applied)).await;
                }
            }
            Work::Place(chunk) => {
                self.sink.place(chunk).await?;
                self.placing += 1;
            }
            Work::Record(entry) => self.sink.record(entry).await?,
        }
        Ok(())
    }

    async fn on_placed(&mut self, done: ChunkDone) {
        self.placing -= 1;
        self.observer.chunk_done(&done);
        // As above: a core that is gone needs no report, the chunk is recorded on green.
        let _ = self.reports.send(Report::Placed(done)).await;
    }

    async fn persist(&mut self) -> Result<(), Failure> {
        if self.applied > self.durable {
            self.durable = self.sink.persist().await?;
            self.confirm.confirm(self.durable.lsn());
            self.observer.durable(self.durable);
        }
        Ok(())
    }
}
