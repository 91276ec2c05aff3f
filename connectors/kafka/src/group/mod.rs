//! Who applies which lane: the partitions of an empty topic, one for each lane, are shared out among the members of a consumer
//! group. No offset is kept under it: how far a lane is, green knows.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use tokio::sync::mpsc;
use understudy_contract::Failure;

use crate::client::{Watcher, admin, blocking, prober, reader_config};
use crate::error::Error;
use crate::log::trouble::{Trouble, judge};
use crate::names::TopicNames;
use crate::settings::KafkaSettings;
use crate::topics::{TopicSpec, await_topics, create};

/// A member that is not heard of for this long is taken for dead. A process that was killed is missed for no longer.
pub const SESSION_MAX: Duration = Duration::from_secs(8);

/// How long lanes that are given up may take to stop in order. What they have not finished by then comes again elsewhere.
const STOP_MAX: Duration = Duration::from_secs(60);

/// How soon a request to leave is heard.
const POLL: Duration = Duration::from_millis(100);

/// Events that wait to be taken.
const EVENTS_MAX: usize = 16;

/// What the group tells a member.
#[derive(Debug)]
pub enum GroupEvent {
    /// These lanes are its own from now on.
    Assigned(Vec<u32>),
    /// These lanes go to others as soon as it has stopped them, and said so by dropping the value.
    Revoked(Vec<u32>, Stopped),
}

/// Whoever holds it has not stopped the lanes that were revoked.
#[derive(Debug)]
pub struct Stopped {
    _told: SyncSender<()>,
}

/// Membership in the group of those that apply a log together.
pub struct KafkaGroup {
    events: mpsc::Receiver<Result<GroupEvent, Failure>>,
    leaves: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl fmt::Debug for KafkaGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaGroup").finish_non_exhaustive()
    }
}

/// The group of a migration's workers.
fn group_id(settings: &KafkaSettings, migration: &str) -> String {
    format!("understudy-{}-{migration}", settings.topic_prefix)
}

impl KafkaGroup {
    /// Joins the group of a migration. Makes its topic where it is missing.
    pub async fn join(settings: &KafkaSettings, migration: &str) -> Result<KafkaGroup, Failure> {
        let joining = |error: Error| Failure::from(error).while_doing("join the group of workers in Kafka");
        make_topic(settings).await.map_err(joining)?;
        let topic = TopicNames::new(settings.topic_prefix.clone()).lanes();
        let (events, told) = mpsc::channel(EVENTS_MAX);
        let watcher = Watcher::default();
        let member = Member { watcher: watcher.clone(), events: events.clone() };
        let mut config = reader_config(settings, &format!("{}.understudy.apply", settings.topic_prefix));
        config.set("group.id", group_id(settings, migration));
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", SESSION_MAX.as_millis().to_string());
        config.set("heartbeat.interval.ms", "2000");
        // There is nothing to be read.
        config.set("auto.offset.reset", "latest");
        config.set("enable.partition.eof", "false");
        let consumer: BaseConsumer<Member> = config
            .create_with_context(member)
            .map_err(|error| joining(Error::of(&error, "the Kafka client")))?;
        consumer.subscribe(&[&topic]).map_err(|error| joining(Error::of(&error, &topic)))?;
        let leaves = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&leaves);
        let polled = thread::Builder::new().name("kafka-group".to_owned()).spawn(move || {
            poll(&consumer, (&topic, &watcher), &events, &until);
            // Leaves the group, which revokes whatever is left: nobody listens any more.
        });
        let thread = polled.map_err(|error| joining(Error::Internal { why: error.to_string() }))?;
        Ok(KafkaGroup { events: told, leaves, thread: Some(thread) })
    }

    /// The next thing that the group tells. Cancel-safe. Waits for ever while nothing changes.
    pub async fn next(&mut self) -> Result<GroupEvent, Failure> {
        let ended = || Error::Internal { why: "the member of the group has ended".to_owned() };
        self.events.recv().await.unwrap_or_else(|| Err(ended().into()))
    }

    /// Leaves the group, so that others take the lanes over at once. They must have been stopped.
    pub async fn leave(mut self) {
        self.leaves.store(true, Ordering::Relaxed);
        self.events.close();
        if let Some(thread) = self.thread.take() {
            // It only waits for a broker, and not for long.
            let _ =
                tokio::time::timeout(SESSION_MAX, tokio::task::spawn_blocking(move || thread.join())).await;
        }
    }
}

impl Drop for KafkaGroup {
    fn drop(&mut self) {
        self.leaves.store(true, Ordering::Relaxed);
        self.events.close();
    }
}

/// Serves the member until it is to leave. Blocks its thread.
fn poll(
    consumer: &BaseConsumer<Member>,
    (topic, watcher): (&str, &Watcher),
    events: &mpsc::Sender<Result<GroupEvent, Failure>>,
    leaves: &AtomicBool,
) {
    while !leaves.load(Ordering::Relaxed) {
        let Some(Err(error)) = consumer.poll(POLL) else { continue };
        if let Trouble::Stays(error) = judge(&error, topic, watcher) {
            let failure = Failure::from(error).while_doing("take part in the group of workers in Kafka");
            let _ = events.blocking_send(Err(failure));
            return;
        }
    }
}

/// Makes the topic by which lanes are shared out, unless it is there.
async fn make_topic(settings: &KafkaSettings) -> Result<(), Error> {
    let spec = TopicSpec::lanes(settings, &TopicNames::new(settings.topic_prefix.clone()));
    let admin = admin(settings)?;
    let made = create(&admin, settings, std::slice::from_ref(&spec), false).await;
    if let Some((topic, code)) = made.map_err(|error| Error::of(&error, &spec.name))?.into_iter().next() {
        return Err(Error::of_code(code, &topic));
    }
    let (prober, _) = prober(settings)?;
    blocking(move || {
        let there = await_topics(prober.client(), std::slice::from_ref(&spec))?;
        match there.get(&spec.name).map(|found| found.partitions) {
            Some(found) if found != spec.partitions => {
                Err(Error::Partitions { topic: spec.name, expected: spec.partitions, found })
            }
            _ => Ok(()),
        }
    })
    .await
}

/// What hears of the group.
struct Member {
    watcher: Watcher,
    events: mpsc::Sender<Result<GroupEvent, Failure>>,
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watcher.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watcher.error(error, reason);
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _: &BaseConsumer<Member>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(partitions) = rebalance else { return };
        let (told, wait) = sync_channel(1);
        let event = GroupEvent::Revoked(numbers(partitions), Stopped { _told: told });
        if self.events.blocking_send(Ok(event)).is_ok() {
            // It comes back with an error once the other end has been dropped.
            let _ = wait.recv_timeout(STOP_MAX);
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Member>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            let _ = self.events.blocking_send(Ok(GroupEvent::Assigned(numbers(partitions))));
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<u32> {
    let numbers = partitions.elements().into_iter().filter_map(|one| u32::try_from(one.partition()).ok());
    numbers.collect()
}
