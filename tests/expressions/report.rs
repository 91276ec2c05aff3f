//! What was compared, what differed, and which functions are to blame.

use std::collections::BTreeMap;

use crate::generate::Term;
use crate::server::Answer;

/// Differences that are shown of one function, at most.
const SHOWN_MAX: usize = 4;

/// What is refused in general stays below this share.
const REFUSED_PERCENT_MAX: usize = 5;

/// What is refused of one function stays below this share, from so many cases on.
const REFUSED_OF_ONE_PERCENT_MAX: usize = 50;
const CASES_MIN: usize = 20;

/// Functions that refuse more of the values that they are tried with, and why.
const REFUSING: [(&str, &str); 4] = [
    ("convert_from(", "encodings other than UTF8"),
    ("convert_to(", "encodings other than UTF8"),
    ("make_interval(", "15 and 18 differ in what they say of intervals past their range"),
    ("timezone(text, time with time zone)", "zones whose offset depends on the day"),
];

/// The cases of a function.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    refused: usize,
    differences: Vec<String>,
}

/// Everything that was compared.
#[derive(Debug, Default)]
pub(crate) struct Report {
    by_label: BTreeMap<String, Tally>,
    cases: usize,
    failures: usize,
    refused: usize,
    by_collation: usize,
    folded: usize,
}

/// Whether a refusal is for what only the server knows.
fn is_by_collation(what: &str) -> bool {
    what.contains("collation") || what.contains("another value each time")
}

/// Whether a function is refused by name, or a literal because releases read it differently.
fn is_on_purpose(ours: &Answer) -> bool {
    let reasons = ["is not supported in expressions: ", "version", "which Postgres knows"];
    matches!(ours, Answer::Refused(problem) if reasons.iter().any(|reason| problem.what.contains(reason)))
}

impl Report {
    /// Notes a case in which the server had computed a constant part before its turn.
    pub(crate) fn is_folded(&mut self) {
        self.folded += 1;
    }

    /// Takes up one case; the parts of a case that differs are looked at as well, without counting as cases.
    pub(crate) fn differs(
        &mut self,
        term: &Term,
        text: &str,
        (ours, theirs): (&Answer, &Answer),
        is_case: bool,
    ) -> bool {
        let tally = self.by_label.entry(term.label.clone()).or_default();
        tally.cases += usize::from(is_case);
        self.cases += usize::from(is_case);
        self.failures += usize::from(is_case && matches!(theirs, Answer::Failure(_)));
        let differs = match (ours, theirs) {
            (ours, theirs) if ours.is_like(theirs) => false,
            (Answer::Refused(problem), _) if is_by_collation(&problem.what) => {
                self.by_collation += usize::from(is_case);
                false
            }
            (Answer::Refused(_), Answer::Failure(_)) => false,
            // Postgres has further functions of that name, for types that expressions do not know.
            (_, theirs) if theirs.is_failure("42725") => false,
            (ours, _) if ours.is_failure("0A000") || is_on_purpose(ours) => {
                tally.refused += usize::from(is_case);
                self.refused += usize::from(is_case);
                false
            }
            _ => true,
        };
        if differs {
            tally.differences.push(format!(
                "{text}\n      ours   {}\n      theirs {}",
                shown(ours),
                shown(theirs)
            ));
        }
        differs
    }

    /// Prints what was found, and fails if anything differs.
    pub(crate) fn conclude(mut self, what: &str) {
        println!(
            "{what}: {} cases, {} fail on the server, {} refused, {} by collation, {} computed before their turn",
            self.cases, self.failures, self.refused, self.by_collation, self.folded
        );
        let mut blamed = Vec::new();
        for (label, tally) in &mut self.by_label {
            let too_many =
                tally.cases >= CASES_MIN && tally.refused * 100 > tally.cases * REFUSED_OF_ONE_PERCENT_MAX;
            if tally.refused * 10 > tally.cases {
                println!("  refused: {label}: {} of {}", tally.refused, tally.cases);
            }
            let is_known = REFUSING.iter().any(|(name, _)| label.starts_with(name));
            if too_many && !is_known {
                blamed.push(format!("{label}: refuses {} of {}", tally.refused, tally.cases));
            }
            if !tally.differences.is_empty() {
                // The shortest say most.
                tally.differences.sort_by_key(String::len);
                blamed.push(format!("{label}: {} of {} differ", tally.differences.len(), tally.cases));
                println!("  {label}");
                tally.differences.iter().take(SHOWN_MAX).for_each(|difference| println!("    {difference}"));
            }
        }
        let share = self.refused * 100 / self.cases.max(1);
        assert!(share < REFUSED_PERCENT_MAX, "{what}: {share} % are refused");
        assert!(blamed.is_empty(), "{what} differ:\n  {}", blamed.join("\n  "));
    }
}

fn shown(answer: &Answer) -> String {
    match answer {
        Answer::Value(Some(text)) => format!("{text:?}"),
        Answer::Value(None) => "null".to_owned(),
        Answer::Failure(code) => format!("SQLSTATE {code}"),
        Answer::Refused(problem) => format!("refused: {}", problem.what),
        Answer::Panic => "a panic".to_owned(),
    }
}
