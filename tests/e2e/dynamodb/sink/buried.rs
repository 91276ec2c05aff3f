//! Items of which the last part that is known goes while another one comes: no tombstone is laid over what is alive.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use understudy_contract::{ChangeSink, LedgerEntry};
use understudy_dynamodb::layout::{Beginning, ItemLayout, Part};
use understudy_dynamodb::{DynamoSink, DynamoTable, NoLeaves, OnError};
use understudy_model::{Before, Key, RouteId, RowChange, TableName, Tuple, TupleBuilder, Value};
use understudy_tests::Dynamo;

use super::script::{checkpoint, lineage, transaction};
use super::{Shape, Store, client};

/// Each of its rows is an entry of a map.
const LINES: RouteId = RouteId(0);

/// Its row fills attributes of the item itself.
const HEADS: RouteId = RouteId(1);

/// So many items that some put comes between the removal of a part and what follows from it.
const ITEMS: u32 = 120;

fn tables(store: &Store) -> Vec<DynamoTable> {
    let table = |route, source: &str, part| {
        let DynamoTable { mut green, layout } = store.tables().swap_remove(0);
        let mut plan = layout.plan().clone();
        (plan.tag, plan.part) = ("shop".to_owned(), Some(part));
        (green.route, green.source) = (route, TableName::new("public", source));
        DynamoTable { green, layout: ItemLayout::new(plan).expect("a layout") }
    };
    let name = |text: &str, is_all| Beginning { text: text.to_owned(), is_all };
    let line = Part { name: name("line#", false), at: Some("lines".to_owned()), ttl_is_filled: false };
    let head = Part { name: name("head", true), at: None, ttl_is_filled: false };
    vec![table(LINES, "lines", line), table(HEADS, "heads", head)]
}

async fn begun(store: &Store) -> DynamoSink {
    let client = Box::pin(client(store.endpoint.clone(), store.timeout)).await;
    let sink = DynamoSink::new(client, store.settings(), tables(store), Arc::new(NoLeaves));
    let mut sink = sink.expect("a sink");
    sink.claim().await.expect("a claim");
    sink.begin(&lineage(), checkpoint(0)).await.expect("a start");
    for route in [LINES, HEADS] {
        sink.record(LedgerEntry::Complete(route)).await.expect("a complete route");
    }
    sink
}

fn key(id: u32, part: &str) -> Key {
    Key::from_texts([id.to_string().as_bytes(), part.as_bytes()])
}

fn row(id: u32, part: &str) -> Tuple {
    let (id, mut builder) = (id.to_string(), TupleBuilder::default());
    [&id, "n", "x", part].iter().for_each(|text| builder.push(&Value::Text(text.as_bytes().into())));
    builder.finish()
}

fn each(changes: impl Fn(u32) -> Vec<RowChange>) -> Vec<RowChange> {
    (0..ITEMS).flat_map(changes).collect()
}

/// A row moves to another part of its item, and then gives way to a row of another route there: the removal finds all parts
/// dead that it knows of, and whatever came since stays and is no tombstone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_part_that_comes_as_the_last_one_goes_stays() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = Store::new(dynamo, "buried", Shape::Parts, OnError::Stop).await;
    let mut sink = begun(&store).await;
    let inserts = each(|id| vec![RowChange::Insert { route: LINES, new: row(id, "line#1") }]);
    sink.apply(transaction(1, inserts)).await.expect("lines");

    let moves = each(|id| {
        let (old_key, new) = (Some(key(id, "line#1")), row(id, "line#2"));
        vec![RowChange::Update { route: LINES, old_key, new, blue_key: None, before: Before::There }]
    });
    sink.apply(transaction(2, moves)).await.expect("moves");
    let items = store.items(&store.table("items")).await;
    assert_eq!(items.len(), ITEMS as usize);
    let is_there = |item: &&super::Item| {
        let lines = item.get("lines").and_then(|lines| lines.as_m().ok());
        lines.is_some_and(|lines| lines.contains_key("line#2"))
    };
    assert_eq!(items.iter().filter(is_there).count(), ITEMS as usize, "rows are lost");
    assert_no_tombstones(&items);

    let gone = each(|id| {
        let key = key(id, "line#2");
        vec![
            RowChange::Delete { route: LINES, key, before: Before::There },
            RowChange::Insert { route: HEADS, new: row(id, "head") },
        ]
    });
    sink.apply(transaction(3, gone)).await.expect("heads");
    let items = store.items(&store.table("items")).await;
    let heads = items.iter().filter(|item| item.get("n") == Some(&AttributeValue::S("n".to_owned())));
    assert_eq!(heads.count(), ITEMS as usize, "rows are lost");
    assert_no_tombstones(&items);
}

fn assert_no_tombstones(items: &[super::Item]) {
    let marked = |item: &&super::Item| item.contains_key("_d") || item.contains_key("expires_at");
    assert_eq!(items.iter().filter(marked).count(), 0, "living items are marked as tombstones");
}
