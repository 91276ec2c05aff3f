//! What the gates and verification last said: put up by the pipeline's side, read by every answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::clock::rfc3339;
use crate::gates::GateDocument;
use crate::verify::{MismatchEntry, VerifyDocument};

#[derive(Debug)]
struct Posted {
    gates: Vec<GateDocument>,
    evaluated: Option<(Instant, SystemTime)>,
    valid_for: Duration,
    verify: VerifyDocument,
    mismatches: Vec<MismatchEntry>,
}

/// What the gates and verification last said.
#[derive(Debug)]
pub struct Bulletin {
    posted: Mutex<Posted>,
    yield_at_lag: Duration,
}

/// A shared bulletin.
pub type BulletinHandle = Arc<Bulletin>;

impl Bulletin {
    /// A bulletin on which nothing has been put up, for gates of these names. Tools that write a lot are told to wait while
    /// green is further behind than `yield_at_lag`.
    pub fn new(gates: &[&str], verifying: bool, yield_at_lag: Duration) -> BulletinHandle {
        let gates =
            gates.iter().map(|gate| GateDocument::unknown(gate, "it was not evaluated yet")).collect();
        let verify = VerifyDocument::empty(verifying);
        let (evaluated, valid_for, mismatches) = (None, Duration::ZERO, Vec::new());
        let posted = Mutex::new(Posted { gates, evaluated, valid_for, verify, mismatches });
        Arc::new(Bulletin { posted, yield_at_lag })
    }

    fn posted(&self) -> MutexGuard<'_, Posted> {
        // A panic elsewhere leaves what was put up before, which runs out by itself.
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts up what the gates came to just now. It counts for `valid_for`, and nothing counts after that.
    pub fn post_gates(&self, mut gates: Vec<GateDocument>, valid_for: Duration) {
        let now = SystemTime::now();
        for gate in &mut gates {
            gate.evaluated_at = Some(rfc3339(now));
            gate.valid_until = now.checked_add(valid_for).map(rfc3339);
        }
        let mut posted = self.posted();
        posted.gates = gates;
        posted.evaluated = Some((Instant::now(), now));
        posted.valid_for = valid_for;
    }

    /// Puts up what verification knows.
    pub fn post_verify(&self, document: VerifyDocument, mismatches: Vec<MismatchEntry>) {
        let mut posted = self.posted();
        posted.verify = document;
        posted.mismatches = mismatches;
    }

    /// The gates as they count now.
    pub fn gates(&self) -> Vec<GateDocument> {
        let posted = self.posted();
        let mut gates = posted.gates.clone();
        let age = posted.evaluated.map(|(at, _)| at.elapsed());
        if let Some(age) = age.filter(|age| *age > posted.valid_for) {
            let reason = format!("it was last evaluated {} s ago: the evaluator does not run", age.as_secs());
            gates.iter_mut().for_each(|gate| gate.expire(&reason));
        }
        gates
    }

    /// When the gates were last evaluated.
    pub(crate) fn evaluated(&self) -> Option<SystemTime> {
        self.posted().evaluated.map(|(_, at)| at)
    }

    /// What verification last said.
    pub(crate) fn verify(&self) -> (VerifyDocument, Vec<MismatchEntry>) {
        let posted = self.posted();
        (posted.verify.clone(), posted.mismatches.clone())
    }

    pub(crate) fn yield_at_lag(&self) -> Duration {
        self.yield_at_lag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::GateVerdict;

    fn open() -> GateDocument {
        GateDocument {
            verdict: GateVerdict::Pass,
            ready: true,
            coverage_ratio: Some(1.0),
            ..GateDocument::unknown("cutover", "everything holds")
        }
    }

    /// Promise 3: an evaluator that hangs must not leave a gate open behind it.
    #[test]
    fn a_verdict_runs_out() {
        let bulletin = Bulletin::new(&["cutover"], true, Duration::from_secs(5));
        bulletin.post_gates(vec![open()], Duration::from_secs(3600));
        assert!(bulletin.gates()[0].ready);
        bulletin.post_gates(vec![open()], Duration::ZERO);
        let gate = &bulletin.gates()[0];
        assert_eq!((gate.ready, gate.verdict, gate.coverage_ratio), (false, GateVerdict::Unknown, None));
        assert_eq!(gate.reason, "it was last evaluated 0 s ago: the evaluator does not run");
    }

    /// Before the first evaluation every gate is there and unknown, so that nobody takes silence for leave.
    #[test]
    fn nothing_is_open_before_the_first_evaluation() {
        let bulletin = Bulletin::new(&["backfilled", "cutover"], true, Duration::from_secs(5));
        let gates = bulletin.gates();
        assert_eq!(gates.len(), 2);
        assert!(gates.iter().all(|gate| !gate.ready && gate.verdict == GateVerdict::Unknown));
    }
}
