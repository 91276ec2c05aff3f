//! The gate as operators and their pipelines ask it: held with a reason, open only after the soak.

use std::time::Duration;

use serde_json::Value;
use understudy_tests::{Exit, Migration, Pair, Sidecar, understudy, until_within};

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

/// What the gate says to callers that want a status, and to people.
async fn asked(migration: &Migration, sidecar: &Sidecar, gate: &str, wait: &[&str]) -> (u16, String, Exit) {
    let (code, body) = sidecar.get(&format!("/v1/gates/{gate}/check")).await.expect("an answer");
    let control = sidecar.control();
    let args = ["gate", gate, "--control", &control].into_iter().chain(wait.iter().copied());
    (code, body, understudy(migration.folder(), &args.collect::<Vec<_>>()).await)
}

/// The gate opens once everything has held for the whole soak, closes on a row that differs, and soaks anew after that; the
/// verdict is the same for people, for callers that want a body and for callers that want a status.
#[tokio::test(flavor = "multi_thread")]
async fn the_gate_opens_after_the_soak_and_closes_on_a_mismatch() {
    let Some(pair) = Pair::start(15, 18).await else { return };
    pair.on_blue().await.batch(ON_BLUE).await;
    pair.on_green().await.batch(ON_GREEN).await;
    let migration = Migration::between(&pair, "gated")
        .entry("  - from: gated.users\n")
        .with("verify: { pass_pause: 1s, busy: 1.0 }\ngate: { soak: 4s, max_lag: 30s }");
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    pair.on_green().await.batch("ANALYZE gated.users").await;
    wait_clean(&mut sidecar, 1).await;
    wait_verdict(&mut sidecar, "verified", "pass").await;
    let open = wait_verdict(&mut sidecar, "cutover", "pass").await;
    assert_eq!((&open["ready"], &open["soak"]["left_seconds"]), (&true.into(), &0.0.into()), "{open:#}");
    let (code, body, exit) = asked(&migration, &sidecar, "cutover", &[]).await;
    assert_eq!((code, exit.code), (200, Some(0)), "{body}\n{}\n{}", exit.stdout, exit.stderr);

    pair.on_green().await.batch("UPDATE gated.users SET name = 'else' WHERE id = 3").await;
    let held = wait_verdict(&mut sidecar, "cutover", "fail").await;
    assert_eq!((&held["ready"], &held["mismatches"]["open"]), (&false.into(), &1.into()), "{held:#}");
    let (code, body, exit) = asked(&migration, &sidecar, "cutover", &[]).await;
    assert_eq!((code, exit.code), (412, Some(3)), "{body}\n{}\n{}", exit.stdout, exit.stderr);
    assert!(
        body.contains("1 row differs") && exit.stderr.contains("1 row differs"),
        "{body}\n{}",
        exit.stderr
    );
    let (code, body, exit) = asked(&migration, &sidecar, "verified", &["--wait", "2s"]).await;
    assert_eq!((code, exit.code), (412, Some(5)), "{body}\n{}\n{}", exit.stdout, exit.stderr);

    pair.on_green().await.batch("UPDATE gated.users SET name = 'name 3' WHERE id = 3").await;
    let soaking = wait_verdict(&mut sidecar, "cutover", "pending").await;
    assert!(soaking["soak"]["left_seconds"].as_f64() > Some(0.0), "{soaking:#}");
    let (code, body, exit) = asked(&migration, &sidecar, "cutover", &["--wait", "1m"]).await;
    assert_eq!((code, exit.code), (412, Some(0)), "{body}\n{}\n{}", exit.stdout, exit.stderr);
    assert_eq!(sidecar.get("/v1/gates/nosuch/check").await.map(|(code, _)| code), Some(404));
    assert_eq!(asked(&migration, &sidecar, "nosuch", &[]).await.2.code, Some(2));
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
        .with("verify: { pass_pause: 1s, busy: 1.0 }\ngate: { soak: 2s, max_lag: 30s }");
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
