//! Calls that fail, in every way in which they do: what is written ends as blue has it, and nothing is said to be amiss.

use std::time::{Duration, Instant};

use understudy_contract::{Batch, ChangeSink, Class};
use understudy_dynamodb::{CallSettings, OnError, SinkSettings};
use understudy_model::{Before, RowChange};
use understudy_tests::{Dynamo, DynamoProxy, Fault, When, until};

use super::script::{ITEMS, Script, key, partial, row, start, transaction};
use super::{Shape, Store};

/// How long sinks wait for answers that never come.
pub(super) const SHORT: Duration = Duration::from_millis(500);

/// A store behind a proxy, where nothing goes wrong yet.
pub(super) async fn behind_proxy(test: &str, shape: Shape) -> Option<(Store, DynamoProxy)> {
    let dynamo = Dynamo::shared()?;
    let proxy = DynamoProxy::start(dynamo, 11).await;
    let store = Store::new(dynamo, test, shape, OnError::Stop).await;
    // The state table is there before anything goes wrong: creating it is not what is tested.
    store.connect().await.claim().await.expect("a claim");
    Some((Store { endpoint: proxy.endpoint(), timeout: SHORT, ..store }, proxy))
}

async fn survives(test: &str, shape: Shape, faults: &[(Fault, u32)]) {
    let Some((store, proxy)) = behind_proxy(test, shape).await else { return };
    stays_right(&store, &proxy, faults).await;
}

/// A script is run while this goes wrong with about one call of so many.
pub(super) async fn stays_right(store: &Store, proxy: &DynamoProxy, faults: &[(Fault, u32)]) {
    let script = Script::draw(7, 25, 12);
    for (fault, one_in) in faults {
        proxy.fail(None, *fault, When::OneIn(*one_in));
    }
    let seen = script.run(store).await;
    proxy.heal();
    for (fault, _) in faults {
        assert!(proxy.faults(fault.name()) > 0, "{} never happened", fault.name());
    }
    // What is late comes before anything is looked at.
    until("late calls are done", async || (proxy.late() == 0).then_some(())).await;
    assert_eq!(store.rows(ITEMS).await, script.expected(), "{seen:?}");
    assert_eq!(seen.mismatches, 0, "{seen:?}");
    assert_eq!(store.surprises().await, 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_calls_are_made_again() {
    survives("throttled", Shape::Items, &[(Fault::Throttled, 4), (Fault::Exceeded, 4)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_server_pass() {
    survives("errors", Shape::Items, &[(Fault::ServerError, 4)]).await;
}

/// Whether a call was done is not known, and it is made again: done twice it is as if done once.
#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_lose_and_double_nothing() {
    survives("broken", Shape::Items, &[(Fault::Reset, 8), (Fault::ResetAfter, 8)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn swallowed_answers_lose_and_double_nothing() {
    survives("swallowed", Shape::Items, &[(Fault::Swallowed, 30)]).await;
}

/// A call that was given up is done after others that were made later.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_come_late_undo_nothing() {
    survives("late", Shape::Items, &[(Fault::Late(SHORT * 2), 30)]).await;
}

/// The run ends, and a new one looks for others.
#[tokio::test(flavor = "multi_thread")]
async fn expired_credentials_end_a_run_and_no_more() {
    survives("expired", Shape::Items, &[(Fault::Expired, 5)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_items_survive_all_of_it() {
    let faults = [
        (Fault::Throttled, 10),
        (Fault::ServerError, 10),
        (Fault::ResetAfter, 10),
        (Fault::Expired, 20),
        (Fault::Late(SHORT * 2), 60),
    ];
    survives("all", Shape::Parts, &faults).await;
}

/// Promise 4: a run is dropped at any point between two calls, and another one goes on from what it left.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_anywhere_is_gone_on_with() {
    let script = Script::draw(23, 6, 12);
    for (shape, cuts) in [(Shape::Items, 1..60), (Shape::Parts, 1..60)] {
        for cut in cuts.step_by(3) {
            let Some((store, proxy)) = behind_proxy("cut", shape).await else { return };
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
}

/// A run that ended within a transaction has left a key to another row than the one that the changes to it are about: when they are
/// applied again, what they did not send of the one is not taken from the other.
#[tokio::test(flavor = "multi_thread")]
async fn values_of_another_row_are_not_taken() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let start_rows = ["1", "2"].map(|id| {
        let new = row([id, "a", if id == "1" { "x" } else { "y" }]);
        RowChange::Insert { route: ITEMS, new }
    });
    let (first, second) = (moved("1", "3", "c"), moved("2", "1", "d"));
    let update = RowChange::Update {
        route: ITEMS,
        old_key: None,
        new: partial("1", "b"),
        blue_key: None,
        before: Before::There,
    };
    for shape in [Shape::Items, Shape::Parts] {
        for changes in
            [vec![first.clone(), second.clone()], vec![update.clone(), first.clone(), second.clone()]]
        {
            let store = Store::new(dynamo, "another", shape, OnError::Stop).await;
            let mut sink = store.connect().await;
            start(&mut sink).await.expect("a start");
            sink.apply(transaction(1, start_rows.to_vec())).await.expect("rows");
            let whole = transaction(2, changes.clone());
            let commit = whole.commits[0].position.commit;
            let part = Batch { changes: changes.clone(), open: Some(commit), ..Batch::default() };
            sink.apply(part).await.expect("a part of a transaction");
            drop(sink);
            let rows = [("1", ["d", "y"]), ("3", ["c", "x"])];
            let rows = rows.map(|(id, texts)| (id.to_owned(), texts.map(str::to_owned)));
            let script = Script { transactions: vec![start_rows.to_vec(), changes], rows: rows.into() };
            let seen = script.run(&store).await;
            assert_eq!(store.rows(ITEMS).await, script.expected(), "{seen:?}");
            assert_eq!((seen.mismatches, store.surprises().await), (0, 0));
        }
    }
}

/// A partial update of `items` to another key.
fn moved(from: &str, to: &str, n: &str) -> RowChange {
    RowChange::Update {
        route: ITEMS,
        old_key: Some(key(from)),
        new: partial(to, n),
        blue_key: None,
        before: Before::There,
    }
}

/// A table that has no capacity for longer than we are patient ends the run as what passes by itself, and says which table.
#[tokio::test(flavor = "multi_thread")]
async fn patience_ends() {
    let Some((store, proxy)) = behind_proxy("patience", Shape::Items).await else { return };
    let patience = Duration::from_millis(800);
    let settings = SinkSettings { calls: CallSettings { patience, at_once: 8 }, ..store.settings() };
    let mut sink = store.connect_as(settings).await;
    start(&mut sink).await.expect("a start");
    proxy.fail(Some("PutItem"), Fault::Exceeded, When::Always);
    let began = Instant::now();
    let changes = vec![RowChange::Insert { route: ITEMS, new: row(["1", "a", "x"]) }];
    let failure = sink.apply(transaction(1, changes)).await.expect_err("it gives up");
    assert!(began.elapsed() >= patience);
    assert_eq!(failure.class(), Class::Transient);
    assert!(failure.to_string().contains(&store.table("items")), "{failure}");
    assert!(proxy.faults("exceeded") > 3, "it tried again");
}

/// A table that is not there is for an operator to create, and is named at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_is_named() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = Store::new(dynamo, "missing", Shape::Items, OnError::Quarantine).await;
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    store.direct.delete_table().table_name(store.table("items")).send().await.expect("it is deleted");
    let changes = vec![RowChange::Insert { route: ITEMS, new: row(["1", "a", "x"]) }];
    let failure = sink.apply(transaction(1, changes)).await.expect_err("there is no table");
    assert_eq!(failure.class(), Class::Configuration, "{failure}");
    assert!(failure.to_string().contains(&store.table("items")), "{failure}");
}
