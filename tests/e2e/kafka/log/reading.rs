//! What a capture writes comes out as it went in.

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use understudy_contract::{LoggedEntry, LoggedKind};
use understudy_kafka::transactional_id;
use understudy_model::SourceChange;

use super::*;

/// Everything that a capture can write, with a crash within a transaction and records that were never committed. Gives how many
/// groups readers see.
async fn history(subject: &Subject) -> usize {
    let mut sink = subject.capture().await;
    sink.record(plan()).await.unwrap();
    sink.place(chunk(0, copy(), (1..40).map(|id| row(id, "copied")).collect())).await.unwrap();
    sink.record(LedgerEntry::Complete(ITEMS)).await.unwrap();
    let changes = (40..60).map(|id| insert(ITEMS, id)).chain([moved(3, 103), deleted(4)]);
    sink.apply(transaction(1, 0, changes.collect())).await.unwrap();
    sink.apply(part(2, vec![insert(ITEMS, 70), moved(5, 105)])).await.unwrap();
    drop(sink);
    uncommitted(subject);
    // The capture comes back, and the transaction with it.
    let mut sink = subject.capture().await;
    sink.apply(part(2, vec![insert(ITEMS, 70), moved(5, 105)])).await.unwrap();
    sink.apply(transaction(2, 2, vec![RowChange::Truncate { routes: vec![PLACES] }, insert(PLACES, 1)]))
        .await
        .unwrap();
    let heal = PlacedKind::Heal { keys: vec![HealKey::same(key(70)), HealKey::same(key(71))] };
    sink.place(PlacedChunk { left_out: vec![key(71)], ..chunk(2, heal, vec![row(70, "healed")]) })
        .await
        .unwrap();
    // The beginning is a group of its own.
    1 + 8
}

/// Records of a capture that is killed before it commits.
fn uncommitted(subject: &Subject) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", subject.settings.brokers.join(","));
    config.set("transactional.id", transactional_id(&subject.settings.topic_prefix));
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    for partition in 0..3 {
        let topic = subject.items();
        let record = BaseRecord::to(&topic).partition(partition).key("never").payload("seen");
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// F20, F41: guards that an apply gets everything in blue's order and nothing that was never committed, and that one which goes on
/// from any place gets exactly the rest.
#[tokio::test]
async fn every_place_leads_to_the_rest() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "log-places");
    let groups = history(&subject).await;
    let all = subject.read(None, groups).await;
    let inserted = all.iter().filter(|event| matches!(event, LogEvent::Change(SourceChange::Insert { .. })));
    assert_eq!(inserted.count(), 20 + 2 + 1);
    let begun = all.iter().filter_map(|event| match event {
        LogEvent::Begin { commit, from_ordinal, .. } => Some((*commit, *from_ordinal)),
        _ => None,
    });
    let (first, second) = (commit_of(1), commit_of(2));
    assert_eq!(begun.collect::<Vec<_>>(), [(first, 0), (second, 0), (second, 0), (second, 2)]);
    let entries = all.iter().filter_map(|event| match event {
        LogEvent::Entry(entry) => Some(entry),
        _ => None,
    });
    assert!(matches!(entries.collect::<Vec<_>>()[..], [LoggedEntry::Plan(_), LoggedEntry::Complete { .. }]));
    let healed = all.iter().find_map(|event| match event {
        LogEvent::Rows(chunk) if matches!(chunk.kind, LoggedKind::Heal { .. }) => Some(chunk),
        _ => None,
    });
    let healed = healed.expect("a heal");
    assert_eq!(healed.kind, LoggedKind::Heal { keys: vec![key(70), key(71)], gone: vec![key(71)] });
    for (done, (at, place)) in (1..).zip(places(&all)) {
        let rest = subject.read(Some(&place), groups - done).await;
        assert_eq!(plain(&rest), plain(&all[at..]), "after {done} groups");
    }
}

/// F13: guards that nothing is lost or doubled by whoever gives up waiting again and again.
#[tokio::test]
async fn dropped_calls_lose_nothing() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "log-dropped");
    let groups = history(&subject).await;
    let all = subject.read(None, groups).await;
    let mut log = subject.open(None).await.unwrap();
    let mut events = Vec::new();
    while events.len() < all.len() {
        let mut polls = 0;
        // Each call is dropped when it is polled for the second time.
        let mut next = Box::pin(log.next());
        let once = std::future::poll_fn(|context| {
            polls += 1;
            match next.as_mut().poll(context) {
                std::task::Poll::Ready(event) => std::task::Poll::Ready(Some(event)),
                std::task::Poll::Pending if polls > 1 => std::task::Poll::Ready(None),
                std::task::Poll::Pending => std::task::Poll::Pending,
            }
        });
        let event = tokio::time::timeout(PATIENCE, once).await.expect("something comes");
        events.extend(event.map(Result::unwrap));
    }
    assert_eq!(events, all);
}

/// Guards that events which wait are known to wait, so that batches are filled before they are sealed, and that nothing is said
/// to wait at the end.
#[tokio::test]
async fn events_at_hand_are_known() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "log-ready");
    let groups = history(&subject).await;
    let mut log = subject.open(None).await.unwrap();
    let events = take(&mut log, 1).await.unwrap();
    assert!(events.len() > 1, "a group has several events");
    let mut at_hand = 0;
    for _ in 1..groups {
        let events = take(&mut log, 1).await.unwrap();
        at_hand += usize::from(log.ready());
        assert!(!events.is_empty());
    }
    assert!(!log.ready(), "the log says that it has more than there is");
    assert!(at_hand > 0, "no group was at hand when the one before it ended");
}

/// Guards that a table which joins later is followed as soon as the log tells of it.
#[tokio::test]
async fn a_table_that_nobody_named_is_read() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "log-joins");
    let groups = history(&subject).await;
    let all = subject.read(None, groups).await;
    let items = [TableName::new("public", "items")];
    let mut log = KafkaLog::open(&subject.settings, &items, None).await.unwrap();
    let events = take(&mut log, groups).await.unwrap();
    assert_eq!(plain(&events).len(), plain(&all).len());
}

/// Guards that a shape which was written after the log was opened is found.
#[tokio::test]
async fn a_shape_that_comes_later_is_found() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "log-shape");
    let mut sink = subject.capture().await;
    sink.apply(transaction(1, 0, vec![insert(ITEMS, 1)])).await.unwrap();
    let mut log = subject.open(None).await.unwrap();
    take(&mut log, 2).await.unwrap();
    sink.apply(transaction(2, 0, vec![insert(PLACES, 1)])).await.unwrap();
    let events = take(&mut log, 1).await.unwrap();
    let announced = events.iter().find_map(|event| match event {
        LogEvent::Table(relation) => Some(relation.as_ref().clone()),
        _ => None,
    });
    assert_eq!(announced, Some(captured(PLACES).relation));
}

/// F6: guards that the distance to the end of the log is measured, and nothing once it is reached.
#[tokio::test]
async fn the_lag_is_measured() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "log-lag");
    let groups = 1 + subject.written().await.len();
    let mut log = subject.open(None).await.unwrap();
    let probe = log.lag();
    let lag = probe.partitions().await.unwrap();
    assert_eq!(lag.len(), 1 + 2 * 3);
    let order = lag.iter().find(|lag| lag.topic == subject.names.order()).unwrap();
    assert!(order.records() >= groups as u64, "{order:?}");
    let events = take(&mut log, groups).await.unwrap();
    for lag in probe.partitions().await.unwrap() {
        assert_eq!(lag.records(), 0, "{lag:?}");
    }
    drop(log);
    assert_eq!(probe.partitions().await.unwrap(), [], "the log is not held by who measures it");
    // One that goes on has nothing to catch up with.
    let (_, last) = places(&events).pop().unwrap();
    let log = subject.open(Some(&last)).await.unwrap();
    for lag in log.lag().partitions().await.unwrap().iter().filter(|lag| lag.topic != subject.names.order()) {
        assert_eq!(lag.records(), 0, "{lag:?}");
    }
}
