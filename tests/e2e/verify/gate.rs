//! The gate as operators and their pipelines ask it: held with a reason, open only after the soak.

use std::time::Duration;

use serde_json::Value;
use understudy_tests::{Migration, Pair, Sidecar, understudy, until_within};

use super::wait_clean;

const ON_BLUE: &str = "CREATE SCHEMA gated; CREATE TABLE gated.users (id bigint PRIMARY KEY, name text); \
    INSERT INTO gated.users SELECT n, 'name ' || n FROM generate_series(1, 1000) n; ANALYZE gated.users;";

const ON_GREEN: &str = "CREATE SCHEMA gated; CREATE TABLE gated.users (id bigint PRIMARY KEY, name text);";

/// The document of a gate.
async fn document(sidecar: &Sidecar, gate: &str) -> Value {
    let (code, body) = sidecar.get(&format!("/v1/gates/{gate}")).await.expect("an answer");
    assert_eq!(code, 200, "the informing form always answers: {body}");
    serde_json::from_str(&body).expect("JSON")
}

/// Waits until a gate has this verdict.
async fn wait_verdict(sidecar: &mut Sidecar, gate: &str, verdict: &str) -> Value {
    until_within(Duration::from_secs(120), &format!("the gate {gate} says {verdict}"), async || {
        sidecar.assert_running();
        let (_, body) = sidecar.get(&format!("/v1/gates/{gate}")).await?;
        let document: Value = serde_json::from_str(&body).ok()?;
        (document["verdict"] == verdict).then_some(document)
    })
    .await
}

/// The verdict is the same for people, for callers that want a body and for callers that want a status.
#[tokio::test(flavor = "multi_thread")]
async fn the_gate_opens_after_the_soak_and_closes_on_a_mismatch() {
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_blue().await.batch(ON_BLUE).await;
    pair.on_green().await.batch(ON_GREEN).await;
    let migration = Migration::between(&pair, "gated")
        .entry("  - from: gated.users\n")
        .with("verify: { pass_pause: 1s, busy: 1.0 }\ngate: { soak: 4s }");
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    wait_clean(&mut sidecar, 1).await;
    let open = wait_verdict(&mut sidecar, "verified", "pass").await;
    assert_eq!(open["ready"], true, "{open:#}");
    assert_eq!(sidecar.get("/v1/gates/verified/check").await.map(|(code, _)| code), Some(200));
    let control = sidecar.control();
    let asked = understudy(migration.folder(), &["gate", "verified", "--control", &control]).await;
    assert_eq!(asked.code, Some(0), "{}\n{}", asked.stdout, asked.stderr);

    pair.on_green().await.batch("UPDATE gated.users SET name = 'else' WHERE id = 3").await;
    let held = wait_verdict(&mut sidecar, "verified", "fail").await;
    let reason = held["reason"].as_str().expect("a reason");
    assert!(reason.contains("mismatch"), "{held:#}");
    let (code, body) = sidecar.get("/v1/gates/verified/check").await.expect("an answer");
    assert_eq!(code, 412, "{body}");
    assert!(body.contains("mismatch"), "{body}");
    let asked = understudy(migration.folder(), &["gate", "verified", "--control", &control]).await;
    assert_eq!(asked.code, Some(3), "{}\n{}", asked.stdout, asked.stderr);
    let asked =
        understudy(migration.folder(), &["gate", "verified", "--control", &control, "--wait", "2s"]).await;
    assert_eq!(asked.code, Some(5), "{}\n{}", asked.stdout, asked.stderr);

    pair.on_green().await.batch("UPDATE gated.users SET name = 'name 3' WHERE id = 3").await;
    let opening = wait_verdict(&mut sidecar, "verified", "pending").await;
    assert!(opening["reason"].as_str().is_some_and(|reason| reason.contains("soak")), "{opening:#}");
    wait_verdict(&mut sidecar, "verified", "pass").await;
    assert_eq!(sidecar.get("/v1/gates/nosuch/check").await.map(|(code, _)| code), Some(404));
    sidecar.stop().await;
}

/// The whole gate names what green still lacks, and opens once it has it.
#[tokio::test(flavor = "multi_thread")]
async fn what_green_lacks_holds_the_gate_until_it_is_there() {
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_blue().await.batch(ON_BLUE).await;
    pair.on_blue().await.batch("CREATE INDEX users_name ON gated.users (name)").await;
    pair.on_green().await.batch(ON_GREEN).await;
    let migration = Migration::between(&pair, "lacking")
        .entry("  - from: gated.users\n")
        .with("verify: { pass_pause: 1s, busy: 1.0 }\ngate: { soak: 2s }");
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    wait_clean(&mut sidecar, 1).await;
    let held = until_within(Duration::from_secs(120), "the missing index is named", async || {
        let held = document(&sidecar, "cutover").await;
        held.to_string().contains("users_name").then_some(held)
    })
    .await;
    assert_eq!(held["ready"], false, "{held:#}");
    pair.on_green().await.batch("CREATE INDEX users_name ON gated.users (name); ANALYZE gated.users").await;
    wait_verdict(&mut sidecar, "cutover", "pass").await;
    sidecar.stop().await;
}
