//! Taking the migration over: refuses what does not fit, sends older captures away, reads the books, and sees to the topics.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::Producer;
use understudy_contract::{Class, Failure, Saved};
use understudy_model::{RouteId, TableName};

use super::books::Books;
use super::left::{Left, is_all_or_nothing, naming, refuse_remains, take_over, topics as look_for_topics};
use super::tables::{CapturedTable, Table, Tables};
use super::turn::Register;
use super::{KafkaSink, OpenSpan};
use crate::client::{admin, blocking};
use crate::codec::{FoldedState, SchemaRecord, StateKey};
use crate::error::Error;
use crate::names::TopicNames;
use crate::settings::KafkaSettings;
use crate::topics::{self, Found, TopicSpec};

/// Pause between two looks at that.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

impl KafkaSink {
    /// Sends older captures away, then reads what the last one has left. Topics that are missing are made, unless the books
    /// say that they were there. What can be refused is refused before anybody is sent away, and no other capture ends before
    /// all of it has gone well: see `turn`.
    pub(super) async fn take(&mut self) -> Result<Option<Saved>, Failure> {
        let register = self.first_look().await?;
        let (pen, routes) = (Arc::clone(&self.pen), self.routes());
        let left = blocking(move || take_over(&pen, register, &routes)).await?;
        let Left { there, mut folded, shapes } = left;
        self.see_to_topics(there, folded.as_ref()).await?;
        let pen = Arc::clone(&self.pen);
        blocking(move || pen.write(naming(&pen)).map(drop)).await?;
        let unfit = folded.as_mut().map(|folded| self.drop_unfit(folded)).unwrap_or_default();
        let saved = folded.as_ref().map(|folded| folded.saved.clone());
        self.books = folded.map(Books::of).unwrap_or_default();
        self.books.void(unfit);
        for table in &self.captured {
            self.notes.set_planned(table.route, self.books.planned_of(table.route));
        }
        self.tables = self.shaped(&shapes)?;
        self.open = None::<OpenSpan>;
        self.claimed = true;
        Ok(saved)
    }

    fn routes(&self) -> HashMap<TableName, RouteId> {
        self.captured.iter().map(|table| (table.relation.name.clone(), table.route)).collect()
    }

    /// Rows that wait to be read again by a key that their table no longer has cannot be read. Whoever had asked for them has
    /// to copy the table again in any case.
    fn drop_unfit(&self, folded: &mut FoldedState) -> Vec<StateKey> {
        let captured = |route: &RouteId| self.captured.iter().find(|table| table.route == *route);
        let mut unfit = Vec::new();
        folded.saved.heals.retain(|(route, key)| match captured(route) {
            Some(table) if !table.has_key_like(&key.blue) => {
                let source = table.relation.name.clone();
                unfit.push(StateKey::Heal { source, key: key.blue.clone() });
                false
            }
            Some(_) | None => true,
        });
        if !unfit.is_empty() {
            tracing::warn!(
                rows = unfit.len(),
                "rows that wait to be read again do not fit their table's key: left out"
            );
        }
        unfit
    }

    /// Refuses, before anything is touched, what would be refused later on: the log of another migration, and topics that are
    /// not as they must be. The topic of the bookkeeping is made where nothing was begun.
    async fn first_look(&self) -> Result<Register, Failure> {
        let pen = Arc::clone(&self.pen);
        let looked = blocking(move || {
            let register = Register::new(&pen.settings)?;
            let there =
                look_for_topics(&pen, register.surveyor(), |there| is_all_or_nothing(&pen.topics, there))?;
            if !there.contains_key(&pen.topics.state) {
                refuse_remains(&pen, (register.surveyor(), &there))?;
            }
            Ok((register, there))
        });
        let (register, mut there) = looked.await?;
        let admin = admin(&self.settings)?;
        if !there.contains_key(&self.pen.topics.state) {
            let mut state = self.specs();
            state.retain(|spec| spec.name == self.pen.topics.state);
            self.make(&admin, &state).await?;
        }
        let pen = Arc::clone(&self.pen);
        let register = blocking(move || register.first_look(&pen)).await?;
        self.describe(&admin, (&mut there, &[])).await?;
        self.compare(&there, register.whose().has_begun())?;
        Ok(register)
    }

    /// The topics as they should be.
    fn specs(&self) -> Vec<TopicSpec> {
        let names = TopicNames::new(&self.settings.topic_prefix);
        let tables = self.captured.iter().map(|table| &table.relation.name);
        TopicSpec::all(&self.settings, &names, tables)
    }

    /// Makes topics, and gives all that there are.
    async fn make(
        &self,
        admin: &AdminClient<DefaultClientContext>,
        missing: &[TopicSpec],
    ) -> Result<BTreeMap<String, Found>, Failure> {
        let settings = self.making(admin).await?;
        let made = topics::create(admin, &settings, missing, false).await;
        let refused = made.map_err(|error| self.pen.watcher.judge(&error, "the cluster"))?;
        if let Some((topic, code)) = refused.first() {
            return Err(Failure::from(Error::of_code(*code, topic)).while_doing("make the topics"));
        }
        let (pen, awaited) = (Arc::clone(&self.pen), missing.to_vec());
        Ok(blocking(move || topics::await_topics(pen.producer.client(), &awaited)).await?)
    }

    /// Makes what is missing, and refuses what is not as it must be.
    async fn see_to_topics(
        &self,
        mut there: BTreeMap<String, Found>,
        folded: Option<&FoldedState>,
    ) -> Result<(), Failure> {
        let names = TopicNames::new(&self.settings.topic_prefix);
        let specs = self.specs();
        let is_missing = |spec: &&TopicSpec| !there.contains_key(&spec.name);
        let missing = specs.iter().filter(is_missing).cloned().collect::<Vec<_>>();
        if let Some(gone) = folded.and_then(|folded| self.gone(&names, &missing, folded)) {
            let (pen, told) = (Arc::clone(&self.pen), Error::NoTopic { topic: gone.clone() });
            // Other brokers may know of it.
            let doubted = move || {
                let asked = (pen.producer.client(), &pen.watcher);
                Err(topics::doubted(told, asked, std::iter::once(gone.as_str())))
            };
            return Ok(blocking(doubted).await?);
        }
        if folded.is_some() && missing.iter().any(|spec| spec.name == names.requests()) {
            tracing::warn!(topic = names.requests(), "the requests topic is gone: it is made anew");
        }
        let admin = admin(&self.settings)?;
        if !missing.is_empty() {
            there = self.make(&admin, &missing).await?;
        }
        there.retain(|name, _| specs.iter().any(|spec| spec.name == *name));
        self.describe(&admin, (&mut there, &missing)).await?;
        let single = there.values().filter(|found| found.replicas == 1).count();
        if single > 0 {
            tracing::warn!(
                topics = single,
                "one replica holds all that is written: with its broker it is lost"
            );
        }
        for warning in self.compare(&there, folded.is_some())? {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    /// Refuses topics that cannot be written to, and says what else is not as it should be.
    fn compare(&self, there: &BTreeMap<String, Found>, has_begun: bool) -> Result<Vec<String>, Failure> {
        let mut slight = Vec::new();
        for spec in self.specs() {
            let Some(found) = there.get(&spec.name) else { continue };
            for difference in spec.compare(&self.settings, found) {
                let (topic, remedy) = (&spec.name, difference.remedy(&spec.name));
                match difference {
                    topics::Difference::Partitions { expected, found } if has_begun => {
                        let topic = topic.clone();
                        return Err(Error::Partitions { topic, expected, found }.into());
                    }
                    grave if grave.is_grave() => {
                        let cause = format!("topic {topic} cannot be used: {grave}");
                        return Err(Failure::new(Class::Configuration, cause).remedy(remedy));
                    }
                    other => slight.push(format!("topic {topic}: {other}; {remedy}")),
                }
            }
        }
        Ok(slight)
    }

    /// Adds what the brokers have set for topics. One may know of a topic that was made a moment ago, and not yet what it was made
    /// with.
    async fn describe(
        &self,
        admin: &AdminClient<DefaultClientContext>,
        (there, made): (&mut BTreeMap<String, Found>, &[TopicSpec]),
    ) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let described = topics::describe(admin, there).await;
            described.map_err(|error| self.pen.watcher.judge(&error, "the cluster"))?;
            let differs = |spec: &TopicSpec, found: &Found| {
                spec.compare(&self.settings, found).iter().any(topics::Difference::is_grave)
            };
            let is_known = |spec: &TopicSpec| there.get(&spec.name).is_none_or(|found| !differs(spec, found));
            if made.iter().all(is_known) || began.elapsed() > self.settings.patience {
                return Ok(());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// The settings that topics are made with: where nobody says how many replicas they get, as many as the brokers would make,
    /// so that what follows from their number can be set too.
    async fn making(&self, admin: &AdminClient<DefaultClientContext>) -> Result<KafkaSettings, Failure> {
        let mut settings = self.settings.clone();
        if settings.replication_factor.is_none() {
            let pen = Arc::clone(&self.pen);
            let brokers = blocking(move || {
                let brokers = topics::brokers(pen.producer.client());
                brokers.map_err(|error| pen.watcher.judge(&error, "the cluster"))
            });
            if let Some(broker) = brokers.await?.first() {
                settings.replication_factor = topics::default_replicas(admin, *broker).await;
            }
        }
        Ok(settings)
    }

    /// A missing topic that was there, and held what nobody can write again.
    fn gone(&self, names: &TopicNames, missing: &[TopicSpec], folded: &FoldedState) -> Option<String> {
        let followed = |table: &&CapturedTable| folded.routes.contains_key(&table.route);
        let of_tables = self.captured.iter().filter(followed).map(|table| names.table(&table.relation.name));
        // Rows that were asked for in a requests topic that is gone, applies ask for again.
        let own = [names.order(), names.schema()];
        own.into_iter().chain(of_tables).find(|name| missing.iter().any(|spec| spec.name == *name))
    }

    /// The tables in their shapes: the newest that readers know, or one after it where blue's table is another now.
    fn shaped(&self, known: &HashMap<(TableName, u32), SchemaRecord>) -> Result<Tables, Failure> {
        let prefix = &self.settings.topic_prefix;
        let shaped = self.captured.iter().map(|table| {
            let last = self.books.schemas.get(&table.relation.name).copied();
            Table::new(table, of_table(&table.relation.name, known, last), (prefix, &self.database))
        });
        let shaped = shaped.collect::<Result<Vec<_>, Failure>>()?;
        Ok(Tables::new(shaped, self.settings.partitions))
    }
}

/// The shapes of a table that its rows may come in again, and the newest version that readers know. `last` is the newest that the
/// books tell of. Without, all that there are come from an earlier migration under this name: versions go on behind them, since
/// readers may meet both.
fn of_table(
    name: &TableName,
    known: &HashMap<(TableName, u32), SchemaRecord>,
    last: Option<u32>,
) -> (Vec<SchemaRecord>, u32) {
    let of_table = known.values().filter(|shape| shape.table == *name);
    match last {
        Some(last) => (of_table.filter(|shape| shape.version <= last).cloned().collect(), last),
        None => (Vec::new(), of_table.map(|shape| shape.version).max().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use understudy_model::{RelationId, ReplicaIdentity};

    use super::*;

    /// Guards that a migration which begins where another one was finished gives its shapes no version that readers know
    /// already: they would read its rows in the shape of before.
    #[test]
    fn versions_go_on_behind_those_of_an_earlier_migration() {
        let name = |table: &str| TableName::new("public", table);
        let shape = |table: &str, version| SchemaRecord {
            table: name(table),
            id: RelationId(7),
            version,
            identity: ReplicaIdentity::Default,
            columns: Vec::new(),
        };
        let known = [shape("t", 1), shape("t", 2), shape("u", 5)];
        let known = known.into_iter().map(|shape| ((shape.table.clone(), shape.version), shape)).collect();
        let versions = |table: &str, last| {
            let (shapes, last) = of_table(&name(table), &known, last);
            let mut versions = shapes.iter().map(|shape| shape.version).collect::<Vec<_>>();
            versions.sort_unstable();
            (versions, last)
        };
        assert_eq!(versions("t", Some(2)), (vec![1, 2], 2));
        assert_eq!(versions("t", Some(1)), (vec![1], 1));
        assert_eq!(versions("t", None), (vec![], 2));
        assert_eq!(versions("new", None), (vec![], 0));
    }
}
