//! Rules on single rows: equal, different, or to be read again.
//!
//! # What a difference is
//!
//! Both sides change while they are read, so that two rows which differ prove nothing by themselves. A difference is ruled
//! only where green is shown to be wrong at one exact point of blue's log. One *sight* of a key is a read of blue and,
//! after it, a read of green. Of sight *i* is known
//!
//! - `S_i`: what blue's snapshot could see, and `L_i`, where blue's log was inside that transaction;
//! - `C_i`: green's checkpoint, of the very snapshot that shows its row, and `U_i`, the transactions applied up to there
//!   that nobody had seen visible on blue when they were applied.
//!
//! A transaction of blue becomes visible once its commit is logged, never before; it may be streamed and applied before it
//! is visible. Hence, for any two sights *j* before *i* of one key:
//!
//! 1. `visible(S_i) ⊆ applied(C_i)`, if `C_i >= L_i`.
//! 2. `applied(C_j) ⊆ visible(S_i)`, if `S_i` sees all of `U_j`: the rest had been seen by a snapshot taken before green
//!    applied it, and what blue once shows it shows from then on. The new read of blue begins when the read of green has
//!    ended, so that its snapshot is the later one.
//!
//! So blue, green and blue again are nested: `visible(S_j) ⊆ applied(C_j) ⊆ visible(S_i) ⊆ applied(C_i)`.
//! A row's version names one tuple: a server never gives table, writer and address to another tuple under the same key, and
//! a tuple never changes. A version that is seen twice was therefore there all the time between.
//!
//! **By blue's version.** Blue has the key in the same version at `S_j` and `S_i`. Whoever wrote it is in `visible(S_j)`
//! and so in `applied(C_j)`; nobody in `visible(S_i)` removed it, so nobody in `applied(C_j)` did. Blue's log up to `C_j`
//! leaves just this tuple at the key, and green at `C_j` must hold what it maps to. If it does not, green is wrong.
//! This takes no order among blue's transactions on a key, so that it also holds for keys which blue's rows exchange.
//!
//! **By green's version.** Green has the key in the same version at `C_j` and `C_i`. Applying a transaction that changes
//! the row at a key leaves another version there or none, also where several are applied as one: green never leaves out a
//! write because it would store what is there. So nothing in `applied(C_i)` beyond `applied(C_j)` touches the key, and
//! `visible(S_i)`, which lies between the two, has at this key what the log up to `C_j` leaves. If that is not what green has,
//! green is wrong. Where blue has no such row, all of blue must have been searched: where keys are computed, a search by the
//! row's old key on blue misses the row that has taken the key since.
//!
//! A row that is absent has no version: absence at both ends shows nothing, since the row may have come and gone between.
//! Neither rule takes it for proof, the first because blue's row is there, the second because green's is.
//!
//! # What equality is
//!
//! Equal rows in one sight are equal. What that covers is what `S_i` could see: a transaction that was logged before `L_i`
//! and not visible yet may still be missing on green, while blue shows the row as it was. [`Horizon`] tells how far blue's
//! log was visible in full.
//!
//! A key of which neither side has a row is equal at first sight, also where its row was looked for under its old key on blue
//! only: another row that has taken the key is found by its own key on blue. A key that was seen to differ, or that two of
//! blue's rows have at once, is not.
//!
//! # What callers keep
//!
//! - Rows are read by name: reads of ranges do not tell what replication owes.
//! - The sights of one case are made one after the other: a read of blue begins after the read of green before it has
//!   ended. Connections may differ, as long as blue is always the server that writes.
//! - Both sides lock the table before they take their snapshot: truncation and rewriting show through older snapshots.
//! - What changes rows without a trace in the stream is no difference of theirs: leaves that were attached or detached wait
//!   until the route is complete again.

mod horizon;
mod proof;
mod rules;

pub use horizon::Horizon;
pub use rules::{Rule, Rules};

use std::collections::VecDeque;

use understudy_contract::{
    Awaits, BlueMoment, ComparedColumn, GreenMoment, KeyRelation, MismatchKind, RowSeen,
};
use understudy_model::Lsn;

use crate::compare::differing;

/// Earlier sights of a case that a new one is held against. More than one, since a transaction that was not visible to the
/// next read of blue may be to the one after it.
const EARLIER_MAX: usize = 4;

/// One look at a key: blue first, then green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// When blue was read.
    pub blue: BlueMoment,
    /// When green was read, after blue.
    pub green: GreenMoment,
    /// The row with this key on green, as blue has it.
    pub on_blue: Option<RowSeen>,
    /// The row as green has it.
    pub on_green: Option<RowSeen>,
    /// Whether replication knows that it owes the row, as of green's snapshot.
    pub awaited: Option<Awaits>,
    /// Whether every row of blue that may have this key on green was looked at. Where keys are passed on any read is.
    pub thorough: bool,
    /// Whether a side has more than one row with this key on green: which of them counts is not known, and `on_blue` and
    /// `on_green` do not matter.
    pub ambiguous: bool,
}

/// What a sight comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Both sides had the same, or neither had the row.
    Equal {
        /// Where blue's log was. What blue's snapshot could not see yet is not covered, even if it was logged before.
        at: Lsn,
    },
    /// Nothing is shown yet: look again.
    Again {
        /// Blue has to be searched in full for this key.
        thorough: bool,
    },
    /// Green is wrong as far as digests tell: look again, with values.
    Confirm,
    /// Green is wrong.
    Differs(Box<Difference>),
}

/// A row of green that was shown to be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// In which way.
    pub kind: MismatchKind,
    /// The row as blue has it, with values.
    pub on_blue: Option<RowSeen>,
    /// The row as green has it, with values.
    pub on_green: Option<RowSeen>,
    /// The columns that differ, by name; empty for a row that one side lacks.
    pub columns: Vec<String>,
    /// Set aside, or nothing.
    pub awaited: Option<Awaits>,
    /// Where blue's log was.
    pub at: Lsn,
}

/// A key that is being settled.
#[derive(Debug, Clone)]
pub struct Case {
    keys: KeyRelation,
    rules: Rules,
    strict: bool,
    attempts: u32,
    earlier: VecDeque<Sight>,
}

impl Case {
    /// A key of which nothing is known.
    pub fn new(keys: KeyRelation) -> Case {
        Case::with_rules(keys, Rules::all())
    }

    /// A key that was found to differ. That neither side has it any more is believed only after all of blue was searched.
    pub fn of_mismatch(keys: KeyRelation) -> Case {
        Case { strict: true, ..Case::new(keys) }
    }

    /// A key that is settled by other rules. Never used outside tests.
    pub fn with_rules(keys: KeyRelation, rules: Rules) -> Case {
        Case { keys, rules, strict: false, attempts: 0, earlier: VecDeque::new() }
    }

    /// Sights so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Takes the next sight in. `columns` are those of the route, as values are compared by them.
    pub fn see(&mut self, mut sight: Sight, columns: &[ComparedColumn]) -> Ruling {
        self.attempts = self.attempts.saturating_add(1);
        self.strict |= sight.ambiguous;
        if self.earlier.back().is_some_and(|last| !self.follows(last, &sight)) {
            self.earlier.clear();
        }
        if sight.ambiguous || !self.is_usable(&sight) {
            return self.again(&sight);
        }
        self.recall_values(&mut sight);
        if let Some(differs) = difference(&sight, columns) {
            return self.unequal(sight, columns, differs);
        }
        if sight.on_blue.is_none() && self.strict && self.needs_search(&sight) {
            return self.again(&sight);
        }
        Ruling::Equal { at: sight.blue.lsn }
    }

    fn unequal(&mut self, sight: Sight, columns: &[ComparedColumn], differs: Differs) -> Ruling {
        self.strict = true;
        if self.holds(Rule::Awaited) && sight.awaited == Some(Awaits::Heal) {
            return self.again(&sight);
        }
        let shown = self.shown(&sight, columns);
        let ruling = match (shown, differs) {
            (false, _) => self.again(&sight),
            (true, Differs::Digests) => Ruling::Confirm,
            (true, Differs::For(kind, names)) => Ruling::Differs(Box::new(Difference {
                kind,
                columns: names,
                on_blue: sight.on_blue.clone(),
                on_green: sight.on_green.clone(),
                awaited: sight.awaited,
                at: sight.blue.lsn,
            })),
        };
        self.keep(sight);
        ruling
    }

    fn again(&self, sight: &Sight) -> Ruling {
        let search = sight.on_blue.is_none() || sight.ambiguous;
        Ruling::Again { thorough: self.keys == KeyRelation::Computed && search && self.strict }
    }

    /// Whether a row that blue was not seen to have may be there nevertheless.
    fn needs_search(&self, sight: &Sight) -> bool {
        self.holds(Rule::Thorough) && self.keys == KeyRelation::Computed && !sight.thorough
    }

    fn holds(&self, rule: Rule) -> bool {
        self.rules.holds(rule)
    }
}

/// How the rows of a sight differ.
enum Differs {
    /// By their digests, which is not to say by values.
    Digests,
    /// For certain: the kind, and the columns.
    For(MismatchKind, Vec<String>),
}

/// `None`: they do not. The values decide where both rows have them, since a tolerance is no matter of digests.
fn difference(sight: &Sight, columns: &[ComparedColumn]) -> Option<Differs> {
    let one_sided = |row: &RowSeen, kind| match row.values {
        Some(_) => Differs::For(kind, Vec::new()),
        None => Differs::Digests,
    };
    match (&sight.on_blue, &sight.on_green) {
        (None, None) => None,
        (Some(blue), None) => Some(one_sided(blue, MismatchKind::Missing)),
        (None, Some(green)) => Some(one_sided(green, MismatchKind::Extra)),
        (Some(blue), Some(green)) if blue.digest == green.digest => None,
        (Some(blue), Some(green)) => match (&blue.values, &green.values) {
            (Some(of_blue), Some(of_green)) => {
                let names = differing(columns, of_blue, of_green);
                (!names.is_empty()).then_some(Differs::For(MismatchKind::Differs, names))
            }
            _ => Some(Differs::Digests),
        },
    }
}
