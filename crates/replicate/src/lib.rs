//! The loop that keeps green in step: follow the stream, place chunks, batch, apply, confirm.
//!
//! [`Core`] decides everything and does nothing: events in, work out, no clock and no socket. [`Pipeline`] connects it to
//! a stream, to readers of blue and to green. Tests drive the core alone, through every interleaving.
//!
//! Where a log lies between blue and green both work twice: once from blue into the log, with routes that change nothing, and
//! once from the log into green, by [`LogCore`] and [`LogPipeline`].

mod core;
mod log;
mod pipeline;
mod readers;
mod tally;
mod writer;

mod batch;
mod green_rows;
mod relations;

mod copy_plan;
mod effect;
mod heal;
mod visibility;
mod window;

mod retry;
mod rules;

pub use crate::core::{Core, CoreSettings, CoreStart, DetachPolicy, Progress, ReadJob, Work};
pub use crate::log::{
    Beat, LogCore, LogLimits, LogPipeline, LogSettings, LogStart, in_order as key_in_order,
};
pub use copy_plan::UnitProgress;
pub use pipeline::{End, Limits, Observer, Pipeline, Reread, Ticks};
pub use retry::{Decision, decide};
pub use rules::{Rule, Rules};
pub use tally::{Healed, RouteKeys, RouteTally, Tally};
