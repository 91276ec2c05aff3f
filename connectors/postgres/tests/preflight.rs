//! Preflight against real servers: each kind of finding is provoked, and a sound migration provokes none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails says so"
)]

mod databases;
mod support;

#[path = "preflight/harness.rs"]
mod harness;

#[path = "preflight/alive.rs"]
mod alive;
#[path = "preflight/described.rs"]
mod described;
#[path = "preflight/facts.rs"]
mod facts;
#[path = "preflight/rights.rs"]
mod rights;
#[path = "preflight/routes.rs"]
mod routes;
#[path = "preflight/servers.rs"]
mod servers;
#[path = "preflight/tables.rs"]
mod tables;
#[path = "preflight/whole.rs"]
mod whole;
