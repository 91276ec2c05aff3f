//! Topics of Debezium's connector, applied by us.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use understudy_tests::{
    Connect, Connector, Kafka, Migration, Pair, Port, Same, Schemas, Sidecar, assert_same, understudy, until,
    until_within,
};

use crate::verify::{open, verb, wait_clean, wait_verify};

/// Tables with every type that Debezium can bring back whole.
const SCHEMA: &str = "
    CREATE EXTENSION hstore;
    CREATE TYPE mood AS ENUM ('sad', 'so so', 'happy');
    CREATE DOMAIN amount AS numeric(20,4);
    CREATE TABLE kinds (
        id bigint PRIMARY KEY, small smallint, whole int, yes boolean, single real, double double precision,
        exact numeric, scaled numeric(12,2), dom amount, txt text, padded char(5), short varchar(20), bytes bytea,
        day date, clock time, moment timestamp, milli timestamp(3), zoned timestamptz, span interval, js json, jb jsonb,
        uid uuid, mood mood, tags text[], numbers int[], pairs hstore, net inet, reach int4range, place point, bits bit(10));
    CREATE TABLE moved (a int, b text, v text, PRIMARY KEY (a, b));
    CREATE TABLE wide (id int PRIMARY KEY, n int NOT NULL, big text);
    ALTER TABLE wide ALTER COLUMN big SET STORAGE EXTERNAL;";

const TABLES: [&str; 3] = ["public.kinds", "public.moved", "public.wide"];

const KINDS: &str = "
    INSERT INTO kinds VALUES
        (1, -32768, 2147483647, true, 0.1, 1e-7, 1.50, -0.01, 12345678901234.5678, E'a\"b\\\\c\\té', 'ab', '', '\\x00ff41',
         '2020-02-29', '23:59:59.000001', '2020-01-01 01:02:03.123456', '2020-01-01 01:02:03.12', '2020-06-01 12:00:00+02',
         '1 year 2 mons 3 days 04:05:06', '{\"a\": [1, null]}', '{\"b\": 1.10}', 'd8a3f353-1c29-4199-a4a8-44aa3cd1fe18',
         'so so', '{\"a,b\",NULL,\"\",\"null\"}', '{1,NULL,-3}', 'k=>v, \"a b\"=>NULL', '10.0.0.1/8', '[1,5)', '(1.5,-2)',
         B'0110000101'),
        (2, NULL, NULL, NULL, 'NaN', '-Infinity', 'NaN', NULL, NULL, NULL, NULL, NULL, NULL, '-infinity', '24:00:00',
         'infinity', '0044-03-15 12:00:00 BC', 'infinity', NULL, 'null', 'null', NULL, NULL, '{}', NULL, '', '::1',
         'empty', NULL, NULL);";

const ROWS: &str = "
    INSERT INTO moved SELECT n, 'b' || n, 'first' FROM generate_series(1, 500) n;
    INSERT INTO wide SELECT n, 0, repeat(md5(n::text), 300) FROM generate_series(1, 50) n;";

/// Quick passes, and a gate that does not soak for long.
const VERIFY: &str = "verify: { pass_pause: 1s, busy: 1.0 }\ngate: { soak: 2s, max_lag: 30s }";

fn connector(pair: &Pair, prefix: &str) -> Connector {
    Connector::debezium(&pair.blue, "shop", prefix, &TABLES).readable()
}

fn migration(pair: &Pair, kafka: &Kafka, prefix: &str) -> Migration {
    let slot = format!("debezium_{}", prefix.replace(['-', '.'], "_"));
    let through = format!(
        "{{ kafka: {{ brokers: [\"{}\"], topic_prefix: {prefix}, format: debezium, debezium: {{ slot: {slot} }} }} }}",
        kafka.bootstrap()
    );
    let migration = Migration::between(pair, "debezium").through_as(&through);
    TABLES.iter().fold(migration, |migration, table| migration.table(table))
}

/// Guards point 4 of going through Kafka: a real connector's snapshot and stream become green, of every type, with moved keys,
/// values that were not sent and emptied tables, while the apply is killed and the connector restarts; and nothing on blue or
/// in the topics is touched by the end of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_debezium_captures_is_applied() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both(SCHEMA).await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(KINDS).await;
    blue.batch(ROWS).await;
    let prefix = Kafka::prefix("understood");
    let source = connector(&pair, &prefix);
    let Some(connect) = Connect::start(kafka, &prefix, Schemas::With, std::slice::from_ref(&source)).await
    else {
        return;
    };
    let migration = migration(&pair, kafka, &prefix);
    let mut sidecar = Sidecar::start_with(&migration, &["--role", "apply"]);
    sidecar.wait_for("the sidecar says how far it is", |status| status["tables"].is_array()).await;
    sidecar.kill();
    let mut sidecar = Sidecar::start_with(&migration, &["--role", "apply"]);
    blue.batch(KINDS.replace("(1, -32768", "(11, 5").replace("(2, NULL", "(12, NULL").as_str()).await;
    sidecar.wait_copied_within(Duration::from_secs(120)).await;
    blue.batch(
        "UPDATE moved SET a = a + 1000 WHERE a <= 100;
         UPDATE wide SET n = n + 1;
         UPDATE kinds SET txt = 'changed', pairs = 'x=>y' WHERE id = 1;
         DELETE FROM kinds WHERE id = 2;
         DELETE FROM moved WHERE a BETWEEN 200 AND 220;",
    )
    .await;
    sidecar.kill();
    // A row that green has lost by somebody's hand comes back whole, although the connector sends a part of it.
    green.batch("DELETE FROM wide WHERE id = 7").await;
    let mut sidecar = Sidecar::start_with(&migration, &["--role", "apply"]);
    blue.batch("UPDATE wide SET n = n + 1 WHERE id <= 10").await;
    until("the row is whole again", async || {
        sidecar.assert_running();
        let seven = green.column("SELECT n || ' ' || length(big) FROM wide WHERE id = 7").await;
        seven.contains(&"2 9600".to_owned()).then_some(())
    })
    .await;
    connect.stop().await;
    blue.batch("INSERT INTO moved VALUES (5000, 'while', 'nobody watched')").await;
    let Some(connect) = Connect::start(kafka, &prefix, Schemas::With, &[source]).await else { return };
    blue.batch(
        "BEGIN; DELETE FROM moved WHERE a = 5000; INSERT INTO moved VALUES (5000, 'while', 'again'); COMMIT;
         TRUNCATE wide; INSERT INTO wide VALUES (1, 1, 'after'), (2, 2, NULL);",
    )
    .await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &TABLES.map(Same::table)).await;
    sidecar.assert_running();
    sidecar.stop().await;
    connect.stop().await;
}

/// Guards whose topics these are: nobody starts a capture on them, and what Debezium cannot bring back whole is told before
/// the start, with what to do about it.
#[tokio::test(flavor = "multi_thread")]
async fn what_debezium_does_not_tell_is_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both("CREATE TABLE clocks (id int PRIMARY KEY, at timetz, v text DEFAULT 'x')").await;
    let prefix = Kafka::prefix("clocks");
    let through = format!(
        "{{ kafka: {{ brokers: [\"{}\"], topic_prefix: {prefix}, format: debezium }} }}",
        kafka.bootstrap()
    );
    let migration = Migration::between(&pair, "clocks").through_as(&through).table("public.clocks");
    let file = migration.write(&Port::reserve());
    let file = file.to_str().expect("a path");
    let all = understudy(migration.folder(), &["run", file]).await;
    assert!(all.stderr.contains("--role apply"), "{all:?}");
    let check = understudy(migration.folder(), &["check", file]).await;
    let told = format!("{}{}", check.stdout, check.stderr);
    assert!(told.contains("column at of public.clocks") && told.contains("time zone"), "{told}");
    assert!(
        told.contains("column v of public.clocks") && told.contains("replace_null_with_default"),
        "{told}"
    );
}

/// Promise 2: a topic that is compacted drops deletes which an apply that stands still has not taken, and their rows would stay on
/// green for ever. It is refused before the start, and by whoever meets it under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_is_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both("CREATE TABLE codes (id int PRIMARY KEY, v text)").await;
    let prefix = Kafka::prefix("compacted");
    let slot = format!("debezium_{}", prefix.replace(['-', '.'], "_"));
    let mut blue = pair.on_blue().await;
    blue.batch(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    let through = format!(
        "{{ kafka: {{ brokers: [\"{}\"], topic_prefix: {prefix}, format: debezium, debezium: {{ slot: {slot} }} }} }}",
        kafka.bootstrap()
    );
    let migration = Migration::between(&pair, "compacted").through_as(&through).table("public.codes");
    let mut sidecar = Sidecar::start_with(&migration, &["--role", "apply"]);
    sidecar.wait_for("the sidecar says how far it is", |status| status["tables"].is_array()).await;
    // As Connect makes it with the first record.
    let client = ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).clone();
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let topic = format!("{prefix}.public.codes");
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("cleanup.policy", "compact");
    let made = admin.create_topics([&new], &AdminOptions::new()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let run = sidecar.exit().await;
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("has cleanup.policy=compact"), "{}", run.stderr);
    let file = migration.write(&Port::reserve());
    let check = understudy(migration.folder(), &["check", file.to_str().expect("a path")]).await;
    let told = format!("{}{}", check.stdout, check.stderr);
    assert!(
        told.contains(&topic)
            && told.contains("has cleanup.policy=compact")
            && told.contains("kafka-configs"),
        "{told}"
    );
    blue.batch(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
}

/// Promise 2: a mapping that takes a row's key on green from more than its key on blue cannot follow topics of which nothing but
/// keys is read of old rows. It is refused before anything is written, and not with the first change that it cannot place.
#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_that_needs_old_rows_is_refused_at_the_start() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    let on_blue = "CREATE TABLE codes (id int PRIMARY KEY, code text NOT NULL); ALTER TABLE codes REPLICA IDENTITY FULL";
    pair.on_blue().await.batch(on_blue).await;
    pair.on_green().await.batch("CREATE TABLE codes (code text PRIMARY KEY, id int NOT NULL)").await;
    let prefix = Kafka::prefix("codes");
    let through = format!(
        "{{ kafka: {{ brokers: [\"{}\"], topic_prefix: {prefix}, format: debezium }} }}",
        kafka.bootstrap()
    );
    let migration = Migration::between(&pair, "codes").through_as(&through).table("public.codes");
    let run = Sidecar::start_with(&migration, &["--role", "apply"]).exit().await;
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(
        run.stderr.contains("public.codes") && run.stderr.contains("needs old rows of blue"),
        "{}",
        run.stderr
    );
    let begun = "SELECT count(*) FROM pg_namespace WHERE nspname = 'understudy'";
    assert_eq!(pair.on_green().await.number(begun).await, 0, "something was written");
}

/// Guards point 4 of going through Kafka with what other people's connectors have: topics of several partitions, records without
/// schemas, and a worker that keeps its offsets in a topic. What differs on green is found and mended, and the gate opens.
#[tokio::test(flavor = "multi_thread")]
async fn what_debezium_spreads_over_partitions_is_verified_and_the_gate_opens() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both(SCHEMA).await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(KINDS).await;
    blue.batch(ROWS).await;
    blue.batch("ANALYZE").await;
    let prefix = Kafka::prefix("spread");
    let offsets = format!("{prefix}-offsets");
    let source = connector(&pair, &prefix).with("topic.creation.default.partitions", "3");
    let names = (prefix.as_str(), offsets.as_str());
    let started = Connect::start_with_offsets_in(kafka, names, Schemas::Without, &[source]).await;
    let Some(connect) = started else { return };
    let through = format!(
        "{{ kafka: {{ brokers: [\"{}\"], topic_prefix: {prefix}, format: debezium, debezium: {{ offsets_topic: {offsets}, \
         decimal_handling_mode: string, time_precision_mode: adaptive, binary_handling_mode: bytes }} }} }}",
        kafka.bootstrap()
    );
    // Nobody tells whose they are: they count as things that stay on blue.
    let left = format!("debezium_{}", prefix.replace(['-', '.'], "_"));
    let accepted = ["replication slot", "publication"]
        .map(|kind| format!("{{ what: \"{kind} {left}\", reason: the connector's own }}"))
        .join(", ");
    let verify = VERIFY.replace("soak:", &format!("accept: [{accepted}], soak:"));
    let migration = Migration::between(&pair, "spread").through_as(&through).with(&verify);
    let migration = TABLES.iter().fold(migration, |migration, table| migration.table(table));
    let mut sidecar = Sidecar::start_with(&migration, &["--role", "apply"]);
    sidecar.wait_copied_within(Duration::from_secs(120)).await;
    for at in 0..20 {
        blue.batch(&format!(
            "UPDATE moved SET a = a + 1000 WHERE a % 20 = {at} AND a <= 1000;
             UPDATE moved SET v = 'changed {at}' WHERE a % 20 = {at};
             UPDATE wide SET n = n + 1 WHERE id % 5 = {at} % 5; DELETE FROM moved WHERE a = 1100 + {at}"
        ))
        .await;
    }
    sidecar.kill();
    blue.batch(
        "UPDATE kinds SET txt = 'changed', pairs = 'x=>y' WHERE id = 1; DELETE FROM kinds WHERE id = 2",
    )
    .await;
    let mut sidecar = Sidecar::start_with(&migration, &["--role", "apply"]);
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &TABLES.map(Same::table)).await;
    green.batch("ANALYZE").await;
    wait_clean(&mut sidecar, 3).await;
    gate_opens(&mut sidecar).await;

    green.batch("UPDATE wide SET big = 'else' WHERE id <= 12; DELETE FROM moved WHERE a = 1001").await;
    wait_verify(&mut sidecar, "what was planted is found", |report| open(report) == 13).await;
    let done = verb(&migration, &sidecar, &["repair"], &["--all", "--apply"]).await;
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
    wait_clean(&mut sidecar, 3).await;
    gate_opens(&mut sidecar).await;
    assert_same(&mut blue, &mut green, &TABLES.map(Same::table)).await;
    sidecar.stop().await;
    connect.stop().await;
}

async fn gate_opens(sidecar: &mut Sidecar) {
    until_within(Duration::from_secs(120), "the gate opens", async || {
        sidecar.assert_running();
        let (_, body) = sidecar.get("/v1/gates/cutover").await?;
        let document: serde_json::Value = serde_json::from_str(&body).ok()?;
        (document["verdict"] == "pass").then_some(())
    })
    .await;
}
