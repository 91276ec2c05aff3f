//! What goes wrong with Kafka, turned into failures with a class and a remedy, and without row values.

use std::fmt;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use understudy_contract::{Class, Failure};

use crate::client::RECORD_BYTES_MAX;
use crate::codec::RUN_LATER;

/// Something that Kafka, or the way to it, did not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No broker answers, or one that is needed is busy.
    Unreachable {
        /// What the client says of it.
        why: String,
    },
    /// A broker does not let us in.
    Login {
        /// What the client says of it.
        why: String,
    },
    /// A broker does not let us do something.
    NotAllowed {
        /// With what: a topic, or the cluster.
        subject: String,
        /// What the client says of it.
        why: String,
    },
    /// Something that was set is not taken.
    Settings {
        /// What it was set for: a topic, or the client.
        subject: String,
        /// What the client says of it.
        why: String,
    },
    /// Another capture of the migration has begun since this one did.
    Superseded,
    /// The brokers have given up a transaction that stood still for too long, or another capture of the migration is about to write
    /// and has not come to it.
    Lapsed,
    /// The topics are those of another migration.
    Foreign {
        /// What their names start with.
        topic_prefix: String,
        /// Whose they are.
        whose: String,
    },
    /// A record is larger than its topic takes.
    TooLarge {
        /// The topic.
        topic: String,
        /// Bytes of the record; zero when not known.
        bytes: usize,
    },
    /// A record is larger than any that goes through Kafka.
    Oversized {
        /// The topic.
        topic: String,
        /// Bytes of the record.
        bytes: usize,
    },
    /// What an earlier capture has written is neither committed nor given up.
    Unfinished {
        /// The topic.
        topic: String,
    },
    /// A topic is gone.
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// A topic has another number of partitions.
    Partitions {
        /// The topic.
        topic: String,
        /// How many it should have.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// What was to be read next is gone, because nobody took it in time.
    Expired {
        /// The topic.
        topic: String,
        /// What is amiss.
        why: String,
    },
    /// The place to go on from is none of this log.
    AnotherLog {
        /// How that shows.
        why: String,
    },
    /// Green was begun with another share of the work.
    Shared {
        /// How many lanes have filled it; `None`: one apply, in whole transactions.
        lanes: Option<u32>,
        /// How many would now.
        now: Option<u32>,
    },
    /// What a topic holds does not fit the rest, or cannot be understood.
    Torn {
        /// The topic.
        topic: String,
        /// What is amiss.
        why: String,
    },
    /// What a topic holds was written by a later release.
    Later {
        /// The topic.
        topic: String,
        /// What this release does not know of it.
        why: String,
    },
    /// A defect of ours.
    Internal {
        /// What should never be.
        why: String,
    },
}

/// What the users need, for people. `docs/reference/log.md` has it as a table.
pub(crate) const RIGHTS: &str = "a capture needs Create, Describe, DescribeConfigs, Read and Write on topics of the prefix, and Describe and Write on \
     transactional id understudy-PREFIX-capture; an apply needs Describe and Read on them, Write on PREFIX.understudy.requests and, with \
     `consistency: key`, Read on groups that begin with understudy-PREFIX";

impl Error {
    /// What an error of the client means for a subject: the name of a topic, or what else it was about.
    pub fn of(error: &KafkaError, subject: &str) -> Error {
        let why = error.to_string();
        match error {
            KafkaError::AdminOp(code) => Error::of_code(*code, subject),
            KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::AdminOpCreation(_) => {
                Error::Settings { subject: subject.to_owned(), why }
            }
            KafkaError::Nul(_) => Error::Internal { why },
            other => match other.rdkafka_error_code() {
                Some(code) => Error::of_code(code, subject),
                None => Error::Unreachable { why },
            },
        }
    }

    /// What a code means for a subject. Whatever is not known to need an operator is tried again.
    pub fn of_code(code: RDKafkaErrorCode, subject: &str) -> Error {
        use RDKafkaErrorCode as Code;
        let (subject, why) = (subject.to_owned(), code.to_string());
        match code {
            Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Error::Superseded,
            Code::Authentication
            | Code::SSL
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SecurityDisabled => Error::Login { why },
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => Error::NotAllowed { subject, why },
            Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
                Error::TooLarge { topic: subject, bytes: 0 }
            }
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::UnknownTopicId => Error::NoTopic { topic: subject },
            Code::InvalidTopic
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidReplicaAssignment
            | Code::InvalidConfig
            | Code::InvalidRequest
            | Code::PolicyViolation
            | Code::InvalidTransactionTimeout
            | Code::InvalidTimestamp
            | Code::InvalidRecord
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::UnsupportedCompressionType
            | Code::UnsupportedForMessageFormat => Error::Settings { subject, why },
            Code::InvalidArgument | Code::State | Code::NotConfigured => Error::Internal { why },
            _ => Error::Unreachable { why },
        }
    }

    fn class(&self) -> Class {
        match self {
            Error::Unreachable { .. } | Error::Unfinished { .. } | Error::Lapsed => Class::Transient,
            Error::Login { .. }
            | Error::NotAllowed { .. }
            | Error::Settings { .. }
            | Error::Foreign { .. }
            | Error::Shared { .. }
            | Error::Oversized { .. }
            | Error::TooLarge { .. }
            | Error::Later { .. } => Class::Configuration,
            Error::Superseded => Class::Superseded,
            Error::NoTopic { .. }
            | Error::Partitions { .. }
            | Error::Expired { .. }
            | Error::AnotherLog { .. }
            | Error::Torn { .. } => Class::Diverged,
            Error::Internal { .. } => Class::Internal,
        }
    }

    /// What an operator does next.
    fn remedy(&self) -> Option<String> {
        let remedy = match self {
            Error::Unreachable { .. } => {
                "see to the brokers, and to their addresses under `through.kafka`; a sidecar that runs tries again by itself"
            }
            Error::Unfinished { .. } => {
                "bring back the brokers that are down; the sidecar tries again by itself"
            }
            Error::Login { .. } => "mend `tls` and `sasl` under `through.kafka`, or the user on the brokers",
            Error::NotAllowed { subject, .. } => {
                return Some(format!("grant the user what it needs on {subject}: {RIGHTS}"));
            }
            Error::Settings { .. } => {
                "mend what is set under `through.kafka`, or what the brokers allow: understudy check FILE tells what fits"
            }
            Error::Superseded => {
                "nothing, if the other one is meant to go on; if not, stop it and start this one again"
            }
            Error::Foreign { .. } => {
                "set a `topic_prefix` of its own under `through.kafka`; to follow the log that is there into one more green, \
                 run with --role apply"
            }
            Error::Oversized { .. } => return Some(too_large_for_all()),
            Error::TooLarge { topic, .. } => return Some(raise_record_size(topic)),
            Error::NoTopic { .. } => {
                "look first whether it is there and whether we may see it (kafka-topics --describe, and Describe among the \
                 user's rights); if it is gone, what it held is lost: begin anew, with understudy abort FILE and another \
                 `topic_prefix` under `through.kafka`"
            }
            Error::Partitions { topic, found, .. } => return Some(keep_partitions(topic, *found)),
            Error::Expired { .. } => {
                "what is gone cannot be applied any more: begin anew, with understudy abort FILE, another `topic_prefix` and \
                 a longer `retention` under `through.kafka`"
            }
            Error::AnotherLog { .. } => {
                "set `brokers` and `topic_prefix` under `through.kafka` to those that green was filled from, or begin anew, \
                 with understudy abort FILE"
            }
            Error::Shared { lanes, .. } => {
                let back = match lanes {
                    Some(lanes) => format!("`consistency: key` and `partitions: {lanes}`"),
                    None => "`consistency: transaction`".to_owned(),
                };
                return Some(format!(
                    "set {back} under `through.kafka` again; or begin anew with the other, with understudy abort FILE and \
                     green's tables emptied"
                ));
            }
            Error::Torn { .. } => {
                "begin anew, with understudy abort FILE and another `topic_prefix` under `through.kafka`"
            }
            Error::Later { .. } => RUN_LATER,
            Error::Lapsed | Error::Internal { .. } => return None,
        };
        Some(remedy.to_owned())
    }
}

/// A topic never gets fewer partitions again, and those of our own always have one.
fn keep_partitions(topic: &str, found: usize) -> String {
    let anew = "the topic was given more, or made anew: begin anew, with understudy abort FILE and another `topic_prefix` under \
                `through.kafka`";
    // As many lanes as partitions of tables.
    match topic.contains(".understudy.") && !topic.ends_with(".lanes") {
        true => anew.to_owned(),
        false => format!(
            "the number of partitions is fixed for the life of a migration: if `partitions` under `through.kafka` was changed, \
             set it to {found} again; if not, {anew}"
        ),
    }
}

fn by(lanes: Option<u32>) -> String {
    match lanes {
        Some(lanes) => format!("by {lanes} lanes (`consistency: key`)"),
        None => "in whole transactions (`consistency: transaction`)".to_owned(),
    }
}

fn too_large_for_all() -> String {
    format!(
        "records of at most {} MiB go through Kafka: leave the table out of `tables`, or copy it without `through`",
        RECORD_BYTES_MAX / (1024 * 1024)
    )
}

/// How the largest record of a topic is raised.
pub(crate) fn raise_record_size(topic: &str) -> String {
    format!(
        "raise its max.message.bytes: kafka-configs --bootstrap-server BROKER --alter --entity-type topics \
         --entity-name {topic} --add-config max.message.bytes=BYTES"
    )
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable { why } => write!(f, "Kafka is away or busy: {why}"),
            Error::Unfinished { topic } => {
                write!(
                    f,
                    "the brokers have not finished a transaction of an earlier capture in topic {topic}"
                )
            }
            Error::Login { why } => write!(f, "the brokers do not let us in: {why}"),
            Error::NotAllowed { subject, why } => write!(f, "not allowed on {subject}: {why}"),
            Error::Settings { subject, why } => {
                write!(f, "Kafka does not take what is set for {subject}: {why}")
            }
            Error::Superseded => f.write_str("another instance of this migration's capture writes to Kafka now"),
            Error::Lapsed => f.write_str(
                "the brokers no longer take what this instance writes: they have given up a transaction that stood still for too \
                 long, or another instance is about to take its place and has not done so yet",
            ),
            Error::Foreign { topic_prefix, whose } => {
                write!(f, "the topics of prefix {topic_prefix} belong to {whose}")
            }
            Error::Oversized { topic, bytes } => {
                write!(f, "a record of {bytes} bytes for topic {topic} is larger than any that goes through Kafka")
            }
            Error::TooLarge { topic, bytes: 0 } => write!(f, "a record is larger than topic {topic} takes"),
            Error::TooLarge { topic, bytes } => {
                write!(f, "a record of {bytes} bytes is larger than topic {topic} takes")
            }
            Error::NoTopic { topic } => write!(f, "topic {topic} is gone, or lacks a partition"),
            Error::Partitions { topic, expected, found } => {
                write!(f, "topic {topic} has {found} partitions instead of {expected}")
            }
            Error::Expired { topic, why } => write!(f, "topic {topic} has been shortened: {why}"),
            Error::AnotherLog { why } => write!(f, "green was filled from another log: {why}"),
            Error::Shared { lanes, now } => {
                write!(f, "green has been filled {} so far, not {}", by(*lanes), by(*now))
            }
            Error::Torn { topic, why } => write!(f, "topic {topic} is not as it was left: {why}"),
            Error::Later { topic, why } => write!(f, "topic {topic} cannot be read by this release: {why}"),
            Error::Internal { why } => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let failure = Failure::new(error.class(), error.to_string());
        match error.remedy() {
            Some(remedy) => failure.remedy(remedy).caused_by(error),
            None => failure.caused_by(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards what happens after a failure: trying again, stopping for good, or asking an operator.
    #[test]
    fn codes_have_their_class() {
        use RDKafkaErrorCode as Code;
        let expected = [
            (Code::AllBrokersDown, Class::Transient),
            (Code::OperationTimedOut, Class::Transient),
            (Code::MessageTimedOut, Class::Transient),
            (Code::NotEnoughReplicas, Class::Transient),
            (Code::ConcurrentTransactions, Class::Transient),
            (Code::InvalidProducerIdMapping, Class::Transient),
            (Code::SaslAuthenticationFailed, Class::Configuration),
            (Code::TransactionalIdAuthorizationFailed, Class::Configuration),
            (Code::MessageSizeTooLarge, Class::Configuration),
            (Code::InvalidReplicationFactor, Class::Configuration),
            (Code::ProducerFenced, Class::Superseded),
            (Code::Fenced, Class::Superseded),
            (Code::UnknownTopicOrPartition, Class::Diverged),
        ];
        for (code, class) in expected {
            let failure = Failure::from(Error::of(&KafkaError::AdminOp(code), "shop.public.orders"));
            assert_eq!(failure.class(), class, "{code:?}");
        }
    }

    /// Guards whoever starts while brokers are away, or have just taken partitions, groups and transactions over: nothing that they say
    /// then may end a process that would only have to wait.
    #[test]
    fn what_brokers_say_that_change_places_passes() {
        use RDKafkaErrorCode as Code;
        let passing = [
            Code::LeaderNotAvailable,
            Code::NotLeaderForPartition,
            Code::ReplicaNotAvailable,
            Code::BrokerNotAvailable,
            Code::CoordinatorNotAvailable,
            Code::CoordinatorLoadInProgress,
            Code::NotCoordinator,
            Code::NotController,
            Code::FencedLeaderEpoch,
            Code::UnknownLeaderEpoch,
            Code::OffsetNotAvailable,
            Code::NotEnoughReplicasAfterAppend,
            Code::RequestTimedOut,
            Code::NetworkException,
            Code::KafkaStorageError,
            Code::BrokerTransportFailure,
            Code::DestroyBroker,
            Code::UnknownBroker,
            Code::TimedOutQueue,
            Code::Resolve,
        ];
        for code in passing {
            let class = Failure::from(Error::of_code(code, "shop.public.orders")).class();
            assert_eq!(class, Class::Transient, "{code:?}");
        }
    }

    /// Guards that the remedy can be followed: the setting that fits the topic is that of the topic, and no topic has fewer
    /// partitions again.
    #[test]
    fn another_number_of_partitions_comes_with_what_can_be_done() {
        let remedy = |topic: &str| {
            let error = Error::Partitions { topic: topic.to_owned(), expected: 3, found: 5 };
            Failure::from(error).remedy_text().unwrap_or_default().to_owned()
        };
        let of_table = remedy("shop.public.orders");
        assert!(of_table.contains("set it to 5 again") && of_table.contains("begin anew"), "{of_table}");
        let of_order = remedy("shop.understudy.order");
        assert!(of_order.contains("begin anew") && !of_order.contains("set it"), "{of_order}");
    }

    /// Guards that who finds a record too large is told which topic, and what to do.
    #[test]
    fn an_oversized_record_comes_with_its_remedy() {
        let failure = Failure::from(Error::TooLarge { topic: "shop.public.orders".to_owned(), bytes: 12 });
        let remedy = failure.remedy_text().unwrap_or_default();
        assert!(remedy.contains("max.message.bytes") && remedy.contains("shop.public.orders"), "{remedy}");
    }
}
