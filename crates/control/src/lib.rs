//! The HTTP interface: probes, metrics, status, gates and verification. It carries what is reported and decides nothing.
//!
//! The pipeline fills a [`Status`], the gate's evaluator a [`Bulletin`]; [`serve`] answers from them, and the gauges on
//! `/metrics` are taken from them at each scrape, so that no two places can disagree.

mod server;

mod bulletin;
mod gates;
mod status;
mod summary;
mod verify;

mod clock;
mod gauges;
mod lag;
mod tables;

pub use bulletin::{Bulletin, BulletinHandle};
pub use clock::rfc3339;
pub use gates::{GateCheck, GateDocument, GateLag, GateMismatches, GateSoak, GateVerdict};
pub use lag::MarkerLag;
pub use server::{Metrics, MetricsError, serve};
pub use status::{
    PartitionStatus, Phase, Positions, ProjectStatus, SlotStatus, Status, StatusHandle, StatusReport,
    TableState, TableStatus, ThroughStatus, WalStatus,
};
pub use summary::{GateSummary, VerifySummary};
pub use verify::{ByEnd, ByKind, MismatchEntry, VerifyChanged, VerifyDocument, VerifyRule, VerifyTable};
