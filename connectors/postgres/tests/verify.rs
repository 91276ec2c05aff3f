//! Rows read for comparison, on real servers: what digests tell apart, which rows are found, and how reading can end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails says so"
)]

mod databases;
mod support;

#[path = "verify/harness.rs"]
mod harness;

#[path = "verify/forms.rs"]
mod forms;

#[path = "verify/telling.rs"]
mod telling;

#[path = "verify/ranges.rs"]
mod ranges;

#[path = "verify/keyed.rs"]
mod keyed;

#[path = "verify/versions.rs"]
mod versions;

#[path = "verify/endings.rs"]
mod endings;

#[path = "verify/moments.rs"]
mod moments;

#[path = "verify/awaited.rs"]
mod awaited;
