//! A group whose records have all been read, turned into events in the order of blue's changes.

use std::collections::VecDeque;
use std::sync::Arc;

use understudy_contract::{Class, Failure, LogEvent, LoggedChunk, LoggedKind};
use understudy_model::{Checkpoint, Lsn, RelationId, SourceChange};

use super::assembler::{Announced, Row};
use super::cursor::Place;
use super::lane::Share;
use super::shapes::{Shape, Shapes};
use crate::codec::{CodecError, Group, GroupTable, Joiner, LeafOrTables, Part, RowEvent, Truncated, Work};
use crate::error::Error;

/// Why a group cannot be put together.
#[derive(Debug)]
pub(crate) enum Misfit {
    /// Records contradict each other, or the group.
    Torn(String),
    /// A shape makes no sense.
    Codec(CodecError),
    /// A transaction empties tables, and parts of it that were taken before did not tell: it has to be taken again.
    Again(Lsn),
}

impl From<CodecError> for Misfit {
    fn from(error: CodecError) -> Misfit {
        Misfit::Codec(error)
    }
}

impl Misfit {
    pub(crate) fn into_failure(self, topic: &str) -> Failure {
        match self {
            Misfit::Torn(why) => Error::Torn { topic: topic.to_owned(), why }.into(),
            Misfit::Codec(error) => error.into(),
            Misfit::Again(commit) => {
                let cause =
                    format!("the transaction at {commit} empties tables: it is taken from its beginning");
                Failure::new(Class::Transient, cause)
            }
        }
    }
}

/// How far a group was turned into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emitted {
    /// All of it.
    Whole,
    /// Up to a fence, behind which rows of all lanes are needed.
    Fenced,
}

/// Where events go, with the shapes that rows may need.
pub(super) struct Emitter<'a> {
    tables: &'a [GroupTable],
    shapes: &'a mut Shapes,
    announced: &'a mut Announced,
    pub(super) out: &'a mut VecDeque<LogEvent>,
    /// The tables that this group has spoken of so far.
    named: Vec<RelationId>,
}

/// Appends the events of a group. The rows come in the order of their changes.
pub(crate) fn emit(
    group: Group,
    rows: Vec<Row>,
    (shapes, share, fence): (&mut Shapes, &mut Share, Option<Place>),
    (announced, out): (&mut Announced, &mut VecDeque<LogEvent>),
) -> Result<Emitted, Misfit> {
    let Group { tables, work, reached, beats, .. } = group;
    let mut emitter = Emitter { tables: &tables, shapes, announced, out, named: Vec::new() };
    match (work, share) {
        (Work::None, _) => none_left(rows.into_iter())?,
        (Work::Batch { parts, truncates }, Share::All) => emitter.batch(&parts, truncates, rows)?,
        (Work::Batch { parts, truncates }, Share::Names(_)) => emitter.names(&parts, truncates, rows)?,
        (Work::Batch { parts, truncates }, Share::Lane(share)) => {
            if emitter.lane_batch((&parts, truncates, rows), share, fence)? == Emitted::Fenced {
                return Ok(Emitted::Fenced);
            }
        }
        (Work::Chunk { table, at, kind, rows: count }, share) => {
            let (count, kind) = match share {
                Share::All => (Some(count), kind),
                Share::Names(_) => (None, kind),
                Share::Lane(share) => (None, emitter.lane_kind(table, kind, share)?),
            };
            emitter.chunk((table, at, kind), count, rows)?;
        }
        (Work::Entries(entries), _) => {
            none_left(rows.into_iter())?;
            for table in &tables {
                emitter.announce(table.id)?;
            }
            emitter.out.extend(entries.into_iter().map(LogEvent::Entry));
        }
    }
    out.extend(reached.map(|end| LogEvent::Reached { end }));
    out.extend(beats.into_iter().map(|beat| LogEvent::Beat {
        nonce: beat.nonce,
        sent_us: beat.sent_us,
        at: beat.at,
    }));
    Ok(Emitted::Whole)
}

impl Emitter<'_> {
    /// The shape of a table at the end of the group.
    pub(super) fn shape(&mut self, table: RelationId) -> Result<Arc<Shape>, Misfit> {
        let unknown = || Misfit::Torn(format!("the shape of the table with number {} is not known", table.0));
        let found = self.tables.iter().find(|known| known.id == table).ok_or_else(unknown)?;
        self.shapes.get(&found.name, found.version)?.ok_or_else(unknown)
    }

    /// Announces the shape of a row.
    pub(super) fn announce_shape(&mut self, shape: &Shape) {
        let table = shape.relation.id;
        if !self.named.contains(&table) {
            self.named.push(table);
        }
        self.announced.announce(shape, self.out);
    }

    /// Announces a table of which something else than a row is told: as rows before it in the group have it, or else as it is
    /// at the end of the group. The last that was announced may be out of date.
    fn announce(&mut self, table: RelationId) -> Result<(), Misfit> {
        if self.named.contains(&table) {
            return Ok(());
        }
        let Some(table) = self.tables.iter().find(|known| known.id == table) else {
            return Err(Misfit::Torn(format!("the group does not name the table with number {}", table.0)));
        };
        // A table of which nothing but its copy is planned may have no shape yet.
        if table.version == 0 {
            return Ok(());
        }
        let shape = self.shapes.get(&table.name, table.version)?;
        let shape = shape.ok_or_else(|| {
            Misfit::Torn(format!("version {} of the shape of {} is not known", table.version, table.name))
        })?;
        self.announce_shape(&shape);
        Ok(())
    }

    fn batch(&mut self, parts: &[Part], truncates: Vec<Truncated>, rows: Vec<Row>) -> Result<(), Misfit> {
        let mut rows = rows.into_iter().peekable();
        let mut truncates = truncates.into_iter().peekable();
        let mut joiner = Joiner::default();
        for (at, part) in parts.iter().enumerate() {
            let Part { commit, from_ordinal, .. } = *part;
            self.out.push_back(LogEvent::Begin {
                commit,
                commit_time_us: part.time_us,
                xid: part.xid,
                from_ordinal,
            });
            for ordinal in from_ordinal..from_ordinal + part.changes {
                let is_here = |row: &Row| (row.order.commit, row.order.ordinal) == (commit, ordinal);
                let truncate = truncates
                    .next_if(|next| (next.position.commit, next.position.ordinal) == (commit, ordinal));
                let mut is_told = truncate.is_some();
                if let Some(truncate) = truncate {
                    self.truncate(truncate.what)?;
                }
                while let Some(row) = rows.next_if(is_here) {
                    if let Some(change) = joiner.change(row.shape.codec.schema(), row.order, row.event)? {
                        self.announce_shape(&row.shape);
                        self.out.push_back(LogEvent::Change(change));
                        if std::mem::replace(&mut is_told, true) {
                            return Err(misplaced("there are two changes in place", commit, ordinal));
                        }
                    }
                }
                if !is_told {
                    return Err(misplaced("there is no change in place", commit, ordinal));
                }
            }
            match part.end {
                Some(end) => self.out.push_back(LogEvent::Commit { commit, end }),
                None if at + 1 == parts.len() => {}
                None => {
                    return Err(misplaced(
                        "transactions begin within another, after change",
                        commit,
                        from_ordinal,
                    ));
                }
            }
        }
        joiner.end_group()?;
        match truncates.next() {
            Some(next) => Err(misplaced(
                "tables were emptied, and nothing leads up to that, in place",
                next.position.commit,
                next.position.ordinal,
            )),
            None => none_left(rows),
        }
    }

    /// Which rows transactions change, and what they empty: each somewhere within its transaction.
    fn names(&mut self, parts: &[Part], truncates: Vec<Truncated>, rows: Vec<Row>) -> Result<(), Misfit> {
        let mut rows = rows.into_iter().peekable();
        let mut truncates = truncates.into_iter().peekable();
        for Part { commit, from_ordinal, end, time_us, xid, .. } in parts.iter().copied() {
            self.out.push_back(LogEvent::Begin { commit, commit_time_us: time_us, xid, from_ordinal });
            while let Some(row) = rows.next_if(|row| row.order.commit == commit) {
                if let RowEvent::Delete { old } = row.event {
                    self.announce_shape(&row.shape);
                    let relation = row.shape.relation.id;
                    self.out.push_back(LogEvent::Change(SourceChange::Delete { relation, old }));
                }
            }
            while let Some(truncate) = truncates.next_if(|next| next.position.commit == commit) {
                self.truncate(truncate.what)?;
            }
            self.out.extend(end.map(|end| LogEvent::Commit { commit, end }));
        }
        none_left(rows)
    }

    pub(super) fn truncate(&mut self, what: LeafOrTables) -> Result<(), Misfit> {
        let event = match what {
            LeafOrTables::Tables(relations) => {
                relations.iter().try_for_each(|table| self.announce(*table))?;
                LogEvent::Change(SourceChange::Truncate { relations })
            }
            LeafOrTables::Leaf { table, predicate } => {
                self.announce(table)?;
                LogEvent::TruncateLeaf { table, predicate }
            }
        };
        self.out.push_back(event);
        Ok(())
    }

    fn chunk(
        &mut self,
        (table, at, kind): (RelationId, Checkpoint, LoggedKind),
        count: Option<u64>,
        rows: Vec<Row>,
    ) -> Result<(), Misfit> {
        if let Some(count) = count
            && rows.len() as u64 != count
        {
            return Err(Misfit::Torn(format!("a chunk of {count} rows has {}", rows.len())));
        }
        match rows.first() {
            Some(first) => self.announce_shape(&first.shape),
            None => self.announce(table)?,
        }
        let version = rows.first().map(|row| row.shape.version);
        let mut read = Vec::with_capacity(rows.len());
        for (row, ordinal) in rows.into_iter().zip(0..) {
            match row.event {
                RowEvent::Read { row: tuple }
                    if (row.order.ordinal == ordinal || count.is_none())
                        && row.shape.relation.id == table
                        && Some(row.shape.version) == version =>
                {
                    read.push(tuple);
                }
                _ => return Err(misplaced("a chunk has something else in place", row.order.commit, ordinal)),
            }
        }
        self.out.push_back(LogEvent::Rows(LoggedChunk { table, at, kind, rows: read }));
        Ok(())
    }
}

pub(super) fn none_left(mut rows: impl Iterator<Item = Row>) -> Result<(), Misfit> {
    match rows.next() {
        Some(row) => Err(misplaced(
            "a record is in no part of the group, in place",
            row.order.commit,
            row.order.ordinal,
        )),
        None => Ok(()),
    }
}

pub(super) fn misplaced(what: &str, commit: Lsn, ordinal: u64) -> Misfit {
    Misfit::Torn(format!("{what} {ordinal} of the transaction that committed at {commit}"))
}
