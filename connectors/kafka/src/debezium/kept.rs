//! Whether Debezium's topics keep every record until it has been taken. Whoever makes them decides that, mostly Connect or the
//! brokers.

use std::collections::BTreeMap;

use rdkafka::producer::Producer;
use understudy_contract::{Class, Failure, Finding, Severity};

use super::fault;
use crate::client::{admin, blocking, prober};
use crate::error::Error;
use crate::settings::KafkaSettings;
use crate::topics::{Found, describe, find_each};

/// Looks at those of these topics that are there. What they keep is in no answer that tells which there are.
pub(super) async fn look(settings: &KafkaSettings, topics: Vec<String>) -> Result<Vec<Finding>, Error> {
    let (prober, watcher) = prober(settings)?;
    let judge = watcher.clone();
    let there = blocking(move || find_each(prober.client(), topics.iter().map(String::as_str), &judge));
    let mut there = there.await?;
    let described = describe(&admin(settings)?, &mut there).await;
    described.map_err(|error| watcher.judge(&error, "the topics"))?;
    Ok(unfit(&there))
}

/// The same for a start, which goes on where nobody may see what the topics keep.
pub(super) async fn refuse(settings: &KafkaSettings, topics: Vec<String>) -> Result<(), Failure> {
    if topics.is_empty() {
        return Ok(());
    }
    let found = look(settings, topics).await.map_err(fault::told)?;
    for Finding { severity, subject, what, remedy, .. } in found {
        if severity == Severity::Error {
            return Err(Failure::new(Class::Configuration, format!("{subject} {what}")).remedy(remedy));
        }
        tracing::warn!("{subject} {what}; {remedy}");
    }
    Ok(())
}

fn unfit(there: &BTreeMap<String, Found>) -> Vec<Finding> {
    let finding = |(topic, found): (&String, &Found)| {
        let subject = format!("topic {topic}");
        let Some(config) = &found.config else {
            return Some(Finding {
                severity: Severity::Warning,
                code: "debezium-topic-hidden",
                subject,
                what: "does not show its settings, so that nobody knows whether it keeps every record"
                    .to_owned(),
                remedy: format!(
                    "grant DescribeConfigs on topic {topic}, or see that its cleanup.policy is delete"
                ),
            });
        };
        let policy = config.get("cleanup.policy").map_or("delete", String::as_str);
        policy.contains("compact").then(|| Finding {
            severity: Severity::Error,
            code: "debezium-compacted",
            subject,
            what: format!(
                "has cleanup.policy={policy}: it drops the deletes that an apply does not take in time, and their rows would stay \
                 on green"
            ),
            remedy: format!(
                "kafka-configs --bootstrap-server BROKER --alter --entity-type topics --entity-name {topic} --add-config \
                 cleanup.policy=delete; an apply that has stood still for longer than the topic's delete.retention.ms begins anew \
                 (understudy abort, empty tables on green)"
            ),
        })
    };
    there.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn found(policy: Option<&str>) -> BTreeMap<String, Found> {
        let config = policy.map(|policy| HashMap::from([("cleanup.policy".to_owned(), policy.to_owned())]));
        BTreeMap::from([("shop.public.t".to_owned(), Found { partitions: 1, replicas: 1, config })])
    }

    /// Promise 2: no delete is lost in a topic that is compacted while an apply stands still: such a topic is not read at all,
    /// also where it drops old records too. One that nobody may look at is told.
    #[test]
    fn topics_that_forget_deletes_are_refused() {
        for policy in ["compact", "compact,delete", "delete,compact"] {
            let unfit = unfit(&found(Some(policy)));
            assert_eq!(
                unfit.iter().map(|one| one.severity).collect::<Vec<_>>(),
                [Severity::Error],
                "{policy}"
            );
            assert!(unfit[0].what.contains(policy) && unfit[0].remedy.contains("cleanup.policy=delete"));
        }
        assert_eq!(unfit(&found(Some("delete"))), []);
        assert_eq!(unfit(&found(None))[0].severity, Severity::Warning);
    }
}
