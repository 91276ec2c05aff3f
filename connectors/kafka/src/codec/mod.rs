//! What stands in the topics, byte by byte. No network, no clock: everything here is a plain function of its arguments.

mod envelope;
mod partition;
mod schema;

mod group;
mod request;
mod state;

mod error;
mod wire;

pub use envelope::{
    DataHeaders, DataRecord, Joiner, RecordOrder, Records, RowEvent, Stamp, TableCodec, UNAVAILABLE,
};
pub(crate) use envelope::{PLACE, TOMBSTONE, placed_in_group};
pub(crate) use group::entry_bytes_max;
pub use partition::{colliding_tables, partition_of};
pub use schema::{SchemaColumn, SchemaRecord};

pub use group::{Beat, GROUP_BYTES_MAX, Group, GroupTable, LeafOrTables, Part, Truncated, Work};
pub use request::{Asked, Request};
pub use state::{
    DoneRange, DoneRanges, FoldedState, Owner, Progress, RouteState, StateFold, StateKey, StateRecord,
    UnitState, progress_records,
};

pub use error::CodecError;
pub(crate) use error::RUN_LATER;
