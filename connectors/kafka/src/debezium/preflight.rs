//! What can be said of Debezium's topics before anything of them is applied.

use super::place::Place;
use super::reach::Reach;
use understudy_contract::{Class, Failure, Finding, Severity};

use super::fault::{self, Unfit};
use super::{DebeziumSettings, DebeziumTable, Progress, kept, text};
use crate::client::blocking;
use crate::error::Error;
use crate::names::TopicNames;
use crate::settings::KafkaSettings;

/// The code of a finding that topics cannot be read.
const CODE: &str = "debezium-topics";

/// Looks at the topics of these tables.
pub async fn preflight(
    settings: &KafkaSettings,
    debezium: &DebeziumSettings,
    tables: &[DebeziumTable],
) -> Vec<Finding> {
    let mut findings = tables.iter().flat_map(|table| inexact(debezium, table)).collect::<Vec<_>>();
    let names = TopicNames::new(settings.topic_prefix.clone());
    let topics = tables.iter().map(|table| names.table(&table.relation.name)).collect::<Vec<_>>();
    let (of_settings, debezium, all) = (settings.clone(), debezium.clone(), topics.clone());
    let looked = blocking(move || {
        let settings = of_settings;
        let reach = Reach::new(&settings)?;
        if let Progress::Offsets(topic) = &debezium.progress {
            reach.offsets_topic(topic)?;
        }
        reach.look(&topics, &Place::start(settings.topic_prefix.clone()))
    });
    match looked.await {
        Ok(found) => {
            for (topic, starts) in found.new.iter().filter(|(_, starts)| starts.len() > 1) {
                findings.push(Finding {
                    severity: Severity::Warning,
                    code: "debezium-partitions",
                    subject: format!("topic {topic}"),
                    what: format!(
                        "has {} partitions: a TRUNCATE on blue will stop the apply for good",
                        starts.len()
                    ),
                    remedy: "give the topic one partition, or do not truncate the table before the flip"
                        .to_owned(),
                });
            }
            findings.push(Finding {
                severity: Severity::Info,
                code: "debezium-settings",
                subject: "Debezium's connector".to_owned(),
                what: "cannot be asked how it is set: what it leaves out, green lacks, which verification shows".to_owned(),
                remedy: "see that it has skipped.operations=none (or TRUNCATE is missed), heartbeat.interval.ms with \
                         heartbeat.action.query, and its worker a short offset.flush.interval.ms"
                    .to_owned(),
            });
        }
        Err(error) => findings.push(unusable(error)),
    }
    match kept::look(settings, all).await {
        Ok(found) => findings.extend(found),
        // What keeps us from looking at all has been told.
        Err(error) if findings.iter().all(|found| found.code != CODE) => findings.push(unusable(error)),
        Err(_) => {}
    }
    findings
}

fn unusable(error: Error) -> Finding {
    let failure = fault::told(error);
    Finding {
        severity: Severity::Error,
        code: CODE,
        subject: "Debezium's topics".to_owned(),
        what: failure.to_string(),
        remedy: failure.remedy_text().unwrap_or_default().to_owned(),
    }
}

/// A start without its check says the same.
pub(super) fn refuse(debezium: &DebeziumSettings, tables: &[DebeziumTable]) -> Result<(), Failure> {
    let mut found = tables.iter().flat_map(|table| inexact(debezium, table));
    match found.next() {
        Some(Finding { subject, what, remedy, .. }) => {
            Err(Failure::new(Class::Configuration, format!("{subject} {what}")).remedy(remedy))
        }
        None => Ok(()),
    }
}

/// Columns whose exact values do not come back.
fn inexact(debezium: &DebeziumSettings, table: &DebeziumTable) -> Vec<Finding> {
    let may_be_replaced = debezium.declared.replaces_null != Some(false);
    let mut found = Vec::new();
    for (at, (column, kind)) in table.relation.columns.iter().zip(&table.kinds).enumerate() {
        let replaced = (may_be_replaced && table.defaulted.contains(&at)).then(null_replaced);
        for Unfit { why, remedy, .. } in text::never_exact(kind).into_iter().chain(replaced) {
            found.push(Finding {
                severity: Severity::Error,
                code: "debezium-inexact",
                subject: format!("column {} of {}", column.name, table.relation.name),
                what: why,
                remedy,
            });
        }
    }
    found
}

fn null_replaced() -> Unfit {
    Unfit {
        class: Class::Configuration,
        why: "has a default and may be null, and Connect's converter writes the default for null unless it is told not to"
            .to_owned(),
        remedy: "set value.converter.replace.null.with.default=false in the connector before its first record, and say \
                 `debezium: { replace_null_with_default: false }` under `through.kafka`"
            .to_owned(),
    }
}
