//! Transactions that are visible all at once, as far as DynamoDB's own take them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, Get, TransactGetItem};
use understudy_contract::{Batch, ChangeSink};
use understudy_dynamodb::{OnError, Transactions};
use understudy_model::{Before, CommitMark, RowChange};
use understudy_tests::{Dynamo, Fault, until};

use super::faults::{SHORT, behind_proxy, stays_right};
use super::script::{ITEMS, Script, key, partial, row, start, transaction};
use super::{Shape, Store};

fn insert(id: &str) -> RowChange {
    RowChange::Insert { route: ITEMS, new: row([id, "n0", "x"]) }
}

fn update(id: &str, n: &str) -> RowChange {
    let new = partial(id, n);
    RowChange::Update { route: ITEMS, old_key: None, new, blue_key: None, before: Before::There }
}

/// What two rows have in one moment.
async fn pair(store: &Store) -> Vec<String> {
    let get = |id: &str| {
        let get = Get::builder().table_name(store.table("items")).key("id", AttributeValue::S(id.to_owned()));
        TransactGetItem::builder().get(get.build().expect("a read")).build()
    };
    loop {
        let read = store.direct.transact_get_items().transact_items(get("1")).transact_items(get("2"));
        // It meets a write now and then, and is refused.
        let Ok(read) = Box::pin(read.send()).await else { continue };
        let items = read.responses.expect("rows").into_iter().map(|one| one.item.expect("a row"));
        return items.map(|item| item["n"].as_s().expect("a text").clone()).collect();
    }
}

/// Nobody sees one of two rows that a transaction changes as it was before, and the other one as it is after.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_part_of_a_transaction_is_seen() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = Store::new(dynamo, "whole", Shape::Items, OnError::Stop).await;
    let store = Store { transactions: Transactions::Whole, ..store };
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    sink.apply(transaction(1, vec![insert("1"), insert("2")])).await.expect("rows");
    let done = AtomicBool::new(false);
    let writing = async {
        for number in 2..150 {
            let n = format!("n{number}");
            let changes = vec![update("1", &n), update("2", &n)];
            let applied = sink.apply(transaction(number, changes)).await.expect("changes");
            assert_eq!((applied.mismatches, applied.heals.len()), (0, 0));
        }
        done.store(true, Ordering::SeqCst);
    };
    let reading = async {
        let mut seen = 0;
        while !done.load(Ordering::SeqCst) {
            let pair = pair(&store).await;
            assert_eq!(pair[0], pair[1], "a part of a transaction is seen");
            seen += 1;
        }
        assert!(seen > 20, "{seen} looks show nothing");
    };
    tokio::join!(writing, reading);
    let figures = sink.sink.meter().figures();
    assert_eq!((figures.transactions_whole, figures.transactions_apart), (149, 0));
}

/// Several transactions of a batch go in one call, and one that is too large, or that writes two parts of an item, goes by itself
/// and is counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_beyond_the_limits_is_counted() {
    let Some((store, proxy)) = behind_proxy("beyond", Shape::Items).await else { return };
    let store = Store { transactions: Transactions::Whole, timeout: SHORT * 8, ..store };
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    proxy.count_anew();
    let sizes = [3, 4, 101, 2, 60, 60];
    let (mut changes, mut commits, mut next) = (Vec::new(), Vec::new(), 0);
    for (number, size) in sizes.into_iter().enumerate() {
        for _ in 0..size {
            changes.push(insert(&next.to_string()));
            next += 1;
        }
        let mark = transaction(number as u64 + 1, Vec::new()).commits[0];
        commits.push(CommitMark { changes_before: changes.len(), ..mark });
    }
    let applied = sink.apply(Batch { changes, commits, ..Batch::default() }).await.expect("changes");
    assert_eq!((applied.mismatches, store.rows(ITEMS).await.len()), (0, next));
    let figures = sink.sink.meter().figures();
    assert_eq!((figures.transactions_whole, figures.transactions_apart), (5, 1));
    assert_eq!(proxy.calls("PutItem").came, 101, "those of the large one");
    assert_eq!(proxy.calls("TransactWriteItems").came, 3, "the first two, the next two, the last one");
}

/// A transaction of which a row does not stand as a complete copy promises is written whole all the same, and the mismatch told.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_amiss_are_told_and_mended() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = Store::new(dynamo, "amiss", Shape::Items, OnError::Stop).await;
    let store = Store { transactions: Transactions::Whole, ..store };
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    sink.apply(transaction(1, vec![insert("1"), insert("2"), insert("3")])).await.expect("rows");
    for id in ["1", "2"] {
        let delete = store.direct.delete_item().table_name(store.table("items"));
        delete.key("id", AttributeValue::S(id.to_owned())).send().await.expect("somebody deletes");
    }
    let whole = RowChange::Update {
        route: ITEMS,
        old_key: None,
        new: row(["1", "b", "y"]),
        blue_key: None,
        before: Before::There,
    };
    let applied = sink.apply(transaction(2, vec![whole, update("2", "b"), update("3", "b")])).await;
    let applied = applied.expect("changes");
    assert_eq!(
        (applied.mismatches, applied.heals.len()),
        (2, 1),
        "a part of a row that is not there is read again"
    );
    let rows = store.rows(ITEMS).await;
    assert_eq!(rows.keys().cloned().collect::<Vec<_>>(), [key("1"), key("3")]);
    assert!(rows.values().all(|row| row[1] == Some(b"b".to_vec())));
}

async fn survives(test: &str, shape: Shape, faults: &[(Fault, u32)]) {
    let Some((store, proxy)) = behind_proxy(test, shape).await else { return };
    let store = Store { transactions: Transactions::Whole, ..store };
    stays_right(&store, &proxy, faults).await;
    assert!(proxy.calls("TransactWriteItems").came > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_transactions_survive_refusals_and_broken_connections() {
    let faults =
        [(Fault::Throttled, 6), (Fault::ServerError, 8), (Fault::ResetAfter, 6), (Fault::Expired, 12)];
    survives("whole-broken", Shape::Items, &faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_transactions_that_come_late_undo_nothing() {
    survives("whole-late", Shape::Items, &[(Fault::Late(SHORT * 2), 12), (Fault::Swallowed, 12)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_transactions_of_parts_survive() {
    let faults = [(Fault::Throttled, 8), (Fault::ResetAfter, 8), (Fault::Expired, 16)];
    survives("whole-parts", Shape::Parts, &faults).await;
}

/// Promise 1: a run is dropped at any point between two calls, and another one goes on from what it left.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_whole_transactions_that_ends_anywhere_is_gone_on_with() {
    let script = Script::draw(31, 6, 8);
    for cut in (1..40).step_by(3) {
        let Some((store, proxy)) = behind_proxy("whole-cut", Shape::Items).await else { return };
        let store = Store { transactions: Transactions::Whole, timeout: Duration::from_secs(5), ..store };
        let mut sink = store.connect().await;
        let mut seen = super::script::Seen::default();
        let calls = || proxy.all_calls().values().map(|calls| calls.came).sum::<u64>();
        let from = calls();
        tokio::select! {
            biased;
            () = until("calls have come", async || (calls() >= from + cut).then_some(())) => {}
            _ = script.go_on(&mut sink, &mut seen) => {}
        }
        drop(sink);
        let seen = script.run(&store).await;
        assert_eq!(store.rows(ITEMS).await, script.expected(), "cut at call {cut}: {seen:?}");
        assert_eq!(store.surprises().await, 0, "cut at call {cut}: {seen:?}");
    }
}
