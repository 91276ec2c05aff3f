//! The log as Debezium's connector for Postgres writes it: a topic of JSON for each table.
//!
//! Of other people's topics less is certain than of ours. Only within a partition are changes in order, and each comes at
//! least once; so every change is applied whether or not the row is as it says, and what comes twice ends as it was. How
//! far blue is read whole tells what the connector itself has noted: in Connect's offsets, or at its slot.

mod shape;
mod text;

mod fault;
mod offsets;
mod record;

mod blue;
mod place;
mod windows;

mod intake;
mod kept;
mod lag;
mod log;
mod reach;

pub mod preflight;

#[cfg(test)]
mod tests;

pub use blue::{BlueLook, BlueRows, DebeziumAsk, RowsRead};
pub use lag::DebeziumLag;
pub use log::{DebeziumLog, DebeziumStart};
pub use text::{BinaryForm, DecimalForm, Declared, Kind, TimeForm};

use std::sync::Arc;

use understudy_model::Relation;

/// What is set for topics that Debezium writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebeziumSettings {
    /// What tells how far the connector has come.
    pub progress: Progress,
    /// What records without a schema are taken to hold.
    pub declared: Declared,
}

impl Default for DebeziumSettings {
    fn default() -> DebeziumSettings {
        DebeziumSettings { progress: Progress::Slot("debezium".to_owned()), declared: Declared::default() }
    }
}

/// What tells how far the connector has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The topic in which Kafka Connect keeps its offsets: it names a place once everything before it is in Kafka.
    Offsets(String),
    /// The connector's slot on blue, of this name: it confirms what is in Kafka, unless brokers answer out of turn.
    Slot(String),
}

/// A table of blue, as rows of its topic are read.
#[derive(Debug, Clone)]
pub struct DebeziumTable {
    /// The table.
    pub relation: Arc<Relation>,
    /// For each of its columns how its values are read.
    pub kinds: Vec<Kind>,
    /// Which of its columns name its rows, in the order of their keys.
    pub key: Vec<usize>,
    /// Those of its columns that have a default and may be null all the same.
    pub defaulted: Vec<usize>,
    /// Columns of the table that nobody reads: records have them too.
    pub unread: Vec<String>,
}
