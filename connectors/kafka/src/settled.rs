//! Whether every transaction of earlier captures is finished, as brokers know it.
//!
//! A broker tells that a transaction is committed before its partitions show it. Killed in between, it finishes that once it is
//! back; and a capture that began before would take the log to be shorter than it is, and write over what it has promised.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::client::{ANSWER_MAX, Watcher, reader_config};
use crate::error::Error;
use crate::settings::KafkaSettings;
use crate::topics::Found;

/// How long brokers have to finish what is committed.
const FINISH_MAX: Duration = Duration::from_secs(30);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until nothing is under way in these topics. To be called after older captures were sent away, so that nobody writes.
/// Blocks its thread.
pub(crate) fn await_settled(settings: &KafkaSettings, topics: &BTreeMap<String, Found>) -> Result<(), Error> {
    let (whole, finished) = (ends(settings, "read_uncommitted")?, ends(settings, "read_committed")?);
    let began = Instant::now();
    for (topic, found) in topics {
        for partition in 0..found.partitions as i32 {
            while end(&whole, topic, partition)? != end(&finished, topic, partition)? {
                if began.elapsed() > FINISH_MAX {
                    return Err(Error::Unfinished { topic: topic.clone() });
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
    Ok(())
}

/// Asks where topics end: all of them, or what is committed of them.
fn ends(settings: &KafkaSettings, isolation: &str) -> Result<(BaseConsumer<Watcher>, Watcher), Error> {
    let watcher = Watcher::default();
    let mut config = reader_config(settings, "understudy-reader");
    config.set("isolation.level", isolation);
    let consumer = config.create_with_context(watcher.clone());
    Ok((consumer.map_err(|error| Error::of(&error, "the Kafka client"))?, watcher))
}

fn end(
    (consumer, watcher): &(BaseConsumer<Watcher>, Watcher),
    topic: &str,
    partition: i32,
) -> Result<i64, Error> {
    let ends = consumer.fetch_watermarks(topic, partition, ANSWER_MAX);
    Ok(ends.map_err(|error| watcher.judge(&error, topic))?.1)
}
