//! Probes against real servers: what is answered at which moment, what is told apart, and what a query may not do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails says so"
)]

mod databases;
mod support;

#[path = "probes/harness.rs"]
mod harness;

#[path = "probes/answers.rs"]
mod answers;
#[path = "probes/plans.rs"]
mod plans;
