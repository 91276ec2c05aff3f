//! First copies while calls fail, one by one and in batches: every row is there once it is said so, and later changes win.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use understudy_contract::{ChangeSink, Class, Failure, LedgerEntry, PlacedChunk, PlacedKind, Unit};
use understudy_dynamodb::{Batches, OnError, SinkSettings};
use understudy_model::{Before, BlockRange, ChunkId, Ctid, ReplicaIdentity, RowChange, TableName, UnitId};
use understudy_tests::{Dynamo, DynamoProxy, Fault, When};

use super::forgotten::set;
use super::script::{ITEMS, checkpoint, heal, key, lineage, partial, row, transaction};
use super::tagged::Tagged;
use super::{Shape, Store};

/// Rows in each chunk.
const ROWS: u32 = 130;

const CHUNKS: u32 = 3;

fn unit() -> Unit {
    let id = UnitId::new(20_000, ITEMS);
    Unit {
        id,
        route: ITEMS,
        root: id,
        name: TableName::new("public", "items"),
        filenode: 31,
        fingerprint: 5,
        marks: None,
        membership: 0,
        blocks: CHUNKS,
        block_bytes: 8_192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: None,
    }
}

fn chunk(number: u32) -> PlacedChunk {
    let range = BlockRange { from: Ctid::start_of(number), to: Ctid::start_of(number + 1) };
    let ids = number * ROWS..(number + 1) * ROWS;
    PlacedChunk {
        id: ChunkId(u64::from(number)),
        route: ITEMS,
        at: checkpoint(0),
        kind: PlacedKind::Copy { unit: unit().id, range },
        rows: ids.map(|id| row([&id.to_string(), "copied", "whole"])).collect(),
        left_out: Vec::new(),
        refused: Vec::new(),
    }
}

/// Copies what is not copied yet; returns how many chunks it wrote.
async fn copy(sink: &mut Tagged) -> Result<u32, Failure> {
    let saved = sink.claim().await?;
    if saved.is_none() {
        sink.begin(&lineage(), checkpoint(0)).await?;
    }
    let units = saved.map(|saved| saved.units).unwrap_or_default();
    if units.is_empty() {
        sink.record(LedgerEntry::Plan(unit())).await?;
    }
    let done = units.into_iter().flat_map(|unit| unit.done).map(|range| range.from.block).collect::<Vec<_>>();
    let left = (0..CHUNKS).filter(|number| !done.contains(number)).collect::<Vec<_>>();
    for number in &left {
        sink.place(chunk(*number)).await?;
    }
    for _ in &left {
        assert_eq!(sink.placed().await?.rows, u64::from(ROWS));
    }
    sink.record(LedgerEntry::Complete(ITEMS)).await?;
    Ok(left.len() as u32)
}

async fn survives(test: &str, batches: Batches, faults: &[(Fault, u32)]) {
    let Some(dynamo) = Dynamo::shared() else { return };
    let proxy = DynamoProxy::start(dynamo, 3).await;
    let store = Store::new(dynamo, test, Shape::Items, OnError::Stop).await;
    store.connect().await.claim().await.expect("a claim");
    let store = Store { endpoint: proxy.endpoint(), batches, ..store };
    for (fault, one_in) in faults {
        proxy.fail(None, *fault, When::OneIn(*one_in));
    }
    let mut sink = loop {
        let mut sink = store.connect().await;
        match copy(&mut sink).await {
            Ok(_) => break sink,
            Err(failure) => assert_eq!(failure.class(), Class::Transient, "{failure}"),
        }
    };
    proxy.heal();
    for (fault, _) in faults {
        assert!(proxy.faults(fault.name()) > 0, "{} never happened", fault.name());
    }
    let changes = vec![
        RowChange::Delete { route: ITEMS, key: key("1"), before: Before::There },
        RowChange::Update {
            route: ITEMS,
            old_key: None,
            new: partial("2", "changed"),
            blue_key: None,
            before: Before::There,
        },
    ];
    let applied = sink.apply(transaction(1, changes)).await.expect("changes");
    assert_eq!((applied.mismatches, applied.heals.len()), (0, 0), "what was copied is there");
    let rows = store.rows(ITEMS).await;
    assert_eq!(rows.len() as u32, CHUNKS * ROWS - 1);
    for (id, texts) in &rows {
        let n: &[u8] = if *id == heal("2").green { b"changed" } else { b"copied" };
        assert_eq!([&texts[1], &texts[2]], [&Some(n.to_vec()), &Some(b"whole".to_vec())]);
    }
    let saved = store.connect().await.claim().await.expect("a claim").expect("it has begun");
    assert_eq!(saved.units[0].rows_done, u64::from(CHUNKS * ROWS));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_copied_whatever_fails() {
    let faults = [(Fault::Throttled, 8), (Fault::ResetAfter, 16), (Fault::Expired, 100)];
    survives("copied", Batches::Never, &faults).await;
}

/// What a batch leaves undone is asked for again until nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn batches_are_finished_whatever_fails() {
    let batches = Batches::FirstCopy { in_doubt: Duration::from_millis(50) };
    let faults = [(Fault::Unprocessed, 2), (Fault::Throttled, 6), (Fault::ResetAfter, 10)];
    survives("batches", batches, &faults).await;
}

/// What is there under a key and has no tag of ours is not written over, until somebody says that it is blue's.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_written_over_on_request_only() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = Store::new(dynamo, "strangers", Shape::Items, OnError::Stop).await;
    set(&store, "5", "n").await;
    let failure = copy(&mut store.connect().await).await.expect_err("somebody else's item");
    assert_eq!(failure.class(), Class::Data, "{failure}");
    assert!(failure.remedy_text().is_some_and(|remedy| remedy.contains("existing_rows")), "{failure}");
    let n = async || {
        let items = store.items(&store.table("items")).await;
        let item = items.into_iter().find(|item| item["id"] == AttributeValue::S("5".to_owned()));
        item.expect("it")["n"].as_s().expect("a text").clone()
    };
    assert_eq!(n().await, "theirs");
    let settings = SinkSettings { adopts: true, ..store.settings() };
    copy(&mut store.connect_as(settings).await).await.expect("a copy");
    assert_eq!((n().await.as_str(), store.rows(ITEMS).await.len() as u32), ("copied", CHUNKS * ROWS));
}

/// Batches know no conditions: where the table holds anything, whosever it is, rows are put one by one.
#[tokio::test(flavor = "multi_thread")]
async fn batches_are_for_empty_tables() {
    let Some(dynamo) = Dynamo::shared() else { return };
    for (is_empty, adopts) in [(true, false), (false, false), (false, true)] {
        let proxy = DynamoProxy::start(dynamo, 3).await;
        let store = Store::new(dynamo, "batched", Shape::Items, OnError::Stop).await;
        let batches = Batches::FirstCopy { in_doubt: Duration::ZERO };
        let store = Store { endpoint: proxy.endpoint(), batches, ..store };
        if !is_empty {
            set(&store, "5", "_t").await;
        }
        let mut sink = store.connect_as(SinkSettings { adopts, ..store.settings() }).await;
        let copied = copy(&mut sink).await;
        let failure = copied.err().map(|failure| failure.class());
        assert_eq!(failure, (!is_empty).then_some(Class::Data), "another migration's item");
        assert_eq!(proxy.calls("BatchWriteItem").came > 0, is_empty);
        let items = store.items(&store.table("items")).await;
        let theirs = AttributeValue::S("theirs".to_owned());
        assert_eq!(items.iter().filter(|item| item.get("_t") == Some(&theirs)).count() == 0, is_empty);
    }
}
