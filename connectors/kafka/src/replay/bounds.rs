//! Where the topics of the tables begin, and whether that is early enough.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::order::Seen;
use crate::client::{ANSWER_MAX, Watcher, reader_config};
use crate::codec::DataHeaders;
use crate::error::Error;
use crate::log::Place;
use crate::settings::KafkaSettings;
use crate::topics::{Found, layout};

/// How long a look for the next record takes at most.
const LOOK: Duration = Duration::from_millis(500);

/// Reads single records of the tables' topics.
pub(super) struct Reader {
    consumer: BaseConsumer<Watcher>,
    watcher: Watcher,
}

/// What is of interest of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stands {
    offset: i64,
    group: u64,
    leaves_out: bool,
}

impl Reader {
    pub(super) fn open(settings: &KafkaSettings) -> Result<Reader, Error> {
        let watcher = Watcher::default();
        let mut config = reader_config(settings, "understudy-replay");
        // Mostly a single record is wanted of a place.
        config.set("fetch.wait.max.ms", "50");
        let consumer = config.create_with_context(watcher.clone());
        Ok(Reader { consumer: consumer.map_err(|error| Error::of(&error, "the Kafka client"))?, watcher })
    }

    pub(super) fn layout(&self) -> Result<BTreeMap<String, Found>, Error> {
        layout(self.consumer.client()).map_err(|error| self.watcher.judge(&error, "the cluster"))
    }

    pub(super) fn cluster(&self) -> Option<String> {
        self.consumer.client().fetch_cluster_id(ANSWER_MAX)
    }

    fn bounds(&self, topic: &str, partition: i32) -> Result<(i64, i64), Error> {
        let bounds = self.consumer.fetch_watermarks(topic, partition, ANSWER_MAX);
        bounds.map_err(|error| self.watcher.judge(&error, topic))
    }

    fn seek(&self, topic: &str, partition: i32, offset: i64) -> Result<(), Error> {
        let mut from = TopicPartitionList::new();
        let added = from.add_partition_offset(topic, partition, Offset::Offset(offset));
        added.and_then(|()| self.consumer.assign(&from)).map_err(|error| Error::of(&error, topic))
    }

    /// The next committed record; `None` at the end.
    fn next(&self, topic: &str) -> Result<Option<Stands>, Error> {
        let asked = Instant::now();
        loop {
            match self.consumer.poll(LOOK) {
                Some(Ok(message)) => return stands(&message, topic).map(Some),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(error)) => {
                    let judged = self.watcher.judge(&error, topic);
                    if !matches!(judged, Error::Unreachable { .. }) || asked.elapsed() > ANSWER_MAX {
                        return Err(judged);
                    }
                }
                None if asked.elapsed() > ANSWER_MAX => {
                    let why = format!("topic {topic} was not read in time");
                    return Err(Error::Unreachable { why });
                }
                None => {}
            }
        }
    }

    fn record_at(&self, topic: &str, partition: i32, offset: i64) -> Result<Option<Stands>, Error> {
        self.seek(topic, partition, offset)?;
        self.next(topic)
    }

    /// Whether a topic holds everything that the groups from one on count of it. Where that is not the first one of the log,
    /// the place is told where its records begin.
    pub(super) fn check_table(
        &self,
        (topic, partitions): (&str, usize),
        seen: &Seen,
        (from, place): (u64, &mut Option<Place>),
    ) -> Result<(), Error> {
        let mut offsets = vec![None; partitions];
        for partition in 0..partitions as u32 {
            let (low, high) = self.bounds(topic, partition as i32)?;
            let mut first = None;
            if place.is_some() {
                let (found, offset) = self.first_of((topic, partition as i32), (low, high), from)?;
                (first, offsets[partition as usize]) = (found, Some(offset));
            }
            let Some((group, records)) = seen.first.get(&partition).copied() else { continue };
            if place.is_none() {
                first = self.record_at(topic, partition as i32, low)?;
            }
            let gone = |why: String| Error::Expired {
                topic: topic.to_owned(),
                why: format!("partition {partition} begins at offset {low}, {why}"),
            };
            match first {
                None => return Err(gone(format!("and the {records} records of group {group} are gone"))),
                Some(first) if first.group > group => {
                    return Err(gone(format!(
                        "with a record of group {}, and those from group {group} on are gone",
                        first.group
                    )));
                }
                Some(first) => {
                    let there = self.count((topic, partition), first, (group, records))?;
                    if there < records {
                        return Err(gone(format!(
                            "within group {group}, of which {there} of {records} records are there"
                        )));
                    }
                }
            }
        }
        if let Some(known) = seen.first.keys().next_back()
            && *known as usize >= partitions
        {
            let (topic, expected) = (topic.to_owned(), *known as usize + 1);
            return Err(Error::Partitions { topic, expected, found: partitions });
        }
        if let Some(place) = place {
            place.topics.insert(topic.to_owned(), offsets);
        }
        Ok(())
    }

    /// How many records of a group there are, at most as many as it should have. The first one there may be of an earlier
    /// group, which the group's own are behind.
    fn count(
        &self,
        (topic, partition): (&str, u32),
        first: Stands,
        (group, records): (u64, u64),
    ) -> Result<u64, Error> {
        if first.group < group {
            return Ok(records);
        }
        self.seek(topic, partition as i32, first.offset)?;
        let mut there = 0;
        while there < records {
            match self.next(topic)? {
                Some(next) if next.group == group => there += 1,
                Some(_) | None => break,
            }
        }
        Ok(there)
    }

    /// The first record of a group from one on, and an offset that no earlier group reaches. Groups never go down within a
    /// partition.
    fn first_of(
        &self,
        (topic, partition): (&str, i32),
        (mut low, mut high): (i64, i64),
        from: u64,
    ) -> Result<(Option<Stands>, i64), Error> {
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.record_at(topic, partition, middle)? {
                Some(there) if there.group < from => low = there.offset + 1,
                Some(there) => {
                    found = Some(there);
                    high = middle;
                }
                None => high = middle,
            }
        }
        Ok((found, low))
    }

    /// Records that leave out values, from a place on to what is the end now.
    pub(super) fn partial_records(&self, topic: &str, place: Option<&Place>) -> Result<u64, Error> {
        let partitions = self.layout()?.get(topic).map_or(0, |found| found.partitions);
        let mut partial = 0;
        for partition in 0..partitions as i32 {
            let (low, high) = self.bounds(topic, partition)?;
            let from = place.and_then(|place| place.next(topic, partition as u32)).unwrap_or(low);
            self.seek(topic, partition, from.max(low))?;
            while let Some(there) = self.next(topic)? {
                if there.offset >= high {
                    break;
                }
                partial += u64::from(there.leaves_out);
                if there.offset + 1 == high {
                    break;
                }
            }
        }
        Ok(partial)
    }

    /// Whether something is written to a topic of one partition within a time. Blocks its thread.
    pub(super) fn grows(&self, topic: &str, patience: Duration) -> Result<bool, Error> {
        let (_, before) = self.bounds(topic, 0)?;
        let began = Instant::now();
        while began.elapsed() < patience {
            std::thread::sleep(LOOK);
            if self.bounds(topic, 0)?.1 > before {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn stands(message: &BorrowedMessage<'_>, topic: &str) -> Result<Stands, Error> {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let read = DataHeaders::read(headers.map(|header| (header.key, header.value)));
    let read = read.map_err(|error| Error::Torn {
        topic: topic.to_owned(),
        why: format!("at offset {} of partition {} {error}", message.offset(), message.partition()),
    })?;
    Ok(Stands { offset: message.offset(), group: read.group, leaves_out: read.leaves_out() })
}
