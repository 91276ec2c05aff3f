//! Instances that follow each other: an older one that wakes up undoes nothing.

use std::time::Duration;

use understudy_contract::{ChangeSink, Class};
use understudy_dynamodb::{OnError, SinkSettings};
use understudy_model::{Before, RowChange};
use understudy_tests::{Dynamo, DynamoProxy, Fault, When, until};

use super::script::{ITEMS, key, row, start, transaction};
use super::{Shape, Store};

fn insert(texts: [&str; 3]) -> RowChange {
    RowChange::Insert { route: ITEMS, new: row(texts) }
}

fn update(texts: [&str; 3]) -> RowChange {
    RowChange::Update { route: ITEMS, old_key: None, new: row(texts), blue_key: None, before: Before::There }
}

/// Writes of an instance that was stopped reach the server after its successor has come further: the rows stay as the successor
/// left them, also those that are gone, and it is told that it owns nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_instance_still_sends_undoes_nothing() {
    let Some(dynamo) = Dynamo::shared() else { return };
    for shape in [Shape::Items, Shape::Parts] {
        let proxy = DynamoProxy::start(dynamo, 5).await;
        let store = Store::new(dynamo, "woken", shape, OnError::Stop).await;
        let direct = store.endpoint.clone();
        let store = Store { endpoint: proxy.endpoint(), ..store };
        let mut former = store.connect().await;
        start(&mut former).await.expect("a start");
        let rows = ["1", "2"].map(|id| insert([id, "a", "x"]));
        former.apply(transaction(1, rows.to_vec())).await.expect("rows");

        let delay = Duration::from_secs(6);
        for operation in ["PutItem", "UpdateItem"] {
            proxy.fail(Some(operation), Fault::Late(delay), When::Always);
        }
        let second = vec![update(["1", "b", "y"]), insert(["3", "b", "y"])];
        let waiting = former.apply(transaction(2, second.clone()));
        let given_up =
            async { until("both are on their way", async || (proxy.late() >= 2).then_some(())).await };
        tokio::select! {
            biased;
            () = given_up => {}
            _ = waiting => panic!("nothing is answered"),
        }

        let successor = Store { endpoint: direct, ..store };
        let mut owner = successor.connect().await;
        assert_eq!(start(&mut owner).await.expect("a start"), 1);
        let applied = owner.apply(transaction(2, second)).await.expect("changes");
        assert_eq!(applied.mismatches, 0);
        let gone = RowChange::Delete { route: ITEMS, key: key("3"), before: Before::There };
        owner.apply(transaction(3, vec![update(["1", "c", "z"]), gone])).await.expect("changes");
        assert!(proxy.late() >= 2, "they came too early to show anything");
        until("late calls are done", async || (proxy.late() == 0).then_some(())).await;

        let rows = successor.rows(ITEMS).await;
        let texts = rows.values().map(|row| String::from_utf8(row[1].clone().expect("n")).expect("a text"));
        assert_eq!(
            texts.collect::<Vec<_>>(),
            ["c", "a"],
            "row 1 as it was last, row 2 as it was, row 3 gone"
        );
        proxy.heal();
        let failure =
            former.apply(transaction(3, vec![update(["2", "d", "w"])])).await.expect_err("no owner");
        assert_eq!(failure.class(), Class::Superseded, "{failure}");
    }
}

/// A process that lost the migration does not take it back; one that is told to may.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_takes_back_only_what_is_its_own() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = Store::new(dynamo, "reclaim", Shape::Items, OnError::Stop).await;
    let again = |instance| SinkSettings { instance, reclaim: true, ..store.settings() };
    let first = SinkSettings { instance: 1, ..store.settings() };
    start(&mut store.connect_as(first).await).await.expect("a start");
    store.connect_as(again(1)).await.claim().await.expect("its own");
    let failure = store.connect_as(again(2)).await.claim().await.expect_err("another's");
    assert_eq!(failure.class(), Class::Superseded);
    let second = SinkSettings { instance: 2, ..store.settings() };
    store.connect_as(second).await.claim().await.expect("a takeover");
    let failure = store.connect_as(again(1)).await.claim().await.expect_err("lost");
    assert_eq!(failure.class(), Class::Superseded);
}
