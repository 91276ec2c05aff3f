//! Where partitions begin and end, as brokers tell: the one place that asks them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{ANSWER_MAX, Watcher};
use crate::error::Error;

/// Offsets by topic and partition.
pub(crate) type Offsets = BTreeMap<(String, i32), i64>;

/// Pause before brokers are asked again that change places.
const PAUSE: Duration = Duration::from_millis(250);

/// The first or the last offset of each of these partitions, all asked for at once. To whom sees only what is committed, a
/// partition ends where that does. `judge` says what an error about a topic means. Brokers that change places are waited for as
/// long as for an answer. Blocks its thread.
pub(crate) fn offsets(
    consumer: &impl Consumer<Watcher>,
    (partitions, end): (impl IntoIterator<Item = (String, i32)>, Offset),
    judge: impl Fn(&KafkaError, &str) -> Error,
) -> Result<Offsets, Error> {
    let mut asked = TopicPartitionList::new();
    for (topic, partition) in partitions {
        let added = asked.add_partition_offset(&topic, partition, end);
        added.map_err(|error| Error::of(&error, &topic))?;
    }
    if asked.count() == 0 {
        return Ok(Offsets::new());
    }
    let began = Instant::now();
    loop {
        let left = ANSWER_MAX.saturating_sub(began.elapsed());
        let error = match told(consumer, asked.clone(), (left, &judge)) {
            Err(error) if may_pass(&error, began.elapsed()) => error,
            told => return told,
        };
        tracing::debug!(%error, "the brokers are asked again where partitions begin and end");
        std::thread::sleep(PAUSE);
        // Of a partition whose leader has gone, the client says so until it has asked anew who leads: by itself, after minutes.
        let left = ANSWER_MAX.saturating_sub(began.elapsed());
        consumer.client().fetch_metadata(None, left).map_err(|error| judge(&error, "the cluster"))?;
    }
}

/// Whether to ask again, so long after the first time.
fn may_pass(error: &Error, since: Duration) -> bool {
    matches!(error, Error::Unreachable { .. }) && since + PAUSE < ANSWER_MAX
}

/// Asks once.
fn told(
    consumer: &impl Consumer<Watcher>,
    asked: TopicPartitionList,
    (within, judge): (Duration, &impl Fn(&KafkaError, &str) -> Error),
) -> Result<Offsets, Error> {
    let answered = consumer.offsets_for_times(asked, within).map_err(|error| judge(&error, "the topics"))?;
    let mut offsets = Offsets::new();
    for element in answered.elements() {
        let topic = element.topic();
        element.error().map_err(|error| judge(&error, topic))?;
        let Offset::Offset(offset) = element.offset() else {
            return Err(Error::Unreachable { why: format!("no broker tells the offsets of topic {topic}") });
        };
        offsets.insert((topic.to_owned(), element.partition()), offset);
    }
    consumer.context().content();
    Ok(offsets)
}

/// Every partition of topics that have so many.
pub(crate) fn partitions_of<'a>(
    topics: impl IntoIterator<Item = (&'a String, usize)>,
) -> impl Iterator<Item = (String, i32)> {
    let of = |(topic, partitions): (&'a String, usize)| {
        (0..partitions as i32).map(move |partition| (topic.clone(), partition))
    };
    topics.into_iter().flat_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards whoever claims or opens a log while a broker is away: another takes its partitions over within seconds, and what does
    /// not pass is told at once.
    #[test]
    fn brokers_that_change_places_are_asked_again() {
        let away = Error::Unreachable { why: "no leader".to_owned() };
        assert!(may_pass(&away, Duration::ZERO) && may_pass(&away, ANSWER_MAX / 2));
        assert!(!may_pass(&away, ANSWER_MAX));
        for stays in [Error::NoTopic { topic: "t".to_owned() }, Error::Login { why: String::new() }] {
            assert!(!may_pass(&stays, Duration::ZERO), "{stays:?}");
        }
    }
}
