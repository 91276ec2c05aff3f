//! The rules of settling, each of which can be switched off to show that it is needed.

use std::collections::BTreeSet;

/// One rule that keeps a row in flight from being taken for a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A row counts as unchanged only while its version is the same.
    SameVersion,
    /// Green had applied everything that blue showed.
    Reached,
    /// Blue shows everything that green had applied.
    Unseen,
    /// A row that blue lacks was looked for in all of blue.
    Thorough,
    /// A row that is about to be mended is waited for, and what was owed earlier is not held against what is there now.
    Awaited,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 5] =
        [Rule::SameVersion, Rule::Reached, Rule::Unseen, Rule::Thorough, Rule::Awaited];
}

/// The rules in force.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    broken: BTreeSet<Rule>,
}

impl Rules {
    /// Every rule in force.
    pub fn all() -> Rules {
        Rules::default()
    }

    /// All but one, to show what it guards against. Never used outside tests.
    pub fn without(rule: Rule) -> Rules {
        Rules { broken: BTreeSet::from([rule]) }
    }

    /// Whether a rule is in force.
    pub fn holds(&self, rule: Rule) -> bool {
        !self.broken.contains(&rule)
    }
}
