//! Asking blue and green the queries of an application: in short transactions that write nothing, with the search path
//! that an application has.
//!
//! `blue` and `green` keep the sentences on the traits. Both ask through `session`: a connection that is lent to one call at
//! a time, and a transaction that has ended on every path. `plan` reads what the server means to do.

mod blue;
mod green;

mod plan;
mod session;

use std::time::Duration;

pub use blue::PostgresBlueProbe;
pub use green::PostgresGreenProbe;

/// How much one question may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeLimits {
    /// How long one statement may run.
    pub statement: Duration,
    /// How long a table lock is waited for.
    pub lock: Duration,
    /// How long green is waited for until it has applied what is asked for.
    pub green_patience: Duration,
}

impl Default for ProbeLimits {
    fn default() -> ProbeLimits {
        ProbeLimits {
            statement: Duration::from_secs(5),
            lock: Duration::from_secs(1),
            green_patience: Duration::from_secs(10),
        }
    }
}
