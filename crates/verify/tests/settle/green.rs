//! A model of green: what the log comes to there, rightly or wrongly, and what is owed.

use std::collections::{BTreeMap, BTreeSet};

use understudy_contract::{Awaits, GreenMoment};
use understudy_model::{Checkpoint, Lsn, Snapshot, Xid};
use understudy_testkit::Dice;

use crate::blue::{Commit, KEYS, VALUES};

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) value: u8,
    pub(crate) version: u64,
}

/// What may go wrong in a world, and what is owed for a while without being wrong.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Changes are lost, rows are left as they once were, others write green.
    pub(crate) damage: bool,
    /// Rows wait for being read again.
    pub(crate) heals: bool,
    /// Changes are set aside.
    pub(crate) aside: bool,
    /// By how much values may differ and count as equal.
    pub(crate) tolerance: u8,
}

/// Green.
#[derive(Debug, Default)]
pub(crate) struct Green {
    faults: Faults,
    rows: BTreeMap<u8, Row>,
    truth: BTreeMap<u8, u8>,
    pub(crate) owed: BTreeMap<u8, Awaits>,
    applied: usize,
    checkpoint: u64,
    writes: u64,
    unseen: BTreeSet<u64>,
    saved: Option<Vec<Xid>>,
    /// Keys that were wrong since this was last emptied, with what was owed then.
    pub(crate) wrong: BTreeSet<(u8, bool)>,
}

impl Green {
    pub(crate) fn new(faults: Faults) -> Green {
        Green { faults, saved: Some(Vec::new()), ..Green::default() }
    }

    /// Applies the next commits as one.
    pub(crate) fn apply(&mut self, dice: &mut Dice, log: &[Commit], most: usize) {
        let commits = &log[self.applied..log.len().min(self.applied + most)];
        let Some(last) = commits.last() else {
            return;
        };
        let mut net = BTreeMap::new();
        for (key, left) in commits.iter().flat_map(|commit| &commit.effects) {
            net.insert(*key, *left);
        }
        for (key, left) in net {
            let before = self.truth.get(&key).copied();
            match left {
                Some(value) => self.truth.insert(key, value),
                None => self.truth.remove(&key),
            };
            if !self.owed.contains_key(&key) && !self.goes_wrong(dice, key, before) {
                self.settle(key);
            }
        }
        let streamed = commits.iter().filter(|commit| !commit.effects.is_empty());
        self.unseen.extend(streamed.filter_map(|commit| commit.xid));
        let saved = self.unseen.iter().copied().map(Xid::new).collect();
        self.saved = (!dice.percent(3)).then_some(saved);
        self.applied += commits.len();
        self.checkpoint = last.end;
        self.note_wrong();
    }

    /// Whether a change comes to something else than what it should.
    fn goes_wrong(&mut self, dice: &mut Dice, key: u8, before: Option<u8>) -> bool {
        if self.faults.heals && dice.percent(15) {
            self.owed.insert(key, Awaits::Heal);
            return true;
        }
        if self.faults.aside && dice.percent(15) {
            self.owed.insert(key, Awaits::Quarantine);
            return true;
        }
        if !self.faults.damage || !dice.percent(10) {
            return false;
        }
        if let Some(stale) = before.filter(|_| dice.percent(50)) {
            self.write(key, stale);
        }
        true
    }

    fn write(&mut self, key: u8, value: u8) {
        self.writes += 1;
        self.rows.insert(key, Row { value, version: self.writes });
    }

    /// Writes what belongs at a key, and owes nothing more.
    fn settle(&mut self, key: u8) {
        self.owed.remove(&key);
        match self.truth.get(&key).copied() {
            Some(value) => self.write(key, value),
            None => {
                self.rows.remove(&key);
            }
        }
    }

    /// Pays what is owed, or writes some row again as it is.
    pub(crate) fn heal(&mut self, dice: &mut Dice, frozen: Option<u8>) {
        let owed: Vec<u8> = self.owed.keys().copied().collect();
        let some = dice.below(usize::from(KEYS)) as u8;
        if let Some(key) = dice.pick(&owed) {
            self.settle(*key);
        } else if let Some(row) = self.row(some).filter(|_| frozen != Some(some)) {
            self.write(some, row.value);
        }
        self.note_wrong();
    }

    /// Somebody else writes.
    pub(crate) fn intrude(&mut self, dice: &mut Dice, key: u8) {
        if dice.percent(40) {
            self.rows.remove(&key);
        } else {
            self.write(key, dice.below(VALUES) as u8);
        }
        self.note_wrong();
    }

    /// Replication looks at blue.
    pub(crate) fn poll(&mut self, snapshot: &Snapshot) {
        self.unseen.retain(|xid| !snapshot.sees(Xid::new(*xid)));
    }

    fn note_wrong(&mut self) {
        for key in 0..KEYS {
            let owed = self.owed.get(&key).copied();
            if self.is_wrong(key) && owed != Some(Awaits::Heal) {
                self.wrong.insert((key, owed.is_some()));
            }
        }
    }

    /// Forgets what was wrong and no longer is.
    pub(crate) fn begin_case(&mut self) {
        self.wrong.clear();
        self.note_wrong();
    }

    /// Whether a key does not hold what the log up to here leaves there.
    pub(crate) fn is_wrong(&self, key: u8) -> bool {
        match (self.truth.get(&key), self.rows.get(&key)) {
            (None, None) => false,
            (Some(truth), Some(row)) => truth.abs_diff(row.value) > self.faults.tolerance,
            _ => true,
        }
    }

    pub(crate) fn row(&self, key: u8) -> Option<Row> {
        self.rows.get(&key).copied()
    }

    pub(crate) fn moment(&self) -> GreenMoment {
        let checkpoint = Checkpoint::at_commit_end(Lsn::new(self.checkpoint));
        GreenMoment { checkpoint, unseen: self.saved.clone() }
    }
}
