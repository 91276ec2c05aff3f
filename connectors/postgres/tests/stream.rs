//! The wire client and the replication stream against a real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails says so"
)]

mod support;

#[path = "stream/client.rs"]
mod client;
#[path = "stream/feedback.rs"]
mod feedback;
#[path = "stream/harness.rs"]
mod harness;
#[path = "stream/login.rs"]
mod login;
#[path = "stream/slots.rs"]
mod slots;
#[path = "stream/streaming.rs"]
mod streaming;
