//! Which marks of committed transactions have been seen.
//!
//! Brokers tell that a transaction is committed before its partitions show it. One that is killed in between may come to forget
//! the marks, and what stands without them is lost when the next transaction is given up. So blue is told that the log holds
//! something only once its partitions show it.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::transaction::Pen;
use crate::client::blocking;
use crate::error::Error;
use crate::settled::Surveyor;

/// How often brokers are asked, at most.
const PAUSE: Duration = Duration::from_millis(100);

/// Where marks have not been seen yet.
pub(super) struct Marks {
    /// How many partitions every table has.
    partitions: usize,
    /// For every partition of every table, whether something was written there since it was last asked for.
    written: Vec<bool>,
    /// Whether anything was written at all.
    is_written: bool,
    asking: Arc<Mutex<Asking>>,
}

#[derive(Default)]
struct Asking {
    /// Kept, so that it need not connect anew.
    surveyor: Option<Surveyor>,
    last: Option<Instant>,
}

impl Marks {
    pub(super) fn new(partitions: u16) -> Marks {
        Marks {
            partitions: usize::from(partitions),
            written: Vec::new(),
            is_written: false,
            asking: Arc::default(),
        }
    }

    /// Something is written to these partitions, of tables by their place, and to our own topics.
    pub(super) fn written<'a>(&mut self, to: impl Iterator<Item = &'a (usize, u32)>) {
        self.is_written = true;
        for (table, partition) in to {
            let at = table * self.partitions + *partition as usize;
            if at >= self.written.len() {
                self.written.resize(at + 1, false);
            }
            self.written[at] = true;
        }
    }

    /// Waits until everything that was written before this call is shown. Borrows nothing.
    pub(super) fn seen(&mut self, pen: &Arc<Pen>) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let written = std::mem::take(&mut self.written);
        let topics = std::mem::take(&mut self.is_written).then(|| self.partitions_of(pen, &written));
        let (pen, asking) = (Arc::clone(pen), Arc::clone(&self.asking));
        async move {
            let Some(topics) = topics else { return Ok(()) };
            let last = asking.lock().unwrap_or_else(PoisonError::into_inner).last;
            if let Some(last) = last {
                tokio::time::sleep_until(last + PAUSE).await;
            }
            blocking(move || {
                let mut asking = asking.lock().unwrap_or_else(PoisonError::into_inner);
                let surveyor = match &mut asking.surveyor {
                    Some(surveyor) => surveyor,
                    none => none.insert(Surveyor::new(&pen.settings)?),
                };
                surveyor.await_shown(&topics, || pen.watcher.shake(), || !pen.is_abandoned())?;
                asking.last = Some(Instant::now());
                Ok(())
            })
            .await
        }
    }

    fn partitions_of(&self, pen: &Pen, written: &[bool]) -> BTreeSet<(String, i32)> {
        let own = [&pen.topics.order, &pen.topics.schema, &pen.topics.state];
        let own = own.into_iter().map(|topic| (topic.clone(), 0));
        let of_tables = written.iter().enumerate().filter(|(_, written)| **written).filter_map(|(at, _)| {
            let topic = pen.topics.tables.get(at / self.partitions)?;
            Some((topic.clone(), (at % self.partitions) as i32))
        });
        own.chain(of_tables).collect()
    }
}
