//! Giving a migration up while its brokers are away.

use understudy_tests::{Kafka, Migration, Pair, Sidecar, understudy, until};

const TABLE: &str = "CREATE SCHEMA given; CREATE TABLE given.users (id bigint PRIMARY KEY, name text);";

const ROWS: &str = "INSERT INTO given.users SELECT n, 'name ' || n FROM generate_series(1, 100) n";

/// Promises 5 and 6: brokers that are away do not keep blue from being freed. What is theirs is said to be left, and goes with the
/// same command once they are back; an ending in order waits for them unless it is forced.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_given_up_while_its_brokers_are_away() {
    let Some(mut kafka) = Kafka::start().await else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both(TABLE).await;
    let mut blue = pair.on_blue().await;
    blue.batch(ROWS).await;
    let (brokers, prefix) = (kafka.bootstrap(), Kafka::prefix("given"));
    let through =
        format!("{{ kafka: {{ brokers: [\"{brokers}\"], topic_prefix: {prefix}, partitions: 2 }} }}");
    let migration =
        Migration::between(&pair, "given-up").through_as(&through).entry("  - from: given.users\n");
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    let file = sidecar.file.to_string_lossy().into_owned();
    sidecar.stop().await;
    kafka.kill(1);
    let end = async |verb: &str| understudy(migration.folder(), &[verb, &file, "--yes"]).await;
    let left = "SELECT slot_name FROM pg_replication_slots UNION ALL SELECT pubname FROM pg_publication";

    let refused = end("finish").await;
    assert_eq!(refused.code, Some(7), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("cannot be told") && refused.stderr.contains("--force"),
        "{}",
        refused.stderr
    );
    assert_eq!(blue.column(left).await.len(), 2, "nothing was changed");

    let given_up = until("the sidecar's sessions have ended", async || {
        let ended = end("abort").await;
        (ended.code != Some(7)).then_some(ended)
    })
    .await;
    assert_eq!(given_up.code, Some(1), "not everything is removed: {}", given_up.stderr);
    assert!(given_up.stdout.contains("removed replication slot"), "{}", given_up.stdout);
    for word in ["topics in Kafka are still there", "remedy:", "understudy abort"] {
        assert!(given_up.stderr.contains(word), "no `{word}` in:\n{}", given_up.stderr);
    }
    assert_eq!(blue.column(left).await, Vec::<String>::new(), "blue is free");
    let schema = "SELECT nspname FROM pg_namespace WHERE nspname = 'understudy'";
    assert_eq!(pair.on_green().await.column(schema).await, Vec::<String>::new(), "green remembers nothing");

    kafka.start_node(1).await;
    let rest = end("abort").await;
    assert_eq!(rest.code, Some(0), "{}", rest.stderr);
    assert!(rest.stdout.contains(&format!("topic {prefix}")), "{}", rest.stdout);
    let nothing = end("abort").await;
    assert!(nothing.stdout.contains("nothing of migration"), "{}", nothing.stdout);
}
