//! Reads a stretch of a partition from its start to its end, wherever that is known to be.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{ANSWER_MAX, Watcher, is_of_group, reader_config};
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
pub(crate) fn read(
    settings: &KafkaSettings,
    stretch: Stretch<'_>,
    mut hand: impl FnMut(&BorrowedMessage<'_>) -> Told,
) -> Result<(), Error> {
    read_each(settings, &[stretch], |_, message| hand(message))
}

/// Hands over the records of stretches of different partitions, with the place of each one's stretch, those of a stretch in
/// order. Either all of them show what is not committed, or none. Reads no more of a stretch once it is told to stop there.
/// Blocks its thread.
///
/// What a client calls the end of a partition is the end that one answer of a broker told, and one that has just begun to lead
/// the partition may not know the true one yet.
pub(crate) fn read_each(
    settings: &KafkaSettings,
    stretches: &[Stretch<'_>],
    mut hand: impl FnMut(usize, &BorrowedMessage<'_>) -> Told,
) -> Result<(), Error> {
    let place = |(at, one): (usize, &Stretch<'_>)| ((one.topic.to_owned(), one.partition), at);
    let mut open: BTreeMap<(String, i32), usize> = stretches.iter().enumerate().map(place).collect();
    open.retain(|_, at| stretches[*at].from < stretches[*at].until);
    let Some(first) = open.values().next().map(|at| &stretches[*at]) else { return Ok(()) };
    let (consumer, reader) = consumer(settings, first.uncommitted)?;
    let mut list = TopicPartitionList::new();
    for ((topic, partition), at) in &open {
        let added = list.add_partition_offset(topic, *partition, Offset::Offset(stretches[*at].from));
        added.map_err(|error| Error::of(&error, topic))?;
    }
    let subject = first.topic;
    consumer.assign(&list).map_err(|error| reader.watcher.judge(&error, subject))?;
    let mut heard = Instant::now();
    while !open.is_empty() {
        // Before the poll: what was read up to there is in the queue by now.
        let read = reader.read_up_to(&open, stretches);
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let of = (message.topic().to_owned(), message.partition());
                let Some(at) = open.get(&of).copied() else { continue };
                let until = stretches[at].until;
                let is_beyond = message.offset() >= until;
                if is_beyond || hand(at, &message) == Told::Stop || message.offset() + 1 == until {
                    open.remove(&of);
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) if is_of_group(&error) => {}
            Some(Err(error)) => {
                if let Some(stays) = reader.stays(&error, (subject, heard.elapsed())) {
                    return Err(stays);
                }
            }
            None if !read.is_empty() => {
                heard = Instant::now();
                open.retain(|_, at| !read.contains(at));
            }
            None if heard.elapsed() >= ANSWER_MAX => {
                return Err(reader.watcher.judge(
                    &KafkaError::MessageConsumption(rdkafka::error::RDKafkaErrorCode::OperationTimedOut),
                    subject,
                ));
            }
            None => {}
        }
    }
    Ok(())
}

fn consumer(settings: &KafkaSettings, uncommitted: bool) -> Result<(BaseConsumer<Reader>, Reader), Error> {
    let reader = Reader { watcher: Watcher::default(), reached: Arc::default() };
    let mut config = reader_config(settings, "understudy-reader");
    config.set("statistics.interval.ms", TELL_INTERVAL_MS);
    config.set("fetch.wait.max.ms", FETCH_WAIT_MS);
    config.set("isolation.level", if uncommitted { "read_uncommitted" } else { "read_committed" });
    let consumer = config.create_with_context(reader.clone());
    Ok((consumer.map_err(|error| Error::of(&error, "the Kafka client"))?, reader))
}

/// Hears how far partitions have been read.
#[derive(Debug, Clone)]
struct Reader {
    watcher: Watcher,
    /// The last end of each partition that was reached.
    reached: Arc<Mutex<HashMap<(String, i32), i64>>>,
}

impl Reader {
    /// What a complaint comes to, so long after anything was read. What is only unreachable may come back within the time that it
    /// has.
    fn stays(&self, error: &KafkaError, (subject, silent): (&str, Duration)) -> Option<Error> {
        match self.watcher.judge_complaint(error, subject) {
            Error::Unreachable { .. } if silent > ANSWER_MAX => Some(self.watcher.judge(error, subject)),
            Error::Unreachable { .. } => None,
            stays => Some(stays),
        }
    }

    /// Those of the open stretches that have been read to their end.
    fn read_up_to(&self, open: &BTreeMap<(String, i32), usize>, stretches: &[Stretch<'_>]) -> Vec<usize> {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let is_read = |(of, at): &(&(String, i32), &usize)| {
            reached.get(*of).is_some_and(|reached| *reached >= stretches[**at].until)
        };
        open.iter().filter(is_read).map(|(_, at)| *at).collect()
    }
}

impl ClientContext for Reader {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watcher.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watcher.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        for (topic, told) in &statistics.topics {
            for (partition, told) in &told.partitions {
                let known = reached.entry((topic.clone(), *partition)).or_insert(told.eof_offset);
                *known = told.eof_offset.max(*known);
            }
        }
    }
}

impl ConsumerContext for Reader {}
