//! The way back from an apply to its capture.

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use understudy_contract::{AskCapture, Class, Wanted};
use understudy_kafka::{KafkaRequests, RequestReader};

use super::*;

fn wanted(id: u64) -> Wanted {
    Wanted { table: TableName::new("public", "items"), key: key(id) }
}

/// Guards that a capture gets every row that was asked for, in order, and goes on where it was.
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
        let (row, next) = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it comes").unwrap();
        assert_eq!(row, Some(wanted(id)));
        offset = next;
    }
    drop(reader);
    let mut reader = RequestReader::open(&subject.settings, offset).await.unwrap();
    for id in 1_000..2_500 {
        let (row, _) = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it comes").unwrap();
        assert_eq!(row, Some(wanted(id)));
    }
    requests.ask(vec![wanted(7)]).await.unwrap();
    let (row, _) = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it comes").unwrap();
    assert_eq!(row, Some(wanted(7)));
}

/// Guards that requests which were deleted unread do not stop a capture, and that a topic made anew does.
#[tokio::test]
async fn the_requests_topic_may_be_shortened() {
    let Some(kafka) = Kafka::shared() else { return };
    let subject = Subject::on(kafka, "requests-shortened");
    drop(subject.capture().await);
    let mut requests = KafkaRequests::new(&subject.settings, "suite").unwrap();
    requests.ask((0..9).map(wanted).collect()).await.unwrap();
    subject.shorten(&subject.names.requests(), 0, Offset::Offset(4)).await;
    let mut reader = RequestReader::open(&subject.settings, 0).await.unwrap();
    let (row, next) = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it comes").unwrap();
    assert_eq!((row, next), (Some(wanted(4)), 5));
    let failure = RequestReader::open(&subject.settings, 1_000).await.unwrap_err();
    assert_eq!(failure.class(), Class::Diverged, "{failure}");
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
    for expected in [(None, 1), (Some(wanted(7)), 2)] {
        let asked = tokio::time::timeout(PATIENCE, reader.next()).await.expect("it comes").unwrap();
        assert_eq!(asked, expected);
    }
}
