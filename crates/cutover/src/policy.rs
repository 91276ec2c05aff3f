//! What must hold before the flip.

use crate::calendar::Freeze;

/// The bound of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// The figure must be below it.
    Below(f64),
    /// The figure must be above it.
    Above(f64),
}

/// A query whose answer must stay on one side of a bound.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryPolicy {
    /// Its name.
    pub name: String,
    /// The bound.
    pub limit: Limit,
}

/// A probe whose answers must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbePolicy {
    /// Its name.
    pub name: String,
    /// How often it is asked, in milliseconds.
    pub every_ms: u64,
}

/// A finding that somebody decided to live with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The subject of the finding.
    pub what: String,
    /// Why it does no harm.
    pub reason: String,
}

/// What must hold before the flip.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How far green may be behind at most, in seconds.
    pub max_lag_seconds: f64,
    /// How long everything must have held without a break, in milliseconds.
    pub soak_ms: u64,
    /// The share of rows that must have been verified.
    pub coverage: f64,
    /// How long ago a row may have been verified at most, in milliseconds.
    pub max_age_ms: u64,
    /// How long a changed row may wait for its check at most, in milliseconds.
    pub max_changed_ms: u64,
    /// Queries.
    pub queries: Vec<QueryPolicy>,
    /// Probes.
    pub probes: Vec<ProbePolicy>,
    /// Times at which nothing is flipped.
    pub freezes: Vec<Freeze>,
    /// Findings on the servers that somebody decided to live with.
    pub accepted: Vec<Accepted>,
}
