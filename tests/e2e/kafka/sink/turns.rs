//! Several captures that set about writing one log: the one that was started last is left, whatever becomes of the others.

use std::sync::Arc;

use rdkafka::config::ClientConfig;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::task::JoinSet;
use understudy_contract::{Class, LedgerEntry};
use understudy_kafka::codec::StateRecord;
use understudy_tests::hold;

use super::owners::stranger;
use super::topics::ANSWER_MAX;
use super::*;

/// Whoever writes without transactions.
pub(super) fn plain(subject: &Subject) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", subject.settings.brokers.join(","));
    config.create().unwrap()
}

fn write(producer: &BaseProducer, subject: &Subject, record: &StateRecord) {
    let (topic, key, value) = (subject.topics.names.state(), record.key(), record.value().unwrap());
    let record = BaseRecord::to(&topic).partition(0).key(&key).payload(&value);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(ANSWER_MAX).unwrap();
}

/// A capture has said that it is about to write, and nothing else yet.
fn leave_note(subject: &Subject, token: u64) {
    write(&plain(subject), subject, &StateRecord::Claim { token });
}

/// Guards a newer capture that takes its time to take over: an older one which tries again meanwhile does not send it away, and
/// ends once the newer one has come to write.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_capture_that_takes_over_is_not_sent_away() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "taking-over").with(|settings| settings.patience = ANSWER_MAX);
    drop(subject.begun().await);
    leave_note(&subject, 2);
    let newer = stranger(&subject);
    let mut older = subject.connect_as(claimant(1, true)).await.unwrap();
    let mut claiming = JoinSet::new();
    claiming.spawn(async move { older.claim().await });
    hold(Duration::from_secs(3), async || assert!(claiming.try_join_next().is_none(), "it does not wait"))
        .await;
    newer.begin_transaction().unwrap();
    write(&newer, &subject, &StateRecord::Owner(claimant(2, false).owner));
    newer.commit_transaction(ANSWER_MAX).expect("the older one has sent it away");
    let failure = claiming.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(failure.class(), Class::Superseded, "{failure}");
}

/// Guards against a log that nobody writes any more because a capture was killed while it took over: the one before goes on. Where
/// the newer one was slow only, it takes over all the same as soon as it is tried again.
#[tokio::test]
async fn a_claim_that_was_interrupted_holds_nobody_up() {
    let Some(kafka) = Kafka::shared() else { return };
    let two = Duration::from_secs(2);
    let subject = Subject::on(kafka, "interrupted").with(|settings| settings.patience = two);
    let mut sink = subject.begun().await;
    leave_note(&subject, 2);
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
    drop(stranger(&subject));
    let failure = sink.apply(transaction(2, vec![insert(ITEMS, &["2", "a", "x"])])).await.unwrap_err();
    assert_eq!(failure.class(), Class::Transient, "{failure}");
    drop(sink);
    let mut sink = subject.connect_as(claimant(1, true)).await.unwrap();
    assert_eq!(sink.claim().await.unwrap().map(|saved| saved.checkpoint), Some(checkpoint(1)));
    sink.apply(transaction(2, vec![insert(ITEMS, &["2", "a", "x"])])).await.unwrap();
    let mut newer = subject.connect_as(claimant(2, false)).await.unwrap();
    assert_eq!(newer.claim().await.unwrap().map(|saved| saved.checkpoint), Some(checkpoint(2)));
    let failure = sink.apply(transaction(3, vec![insert(ITEMS, &["3", "a", "x"])])).await.unwrap_err();
    assert_eq!(failure.class(), Class::Superseded, "{failure}");
    newer.apply(transaction(3, vec![insert(ITEMS, &["3", "a", "x"])])).await.unwrap();
}

/// Guards that a capture whose settings do not fit the log ends by itself alone.
#[tokio::test]
async fn a_claim_that_is_refused_sends_nobody_away() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "refused");
    let mut sink = subject.begun().await;
    let other = KafkaSettings { partitions: 3, ..subject.settings.clone() };
    let mut newer = KafkaSink::connect(&other, claimant(2, false), captured()).await.unwrap();
    let failure = newer.claim().await.unwrap_err();
    assert_eq!(failure.class(), Class::Diverged, "{failure}");
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
}

/// A process that keeps its capture going.
struct Runner {
    subject: Arc<Subject>,
    token: u64,
    has_owned: bool,
    sink: Option<KafkaSink>,
}

impl Runner {
    /// Claims, or writes; `None` once it was told that a newer one writes. Whatever else passes is tried again.
    async fn go_on(mut self) -> Option<Runner> {
        match self.step().await {
            Ok(()) => Some(self),
            Err(failure) if failure.class() == Class::Transient => Some(Runner { sink: None, ..self }),
            Err(failure) => {
                assert_eq!(failure.class(), Class::Superseded, "{failure}");
                None
            }
        }
    }

    async fn step(&mut self) -> Result<(), Failure> {
        if let Some(sink) = &mut self.sink {
            return sink.record(LedgerEntry::Plan(unit())).await;
        }
        let mut sink = self.subject.connect_as(claimant(self.token, self.has_owned)).await?;
        let saved = sink.claim().await?;
        self.has_owned = true;
        if saved.is_none() {
            sink.begin(&lineage(), checkpoint(0)).await?;
        }
        self.sink = Some(sink);
        Ok(())
    }
}

/// Guards that of captures which are started at the same time one is left, and writes: the last that has said that it would.
#[tokio::test(flavor = "multi_thread")]
async fn of_captures_that_claim_at_once_one_is_left() {
    const ROUNDS_MAX: usize = 30;
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Arc::new(Subject::on(kafka, "at-once"));
    let runner = |token| Runner { subject: subject.clone(), token, has_owned: false, sink: None };
    let mut runners = (1..=4).map(runner).collect::<Vec<_>>();
    let mut rounds = 0;
    while runners.len() > 1 {
        rounds += 1;
        assert!(rounds < ROUNDS_MAX, "{} are left", runners.len());
        let all = runners.into_iter().map(Runner::go_on).collect::<JoinSet<_>>();
        runners = all.join_all().await.into_iter().flatten().collect();
    }
    let mut left = runners.pop().expect("nobody is left");
    for _ in 0..2 {
        left.step().await.unwrap();
    }
    let records = subject.topics.all_records(&subject.topics.names.state(), 1).await;
    let notes =
        records.iter().filter_map(|record| match StateRecord::read(record.key()?, record.payload()) {
            Ok(StateRecord::Claim { token }) => Some(token),
            _ => None,
        });
    let notes = notes.collect::<Vec<_>>();
    assert_eq!(notes.last(), Some(&left.token), "{notes:?}");
    assert_eq!(notes.len(), 4, "somebody has said twice that it would: {notes:?}");
    subject.groups().await;
}
