//! Debezium's connector for Postgres and its JDBC sink in one worker of Kafka Connect, set for throughput.

use understudy::demo::cluster::Cluster;
use understudy::demo::sidecar::peak_memory;
use understudy_contract::{Class, Failure};
use understudy_tests::{Connect, Connector, Kafka, Schemas};

/// Its slot and publication on blue; the name of its topics follows.
pub(crate) const SLOT: &str = "debezium_bench";

/// Topics of each table have as many partitions on both sides, and the sink as many tasks.
pub(crate) const PARTITIONS: usize = 4;

/// What differs from Debezium's defaults in the source: larger steps, no waiting for them to fill, compression as ours.
const SOURCE: &[(&str, &str)] = &[
    ("slot.name", SLOT),
    ("publication.name", SLOT),
    ("max.batch.size", "8192"),
    ("max.queue.size", "32768"),
    ("poll.interval.ms", "10"),
    ("skipped.operations", "none"),
    ("producer.override.compression.type", "lz4"),
    ("producer.override.batch.size", "524288"),
    ("producer.override.linger.ms", "5"),
];

/// The same in the sink: one statement for many rows, which takes no texts for numbers and no timestamps without a zone, one row for many changes of it, and large steps of the consumer.
const SINK: &[(&str, &str)] = &[
    ("batch.size", "5000"),
    ("use.reduction.buffer", "true"),
    ("dialect.postgres.unnest.insert.enabled", "true"),
    ("consumer.override.max.poll.records", "5000"),
    ("consumer.override.max.partition.fetch.bytes", "8388608"),
    ("consumer.override.fetch.min.bytes", "1"),
];

/// The worker while it runs, and the broker that both sides go through.
pub(crate) struct Debezium {
    // The worker ends before its broker.
    connect: Option<Connect>,
    kafka: Kafka,
    starts: usize,
}

impl Debezium {
    /// On a broker that both sides use.
    pub(crate) const fn new(kafka: Kafka) -> Debezium {
        Debezium { connect: None, kafka, starts: 0 }
    }

    /// Starts from nothing, with topics of their own. Returns when all connectors run.
    pub(crate) async fn start(
        &mut self,
        (blue, green, database): (&Cluster, &Cluster, &str),
        tables: &[&str],
    ) -> Result<(), Failure> {
        self.starts += 1;
        let prefix = format!("debezium-{}", self.starts);
        for table in tables {
            self.kafka.create_topic(&format!("{prefix}.{table}"), PARTITIONS as i32).await;
        }
        let set = |connector: Connector, settings: &[(&str, &str)]| {
            settings.iter().fold(connector, |connector, (name, value)| connector.with(name, value))
        };
        let source = set(Connector::debezium(blue, database, &prefix, tables), SOURCE);
        let url =
            format!("jdbc:postgresql://127.0.0.1:{}/{database}?reWriteBatchedInserts=true", green.port());
        let sink = set(Connector::jdbc_sink(green, database, &prefix, tables), SINK)
            .with("connection.url", &url)
            .with("tasks.max", &PARTITIONS.to_string());
        let missing =
            || Failure::new(Class::Configuration, "Kafka Connect is missing").remedy("run dev/servers");
        let connect = Connect::start(&self.kafka, &prefix, Schemas::With, &[source, sink]).await;
        self.connect = Some(connect.ok_or_else(missing)?);
        Ok(())
    }

    /// Ends the worker.
    pub(crate) async fn stop(&mut self) {
        if let Some(connect) = self.connect.take() {
            connect.stop().await;
        }
    }

    /// Has both connectors rest.
    pub(crate) async fn pause(&mut self) {
        if let Some(connect) = &mut self.connect {
            connect.pause("debezium").await;
            connect.pause("sink").await;
        }
    }

    /// Lets both go on.
    pub(crate) async fn resume(&mut self) {
        if let Some(connect) = &self.connect {
            connect.resume("sink").await;
            connect.resume("debezium").await;
        }
    }

    /// Fails when the worker or one of its connectors has.
    pub(crate) async fn check(&mut self) {
        if let Some(connect) = &mut self.connect {
            connect.runs("debezium").await;
            connect.runs("sink").await;
        }
    }

    /// The worker's process; none has the number 0.
    pub(crate) fn pid(&self) -> u32 {
        self.connect.as_ref().map_or(0, |connect| connect.process().pid())
    }

    /// The broker's process.
    pub(crate) fn broker_pid(&self) -> u32 {
        self.kafka.process(1).pid()
    }

    /// The most memory that the worker has ever held, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        peak_memory(self.pid()).unwrap_or_default()
    }
}
