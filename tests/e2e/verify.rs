//! Verification and the gate on real servers: no false alarm, no false calm (promise 3).

mod asked;
mod gate;
mod planted;
mod probes;
mod soak;

use std::time::Duration;

use serde_json::Value;
use understudy_tests::{Exit, Migration, Sidecar, understudy, until_within};

/// How long verification may take to get somewhere on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The document at `/v1/verify`. `None` while it does not answer, or nothing is known yet.
pub(crate) async fn report(sidecar: &Sidecar) -> Option<Value> {
    let (code, body) = sidecar.get("/v1/verify").await?;
    (code == 200).then(|| serde_json::from_str(&body).expect("JSON"))
}

/// The routes of a report.
pub(crate) fn routes(report: &Value) -> &[Value] {
    report["tables"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Open mismatches of all tables.
pub(crate) fn open(report: &Value) -> u64 {
    let of = |route: &Value| {
        let kinds = route["open"].as_object().into_iter().flat_map(|kinds| kinds.values());
        kinds.filter_map(Value::as_u64).sum::<u64>()
    };
    routes(report).iter().map(of).sum()
}

/// Waits until what verification says satisfies `condition`.
pub(crate) async fn wait_verify(
    sidecar: &mut Sidecar,
    what: &str,
    condition: impl Fn(&Value) -> bool,
) -> Value {
    until_within(PATIENCE, what, async || {
        sidecar.assert_running();
        report(sidecar).await.filter(&condition)
    })
    .await
}

/// Waits until every row of `tables` tables is verified and nothing is in the balance.
pub(crate) async fn wait_clean(sidecar: &mut Sidecar, tables: usize) {
    let clean =
        |route: &Value| route["coverage_ratio"] == 1.0 && route["pending"] == 0 && route["suspended"] == 0;
    wait_verify(sidecar, "every row is verified, and nothing is pending", |report| {
        routes(report).len() == tables && routes(report).iter().all(clean) && open(report) == 0
    })
    .await;
}

/// Runs a verb that takes the migration file.
pub(crate) async fn verb(migration: &Migration, sidecar: &Sidecar, verb: &[&str], more: &[&str]) -> Exit {
    let file = sidecar.file.to_string_lossy().into_owned();
    let args = verb.iter().copied().chain([file.as_str()]).chain(more.iter().copied()).collect::<Vec<_>>();
    understudy(migration.folder(), &args).await
}
