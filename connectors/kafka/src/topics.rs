//! The topics of a migration: made where they are missing, compared where they are there, never changed.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication};
use rdkafka::client::{Client, ClientContext, DefaultClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use understudy_model::TableName;

use crate::client::{ANSWER_MAX, Watcher, admin_options};
use crate::difference::{IN_STEP, safety};
use crate::error::Error;
use crate::names::TopicNames;
use crate::settings::KafkaSettings;

pub(crate) use crate::difference::Difference;

/// The largest record that the topics of tables are made for. Brokers take a megabyte by default, and rows can be larger.
pub(crate) const RECORD_BYTES: u64 = 8 * 1024 * 1024;

/// How large the files of the bookkeeping's topic get: small, since only closed ones are compacted and every start reads
/// what is left.
const STATE_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Pause between looks at whether new topics are there.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// What a topic keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Everything, for some time; `None` for ever.
    Log(Option<Duration>),
    /// The last record of every key.
    Last,
}

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicSpec {
    pub(crate) name: String,
    pub(crate) partitions: usize,
    pub(crate) keeps: Keeps,
    /// Whether it holds rows.
    pub(crate) rows: bool,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) partitions: usize,
    /// Replicas of the partition that has the fewest.
    pub(crate) replicas: usize,
    /// Its settings; `None` where we may not see them.
    pub(crate) config: Option<HashMap<String, String>>,
}

impl Found {
    fn of(topic: &MetadataTopic) -> Found {
        let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
        Found { partitions: topic.partitions().len(), replicas: replicas.unwrap_or(0), config: None }
    }
}

impl TopicSpec {
    /// Every topic of a migration over these tables, each table's in their order, then our own.
    pub(crate) fn all<'a>(
        settings: &KafkaSettings,
        names: &TopicNames,
        tables: impl IntoIterator<Item = &'a TableName>,
    ) -> Vec<TopicSpec> {
        let log = Keeps::Log(settings.retention);
        let partitions = usize::from(settings.partitions);
        let of_table = |table| TopicSpec { name: names.table(table), partitions, keeps: log, rows: true };
        let own = |name, keeps| TopicSpec { name, partitions: 1, keeps, rows: false };
        let mut specs = tables.into_iter().map(of_table).collect::<Vec<_>>();
        specs.push(own(names.order(), log));
        specs.push(own(names.schema(), Keeps::Last));
        specs.push(own(names.state(), Keeps::Last));
        specs.push(own(names.requests(), log));
        specs
    }

    /// The topic by which lanes are shared out.
    pub(crate) fn lanes(settings: &KafkaSettings, names: &TopicNames) -> TopicSpec {
        let partitions = usize::from(settings.partitions);
        TopicSpec { name: names.lanes(), partitions, keeps: Keeps::Log(settings.retention), rows: false }
    }

    /// What it is made with, apart from partitions and replicas.
    fn config(&self, settings: &KafkaSettings) -> Vec<(&'static str, String)> {
        let mut config = match self.keeps {
            Keeps::Log(retention) => vec![
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", retention.map_or("-1".to_owned(), |kept| kept.as_millis().to_string())),
                ("retention.bytes", "-1".to_owned()),
            ],
            Keeps::Last => vec![
                ("cleanup.policy", "compact".to_owned()),
                ("segment.bytes", STATE_SEGMENT_BYTES.to_string()),
            ],
        };
        if self.rows {
            config.push(("max.message.bytes", RECORD_BYTES.to_string()));
        }
        // With three replicas one may be away, and what was written is still in two places.
        if settings.replication_factor.is_some_and(|factor| usize::from(factor) > IN_STEP) {
            config.push(("min.insync.replicas", IN_STEP.to_string()));
        }
        config
    }

    /// The command by which somebody else makes it.
    pub(crate) fn command(&self, settings: &KafkaSettings) -> String {
        let mut command = format!(
            "kafka-topics --bootstrap-server BROKER --create --topic {} --partitions {}",
            self.name, self.partitions
        );
        if let Some(factor) = settings.replication_factor {
            command.push_str(&format!(" --replication-factor {factor}"));
        }
        for (key, value) in self.config(settings) {
            command.push_str(&format!(" --config {key}={value}"));
        }
        command
    }

    /// How a topic that is there differs from this.
    pub(crate) fn compare(&self, settings: &KafkaSettings, found: &Found) -> Vec<Difference> {
        let mut differences = Vec::new();
        let asked = settings.replication_factor.map(usize::from);
        if let Some(expected) = asked.filter(|asked| found.replicas < *asked) {
            differences.push(Difference::Replicas { expected, found: found.replicas });
        }
        if found.partitions != self.partitions {
            differences.push(Difference::Partitions { expected: self.partitions, found: found.partitions });
        }
        let Some(config) = &found.config else {
            differences.push(Difference::Hidden);
            return differences;
        };
        let number = |name: &str| config.get(name).and_then(|value| value.parse::<i64>().ok());
        let policy = config.get("cleanup.policy").map_or("delete", String::as_str);
        let (expected, fits) = match self.keeps {
            Keeps::Log(_) => ("delete", policy == "delete"),
            Keeps::Last => ("compact", policy == "compact"),
        };
        if !fits {
            differences.push(Difference::Policy { expected, found: policy.to_owned() });
        }
        if let Keeps::Log(expected) = self.keeps {
            // A negative number stands for no limit, and what is not shown is taken to have none.
            let kept =
                number("retention.ms").and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
            if let Some(found) = kept
                && expected.is_none_or(|expected| found < expected)
            {
                differences.push(Difference::Retention { expected, found });
            }
            if let Some(found) = number("retention.bytes").and_then(|bytes| u64::try_from(bytes).ok()) {
                differences.push(Difference::RetentionBytes { found });
            }
        }
        differences.extend(safety(config, found.replicas, asked));
        if self.rows
            && let Some(found) = number("max.message.bytes").and_then(|bytes| u64::try_from(bytes).ok())
            && found < RECORD_BYTES
        {
            differences.push(Difference::RecordSize { found });
        }
        differences
    }
}

/// Partitions and replicas of every topic that we may see. Blocks its thread.
pub(crate) fn layout<C: ClientContext>(client: &Client<C>) -> Result<BTreeMap<String, Found>, KafkaError> {
    let metadata = client.fetch_metadata(None, ANSWER_MAX)?;
    let is_there = |error: Option<RDKafkaErrorCode>| match error {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::TopicAuthorizationFailed) => false,
        // It has no leader now, or the like: it must not be taken for missing.
        None | Some(_) => true,
    };
    let topics = metadata.topics().iter().filter(|topic| is_there(topic.error().map(Into::into)));
    Ok(topics.map(|topic| (topic.name().to_owned(), Found::of(topic))).collect())
}

/// Topics as somebody sees them who may not see all.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    pub(crate) there: BTreeMap<String, Found>,
    /// Of these nobody tells us whether they are there.
    pub(crate) hidden: Vec<String>,
}

/// Which of these topics there are. Each that does not show among all is asked for by its name, since brokers leave out what we
/// may not see: only for a client that never makes topics by asking for them. Blocks its thread.
pub(crate) fn see<'a, C: ClientContext>(
    client: &Client<C>,
    wanted: impl Iterator<Item = &'a str>,
    watcher: &Watcher,
) -> Result<Sight, Error> {
    let mut all = layout(client).map_err(|error| watcher.judge(&error, "the cluster"))?;
    watcher.content();
    let mut sight = Sight::default();
    for topic in wanted {
        let found = match all.remove(topic) {
            Some(found) => Some(found),
            None => match look_for(client, topic, watcher) {
                Err(Error::NotAllowed { .. }) => {
                    sight.hidden.push(topic.to_owned());
                    None
                }
                looked => looked?,
            },
        };
        sight.there.extend(found.map(|found| (topic.to_owned(), found)));
    }
    Ok(sight)
}

/// The same for who must see all of them.
pub(crate) fn find<'a, C: ClientContext>(
    client: &Client<C>,
    wanted: impl Iterator<Item = &'a str>,
    watcher: &Watcher,
) -> Result<BTreeMap<String, Found>, Error> {
    let sight = see(client, wanted, watcher)?;
    match sight.hidden.first() {
        Some(topic) => Err(Error::of_code(RDKafkaErrorCode::TopicAuthorizationFailed, topic)),
        None => Ok(sight.there),
    }
}

/// Topics from which on all of the cluster are asked for at once.
const EACH_MAX: usize = 64;

/// The same for a look that comes often, where the cluster may have many more topics: few are asked for by their names alone.
pub(crate) fn find_each<'a, C: ClientContext>(
    client: &Client<C>,
    wanted: impl ExactSizeIterator<Item = &'a str>,
    watcher: &Watcher,
) -> Result<BTreeMap<String, Found>, Error> {
    if wanted.len() > EACH_MAX {
        return find(client, wanted, watcher);
    }
    let mut there = BTreeMap::new();
    for topic in wanted {
        there.extend(look_for(client, topic, watcher)?.map(|found| (topic.to_owned(), found)));
    }
    Ok(there)
}

/// How long it may take until every broker knows a topic, and what it was last told of it.
pub(crate) const KNOWN_MAX: Duration = Duration::from_secs(10);

/// Pause between two looks, each by any broker, whether it does.
const KNOWN_PAUSE: Duration = Duration::from_millis(250);

/// Looks until that shows everything that must be there, or until every broker has had its time to know of it: a broker that has just
/// begun again, or is late, knows nothing of topics that are there. Blocks its thread.
pub(crate) fn known(
    patience: Duration,
    mut look: impl FnMut() -> Result<BTreeMap<String, Found>, Error>,
    is_whole: impl Fn(&BTreeMap<String, Found>) -> bool,
) -> Result<BTreeMap<String, Found>, Error> {
    let began = Instant::now();
    loop {
        let there = look()?;
        if is_whole(&there) || began.elapsed() >= patience {
            return Ok(there);
        }
        std::thread::sleep(KNOWN_PAUSE);
    }
}

/// What it is that a broker knows nothing of these topics. One that was made a moment ago is not known to each yet, and what is told
/// of it then passes. Blocks its thread.
pub(crate) fn doubted<'a, C: ClientContext>(
    error: Error,
    (client, watcher): (&Client<C>, &Watcher),
    topics: impl Iterator<Item = &'a str>,
) -> Error {
    if !matches!(error, Error::NoTopic { .. }) {
        return error;
    }
    let topics = topics.collect::<Vec<_>>();
    let gone =
        |there: &BTreeMap<String, Found>| topics.iter().find(|topic| !there.contains_key(**topic)).copied();
    let look = || find(client, topics.iter().copied(), watcher);
    match known(KNOWN_MAX, look, |there| gone(there).is_none()) {
        Err(other) => other,
        Ok(there) => match gone(&there) {
            Some(gone) => Error::NoTopic { topic: gone.to_owned() },
            None => Error::Unreachable { why: "a broker does not know every topic yet".to_owned() },
        },
    }
}

/// One topic; `None` when it is not there.
fn look_for<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    watcher: &Watcher,
) -> Result<Option<Found>, Error> {
    let judge = |error: KafkaError| watcher.judge(&error, topic);
    let metadata = client.fetch_metadata(Some(topic), ANSWER_MAX).map_err(judge)?;
    watcher.content();
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(None),
        Some(code @ RDKafkaErrorCode::TopicAuthorizationFailed) => Err(Error::of_code(code, topic)),
        None | Some(_) => Ok(Some(Found::of(found))),
    }
}

/// The numbers of the brokers. Blocks its thread.
pub(crate) fn brokers<C: ClientContext>(client: &Client<C>) -> Result<Vec<i32>, KafkaError> {
    Ok(client.fetch_metadata(None, ANSWER_MAX)?.brokers().iter().map(|broker| broker.id()).collect())
}

/// Adds the settings of topics that are there, as far as we may see them.
pub(crate) async fn describe(
    admin: &AdminClient<DefaultClientContext>,
    topics: &mut BTreeMap<String, Found>,
) -> Result<(), KafkaError> {
    let names = topics.keys().cloned().collect::<Vec<_>>();
    let asked = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect::<Vec<_>>();
    if asked.is_empty() {
        return Ok(());
    }
    for resource in admin.describe_configs(&asked, &admin_options()).await?.into_iter().flatten() {
        let OwnedResourceSpecifier::Topic(name) = resource.specifier else { continue };
        if let Some(found) = topics.get_mut(&name) {
            let entries = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
            found.config = Some(entries.collect());
        }
    }
    Ok(())
}

/// How many replicas a topic gets that does not say; `None` where we may not see.
pub(crate) async fn default_replicas(admin: &AdminClient<DefaultClientContext>, broker: i32) -> Option<u16> {
    let asked = [ResourceSpecifier::Broker(broker)];
    let described = admin.describe_configs(&asked, &admin_options()).await.ok()?;
    let entries = described.into_iter().flatten().flat_map(|resource| resource.entries);
    let mut told = entries.filter(|entry| entry.name == "default.replication.factor");
    told.find_map(|entry| entry.value?.parse().ok())
}

/// What creating topics came to: for each that the brokers do not want, why.
pub(crate) type Refused = Vec<(String, RDKafkaErrorCode)>;

/// Makes topics, or only asks whether they could be made. One that is there by now is not refused.
pub(crate) async fn create(
    admin: &AdminClient<DefaultClientContext>,
    settings: &KafkaSettings,
    specs: &[TopicSpec],
    only_ask: bool,
) -> Result<Refused, KafkaError> {
    if specs.is_empty() {
        return Ok(Vec::new());
    }
    let configs = specs.iter().map(|spec| spec.config(settings)).collect::<Vec<_>>();
    let replication = settings.replication_factor.map_or(-1, i32::from);
    let topics = specs.iter().zip(&configs).map(|(spec, config)| {
        let topic = NewTopic::new(&spec.name, spec.partitions as i32, TopicReplication::Fixed(replication));
        config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
    });
    let topics = topics.collect::<Vec<_>>();
    let options = admin_options().validate_only(only_ask);
    let results = admin.create_topics(&topics, &options).await?;
    let refused = results.into_iter().filter_map(Result::err);
    Ok(refused.filter(|(_, code)| *code != RDKafkaErrorCode::TopicAlreadyExists).collect())
}

/// Waits until every one of these topics is seen. Blocks its thread.
pub(crate) fn await_topics<C: ClientContext>(
    client: &Client<C>,
    specs: &[TopicSpec],
) -> Result<BTreeMap<String, Found>, Error> {
    let started = Instant::now();
    loop {
        let there = layout(client).map_err(|error| Error::of(&error, "the cluster"))?;
        let missing = specs.iter().find(|spec| !there.contains_key(&spec.name));
        match missing {
            None => return Ok(there),
            Some(spec) if started.elapsed() > ANSWER_MAX => {
                let why = format!("topic {} has been made and is not there yet", spec.name);
                return Err(Error::Unreachable { why });
            }
            Some(_) => std::thread::sleep(LOOK_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> KafkaSettings {
        KafkaSettings { partitions: 3, ..KafkaSettings::new(vec!["one:9092".to_owned()], "shop") }
    }

    fn specs() -> Vec<TopicSpec> {
        TopicSpec::all(&settings(), &TopicNames::new("shop"), [&TableName::new("public", "orders")])
    }

    /// The topic that a spec would make.
    fn made(spec: &TopicSpec) -> Found {
        let config = spec.config(&settings()).into_iter().map(|(key, value)| (key.to_owned(), value));
        Found { partitions: spec.partitions, replicas: 1, config: Some(config.collect()) }
    }

    /// Guards that topics we made ourselves are never complained of at the next start.
    #[test]
    fn what_we_make_is_as_it_should_be() {
        for spec in specs() {
            assert_eq!(spec.compare(&settings(), &made(&spec)), [], "{}", spec.name);
        }
    }

    /// Guards that a topic which would lose records, or which nobody could write to, is found before anything is written.
    #[test]
    fn differences_are_found() {
        let spec = &specs()[0];
        let with = |key: &str, value: &str| {
            let mut found = made(spec);
            found.config.as_mut().unwrap().insert(key.to_owned(), value.to_owned());
            spec.compare(&settings(), &found)
        };
        let day = Duration::from_secs(86_400);
        assert_eq!(
            with("cleanup.policy", "compact,delete"),
            [Difference::Policy { expected: "delete", found: "compact,delete".to_owned() }]
        );
        assert_eq!(
            with("retention.ms", "86400000"),
            [Difference::Retention { expected: settings().retention, found: day }]
        );
        assert_eq!(with("retention.ms", "-1"), []);
        assert_eq!(with("retention.bytes", "7"), [Difference::RetentionBytes { found: 7 }]);
        assert_eq!(with("min.insync.replicas", "2"), [Difference::InSync { needed: 2, replicas: 1 }]);
        assert_eq!(with("max.message.bytes", "1000"), [Difference::RecordSize { found: 1_000 }]);
        let found = Found { partitions: 1, ..made(spec) };
        assert_eq!(spec.compare(&settings(), &found), [Difference::Partitions { expected: 3, found: 1 }]);
        let state = specs().into_iter().find(|spec| spec.name.ends_with("state")).unwrap();
        let mut deleted = made(&state);
        deleted.config.as_mut().unwrap().insert("cleanup.policy".to_owned(), "delete".to_owned());
        assert!(state.compare(&settings(), &deleted).iter().any(Difference::is_grave));
    }

    /// Guards a migration whose topic one broker does not know, as one that has just begun again or is late: told as gone, with a
    /// person to begin anew, it is only once every broker has had its time.
    #[test]
    fn a_topic_is_gone_only_once_brokers_agree() {
        let found = |topics: &[&str]| {
            let found = Found { partitions: 1, replicas: 1, config: None };
            topics.iter().map(|topic| ((*topic).to_owned(), found.clone())).collect::<BTreeMap<_, _>>()
        };
        let is_whole = |there: &BTreeMap<String, Found>| there.contains_key("shop.public.orders");
        let mut looks = 0;
        let late = || {
            looks += 1;
            Ok(if looks < 3 { found(&[]) } else { found(&["shop.public.orders"]) })
        };
        assert!(is_whole(&known(Duration::from_secs(60), late, is_whole).unwrap()));
        assert_eq!(looks, 3);
        assert_eq!(known(KNOWN_PAUSE, || Ok(found(&["other"])), is_whole), Ok(found(&["other"])));
        let away = Error::Unreachable { why: String::new() };
        assert_eq!(known(Duration::from_secs(60), || Err(away.clone()), is_whole), Err(away.clone()));
    }

    /// Guards that blue's log is not let go of on the word of one broker where several were asked for, nor in silence where
    /// nobody has asked.
    #[test]
    fn writing_counts_on_more_than_one_replica() {
        let spec = &specs()[0];
        let found = |replicas, in_step: &str| {
            let mut found = Found { replicas, ..made(spec) };
            found.config.as_mut().unwrap().insert("min.insync.replicas".to_owned(), in_step.to_owned());
            found
        };
        let asking = |replication_factor| KafkaSettings { replication_factor, ..settings() };
        assert_eq!(spec.compare(&asking(None), &found(3, "2")), []);
        let lone = spec.compare(&asking(None), &found(3, "1"));
        assert_eq!(lone, [Difference::Lone { replicas: 3, asked: false }]);
        assert!(!lone[0].is_grave() && lone[0].remedy("t").contains("min.insync.replicas=2"));
        assert!(spec.compare(&asking(Some(3)), &found(3, "1"))[0].is_grave());
        let few = spec.compare(&asking(Some(3)), &found(1, "1"));
        assert_eq!(few, [Difference::Replicas { expected: 3, found: 1 }]);
        assert!(few[0].is_grave());
        // With two, the other one is kept from becoming the only one by nothing: it is told, and stops nobody.
        let two = spec.compare(&asking(Some(2)), &found(2, "1"));
        assert_eq!(two, [Difference::Lone { replicas: 2, asked: false }]);
        assert!(!two[0].is_grave() && two[0].remedy("t").contains("three replicas"));
    }

    /// Guards that a start, and not only `check`, warns of a topic that may forget what it has taken, and of one of which nobody
    /// can tell.
    #[test]
    fn topics_that_may_forget_are_told_of() {
        let spec = &specs()[0];
        let mut unclean = Found { replicas: 3, ..made(spec) };
        let config = unclean.config.as_mut().unwrap();
        config.insert("min.insync.replicas".to_owned(), "2".to_owned());
        config.insert("unclean.leader.election.enable".to_owned(), "true".to_owned());
        let found = spec.compare(&settings(), &unclean);
        assert_eq!(found, [Difference::Unclean]);
        assert!(found[0].remedy("t").contains("unclean.leader.election.enable=false"));
        let hidden = spec.compare(&settings(), &Found { config: None, ..made(spec) });
        assert_eq!(hidden, [Difference::Hidden]);
        assert!(!found[0].is_grave() && !hidden[0].is_grave());
    }
}
