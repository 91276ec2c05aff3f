//! What the brokers tell of Debezium's topics: which there are, and where they begin and end.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::{Offset, TopicPartitionList};

use super::place::Place;
use crate::client::{ANSWER_MAX, Watcher, reader_config};
use crate::error::Error;
use crate::offsets::{Offsets, offsets, partitions_of};
use crate::settings::KafkaSettings;
use crate::topics::{KNOWN_MAX, find_each, known};

/// Kilobytes of records that wait to be taken, those of all partitions together.
const QUEUE_KB: &str = "32768";

/// What reads the topics.
pub(super) type TopicConsumer = StreamConsumer<Watcher>;

/// The same, with what is known beside it.
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) consumer: Arc<TopicConsumer>,
    pub(super) watcher: Watcher,
    /// From where the partitions of the tables' topics are read.
    pub(super) starts: Arc<Mutex<Offsets>>,
}

/// What was found at a look.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Topics that were not there at the look before, each with the first offset of its partitions.
    pub(super) new: Vec<(String, Vec<i64>)>,
    /// Where all of them end.
    pub(super) ends: Offsets,
}

impl Reach {
    pub(super) fn new(settings: &KafkaSettings) -> Result<Reach, Error> {
        let watcher = Watcher::default();
        let mut config = reader_config(settings, &format!("{}.understudy.apply", settings.topic_prefix));
        config.set("enable.partition.eof", "false");
        config.set("queued.max.messages.kbytes", QUEUE_KB);
        config.set("fetch.wait.max.ms", "50");
        let consumer = config.create_with_context(watcher.clone());
        let consumer = consumer.map_err(|error| Error::of(&error, "the Kafka client"))?;
        Ok(Reach { consumer: Arc::new(consumer), watcher, starts: Arc::default() })
    }

    pub(super) fn cluster(&self) -> Option<String> {
        self.consumer.client().fetch_cluster_id(ANSWER_MAX)
    }

    /// Looks which of these topics there are, and where they end. Those that were there before must be as they were. Blocks its
    /// thread.
    pub(super) fn look(&self, topics: &[String], place: &Place) -> Result<Found, Error> {
        let look = || find_each(self.consumer.client(), topics.iter().map(String::as_str), &self.watcher);
        let must = |topic: &&String| place.topics.contains_key(*topic);
        let there = known(KNOWN_MAX, look, |there| {
            topics.iter().filter(must).all(|topic| there.get(topic).is_some_and(|found| found.partitions > 0))
        })?;
        let mut present = Vec::new();
        let mut found = Found::default();
        for topic in topics {
            // One that is being made has none yet.
            let partitions =
                there.get(topic).map(|found| found.partitions).filter(|partitions| *partitions > 0);
            match (place.topics.get(topic).map(Vec::len), partitions) {
                (Some(_), None) => return Err(Error::NoTopic { topic: topic.clone() }),
                (Some(expected), Some(found)) if expected != found => {
                    return Err(Error::Partitions { topic: topic.clone(), expected, found });
                }
                (_, Some(partitions)) => present.push((topic.clone(), partitions)),
                // Debezium makes a topic with its first record.
                (None, None) => {}
            }
        }
        let new = present
            .iter()
            .filter(|(topic, _)| !place.topics.contains_key(topic))
            .cloned()
            .collect::<Vec<_>>();
        let firsts = self.offsets(partitions_of(sizes(&new)), Offset::Beginning)?;
        for (topic, partitions) in new {
            let starts = (0..partitions)
                .map(|partition| firsts[&(topic.clone(), partition as i32)])
                .collect::<Vec<_>>();
            if starts.iter().any(|first| *first > 0) {
                let why =
                    "its first records have been deleted, and rows of the snapshot with them".to_owned();
                return Err(Error::Expired { topic, why });
            }
            found.new.push((topic, starts));
        }
        found.ends = self.offsets(partitions_of(sizes(&present)), Offset::End)?;
        Ok(found)
    }

    /// What is to be read next must still be there, and have been there.
    pub(super) fn still_there(&self, place: &Place) -> Result<(), Error> {
        let topics = place.topics.iter().map(|(topic, next)| (topic.clone(), next.len())).collect::<Vec<_>>();
        let firsts = self.offsets(partitions_of(sizes(&topics)), Offset::Beginning)?;
        let ends = self.offsets(partitions_of(sizes(&topics)), Offset::End)?;
        for ((topic, partition), first) in firsts {
            let next = place.next(&topic, partition).unwrap_or_default();
            let end = ends.get(&(topic.clone(), partition)).copied().unwrap_or(first);
            if next < first {
                let why =
                    format!("partition {partition} begins at offset {first}, and {next} was to be read next");
                return Err(Error::Expired { topic, why });
            }
            if next > end {
                let why = format!(
                    "partition {partition} ends at offset {end}, before {next}, where green is: it was made anew"
                );
                return Err(Error::Torn { topic, why });
            }
        }
        Ok(())
    }

    /// The partitions of Connect's own topic, with the first offset of each.
    pub(super) fn offsets_topic(&self, topic: &str) -> Result<Vec<i64>, Error> {
        let there = find_each(self.consumer.client(), std::iter::once(topic), &self.watcher)?;
        let Some(found) = there.get(topic) else {
            return Err(Error::Settings {
                subject: format!("topic {topic}"),
                why: "it is not there, and only Kafka Connect's own offsets tell how far its connector has come: set \
                      `debezium: { offsets_topic: ... }` under `through.kafka` to the worker's offset.storage.topic"
                    .to_owned(),
            });
        };
        let partitions = [(topic.to_owned(), found.partitions)];
        let firsts = self.offsets(partitions_of(sizes(&partitions)), Offset::Beginning)?;
        Ok(firsts.into_values().collect())
    }

    /// Where partitions begin or end. Blocks its thread.
    pub(super) fn offsets(
        &self,
        partitions: impl Iterator<Item = (String, i32)>,
        end: Offset,
    ) -> Result<Offsets, Error> {
        offsets(&*self.consumer, (partitions, end), |error, subject| {
            unless_gone(self.watcher.judge(error, subject))
        })
    }

    /// Fetches these tables' topics too, each from the offset given.
    pub(super) fn fetch_tables(&self, topics: &[(String, Vec<i64>)]) -> Result<(), Error> {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        for (topic, of_topic) in topics {
            starts.extend(of_topic.iter().zip(0..).map(|(start, at)| ((topic.clone(), at), *start)));
        }
        drop(starts);
        self.fetch(topics)
    }

    /// Fetches these too, each from the offset given.
    pub(super) fn fetch(&self, topics: &[(String, Vec<i64>)]) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        for (topic, starts) in topics {
            for (partition, start) in starts.iter().enumerate() {
                let added = list.add_partition_offset(topic, partition as i32, Offset::Offset(*start));
                added.map_err(|error| Error::of(&error, topic))?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        self.consumer.incremental_assign(&list).map_err(|error| Error::of(&error, "the topics"))
    }
}

/// That one broker does not know a topic passes: whether it is gone, shows at the next look.
pub(super) fn unless_gone(error: Error) -> Error {
    match error {
        Error::NoTopic { topic } => {
            Error::Unreachable { why: format!("a broker does not know topic {topic}, or not yet") }
        }
        other => other,
    }
}

fn sizes(topics: &[(String, usize)]) -> impl Iterator<Item = (&String, usize)> {
    topics.iter().map(|(topic, partitions)| (topic, *partitions))
}
