//! Green on a real server: what is applied, placed, recorded, refused and made durable.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails says so"
)]

mod support;

#[path = "sink/green.rs"]
mod green;

#[path = "sink/forms.rs"]
mod forms;

#[path = "sink/numbering.rs"]
mod numbering;

#[path = "sink/collisions.rs"]
mod collisions;

#[path = "sink/expectations.rs"]
mod expectations;

#[path = "sink/refusals.rs"]
mod refusals;

#[path = "sink/emptying.rs"]
mod emptying;

#[path = "sink/placing.rs"]
mod placing;

#[path = "sink/healing.rs"]
mod healing;

#[path = "sink/filtered.rs"]
mod filtered;

#[path = "sink/rereading.rs"]
mod rereading;

#[path = "sink/computing.rs"]
mod computing;

#[path = "sink/leaving.rs"]
mod leaving;

#[path = "sink/merging.rs"]
mod merging;

#[path = "sink/owners.rs"]
mod owners;

#[path = "sink/persisting.rs"]
mod persisting;

#[path = "sink/cursors.rs"]
mod cursors;

#[path = "sink/suite.rs"]
mod suite;
