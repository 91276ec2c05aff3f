//! Everything behind the `understudy` binary: settings, assembly, supervision and the command line.
//!
//! A library, so that the tests and the benchmarks drive the same code as `main`. `cli` reads what was typed, `settings`
//! the migration file; `supervise` keeps a migration running, one `assemble` at a time.

pub mod cli;

pub mod settings;

mod assemble;
mod captured;
mod collisions;
pub mod comparing;
pub mod faults;
pub mod gate;
mod green;
pub mod guard;
pub mod mapping;
mod monitor;
pub mod opinion;
pub mod prepare;
pub mod probing;
pub mod project;
mod publishing;
mod reporting;
pub mod routes;
pub mod scope;
pub mod supervise;
mod verifying;

pub mod demo;
