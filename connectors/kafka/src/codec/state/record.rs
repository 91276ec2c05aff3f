//! The single records of the bookkeeping.

use understudy_contract::Wanted;
use understudy_model::{Ctid, Key, RelationId, TableName, Xid};

use super::super::error::CodecError;
use super::{DoneRange, Owner, Progress, RouteState, UnitState, form};

/// Longer lists of unseen transactions are records of their own.
const UNSEEN_INLINE_MAX: usize = 1_000;

/// How many unseen transactions one record holds, so that brokers take it with their default limits.
pub(super) const UNSEEN_PART_MAX: usize = 40_000;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StateKey {
    /// Whose log it is, and who writes it.
    Owner,
    /// Who was the last to set about writing it.
    Claim,
    /// Where the capture is.
    Progress,
    /// A part of a long list of unseen transactions.
    Unseen {
        /// Which, counted from zero.
        part: u32,
    },
    /// A table that the capture follows.
    Route {
        /// Its name.
        source: TableName,
    },
    /// A unit whose copy has been planned.
    Unit {
        /// The table of its route.
        source: TableName,
        /// Its object id.
        unit: u32,
    },
    /// A range that is in the log.
    Done {
        /// The table of the unit's route.
        source: TableName,
        /// Object id of the unit.
        unit: u32,
        /// Where the range starts.
        from: Ctid,
    },
    /// A row to be read again.
    Heal {
        /// Its table.
        source: TableName,
        /// Its key.
        key: Key,
    },
    /// A table or leaf that the migration no longer has.
    Departed(RelationId),
    /// The newest version of a table's shape.
    Schema {
        /// The table.
        table: TableName,
    },
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateRecord {
    /// Whose log it is, and who writes it.
    Owner(Owner),
    /// Who was the last to set about writing it. The one record that is written outside of transactions: all see it at once.
    Claim {
        /// The token of the process.
        token: u64,
    },
    /// Where the capture is, but for long lists: see [`progress_records`].
    Progress {
        /// Without unseen transactions when they are in parts.
        progress: Progress,
        /// How many parts there are.
        parts: u32,
    },
    /// A part of a long list of unseen transactions.
    Unseen {
        /// Which, counted from zero.
        part: u32,
        /// The group that it was written with.
        group: u64,
        /// The transactions.
        xids: Vec<Xid>,
    },
    /// A table that the capture follows.
    Route(RouteState),
    /// A unit whose copy has been planned.
    Unit(UnitState),
    /// A range that is in the log.
    Done(DoneRange),
    /// A row to be read again.
    Heal(Wanted),
    /// A table or leaf that the migration no longer has.
    Departed(RelationId),
    /// The newest version of a table's shape.
    Schema {
        /// The table.
        table: TableName,
        /// The version.
        version: u32,
    },
    /// What was known under this key is void.
    Gone(StateKey),
}

impl StateKey {
    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        form::key_to_text(self).into_bytes()
    }

    /// Reads it back.
    pub fn from_bytes(key: &[u8]) -> Result<StateKey, CodecError> {
        let text = std::str::from_utf8(key).ok();
        text.and_then(form::key_from_text).ok_or_else(|| {
            let (what, reason) = (form::WHAT, "its key is of no known kind".to_owned());
            match text.is_some_and(form::is_of_unknown_kind) {
                true => CodecError::Later { what, reason },
                false => CodecError::Record { what, reason },
            }
        })
    }
}

impl StateRecord {
    /// What it is about.
    pub fn about(&self) -> StateKey {
        match self {
            StateRecord::Owner(_) => StateKey::Owner,
            StateRecord::Claim { .. } => StateKey::Claim,
            StateRecord::Progress { .. } => StateKey::Progress,
            StateRecord::Unseen { part, .. } => StateKey::Unseen { part: *part },
            StateRecord::Route(route) => StateKey::Route { source: route.source.clone() },
            StateRecord::Unit(unit) => StateKey::Unit { source: unit.source.clone(), unit: unit.unit.id.oid },
            StateRecord::Done(done) => {
                StateKey::Done { source: done.source.clone(), unit: done.unit, from: done.range.from }
            }
            StateRecord::Heal(Wanted { table, key }) => {
                StateKey::Heal { source: table.clone(), key: key.clone() }
            }
            StateRecord::Departed(relation) => StateKey::Departed(*relation),
            StateRecord::Schema { table, .. } => StateKey::Schema { table: table.clone() },
            StateRecord::Gone(key) => key.clone(),
        }
    }

    /// The key of the record.
    pub fn key(&self) -> Vec<u8> {
        self.about().to_bytes()
    }

    /// The value of the record; `None` for what is void.
    pub fn value(&self) -> Option<Vec<u8>> {
        form::value(self)
    }

    /// Reads a record back.
    pub fn read(key: &[u8], value: Option<&[u8]>) -> Result<StateRecord, CodecError> {
        let key = StateKey::from_bytes(key)?;
        match value {
            Some(value) => form::record(key, value),
            None => Ok(StateRecord::Gone(key)),
        }
    }
}

/// The records that tell where the capture is. They belong in one transaction.
pub fn progress_records(progress: &Progress) -> Vec<StateRecord> {
    let xids = progress.unseen.as_deref().unwrap_or_default();
    if xids.len() <= UNSEEN_INLINE_MAX {
        return vec![StateRecord::Progress { progress: progress.clone(), parts: 0 }];
    }
    let group = progress.group;
    let part =
        |(part, xids): (usize, &[Xid])| StateRecord::Unseen { part: part as u32, group, xids: xids.to_vec() };
    let mut records = xids.chunks(UNSEEN_PART_MAX).enumerate().map(part).collect::<Vec<_>>();
    let rest = Progress { lineage: progress.lineage.clone(), unseen: Some(Vec::new()), ..*progress };
    records.push(StateRecord::Progress { progress: rest, parts: records.len() as u32 });
    records
}
