//! Taking the migration over: sends older captures away, reads the books, and sees to the topics.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rdkafka::producer::Producer;
use understudy_contract::{Class, Failure, Saved};
use understudy_model::{RouteId, TableName};

use super::books::Books;
use super::tables::{CapturedTable, Table, Tables};
use super::transaction::Pen;
use super::{KafkaSink, OpenSpan};
use crate::client::{ANSWER_MAX, admin, blocking};
use crate::codec::{CodecError, FoldedState, SchemaRecord, StateFold, TableCodec};
use crate::error::Error;
use crate::names::TopicNames;
use crate::read_all::{Told, read_all};
use crate::settings::KafkaSettings;
use crate::settled::await_settled;
use crate::topics::{self, Found, TopicSpec};

impl KafkaSink {
    /// Sends older captures away, then reads what the last one has left. Topics that are missing are made, unless the books
    /// say that they were there.
    pub(super) async fn take(&mut self) -> Result<Option<Saved>, Failure> {
        let pen = Arc::clone(&self.pen);
        let (fencing, settings) = (Arc::clone(&pen), self.settings.clone());
        let (there, folded, shapes) = {
            let routes = self.routes();
            blocking(move || {
                fencing.fence()?;
                left_behind(&fencing, &settings, &routes)
            })
            .await?
        };
        let folded = folded?;
        self.see_to_topics(there, folded.as_ref()).await?;
        let saved = folded.as_ref().map(|folded| folded.saved.clone());
        self.books = folded.map(Books::of).unwrap_or_default();
        self.tables = self.shaped(&shapes)?;
        self.open = None::<OpenSpan>;
        self.claimed = true;
        Ok(saved)
    }

    fn routes(&self) -> HashMap<TableName, RouteId> {
        self.captured.iter().map(|table| (table.relation.name.clone(), table.route)).collect()
    }

    /// Makes what is missing, and refuses what is not as it must be.
    async fn see_to_topics(
        &self,
        mut there: BTreeMap<String, Found>,
        folded: Option<&FoldedState>,
    ) -> Result<(), Failure> {
        let names = TopicNames::new(&self.settings.topic_prefix);
        let tables = self.captured.iter().map(|table| &table.relation.name);
        let specs = TopicSpec::all(&self.settings, &names, tables);
        let is_missing = |spec: &&TopicSpec| !there.contains_key(&spec.name);
        let missing = specs.iter().filter(is_missing).cloned().collect::<Vec<_>>();
        if let Some(gone) = folded.and_then(|folded| self.gone(&names, &missing, folded)) {
            return Err(Error::NoTopic { topic: gone }.into());
        }
        let admin = admin(&self.settings)?;
        if !missing.is_empty() {
            let made = topics::create(&admin, &self.settings, &missing, false).await;
            let refused = made.map_err(|error| self.pen.watcher.judge(&error, "the cluster"))?;
            if let Some((topic, code)) = refused.first() {
                return Err(Failure::from(Error::of_code(*code, topic)).while_doing("make the topics"));
            }
            let (pen, awaited) = (Arc::clone(&self.pen), missing.clone());
            there = blocking(move || topics::await_topics(pen.producer.client(), &awaited)).await?;
        }
        there.retain(|name, _| specs.iter().any(|spec| spec.name == *name));
        let described = topics::describe(&admin, &mut there).await;
        described.map_err(|error| self.pen.watcher.judge(&error, "the cluster"))?;
        for spec in &specs {
            let Some(found) = there.get(&spec.name) else { continue };
            for difference in spec.compare(found) {
                let (topic, remedy) = (&spec.name, difference.remedy(&spec.name));
                match difference {
                    topics::Difference::Partitions { expected, found } if folded.is_some() => {
                        let topic = topic.clone();
                        return Err(Error::Partitions { topic, expected, found }.into());
                    }
                    grave if grave.is_grave() => {
                        let cause = format!("topic {topic} cannot be used: {grave}");
                        return Err(Failure::new(Class::Configuration, cause).remedy(remedy));
                    }
                    slight => tracing::warn!("topic {topic}: {slight}; {remedy}"),
                }
            }
        }
        Ok(())
    }

    /// A missing topic that was there, and held what nobody can write again.
    fn gone(&self, names: &TopicNames, missing: &[TopicSpec], folded: &FoldedState) -> Option<String> {
        let followed = |table: &&CapturedTable| folded.routes.contains_key(&table.route);
        let of_tables = self.captured.iter().filter(followed).map(|table| names.table(&table.relation.name));
        let own = [names.order(), names.schema(), names.requests()];
        own.into_iter().chain(of_tables).find(|name| missing.iter().any(|spec| spec.name == *name))
    }

    /// The tables in their shapes: the newest that readers know, or one after it where blue's table is another now.
    fn shaped(&self, known: &HashMap<(TableName, u32), SchemaRecord>) -> Result<Tables, Failure> {
        let prefix = &self.settings.topic_prefix;
        let shaped = self.captured.iter().map(|table| {
            let name = &table.relation.name;
            let last = self.books.schemas.get(name).copied().unwrap_or(0);
            let same = known
                .get(&(name.clone(), last))
                .filter(|known| known.is_like(&SchemaRecord::of(&table.relation, last, &table.key)));
            let is_new = same.is_none();
            let schema = match same {
                Some(known) => known.clone(),
                None => SchemaRecord::of(&table.relation, last + 1, &table.key),
            };
            Ok(Table {
                route: table.route,
                name: name.clone(),
                id: table.relation.id,
                key: table.key.clone(),
                fingerprint: table.fingerprint.clone(),
                relation: table.relation.clone(),
                codec: TableCodec::new(&schema, prefix, &self.database)?,
                version: schema.version,
                is_new,
            })
        });
        let shaped = shaped.collect::<Result<Vec<_>, Failure>>()?;
        Ok(Tables::new(shaped, self.settings.partitions))
    }
}

/// The topics that are there, what the books say, and the shapes that readers know.
type Left = (
    BTreeMap<String, Found>,
    Result<Option<FoldedState>, CodecError>,
    HashMap<(TableName, u32), SchemaRecord>,
);

/// Reads what the last capture has left. Blocks its thread.
fn left_behind(
    pen: &Pen,
    settings: &KafkaSettings,
    routes: &HashMap<TableName, RouteId>,
) -> Result<Left, Error> {
    let client = pen.producer.client();
    let there = topics::layout(client).map_err(|error| pen.watcher.judge(&error, "the cluster"))?;
    let names = TopicNames::new(&settings.topic_prefix);
    let ours = |name: &String| {
        pen.topics.tables.contains(name) || [names.order(), names.schema(), names.state()].contains(name)
    };
    let written =
        there.iter().filter(|(name, _)| ours(name)).map(|(name, found)| (name.clone(), found.clone()));
    await_settled(settings, &written.collect())?;
    let mut fold = StateFold::default();
    let mut unread = None;
    if there.contains_key(&pen.topics.state) {
        read_all(settings, &pen.topics.state, |key, value| match fold.apply(key, value) {
            Ok(()) => Told::GoOn,
            Err(error) => {
                unread = Some(error);
                Told::Stop
            }
        })?;
    }
    let folded = match unread {
        Some(error) => Err(error),
        None => fold.finish(|table| routes.get(table).copied()),
    };
    if let (Ok(folded), true) = (&folded, there.contains_key(&pen.topics.order)) {
        check_order(pen, settings, folded.as_ref())?;
    }
    if let Ok(None) = &folded {
        check_rows(pen, &there)?;
    }
    let mut shapes = HashMap::new();
    if matches!(folded, Ok(Some(_))) && there.contains_key(&pen.topics.schema) {
        let mut torn = false;
        read_all(settings, &pen.topics.schema, |_, value| {
            match value.map(SchemaRecord::from_json) {
                Some(Ok(shape)) => drop(shapes.insert((shape.table.clone(), shape.version), shape)),
                Some(Err(_)) => torn = true,
                None => {}
            }
            Told::GoOn
        })?;
        if torn {
            let why = "a shape of a table in it cannot be read".to_owned();
            return Err(Error::Torn { topic: pen.topics.schema.clone(), why });
        }
    }
    Ok((there, folded, shapes))
}

/// Books and groups are written together: neither can be there without the other, unless a topic was lost and made anew.
fn check_order(pen: &Pen, settings: &KafkaSettings, folded: Option<&FoldedState>) -> Result<(), Error> {
    let topic = pen.topics.order.clone();
    match folded {
        Some(folded) if folded.group > 0 => {
            let ends = pen.producer.client().fetch_watermarks(&topic, 0, ANSWER_MAX);
            let (_, end) = ends.map_err(|error| pen.watcher.judge(&error, &topic))?;
            let why = "it is empty, though groups were written".to_owned();
            if end == 0 { Err(Error::Torn { topic, why }) } else { Ok(()) }
        }
        Some(_) => Ok(()),
        None => {
            let mut holds_some = false;
            read_all(settings, &topic, |_, _| {
                holds_some = true;
                Told::Stop
            })?;
            let why = format!("it holds groups, but {} knows of none", pen.topics.state);
            if holds_some { Err(Error::Torn { topic, why }) } else { Ok(()) }
        }
    }
}

/// Rows come after books. Those of a migration that was finished may stay for others to read; the groups of another one would
/// begin at the same numbers, and whoever reads could not tell its rows from these.
fn check_rows(pen: &Pen, there: &BTreeMap<String, Found>) -> Result<(), Error> {
    for topic in &pen.topics.tables {
        let partitions = there.get(topic).map_or(0, |found| found.partitions);
        for partition in 0..partitions as i32 {
            let ends = pen.producer.client().fetch_watermarks(topic, partition, ANSWER_MAX);
            let (first, end) = ends.map_err(|error| pen.watcher.judge(&error, topic))?;
            if first < end {
                let why = format!("it holds rows, but {} knows of none", pen.topics.state);
                return Err(Error::Torn { topic: topic.clone(), why });
            }
        }
    }
    Ok(())
}
