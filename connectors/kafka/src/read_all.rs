//! Reads a stretch of a partition from its start to its end, wherever that is known to be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{ANSWER_MAX, Watcher, reader_config};
use crate::error::Error;
use crate::settings::KafkaSettings;
use crate::settled::{Extent, Surveyor};

/// How long a broker may wait for more before it says that a partition has ended.
const FETCH_WAIT_MS: &str = "20";

/// How often the client tells how far it has read: past markers of transactions too, which nobody is handed.
const TELL_INTERVAL_MS: &str = "50";

/// How long a poll that finds nothing may take. What came before it was told is there by then.
const POLL: Duration = Duration::from_millis(20);

/// Whether to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    GoOn,
    Stop,
}

/// What is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) from: i64,
    /// The offset after the last one: reading ends there, and never before.
    pub(crate) until: i64,
    /// Also what is not committed, or was given up.
    pub(crate) uncommitted: bool,
}

impl<'a> Stretch<'a> {
    /// All that is committed in a partition.
    pub(crate) fn committed(topic: &'a str, partition: i32, extent: Extent) -> Stretch<'a> {
        Stretch { topic, partition, from: extent.low, until: extent.stable, uncommitted: false }
    }

    /// All that is not finished in a partition.
    pub(crate) fn hanging(topic: &'a str, partition: i32, extent: Extent) -> Stretch<'a> {
        Stretch { topic, partition, from: extent.stable, until: extent.whole, uncommitted: true }
    }
}

/// What a topic of one partition holds of finished transactions.
pub(crate) fn extent(settings: &KafkaSettings, topic: &str) -> Result<Extent, Error> {
    let extents = Surveyor::new(settings)?.look(&BTreeMap::from([(topic.to_owned(), 1)]))?;
    extents.of(topic, 0).ok_or_else(|| Error::NoTopic { topic: topic.to_owned() })
}

/// Hands over key and value of every committed record of a topic of one partition, in order. Blocks its thread.
pub(crate) fn read_all(
    settings: &KafkaSettings,
    topic: &str,
    mut hand: impl FnMut(&[u8], Option<&[u8]>) -> Told,
) -> Result<(), Error> {
    let stretch = Stretch::committed(topic, 0, extent(settings, topic)?);
    read(settings, stretch, |message| hand(message.key().unwrap_or_default(), message.payload()))
}

/// Hands over the records of a stretch, in order. Blocks its thread.
///
/// What a client calls the end of a partition is the end that one answer of a broker told, and one that has just begun to lead
/// the partition may not know the true one yet.
pub(crate) fn read(
    settings: &KafkaSettings,
    stretch: Stretch<'_>,
    mut hand: impl FnMut(&BorrowedMessage<'_>) -> Told,
) -> Result<(), Error> {
    let Stretch { topic, partition, from, until, .. } = stretch;
    if from >= until {
        return Ok(());
    }
    let (consumer, reader) = consumer(settings, &stretch)?;
    let mut list = TopicPartitionList::new();
    let added = list.add_partition_offset(topic, partition, Offset::Offset(from));
    added.map_err(|error| Error::of(&error, topic))?;
    consumer.assign(&list).map_err(|error| reader.watcher.judge(&error, topic))?;
    let mut heard = Instant::now();
    loop {
        // Before the poll: what was read up to there is in the queue by now.
        let is_read = reader.reached.load(Ordering::Acquire) >= until;
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let is_beyond = message.offset() >= until;
                if is_beyond || hand(&message) == Told::Stop || message.offset() + 1 == until {
                    return Ok(());
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => {
                // What is only unreachable may come back within the time that it has.
                let judged = reader.watcher.judge(&error, topic);
                if !matches!(judged, Error::Unreachable { .. }) || heard.elapsed() > ANSWER_MAX {
                    return Err(judged);
                }
            }
            None if is_read => return Ok(()),
            None if heard.elapsed() >= ANSWER_MAX => {
                return Err(reader.watcher.judge(
                    &KafkaError::MessageConsumption(rdkafka::error::RDKafkaErrorCode::OperationTimedOut),
                    topic,
                ));
            }
            None => {}
        }
    }
}

fn consumer(
    settings: &KafkaSettings,
    stretch: &Stretch<'_>,
) -> Result<(BaseConsumer<Reader>, Reader), Error> {
    let reader = Reader {
        watcher: Watcher::default(),
        topic: stretch.topic.to_owned(),
        partition: stretch.partition,
        reached: Arc::default(),
    };
    let mut config = reader_config(settings, "understudy-reader");
    config.set("statistics.interval.ms", TELL_INTERVAL_MS);
    config.set("fetch.wait.max.ms", FETCH_WAIT_MS);
    config.set("isolation.level", if stretch.uncommitted { "read_uncommitted" } else { "read_committed" });
    let consumer = config.create_with_context(reader.clone());
    Ok((consumer.map_err(|error| Error::of(&error, "the Kafka client"))?, reader))
}

/// Hears how far a partition has been read.
#[derive(Debug, Clone)]
struct Reader {
    watcher: Watcher,
    topic: String,
    partition: i32,
    /// The last end of the partition that was reached.
    reached: Arc<AtomicI64>,
}

impl ClientContext for Reader {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watcher.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watcher.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let of_topic = statistics.topics.get(&self.topic);
        let told = of_topic.and_then(|topic| topic.partitions.get(&self.partition));
        if let Some(told) = told {
            self.reached.fetch_max(told.eof_offset, Ordering::AcqRel);
        }
    }
}

impl ConsumerContext for Reader {}
