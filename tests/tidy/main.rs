//! The rules of the house, read off the sources: who may depend on whom, what documents may claim, what code may not do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a rule that cannot be read is broken"
)]

mod tree;

mod alerts;
mod compose;
mod crates;
mod documents;
mod expressions;
mod reference;
mod sources;
