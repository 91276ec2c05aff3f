//! A column that is new on blue, under a pattern that takes all there are: the capture and the apply both see it.

use understudy_contract::LoggedKind;
use understudy_kafka::codec::Work;
use understudy_tests::{Kafka, Migration, Pair, Same, Sidecar, assert_same, until};

use super::mart;
use super::sink::topics::Topics;

/// Promise 1, and blue is not read more than it must be: rows that were copied before have their new values on green, by one copy,
/// also where the process is killed in the middle of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_column_has_its_table_copied_once() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both("CREATE SCHEMA shelf; CREATE TABLE shelf.item (id int PRIMARY KEY, n int)").await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch("INSERT INTO shelf.item SELECT n, n FROM generate_series(1, 500) n").await;
    let prefix = Kafka::prefix("gained");
    let migration =
        Migration::between(&pair, "gained").table("shelf.*").through_as(&mart::through(kafka, &prefix));
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    sidecar.stop().await;
    green.batch("ALTER TABLE shelf.item ADD more text").await;
    blue.batch(
        "ALTER TABLE shelf.item ADD more text DEFAULT 'old'; UPDATE shelf.item SET more = 'new' WHERE id < 9",
    )
    .await;
    let sidecar = Sidecar::start(&migration);
    let is_begun = "SELECT count(*) FROM understudy.routes WHERE NOT complete OR EXISTS (SELECT FROM shelf.item WHERE more <> '')";
    until("green waits for the new copy", async || (green.number(is_begun).await > 0).then_some(())).await;
    sidecar.kill();
    let mut sidecar = Sidecar::start(&migration);
    let is_filled = "SELECT count(more) FROM shelf.item";
    until("all rows have the new column", async || (green.number(is_filled).await == 500).then_some(()))
        .await;
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &[Same::table("shelf.item")]).await;
    sidecar.stop().await;
    assert_eq!(copied(kafka, &prefix).await, 1_000, "the first copy, and the one with the new column");
}

/// Promise 1: a mapping that gains a column has its values fetched, also where several share the log out among them: each asks,
/// since each has rows of its own, and what one has asked for does for all.
#[tokio::test(flavor = "multi_thread")]
async fn lanes_ask_for_a_column_of_their_mapping() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both("CREATE TABLE item (id int PRIMARY KEY, n int, more text)").await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch("INSERT INTO item SELECT n, n, 'more' FROM generate_series(1, 500) n").await;
    let (prefix, brokers) = (Kafka::prefix("lanes-gained"), kafka.bootstrap());
    let through = format!(
        "{{ kafka: {{ brokers: [\"{brokers}\"], topic_prefix: {prefix}, partitions: 3, consistency: key }} }}"
    );
    let narrow = "  - from: public.item\n    columns:\n      id: id\n      n: n\n";
    let migration = |entry: &str| Migration::between(&pair, "lanes-gained").through_as(&through).entry(entry);
    let mut sidecar = Sidecar::start(&migration(narrow));
    sidecar.wait_copied().await;
    sidecar.stop().await;
    let mut sidecar = Sidecar::start(&migration(&format!("{narrow}      more: more\n")));
    let is_filled = "SELECT count(more) FROM item";
    until("all rows have the column", async || (green.number(is_filled).await == 500).then_some(())).await;
    sidecar.wait_copied().await;
    assert_same(&mut blue, &mut green, &[Same::table("item")]).await;
    sidecar.stop().await;
    assert_eq!(copied(kafka, &prefix).await, 1_000, "the first copy, and the one with the column");
}

/// How many rows a log holds of copies.
async fn copied(kafka: &Kafka, prefix: &str) -> u64 {
    let groups = Topics::new(&kafka.bootstrap(), prefix).groups(3).await;
    let rows = groups.iter().map(|group| match &group.work {
        Work::Chunk { kind: LoggedKind::Copy { .. }, rows, .. } => *rows,
        _ => 0,
    });
    rows.sum()
}
