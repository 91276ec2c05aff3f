//! The rules of placed chunks, each of which can be switched off to show that it is needed.

use std::collections::BTreeSet;

use understudy_model::{Before, RowChange};

/// One rule that keeps green equal to blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Rows of a chunk whose key was touched by a transaction that its snapshot could not see are dropped.
    TouchedKeys,
    /// A chunk that cannot see a transaction streamed before its window opened is read again.
    LateVisible,
    /// After a slot is created no window opens until every transaction then in progress has ended or been streamed.
    SlotBirth,
    /// The same after a replica identity has changed; and a table that joins is neither planned nor followed before every
    /// transaction that ran when it was added to the publication has ended or been streamed.
    PublicationChange,
    /// Transactions streamed and not yet seen visible survive a restart.
    SavedUnseen,
    /// A rewritten table is copied from its first block again.
    Rewrite,
    /// Also one that is copied already, if the columns that its route reads were written anew; and one whose columns were
    /// dropped and added again.
    Marks,
    /// A truncation in the window discards the chunk.
    Truncate,
    /// The batch before a chunk is committed before the chunk is placed.
    Order,
    /// A partial row that finds no row on green is read again by key.
    Heal,
    /// While a route is copied again over rows of green, every partial row is read again by key. Kept by green's sink.
    Renewal,
    /// A partial row that leaves a key which waits to be read again is read again under its new key. Kept by green's sink.
    MovedHeal,
    /// Values sent while a heal is under way win over those that it read.
    HealMerge,
    /// A window that has overflowed is discarded, never placed.
    Overflow,
    /// A leaf that was attached is copied.
    AttachedLeaf,
    /// The rows of a leaf that was detached are removed, and what may have been removed with them is copied again.
    DetachedLeaf,
    /// Truncating a leaf removes that leaf's rows.
    LeafTruncate,
    /// Truncating a leaf also removes what green has of leaves that were not read yet: a default leaf may have held it.
    DefaultLeaf,
    /// A table becomes strict once every unit of it is copied, not before.
    Strictness,
    /// A change goes to each route that takes its table.
    EveryRoute,
    /// A row that a route's condition leaves out from now on is deleted, also where nobody knows whether it was on green.
    Exit,
    /// An update of a row of which nobody knows whether it was on green expects nothing of green.
    UnknownBefore,
    /// While a filtered route is copied, an old image that does not meet the condition tells nothing of green, which may hold
    /// rows that an earlier condition let in.
    EarlierCondition,
    /// A row read again by key that the condition leaves out is removed.
    HealCondition,
    /// A row read again by key that is gone from blue is removed from green.
    HealGone,
    /// A row read again by key of which the stream tells green nothing meanwhile is read once more.
    HealUntold,
    /// A row that came whole while its heal is under way, and that somebody asks for after that, is read once more.
    AskedAgain,
    /// A row that the condition leaves out is removed by a copy over rows that were there.
    CopyCondition,
    /// A change of which too little was sent to compute from is read again by key.
    Reread,
    /// A row that came whole while its heal is under way, and of which too little came after that, is read once more.
    RereadSettled,
    /// A row that cannot be computed is set aside.
    Refused,
    /// Windows know rows by their keys on blue, whatever key they have on green.
    BlueKeys,
    /// A route that computes reads its columns in those types only that it was compiled for.
    Types,
    /// What a checkpoint says of the place in a log lies before every chunk of it that is not yet on green.
    LogCursor,
    /// A chunk of a log that is on green already is passed over when it comes again.
    LogDone,
    /// Rows read again by key that come again from a log are passed over: they are asked for once more.
    LogHeals,
    /// Changes of a transaction that comes again in a log are passed over as far as they have been taken.
    LogOrdinals,
    /// What a log says of the copy is recorded once every chunk before it is on green, and a checkpoint says so.
    LogEntries,
    /// Keys that a log has settled without a row wait on, unless a whole change of them has come meanwhile.
    LogWhole,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 39] = [
        Rule::TouchedKeys,
        Rule::LateVisible,
        Rule::SlotBirth,
        Rule::PublicationChange,
        Rule::SavedUnseen,
        Rule::Rewrite,
        Rule::Marks,
        Rule::Truncate,
        Rule::Order,
        Rule::Heal,
        Rule::Renewal,
        Rule::MovedHeal,
        Rule::HealMerge,
        Rule::Overflow,
        Rule::AttachedLeaf,
        Rule::DetachedLeaf,
        Rule::LeafTruncate,
        Rule::DefaultLeaf,
        Rule::Strictness,
        Rule::EveryRoute,
        Rule::Exit,
        Rule::UnknownBefore,
        Rule::EarlierCondition,
        Rule::HealCondition,
        Rule::HealGone,
        Rule::HealUntold,
        Rule::AskedAgain,
        Rule::CopyCondition,
        Rule::Reread,
        Rule::RereadSettled,
        Rule::Refused,
        Rule::BlueKeys,
        Rule::Types,
        Rule::LogCursor,
        Rule::LogDone,
        Rule::LogHeals,
        Rule::LogOrdinals,
        Rule::LogEntries,
        Rule::LogWhole,
    ];
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
    /// A change as the rules leave it: as it is, outside tests.
    pub(crate) fn leave(&self, mut change: RowChange) -> Option<RowChange> {
        match &mut change {
            RowChange::Delete { before: Before::Unknown, .. } if !self.holds(Rule::Exit) => return None,
            RowChange::Update { before: before @ Before::Unknown, .. }
                if !self.holds(Rule::UnknownBefore) =>
            {
                *before = Before::There;
            }
            RowChange::Reread { .. } if !self.holds(Rule::Reread) => return None,
            RowChange::Refused { .. } if !self.holds(Rule::Refused) => return None,
            _ => {}
        }
        Some(change)
    }
}
