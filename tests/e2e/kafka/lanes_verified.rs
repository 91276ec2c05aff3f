//! Several workers fill green, and one of them compares both sides for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use understudy_tests::{Kafka, Migration, Pair, Same, Session, Sidecar, assert_same, until_within};

use super::load::{LANES, lanes_of, shared_out};
use crate::verify::{open, report, routes, verb, wait_clean, wait_verify};

const PATIENCE: Duration = Duration::from_secs(120);

/// Rows that are planted in, spread over all lanes.
const PLANTED: u64 = 36;

/// With a large column that changes of others do not send, so that they do not mend it.
const TABLES: &str = "CREATE TABLE users (id int PRIMARY KEY, visits int NOT NULL, body text NOT NULL);
    ALTER TABLE users ALTER COLUMN body SET STORAGE EXTERNAL";

const ROWS: &str =
    "INSERT INTO users SELECT n, 0, repeat(md5(n::text), 100) FROM generate_series(1, 2000) n; ANALYZE users";

/// No pass comes by itself after the first, so that what is found later is found by its change.
const VERIFY: &str =
    "verify: { range_rows: 500, pass_pause: 1h, busy: 1.0 }\ngate: { soak: 2s, max_lag: 30s }";

/// Visits that go on until it is dropped.
struct Visits {
    stop: Arc<AtomicBool>,
    task: JoinSet<()>,
}

impl Visits {
    fn start(mut blue: Session) -> Visits {
        let stop = Arc::new(AtomicBool::new(false));
        let (until, mut task) = (Arc::clone(&stop), JoinSet::new());
        task.spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(50));
            let mut at = 0;
            while !until.load(Ordering::Relaxed) {
                pace.tick().await;
                at = at % 900 + 7;
                blue.batch(&format!("UPDATE users SET visits = visits + 1 WHERE id = 1000 + {at}")).await;
            }
        });
        Visits { stop, task }
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.join_next().await.expect("it runs").expect("it ends in order");
    }
}

/// Waits until the gate of the worker that compares is open.
async fn gate_opens(workers: &mut [Sidecar], what: &str) {
    until_within(PATIENCE, what, async || {
        let first = first_of(workers).await?;
        let (_, body) = workers[first].get("/v1/gates/cutover").await?;
        let document: Value = serde_json::from_str(&body).ok()?;
        (document["verdict"] == "pass").then_some(())
    })
    .await;
}

/// Which of the workers has the first lane, and so compares.
async fn first_of(workers: &mut [Sidecar]) -> Option<usize> {
    for (at, worker) in workers.iter_mut().enumerate() {
        if lanes_of(worker).await.contains(&0) {
            return Some(at);
        }
    }
    None
}

/// Whether a worker says of exactly the partitions that it reads how far behind it is.
async fn tells_lag(worker: &mut Sidecar) -> Option<()> {
    let lanes = lanes_of(worker).await;
    let through = worker.status().await?["through"].clone();
    let partitions = through["partitions"].as_array()?.clone();
    let of_table =
        partitions.iter().filter(|of| of["topic"].as_str().is_some_and(|name| name.ends_with("users")));
    let numbers = of_table.filter_map(|of| of["partition"].as_u64()).collect::<Vec<_>>();
    (numbers == lanes && partitions.len() == lanes.len() + 1 && through["records_behind"].is_u64())
        .then_some(())
}

/// Promise 3: whoever compares both sides hears of changed rows in the lanes of other processes, finds and mends what differs
/// there without reading everything again, and the gate opens while several processes work, also after the one that compares
/// was killed.
#[tokio::test(flavor = "multi_thread")]
async fn changed_rows_of_every_lane_are_compared_while_three_workers_run() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) =
        Pair::start_with(15, 18, &[("fsync", "off")], &[("fsync", "off"), ("max_connections", "150")]).await
    else {
        return;
    };
    pair.on_both(TABLES).await;
    pair.on_blue().await.batch(ROWS).await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    let (prefix, brokers) = (Kafka::prefix("compared"), kafka.bootstrap());
    let migration = Migration::between(&pair, "compared").table("public.users").with(VERIFY).through_as(&format!(
        "{{ kafka: {{ brokers: [\"{brokers}\"], topic_prefix: {prefix}, partitions: {LANES}, consistency: key }} }}"
    ));
    let capture = Sidecar::start_with(&migration, &["--role", "capture"]);
    let worker = || Sidecar::start_with(&migration, &["--role", "apply"]);
    let mut workers = vec![worker(), worker(), worker()];
    shared_out(&mut workers).await;
    for worker in &mut workers {
        worker.wait_copied_within(PATIENCE).await;
        until_within(PATIENCE, "each tells how far behind it is", async || tells_lag(worker).await).await;
    }
    green.batch("ANALYZE users").await;
    let first = first_of(&mut workers).await.expect("somebody has the first lane");
    wait_clean(&mut workers[first], 1).await;
    let visits = Visits::start(pair.on_blue().await);
    gate_opens(&mut workers, "the gate opens while three processes work").await;

    green.batch(&format!("UPDATE users SET body = 'else' WHERE id <= {PLANTED}")).await;
    let passes = passes(&workers[first]).await;
    blue.batch(&format!("UPDATE users SET visits = visits + 1 WHERE id <= {PLANTED}")).await;
    let found = wait_verify(&mut workers[first], "what was planted in every lane is found", |report| {
        open(report) == PLANTED
    })
    .await;
    assert_eq!(self::passes(&workers[first]).await, passes, "no pass was needed: {found:#}");
    let done = verb(&migration, &workers[first], &["repair"], &["--all", "--apply"]).await;
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
    wait_verify(&mut workers[first], "it is mended in every lane", |report| open(report) == 0).await;
    gate_opens(&mut workers, "the gate opens again").await;

    workers.remove(first).kill();
    workers.push(worker());
    shared_out(&mut workers).await;
    gate_opens(&mut workers, "the gate opens at the worker that compares from then on").await;
    visits.end().await;
    let goal = blue.value("SELECT pg_current_wal_insert_lsn()").await;
    let is_there = format!("SELECT min(checkpoint) >= '{goal}' FROM understudy.migration");
    until_within(PATIENCE, "every lane has caught up", async || {
        (green.try_column(&is_there).await.ok()? == ["t"]).then_some(())
    })
    .await;
    assert_same(&mut blue, &mut green, &[Same::table("users")]).await;
    for worker in workers {
        worker.stop().await;
    }
    capture.stop().await;
}

/// How many passes have ended.
async fn passes(worker: &Sidecar) -> Vec<Value> {
    let report = report(worker).await.expect("a report");
    routes(&report).iter().map(|route| route["passes_completed"].clone()).collect()
}
