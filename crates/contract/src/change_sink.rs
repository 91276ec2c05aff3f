//! Where changes go: green, with our bookkeeping in the same transactions.

use std::future::Future;

use understudy_model::{
    BlockRange, Checkpoint, ChunkId, CommitMark, HealKey, Key, Lsn, Position, Refusal, RouteId, RowChange,
    TableName, Tuple, UnitId, Xid,
};

use crate::Failure;
use crate::change_log::Cursor;
use crate::chunk_reader::Unit;
use crate::saved::{Lineage, Saved};

/// A table of green that a route fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreenTable {
    /// The route.
    pub route: RouteId,
    /// The table or view that blue's rows come from, as recorded in the bookkeeping.
    pub source: TableName,
    /// The table on green.
    pub name: TableName,
    /// Its columns that the route fills, in the order of the route's tuples.
    pub columns: Vec<String>,
    /// For each of `columns` the column on blue that it is taken from unchanged; `None` for what is computed.
    pub source_columns: Vec<Option<String>>,
    /// Which of `columns` form the key, ascending; the order of every [`Key`] of this route.
    pub key: Vec<usize>,
    /// Whether only the rows that meet a condition go there.
    pub filtered: bool,
    /// SQL over green's columns that is true for exactly the rows of this route; `None` when no such condition is known. Only
    /// needed where other routes fill the same table.
    pub predicate: Option<String>,
    /// Digest of the mapping, recorded so that a changed mapping is noticed.
    pub fingerprint: String,
}

/// Changes in source order, from whole transactions, except that the last one may still be open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The changes, oldest first.
    pub changes: Vec<RowChange>,
    /// Where transactions end, in order. Transactions without changes of ours are left out, but for the last one.
    pub commits: Vec<CommitMark>,
    /// The place of the first change within its transaction; above zero when an earlier batch began it.
    pub first_ordinal: u64,
    /// Address of the commit record of the transaction that is still open at the end, if one is.
    pub open: Option<Lsn>,
    /// What blue says of the transaction that is still open at the end; `None` where nobody has said it.
    pub open_origin: Option<Origin>,
    /// Transactions streamed and not yet seen visible at the last commit; `None` when too many to list.
    pub unseen: Option<Vec<Xid>>,
    /// For whoever compares both sides: the keys on blue of changed rows, where a route gives them another key on green;
    /// ascending by change. `None`: nobody asked for them when the batch was begun. Of no concern to a sink.
    pub blue_names: Option<Vec<BlueNames>>,
    /// For a sink that keeps rows as blue has them: what it has to know beside the changes. `None`: it is none of that kind.
    pub raw: Option<RawNotes>,
    /// Where to go on in a log once this batch has been applied; `None` where no log is read. Recorded with the checkpoint of a
    /// batch that ends at a commit.
    pub cursor: Option<Cursor>,
}

/// The keys on blue of the row that one change is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlueNames {
    /// The place of the change in its batch.
    pub change: usize,
    /// The key that the row had before, where it had another one or is gone.
    pub old: Option<Key>,
    /// The key that it has now; `None` once it is gone.
    pub new: Option<Key>,
}

/// What a log tells of blue's changes beside what they make of rows. Each note stands at the place of its change in the batch,
/// in that order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawNotes {
    /// The whole old row, in the route's columns, of each change with which blue has sent it.
    pub old_rows: Vec<(usize, Tuple)>,
    /// Where rows of a route arrive with other types than before. At first they have those that the route was compiled for.
    pub types: Vec<TypesFrom>,
}

/// From a change on, rows of a route arrive with these types. Rows of chunks have those that the route was compiled for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypesFrom {
    /// The place of the first such change in its batch; the number of its changes when it comes in a later one.
    pub change: usize,
    /// The route.
    pub route: RouteId,
    /// Object id and modifier of the type of each of its columns.
    pub types: Vec<(u32, i32)>,
}

impl RawNotes {
    /// The whole old row of the change at `index`, where blue has sent it.
    pub fn old_row(&self, index: usize) -> Option<&Tuple> {
        let at = self.old_rows.binary_search_by_key(&index, |(change, _)| *change).ok()?;
        Some(&self.old_rows[at].1)
    }
}

/// What blue says of a transaction from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// When it was committed, microseconds since 2000-01-01 UTC.
    pub commit_time_us: i64,
    /// Its number.
    pub xid: Xid,
}

impl Batch {
    /// The checkpoint to record, when the batch ends at a commit.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let last = self.commits.last()?;
        self.open.is_none().then_some(last.checkpoint)
    }

    /// The identity of the change at `index` of `changes`. `None` beyond the end.
    pub fn position_of(&self, index: usize) -> Option<Position> {
        let at = self.commits.partition_point(|mark| mark.changes_before <= index);
        let commit = match self.commits.get(at) {
            Some(mark) => mark.position.commit,
            None => self.open?,
        };
        let ordinal = match at.checked_sub(1) {
            Some(before) => (index - self.commits[before].changes_before) as u64,
            None => self.first_ordinal + index as u64,
        };
        (index < self.changes.len()).then_some(Position { commit, ordinal })
    }
}

/// What applying a batch brought to light.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows of which only a part was sent, and whose rest is missing on green or may be out of date: each must be read
    /// again by key. Already recorded.
    pub heals: Vec<(RouteId, HealKey)>,
    /// Rows that were not as a completed copy promises; each is recorded as a mismatch and mended.
    pub mismatches: u64,
    /// Changes set aside because green refuses them; each is recorded with its reason.
    pub quarantined: u64,
}

/// Rows read from blue, placed at an exact point of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedChunk {
    /// Its number.
    pub id: ChunkId,
    /// Where its rows belong.
    pub route: RouteId,
    /// The checkpoint at which it belongs: the rows are green's truth exactly there.
    pub at: Checkpoint,
    /// What the chunk is for.
    pub kind: PlacedKind,
    /// The rows, in the route's columns, every value present. Rows that exist already are overwritten.
    pub rows: Vec<Tuple>,
    /// Keys under which green has no row at that checkpoint: those of rows of blue that the route's condition leaves out,
    /// and in a heal those of rows that are gone from blue. Where green may have them all the same (a heal, or a copy over
    /// rows that were there), they are removed.
    pub left_out: Vec<Key>,
    /// Rows whose values cannot be computed, by key: set aside, or replication stops.
    pub refused: Vec<(Key, Refusal)>,
}

/// What a placed chunk is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacedKind {
    /// Part of a first copy: the range is recorded as done together with the rows.
    Copy {
        /// The table or leaf.
        unit: UnitId,
        /// The part of it.
        range: BlockRange,
    },
    /// Rows read again by key: the heals are recorded as settled together with the rows.
    Heal {
        /// The keys, also of rows that turned out to be gone.
        keys: Vec<HealKey>,
    },
}

/// A chunk whose rows and progress have been committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkDone {
    /// Its number.
    pub id: ChunkId,
    /// Rows written.
    pub rows: u64,
}

/// Something to be recorded on its own, in order with the batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerEntry {
    /// The copy of a unit starts, or starts again: its done ranges are forgotten and its route is not complete.
    Plan(Unit),
    /// A unit has another name, schema, condition, file or marks than it was planned with; its done ranges stand.
    Refresh(Unit),
    /// A unit is no longer part of its route.
    Forget(UnitId),
    /// The copy of a route is complete: from here on its rows must be as the changes expect them.
    Complete(RouteId),
}

/// Green: applies changes and placed chunks, and keeps the bookkeeping.
///
/// - Everything a call commits is committed together with the progress that describes it, or not at all.
/// - Every transaction checks that this instance still owns the migration; if not, the call fails as superseded.
/// - After any failure the sink is dropped; a new one claims and resumes from what was committed.
/// - Changes take effect in order. A placed chunk takes effect after the batch that ends at its checkpoint, and before
///   any later change to its route.
/// - An entry is recorded after every chunk that was placed before it has been committed.
///
/// Rows that must be read again. An update is partial when a value of it was not sent:
///
/// - A partial update that finds no row is reported under its new key.
/// - A route is renewed when a unit of it is planned while its copy is complete or its table holds rows, or when a unit is
///   planned that was planned with another filenode or fingerprint before; until its copy is complete again. What a
///   partial update leaves alone may then be out of date, and the copy leaves rows that are touched to the stream: so every
///   partial update is reported under its new key, except one whose key stays and waits to be read again already.
/// - In any route, at any time, a partial update that takes a row away from a key that waits to be read again is
///   reported under its new key: what is amiss with the row moves with it.
/// - [`RowChange::Reread`] is reported, except when its key waits already.
/// - A key waits from its report until the chunk that settles it has been committed, in order: before any later change
///   to its route is applied, and whether or not [`ChangeSink::placed`] has told of the chunk.
///
/// Rows that are set aside, by a sink that does so. A key of a route is aside from the first change of it that green refuses,
/// or that cannot be computed, and so are its later changes; a change of key puts both keys aside.
///
/// - It is settled by a chunk that writes or removes its row, also one of a copy, and by the truncation of its route.
/// - It is aside, or settled, with the commit that makes it so, and for later instances as for this one.
pub trait ChangeSink: Send {
    /// Takes ownership of the migration from any other instance, then reads what was saved. `None`: never started.
    fn claim(&mut self) -> impl Future<Output = Result<Option<Saved>, Failure>> + Send;

    /// Records the start of a migration, or of its life under a new slot, from `checkpoint` on.
    fn begin(
        &mut self,
        lineage: &Lineage,
        checkpoint: Checkpoint,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Applies a batch. Commits when it ends at a commit; otherwise the transaction stays open for the next batch.
    fn apply(&mut self, batch: Batch) -> impl Future<Output = Result<Applied, Failure>> + Send;

    /// Starts writing a chunk whose checkpoint equals the last one applied. May return before it is written.
    fn place(&mut self, chunk: PlacedChunk) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The next chunk to be finished. Cancel-safe. Waits for ever while none is being written.
    fn placed(&mut self) -> impl Future<Output = Result<ChunkDone, Failure>> + Send;

    /// Records an entry, with the open transaction if there is one, otherwise durably at once.
    fn record(&mut self, entry: LedgerEntry) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Makes everything applied before this call survive a crash of green, on its standbys too where they count, and
    /// returns the checkpoint that holds from then on: the one that was the last to be applied. Chunks still being
    /// written are not included.
    ///
    /// It borrows nothing, so everything else goes on while it is awaited, for as long as a standby takes. A later one
    /// waits for those before it. Once one was dropped midway, later ones may fail.
    fn persist(&mut self) -> impl Future<Output = Result<Checkpoint, Failure>> + Send + use<Self> + 'static;

    /// How many rows are aside on green: keys, counted once for each route, however many changes of theirs there are. Goes up
    /// and down. Right after a claim it is what was committed; what a transaction that is still open sets aside may count
    /// already, what it settles counts as aside until it is committed. Zero before a claim, and where nothing is set aside.
    fn aside(&self) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(changes_before: usize, commit: u64) -> CommitMark {
        CommitMark {
            changes_before,
            position: Position { commit: Lsn::new(commit), ordinal: 0 },
            checkpoint: Checkpoint::at_commit_end(Lsn::new(commit + 1)),
            commit_time_us: 0,
            xid: Xid::new(1),
        }
    }

    /// F11: the identity of a change is its transaction's commit and its place there, also across batches.
    #[test]
    fn changes_know_their_transaction() {
        let change = RowChange::Truncate { routes: Vec::new() };
        let batch = Batch {
            changes: vec![change; 5],
            commits: vec![mark(2, 10), mark(3, 20)],
            first_ordinal: 7,
            open: Some(Lsn::new(30)),
            ..Batch::default()
        };
        let at = |index| batch.position_of(index).map(|p| (p.commit.raw(), p.ordinal));
        assert_eq!(
            (0..6).map(at).collect::<Vec<_>>(),
            [Some((10, 7)), Some((10, 8)), Some((20, 0)), Some((30, 0)), Some((30, 1)), None]
        );
        assert_eq!(batch.checkpoint(), None, "a batch that ends inside a transaction has no checkpoint");
    }
}
