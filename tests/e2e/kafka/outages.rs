//! Brokers that are killed and come back in the middle of the work, while workers and captures come and go.

use std::time::{Duration, Instant};

use understudy_tests::{Kafka, Pair, Same, Session, Sidecar, assert_same, hold, until, until_within};

use super::load::{LANES, ROWS, TABLES, Work, books_say, copied, migration, prove, shared_out};

/// Three nodes, of which one may be away, and the two sides.
struct Place {
    kafka: Kafka,
    pair: Pair,
    blue: Session,
    green: Session,
}

impl Place {
    async fn set_up(rows: &str) -> Option<Place> {
        let kafka = Kafka::start_nodes(3).await?;
        let settings = [("fsync", "off"), ("max_connections", "150")];
        let pair = Pair::start_with(15, 18, &[("fsync", "off")], &settings).await?;
        pair.on_both(TABLES).await;
        pair.on_blue().await.batch(rows).await;
        let (blue, green) = (pair.on_blue().await, pair.on_green().await);
        Some(Place { kafka, pair, blue, green })
    }

    /// Kills a node, then one of the workers, of which another takes the place, and lets the node come back.
    async fn shake(&mut self, node: usize, workers: &mut Vec<Sidecar>, worker: impl Fn() -> Sidecar) {
        self.kafka.kill(node);
        workers.remove(0).kill();
        workers.push(worker());
        self.kafka.start_node(node).await;
        if workers.len() > 1 {
            shared_out(workers).await;
        }
    }
}

/// Each node is killed, one in the copy and two in the follow; the first two come back, each to another worker in place of one that
/// was killed, and while the last one stays away, the capture is replaced.
async fn brokers_and_workers_come_and_go(consistency: &str, count: usize) {
    let Some(mut place) = Place::set_up(ROWS).await else { return };
    let prefix = Kafka::prefix(consistency);
    let migration = migration(&place.pair, &place.kafka, (&prefix, consistency));
    let work = Work::start(place.pair.on_blue().await);
    let capturing = || Sidecar::start_with(&migration, &["--role", "capture"]);
    let worker = || Sidecar::start_with(&migration, &["--role", "apply"]);
    let mut capture = capturing();
    let mut workers = (0..count).map(|_| worker()).collect::<Vec<_>>();
    let books = if count > 1 { LANES } else { 1 };
    if count > 1 {
        shared_out(&mut workers).await;
    }
    let is_copying = format!("count(*) > {books} FROM understudy.chunks_done");
    until("the copy is under way", async || books_say(&mut place.green, &is_copying).await).await;
    let is_over = "bool_and(complete) FROM understudy.routes";
    assert_eq!(books_say(&mut place.green, is_over).await, None, "the copy is over before a node is killed");
    place.shake(1, &mut workers, worker).await;
    copied(&mut place.green, &mut workers, books).await;
    work.goes_on(100).await;
    place.shake(2, &mut workers, worker).await;
    work.goes_on(100).await;
    capture.assert_running();
    place.kafka.kill(3);
    work.goes_on(10).await;
    capture.kill();
    capture = capturing();
    work.goes_on(100).await;
    prove(work, &mut workers, (&mut place.blue, &mut place.green)).await;
    capture.assert_running();
    for sidecar in workers.into_iter().chain([capture]) {
        sidecar.stop().await;
    }
}

/// Promise 1: brokers are killed and restarted in copy and in follow, and workers and captures with them; what is applied is whole
/// transactions, none is lost, and none counts twice.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_killed_under_one_worker() {
    brokers_and_workers_come_and_go("transaction", 1).await;
}

/// The same with three workers, whose lanes go from one to the other each time.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_killed_under_three_workers() {
    brokers_and_workers_come_and_go("key", 3).await;
}

/// A process that nothing has answered yet gives up after this long.
const UNANSWERED_MAX: Duration = Duration::from_secs(30);

/// Promise 1: whoever starts while brokers are away that hold the only copies in step waits for them, for longer than for an address
/// that may be wrong; is seen to be alive, not ready, and what it waits for; and goes on as soon as they are back.
#[tokio::test(flavor = "multi_thread")]
async fn who_starts_while_brokers_are_away_waits_for_them() {
    let rows = "INSERT INTO counters SELECT n, 0 FROM generate_series(1, 200) n";
    let Some(mut place) = Place::set_up(rows).await else { return };
    let migration = migration(&place.pair, &place.kafka, (&Kafka::prefix("away"), "transaction"));
    let started = |role| Sidecar::start_with(&migration, &["--role", role]);
    let mut capture = started("capture");
    capture.wait_for("the log holds every table", |status| status["phase"] == "following").await;
    capture.kill();
    [2, 3].into_iter().for_each(|node| place.kafka.kill(node));
    place.blue.batch("UPDATE counters SET n = n + 1").await;
    let (began, mut both) = (Instant::now(), [started("capture"), started("apply")]);
    let tries = |sidecar: &Sidecar| sidecar.log().matches("connecting again").count();
    for sidecar in &mut both {
        sidecar
            .wait_for("it says what it waits for", |status| {
                status["waiting_for"].as_array().is_some_and(|what| what.iter().any(is_kafka))
            })
            .await;
        let mut before = None;
        until_within(UNANSWERED_MAX * 4, "it is tried again", async || {
            sidecar.assert_running();
            let tries = tries(sidecar);
            (began.elapsed() > UNANSWERED_MAX && tries > *before.get_or_insert(tries)).then_some(())
        })
        .await;
        for (path, expected) in [("/livez", 200), ("/readyz", 503)] {
            let (code, body) = sidecar.get(path).await.expect("an answer");
            assert_eq!(code, expected, "{path}: {body}");
        }
    }
    for node in [2, 3] {
        place.kafka.start_node(node).await;
    }
    let [mut capture, mut apply] = both;
    apply.wait_copied().await;
    apply.wait_caught_up(&mut place.blue, &mut place.green).await;
    assert_same(&mut place.blue, &mut place.green, &[Same::table("counters")]).await;
    capture.assert_running();
    apply.stop().await;
    capture.stop().await;
}

/// Nobody may be silent for longer than this.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// Promise 1: a new copy that is asked for while brokers are away is waited for by both parts of a process, which is seen to be alive
/// and for what each waits, and is made as soon as they are back.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_copy_waits_for_brokers() {
    let rows = "INSERT INTO counters SELECT n, 0 FROM generate_series(1, 200) n";
    let Some(mut place) = Place::set_up(rows).await else { return };
    let migration = migration(&place.pair, &place.kafka, (&Kafka::prefix("recopied"), "transaction"));
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    sidecar.kill();
    [2, 3].into_iter().for_each(|node| place.kafka.kill(node));
    let mut sidecar = Sidecar::start_with(&migration, &["--recopy", "public.counters"]);
    sidecar
        .wait_for("both parts say what they wait for", |status| {
            let waits = status["waiting_for"].as_array().cloned().unwrap_or_default();
            let waits_for_capture = |what: &serde_json::Value| {
                what.as_str().is_some_and(|what| what.starts_with("the capture, to "))
            };
            waits.iter().any(is_kafka) && waits.iter().any(waits_for_capture)
        })
        .await;
    hold(SILENT_MAX + Duration::from_secs(2), async || {
        let (code, body) = sidecar.get("/livez").await.expect("an answer");
        assert_eq!(code, 200, "{body}");
    })
    .await;
    sidecar.assert_running();
    for node in [2, 3] {
        place.kafka.start_node(node).await;
    }
    let copied_again = "SELECT count(*) FROM understudy.routes WHERE complete";
    sidecar.wait_copied().await;
    assert_eq!(place.green.value(copied_again).await, "4");
    sidecar.wait_caught_up(&mut place.blue, &mut place.green).await;
    assert_same(&mut place.blue, &mut place.green, &[Same::table("counters")]).await;
    sidecar.stop().await;
}

fn is_kafka(what: &serde_json::Value) -> bool {
    what.as_str().is_some_and(|what| what.starts_with("Kafka, to "))
}
