//! The shop moves into one table of DynamoDB: copied and followed while the sidecar is killed, and abandoned without a trace on blue.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use understudy_tests::{
    Dynamo, Migration, Pair, Port, Session, Shop, Sidecar, hold, understudy_with, until_within,
};

use super::{TIMEOUT, client};

/// Whoever says a name is let in.
pub(super) const NOBODY: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "tests"), ("AWS_SECRET_ACCESS_KEY", "tests")];

/// How long green may take to be what blue is.
pub(super) const PATIENCE: Duration = Duration::from_secs(240);

/// Attributes of items by their keys, as texts.
pub(super) type Items = BTreeMap<String, BTreeMap<String, String>>;

/// Green as the file has it: one table for everything. `more` are further settings.
pub(super) fn green(endpoint: &str, prefix: &str, more: &str) -> String {
    format!(
        "  dynamodb:
    endpoint: {endpoint}
{more}    state_table: {prefix}state
    tables:
      - name: {prefix}shop
        partition_key: {{ name: pk }}
        sort_key: {{ name: sk }}
        indexes: [{{ name: by_email, partition_key: {{ name: email }}, project: keys }}]
"
    )
}

pub(super) fn entries(prefix: &str) -> String {
    format!(
        "  - from: shop.customers
    dynamodb:
      table: {prefix}shop
      key: {{ pk: 'CUSTOMER#{{id}}', sk: PROFILE }}
      attributes:
        email: lower(email)
        name.full: full_name
        credit: credit
        revision: {{ sql: revision, form: S }}
  - from: shop.orders
    where: id > 0
    dynamodb:
      table: {prefix}shop
      key: {{ pk: {{ sql: \"'ORDER#' || id\" }}, sk: ORDER }}
      attributes: {{ status: status, total: total, note: {{ sql: note, nulls: keep }} }}
  - from: shop.articles
    dynamodb:
      table: {prefix}shop
      key: {{ pk: 'ARTICLE#{{id}}', sk: ARTICLE }}
      attributes: {{ title: title, body: body }}
"
    )
}

/// What the mapping makes of blue's rows.
pub(super) async fn expected(blue: &mut Session) -> Items {
    let sql = "SELECT 'CUSTOMER#' || id || '|PROFILE' AS key, jsonb_build_object('email', lower(email), 'name', full_name, \
                      'credit', trim_scale(credit)::text, 'revision', revision::text) AS item FROM shop.customers \
               UNION ALL SELECT 'ORDER#' || id || '|ORDER', jsonb_build_object('status', status, \
                      'total', trim_scale(total)::text, 'note', coalesce(note, '(null)')) FROM shop.orders \
               UNION ALL SELECT 'ARTICLE#' || id || '|ARTICLE', jsonb_build_object('title', title, 'body', md5(body)) FROM \
                      shop.articles";
    let rows = blue
        .column(&format!("SELECT jsonb_build_object('key', key, 'item', item)::text FROM ({sql}) rows"))
        .await;
    let row = |row: &String| {
        let row: serde_json::Value = serde_json::from_str(row).expect("JSON");
        let item = row["item"].as_object().expect("an object").iter();
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        (text(&row["key"]), item.map(|(name, value)| (name.clone(), text(value))).collect())
    };
    rows.iter().map(row).collect()
}

/// The same as the table has it, read anew.
pub(super) async fn found(client: &Client, table: &str, blue: &mut Session) -> Items {
    let (mut items, mut from) = (Items::new(), None);
    loop {
        let scan = client.scan().table_name(table).consistent_read(true).set_exclusive_start_key(from);
        let page = Box::pin(scan.send()).await.expect("a scan");
        for item in page.items.unwrap_or_default().iter().filter(|item| !item.contains_key("_d")) {
            let text = |value: &AttributeValue| match value {
                AttributeValue::S(text) | AttributeValue::N(text) => text.clone(),
                AttributeValue::Null(_) => "(null)".to_owned(),
                AttributeValue::M(map) => map["full"].as_s().expect("a text").clone(),
                other => panic!("an attribute of another type: {other:?}"),
            };
            let key = format!("{}|{}", text(&item["pk"]), text(&item["sk"]));
            let own = |name: &&String| !name.starts_with('_') && *name != "pk" && *name != "sk";
            let names = item.keys().filter(own);
            let mut texts = BTreeMap::new();
            for name in names {
                let value = text(&item[name]);
                let value = if name == "body" { digest(blue, &value).await } else { value };
                texts.insert(name.clone(), value);
            }
            items.insert(key, texts);
        }
        match page.last_evaluated_key {
            Some(next) => from = Some(next),
            None => return items,
        }
    }
}

async fn digest(blue: &mut Session, text: &str) -> String {
    blue.value(&format!("SELECT md5('{}')", text.replace('\'', "''"))).await
}

/// Promise 1 with DynamoDB as green, by the migration file alone: the sidecar is killed in copy and in follow, under load, and
/// items come to be what the mapping makes of blue's rows. Promise 6: nothing of it stays on blue.
#[tokio::test(flavor = "multi_thread")]
async fn the_shop_moves_into_one_table_while_the_sidecar_is_killed() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    let prefix = Dynamo::prefix("shop");
    let table = format!("{prefix}shop");
    let client = Box::pin(client(dynamo.endpoint(), TIMEOUT)).await;
    let mut shop = Shop::on_blue(&pair, 400).await;
    let migration = Migration::into_other(&pair, "items", &green(&dynamo.endpoint(), &prefix, ""))
        .entry(&entries(&prefix));
    let file = migration.write(&Port::reserve());
    let run = async |args: &[&str]| {
        let mut all = args.to_vec();
        let path = file.to_string_lossy();
        all.insert(1, &path);
        understudy_with(migration.folder(), &all, &NOBODY).await
    };
    let refused = run(&["check"]).await;
    assert_eq!(refused.code, Some(2), "without its table: {}", refused.stdout);
    let planned = run(&["plan", "--create-tables"]).await;
    assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    assert!(planned.stdout.contains("\"IndexName\": \"by_email\""), "{}", planned.stdout);
    assert!(planned.stderr.contains(&format!("created table {table}")), "{}", planned.stderr);

    shop.start_load(&pair, 10.0).await;
    let mut sidecar = Sidecar::start_among(&migration, &NOBODY);
    for copied in [false, true] {
        sidecar.wait_for("the sidecar says how far it is", |status| status["tables"].is_array()).await;
        if copied {
            sidecar.wait_copied_within(PATIENCE).await;
        }
        hold(Duration::from_millis(700), async || {}).await;
        sidecar.kill();
        sidecar = Sidecar::start_among(&migration, &NOBODY);
    }
    sidecar.wait_copied_within(PATIENCE).await;
    assert!(shop.end_load().await > 0, "the load did nothing");
    let mut blue = pair.on_blue().await;
    let wanted = expected(&mut blue).await;
    assert!(wanted.len() > 100, "too few rows: {}", wanted.len());
    until_within(PATIENCE, "items are what the mapping makes of blue's rows", async || {
        sidecar.assert_running();
        let mut blue = pair.on_blue().await;
        (found(&client, &table, &mut blue).await == wanted).then_some(())
    })
    .await;
    sidecar.stop().await;

    let ended = run(&["abort", "--yes"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(blue.number("SELECT count(*) FROM pg_replication_slots").await, 0);
    assert_eq!(blue.number("SELECT count(*) FROM pg_publication").await, 0);
}
