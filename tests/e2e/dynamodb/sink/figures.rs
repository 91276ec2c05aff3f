//! What calls have come to is what the other side counts.

use understudy_contract::ChangeSink;
use understudy_dynamodb::CallFigures;
use understudy_model::RowChange;
use understudy_tests::{Fault, When};

use super::Shape;
use super::faults::behind_proxy;
use super::script::{ITEMS, row, start, transaction};

/// Throttling is seen by the table that it is about, with what it costs to make calls again and how few are made at once.
#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_seen_where_it_is() {
    let Some((store, proxy)) = behind_proxy("figures", Shape::Items).await else { return };
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    let meter = sink.sink.meter();
    let of = |table: &str, operation: &str| {
        let figures = meter.figures();
        let mut calls = figures.calls.into_iter();
        calls.find(|one| one.table == table && one.operation == operation).unwrap_or_default()
    };
    let limit = |table: &str| {
        let figures = meter.figures();
        figures.tables.into_iter().find(|one| one.table == table).expect("calls to it")
    };
    let (items, state) = (store.table("items"), store.table("state"));
    let rows = |from: u32| {
        let new = |id: u32| RowChange::Insert { route: ITEMS, new: row([&id.to_string(), "a", "x"]) };
        (from..from + 40).map(new).collect::<Vec<_>>()
    };
    sink.apply(transaction(1, rows(0))).await.expect("rows");
    let before = of(&items, "PutItem");
    assert_eq!((before.attempts, before.retries, before.throttled), (40, 0, 0));
    assert!((before.units - 40.0).abs() < 0.01, "{} units for 40 small items", before.units);
    let wide = limit(&items).limit;

    proxy.count_anew();
    proxy.fail(Some("PutItem"), Fault::Throttled, When::Next(25));
    sink.apply(transaction(2, rows(100))).await.expect("rows");
    let CallFigures { attempts, retries, throttled, units, .. } = of(&items, "PutItem");
    assert_eq!((attempts, retries, throttled), (105, 25, 25));
    assert_eq!(attempts - before.attempts, proxy.calls("PutItem").came);
    assert!((units - 80.0).abs() < 0.01, "{units} units");
    let narrow = limit(&items);
    assert!(
        narrow.limit < wide && narrow.under_way == 0 && narrow.limit_max >= wide,
        "{narrow:?} after {wide}"
    );
    assert_eq!(of(&state, "UpdateItem").throttled, 0, "it is another table");
    assert!(of(&state, "UpdateItem").attempts >= 2);
}
