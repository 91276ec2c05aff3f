//! Continuous comparison of both sides: what is read next, what a difference comes to, and what is known so far.
//!
//! [`settle`] rules on single rows from pairs of reads. The rest decides what to read, keeps the ledger and reports.

mod circumstances;
mod report;

pub mod settle;

pub use circumstances::{Circumstances, Clock, Load, Millis};
pub use report::{ChangedReport, RouteReport, RouteState, VerifyReport};
