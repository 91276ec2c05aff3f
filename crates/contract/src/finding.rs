//! What a preflight has to say: one finding per fact that an operator should know before anything is created.

use std::fmt;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The migration cannot run, or would lose something.
    Error,
    /// It can run, and may stop or mislead later.
    Warning,
    /// Worth knowing.
    Info,
    /// Exists on blue and is not carried over.
    NotMoved,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
            Severity::NotMoved => "not moved",
        })
    }
}

/// One finding. It never holds a row value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// A stable name for this kind of finding.
    pub code: &'static str,
    /// Which object it is about: `blue table public.orders`.
    pub subject: String,
    /// What is the case.
    pub what: String,
    /// What to do about it; empty when nothing needs doing.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.severity, self.subject, self.what)?;
        if !self.remedy.is_empty() {
            write!(f, " ({})", self.remedy)?;
        }
        write!(f, " [{}]", self.code)
    }
}

/// The findings so far.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds one.
    pub fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        subject: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (subject, what, remedy) = (subject.into(), what.into(), remedy.into());
        self.0.push(Finding { severity, code, subject, what, remedy });
    }

    /// Adds one for which the migration cannot run.
    pub fn error(
        &mut self,
        code: &'static str,
        subject: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Error, code, subject, what, remedy);
    }

    /// Adds one that may matter later.
    pub fn warning(
        &mut self,
        code: &'static str,
        subject: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Warning, code, subject, what, remedy);
    }

    /// Adds one that is worth knowing.
    pub fn info(&mut self, code: &'static str, subject: impl Into<String>, what: impl Into<String>) {
        self.add(Severity::Info, code, subject, what, "");
    }

    /// Everything found, the gravest first, otherwise in the order of discovery. What is found by way of several routes
    /// that share a table is said once.
    pub fn sorted(self) -> Vec<Finding> {
        let mut distinct = Vec::with_capacity(self.0.len());
        for finding in self.0 {
            if !distinct.contains(&finding) {
                distinct.push(finding);
            }
        }
        distinct.sort_by_key(|finding| finding.severity);
        distinct
    }
}
