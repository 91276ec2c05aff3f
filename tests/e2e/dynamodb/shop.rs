//! The shop moves into one table of DynamoDB: copied and followed while the sidecar is killed, and abandoned without a trace on blue.

use std::time::Duration;

use understudy_tests::{Dynamo, Pair, Shop, hold};

use super::moving::{Moving, PATIENCE, ROUTES, assert_blue_is_free};
use crate::verify::wait_clean;

/// Promise 1 with DynamoDB as green, by the migration file alone: the sidecar is killed in copy and in follow, under load, and
/// items come to be what the mapping makes of blue's rows, which is proved. Promise 6: nothing of it stays on blue.
#[tokio::test(flavor = "multi_thread")]
async fn the_shop_moves_into_one_table_while_the_sidecar_is_killed() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    let mut shop = Shop::on_blue(&pair, 400).await;
    let moving = Moving::of_shop(&pair, dynamo, ("items", |migration| migration)).await;
    let refused = moving.command(&["check"]).await;
    assert_eq!(refused.code, Some(2), "without its table: {}", refused.stdout);
    let planned = moving.create_table().await;
    assert!(planned.contains("\"IndexName\": \"by_email\""), "{planned}");

    shop.start_load(&pair, 10.0).await;
    let mut sidecar = moving.start(&[]);
    for copied in [false, true] {
        sidecar.wait_for("the sidecar says how far it is", |status| status["tables"].is_array()).await;
        if copied {
            sidecar.wait_copied_within(PATIENCE).await;
        }
        hold(Duration::from_millis(700), async || {}).await;
        sidecar.kill();
        sidecar = moving.start(&[]);
    }
    sidecar.wait_copied_within(PATIENCE).await;
    assert!(shop.end_load().await > 0, "the load did nothing");
    moving.until_moved(&pair, &mut [&mut sidecar]).await;
    wait_clean(&mut sidecar, ROUTES).await;
    sidecar.stop().await;

    let ended = moving.command(&["abort", "--yes"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_blue_is_free(&pair).await;
}
