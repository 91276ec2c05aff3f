//! Long silences: an idle publication beside busy tables (F7), and a green that takes nothing (F12).

use std::time::Duration;

use understudy_tests::{
    Migration, Pair, Session, Shop, Sidecar, all_processes, hold, is_campaign, until, until_within,
};

/// Other tables write much, ours nothing: what blue keeps for the slot does not grow.
async fn slot_advances(heartbeat: &str) {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both("CREATE TABLE quiet (id int PRIMARY KEY)").await;
    let mut blue = pair.on_blue().await;
    blue.batch("CREATE TABLE busy (filler text)").await;
    let paced = |heartbeat: &str| {
        let stream = format!("stream: {{ heartbeat: {heartbeat}, stall_timeout: 20m, status_interval: 1s }}");
        Migration::between(&pair, "idle").table("public.quiet").with(&stream)
    };
    let slot = paced("1s").slot();
    let mut sidecar = Sidecar::start(&paced("500ms"));
    sidecar.wait_copied().await;
    sidecar.stop().await;
    let mut sidecar = Sidecar::start(&paced(heartbeat));
    sidecar.wait_for("it streams", |status| status["source_connected"] == true).await;
    for _ in 0..5 {
        blue.batch("INSERT INTO busy SELECT repeat('x', 1000) FROM generate_series(1, 10000)").await;
    }
    let written = blue.value("SELECT pg_current_wal_lsn()").await;
    let advanced = format!(
        "SELECT confirmed_flush_lsn >= '{written}' AND restart_lsn >= '{written}' FROM pg_replication_slots \
         WHERE slot_name = '{slot}'"
    );
    until("the slot has let go of what others wrote", async || {
        sidecar.assert_running();
        // A checkpoint writes the record from which a slot can restart, as the background writer does by itself.
        blue.batch("CHECKPOINT").await;
        (blue.value(&advanced).await == "t").then_some(())
    })
    .await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_slot_advances_by_heartbeats() {
    slot_advances("500ms").await;
}

/// Without a heartbeat in reach, keepalives alone prove that nothing was missed.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_slot_advances_by_keepalives() {
    slot_advances("10m").await;
}

/// The connection that streams, as blue lists it.
async fn streaming_pid(blue: &mut Session, slot: &str) -> String {
    blue.value(&format!("SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{slot}'")).await
}

/// Runs the load against a green that takes nothing. Blue's timeout is short: feedback must not depend on green.
async fn blocked<B>(block: impl AsyncFnOnce(&Pair) -> B) {
    let timeout = [("fsync", "off"), ("wal_sender_timeout", "3s")];
    let Some(pair) = Pair::start_with(15, 18, &timeout, &[("fsync", "off")]).await else {
        return;
    };
    let mut shop = Shop::open(&pair, 5_000).await;
    let migration = Migration::of_shop(&pair, "blocked");
    let slot = migration.slot();
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    let mut blue = pair.on_blue().await;
    shop.start_load(&pair, 100.0).await;
    let pid = streaming_pid(&mut blue, &slot).await;
    let blocker = block(&pair).await;
    let period = Duration::from_secs(if is_campaign() { 300 } else { 12 });
    let mut stayed = true;
    hold(period, async || {
        sidecar.assert_running();
        stayed &= streaming_pid(&mut blue, &slot).await == pid;
    })
    .await;
    assert!(stayed, "the stream was connected again while green was blocked:\n{}", sidecar.log());
    drop(blocker);
    let goal = blue.value("SELECT pg_current_wal_insert_lsn()").await;
    let mut green = pair.on_green().await;
    let reached = format!("SELECT checkpoint >= '{goal}'::pg_lsn FROM understudy.migration");
    until_within(Duration::from_secs(20), "green catches up at once", async || {
        (green.value(&reached).await == "t").then_some(())
    })
    .await;
    assert_eq!(streaming_pid(&mut blue, &slot).await, pid, "the stream is still the same one");
    shop.prove(&pair, &mut sidecar).await;
    sidecar.stop().await;
}

/// Someone locks a table of green.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_green_is_waited_for() {
    blocked(async |pair| {
        let mut session = pair.on_green().await;
        session.batch("BEGIN; LOCK TABLE store.operations IN ACCESS EXCLUSIVE MODE").await;
        session
    })
    .await;
}

/// Processes that go on when this value goes.
struct Frozen(Vec<u32>);

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            understudy_tests::Signal::Cont.send(*pid);
        }
    }
}

/// Green's machine hangs: connections stay open and nothing answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_green_is_waited_for() {
    blocked(async |pair| {
        let pids = all_processes(&pair.green);
        for pid in &pids {
            understudy_tests::Signal::Stop.send(*pid);
        }
        Frozen(pids)
    })
    .await;
}
