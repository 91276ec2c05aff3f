//! Probes: queries whose answers must be the same on both sides hold the gate under their own names.

use std::time::Duration;

use serde_json::Value;
use understudy_tests::{Migration, Pair, Sidecar, until_within};

const ON_BLUE: &str = "CREATE SCHEMA asked; CREATE TABLE asked.users (id bigint PRIMARY KEY, name text); \
    INSERT INTO asked.users SELECT n, 'name ' || n FROM generate_series(1, 1000) n; ANALYZE asked.users;";

const ON_GREEN: &str =
    "CREATE SCHEMA asked; CREATE TABLE asked.people (id bigint PRIMARY KEY, full_name text);";

const TABLES: &str =
    "  - from: asked.users\n    to: asked.people\n    columns:\n      id: id\n      full_name: name\n";

const PROBES: &str = "
probes:
  - name: how-many
    blue: SELECT count(*) FROM asked.users
    green: SELECT count(*) FROM asked.people
    every: 500ms
  - name: by-id
    blue: SELECT name FROM asked.users WHERE id = $1
    green: SELECT full_name FROM asked.people WHERE id = $1
    params: SELECT id FROM asked.users WHERE id <= 5
    every: 500ms
";

/// Waits until the checks of both probes stand like this, and returns the gate.
async fn wait_checks(sidecar: &mut Sidecar, how_many: &str, by_id: &str) -> Value {
    let what = format!("probe how-many says {how_many}, and by-id {by_id}");
    until_within(Duration::from_secs(120), &what, async || {
        sidecar.assert_running();
        let (_, body) = sidecar.get("/v1/gates/cutover").await?;
        let gate: Value = serde_json::from_str(&body).ok()?;
        let is = |name: &str, status: &str| {
            let mut checks = gate["checks"].as_array().into_iter().flatten();
            checks.any(|check| check["name"] == name && check["status"] == status)
        };
        (is("probe/how-many", how_many) && is("probe/by-id", by_id)).then_some(gate)
    })
    .await
}

/// A query of the application that gets another answer on green holds the gate by its name, without any row in the reason;
/// the one that agrees does not, and once both agree neither does.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_differs_holds_the_gate_by_its_name() {
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_blue().await.batch(ON_BLUE).await;
    pair.on_green().await.batch(ON_GREEN).await;
    let migration = Migration::between(&pair, "probed")
        .entry(TABLES)
        .with("verify: { pass_pause: 1s, busy: 1.0 }\ngate: { soak: 1s, max_lag: 30s }")
        .with(PROBES);
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    pair.on_green().await.batch("ANALYZE asked.people").await;
    wait_checks(&mut sidecar, "pass", "pass").await;
    pair.on_green().await.batch("UPDATE asked.people SET full_name = 'sekret' WHERE id <= 5").await;
    let held = wait_checks(&mut sidecar, "pass", "fail").await;
    assert_eq!(held["ready"], false, "{held:#}");
    let text = held.to_string();
    assert!(text.contains("answer probe by-id differently"), "{held:#}");
    assert!(!text.contains("sekret") && !text.contains("name 1"), "a value of a row was shown: {held:#}");
    pair.on_green().await.batch("UPDATE asked.people SET full_name = 'name ' || id WHERE id <= 5").await;
    wait_checks(&mut sidecar, "pass", "pass").await;
    sidecar.stop().await;
}
