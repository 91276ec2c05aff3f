//! The demonstration: a shop under load moves from one throw-away cluster to another with a different layout.
//!
//! `story` is the demonstration itself, `proof` its part about verification and the gate, and `generate` the load generator alone, as the containers use it. The
//! parts serve tests and benchmarks too: `cluster` runs servers, `sidecar` runs ours, `loadgen` makes and records
//! changes, `compare` reads both sides.

mod args;
mod generate;
mod proof;
mod signals;
mod story;

pub mod cluster;
pub mod installation;
pub mod port;
pub mod sidecar;

pub mod compare;
pub mod loadgen;
pub mod shop;

pub mod screen;

pub use args::{DemoArgs, LoadgenArgs};
pub use generate::generate;
pub use story::{Ending, run};
