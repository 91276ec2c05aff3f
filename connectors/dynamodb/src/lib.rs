//! DynamoDB as green.

mod settings;

mod client;

mod calls;
mod error;
mod limiter;

mod state;

mod sink;

pub mod estimate;
pub mod layout;
pub mod types;

pub use calls::CallSettings;
pub use client::connect;
pub use error::Error;
pub use settings::{ClientSettings, Keys, Role, Secret};
pub use sink::{Batches, DynamoSink, DynamoTable, Leaves, NoLeaves, OnError, SinkSettings};
