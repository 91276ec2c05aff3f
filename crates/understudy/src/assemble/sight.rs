//! Which transactions of a log blue may not show yet. The log does not tell, and whoever compares both sides has to know.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use understudy_contract::{
    Applied, Batch, BlueCatalog, ChangeSink, ChunkDone, Failure, LedgerEntry, Lineage, PlacedChunk, Saved,
};
use understudy_model::{Checkpoint, Snapshot, Xid};
use understudy_postgres::source::catalog::PostgresCatalog;
use understudy_postgres::wire::ConnectOptions;

/// How often blue is asked what it shows.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Transactions beyond this many are not listed in a checkpoint.
const SAVED_MAX: usize = 2_000;

/// Beyond this many they are forgotten, until a later look at blue tells which may be meant.
const KEPT_MAX: usize = 100_000;

/// What blue shows, as last looked at.
#[derive(Clone)]
pub(super) struct Sight(Arc<Mutex<Looked>>);

struct Looked {
    /// How many looks there were.
    looks: u64,
    newest: Snapshot,
}

impl Sight {
    /// Begins with a look.
    pub(super) fn new(newest: Snapshot) -> Sight {
        Sight(Arc::new(Mutex::new(Looked { looks: 0, newest })))
    }

    fn last(&self) -> (u64, Snapshot) {
        // A panic elsewhere leaves a look that is old at worst.
        let looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (looked.looks, looked.newest.clone())
    }

    fn look(&self, snapshot: Snapshot) {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked.looks += 1;
        if snapshot.xmax() >= looked.newest.xmax() {
            looked.newest = snapshot;
        }
    }

    /// Looks until it is dropped. While blue is away nothing more is seen.
    pub(super) async fn watch(self, blue: ConnectOptions, prefix: String) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut catalog = None;
        loop {
            tick.tick().await;
            match look(&mut catalog, (&blue, &prefix)).await {
                Ok(snapshot) => self.look(snapshot),
                Err(failure) => {
                    tracing::debug!(error = %failure, "cannot look at what blue shows");
                    catalog = None;
                }
            }
        }
    }
}

async fn look(
    catalog: &mut Option<PostgresCatalog>,
    (blue, prefix): (&ConnectOptions, &str),
) -> Result<Snapshot, Failure> {
    let catalog = match catalog {
        Some(catalog) => catalog,
        None => catalog.insert(PostgresCatalog::connect(blue, prefix.to_owned(), &[]).await?),
    };
    catalog.snapshot().await
}

/// A sink that is told with each batch which transactions before its end blue may not show yet.
pub(super) struct Sighted<K> {
    inner: K,
    sight: Sight,
    /// At least those. `Err`: too many, since so many looks.
    unseen: Result<BTreeSet<Xid>, u64>,
}

impl<K> Sighted<K> {
    /// Goes on from what green remembers. Where it remembers nothing, whatever was running when blue was looked at after green
    /// was claimed may be meant: what is in the log by then had begun by then.
    pub(super) fn new(inner: K, sight: Sight, saved: Option<Vec<Xid>>) -> Sighted<K> {
        let (_, newest) = sight.last();
        let unseen = saved.unwrap_or_else(|| newest.in_progress().to_vec());
        Sighted { inner, sight, unseen: Ok(unseen.into_iter().collect()) }
    }

    /// The transactions that blue may not show once this batch is applied, if they can be told.
    fn unseen(&mut self, batch: &Batch) -> Option<Vec<Xid>> {
        let (looks, newest) = self.sight.last();
        if let Err(lost_at) = self.unseen {
            // The first look after that may have begun before it.
            if looks < lost_at + 2 {
                return None;
            }
            self.unseen = Ok(newest.in_progress().iter().copied().collect());
        }
        let Ok(unseen) = &mut self.unseen else { return None };
        // The log carries the lower half of an id; a place without a transaction has none.
        let short = batch.commits.iter().filter_map(|mark| u32::try_from(mark.xid.raw()).ok());
        unseen.extend(short.filter(|short| *short != 0).map(|short| Xid::widen(short, newest.xmax())));
        unseen.retain(|xid| !newest.sees(*xid));
        if unseen.len() > KEPT_MAX {
            self.unseen = Err(looks);
            return None;
        }
        (unseen.len() <= SAVED_MAX).then(|| unseen.iter().copied().collect())
    }
}

impl<K: ChangeSink + 'static> ChangeSink for Sighted<K> {
    async fn claim(&mut self) -> Result<Option<Saved>, Failure> {
        self.inner.claim().await
    }

    async fn begin(&mut self, lineage: &Lineage, checkpoint: Checkpoint) -> Result<(), Failure> {
        self.inner.begin(lineage, checkpoint).await
    }

    async fn apply(&mut self, batch: Batch) -> Result<Applied, Failure> {
        let unseen = self.unseen(&batch);
        self.inner.apply(Batch { unseen, ..batch }).await
    }

    async fn place(&mut self, chunk: PlacedChunk) -> Result<(), Failure> {
        self.inner.place(chunk).await
    }

    async fn placed(&mut self) -> Result<ChunkDone, Failure> {
        self.inner.placed().await
    }

    async fn record(&mut self, entry: LedgerEntry) -> Result<(), Failure> {
        self.inner.record(entry).await
    }

    fn persist(&mut self) -> impl Future<Output = Result<Checkpoint, Failure>> + Send + use<K> {
        self.inner.persist()
    }

    fn aside(&self) -> u64 {
        self.inner.aside()
    }
}

#[cfg(test)]
mod tests {
    use understudy_model::{CommitMark, Lsn, Position};

    use super::*;

    fn snapshot(xmin: u64, xmax: u64, running: &[u64]) -> Snapshot {
        Snapshot::new(Xid::new(xmin), Xid::new(xmax), running.iter().copied().map(Xid::new).collect())
    }

    fn batch(xids: &[u64]) -> Batch {
        let mark = |xid: &u64| CommitMark {
            changes_before: 0,
            position: Position { commit: Lsn::new(1), ordinal: 0 },
            checkpoint: Checkpoint::default(),
            commit_time_us: 0,
            xid: Xid::new(*xid),
        };
        Batch { commits: xids.iter().map(mark).collect(), ..Batch::default() }
    }

    fn xids(raw: &[u64]) -> Option<Vec<Xid>> {
        Some(raw.iter().copied().map(Xid::new).collect())
    }

    /// Promise 3: a row that blue does not show yet differs from green's, and is no mismatch: whatever the log has brought is
    /// listed until a look at blue has shown it, ids that were cut to their lower half included.
    #[test]
    fn what_blue_does_not_show_is_listed_until_it_does() {
        let epoch = 7 << 32;
        let sight = Sight::new(snapshot(epoch + 10, epoch + 12, &[epoch + 10]));
        let mut sink = Sighted::new((), sight.clone(), None);
        assert_eq!(sink.unseen(&batch(&[0])), xids(&[epoch + 10]), "it ran when nothing was known");
        assert_eq!(sink.unseen(&batch(&[11, 12])), xids(&[epoch + 10, epoch + 12]), "blue shows 11");
        sight.look(snapshot(epoch + 12, epoch + 13, &[epoch + 12]));
        assert_eq!(sink.unseen(&batch(&[])), xids(&[epoch + 12]));
        sight.look(snapshot(epoch + 13, epoch + 13, &[]));
        assert_eq!(sink.unseen(&batch(&[])), xids(&[]));
    }

    /// A blue that is away for long must not fill our memory, nor what is listed then be taken for all of it.
    #[test]
    fn what_was_too_much_is_unknown_until_blue_was_looked_at_anew() {
        let sight = Sight::new(snapshot(3, 3, &[]));
        let mut sink = Sighted::new((), sight.clone(), xids(&[]));
        let many = (3..4 + KEPT_MAX as u64).collect::<Vec<_>>();
        assert_eq!(sink.unseen(&batch(&many)), None);
        sight.look(snapshot(4, 200_000, &[4]));
        assert_eq!(sink.unseen(&batch(&[])), None, "the look may have begun before");
        sight.look(snapshot(4, 200_000, &[4]));
        assert_eq!(sink.unseen(&batch(&[])), xids(&[4]));
    }
}
