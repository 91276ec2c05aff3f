//! Long silences: an idle publication beside busy tables (F7), and a green that takes nothing (F12), also at the end.

use std::time::{Duration, Instant};

use understudy_tests::{
    Campaign, Migration, Pair, Same, Session, Shop, Sidecar, Signal, all_processes, assert_same, hold,
    is_campaign, until, until_within,
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
async fn blocked<B>(test: &str, block: impl AsyncFn(&Pair) -> B) {
    let campaign = Campaign::of(test, 1, 1);
    for seed in campaign.seeds() {
        blocked_once(&campaign, &block).await;
        campaign.passed(seed);
    }
}

async fn blocked_once<B>(campaign: &Campaign, block: impl AsyncFnOnce(&Pair) -> B) {
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
    let goal = blue.value("SELECT pg_current_wal_insert_lsn()").await;
    let released = Instant::now();
    drop(blocker);
    let mut green = pair.on_green().await;
    let reached = format!("SELECT checkpoint >= '{goal}'::pg_lsn FROM understudy.migration");
    until_within(Duration::from_secs(20), "green catches up at once", async || {
        (green.value(&reached).await == "t").then_some(())
    })
    .await;
    campaign.measured("seconds_blocked", period.as_secs_f64());
    campaign.measured("seconds_until_green_has_it_all", released.elapsed().as_secs_f64());
    campaign.measured("rss_mib", sidecar.peak_memory_bytes() as f64 / 1024.0 / 1024.0);
    assert_eq!(streaming_pid(&mut blue, &slot).await, pid, "the stream is still the same one");
    shop.prove(&pair, &mut sidecar).await;
    sidecar.stop().await;
}

/// Someone locks a table of green.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_green_is_waited_for() {
    blocked("green_locked", async |pair| {
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
            Signal::Cont.send(*pid);
        }
    }
}

/// Green's machine hangs: connections stay open and nothing answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_green_is_waited_for() {
    blocked("green_frozen", async |pair| {
        let pids = all_processes(&pair.green);
        for pid in &pids {
            Signal::Stop.send(*pid);
        }
        Frozen(pids)
    })
    .await;
}

/// Every wait has a limit: a stop on request ends although green is blocked, says that nothing is lost, and nothing is.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_locked_green() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both("CREATE TABLE held (id int PRIMARY KEY, note text)").await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    let migration = Migration::between(&pair, "grace").table("public.held").with("apply: { stop_grace: 1s }");
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    let mut locker = pair.on_green().await;
    locker.batch("BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE").await;
    blue.batch("INSERT INTO held SELECT n, 'while green is locked' FROM generate_series(1, 100) n").await;
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE wait_event_type = 'Lock' AND application_name LIKE 'understudy/%'";
    until("the sidecar waits for the lock", async || {
        sidecar.assert_running();
        (green.number(waiting).await > 0).then_some(())
    })
    .await;
    sidecar.signal(Signal::Term);
    let exit = sidecar.exit().await;
    assert_eq!(exit.code, Some(130), "as after an interruption:\n{}", exit.stderr);
    assert!(exit.stderr.contains("nothing is lost"), "{}", exit.stderr);
    locker.batch("ROLLBACK").await;
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &[Same::table("held")]).await;
    assert_eq!(green.number("SELECT count(*) FROM held").await, 100);
    sidecar.stop().await;
}
