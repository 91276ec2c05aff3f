//! What stands in the topics of a migration, as a reader that sees committed records only.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};
use understudy_kafka::TopicNames;
use understudy_kafka::codec::{DataHeaders, Group};

/// How long a broker may take to answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The topics below a prefix.
pub(in crate::kafka) struct Topics {
    bootstrap: String,
    pub(super) names: TopicNames,
}

impl Topics {
    pub(in crate::kafka) fn new(bootstrap: &str, prefix: &str) -> Topics {
        Topics { bootstrap: bootstrap.to_owned(), names: TopicNames::new(prefix) }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    /// All committed records of a topic, with their partitions, those of a partition in order.
    pub(super) async fn records(&self, topic: &str, partitions: i32) -> Vec<OwnedMessage> {
        self.records_as(topic, partitions, "read_committed").await
    }

    /// The same with those that were given up, as a consumer sees them that does not ask for committed ones alone.
    pub(super) async fn all_records(&self, topic: &str, partitions: i32) -> Vec<OwnedMessage> {
        self.records_as(topic, partitions, "read_uncommitted").await
    }

    async fn records_as(&self, topic: &str, partitions: i32, isolation: &str) -> Vec<OwnedMessage> {
        let mut config = self.config();
        config
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true");
        config.set("isolation.level", isolation).set("check.crcs", "true");
        let topic = topic.to_owned();
        let reading = move || {
            let consumer: BaseConsumer = config.create().unwrap();
            let mut from = TopicPartitionList::new();
            for partition in 0..partitions {
                from.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
            }
            consumer.assign(&from).unwrap();
            let (mut records, mut ended) = (Vec::new(), 0);
            while ended < partitions {
                match consumer.poll(ANSWER_MAX).expect("the topic can be read") {
                    Ok(message) => records.push(message.detach()),
                    Err(KafkaError::PartitionEOF(_)) => ended += 1,
                    Err(error) => panic!("read {topic}: {error}"),
                }
            }
            records
        };
        tokio::task::spawn_blocking(reading).await.unwrap()
    }

    /// All groups. Their numbers go up by one, and for each of them every partition holds as many records as it says.
    pub(in crate::kafka) async fn groups(&self, partitions: i32) -> Vec<Group> {
        let records = self.records(&self.names.order(), 1).await;
        let groups = records.iter().map(|record| Group::from_json(record.payload().unwrap()).unwrap());
        let groups = groups.collect::<Vec<_>>();
        let numbers = groups.iter().map(|group| group.number).collect::<Vec<_>>();
        let expected = (1..=groups.len() as u64).collect::<Vec<_>>();
        assert_eq!(numbers, expected, "the numbers of groups have gaps or repeat");
        self.are_counted(&groups, partitions).await;
        groups
    }

    async fn are_counted(&self, groups: &[Group], partitions: i32) {
        let mut told: BTreeMap<String, BTreeMap<(u64, u32), u64>> = BTreeMap::new();
        for group in groups {
            for table in &group.tables {
                let of_table = told.entry(self.names.table(&table.name)).or_default();
                of_table.extend(
                    table.records.iter().map(|(partition, count)| ((group.number, *partition), *count)),
                );
            }
        }
        for (topic, told) in told {
            let mut found: BTreeMap<(u64, u32), u64> = BTreeMap::new();
            for record in self.records(&topic, partitions).await {
                let partition = u32::try_from(record.partition()).unwrap();
                *found.entry((headers(&record).group, partition)).or_default() += 1;
            }
            assert_eq!(told, found, "{topic} does not hold what its groups say");
        }
    }

    /// Deletes what stands before an offset.
    pub(super) async fn shorten(&self, topic: &str, partition: i32, before: Offset) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, before).unwrap();
        let deleted = self.admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
        deleted.elements().iter().for_each(|element| element.error().unwrap());
    }

    /// Makes a topic by hand.
    pub(super) async fn make(&self, topic: &str, settings: &[(&str, &str)]) {
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
        let made = self.admin().create_topics([&new], &AdminOptions::new()).await.unwrap();
        made.into_iter().for_each(|made| drop(made.unwrap()));
    }

    /// Deletes a topic, and waits until it is gone.
    pub(super) async fn delete(&self, topic: &str) {
        let deleted = self.admin().delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
        deleted.into_iter().for_each(|deleted| drop(deleted.unwrap()));
        let admin = self.admin();
        understudy_tests::until("the topic is gone", async || {
            let metadata = admin.inner().fetch_metadata(None, ANSWER_MAX).ok()?;
            (!metadata.topics().iter().any(|there| there.name() == topic)).then_some(())
        })
        .await;
    }

    /// Adds partitions to a topic.
    pub(super) async fn widen(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let made = self.admin().create_partitions([&new], &AdminOptions::new()).await.unwrap();
        made.into_iter().for_each(|made| drop(made.unwrap()));
        let admin = self.admin();
        understudy_tests::until("the partitions are known", async || {
            let metadata = admin.inner().fetch_metadata(None, ANSWER_MAX).ok()?;
            let found = metadata.topics().iter().find(|there| there.name() == topic)?;
            (found.partitions().len() == partitions).then_some(())
        })
        .await;
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }
}

/// The headers of a data record.
pub(super) fn headers(record: &OwnedMessage) -> DataHeaders {
    let headers = record.headers().expect("a data record has headers");
    DataHeaders::read(headers.iter().map(|header| (header.key, header.value))).unwrap()
}
