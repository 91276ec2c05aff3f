//! The connectors of Debezium that Understudy is measured beside and reads topics of.

use understudy_tests::{Connect, Connector, Kafka, Pair, Schemas, until};

const TABLES: [&str; 2] = ["public.orders", "public.lines"];

const SCHEMA: &str = "
    CREATE TABLE orders (id bigint PRIMARY KEY, customer text, total numeric(12,2), placed_at timestamptz, paid boolean);
    CREATE TABLE lines (order_id bigint, line_no int, note text, PRIMARY KEY (order_id, line_no));";

/// Guards what is compared with and what is read from Debezium: its real connectors run on the pinned Connect, and bring rows and
/// changes of blue over topics into green.
#[tokio::test(flavor = "multi_thread")]
async fn debezium_brings_rows_and_changes_from_blue_to_green() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both(SCHEMA).await;
    let mut blue = pair.on_blue().await;
    blue.batch(
        "INSERT INTO orders SELECT n, 'customer ' || n, n / 7.0, now() - n * interval '1 day', n % 2 = 0
         FROM generate_series(1, 50) n;
         INSERT INTO lines SELECT n, 1, 'first' FROM generate_series(1, 50) n;",
    )
    .await;
    let prefix = Kafka::prefix("debezium");
    let source = Connector::debezium(&pair.blue, "shop", &prefix, &TABLES);
    let sink = Connector::jdbc_sink(&pair.green, "shop", &prefix, &TABLES);
    // A sink that finds none looks again only now and then.
    for table in TABLES {
        kafka.create_topic(&format!("{prefix}.{table}"), 1).await;
    }
    let Some(mut connect) = Connect::start(kafka, &prefix, Schemas::With, &[source, sink]).await else {
        return;
    };
    blue.batch(
        "UPDATE orders SET total = total + 1 WHERE id <= 10;
         DELETE FROM orders WHERE id > 40;
         UPDATE lines SET line_no = 2 WHERE order_id = 1;
         INSERT INTO lines VALUES (51, 1, NULL);",
    )
    .await;
    let mut green = pair.on_green().await;
    for table in TABLES {
        let digest =
            format!("SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {table} t");
        let expected = blue.value(&digest).await;
        until(&format!("green has blue's {table}"), async || {
            assert!(connect.runs("sink").await && connect.runs("debezium").await, "a connector is paused");
            (green.value(&digest).await == expected).then_some(())
        })
        .await;
    }
    connect.stop().await;
}
