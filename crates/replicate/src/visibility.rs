//! Which streamed transactions no snapshot has shown yet, and which running ones must end before a window may open.
//!
//! Blue can stream a commit before new snapshots show it (synchronous replication makes the gap long), and can leave
//! out of the stream a commit that snapshots do not show yet (when the slot was created in that gap).

use std::collections::BTreeSet;

use understudy_model::{Snapshot, Xid};

use crate::rules::{Rule, Rules};

/// Transactions beyond this many are not listed in a checkpoint; the next start then waits behind a barrier instead.
const SAVED_MAX: usize = 2_000;

/// No window opens while this many streamed transactions wait to be seen; the next catalog poll clears them.
const UNSEEN_MAX: usize = 200_000;

/// What is known of visibility on blue.
#[derive(Debug)]
pub(crate) struct Visibility {
    rules: Rules,
    unseen: BTreeSet<Xid>,
    newest: Snapshot,
    barrier: Option<Barrier>,
}

/// Why no window may open yet.
#[derive(Debug)]
enum Barrier {
    /// The id that bounds the transactions to wait for must be asked for.
    Requested,
    /// It has been asked for, after the barrier was required.
    Asked,
    /// Every transaction below this id must end or be streamed; those known to be still waited for.
    Below { xid: Xid, waiting_for: Vec<Xid> },
}

impl Visibility {
    /// Starts from the current snapshot. `saved` lists what a checkpoint knew; without it nothing is known.
    pub(crate) fn new(rules: Rules, newest: Snapshot, saved: Option<Vec<Xid>>) -> Visibility {
        let forget = !rules.holds(Rule::SavedUnseen);
        let barrier = (saved.is_none() && !forget).then_some(Barrier::Requested);
        let unseen = if forget { BTreeSet::new() } else { saved.unwrap_or_default().into_iter().collect() };
        let mut visibility = Visibility { rules, unseen, newest: newest.clone(), barrier };
        visibility.prune(&newest);
        visibility
    }

    /// Widens a short id as the stream carries it.
    pub(crate) fn widen(&self, short: u32) -> Xid {
        Xid::widen(short, self.newest.xmax())
    }

    /// A transaction with changes of ours is being streamed.
    pub(crate) fn streamed(&mut self, xid: Xid) {
        self.unseen.insert(xid);
    }

    /// A current snapshot of blue.
    pub(crate) fn seen(&mut self, snapshot: &Snapshot) {
        self.prune(snapshot);
        if snapshot.xmax() > self.newest.xmax() {
            self.newest = snapshot.clone();
        }
        let unseen = &self.unseen;
        if let Some(Barrier::Below { xid, waiting_for }) = &mut self.barrier {
            if snapshot.xmax() <= *xid {
                return;
            }
            let ends = |running: &&Xid| **running < *xid && !unseen.contains(running);
            *waiting_for = snapshot.in_progress().iter().filter(ends).copied().collect();
            if waiting_for.is_empty() {
                self.barrier = None;
            }
        }
    }

    /// Whether a snapshot has shown a transaction. One may have that is not kept.
    pub(crate) fn has_seen(&self, xid: Xid) -> bool {
        self.newest.sees(xid)
    }

    fn prune(&mut self, snapshot: &Snapshot) {
        self.unseen.retain(|xid| !snapshot.sees(*xid));
    }

    /// From now on windows wait for every transaction that is in progress at this moment.
    pub(crate) fn require_barrier(&mut self) {
        self.barrier = Some(Barrier::Requested);
    }

    /// Whether the id that bounds the transactions to wait for must be asked for.
    pub(crate) fn wants_barrier(&self) -> bool {
        matches!(self.barrier, Some(Barrier::Requested))
    }

    /// The id is being asked for.
    pub(crate) fn asking_barrier(&mut self) {
        if self.wants_barrier() {
            self.barrier = Some(Barrier::Asked);
        }
    }

    /// The id that was asked for: above every transaction in progress when the barrier was required. One that was asked
    /// for before a barrier was required anew is of no use.
    pub(crate) fn barrier(&mut self, xid: Xid) {
        if matches!(self.barrier, Some(Barrier::Asked)) {
            self.barrier = Some(Barrier::Below { xid, waiting_for: Vec::new() });
        }
    }

    /// Whether transactions are waited for.
    pub(crate) fn has_barrier(&self) -> bool {
        self.barrier.is_some()
    }

    /// Whether a window may open now.
    pub(crate) fn may_open(&self) -> bool {
        self.barrier.is_none() && self.unseen.len() < UNSEEN_MAX
    }

    /// Transactions on blue that windows wait for.
    pub(crate) fn waiting_for(&self) -> &[Xid] {
        match &self.barrier {
            Some(Barrier::Below { waiting_for, .. }) => waiting_for,
            Some(Barrier::Requested | Barrier::Asked) | None => &[],
        }
    }

    /// What a window that opens now must find visible in its snapshot.
    pub(crate) fn must_see(&self) -> Vec<Xid> {
        if self.rules.holds(Rule::LateVisible) { self.unseen.iter().copied().collect() } else { Vec::new() }
    }

    /// What a checkpoint records; `None` when too many to list, or when a barrier stands that a restart must renew.
    pub(crate) fn to_save(&self) -> Option<Vec<Xid>> {
        let few = self.unseen.len() <= SAVED_MAX && self.barrier.is_none();
        few.then(|| self.unseen.iter().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().unwrap()
    }

    #[test]
    fn a_barrier_falls_when_all_have_ended_or_been_streamed() {
        let mut visibility = Visibility::new(Rules::all(), snapshot("5:10:5,7"), None);
        assert!(visibility.wants_barrier() && !visibility.may_open());
        visibility.asking_barrier();
        visibility.barrier(Xid::new(10));
        visibility.seen(&snapshot("5:10:5,7"));
        assert!(!visibility.may_open(), "a snapshot from before the barrier proves nothing");
        visibility.seen(&snapshot("5:12:5,7,11"));
        assert_eq!(visibility.waiting_for(), [Xid::new(5), Xid::new(7)]);
        visibility.streamed(Xid::new(5));
        visibility.seen(&snapshot("5:12:5,11"));
        assert!(visibility.may_open());
        assert_eq!(visibility.must_see(), [Xid::new(5)]);
    }

    #[test]
    fn streamed_transactions_are_remembered_until_seen() {
        let mut visibility =
            Visibility::new(Rules::all(), snapshot("5:5:"), Some(vec![Xid::new(4), Xid::new(5)]));
        assert_eq!(visibility.to_save(), Some(vec![Xid::new(5)]));
        visibility.seen(&snapshot("6:6:"));
        assert_eq!(visibility.to_save(), Some(vec![]));
    }
}
