//! The gate against everything that can be missing, old or bad, and over time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails says so")]

mod held;
mod never_open;
mod scene;
mod soak;
