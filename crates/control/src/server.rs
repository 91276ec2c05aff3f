//! The HTTP server: answers, and nothing that changes anything.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use serde::Deserialize;
use tokio::net::TcpListener;
use understudy_observe::{LATENCY_BUCKETS, Recorder, describe_all, names};

use crate::bulletin::BulletinHandle;
use crate::gates;
use crate::gauges::Gauges;
use crate::status::{Status, StatusHandle};
use crate::summary::{GateSummary, VerifySummary};
use crate::verify;

/// How often the exporter's histograms are folded; without it they would grow between scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The metrics recorder could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up metrics: {0}")]
pub struct MetricsError(String);

/// What was recorded, ready to be shown on `/metrics`.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Installs the recorder of this process. Once; a second call fails.
    pub fn install() -> Result<Metrics, MetricsError> {
        let recorder = build()?;
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|error| MetricsError(error.to_string()))?;
        describe_all();
        Ok(Metrics { handle })
    }

    /// A page over a recorder that is not installed, for tests.
    pub fn detached() -> Result<Metrics, MetricsError> {
        Ok(Metrics { handle: build()?.handle() })
    }

    /// The page, in the Prometheus text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }
}

fn build() -> Result<PrometheusRecorder, MetricsError> {
    let mut builder = PrometheusBuilder::new();
    for metric in names::ALL.iter().filter(|metric| metric.kind == names::Kind::Histogram) {
        let matcher = Matcher::Full(metric.name.to_owned());
        builder = builder
            .set_buckets_for_metric(matcher, LATENCY_BUCKETS)
            .map_err(|error| MetricsError(error.to_string()))?;
    }
    Ok(builder.build_recorder())
}

#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) status: StatusHandle,
    pub(crate) bulletin: BulletinHandle,
    metrics: Metrics,
    gauges: Arc<Gauges>,
}

/// Answers until `shutdown` resolves, then finishes the requests that are open.
pub async fn serve(
    listener: TcpListener,
    status: StatusHandle,
    bulletin: BulletinHandle,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let gauges = Arc::new(Gauges::new(Recorder::new(status.report().migration)));
    let upkeep = metrics.clone();
    let app = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .route("/v1/status", get(status_report))
        .route("/v1/gates", get(gates::list))
        .route("/v1/gates/{name}", get(gates::show))
        .route("/v1/gates/{name}/check", get(gates::check).post(gates::check))
        .route("/v1/throttle", get(gates::throttle))
        .route("/v1/verify", get(verify::report))
        .route("/v1/mismatches", get(verify::mismatches))
        .with_state(Shared { status, bulletin, metrics, gauges });
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown).into_future();
    let mut server = std::pin::pin!(server);
    let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        tokio::select! {
            biased;
            // 1. The end of serving ends everything.
            done = &mut server => return done,
            // 2. Upkeep in between.
            _ = tick.tick() => upkeep.handle.run_upkeep(),
        }
    }
}

#[derive(Deserialize)]
struct Probe {
    verbose: Option<String>,
}

/// Is the pipeline's loop running? No I/O, so that it answers while servers are away.
async fn livez(State(shared): State<Shared>, Query(probe): Query<Probe>) -> Response {
    answer(&[("loop", shared.status.is_alive())], &probe)
}

/// Are both sides connected? Never depends on lag.
async fn readyz(State(shared): State<Shared>, Query(probe): Query<Probe>) -> Response {
    answer(&readiness(&shared.status), &probe)
}

fn readiness(status: &Status) -> [(&'static str, bool); 4] {
    let report = status.report();
    let running = report.phase != crate::status::Phase::Failed;
    [
        ("settings", true),
        ("blue", report.source_connected),
        ("green", report.target_connected),
        ("pipeline", running),
    ]
}

fn answer(checks: &[(&str, bool)], probe: &Probe) -> Response {
    let good = checks.iter().all(|(_, good)| *good);
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = String::new();
    if probe.verbose.is_some() {
        for (name, good) in checks {
            body.push_str(&format!("[{}] {name}\n", if *good { "+" } else { "-" }));
        }
    }
    body.push_str(if good { "ok\n" } else { "not ok\n" });
    (code, body).into_response()
}

async fn metrics_page(State(shared): State<Shared>) -> Response {
    shared.gauges.publish(&shared.status, &shared.bulletin);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render())
        .into_response()
}

async fn status_report(State(shared): State<Shared>) -> Response {
    let mut report = shared.status.report();
    report.verify = VerifySummary::of(&shared.bulletin.verify().0);
    report.gate = shared.bulletin.gates().last().map(GateSummary::of);
    axum::Json(report).into_response()
}
