//! The `gate` section of the migration file: what must hold, and for how long, before the flip.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::raw::Span;
use super::resolve::Resolver;
use super::yaml::Placed;

/// What must hold, and for how long, before the flip.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Gate")]
#[serde(default)]
pub(super) struct RawGate {
    /// How far green may be behind at most, over the whole soak (99 % of samples).
    pub(super) max_lag: Placed<Span>,
    /// How long everything must have held without a break.
    pub(super) soak: Placed<Span>,
    /// The share of rows, above 0 and at most 1, that must have been verified.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(super) coverage: Placed<f64>,
    /// How long ago a row may have been verified at most.
    pub(super) max_age: Placed<Span>,
}

impl Default for RawGate {
    fn default() -> RawGate {
        let span = |text: &str| Placed::from(Span(text.to_owned()));
        RawGate { max_lag: span("1s"), soak: span("15m"), coverage: 1.0.into(), max_age: span("24h") }
    }
}

/// What must hold, and for how long, before the flip.
#[derive(Debug, Clone, PartialEq)]
pub struct GateSettings {
    /// How far green may be behind at most.
    pub max_lag: Duration,
    /// How long everything must have held without a break.
    pub soak: Duration,
    /// The share of rows that must have been verified.
    pub coverage: f64,
    /// How long ago a row may have been verified at most.
    pub max_age: Duration,
}

impl Resolver<'_> {
    pub(super) fn gate(&mut self, raw: &RawGate) -> Option<GateSettings> {
        let max_lag = self.span(&raw.max_lag, "gate.max_lag");
        let soak = self.span(&raw.soak, "gate.soak");
        let max_age = self.span(&raw.max_age, "gate.max_age");
        Some(GateSettings { max_lag: max_lag?, soak: soak?, coverage: raw.coverage.value, max_age: max_age? })
    }
}
