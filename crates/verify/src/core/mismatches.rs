//! Rows that were proved to differ: open until they are seen equal, or waived as long as they differ in just that way.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use understudy_contract::{Cause, MismatchId, MismatchRecord, RowSeen};
use understudy_model::RouteId;

use super::cases::RowId;
use crate::circumstances::Millis;

/// Pause between looks at an open mismatch, and for how many of them that is enough: with more it grows.
const RECHECK_MS: u64 = 5_000;
const RECHECKED_MAX: u64 = 2_000;

/// Pause between looks at one that somebody lives with.
const RECHECK_WAIVED_MS: u64 = 30_000;

/// All that are open or waived.
#[derive(Debug, Default)]
pub(crate) struct Mismatches {
    map: BTreeMap<MismatchId, MismatchRecord>,
    rows: FxHashMap<RowId, MismatchId>,
    due: BTreeSet<(Millis, MismatchId)>,
    due_at: FxHashMap<MismatchId, Millis>,
    /// Those of which replication is still to be asked what it makes of blue's row.
    unexplained: BTreeSet<MismatchId>,
    /// Those that are looked at before ranges of their route are read again.
    first: BTreeSet<(RouteId, MismatchId)>,
    last: u64,
}

impl Mismatches {
    /// Those of the ledger. All are looked at again at once.
    pub(crate) fn new(records: Vec<MismatchRecord>, last: u64, now: Millis) -> Mismatches {
        let mut mismatches = Mismatches { last, ..Mismatches::default() };
        for record in records {
            mismatches.last = mismatches.last.max(record.id.0);
            mismatches.recheck_at(record.id, now);
            mismatches.explain_later(record.id, record.cause == Cause::Unknown);
            mismatches.put(record);
        }
        mismatches
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn next_id(&mut self) -> MismatchId {
        self.last += 1;
        MismatchId(self.last)
    }

    pub(crate) fn get(&self, id: MismatchId) -> Option<&MismatchRecord> {
        self.map.get(&id)
    }

    pub(crate) fn of_row(&self, row: &RowId) -> Option<MismatchId> {
        self.rows.get(row).copied()
    }

    pub(crate) fn newest(&self) -> impl Iterator<Item = &MismatchRecord> {
        self.map.values().rev()
    }

    /// One is new, or is not as it was.
    pub(crate) fn put(&mut self, record: MismatchRecord) {
        self.rows.insert((record.route, record.name.green.clone()), record.id);
        self.map.insert(record.id, record);
    }

    /// One has come to an end.
    pub(crate) fn remove(&mut self, id: MismatchId) -> Option<MismatchRecord> {
        let record = self.map.remove(&id)?;
        self.rows.remove(&(record.route, record.name.green.clone()));
        self.not_due(id);
        self.unexplained.remove(&id);
        self.first.remove(&(record.route, id));
        Some(record)
    }

    /// Those of a route are looked at now, before its ranges are.
    pub(crate) fn look_first(&mut self, route: RouteId, now: Millis) {
        let of = self.map.values().filter(|record| record.route == route).map(|record| record.id);
        for id in of.collect::<Vec<_>>() {
            self.first.insert((route, id));
            self.recheck_at(id, now);
        }
    }

    /// One was looked at, or cannot be settled for now.
    pub(crate) fn was_looked_at(&mut self, row: &RowId) {
        if let Some(id) = self.of_row(row) {
            self.first.remove(&(row.0, id));
        }
    }

    /// Whether those of a route that are looked at first have been.
    pub(crate) fn may_go_on(&self, route: RouteId) -> bool {
        self.first.range((route, MismatchId(0))..).next().is_none_or(|(of, _)| *of != route)
    }

    /// Whether one is still to be explained.
    pub(crate) fn explain_later(&mut self, id: MismatchId, later: bool) {
        if later {
            self.unexplained.insert(id);
        } else {
            self.unexplained.remove(&id);
        }
    }

    pub(crate) fn is_unexplained(&self, id: MismatchId) -> bool {
        self.unexplained.contains(&id)
    }

    /// Some of those that are still to be explained, the oldest first.
    pub(crate) fn unexplained(&self, max: usize) -> Vec<MismatchId> {
        self.unexplained.iter().take(max).copied().collect()
    }

    /// It is looked at again when the usual pause is over.
    pub(crate) fn recheck_later(&mut self, id: MismatchId, now: Millis) {
        let waived = self.map.get(&id).is_some_and(|record| record.waived.is_some());
        let many = (self.map.len() as u64).div_ceil(RECHECKED_MAX).max(1);
        let pause_ms = if waived { RECHECK_WAIVED_MS } else { RECHECK_MS * many };
        self.recheck_at(id, Millis(now.0 + pause_ms));
    }

    /// It is looked at again from a moment on.
    pub(crate) fn recheck_at(&mut self, id: MismatchId, from: Millis) {
        self.not_due(id);
        self.due.insert((from, id));
        self.due_at.insert(id, from);
    }

    fn not_due(&mut self, id: MismatchId) {
        if let Some(from) = self.due_at.remove(&id) {
            self.due.remove(&(from, id));
        }
    }

    /// Those that are to be looked at now, each once.
    pub(crate) fn take_due(&mut self, now: Millis) -> Vec<MismatchId> {
        let later = self.due.split_off(&(Millis(now.0 + 1), MismatchId(0)));
        std::mem::replace(&mut self.due, later).into_iter().map(|(_, id)| id).collect()
    }
}

/// The digest of a row as it is recorded; empty for one that is not there.
pub(crate) fn digest_text(row: &Option<RowSeen>) -> String {
    row.as_ref().map_or_else(String::new, |row| format!("{:032x}", row.digest.0))
}
