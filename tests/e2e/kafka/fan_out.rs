//! Two greens with one log: one capture, and an apply for each.

use std::time::Duration;

use understudy::demo::cluster::{Cluster, Stop};
use understudy::demo::installation::Installation;
use understudy_tests::{
    Kafka, Migration, Pair, Session, Shop, Sidecar, assert_same, hold, understudy, until, until_within,
};

use super::mart;

/// The database of both greens.
const DATABASE: &str = "shop";

/// Rows that no client of the load touches.
const QUIET: &str =
    "INSERT INTO shop.articles (id, code, title, body) VALUES (-1, -1, 'Quiet', repeat('x', 9000))";

/// Promise 1, for each of two greens with other mappings: one is away for a while, keeps its place and disturbs nobody; the
/// other is killed; and what one has read again from blue, the other leaves alone. Promise 6: what belongs to the capture is not
/// removed with one of its readers.
#[tokio::test(flavor = "multi_thread")]
async fn two_greens_follow_one_log() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    let mut second = another_green(&pair).await;
    let through = mart::through(kafka, &Kafka::prefix("fan-out"));
    let mut shop = Shop::open(&pair, 3_000).await;
    pair.on_blue().await.batch(QUIET).await;
    shop.start_load(&pair, 30.0).await;
    let shop_file = Migration::of_shop(&pair, "fan-shop").through_as(&through);
    let mart_file = mart::migration(&pair, "fan-mart", &through)
        .green_url(&second.url(DATABASE))
        .green_password(second.password())
        .with("verify: { pass_pause: 1s }");
    let capture = Sidecar::start_with(&shop_file, &["--role", "capture"]);
    let apply = ["--role", "apply"];
    let mut stores = Sidecar::start_with(&shop_file, &apply);
    let mut marts = Sidecar::start_with(&mart_file, &apply);
    stores.wait_copied_within(Duration::from_secs(240)).await;
    marts.wait_copied_within(Duration::from_secs(240)).await;
    let (mut blue, mut store) = (pair.on_blue().await, pair.on_green().await);
    let mut mart = Session::open(&second, DATABASE).await;

    // One is away: the other goes on.
    let copied = "SELECT count(*) || ' ' || coalesce(sum(rows), 0) FROM understudy.chunks_done";
    let copied_before = mart.value(copied).await;
    drop(mart);
    second.stop(Stop::Immediate).await.expect("stop a green");
    marts.wait_for("it is missed", |status| status["target_connected"] == false).await;
    stores.wait_caught_up(&mut blue, &mut store).await;
    hold(Duration::from_secs(2), async || {}).await;
    second.start().await.expect("start a green again");
    let mut mart = Session::open(&second, DATABASE).await;
    marts.wait_caught_up(&mut blue, &mut mart).await;
    assert_eq!(mart.value(copied).await, copied_before, "it has not begun anew");

    // One is killed: the other goes on.
    stores.kill();
    marts.wait_caught_up(&mut blue, &mut mart).await;
    let mut stores = Sidecar::start_with(&shop_file, &apply);
    stores.wait_caught_up(&mut blue, &mut store).await;

    // One has a row read again: the other keeps what it has, right or wrong.
    store.batch("UPDATE store.articles SET title = 'kept' WHERE id = -1").await;
    mart.batch("DELETE FROM mart.texts WHERE id = -1").await;
    repair_until(&marts, &mut mart, "SELECT count(*) = 1 FROM mart.texts WHERE id = -1").await;
    stores.wait_caught_up(&mut blue, &mut store).await;
    assert_eq!(store.value("SELECT title FROM store.articles WHERE id = -1").await, "kept");
    repair_until(&stores, &mut store, "SELECT title = 'Quiet' FROM store.articles WHERE id = -1").await;

    shop.end_load().await;
    marts.wait_caught_up(&mut blue, &mut mart).await;
    assert_same(&mut blue, &mut mart, &mart::same()).await;
    leave(marts, &mart_file).await;
    blue.batch("UPDATE shop.articles SET title = 'After' WHERE id = -1").await;
    stores.wait_caught_up(&mut blue, &mut store).await;
    assert_eq!(store.value("SELECT title FROM store.articles WHERE id = -1").await, "After");
    let tables = understudy::demo::shop::TABLES.iter();
    let tables =
        tables.map(|table| understudy_tests::Same { blue: table.blue_rows(), green: table.green_rows() });
    assert_same(&mut blue, &mut store, &tables.collect::<Vec<_>>()).await;
    stores.stop().await;
    capture.stop().await;
}

/// A green beside the pair's, with the tables of the mart.
async fn another_green(pair: &Pair) -> Cluster {
    let programs = Installation::of_major(18).expect("the programs of the pair's green");
    let settings = [("shared_buffers", "32MB"), ("max_connections", "60")];
    let green = Cluster::create(&programs, &pair.scratch, "green2", &settings).await.expect("another green");
    Session::open(&green, "postgres").await.batch(&format!("CREATE DATABASE {DATABASE}")).await;
    Session::open(&green, DATABASE).await.batch(mart::CREATE).await;
    green
}

/// Repairs whatever differs until a row is as it should be.
async fn repair_until(sidecar: &Sidecar, green: &mut Session, is_mended: &str) {
    let folder = sidecar.file.parent().expect("a folder").to_owned();
    let file = sidecar.file.to_string_lossy().into_owned();
    until_within(Duration::from_secs(120), "the row is repaired", async || {
        let args = ["repair", file.as_str(), "--all", "--apply", "--wait", "5s"];
        understudy(&folder, &args).await;
        (green.column(is_mended).await == ["t"]).then_some(())
    })
    .await;
}

/// Ends one of the two for good. The topics stay, since they are the capture's.
async fn leave(sidecar: Sidecar, migration: &Migration) {
    let file = sidecar.file.to_string_lossy().into_owned();
    sidecar.stop().await;
    let ended = until("the sidecar's sessions have ended", async || {
        let ended = understudy(migration.folder(), &["abort", &file, "--yes"]).await;
        (ended.code == Some(0)).then_some(ended)
    })
    .await;
    assert!(!ended.stdout.contains("topic"), "{}", ended.stdout);
}
