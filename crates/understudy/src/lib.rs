//! Everything behind the `understudy` binary: settings, assembly, supervision and the command line.
//!
//! A library, so that the tests and the benchmarks drive the same code as `main`. `cli` reads what was typed, `settings`
//! the migration file; `supervise` keeps a migration running, one `assemble` at a time.

pub mod cli;

pub mod settings;

mod assemble;
mod monitor;
pub mod prepare;
mod publishing;
pub mod reporting;
pub mod routes;
pub mod supervise;

pub mod demo;
