//! Reads a topic of one partition from its start to where it ended when that began.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use understudy_contract::Failure;

use crate::client::{ANSWER_MAX, Watcher, reader_config};
use crate::error::Error;
use crate::settings::KafkaSettings;

/// How long a look for the next record takes at most.
const LOOK: Duration = Duration::from_millis(500);

/// A record as it stands in its topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scanned<'a> {
    pub(super) offset: i64,
    /// When it was written, milliseconds since 1970-01-01 UTC.
    pub(super) time_ms: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

/// Hands over every committed record that was there when this began. Blocks its thread.
pub(super) fn scan(
    settings: &KafkaSettings,
    topic: &str,
    mut hand: impl FnMut(Scanned<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let watcher = Watcher::default();
    let consumer: BaseConsumer<Watcher> = reader_config(settings, "understudy-replay")
        .create_with_context(watcher.clone())
        .map_err(|error| Error::of(&error, "the Kafka client"))?;
    let (low, high) =
        consumer.fetch_watermarks(topic, 0, ANSWER_MAX).map_err(|error| watcher.judge(&error, topic))?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Offset(low)).map_err(|error| Error::of(&error, topic))?;
    consumer.assign(&from).map_err(|error| watcher.judge(&error, topic))?;
    let mut heard = Instant::now();
    loop {
        match consumer.poll(LOOK) {
            // What has come since is not asked for.
            Some(Ok(message)) if message.offset() >= high => return Ok(()),
            Some(Ok(message)) => {
                heard = Instant::now();
                hand(Scanned {
                    offset: message.offset(),
                    time_ms: message.timestamp().to_millis().unwrap_or(0),
                    key: message.key(),
                    value: message.payload(),
                })?;
                if message.offset() + 1 == high {
                    return Ok(());
                }
            }
            // The last records may be the marks of transactions, which are not handed out.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => {
                let judged = watcher.judge(&error, topic);
                if !matches!(judged, Error::Unreachable { .. }) || heard.elapsed() > ANSWER_MAX {
                    return Err(judged.into());
                }
            }
            None if heard.elapsed() >= ANSWER_MAX => {
                let late =
                    KafkaError::MessageConsumption(rdkafka::error::RDKafkaErrorCode::OperationTimedOut);
                return Err(watcher.judge(&late, topic).into());
            }
            None => {}
        }
    }
}
