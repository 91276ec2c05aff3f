//! What the end-to-end tests share: a pair of clusters, a broker, the sidecar as a child process, and row-by-row comparison.
//!
//! Clusters, shop and load are those of the demo. Everything here stops the test with a message when something
//! unexpected happens; nothing is returned to be ignored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]
#![allow(clippy::print_stdout, reason = "a skipped test is named")]

mod jars;
mod ports;
mod process;
mod wait;

mod dynamodb;
mod kafka;
mod pair;
mod session;

mod http;
mod migration;
mod sidecar;

mod campaign;
mod record;

mod compare;
mod shop;
mod snapshot;

pub use ports::Port;
pub use process::{Exit, Process, Signal};
pub use wait::{hold, until, until_within};

pub use dynamodb::{Calls, Dynamo, DynamoProxy, Fault, When};
pub use kafka::{Connect, Connector, Kafka, Listener, On, PASSWORD, Right, STRANGER, Schemas, USER};
pub use pair::{Pair, all_processes};
pub use session::Session;
pub use understudy::demo::cluster::Scratch;

pub use migration::{Migration, through};
pub use sidecar::{Sidecar, understudy, understudy_with};

pub use campaign::{Campaign, Size, is_campaign};
pub use record::{Figures, Record};

pub use compare::{Same, assert_same};
pub use shop::Shop;
pub use snapshot::Snapshot;
