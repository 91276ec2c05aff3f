//! What the gates came to, as JSON, and the answers for tools that understand status codes only.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::server::Shared;

/// The name and version of [`GateDocument`] as JSON. Fields are only ever added.
pub(crate) const SCHEMA: &str = "understudy/v1/gate";

/// What a check, or a whole gate, came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// As the policy asks.
    Pass,
    /// Not, and somebody has to act or to wait for something outside.
    Fail,
    /// Not yet.
    Pending,
    /// It cannot be told.
    Unknown,
}

impl GateVerdict {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            GateVerdict::Pass => "pass",
            GateVerdict::Fail => "fail",
            GateVerdict::Pending => "pending",
            GateVerdict::Unknown => "unknown",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateCheck {
    /// Its name.
    pub name: String,
    /// What it came to.
    pub status: GateVerdict,
    /// The figure that was looked at; `None` when there is none, or it is not known.
    pub value: Option<f64>,
    /// How the figure must compare with the threshold.
    pub op: Option<String>,
    /// The threshold.
    pub threshold: Option<f64>,
    /// What both count; empty when there are none.
    pub unit: String,
    /// What it came to, as a sentence.
    pub reason: String,
    /// What the operator does about it.
    pub remedy: Option<String>,
    /// Since when the status is what it is, RFC 3339.
    pub since: String,
}

/// How far green is behind.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct GateLag {
    /// By markers.
    pub seconds: Option<f64>,
    /// By positions.
    pub bytes: Option<u64>,
}

/// Rows that are not known to be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GateMismatches {
    /// Known to differ.
    pub open: Option<u64>,
    /// Not settled.
    pub pending: Option<u64>,
    /// Changing too often to be settled.
    pub suspended: Option<u64>,
}

/// For how long everything must hold without a break.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct GateSoak {
    /// In all; zero for a gate that asks for none.
    pub seconds: f64,
    /// From now on.
    pub left_seconds: f64,
}

/// One gate at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateDocument {
    /// `understudy/v1/gate`.
    pub schema: String,
    /// Its name.
    pub gate: String,
    /// What it came to.
    pub verdict: GateVerdict,
    /// Whether it is open.
    pub ready: bool,
    /// Why, on one line.
    pub reason: String,
    /// What the migration is doing.
    pub phase: String,
    /// When it was evaluated, RFC 3339; `None` when never.
    pub evaluated_at: Option<String>,
    /// Until when that counts, RFC 3339.
    pub valid_until: Option<String>,
    /// For how long everything must hold.
    pub soak: GateSoak,
    /// The checks.
    pub checks: Vec<GateCheck>,
    /// How far green is behind.
    pub lag: GateLag,
    /// Rows that are not known to be equal.
    pub mismatches: GateMismatches,
    /// The least share of any table that has been verified; `None` when unknown.
    pub coverage_ratio: Option<f64>,
}

impl GateDocument {
    /// A gate that nobody has evaluated.
    pub fn unknown(gate: &str, reason: &str) -> GateDocument {
        GateDocument {
            schema: SCHEMA.to_owned(),
            gate: gate.to_owned(),
            verdict: GateVerdict::Unknown,
            ready: false,
            reason: reason.to_owned(),
            phase: String::new(),
            evaluated_at: None,
            valid_until: None,
            soak: GateSoak::default(),
            checks: Vec::new(),
            lag: GateLag::default(),
            mismatches: GateMismatches::default(),
            coverage_ratio: None,
        }
    }

    /// What is left of it once it does not count any more: its figures were true once, its verdicts are gone.
    pub(crate) fn expire(&mut self, reason: &str) {
        self.verdict = GateVerdict::Unknown;
        self.ready = false;
        reason.clone_into(&mut self.reason);
        self.soak.left_seconds = self.soak.seconds;
        for check in &mut self.checks {
            check.status = GateVerdict::Unknown;
            check.value = None;
        }
        self.lag = GateLag::default();
        self.mismatches = GateMismatches::default();
        self.coverage_ratio = None;
    }
}

/// Every gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct GateList {
    schema: String,
    gates: Vec<GateDocument>,
}

/// No proxy may answer in our place: a verdict counts for seconds.
const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

pub(crate) async fn list(State(shared): State<Shared>) -> Response {
    let gates = shared.bulletin.gates();
    let list = GateList { schema: "understudy/v1/gates".to_owned(), gates };
    (NO_STORE, axum::Json(list)).into_response()
}

pub(crate) async fn show(State(shared): State<Shared>, Path(name): Path<String>) -> Response {
    match find(&shared, &name) {
        Ok(gate) => (NO_STORE, axum::Json(gate)).into_response(),
        Err(names) => missing(&names),
    }
}

/// The verdict as a status code: 200 open, 412 held, 503 unknown.
pub(crate) async fn check(State(shared): State<Shared>, Path(name): Path<String>) -> Response {
    let gate = match find(&shared, &name) {
        Ok(gate) => gate,
        Err(names) => return missing(&names),
    };
    let code = match gate.verdict {
        GateVerdict::Pass if gate.ready => StatusCode::OK,
        GateVerdict::Pass | GateVerdict::Unknown => StatusCode::SERVICE_UNAVAILABLE,
        GateVerdict::Fail | GateVerdict::Pending => StatusCode::PRECONDITION_FAILED,
    };
    (code, NO_STORE, format!("{}: {}\n", gate.verdict.as_str(), gate.reason)).into_response()
}

/// The gate of a name, or the names that there are.
fn find(shared: &Shared, name: &str) -> Result<GateDocument, String> {
    let gates = shared.bulletin.gates();
    let names = gates.iter().map(|gate| gate.gate.as_str()).collect::<Vec<_>>().join(", ");
    gates.into_iter().find(|gate| gate.gate == name).ok_or(names)
}

fn missing(names: &str) -> Response {
    let text = format!("there is no gate of that name; there are: {names}\n");
    (StatusCode::NOT_FOUND, NO_STORE, text).into_response()
}

/// What tools are told that write a lot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Throttle {
    schema: String,
    /// Whether they should wait.
    throttle: bool,
    lag_seconds: Option<f64>,
    threshold_seconds: f64,
    backpressure: bool,
}

/// May somebody write a lot now? 200: go on. 429: wait. A lag that nobody knows is no leave to write.
pub(crate) async fn throttle(State(shared): State<Shared>) -> Response {
    let report = shared.status.report();
    let threshold_seconds = shared.bulletin.yield_at_lag().as_secs_f64();
    let keeps_up = report.lag_seconds.is_some_and(|lag| lag <= threshold_seconds);
    let throttle = report.backpressure || !keeps_up;
    let code = if throttle { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK };
    let answer = Throttle {
        schema: "understudy/v1/throttle".to_owned(),
        throttle,
        lag_seconds: report.lag_seconds,
        threshold_seconds,
        backpressure: report.backpressure,
    };
    (code, NO_STORE, axum::Json(answer)).into_response()
}
