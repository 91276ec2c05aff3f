//! Brokers that show less of the log than was committed: for a while, since a new leader does not know all of it yet, or for good.

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use tokio::task::JoinSet;
use understudy_contract::Class;
use understudy_tests::hold;

use super::given_up::{Part, write};
use super::owners::stranger;
use super::topics::ANSWER_MAX;
use super::turns::plain;
use super::*;

/// Rows of both partitions.
fn rows(from: u32) -> Vec<RowChange> {
    (from..from + 9).map(|id| insert(ITEMS, &[&id.to_string(), "a", "x"])).collect()
}

fn two(kafka: &Kafka, test: &str) -> Subject {
    Subject::on(kafka, test).with(|settings| settings.partitions = 2)
}

/// A log of two transactions.
async fn model(kafka: &Kafka) -> Subject {
    let model = two(kafka, "model");
    let mut sink = model.begun().await;
    sink.apply(transaction(1, rows(1))).await.unwrap();
    sink.apply(transaction(2, rows(20))).await.unwrap();
    model
}

/// The same log, of whose last transaction these parts alone are shown.
async fn showing(kafka: &Kafka, model: &Subject, shown: &[Part]) -> Subject {
    let subject = two(kafka, "short");
    let mut sink = subject.begun().await;
    sink.apply(transaction(1, rows(1))).await.unwrap();
    drop(sink);
    let producer = stranger(&subject);
    producer.begin_transaction().unwrap();
    for part in shown {
        write(&producer, &part.place(&subject), &part.records(model).await);
    }
    producer.commit_transaction(ANSWER_MAX).unwrap();
    subject
}

/// Guards against giving a log up for lost, and a person beginning anew, while brokers only take their time.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_shown_late_is_waited_for() {
    /// For longer than was ever waited without being told to.
    const LATE: Duration = Duration::from_secs(12);
    let Some(kafka) = Kafka::shared() else { return };
    let model = model(kafka).await;
    let subject = showing(kafka, &model, &[Part::State, Part::Items(0), Part::Items(1)]).await;
    let subject = subject.with(|settings| settings.patience = LATE * 4);
    let mut sink = subject.connect().await.unwrap();
    let mut claiming = JoinSet::new();
    claiming.spawn(async move { sink.claim().await });
    hold(LATE, async || assert!(claiming.try_join_next().is_none(), "it does not wait")).await;
    write(&plain(&subject), &Part::Order.place(&subject), &Part::Order.records(&model).await);
    let saved = claiming.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(saved.map(|saved| saved.checkpoint), Some(checkpoint(2)));
    assert_eq!(subject.groups().await.len(), model.groups().await.len());
}

/// Guards rows that were committed and hang, because brokers have forgotten their mark: they are not given up by the sight of an
/// order that ends too early, nor are their numbers given to others.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_by_the_sight_of_an_order_that_is_too_short() {
    let Some(kafka) = Kafka::shared() else { return };
    let model = model(kafka).await;
    let subject = showing(kafka, &model, &[Part::State]).await;
    let subject = subject.with(|settings| settings.patience = Duration::from_secs(2));
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap());
    config.set("transactional.id", format!("{}-other", subject.items()));
    let hanging: BaseProducer = config.create().unwrap();
    hanging.init_transactions(ANSWER_MAX).unwrap();
    hanging.begin_transaction().unwrap();
    for part in [Part::Items(0), Part::Items(1)] {
        write(&hanging, &part.place(&subject), &part.records(&model).await);
    }
    let written = async || subject.topics.all_records(&subject.items(), 2).await.len();
    let before = written().await;
    let failure = subject.connect().await.unwrap().claim().await.unwrap_err();
    assert_eq!(failure.class(), Class::Diverged, "{failure}");
    assert!(failure.remedy_text().is_some_and(|remedy| remedy.contains("begin anew")), "{failure}");
    assert_eq!(written().await, before, "something was written");
    hanging.abort_transaction(ANSWER_MAX).unwrap();
}

/// Guards against a hole where brokers have lost the ends of all topics alike: blue was told that the log holds them, and has let
/// go of them.
#[tokio::test]
async fn a_log_that_blue_was_told_more_of_is_not_gone_on_with() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "told-more");
    let subject = subject.with(|settings| settings.patience = Duration::from_secs(2));
    let mut sink = subject.begun().await;
    sink.apply(transaction(1, rows(1))).await.unwrap();
    drop(sink);
    let told = |number| Claimant { confirmed: Some(checkpoint(number).lsn()), ..claimant(1, true) };
    let failure = subject.connect_as(told(2)).await.unwrap().claim().await.unwrap_err();
    assert_eq!(failure.class(), Class::Diverged, "{failure}");
    assert!(failure.to_string().contains("blue was told"), "{failure}");
    assert!(failure.remedy_text().is_some_and(|remedy| remedy.contains("begin anew")), "{failure}");
    let mut sink = subject.connect_as(told(1)).await.unwrap();
    assert_eq!(sink.claim().await.unwrap().map(|saved| saved.checkpoint), Some(checkpoint(1)));
}
