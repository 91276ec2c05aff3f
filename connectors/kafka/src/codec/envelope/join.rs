//! What a data record says, and how the records of one change come together again.

use understudy_model::{OldImage, Position, RelationId, SourceChange, TableName, Tuple};

use super::super::error::CodecError;
use super::super::schema::SchemaRecord;
use super::headers::RecordOrder;

/// What one data record says. Tuples have all columns of the table; in an [`OldImage::Identity`] those outside the key are
/// null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowEvent {
    /// A row appeared.
    Insert {
        /// The row.
        new: Tuple,
    },
    /// A row changed, its key did not.
    Update {
        /// The whole old row, where it was written.
        old: Option<OldImage>,
        /// The new row; unsent values are unchanged.
        new: Tuple,
    },
    /// A row vanished.
    Delete {
        /// The row.
        old: OldImage,
    },
    /// A row got another key: the half that stands under the old one.
    MovedAway {
        /// The row under its old key.
        old: OldImage,
    },
    /// A row got another key: the half that stands under the new one.
    MovedHere {
        /// The old key.
        old: OldImage,
        /// The new row; unsent values are unchanged.
        new: Tuple,
    },
    /// A row of a chunk, every value present.
    Read {
        /// The row.
        row: Tuple,
    },
    /// The table was emptied. What else the statement emptied, the group record tells.
    Truncate,
    /// Nothing new: only compaction needs it.
    Tombstone,
}

/// Puts the two halves of an update that changes a key together again.
#[derive(Debug, Default)]
pub struct Joiner {
    away: Option<Away>,
}

/// The first half of an update whose second half is to come.
#[derive(Debug)]
struct Away {
    table: TableName,
    relation: RelationId,
    position: Position,
    old: OldImage,
}

impl Joiner {
    /// Takes the next record, in the order of [`DataHeaders::order`](super::DataHeaders::order) over all partitions. Gives the
    /// change once it is whole: nothing for a tombstone, a first half, a row of a chunk and a truncate.
    pub fn change(
        &mut self,
        schema: &SchemaRecord,
        order: RecordOrder,
        event: RowEvent,
    ) -> Result<Option<SourceChange>, CodecError> {
        let position = Position { commit: order.commit, ordinal: order.ordinal };
        let relation = schema.id;
        if let RowEvent::MovedHere { old, new } = event {
            let half = || CodecError::HalfUpdate { table: schema.table.clone() };
            let away = self.away.take().ok_or_else(half)?;
            if (away.relation, away.position) != (relation, position) {
                return Err(half());
            }
            let old = if matches!(away.old, OldImage::Full(_)) { away.old } else { old };
            return Ok(Some(SourceChange::Update { relation, old: Some(old), new }));
        }
        if let RowEvent::Tombstone = event {
            return Ok(None);
        }
        self.end_group()?;
        Ok(match event {
            RowEvent::Insert { new } => Some(SourceChange::Insert { relation, new }),
            RowEvent::Update { old, new } => Some(SourceChange::Update { relation, old, new }),
            RowEvent::Delete { old } => Some(SourceChange::Delete { relation, old }),
            RowEvent::MovedAway { old } => {
                self.away = Some(Away { table: schema.table.clone(), relation, position, old });
                None
            }
            RowEvent::MovedHere { .. } | RowEvent::Read { .. } | RowEvent::Truncate | RowEvent::Tombstone => {
                None
            }
        })
    }

    /// To be asked at the end of a group, which no change reaches beyond.
    pub fn end_group(&mut self) -> Result<(), CodecError> {
        match self.away.take() {
            None => Ok(()),
            Some(away) => Err(CodecError::HalfUpdate { table: away.table }),
        }
    }
}
