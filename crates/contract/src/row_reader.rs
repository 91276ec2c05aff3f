//! Reading rows of both sides for comparison: digests of ranges, rows by key, and the moments that they were read at.

use std::future::Future;

use understudy_model::{Checkpoint, Key, Lsn, Nonce, RouteId, Snapshot, Xid};

use crate::Failure;

/// The rows whose keys lie in an interval, in the order that the side which is read has for its own key columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct KeyRange {
    /// Beyond this key; `None` from the first one on.
    pub after: Option<Key>,
    /// Up to this key and including it; `None` to the last one.
    pub upto: Option<Key>,
}

/// The digest of one row: over the compared form of every column that is not ignored, in which null, an empty text and the
/// bounds of columns are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowDigest(pub u128);

/// The digest of a set of rows, whatever their order: how many, and the sums of the two halves of their digests, each half
/// taken as a signed number of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RangeDigest {
    /// How many rows.
    pub rows: u64,
    /// Sum of the upper halves.
    pub upper: i128,
    /// Sum of the lower halves.
    pub lower: i128,
}

impl RangeDigest {
    /// Takes one more row in.
    pub fn add(&mut self, row: RowDigest) {
        self.rows += 1;
        self.upper += i128::from((row.0 >> 64) as u64 as i64);
        self.lower += i128::from(row.0 as u64 as i64);
    }
}

impl FromIterator<RowDigest> for RangeDigest {
    fn from_iter<I: IntoIterator<Item = RowDigest>>(rows: I) -> RangeDigest {
        let mut digest = RangeDigest::default();
        rows.into_iter().for_each(|row| digest.add(row));
        digest
    }
}

/// A row under its names. What identifies it is its key on green.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowName {
    /// Its key on green, in the order of the route's key.
    pub green: Key,
    /// Its key on blue, in the order of the route's source key; `None` where that is not known. The same as on green
    /// where keys are passed on.
    pub blue: Option<Key>,
}

/// Tells one version of a row from every other, for as long as the table is not rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowVersion {
    /// Table, writer and address of the row on its server, as one text.
    pub text: Box<str>,
    /// The transaction that wrote it on its server, 32 bits as stored.
    pub xid: u32,
}

/// One row as one side has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSeen {
    /// Its names, as this side gives them.
    pub name: RowName,
    /// Its digest.
    pub digest: RowDigest,
    /// Its version; `None` where the side cannot tell.
    pub version: Option<RowVersion>,
    /// Its values; `None` unless asked for.
    pub values: Option<Vec<SeenValue>>,
    /// Whether somebody else than us wrote it last; `None` where that cannot be told, and on blue.
    pub foreign: Option<bool>,
}

/// One value. Its `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct SeenValue {
    /// As green stores it, in text form; `None` for null.
    pub text: Option<Box<str>>,
    /// The form that is compared; `None` for null, and where the column is ignored.
    pub compared: Option<Box<str>>,
}

impl std::fmt::Debug for SeenValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let len = |text: &Option<Box<str>>| text.as_ref().map(|text| text.len());
        write!(f, "SeenValue({:?} bytes)", len(&self.text))
    }
}

/// When blue was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlueMoment {
    /// What it could see.
    pub snapshot: Snapshot,
    /// Everything that it could see committed before this address.
    pub lsn: Lsn,
}

/// When green was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreenMoment {
    /// Everything before it had been applied, nothing after it: read in the same snapshot as the rows.
    pub checkpoint: Checkpoint,
    /// Transactions of blue that had been applied and not been seen visible there; `None` when too many to list.
    pub unseen: Option<Vec<Xid>>,
}

/// Which rows of a route are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Those of an interval of the side's own key.
    Range(KeyRange),
    /// Those with these names: by the side's own key. On blue, names without a key on blue find nothing.
    Names(Vec<RowName>),
    /// Those with these keys on green, also where blue has to compute the key of every row for that.
    Thorough(Vec<Key>),
}

/// How much of each row is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Names, digests and versions.
    Digests,
    /// Values too.
    Values,
}

/// Why nothing was read. None of these is ever an empty range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRead {
    /// Somebody holds the table exclusively: ask again later.
    Busy,
    /// It took longer than the time limit: ask for less.
    TooSlow,
    /// Green has not applied what is asked for yet.
    NotYet,
    /// The table, a column or a type is not what it was: the range is begun again once the mapping fits.
    Changed(String),
    /// The side cannot evaluate its query on some row. The text says why, and holds no value.
    Unreadable(String),
}

/// What came of reading.
pub type Answer<T> = Result<T, NotRead>;

/// Something read from blue, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlueRead<T> {
    /// When.
    pub moment: BlueMoment,
    /// What.
    pub value: T,
}

/// Something read from green, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreenRead<T> {
    /// When.
    pub moment: GreenMoment,
    /// What.
    pub value: T,
    /// Those of the rows asked for by name that replication has yet to make whole, by their keys on green.
    pub awaited: Vec<Awaited>,
}

/// A row that replication knows it owes to green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// Its key on green.
    pub key: Key,
    /// Why.
    pub why: Awaits,
}

/// Why a row is owed to green.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Awaits {
    /// It is being read again by key, or is of a transaction that is not applied to its end.
    Heal,
    /// Green refused it, or it could not be computed: it is set aside.
    Quarantine,
}

/// Reads blue for comparison, on a connection of its own.
///
/// - Each read is one short transaction: its snapshot does not outlive the call.
/// - After a read a marker is committed, so that the stream goes beyond its moment also where nobody else writes.
/// - Keys come back in the text that blue has for them, in the order of the route's source key.
pub trait BlueRows: Send {
    /// Where a range that starts beyond `after` ends when it is to hold `rows` rows; `None` when fewer are left.
    fn boundary(
        &mut self,
        route: RouteId,
        after: Option<&Key>,
        rows: u64,
    ) -> impl Future<Output = Result<Answer<Option<Key>>, Failure>> + Send;

    /// The digest of a range.
    fn digest(
        &mut self,
        route: RouteId,
        range: &KeyRange,
    ) -> impl Future<Output = Result<Answer<BlueRead<RangeDigest>>, Failure>> + Send;

    /// Rows.
    fn rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
    ) -> impl Future<Output = Result<Answer<BlueRead<Vec<RowSeen>>>, Failure>> + Send;

    /// Commits a marker.
    fn mark(&mut self, nonce: Nonce) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Reads green for comparison, on a connection of its own.
///
/// - Rows and checkpoint are read in one snapshot, which shows at least everything before `at_least`: a read waits for that
///   a while, and then says [`NotRead::NotYet`]. Where a store has no snapshots, rows of which the store shows a change beyond
///   the checkpoint are told as [`Awaits::Heal`] when they are asked for by name.
/// - Keys come back in the text that green has for them, in the order of the route's key.
pub trait GreenRows: Send {
    /// Where a range that starts beyond `after` ends when it is to hold `rows` rows; `None` when fewer are left.
    fn boundary(
        &mut self,
        route: RouteId,
        after: Option<&Key>,
        rows: u64,
    ) -> impl Future<Output = Result<Answer<Option<Key>>, Failure>> + Send;

    /// The digest of a range.
    fn digest(
        &mut self,
        route: RouteId,
        range: &KeyRange,
        at_least: Lsn,
    ) -> impl Future<Output = Result<Answer<GreenRead<RangeDigest>>, Failure>> + Send;

    /// Rows.
    fn rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
        at_least: Lsn,
    ) -> impl Future<Output = Result<Answer<GreenRead<Vec<RowSeen>>>, Failure>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order of rows and the sign of a half must not matter, since servers sum signed halves in any order.
    #[test]
    fn a_range_digest_is_the_sum_of_signed_halves() {
        let rows = [RowDigest(u128::MAX), RowDigest(1 << 64 | 5), RowDigest(7)];
        let digest = rows.into_iter().collect::<RangeDigest>();
        assert_eq!(digest, RangeDigest { rows: 3, upper: 0, lower: 11 });
        assert_eq!(digest, rows.into_iter().rev().collect::<RangeDigest>());
    }
}
