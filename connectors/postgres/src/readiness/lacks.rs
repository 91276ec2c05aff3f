//! What is not as it should be, gathered: each said once, and not without end.

use understudy_contract::{Found, Lack, ReadinessCheck};

/// How many are listed one by one; a person acknowledges more than that only as a whole.
const LISTED: usize = 300;

/// What a check has found so far.
#[derive(Default)]
pub(super) struct Lacks(Vec<Lack>);

impl Lacks {
    /// One with a remedy.
    pub(super) fn add(
        &mut self,
        subject: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let remedy = Some(remedy.into()).filter(|remedy| !remedy.is_empty());
        self.0.push(Lack { subject: subject.into(), reason: reason.into(), remedy });
    }

    /// All of them. What is found by way of several routes that share a table is said once.
    pub(super) fn found(self, check: ReadinessCheck) -> Found {
        let mut distinct = Vec::new();
        let mut left_out = 0;
        let mut seen = rustc_hash::FxHashSet::default();
        for lack in self.0 {
            if !seen.insert((lack.subject.clone(), lack.reason.clone())) {
                continue;
            }
            if distinct.len() < LISTED { distinct.push(lack) } else { left_out += 1 }
        }
        if left_out > 0 {
            distinct.push(Lack {
                subject: format!("further {}", check.as_str()),
                reason: format!("{left_out} more are not as they should be"),
                remedy: Some("mend those that are listed; then these are".to_owned()),
            });
        }
        if distinct.is_empty() { Found::Good } else { Found::Lacks(distinct) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database with thousands of objects outside the migration still yields a report that can be read.
    #[test]
    fn what_is_too_much_to_list_is_counted() {
        let mut lacks = Lacks::default();
        for number in 0..LISTED + 5 {
            lacks.add(format!("table t{number}"), "is outside", "");
            lacks.add("table t0", "is outside", "");
        }
        let Found::Lacks(found) = lacks.found(ReadinessCheck::NotMoved) else { panic!("nothing found") };
        assert_eq!(found.len(), LISTED + 1);
        let last = &found[LISTED];
        assert_eq!(
            (last.subject.as_str(), last.reason.as_str()),
            ("further not_moved", "5 more are not as they should be")
        );
        assert_eq!(Lacks::default().found(ReadinessCheck::NotMoved), Found::Good);
    }
}
