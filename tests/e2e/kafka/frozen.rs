//! A worker that stands still for so long that others take its lanes, and what repairs a green that several workers fill.

use std::time::Duration;

use understudy_tests::{Kafka, Pair, Same, Sidecar, Signal, assert_same, until, until_within};

use super::load::{LANES, ROWS, TABLES, Work, copied, lanes_of, migration, prove, shared_out};
use crate::verify::{open, verb, wait_clean, wait_verify};

async fn two_sides() -> Option<Pair> {
    let settings = [("fsync", "off"), ("max_connections", "150")];
    let pair = Pair::start_with(15, 18, &[("fsync", "off")], &settings).await?;
    pair.on_both(TABLES).await;
    pair.on_blue().await.batch(ROWS).await;
    Some(pair)
}

/// Promise 1: a worker is frozen in the middle of its work until its lanes are another's, and goes on with what it had in its hands:
/// green takes nothing more of that, and each lane has one owner again.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_replaced_while_it_was_frozen_writes_nothing_more() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = two_sides().await else { return };
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    let migration = migration(&pair, kafka, (&Kafka::prefix("frozen"), "key"));
    let work = Work::start(pair.on_blue().await);
    let mut capture = Sidecar::start_with(&migration, &["--role", "capture"]);
    let worker = || Sidecar::start_with(&migration, &["--role", "apply"]);
    let mut workers = vec![worker(), worker()];
    shared_out(&mut workers).await;
    copied(&mut green, &mut workers, LANES).await;
    work.goes_on(50).await;
    for _ in 0..2 {
        workers[0].signal(Signal::Stop);
        until_within(Duration::from_secs(60), "the other worker has every lane", async || {
            (lanes_of(&mut workers[1]).await.len() == LANES).then_some(())
        })
        .await;
        let goal = blue.value("SELECT pg_current_wal_insert_lsn()").await;
        let is_there = format!("min(checkpoint) >= '{goal}' FROM understudy.migration");
        until("what the frozen worker had is done by the other", async || {
            super::load::books_say(&mut green, &is_there).await
        })
        .await;
        workers[0].signal(Signal::Cont);
        shared_out(&mut workers).await;
        workers.reverse();
    }
    work.goes_on(50).await;
    capture.assert_running();
    prove(work, &mut workers, (&mut blue, &mut green)).await;
    for sidecar in workers.into_iter().chain([capture]) {
        sidecar.stop().await;
    }
}

/// Promise 3: what others have done to green is found and mended in whichever lane it is, though the worker that compares has only
/// some of them.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_every_lane_are_repaired() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = two_sides().await else { return };
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    let migration = migration(&pair, kafka, (&Kafka::prefix("repaired"), "key"));
    let migration = migration.with("verify: { range_rows: 500, pass_pause: 1s, busy: 1.0 }");
    let capture = Sidecar::start_with(&migration, &["--role", "capture"]);
    let worker = || Sidecar::start_with(&migration, &["--role", "apply"]);
    let mut workers = vec![worker(), worker()];
    shared_out(&mut workers).await;
    copied(&mut green, &mut workers, LANES).await;
    if !lanes_of(&mut workers[0]).await.contains(&0) {
        workers.reverse();
    }
    wait_clean(&mut workers[0], 4).await;
    green
        .batch(
            "UPDATE emptied SET v = 9 WHERE id <= 24; DELETE FROM counters WHERE id <= 24; UPDATE moved SET body = '' WHERE id <= 12; \
             INSERT INTO emptied SELECT 9000 + n, 1 FROM generate_series(1, 24) n",
        )
        .await;
    wait_verify(&mut workers[0], "the planted mismatches are found", |report| open(report) == 84).await;
    let done = verb(&migration, &workers[0], &["repair"], &["--all", "--apply"]).await;
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
    wait_clean(&mut workers[0], 4).await;
    let tables = ["counters", "moved", "emptied", "parts"].map(Same::table);
    assert_same(&mut blue, &mut green, &tables).await;
    workers.iter_mut().for_each(Sidecar::assert_running);
    for sidecar in workers.into_iter().chain([capture]) {
        sidecar.stop().await;
    }
}
