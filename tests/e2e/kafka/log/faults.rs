//! What an operator is told when the log is not what it was.

use rdkafka::admin::{NewPartitions, NewTopic, TopicReplication};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use understudy_contract::Class;

use super::*;

fn assert_diverged(failure: &Failure, told: &str) {
    assert_eq!(failure.class(), Class::Diverged, "{failure}");
    assert!(failure.to_string().contains(told), "{failure}");
    assert!(failure.remedy_text().is_some(), "{failure}");
}

/// F9: guards that an apply which comes too late, after brokers have deleted what it has not read, stops; and that one which has
/// read it goes on.
#[tokio::test]
async fn a_log_that_was_shortened_is_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "log-shortened");
    let places = subject.written().await;
    let order = subject.names.order();
    // Two groups, each a record and the mark of its transaction; those before tell of the beginning.
    let offset = |place: &Cursor| {
        let text = std::str::from_utf8(&place.0).unwrap();
        let rest = text.split("\"order\":").nth(1).unwrap();
        rest.split(',').next().unwrap().parse::<i64>().unwrap()
    };
    subject.shorten(&order, 0, Offset::Offset(offset(&places[2]))).await;
    for from in [None, Some(&places[0])] {
        let failure = subject.failure(from).await;
        assert_diverged(&failure, &order);
        assert!(failure.remedy_text().unwrap_or_default().contains("retention"), "{failure}");
    }
    // The record of the last group that was taken is gone, and none that is needed.
    assert_eq!(places_of(&subject.read(Some(&places[1]), 2).await), places[2..]);
    for partition in 0..3 {
        subject.shorten(&subject.items(), partition, Offset::End).await;
    }
    let failure = subject.failure(Some(&places[2])).await;
    assert_diverged(&failure, &subject.items());
    // Who has read everything misses nothing.
    let mut sink = subject.capture().await;
    sink.apply(transaction(5, 0, vec![insert(ITEMS, 99)])).await.unwrap();
    let events = subject.read(Some(&places[3]), 1).await;
    assert!(events.iter().any(|event| matches!(event, LogEvent::Change(_))));
}

/// F9: guards that topics which were lost, made anew, or given other partitions are no log to go on with.
#[tokio::test]
async fn another_log_is_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "log-another");
    let places = subject.written().await;
    let (admin, items) = (subject.admin(), subject.items());
    let mut elsewhere = subject.settings.clone();
    elsewhere.topic_prefix.push('2');
    let failure = KafkaLog::open(&elsewhere, &[], Some(places[1].clone())).await.unwrap_err();
    assert_diverged(&failure, "another log");
    admin.create_partitions(&[NewPartitions::new(&items, 5)], &AdminOptions::new()).await.unwrap();
    understudy_tests::until("the partitions are there", async || {
        let failure = subject.open(Some(&places[1])).await.err()?;
        assert_diverged(&failure, "5 partitions");
        Some(())
    })
    .await;
    admin.delete_topics(&[&items], &AdminOptions::new()).await.unwrap();
    understudy_tests::until("the topic is gone", async || {
        let failure = subject.open(Some(&places[1])).await.err()?;
        failure.to_string().contains("gone").then(|| assert_diverged(&failure, &items))
    })
    .await;
    let anew = NewTopic::new(&items, 3, TopicReplication::Fixed(1));
    understudy_tests::until("the topic is made anew", async || {
        let made = admin.create_topics([&anew], &AdminOptions::new()).await.unwrap();
        made[0].is_ok().then_some(())
    })
    .await;
    understudy_tests::until("the topic is there again", async || {
        let failure = subject.open(Some(&places[1])).await.err()?;
        failure.to_string().contains("made anew").then(|| assert_diverged(&failure, &items))
    })
    .await;
}

/// Guards that an apply stops whose topic is deleted while it waits for what comes, once no broker knows it any more.
#[tokio::test]
async fn a_topic_that_is_deleted_under_way_is_noticed() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "log-deleted");
    let places = subject.written().await;
    let mut log = subject.open(Some(&places[3])).await.unwrap();
    let order = subject.names.order();
    subject.admin().delete_topics(&[&order], &AdminOptions::new()).await.unwrap();
    // The client itself gives a topic half a minute to come back.
    let next = tokio::time::timeout(3 * PATIENCE, log.next()).await.expect("it is noticed");
    assert_diverged(&next.unwrap_err(), &order);
}

/// Guards that an offset which a broker does not know is not taken for a loss on its word, and that an apply stops all the same where
/// the topic was made anew under it, once brokers had their time to agree.
#[tokio::test]
async fn a_topic_that_is_made_anew_under_way_is_noticed() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "log-anew");
    let places = subject.written().await;
    let mut log = subject.open(Some(&places[3])).await.unwrap();
    let (admin, order) = (subject.admin(), subject.names.order());
    admin.delete_topics(&[&order], &AdminOptions::new()).await.unwrap();
    let anew = NewTopic::new(&order, 1, TopicReplication::Fixed(1));
    understudy_tests::until("the topic is made anew", async || {
        let made = admin.create_topics([&anew], &AdminOptions::new()).await.unwrap();
        made[0].is_ok().then_some(())
    })
    .await;
    let failure = loop {
        let next = tokio::time::timeout(3 * PATIENCE, log.next()).await.expect("it is noticed");
        let failure = next.unwrap_err();
        if failure.class() != Class::Transient {
            break failure;
        }
        match subject.open(Some(&places[3])).await {
            Ok(again) => log = again,
            Err(failure) => break failure,
        }
    };
    assert_diverged(&failure, &order);
    assert!(failure.to_string().contains("the brokers were given"), "{failure}");
}

/// Guards that a record of somebody else is not applied, and that it is told where it stands.
#[tokio::test]
async fn a_foreign_record_stops_the_apply() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "log-foreign");
    let places = subject.written().await;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", subject.settings.brokers.join(","));
    let producer: FutureProducer = config.create().unwrap();
    let items = subject.items();
    for partition in 0..3 {
        let headers = OwnedHeaders::new().insert(Header { key: "app", value: Some("other") });
        let record = FutureRecord::to(&items).partition(partition).key("k").payload("{}").headers(headers);
        producer.send(record, PATIENCE).await.unwrap();
    }
    let mut sink = subject.capture().await;
    sink.apply(transaction(5, 0, vec![insert(ITEMS, 99)])).await.unwrap();
    assert_diverged(&subject.failure(Some(&places[3])).await, &items);
}

/// Guards that an apply which is started before its capture waits for it, and one whose broker is away for that.
#[tokio::test]
async fn what_is_not_there_yet_is_waited_for() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "log-early");
    let failure = subject.open(None).await.unwrap_err();
    assert_eq!(failure.class(), Class::Transient, "{failure}");
    let nobody = KafkaSettings::new(vec!["127.0.0.1:1".to_owned()], "nobody");
    let failure = KafkaLog::open(&nobody, &[], None).await.unwrap_err();
    assert_eq!(failure.class(), Class::Transient, "{failure}");
}

/// Guards that a broker which goes away while its log is read is noticed as something that passes.
#[tokio::test]
async fn a_broker_that_goes_away_is_noticed() {
    let Some(mut kafka) = Kafka::start().await else { return };
    let subject = Subject::on(&kafka, "log-away");
    let places = subject.written().await;
    let mut log = subject.open(Some(&places[3])).await.unwrap();
    kafka.stop(1).await;
    let failure = take(&mut log, 1).await.unwrap_err();
    assert_eq!(failure.class(), Class::Transient, "{failure}");
    kafka.start_node(1).await;
    understudy_tests::until("the log can be opened", async || subject.open(Some(&places[2])).await.ok())
        .await;
    let events = subject.read(Some(&places[2]), 1).await;
    assert_eq!(places_of(&events), places[3..]);
}
