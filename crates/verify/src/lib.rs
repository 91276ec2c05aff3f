//! Continuous comparison of both sides: what is read next, what a difference comes to, and what is known so far.
//!
//! [`settle`] rules on single rows from pairs of reads. [`VerifyCore`] decides what to read and what is known, and does
//! nothing: no clock and no socket. [`Drive`] connects it to readers of both sides and to the ledger.

mod core;
mod drive;
mod workers;

mod cause;
mod compare;

mod changed;
mod circumstances;
mod report;
mod settings;
mod throttle;

pub mod probes;
pub mod settle;

pub use crate::core::{Audit, Brought, Done, Explain, Job, JobId, Side, Task, VerifyCore, VerifyStart};
pub use drive::{Drive, Explainer, VerifyObserver};

pub use cause::{Evidence, classify};
pub use changed::ChangedRows;
pub use circumstances::{Circumstances, Clock, Load, Millis};
pub use compare::differing;
pub use report::{ChangedReport, RouteReport, RouteState, VerifyReport};
pub use settings::{VerifyLimits, VerifySettings};
pub use throttle::Spent;
