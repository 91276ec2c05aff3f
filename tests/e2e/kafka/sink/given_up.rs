//! A transaction that was said to be committed, and that brokers have given up in some of its partitions since.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::task::JoinSet;
use understudy_contract::{Class, Saved};
use understudy_kafka::codec::{StateKey, StateRecord};
use understudy_tests::hold;

use super::owners::stranger;
use super::topics::{ANSWER_MAX, headers};
use super::*;

/// The partitions that the transaction is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Order,
    State,
    Schema,
    Items(i32),
}

const ALL: [Part; 5] = [Part::Order, Part::State, Part::Schema, Part::Items(0), Part::Items(1)];

impl Part {
    pub(super) fn place(self, subject: &Subject) -> (String, i32) {
        let names = &subject.topics.names;
        match self {
            Part::Order => (names.order(), 0),
            Part::State => (names.state(), 0),
            Part::Schema => (names.schema(), 0),
            Part::Items(partition) => (subject.items(), partition),
        }
    }

    /// The records of the last transaction of a log.
    pub(super) async fn records(self, subject: &Subject) -> Vec<OwnedMessage> {
        let (topic, partition) = self.place(subject);
        let mut records = subject.topics.records(&topic, if topic == subject.items() { 2 } else { 1 }).await;
        records.retain(|record| record.partition() == partition);
        match self {
            Part::Order => records.split_off(records.len() - 1),
            Part::State => {
                let is_progress = |record: &&OwnedMessage| {
                    matches!(
                        StateRecord::read(record.key().unwrap(), record.payload()),
                        Ok(StateRecord::Progress { .. })
                    )
                };
                let before = records.iter().rposition(|record| is_progress(&record)).unwrap();
                let before = records[..before].iter().rposition(|record| is_progress(&record)).unwrap();
                records.split_off(before + 1)
            }
            Part::Schema => records,
            Part::Items(_) => {
                let last = records.iter().map(|record| headers(record).group).max();
                records.retain(|record| Some(headers(record).group) == last);
                records
            }
        }
    }
}

/// Rows of both partitions, and one that has to be read again, of which the books tell.
fn changes() -> Vec<RowChange> {
    let rows = (1..=9).map(|id| insert(ITEMS, &[&id.to_string(), "a", "x"]));
    rows.chain([update(None, ["5", "b", UNSENT])]).collect()
}

pub(super) fn write(producer: &BaseProducer, (topic, partition): &(String, i32), records: &[OwnedMessage]) {
    for record in records {
        let mut again = BaseRecord::<[u8], [u8]>::to(topic).partition(*partition);
        (again.key, again.payload, again.headers) =
            (record.key(), record.payload(), record.headers().cloned());
        producer.send(again).map_err(|(error, _)| error).unwrap();
    }
    // What was not sent yet would not be given up, but forgotten.
    producer.flush(ANSWER_MAX).unwrap();
}

/// A log of which the last transaction is given up in these partitions, and what somebody who claims it finds.
async fn claimed(kafka: &Kafka, model: &Subject, given_up: &[Part]) -> (Subject, KafkaSink, Saved) {
    let subject = Subject::on(kafka, "given-up").with(|settings| settings.partitions = 2);
    drop(subject.begun().await);
    let producer = stranger(&subject);
    for is_shown in [false, true] {
        producer.begin_transaction().unwrap();
        for part in ALL.iter().filter(|part| given_up.contains(part) != is_shown) {
            write(&producer, &part.place(&subject), &part.records(model).await);
        }
        match is_shown {
            true => producer.commit_transaction(ANSWER_MAX).unwrap(),
            false => producer.abort_transaction(ANSWER_MAX).unwrap(),
        }
    }
    drop(producer);
    let (sink, saved) = subject.again().await;
    (subject, sink, saved)
}

/// Guards that no part of a transaction is lost which was said to be committed: wherever brokers have given it up, it is there
/// again, once, with its books; and where nothing of it is shown, it is as if it had never been.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_missing_of_a_transaction_is_written_again() {
    let Some(kafka) = Kafka::shared() else { return };
    let model = Subject::on(kafka, "model").with(|settings| settings.partitions = 2);
    let mut sink = model.begun().await;
    sink.apply(transaction(1, changes())).await.unwrap();
    drop(sink);
    let model = Arc::new(model);
    let but = |shown: Part| ALL.into_iter().filter(|part| *part != shown).collect::<Vec<_>>();
    let alone = [Part::Order, Part::State, Part::Schema, Part::Items(0)].map(|part| vec![part]);
    // Each case waits for a while to be sure of what brokers show: all of them together, since they have nothing in common.
    let mut cases = JoinSet::new();
    for given_up in [Part::Order, Part::State, Part::Items(1)].map(but).into_iter().chain(alone) {
        cases.spawn(is_written_again(kafka, model.clone(), given_up));
    }
    for given_up in [ALL.to_vec(), but(Part::Schema)] {
        cases.spawn(has_never_been(kafka, model.clone(), given_up));
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

async fn is_written_again(kafka: &'static Kafka, model: Arc<Subject>, given_up: Vec<Part>) {
    let (subject, mut sink, saved) = claimed(kafka, &model, &given_up).await;
    assert_eq!(saved.checkpoint, checkpoint(1), "{given_up:?}");
    assert_eq!(saved.heals, [(ITEMS, heal("5"))], "{given_up:?}");
    assert_eq!(subject.groups().await.len(), model.groups().await.len(), "{given_up:?}");
    let ids = |records: Vec<OwnedMessage>| {
        let mut ids = records.iter().map(|record| headers(record).ordinal).collect::<Vec<_>>();
        ids.sort_unstable();
        ids
    };
    let found = ids(subject.topics.records(&subject.items(), 2).await);
    let expected = ids(model.topics.records(&model.items(), 2).await);
    assert_eq!(found, expected, "{given_up:?}");
    // So it is for who is shown what was given up too, and drops what is not beyond the last of its key.
    let (mut last, mut beyond) = (BTreeMap::<_, Option<_>>::new(), Vec::new());
    for record in subject.topics.all_records(&subject.items(), 2).await {
        let (place, last) = (headers(&record), last.entry(record.key().map(<[u8]>::to_vec)).or_default());
        let place = Some((place.commit, place.ordinal));
        if place > *last {
            *last = place;
            beyond.push(record);
        }
    }
    assert_eq!(ids(beyond), expected, "{given_up:?}");
    // The shape of the table is known too, so that the next change needs none.
    sink.apply(transaction(2, vec![insert(ITEMS, &["20", "c", "y"])])).await.unwrap();
    assert_eq!(subject.topics.records(&subject.topics.names.schema(), 1).await.len(), 1, "{given_up:?}");
}

async fn has_never_been(kafka: &'static Kafka, model: Arc<Subject>, given_up: Vec<Part>) {
    let (subject, mut sink, saved) = claimed(kafka, &model, &given_up).await;
    assert_eq!((saved.checkpoint, saved.heals), (checkpoint(0), Vec::new()), "{given_up:?}");
    sink.apply(transaction(1, changes())).await.unwrap();
    subject.groups().await;
}

/// Guards that the loss of what was committed last is found by who claims the log, also where brokers have deleted older records
/// of the partition; and that nothing is taken for lost whose time was over.
#[tokio::test]
async fn a_loss_is_found_where_older_records_are_gone() {
    let Some(kafka) = Kafka::shared() else { return };
    let two = |test: &str| Subject::on(kafka, test).with(|settings| settings.partitions = 2);
    let rows = |from: u32| {
        (from..from + 9).map(|id| insert(ITEMS, &[&id.to_string(), "a", "x"])).collect::<Vec<_>>()
    };
    let model = two("model");
    let mut sink = model.begun().await;
    sink.apply(transaction(1, rows(1))).await.unwrap();
    sink.apply(transaction(2, rows(20))).await.unwrap();
    drop(sink);
    for (deleted, found) in [(Offset::Offset(1), Some(Class::Diverged)), (Offset::End, None)] {
        let subject = two("lost");
        let mut sink = subject.begun().await;
        sink.apply(transaction(1, rows(1))).await.unwrap();
        drop(sink);
        subject.topics.shorten(&subject.items(), 1, deleted).await;
        let producer = stranger(&subject);
        producer.begin_transaction().unwrap();
        for part in [Part::Order, Part::State, Part::Items(0)] {
            write(&producer, &part.place(&subject), &part.records(&model).await);
        }
        producer.commit_transaction(ANSWER_MAX).unwrap();
        drop(producer);
        let claimed = subject.connect().await.unwrap().claim().await;
        assert_eq!(claimed.err().map(|failure| failure.class()), found, "{deleted:?}");
    }
}

/// Guards that blue keeps what it has sent until brokers show it: before, all of it can be lost with a broker.
#[tokio::test]
async fn blue_is_not_told_before_marks_are_seen() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "marks");
    let mut sink = subject.begun().await;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.bootstrap())
        .set("transactional.id", format!("{}-other", subject.items()));
    let other: BaseProducer = config.create().unwrap();
    other.init_transactions(ANSWER_MAX).unwrap();
    other.begin_transaction().unwrap();
    let (topic, value) = (subject.items(), StateKey::Progress.to_bytes());
    other
        .send(BaseRecord::<[u8], [u8]>::to(&topic).partition(0).payload(&value))
        .map_err(|(error, _)| error)
        .unwrap();
    other.flush(ANSWER_MAX).unwrap();
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
    let persisting = sink.persist();
    tokio::pin!(persisting);
    tokio::select! {
        told = &mut persisting => panic!("{told:?} before anybody can read it"),
        () = hold(Duration::from_secs(1), async || {}) => {}
    }
    other.abort_transaction(ANSWER_MAX).unwrap();
    assert_eq!(persisting.await.unwrap(), checkpoint(1));
    assert_eq!(sink.persist().await.unwrap(), checkpoint(1), "nothing was written since");
}
