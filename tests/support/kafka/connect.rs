//! Kafka Connect as a throw-away worker, with the connectors that other people use.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use understudy::demo::cluster::{Cluster, SUPERUSER};

use super::Kafka;
use super::programs::Programs;
use crate::http;
use crate::ports::Port;
use crate::process::{Process, Signal};
use crate::wait::until_within;

/// How long a worker may take until its connectors run: it is a large program, and creates topics.
const PATIENCE: Duration = Duration::from_secs(180);

/// How Connect writes and reads records as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schemas {
    /// Each record holds `schema` and `payload`: what Connect does by default, and its sinks need.
    With,
    /// Each record is the payload.
    Without,
}

/// A connector and its settings.
#[derive(Debug, Clone)]
pub struct Connector {
    name: String,
    settings: Vec<(String, String)>,
}

impl Connector {
    /// Any connector.
    pub fn new(name: &str, class: &str) -> Connector {
        Connector { name: name.to_owned(), settings: Vec::new() }
            .with("connector.class", class)
            .with("tasks.max", "1")
    }

    /// Debezium's for Postgres: the rows that the tables (`schema.table`) hold, then their changes, into topics
    /// `<prefix>.<schema>.<table>` that it creates. Slot and publication are called `debezium_<prefix>`.
    pub fn debezium(blue: &Cluster, database: &str, prefix: &str, tables: &[&str]) -> Connector {
        let name = format!("debezium_{}", prefix.replace(['-', '.'], "_"));
        Connector::new("debezium", "io.debezium.connector.postgresql.PostgresConnector")
            .with("database.hostname", "127.0.0.1")
            .with("database.port", &blue.port().to_string())
            .with("database.user", SUPERUSER)
            .with("database.password", blue.password())
            .with("database.dbname", database)
            .with("plugin.name", "pgoutput")
            .with("slot.name", &name)
            .with("publication.name", &name)
            .with("publication.autocreate.mode", "filtered")
            .with("topic.prefix", prefix)
            .with("table.include.list", &tables.join(","))
            .with("topic.creation.default.partitions", "1")
            .with("topic.creation.default.replication.factor", "1")
    }

    /// Debezium's for Postgres, set as an apply of ours needs it.
    #[must_use]
    pub fn readable(self) -> Connector {
        self.with("decimal.handling.mode", "string")
            .with("interval.handling.mode", "string")
            .with("skipped.operations", "none")
            .with("heartbeat.interval.ms", "200")
            .with("heartbeat.action.query", "SELECT pg_logical_emit_message(true, 'heartbeat', '')")
    }

    /// Debezium's sink for databases: the topics of these tables into the tables of the same names. It needs
    /// [`Schemas::With`], and keeps rows by the keys of records.
    pub fn jdbc_sink(green: &Cluster, database: &str, prefix: &str, tables: &[&str]) -> Connector {
        let topics: Vec<String> = tables.iter().map(|table| format!("{prefix}.{table}")).collect();
        Connector::new("sink", "io.debezium.connector.jdbc.JdbcSinkConnector")
            .with("topics", &topics.join(","))
            .with("connection.url", &format!("jdbc:postgresql://127.0.0.1:{}/{database}", green.port()))
            .with("connection.username", SUPERUSER)
            .with("connection.password", green.password())
            .with("insert.mode", "upsert")
            .with("primary.key.mode", "record_key")
            .with("delete.enabled", "true")
            .with("truncate.enabled", "true")
            .with("schema.evolution", "none")
            .with("collection.name.format", "${source.schema}.${source.table}")
    }

    /// Another setting, or another value for one.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Connector {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    fn properties(&self) -> String {
        let settings = self.settings.iter().map(|(name, value)| format!("{name}={value}\n"));
        format!("name={}\n{}", self.name, settings.collect::<String>())
    }
}

/// A worker with its connectors, gone with this value. Its log is its process's output.
#[derive(Debug)]
pub struct Connect {
    process: Process,
    rest: Port,
}

impl Connect {
    /// Starts a worker on a broker, and waits until all its connectors run. `None` when it is missing and may be skipped. Under
    /// the name of an earlier worker of this broker, its sources go on where they were.
    pub async fn start(
        kafka: &Kafka,
        name: &str,
        schemas: Schemas,
        connectors: &[Connector],
    ) -> Option<Connect> {
        let programs = Programs::connect(kafka.programs.pace())?;
        let rest = Port::reserve();
        let folder = kafka.scratch.path();
        let write = |file: String, text: String| -> String {
            let path: PathBuf = folder.join(file);
            fs::write(&path, text).expect("write the settings of Connect");
            path.display().to_string()
        };
        let offsets = folder.join(format!("connect-{name}.offsets"));
        let worker =
            worker(kafka, &rest, schemas) + &format!("offset.storage.file.filename={}\n", offsets.display());
        let worker = format!("{worker}plugin.path={}\n", programs.plugins().display());
        let mut files = vec![write(format!("connect-{name}.properties"), worker)];
        files.extend(connectors.iter().map(|connector| {
            write(format!("connect-{name}-{}.properties", connector.name), connector.properties())
        }));
        let log = folder.join("log4j2.properties");
        let mut java = programs.arguments(&log, "-Xmx1g", "org.apache.kafka.connect.cli.ConnectStandalone");
        java.extend(files);
        let java: Vec<&str> = java.iter().map(String::as_str).collect();
        let process = Process::start(&format!("connect-{name}"), folder, "java".as_ref(), &java, &[]);
        let mut connect = Connect { process, rest };
        for connector in connectors {
            connect.until_it_runs(&connector.name).await;
        }
        Some(connect)
    }

    /// The same as [`Connect::start`] with a worker of those that keep their offsets in a topic, here `offsets`.
    pub async fn start_with_offsets_in(
        kafka: &Kafka,
        (name, offsets): (&str, &str),
        schemas: Schemas,
        connectors: &[Connector],
    ) -> Option<Connect> {
        let programs = Programs::connect(kafka.programs.pace())?;
        let rest = Port::reserve();
        let folder = kafka.scratch.path();
        let mut worker = worker(kafka, &rest, schemas);
        for (what, topic) in [
            ("offset", offsets),
            ("config", &format!("{name}-config")),
            ("status", &format!("{name}-status")),
        ] {
            worker += &format!("{what}.storage.topic={topic}\n{what}.storage.replication.factor=1\n");
        }
        worker += &format!("group.id={name}\nplugin.path={}\n", programs.plugins().display());
        let file = folder.join(format!("connect-{name}.properties"));
        fs::write(&file, worker).expect("write the settings of Connect");
        let log = folder.join("log4j2.properties");
        let mut java = programs.arguments(&log, "-Xmx1g", "org.apache.kafka.connect.cli.ConnectDistributed");
        java.push(file.display().to_string());
        let java: Vec<&str> = java.iter().map(String::as_str).collect();
        let process = Process::start(&format!("connect-{name}"), folder, "java".as_ref(), &java, &[]);
        let mut connect = Connect { process, rest };
        for connector in connectors {
            let path = format!("/connectors/{}/config", connector.name);
            let settings = connector.settings.iter().cloned().collect::<BTreeMap<_, _>>();
            let body = serde_json::to_string(&settings).expect("JSON");
            until_within(PATIENCE, "the worker takes its connector", async || {
                connect.assert_running();
                let (code, _) = http::send(connect.rest.number(), ("PUT", &path), &body).await?;
                // A worker that was slow to answer has it from the time before.
                matches!(code, 200 | 201).then_some(())
            })
            .await;
            connect.until_it_runs(&connector.name).await;
        }
        Some(connect)
    }

    fn assert_running(&mut self) {
        if let Some(status) = self.process.ended() {
            panic!("Kafka Connect ended with {status}:\n{}{}", self.last_lines(), self.process.errors());
        }
    }

    /// Its process, to see its memory and its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Fails the test when the worker has ended, or one of a connector's tasks. Whether all of them run.
    pub async fn runs(&mut self, connector: &str) -> bool {
        self.assert_running();
        let path = format!("/connectors/{connector}/status");
        let Some((200, body)) = http::get(self.rest.number(), &path).await else { return false };
        let status: Value = serde_json::from_str(&body).unwrap_or_default();
        let tasks = status["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut parts = tasks.iter().chain([&status["connector"]]);
        if let Some(failed) = parts.clone().find(|part| part["state"] == "FAILED") {
            let trace = failed["trace"].as_str().unwrap_or_default();
            panic!("the connector {connector} failed:\n{trace:.2000}\n{}", self.last_lines());
        }
        !tasks.is_empty() && parts.all(|part| part["state"] == "RUNNING")
    }

    /// Has a connector rest where it is, and waits until it does.
    pub async fn pause(&mut self, connector: &str) {
        self.ask(connector, "pause").await;
        let path = format!("/connectors/{connector}/status");
        until_within(PATIENCE, &format!("the connector {connector} rests"), async || {
            let (_, body) = http::get(self.rest.number(), &path).await?;
            let status: Value = serde_json::from_str(&body).ok()?;
            status["tasks"].as_array()?.iter().all(|task| task["state"] == "PAUSED").then_some(())
        })
        .await;
    }

    /// Lets a connector go on that rests; it does so soon after.
    pub async fn resume(&self, connector: &str) {
        self.ask(connector, "resume").await;
    }

    async fn ask(&self, connector: &str, what: &str) {
        let path = format!("/connectors/{connector}/{what}");
        let answer = http::ask(self.rest.number(), "PUT", &path).await;
        assert!(matches!(answer, Some((200..=299, _))), "{what} {connector}: {answer:?}");
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(mut self) {
        self.process.signal(Signal::Term);
        self.process.exit(PATIENCE).await;
    }

    /// Kills it.
    pub fn kill(mut self) {
        assert!(self.process.kill(), "Kafka Connect had ended by itself:\n{}", self.last_lines());
    }

    async fn until_it_runs(&mut self, connector: &str) {
        let what = format!("the connector {connector} runs");
        until_within(PATIENCE, &what, async || self.runs(connector).await.then_some(())).await;
    }

    fn last_lines(&self) -> String {
        let log = self.process.output();
        let last: Vec<&str> = log.lines().rev().take(20).collect();
        last.into_iter().rev().map(|line| format!("{line:.500}\n")).collect()
    }
}

/// The settings of a worker that do not depend on where it runs.
fn worker(kafka: &Kafka, rest: &Port, schemas: Schemas) -> String {
    let with_schemas = (schemas == Schemas::With).to_string();
    let json = "org.apache.kafka.connect.json.JsonConverter";
    let settings = [
        ("bootstrap.servers", kafka.bootstrap()),
        ("listeners", format!("http://127.0.0.1:{}", rest.number())),
        ("key.converter", json.to_owned()),
        ("key.converter.schemas.enable", with_schemas.clone()),
        ("value.converter", json.to_owned()),
        ("value.converter.schemas.enable", with_schemas),
        ("offset.flush.interval.ms", "200".to_owned()),
        ("plugin.discovery", "service_load".to_owned()),
        // So that a sink's own `consumer.override.…` and a source's `producer.override.…` are allowed.
        ("connector.client.config.override.policy", "All".to_owned()),
    ];
    settings.map(|(name, value)| format!("{name}={value}\n")).concat()
}
