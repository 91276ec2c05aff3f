//! What ends a process that goes through Kafka: a single right that its user lacks, or a log that is not as it was left. What is said,
//! with which exit code, and with the gate held.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use understudy_tests::{
    Kafka, Listener, Migration, On, PASSWORD, Pair, Port, Right, STRANGER, Same, Sidecar, assert_same,
    understudy, until,
};

use Right::{Create, Describe, DescribeConfigs, Read, Write};

const TABLES: &str = "CREATE SCHEMA right_to; CREATE TABLE right_to.users (id bigint PRIMARY KEY, name text);
    CREATE TABLE right_to.notes (id bigint PRIMARY KEY, text text);";

const ROWS: &str = "INSERT INTO right_to.users SELECT n, 'name ' || n FROM generate_series(1, 100) n;
    INSERT INTO right_to.notes SELECT n, 'note ' || n FROM generate_series(1, 100) n;";

/// How long a refusal may take: brokers have 10 s to know a topic, and the client gives one that it knew half a minute.
const REFUSED_MAX: Duration = Duration::from_secs(90);

/// One with a broker that asks for rights.
struct Case<'a> {
    kafka: &'a Kafka,
    pair: &'a Pair,
    prefix: String,
}

impl<'a> Case<'a> {
    fn new(kafka: &'a Kafka, pair: &'a Pair, name: &str) -> Case<'a> {
        Case { kafka, pair, prefix: Kafka::prefix(name) }
    }

    /// As somebody with all rights.
    fn freely(&self, name: &str, more: &str) -> Migration {
        self.migration(name, (&self.kafka.addresses(Listener::Plain), more))
    }

    /// As somebody with those rights alone that he was given.
    fn strictly(&self, name: &str, more: &str) -> Migration {
        let password = self.pair.scratch.path().join("kafka-password");
        std::fs::write(&password, PASSWORD).expect("write a password");
        let file = password.display();
        let sasl = format!(
            ", sasl: {{ mechanism: plain, user: {STRANGER}, password: {{ file: \"{file}\" }} }}{more}"
        );
        self.migration(name, (&self.kafka.addresses(Listener::Sasl), &sasl))
    }

    fn migration(&self, name: &str, (brokers, more): (&str, &str)) -> Migration {
        let prefix = &self.prefix;
        let through = format!(
            "{{ kafka: {{ brokers: [\"{brokers}\"], topic_prefix: {prefix}, partitions: 2, replication_factor: 1{more} }} }}"
        );
        Migration::between(self.pair, name)
            .through_as(&through)
            .table("right_to.users")
            .table("right_to.notes")
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// Gives rights on all topics, and on some of them.
    async fn allow(&self, on_all: &[Right], on_some: &[(&[&str], Right)]) {
        self.kafka.allow(STRANGER, &[(On::Topics(&format!("{}.", self.prefix)), on_all)]).await;
        for (names, right) in on_some {
            for name in *names {
                self.kafka.allow(STRANGER, &[(On::Topic(&self.topic(name)), &[*right])]).await;
            }
        }
    }

    fn transactions(&self) -> String {
        format!("understudy-{}-capture", self.prefix)
    }
}

/// Runs it until it refuses. Its gate does not open meanwhile; where it still answers after that, its status says why.
async fn refused(mut sidecar: Sidecar, code: i32, (words, remedy): (&[&str], &str)) {
    let mut answers = 0;
    understudy_tests::until_within(REFUSED_MAX, "it refuses", async || {
        if let Some(status) = sidecar.status().await
            && status["phase"] == "failed"
        {
            let error = status["last_error"].as_str().unwrap_or_default().to_owned();
            assert!(words.iter().all(|word| error.contains(word)), "{status:#}");
        }
        if let Some((_, body)) = sidecar.get("/v1/gates/cutover").await {
            let gate: Value = serde_json::from_str(&body).expect("a gate");
            assert_ne!(gate["verdict"], "pass", "{gate:#}");
            answers += 1;
        }
        sidecar.has_ended().then_some(())
    })
    .await;
    assert!(answers > 0, "nobody could have seen its gate");
    let exit = sidecar.exit().await;
    assert_eq!(exit.code, Some(code), "{}", exit.stderr);
    for word in words.iter().chain(&[remedy, "remedy:", "next:"]) {
        assert!(exit.stderr.contains(word), "no `{word}` in:\n{}", exit.stderr);
    }
}

/// Promise 6: a capture that lacks a single right says which, and on what; and the rights that the manual lists are enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_capture_says_which_right_it_lacks() {
    let Some(kafka) = Kafka::secured(&[]).await else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both(TABLES).await;
    pair.on_blue().await.batch(ROWS).await;
    let capture = |migration: &Migration| Sidecar::start_with(migration, &["--role", "capture"]);

    let case = Case::new(&kafka, &pair, "whole");
    case.allow(&[Create, Describe, DescribeConfigs, Read, Write], &[]).await;
    let id = case.transactions();
    kafka.allow(STRANGER, &[(On::Transactions(&id), &[Describe, Write])]).await;
    let mut sidecar = capture(&case.strictly("right-whole", ""));
    sidecar.wait_for("the log holds every table", |status| status["phase"] == "following").await;
    sidecar.stop().await;

    let case = Case::new(&kafka, &pair, "no-id");
    case.allow(&[Create, Describe, DescribeConfigs, Read, Write], &[]).await;
    let id = case.transactions();
    kafka.allow(STRANGER, &[(On::Transactions(&id), &[Describe])]).await;
    let migration = case.strictly("right-no-id", "");
    refused(capture(&migration), 2, (&["not allowed on", &format!("transactional id {id}")], "Write")).await;

    let case = Case::new(&kafka, &pair, "no-write");
    let written = ["understudy.order", "understudy.schema", "understudy.state", "right_to.users"];
    case.allow(&[Create, Describe, DescribeConfigs, Read], &[(&written, Write)]).await;
    let id = case.transactions();
    kafka.allow(STRANGER, &[(On::Transactions(&id), &[Describe, Write])]).await;
    let migration = case.strictly("right-no-write", "");
    let notes = case.topic("right_to.notes");
    refused(capture(&migration), 2, (&["not allowed on", &notes], "Write")).await;

    let case = Case::new(&kafka, &pair, "no-create");
    let file = case.strictly("right-no-create", "").write(&Port::reserve());
    let file = file.to_string_lossy().into_owned();
    let check = async || understudy(pair.scratch.path(), &["check", &file]).await;
    let hidden = check().await;
    case.allow(&[Describe, DescribeConfigs, Read, Write], &[]).await;
    for found in [hidden, check().await] {
        assert_eq!(found.code, Some(2), "{}", found.stdout);
        for word in
            [&*case.topic("right_to.notes"), "cannot be made, or not be seen", "Create", "kafka-topics"]
        {
            assert!(found.stdout.contains(word), "no `{word}` in:\n{}", found.stdout);
        }
    }
}

/// The same for who fills green: nothing of a log that may only be read in part is passed over, and it goes on once it may be read.
#[tokio::test(flavor = "multi_thread")]
async fn an_apply_says_which_right_it_lacks() {
    let Some(kafka) = Kafka::secured(&[]).await else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both(TABLES).await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(ROWS).await;
    let apply = |migration: &Migration| Sidecar::start_with(migration, &["--role", "apply"]);
    let case = Case::new(&kafka, &pair, "apply");
    let mut capture = Sidecar::start_with(&case.freely("right-capture", ""), &["--role", "capture"]);
    capture.wait_for("the log holds every table", |status| status["phase"] == "following").await;

    let read = ["understudy.order", "understudy.schema", "understudy.state", "right_to.users"];
    case.allow(&[Describe], &[(&read, Read), (&["understudy.requests"], Write)]).await;
    let notes = case.topic("right_to.notes");
    let migration = case.strictly("right-apply", "");
    refused(apply(&migration), 2, (&["not allowed on", &notes], "Read")).await;

    case.allow(&[], &[(&["right_to.notes"], Read)]).await;
    let mut sidecar = apply(&migration);
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &["right_to.users", "right_to.notes"].map(Same::table)).await;
    sidecar.stop().await;

    green.batch("TRUNCATE right_to.users, right_to.notes").await;
    case.allow(&[], &[(&["understudy.lanes"], Create), (&["understudy.lanes"], Read)]).await;
    let migration = case.strictly("right-worker", ", consistency: key");
    let group = format!("understudy-{}-right-worker", case.prefix);
    refused(apply(&migration), 2, (&["not allowed on", &format!("group {group}")], "Read")).await;

    kafka.allow(STRANGER, &[(On::Group(&group), &[Read])]).await;
    let mut sidecar = apply(&migration);
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &["right_to.users", "right_to.notes"].map(Same::table)).await;
    sidecar.stop().await;
    capture.stop().await;
}

/// Promises 2 and 6: a record of somebody else in the log ends who fills green, with the topic's name, before the gate opens again;
/// what was written behind it is not passed on, then or at a later start.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_others_have_written_to_holds_the_gate() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both(TABLES).await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(ROWS).await;
    let case = Case::new(kafka, &pair, "foreign");
    let gate = "verify: { pass_pause: 1s, busy: 1.0 }\ngate: { soak: 1s, max_lag: 60s }";
    let migration = case.freely("foreign", "").with(gate);
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    green.batch("ANALYZE").await;
    until("the gate opens", async || {
        sidecar.assert_running();
        let (_, body) = sidecar.get("/v1/gates/cutover").await?;
        let document: Value = serde_json::from_str(&body).ok()?;
        (document["verdict"] == "pass").then_some(())
    })
    .await;
    sidecar.stop().await;

    let notes = case.topic("right_to.notes");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap());
    let producer: FutureProducer = config.create().expect("a client");
    for partition in 0..2 {
        let headers = OwnedHeaders::new().insert(Header { key: "app", value: Some("other") });
        let record = FutureRecord::to(&notes).partition(partition).key("k").payload("{}").headers(headers);
        producer.send(record, REFUSED_MAX).await.expect("a record of somebody else");
    }
    blue.batch("INSERT INTO right_to.notes VALUES (1000, 'behind it')").await;
    for _ in 0..2 {
        refused(Sidecar::start(&migration), 9, (&[&notes], "another prefix")).await;
    }
    let behind = "SELECT id FROM right_to.notes WHERE id = 1000";
    assert_eq!(green.column(behind).await, Vec::<String>::new(), "what is behind it was applied");
}
