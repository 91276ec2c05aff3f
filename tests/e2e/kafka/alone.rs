//! An apply that runs by itself, beside the capture of another migration: what it says of itself and of green.

use std::time::Duration;

use serde_json::Value;
use understudy_tests::{Kafka, Migration, Pair, Sidecar, until_within};

use crate::verify::wait_clean;

const TABLE: &str = "CREATE SCHEMA alone; CREATE TABLE alone.users (id bigint PRIMARY KEY, name text);";

const ROWS: &str = "INSERT INTO alone.users SELECT n, 'name ' || n FROM generate_series(1, 1000) n; ANALYZE;";

/// A soak that is longer than figures count which nobody renews, and a limit no longer than the pause between two beats.
const GATE: &str = "verify: { pass_pause: 1s, busy: 1.0 }\nstream: { heartbeat: 5s }\n\
                    gate: { soak: 35s, max_lag: 5s }";

/// An apply that only follows is seen to be alive, so that nobody restarts it for nothing; its figures are those of now, its lag
/// is no longer than its beats take, and the slot that it looks for is that of whoever captures: so its gate opens.
#[tokio::test(flavor = "multi_thread")]
async fn an_apply_by_itself_is_alive_and_its_gate_opens() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_both(TABLE).await;
    pair.on_blue().await.batch(ROWS).await;
    let (brokers, prefix) = (kafka.bootstrap(), Kafka::prefix("alone"));
    let through = format!("{{ kafka: {{ brokers: [\"{brokers}\"], topic_prefix: {prefix} }} }}");
    let migration = |name: &str| {
        Migration::between(&pair, name).through_as(&through).entry("  - from: alone.users\n").with(GATE)
    };
    let capture = Sidecar::start_with(&migration("alone-capture"), &["--role", "capture"]);
    let mut apply = Sidecar::start_with(&migration("alone-apply"), &["--role", "apply"]);
    apply.wait_copied().await;
    pair.on_green().await.batch("ANALYZE alone.users").await;
    wait_clean(&mut apply, 1).await;
    until_within(Duration::from_secs(150), "the gate of the apply opens", async || {
        apply.assert_running();
        let (_, body) = apply.get("/v1/gates/cutover").await?;
        let document: Value = serde_json::from_str(&body).ok()?;
        (document["verdict"] == "pass").then_some(())
    })
    .await;
    for sidecar in [&apply, &capture] {
        let (code, body) = sidecar.get("/livez").await.expect("an answer");
        assert_eq!(code, 200, "{body}");
    }
    apply.stop().await;
    capture.stop().await;
}
