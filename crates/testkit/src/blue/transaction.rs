//! The life of a transaction: running, its commit record written, visible; or aborted.

use understudy_model::{Lsn, Snapshot, Xid};

use super::Blue;
use super::heap::Heap;
use super::log::{Committed, Logged, Record};

/// A transaction that snapshots do not show yet.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub(super) changes: Vec<Logged>,
    /// Heaps as they were before a statement changed them wholesale, to be put back on abort.
    pub(super) undo: Vec<(usize, Heap)>,
    pub(super) state: State,
}

/// Where a running transaction stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Takes statements.
    #[default]
    Open,
    /// Prepared: takes none, and outlives a crash.
    Prepared,
    /// Its commit record is written and may be streamed; no snapshot shows it yet.
    Late,
}

impl Blue {
    /// Starts a transaction.
    pub fn begin(&mut self) -> Xid {
        let xid = Xid::new(self.next_xid);
        self.next_xid += 1;
        self.running.insert(xid, Running::default());
        xid
    }

    /// Transactions that take statements.
    pub fn open(&self) -> Vec<Xid> {
        self.in_state(&[State::Open])
    }

    /// Transactions that can commit or abort.
    pub fn unfinished(&self) -> Vec<Xid> {
        self.in_state(&[State::Open, State::Prepared])
    }

    /// Transactions whose commit record is written and that no snapshot shows yet.
    pub fn late(&self) -> Vec<Xid> {
        self.in_state(&[State::Late])
    }

    fn in_state(&self, states: &[State]) -> Vec<Xid> {
        let matching = self.running.iter().filter(|(_, running)| states.contains(&running.state));
        matching.map(|(xid, _)| *xid).collect()
    }

    /// Prepares a transaction: from here on it only commits or aborts.
    pub fn prepare(&mut self, xid: Xid) {
        if let Some(running) = self.running.get_mut(&xid) {
            running.state = State::Prepared;
        }
    }

    /// Writes the commit record. The stream may show the transaction from now on; snapshots do not yet.
    pub fn commit(&mut self, xid: Xid) {
        let Some(running) = self.running.get_mut(&xid) else { return };
        running.state = State::Late;
        running.undo.clear();
        let changes = std::mem::take(&mut running.changes);
        let commit = self.advance(8 + changes.len() as u64 * 40);
        let end = self.advance(48);
        self.log.push(Record::Transaction(Committed { xid, commit, end, changes }));
    }

    /// A committed transaction becomes visible and lets go of its locks.
    pub fn settle(&mut self, xid: Xid) {
        if self.running.get(&xid).is_some_and(|running| running.state == State::Late) {
            self.complete(xid);
        }
    }

    /// The transaction's effects vanish.
    pub fn abort(&mut self, xid: Xid) {
        let Some(running) = self.running.get_mut(&xid).filter(|running| running.state != State::Late) else {
            return;
        };
        for (heap, before) in std::mem::take(&mut running.undo).into_iter().rev() {
            let locks = std::mem::take(&mut self.heaps[heap].locks);
            self.heaps[heap] = Heap { locks, ..before };
        }
        for heap in &mut self.heaps {
            heap.undo(xid);
        }
        self.complete(xid);
    }

    fn complete(&mut self, xid: Xid) {
        self.running.remove(&xid);
        self.blind.remove(&xid);
        self.latest_completed = self.latest_completed.max(xid);
        for heap in &mut self.heaps {
            heap.unlock(xid);
        }
    }

    /// Stops the server at once and starts it again: what was committed is visible, what was running is gone.
    pub fn crash(&mut self) {
        for xid in self.late() {
            self.settle(xid);
        }
        for xid in self.open() {
            self.abort(xid);
        }
    }

    /// What a statement that starts now can see.
    pub fn snapshot(&self) -> Snapshot {
        let xmax = Xid::new(self.latest_completed.raw() + 1);
        let in_progress: Vec<Xid> = self.running.keys().copied().filter(|xid| *xid < xmax).collect();
        let xmin = in_progress.first().copied().unwrap_or(xmax);
        Snapshot::new(xmin, xmax, in_progress)
    }

    /// An id above that of every transaction in progress now.
    pub fn barrier(&mut self) -> Xid {
        let xid = self.begin();
        self.complete(xid);
        xid
    }

    /// The transactions that a description is asked for, as far as they still run.
    pub fn still_running(&self, xids: &[Xid]) -> Vec<Xid> {
        xids.iter().copied().filter(|xid| self.running.contains_key(xid)).collect()
    }

    /// Moves the end of the log on, as unrelated activity does.
    pub fn advance(&mut self, bytes: u64) -> Lsn {
        let at = Lsn::new(self.lsn);
        self.lsn += bytes.max(1);
        at
    }

    /// The end of the log.
    pub fn end(&self) -> Lsn {
        Lsn::new(self.lsn)
    }
}
