//! Who applies which lane: the partitions of an empty topic, one for each lane, are shared out among the members of a consumer
//! group. No offset is kept under it: how far a lane is, green knows.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;
use tokio::sync::mpsc;
use understudy_contract::Failure;

use crate::client::{Watcher, admin, blocking, prober, reader_config};
use crate::error::Error;
use crate::log::trouble::{Trouble, judge};
use crate::names::TopicNames;
use crate::settings::KafkaSettings;
use crate::topics::{KNOWN_MAX, TopicSpec, await_topics, create, find, find_each};

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
        let group = group_id(settings, migration);
        config.set("group.id", &group);
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", SESSION_MAX.as_millis().to_string());
        config.set("heartbeat.interval.ms", "2000");
        // By default a topic that a broker did not know yet is asked for again after minutes.
        config.set("topic.metadata.refresh.interval.ms", "1000");
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
            poll(&consumer, (&topic, &group, &watcher), &events, &until);
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
        self.close();
        if let Some(thread) = self.thread.take() {
            // It only waits for a broker, and not for long.
            let _ =
                tokio::time::timeout(SESSION_MAX, tokio::task::spawn_blocking(move || thread.join())).await;
        }
    }

    /// Nobody listens any more. What waits to be heard is dropped, since the member waits for whoever would have stopped lanes.
    fn close(&mut self) {
        self.leaves.store(true, Ordering::Relaxed);
        self.events.close();
        while self.events.try_recv().is_ok() {}
    }
}

impl Drop for KafkaGroup {
    fn drop(&mut self) {
        self.close();
    }
}

/// Serves the member until it is to leave. Blocks its thread.
fn poll(
    consumer: &BaseConsumer<Member>,
    (topic, group, watcher): (&str, &str, &Watcher),
    events: &mpsc::Sender<Result<GroupEvent, Failure>>,
    leaves: &AtomicBool,
) {
    let mut missed: Option<Instant> = None;
    while !leaves.load(Ordering::Relaxed) {
        let trouble = match consumer.poll(POLL) {
            Some(Err(error)) => judge_member(&error, (topic, group), watcher),
            Some(Ok(_)) | None => Trouble::Passes,
        };
        let stays = match trouble {
            // One that has just been made is not known to every broker yet.
            Trouble::Stays(Error::NoTopic { .. }) => {
                missed.get_or_insert_with(Instant::now);
                continue;
            }
            Trouble::Stays(error) => Some(error),
            Trouble::Passes if missed.is_some_and(|missed| missed.elapsed() > KNOWN_MAX) => {
                missed = None;
                let there = find(consumer.client(), std::iter::once(topic), watcher);
                let is_gone = there.is_ok_and(|there| !there.contains_key(topic));
                is_gone.then(|| Error::NoTopic { topic: topic.to_owned() })
            }
            Trouble::Passes => None,
        };
        if let Some(error) = stays {
            let failure = Failure::from(error).while_doing("take part in the group of workers in Kafka");
            let _ = events.blocking_send(Err(failure));
            return;
        }
    }
}

/// What an error means for a member, which asks for nothing but the group: what keeps it out would pass for a member that has no
/// lanes to do.
fn judge_member(error: &KafkaError, (topic, group): (&str, &str), watcher: &Watcher) -> Trouble {
    use RDKafkaErrorCode as Code;
    let subject = format!("group {group}");
    match error.rdkafka_error_code() {
        Some(code @ Code::GroupAuthorizationFailed) => Trouble::Stays(Error::of_code(code, &subject)),
        Some(code @ Code::InvalidSessionTimeout) => {
            let why = format!(
                "{code}: members are missed after {} seconds, which the brokers' group.min.session.timeout.ms and \
                 group.max.session.timeout.ms must allow",
                SESSION_MAX.as_secs()
            );
            Trouble::Stays(Error::Settings { subject, why })
        }
        Some(code @ Code::InconsistentGroupProtocol) => {
            let why = format!("{code}: somebody else is a member of it");
            Trouble::Stays(Error::Settings { subject, why })
        }
        Some(code @ (Code::InvalidGroupId | Code::GroupMaxSizeReached)) => {
            Trouble::Stays(Error::Settings { subject, why: code.to_string() })
        }
        _ => judge(error, topic, watcher),
    }
}

/// Makes the topic by which lanes are shared out, unless it is there: who may not make topics can be given it.
async fn make_topic(settings: &KafkaSettings) -> Result<(), Error> {
    let spec = TopicSpec::lanes(settings, &TopicNames::new(settings.topic_prefix.clone()));
    let (prober, watcher) = prober(settings)?;
    let (looking, judge, name) = (prober.clone(), watcher.clone(), spec.name.clone());
    let find = move || find_each(looking.client(), std::iter::once(name.as_str()), &judge);
    let there = blocking(find).await?;
    if there.is_empty() {
        let made = create(&admin(settings)?, settings, std::slice::from_ref(&spec), false).await;
        let made = made.map_err(|error| watcher.judge(&error, &spec.name))?;
        if let Some((topic, code)) = made.into_iter().next() {
            return Err(Error::of_code(code, &topic));
        }
    }
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
        self.watcher.content();
        if let Rebalance::Assign(partitions) = rebalance {
            let _ = self.events.blocking_send(Ok(GroupEvent::Assigned(numbers(partitions))));
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<u32> {
    let numbers = partitions.elements().into_iter().filter_map(|one| u32::try_from(one.partition()).ok());
    numbers.collect()
}

#[cfg(test)]
mod tests {
    use understudy_contract::Class;

    use super::*;

    /// Guards a worker that is stopped while lanes are taken from it: nobody hears that any more, and a member that waits to be told
    /// that they are stopped would not leave its group, so that others wait until it is missed.
    #[tokio::test]
    async fn who_leaves_answers_what_was_not_heard() {
        let (events, told) = mpsc::channel(EVENTS_MAX);
        let (sent, is_sent) = sync_channel(1);
        let member = thread::spawn(move || {
            let (told, wait) = sync_channel(1);
            events.blocking_send(Ok(GroupEvent::Revoked(vec![1], Stopped { _told: told }))).unwrap();
            sent.send(()).unwrap();
            let _ = wait.recv_timeout(STOP_MAX);
        });
        let group = KafkaGroup { events: told, leaves: Arc::default(), thread: Some(member) };
        tokio::task::spawn_blocking(move || is_sent.recv()).await.unwrap().unwrap();
        let began = Instant::now();
        group.leave().await;
        assert!(began.elapsed() < SESSION_MAX / 2, "it has not left: {:?}", began.elapsed());
    }

    /// Guards a worker that the brokers keep out of its group: it must not wait for lanes for ever without a word. A broker that
    /// restarts keeps nobody out.
    #[test]
    fn who_is_kept_out_of_the_group_stops() {
        use RDKafkaErrorCode as Code;
        let judged = |code| {
            let error = KafkaError::MessageConsumption(code);
            judge_member(&error, ("shop.understudy.lanes", "understudy-shop-mart"), &Watcher::default())
        };
        for code in [
            Code::GroupAuthorizationFailed,
            Code::InvalidSessionTimeout,
            Code::InconsistentGroupProtocol,
            Code::GroupMaxSizeReached,
        ] {
            let Trouble::Stays(error) = judged(code) else { panic!("{code:?} passes") };
            assert!(error.to_string().contains("group understudy-shop-mart"), "{error}");
            assert_eq!(Failure::from(error).class(), Class::Configuration, "{code:?}");
        }
        for code in [Code::BrokerTransportFailure, Code::NotCoordinator, Code::RebalanceInProgress] {
            assert!(matches!(judged(code), Trouble::Passes), "{code:?}");
        }
    }
}
