//! How a topic that is there is not as it should be, how much that matters, and what to do about it.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::topics::RECORD_BYTES;

/// In how many replicas what was written should be before it counts.
pub(crate) const IN_STEP: usize = 2;

/// How a topic is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    /// It has another number of partitions.
    Partitions { expected: usize, found: usize },
    /// It forgets what it should keep.
    Policy { expected: &'static str, found: String },
    /// It keeps records for a shorter time than is set.
    Retention { expected: Option<Duration>, found: Duration },
    /// It keeps no more than so many bytes.
    RetentionBytes { found: u64 },
    /// Writing waits for more replicas than there are.
    InSync { needed: usize, replicas: usize },
    /// It takes no larger records than this.
    RecordSize { found: u64 },
    /// It has fewer replicas than are set.
    Replicas { expected: usize, found: usize },
    /// What was written may be on one broker only, however many replicas there are.
    Lone { replicas: usize, asked: bool },
    /// A replica that lags behind may be made the leader, which forgets what the others have said to be written.
    Unclean,
    /// Nobody tells us its settings.
    Hidden,
}

impl Difference {
    /// Whether nothing may be written to such a topic.
    pub(crate) fn is_grave(&self) -> bool {
        match self {
            Difference::Partitions { .. }
            | Difference::Policy { .. }
            | Difference::InSync { .. }
            | Difference::Replicas { .. } => true,
            // Whoever asks for replicas counts on them.
            Difference::Lone { asked, .. } => *asked,
            Difference::Retention { .. }
            | Difference::RetentionBytes { .. }
            | Difference::RecordSize { .. }
            | Difference::Unclean
            | Difference::Hidden => false,
        }
    }

    /// What to do about it.
    pub(crate) fn remedy(&self, topic: &str) -> String {
        let set = |what: String| {
            format!(
                "kafka-configs --bootstrap-server BROKER --alter --entity-type topics --entity-name {topic} \
                 --add-config {what}"
            )
        };
        match self {
            Difference::Partitions { found, .. } => {
                format!(
                    "set `partitions: {found}` under `through.kafka`, or delete the topic before the first run"
                )
            }
            Difference::Policy { expected, .. } => set(format!("cleanup.policy={expected}")),
            Difference::Retention { expected: Some(expected), .. } => {
                set(format!("retention.ms={}", expected.as_millis()))
            }
            Difference::Retention { expected: None, .. } => set("retention.ms=-1".to_owned()),
            Difference::RetentionBytes { .. } => set("retention.bytes=-1".to_owned()),
            Difference::InSync { replicas, .. } => set(format!("min.insync.replicas={replicas}")),
            Difference::RecordSize { .. } => set(format!("max.message.bytes={RECORD_BYTES}")),
            Difference::Replicas { found, .. } => format!(
                "give it more (kafka-reassign-partitions), or set `replication_factor: {found}` under `through.kafka`"
            ),
            Difference::Lone { replicas, .. } if *replicas > IN_STEP => {
                set(format!("min.insync.replicas={IN_STEP}"))
            }
            Difference::Lone { .. } => format!(
                "give it three replicas and min.insync.replicas={IN_STEP}; with two, that setting stops all writing while one \
                 of the brokers is away"
            ),
            Difference::Unclean => set("unclean.leader.election.enable=false".to_owned()),
            Difference::Hidden => format!("grant DescribeConfigs on topic {topic}"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Partitions { expected, found } => {
                write!(f, "it has {found} partitions instead of {expected}")
            }
            Difference::Policy { expected, found } => {
                write!(
                    f,
                    "its cleanup.policy is `{found}` instead of `{expected}`, so that it would lose records"
                )
            }
            Difference::Retention { found, .. } => {
                write!(f, "it keeps records for {} hours only, less than is set", found.as_secs() / 3_600)
            }
            Difference::RetentionBytes { found } => {
                write!(f, "it drops the oldest records of a partition beyond {found} bytes, however new")
            }
            Difference::InSync { needed, replicas } => write!(
                f,
                "writing needs {needed} replicas in step (min.insync.replicas), and its partitions have {replicas}"
            ),
            Difference::RecordSize { found } => write!(f, "it takes records of at most {found} bytes"),
            Difference::Replicas { expected, found } => {
                write!(f, "its partitions have {found} replicas instead of {expected}")
            }
            Difference::Lone { replicas, .. } => write!(
                f,
                "its partitions have {replicas} replicas, and what is written counts once one of them has it \
                 (min.insync.replicas)"
            ),
            Difference::Unclean => f.write_str(
                "a replica that lags behind may become its leader (unclean.leader.election.enable), which loses what was \
                 written",
            ),
            Difference::Hidden => f.write_str(
                "its settings cannot be seen, so that nobody knows whether it keeps what it should",
            ),
        }
    }
}

/// How a topic with so many replicas may lose what was written to it, or not take it. `asked`: how many replicas are set.
pub(crate) fn safety(
    config: &HashMap<String, String>,
    replicas: usize,
    asked: Option<usize>,
) -> impl Iterator<Item = Difference> {
    let needed = config.get("min.insync.replicas").and_then(|value| value.parse::<usize>().ok());
    let too_many = needed.filter(|needed| *needed > replicas);
    let is_lone = replicas >= IN_STEP && needed.is_some_and(|needed| needed < IN_STEP);
    let is_unclean = replicas > 1
        && config
            .get("unclean.leader.election.enable")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let asked = asked.is_some_and(|asked| asked > IN_STEP);
    let found = [
        too_many.map(|needed| Difference::InSync { needed, replicas }),
        is_lone.then_some(Difference::Lone { replicas, asked }),
        is_unclean.then_some(Difference::Unclean),
    ];
    found.into_iter().flatten()
}
