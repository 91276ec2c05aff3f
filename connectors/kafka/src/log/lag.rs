//! How far behind the log is read.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};
use understudy_contract::Failure;

use super::start::{LogClient, LogConsumer, Starts};
use crate::aside::Looked;
use crate::client::{Watcher, blocking};
use crate::error::Error;
use crate::settings::KafkaSettings;
use crate::settled::Surveyor;

/// How far one partition has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLag {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset of the next record to be read.
    pub position: i64,
    /// The offset at which it ends, with what readers are yet to be shown.
    pub high: i64,
    /// Whether each transaction ends with a mark there.
    pub has_marks: bool,
}

impl PartitionLag {
    /// How many records are still to be read, with the marks of transactions between them. Where the last ones were never
    /// committed, they count until something comes after them.
    pub fn records(&self) -> u64 {
        // Behind the last record stands the mark of its transaction, which is passed over only with the next one.
        match u64::try_from(self.high - self.position).unwrap_or(0) {
            1 if self.has_marks => 0,
            behind => behind,
        }
    }
}

/// Tells how far behind a log is read, as long as it is.
#[derive(Clone)]
pub struct LagProbe {
    consumer: Looked<LogConsumer>,
    watcher: Watcher,
    starts: Starts,
    settings: KafkaSettings,
    /// What asks, once it has been made.
    surveyor: Arc<Mutex<Option<Surveyor>>>,
}

impl std::fmt::Debug for LagProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LagProbe").finish_non_exhaustive()
    }
}

impl LagProbe {
    pub(super) fn new(
        consumer: Looked<LogConsumer>,
        client: &LogClient,
        settings: &KafkaSettings,
    ) -> LagProbe {
        let (watcher, starts) = (client.watcher.clone(), Starts::clone(&client.starts));
        LagProbe { consumer, watcher, starts, settings: settings.clone(), surveyor: Arc::default() }
    }

    /// The same, with the connections of another one.
    #[must_use]
    pub fn asking_by(self, other: &LagProbe) -> LagProbe {
        LagProbe { surveyor: Arc::clone(&other.surveyor), ..self }
    }

    /// Every partition of the log, asked of the brokers. None once the log has been dropped.
    pub async fn partitions(&self) -> Result<Vec<PartitionLag>, Failure> {
        let Some(consumer) = self.consumer.get() else { return Ok(Vec::new()) };
        let client =
            LogClient { consumer, watcher: self.watcher.clone(), starts: Starts::clone(&self.starts) };
        let (settings, surveyor) = (self.settings.clone(), Arc::clone(&self.surveyor));
        let asked = blocking(move || look(&client, &settings, &surveyor)).await;
        asked.map_err(|error| Failure::from(error).while_doing("ask how far the log reaches"))
    }
}

/// Blocks its thread. Where the log ends is not where readers are: behind a transaction that the brokers do not finish they see
/// nothing, however much comes after it.
fn look(
    client: &LogClient,
    settings: &KafkaSettings,
    surveyor: &Mutex<Option<Surveyor>>,
) -> Result<Vec<PartitionLag>, Error> {
    let read = client.consumer.position().map_err(|error| Error::of(&error, "the topics"))?;
    let mut surveyor = surveyor.lock().unwrap_or_else(PoisonError::into_inner);
    let asking = match surveyor.take() {
        Some(asking) => asking,
        None => Surveyor::new(settings)?,
    };
    let ends = surveyor.insert(asking).wholes(&asked_for(&read))?;
    let starts = client.starts.lock().unwrap_or_else(PoisonError::into_inner);
    let lags = read.elements().into_iter().filter_map(|element| {
        let at = (element.topic().to_owned(), element.partition());
        let high = *ends.get(&at)?;
        let position = match element.offset() {
            Offset::Offset(position) => position,
            // Nothing of it was read in this session.
            _ => *starts.get(&at)?,
        };
        Some(PartitionLag { topic: at.0, partition: at.1 as u32, position, high, has_marks: true })
    });
    Ok(lags.collect())
}

/// What brokers are asked for: the partitions that are read, and of topics that are shared out among lanes no others.
fn asked_for(read: &TopicPartitionList) -> BTreeSet<(String, i32)> {
    read.elements().into_iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the brokers, and a lag that is known in time: each lane asks for its own partitions, not for those of all.
    #[test]
    fn a_lane_asks_for_its_own_partitions() {
        let mut read = TopicPartitionList::new();
        for (topic, partition) in [("shop.understudy.order", 0), ("shop.public.t", 11), ("shop.public.u", 11)]
        {
            read.add_partition(topic, partition);
        }
        let asked = asked_for(&read);
        let expected = [("shop.public.t", 11), ("shop.public.u", 11), ("shop.understudy.order", 0)];
        assert_eq!(asked, expected.map(|(topic, partition)| (topic.to_owned(), partition)).into());
    }
}
