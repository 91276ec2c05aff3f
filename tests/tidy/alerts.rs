//! What monitoring and pipelines are given to copy: it names what there is.

use serde_json::Value;
use understudy_observe::names::ALL;

use crate::tree::{assert_none, read, texts_below};

fn alerts() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&read("config/prometheus/alerts.yml")).expect("YAML");
    let groups = file["groups"].as_array().expect("groups").iter();
    groups.flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

/// Words of a query that begin as our metrics do.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    expression.split(move |letter| !is_part(letter)).filter(|word| word.starts_with("understudy_"))
}

/// The anchor that a heading of a Markdown document has.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// An alert on a metric that was renamed never fires, and nobody notices.
#[test]
fn every_alert_asks_for_metrics_that_there_are() {
    let mut offences = Vec::new();
    for alert in alerts() {
        let expression = alert["expr"].as_str().expect("an expression");
        let unknown = metrics(expression).filter(|name| ALL.iter().all(|metric| metric.name != *name));
        offences.extend(unknown.map(|name| format!("{}: {name}", alert["alert"])));
        assert!(expression.contains("understudy"), "{alert}");
    }
    assert_none("no metric has these names:", &offences);
}

/// Whoever is woken up finds out what to do.
#[test]
fn every_alert_leads_to_the_runbook() {
    let runbook = read("docs/runbook.md");
    let anchors: Vec<String> = runbook.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    let mut offences = Vec::new();
    for alert in alerts() {
        let note = |key: &str| alert["annotations"][key].as_str().unwrap_or_default().to_owned();
        let leads = note("runbook_url");
        let known =
            leads.strip_prefix("docs/runbook.md#").is_some_and(|to| anchors.iter().any(|one| one == to));
        let is_rated = ["page", "ticket"].contains(&alert["labels"]["severity"].as_str().unwrap_or_default());
        if !known || !is_rated || note("summary").is_empty() || note("description").is_empty() {
            offences.push(format!("{} -> {leads}", alert["alert"]));
        }
    }
    assert_none("these alerts lack a severity, a text or their place in the runbook:", &offences);
}

/// What others copy from config/gates asks for a gate, at an address that the sidecar answers.
#[test]
fn what_pipelines_copy_asks_for_a_gate() {
    let files = texts_below("config/gates");
    assert!(files.len() >= 3, "config/gates is empty");
    for (path, text) in files {
        let document: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let text = document.to_string();
        let asks = text.contains("/v1/gates/{{args.gate}}")
            || text.contains(":7070/v1/gates/cutover/check")
            || text.contains("understudy gate cutover --control");
        assert!(asks, "{path} does not ask for a gate");
    }
}

/// Anchors are made as they are by those who show Markdown.
#[test]
fn anchors_are_those_of_markdown() {
    assert_eq!(anchor("## Blue's disk fills up"), "blues-disk-fills-up");
    assert_eq!(anchor("### `Transient: x`: y"), "transient-x-y");
}
