//! Chunks and the catalog against a real server: what a chunk holds, and that every change under it shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails says so"
)]

mod databases;
mod support;

#[path = "catalog/harness.rs"]
mod harness;

#[path = "catalog/chunks.rs"]
mod chunks;
#[path = "catalog/units.rs"]
mod units;
