//! The whole product on real servers: every promise of the design that a single process cannot show.
//!
//! Each test starts its own clusters, runs the sidecar as users run it, and compares both sides row for row.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]
#![allow(clippy::print_stdout, reason = "measured figures are shown")]

mod follow;
mod identities;
mod partitions;
mod publications;
mod types;

mod crash;
mod instances;
mod visibility;

mod idle;
mod memory;
mod schema;

mod projects;

mod bad_input;
mod bad_settings;
mod commands;

mod verify;

mod dynamodb;
mod kafka;

mod plan;
mod transforms;
