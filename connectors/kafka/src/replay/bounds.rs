//! Where the topics of the tables begin, and whether that is early enough.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::order::Seen;
use crate::client::{ANSWER_MAX, Watcher, is_of_group, reader_config};
use crate::codec::DataHeaders;
use crate::error::Error;
use crate::log::Place;
use crate::read_all::{Stretch, Told, read, read_each};
use crate::settings::KafkaSettings;
use crate::settled::{Extent, Extents, Surveyor};
use crate::topics::Found;

/// How long a look for the next record takes at most.
const LOOK: Duration = Duration::from_millis(500);

/// Reads single records of the tables' topics.
pub(super) struct Reader {
    consumer: BaseConsumer<Watcher>,
    watcher: Watcher,
    surveyor: Surveyor,
    settings: KafkaSettings,
}

/// A partition of a topic.
type Partition<'a> = (&'a str, i32);

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
        let consumer = consumer.map_err(|error| Error::of(&error, "the Kafka client"))?;
        Ok(Reader { consumer, watcher, surveyor: Surveyor::new(settings)?, settings: settings.clone() })
    }

    /// Which of these topics there are. One that does not show has been looked for until every broker had its time to know it.
    pub(super) fn topics<'a>(
        &self,
        wanted: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<BTreeMap<String, Found>, Error> {
        let all = wanted.clone();
        self.surveyor.topics(wanted, move |there| all.clone().all(|topic| there.contains_key(topic)))
    }

    pub(super) fn cluster(&self) -> Option<String> {
        self.consumer.client().fetch_cluster_id(ANSWER_MAX)
    }

    fn extents(&self, topic: &str, partitions: usize) -> Result<Extents, Error> {
        self.surveyor.look(&BTreeMap::from([(topic.to_owned(), partitions)]))
    }

    fn seek(&self, topic: &str, partition: i32, offset: i64) -> Result<(), Error> {
        let mut from = TopicPartitionList::new();
        let added = from.add_partition_offset(topic, partition, Offset::Offset(offset));
        added.and_then(|()| self.consumer.assign(&from)).map_err(|error| Error::of(&error, topic))
    }

    /// The next committed record from an offset on and before an end; `None`: there is none. The partition must be the one that
    /// was sought last.
    fn next(
        &self,
        (topic, partition): Partition<'_>,
        (from, until): (i64, i64),
    ) -> Result<Option<Stands>, Error> {
        let asked = Instant::now();
        if from >= until {
            return Ok(None);
        }
        loop {
            match self.consumer.poll(LOOK) {
                // It was found in another way already.
                Some(Ok(message)) if message.offset() < from => {}
                Some(Ok(message)) if message.offset() >= until => return Ok(None),
                Some(Ok(message)) => return stands(&message, topic).map(Some),
                // Either nothing but marks of transactions is left, or whoever leads the partition does not know its end yet.
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    return self.first((topic, partition), (from, until));
                }
                Some(Err(error)) if is_of_group(&error) => {}
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

    /// The same, read up to the very end.
    fn first(
        &self,
        (topic, partition): Partition<'_>,
        (from, until): (i64, i64),
    ) -> Result<Option<Stands>, Error> {
        let mut first = None;
        read(&self.settings, Stretch { topic, partition, from, until, uncommitted: false }, |message| {
            first = Some(stands(message, topic));
            Told::Stop
        })?;
        first.transpose()
    }

    fn record_at(
        &self,
        (topic, partition): Partition<'_>,
        (offset, until): (i64, i64),
    ) -> Result<Option<Stands>, Error> {
        if offset >= until {
            return Ok(None);
        }
        self.seek(topic, partition, offset)?;
        self.next((topic, partition), (offset, until))
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
        let extents = self.extents(topic, partitions)?;
        for partition in 0..partitions as u32 {
            let at = (topic, partition as i32);
            let Some(Extent { low, stable, .. }) = extents.of(topic, at.1) else { continue };
            let mut first = None;
            if place.is_some() {
                let (found, offset) = self.first_of(at, (low, stable), from)?;
                (first, offsets[partition as usize]) = (found, Some(offset));
            }
            let Some((group, records)) = seen.first.get(&partition).copied() else { continue };
            if place.is_none() {
                first = self.record_at(at, (low, stable))?;
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
                    let there = self.count(at, (first, stable), (group, records))?;
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
        at: Partition<'_>,
        (first, until): (Stands, i64),
        (group, records): (u64, u64),
    ) -> Result<u64, Error> {
        if first.group < group {
            return Ok(records);
        }
        self.seek(at.0, at.1, first.offset)?;
        let mut there = 0;
        let mut from = first.offset;
        while there < records {
            match self.next(at, (from, until))? {
                Some(next) if next.group == group => {
                    there += 1;
                    from = next.offset + 1;
                }
                Some(_) | None => break,
            }
        }
        Ok(there)
    }

    /// The first record of a group from one on, and an offset that no earlier group reaches. Groups never go down within a
    /// partition.
    fn first_of(
        &self,
        at: Partition<'_>,
        (mut low, until): (i64, i64),
        from: u64,
    ) -> Result<(Option<Stands>, i64), Error> {
        let mut found = None;
        let mut high = until;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.record_at(at, (middle, until))? {
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
        let partitions = self.topics(std::iter::once(topic))?.get(topic).map_or(0, |found| found.partitions);
        let extents = self.extents(topic, partitions)?;
        let stretches = (0..partitions as i32).filter_map(|partition| {
            let extent = extents.of(topic, partition)?;
            let from = place.and_then(|place| place.next(topic, partition as u32)).unwrap_or(extent.low);
            let from = from.max(extent.low);
            Some(Stretch { topic, partition, from, until: extent.stable, uncommitted: false })
        });
        let mut partial = Ok(0);
        read_each(&self.settings, &stretches.collect::<Vec<_>>(), |_, message| {
            partial = partial
                .clone()
                .and_then(|partial| Ok(partial + u64::from(stands(message, topic)?.leaves_out)));
            if partial.is_ok() { Told::GoOn } else { Told::Stop }
        })?;
        partial
    }

    /// Whether something is written to a topic of one partition within a time. Blocks its thread.
    pub(super) fn grows(&self, topic: &str, patience: Duration) -> Result<bool, Error> {
        let end = || Ok(self.extents(topic, 1)?.of(topic, 0).map_or(0, |extent| extent.whole));
        let before = end()?;
        let began = Instant::now();
        while began.elapsed() < patience {
            std::thread::sleep(LOOK);
            if end()? > before {
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
