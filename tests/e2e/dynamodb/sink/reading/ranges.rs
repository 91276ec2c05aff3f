//! Ranges of a table in its own order: each row is in one of them, whatever becomes of their ends.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use understudy_contract::{ChangeSink, Detail, GreenRows, KeyRange, Which};
use understudy_dynamodb::DynamoGreenRows;
use understudy_model::{Key, Lsn, RouteId, RowChange};
use understudy_tests::Dynamo;

use super::super::script::{ITEMS, row, start, transaction};
use super::super::{OnError, Shape, Store};
use super::{ONES, TWOS, insert};

/// How many rows there are.
const ROWS: usize = 60;

/// The keys in a range, none of them twice.
async fn keys(reader: &mut DynamoGreenRows, route: RouteId, range: KeyRange) -> BTreeSet<Key> {
    let which = Which::Range(range);
    let read = reader.rows(route, &which, Detail::Digests, Lsn::ZERO).await.expect("an answer");
    let rows = read.expect("rows").value;
    let keys = rows.iter().map(|row| row.name.green.clone()).collect::<BTreeSet<_>>();
    assert_eq!(keys.len(), rows.len(), "a row comes twice");
    keys
}

/// The keys of all rows.
pub(super) async fn all(reader: &mut DynamoGreenRows, route: RouteId) -> BTreeSet<Key> {
    keys(reader, route, KeyRange::default()).await
}

/// Ranges of so many rows that follow each other from the first to the last.
async fn cut(reader: &mut DynamoGreenRows, route: RouteId, rows: u64) -> Vec<KeyRange> {
    let mut ranges = Vec::new();
    let mut after = None;
    loop {
        let upto = reader.boundary(route, after.as_ref(), rows).await.expect("an answer").expect("a bound");
        ranges.push(KeyRange { after, upto: upto.clone() });
        match upto {
            Some(_) => after = upto,
            None => return ranges,
        }
    }
}

async fn store_of(dynamo: &Dynamo, test: &str, shape: Shape, rows: Vec<RowChange>) -> Store {
    let store = Store::new(dynamo, test, shape, OnError::Stop).await;
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    sink.apply(transaction(1, rows)).await.expect("rows");
    store
}

fn ids() -> Vec<String> {
    (0..ROWS).map(|id| id.to_string()).collect()
}

/// Ranges cover every row once, and hold as many as they were cut for.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_cover_every_row_once() {
    let Some(dynamo) = Dynamo::shared() else { return };
    for shape in [Shape::Items, Shape::Parts] {
        let rows = ids().iter().map(|id| insert([id, "n", "doc"])).collect();
        let store = store_of(dynamo, "cover", shape, rows).await;
        let mut reader = store.reader().await;
        let ranges = cut(&mut reader, ITEMS, 7).await;
        assert_eq!(ranges.len(), ROWS / 7 + 1);
        let mut seen = BTreeSet::new();
        for range in ranges {
            let (is_last, some) = (range.upto.is_none(), keys(&mut reader, ITEMS, range).await);
            assert!(is_last || some.len() == 7, "{} rows", some.len());
            assert!(seen.is_disjoint(&some));
            seen.extend(some);
        }
        assert_eq!((seen.len(), seen), (ROWS, all(&mut reader, ITEMS).await));
    }
}

/// Ranges of two routes in one table hold the rows of their own.
#[tokio::test(flavor = "multi_thread")]
async fn routes_in_one_table_are_read_apart() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let of = |route, origin: &'static str| {
        let insert = move |id: String| RowChange::Insert { route, new: row([origin, &id, "region"]) };
        ids().into_iter().map(insert)
    };
    let rows = of(ONES, "ones").chain(of(TWOS, "twos").take(5)).collect();
    let store = store_of(dynamo, "apart", Shape::Items, rows).await;
    let mut reader = store.reader().await;
    for (route, origin, count) in [(ONES, "ones", ROWS), (TWOS, "twos", 5)] {
        let mut seen = BTreeSet::new();
        for range in cut(&mut reader, route, 4).await {
            seen.extend(keys(&mut reader, route, range).await);
        }
        assert_eq!(seen.len(), count);
        assert!(seen.iter().all(|key| key.texts().next() == Some(origin.as_bytes())));
    }
}

/// Where the item that a range begins or ends with is gone, its rows stay those between, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_whose_ends_are_gone_hold_their_rows() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let rows = ids().iter().map(|id| insert([id, "n", "doc"])).collect();
    let store = store_of(dynamo, "ends", Shape::Items, rows).await;
    let mut reader = store.reader().await;
    let ranges = cut(&mut reader, ITEMS, 7).await;
    let mut before = Vec::new();
    for range in &ranges {
        before.push(keys(&mut reader, ITEMS, range.clone()).await);
    }
    let ends = ranges.iter().filter_map(|range| range.upto.clone()).collect::<BTreeSet<_>>();
    for end in &ends {
        let id = String::from_utf8(end.texts().next().expect("an id").to_vec()).expect("a text");
        let delete = store.direct.delete_item().table_name(store.table("items"));
        Box::pin(delete.key("id", AttributeValue::S(id)).send()).await.expect("a deletion");
    }
    assert_eq!(all(&mut reader, ITEMS).await.len(), ROWS - ends.len());
    for (range, before) in ranges.into_iter().zip(before) {
        let left = before.difference(&ends).cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(&mut reader, ITEMS, range).await, left);
    }
}
