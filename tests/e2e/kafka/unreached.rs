//! Starts while no broker answers: an address that has never been right ends a process, one that was right is waited for.

use std::time::{Duration, Instant};

use understudy_tests::{Kafka, Migration, Pair, Port, Same, Sidecar, assert_same, until_within};

const TABLE: &str =
    "CREATE SCHEMA unreached; CREATE TABLE unreached.users (id bigint PRIMARY KEY, name text);";

const ROWS: &str = "INSERT INTO unreached.users SELECT n, 'name ' || n FROM generate_series(1, 100) n";

/// A process gives up after this long what has never answered.
const UNANSWERED_MAX: Duration = Duration::from_secs(30);

/// A migration of its own through these brokers.
fn migration(pair: &Pair, name: &str, (brokers, consistency): (&str, &str)) -> Migration {
    let prefix = Kafka::prefix(name);
    let through = format!(
        "{{ kafka: {{ brokers: [\"{brokers}\"], topic_prefix: {prefix}, partitions: 2, consistency: {consistency} }} }}"
    );
    Migration::between(pair, name).through_as(&through).entry("  - from: unreached.users\n")
}

/// Promise 6: brokers that have never answered are waited for as blue and green are, and no longer; whatever role the process has,
/// it says where nobody is and what to do, and has made nothing on either side, so that the next start is a first one again.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_never_answered_end_a_first_start() {
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both(TABLE).await;
    let port = Port::reserve();
    let nobody = format!("127.0.0.1:{}", port.number());
    let cases =
        [("all", "transaction"), ("all", "key"), ("apply", "transaction"), ("capture", "transaction")];
    let started = cases.map(|(role, consistency)| {
        let migration = migration(&pair, &format!("never-{role}-{consistency}"), (&nobody, consistency));
        (role, consistency, Sidecar::start_with(&migration, &["--role", role]))
    });
    for (role, consistency, sidecar) in started {
        let exit = sidecar.exit().await;
        assert_eq!(exit.code, Some(1), "{role}, {consistency}: {}", exit.stderr);
        for word in ["connect to Kafka", nobody.as_str(), "through.kafka", "remedy:", "next:"] {
            assert!(exit.stderr.contains(word), "{role}, {consistency}: no `{word}` in:\n{}", exit.stderr);
        }
    }
    let objects = "SELECT slot_name FROM pg_replication_slots UNION ALL SELECT pubname FROM pg_publication";
    assert_eq!(pair.on_blue().await.column(objects).await, Vec::<String>::new(), "nothing is left on blue");
    let schema = "SELECT nspname FROM pg_namespace WHERE nspname = 'understudy'";
    assert_eq!(pair.on_green().await.column(schema).await, Vec::<String>::new(), "green remembers nothing");
}

/// Promise 1: a migration that had begun waits for brokers that are away at a start, however long that takes: it is seen to be
/// alive, not ready, and what it waits for; and goes on as soon as they are back.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_goes_on_waits_for_its_brokers() {
    let Some(mut kafka) = Kafka::start().await else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both(TABLE).await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(ROWS).await;
    let migration = migration(&pair, "goes-on", (&kafka.bootstrap(), "transaction"));
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    sidecar.stop().await;
    kafka.kill(1);
    blue.batch("UPDATE unreached.users SET name = name || '!'").await;
    let (began, mut sidecar) = (Instant::now(), Sidecar::start(&migration));
    let is_kafka =
        |what: &serde_json::Value| what.as_str().is_some_and(|what| what.starts_with("Kafka, to "));
    sidecar
        .wait_for("it says what it waits for", |status| {
            status["waiting_for"].as_array().is_some_and(|what| what.iter().any(is_kafka))
        })
        .await;
    let mut before = None;
    until_within(UNANSWERED_MAX * 4, "it is tried again", async || {
        sidecar.assert_running();
        let tries = sidecar.log().matches("connecting again").count();
        (began.elapsed() > UNANSWERED_MAX * 2 && tries > *before.get_or_insert(tries)).then_some(())
    })
    .await;
    for (path, expected) in [("/livez", 200), ("/readyz", 503)] {
        let (code, body) = sidecar.get(path).await.expect("an answer");
        assert_eq!(code, expected, "{path}: {body}");
    }
    assert!(sidecar.log().contains("waiting for Kafka to answer"), "{}", sidecar.log());
    kafka.start_node(1).await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &[Same::table("unreached.users")]).await;
    sidecar.stop().await;
}
