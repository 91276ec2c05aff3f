//! Reads a topic of one partition from its start to where it ended when that began.

use rdkafka::message::Message;
use understudy_contract::Failure;

use crate::read_all::{Stretch, Told, extent, read};
use crate::settings::KafkaSettings;

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
    let stretch = Stretch::committed(topic, 0, extent(settings, topic)?);
    let mut handed = Ok(());
    read(settings, stretch, |message| {
        handed = hand(Scanned {
            offset: message.offset(),
            time_ms: message.timestamp().to_millis().unwrap_or(0),
            key: message.key(),
            value: message.payload(),
        });
        if handed.is_ok() { Told::GoOn } else { Told::Stop }
    })?;
    handed
}
