//! The log as an apply reads it: the order topic tells what each group holds, and the topics of the tables hold it.

mod assembler;
mod cursor;
mod emit;
mod lag;
mod lane;
mod lanes;
mod names;
mod shapes;
mod stall;
mod start;
pub(crate) mod trouble;
mod whole;

#[cfg(test)]
mod tests;

pub(crate) use cursor::{Place, digest};
pub use lag::{LagProbe, PartitionLag};
pub use lane::{Fences, Lane};
pub use lanes::{LaneLog, LanePlaces};
pub use names::{Named, NamesLog, NamesPlace};
pub use start::may_go_on;

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, TopicPartitionList};
use understudy_contract::{ChangeLog, Cursor, Failure, LogEvent};
use understudy_model::TableName;

use crate::aside::EndAside;
use crate::client::blocking;
use crate::codec::SchemaRecord;
use crate::error::Error;
use crate::names::TopicNames;
use crate::settings::KafkaSettings;
use crate::settled::{DOUBT_PAUSE, Doubt, Surveyor};
use assembler::{Assembler, At, Wants};
use lane::Share;
use stall::Awaited;
use start::{LogClient, LogConsumer, Partitions, Queue, Queues, Started};
use trouble::{Trouble, judge};

/// Something that takes several steps and must not start anew each time that nobody waits for it any longer.
type Chore<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a chore has brought.
enum Brought {
    /// The shapes that the schema topic holds.
    Shapes(Vec<SchemaRecord>),
    /// The queues of a table's topic.
    Table(TableName, Queues),
    /// Partitions of other lanes were given up.
    Nothing,
    /// Queues of partitions of other lanes.
    Partitions(Vec<(TableName, u32, Queue)>),
}

/// The log of a migration, read from Kafka.
pub struct KafkaLog {
    settings: KafkaSettings,
    client: LogClient,
    order: Queue,
    tables: HashMap<TableName, Queues>,
    which: Partitions,
    assembler: Assembler,
    chore: Option<Chore<Result<Brought, Failure>>>,
    /// Records that do not come, and who looks for them.
    missing: Option<Chore<Error>>,
    /// What went wrong while somebody took an event that was at hand.
    failed: Option<Failure>,
    end: EndAside<LogConsumer>,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").field("place", self.assembler.place()).finish_non_exhaustive()
    }
}

fn opening(failure: Failure) -> Failure {
    failure.while_doing("open the log in Kafka")
}

/// As whom a reader of the log shows itself.
fn client_id(settings: &KafkaSettings) -> String {
    format!("{}.understudy.apply", settings.topic_prefix)
}

impl KafkaLog {
    /// Opens the log of the migration with these tables, behind a place or at its start. Fails as transient while the capture
    /// has not made its topics, and as diverged where the log no longer holds what follows the place.
    pub async fn open(
        settings: &KafkaSettings,
        tables: &[TableName],
        from: Option<Cursor>,
    ) -> Result<KafkaLog, Failure> {
        let which = Partitions { lane: None };
        let place = start::place_of(settings, from.as_ref(), None).map_err(opening)?;
        KafkaLog::open_share(settings, tables, (place, which), Share::All).await
    }

    async fn open_share(
        settings: &KafkaSettings,
        tables: &[TableName],
        (place, which): (Option<Place>, Partitions),
        share: Share,
    ) -> Result<KafkaLog, Failure> {
        let (settings, tables) = (settings.clone(), tables.to_vec());
        let mut doubt = Doubt::new(settings.patience);
        let started = loop {
            let (settings, tables, place) = (settings.clone(), tables.clone(), place.clone());
            match blocking(move || start::start(&settings, &tables, (place, which))).await {
                Ok(started) => break started,
                Err(error) => match doubt.stays(error) {
                    Some(error) => return Err(opening(error.into())),
                    None => tokio::time::sleep(DOUBT_PAUSE).await,
                },
            }
        };
        let Started { client, order, tables, mut place } = started;
        place.lane = which.lane.map(|lane| (lane.number, lane.of));
        // It was the place before a group; what is told from here on is the end of one.
        place.fence = None;
        let shapes = whole::read_shapes(&settings).await.map_err(opening)?;
        let mut assembler = Assembler::new(TopicNames::new(settings.topic_prefix.clone()), place).of(share);
        assembler = assembler.starting(Arc::clone(&client.starts));
        assembler.learn(shapes)?;
        Ok(KafkaLog {
            end: EndAside::new(&client.consumer),
            settings,
            client,
            order,
            tables,
            which,
            assembler,
            chore: None,
            missing: None,
            failed: None,
        })
    }

    /// Tells how far behind this log is read, for as long as it is open.
    pub fn lag(&self) -> LagProbe {
        LagProbe::new(self.end.look_at(), &self.client, &self.settings)
    }

    /// Reads on. Cancel-safe: everything that is taken from a queue is put in its place before anything is waited for.
    async fn read(&mut self) -> Result<(), Failure> {
        if let Some(chore) = &mut self.chore {
            let brought = chore.await;
            self.chore = None;
            self.take(brought?)?;
        }
        match self.assembler.wants() {
            Wants::Group => {
                let topic = TopicNames::new(self.settings.topic_prefix.clone()).order();
                let message = tokio::select! {
                    // 1. What the client complains of. 2. What it brings.
                    biased;
                    trouble = trouble(&self.client, &topic) => Err(trouble),
                    message = received(&self.order, &self.client, &topic) => message,
                };
                match message {
                    Ok(message) => self.assembler.on_group(message.offset(), message.payload()),
                    Err(error) => {
                        self.chore = Some(self.complaint(error)?);
                        Ok(())
                    }
                }
            }
            Wants::Shape { table, version } => {
                tracing::debug!(%table, version, "a new shape is in the log");
                self.chore = Some(Box::pin(learn(self.settings.clone(), table.clone(), version)));
                Ok(())
            }
            Wants::Record(next) => match self.tables.get(next.table) {
                Some(queues) if queues.get(next.partition as usize).is_some_and(Option::is_none) => {
                    self.start_partitions();
                    Ok(())
                }
                Some(_) => self.read_records().await,
                None => {
                    let (table, topic) = (next.table.clone(), next.topic.to_string());
                    let (client, place) = (self.client.clone(), self.assembler.place().clone());
                    let which = self.which;
                    self.chore = Some(Box::pin(async move {
                        let started = move || start::start_table(&client, &topic, (&place, which));
                        let queues = blocking(started).await?;
                        Ok(Brought::Table(table, queues))
                    }));
                    Ok(())
                }
            },
        }
    }

    /// Takes what a chore has brought.
    fn take(&mut self, brought: Brought) -> Result<(), Failure> {
        match brought {
            Brought::Shapes(shapes) => self.assembler.learn(shapes)?,
            Brought::Nothing => {}
            Brought::Partitions(started) => {
                for (table, partition, queue) in started {
                    let queues = self.tables.get_mut(&table);
                    if let Some(at) = queues.and_then(|queues| queues.get_mut(partition as usize)) {
                        *at = Some(queue);
                    }
                }
            }
            Brought::Table(table, queues) => {
                self.assembler.on_table(&table, queues.len());
                self.tables.insert(table, queues);
            }
        }
        Ok(())
    }

    /// Begins to read the partitions of other lanes that the group counts.
    fn start_partitions(&mut self) {
        let (client, place) = (self.client.clone(), self.assembler.place().clone());
        let is_missing = |table: &TableName, partition: u32| {
            let queues = self.tables.get(table);
            queues.and_then(|queues| queues.get(partition as usize)).is_some_and(Option::is_none)
        };
        let mut wanted = self.assembler.wanted();
        wanted.retain(|(table, _, partition)| is_missing(table, *partition));
        self.chore = Some(Box::pin(async move {
            let started = blocking(move || start::start_partitions(&client, wanted, &place)).await?;
            Ok(Brought::Partitions(started))
        }));
    }

    /// Reads on as one lane among others: partitions of those are given up.
    fn narrow(&mut self) {
        self.assembler.narrow();
        let names = TopicNames::new(self.settings.topic_prefix.clone());
        let mut given_up = TopicPartitionList::new();
        for (table, queues) in &mut self.tables {
            let others = queues.iter_mut().enumerate().filter(|(at, _)| !self.which.reads(*at as i32));
            for (partition, queue) in others {
                if queue.take().is_some() {
                    given_up.add_partition(&names.table(table), partition as i32);
                }
            }
        }
        if given_up.count() == 0 {
            return;
        }
        let consumer = Arc::clone(&self.client.consumer);
        self.chore = Some(Box::pin(async move {
            // The client answers once its own thread has taken it.
            let done = blocking(move || {
                let done = consumer.incremental_unassign(&given_up);
                done.map_err(|error| Error::of(&error, "the partitions of other lanes"))
            });
            done.await?;
            Ok(Brought::Nothing)
        }));
    }

    /// Reads the records that are counted of one partition, as far as they are at hand, and waits if none is.
    async fn read_records(&mut self) -> Result<(), Failure> {
        let Wants::Record(next) = self.assembler.wants() else { return Ok(()) };
        let (topic, partition, left) = (next.topic.clone(), next.partition, next.left);
        let awaited = Awaited::of(next);
        let queue = self.tables.get(next.table).and_then(|queues| queues.get(partition as usize)?.as_ref());
        let Some(queue) = queue else {
            let why = format!("a group counts records of partition {partition}, which there is not");
            return Err(Error::Torn { topic: topic.to_string(), why }.into());
        };
        let mut stream = queue.stream();
        for _ in 0..left {
            let message = match stream.next().now_or_never() {
                Some(message) => message,
                None => {
                    let missing = self.missing.get_or_insert_with(|| {
                        Box::pin(stall::missing(self.settings.clone(), awaited.clone()))
                    });
                    let waited = tokio::select! {
                        // 1. What comes. 2. What the client complains of. 3. That nothing will come.
                        biased;
                        message = stream.next() => message,
                        trouble = trouble(&self.client, &topic) => {
                            self.chore = Some(self.complaint(trouble)?);
                            return Ok(());
                        }
                        error = missing => return Err(error.into()),
                    };
                    waited
                }
            };
            let Some(message) = message else { return Ok(()) };
            let message = match taken(message, &self.client, &topic) {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.chore = Some(self.complaint(error)?);
                    return Ok(());
                }
            };
            self.missing = None;
            let at = At { topic: &topic, partition, offset: message.offset() };
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            let headers = headers.map(|header| (header.key, header.value));
            self.assembler.on_record(at, headers, (message.key(), message.payload()))?;
        }
        Ok(())
    }

    /// What the client complains of ends the log: at once, or where it does not know a topic or a place in it, as soon as other
    /// brokers have been asked.
    fn complaint(&self, error: Error) -> Result<Chore<Result<Brought, Failure>>, Failure> {
        let client = self.client.clone();
        match error {
            Error::NoTopic { ref topic } => {
                let topic = topic.clone();
                let doubted = blocking(move || Err(client.doubted(error, &topic)));
                Ok(Box::pin(async move { doubted.await.map_err(Failure::from) }))
            }
            Error::Expired { .. } => {
                let names = TopicNames::new(self.settings.topic_prefix.clone());
                let of_table =
                    |(table, queues): (&TableName, &start::Queues)| (names.table(table), queues.len());
                let mut topics = self.tables.iter().map(of_table).collect::<Vec<_>>();
                topics.push((names.order(), 1));
                let (place, doubt) = (self.assembler.place().clone(), Doubt::new(self.settings.patience));
                Ok(Box::pin(async move { Err(unknown_offset(client, (topics, place), doubt).await) }))
            }
            other => Err(other.into()),
        }
    }

    /// Puts the next group together as far as that takes no waiting.
    fn read_ahead(&mut self) {
        let waits = |log: &KafkaLog| log.assembler.is_stopped() || log.assembler.is_over();
        while self.failed.is_none() && !self.assembler.has_event() && !waits(self) {
            match self.read().now_or_never() {
                Some(Ok(())) => {}
                Some(Err(failure)) => self.failed = Some(failure),
                None => return,
            }
        }
    }
}

impl ChangeLog for KafkaLog {
    async fn next(&mut self) -> Result<LogEvent, Failure> {
        loop {
            if let Some(event) = self.assembler.pop() {
                self.read_ahead();
                return Ok(event);
            }
            if let Some(failure) = self.failed.take() {
                return Err(failure.while_doing("read the log in Kafka"));
            }
            if self.assembler.is_stopped() {
                return std::future::pending().await;
            }
            self.read().await.map_err(|failure| failure.while_doing("read the log in Kafka"))?;
        }
    }

    fn ready(&self) -> bool {
        self.assembler.has_event() || self.failed.is_some()
    }
}

/// The next record of a queue.
async fn received<'a>(
    queue: &'a Queue,
    client: &LogClient,
    topic: &str,
) -> Result<BorrowedMessage<'a>, Error> {
    loop {
        if let Some(message) = taken(queue.recv().await, client, topic)? {
            client.watcher.content();
            return Ok(message);
        }
    }
}

/// What came, unless it is a complaint that passes.
fn taken<'a>(
    message: Result<BorrowedMessage<'a>, KafkaError>,
    client: &LogClient,
    topic: &str,
) -> Result<Option<BorrowedMessage<'a>>, Error> {
    match message {
        Ok(message) => Ok(Some(message)),
        Err(error) => match judge(&error, topic, &client.watcher) {
            Trouble::Passes => Ok(None),
            Trouble::Stays(error) => Err(error),
        },
    }
}

/// Waits for a complaint that does not pass.
async fn trouble(client: &LogClient, topic: &str) -> Error {
    loop {
        match client.consumer.recv().await {
            Ok(message) => {
                let why = format!("a record of topic {} came by a way of its own", message.topic());
                return Error::Internal { why };
            }
            Err(error) => {
                if let Trouble::Stays(error) = judge(&error, topic, &client.watcher) {
                    return error;
                }
            }
        }
    }
}

/// What it is that a broker does not know an offset of these topics to go on from. Where the others say that it is there, or that
/// nothing but what comes after it is, the log has to be opened once more, which then tells whether anything is lost.
async fn unknown_offset(
    client: LogClient,
    (topics, place): (Vec<(String, usize)>, Place),
    mut doubt: Doubt,
) -> Failure {
    loop {
        let (client, topics, place) = (client.clone(), topics.clone(), place.clone());
        match blocking(move || start::starts(&client, &topics, &place)).await {
            Ok(_) => {
                let why = "a broker does not know the record to go on from".to_owned();
                return Error::Unreachable { why }.into();
            }
            Err(error) => match doubt.stays(error) {
                Some(error) => return error.into(),
                None => tokio::time::sleep(DOUBT_PAUSE).await,
            },
        }
    }
}

/// Reads the schema topic until it holds a shape. It is written together with the group that needs it, so that it is there,
/// or about to be seen.
async fn learn(settings: KafkaSettings, table: TableName, version: u32) -> Result<Brought, Failure> {
    for _ in 0..LOOKS_MAX {
        let shapes = whole::read_shapes(&settings).await?;
        if shapes.iter().any(|shape| shape.table == table && shape.version == version) {
            return Ok(Brought::Shapes(shapes));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let topic = TopicNames::new(settings.topic_prefix.clone()).schema();
    let topics = [(topic.clone(), 1)].into();
    let extents = blocking(move || Surveyor::new(&settings)?.look(&topics)).await?;
    if extents.of(&topic, 0).is_some_and(|extent| extent.hangs()) {
        return Err(Error::Unfinished { topic }.into());
    }
    let why = format!("it lacks version {version} of the shape of {table}, in which rows are written");
    Err(Error::Torn { topic, why }.into())
}

/// How often the schema topic is read for a shape, at least.
const LOOKS_MAX: u32 = 100;

/// The pause between two looks.
const LOOK_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);
