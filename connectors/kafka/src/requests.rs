//! The way back from an apply to its capture: rows that are to be read again, and tables, in a topic of their own.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use understudy_contract::{AskCapture, Failure, Wanted};
use understudy_model::TableName;

use crate::aside::EndAside;
use crate::client::{ANSWER_MAX, Watcher, admin, blocking, prober, reader_config};
use crate::codec::{Asked, Request};
use crate::error::Error;
use crate::log::trouble::{Trouble, judge};
use crate::names::TopicNames;
use crate::settings::KafkaSettings;
use crate::settled::DOUBT_PAUSE;
use crate::topics::{TopicSpec, await_topics, create, find_each};

/// How long a request may take to be written, broker failures included.
const DELIVERY_MAX_MS: &str = "60000";

/// Asks the capture of a migration, on behalf of one green.
pub struct KafkaRequests {
    producer: Arc<FutureProducer<Watcher>>,
    watcher: Watcher,
    topic: String,
    target: String,
    _end: EndAside<FutureProducer<Watcher>>,
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
        let producer = Arc::new(producer.map_err(|error| Error::of(&error, "the Kafka client"))?);
        let topic = TopicNames::new(settings.topic_prefix.clone()).requests();
        let end = EndAside::new(&producer);
        Ok(KafkaRequests { producer, watcher, topic, target: target.to_owned(), _end: end })
    }
}

impl AskCapture for KafkaRequests {
    async fn ask(&mut self, rows: Vec<Wanted>) -> Result<(), Failure> {
        let count = rows.len();
        self.send(rows.into_iter().map(Asked::Row).collect()).await.inspect_err(|failure| {
            tracing::warn!(rows = count, error = %failure, "the capture cannot be asked for rows now");
        })
    }
}

impl KafkaRequests {
    /// Asks for tables to be copied into the log anew, unless a copy of theirs begins behind this group: there the log is read on.
    /// Once this returns, the request lies there until the capture has heeded it, or the topic is lost: it is made once.
    pub async fn ask_copies(&mut self, tables: Vec<TableName>, since: Option<u64>) -> Result<(), Failure> {
        self.send(tables.into_iter().map(|table| Asked::Table { table, since }).collect()).await
    }

    async fn send(&mut self, asked: Vec<Asked>) -> Result<(), Failure> {
        let asking = |error: Error| Failure::from(error).while_doing("ask the capture to read rows again");
        for asked in asked.chunks(AT_ONCE) {
            let sent = asked.iter().map(|asked| async {
                let request = Request { target: self.target.clone(), asked: asked.clone() }.to_json();
                let record = FutureRecord::<(), [u8]>::to(&self.topic).partition(0).payload(&request);
                let written = self.producer.send(record, ANSWER_MAX).await;
                written.map_err(|(error, _)| asking(lost(self.watcher.judge(&error, &self.topic))))
            });
            try_join_all(sent).await?;
            self.watcher.content();
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
    begins_at: i64,
    _end: EndAside<StreamConsumer<Watcher>>,
}

impl fmt::Debug for RequestReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestReader").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl RequestReader {
    /// Reads from an offset on, or from the first request that is still there. An apply asks for rows again by itself, so that
    /// none is lost by what was deleted after its time, nor with the whole topic, which is made anew. For copies it asks once.
    pub async fn open(settings: &KafkaSettings, from: i64) -> Result<RequestReader, Failure> {
        let opening = |error: Error| Failure::from(error).while_doing("open the requests topic in Kafka");
        let (mut is_new, began) = (see_to_topic(settings).await.map_err(opening)?, Instant::now());
        loop {
            let to = settings.clone();
            let opened = blocking(move || RequestReader::open_here(&to, from, is_new));
            if let Some(reader) = opened.await.map_err(|error| opening(lost(error)))? {
                return Ok(reader);
            }
            // A broker that has just begun to lead it may not know all of it yet; by what was heeded long ago, tables would be
            // copied once more.
            is_new = began.elapsed() > settings.patience;
            tokio::time::sleep(DOUBT_PAUSE).await;
        }
    }

    /// The offset from which it reads: before the one that was asked for where the topic was made anew.
    pub const fn begins_at(&self) -> i64 {
        self.begins_at
    }

    /// `None` where the topic ends before `from`, unless it is known to have been made anew.
    fn open_here(settings: &KafkaSettings, from: i64, is_new: bool) -> Result<Option<RequestReader>, Error> {
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
        watcher.content();
        if from > high && !is_new {
            return Ok(None);
        }
        let begins_at = begin(&topic, from, (low, high));
        // Before anything is fetched: what comes earlier would go to the queue of complaints.
        let queue = consumer.split_partition_queue(&topic, 0);
        let queue = queue.ok_or_else(|| Error::NoTopic { topic: topic.clone() })?;
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&topic, 0, Offset::Offset(begins_at));
        added.and_then(|()| consumer.assign(&list)).map_err(|error| Error::of(&error, &topic))?;
        let end = EndAside::new(&consumer);
        Ok(Some(RequestReader { consumer, queue, watcher, topic, begins_at, _end: end }))
    }

    /// What is wanted next, and the offset to go on from once it has been taken; nothing where the record is none of a request.
    /// Cancel-safe. Waits for ever while nobody asks.
    pub async fn next(&mut self) -> Result<(Option<Asked>, i64), Failure> {
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
                    Trouble::Stays(error) => return Err(reading(lost(error).into())),
                },
            };
            // Anybody may write there, and what is no request would be met at every start.
            let request = Request::from_json(message.payload().unwrap_or_default());
            if let Ok(Request { target, asked: Asked::Table { table, .. } }) = &request {
                // Every green of the log takes it, and their gates are held meanwhile.
                tracing::info!(%table, by = target, "an apply asks for a new copy");
            }
            return Ok((request.ok().map(|request| request.asked), message.offset() + 1));
        }
    }
}

/// Where to begin in a topic that holds what is between these two offsets.
fn begin(topic: &str, from: i64, (low, high): (i64, i64)) -> i64 {
    if from > high {
        tracing::warn!(
            topic,
            from,
            high,
            "the requests topic was made anew: applies ask again for rows; a table that still waits for its copy needs --recopy"
        );
        return low;
    }
    if from < low {
        tracing::warn!(topic, from, low, "requests that nobody read in time are gone");
    }
    from.max(low)
}

/// What is lost there is lost for nobody: it is opened once more, and made where it is missing.
fn lost(error: Error) -> Error {
    match error {
        Error::Expired { .. } | Error::NoTopic { .. } => Error::Unreachable { why: error.to_string() },
        other => other,
    }
}

/// Makes the topic where it is missing. Whether it was.
async fn see_to_topic(settings: &KafkaSettings) -> Result<bool, Error> {
    let names = TopicNames::new(settings.topic_prefix.clone());
    let spec = TopicSpec::all(settings, &names, []).into_iter().find(|spec| spec.name == names.requests());
    let Some(spec) = spec else { return Ok(false) };
    let (prober, watcher) = prober(settings)?;
    let (looking, judge, name) = (prober.clone(), watcher.clone(), spec.name.clone());
    let there = blocking(move || find_each(looking.client(), std::iter::once(name.as_str()), &judge)).await?;
    if !there.is_empty() {
        return Ok(false);
    }
    tracing::warn!(topic = spec.name, "the requests topic is gone: it is made anew");
    let made = create(&admin(settings)?, settings, std::slice::from_ref(&spec), false).await;
    if let Some((topic, code)) = made.map_err(|error| watcher.judge(&error, &spec.name))?.into_iter().next() {
        return Err(Error::of_code(code, &topic));
    }
    blocking(move || await_topics(prober.client(), std::slice::from_ref(&spec))).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use understudy_contract::Class;

    use super::*;

    /// Guards a migration whose requests topic is lost, which holds nothing that anybody needs: the capture goes on with a new one.
    #[test]
    fn a_lost_topic_costs_nothing() {
        assert_eq!(begin("r", 7, (3, 9)), 7);
        assert_eq!(begin("r", 9, (3, 9)), 9);
        assert_eq!(begin("r", 2, (3, 9)), 3);
        assert_eq!(begin("r", 700, (0, 9)), 0, "made anew");
        let gone = Error::NoTopic { topic: "r".to_owned() };
        let expired = Error::Expired { topic: "r".to_owned(), why: String::new() };
        let not_allowed = Error::NotAllowed { subject: "r".to_owned(), why: String::new() };
        let class = |error: Error| Failure::from(lost(error)).class();
        assert_eq!([gone, expired].map(class), [Class::Transient; 2]);
        assert_eq!(class(not_allowed), Class::Configuration);
    }
}
