//! What preflight says of Kafka before anything is made.

use understudy_contract::{Finding, Severity};
use understudy_kafka::KafkaSettings;
use understudy_kafka::preflight::preflight;
use understudy_model::TableName;
use understudy_tests::{Kafka, Port};

fn tables() -> [TableName; 2] {
    ["orders", "items"].map(|name| TableName::new("public", name))
}

fn errors(findings: &[Finding]) -> Vec<&'static str> {
    findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.code)
        .collect()
}

/// Guards that a migration which could not run is told so before it begins, and that looking makes nothing.
#[tokio::test]
async fn what_cannot_run_is_found_before_it_begins() {
    let Some(kafka) = Kafka::shared() else { return };
    let prefix = Kafka::prefix("preflight");
    let settings = KafkaSettings::new(vec![kafka.bootstrap()], &prefix);
    for _ in 0..2 {
        // Topics that a look had made would be there at the second one, with other findings.
        let findings = preflight(&settings, &tables()).await;
        let codes = findings.iter().map(|finding| finding.code).collect::<Vec<_>>();
        assert_eq!(codes, ["kafka-replicas"], "{findings:?}");
    }
    let settings = KafkaSettings { replication_factor: Some(3), ..settings };
    let refused = preflight(&settings, &tables()).await;
    assert_eq!(errors(&refused), ["kafka-topic-refused"; 6], "three replicas on one broker: {refused:?}");
    let settings = KafkaSettings { replication_factor: None, ..settings };
    let alike = [TableName::new("a_b", "c"), TableName::new("a", "b_c")];
    let colliding = preflight(&settings, &alike).await;
    assert!(errors(&colliding).contains(&"kafka-topic-names"), "{colliding:?}");
}

/// Guards that brokers which cannot be reached are one finding, with their address and what to do.
#[tokio::test]
async fn brokers_that_are_away_are_one_finding() {
    let nobody = format!("127.0.0.1:{}", Port::reserve().number());
    let findings = preflight(&KafkaSettings::new(vec![nobody.clone()], "shop"), &tables()).await;
    assert_eq!(errors(&findings), ["kafka-access"], "{findings:?}");
    assert!(findings[0].subject.contains(&nobody) && !findings[0].remedy.is_empty(), "{findings:?}");
}
