//! Removes the topics of a migration.

use std::collections::BTreeSet;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{Producer, ThreadedProducer};
use understudy_contract::Failure;

use crate::client::{Watcher, admin, admin_options, blocking, prober};
use crate::codec::SchemaRecord;
use crate::error::Error;
use crate::names::TopicNames;
use crate::read_all::{Told, read_all};
use crate::settings::KafkaSettings;
use crate::topics::layout;

/// Removes the topics in which a migration keeps its order, its bookkeeping and its requests and, unless rows are to be kept,
/// those that hold rows of its tables, and their shapes. May be repeated. Returns what was removed, as noun phrases for a person.
/// Whose topics these are is to be asked before: see [`whose`](crate::whose()).
pub async fn forget(settings: &KafkaSettings, keep_rows: bool) -> Result<Vec<String>, Failure> {
    let found = found(settings, keep_rows).await;
    let topics = found.map_err(|error| Failure::from(error).while_doing("look for the topics in Kafka"))?;
    let removed = remove(settings, &topics).await;
    removed.map_err(|error| Failure::from(error).while_doing("remove the topics in Kafka"))
}

/// The topics that there are. Those of the shapes and of the bookkeeping come last: as long as they are there, they name those of
/// the tables, and whose they are.
async fn found(settings: &KafkaSettings, keep_rows: bool) -> Result<Vec<String>, Error> {
    let (prober, watcher): (ThreadedProducer<Watcher>, Watcher) = prober(settings)?;
    let (settings, names) = (settings.clone(), TopicNames::new(&settings.topic_prefix));
    blocking(move || {
        let there = layout(prober.client()).map_err(|error| watcher.judge(&error, "the cluster"))?;
        let mut tables = BTreeSet::new();
        if !keep_rows && there.contains_key(&names.schema()) {
            read_all(&settings, &names.schema(), |_, value| {
                if let Some(Ok(shape)) = value.map(SchemaRecord::from_json) {
                    tables.insert(names.table(&shape.table));
                }
                Told::GoOn
            })?;
        }
        let shapes = (!keep_rows).then(|| names.schema());
        let own =
            [names.order(), names.requests(), names.lanes()].into_iter().chain(shapes).chain([names.state()]);
        Ok(tables.into_iter().chain(own).filter(|topic| there.contains_key(topic)).collect())
    })
    .await
}

async fn remove(settings: &KafkaSettings, topics: &[String]) -> Result<Vec<String>, Error> {
    let admin = admin(settings)?;
    let mut removed = Vec::new();
    for topic in topics {
        let deleted = admin.delete_topics(&[topic], &admin_options()).await;
        for outcome in deleted.map_err(|error| Error::of(&error, topic))? {
            match outcome {
                Ok(_) => removed.push(format!("topic {topic} in Kafka")),
                Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((topic, code)) => return Err(Error::of_code(code, &topic)),
            }
        }
    }
    Ok(removed)
}
