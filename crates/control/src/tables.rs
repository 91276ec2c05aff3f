//! The figures of verification by table, for the metrics.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use understudy_observe::{OTHER_TABLES, TABLES_MAX, names};

use crate::gauges::{Gauges, figure};
use crate::verify::{VerifyDocument, VerifyTable};

/// One series of tables: routes that share a table of blue, or the overflow.
#[derive(Debug, Clone)]
struct Series {
    sum: VerifyTable,
    coverage: f64,
    /// The longest of them; `None` once one of them has not completed any pass.
    pass_age: Option<f64>,
}

impl Series {
    fn of(table: &VerifyTable) -> Series {
        Series { sum: table.clone(), coverage: table.coverage_ratio, pass_age: table.last_pass_age_seconds }
    }

    fn add(&mut self, table: &VerifyTable) {
        let sum = &mut self.sum;
        sum.rows_checked += table.rows_checked;
        sum.changes_checked += table.changes_checked;
        sum.pending += table.pending;
        sum.suspended += table.suspended;
        for (to, more) in [(&mut sum.open, table.open), (&mut sum.found, table.found)] {
            to.missing += more.missing;
            to.extra += more.extra;
            to.differs += more.differs;
        }
        sum.resolved.converged += table.resolved.converged;
        sum.resolved.repaired += table.resolved.repaired;
        sum.resolved.waived += table.resolved.waived;
        sum.resolved.gone += table.resolved.gone;
        // The least of them stands for all.
        self.coverage = self.coverage.min(table.coverage_ratio);
        let ages = self.pass_age.zip(table.last_pass_age_seconds);
        self.pass_age = ages.map(|(one, other)| one.max(other));
    }
}

/// Series by label: routes of one table of blue together, and the overflow under a name of its own.
fn series(tables: &[VerifyTable]) -> BTreeMap<&str, Series> {
    let mut labels: Vec<&str> = Vec::new();
    let mut series: BTreeMap<&str, Series> = BTreeMap::new();
    for table in tables {
        let source = table.source.as_str();
        if !labels.contains(&source) && labels.len() < TABLES_MAX {
            labels.push(source);
        }
        let label = if labels.contains(&source) { source } else { OTHER_TABLES };
        series.entry(label).and_modify(|one| one.add(table)).or_insert_with(|| Series::of(table));
    }
    series
}

impl Gauges {
    pub(crate) fn verify(&self, document: &VerifyDocument) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        for (label, Series { sum, coverage, pass_age }) in series(&document.tables) {
            let table = ("table", label);
            for (mode, rows) in [("pass", sum.rows_checked), ("changed", sum.changes_checked)] {
                self.count(&names::VERIFY_ROWS_CHECKED, &[table, ("mode", mode)], rows);
            }
            for (kind, rows) in sum.open.each() {
                self.recorder().set(&names::MISMATCHES, &[table, ("kind", kind)], figure(rows));
            }
            for (kind, rows) in sum.found.each() {
                self.count(&names::MISMATCHES_FOUND, &[table, ("kind", kind)], rows);
            }
            for (how, rows) in sum.resolved.each() {
                self.count(&names::MISMATCHES_RESOLVED, &[table, ("how", how)], rows);
            }
            self.recorder().set(&names::VERIFY_PENDING, &[table], figure(sum.pending));
            self.recorder().set(&names::VERIFY_SUSPENDED, &[table], figure(sum.suspended));
            self.recorder().set(&names::VERIFY_COVERAGE, &[table], coverage);
            if let Some(age) = pass_age {
                // To the second: the age is one of a report made a moment ago.
                self.recorder().set(&names::VERIFY_FULL_PASS, &[table], (now - age).round());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(source: &str, coverage_ratio: f64, last_pass_age_seconds: Option<f64>) -> VerifyTable {
        VerifyTable {
            source: source.to_owned(),
            coverage_ratio,
            last_pass_age_seconds,
            rows_checked: 10,
            pending: 1,
            ..VerifyTable::default()
        }
    }

    /// A table that is split into two must not show only its better half.
    #[test]
    fn routes_of_one_table_share_a_series_and_the_least_stands_for_all() {
        let tables = [table("a", 1.0, Some(3.0)), table("a", 0.5, Some(9.0)), table("b", 1.0, None)];
        let series = series(&tables);
        let a = &series["a"];
        assert_eq!((a.sum.rows_checked, a.sum.pending, a.coverage, a.pass_age), (20, 2, 0.5, Some(9.0)));
        assert_eq!(series["b"].pass_age, None);
        let unfinished = [table("a", 1.0, Some(3.0)), table("a", 1.0, None)];
        assert_eq!(super::series(&unfinished)["a"].pass_age, None);
    }

    /// Thousands of tables must not become thousands of series.
    #[test]
    fn tables_beyond_the_limit_share_one_series() {
        let tables = (0..TABLES_MAX + 7).map(|at| table(&format!("t{at}"), 1.0, None)).collect::<Vec<_>>();
        let series = series(&tables);
        assert_eq!(series.len(), TABLES_MAX + 1);
        assert_eq!(series[OTHER_TABLES].sum.rows_checked, 70);
    }
}
