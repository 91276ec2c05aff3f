//! Reads Debezium's topics, and looks at blue where they do not tell enough.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use rdkafka::Message;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use understudy_contract::{ChangeLog, Class, Cursor, Failure, LogEvent, Wanted};
use understudy_model::{Checkpoint, Lsn};

use super::blue::{BlueLook, BlueRows, DebeziumAsk, RowsRead};
use super::intake::Intake;
use super::place::Place;
use super::reach::{Found, Reach, TopicConsumer, unless_gone};
use super::{DebeziumLag, DebeziumSettings, DebeziumTable, Progress, fault, kept, offsets, preflight};
use crate::aside::EndAside;
use crate::client::blocking;
use crate::error::Error;
use crate::log::trouble::{Trouble, judge};
use crate::settings::KafkaSettings;
use crate::settled::agreed;

/// Records that are taken before what they say is handed out.
const TURN_MAX: usize = 500;

/// How often it is looked where blue's log and the topics end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Something that must not start anew each time that nobody waits for it any longer.
type Chore<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a look at the topics comes to, and how far the connector had come before it.
type Looked = Result<(Option<Lsn>, Found), Failure>;

/// From where a log is read.
#[derive(Debug, Clone)]
pub struct DebeziumStart {
    /// The place that green remembers.
    pub cursor: Option<Cursor>,
    /// Its checkpoint.
    pub checkpoint: Checkpoint,
    /// Where blue's log ended before its catalog was read.
    pub compiled_at: Lsn,
}

/// The topics of a connector, as a log.
pub struct DebeziumLog {
    settings: KafkaSettings,
    reach: Reach,
    /// The topic in which Connect keeps its offsets, where that is read.
    offsets_topic: Option<String>,
    /// What the slot had confirmed when it was first looked at.
    first_confirmed: Option<Lsn>,
    intake: Intake,
    blue: Arc<dyn BlueRows>,
    asks: mpsc::Receiver<Vec<Wanted>>,
    pace: Interval,
    is_time: bool,
    looking: Option<Chore<Looked>>,
    /// Topics that were new at the last look begin to be fetched.
    fetching: Option<Chore<Result<(), Failure>>>,
    reading: Option<Chore<Result<RowsRead, Failure>>>,
    beating: Option<Chore<Result<(BlueLook, i64), Failure>>>,
    failed: Option<Failure>,
    end: EndAside<TopicConsumer>,
}

impl fmt::Debug for DebeziumLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebeziumLog").field("place", self.intake.place()).finish_non_exhaustive()
    }
}

impl DebeziumLog {
    /// Opens the topics of these tables, behind a place or at their start. Fails as diverged where they no longer hold what
    /// follows the place.
    pub async fn open(
        (settings, debezium): (&KafkaSettings, &DebeziumSettings),
        tables: Vec<DebeziumTable>,
        start: DebeziumStart,
        blue: Arc<dyn BlueRows>,
    ) -> Result<(DebeziumLog, DebeziumAsk), Failure> {
        let opening = |failure: Failure| failure.while_doing("open Debezium's topics");
        preflight::refuse(debezium, &tables)?;
        let place = Place::of(&settings.topic_prefix, start.cursor.as_ref()).map_err(opening)?;
        let offsets_topic = match &debezium.progress {
            Progress::Offsets(topic) => Some(topic.clone()),
            Progress::Slot(_) => None,
        };
        kept::refuse(settings, place.topics.keys().cloned().collect()).await.map_err(opening)?;
        let of = (settings.clone(), offsets_topic.clone());
        let opened = blocking(move || open(&of.0, of.1.as_deref(), place)).await;
        let (reach, place) = opened.map_err(|error| opening(fault::told(error)))?;
        let at = (start.checkpoint.lsn(), start.compiled_at);
        let intake = Intake::new(tables, place, at, debezium.declared);
        let (ask, asks) = mpsc::channel(16);
        let mut pace = tokio::time::interval(LOOK_EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let log = DebeziumLog {
            end: EndAside::new(&reach.consumer),
            settings: settings.clone(),
            reach,
            offsets_topic,
            first_confirmed: None,
            intake,
            blue,
            asks,
            pace,
            is_time: false,
            looking: None,
            fetching: None,
            reading: None,
            beating: None,
            failed: None,
        };
        Ok((log, DebeziumAsk(ask)))
    }

    /// Tells how many records are still to be read.
    pub fn lag(&self) -> DebeziumLag {
        DebeziumLag::new(self.end.look_at(), &self.reach)
    }

    /// Starts what is due.
    fn set_out(&mut self) {
        let wanted = self.intake.wants_ends();
        // What is new at a look has to be fetched before its ends can be reached.
        if self.looking.is_none() && self.fetching.is_none() && std::mem::take(&mut self.is_time) {
            let (reach, topics, place) =
                (self.reach.clone(), self.intake.topics(), self.intake.place().clone());
            let look = blocking(move || reach.look(&topics, &place));
            let settings = self.settings.clone();
            self.looking = Some(Box::pin(async move {
                let found = look.await.map_err(fault::told)?;
                kept::refuse(&settings, found.new.iter().map(|(topic, _)| topic.clone()).collect()).await?;
                Ok((wanted, found))
            }));
            if self.beating.is_none() {
                let look = self.blue.look();
                let sent_us = now_us();
                self.beating = Some(Box::pin(async move { Ok((look.await?, sent_us)) }));
            }
        }
        if self.reading.is_none()
            && let Some((table, keys)) = self.intake.begin_read()
        {
            self.reading = Some(self.blue.read(table, keys));
        }
    }

    /// Waits for the next thing to happen, and takes it. Cancel-safe: nothing is awaited once something has come.
    async fn step(&mut self) -> Result<(), Failure> {
        self.set_out();
        let takes_asks = self.intake.takes_asks();
        tokio::select! {
            biased;
            looked = done(&mut self.looking) => {
                let (upto, found) = looked?;
                self.on_look(upto, found);
                Ok(())
            }
            fetched = done(&mut self.fetching) => fetched,
            beat = done(&mut self.beating) => {
                match beat {
                    Ok((look, sent_us)) => {
                        self.intake.on_beat(look.end, sent_us);
                        if let Some(confirmed) = look.confirmed {
                            let first = *self.first_confirmed.get_or_insert(confirmed);
                            self.intake.on_confirmed(confirmed, first);
                        }
                    }
                    // Blue may be away: green goes on all the same.
                    Err(failure) if failure.class() == Class::Transient => {
                        tracing::debug!(error = %failure, "cannot look where blue's log ends");
                    }
                    Err(failure) => return Err(failure),
                }
                Ok(())
            }
            read = done(&mut self.reading) => {
                let reading = |failure: Failure| failure.while_doing("read rows from blue by key");
                self.intake.on_read(read).map_err(reading)
            }
            Some(rows) = self.asks.recv(), if takes_asks => {
                self.intake.on_asked(rows);
                Ok(())
            }
            message = self.reach.consumer.recv() => {
                take(&mut self.intake, &self.reach, self.offsets_topic.as_deref(), message)?;
                for _ in 1..TURN_MAX {
                    let Some(message) = self.reach.consumer.recv().now_or_never() else { break };
                    take(&mut self.intake, &self.reach, self.offsets_topic.as_deref(), message)?;
                }
                self.intake.end_turn();
                Ok(())
            }
            _ = self.pace.tick() => {
                self.is_time = true;
                self.intake.on_tick();
                Ok(())
            }
        }
    }

    fn on_look(&mut self, upto: Option<Lsn>, found: Found) {
        let Found { new, ends } = found;
        for (topic, starts) in &new {
            self.intake.on_topic(topic.clone(), starts.clone());
        }
        if !new.is_empty() {
            let reach = self.reach.clone();
            let fetch = blocking(move || reach.fetch_tables(&new));
            self.fetching = Some(Box::pin(async move { fetch.await.map_err(fault::told) }));
        }
        if let Some(upto) = upto {
            self.intake.on_ends(upto, ends);
        }
    }
}

/// Blocks its thread.
fn open(
    settings: &KafkaSettings,
    offsets_topic: Option<&str>,
    mut place: Place,
) -> Result<(Reach, Place), Error> {
    let reach = Reach::new(settings)?;
    let topics = place.topics.keys().cloned().collect::<Vec<_>>();
    reach.look(&topics, &place)?;
    let cluster = reach.cluster();
    if let (Some(before), Some(now)) = (&place.cluster, &cluster)
        && before != now
    {
        let why = format!("its place is in the cluster that calls itself {before}, and this is {now}");
        return Err(Error::AnotherLog { why });
    }
    place.cluster = cluster.or(place.cluster);
    agreed(settings.patience, || true, || reach.still_there(&place))?;
    if let Some(topic) = offsets_topic {
        reach.fetch(&[(topic.to_owned(), reach.offsets_topic(topic)?)])?;
    }
    let tables = place.topics.iter().map(|(topic, next)| (topic.clone(), next.clone()));
    reach.fetch_tables(&tables.collect::<Vec<_>>())?;
    Ok((reach, place))
}

/// What a chore comes to; for ever pending where there is none.
async fn done<T>(chore: &mut Option<Chore<T>>) -> T {
    match chore {
        Some(running) => {
            let done = running.await;
            *chore = None;
            done
        }
        None => std::future::pending().await,
    }
}

fn take(
    intake: &mut Intake,
    reach: &Reach,
    offsets_topic: Option<&str>,
    message: Result<BorrowedMessage<'_>, KafkaError>,
) -> Result<(), Failure> {
    let message = match message {
        Ok(message) => message,
        Err(error) => {
            // The client does not tell which of them it complains of.
            return match judge(&error, &format!("{}.*", intake.place().prefix), &reach.watcher) {
                Trouble::Passes => Ok(()),
                // Whether it is so, is seen when the topics are opened once more.
                Trouble::Stays(Error::Expired { topic, why }) => {
                    Err(fault::told(Error::Unreachable { why: format!("topic {topic}: {why}") }))
                }
                Trouble::Stays(error) => Err(fault::told(unless_gone(error))),
            };
        }
    };
    if offsets_topic == Some(message.topic()) {
        if let Some(come) = offsets::read(&intake.place().prefix, message.key(), message.payload()) {
            intake.on_come(come);
        }
        return Ok(());
    }
    reach.watcher.content();
    let at = (message.topic(), message.partition(), message.offset());
    intake.on_record(at, (message.key(), message.payload()))
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

impl ChangeLog for DebeziumLog {
    async fn next(&mut self) -> Result<LogEvent, Failure> {
        loop {
            if let Some(event) = self.intake.pop() {
                return Ok(event);
            }
            if let Some(failure) = self.failed.take() {
                return Err(failure);
            }
            if let Err(failure) = self.step().await {
                // What came before it is whole, and applied first.
                self.intake.end_turn();
                self.failed = Some(failure.while_doing("read Debezium's topics"));
            }
        }
    }

    fn ready(&self) -> bool {
        self.intake.has_event() || self.failed.is_some()
    }
}
