//! What a worker is asked to read, and what it brings back.

use understudy_contract::{Answer, BlueRead, Detail, GreenRead, KeyRange, RangeDigest, RowName, RowSeen};
use understudy_model::{Key, RouteId};

use crate::throttle::Spent;

/// The number of a job within a run; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// One piece of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Its route.
    pub route: RouteId,
    /// What is read.
    pub task: Task,
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Where a range ends that begins beyond a key.
    Boundary {
        /// The side by whose key ranges are cut.
        side: Side,
        /// Beyond this key.
        after: Option<Key>,
        /// Rows that it is to hold.
        rows: u64,
    },
    /// The digest of a range: blue, then green.
    Digests(KeyRange),
    /// The rows of a range of both sides: blue, then green.
    Both(KeyRange),
    /// The rows of a range of both sides, twice each, with the digest read in between: blue, then green.
    Audit(KeyRange),
    /// The rows of a range of blue, then those of green under their names.
    FromBlue(KeyRange),
    /// The rows of a range of green, then those of blue under their names.
    FromGreen {
        /// The range.
        range: KeyRange,
        /// Whether blue computes the key of every row, because green's rows do not tell it.
        thorough: bool,
    },
    /// Rows under their names: blue, then green.
    Names {
        /// The names.
        names: Vec<RowName>,
        /// How much of each row.
        detail: Detail,
        /// Whether blue computes the key of every row for it.
        thorough: bool,
    },
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Where the rows come from.
    Blue,
    /// Where they go.
    Green,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The job's number.
    pub id: JobId,
    /// For how long each side was kept busy.
    pub spent: Spent,
    /// What was read, in the shape of the task.
    pub answer: Answer<Brought>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brought {
    /// Of [`Task::Boundary`].
    Boundary(Option<Key>),
    /// Of [`Task::Digests`].
    Digests(BlueRead<RangeDigest>, GreenRead<RangeDigest>),
    /// Of [`Task::Both`] and [`Task::Names`].
    Rows(BlueRead<Vec<RowSeen>>, GreenRead<Vec<RowSeen>>),
    /// Of [`Task::Audit`].
    Audit(Box<Audit>),
    /// Of [`Task::FromBlue`]: green is read in pieces, each in a moment of its own.
    FromBlue(BlueRead<Vec<RowSeen>>, Vec<GreenRead<Vec<RowSeen>>>),
    /// Of [`Task::FromGreen`]: blue is read in pieces, each in a moment of its own.
    FromGreen(GreenRead<Vec<RowSeen>>, Vec<BlueRead<Vec<RowSeen>>>),
}

/// The rows of a range before and after its digest was read, in this order for each side, blue first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Blue's rows before.
    pub blue_before: BlueRead<Vec<RowSeen>>,
    /// Blue's digest.
    pub blue_digest: BlueRead<RangeDigest>,
    /// Blue's rows after.
    pub blue_after: BlueRead<Vec<RowSeen>>,
    /// Green's rows before.
    pub green_before: GreenRead<Vec<RowSeen>>,
    /// Green's digest.
    pub green_digest: GreenRead<RangeDigest>,
    /// Green's rows after.
    pub green_after: GreenRead<Vec<RowSeen>>,
}
