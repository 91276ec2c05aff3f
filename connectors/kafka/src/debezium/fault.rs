//! Why a record cannot be applied, what an operator does about it, and where it stands. Never with a value.

use understudy_contract::{Class, Failure};

use crate::error::Error;

/// How an apply begins anew, whoever has to do with it.
const ANEW: &str =
    "begin anew: understudy abort FILE, empty tables on green, and a new connector with another topic.prefix";

/// A failure on the way to Debezium's topics. They are not ours, and neither are the settings that they were made with.
pub(super) fn told(error: Error) -> Failure {
    let remedy = match &error {
        Error::NoTopic { .. } => format!(
            "look first whether it is there and whether we may see it (kafka-topics --describe, and Describe among the user's \
             rights); if it is gone, {ANEW}"
        ),
        Error::Partitions { .. } => {
            format!("records of one row may be in two partitions now, in no order: {ANEW}")
        }
        Error::Expired { .. } => {
            format!(
                "{ANEW}; have the topics keep their records for longer (retention.ms) than an apply may stand still"
            )
        }
        Error::AnotherLog { .. } => format!(
            "set `brokers`, `topic_prefix` and `format` under `through.kafka` to those that green was filled from, or {ANEW}"
        ),
        Error::Torn { .. } => ANEW.to_owned(),
        Error::NotAllowed { subject, .. } => {
            format!("grant the user Describe, DescribeConfigs and Read on {subject}")
        }
        _ => return error.into(),
    };
    let class = Failure::from(error.clone()).class();
    Failure::new(class, error.to_string()).remedy(remedy).caused_by(error)
}

/// Why something of a record cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) class: Class,
    pub(super) why: String,
    pub(super) remedy: String,
}

impl Unfit {
    /// The connector is set so that what blue has cannot be told.
    pub(super) fn settings(why: impl Into<String>, remedy: impl Into<String>) -> Unfit {
        Unfit {
            class: Class::Configuration,
            why: why.into(),
            remedy: format!(
                "{}; then begin anew: what is in the topics stays as it is (understudy abort, empty tables on green, a new \
                 connector with another topic.prefix)",
                remedy.into()
            ),
        }
    }

    /// It is not what Debezium writes for this column.
    pub(super) fn malformed(expected: &str) -> Unfit {
        Unfit {
            class: Class::Data,
            why: format!("is not {expected} as Debezium writes it"),
            remedy: "see who else writes to the topic, and which transforms the connector has; take out what changes values"
                .to_owned(),
        }
    }

    /// It is none of Debezium's records of the table.
    pub(super) fn foreign(why: impl Into<String>) -> Unfit {
        Unfit {
            class: Class::Data,
            why: why.into(),
            remedy: "see who else writes to the topic; take transforms such as unwrap, and converters other than JSON, out \
                     of the connector"
                .to_owned(),
        }
    }

    /// The same of a column.
    pub(super) fn of_column(self, column: &str) -> Unfit {
        Unfit { why: format!("column `{column}` {}", self.why), ..self }
    }

    /// The failure of a record at this place.
    pub(super) fn at(self, topic: &str, partition: i32, offset: i64) -> Failure {
        let cause = format!("record {offset} of partition {partition} of topic {topic}: {}", self.why);
        Failure::new(self.class, cause).remedy(self.remedy)
    }
}
