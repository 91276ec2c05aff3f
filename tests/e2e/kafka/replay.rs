//! Greens that are built anew from the log alone.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use understudy_tests::{
    Exit, Kafka, Migration, Pair, Session, Shop, Sidecar, Signal, assert_same, hold, understudy, until,
};

use super::mart;
use crate::verify::wait_clean;

/// A shop that has been under load, its log, and a capture that may go on with it.
struct Logged {
    kafka: &'static Kafka,
    pair: Pair,
    prefix: String,
    shop: Migration,
}

impl Logged {
    /// Copied and followed for a while, with blue at rest at the end. Nothing runs any more.
    async fn shop(name: &str) -> Option<Logged> {
        let kafka = Kafka::shared()?;
        let pair = Pair::start(15, 18).await?;
        let prefix = Kafka::prefix(name);
        let mut shop = Shop::open(&pair, 3_000).await;
        pair.on_green().await.batch(mart::CREATE).await;
        let file = Migration::of_shop(&pair, name).through_as(&mart::through(kafka, &prefix));
        shop.start_load(&pair, 50.0).await;
        let mut sidecar = Sidecar::start(&file);
        sidecar.wait_copied_within(Duration::from_secs(240)).await;
        hold(Duration::from_secs(3), async || {}).await;
        shop.end_load().await;
        let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
        sidecar.wait_caught_up(&mut blue, &mut green).await;
        sidecar.stop().await;
        Some(Logged { kafka, pair, prefix, shop: file })
    }

    fn mart(&self, name: &str) -> Migration {
        mart::migration(&self.pair, name, &mart::through(self.kafka, &self.prefix))
    }

    async fn replay(&self, migration: &Migration, more: &[&str]) -> Exit {
        let port = understudy_tests::Port::reserve();
        let file = migration.write(&port).to_string_lossy().into_owned();
        let args = [&["replay", file.as_str()][..], more].concat();
        understudy(migration.folder(), &args).await
    }

    async fn plan(&self, migration: &Migration, more: &[&str]) -> Value {
        let exit = self.replay(migration, &[&["--dry-run", "-o", "json"][..], more].concat()).await;
        serde_json::from_str(&exit.stdout).unwrap_or_else(|error| panic!("{error}\n{}", exit.stderr))
    }

    /// Green's rows are blue's, as the mapping has them.
    async fn assert_built(&self) {
        let (mut blue, mut green) = (self.pair.on_blue().await, self.pair.on_green().await);
        assert_same(&mut blue, &mut green, &mart::same()).await;
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.kafka.bootstrap());
        config.create().expect("a client")
    }

    /// What a broker does once records are older than it keeps them.
    async fn expire(&self, topic: &str, partition: i32, before: Offset) {
        let mut offsets = TopicPartitionList::new();
        let topic = format!("{}.{topic}", self.prefix);
        offsets.add_partition_offset(&topic, partition, before).expect("an offset");
        let deleted = self.admin().delete_records(&offsets, &AdminOptions::new()).await;
        deleted.expect("records are deleted");
    }

    /// Has the brokers keep the records of a topic in this way.
    async fn keep(&self, topic: &str, policy: &str) {
        let topic = format!("{}.{topic}", self.prefix);
        let topic = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("cleanup.policy", policy);
        let altered = self.admin().alter_configs([&topic], &AdminOptions::new()).await;
        altered.expect("an answer")[0].as_ref().expect("it is altered");
    }

    /// Begins a replay that is held up in the middle, stops it there as somebody at a terminal does, and returns what it said.
    async fn interrupt(&self, migration: &Migration, more: &[&str], green: &mut Session) -> Exit {
        let mut lock = self.pair.on_green().await;
        lock.batch("BEGIN; LOCK TABLE mart.people, mart.events IN SHARE MODE").await;
        let replay = Sidecar::replay(migration, more);
        let sql =
            format!("SELECT count(*) = 4 FROM understudy.routes WHERE migration = '{}'", migration.name());
        until("it has begun", async || (green.try_column(&sql).await.ok()? == ["t"]).then_some(())).await;
        replay.signal(Signal::Int);
        lock.batch("ROLLBACK").await;
        replay.exit().await
    }
}

/// Promise 1: with another mapping, an empty green comes to hold what that makes of blue's rows, also when it is killed in the
/// middle; and whoever asks beforehand is told how much it is, and nothing is done.
#[tokio::test(flavor = "multi_thread")]
async fn another_mapping_is_built_from_the_log() {
    let Some(logged) = Logged::shop("replayed").await else { return };
    let mart = logged.mart("replayed-mart");
    let plan = logged.plan(&mart, &[]).await;
    let records = plan["records"].as_u64().expect("a number");
    assert!(records > 1_000 && plan["tables"].as_array().is_some_and(|tables| tables.len() == 4), "{plan}");
    assert!(plan["begin"]["group"] == 0 && plan["findings"].is_array(), "{plan}");
    let mut green = logged.pair.on_green().await;
    assert_eq!(green.value("SELECT count(*) FROM mart.texts").await, "0", "a look changes nothing");

    // Held up in the middle, and killed there.
    let mut lock = logged.pair.on_green().await;
    lock.batch("BEGIN; LOCK TABLE mart.events IN SHARE MODE").await;
    let replay = Sidecar::replay(&mart, &[]);
    until("changes are being written", async || {
        let sql = "SELECT count(*) = 4 FROM understudy.routes WHERE migration = 'replayed-mart'";
        (green.try_column(sql).await.ok()? == ["t"]).then_some(())
    })
    .await;
    replay.kill();
    lock.batch("ROLLBACK").await;
    let exit = logged.replay(&mart, &[]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.contains("is built anew up to"), "{}", exit.stdout);
    logged.assert_built().await;

    // Once more: there is nothing left to do. And another one needs empty tables.
    assert_eq!(logged.replay(&mart, &[]).await.code, Some(0));
    let full = logged.replay(&logged.mart("replayed-again"), &[]).await;
    assert_eq!(full.code, Some(2), "{}", full.stderr);
    assert!(full.stderr.contains("mart.texts"), "{}", full.stderr);
}

/// Promise 2: a log that lacks something is refused before anything is written, with what is missing; and it can be read from
/// where every table was copied anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lacks_something_is_refused() {
    let Some(logged) = Logged::shop("lacking").await else { return };
    let mart = logged.mart("lacking-mart");
    for partition in 0..3 {
        logged.expire("shop.articles", partition, Offset::Offset(5)).await;
    }
    let short = logged.replay(&mart, &[]).await;
    assert_eq!(short.code, Some(9), "{}", short.stderr);
    assert!(
        short.stderr.contains("shop.articles") && short.stderr.contains("partition 0"),
        "{}",
        short.stderr
    );
    logged.expire("understudy.order", 0, Offset::Offset(9)).await;
    let late = logged.replay(&mart, &[]).await;
    assert_eq!(late.code, Some(9), "{}", late.stderr);
    assert!(late.stderr.contains("reaches back to") && late.stderr.contains("--recopy"), "{}", late.stderr);

    let mut again = vec!["--role", "capture"];
    let tables = ["shop.customers", "shop.articles", "shop.operations", "shop.events"];
    tables.iter().for_each(|table| again.extend(["--recopy", table]));
    let mut capture = Sidecar::start_with(&logged.shop, &again);
    let plan = until("everything is copied anew", async || {
        capture.assert_running();
        let exit = logged.replay(&mart, &["--dry-run", "-o", "json", "--from", "FFFFFFFF/0"]).await;
        exit.stderr.split("--from ").nth(1).map(|rest| rest.split(',').next().unwrap_or("").trim().to_owned())
    })
    .await;
    until("the copy is complete", async || {
        let look = logged.plan(&mart, &["--from", &plan]).await;
        let tables = look["tables"].as_array()?;
        tables.iter().all(|table| table["complete"] == true).then_some(())
    })
    .await;
    let built = logged.replay(&mart, &["--from", &plan]).await;
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    logged.assert_built().await;
    capture.stop().await;
}

/// Promise 2: what a mapping reads of a change and the log leaves out, only blue has: without a capture that could read it
/// again the replay is refused, with table and number; with one it comes.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_the_log_leaves_out_need_the_capture() {
    let Some(logged) = Logged::shop("partial").await else { return };
    let mut green = logged.pair.on_green().await;
    green.batch("CREATE TABLE mart.lines (id bigint PRIMARY KEY, line text)").await;
    let through = mart::through(logged.kafka, &logged.prefix);
    let lines = Migration::between(&logged.pair, "partial-mart").through_as(&through).entry(
        "  - from: shop.articles\n    to: mart.lines\n    columns: { id: id, line: \"title || ' ' || body\" }\n",
    );
    let alone = logged.replay(&lines, &[]).await;
    assert_eq!(alone.code, Some(9), "{}", alone.stderr);
    assert!(
        alone.stderr.contains("changes of shop.articles") && alone.stderr.contains("capture"),
        "{}",
        alone.stderr
    );

    let capture = Sidecar::start_with(&logged.shop, &["--role", "capture"]);
    let built = logged.replay(&lines, &[]).await;
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    capture.stop().await;
    let mut blue = logged.pair.on_blue().await;
    let same = understudy_tests::Same {
        blue: "SELECT id, title || ' ' || body FROM shop.articles".to_owned(),
        green: "SELECT * FROM mart.lines".to_owned(),
    };
    assert_same(&mut blue, &mut green, &[same]).await;
}

/// Promise 5: whoever stops a replay at a terminal is told how to go on, and it goes on, also when it was begun at a time; one
/// that follows stays with what comes, compares both sides, and hands over to an ordinary apply.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_stopped_goes_on_and_follows() {
    let Some(logged) = Logged::shop("stopped").await else { return };
    let mart = logged.mart("stopped-mart");
    let (mut blue, mut green) = (logged.pair.on_blue().await, logged.pair.on_green().await);
    let stopped = logged.interrupt(&mart, &[], &mut green).await;
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    let told = format!("{}{}", stopped.stdout, stopped.stderr);
    assert!(told.contains("the same command goes on from here") && !told.contains("is built anew"), "{told}");

    let capture = Sidecar::start_with(&logged.shop, &["--role", "capture"]);
    let mut follow = Sidecar::replay(&mart, &["--follow"]);
    follow.wait_copied_within(Duration::from_secs(120)).await;
    blue.batch("UPDATE shop.articles SET title = 'Anew ' || id WHERE id <= 50").await;
    follow.wait_caught_up(&mut blue, &mut green).await;
    logged.assert_built().await;
    wait_clean(&mut follow, 4).await;
    follow.signal(Signal::Int);
    let stopped = follow.exit().await;
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);

    blue.batch("UPDATE shop.articles SET title = 'Once more ' || id WHERE id <= 50").await;
    let mut apply = Sidecar::start_with(&mart, &["--role", "apply"]);
    apply.wait_caught_up(&mut blue, &mut green).await;
    logged.assert_built().await;
    apply.stop().await;
    capture.stop().await;
}

/// Promise 2: of a log whose beginning is gone, what was written since a time is enough where every table was copied since;
/// stopped in the middle it is gone on with from where it was. A topic that keeps only the last record of a key is no log.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_begins_at_a_time() {
    let Some(logged) = Logged::shop("timed").await else { return };
    let mart = logged.mart("timed-mart");
    let plan = logged.plan(&mart, &[]).await;
    let (time, group) = (plan["end"]["written_at"].as_str().expect("a time"), &plan["end"]["group"]);
    logged.keep("shop.articles", "compact").await;
    let compacted = logged.replay(&mart, &[]).await;
    assert_eq!(compacted.code, Some(9), "{}", compacted.stderr);
    assert!(
        compacted.stderr.contains("shop.articles is compacted")
            && compacted.stderr.contains("cleanup.policy=delete"),
        "{}",
        compacted.stderr
    );
    logged.keep("shop.articles", "delete").await;
    logged.expire("understudy.order", 0, Offset::Offset(9)).await;
    let early = logged.replay(&mart, &["--from", "2020-01-01T00:00:00Z"]).await;
    assert_eq!(early.code, Some(9), "{}", early.stderr);

    let mut again = vec!["--role", "capture"];
    let tables = ["shop.customers", "shop.articles", "shop.operations", "shop.events"];
    tables.iter().for_each(|table| again.extend(["--recopy", table]));
    let mut capture = Sidecar::start_with(&logged.shop, &again);
    let look = ["--dry-run", "-o", "json", "--from", time];
    let plan = until("everything is copied anew", async || {
        capture.assert_running();
        let exit = logged.replay(&mart, &look).await;
        let plan: Value = serde_json::from_str(&exit.stdout).ok()?;
        plan["tables"].as_array()?.iter().all(|table| table["complete"] == true).then_some(plan)
    })
    .await;
    assert_eq!(&plan["begin"]["group"], group, "{plan:#}");

    let mut green = logged.pair.on_green().await;
    let stopped = logged.interrupt(&mart, &["--from", time], &mut green).await;
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    let told = format!("{}{}", stopped.stdout, stopped.stderr);
    let again = told.split("goes on from here: understudy replay ").nth(1).expect("how to go on");
    let again = again.split_whitespace().skip(1).collect::<Vec<_>>();
    assert_eq!(again, ["--from", time]);
    let built = logged.replay(&mart, &again).await;
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    logged.assert_built().await;
    capture.stop().await;
}
