//! The asynchronous face of the in-memory green.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use understudy_contract::{
    Applied, Batch, ChangeSink, ChunkDone, Class, Failure, LedgerEntry, Lineage, PlacedChunk, Saved,
};
use understudy_model::Checkpoint;

use super::{Green, Session};

/// A sink over a green that several sinks may share. It writes chunks when asked for the next finished one.
#[derive(Debug)]
pub struct MemorySink {
    green: Arc<Mutex<Green>>,
    session: Option<Session>,
}

impl MemorySink {
    /// A sink that has not claimed the migration yet.
    pub fn new(green: Arc<Mutex<Green>>) -> MemorySink {
        MemorySink { green, session: None }
    }

    /// The session, and the store. A sink that has not claimed owns nothing.
    fn both(&mut self) -> Result<(&mut Session, MutexGuard<'_, Green>), Failure> {
        let green = self.green.lock().unwrap_or_else(PoisonError::into_inner);
        let session = self.session.as_mut();
        let session =
            session.ok_or_else(|| Failure::new(Class::Internal, "the sink has not claimed the migration"))?;
        Ok((session, green))
    }
}

impl ChangeSink for MemorySink {
    async fn claim(&mut self) -> Result<Option<Saved>, Failure> {
        let (session, saved) = self.green.lock().unwrap_or_else(PoisonError::into_inner).claim();
        self.session = Some(session);
        Ok(saved)
    }

    async fn begin(&mut self, lineage: &Lineage, checkpoint: Checkpoint) -> Result<(), Failure> {
        let (session, mut green) = self.both()?;
        session.begin(&mut green, lineage, checkpoint)
    }

    async fn apply(&mut self, batch: Batch) -> Result<Applied, Failure> {
        let (session, mut green) = self.both()?;
        session.apply(&mut green, &batch)
    }

    async fn place(&mut self, chunk: PlacedChunk) -> Result<(), Failure> {
        let (session, mut green) = self.both()?;
        session.place(&mut green, chunk)
    }

    async fn placed(&mut self) -> Result<ChunkDone, Failure> {
        let done = {
            let (session, mut green) = self.both()?;
            let last = session.writing().saturating_sub(1);
            session.finish(&mut green, last)?;
            session.placed()
        };
        match done {
            Some(done) => Ok(done),
            None => std::future::pending().await,
        }
    }

    async fn record(&mut self, entry: LedgerEntry) -> Result<(), Failure> {
        let (session, mut green) = self.both()?;
        session.record(&mut green, &entry)
    }

    fn persist(&mut self) -> impl Future<Output = Result<Checkpoint, Failure>> + Send + use<> {
        let started = self.both().and_then(|(session, green)| session.start_persist(&green));
        let green = Arc::clone(&self.green);
        async move {
            let persist = started?;
            // Others get their turn while it is under way.
            tokio::task::yield_now().await;
            green.lock().unwrap_or_else(PoisonError::into_inner).persisted(persist)
        }
    }

    fn aside(&self) -> u64 {
        let green = self.green.lock().unwrap_or_else(PoisonError::into_inner);
        self.session.as_ref().map_or(0, |session| session.aside(&green))
    }
}
