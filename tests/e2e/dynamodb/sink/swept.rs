//! The sweep: tombstones go, and nothing else does, whatever is written meanwhile and wherever it is interrupted.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use understudy_contract::{Batch, ChangeSink};
use understudy_dynamodb::layout::Item;
use understudy_dynamodb::{OnError, SweepSettings, Swept, sweep};
use understudy_model::{Before, RowChange};
use understudy_tests::{Dynamo, DynamoProxy, Fault, When, until};

use super::faults::{SHORT, behind_proxy};
use super::script::{ITEMS, key, row, start, transaction};
use super::tagged::Tagged;
use super::{Shape, Store, TIMEOUT, client};

fn insert(texts: [&str; 3]) -> RowChange {
    RowChange::Insert { route: ITEMS, new: row(texts) }
}

fn delete(id: &str) -> RowChange {
    RowChange::Delete { route: ITEMS, key: key(id), before: Before::There }
}

/// Rows 1 to 3, of which the second is deleted again, all of it committed.
async fn prepared(store: &Store) -> Tagged {
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    let rows = ["1", "2", "3"].map(|id| insert([id, "a", "x"]));
    sink.apply(transaction(1, rows.to_vec())).await.expect("rows");
    sink.apply(transaction(2, vec![delete("2")])).await.expect("a deletion");
    sink
}

async fn swept(store: &Store, settings: SweepSettings) -> Swept {
    let client = Box::pin(client(store.endpoint.clone(), store.timeout)).await;
    Box::pin(sweep(client, &store.settings(), &store.tables(), settings, |_| {})).await.expect("a sweep")
}

async fn ids(store: &Store) -> Vec<String> {
    let items = store.items(&store.table("items")).await;
    let mut ids = items.iter().map(|item| item["id"].as_s().expect("a text").clone()).collect::<Vec<_>>();
    ids.sort_unstable();
    ids
}

/// What readers would take for a row is gone, and the migration goes on as if nothing had happened.
#[tokio::test(flavor = "multi_thread")]
async fn tombstones_go_and_rows_stay() {
    let Some(dynamo) = Dynamo::shared() else { return };
    for shape in [Shape::Items, Shape::Parts] {
        let store = Store::new(dynamo, "swept", shape, OnError::Stop).await;
        let mut sink = prepared(&store).await;
        assert_eq!(ids(&store).await, ["1", "2", "3"], "a tombstone is an item");
        let before = store.rows(ITEMS).await;
        let young = SweepSettings { older_than: Duration::from_secs(900), ..SweepSettings::default() };
        let kept = swept(&store, young).await;
        assert_eq!((kept.tombstones, kept.left, ids(&store).await.len()), (0, 1, 3), "it is too young");
        let done = swept(&store, SweepSettings::default()).await;
        assert_eq!((done.tombstones, done.stripped, done.left), (1, 0, 0));
        assert_eq!(done.segments, done.segments_done);
        assert_eq!((ids(&store).await, store.rows(ITEMS).await), (vec!["1".into(), "3".into()], before));
        let applied = sink.apply(transaction(3, vec![insert(["2", "b", "y"]), delete("3")])).await;
        assert_eq!(applied.expect("changes").mismatches, 0);
        assert_eq!(store.rows(ITEMS).await.into_keys().collect::<Vec<_>>(), [key("1"), key("2")]);
    }
}

/// A deletion that is not committed may be applied again, and must find that it was done: its tombstone stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_committed_stays() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = Store::new(dynamo, "uncommitted", Shape::Items, OnError::Stop).await;
    let mut sink = prepared(&store).await;
    let whole = transaction(3, vec![delete("3")]);
    let open = Some(whole.commits[0].position.commit);
    sink.apply(Batch { changes: whole.changes, open, ..Batch::default() }).await.expect("a part");
    let done = swept(&store, SweepSettings::default()).await;
    assert_eq!((done.tombstones, done.left), (1, 1));
    assert_eq!(ids(&store).await, ["1", "3"]);
}

/// Promise 1: a row that is written between the look at a tombstone and its removal is not removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_written_meanwhile_stays() {
    let Some(dynamo) = Dynamo::shared() else { return };
    for shape in [Shape::Items, Shape::Parts] {
        let proxy = DynamoProxy::start(dynamo, 3).await;
        let store = Store::new(dynamo, "meanwhile", shape, OnError::Stop).await;
        let mut sink = prepared(&store).await;
        let behind = Store { endpoint: proxy.endpoint(), timeout: SHORT, ..store };
        proxy.fail(Some("DeleteItem"), Fault::Late(SHORT * 4), When::Next(1));
        let sweeping = swept(&behind, SweepSettings { segments: 1, ..SweepSettings::default() });
        let writing = async {
            until("the removal is on its way", async || (proxy.late() > 0).then_some(())).await;
            sink.apply(transaction(3, vec![insert(["2", "b", "y"])])).await.expect("a row");
            assert!(proxy.late() > 0, "it came too early to show anything");
            until("the removal has come", async || (proxy.late() == 0).then_some(())).await;
        };
        let (done, ()) = tokio::join!(sweeping, writing);
        assert_eq!(done.tombstones, 0);
        assert_eq!(behind.rows(ITEMS).await[&key("2")][1], Some(b"b".to_vec()));
    }
}

/// An interrupted sweep goes on where it was, and the next one looks at everything again.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_sweep_goes_on() {
    let Some((store, proxy)) = behind_proxy("resumed", Shape::Items).await else { return };
    // Pages are counted, so none may be asked for twice.
    let store = Store { timeout: TIMEOUT, ..store };
    let mut sink = prepared(&store).await;
    let large = "x".repeat(300 * 1024);
    let rows = (10..30).map(|id| insert([&id.to_string(), "a", &large])).collect();
    sink.apply(transaction(3, rows)).await.expect("rows");
    let settings = SweepSettings { segments: 1, ..SweepSettings::default() };
    let scans = || proxy.calls("Scan").came;
    sink.apply(transaction(4, vec![delete("10"), delete("11")])).await.expect("deletions");
    proxy.count_anew();
    let (told, mut pages) = tokio::sync::mpsc::channel(64);
    let client = Box::pin(client(store.endpoint.clone(), store.timeout)).await;
    let (of, tables) = (store.settings(), store.tables());
    let sweeping = sweep(client, &of, &tables, settings, move |swept| _ = told.try_send(swept));
    let after_some = async {
        for _ in 0..4 {
            pages.recv().await.expect("a page");
        }
    };
    tokio::select! {
        biased;
        () = after_some => {}
        done = Box::pin(sweeping) => panic!("it was not interrupted: {done:?}"),
    }
    proxy.count_anew();
    let done = swept(&store, settings).await;
    let rest = scans();
    assert_eq!((done.segments_done, ids(&store).await.contains(&"10".to_owned())), (done.segments, false));
    assert_eq!(ids(&store).await.len(), 20);
    proxy.count_anew();
    swept(&store, settings).await;
    assert!(scans() >= rest + 3, "{} pages from the beginning, {rest} from where it was", scans());
}

/// In the end items are those that an application would have written, and a tombstone that somebody has written into is a row of
/// theirs, which does not expire.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_ours_is_left_in_the_end() {
    let Some(dynamo) = Dynamo::shared() else { return };
    for shape in [Shape::Items, Shape::Parts] {
        let store = Store::new(dynamo, "stripped", shape, OnError::Stop).await;
        let mut sink = prepared(&store).await;
        sink.apply(transaction(3, vec![delete("3")])).await.expect("a deletion");
        let update = store.direct.update_item().table_name(store.table("items"));
        let update = update.key("id", AttributeValue::S("3".to_owned()));
        let update = update.update_expression("SET theirs = :t");
        let update = update.expression_attribute_values(":t", AttributeValue::Bool(true));
        update.send().await.expect("somebody writes");
        let done = swept(&store, SweepSettings { attributes: true, ..SweepSettings::default() }).await;
        assert_eq!((done.tombstones, done.stripped, done.left), (1, 2, 0));
        let items = store.items(&store.table("items")).await;
        let names = |item: &Item| {
            let mut names = item.keys().cloned().collect::<Vec<_>>();
            names.sort_unstable();
            names
        };
        for item in &items {
            let expected: &[&str] = match (item["id"].as_s().expect("a text").as_str(), shape) {
                ("1", Shape::Items) => &["doc", "id", "n"],
                ("1", Shape::Parts) => &["id", "rows"],
                (_, Shape::Items) => &["id", "theirs"],
                (_, Shape::Parts) => &["id", "rows", "theirs"],
            };
            let without_room =
                names(item).into_iter().filter(|name| expected.contains(&name.as_str())).count();
            assert_eq!(names(item).len(), without_room, "{:?}", names(item));
        }
        assert_eq!(ids(&store).await, ["1", "3"]);
    }
}
