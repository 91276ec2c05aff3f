//! Connecting a sink, before it owns anything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rdkafka::producer::Producer;
use understudy_contract::{Class, Failure};

use super::books::Books;
use super::marks::Marks;
use super::tables::Tables;
use super::transaction::{Pen, Topics};
use super::{CaptureNotes, CapturedTable, KafkaSink};
use crate::client::{blocking, producer};
use crate::codec::colliding_tables;
use crate::names::TopicNames;
use crate::owner::Claimant;
use crate::settings::KafkaSettings;
use crate::topics::layout;

/// Under which id a capture writes. Whoever begins under it sends its predecessors away.
pub fn transactional_id(topic_prefix: &str) -> String {
    format!("understudy-{topic_prefix}-capture")
}

impl KafkaSink {
    /// Connects to Kafka, for whom, and for tables in the order of their routes. Owns nothing yet, and makes nothing.
    pub async fn connect(
        settings: &KafkaSettings,
        claimant: Claimant,
        tables: Vec<CapturedTable>,
    ) -> Result<KafkaSink, Failure> {
        let names = TopicNames::new(&settings.topic_prefix);
        check(&names, &tables)?;
        let (producer, watcher) = producer(settings, &transactional_id(&settings.topic_prefix))?;
        let probe = Arc::clone(&producer);
        let judge = watcher.clone();
        blocking(move || layout(probe.client()).map_err(|error| judge.judge(&error, "the cluster")))
            .await
            .map_err(|error| Failure::from(error).while_doing("connect to Kafka"))?;
        let of_table = |table: &CapturedTable| {
            let name = &table.relation.name;
            (names.table(name), name.clone(), table.relation.id)
        };
        let captured = tables.iter().map(of_table).collect::<Vec<_>>();
        let topics = Topics {
            tables: captured.iter().map(|(topic, ..)| topic.clone()).collect(),
            order: names.order(),
            schema: names.schema(),
            state: names.state(),
        };
        let abandoned = AtomicBool::new(false);
        let pen = Pen {
            settings: settings.clone(),
            claimant: claimant.clone(),
            producer,
            watcher,
            topics,
            captured,
            abandoned,
        };
        let partitions = settings.partitions;
        Ok(KafkaSink {
            settings: settings.clone(),
            database: claimant.owner.database.clone(),
            captured: tables,
            pen: Arc::new(pen),
            tables: Tables::new(Vec::new(), settings.partitions),
            books: Books::default(),
            open: None,
            notes: CaptureNotes::default(),
            finished: VecDeque::new(),
            under_way: None,
            spare: Vec::new(),
            marks: Marks::new(partitions),
            claimed: false,
        })
    }
}

/// Refuses what could not be written without a doubt about what is what.
fn check(names: &TopicNames, tables: &[CapturedTable]) -> Result<(), Failure> {
    let in_order = tables.iter().enumerate().all(|(place, table)| table.route.index() == place);
    if !in_order {
        return Err(Failure::new(Class::Internal, "captured tables are not in the order of their routes"));
    }
    if let Some(table) = tables.iter().find(|table| table.key.is_empty()) {
        let cause = format!("{} has no key, and what goes through Kafka needs one", table.relation.name);
        return Err(Failure::new(Class::Configuration, cause).remedy("give the table a primary key"));
    }
    if let Some((one, other)) = colliding_tables(names, tables.iter().map(|table| &table.relation.name)) {
        let cause = if one == other {
            format!("{one} would have a topic that Understudy needs for itself")
        } else {
            format!("{one} and {other} would have topics that Kafka takes for one")
        };
        let remedy = "leave one of them out of `tables`, or rename it on blue";
        return Err(Failure::new(Class::Configuration, cause).remedy(remedy));
    }
    Ok(())
}
