//! Blue and items are compared while calls fail: nothing is told that is not so, and what is planted is found and repaired.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;
use understudy_tests::{
    Dynamo, DynamoProxy, Exit, Fault, Migration, Pair, Session, Shop, Sidecar, When, hold, understudy_with,
    until_within,
};

use super::moving::{NOBODY, PATIENCE, ROUTES, entries, expected, found, green};
use super::{TIMEOUT, client};
use crate::verify::{open, routes, wait_clean, wait_verify};

/// Quick passes over small ranges, and a gate that opens soon although tables of the shop stay behind.
const QUICK: &str = "verify: { range_rows: 100, pass_pause: 1s, busy: 1.0 }
gate:
  soak: 3s
  max_lag: 30s
  max_transaction_age: 10m
  accept:
    - { what: table shop.products, reason: it stays }
    - { what: table shop.inventory, reason: it stays }
    - { what: table shop.order_items, reason: it stays }
    - { what: table shop.payments, reason: it stays }
    - { what: table shop.events, reason: it stays }
    - { what: table shop.operations, reason: it stays }";

/// The key of an item that no row of blue is the reason for.
const STRANGER: &str = "CUSTOMER#999999999";

/// A shop whose items are reached by way of a proxy.
struct Front {
    pair: Pair,
    proxy: DynamoProxy,
    /// Past the proxy.
    direct: Client,
    table: String,
    migration: Migration,
}

impl Front {
    async fn open(name: &str, (more, compared): (&str, &str)) -> Option<Front> {
        let dynamo = Dynamo::shared()?;
        let pair = Pair::start(15, 18).await?;
        let proxy = DynamoProxy::start(dynamo, 11).await;
        let prefix = Dynamo::prefix(name);
        let direct = Box::pin(client(dynamo.endpoint(), TIMEOUT)).await;
        let migration = Migration::into_other(&pair, name, &green(&proxy.endpoint(), &prefix, more))
            .entry(&entries(&prefix))
            .with(compared);
        Some(Front { pair, proxy, direct, table: format!("{prefix}shop"), migration })
    }

    /// Makes the tables that the file names.
    async fn make_tables(&self) {
        let file = self.migration.write(&understudy_tests::Port::reserve());
        let path = file.to_string_lossy();
        let planned =
            understudy_with(self.migration.folder(), &["plan", &path, "--create-tables"], &NOBODY).await;
        assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    }

    async fn verb(&self, sidecar: &Sidecar, verb: &[&str], more: &[&str]) -> Exit {
        let file = sidecar.file.to_string_lossy().into_owned();
        let args = verb.iter().copied().chain([file.as_str()]).chain(more.iter().copied());
        understudy_with(self.migration.folder(), &args.collect::<Vec<_>>(), &NOBODY).await
    }

    /// The mismatches, those that have ended among them.
    async fn mismatches(&self, sidecar: &Sidecar) -> Vec<Value> {
        let list =
            self.verb(sidecar, &["mismatches", "list"], &["--all", "--keys", "--output", "json"]).await;
        assert_eq!(list.code, Some(0), "{}", list.stderr);
        let list: Value = serde_json::from_str(&list.stdout).expect("JSON");
        list["mismatches"].as_array().expect("a list").clone()
    }

    async fn until_as_blue(&self, sidecar: &mut Sidecar) {
        let wanted = expected(&mut self.pair.on_blue().await).await;
        assert!(wanted.len() > 100, "too few rows: {}", wanted.len());
        until_within(PATIENCE, "items are what the mapping makes of blue's rows", async || {
            sidecar.assert_running();
            let mut blue = self.pair.on_blue().await;
            (found(&self.direct, &self.table, &mut blue).await == wanted).then_some(())
        })
        .await;
    }

    async fn wait_gate(&self, sidecar: &mut Sidecar, gate: &str, verdict: &str) -> Value {
        until_within(PATIENCE, &format!("the gate {gate} says {verdict}"), async || {
            sidecar.assert_running();
            let (_, body) = sidecar.get(&format!("/v1/gates/{gate}")).await?;
            let document: Value = serde_json::from_str(&body).ok()?;
            (document["verdict"] == verdict).then_some(document)
        })
        .await
    }

    async fn get(&self, key: (&str, &str)) -> HashMap<String, AttributeValue> {
        let read = self.direct.get_item().table_name(&self.table).set_key(Some(named(key)));
        let read = read.consistent_read(true).send().await.expect("read an item");
        read.item.unwrap_or_else(|| panic!("no item {key:?}"))
    }

    async fn delete(&self, key: (&str, &str)) {
        let delete = self.direct.delete_item().table_name(&self.table);
        delete.set_key(Some(named(key))).send().await.expect("delete an item");
    }

    async fn put(&self, item: HashMap<String, AttributeValue>) {
        let put = self.direct.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.expect("put an item");
    }
}

fn named((pk, sk): (&str, &str)) -> HashMap<String, AttributeValue> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

/// What goes wrong with calls for as long as the shop moves.
fn make_trouble(proxy: &DynamoProxy) {
    for (fault, one_in) in [
        (Fault::Throttled, 20),
        (Fault::Exceeded, 40),
        (Fault::ServerError, 40),
        (Fault::Reset, 60),
        (Fault::ResetAfter, 60),
        (Fault::Unprocessed, 3),
        (Fault::Swallowed, 400),
        (Fault::Late(Duration::from_millis(1_500)), 400),
    ] {
        proxy.fail(None, fault, When::OneIn(one_in));
    }
}

/// Promises 1 and 3: the shop moves under load while the sidecar is killed and calls are throttled, break, come late, are done without
/// an answer, and credentials expire. Items come to be what the mapping makes of blue's rows, no row is ever told to differ, and
/// the gate opens.
#[tokio::test(flavor = "multi_thread")]
async fn the_shop_moves_while_calls_fail_and_no_row_is_told_to_differ() {
    let more = "    timeout: 1s\n    first_copy: batches\n";
    let Some(front) = Front::open("troubled", (more, QUICK)).await else { return };
    let mut shop = Shop::on_blue(&front.pair, 600).await;
    front.make_tables().await;
    shop.start_load(&front.pair, 10.0).await;
    make_trouble(&front.proxy);
    let mut sidecar = Sidecar::start_in(&front.migration, &[], &NOBODY);
    for copied in [false, true] {
        sidecar.wait_for("the sidecar says how far it is", |status| status["tables"].is_array()).await;
        if copied {
            sidecar.wait_copied_within(PATIENCE).await;
            let all = |report: &Value, holds: fn(&Value) -> bool| {
                routes(report).len() == ROUTES && routes(report).iter().all(holds)
            };
            wait_verify(&mut sidecar, "every table is gone through twice, under load", |report| {
                all(report, |route| route["passes_completed"].as_u64() >= Some(2))
            })
            .await;
        }
        hold(Duration::from_millis(700), async || {}).await;
        sidecar.kill();
        sidecar = Sidecar::start_in(&front.migration, &[], &NOBODY);
    }
    front.proxy.fail(None, Fault::Expired, When::Next(5));
    sidecar.wait_copied_within(PATIENCE).await;
    front.proxy.fail(Some("PutItem"), Fault::Swallowed, When::Next(2));
    front.proxy.fail(Some("PutItem"), Fault::Late(Duration::from_millis(1_500)), When::Next(2));
    let faults = ["swallowed", "late"];
    until_within(PATIENCE, "writes are done without an answer, and late", async || {
        faults.iter().all(|fault| front.proxy.faults(fault) > 1).then_some(())
    })
    .await;
    assert!(shop.end_load().await > 0, "the load did nothing");
    front.until_as_blue(&mut sidecar).await;
    wait_clean(&mut sidecar, ROUTES).await;
    let faults = ["throttled", "exceeded", "server_error", "reset", "reset_after", "unprocessed", "expired"];
    for fault in faults {
        assert!(front.proxy.faults(fault) > 0, "no call was {fault}");
    }
    front.proxy.heal();
    front.wait_gate(&mut sidecar, "verified", "pass").await;
    let gate = front.wait_gate(&mut sidecar, "cutover", "pass").await;
    assert_eq!(gate["ready"], true, "{gate:#}");
    assert_eq!(front.mismatches(&sidecar).await, Vec::<Value>::new(), "a row was told to differ");
    sidecar.stop().await;
}

/// Promise 3: what somebody else writes into items, a version that is older than what was written, and a change that got lost are
/// found, named, hold the gate, and are repaired; what no row of blue is the reason for is left to a person.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_planted_among_items_is_found_named_and_repaired() {
    let Some(front) = Front::open("planted", ("", QUICK)).await else { return };
    let shop = Shop::on_blue(&front.pair, 1_000).await;
    front.make_tables().await;
    let lose = [&NOBODY[..], &[("UNDERSTUDY_TEST_FAULT", "lose=shop.articles:1")]].concat();
    let mut sidecar = Sidecar::start_in(&front.migration, &[], &lose);
    sidecar.wait_copied_within(PATIENCE).await;
    wait_clean(&mut sidecar, ROUTES).await;
    let mut blue = front.pair.on_blue().await;
    let planted = plant(&front, &mut sidecar, &mut blue).await;

    wait_verify(&mut sidecar, "what was planted is found", |report| open(report) == planted.len() as u64)
        .await;
    let list = front.mismatches(&sidecar).await;
    let told = |one: &Value| {
        let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        (one["key"][0].as_str().unwrap_or_default().to_owned(), text("kind"), text("cause"))
    };
    let mut told = list.iter().map(told).collect::<Vec<_>>();
    told.sort();
    assert_eq!(told, planted, "{list:#?}");
    let held = front.wait_gate(&mut sidecar, "cutover", "fail").await;
    assert_eq!(held["mismatches"]["open"], planted.len(), "{held:#}");
    let id = list.iter().find(|one| one["columns"] == serde_json::json!(["email"])).expect("by its column");
    let explained = front.verb(&sidecar, &["mismatches", "explain"], &[&id["id"].to_string()]).await;
    assert_eq!(explained.code, Some(0), "{}", explained.stderr);
    assert!(explained.stdout.contains("somebody@else"), "{}", explained.stdout);

    let asked = front.verb(&sidecar, &["verify"], &["--wait", "2m"]).await;
    assert_eq!(asked.code, Some(4), "rows differ: {}\n{}", asked.stdout, asked.stderr);
    let repaired = front.verb(&sidecar, &["repair"], &["--all", "--apply"]).await;
    assert_eq!(repaired.code, Some(4), "all but one: {}\n{}", repaired.stdout, repaired.stderr);
    assert!(repaired.stderr.contains("remove the row from green by hand"), "{}", repaired.stderr);
    front.delete((STRANGER, "PROFILE")).await;
    front.until_as_blue(&mut sidecar).await;
    wait_clean(&mut sidecar, ROUTES).await;
    let asked = front.verb(&sidecar, &["verify"], &["--wait", "2m"]).await;
    assert_eq!(asked.code, Some(0), "{}\n{}", asked.stdout, asked.stderr);
    sidecar.stop().await;
    // While a fault is armed, no gate opens.
    let mut sidecar = Sidecar::start_in(&front.migration, &[], &NOBODY);
    front.wait_gate(&mut sidecar, "cutover", "pass").await;
    finish(&front, sidecar, &mut blue).await;
    drop(shop);
}

/// Promise 6: a migration that is complete leaves rows and nothing else: no tombstone, and no mark beside a row where none is wanted.
async fn finish(front: &Front, mut sidecar: Sidecar, blue: &mut Session) {
    blue.batch("DELETE FROM shop.articles WHERE id = (SELECT max(id) FROM shop.articles)").await;
    front.until_as_blue(&mut sidecar).await;
    let ours = async || {
        let page = front.direct.scan().table_name(&front.table).consistent_read(true).send().await;
        let items = page.expect("a scan").items.unwrap_or_default();
        items.iter().flat_map(HashMap::keys).filter(|name| name.starts_with('_')).cloned().collect::<Vec<_>>()
    };
    assert!(ours().await.iter().any(|name| name == "_d"), "no row was deleted");
    let written = blue.value("SELECT pg_current_wal_insert_lsn()").await;
    let told = format!("SELECT count(*) FROM pg_replication_slots WHERE confirmed_flush_lsn >= '{written}'");
    until_within(PATIENCE, "blue is told that the deletion is committed on green", async || {
        sidecar.assert_running();
        (blue.number(&told).await == 1).then_some(())
    })
    .await;
    let file = sidecar.file.clone();
    sidecar.stop().await;
    let args = ["finish", &*file.to_string_lossy(), "--strip-items", "--yes"];
    let ended = until_within(PATIENCE, "the sidecar's sessions have ended", async || {
        let ended = understudy_with(front.migration.folder(), &args, &NOBODY).await;
        (ended.code != Some(7)).then_some(ended)
    })
    .await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("tombstones of deleted rows"), "{}", ended.stdout);
    assert_eq!(ours().await, Vec::<String>::new(), "{}", ended.stdout);
}

/// Plants defects, and returns what each is told as, in the order of keys.
async fn plant(front: &Front, sidecar: &mut Sidecar, blue: &mut Session) -> Vec<(String, String, String)> {
    let customers = blue.column("SELECT id FROM shop.customers ORDER BY id LIMIT 4").await;
    let order = blue.value("SELECT id FROM shop.orders ORDER BY id LIMIT 1").await;
    let article = blue.value("SELECT id FROM shop.articles ORDER BY id LIMIT 1").await;
    let customer = |at: usize| format!("CUSTOMER#{}", customers[at]);

    // Before anything is planted: what follows is told by passes that are under way already.
    let order_key = format!("ORDER#{order}");
    let older = front.get((&order_key, "ORDER")).await;
    blue.batch(&format!("UPDATE shop.orders SET total = total + 1 WHERE id = {order}")).await;
    until_within(PATIENCE, "the change is on green", async || {
        sidecar.assert_running();
        (front.get((&order_key, "ORDER")).await["total"] != older["total"]).then_some(())
    })
    .await;
    front.put(older).await;
    blue.batch(&format!("UPDATE shop.articles SET title = 'lost ' || title WHERE id = {article}")).await;

    let mut changed = front.get((&customer(0), "PROFILE")).await;
    changed.insert("email".to_owned(), AttributeValue::S("somebody@else".to_owned()));
    front.put(changed).await;
    front.delete((&customer(1), "PROFILE")).await;
    let mut extra = front.get((&customer(2), "PROFILE")).await;
    extra.insert("pk".to_owned(), AttributeValue::S(STRANGER.to_owned()));
    extra.retain(|name, _| !name.starts_with('_'));
    front.put(extra).await;

    let one = |key: &str, kind: &str, cause: &str| (key.to_owned(), kind.to_owned(), cause.to_owned());
    let mut planted = vec![
        one(&order_key, "differs", "missed_event"),
        one(&format!("ARTICLE#{article}"), "differs", "missed_event"),
        one(&customer(0), "differs", "foreign_write"),
        one(&customer(1), "missing", "foreign_write"),
        one(STRANGER, "extra", "foreign_write"),
    ];
    planted.sort();
    planted
}
