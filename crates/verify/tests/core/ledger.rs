//! A ledger in memory that keeps what it is told as the real one does.

use std::collections::BTreeMap;

use understudy_contract::{
    LedgerWrite, MismatchRecord, PassRecord, RangeRecord, Resolution, SavedComparison, SavedVerification,
    Sweep,
};
use understudy_model::{Key, Lsn, RouteId};

#[derive(Debug, Default, Clone)]
pub(crate) struct Ledger {
    plans: BTreeMap<RouteId, (String, PassRecord)>,
    ranges: BTreeMap<(RouteId, Sweep, Option<Key>), RangeRecord>,
    pub(crate) mismatches: BTreeMap<u64, MismatchRecord>,
    pub(crate) resolved: Vec<(u64, Resolution)>,
    pub(crate) answers: BTreeMap<u64, String>,
    pub(crate) changed_upto: Lsn,
    last: u64,
}

impl Ledger {
    pub(crate) fn write(&mut self, entries: &[LedgerWrite]) {
        for entry in entries {
            match entry.clone() {
                LedgerWrite::Plan { route, fingerprint } => {
                    self.ranges.retain(|(of, ..), _| *of != route);
                    self.plans.insert(route, (fingerprint, PassRecord::default()));
                }
                LedgerWrite::Range(route, record) => {
                    self.ranges.insert((route, record.sweep, record.range.after.clone()), record);
                }
                LedgerWrite::Forget(route, sweep, after) => {
                    self.ranges.remove(&(route, sweep, after)).expect("a range that is forgotten exists");
                }
                LedgerWrite::Pass(route, pass) => self.plans.get_mut(&route).expect("a plan").1 = pass,
                LedgerWrite::ChangedUpto(upto) => {
                    assert!(upto >= self.changed_upto, "what has been checked never shrinks");
                    self.changed_upto = upto;
                }
                LedgerWrite::Mismatch(record) => {
                    self.last = self.last.max(record.id.0);
                    self.mismatches.insert(record.id.0, record);
                }
                LedgerWrite::Resolved(id, how) => {
                    self.mismatches.remove(&id.0).expect("a mismatch that is resolved is open");
                    self.resolved.push((id.0, how));
                }
                LedgerWrite::Answered(id, answer) => assert_eq!(self.answers.insert(id, answer), None),
            }
        }
    }

    /// Ranges that count as verified for whoever starts next.
    pub(crate) fn verified(&self) -> usize {
        self.ranges.values().filter(|record| record.verified.is_some()).count()
    }

    pub(crate) fn saved(&self, checkpoint: Lsn) -> SavedVerification {
        let of = |route: RouteId| {
            let mine = self.ranges.iter().filter(move |((of, ..), _)| *of == route);
            mine.map(|(_, record)| record.clone()).collect()
        };
        let routes = self.plans.iter().map(|(route, (fingerprint, pass))| SavedComparison {
            route: *route,
            fingerprint: fingerprint.clone(),
            pass: pass.clone(),
            ranges: of(*route),
        });
        SavedVerification {
            routes: routes.collect(),
            mismatches: self.mismatches.values().cloned().collect(),
            last_mismatch: self.last,
            changed_upto: self.changed_upto,
            checkpoint,
        }
    }
}
