//! The way back from an apply to its capture: rows that are to be read again, in a topic of their own.

use std::fmt;
use std::sync::Arc;

use futures_util::future::try_join_all;
use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message, Offset, TopicPartitionList};
use understudy_contract::{AskCapture, Failure, Wanted};

use crate::client::{ANSWER_MAX, Watcher, blocking, reader_config};
use crate::codec::Request;
use crate::error::Error;
use crate::log::trouble::{Trouble, judge};
use crate::names::TopicNames;
use crate::settings::KafkaSettings;

/// How long a request may take to be written, broker failures included.
const DELIVERY_MAX_MS: &str = "60000";

/// Asks the capture of a migration, on behalf of one green.
pub struct KafkaRequests {
    producer: FutureProducer<Watcher>,
    watcher: Watcher,
    topic: String,
    target: String,
}

impl fmt::Debug for KafkaRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaRequests").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl KafkaRequests {
    /// For the green with this name.
    pub fn new(settings: &KafkaSettings, target: &str) -> Result<KafkaRequests, Failure> {
        let watcher = Watcher::default();
        let mut config = settings.client_config(&format!("{}.understudy.apply", settings.topic_prefix));
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set("message.timeout.ms", DELIVERY_MAX_MS);
        let producer = config.create_with_context(watcher.clone());
        let producer = producer.map_err(|error| Error::of(&error, "the Kafka client"))?;
        let topic = TopicNames::new(settings.topic_prefix.clone()).requests();
        Ok(KafkaRequests { producer, watcher, topic, target: target.to_owned() })
    }
}

impl AskCapture for KafkaRequests {
    async fn ask(&mut self, rows: Vec<Wanted>) -> Result<(), Failure> {
        let asking = |error: Error| Failure::from(error).while_doing("ask the capture to read rows again");
        for rows in rows.chunks(AT_ONCE) {
            let sent = rows.iter().map(|row| async {
                let request = Request { target: self.target.clone(), row: row.clone() }.to_json();
                let record = FutureRecord::<(), [u8]>::to(&self.topic).partition(0).payload(&request);
                let written = self.producer.send(record, ANSWER_MAX).await;
                written.map_err(|(error, _)| asking(self.watcher.judge(&error, &self.topic)))
            });
            try_join_all(sent).await?;
        }
        Ok(())
    }
}

/// Requests that are under way at once.
const AT_ONCE: usize = 1_000;

/// Reads what applies ask for, on behalf of the capture.
pub struct RequestReader {
    consumer: Arc<StreamConsumer<Watcher>>,
    queue: StreamPartitionQueue<Watcher>,
    watcher: Watcher,
    topic: String,
}

impl fmt::Debug for RequestReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestReader").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl RequestReader {
    /// Reads from an offset on, or from the first request that is still there. An apply asks again when it starts, so that
    /// nothing is lost by what was deleted after its time.
    pub async fn open(settings: &KafkaSettings, from: i64) -> Result<RequestReader, Failure> {
        let settings = settings.clone();
        let opened = blocking(move || RequestReader::open_here(&settings, from)).await;
        opened.map_err(|error| Failure::from(error).while_doing("open the requests topic in Kafka"))
    }

    fn open_here(settings: &KafkaSettings, from: i64) -> Result<RequestReader, Error> {
        let topic = TopicNames::new(settings.topic_prefix.clone()).requests();
        let watcher = Watcher::default();
        let mut config = reader_config(settings, &format!("{}.understudy.capture", settings.topic_prefix));
        config.set("enable.partition.eof", "false");
        config.set("queued.max.messages.kbytes", "1024");
        let consumer: StreamConsumer<Watcher> = config
            .create_with_context(watcher.clone())
            .map_err(|error| Error::of(&error, "the Kafka client"))?;
        let consumer = Arc::new(consumer);
        let bounds = consumer.fetch_watermarks(&topic, 0, ANSWER_MAX);
        let (low, high) = bounds.map_err(|error| watcher.judge(&error, &topic))?;
        if from > high {
            let why =
                format!("it ends at offset {high}, before {from}, where the capture is: it was made anew");
            return Err(Error::Torn { topic, why });
        }
        if from < low {
            tracing::warn!(topic, from, low, "requests that nobody read in time are gone");
        }
        // Before anything is fetched: what comes earlier would go to the queue of complaints.
        let queue = consumer.split_partition_queue(&topic, 0);
        let queue = queue.ok_or_else(|| Error::NoTopic { topic: topic.clone() })?;
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&topic, 0, Offset::Offset(from.max(low)));
        added.and_then(|()| consumer.assign(&list)).map_err(|error| Error::of(&error, &topic))?;
        Ok(RequestReader { consumer, queue, watcher, topic })
    }

    /// The next row that is wanted, and the offset to go on from once it has been taken; no row where the record is none of a
    /// request. Cancel-safe. Waits for ever while nobody asks.
    pub async fn next(&mut self) -> Result<(Option<Wanted>, i64), Failure> {
        let reading = |failure: Failure| failure.while_doing("read the requests topic in Kafka");
        loop {
            let message = tokio::select! {
                // 1. What the client complains of. 2. What it brings.
                biased;
                trouble = self.consumer.recv() => trouble,
                message = self.queue.recv() => message,
            };
            let message = match message {
                Ok(message) => message,
                Err(error) => match judge(&error, &self.topic, &self.watcher) {
                    Trouble::Passes => continue,
                    Trouble::Stays(error) => return Err(reading(error.into())),
                },
            };
            // Anybody may write there, and what is no request would be met at every start.
            let request = Request::from_json(message.payload().unwrap_or_default());
            return Ok((request.ok().map(|request| request.row), message.offset() + 1));
        }
    }
}
