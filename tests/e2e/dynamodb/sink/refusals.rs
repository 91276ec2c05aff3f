//! Rows that DynamoDB does not take: they are found before anything is sent, and set aside with a reason, or the run stops before
//! their transaction.

use understudy_contract::{Batch, ChangeSink, Class, PlacedChunk, PlacedKind};
use understudy_dynamodb::OnError;
use understudy_model::{Before, ChunkId, RowChange};
use understudy_tests::{Dynamo, DynamoProxy};

use super::script::{ITEMS, checkpoint, heal, key, partial, row, start, transaction};
use super::{Shape, Store};

fn insert(texts: [&str; 3]) -> RowChange {
    RowChange::Insert { route: ITEMS, new: row(texts) }
}

fn partly(id: &str, n: &str) -> RowChange {
    let new = partial(id, n);
    RowChange::Update { route: ITEMS, old_key: None, new, blue_key: None, before: Before::There }
}

/// A text that is nearly as large as an item may be.
fn large() -> String {
    "x".repeat(400 * 1024 - 300)
}

/// No call is made for what cannot be stored, and no other row suffers from it; a later change of such a row joins it, and a
/// heal that brings a row which can be stored settles it.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_fit_are_set_aside() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let proxy = DynamoProxy::start(dynamo, 1).await;
    let store = Store::new(dynamo, "aside", Shape::Items, OnError::Quarantine).await;
    let store = Store { endpoint: proxy.endpoint(), ..store };
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    proxy.count_anew();
    let (large, long) = (large() + &"y".repeat(300), "k".repeat(2049));
    let changes = vec![
        insert(["", "a", "x"]),
        insert([&long, "a", "x"]),
        insert(["1", "a", &large]),
        insert(["2", "a", "x"]),
    ];
    let applied = sink.apply(transaction(1, changes)).await.expect("changes");
    assert_eq!((applied.quarantined, applied.mismatches, sink.aside()), (3, 0, 3));
    assert_eq!(proxy.calls("PutItem").came, 1, "calls are made for rows that cannot be stored");
    let applied = sink.apply(transaction(2, vec![partly("1", "b")])).await.expect("changes");
    assert_eq!((applied.quarantined, applied.heals.len(), sink.aside()), (1, 0, 3));

    let items = store.items(&store.table("state")).await;
    let aside = items.iter().filter(|item| item["of"].as_s().expect("a text").starts_with("aside#"));
    let reasons = aside.map(|item| item["reason"].as_s().expect("a text").as_str()).collect::<Vec<_>>();
    for reason in ["cannot be empty", "2,048 bytes", "400 KB", "an earlier change"] {
        assert_eq!(reasons.iter().filter(|told| told.contains(reason)).count(), 1, "{reason}: {reasons:?}");
    }

    let reread = RowChange::Reread { route: ITEMS, key: heal("1") };
    sink.apply(transaction(3, vec![reread])).await.expect("changes");
    let chunk = PlacedChunk {
        id: ChunkId(1),
        route: ITEMS,
        at: checkpoint(3),
        kind: PlacedKind::Heal { keys: vec![heal("1")] },
        rows: vec![row(["1", "b", "small"])],
        left_out: Vec::new(),
        refused: Vec::new(),
    };
    sink.place(chunk).await.expect("a chunk");
    sink.placed().await.expect("it is written");
    assert_eq!(sink.aside(), 2);
    assert_eq!(store.rows(ITEMS).await.into_keys().collect::<Vec<_>>(), [key("1"), key("2")]);
}

/// What only the server can tell, since it has the rest of the row, is dealt with alike.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_grow_too_large_are_set_aside() {
    let Some(dynamo) = Dynamo::shared() else { return };
    for shape in [Shape::Items, Shape::Parts] {
        let store = Store::new(dynamo, "grown", shape, OnError::Quarantine).await;
        let mut sink = store.connect().await;
        start(&mut sink).await.expect("a start");
        let large = large();
        let changes = vec![insert(["1", "a", &large]), insert(["2", "a", "x"])];
        sink.apply(transaction(1, changes)).await.expect("changes");
        let changes = vec![partly("1", &"y".repeat(1_000)), partly("2", "b")];
        let applied = sink.apply(transaction(2, changes)).await.expect("changes");
        assert_eq!((applied.quarantined, applied.heals.len(), sink.aside()), (1, 0, 1));
        let rows = store.rows(ITEMS).await;
        let n = |id| rows[&key(id)][1].clone();
        assert_eq!([n("1"), n("2")], [Some(b"a".to_vec()), Some(b"b".to_vec())]);
    }
}

/// By the other policy the run stops there: what is whole before it is committed, nothing of it is written, and the failure says
/// which change and what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_fit_stops_the_run_before_its_transaction() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = Store::new(dynamo, "stopped", Shape::Items, OnError::Stop).await;
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    let changes = vec![insert(["1", "a", "x"]), insert(["2", "a", "x"]), insert(["", "a", "x"])];
    let mut marks = [transaction(1, changes[..1].to_vec()), transaction(2, changes[1..].to_vec())]
        .map(|batch| batch.commits[0]);
    marks[1].changes_before = 3;
    let batch = Batch { changes, commits: marks.to_vec(), ..Batch::default() };
    let failure = sink.apply(batch).await.expect_err("a key that is empty");
    assert_eq!((failure.class(), failure.position().map(|at| at.ordinal)), (Class::Data, Some(1)));
    assert!(failure.to_string().contains("id") && failure.remedy_text().is_some(), "{failure}");
    let saved = store.connect().await.claim().await.expect("a claim").expect("it has begun");
    assert_eq!(saved.checkpoint, checkpoint(1));
    assert_eq!(store.rows(ITEMS).await.into_keys().collect::<Vec<_>>(), [key("1")]);
}
