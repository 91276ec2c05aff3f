//! Topics as other people's consumers read them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use understudy_tests::{Kafka, Migration, Pair, Process, Same, Session, Sidecar, assert_same, until_within};

const TABLES: [&str; 4] = ["papers", "pairs", "notes", "markers"];

/// Values of all the forms that records have, and large ones that updates leave out.
const SCHEMA: &str = r#"
    CREATE TABLE papers (id bigint PRIMARY KEY, title text NOT NULL, body text, "Pages" int, open boolean, ratio float8,
        price numeric(20,4), made timestamptz, tags text[], data jsonb, scan bytea);
    ALTER TABLE papers ALTER body SET STORAGE EXTERNAL, ALTER scan SET STORAGE EXTERNAL;
    CREATE TABLE pairs (a int, b text, body text, PRIMARY KEY (a, b));
    ALTER TABLE pairs ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE notes (id bigint PRIMARY KEY, note text);
    CREATE TABLE markers (id bigint PRIMARY KEY);"#;

/// Papers there are to choose from; a change of one that is not there does nothing.
const PAPERS: u64 = 300;

/// Guards that the log is of use to others: who knows nothing but the conventions of Debezium's consumers rebuilds every table from
/// our topics, while rows are copied and changed, large values stay away, keys change, tables are emptied, and the capture is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_stock_consumer_rebuilds_the_tables() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(python) = python() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both(SCHEMA).await;
    let mut blue = pair.on_blue().await;
    fill(&mut blue).await;
    let prefix = Kafka::prefix("stock");
    let migration = migration(&pair, kafka, &prefix);
    let sidecar = Sidecar::start_with(&migration, &["--role", "capture"]);
    let topics: Vec<String> = TABLES.iter().map(|table| format!("{prefix}.public.{table}")).collect();
    let mut consumer = consume(&python, &pair, kafka, &topics);
    let mut others = pair.on_blue().await;
    tokio::join!(load(&mut blue, 1), load(&mut others, 2));
    sidecar.kill();
    let mut sidecar = Sidecar::start_with(&migration, &["--role", "capture"]);
    tokio::join!(load(&mut blue, 3), load(&mut others, 4));
    // A capture has no tables of green to tell of.
    until_within(Duration::from_secs(240), "every table is captured", async || {
        sidecar.assert_running();
        sidecar.status().await.filter(|status| status["phase"] == "following")
    })
    .await;
    tokio::join!(load(&mut blue, 5), load(&mut others, 6));
    blue.batch("INSERT INTO markers VALUES (1)").await;
    let rebuilt = rebuilt(&mut consumer, &mut sidecar).await;
    let mut green = pair.on_green().await;
    green.try_batch(&rebuilt).await.unwrap_or_else(|failure| panic!("write what was rebuilt: {failure}"));
    assert_same(&mut blue, &mut green, &TABLES.map(Same::table)).await;
    assert!(blue.number("SELECT count(*) FROM papers").await > 0, "the load left no rows to compare");
    sidecar.stop().await;
}

/// Waits for what the consumer has rebuilt.
async fn rebuilt(consumer: &mut Process, sidecar: &mut Sidecar) -> String {
    let status = until_within(Duration::from_secs(180), "the consumer has it all", async || {
        sidecar.assert_running();
        consumer.ended()
    })
    .await;
    assert!(status.success(), "the consumer ended with {status}:\n{}", consumer.errors());
    consumer.output()
}

fn migration(pair: &Pair, kafka: &Kafka, prefix: &str) -> Migration {
    let through = format!("{{ kafka: {{ brokers: [\"{}\"], topic_prefix: {prefix} }} }}", kafka.bootstrap());
    let migration = Migration::between(pair, "stock").through_as(&through);
    TABLES.iter().fold(migration, |migration, table| migration.table(&format!("public.{table}")))
}

/// Starts the consumer, which ends by itself once it has seen a marker.
fn consume(packages: &Path, pair: &Pair, kafka: &Kafka, topics: &[String]) -> Process {
    let program = project().join("tests/stock/rebuild.py").display().to_string();
    let brokers = kafka.bootstrap();
    let last = topics.last().expect("the markers' topic").as_str();
    let mut arguments = vec![program.as_str(), brokers.as_str(), last];
    arguments.extend(topics.iter().map(String::as_str));
    let packages = packages.display().to_string();
    let environment = [("PYTHONPATH", packages.as_str()), ("PYTHONUNBUFFERED", "1")];
    Process::start("stock", pair.scratch.path(), "python3".as_ref(), &arguments, &environment)
}

/// Where `dev/servers` has put the packages of Python. A missing one fails the test, unless ALLOW_SKIP=1.
fn python() -> Option<PathBuf> {
    let packages = project().join(".servers/python");
    if packages.is_dir() {
        return Some(packages);
    }
    let may_skip = std::env::var("ALLOW_SKIP").is_ok_and(|value| value == "1");
    assert!(
        may_skip,
        "a Kafka client for Python is missing: run dev/servers, or set ALLOW_SKIP=1 to go on without it"
    );
    println!("SKIPPED a_stock_consumer_rebuilds_the_tables: a Kafka client for Python is missing");
    None
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("inside the project").to_owned()
}

async fn fill(blue: &mut Session) {
    blue.batch(&format!(
        "INSERT INTO papers SELECT n, 'paper ' || n, repeat(md5(n::text), 90), n, n % 3 = 0, n / 7.0::float8, n / 7.0, now(),
            ARRAY['a', n::text], jsonb_build_object('n', n), decode(repeat('00ff', 1200), 'hex')
         FROM generate_series(1, {PAPERS}) n;
         INSERT INTO pairs SELECT n % 10, 'b' || n, repeat(md5(n::text), 90) FROM generate_series(1, 200) n;
         INSERT INTO notes SELECT n, 'note ' || n FROM generate_series(1, 100) n;"
    ))
    .await;
}

/// A few hundred transactions of all kinds.
async fn load(blue: &mut Session, seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    for step in 0..200_u64 {
        let fresh = 1_000 + seed * 1_000 + step;
        let changes = (0..dice.random_range(1..=3)).map(|_| change(&mut dice, fresh)).collect::<Vec<_>>();
        let sql = format!("BEGIN; {}; COMMIT", changes.join("; "));
        if blue.try_batch(&sql).await.is_err() {
            // Two sessions waited for each other, or moved a row to the same place.
            blue.batch("ROLLBACK").await;
        }
    }
}

/// One change; `fresh` is a number that no other transaction has.
fn change(dice: &mut StdRng, fresh: u64) -> String {
    let id = dice.random_range(1..=PAPERS);
    let pair = dice.random_range(1..=200);
    match dice.random_range(0..12) {
        0 | 1 => format!(
            "INSERT INTO papers VALUES ({fresh}, E'it''s \"new\"\\n\\\\ Ünïcødé 🦀', repeat('x', 3000), NULL, NULL, 'NaN', \
             'NaN', '-infinity', '{{}}', '[1.50, \"é\"]', '\\x00') ON CONFLICT DO NOTHING"
        ),
        // Leaves out both large values.
        2..=4 => format!(
            "UPDATE papers SET title = '', \"Pages\" = -{fresh}, ratio = 1e-7, price = 0.1000, open = NOT open WHERE id = {id}"
        ),
        5 => format!("UPDATE papers SET body = repeat('y', {}) WHERE id = {id}", 2_100 + fresh % 500),
        // Other keys, with values that are not sent.
        6 => format!("UPDATE papers SET id = id + 100000 WHERE id = {id}"),
        7 => format!("UPDATE papers SET id = id - 100000, title = 'back' WHERE id = 100000 + {id}"),
        8 => format!("UPDATE pairs SET a = a + 1, b = b || '''' WHERE b = 'b{pair}'"),
        9 => format!("DELETE FROM papers WHERE id = {id} OR id = {fresh} - 7"),
        10 => {
            format!("INSERT INTO notes VALUES ({fresh}, NULL) ON CONFLICT (id) DO UPDATE SET note = 'again'")
        }
        _ if fresh.is_multiple_of(10) => "TRUNCATE notes".to_owned(),
        _ => format!("UPDATE notes SET note = 'changed {fresh}' WHERE id % 7 = {fresh} % 7"),
    }
}
