//! The gate while the sidecar runs: gathers the evidence, has it judged every second and puts the verdicts up for HTTP.
//!
//! It runs beside the pipeline and not within it, so that a pipeline that fails holds the gate. What verification, probes
//! and the look at both servers know comes by way of a [`VerifyBoard`].

mod board;
mod evaluator;

mod documents;
mod evidence;
mod time;

mod answer;
mod client;
mod prometheus;

pub use board::VerifyBoard;
pub use evaluator::{Evaluator, GATES, bulletin};
