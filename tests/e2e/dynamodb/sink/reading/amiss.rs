//! Whatever somebody else does to items shows.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use understudy_contract::{ChangeSink, RowSeen};
use understudy_dynamodb::layout::Item;
use understudy_model::{Before, RowChange};
use understudy_tests::{Dynamo, DynamoProxy, Fault, When};

use super::super::script::{ITEMS, row, start, transaction};
use super::super::{Shape, Store};
use super::{filled, item_key, read, texts};

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

impl Store {
    async fn only_item(&self, id: &str) -> Item {
        let items = self.items(&self.table("items")).await;
        let of = |item: &&Item| item["id"] == text(id);
        items.iter().find(of).expect("an item").clone()
    }

    async fn plant(&self, item: Item) {
        let put = self.direct.put_item().table_name(self.table("items")).set_item(Some(item));
        Box::pin(put.send()).await.expect("a put");
    }

    async fn take_away(&self, id: &str) {
        let delete = self.direct.delete_item().table_name(self.table("items")).key("id", text(id));
        Box::pin(delete.send()).await.expect("a deletion");
    }

    async fn row(&self, id: &str) -> Option<RowSeen> {
        let mut found = read(&mut self.reader().await, &[id]).await;
        assert!(found.awaited.is_empty(), "{:?}", found.awaited);
        found.value.pop()
    }
}

/// A value that somebody else wrote is another digest and another version, and told as theirs; so is a row with a value of
/// another type, of which the text does not count.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_writes_are_found() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = filled(dynamo, "foreign", Shape::Items).await;
    let before = store.row("1").await.expect("a row");
    let same = store.row("2").await.expect("a row");
    for value in [text("theirs"), AttributeValue::N("7".to_owned())] {
        let mut item = store.only_item("1").await;
        item.insert("n".to_owned(), value);
        store.plant(item).await;
        let after = store.row("1").await.expect("a row");
        assert_eq!((before.foreign, after.foreign), (Some(false), Some(true)));
        assert!(after.digest != before.digest && after.version != before.version);
    }
    assert_eq!(store.row("2").await, Some(same));
}

/// Rows that nobody tagged, or that carry no version or another migration's tag, are rows that blue has not, of somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_others_are_told() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = filled(dynamo, "others", Shape::Items).await;
    let plain = |id: &str| Item::from([("id".to_owned(), text(id)), ("n".to_owned(), text("n"))]);
    store.plant(plain("bare")).await;
    let mut tagged = store.only_item("1").await;
    tagged.extend([("id".to_owned(), text("tagged")), ("_t".to_owned(), text("another"))]);
    store.plant(tagged).await;
    let mut unversioned = store.only_item("1").await;
    unversioned.insert("id".to_owned(), text("unversioned"));
    unversioned.remove("_v");
    store.plant(unversioned).await;
    let mut beyond = store.only_item("1").await;
    beyond.insert("id".to_owned(), text("beyond"));
    beyond.insert("_v".to_owned(), AttributeValue::B(Blob::new([0xff; 20])));
    store.plant(beyond).await;
    for id in ["bare", "tagged", "unversioned", "beyond"] {
        let row = store.row(id).await.expect(id);
        assert_eq!((row.foreign, &row.name.green), (Some(true), &item_key(id)), "{id}");
    }
}

/// A row that is put back as it was before is our own, and out of date: its values and its version are the old ones.
#[tokio::test(flavor = "multi_thread")]
async fn stale_rows_are_found() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = filled(dynamo, "stale", Shape::Items).await;
    let (old, former) = (store.only_item("1").await, store.row("1").await.expect("a row"));
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    let update = RowChange::Update {
        route: ITEMS,
        old_key: None,
        new: row(["1", "new", "doc"]),
        blue_key: None,
        before: Before::There,
    };
    sink.apply(transaction(3, vec![update])).await.expect("a change");
    let right = store.row("1").await.expect("a row");
    store.plant(old).await;
    let stale = store.row("1").await.expect("a row");
    assert_eq!((stale.digest, &stale.version), (former.digest, &former.version));
    assert!(stale.digest != right.digest && stale.foreign == Some(false));
    assert_eq!(texts(&stale)[1].as_deref(), Some("n"));
}

/// A row that was taken away is not there, and one that was brought back after its deletion is.
#[tokio::test(flavor = "multi_thread")]
async fn missing_and_revived_rows_are_found() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = filled(dynamo, "missing", Shape::Items).await;
    store.take_away("1").await;
    assert_eq!(store.row("1").await, None);
    let mut revived = store.only_item("2").await;
    revived.insert("id".to_owned(), text("3"));
    assert_eq!(store.row("3").await, None, "a tombstone is no row");
    store.plant(revived).await;
    assert!(store.row("3").await.is_some_and(|row| row.foreign == Some(true)), "its digest is another row's");
}

/// Calls that are refused or answered in part are made again, and what stays refused is no row that is missing.
#[tokio::test(flavor = "multi_thread")]
async fn throttled_reads_lack_nothing() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = filled(dynamo, "slow", Shape::Items).await;
    let proxy = DynamoProxy::start(dynamo, 3).await;
    let store = Store { endpoint: proxy.endpoint(), ..store };
    proxy.fail(Some("BatchGetItem"), Fault::Unprocessed, When::Next(3));
    let mut reader = store.reader().await;
    assert_eq!(read(&mut reader, &["1", "2", "3"]).await.value.len(), 2);
    assert!(proxy.faults("unprocessed") >= 1);
    proxy.heal();
    proxy.fail(Some("Scan"), Fault::Exceeded, When::Next(3));
    assert_eq!(super::ranges::all(&mut reader, ITEMS).await.len(), 2);
    assert_eq!(proxy.faults(Fault::Exceeded.name()), 3);
    proxy.heal();
    proxy.fail(Some("Scan"), Fault::Throttled, When::Always);
    let which = understudy_contract::Which::Range(Default::default());
    let read = understudy_contract::GreenRows::rows(
        &mut reader,
        ITEMS,
        &which,
        understudy_contract::Detail::Digests,
        understudy_model::Lsn::ZERO,
    );
    assert_eq!(read.await.expect("an answer").unwrap_err(), understudy_contract::NotRead::Busy);
}
