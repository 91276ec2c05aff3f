//! The tasks that read blue beside the stream: chunk readers, and one that looks at the catalog.

use tokio::sync::mpsc;
use understudy_contract::{Blocker, BlueCatalog, ChunkOutcome, ChunkReader, Failure, Unit};
use understudy_model::{ChunkId, Nonce, Snapshot, Xid};

use crate::core::ReadJob;

/// What a chunk reader is to do.
#[derive(Debug)]
pub(crate) enum ReaderJob {
    Read(ReadJob),
    Mark(Nonce),
}

/// What a chunk reader says.
#[derive(Debug)]
pub(crate) enum ReaderSays {
    Read { reader: usize, id: ChunkId, nonce: Nonce, outcome: ChunkOutcome },
    Marked { reader: usize },
}

/// Reads chunks and emits markers, as told, until the queue is closed.
pub(crate) async fn read_chunks<R: ChunkReader>(
    index: usize,
    mut reader: R,
    mut jobs: mpsc::Receiver<ReaderJob>,
    says: mpsc::Sender<ReaderSays>,
) -> Result<(), Failure> {
    while let Some(job) = jobs.recv().await {
        let word = match job {
            ReaderJob::Read(ReadJob { request, nonce }) => {
                let outcome = reader.read(&request).await?;
                ReaderSays::Read { reader: index, id: request.id, nonce, outcome }
            }
            ReaderJob::Mark(nonce) => {
                reader.mark(nonce).await?;
                ReaderSays::Marked { reader: index }
            }
        };
        if says.send(word).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// What is asked of the catalog.
#[derive(Debug)]
pub(crate) enum CatalogAsk {
    Units,
    Snapshot,
    Barrier,
    Blockers(Vec<Xid>),
    Mark(Nonce),
}

/// What the catalog says.
#[derive(Debug)]
pub(crate) enum CatalogSays {
    Units(Vec<Unit>),
    Snapshot(Snapshot),
    Barrier(Xid),
    Blockers(Vec<Blocker>),
    Marked,
}

/// Looks at the catalog, as asked, until the queue is closed.
pub(crate) async fn read_catalog<C: BlueCatalog>(
    mut catalog: C,
    mut asks: mpsc::Receiver<CatalogAsk>,
    says: mpsc::Sender<CatalogSays>,
) -> Result<(), Failure> {
    while let Some(ask) = asks.recv().await {
        let word = match ask {
            CatalogAsk::Units => CatalogSays::Units(catalog.units().await?),
            CatalogAsk::Snapshot => CatalogSays::Snapshot(catalog.snapshot().await?),
            CatalogAsk::Barrier => CatalogSays::Barrier(catalog.barrier().await?),
            CatalogAsk::Blockers(xids) => CatalogSays::Blockers(catalog.blockers(&xids).await?),
            CatalogAsk::Mark(nonce) => {
                catalog.mark(nonce).await?;
                CatalogSays::Marked
            }
        };
        if says.send(word).await.is_err() {
            break;
        }
    }
    Ok(())
}
