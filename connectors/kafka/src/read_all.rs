//! Reads everything that a topic of one partition holds now.

use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{ANSWER_MAX, Watcher, reader_config};
use crate::error::Error;
use crate::settings::KafkaSettings;

/// Whether to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    GoOn,
    Stop,
}

/// Hands over key and value of every committed record, in order. Blocks its thread.
pub(crate) fn read_all(
    settings: &KafkaSettings,
    topic: &str,
    mut hand: impl FnMut(&[u8], Option<&[u8]>) -> Told,
) -> Result<(), Error> {
    let watcher = Watcher::default();
    let consumer: BaseConsumer<Watcher> = reader_config(settings, "understudy-reader")
        .create_with_context(watcher.clone())
        .map_err(|error| Error::of(&error, "the Kafka client"))?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning).map_err(|error| Error::of(&error, topic))?;
    consumer.assign(&from).map_err(|error| watcher.judge(&error, topic))?;
    let mut heard = Instant::now();
    loop {
        match consumer.poll(ANSWER_MAX) {
            Some(Ok(message)) => {
                heard = Instant::now();
                if hand(message.key().unwrap_or_default(), message.payload()) == Told::Stop {
                    return Ok(());
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => {
                // What is only unreachable may come back within the time that it has.
                let judged = watcher.judge(&error, topic);
                if !matches!(judged, Error::Unreachable { .. }) || heard.elapsed() > ANSWER_MAX {
                    return Err(judged);
                }
            }
            None if heard.elapsed() >= ANSWER_MAX => {
                return Err(watcher.judge(
                    &KafkaError::MessageConsumption(rdkafka::error::RDKafkaErrorCode::OperationTimedOut),
                    topic,
                ));
            }
            None => {}
        }
    }
}
