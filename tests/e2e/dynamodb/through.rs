//! The shop moves through Kafka into one table of DynamoDB: by one process that does both, by two of which each does its part,
//! and from topics that Debezium writes.

use std::time::Duration;

use understudy_tests::{Connect, Connector, Dynamo, Kafka, Pair, Schemas, Shop, hold};

use super::moving::{Moving, PATIENCE, ROUTES, assert_blue_is_free};
use crate::verify::wait_clean;

/// How long work goes on before a process is killed.
const WORK: Duration = Duration::from_millis(700);

/// Promise 1 with topics before DynamoDB: the sidecar is killed in copy and in follow, under load, and items come to be what the
/// mapping makes of blue's rows, values that were not sent included. Promise 6: of what was made for it nothing stays on blue, nor
/// in Kafka.
#[tokio::test(flavor = "multi_thread")]
async fn the_shop_moves_through_topics_into_one_table_while_the_sidecar_is_killed() {
    let (Some(kafka), Some(dynamo)) = (Kafka::shared(), Dynamo::shared()) else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    let mut shop = Shop::on_blue(&pair, 400).await;
    let moving = Moving::of_shop(&pair, dynamo, ("through", |migration| migration.through(kafka))).await;
    let refused = moving.command(&["check"]).await;
    assert_eq!(refused.code, Some(2), "without its table: {}", refused.stdout);
    let planned = moving.create_table().await;
    assert!(planned.contains("shop.customers of 3 partitions"), "its topics are told: {planned}");
    let ready = moving.command(&["check"]).await;
    assert_eq!(ready.code, Some(0), "{}", ready.stdout);

    shop.start_load(&pair, 10.0).await;
    let mut sidecar = moving.start(&[]);
    for copied in [false, false, true] {
        sidecar.wait_for("the sidecar says how far it is", |status| status["tables"].is_array()).await;
        if copied {
            sidecar.wait_copied_within(PATIENCE).await;
        }
        hold(WORK, async || {}).await;
        sidecar.kill();
        sidecar = moving.start(&[]);
    }
    sidecar.wait_copied_within(PATIENCE).await;
    assert!(shop.end_load().await > 0, "the load did nothing");
    moving.until_moved(&pair, &mut [&mut sidecar]).await;
    wait_clean(&mut sidecar, ROUTES).await;
    sidecar.wait_for("all of the log is told to be on green", |s| s["through"]["records_behind"] == 0).await;
    sidecar.stop().await;

    let ready = moving.command(&["check"]).await;
    assert_eq!(ready.code, Some(0), "of one that has begun: {}", ready.stdout);
    let ended = moving.command(&["abort", "--yes"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for removed in ["removed replication slot", "items of the bookkeeping", "shop.customers"] {
        assert!(ended.stdout.contains(removed), "no `{removed}` in:\n{}", ended.stdout);
    }
    assert_blue_is_free(&pair).await;
}

/// The same with a capture and an apply that know nothing of each other and are killed by turns. A migration that is complete ends
/// in order then, and the topics of its tables stay for others.
#[tokio::test(flavor = "multi_thread")]
async fn a_capture_and_an_apply_move_the_shop_while_both_are_killed() {
    let (Some(kafka), Some(dynamo)) = (Kafka::shared(), Dynamo::shared()) else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    let mut shop = Shop::on_blue(&pair, 400).await;
    let moving = Moving::of_shop(&pair, dynamo, ("parts", |migration| migration.through(kafka))).await;
    moving.create_table().await;
    shop.start_load(&pair, 10.0).await;
    let capture = || moving.start(&["--role", "capture"]);
    let apply = || moving.start(&["--role", "apply"]);
    let (mut captures, mut applies) = (capture(), apply());
    for copied in [false, true] {
        applies.wait_for("the apply says how far it is", |status| status["tables"].is_array()).await;
        if copied {
            applies.wait_copied_within(PATIENCE).await;
        }
        hold(WORK, async || {}).await;
        applies.kill();
        hold(WORK, async || captures.assert_running()).await;
        captures.kill();
        (captures, applies) = (capture(), apply());
    }
    applies.wait_copied_within(PATIENCE).await;
    let refused = moving.command(&["finish", "--yes"]).await;
    assert_eq!(refused.code, Some(7), "while it runs: {}", refused.stdout);
    assert!(shop.end_load().await > 0, "the load did nothing");
    moving.until_moved(&pair, &mut [&mut captures, &mut applies]).await;
    wait_clean(&mut applies, ROUTES).await;
    applies.stop().await;
    captures.stop().await;

    let ended = moving.command(&["finish", "--yes"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stdout.contains("shop.customers"), "{}", ended.stdout);
    assert_blue_is_free(&pair).await;
}

/// The same from Debezium's topics: what its connector leaves out of an update is read from blue by key, and what comes twice
/// changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_debezium_captures_of_the_shop_becomes_items() {
    let (Some(kafka), Some(dynamo)) = (Kafka::shared(), Dynamo::shared()) else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    let mut shop = Shop::on_blue(&pair, 400).await;
    let prefix = Kafka::prefix("items");
    let tables = ["shop.customers", "shop.orders", "shop.articles"];
    let source = Connector::debezium(&pair.blue, "shop", &prefix, &tables).readable();
    let Some(connect) = Connect::start(kafka, &prefix, Schemas::With, &[source]).await else { return };
    let slot = format!("debezium_{}", prefix.replace(['-', '.'], "_"));
    let through = format!(
        "{{ kafka: {{ brokers: [\"{}\"], topic_prefix: {prefix}, format: debezium, debezium: {{ slot: {slot} }} }} }}",
        kafka.bootstrap()
    );
    let moving = Moving::of_shop(&pair, dynamo, ("dbz", |migration| migration.through_as(&through))).await;
    moving.create_table().await;
    shop.start_load(&pair, 10.0).await;
    let apply = || moving.start(&["--role", "apply"]);
    let mut sidecar = apply();
    for copied in [false, true] {
        sidecar.wait_for("the sidecar says how far it is", |status| status["tables"].is_array()).await;
        if copied {
            sidecar.wait_copied_within(PATIENCE).await;
        }
        hold(WORK, async || {}).await;
        sidecar.kill();
        sidecar = apply();
    }
    assert!(shop.end_load().await > 0, "the load did nothing");
    moving.until_moved(&pair, &mut [&mut sidecar]).await;
    wait_clean(&mut sidecar, ROUTES).await;
    sidecar.stop().await;
    connect.stop().await;
    let ended = moving.command(&["abort", "--yes"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let slots = "SELECT count(*) FROM pg_replication_slots";
    assert_eq!(pair.on_blue().await.number(slots).await, 1, "the connector's is not ours");
}
