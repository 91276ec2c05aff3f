//! Green: applies changes and placed chunks to items, and keeps the state of the migration beside them.
//!
//! `applier` goes through a batch, `fold` lets the changes to one row become one write, `moves` and `truncate` do what is about
//! more than one row, and `write` writes rows as they are expected to stand and finds out where they do not. `chunks` writes
//! placed chunks beside it, with `batches` those of a first copy, `ledger` records entries, `claim` reads what is remembered, and
//! `keeping` is what a start asks for besides.

mod settings;
mod target;

mod books;
mod claim;
mod keeping;
mod ledger;

mod applier;
mod fold;
mod moves;
mod places;
mod truncate;

mod batches;
mod chunks;
mod whole;
mod write;

mod forget;
mod sweep;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use understudy_contract::{
    Applied, Batch, ChangeSink, ChunkDone, Class, Failure, LedgerEntry, Lineage, PlacedChunk, Saved,
};
use understudy_model::{Checkpoint, RouteId};

pub use forget::{Forget, forget};
pub use keeping::Judge;
pub use settings::{Batches, OnError, SinkSettings, Transactions, given_up};
pub use sweep::{SEGMENTS_MAX, SweepSettings, Swept, sweep};
pub use target::{DynamoTable, Leaves, NoLeaves};

use applier::Applier;
use books::{Aside, Heals};
use chunks::{Job, Writers};
use places::Places;
use write::Shared;

use crate::calls::Calls;
use crate::meter::Figures;
use crate::state::{Notes, State};

/// Green as tables of DynamoDB.
///
/// DynamoDB commits items one by one, so where the contract says that something is committed together or not at all, this is what
/// holds instead:
///
/// - Rows are visible as they are written, those of one transaction one after the other, and those of a transaction that is still
///   open before its end. The checkpoint, and what is recorded with it, follows once all rows before it are acknowledged.
///   With [`Transactions::Whole`] those that DynamoDB's transactions take are visible all at once, and in order.
/// - After a crash rows may be ahead of the checkpoint. The changes from there on are applied again, and every row ends as they
///   leave it: each write carries a version, and none takes effect over a later one. A row of which only a part was sent then, and
///   which is ahead, is reported to be read again; nothing that is ahead counts as a mismatch.
/// - A row that is not as a completed copy promises is recorded before it is mended, once for each change that finds it so, also
///   where the change is not committed then. What else is recorded comes in transactions of up to 99 notes before the checkpoint.
/// - Each claim begins a run whose versions are later than those of all before. An instance that no longer owns the migration
///   finds that out before each batch and chunk, and with the commit of each; rows that it wrote in between are those of changes
///   which the owner applies too, with later versions. Only where the owner has emptied a route meanwhile may such a row stay,
///   until verification tells it.
pub struct DynamoSink {
    applier: Applier,
    writers: Writers,
    writers_max: usize,
    /// Chunks that have been recorded and not been handed out.
    finished: VecDeque<ChunkDone>,
    reclaim: bool,
    claimed: bool,
    /// What makes the state forget routes that the migration no longer has.
    absent: Notes,
}

impl DynamoSink {
    /// A sink over these routes, numbered from zero without gaps. Nothing is asked of DynamoDB yet.
    pub fn new(
        client: Client,
        settings: SinkSettings,
        tables: Vec<DynamoTable>,
        leaves: Arc<dyn Leaves>,
    ) -> Result<DynamoSink, Failure> {
        let state = State::new(&settings.state_table, &settings.migration, settings.instance);
        let targets = target::targets(tables)?;
        let shared = Shared {
            calls: Calls::new(client, settings.calls),
            state,
            on_error: settings.on_error,
            tombstones: settings.tombstones,
            batches: settings.batches,
            transactions: settings.transactions,
            adopts: settings.adopts,
            layouts: targets.iter().map(|target| Arc::clone(&target.layout)).collect(),
        };
        let applier = Applier {
            shared: Arc::new(shared),
            leaves,
            targets,
            heals: Heals::default(),
            aside: Aside::default(),
            begun: false,
            applied: Checkpoint::default(),
            places: Places::default(),
            epoch: 0,
            open: false,
            notes: Notes::new(),
            emptied: 0,
        };
        Ok(DynamoSink {
            applier,
            writers: Writers::default(),
            writers_max: settings.writers.max(1),
            finished: VecDeque::new(),
            reclaim: settings.reclaim,
            claimed: false,
            absent: Notes::new(),
        })
    }

    /// What calls have come to, for as long as anybody asks, also while somebody else has the sink.
    pub fn meter(&self) -> Meter {
        Meter(Arc::clone(&self.applier.shared))
    }

    /// In which state each of these routes' sources stands in the publication, recorded when something else is of the route.
    pub fn set_published(&mut self, published: Vec<(RouteId, String)>) {
        for (route, state) in published {
            if let Some(target) = self.applier.targets.get_mut(route.index()) {
                target.published = Some(state);
            }
        }
    }

    /// Forgets what is known of routes that the migration no longer has. That their tables were followed is remembered: their
    /// last changes may still come.
    pub async fn forget_absent(&mut self) -> Result<(), Failure> {
        let absent = std::mem::take(&mut self.absent);
        let shared = &self.applier.shared;
        Ok(shared.state.write(&shared.calls, absent).await?)
    }

    /// Records that the copy of a route starts again, at once. Chunks that are being written are waited for.
    pub async fn start_again(&mut self, route: RouteId) -> Result<(), Failure> {
        self.settle_all().await?;
        self.applier.start_again(route).await
    }

    fn check_claimed(&self) -> Result<(), Failure> {
        let unclaimed = || Failure::new(Class::Internal, "the sink has not claimed the migration");
        self.claimed.then_some(()).ok_or_else(unclaimed)
    }

    async fn take(&mut self) -> Result<Option<Saved>, Failure> {
        let shared = Arc::clone(&self.applier.shared);
        let claimed = shared.state.claim(&shared.calls, self.reclaim).await?;
        (self.applier.epoch, self.applier.places) = (claimed.epoch, Places::default());
        let found = claim::read(claimed, &mut self.applier.targets);
        (self.applier.heals, self.applier.aside) = (found.heals, found.aside);
        (self.applier.open, self.applier.notes, self.applier.emptied) = (false, Notes::new(), 0);
        self.applier.begun = found.saved.is_some();
        self.applier.applied = found.saved.as_ref().map(|saved| saved.checkpoint).unwrap_or_default();
        (self.absent, self.claimed) = (found.absent, true);
        Ok(found.saved)
    }

    async fn apply_in_order(&mut self, batch: &Batch) -> Result<Applied, Failure> {
        self.check_claimed()?;
        let of_batch = |route: &RouteId| batch.changes.iter().any(|change| change.routes().contains(route));
        while self.writers.routes().any(|route| of_batch(&route)) {
            self.settle().await?;
        }
        self.applier.apply(batch).await
    }

    async fn start_chunk(&mut self, chunk: PlacedChunk) -> Result<(), Failure> {
        self.check_claimed()?;
        if self.applier.open || chunk.at != self.applier.applied {
            let cause = format!("a chunk belongs at {}, but green is at {}", chunk.at, self.applier.applied);
            return Err(Failure::new(Class::Internal, cause));
        }
        while self.writers.count() >= self.writers_max || self.writers.meets(&chunk) {
            self.settle().await?;
        }
        let target = self.applier.target(chunk.route)?.clone();
        let aside = if self.applier.aside.is_empty() {
            Vec::new()
        } else {
            self.applier.aside.among(chunk.route, chunks::settled(&target, &chunk))
        };
        let (shared, epoch) = (Arc::clone(&self.applier.shared), self.applier.epoch);
        self.writers.start(Job { shared, target, epoch, aside, chunk });
        Ok(())
    }

    /// Waits for all chunks that are being written.
    async fn settle_all(&mut self) -> Result<(), Failure> {
        while self.writers.count() > 0 {
            self.settle().await?;
        }
        Ok(())
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

    /// Takes over what a finished chunk tells.
    fn learn(&mut self, outcome: chunks::Outcome) -> ChunkDone {
        let route = outcome.route;
        if let Some(target) = self.applier.targets.get_mut(route.index()) {
            target.has_rows |= outcome.done.rows > 0;
            if let Some((unit, done)) = outcome.range
                && let Some(planned) = target.units.get_mut(&unit)
            {
                planned.done.push(done.range);
                planned.rows_done += done.rows;
            }
        }
        outcome.read.iter().for_each(|key| self.applier.heals.settle(route, key));
        for key in &outcome.mended {
            self.applier.aside.settle(route, key);
        }
        for (key, of) in outcome.aside {
            self.applier.aside.add(route, key, of);
        }
        outcome.done
    }
}

/// Tells what a sink's calls have come to.
#[derive(Debug, Clone)]
pub struct Meter(Arc<Shared>);

impl Meter {
    /// All of it so far.
    pub fn figures(&self) -> Figures {
        self.0.calls.figures()
    }
}

impl ChangeSink for DynamoSink {
    async fn claim(&mut self) -> Result<Option<Saved>, Failure> {
        Box::pin(self.take())
            .await
            .map_err(|failure| failure.while_doing("take ownership of the migration on green"))
    }

    async fn begin(&mut self, lineage: &Lineage, checkpoint: Checkpoint) -> Result<(), Failure> {
        self.check_claimed()?;
        Box::pin(self.applier.begin(lineage, checkpoint))
            .await
            .map_err(|failure| failure.while_doing("record the start of the migration on green"))
    }

    async fn apply(&mut self, batch: Batch) -> Result<Applied, Failure> {
        Box::pin(self.apply_in_order(&batch)).await.map_err(|failure| failure.while_doing("apply changes"))
    }

    async fn place(&mut self, chunk: PlacedChunk) -> Result<(), Failure> {
        Box::pin(self.start_chunk(chunk)).await.map_err(|failure| failure.while_doing("place rows"))
    }

    async fn placed(&mut self) -> Result<ChunkDone, Failure> {
        loop {
            if let Some(done) = self.finished.pop_front() {
                return Ok(done);
            }
            if self.writers.count() == 0 {
                return std::future::pending().await;
            }
            // Nothing may be waited for between taking a failure and returning it, or a dropped call would lose it.
            self.settle().await.map_err(|failure| failure.while_doing("place rows"))?;
        }
    }

    async fn record(&mut self, entry: LedgerEntry) -> Result<(), Failure> {
        let record = async {
            self.check_claimed()?;
            self.settle_all().await?;
            self.applier.record(&entry).await
        };
        Box::pin(record).await.map_err(|failure| failure.while_doing("record progress on green"))
    }

    /// What DynamoDB acknowledges survives.
    fn persist(&mut self) -> impl Future<Output = Result<Checkpoint, Failure>> + Send + use<> {
        let upto = self.applier.applied;
        async move { Ok(upto) }
    }

    fn aside(&self) -> u64 {
        (self.applier.aside.len() + self.applier.emptied) as u64
    }
}
