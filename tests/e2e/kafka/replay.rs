//! Greens that are built anew from the log alone.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use understudy_tests::{Exit, Kafka, Migration, Pair, Shop, Sidecar, assert_same, hold, understudy, until};

use super::mart;

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

    /// What a broker does once records are older than it keeps them.
    async fn expire(&self, topic: &str, partition: i32, before: Offset) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.kafka.bootstrap());
        let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
        let mut offsets = TopicPartitionList::new();
        let topic = format!("{}.{topic}", self.prefix);
        offsets.add_partition_offset(&topic, partition, before).expect("an offset");
        let deleted = admin.delete_records(&offsets, &AdminOptions::new()).await;
        deleted.expect("records are deleted");
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
