//! What calls to DynamoDB come to is on the sidecar's own pages.

use std::time::Duration;

use understudy_tests::{
    Calls, Dynamo, DynamoProxy, Fault, Migration, Pair, Port, Sidecar, When, understudy_with, until,
    until_within,
};

use super::moving::NOBODY;
use super::{TIMEOUT, client};

/// Rows before and rows after.
const ROWS: u64 = 200;

/// The sum of the series of a metric that have all of these labels.
fn sum(page: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect::<Vec<_>>();
    let is_meant = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))
            && labels.iter().all(|label| line.contains(label))
    };
    let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
    page.lines().filter(is_meant).map(|line| value(line).expect("a number")).sum()
}

async fn page(sidecar: &mut Sidecar) -> String {
    until("the metrics are there", async || {
        sidecar.assert_running();
        sidecar.get("/metrics").await.map(|(_, page)| page)
    })
    .await
}

/// Waits until the page says of puts into a table what so many and the proxy's come to. Returns the proxy's.
async fn agreed(sidecar: &mut Sidecar, (proxy, table): (&DynamoProxy, &str), before: u64) -> Calls {
    until("the page says what the proxy counts", async || {
        let page = page(sidecar).await;
        let calls = proxy.calls("PutItem");
        let labels = [("table", table), ("operation", "PutItem"), ("part", "apply")];
        let of = |name: &str| sum(&page, name, &labels);
        let throttled = calls.faults.values().sum::<u64>();
        let is_so = of("understudy_dynamodb_calls_total") as u64 == before + calls.came
            && of("understudy_dynamodb_throttled_total") as u64 == throttled
            && of("understudy_dynamodb_retries_total") as u64 == throttled
            && (of("understudy_dynamodb_consumed_capacity_units_total") - before as f64 - calls.units).abs()
                < 1.5;
        is_so.then_some(calls)
    })
    .await
}

/// A table that throttles is seen by its name while it does, on the page of metrics and in the status, a hot key told from a table
/// without capacity; and what the page says calls took is what the other side has counted.
#[tokio::test(flavor = "multi_thread")]
async fn throttling_and_what_calls_take_are_on_the_pages() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let Some(pair) = Pair::shared() else { return };
    let proxy = DynamoProxy::start(dynamo, 7).await;
    let prefix = Dynamo::prefix("metered");
    let table = format!("{prefix}notes");
    let green = format!(
        "  dynamodb:\n    endpoint: {}\n    state_table: {prefix}state\n    tables:\n      - name: {table}\n        \
         partition_key: {{ name: pk }}\n",
        proxy.endpoint()
    );
    let entry = format!(
        "  - from: metered.notes\n    dynamodb:\n      table: {table}\n      key: {{ pk: 'NOTE#{{id}}' }}\n"
    );
    let mut blue = pair.on_blue().await;
    blue.batch(&format!(
        "CREATE SCHEMA metered; CREATE TABLE metered.notes (id bigint PRIMARY KEY, note text NOT NULL); \
         INSERT INTO metered.notes SELECT n, 'a note' FROM generate_series(1, {ROWS}) n"
    ))
    .await;
    let migration = Migration::into_other(pair, "metered", &green).entry(&entry);
    let file = migration.write(&Port::reserve()).to_string_lossy().into_owned();
    let run = async |args: &[&str]| understudy_with(migration.folder(), args, &NOBODY).await;
    let planned = run(&["plan", &file, "--create-tables"]).await;
    assert_eq!(planned.code, Some(0), "{}", planned.stderr);

    let mut sidecar = Sidecar::start_in(&migration, &[], &NOBODY);
    sidecar.wait_copied().await;
    proxy.count_anew();
    agreed(&mut sidecar, (&proxy, &table), ROWS).await;

    proxy.fail(Some("PutItem"), Fault::Exceeded, When::Always);
    let more =
        format!("INSERT INTO metered.notes SELECT {ROWS} + n, 'another' FROM generate_series(1, {ROWS}) n");
    blue.batch(&more).await;
    let sentence = format!("DynamoDB, which throttles calls to table {table}");
    let tells = |status: &serde_json::Value| status["waiting_for"].to_string().contains(&sentence);
    sidecar.wait_for("the status tells which table throttles", tells).await;
    let throttled = page(&mut sidecar).await;
    let labels = [("table", table.as_str()), ("part", "apply")];
    let refused = |page: &str, reason| {
        let labels = [labels[0], labels[1], ("reason", reason)];
        sum(page, "understudy_dynamodb_throttled_total", &labels)
    };
    assert!(refused(&throttled, "other") > 0.0 && refused(&throttled, "partition") < 0.5, "{throttled}");
    assert!(sum(&throttled, "understudy_dynamodb_calls_limit", &labels) >= 1.0, "{throttled}");
    let state = format!("{prefix}state");
    assert_eq!(sum(&throttled, "understudy_dynamodb_throttled_total", &[("table", &state)]), 0.0);

    proxy.heal();
    proxy.fail(Some("PutItem"), Fault::Hot, When::Always);
    let hot = format!("{sentence}, since one of its partitions is asked for too much: ");
    let is_hot = |status: &serde_json::Value| status["waiting_for"].to_string().contains(&hot);
    sidecar.wait_for("the status tells that a partition is hot", is_hot).await;

    proxy.heal();
    let direct = Box::pin(client(dynamo.endpoint(), TIMEOUT)).await;
    until_within(Duration::from_secs(60), "all rows are there", async || {
        sidecar.assert_running();
        let scan = direct.scan().table_name(&table).consistent_read(true).send();
        (Box::pin(scan).await.expect("a scan").count as u64 == 2 * ROWS).then_some(())
    })
    .await;
    let all = agreed(&mut sidecar, (&proxy, &table), ROWS).await;
    assert_eq!(refused(&page(&mut sidecar).await, "partition") as u64, all.faults["hot"]);
    assert!(all.faults["exceeded"] > 0 && all.units >= ROWS as f64, "{all:?}");
    sidecar.wait_for("nothing is said to be throttled any more", |status| !tells(status)).await;
    sidecar.stop().await;
    assert_eq!(run(&["abort", &file, "--yes"]).await.code, Some(0));
}
