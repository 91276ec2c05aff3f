//! DynamoDB as green.

mod settings;

mod client;

pub mod estimate;
pub mod layout;
pub mod types;

pub use client::connect;
pub use settings::{ClientSettings, Keys, Role, Secret};
