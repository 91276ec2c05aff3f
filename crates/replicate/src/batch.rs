//! Gathers changes into batches that end at commits, or inside a transaction that is too large for one.

use understudy_contract::{Batch, BlueNames, Origin, RawNotes, TypesFrom};
use understudy_model::{Checkpoint, CommitMark, Lsn, Position, RouteId, RowChange, Tuple, Xid};

/// The batch being gathered, and the transaction whose changes arrive.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    batch: Batch,
    bytes: usize,
    last_mark_is_empty: bool,
    open: Option<OpenTransaction>,
    changes_max: usize,
    bytes_max: usize,
    /// The last sealed batch ended inside a transaction.
    sealed_inside: bool,
    last_checkpoint: Checkpoint,
    /// Whether the next batch is to name its rows as blue does.
    names_next: bool,
}

/// The transaction whose changes arrive.
#[derive(Debug, Clone, Copy)]
struct OpenTransaction {
    commit: Lsn,
    commit_time_us: i64,
    xid: Xid,
    changes: u64,
}

impl BatchBuilder {
    pub(crate) fn new(changes_max: usize, bytes_max: usize, resume_at: Checkpoint) -> BatchBuilder {
        BatchBuilder {
            batch: Batch::default(),
            bytes: 0,
            last_mark_is_empty: false,
            open: None,
            changes_max,
            bytes_max,
            sealed_inside: false,
            last_checkpoint: resume_at,
            names_next: false,
        }
    }

    /// Whether batches are to name their rows as blue does. One that has changes already stays as it was begun.
    pub(crate) fn name_rows(&mut self, wanted: bool) {
        self.names_next = wanted;
        if self.batch.changes.is_empty() {
            self.batch.blue_names = wanted.then(Vec::new);
        }
    }

    /// Whether this batch names its rows as blue does.
    pub(crate) fn names_rows(&self) -> bool {
        self.batch.blue_names.is_some()
    }

    /// The next change is about this row of blue.
    pub(crate) fn name(&mut self, row: &BlueNames) {
        let change = self.batch.changes.len();
        if let Some(names) = &mut self.batch.blue_names {
            names.push(BlueNames { change, ..row.clone() });
        }
    }

    /// Batches are for a sink that keeps rows as blue has them.
    pub(crate) fn keep_raw(&mut self) {
        self.batch.raw = Some(RawNotes::default());
    }

    /// The next change came with this whole old row.
    pub(crate) fn old_row(&mut self, row: Tuple) {
        let change = self.batch.changes.len();
        if let Some(raw) = &mut self.batch.raw {
            self.bytes += row.bytes_len();
            raw.old_rows.push((change, row));
        }
    }

    /// From the next change on, rows of a route arrive with these types.
    pub(crate) fn types(&mut self, route: RouteId, types: Vec<(u32, i32)>) {
        let change = self.batch.changes.len();
        if let Some(raw) = &mut self.batch.raw {
            raw.types.push(TypesFrom { change, route, types });
        }
    }

    pub(crate) fn begin(&mut self, commit: Lsn, commit_time_us: i64, xid: Xid) {
        self.open = Some(OpenTransaction { commit, commit_time_us, xid, changes: 0 });
    }

    /// What was not known of the open transaction when it began.
    pub(crate) fn tell_open(&mut self, commit_time_us: i64, xid: Xid) {
        if let Some(open) = &mut self.open {
            (open.commit_time_us, open.xid) = (commit_time_us, xid);
        }
    }

    /// The transaction whose changes arrive.
    pub(crate) fn open_xid(&self) -> Option<Xid> {
        self.open.map(|open| open.xid)
    }

    /// Whether the open transaction has had a change yet.
    pub(crate) fn open_is_empty(&self) -> bool {
        self.open.is_none_or(|open| open.changes == 0)
    }

    /// Where the next change stands.
    pub(crate) fn next_position(&self) -> Option<Position> {
        self.open.map(|open| Position { commit: open.commit, ordinal: open.changes })
    }

    pub(crate) fn push(&mut self, change: RowChange) {
        self.bytes += change.bytes() + size_of::<RowChange>();
        self.batch.changes.push(change);
        if let Some(open) = &mut self.open {
            open.changes += 1;
        }
    }

    /// Drops what has been gathered of the open transaction, which starts again. `false`: some of it has been handed out.
    pub(crate) fn take_back_open(&mut self) -> bool {
        let before = self.batch.commits.last().map_or(0, |mark| mark.changes_before);
        let Some(open) = &mut self.open else { return false };
        if open.changes != (self.batch.changes.len() - before) as u64 {
            return false;
        }
        open.changes = 0;
        self.drop_from(before);
        true
    }

    /// The open transaction, of which nothing is gathered, does not go on.
    pub(crate) fn abandon_open(&mut self) {
        self.open = None;
    }

    fn drop_from(&mut self, whole: usize) {
        self.batch.changes.truncate(whole);
        if let Some(names) = &mut self.batch.blue_names {
            names.retain(|row| row.change < whole);
        }
        if let Some(raw) = &mut self.batch.raw {
            raw.old_rows.retain(|(change, _)| *change < whole);
            raw.types.retain(|types| types.change < whole);
        }
    }

    /// The open transaction ends.
    pub(crate) fn commit(&mut self, end: Lsn) {
        let Some(open) = self.open.take() else { return };
        let mark = CommitMark {
            changes_before: self.batch.changes.len(),
            position: Position { commit: open.commit, ordinal: open.changes },
            checkpoint: Checkpoint::at_commit_end(end),
            commit_time_us: open.commit_time_us,
            xid: open.xid,
        };
        self.mark(mark, open.changes == 0);
    }

    /// Outside any transaction: everything up to `end` holds nothing more of ours.
    pub(crate) fn idle_until(&mut self, end: Lsn) {
        if self.open.is_none() && end > self.last_checkpoint.lsn() {
            self.mark_here(Checkpoint::at_commit_end(end));
        }
    }

    /// Outside any transaction: a change of our own making, at the last checkpoint.
    pub(crate) fn push_own(&mut self, change: RowChange) {
        self.push(change);
        let position = Position { commit: self.last_checkpoint.lsn(), ordinal: 0 };
        let changes_before = self.batch.changes.len();
        let checkpoint = self.last_checkpoint;
        self.mark(
            CommitMark { changes_before, position, checkpoint, commit_time_us: 0, xid: Xid::new(0) },
            false,
        );
    }

    /// A mark at the last checkpoint once more, so that what else a checkpoint says can be recorded.
    pub(crate) fn mark_again(&mut self) {
        self.mark_here(self.last_checkpoint);
    }

    fn mark_here(&mut self, checkpoint: Checkpoint) {
        let position = Position { commit: checkpoint.lsn(), ordinal: 0 };
        let changes_before = self.batch.changes.len();
        self.mark(
            CommitMark { changes_before, position, checkpoint, commit_time_us: 0, xid: Xid::new(0) },
            true,
        );
    }

    fn mark(&mut self, mark: CommitMark, is_empty: bool) {
        if self.last_mark_is_empty {
            self.batch.commits.pop();
        }
        self.last_mark_is_empty = is_empty;
        self.last_checkpoint = mark.checkpoint;
        self.batch.commits.push(mark);
    }

    /// Whether the batch holds anything that ends at a commit.
    pub(crate) fn ends_at_commit(&self) -> bool {
        self.open.is_none() && !self.batch.commits.is_empty()
    }

    /// Whether a transaction ends in the batch, be it an empty one.
    pub(crate) fn has_marks(&self) -> bool {
        !self.batch.commits.is_empty()
    }

    /// Whether the batch has reached its limit and must be sealed wherever it stands.
    pub(crate) fn is_full(&self) -> bool {
        self.batch.changes.len() >= self.changes_max || self.bytes >= self.bytes_max
    }

    /// Changes gathered since the last seal.
    pub(crate) fn gathered(&self) -> usize {
        self.batch.changes.len()
    }

    /// Whether everything handed out so far ended at a commit.
    pub(crate) fn sealed_at_commit(&self) -> bool {
        !self.sealed_inside
    }

    /// Whether no transaction is open and nothing waits to be sealed.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_none() && self.batch.commits.is_empty() && self.batch.changes.is_empty()
    }

    pub(crate) fn last_checkpoint(&self) -> Checkpoint {
        self.last_checkpoint
    }

    /// Hands out what has been gathered. A transaction that is still open goes on in the next batch.
    pub(crate) fn seal(&mut self, unseen: Option<Vec<Xid>>) -> Batch {
        let inside = self.open.filter(|open| open.changes > 0);
        let in_this_batch =
            self.batch.changes.len() - self.batch.commits.last().map_or(0, |mark| mark.changes_before);
        let next_ordinal = inside.map_or(0, |open| open.changes);
        debug_assert!(inside.is_none_or(|open| open.changes >= in_this_batch as u64));
        let next = Batch {
            changes: Vec::with_capacity(self.batch.changes.len().min(self.changes_max)),
            first_ordinal: next_ordinal,
            blue_names: self.names_next.then(Vec::new),
            raw: self.batch.raw.as_ref().map(|_| RawNotes::default()),
            ..Batch::default()
        };
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.open = inside.map(|open| open.commit);
        batch.open_origin = inside.map(|open| Origin { commit_time_us: open.commit_time_us, xid: open.xid });
        batch.unseen = unseen;
        self.sealed_inside = inside.is_some();
        self.bytes = 0;
        self.last_mark_is_empty = false;
        batch
    }

    /// Hands out whole transactions only, and drops the changes of one that is open. `None`: there are none.
    pub(crate) fn seal_whole(&mut self, unseen: Option<Vec<Xid>>) -> Option<Batch> {
        let whole = self.batch.commits.last()?.changes_before;
        self.drop_from(whole);
        self.open = None;
        Some(self.seal(unseen))
    }
}
