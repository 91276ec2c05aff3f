//! The way back from an apply to its capture.

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use understudy_contract::{AskCapture, Wanted};
use understudy_kafka::codec::Asked;
use understudy_kafka::{KafkaRequests, RequestReader};

use super::*;

fn wanted(id: u64) -> Wanted {
    Wanted { table: TableName::new("public", "items"), key: key(id) }
}

fn row(id: u64) -> Option<Asked> {
    Some(Asked::Row(wanted(id)))
}

/// Guards that a capture gets every row and table that was asked for, in order, and goes on where it was.
#[tokio::test]
async fn requests_reach_the_capture() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "requests");
    let sink = subject.capture().await;
    let mut requests = KafkaRequests::new(&subject.settings, "suite").unwrap();
    requests.ask((0..2_500).map(wanted).collect()).await.unwrap();
    let mut reader = RequestReader::open(&subject.settings, sink.requests_offset()).await.unwrap();
    let mut offset = 0;
    for id in 0..1_000 {
        let (asked, next) = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it comes").unwrap();
        assert_eq!(asked, row(id));
        offset = next;
    }
    drop(reader);
    let mut reader = RequestReader::open(&subject.settings, offset).await.unwrap();
    for id in 1_000..2_500 {
        let (asked, _) = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it comes").unwrap();
        assert_eq!(asked, row(id));
    }
    requests.ask(vec![wanted(7)]).await.unwrap();
    let items = TableName::new("public", "items");
    requests.ask_copies(vec![items.clone()], Some(4)).await.unwrap();
    for expected in [row(7), Some(Asked::Table { table: items, since: Some(4) })] {
        let (asked, _) = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it comes").unwrap();
        assert_eq!(asked, expected);
    }
}

/// Guards that requests which were deleted unread do not stop a capture, and neither does the loss of the whole topic, which holds
/// nothing that is missed: it is made anew, and read from its start.
#[tokio::test]
async fn the_requests_topic_may_be_shortened_and_lost() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "requests-shortened");
    drop(subject.capture().await);
    let topic = subject.names.requests();
    let mut requests = KafkaRequests::new(&subject.settings, "suite").unwrap();
    requests.ask((0..9).map(wanted).collect()).await.unwrap();
    subject.shorten(&topic, 0, Offset::Offset(4)).await;
    let mut reader = RequestReader::open(&subject.settings, 0).await.unwrap();
    let (asked, next) = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it comes").unwrap();
    assert_eq!((asked, next), (row(4), 5));
    subject.admin().delete_topics(&[&topic], &AdminOptions::new()).await.unwrap();
    let mut reader = understudy_tests::until("the topic is made anew", async || {
        let reader = RequestReader::open(&subject.settings, 5).await.ok()?;
        (reader.begins_at() == 0).then_some(reader)
    })
    .await;
    understudy_tests::until("an apply asks again", async || requests.ask(vec![wanted(7)]).await.ok()).await;
    let (asked, next) = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it comes").unwrap();
    assert_eq!((asked, next), (row(7), 1));
}

/// Guards that a record which is no request does not make a capture deaf for all that come after it.
#[tokio::test]
async fn what_is_no_request_is_passed_over() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "requests-foreign");
    drop(subject.capture().await);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", subject.settings.brokers.join(","));
    let producer: BaseProducer = config.create().unwrap();
    let topic = subject.names.requests();
    let record = BaseRecord::<str, str>::to(&topic).partition(0).payload("good morning");
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    KafkaRequests::new(&subject.settings, "suite").unwrap().ask(vec![wanted(7)]).await.unwrap();
    let mut reader = RequestReader::open(&subject.settings, 0).await.unwrap();
    for expected in [(None, 1), (row(7), 2)] {
        let asked = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it comes").unwrap();
        assert_eq!(asked, expected);
    }
}
