//! One check and what it came to.

use crate::evidence::Millis;

/// What a check, or all of them, came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It is as the policy asks.
    Pass,
    /// Not yet, and it gets there by itself.
    Pending,
    /// It cannot be told.
    Unknown,
    /// It is not, and somebody has to act or to wait for something outside.
    Fail,
}

impl Status {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Pass => "pass",
            Status::Pending => "pending",
            Status::Unknown => "unknown",
            Status::Fail => "fail",
        }
    }
}

/// One check and what it came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// What it came to.
    pub status: Status,
    /// The figure that was looked at; `None` when there is none, or it is not known.
    pub value: Option<f64>,
    /// How the figure must compare with the threshold.
    pub op: Option<&'static str>,
    /// The threshold.
    pub threshold: Option<f64>,
    /// What both count; empty when there are none.
    pub unit: &'static str,
    /// What it came to, as a sentence.
    pub reason: String,
    /// What the operator does about it.
    pub remedy: Option<String>,
    /// Since when the status is what it is.
    pub since: Millis,
}

impl Check {
    pub(crate) fn new(name: &str, status: Status, reason: impl Into<String>) -> Check {
        Check {
            name: name.to_owned(),
            status,
            value: None,
            op: None,
            threshold: None,
            unit: "",
            reason: reason.into(),
            remedy: None,
            since: Millis(0),
        }
    }

    pub(crate) fn pass(name: &str, reason: impl Into<String>) -> Check {
        Check::new(name, Status::Pass, reason)
    }

    pub(crate) fn pending(name: &str, reason: impl Into<String>) -> Check {
        Check::new(name, Status::Pending, reason)
    }

    pub(crate) fn unknown(name: &str, reason: impl Into<String>) -> Check {
        Check::new(name, Status::Unknown, reason)
    }

    pub(crate) fn fail(name: &str, reason: impl Into<String>) -> Check {
        Check::new(name, Status::Fail, reason)
    }

    /// Says which figure must compare how with which threshold.
    pub(crate) fn figure(
        mut self,
        value: Option<f64>,
        op: &'static str,
        threshold: f64,
        unit: &'static str,
    ) -> Check {
        self.value = value;
        self.op = Some(op);
        self.threshold = Some(threshold);
        self.unit = unit;
        self
    }

    /// None of these may be there.
    pub(crate) fn none_of(self, count: u64, unit: &'static str) -> Check {
        self.figure(Some(count as f64), "==", 0.0, unit)
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Check {
        self.remedy = Some(remedy.into());
        self
    }
}
