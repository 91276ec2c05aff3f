//! What goes wrong with topics and brokers, and what an operator is told.

use understudy_contract::Class;
use understudy_kafka::{Compression, forget};

use super::*;

/// Guards that a row too large for its topic stops the capture with what to do, and that no part of its transaction is seen;
/// once the topic takes it, the same transaction goes through.
#[tokio::test]
async fn an_oversized_record_stops_with_its_remedy() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "oversized").with(|settings| settings.compression = Compression::None);
    subject.topics.make(&subject.items(), &[("max.message.bytes", "10000")]).await;
    let mut sink = subject.begun().await;
    let large = "x".repeat(20_000);
    let changes = vec![insert(PLACES, &["1", "east"]), insert(ITEMS, &["1", "a", &large])];
    let failure = sink.apply(transaction(1, changes)).await.unwrap_err();
    assert_eq!(failure.class(), Class::Configuration, "{failure}");
    let remedy = failure.remedy_text().unwrap_or_default();
    assert!(remedy.contains("max.message.bytes") && remedy.contains(&subject.items()), "{remedy}");
    assert!(!failure.to_string().contains("xxx"), "a failure shows a row");
    drop(sink);
    let places = subject.topics.names.table(&TableName::new("public", "places"));
    assert!(subject.topics.records(&places, 1).await.is_empty(), "a part of a failed transaction is seen");
    let (mut sink, saved) = subject.again().await;
    assert_eq!(saved.checkpoint, checkpoint(0));
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "small"])])).await.unwrap();
    subject.groups().await;
}

/// Guards that a lost topic is not quietly made anew, which would lose what nobody can write again.
#[tokio::test]
async fn a_deleted_topic_is_not_made_again() {
    let Some(kafka) = Kafka::shared() else { return };
    for test in ["items", "order", "state"] {
        let subject = Subject::on(kafka, &format!("deleted-{test}"));
        let names = &subject.topics.names;
        let lost = match test {
            "items" => subject.items(),
            "order" => names.order(),
            _ => names.state(),
        };
        let mut sink = subject.begun().await;
        sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
        drop(sink);
        subject.topics.delete(&lost).await;
        let failure = subject.connect().await.unwrap().claim().await.unwrap_err();
        assert_eq!(failure.class(), Class::Diverged, "{test}: {failure}");
        assert!(failure.remedy_text().is_some(), "{test}: {failure}");
    }
}

/// Guards against giving up a whole migration for the topic of requests, which holds nothing that is missed.
#[tokio::test]
async fn a_lost_topic_of_requests_is_made_anew() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "deleted-requests");
    let mut sink = subject.begun().await;
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
    drop(sink);
    subject.topics.delete(&subject.topics.names.requests()).await;
    let mut sink = subject.connect().await.unwrap();
    assert!(sink.claim().await.unwrap().is_some(), "the books are gone");
    sink.apply(transaction(2, vec![insert(ITEMS, &["2", "b", "y"])])).await.unwrap();
}

/// Guards the same under a capture that is at work, on brokers that make whatever is asked for: its groups would go on in an
/// empty topic, and blue's log be let go of.
#[tokio::test]
async fn a_topic_that_is_deleted_under_a_capture_is_not_made_again() {
    let settings = [("auto.create.topics.enable", "true")];
    let Some(kafka) = Kafka::start_with(1, &settings).await else { return };
    let subject = Subject::on(&kafka, "deleted-under");
    let mut sink = subject.begun().await;
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
    subject.topics.delete(&subject.topics.names.order()).await;
    // That no broker takes it for so long may pass, for all that the client says.
    sink.apply(transaction(2, vec![insert(ITEMS, &["2", "b", "y"])])).await.unwrap_err();
    drop(sink);
    let failure = subject.connect().await.unwrap().claim().await.unwrap_err();
    assert_eq!(failure.class(), Class::Diverged, "{failure}");
}

/// Guards that rows which a finished migration has left for others are not mixed with those of a new one, whose groups begin at
/// the same numbers.
#[tokio::test]
async fn rows_of_a_finished_migration_are_not_gone_on_with() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "finished");
    let mut sink = subject.begun().await;
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
    drop(sink);
    forget(&subject.settings, true, |_| true).await.unwrap();
    let failure = subject.connect().await.unwrap().claim().await.unwrap_err();
    assert_eq!(failure.class(), Class::Diverged, "{failure}");
    let remedy = failure.remedy_text().unwrap_or_default();
    assert!(remedy.contains("topic_prefix"), "{remedy}");
    forget(&subject.settings, false, |_| true).await.unwrap();
    subject.begun().await;
}

/// Guards that giving up a migration removes its own rows and not those that a finished one has left under the same prefix.
#[tokio::test]
async fn rows_of_other_tables_stay_when_a_migration_is_given_up() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "others");
    let mut sink = subject.begun().await;
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
    drop(sink);
    forget(&subject.settings, true, |_| true).await.unwrap();
    let removed = forget(&subject.settings, false, |table| table.name == "elsewhere").await.unwrap();
    assert_eq!(removed, Vec::<String>::new(), "nothing of it is the other's");
    let failure = subject.connect().await.unwrap().claim().await.unwrap_err();
    assert_eq!(failure.class(), Class::Diverged, "the rows are still there: {failure}");
}

/// Guards that partitions stay as they are for the life of a migration: a row would go to another one, and readers would not
/// know of it.
#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "partitions");
    drop(subject.begun().await);
    let items = subject.items();
    let subject = subject.with(|settings| settings.partitions = 3);
    let failure = subject.connect().await.unwrap().claim().await.unwrap_err();
    assert_eq!(failure.class(), Class::Diverged, "{failure}");
    let subject = subject.with(|settings| settings.partitions = 1);
    subject.again().await;
    subject.topics.widen(&items, 2).await;
    let failure = subject.connect().await.unwrap().claim().await.unwrap_err();
    assert_eq!(failure.class(), Class::Diverged, "{failure}");
    assert!(failure.to_string().contains(&items), "{failure}");
}

/// Guards that a topic which would forget records is refused before the first of them is written.
#[tokio::test]
async fn a_topic_that_forgets_is_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "forgets");
    subject.topics.make(&subject.items(), &[("cleanup.policy", "compact")]).await;
    let failure = subject.connect().await.unwrap().claim().await.unwrap_err();
    assert_eq!(failure.class(), Class::Configuration, "{failure}");
    assert!(
        failure.remedy_text().is_some_and(|remedy| remedy.contains("cleanup.policy=delete")),
        "{failure}"
    );
}
