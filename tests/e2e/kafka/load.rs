//! A load whose rows tell what was lost and what was doubled: keys move between partitions, tables are emptied, counters count.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use understudy_tests::{Kafka, Migration, Pair, Same, Session, Sidecar, assert_same, until, until_within};

pub(super) const LANES: usize = 12;

/// A transaction each so often.
const PACE: Duration = Duration::from_millis(20);

/// Slow enough for workers to come and go in the middle of the copy.
const COPY: &str = "copy: { chunk_bytes: 128KiB, bytes_per_second: 1MiB }";

pub(super) const TABLES: &str = "
    CREATE TABLE counters (id int PRIMARY KEY, n bigint NOT NULL);
    CREATE TABLE moved (id int PRIMARY KEY, v int NOT NULL, body text NOT NULL);
    ALTER TABLE moved ALTER COLUMN body SET STORAGE EXTERNAL;
    CREATE TABLE emptied (id int PRIMARY KEY, v int NOT NULL);
    CREATE TABLE parts (p int, id int, v int NOT NULL, PRIMARY KEY (p, id)) PARTITION BY LIST (p);
    CREATE TABLE parts_0 PARTITION OF parts FOR VALUES IN (0);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);";

pub(super) const ROWS: &str = "
    INSERT INTO counters SELECT n, 0 FROM generate_series(1, 200) n;
    INSERT INTO moved SELECT n, 0, string_agg(md5(n || '/' || k), '') FROM generate_series(1, 600) n,
        generate_series(1, 90) k GROUP BY n;
    INSERT INTO emptied SELECT n, 0 FROM generate_series(1, 500) n;
    INSERT INTO parts SELECT n % 2, n, 0 FROM generate_series(1, 500) n;";

/// A migration of the tables, with as many partitions as there may be lanes. `consistency`: as in the file.
pub(super) fn migration(pair: &Pair, kafka: &Kafka, (prefix, consistency): (&str, &str)) -> Migration {
    let brokers = kafka.bootstrap();
    let brokers = brokers.split(',').map(|broker| format!("\"{broker}\"")).collect::<Vec<_>>().join(", ");
    let migration = ["counters", "moved", "emptied", "parts"]
        .iter()
        .fold(Migration::between(pair, "lanes"), |migration, table| {
            migration.table(&format!("public.{table}"))
        });
    migration.with(COPY).with(&format!(
        "through: {{ kafka: {{ brokers: [{brokers}], topic_prefix: {prefix}, partitions: {LANES}, consistency: {consistency} }} }}"
    ))
}

/// Clients that move keys, empty tables and count.
pub(super) struct Work {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    task: JoinSet<()>,
}

impl Work {
    pub(super) fn start(mut blue: Session) -> Work {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (Arc::clone(&stop), Arc::clone(&done));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut pace = tokio::time::interval(PACE);
            while !until.load(Ordering::Relaxed) {
                pace.tick().await;
                let at = count.load(Ordering::Relaxed);
                blue.batch(&step(at)).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Work { stop, done, task }
    }

    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until so many more transactions have been committed.
    pub(super) async fn goes_on(&self, more: u64) {
        let from = self.done();
        until("the load goes on", async || (self.done() > from + more).then_some(())).await;
    }

    /// Ends it. Returns how often something was counted.
    pub(super) async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.join_next().await.expect("it works").expect("the work ends in order");
        self.done.load(Ordering::Relaxed)
    }
}

/// One transaction, which counts once.
fn step(at: u64) -> String {
    let (row, counter) = (at * 7 % 600 + 1, at % 200 + 1);
    let what = match at % 10 {
        // Keys move to and fro, with a large value that is not sent.
        0 | 1 => format!(
            "UPDATE moved SET id = id + 10000 WHERE id = {row} AND NOT EXISTS (SELECT FROM moved WHERE id = {row} + 10000)"
        ),
        2 => "UPDATE moved SET id = id - 10000, v = v + 1 WHERE id = (SELECT max(id) FROM moved AS m WHERE id > 10000 \
              AND NOT EXISTS (SELECT FROM moved AS o WHERE o.id = m.id - 10000))"
            .to_owned(),
        3 | 4 => format!("UPDATE moved SET v = v + 1 WHERE id IN ({row}, {row} + 10000)"),
        5 => format!("DELETE FROM moved WHERE id = {row}; INSERT INTO moved VALUES ({row}, 1, repeat('x', 3000)) ON CONFLICT DO NOTHING"),
        // Rows of every lane before and behind what empties their table.
        6 if at % 600 == 6 => format!(
            "INSERT INTO emptied SELECT 1000 + n, {at} FROM generate_series(1, 20) n ON CONFLICT DO NOTHING; TRUNCATE emptied; \
             INSERT INTO emptied SELECT n, {at} FROM generate_series(1, 40) n; UPDATE emptied SET id = id + 100 WHERE id <= 10"
        ),
        6 if at % 600 == 306 => format!(
            "INSERT INTO parts SELECT n % 2, 1000 + n, {at} FROM generate_series(1, 20) n ON CONFLICT DO NOTHING; TRUNCATE parts_1; \
             INSERT INTO parts SELECT n % 2, 2000 + {at} + n, {at} FROM generate_series(1, 20) n"
        ),
        _ => format!("UPDATE emptied SET v = v + 1 WHERE id % 40 = {row} % 40; UPDATE parts SET v = v + 1 WHERE id % 40 = {row} % 40"),
    };
    format!("BEGIN; {what}; UPDATE counters SET n = n + 1 WHERE id = {counter}; COMMIT")
}

/// The lanes that a worker says it applies.
pub(super) async fn lanes_of(worker: &mut Sidecar) -> Vec<u64> {
    worker.assert_running();
    let status = worker.status().await.unwrap_or_default();
    let lanes = status["through"]["lanes"].as_array().cloned().unwrap_or_default();
    lanes.iter().filter_map(serde_json::Value::as_u64).collect()
}

/// Waits until every lane has one of these workers, and each worker has some.
pub(super) async fn shared_out(workers: &mut [Sidecar]) {
    until_within(Duration::from_secs(120), "the lanes are shared out among the workers", async || {
        let mut all = Vec::new();
        for worker in workers.iter_mut() {
            let lanes = lanes_of(worker).await;
            if lanes.is_empty() {
                return None;
            }
            all.extend(lanes);
        }
        let distinct = all.iter().collect::<BTreeSet<_>>().len();
        (all.len() == LANES && distinct == LANES).then_some(())
    })
    .await;
}

/// Whether green's books say something of all lanes.
pub(super) async fn books_say(green: &mut Session, sql: &str) -> Option<()> {
    let sql = format!("SELECT {sql}");
    green.try_column(&sql).await.ok()?.contains(&"t".to_owned()).then_some(())
}

/// Waits until every table of every book is copied: of each lane, or of the only one.
pub(super) async fn copied(green: &mut Session, workers: &mut [Sidecar], books: usize) {
    let sql = format!("bool_and(complete) AND count(*) = {} FROM understudy.routes", 4 * books);
    until_within(Duration::from_secs(240), "every table is copied", async || {
        workers.iter_mut().for_each(Sidecar::assert_running);
        books_say(green, &sql).await
    })
    .await;
}

/// Ends the load, waits until green has all of it, and proves that nothing was lost or came twice.
pub(super) async fn prove(work: Work, workers: &mut [Sidecar], (blue, green): (&mut Session, &mut Session)) {
    let counted = work.end().await;
    let goal = blue.value("SELECT pg_current_wal_insert_lsn()").await;
    let is_there = format!(
        "min(checkpoint) >= '{goal}' AND NOT EXISTS (SELECT FROM understudy.heals) FROM understudy.migration"
    );
    until_within(Duration::from_secs(240), "everything is on green", async || {
        workers.iter_mut().for_each(Sidecar::assert_running);
        books_say(green, &is_there).await
    })
    .await;
    let tables = ["counters", "moved", "emptied", "parts"].map(Same::table);
    assert_same(blue, green, &tables).await;
    assert_eq!(green.number("SELECT sum(n) FROM counters").await, i64::try_from(counted).expect("few"));
    let found = green.number("SELECT count(*) FROM understudy.mismatches").await;
    assert_eq!(found, 0, "a row was not as it should be");
}
