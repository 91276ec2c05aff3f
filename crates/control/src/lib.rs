//! The HTTP interface: probes, metrics and status. It carries what the pipeline reports and decides nothing.
//!
//! The pipeline fills a [`Status`]; [`serve`] answers from it, and the gauges on `/metrics` are taken from it at each
//! scrape, so that no two places can disagree.

mod clock;
mod gauges;
mod lag;
mod server;
mod status;

pub use clock::rfc3339;
pub use lag::MarkerLag;
pub use server::{Metrics, MetricsError, serve};
pub use status::{
    Phase, Positions, ProjectStatus, SlotStatus, Status, StatusHandle, StatusReport, TableState, TableStatus,
    WalStatus,
};
