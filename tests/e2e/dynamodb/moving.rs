//! The demo's shop on its way into one table of DynamoDB: the migration, what its mapping makes of blue's rows, and what is there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use understudy_tests::{
    Dynamo, Exit, Migration, Pair, Port, Session, Sidecar, understudy_with, until_within,
};

use super::{TIMEOUT, client};

/// Whoever says a name is let in.
pub(super) const NOBODY: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "tests"), ("AWS_SECRET_ACCESS_KEY", "tests")];

/// How long green may take to be what blue is.
pub(super) const PATIENCE: Duration = Duration::from_secs(240);

/// Attributes of items by their keys, as texts.
pub(super) type Items = BTreeMap<String, BTreeMap<String, String>>;

/// The routes of the shop.
pub(super) const ROUTES: usize = 3;

/// The shop's tables, moving.
pub(super) struct Moving {
    client: Client,
    migration: Migration,
    file: PathBuf,
    /// The table that items go into.
    pub(super) table: String,
}

impl Moving {
    /// A migration of the shop of a pair; `way` says more of it.
    pub(super) async fn of_shop(
        pair: &Pair,
        dynamo: &Dynamo,
        (name, way): (&str, impl FnOnce(Migration) -> Migration),
    ) -> Moving {
        let prefix = Dynamo::prefix(name);
        let migration = way(Migration::into_other(pair, name, &green(&dynamo.endpoint(), &prefix, "")))
            .entry(&entries(&prefix));
        let file = migration.write(&Port::reserve());
        let client = Box::pin(client(dynamo.endpoint(), TIMEOUT)).await;
        Moving { client, migration, file, table: format!("{prefix}shop") }
    }

    /// Runs a command on the file.
    pub(super) async fn command(&self, args: &[&str]) -> Exit {
        let mut all = args.to_vec();
        let path = self.file.to_string_lossy();
        all.insert(1, &path);
        understudy_with(self.migration.folder(), &all, &NOBODY).await
    }

    /// Has the table created. Returns the plan that is shown with it.
    pub(super) async fn create_table(&self) -> String {
        let planned = self.command(&["plan", "--create-tables"]).await;
        assert_eq!(planned.code, Some(0), "{}", planned.stderr);
        assert!(planned.stderr.contains(&format!("created table {}", self.table)), "{}", planned.stderr);
        planned.stdout
    }

    /// Starts a sidecar with additional arguments.
    pub(super) fn start(&self, more: &[&str]) -> Sidecar {
        Sidecar::start_in(&self.migration, more, &NOBODY)
    }

    /// Waits until items are what the mapping makes of the rows that blue has now. Nobody may change them meanwhile.
    pub(super) async fn until_moved(&self, pair: &Pair, sidecars: &mut [&mut Sidecar]) {
        let mut blue = pair.on_blue().await;
        let wanted = expected(&mut blue).await;
        assert!(wanted.len() > 100, "too few rows: {}", wanted.len());
        until_within(PATIENCE, "items are what the mapping makes of blue's rows", async || {
            sidecars.iter_mut().for_each(|sidecar| sidecar.assert_running());
            let mut blue = pair.on_blue().await;
            (found(&self.client, &self.table, &mut blue).await == wanted).then_some(())
        })
        .await;
    }
}

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

/// Where the rows of the shop lie.
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

/// Fails where blue still keeps anything for a migration.
pub(super) async fn assert_blue_is_free(pair: &Pair) {
    let mut blue = pair.on_blue().await;
    assert_eq!(blue.number("SELECT count(*) FROM pg_replication_slots").await, 0);
    assert_eq!(blue.number("SELECT count(*) FROM pg_publication").await, 0);
}
