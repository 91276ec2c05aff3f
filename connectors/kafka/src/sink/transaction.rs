//! One transaction of Kafka: everything that one call puts into the log, or nothing of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use crate::client::Watcher;
use crate::codec::{DataRecord, Records};
use crate::error::Error;

/// How long the client may take no further record, or a commit may take, before everything is tried anew.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pause before a record is offered again to a client whose queue is full, or a call is made again.
const PAUSE: Duration = Duration::from_millis(2);

/// Between two looks whether the brokers have everything.
const GLANCE: Duration = Duration::from_micros(500);

/// After how long a call that takes its time is asked for again, to see whether anybody still wants it.
const SLICE: Duration = Duration::from_secs(1);

/// How long giving up a transaction may take. A later claim does it in any case.
const ABORT_MAX: Duration = Duration::from_secs(10);

/// Headers of a data record.
const HEADERS: usize = 8;

/// A group, ready to be written.
pub(super) struct Sealed {
    /// Its data records.
    pub(super) records: Records,
    /// For each of them the table, by its place among the captured ones, and the partition.
    pub(super) to: Vec<(usize, u32)>,
    /// Every table that it speaks of, by its place.
    pub(super) places: Vec<usize>,
    /// Key and value of its group record.
    pub(super) record: (Vec<u8>, Vec<u8>),
}

/// The names of the topics that are written to.
pub(super) struct Topics {
    /// Of the captured tables, in their order.
    pub(super) tables: Vec<String>,
    pub(super) order: String,
    pub(super) schema: String,
    pub(super) state: String,
}

/// What one transaction writes, in this order.
#[derive(Default)]
pub(super) struct Draft {
    /// Shapes that the groups are the first to need.
    pub(super) schemas: Vec<(Vec<u8>, Vec<u8>)>,
    /// The groups.
    pub(super) groups: Vec<Sealed>,
    /// The bookkeeping that goes with them.
    pub(super) state: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// What writes.
pub(super) struct Pen {
    pub(super) producer: Arc<ThreadedProducer<Watcher>>,
    pub(super) watcher: Watcher,
    pub(super) topics: Topics,
    /// Nobody waits for what is being written any more: a process that ends is not held up by a broker that is away.
    pub(super) abandoned: AtomicBool,
}

impl Pen {
    /// Sends older captures away: what they have not committed is never seen, and they can commit no more. Blocks its thread.
    pub(super) fn fence(&self) -> Result<(), Error> {
        self.patiently(|| self.producer.init_transactions(SLICE), "the transactions of the capture")
    }

    /// Writes and commits, and gives the memory back. Blocks its thread. After a failure nothing more can be written.
    pub(super) fn write(&self, draft: Draft) -> Result<Vec<Records>, Error> {
        let written = self.try_write(&draft);
        if written.is_err() {
            // What is left open would hold up every reader. Where this fails too, the next claim ends it.
            let _ = self.producer.abort_transaction(if self.is_abandoned() { SLICE } else { ABORT_MAX });
        }
        written.map(|()| draft.groups.into_iter().map(|group| group.records).collect())
    }

    fn try_write(&self, draft: &Draft) -> Result<(), Error> {
        let topics = &self.topics;
        self.producer.begin_transaction().map_err(|error| self.judge(&error, &topics.order))?;
        for (key, value) in &draft.schemas {
            self.send((&topics.schema, 0), (Some(key), Some(value)), None)?;
        }
        for group in &draft.groups {
            for (record, (table, partition)) in group.records.iter().zip(&group.to) {
                let topic = topics.tables.get(*table).ok_or_else(unknown_table)?;
                self.send((topic, *partition), (record.key, record.value), Some(&record))?;
            }
            let (key, value) = &group.record;
            self.send((&topics.order, 0), (Some(key), Some(value)), None)?;
        }
        for (key, value) in &draft.state {
            self.send((&topics.state, 0), (Some(key), value.as_deref()), None)?;
        }
        self.deliver();
        self.patiently(|| self.producer.commit_transaction(SLICE), &topics.order)
    }

    /// Waits until the brokers have every record, or until waiting is the commit's own business. A commit that finds some still
    /// under way looks only every 100 ms whether they have arrived.
    fn deliver(&self) {
        let started = Instant::now();
        while self.producer.flush(Duration::ZERO).is_err()
            && self.watcher.undelivered().is_none()
            && !self.is_abandoned()
            && started.elapsed() < SLICE
        {
            std::thread::sleep(GLANCE);
        }
    }

    /// Hands one record to the client. It is never dropped: while the client's queue is full, it is offered again.
    fn send(
        &self,
        (topic, partition): (&str, u32),
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: Option<&DataRecord<'_>>,
    ) -> Result<(), Error> {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition as i32);
        (record.key, record.payload) = (key, value);
        record.headers = headers.map(|record| {
            let headers = OwnedHeaders::new_with_capacity(HEADERS);
            record
                .headers()
                .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
        });
        let started = Instant::now();
        loop {
            let (error, same) = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !is_full
                || self.is_abandoned()
                || self.watcher.undelivered().is_some()
                || started.elapsed() > PATIENCE
            {
                let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
                return Err(match self.judge(&error, topic) {
                    Error::TooLarge { topic, bytes: 0 } => Error::TooLarge { topic, bytes },
                    other => other,
                });
            }
            std::thread::sleep(PAUSE);
            record = same;
        }
    }

    /// Does something that may be tried again for as long as brokers are busy.
    fn patiently(&self, doing: impl Fn() -> Result<(), KafkaError>, subject: &str) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            let error = match doing() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let may_pass = match &error {
                KafkaError::Transaction(error) => error.is_retriable(),
                // Not everything has been delivered yet, because the brokers are away.
                KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut) => {
                    self.watcher.undelivered().is_none()
                }
                _ => false,
            };
            if !may_pass || self.is_abandoned() || started.elapsed() > PATIENCE {
                return Err(self.judge(&error, subject));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// What a failure is due to: the client itself only says that the transaction cannot go on.
    fn judge(&self, error: &KafkaError, subject: &str) -> Error {
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            let judged = Error::of_code(code, subject);
            return match judged {
                Error::Unreachable { .. } => Error::Unreachable { why: reason },
                judged => judged,
            };
        }
        self.watcher.undelivered().unwrap_or_else(|| self.watcher.judge(error, subject))
    }
}

fn unknown_table() -> Error {
    Error::Internal { why: "a record belongs to no captured table".to_owned() }
}
