//! Readiness against real servers: each way of not being ready is provoked, and its remedy mends it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails says so"
)]

mod databases;
mod support;

#[path = "readiness/harness.rs"]
mod harness;

#[path = "readiness/alone.rs"]
mod alone;
#[path = "readiness/constraints.rs"]
mod constraints;
#[path = "readiness/indexes.rs"]
mod indexes;
#[path = "readiness/people.rs"]
mod people;
#[path = "readiness/sequences.rs"]
mod sequences;
#[path = "readiness/settings.rs"]
mod settings;
#[path = "readiness/staying.rs"]
mod staying;
#[path = "readiness/transactions.rs"]
mod transactions;
#[path = "readiness/whole.rs"]
mod whole;
