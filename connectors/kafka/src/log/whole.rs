//! Reads the shapes of all tables.

use understudy_contract::Failure;

use crate::client::blocking;
use crate::codec::SchemaRecord;
use crate::error::Error;
use crate::names::TopicNames;
use crate::read_all::{Told, read_all};
use crate::settings::KafkaSettings;

/// Everything that the schema topic holds now.
pub(super) async fn read_shapes(settings: &KafkaSettings) -> Result<Vec<SchemaRecord>, Failure> {
    let settings = settings.clone();
    let topic = TopicNames::new(settings.topic_prefix.clone()).schema();
    let reading = format!("read topic {topic}");
    let read = blocking(move || {
        let mut values = Vec::new();
        read_all(&settings, &topic, |_, value| {
            values.extend(value.map(<[u8]>::to_vec));
            Told::GoOn
        })?;
        Ok::<_, Error>(values)
    });
    let values = read.await.map_err(|error| Failure::from(error).while_doing(reading.clone()))?;
    let shapes = values.iter().map(|value| SchemaRecord::from_json(value));
    shapes.collect::<Result<_, _>>().map_err(|error| Failure::from(error).while_doing(reading))
}
