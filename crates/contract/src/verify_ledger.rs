//! What verification remembers on green: ranges and when each was last seen equal, open mismatches, and what people ask.

use std::future::Future;

use understudy_model::{Key, Lsn, RouteId, Xid};

use crate::Failure;
use crate::row_reader::{KeyRange, RangeDigest, RowName};

/// Which way a pass goes over a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sweep {
    /// Both sides by the same intervals.
    Both,
    /// Blue's rows by blue's key, each looked up on green.
    Blue,
    /// Green's rows by green's key, each looked up on blue.
    Green,
}

/// One range of a route and when it was last seen equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRecord {
    /// Which way.
    pub sweep: Sweep,
    /// Its bounds. A range is known by its lower bound.
    pub range: KeyRange,
    /// Rows seen in it last.
    pub rows: u64,
    /// Blue's digest of it then.
    pub digest: RangeDigest,
    /// It was last seen equal, but for rows that are recorded as mismatches, pending or suspended, at this address of blue's
    /// log; `None` when never.
    pub verified: Option<Lsn>,
    /// Every transaction of blue below this one had ended by then.
    pub horizon: Option<Xid>,
    /// Milliseconds since then, at the moment of writing or reading the record.
    pub age_ms: u64,
}

/// A route's passes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PassRecord {
    /// The pass under way, or the last one; counted from one.
    pub number: u64,
    /// Passes completed.
    pub completed: u64,
    /// Milliseconds since the last one was completed; `None` when none was.
    pub completed_age_ms: Option<u64>,
    /// Changes up to this address that were not followed row by row: only ranges verified at it or later count.
    pub dirty_upto: Lsn,
}

/// In which way a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MismatchKind {
    /// Blue has it and green lacks it.
    Missing,
    /// Green has it and blue does not.
    Extra,
    /// Both have it with different values.
    Differs,
}

impl MismatchKind {
    /// Every kind, by name.
    pub const ALL: [MismatchKind; 3] = [MismatchKind::Missing, MismatchKind::Extra, MismatchKind::Differs];

    /// Its name in tables, labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            MismatchKind::Missing => "missing",
            MismatchKind::Extra => "extra",
            MismatchKind::Differs => "differs",
        }
    }
}

/// What made a row differ, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// A change of blue has no effect on green.
    MissedEvent,
    /// Somebody else than us wrote green.
    ForeignWrite,
    /// Large values that an update did not send are out of date or absent.
    PartialRow,
    /// The values are the same number to fewer digits.
    Precision,
    /// The values are the same but for case, padding, normal form or time zone.
    CollationOrZone,
    /// The mapping, as replication evaluates it, does not give what blue itself computes.
    Mapping,
    /// Green refused the row, or it could not be computed: it is set aside.
    SetAside,
    /// None of these could be shown.
    Unknown,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 8] = [
        Cause::MissedEvent,
        Cause::ForeignWrite,
        Cause::PartialRow,
        Cause::Precision,
        Cause::CollationOrZone,
        Cause::Mapping,
        Cause::SetAside,
        Cause::Unknown,
    ];

    /// Its name in tables, labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::MissedEvent => "missed_event",
            Cause::ForeignWrite => "foreign_write",
            Cause::PartialRow => "partial_row",
            Cause::Precision => "precision",
            Cause::CollationOrZone => "collation_or_zone",
            Cause::Mapping => "mapping",
            Cause::SetAside => "set_aside",
            Cause::Unknown => "unknown",
        }
    }
}

/// How a mismatch came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resolution {
    /// It was seen equal without a repair.
    Converged,
    /// It was seen equal after a repair had been asked for.
    Repaired,
    /// Somebody decided to live with it.
    Waived,
    /// Its route is no longer part of the migration, or is compared in another way.
    Gone,
}

impl Resolution {
    /// Every resolution.
    pub const ALL: [Resolution; 4] =
        [Resolution::Converged, Resolution::Repaired, Resolution::Waived, Resolution::Gone];

    /// Its name in tables, labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Resolution::Converged => "converged",
            Resolution::Repaired => "repaired",
            Resolution::Waived => "waived",
            Resolution::Gone => "gone",
        }
    }
}

/// The number of a mismatch within its migration, from one; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MismatchId(pub u64);

impl std::fmt::Display for MismatchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// A row that was proved to differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MismatchRecord {
    /// Its number.
    pub id: MismatchId,
    /// Its route.
    pub route: RouteId,
    /// The row.
    pub name: RowName,
    /// In which way it differs.
    pub kind: MismatchKind,
    /// The columns of green that differ; empty for a row that one side lacks.
    pub columns: Vec<String>,
    /// What made it differ.
    pub cause: Cause,
    /// Digests of both rows when it was found, as hexadecimal text; empty for a row that is not there. A waiver holds as long
    /// as the row differs in just this way.
    pub digests: (String, String),
    /// Where blue's log was when it was found.
    pub found_at: Lsn,
    /// Whether the stream found it, and not a comparison.
    pub by_stream: bool,
    /// Whether a repair has been asked for since.
    pub repair_asked: bool,
    /// Who waived it, and why; `None` while it is open.
    pub waived: Option<Waiver>,
}

/// Somebody's decision to live with a mismatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What people ask of verification, by way of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Read these rows of blue again and place them on green.
    Repair(Vec<MismatchId>),
    /// Live with this one.
    Waive(MismatchId, Waiver),
    /// Begin a new pass over these tables of blue, or all when none is named, and verify every range anew.
    Pass(Vec<understudy_model::TableName>),
    /// Change limits until the next start. Names are those of the migration file under `verify`; values are its texts.
    Limits(Vec<(String, String)>),
}

/// What is written to the ledger. All of one call is committed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerWrite {
    /// The route is compared in a new way: its ranges and passes are forgotten.
    Plan {
        /// The route.
        route: RouteId,
        /// The fingerprint of its comparison.
        fingerprint: String,
    },
    /// A range is new, or was read again.
    Range(RouteId, RangeRecord),
    /// A range is no more, since its neighbours cover it.
    Forget(RouteId, Sweep, Option<Key>),
    /// Where the route's passes are.
    Pass(RouteId, PassRecord),
    /// Every change up to here has been checked row by row, or its route is marked.
    ChangedUpto(Lsn),
    /// A mismatch is new, or is not as it was.
    Mismatch(MismatchRecord),
    /// A mismatch has come to an end.
    Resolved(MismatchId, Resolution),
    /// What came of a request, in words.
    Answered(u64, String),
}

/// What the ledger holds of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedComparison {
    /// The route.
    pub route: RouteId,
    /// The fingerprint of its comparison.
    pub fingerprint: String,
    /// Its passes.
    pub pass: PassRecord,
    /// Its ranges, in no particular order.
    pub ranges: Vec<RangeRecord>,
}

/// What the ledger holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SavedVerification {
    /// Routes that this run has too.
    pub routes: Vec<SavedComparison>,
    /// Mismatches that are open, or waived and not known to be gone.
    pub mismatches: Vec<MismatchRecord>,
    /// The highest number of a mismatch, open or not.
    pub last_mismatch: u64,
    /// Every change up to here has been checked row by row, or its route is marked.
    pub changed_upto: Lsn,
    /// Where green is.
    pub checkpoint: Lsn,
}

/// What happened on green and in the ledger since it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerNews {
    /// Requests that wait for an answer, oldest first; each is told once.
    pub requests: Vec<Request>,
    /// Rows that the stream found not to be as a completed copy promises, and mended.
    pub surprises: Vec<(RouteId, RowName, MismatchKind, Lsn)>,
}

/// The ledger of verification on green. One verifier at a time holds it.
///
/// - [`VerifyLedger::claim`] comes first; it fails as transient while another verifier holds the ledger.
/// - What a call writes is durable when it returns, all of it or nothing.
pub trait VerifyLedger: Send {
    /// Takes the ledger, and reads what it holds.
    fn claim(&mut self) -> impl Future<Output = Result<SavedVerification, Failure>> + Send;

    /// Writes.
    fn write(&mut self, entries: &[LedgerWrite]) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What is new since the last call.
    fn news(&mut self) -> impl Future<Output = Result<LedgerNews, Failure>> + Send;
}
