//! What is there before a migration begins: items in the place of rows, and a table that is not quite as the file says.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, TimeToLiveStatus};
use understudy_tests::{Dynamo, Migration, Pair, Port, Sidecar, understudy_with};

use super::moving::NOBODY;
use super::{TIMEOUT, client, create_table, item};
use crate::verify::wait_clean;

const ON_BLUE: &str = "CREATE SCHEMA there; CREATE TABLE there.rows (id int PRIMARY KEY, n int);
    INSERT INTO there.rows SELECT n, n FROM generate_series(1, 20) n;";

fn green(endpoint: &str, prefix: &str) -> String {
    format!(
        "  dynamodb:
    endpoint: {endpoint}
    state_table: {prefix}state
    tables: [{{ name: {prefix}t, partition_key: {{ name: pk }}, ttl: gone_at }}]
"
    )
}

fn entry(prefix: &str) -> String {
    format!(
        "  - from: there.rows\n    dynamodb: {{ table: {prefix}t, key: {{ pk: 'ROW#{{id}}' }}, attributes: {{ n: n }} }}\n"
    )
}

/// Promise 1, and 5: items that nobody of ours wrote are in the way of a first copy and stay as they are, until an operator says that
/// they are blue's; then the rows take their places.
#[tokio::test(flavor = "multi_thread")]
async fn items_in_the_way_are_left_alone_until_they_are_adopted() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_blue().await.batch(ON_BLUE).await;
    let prefix = Dynamo::prefix("there");
    let (table, client) = (format!("{prefix}t"), Box::pin(client(dynamo.endpoint(), TIMEOUT)).await);
    create_table(&client, &table).await;
    let put = async |item: HashMap<String, AttributeValue>| {
        client.put_item().table_name(&table).set_item(Some(item)).send().await.expect("put an item");
    };
    put(item("ROW#7", 700)).await;
    put(item("SOMETHING#else", 1)).await;
    let migration = || {
        Migration::into_other(&pair, "there", &green(&dynamo.endpoint(), &prefix))
            .entry(&entry(&prefix))
            .with("verify: { pass_pause: 1s, busy: 1.0 }")
    };
    let refusing = migration();
    let file = refusing.write(&Port::reserve()).to_string_lossy().into_owned();
    let checked = understudy_with(refusing.folder(), &["check", &file], &NOBODY).await;
    assert!(checked.stdout.contains("it holds about 2 items already"), "{}", checked.stdout);
    let refused = understudy_with(refusing.folder(), &["run", &file], &NOBODY).await;
    assert_eq!(refused.code, Some(9), "{}\n{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("existing_rows: adopt"), "{}", refused.stderr);
    assert_eq!(super::number(&client, &table, "ROW#7").await, Some(700), "it was written over");

    let adopting = migration().with("existing_rows: adopt");
    let mut sidecar = Sidecar::start_in(&adopting, &[], &NOBODY);
    sidecar.wait_copied().await;
    wait_clean(&mut sidecar, 1).await;
    assert_eq!(super::number(&client, &table, "ROW#7").await, Some(7), "blue's row");
    assert_eq!(super::number(&client, &table, "SOMETHING#else").await, Some(1), "nobody's business");
    sidecar.stop().await;
}

/// Promise 7: a table whose time to live is off keeps what was deleted for ever. It is told, and made good on request.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_live_that_is_off_is_set_on_request() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_blue().await.batch(ON_BLUE).await;
    let prefix = Dynamo::prefix("ttl");
    let (table, client) = (format!("{prefix}t"), Box::pin(client(dynamo.endpoint(), TIMEOUT)).await);
    create_table(&client, &table).await;
    let migration =
        Migration::into_other(&pair, "ttl", &green(&dynamo.endpoint(), &prefix)).entry(&entry(&prefix));
    let file = migration.write(&Port::reserve()).to_string_lossy().into_owned();
    let checked = understudy_with(migration.folder(), &["check", &file], &NOBODY).await;
    assert!(checked.stdout.contains("its time to live is not on"), "{}\n{}", checked.stdout, checked.stderr);
    let planned = understudy_with(migration.folder(), &["plan", &file, "--create-tables"], &NOBODY).await;
    assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    let told = client.describe_time_to_live().table_name(&table).send().await.expect("an answer");
    let told = told.time_to_live_description.expect("a description");
    assert_eq!(told.attribute_name.as_deref(), Some("gone_at"));
    assert_eq!(told.time_to_live_status, Some(TimeToLiveStatus::Enabled));
}
