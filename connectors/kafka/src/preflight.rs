//! What preflight has to say of Kafka before anything is created: whether it is reached, and whether its topics can be, or are,
//! as a migration needs them. Nothing is made and nobody is sent away.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{Producer, ThreadedProducer};
use understudy_contract::{Failure, Finding, Findings, Severity};
use understudy_model::TableName;

use crate::client::{Watcher, admin, blocking, prober};
use crate::codec::colliding_tables;
use crate::error::{Error, RIGHTS};
use crate::names::TopicNames;
use crate::settings::{Consistency, KafkaSettings};
use crate::topics::{self, Difference, Found, Refused, Sight, TopicSpec};

/// For how long at least topics should keep their records: over a weekend an apply may stand still unseen.
pub const RETENTION_FLOOR: Duration = Duration::from_secs(3 * 24 * 3_600);

/// Looks at Kafka for a migration over these tables. The gravest findings come first.
pub async fn preflight(settings: &KafkaSettings, tables: &[TableName]) -> Vec<Finding> {
    let mut findings = Report::default();
    findings.settings(settings);
    let names = TopicNames::new(&settings.topic_prefix);
    findings.names(&names, tables);
    let mut specs = TopicSpec::all(settings, &names, tables);
    if settings.consistency == Consistency::Key {
        specs.push(TopicSpec::lanes(settings, &names));
    }
    match look(settings, &specs).await {
        Ok(cluster) => findings.cluster(settings, &specs, &cluster),
        Err(error) => findings.unreached(settings, error),
    }
    findings.0.sorted()
}

/// Waits until any of the brokers that are named has answered, for 20 s. Makes nothing.
pub async fn reach(settings: &KafkaSettings) -> Result<(), Failure> {
    let reaching = async {
        let (prober, watcher) = prober(settings)?;
        blocking(move || {
            topics::brokers(prober.client()).map_err(|error| watcher.judge(&error, "the cluster"))
        })
        .await
    };
    let reached: Result<_, Error> = reaching.await;
    reached.map(drop).map_err(|error| Failure::from(error).while_doing("connect to Kafka"))
}

/// What there is, and what could be.
struct Cluster {
    brokers: usize,
    /// Replicas of a topic that does not say how many; `None` where we may not see.
    default_replicas: Option<u16>,
    there: BTreeMap<String, Found>,
    /// Topics that we may not see.
    hidden: Vec<String>,
    /// Missing topics that could not be made.
    refused: Refused,
}

async fn look(settings: &KafkaSettings, specs: &[TopicSpec]) -> Result<Cluster, Error> {
    let (prober, watcher): (ThreadedProducer<Watcher>, Watcher) = prober(settings)?;
    let judge = watcher.clone();
    let wanted = specs.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>();
    let (brokers, Sight { mut there, hidden }) = blocking(move || {
        let brokers = topics::brokers(prober.client());
        let brokers = brokers.map_err(|error| judge.judge(&error, "the cluster"))?;
        Ok((brokers, topics::see(prober.client(), wanted.iter().map(String::as_str), &judge)?))
    })
    .await?;
    let admin = admin(settings)?;
    topics::describe(&admin, &mut there).await.map_err(|error| watcher.judge(&error, "the topics"))?;
    let is_missing = |spec: &&TopicSpec| !there.contains_key(&spec.name) && !hidden.contains(&spec.name);
    let missing = specs.iter().filter(is_missing).cloned().collect::<Vec<_>>();
    let refused = topics::create(&admin, settings, &missing, true).await;
    let refused = refused.map_err(|error| watcher.judge(&error, "the topics"))?;
    let default_replicas = match brokers.first() {
        Some(broker) => topics::default_replicas(&admin, *broker).await,
        None => None,
    };
    Ok(Cluster { brokers: brokers.len(), default_replicas, there, hidden, refused })
}

/// What is found, one look after the other.
#[derive(Default)]
struct Report(Findings);

impl Report {
    /// What the settings alone tell.
    fn settings(&mut self, settings: &KafkaSettings) {
        if settings.retention.is_some_and(|kept| kept < RETENTION_FLOOR) {
            let what = format!(
                "its records are to be kept for less than {} days, and an apply that stands still for longer has to begin \
                 anew",
                RETENTION_FLOOR.as_secs() / 86_400
            );
            let remedy = "raise `retention` under `through.kafka`";
            self.0.add(Severity::Warning, "kafka-retention", "the log in Kafka", what, remedy);
        }
    }

    fn names(&mut self, names: &TopicNames, tables: &[TableName]) {
        let Some((one, other)) = colliding_tables(names, tables) else { return };
        let what = if one == other {
            "it would have a topic that Understudy needs for itself".to_owned()
        } else {
            format!("Kafka takes its topic and that of {other} for one")
        };
        let remedy = "leave one of them out of `tables`, or rename it on blue";
        self.0.add(Severity::Error, "kafka-topic-names", format!("blue table {one}"), what, remedy);
    }

    fn unreached(&mut self, settings: &KafkaSettings, error: Error) {
        let (what, failure) = (error.to_string(), Failure::from(error));
        let remedy =
            failure.remedy_text().unwrap_or("see to the brokers, or mend `brokers` under `through.kafka`");
        let subject = format!("Kafka at {}", settings.brokers.join(","));
        self.0.add(Severity::Error, "kafka-access", subject, what, remedy.to_owned());
    }

    fn cluster(&mut self, settings: &KafkaSettings, specs: &[TopicSpec], cluster: &Cluster) {
        for spec in specs {
            let subject = format!("Kafka topic {}", spec.name);
            if let Some(found) = cluster.there.get(&spec.name) {
                self.topic((settings, &subject), spec, found);
            } else if let Some((_, code)) = cluster.refused.iter().find(|(name, _)| *name == spec.name) {
                self.refused(&subject, &spec.command(settings), *code);
            } else if cluster.hidden.contains(&spec.name) {
                self.refused(&subject, &spec.command(settings), RDKafkaErrorCode::TopicAuthorizationFailed);
            }
        }
        let fewest = cluster.there.values().map(|found| found.replicas).min();
        let is_missing = specs.iter().any(|spec| !cluster.there.contains_key(&spec.name));
        let to_be_made = settings.replication_factor.or(cluster.default_replicas).filter(|_| is_missing);
        let replicas = fewest.into_iter().chain(to_be_made.map(usize::from)).min();
        if replicas == Some(1) || cluster.brokers == 1 {
            let what =
                "there is one replica of it only: with its broker everything is lost that no apply has taken";
            let remedy = "set `replication_factor: 3` under `through.kafka` where there are brokers enough";
            // Who has asked for one knows it.
            let is_asked = settings.replication_factor == Some(1);
            let severity = if is_asked { Severity::Info } else { Severity::Warning };
            self.0.add(severity, "kafka-replicas", "the log in Kafka", what, remedy);
        }
    }

    fn topic(&mut self, (settings, subject): (&KafkaSettings, &str), spec: &TopicSpec, found: &Found) {
        for difference in spec.compare(settings, found) {
            let severity = if difference.is_grave() { Severity::Error } else { Severity::Warning };
            let code = match difference {
                Difference::Hidden => "kafka-topic-hidden",
                _ => "kafka-topic",
            };
            let remedy = difference.remedy(&spec.name);
            self.0.add(severity, code, subject, difference.to_string(), remedy);
        }
    }

    fn refused(&mut self, subject: &str, command: &str, code: RDKafkaErrorCode) {
        let remedy = match Error::of_code(code, subject) {
            Error::NotAllowed { .. } => {
                format!(
                    "grant Create, Describe, DescribeConfigs, Read and Write on it, or all but Create and run: {command}; {RIGHTS}"
                )
            }
            _ => {
                let settings = "`partitions` and `replication_factor` under `through.kafka`";
                format!("mend {settings}, or what the brokers allow; by hand it is made by: {command}")
            }
        };
        self.0.add(
            Severity::Error,
            "kafka-topic-refused",
            subject,
            format!("it cannot be made, or not be seen: {code}"),
            remedy,
        );
    }
}
