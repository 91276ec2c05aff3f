//! What tests stand on: a simulated blue, an in-memory green, a scheduler that interleaves them at random, and the
//! suite of sentences that every sink must keep.
//!
//! Nothing here reads a clock or opens a socket, and every choice follows from a seed.

mod dice;

pub mod blue;
pub mod fake_log;
pub mod green;
pub mod sim;
pub mod suite;
pub mod workload;

pub use dice::Dice;
