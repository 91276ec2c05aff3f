//! A capture that stops at any point, and the one that goes on.

use understudy_contract::{Class, LedgerEntry, SavedRoute};
use understudy_kafka::codec::{LeafOrTables, Work};
use understudy_model::{BlockRange, Ctid, Nonce};

use super::topics::headers;
use super::*;

/// Guards that readers can rely on the numbers of groups and on their counts, also where a capture has stopped within a
/// transaction and writes it again; and that a row always goes to the same partition.
#[tokio::test]
async fn groups_have_no_gaps_after_a_stop() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "gaps").with(|settings| settings.partitions = 3);
    let mut sink = subject.begun().await;
    let rows = |from: usize, to: usize| {
        (from..to).map(|id| insert(ITEMS, &[&id.to_string(), "n", "doc"])).collect::<Vec<_>>()
    };
    sink.apply(transaction(1, rows(0, 30))).await.unwrap();
    sink.apply(part(2, 0, rows(30, 40))).await.unwrap();
    sink.apply(part(2, 10, rows(40, 45))).await.unwrap();
    drop(sink);
    let (mut sink, saved) = subject.again().await;
    assert_eq!(saved.checkpoint, checkpoint(1), "the checkpoint lies within a transaction");
    assert_eq!(saved.unseen, Some(vec![Xid::new(501)]));
    sink.apply(transaction(2, rows(30, 50))).await.unwrap();
    let moved = vec![
        update(Some("3"), ["103", "n", UNSENT]),
        RowChange::Delete { route: ITEMS, key: key(&["4"]), before: Before::There },
        insert(PLACES, &["1", "east"]),
        RowChange::Truncate { routes: vec![ITEMS, PLACES] },
        RowChange::TruncateLeaf { route: PLACES, predicate: "(region = 'east')".to_owned() },
    ];
    sink.apply(transaction(3, moved)).await.unwrap();

    let groups = subject.groups().await;
    let parts = groups.iter().flat_map(|group| match &group.work {
        Work::Batch { parts, .. } => parts.clone(),
        _ => Vec::new(),
    });
    let parts = parts.map(|part| (part.commit, part.from_ordinal, part.changes, part.end.is_some()));
    let (one, two, three) = (commit_of(1), commit_of(2), commit_of(3));
    let expected = [
        (one, 0, 30, true),
        (two, 0, 10, false),
        (two, 10, 5, false),
        (two, 0, 20, true),
        (three, 0, 5, true),
    ];
    assert_eq!(parts.collect::<Vec<_>>(), expected);
    let Work::Batch { truncates, .. } = &groups[groups.len() - 1].work else { panic!("no batch at the end") };
    let tables = LeafOrTables::Tables(vec![RelationId(20_000), RelationId(20_001)]);
    assert_eq!((truncates[0].position.ordinal, &truncates[0].what), (3, &tables));
    assert_eq!(truncates[1].position.ordinal, 4);

    let records = subject.topics.records(&subject.items(), 3).await;
    let of_40 = records.iter().filter(|record| rdkafka::Message::key(*record) == Some(br#"{"id":40}"#));
    let of_40 = of_40.map(|record| (rdkafka::Message::partition(record), headers(record).tx_size));
    let of_40 = of_40.collect::<Vec<_>>();
    assert_eq!(of_40.len(), 2, "the row comes again with its transaction");
    assert_eq!(of_40[0].0, of_40[1].0, "the row is in two partitions");
    assert_eq!((of_40[0].1, of_40[1].1), (0, 20), "how large a transaction is, is told where it is known");
}

/// Guards that two captures never write the same log: the older one is told so, and nothing it tries is seen by a reader.
#[tokio::test]
async fn an_older_capture_is_superseded() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "older");
    let mut older = subject.begun().await;
    older.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
    let mut newer = subject.connect_as(claimant(2, false)).await.unwrap();
    let saved = newer.claim().await.unwrap().expect("the migration is remembered");
    assert_eq!(saved.checkpoint, checkpoint(1));
    let failure = older.apply(transaction(2, vec![insert(ITEMS, &["2", "old", "y"])])).await.unwrap_err();
    assert_eq!(failure.class(), Class::Superseded, "{failure}");
    newer.apply(transaction(2, vec![insert(ITEMS, &["2", "new", "y"])])).await.unwrap();
    let failure = older.record(LedgerEntry::Complete(ITEMS)).await.unwrap_err();
    assert_eq!(failure.class(), Class::Superseded, "{failure}");
    drop(older);
    let values = subject.topics.records(&subject.items(), 1).await;
    let texts =
        values.iter().map(|record| String::from_utf8_lossy(rdkafka::Message::payload(record).unwrap()));
    let texts = texts.collect::<Vec<_>>();
    assert_eq!(texts.len(), 2);
    assert!(texts[1].contains("\"new\""), "what a superseded capture wrote is seen");
    assert_eq!(subject.groups().await.len(), 3);
}

/// Guards that everything a capture knows outlives it: units, what is copied of them, rows that wait, and where it is.
#[tokio::test]
async fn what_was_saved_is_claimed() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "saved");
    let mut sink = subject.begun().await;
    sink.set_published(vec![(ITEMS, "7.9".to_owned())]);
    sink.record(LedgerEntry::Plan(unit())).await.unwrap();
    let range = |from, to| BlockRange { from: Ctid::start_of(from), to: Ctid::start_of(to) };
    for (id, range) in [(1, range(0, 4)), (2, range(8, 12)), (3, range(4, 6))] {
        let kind = PlacedKind::Copy { unit: unit().id, range };
        sink.place(placed(id, checkpoint(0), kind, vec![row(&["1", "a", "x"])])).await.unwrap();
        assert_eq!(sink.placed().await.unwrap().id, ChunkId(id));
    }
    sink.apply(transaction(1, vec![update(None, ["5", "a", UNSENT]), update(None, ["6", "a", UNSENT])]))
        .await
        .unwrap();
    let kind = PlacedKind::Heal { keys: vec![heal("5")] };
    sink.place(placed(4, checkpoint(1), kind, vec![row(&["5", "a", "y"])])).await.unwrap();
    sink.record(LedgerEntry::Complete(PLACES)).await.unwrap();
    drop(sink);

    let (sink, saved) = subject.again().await;
    assert_eq!((&saved.lineage, saved.checkpoint), (&lineage(), checkpoint(1)));
    assert_eq!(saved.unseen, Some(vec![Xid::new(501)]));
    assert_eq!(saved.heals, [(ITEMS, heal("6"))]);
    let routes = saved.routes.iter().map(|known| (known.route, known.complete, known.published.as_deref()));
    let mut routes = routes.collect::<Vec<_>>();
    routes.sort();
    assert_eq!(routes, [(Some(ITEMS), false, Some("7.9")), (Some(PLACES), true, None)]);
    let known = &saved.units[0];
    assert_eq!((saved.units.len(), known.id, known.filenode, known.blocks), (1, unit().id, 31, 12));
    assert_eq!((known.fingerprint, known.rows_done), (u64::MAX - 5, 3));
    let mut blocks = known.done.iter().flat_map(|done| done.from.block..done.to.block).collect::<Vec<_>>();
    blocks.sort_unstable();
    assert_eq!(blocks, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11]);
    drop(sink);
    let (mut sink, again) = subject.again().await;
    assert_eq!(again, saved, "claiming alone changes what is remembered");

    sink.start_again(ITEMS).await.unwrap();
    drop(sink);
    let (mut sink, saved) = subject.again().await;
    assert!(saved.units.len() == 1 && saved.units[0].done.is_empty(), "a copy that starts again has ranges");
    sink.record(LedgerEntry::Forget(unit().id)).await.unwrap();
    sink.forget_routes(&[PLACES], "7.10").await.unwrap();
    drop(sink);
    let (_, saved) = subject.again().await;
    // It is to join anew, and readers are to be told that what the log holds of it is void.
    let joins =
        |known: &SavedRoute| known.route == Some(PLACES) && known.fingerprint.is_empty() && !known.complete;
    assert!(saved.units.is_empty() && saved.routes.len() == 2 && saved.routes.iter().any(joins), "{saved:?}");
    assert_eq!(saved.lineage.publication.as_deref(), Some("7.10"));
    subject.groups().await;
}

/// Guards that a batch which no single group can hold is cut, and that its groups are committed together all the same.
#[tokio::test]
async fn large_batches_are_several_groups() {
    const TRANSACTIONS: u64 = 5_000;
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "large");
    let mut sink = subject.begun().await;
    let ids = (1..=TRANSACTIONS).map(|id| id.to_string());
    let changes = ids.map(|id| insert(ITEMS, &[&id, "n", "doc"])).collect::<Vec<_>>();
    let commits = (1..=TRANSACTIONS).map(|number| mark(number, number as usize)).collect();
    sink.apply(Batch { changes, commits, ..Batch::default() }).await.unwrap();
    let large = "x".repeat(3 << 20);
    let wide = (0..6).map(|id| insert(ITEMS, &[&id.to_string(), "wide", &large])).collect::<Vec<_>>();
    sink.apply(transaction(TRANSACTIONS + 1, wide)).await.unwrap();
    let groups = subject.groups().await;
    let batches = groups.iter().filter_map(|group| match &group.work {
        Work::Batch { parts, .. } => Some(parts),
        _ => None,
    });
    let batches = batches.collect::<Vec<_>>();
    assert_eq!(batches.len(), 5, "three groups of transactions, two of a wide one");
    let ended = batches.iter().flat_map(|parts| parts.iter()).filter(|part| part.end.is_some()).count();
    assert_eq!(ended as u64, TRANSACTIONS + 1, "an end is missing, or told twice");
    let wide = batches[3..].iter().map(|parts| parts.iter().map(|part| part.changes).sum::<u64>());
    assert_eq!(wide.sum::<u64>(), 6);
    drop(sink);
    assert_eq!(subject.again().await.1.checkpoint, checkpoint(TRANSACTIONS + 1));
}

/// Guards how the way through the log is timed: a beat travels with the batch that holds everything before it, and one that
/// comes late does not wait for the next batch.
#[tokio::test]
async fn beats_travel_with_their_batch_or_alone() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "beats");
    let mut sink = subject.begun().await;
    let notes = sink.notes();
    notes.beat(Nonce(1), 10, checkpoint(2));
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
    sink.apply(transaction(2, Vec::new())).await.unwrap();
    notes.beat(Nonce(2), 20, checkpoint(2));
    let topics = &subject.topics;
    tokio::select! {
        done = sink.placed() => panic!("nothing was placed, and yet: {done:?}"),
        () = understudy_tests::until("the late beat is told", async || {
            let told = topics.records(&topics.names.order(), 1).await.len();
            (told == 4).then_some(())
        }) => {}
    }
    let groups = subject.groups().await;
    let beats = groups.iter().map(|group| group.beats.iter().map(|beat| beat.nonce.0).collect::<Vec<_>>());
    assert_eq!(beats.collect::<Vec<_>>(), [vec![], vec![], vec![1], vec![2]]);
    assert_eq!(
        groups[2].reached,
        Some(checkpoint(2).lsn()),
        "a transaction without changes of ours tells nothing"
    );
}
