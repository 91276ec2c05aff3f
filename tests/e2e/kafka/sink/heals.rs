//! Rows of which too little was sent, where nobody knows whether they are there.

use understudy_contract::{Applied, LedgerEntry};

use understudy_kafka::Handed;

use super::*;

fn reports(applied: &Applied, keys: &[&str], what: &str) {
    let expected = keys.iter().map(|text| (ITEMS, heal(text))).collect::<Vec<_>>();
    assert_eq!(applied.heals, expected, "{what}");
    assert_eq!((applied.mismatches, applied.quarantined), (0, 0), "{what}");
}

/// Guards that no value is lost which blue did not send: until the log holds a whole table, every such row is read again, and
/// afterwards what was amiss with a row moves with it.
#[tokio::test]
async fn partial_rows_are_reported_as_the_contract_says() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "heals");
    let mut sink = subject.begun().await;
    sink.record(LedgerEntry::Plan(unit())).await.unwrap();
    let changes = vec![update(None, ["1", "a", UNSENT]), insert(ITEMS, &["2", "b", "y"])];
    reports(&sink.apply(transaction(1, changes)).await.unwrap(), &["1"], "a partial update during the copy");
    let changes = vec![update(None, ["1", "b", UNSENT]), update(None, ["2", "c", "z"])];
    reports(
        &sink.apply(transaction(2, changes)).await.unwrap(),
        &[],
        "one that waits already, and a whole one",
    );
    let changes = vec![update(Some("2"), ["3", "b", UNSENT])];
    reports(&sink.apply(transaction(3, changes)).await.unwrap(), &["3"], "a partial update to another key");
    sink.record(LedgerEntry::Complete(ITEMS)).await.unwrap();
    let changes = vec![update(None, ["7", "a", UNSENT]), update(Some("7"), ["8", "a", UNSENT])];
    reports(&sink.apply(transaction(4, changes)).await.unwrap(), &[], "partial updates of a complete table");
    let changes = vec![update(Some("1"), ["5", "b", UNSENT])];
    reports(
        &sink.apply(transaction(5, changes)).await.unwrap(),
        &["5"],
        "a row that leaves a key that waits",
    );
    let reread = || RowChange::Reread { route: ITEMS, key: heal("9") };
    reports(&sink.apply(transaction(6, vec![reread(), reread()])).await.unwrap(), &["9"], "one asked for");

    let kind = PlacedKind::Heal { keys: vec![heal("9"), heal("5")] };
    let chunk = PlacedChunk {
        left_out: vec![key(&["5"])],
        ..placed(1, checkpoint(6), kind, vec![row(&["9", "a", "x"])])
    };
    sink.place(chunk).await.unwrap();
    reports(
        &sink.apply(transaction(7, vec![reread()])).await.unwrap(),
        &["9"],
        "one asked for after its heal",
    );
    drop(sink);
    let mut heals = subject.again().await.1.heals;
    heals.sort();
    assert_eq!(heals, [(ITEMS, heal("1")), (ITEMS, heal("3")), (ITEMS, heal("9"))]);
    subject.groups().await;
}

/// Guards that a request to read a row again is not lost when the capture stops before its bookkeeping knows the row.
#[tokio::test]
async fn requests_are_taken_once_their_rows_are_known() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "requests");
    let mut sink = subject.begun().await;
    sink.record(LedgerEntry::Complete(ITEMS)).await.unwrap();
    let notes = sink.notes();
    notes.request_handed_on(3, (ITEMS, Handed::Row(key(&["1"]))));
    notes.requests_consumed(4);
    sink.apply(transaction(1, Vec::new())).await.unwrap();
    drop(sink);
    let (mut sink, _) = subject.again().await;
    assert_eq!(sink.requests_offset(), 3, "a request is passed over although nobody knows its row");
    let notes = sink.notes();
    notes.request_handed_on(3, (ITEMS, Handed::Row(key(&["1"]))));
    notes.requests_consumed(4);
    let reread = vec![RowChange::Reread { route: ITEMS, key: heal("1") }];
    sink.apply(transaction(2, reread)).await.unwrap();
    drop(sink);
    let (sink, saved) = subject.again().await;
    assert_eq!((sink.requests_offset(), saved.heals), (4, vec![(ITEMS, heal("1"))]));
}
