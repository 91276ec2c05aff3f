//! Verification and the gate in a few figures, as the status shows them.

use serde::{Deserialize, Serialize};

use crate::gates::{GateDocument, GateVerdict};
use crate::verify::VerifyDocument;

/// What verification knows of all tables together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifySummary {
    /// The least share of any table that counts as verified; `None` while nothing is known.
    pub coverage_ratio: Option<f64>,
    /// Mismatches that are open.
    pub open: u64,
    /// Rows of which it is not settled whether they differ.
    pub pending: u64,
    /// Rows that change too often to be settled.
    pub suspended: u64,
    /// Why full passes wait; `None` when they do not.
    pub held_back: Option<String>,
}

impl VerifySummary {
    /// Of everything that is known; `None` where nothing is compared.
    pub fn of(document: &VerifyDocument) -> Option<VerifySummary> {
        let tables = &document.tables;
        document.enabled.then(|| VerifySummary {
            coverage_ratio: tables.iter().map(|table| table.coverage_ratio).reduce(f64::min),
            open: tables.iter().map(|table| table.open.total()).sum(),
            pending: tables.iter().map(|table| table.pending).sum(),
            suspended: tables.iter().map(|table| table.suspended).sum(),
            held_back: document.held_back.clone(),
        })
    }
}

/// What one gate came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateSummary {
    /// Its name.
    pub gate: String,
    /// What it came to.
    pub verdict: GateVerdict,
    /// Why, on one line.
    pub reason: String,
}

impl GateSummary {
    /// Of its whole document.
    pub fn of(document: &GateDocument) -> GateSummary {
        GateSummary {
            gate: document.gate.clone(),
            verdict: document.verdict,
            reason: document.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{ByKind, VerifyTable};

    /// Promise 3: the table that is verified least speaks for all, and what is not compared is not called clean.
    #[test]
    fn the_least_verified_table_speaks_for_all() {
        let mut document = VerifyDocument::empty(true);
        assert_eq!(VerifySummary::of(&document).unwrap().coverage_ratio, None);
        let table = |coverage_ratio, extra| VerifyTable {
            coverage_ratio,
            open: ByKind { extra, ..ByKind::default() },
            pending: 2,
            ..VerifyTable::default()
        };
        document.tables = vec![table(1.0, 1), table(0.25, 3)];
        let summary = VerifySummary::of(&document).unwrap();
        assert_eq!((summary.coverage_ratio, summary.open, summary.pending), (Some(0.25), 4, 4));
        assert_eq!(VerifySummary::of(&VerifyDocument::empty(false)), None);
    }
}
