//! Green: applies changes and placed chunks, and keeps the bookkeeping in the same transactions.
//!
//! `applier` takes a batch and decides with `plan` (over `fold` and `runs`) what goes in sets; `script` turns the plan
//! into steps that travel together. What is refused there, or not as expected, is done again by `exact`, `careful` and
//! `park`, one change at a time. `heals` knows the rows that wait to be read again by key. `chunks` writes placed chunks
//! beside it, `claim` and `books` hold what makes one instance the owner, and `persist` makes it all durable while
//! changes are applied.

mod connect;
mod settings;

mod applier;
mod fold;
mod plan;
mod runs;
mod script;
mod stages;
mod statements;
mod truncate;

mod careful;
mod exact;
mod heals;
mod park;

mod chunks;
mod persist;

mod books;
mod claim;
mod forget;
mod lanes;
mod ledger;
mod schema;

mod tables;
mod target;

use std::future::Future;
use std::sync::Arc;

use understudy_contract::{
    Applied, Batch, ChangeSink, ChunkDone, Class, Failure, LedgerEntry, Lineage, PlacedChunk, Saved,
};
use understudy_model::{Checkpoint, RowChange};

pub(crate) use books::{arrays as key_arrays, xids};
pub use connect::{Judge, PostgresSink};
pub use forget::forget;
pub(crate) use lanes::LANES;
pub use lanes::{LANED_NAME_MAX, LaneBooks, LaneObstacle, LanesSeen, lane_name, lane_obstacles};
pub(crate) use schema::LOCK as BOOKKEEPING_LOCK;
pub(crate) use settings::origin;
pub use settings::{OnError, ReplicaRole, SinkSettings};

impl ChangeSink for PostgresSink {
    async fn claim(&mut self) -> Result<Option<Saved>, Failure> {
        Box::pin(self.take())
            .await
            .map_err(|failure| failure.while_doing("take ownership of the migration on green"))
    }

    async fn begin(&mut self, lineage: &Lineage, checkpoint: Checkpoint) -> Result<(), Failure> {
        let result = self.applier.begin(lineage, checkpoint).await;
        self.judged(result, "record the start of the migration on green").await
    }

    async fn apply(&mut self, batch: Batch) -> Result<Applied, Failure> {
        let result = Box::pin(self.apply_in_order(&batch)).await;
        self.judged(result, "apply changes").await
    }

    async fn place(&mut self, chunk: PlacedChunk) -> Result<(), Failure> {
        let result = Box::pin(self.start_chunk(chunk)).await;
        self.judged(result, "place rows").await
    }

    async fn placed(&mut self) -> Result<ChunkDone, Failure> {
        loop {
            if let Some(done) = self.finished.pop_front() {
                return Ok(done);
            }
            if !self.writers.is_busy() {
                return std::future::pending().await;
            }
            // Nothing may be waited for between taking a failure and returning it, or a dropped call would lose it.
            self.settle().await.map_err(|failure| failure.while_doing("place rows"))?;
        }
    }

    async fn record(&mut self, entry: LedgerEntry) -> Result<(), Failure> {
        let result = Box::pin(self.record_in_order(&entry)).await;
        self.judged(result, "record progress on green").await
    }

    fn persist(&mut self) -> impl Future<Output = Result<Checkpoint, Failure>> + Send + use<> {
        // Noted before the flush is sent, which then covers at least what has returned from its commit by now.
        let upto = self.applier.applied;
        let keeper = self.keeper.clone();
        let judge = self.claimed.then(|| self.judge_alone());
        async move {
            let failure = match keeper.persist().await {
                Ok(()) => return Ok(upto),
                Err(failure) => failure,
            };
            let failure = match judge {
                Some(judge) => Box::pin(judge.judge(failure)).await,
                None => failure,
            };
            Err(failure.while_doing("persist"))
        }
    }

    fn aside(&self) -> u64 {
        (self.applier.quarantined.len() + self.applier.emptied) as u64
    }
}

impl PostgresSink {
    async fn judged<T>(&self, result: Result<T, Failure>, doing: &str) -> Result<T, Failure> {
        match result {
            Ok(value) => Ok(value),
            Err(failure) => Err(Box::pin(self.judge(failure)).await.while_doing(doing)),
        }
    }

    async fn apply_in_order(&mut self, batch: &Batch) -> Result<Applied, Failure> {
        while self.must_wait(batch) {
            self.settle().await?;
        }
        self.applier.apply(batch).await
    }

    /// A chunk that was placed under an earlier plan must not count towards the one that this entry starts.
    async fn record_in_order(&mut self, entry: &LedgerEntry) -> Result<(), Failure> {
        while self.writers.is_busy() {
            self.settle().await?;
        }
        self.applier.record(entry).await
    }

    /// Waits for one chunk to be finished, and takes over what it tells before anything later is applied; `placed` hands
    /// it out when it is asked. Cancel-safe.
    async fn settle(&mut self) -> Result<(), Failure> {
        if let Some(outcome) = self.writers.settle().await? {
            let done = self.learn(outcome);
            self.finished.push_back(done);
        }
        Ok(())
    }

    /// Whether a chunk that is being written has to be there before these changes: also so that a heal which one of them
    /// needs is recorded after the chunk has settled an earlier one of its key. Where foreign keys are alive, the rows of a
    /// chunk may be those that changes to other tables refer to.
    fn must_wait(&self, batch: &Batch) -> bool {
        if !self.writers.is_busy() || batch.changes.is_empty() {
            return false;
        }
        let written = |change: &RowChange| change.routes().iter().any(|route| self.writers.writes(*route));
        !self.applier.replica_role || batch.changes.iter().any(written)
    }

    async fn start_chunk(&mut self, chunk: PlacedChunk) -> Result<(), Failure> {
        if self.applier.open || chunk.at != self.applier.applied {
            let cause = format!("a chunk belongs at {}, but green is at {}", chunk.at, self.applier.applied);
            return Err(Failure::new(Class::Internal, cause));
        }
        while self.writers.are_all_busy() || self.writers.meets(&chunk) {
            self.settle().await?;
        }
        let target = Arc::new(self.target(chunk.route)?.clone());
        let aside = self.applier.of_those_aside(chunk.route, || chunks::settled(&target, &chunk));
        self.writers.start(target, chunk, aside)
    }

    /// Takes over what a finished chunk tells.
    fn learn(&mut self, outcome: chunks::Outcome) -> ChunkDone {
        let route = outcome.route;
        if let Some(target) = self.applier.targets.get_mut(route.index()) {
            target.overwriting = if outcome.collided {
                chunks::OVERWRITING_CHUNKS
            } else {
                target.overwriting.saturating_sub(1)
            };
        }
        outcome.read.iter().for_each(|key| self.applier.heals.settle(route, key));
        for key in outcome.mended {
            self.applier.quarantined.remove(&(route, key));
        }
        self.applier.quarantined.extend(outcome.quarantined.into_iter().map(|key| (route, key)));
        outcome.done
    }
}
