//! What verification promises, tried on two servers in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails says so")]

mod changed;
mod mismatches;
mod passes;
mod requests;
mod running;
mod trouble;

mod harness;
mod ledger;
mod world;
