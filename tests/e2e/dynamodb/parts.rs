//! Several rows in one item and one row in several items, by the migration file alone.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use understudy_tests::{Dynamo, Migration, Pair, Port, Sidecar, understudy_with, until_within};

use super::moving::{NOBODY, green};
use super::{TIMEOUT, client};
use crate::verify::{open, routes, wait_clean, wait_verify};

const ON_BLUE: &str = "CREATE SCHEMA parts; CREATE TABLE parts.orders (id int PRIMARY KEY, status text);
    CREATE TABLE parts.lines (order_id int, line int, sku text, PRIMARY KEY (order_id, line));
    CREATE TABLE parts.customers (id int PRIMARY KEY, email text NOT NULL);
    ALTER TABLE parts.customers REPLICA IDENTITY FULL;
    INSERT INTO parts.orders SELECT n, 'open' FROM generate_series(1, 50) n;
    INSERT INTO parts.lines SELECT n, l, 'sku ' || l FROM generate_series(1, 50) n, generate_series(1, 3) l;
    INSERT INTO parts.customers SELECT n, 'c' || n || '@example.org' FROM generate_series(1, 50) n;";

/// Whole items change hands, parts come and go, and items outlive the row that made them.
const CHANGES: [&str; 5] = [
    "UPDATE parts.customers SET email = 'new' || id || '@example.org' WHERE id % 5 = 0",
    "DELETE FROM parts.orders WHERE id % 7 = 0",
    "DELETE FROM parts.lines WHERE line = 2 AND order_id % 3 = 0",
    "INSERT INTO parts.lines SELECT n, 4, 'late' FROM generate_series(1, 60) n",
    "UPDATE parts.lines SET order_id = order_id + 1000 WHERE order_id = 9",
];

/// How long green may take to be what blue is.
const PATIENCE: Duration = Duration::from_secs(120);

fn entries(prefix: &str) -> String {
    format!(
        "  - from: parts.orders
    dynamodb:
      {{ table: {prefix}shop, key: {{ pk: 'ORDER#{{id}}', sk: ORDER }}, item: order, part: {{ name: head }}, attributes: {{ status: status }} }}
  - from: parts.lines
    dynamodb:
      table: {prefix}shop
      key: {{ pk: 'ORDER#{{order_id}}', sk: ORDER }}
      item: order
      part: {{ name: 'LINE#{{line}}', at: lines }}
      attributes: {{ sku: sku }}
  - from: parts.customers
    dynamodb: {{ table: {prefix}shop, key: {{ pk: 'CUSTOMER#{{id}}', sk: PROFILE }}, attributes: {{ email: email }} }}
  - from: parts.customers
    dynamodb:
      {{ table: {prefix}shop, key: {{ pk: 'EMAIL#{{email}}', sk: OWNER }}, item: owner, attributes: {{ customer: id }} }}
"
    )
}

/// Items in words: the key, and what is in them.
type Told = BTreeMap<String, String>;

/// What the mapping makes of blue's rows.
const EXPECTED: &str = "SELECT 'CUSTOMER#' || id || '=' || email FROM parts.customers
    UNION ALL SELECT 'EMAIL#' || email || '=' || id FROM parts.customers
    UNION ALL SELECT 'ORDER#' || coalesce(o.id, l.order_id) || '=' || coalesce(o.status, '-') || coalesce(l.told, '')
        FROM parts.orders o FULL JOIN (SELECT order_id, string_agg(' LINE#' || line || ':' || sku, '' ORDER BY line) AS told
            FROM parts.lines GROUP BY order_id) l ON l.order_id = o.id";

fn told(item: &HashMap<String, AttributeValue>) -> Option<(String, String)> {
    let text = |value: &AttributeValue| value.as_s().or_else(|_| value.as_n()).expect("a text").clone();
    let pk = text(&item["pk"]);
    if let Some(own) =
        item.get("email").filter(|_| pk.starts_with("CUSTOMER")).or_else(|| item.get("customer"))
    {
        return Some((pk, text(own)));
    }
    let lines = item.get("lines").map(|lines| lines.as_m().expect("a map")).into_iter().flatten();
    let lines = lines.map(|(name, line)| (name.clone(), text(&line.as_m().expect("a map")["sku"])));
    let lines = lines.collect::<BTreeMap<_, _>>();
    let status = item.get("status").map(&text);
    if status.is_none() && lines.is_empty() {
        return None;
    }
    let lines = lines.iter().map(|(name, sku)| format!(" {name}:{sku}")).collect::<String>();
    Some((pk, status.unwrap_or_else(|| "-".to_owned()) + &lines))
}

async fn found(client: &Client, table: &str) -> Told {
    let page = client.scan().table_name(table).consistent_read(true).send().await.expect("a scan");
    assert!(page.last_evaluated_key.is_none(), "more than one page");
    page.items.unwrap_or_default().iter().filter_map(told).collect()
}

/// Promises 1 and 3: rows that share an item, and items that share a row, come and go without harm to each other while the sidecar
/// is killed; both sides are proved equal, and parts that somebody else writes are found.
#[tokio::test(flavor = "multi_thread")]
async fn rows_share_items_and_items_share_rows() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    let (mut blue, prefix) = (pair.on_blue().await, Dynamo::prefix("parts"));
    blue.batch(ON_BLUE).await;
    let (table, client) = (format!("{prefix}shop"), Box::pin(client(dynamo.endpoint(), TIMEOUT)).await);
    let migration = Migration::into_other(&pair, "parts", &green(&dynamo.endpoint(), &prefix, ""))
        .entry(&entries(&prefix))
        .with("verify: { pass_pause: 1s, busy: 1.0 }");
    let file = migration.write(&Port::reserve()).to_string_lossy().into_owned();
    let planned = understudy_with(migration.folder(), &["plan", &file, "--create-tables"], &NOBODY).await;
    assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    let mut sidecar = Sidecar::start_in(&migration, &[], &NOBODY);
    sidecar.wait_copied().await;
    for change in CHANGES {
        blue.batch(change).await;
        sidecar.kill();
        sidecar = Sidecar::start_in(&migration, &[], &NOBODY);
    }
    let expected = blue.column(EXPECTED).await;
    let expected = expected.iter().filter_map(|row| row.split_once('='));
    let expected = expected.map(|(pk, own)| (pk.to_owned(), own.to_owned())).collect::<Told>();
    until_within(PATIENCE, "items are what the mapping makes of blue's rows", async || {
        sidecar.assert_running();
        (found(&client, &table).await == expected).then_some(())
    })
    .await;
    wait_clean(&mut sidecar, 4).await;
    // One part is changed by somebody, and one that blue has deleted is put back.
    for (order, line) in [("ORDER#1", "LINE#1"), ("ORDER#3", "LINE#2")] {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let part = HashMap::from([("sku".to_owned(), text("somebody's"))]);
        let update = client.update_item().table_name(&table).key("pk", text(order)).key("sk", text("ORDER"));
        let update = update.update_expression("SET #lines.#line = :part");
        let update = update.expression_attribute_names("#lines", "lines");
        let update = update.expression_attribute_names("#line", line);
        let update = update.expression_attribute_values(":part", AttributeValue::M(part));
        update.send().await.expect("somebody writes");
    }
    let report = wait_verify(&mut sidecar, "both are found", |report| open(report) == 2).await;
    let lines = routes(&report).iter().find(|route| route["source"] == "parts.lines").expect("the lines");
    assert_eq!((&lines["open"]["differs"], &lines["open"]["extra"]), (&1.into(), &1.into()), "{lines:#}");
    sidecar.stop().await;
}
