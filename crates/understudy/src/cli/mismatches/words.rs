//! Mismatches in words: what a kind and a cause mean, and what is done about them.

use understudy_contract::{Cause, KnownMismatch, MismatchKind};

/// What a kind means.
pub(super) const fn kind(kind: MismatchKind) -> &'static str {
    match kind {
        MismatchKind::Missing => "blue has the row and green lacks it",
        MismatchKind::Extra => "green has the row and blue does not",
        MismatchKind::Differs => "both have the row, with different values",
    }
}

/// What a cause means, and what is done next.
pub(super) const fn cause(cause: Cause) -> (&'static str, &'static str) {
    match cause {
        Cause::MissedEvent => (
            "a change of blue has no effect on green, although green is beyond it",
            "repair the row, and verify its table anew: other changes of that time may be missing too",
        ),
        Cause::ForeignWrite => (
            "somebody else than understudy wrote the row on green",
            "find out who writes there and stop them first, or the row will differ again; then repair it",
        ),
        Cause::PartialRow => (
            "an update of blue did not send its large values, and green does not have them as they are",
            "repair the row; where it comes again, set REPLICA IDENTITY FULL for the table on blue",
        ),
        Cause::Precision => (
            "the values are the same number to fewer digits, as green's type keeps them",
            "give green's column blue's type, or say under `compare` how far values may be apart",
        ),
        Cause::CollationOrZone => (
            "the values are the same but for case, padding, normal form or time zone",
            "say under `compare` what does not matter (fold, trim), or change the mapping; a repair changes nothing here",
        ),
        Cause::Mapping => (
            "the mapping, as it was replicated, does not give what blue itself computes",
            "see the column's expression with `understudy plan`; functions that depend on settings of a session are usual here",
        ),
        Cause::SetAside => (
            "green refused the row, or it could not be computed: it is set aside with its reason",
            "mend what the reason in understudy.quarantine names, then repair the row",
        ),
        Cause::Unknown => (
            "none of the usual causes could be shown",
            "repair the row; where it comes again, compare the times at which it was found with what wrote to it",
        ),
    }
}

/// How a mismatch stands, in one word.
pub(super) fn state(one: &KnownMismatch) -> &'static str {
    match (&one.resolved, &one.repair_asked_at) {
        (Some((resolution, _)), _) => resolution.as_str(),
        (None, Some(_)) => "repair_asked",
        (None, None) => "open",
    }
}

/// Who found it.
pub(super) const fn found_by(one: &KnownMismatch) -> &'static str {
    if one.by_stream { "stream" } else { "comparison" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each cause has to lead to something that an operator can do.
    #[test]
    fn every_cause_says_what_it_means_and_what_comes_next() {
        let told = Cause::ALL.map(cause);
        for (at, (means, next)) in told.iter().enumerate() {
            assert!(!means.is_empty() && !next.is_empty());
            assert!(told[..at].iter().all(|(other, _)| other != means), "{means}");
        }
    }
}
