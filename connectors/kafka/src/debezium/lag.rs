//! How far behind Debezium's topics are read.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use understudy_contract::Failure;

use super::fault;
use super::intake::Ends;
use super::reach::{Reach, TopicConsumer};
use crate::aside::Looked;
use crate::client::{Watcher, blocking};
use crate::error::Error;
use crate::log::PartitionLag;

/// Tells how many records are still to be read, as long as topics are: whether or not anybody takes them.
#[derive(Clone)]
pub struct DebeziumLag {
    consumer: Looked<TopicConsumer>,
    watcher: Watcher,
    starts: Arc<Mutex<Ends>>,
}

impl std::fmt::Debug for DebeziumLag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DebeziumLag").finish_non_exhaustive()
    }
}

impl DebeziumLag {
    pub(super) fn new(consumer: Looked<TopicConsumer>, reach: &Reach) -> DebeziumLag {
        DebeziumLag { consumer, watcher: reach.watcher.clone(), starts: Arc::clone(&reach.starts) }
    }

    /// Every partition that is read, asked of the brokers. None once the log has been dropped.
    pub async fn partitions(&self) -> Result<Vec<PartitionLag>, Failure> {
        let Some(consumer) = self.consumer.get() else { return Ok(Vec::new()) };
        let reach = Reach { consumer, watcher: self.watcher.clone(), starts: Arc::clone(&self.starts) };
        let asked = blocking(move || look(&reach)).await;
        asked.map_err(|error| fault::told(error).while_doing("ask how far Debezium's topics reach"))
    }
}

/// Blocks its thread.
fn look(reach: &Reach) -> Result<Vec<PartitionLag>, Error> {
    let starts = reach.starts.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let ends = reach.offsets(starts.keys().cloned(), Offset::End)?;
    let read = reach.consumer.position().map_err(|error| Error::of(&error, "the topics"))?;
    let mut read_up_to = starts;
    for element in read.elements() {
        if let Offset::Offset(position) = element.offset() {
            read_up_to.insert((element.topic().to_owned(), element.partition()), position);
        }
    }
    Ok(behind(&read_up_to, &ends))
}

/// What lies between two places. Debezium's records have no marks of transactions behind them: each counts.
fn behind(read_up_to: &Ends, ends: &Ends) -> Vec<PartitionLag> {
    let lag = |(at, high): (&(String, i32), &i64)| {
        let partition = u32::try_from(at.1).ok()?;
        let position = *read_up_to.get(at)?;
        Some(PartitionLag { topic: at.0.clone(), partition, position, high: *high, has_marks: false })
    };
    ends.iter().filter_map(lag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 3: the very last record that has not come counts as lag. In a log of ours there is a mark in its place.
    #[test]
    fn the_last_record_counts() {
        let at = ("shop.public.t".to_owned(), 0);
        let lags = behind(&Ends::from([(at.clone(), 41)]), &Ends::from([(at, 42)]));
        assert_eq!(lags.iter().map(PartitionLag::records).collect::<Vec<_>>(), [1]);
    }
}
