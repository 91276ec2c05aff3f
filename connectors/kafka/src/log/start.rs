//! Opens the log at a place, once everything that stands behind it is seen to be there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use understudy_contract::{Cursor, Failure};
use understudy_model::TableName;

use super::cursor::{NotACursor, Place};
use super::lane::Lane;
use super::opening;
use crate::client::{ANSWER_MAX, Watcher, reader_config};
use crate::error::Error;
use crate::names::TopicNames;
use crate::offsets::{Offsets, offsets, partitions_of};
use crate::settings::KafkaSettings;
use crate::topics::{Found, KNOWN_MAX, doubted, find, known};

pub(crate) type LogConsumer = StreamConsumer<Watcher>;
pub(crate) type Queue = StreamPartitionQueue<Watcher>;

/// Bytes that all queues of fetched records of a process may hold together, those of all lanes, as far as [`QUEUE_BYTES_MIN`] allows.
const QUEUES_BYTES: usize = 16 * 1024 * 1024;

/// A queue smaller than this would be refilled all the time.
const QUEUE_BYTES_MIN: usize = 64 * 1024;

/// A queue larger than this makes nothing faster.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The client asks for no less.
const ANSWER_BYTES_MIN: usize = 1_000_000;

/// Whether a partition of a topic is read.
type Reads<'a> = &'a dyn Fn(&str, i32) -> bool;

/// By topic and partition the offset at which reading has started in this session.
pub(super) type Starts = Arc<Mutex<HashMap<(String, i32), i64>>>;

/// What reads the log.
#[derive(Clone)]
pub(super) struct LogClient {
    pub(super) consumer: Arc<LogConsumer>,
    pub(super) watcher: Watcher,
    pub(super) starts: Starts,
}

impl LogClient {
    /// What an error means, in the light of what else the client has complained of.
    fn judge(&self, error: &KafkaError, subject: &str) -> Error {
        // Complaints wait to be heard.
        while self.consumer.recv().now_or_never().is_some() {}
        self.watcher.judge(error, subject)
    }

    /// Which of these topics there are. Those that must be there are looked for until every broker knows them. Blocks its thread.
    fn find(&self, wanted: &[String], must: &[&str]) -> Result<BTreeMap<String, Found>, Error> {
        let look = || find(self.consumer.client(), wanted.iter().map(String::as_str), &self.watcher);
        known(KNOWN_MAX, look, |there| must.iter().all(|topic| there.contains_key(*topic)))
    }

    /// What it is that the client does not know this topic any more. Blocks its thread.
    pub(super) fn doubted(&self, error: Error, topic: &str) -> Error {
        doubted(error, (self.consumer.client(), &self.watcher), std::iter::once(topic))
    }

    /// The first or the last offset of every partition of these topics. The last one is where what readers see ends. Blocks
    /// its thread.
    pub(super) fn offsets_at(&self, topics: &[(String, usize)], end: Offset) -> Result<Offsets, Error> {
        let judge = |error: &KafkaError, subject: &str| {
            let names = topics.iter().map(|(topic, _)| topic.as_str());
            doubted(self.judge(error, subject), (self.consumer.client(), &self.watcher), names)
        };
        let partitions = partitions_of(topics.iter().map(|(topic, partitions)| (topic, *partitions)));
        offsets(&*self.consumer, (partitions, end), judge)
    }
}

/// Bytes that the queue of each partition may hold, and that one answer of a broker may have, for one of so many clients that each
/// read so many partitions. A process may have to read all lanes.
fn bounds(partitions: usize, clients: usize) -> (usize, usize) {
    let share = QUEUES_BYTES / clients.max(1);
    let queue = (share / partitions.max(1)).clamp(QUEUE_BYTES_MIN, QUEUE_BYTES_MAX);
    // A larger record comes all the same, alone.
    (queue, share.clamp(ANSWER_BYTES_MIN, QUEUE_BYTES_MAX))
}

/// One of so many clients for the log's partitions, of which it reads so many.
fn client(settings: &KafkaSettings, (partitions, clients): (usize, usize)) -> Result<LogClient, Error> {
    let watcher = Watcher::default();
    let mut config = reader_config(settings, &super::client_id(settings));
    config.set("enable.partition.eof", "false");
    let (bytes, answer) = bounds(partitions, clients);
    config.set("fetch.message.max.bytes", bytes.to_string());
    config.set("fetch.max.bytes", answer.to_string());
    // Each partition has its own queue, so that the one with the most records does not fill the memory of all.
    config.set("queued.max.messages.kbytes", (bytes / 1024).to_string());
    config.set("queued.min.messages", "10000000");
    // A partition whose queue was full waits for the answer to the request that left it out, and then for this.
    config.set("fetch.wait.max.ms", "50");
    config.set("fetch.queue.backoff.ms", "1");
    let consumer: LogConsumer =
        config.create_with_context(watcher.clone()).map_err(|error| Error::of(&error, "the Kafka client"))?;
    Ok(LogClient { consumer: Arc::new(consumer), watcher, starts: Starts::default() })
}

/// The log, open.
pub(super) struct Started {
    pub(super) client: LogClient,
    pub(super) order: Queue,
    pub(super) tables: HashMap<TableName, Queues>,
    pub(super) place: Place,
}

/// The queues of a topic by partition; `None` where one is not read.
pub(super) type Queues = Vec<Option<Queue>>;

/// Which partitions of the topics of tables are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partitions {
    /// The lane for which; `None` for all that there are.
    pub(super) lane: Option<Lane>,
}

impl Partitions {
    pub(super) fn reads(&self, partition: i32) -> bool {
        self.lane.is_none_or(|lane| i64::from(lane.number) == i64::from(partition))
    }

    /// A topic has a partition for each lane.
    fn fit(&self, topic: &str, found: usize) -> Result<(), Error> {
        match self.lane.map(|lane| lane.of as usize) {
            Some(expected) if expected != found => {
                Err(Error::Partitions { topic: topic.to_owned(), expected, found })
            }
            _ => Ok(()),
        }
    }
}

/// Where to go on.
pub(super) fn place_of(
    settings: &KafkaSettings,
    from: Option<&Cursor>,
    lane: Option<Lane>,
) -> Result<Option<Place>, Failure> {
    let Some(cursor) = from else { return Ok(None) };
    let another = |why: String| Failure::from(Error::AnotherLog { why });
    let place = Place::parse(cursor).map_err(|error| match error {
        NotACursor::Form(form) => another(format!(
            "its place there has form {form}, which this version of Understudy does not know"
        )),
        NotACursor::Malformed(error) => another("its place there cannot be read".to_owned()).caused_by(error),
    })?;
    if place.prefix != settings.topic_prefix {
        return Err(another(format!(
            "its place is in the topics of prefix `{}`, not `{}`",
            place.prefix, settings.topic_prefix
        )));
    }
    if place.lane != lane.map(|lane| (lane.number, lane.of)) {
        let of = |lanes: (u32, u32)| lanes.1;
        return Err(Error::Shared { lanes: place.lane.map(of), now: lane.map(|lane| lane.of) }.into());
    }
    Ok(Some(place))
}

/// Whether green, with these places by number of lane, can be filled further by so many lanes; `None`: in whole transactions.
/// Asked before any books are laid out for them, which would stand in the way of those that are there.
pub fn may_go_on(
    settings: &KafkaSettings,
    places: &[Option<Cursor>],
    lanes: Option<u32>,
) -> Result<(), Failure> {
    for (number, place) in (0..).zip(places) {
        place_of(settings, place.as_ref(), lanes.map(|of| Lane { number, of })).map_err(opening)?;
    }
    Ok(())
}

/// Looks at everything, then starts to fetch. Blocks its thread.
pub(super) fn start(
    settings: &KafkaSettings,
    tables: &[TableName],
    (place, which): (Option<Place>, Partitions),
) -> Result<Started, Error> {
    let names = TopicNames::new(settings.topic_prefix.clone());
    // Every table may turn out to have as many partitions as are set.
    let each = if which.lane.is_some() { 1 } else { usize::from(settings.partitions) };
    let partitions = 1 + tables.len() * each;
    let client = client(settings, (partitions, which.lane.map_or(1, |lane| lane.of as usize)))?;
    let wanted = tables.iter().map(|table| names.table(table)).chain([names.order(), names.schema()]);
    let wanted = wanted.collect::<Vec<_>>();
    let own = [names.order(), names.schema()];
    let must = place.iter().flat_map(|place| {
        let own = own.iter().filter(|_| place.group > 0);
        place.topics.keys().filter(|topic| wanted.contains(topic)).chain(own).map(String::as_str)
    });
    let there = client.find(&wanted, &must.collect::<Vec<_>>())?;
    let cluster = client.consumer.client().fetch_cluster_id(ANSWER_MAX);
    let mut place = same_cluster(settings, cluster, place)?;
    for own in own {
        own_topic(&there, own, &place)?;
    }
    let mut topics = vec![(names.order(), 1)];
    let mut found = Vec::new();
    for table in tables {
        let topic = names.table(table);
        if let Some(partitions) = table_topic(&there, &topic, &place)? {
            which.fit(&topic, partitions)?;
            topics.push((topic.clone(), partitions));
            found.push((table.clone(), topic, partitions));
        }
    }
    let starts = starts(&client, &topics, &place)?;
    let by = |topic: &str, partition| topic == names.order() || which.reads(partition);
    let mut queues = attach(&client, &topics, (starts, &by), Attach::All)?.into_iter();
    let order = queues.next().and_then(|mut order| order.pop()).flatten().ok_or_else(no_queue)?;
    for (_, topic, partitions) in &found {
        place.topics.entry(topic.clone()).or_default().resize(*partitions, None);
    }
    let tables = found.into_iter().map(|(table, ..)| table).zip(queues).collect();
    Ok(Started { client, order, tables, place })
}

/// Starts to fetch the topic of one more table. Blocks its thread.
pub(super) fn start_table(
    client: &LogClient,
    topic: &str,
    (place, which): (&Place, Partitions),
) -> Result<Queues, Error> {
    let there = client.find(&[topic.to_owned()], &[topic])?;
    let partitions = table_topic(&there, topic, place)?;
    let partitions = partitions.ok_or_else(|| Error::NoTopic { topic: topic.to_owned() })?;
    which.fit(topic, partitions)?;
    let topics = [(topic.to_owned(), partitions)];
    let starts = starts(client, &topics, place)?;
    let queues = attach(client, &topics, (starts, &|_, partition| which.reads(partition)), Attach::More)?;
    queues.into_iter().next().ok_or_else(no_queue)
}

/// Starts to fetch more partitions of topics that are read already. Blocks its thread.
pub(super) fn start_partitions(
    client: &LogClient,
    wanted: Vec<(TableName, String, u32)>,
    place: &Place,
) -> Result<Vec<(TableName, u32, Queue)>, Error> {
    let mut sizes = BTreeMap::<String, usize>::new();
    for (_, topic, partition) in &wanted {
        let size = sizes.entry(topic.clone()).or_default();
        *size = (*size).max(*partition as usize + 1);
    }
    let topics = sizes.into_iter().collect::<Vec<_>>();
    let is_known = |(_, topic, partition): &(TableName, String, u32)| place.next(topic, *partition).is_some();
    // Where nothing was ever taken of a partition, it is read from its beginning.
    let lows = match wanted.iter().all(is_known) {
        true => Offsets::new(),
        false => client.offsets_at(&topics, Offset::Beginning)?,
    };
    let mut starts = HashMap::new();
    for (_, topic, partition) in &wanted {
        let at = (topic.clone(), *partition as i32);
        let start = place.next(topic, *partition).or_else(|| lows.get(&at).copied());
        starts.insert(at, start.ok_or_else(no_queue)?);
    }
    let reads = |topic: &str, partition: i32| {
        wanted.iter().any(|(_, of, number)| of == topic && i64::from(*number) == i64::from(partition))
    };
    let attached = attach(client, &topics, (starts, &reads), Attach::More)?;
    let mut queues = Vec::new();
    for ((topic, _), of_topic) in topics.iter().zip(attached) {
        let Some((table, ..)) = wanted.iter().find(|(_, of, _)| of == topic) else { continue };
        let there = of_topic.into_iter().zip(0..);
        queues.extend(there.filter_map(|(queue, partition)| Some((table.clone(), partition, queue?))));
    }
    Ok(queues)
}

fn same_cluster(
    settings: &KafkaSettings,
    cluster: Option<String>,
    place: Option<Place>,
) -> Result<Place, Error> {
    let Some(mut place) = place else { return Ok(Place::start(settings.topic_prefix.clone(), cluster)) };
    match (&place.cluster, &cluster) {
        (Some(before), Some(now)) if before != now => {
            let why = format!("its place is in the cluster that calls itself {before}, and this is {now}");
            Err(Error::AnotherLog { why })
        }
        _ => {
            place.cluster = cluster.or(place.cluster);
            Ok(place)
        }
    }
}

/// A topic of our own must be there, with its one partition.
fn own_topic(there: &BTreeMap<String, Found>, topic: String, place: &Place) -> Result<(), Error> {
    match there.get(&topic) {
        Some(Found { partitions: 1, .. }) => Ok(()),
        Some(Found { partitions, .. }) => Err(Error::Partitions { topic, expected: 1, found: *partitions }),
        None if place.group == 0 => Err(Error::Unreachable {
            why: format!(
                "topic {topic} is not there yet: a capture makes it when it starts (understudy run FILE --role capture)"
            ),
        }),
        None => Err(Error::NoTopic { topic }),
    }
}

/// The partitions of a table's topic. `None`: nothing was ever read of it, and it is not there.
fn table_topic(there: &BTreeMap<String, Found>, topic: &str, place: &Place) -> Result<Option<usize>, Error> {
    let before = place.topics.get(topic).map(Vec::len);
    let topic = topic.to_owned();
    match (before, there.get(&topic).map(|found| found.partitions)) {
        (Some(_), None) => Err(Error::NoTopic { topic }),
        (Some(expected), Some(found)) if expected != found => {
            Err(Error::Partitions { topic, expected, found })
        }
        (_, found) => Ok(found),
    }
}

/// For every partition of these topics the offset to start at.
pub(super) fn starts(
    client: &LogClient,
    topics: &[(String, usize)],
    place: &Place,
) -> Result<HashMap<(String, i32), i64>, Error> {
    let lows = client.offsets_at(topics, Offset::Beginning)?;
    let highs = client.offsets_at(topics, Offset::End)?;
    let order = TopicNames::new(place.prefix.clone()).order();
    let mut starts = HashMap::new();
    for (at, low) in lows {
        let high = highs.get(&at).copied().unwrap_or(low);
        let (topic, partition) = &at;
        let wanted = match *topic == order {
            // The last one that was taken is read again, to know the log by it.
            true => (place.group > 0).then_some(place.order),
            false => place.next(topic, *partition as u32),
        };
        if let Some(wanted) = wanted
            && wanted > high
        {
            let why = format!(
                "partition {partition} ends at offset {high}, before {wanted}, where green is: it was made anew, or \
                 brokers have lost what they held"
            );
            return Err(Error::Torn { topic: topic.clone(), why });
        }
        // What was deleted after its time may have been nothing but the marks of transactions: whether a record is
        // missing shows by the group that the next one belongs to.
        starts.insert(at, wanted.map_or(low, |wanted| wanted.max(low)));
    }
    Ok(starts)
}

/// Whether partitions are all there are, or come to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attach {
    All,
    More,
}

/// Gives every partition a queue of its own, then starts to fetch.
fn attach(
    client: &LogClient,
    topics: &[(String, usize)],
    (starts, reads): (HashMap<(String, i32), i64>, Reads<'_>),
    attach: Attach,
) -> Result<Vec<Queues>, Error> {
    let mut list = TopicPartitionList::new();
    let mut queues = Vec::new();
    for (topic, partitions) in topics {
        let mut of_topic = Vec::new();
        for partition in 0..*partitions {
            let partition = partition as i32;
            if !reads(topic, partition) {
                of_topic.push(None);
                continue;
            }
            let start = starts.get(&(topic.clone(), partition)).copied().ok_or_else(no_queue)?;
            let added = list.add_partition_offset(topic, partition, Offset::Offset(start));
            added.map_err(|error| Error::of(&error, topic))?;
            // Before anything is fetched: what comes earlier would go to the queue that all share.
            let queue = client.consumer.split_partition_queue(topic, partition).ok_or_else(no_queue)?;
            of_topic.push(Some(queue));
        }
        queues.push(of_topic);
    }
    let assigned = match attach {
        Attach::All => client.consumer.assign(&list),
        Attach::More => client.consumer.incremental_assign(&list),
    };
    assigned.map_err(|error| Error::of(&error, "the topics"))?;
    client.starts.lock().unwrap_or_else(PoisonError::into_inner).extend(starts);
    Ok(queues)
}

fn no_queue() -> Error {
    Error::Internal { why: "a partition of the log has no queue".to_owned() }
}

#[cfg(test)]
mod tests {
    use understudy_contract::Class;

    use super::*;

    /// Guards the memory of a worker that is alone with all lanes behind a green that was down for long: it does not grow with their
    /// number, until queues are as small as they may be.
    #[test]
    fn lanes_share_the_memory_of_one() {
        let all = |tables: usize, lanes: usize| {
            let (queue, answer) = bounds(1 + tables, lanes);
            assert!(answer * lanes <= QUEUES_BYTES.max(ANSWER_BYTES_MIN * lanes), "{lanes} lanes");
            queue * (1 + tables) * lanes
        };
        for lanes in [1, 3, 12, 64] {
            assert!(all(1, lanes) <= QUEUES_BYTES, "{lanes} lanes");
            assert!(all(20, lanes) <= QUEUES_BYTES.max(21 * lanes * QUEUE_BYTES_MIN), "{lanes} lanes");
        }
        assert_eq!(bounds(4, 1), (QUEUE_BYTES_MAX, QUEUE_BYTES_MAX));
    }

    /// Guards that a green goes on only in the way that it was begun in: books of lanes beside those of whole transactions keep
    /// everything that is said of green as a whole unknown for good.
    #[test]
    fn the_way_that_green_is_filled_stays() {
        let settings = KafkaSettings::new(vec!["k:9092".to_owned()], "shop");
        let place = |lane| Some(Place { lane, ..Place::start("shop", None) }.to_cursor());
        let whole = [place(None)];
        let laned = [place(Some((0, 2))), place(Some((1, 2)))];
        for (places, lanes) in [(&whole[..], None), (&laned, Some(2)), (&[None, None], Some(3)), (&[], None)]
        {
            assert!(may_go_on(&settings, places, lanes).is_ok());
        }
        for (places, lanes) in
            [(&whole[..], Some(2)), (&laned, None), (&laned, Some(3)), (&[None, laned[1].clone()], None)]
        {
            let failure = may_go_on(&settings, places, lanes).unwrap_err();
            assert_eq!(failure.class(), Class::Configuration);
            assert!(
                failure.remedy_text().is_some_and(|remedy| remedy.contains("`consistency: ")),
                "{failure}"
            );
        }
    }
}
