//! The whole way from blue through topics into green.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use understudy_tests::{Kafka, Migration, Pair, Shop, Sidecar, hold};

/// Promise 1: capture and apply are killed in copy and in follow, under load, and green equals blue; every large value that was
/// not sent, every moved key and every deleted row included.
#[tokio::test(flavor = "multi_thread")]
async fn the_shop_moves_through_topics_while_the_sidecar_is_killed() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    let mut dice = StdRng::seed_from_u64(1);
    let mut shop = Shop::open(&pair, 5_000).await;
    shop.start_load(&pair, 50.0).await;
    let migration = Migration::of_shop(&pair, "topics").through(kafka);
    let mut sidecar = Sidecar::start(&migration);
    for _ in 0..3 {
        sidecar.wait_for("the sidecar says how far it is", |status| status["tables"].is_array()).await;
        hold(Duration::from_millis(dice.random_range(0..1_500)), async || {}).await;
        sidecar.kill();
        sidecar = Sidecar::start(&migration);
    }
    sidecar.wait_copied_within(Duration::from_secs(240)).await;
    for _ in 0..2 {
        hold(Duration::from_millis(dice.random_range(0..1_500)), async || {}).await;
        sidecar.kill();
        sidecar = Sidecar::start(&migration);
        sidecar.wait_for("the sidecar says how far it is", |status| status["tables"].is_array()).await;
    }
    shop.prove(&pair, &mut sidecar).await;
    sidecar.stop().await;
}
