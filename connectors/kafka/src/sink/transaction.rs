//! One transaction of Kafka: everything that one call puts into the log, or nothing of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use super::connect::transactional_id;
use super::recovery::Captured;
use super::turn;
use crate::client::{RECORD_BYTES_MAX, Watcher};
use crate::codec::Records;
use crate::error::Error;
use crate::owner::Claimant;
use crate::settings::KafkaSettings;

/// How long the client may take no further record, or a commit may take, before everything is tried anew.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pause before a record is offered again to a client whose queue is full, or a call is made again.
const PAUSE: Duration = Duration::from_millis(2);

/// Between two looks whether the brokers have everything.
const GLANCE: Duration = Duration::from_micros(500);

/// Between two looks at who writes.
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// After how long a call that takes its time is asked for again, to see whether anybody still wants it.
const SLICE: Duration = Duration::from_secs(1);

/// How long giving up a transaction may take. A later claim does it in any case.
const ABORT_MAX: Duration = Duration::from_secs(10);

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

/// A record that is written for the sake of its partition: so that what a transaction before has left there is finished with
/// this one.
#[derive(Debug, Clone, Default)]
pub(super) struct Touch {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
}

/// What one transaction writes, in this order.
#[derive(Default)]
pub(super) struct Draft {
    /// Shapes that the groups are the first to need.
    pub(super) schemas: Vec<(Vec<u8>, Vec<u8>)>,
    /// The groups.
    pub(super) groups: Vec<Sealed>,
    /// What is written for the sake of its partition.
    pub(super) touched: Vec<Touch>,
    /// The bookkeeping that goes with them.
    pub(super) state: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// What writes.
pub(super) struct Pen {
    pub(super) settings: KafkaSettings,
    /// As whom we write.
    pub(super) claimant: Claimant,
    pub(super) producer: Arc<ThreadedProducer<Watcher>>,
    pub(super) watcher: Watcher,
    pub(super) topics: Topics,
    /// The tables whose topics these are.
    pub(super) captured: Vec<Captured>,
    /// Nobody waits for what is being written any more: a process that ends is not held up by a broker that is away.
    pub(super) abandoned: AtomicBool,
}

impl Pen {
    /// Sends older captures away: what they have not committed is never seen, and they can commit no more. Blocks its thread.
    pub(super) fn fence(&self) -> Result<(), Error> {
        let fenced =
            self.patiently(|| self.producer.init_transactions(SLICE), "the transactions of the capture");
        fenced.map_err(|error| match self.who_fenced(error) {
            // Nothing else is asked for here.
            Error::NotAllowed { why, .. } => {
                let id = transactional_id(&self.settings.topic_prefix);
                Error::NotAllowed { subject: format!("transactional id {id}"), why }
            }
            other => other,
        })
    }

    /// Writes and commits, and gives the memory back. Blocks its thread. After a failure nothing more can be written.
    pub(super) fn write(&self, draft: Draft) -> Result<Vec<Records>, Error> {
        let written = self.try_write(&draft);
        if written.is_err() {
            // What is left open would hold up every reader. Where this fails too, the next claim ends it.
            let _ = self.producer.abort_transaction(if self.is_abandoned() { SLICE } else { ABORT_MAX });
        }
        match written {
            Ok(()) => Ok(draft.groups.into_iter().map(|group| group.records).collect()),
            Err(error) => Err(self.who_fenced(self.on_any_of(&draft, error))),
        }
    }

    /// Names everything that a transaction was to write to, where the client does not say on what it is not allowed.
    fn on_any_of(&self, draft: &Draft, error: Error) -> Error {
        let Error::NotAllowed { why, .. } = error else { return error };
        if let Some(known) = self.watcher.undelivered() {
            return known;
        }
        let topics = &self.topics;
        let to = draft.groups.iter().flat_map(|group| &group.to);
        let mut names = to.filter_map(|(table, _)| topics.tables.get(*table)).collect::<BTreeSet<_>>();
        names.extend(draft.touched.iter().map(|touch| &touch.topic));
        let own = [
            (&topics.schema, draft.schemas.is_empty()),
            (&topics.order, draft.groups.is_empty()),
            (&topics.state, draft.state.is_empty()),
        ];
        names.extend(own.into_iter().filter(|(_, is_empty)| !is_empty).map(|(topic, _)| topic));
        let names = names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let id = transactional_id(&self.settings.topic_prefix);
        Error::NotAllowed { subject: format!("one of {names}, or transactional id {id}"), why }
    }

    /// Gives a transaction up that has touched these partitions, and with it whatever one before has left there. Blocks its
    /// thread.
    pub(super) fn give_up(&self, touched: &[Touch]) -> Result<(), Error> {
        self.try_give_up(touched).map_err(|error| self.who_fenced(error))
    }

    fn try_give_up(&self, touched: &[Touch]) -> Result<(), Error> {
        let order = &self.topics.order;
        self.producer.begin_transaction().map_err(|error| self.judge(&error, order))?;
        for touch in touched {
            self.touch(touch)?;
        }
        // Partitions are part of a transaction only once they have something of it.
        self.patiently(|| self.producer.flush(SLICE), order)?;
        self.patiently(|| self.producer.abort_transaction(SLICE), order)
    }

    /// Brokers send a capture away for any other that begins, and also where they gave its transaction up because it stood still:
    /// only the books tell whether that was for a newer one.
    fn who_fenced(&self, error: Error) -> Error {
        if error == Error::Superseded { turn::sent_away(self) } else { error }
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
                let headers = owned(record.headers());
                self.send((topic, *partition), (record.key, record.value), Some(headers))?;
            }
            let (key, value) = &group.record;
            self.send((&topics.order, 0), (Some(key), Some(value)), None)?;
        }
        for touch in &draft.touched {
            self.touch(touch)?;
        }
        for (key, value) in &draft.state {
            self.send((&topics.state, 0), (Some(key), value.as_deref()), None)?;
        }
        self.deliver();
        self.patiently(|| self.producer.commit_transaction(SLICE), &topics.order)?;
        self.watcher.content();
        Ok(())
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

    fn touch(&self, touch: &Touch) -> Result<(), Error> {
        let headers = touch.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let record = (touch.key.as_deref(), touch.value.as_deref());
        self.send((&touch.topic, touch.partition), record, Some(owned(headers)))
    }

    /// Hands one record to the client. It is never dropped: while the client's queue is full, it is offered again.
    fn send(
        &self,
        (topic, partition): (&str, u32),
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: Option<OwnedHeaders>,
    ) -> Result<(), Error> {
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if bytes > RECORD_BYTES_MAX {
            // The client would take it for a queue that is full, and no reader could take it in.
            return Err(Error::Oversized { topic: topic.to_owned(), bytes });
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition as i32);
        (record.key, record.payload) = (key, value);
        record.headers = headers;
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

    pub(super) fn is_abandoned(&self) -> bool {
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

fn owned<'n, 'v>(headers: impl ExactSizeIterator<Item = (&'n str, &'v [u8])>) -> OwnedHeaders {
    let none = OwnedHeaders::new_with_capacity(headers.len());
    headers.fold(none, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

fn unknown_table() -> Error {
    Error::Internal { why: "a record belongs to no captured table".to_owned() }
}
