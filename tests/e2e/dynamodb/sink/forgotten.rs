//! What a migration leaves when it is given up: what was there before, and what others have written.

use aws_sdk_dynamodb::types::AttributeValue;
use understudy_contract::{Ask, ChangeSink, Class, VerifyLedger};
use understudy_dynamodb::{Forget, OnError, SinkSettings, forget};
use understudy_model::{Before, RowChange};
use understudy_tests::{Dynamo, DynamoProxy, Fault, When};

use super::script::{ITEMS, key, row, start, transaction};
use super::{Shape, Store, client};

async fn forgotten(store: &Store, what: Forget) -> Vec<String> {
    let client = Box::pin(client(store.endpoint.clone(), store.timeout)).await;
    Box::pin(forget(client, &store.settings(), &store.tables(), what)).await.expect("it is forgotten")
}

pub(super) async fn set(store: &Store, id: &str, attribute: &str) {
    let update = store.direct.update_item().table_name(store.table("items"));
    let update = update.key("id", AttributeValue::S(id.to_owned())).update_expression("SET #a = :t");
    let update = update.expression_attribute_names("#a", attribute);
    let update = update.expression_attribute_values(":t", AttributeValue::S("theirs".to_owned()));
    update.send().await.expect("somebody writes");
}

/// Tells the process that owns the migration.
const INSTANCE: u64 = 5;

/// Rows, tombstones, state and what was verified go; items of others, and rows that others have changed, do not. An instance that is still running
/// finds out. Nothing is asked for twice, and refusals on the way end in the same.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_ours_goes() {
    let Some(dynamo) = Dynamo::shared() else { return };
    for shape in [Shape::Items, Shape::Parts] {
        let proxy = DynamoProxy::start(dynamo, 9).await;
        let store = Store::new(dynamo, "forgotten", shape, OnError::Stop).await;
        let mut sink = store.connect_as(SinkSettings { instance: INSTANCE, ..store.settings() }).await;
        start(&mut sink).await.expect("a start");
        store.ledger(INSTANCE).await.claim().await.expect("the ledger of verification");
        store.books().await.ask(&Ask::Pass(Vec::new()), "me").await.expect("a request");
        let rows = ["1", "2", "3"].map(|id| RowChange::Insert { route: ITEMS, new: row([id, "a", "x"]) });
        let gone = RowChange::Delete { route: ITEMS, key: key("2"), before: Before::There };
        let changes = rows.into_iter().chain([gone]).collect();
        sink.apply(transaction(1, changes)).await.expect("rows");
        set(&store, "foreign", "n").await;
        if shape == Shape::Items {
            set(&store, "3", "n").await;
        } else {
            set(&store, "3", "theirs").await;
        }

        let store = Store { endpoint: proxy.endpoint(), ..store };
        proxy.fail(None, Fault::Throttled, When::OneIn(4));
        let told = forgotten(&store, Forget { rows: true, bookkeeping: true }).await;
        assert!(told.iter().any(|what| what.contains("bookkeeping")), "{told:?}");
        let items = store.items(&store.table("items")).await;
        let mut left =
            items.iter().map(|item| item["id"].as_s().expect("a text").as_str()).collect::<Vec<_>>();
        left.sort_unstable();
        assert_eq!(left, ["3", "foreign"], "{told:?}");
        let theirs = items.iter().find(|item| item["id"].as_s().is_ok_and(|id| id == "3")).expect("it");
        match shape {
            Shape::Items => assert_eq!(theirs["n"].as_s().expect("a text"), "theirs"),
            Shape::Parts => assert!(theirs.contains_key("theirs") && !theirs.contains_key("rows")),
        }
        assert_eq!(store.items(&store.table("state")).await.len(), 0);
        let more = vec![RowChange::Insert { route: ITEMS, new: row(["4", "a", "x"]) }];
        let failure = sink.apply(transaction(2, more)).await.expect_err("it owns nothing any more");
        assert_eq!(failure.class(), Class::Superseded, "{failure}");
        proxy.heal();
        let again = forgotten(&store, Forget { rows: true, bookkeeping: true }).await;
        assert_eq!(again, Vec::<String>::new());
        assert_eq!(store.items(&store.table("items")).await.len(), 2);
    }
}

/// Rows stay where only the state is asked for, and the state where that is to be kept: whoever owned it owns it no more.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_asked_for_stays() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = Store::new(dynamo, "kept", Shape::Items, OnError::Stop).await;
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    let rows = vec![RowChange::Insert { route: ITEMS, new: row(["1", "a", "x"]) }];
    sink.apply(transaction(1, rows)).await.expect("rows");
    let state = store.items(&store.table("state")).await.len();
    assert_eq!(forgotten(&store, Forget::default()).await, Vec::<String>::new());
    assert_eq!(store.items(&store.table("state")).await.len(), state);
    let failure = sink.apply(transaction(2, Vec::new())).await.expect_err("it owns nothing any more");
    assert_eq!(failure.class(), Class::Superseded);
    forgotten(&store, Forget { rows: false, bookkeeping: true }).await;
    assert_eq!(store.rows(ITEMS).await.len(), 1);
    assert!(store.connect().await.claim().await.expect("a claim").is_none(), "nothing is remembered");
}
