//! Removes the topics of a migration.

use std::collections::BTreeSet;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{Producer, ThreadedProducer};
use understudy_contract::Failure;
use understudy_model::TableName;

use crate::client::{Watcher, admin, admin_options, blocking, prober};
use crate::codec::{SchemaRecord, StateKey};
use crate::error::Error;
use crate::names::TopicNames;
use crate::read_all::{Told, read_all};
use crate::settings::KafkaSettings;
use crate::topics::layout;

/// Removes the topics in which a migration keeps its order, its bookkeeping and its requests and, unless rows are to be kept,
/// those that hold rows: of the tables that its bookkeeping names, and of those that are its own, since a
/// start may have been refused them.
/// Their shapes go too where no other table has any there. May be repeated. Returns what was removed, as noun phrases for a person.
/// Whose topics these are is to be asked before: see [`whose`](crate::whose()).
pub async fn forget(
    settings: &KafkaSettings,
    keep_rows: bool,
    is_own: impl Fn(&TableName) -> bool + Send + 'static,
) -> Result<Vec<String>, Failure> {
    let found = found(settings, keep_rows, is_own).await;
    let topics = found.map_err(|error| Failure::from(error).while_doing("look for the topics in Kafka"))?;
    let removed = remove(settings, &topics).await;
    removed.map_err(|error| Failure::from(error).while_doing("remove the topics in Kafka"))
}

/// The topics that there are. Those of the shapes and of the bookkeeping come last: as long as they are there, they name those of
/// the tables, and whose they are. What a migration before has left for others under the same prefix stays.
async fn found(
    settings: &KafkaSettings,
    keep_rows: bool,
    is_own: impl Fn(&TableName) -> bool + Send + 'static,
) -> Result<Vec<String>, Error> {
    let (prober, watcher): (ThreadedProducer<Watcher>, Watcher) = prober(settings)?;
    let (settings, names) = (settings.clone(), TopicNames::new(&settings.topic_prefix));
    blocking(move || {
        let there = layout(prober.client()).map_err(|error| watcher.judge(&error, "the cluster"))?;
        let is_there = |topic: &String| there.contains_key(topic);
        let (mut tables, mut keeps_shapes) = (BTreeSet::new(), keep_rows);
        if !keep_rows && is_there(&names.state()) {
            tables = captured_tables(&settings, &names.state())?;
        }
        if !keep_rows && is_there(&names.schema()) {
            let shaped = shaped_tables(&settings, &names.schema())?;
            let (own, others): (BTreeSet<_>, BTreeSet<_>) =
                shaped.into_iter().partition(|table| tables.contains(table) || is_own(table));
            keeps_shapes = others.iter().any(|table| is_there(&names.table(table)));
            tables.extend(own);
        }
        let shapes = (!keeps_shapes).then(|| names.schema());
        let own =
            [names.order(), names.requests(), names.lanes()].into_iter().chain(shapes).chain([names.state()]);
        Ok(tables.iter().map(|table| names.table(table)).chain(own).filter(is_there).collect())
    })
    .await
}

/// The tables that the bookkeeping of a capture names. Blocks its thread.
fn captured_tables(settings: &KafkaSettings, state: &str) -> Result<BTreeSet<TableName>, Error> {
    let mut tables = BTreeSet::new();
    read_all(settings, state, |key, _| {
        if let Ok(StateKey::Route { source: table } | StateKey::Schema { table }) = StateKey::from_bytes(key)
        {
            tables.insert(table);
        }
        Told::GoOn
    })?;
    Ok(tables)
}

/// The tables of which there are shapes. Blocks its thread.
fn shaped_tables(settings: &KafkaSettings, schema: &str) -> Result<BTreeSet<TableName>, Error> {
    let mut tables = BTreeSet::new();
    read_all(settings, schema, |_, value| {
        if let Some(Ok(shape)) = value.map(SchemaRecord::from_json) {
            tables.insert(shape.table);
        }
        Told::GoOn
    })?;
    Ok(tables)
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
