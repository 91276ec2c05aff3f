//! The vocabulary of Understudy: positions, snapshots, tables, rows and changes.
//!
//! Plain values only: no I/O, no async, no clock, no serialisation. Wire forms live at the edges that need them.

mod calendar;

mod position;
mod snapshot;
mod watermarks;

mod table;
mod tuple;

mod change;
mod chunk;

pub use calendar::{CivilDate, month_days};
pub use position::{Checkpoint, Lsn, ParseLsnError, Position};
pub use snapshot::{ParseSnapshotError, Snapshot, Xid};
pub use watermarks::Watermarks;

pub use table::{Column, Relation, RelationId, ReplicaIdentity, RouteId, TableName};
pub use tuple::{Key, Tuple, TupleBuilder, Value, push_copy_escaped};

pub use change::{Before, CommitMark, HealKey, OldImage, Refusal, RowChange, SourceChange};
pub use chunk::{BlockRange, ChunkId, Ctid, Nonce, UnitId};
