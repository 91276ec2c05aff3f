//! The rules of classification, one by one.

use understudy_contract::{CompareRule, RowDigest, RowName, RowSeen};
use understudy_model::{Key, Lsn};

use super::*;

fn value(text: Option<&str>) -> SeenValue {
    let text: Option<Box<str>> = text.map(Into::into);
    SeenValue { text: text.clone(), compared: text }
}

fn row(values: &[Option<&str>], foreign: Option<bool>) -> RowSeen {
    RowSeen {
        name: RowName { green: Key::from_texts([&b"1"[..]]), blue: None },
        digest: RowDigest(0),
        version: None,
        values: Some(values.iter().map(|text| value(*text)).collect()),
        foreign,
    }
}

/// What is known of a row of columns `a` and `b`, of which `a` may be large.
struct Known<'k> {
    blue: Option<[Option<&'k str>; 2]>,
    green: Option<[Option<&'k str>; 2]>,
    evaluated: Option<[Option<&'k str>; 2]>,
    foreign: Option<bool>,
    unchanged: Option<bool>,
    awaited: Option<Awaits>,
}

const NOTHING: Known<'_> =
    Known { blue: None, green: None, evaluated: None, foreign: None, unchanged: None, awaited: None };

impl Known<'_> {
    fn cause(&self) -> Cause {
        let columns = ["a", "b"].map(|name| ComparedColumn { name: name.into(), rule: CompareRule::Exact });
        let (on_blue, on_green) =
            (self.blue.map(|values| row(&values, None)), self.green.map(|values| row(&values, self.foreign)));
        let differing = |(blue, green): (&RowSeen, &RowSeen)| {
            let values = |row: &RowSeen| row.values.clone().unwrap();
            crate::compare::differing(&columns, &values(blue), &values(green))
        };
        let kind = match (&on_blue, &on_green) {
            (Some(_), Some(_)) => MismatchKind::Differs,
            (Some(_), None) => MismatchKind::Missing,
            _ => MismatchKind::Extra,
        };
        let difference = Difference {
            kind,
            columns: on_blue.as_ref().zip(on_green.as_ref()).map_or_else(Vec::new, differing),
            on_blue,
            on_green,
            awaited: self.awaited,
            at: Lsn::ZERO,
        };
        let evaluated = self.evaluated.map(|values| values.map(|text| text.map(Into::into)));
        classify(&Evidence {
            columns: &columns,
            difference: &difference,
            blue_unchanged_since_verified: self.unchanged,
            evaluated: evaluated.as_ref().map(|values| values.as_slice()),
            large: &[true],
        })
    }
}

const ONE: Option<[Option<&str>; 2]> = Some([Some("1"), Some("x")]);
const TWO: Option<[Option<&str>; 2]> = Some([Some("2"), Some("x")]);
const OURS: Option<bool> = Some(false);

/// Each line is one rule: what is known, and the cause that follows.
fn follows(rules: &[(&str, Cause, Known<'_>)]) {
    for (rule, cause, known) in rules {
        assert_eq!(known.cause(), *cause, "{rule}");
    }
}

/// People act on the cause: a wrong writer sends them to look in the wrong place.
#[test]
fn who_wrote_what_has_its_cause() {
    follows(&[
        (
            "set aside, whoever wrote it",
            Cause::SetAside,
            Known {
                blue: ONE,
                green: TWO,
                foreign: Some(true),
                awaited: Some(Awaits::Quarantine),
                ..NOTHING
            },
        ),
        (
            "set aside and not there",
            Cause::SetAside,
            Known { blue: ONE, awaited: Some(Awaits::Quarantine), ..NOTHING },
        ),
        (
            "written by somebody else",
            Cause::ForeignWrite,
            Known { blue: ONE, green: TWO, foreign: Some(true), ..NOTHING },
        ),
        (
            "put there by somebody else",
            Cause::ForeignWrite,
            Known { green: TWO, foreign: Some(true), ..NOTHING },
        ),
        (
            "gone while blue's did not change",
            Cause::ForeignWrite,
            Known { blue: ONE, unchanged: Some(true), ..NOTHING },
        ),
        (
            "other while blue's did not change",
            Cause::ForeignWrite,
            Known { blue: ONE, green: TWO, unchanged: Some(true), ..NOTHING },
        ),
        ("new on blue only", Cause::MissedEvent, Known { blue: ONE, ..NOTHING }),
        (
            "changed on blue and not there",
            Cause::MissedEvent,
            Known { blue: ONE, unchanged: Some(false), ..NOTHING },
        ),
        ("ours and gone from blue", Cause::MissedEvent, Known { green: ONE, foreign: OURS, ..NOTHING }),
        ("on green only", Cause::Unknown, Known { green: ONE, ..NOTHING }),
        (
            "as replication computes it",
            Cause::Mapping,
            Known { blue: ONE, green: TWO, evaluated: TWO, foreign: OURS, unchanged: Some(true), ..NOTHING },
        ),
        (
            "not as replication computes it",
            Cause::MissedEvent,
            Known { blue: ONE, green: TWO, evaluated: ONE, foreign: OURS, ..NOTHING },
        ),
        (
            "ours and out of date",
            Cause::MissedEvent,
            Known { blue: ONE, green: TWO, foreign: OURS, ..NOTHING },
        ),
        (
            "changed on blue since it was equal",
            Cause::MissedEvent,
            Known { blue: ONE, green: TWO, unchanged: Some(false), ..NOTHING },
        ),
        ("nothing is known", Cause::Unknown, Known { blue: ONE, green: TWO, ..NOTHING }),
    ]);
}

/// What differs tells a lossy type, a mapping or a half-sent row from a change that went missing.
#[test]
fn what_differs_has_its_cause() {
    let (long, longer) = ("x".repeat(300), "y".repeat(300));
    follows(&[
        (
            "fewer digits",
            Cause::Precision,
            Known { blue: Some([Some("1.25"), None]), green: Some([Some("1.3"), None]), ..NOTHING },
        ),
        (
            "another case",
            Cause::CollationOrZone,
            Known { blue: Some([Some("Ada "), None]), green: Some([Some("ada"), None]), ..NOTHING },
        ),
        (
            "fewer digits, and another case beside it",
            Cause::CollationOrZone,
            Known { blue: Some([Some("1.25"), Some("A")]), green: Some([Some("1.3"), Some("a")]), ..NOTHING },
        ),
        (
            "a large value is absent",
            Cause::PartialRow,
            Known { blue: Some([Some(&long), Some("x")]), green: Some([None, Some("x")]), ..NOTHING },
        ),
        (
            "a large value is out of date",
            Cause::PartialRow,
            Known { blue: Some([Some(&long), None]), green: Some([Some(&longer), None]), ..NOTHING },
        ),
        (
            "a large value and another one",
            Cause::Unknown,
            Known { blue: Some([Some(&long), Some("x")]), green: Some([None, Some("other")]), ..NOTHING },
        ),
        (
            "a short value of a large type",
            Cause::MissedEvent,
            Known { blue: ONE, green: Some([None, Some("x")]), foreign: OURS, ..NOTHING },
        ),
        (
            "a large value of a type that is not",
            Cause::Unknown,
            Known { blue: Some([None, Some(&long)]), green: Some([None, None]), ..NOTHING },
        ),
    ]);
}

/// Numbers and moments that lost digits are told from others, or a lost update passes for rounding.
#[test]
fn fewer_digits_are_told_from_other_values() {
    let same = [
        ("1.25", "1.3"),
        ("1.24", "1.2"),
        ("1.29", "1.2"),
        ("-1.29", "-1.2"),
        ("0.1", "0.10000000149011612"),
        ("0.3", "0.30000000000000004"),
        ("1234.5678901234567", "1234.5678901234568"),
        ("12345678900", "1.23457e+10"),
        ("2.5", "3"),
        ("2026-11-21 10:00:00.123456", "2026-11-21 10:00:00.123"),
        ("2026-11-21 10:00:00.7", "2026-11-21 10:00:01"),
        ("2026-12-31 23:59:59.9999", "2027-01-01 00:00:00"),
        ("2028-02-29 23:59:59.6+00", "2028-03-01 00:00:00+00"),
        ("10:00:00.25", "10:00:00"),
    ];
    let other = [
        ("1.25", "1.4"),
        ("1.2", "1.3"),
        ("100", "98"),
        ("1", "2"),
        ("-0.9", "0.9"),
        ("-3.4", "3"),
        ("NaN", "1"),
        ("x", "y"),
        ("2026-11-21 10:00:00.5", "2026-11-21 10:00:02"),
        ("2026-11-21 10:00:00.1", "2026-11-21 10:00:00.2"),
        ("2026-11-21 10:00:00", "10:00:00.2"),
    ];
    for (one, two) in same {
        assert!(same_number(one, two) && same_number(two, one), "{one} and {two}");
    }
    for (one, two) in other {
        assert!(!same_number(one, two) && !same_number(two, one), "{one} and {two}");
    }
}

/// Texts that read alike and moments in another zone are told from others.
#[test]
fn other_forms_are_told_from_other_values() {
    let same = [
        ("Ada", "ADA"),
        ("ada", "ada   "),
        ("Straße 1", "STRAßE\u{a0}1"),
        ("caf\u{e9}", "cafe\u{301}"),
        ("\u{1e69}o", "s\u{323}\u{307}o"),
        ("2026-11-21 10:00:00", "2026-11-21 08:00:00"),
        ("2026-11-21 10:00:00+00", "2026-11-21 10:00:00"),
        ("2026-11-21 10:00:00+05:45", "2026-11-21 04:15:00+00"),
        ("2026-11-21 10:00:00.5+00", "2026-11-22 00:00:00.5+00"),
    ];
    let other = [
        ("Ada", "Ida"),
        ("a b", "ab"),
        ("cafe", "caf\u{e9}"),
        ("e\u{301}", "e"),
        ("2026-11-21 10:00:00", "2026-11-21 10:00:01"),
        ("2026-11-21 10:00:00", "2026-11-21 10:05:00"),
        ("2026-11-21 10:00:00", "2026-11-22 10:00:00"),
    ];
    for (one, two) in same {
        assert!(same_text(one, two) && same_text(two, one), "{one} and {two}");
    }
    for (one, two) in other {
        assert!(!same_text(one, two) && !same_text(two, one), "{one} and {two}");
    }
}
