//! The gate: from dated evidence and a policy to open, or held with reasons. Holds no sockets and reads no clock.
//!
//! [`evaluate`] judges one moment: each check is a sentence about one kind of evidence. A [`Gate`] watches the moments
//! follow each other and opens only once all of them were good without a break for as long as the policy asks. Evidence
//! that is missing or too old holds the gate like evidence that is bad.

mod gate;

mod check;
mod evaluate;
mod names;

mod evidence;
mod policy;

mod calendar;
mod words;

pub use calendar::{Freeze, Weekly, Window};
pub use check::{Check, Status};
pub use evaluate::evaluate;
pub use evidence::{
    ChangedRows, ComparedTable, CopiedTable, Dated, Evidence, Millis, ProbeOutcome, Probed, Replication,
    ReplicationState, Verification, fresh_for,
};
pub use gate::{Gate, Verdict};
pub use names::GateName;
pub use policy::{Accepted, Limit, Policy, ProbePolicy, QueryPolicy};
pub use words::span;
