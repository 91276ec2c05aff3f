//! Whose log it is: who may write it, and what shows that brokers have lost some of it.

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use understudy_contract::{Class, LedgerEntry, LoggedEntry};
use understudy_kafka::codec::{Group, Owner, Work};
use understudy_kafka::{transactional_id, whose};

use super::topics::ANSWER_MAX;
use super::*;

/// Whoever begins under the id of the capture without a word in the books. By it a log can be made to look as brokers may leave it.
pub(super) fn stranger(subject: &Subject) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", subject.settings.brokers.join(","));
    config.set("transactional.id", transactional_id(&subject.settings.topic_prefix));
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(ANSWER_MAX).unwrap();
    producer
}

/// Guards that a capture which tries again after a failure does not send away the one that has taken its place since.
#[tokio::test]
async fn a_capture_that_was_replaced_does_not_come_back() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "replaced");
    drop(subject.begun().await);
    let mut newer = subject.connect_as(claimant(2, false)).await.unwrap();
    newer.claim().await.unwrap();
    let failure = subject.connect_as(claimant(1, true)).await.unwrap().claim().await.unwrap_err();
    assert_eq!(failure.class(), Class::Superseded, "{failure}");
    newer.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
    drop(newer);
    // It may be asked for again on purpose, as another process.
    let mut asked = subject.connect_as(claimant(3, false)).await.unwrap();
    assert!(asked.claim().await.unwrap().is_some());
}

/// Guards that a prefix which belongs to another migration costs that one nothing: its capture goes on, and its topics stay.
#[tokio::test]
async fn the_log_of_another_migration_is_left_alone() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "another");
    let mut sink = subject.begun().await;
    let ours = claimant(1, false);
    for other in [
        Owner { migration: "other".to_owned(), ..ours.owner.clone() },
        Owner { database: "other".to_owned(), ..ours.owner.clone() },
        Owner { system_id: 43, ..ours.owner.clone() },
    ] {
        assert!(whose(&subject.settings).await.unwrap().another(&other, Some(other.system_id)).is_some());
        let claimant = Claimant { owner: other, has_owned: false, confirmed: None };
        let failure = subject.connect_as(claimant).await.unwrap().claim().await.unwrap_err();
        assert_eq!(failure.class(), Class::Configuration, "{failure}");
        assert!(
            failure.to_string().contains("migration suite") || failure.to_string().contains("42"),
            "{failure}"
        );
        assert!(failure.remedy_text().is_some_and(|remedy| remedy.contains("topic_prefix")), "{failure}");
    }
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
}

/// Guards that a capture which stood still for so long that the brokers gave up its transaction, as in a machine that was
/// suspended, tries again: nobody else writes.
#[tokio::test]
async fn a_transaction_that_was_given_up_is_tried_again() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "lapsed");
    let mut sink = subject.begun().await;
    // What brokers do to a transaction that has timed out, too.
    drop(stranger(&subject));
    let failure = sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap_err();
    assert_eq!(failure.class(), Class::Transient, "{failure}");
    drop(sink);
    let mut sink = subject.connect_as(claimant(1, true)).await.unwrap();
    assert_eq!(sink.claim().await.unwrap().map(|saved| saved.checkpoint), Some(checkpoint(0)));
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
}

/// Guards that a capture does not go on where brokers have lost what they had said to hold: groups would be missing, or would be
/// there twice, and an apply would find out days later.
#[tokio::test]
async fn books_that_do_not_fit_the_groups_are_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "unlike");
    let mut sink = subject.begun().await;
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
    drop(sink);
    let last = subject.groups().await.len() as u64;
    let producer = stranger(&subject);
    producer.begin_transaction().unwrap();
    let group =
        Group { number: last + 1, tables: Vec::new(), work: Work::None, reached: None, beats: Vec::new() };
    let (topic, key, value) = (subject.topics.names.order(), group.record_key(), group.to_json().unwrap());
    let record = BaseRecord::to(&topic).partition(0).key(&key).payload(&value);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.commit_transaction(ANSWER_MAX).unwrap();
    drop(producer);
    let subject = subject.with(|settings| settings.patience = Duration::from_secs(2));
    let failure = subject.connect().await.unwrap().claim().await.unwrap_err();
    assert_eq!(failure.class(), Class::Diverged, "{failure}");
    let told = failure.to_string();
    let groups = [last, last + 1].map(|group| format!("group {group}"));
    assert!(groups.iter().all(|group| told.contains(group)), "{told}");
    assert!(told.contains("given 2 s"), "nobody is told how long was waited: {told}");
    assert!(failure.remedy_text().is_some_and(|remedy| remedy.contains("begin anew")), "{failure}");
}

/// Guards that a table of leaves with long conditions can be planned anew: each fits a group, all of them do not.
#[tokio::test]
async fn long_lists_of_entries_are_several_groups() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "entries");
    let mut sink = subject.begun().await;
    let condition = format!("(n = ANY ('{{{}}}'))", "long,".repeat(800));
    for leaf in 0..300 {
        let predicate = Some(condition.clone());
        sink.record(LedgerEntry::Plan(Unit { id: UnitId::new(30_000 + leaf, ITEMS), predicate, ..unit() }))
            .await
            .unwrap();
    }
    let before = subject.groups().await.len();
    sink.start_again(ITEMS).await.unwrap();
    let groups = subject.groups().await;
    let planned = groups[before..].iter().map(|group| match &group.work {
        Work::Entries(entries) => {
            entries.iter().filter(|entry| matches!(entry, LoggedEntry::Plan { .. })).count()
        }
        _ => 0,
    });
    assert_eq!(planned.sum::<usize>(), 300);
    assert!(groups.len() > before + 1);
}

/// Guards that a row which no reader could take in is refused at once, with what to do, instead of being tried for ever.
#[tokio::test]
async fn a_row_that_is_too_large_for_kafka_is_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "huge");
    let mut sink = subject.begun().await;
    let huge = "x".repeat(65 << 20);
    let failure = sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", &huge])])).await.unwrap_err();
    assert_eq!(failure.class(), Class::Configuration, "{failure}");
    assert!(failure.remedy_text().is_some_and(|remedy| remedy.contains("64 MiB")), "{failure}");
}
