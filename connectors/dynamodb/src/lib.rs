//! DynamoDB as green.

mod settings;

mod client;

mod calls;
mod error;
mod limiter;
mod meter;

mod state;

mod sink;

mod definitions;
mod remembered;

mod verify;
mod verify_ledger;

pub mod estimate;
pub mod layout;
pub mod preflight;
pub mod types;

pub use aws_sdk_dynamodb::Client;
pub use aws_sdk_dynamodb::types::AttributeValue;
pub use calls::CallSettings;
pub use client::connect;
pub use definitions::{TableDefinition, TableKey};
pub use error::Error;
pub use meter::{CallFigures, Figures, TableFigures};
pub use remembered::{Books, Remembered, RememberedRoute};
pub use settings::{ClientSettings, Keys, Role, Secret};
pub use sink::{
    Batches, DynamoSink, DynamoTable, Forget, Judge, Leaves, Meter, NoLeaves, OnError, SEGMENTS_MAX,
    SinkSettings, SweepSettings, Swept, Transactions, forget, given_up, sweep,
};
pub use verify::{DynamoGreenRows, ReadLimits, ReaderSettings, StoredBlueRows, StoredRoute};
pub use verify_ledger::{DynamoBooks, DynamoVerifyLedger, LedgerSettings};
