//! What connectors promise: the few traits that they implement, the values that cross them, and how they fail.
//!
//! Each guarantee is a sentence on the trait; `understudy-testkit` holds a case for each.

mod failure;
mod finding;

mod change_log;
mod change_stream;
mod chunk_reader;

mod change_sink;
mod saved;

mod compared_route;
mod probe;
mod readiness;
mod row_reader;
mod told;
mod verify_ledger;

pub use failure::{Class, Failure};
pub use finding::{Finding, Findings, Severity};

pub use change_log::{AskCapture, ChangeLog, Cursor, LogEvent, LoggedChunk, LoggedEntry, LoggedKind, Wanted};
pub use change_stream::{ChangeStream, Confirm, StreamEvent};
pub use chunk_reader::{
    Blocker, BlueCatalog, ChunkOutcome, ChunkReader, ChunkRequest, ChunkRows, ChunkScope, ColumnMarks, Unit,
};

pub use change_sink::{
    Applied, Batch, BlueNames, ChangeSink, ChunkDone, GreenTable, LedgerEntry, Origin, PlacedChunk,
    PlacedKind, RawNotes, TypesFrom,
};
pub use saved::{Lineage, Saved, SavedRoute, SavedUnit};

pub use compared_route::{
    ColumnQuery, CompareRule, ComparedColumn, ComparedRoute, KeyPart, KeyRelation, SideQuery,
};
pub use probe::{
    AnswerDifference, BlueAnswer, BlueProbe, GreenAnswer, GreenProbe, NotAnswered, ProbeAnswer, ProbeParams,
    ProbeQuery, ScannedRelation, Tried,
};
pub use readiness::{Found, Lack, Readiness, ReadinessCheck};
pub use row_reader::{
    Answer, Awaited, Awaits, BlueMoment, BlueRead, BlueRows, Detail, GreenMoment, GreenRead, GreenRows,
    KeyRange, NotRead, RangeDigest, RowDigest, RowName, RowSeen, RowVersion, SeenValue, Which,
};
pub use told::{KnownMismatch, TableProgress, WhichMismatches, key_hash};
pub use verify_ledger::{
    Ask, Cause, LedgerNews, LedgerWrite, MismatchId, MismatchKind, MismatchRecord, PassRecord, RangeRecord,
    Request, Resolution, SavedComparison, SavedVerification, Sweep, VerifyLedger, Waiver,
};
