//! Dual reads: pairs of queries asked on both sides for ever, and what their answers come to.
//!
//! [`Probes`] says what to ask next and keeps what is known; [`Settling`] rules on one asking; `drive` does one step of it
//! through the connectors. Nothing here holds a value of an answer.

mod drive;
mod settling;
mod state;

mod latency;
mod plans;
mod report;

pub use drive::{Stepped, step};
pub use settling::{Settling, Step, Verdict};
pub use state::{Asked, Next, ProbePlan, Probes, Span, Task};

pub use latency::Latencies;
pub use plans::regressions;
pub use report::{DifferingSet, Latency, ProbeReport, ProbeSide, ProbeState};
