//! One lane of a log: of every table the partition of one number, so that several can apply what it holds side by side.
//!
//! Changes to one row stand in one partition, and so keep their order. What empties a table concerns the rows of all lanes:
//! its transaction is a *fence*. Before it every lane puts on green what it has and says so; then the first lane alone takes
//! of that transaction all rows of the tables that it empties, and the others go on once that is on green.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use understudy_contract::{LogEvent, LoggedKind};
use understudy_model::{Key, Lsn, OldImage, RelationId, SourceChange, Tuple};

use super::assembler::Row;
use super::cursor::Place;
use super::emit::{Emitted, Emitter, Misfit, misplaced, none_left};
use crate::codec::{Group, LeafOrTables, Part, RowEvent, Truncated, Work, partition_of};

/// Transactions of which it is remembered that they empty tables. Of others it shows again.
const FENCES_MAX: usize = 1_000;

/// One of the lanes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// Which, from 0. The first one does what concerns the rows of all.
    pub number: u32,
    /// How many there are: as many as the topic of each table has partitions.
    pub of: u32,
}

impl Lane {
    fn is_first(self) -> bool {
        self.number == 0
    }
}

/// Transactions that are known to empty tables, and which, shared by the lanes of a process. One that is larger than a group
/// may tell only after parts of it have been taken.
#[derive(Debug, Clone, Default)]
pub struct Fences(Arc<Mutex<BTreeMap<Lsn, BTreeSet<RelationId>>>>);

impl Fences {
    fn of(&self, commit: Lsn) -> BTreeSet<RelationId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&commit).cloned().unwrap_or_default()
    }

    /// Whether any of these parts is of a transaction that is known.
    fn has_any(&self, parts: &[Part]) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !known.is_empty() && parts.iter().any(|part| known.contains_key(&part.commit))
    }

    fn add(&self, commit: Lsn, tables: &BTreeSet<RelationId>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(commit).or_default().extend(tables.iter().copied());
        if known.len() > FENCES_MAX {
            known.pop_first();
        }
    }
}

/// Whose rows of a log are taken.
#[derive(Debug)]
pub(crate) enum Share {
    /// All.
    All,
    /// Those of a lane.
    Lane(LaneShare),
    /// All, and of each only what names it; those of groups up to this one are passed over.
    Names(u64),
}

/// What a lane takes.
#[derive(Debug)]
pub(crate) struct LaneShare {
    lane: Lane,
    fences: Fences,
    /// Rows of all lanes are read, up to the end of this transaction behind a fence.
    wide: Option<Lsn>,
    /// What stands before this transaction in the group has been taken.
    resumes: Option<Lsn>,
    /// The transaction that has been begun and has not ended.
    open: Option<Lsn>,
    /// The same, where it is behind a fence.
    inside: Option<Lsn>,
    /// The one for which rows of all lanes are read has ended.
    is_over: bool,
}

impl Share {
    /// Of a lane.
    pub(crate) fn of(lane: Lane, fences: Fences) -> Share {
        Share::Lane(LaneShare {
            lane,
            fences,
            wide: None,
            resumes: None,
            open: None,
            inside: None,
            is_over: false,
        })
    }

    /// Rows of all lanes are read up to the end of this transaction. Returns whether they were before.
    pub(crate) fn widen(&mut self, commit: Lsn) -> bool {
        let Share::Lane(share) = self else { return true };
        (share.resumes, share.inside, share.is_over) = (Some(commit), None, false);
        share.wide.replace(commit).is_some()
    }

    /// Only rows of the lane itself are read.
    pub(crate) fn narrow(&mut self) {
        if let Share::Lane(share) = self {
            (share.wide, share.is_over) = (None, false);
        }
    }

    /// Whether a partition is the lane's own.
    pub(crate) fn is_own(&self, partition: u32) -> bool {
        match self {
            Share::All | Share::Names(_) => true,
            Share::Lane(share) => partition == share.lane.number,
        }
    }

    /// Whether a group that may hold a fence may have to be read for all lanes once part of it has been handed out.
    pub(crate) fn holds(&self) -> bool {
        matches!(self, Share::Lane(share) if share.lane.is_first())
    }

    /// Whether records of a partition are read.
    pub(crate) fn reads(&self, partition: u32) -> bool {
        match self {
            Share::All | Share::Names(_) => true,
            Share::Lane(share) => share.wide.is_some() || partition == share.lane.number,
        }
    }

    /// Whether a group may hold a fence.
    pub(crate) fn may_fence(&self, group: &Group) -> bool {
        match (self, &group.work) {
            (Share::Lane(share), Work::Batch { parts, truncates }) => {
                !truncates.is_empty() || share.fences.has_any(parts)
            }
            _ => false,
        }
    }

    /// Whether the transaction for which rows of all lanes are read has ended.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Share::Lane(LaneShare { is_over: true, .. }))
    }
}

/// How a row is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// As it is.
    Whole,
    /// The first lane does not know what green had, so that its own lane has it read again.
    Anew,
    /// By another lane.
    Elsewhere,
}

impl LaneShare {
    /// Notes what a part of a transaction empties. Returns the tables whose rows the first lane takes of it.
    fn emptied(&self, part: &Part, truncates: &[Truncated]) -> Result<BTreeSet<RelationId>, Misfit> {
        let here = |truncated: &&Truncated| {
            let Truncated { position, .. } = truncated;
            let places = part.from_ordinal..part.from_ordinal + part.changes;
            position.commit == part.commit && places.contains(&position.ordinal)
        };
        let tables = truncates.iter().filter(here).flat_map(|truncated| match &truncated.what {
            LeafOrTables::Tables(tables) => tables.clone(),
            LeafOrTables::Leaf { table, .. } => vec![*table],
        });
        let (emptied, mut known) = (tables.collect::<BTreeSet<_>>(), self.fences.of(part.commit));
        if !emptied.is_subset(&known) {
            self.fences.add(part.commit, &emptied);
            known.extend(emptied);
            if part.from_ordinal > 0 || self.open == Some(part.commit) {
                return Err(Misfit::Again(part.commit));
            }
        }
        Ok(known)
    }

    fn takes(&self, row: &Row, fenced: &BTreeSet<RelationId>) -> Taken {
        let is_own = row.partition == self.lane.number;
        let is_partial = match &row.event {
            RowEvent::Update { new, .. } | RowEvent::MovedHere { new, .. } => new.has_unchanged(),
            _ => false,
        };
        match (fenced.contains(&row.shape.relation.id), self.lane.is_first()) {
            (false, _) if is_own => Taken::Whole,
            (true, true) if is_own || !is_partial => Taken::Whole,
            (true, false) if is_own && is_partial => Taken::Anew,
            _ => Taken::Elsewhere,
        }
    }
}

impl Emitter<'_> {
    /// What a chunk was read for, with the keys that are a lane's own.
    pub(super) fn lane_kind(
        &mut self,
        table: RelationId,
        kind: LoggedKind,
        share: &LaneShare,
    ) -> Result<LoggedKind, Misfit> {
        let LoggedKind::Heal { keys, gone } = kind else { return Ok(kind) };
        let shape = self.shape(table)?;
        let mut json = Vec::new();
        let mut own = |keys: Vec<Key>| {
            let mut own = Vec::new();
            for key in keys {
                json.clear();
                shape.codec.encode_key(&key, &mut json)?;
                if partition_of(&json, share.lane.of) == share.lane.number {
                    own.push(key);
                }
            }
            Ok::<_, Misfit>(own)
        };
        Ok(LoggedKind::Heal { keys: own(keys)?, gone: own(gone)? })
    }

    /// The transactions of a group, as a lane takes them. `fence` is the place before what is fenced.
    pub(super) fn lane_batch(
        &mut self,
        (parts, truncates, rows): (&[Part], Vec<Truncated>, Vec<Row>),
        share: &mut LaneShare,
        fence: Option<Place>,
    ) -> Result<Emitted, Misfit> {
        let mut rows = rows.into_iter().peekable();
        for (at, part) in parts.iter().enumerate() {
            let Part { commit, from_ordinal, end, .. } = *part;
            if share.resumes.is_some_and(|resumes| commit != resumes) {
                // It has been handed out before the fence.
                while rows.next_if(|row| row.order.commit == commit).is_some() {}
                continue;
            }
            share.resumes = None;
            let fenced = share.emptied(part, &truncates)?;
            if !fenced.is_empty() && share.inside.replace(commit) != Some(commit) {
                if from_ordinal > 0 || share.open == Some(commit) {
                    return Err(Misfit::Again(commit));
                }
                if share.wide != Some(commit) {
                    let place = fence.clone().ok_or(Misfit::Again(commit))?;
                    let cursor = Place { fence: Some(commit.raw()), ..place }.to_cursor();
                    self.out.push_back(LogEvent::Fence { cursor });
                    if share.lane.is_first() {
                        return Ok(Emitted::Fenced);
                    }
                }
            }
            self.out.push_back(LogEvent::Begin {
                commit,
                commit_time_us: part.time_us,
                xid: part.xid,
                from_ordinal,
            });
            self.lane_part((part, &truncates, &fenced), &mut rows, share)?;
            share.open = end.is_none().then_some(commit);
            match end {
                Some(end) => {
                    self.out.push_back(LogEvent::Commit { commit, end });
                    let has_left = share.inside.take_if(|inside| *inside == commit).is_some();
                    share.is_over |= has_left && share.wide == Some(commit);
                }
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
        none_left(rows)?;
        Ok(Emitted::Whole)
    }

    /// The changes of a part of a transaction.
    fn lane_part(
        &mut self,
        (part, truncates, fenced): (&Part, &[Truncated], &BTreeSet<RelationId>),
        rows: &mut std::iter::Peekable<std::vec::IntoIter<Row>>,
        share: &LaneShare,
    ) -> Result<(), Misfit> {
        let mut elsewhere = 0;
        for ordinal in part.from_ordinal..part.from_ordinal + part.changes {
            let is_here = |row: &Row| (row.order.commit, row.order.ordinal) == (part.commit, ordinal);
            let mut taken = Vec::new();
            while let Some(row) = rows.next_if(is_here) {
                match share.takes(&row, fenced) {
                    Taken::Elsewhere => {}
                    how => taken.push((row, how == Taken::Anew)),
                }
            }
            let truncate = truncates.iter().find(|truncated| {
                (truncated.position.commit, truncated.position.ordinal) == (part.commit, ordinal)
            });
            let event = match truncate {
                Some(_) => None,
                None => self.lane_change(taken).map_err(|what| misplaced(what, part.commit, ordinal))?,
            };
            let is_truncate = truncate.is_some() && share.lane.is_first();
            if event.is_none() && !is_truncate {
                elsewhere += 1;
                continue;
            }
            if elsewhere > 0 {
                let changes = std::mem::take(&mut elsewhere);
                // Before what was announced just now, which may be the first event that needs it.
                self.out.push_back(LogEvent::Elsewhere { changes });
            }
            self.out.extend(event);
            if let Some(truncate) = truncate.filter(|_| is_truncate) {
                self.truncate(truncate.what.clone())?;
            }
        }
        if elsewhere > 0 {
            self.out.push_back(LogEvent::Elsewhere { changes: elsewhere });
        }
        Ok(())
    }

    /// What the records of one change come to, as far as they are taken here.
    fn lane_change(&mut self, taken: Vec<(Row, bool)>) -> Result<Option<LogEvent>, &'static str> {
        let mut away: Option<(RelationId, OldImage)> = None;
        let mut event = None;
        for (row, is_anew) in taken {
            if event.is_some() {
                return Err("there are two changes in place");
            }
            self.announce_shape(&row.shape);
            let relation = row.shape.relation.id;
            let arrived = |old: OldImage, new: Tuple| LogEvent::Arrived { relation, old, new };
            let change = match row.event {
                RowEvent::Insert { new } => SourceChange::Insert { relation, new },
                RowEvent::Update { old, new } if is_anew => {
                    event = Some(arrived(old.unwrap_or_else(|| OldImage::Identity(new.clone())), new));
                    continue;
                }
                RowEvent::Update { old, new } => SourceChange::Update { relation, old, new },
                RowEvent::Delete { old } => SourceChange::Delete { relation, old },
                RowEvent::MovedAway { old } => {
                    away = Some((relation, old));
                    continue;
                }
                RowEvent::MovedHere { old, new } => match away.take() {
                    Some((_, away)) => {
                        let old = if matches!(away, OldImage::Full(_)) { away } else { old };
                        SourceChange::Update { relation, old: Some(old), new }
                    }
                    None => {
                        event = Some(arrived(old, new));
                        continue;
                    }
                },
                RowEvent::Read { .. } => return Err("a transaction has a row of a chunk in place"),
                RowEvent::Truncate | RowEvent::Tombstone => continue,
            };
            event = Some(LogEvent::Change(change));
        }
        // Its other half, if there is one here, would have followed.
        let left = |(relation, old)| LogEvent::Change(SourceChange::Delete { relation, old });
        Ok(event.or_else(|| away.map(left)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards memory and time of the first lane for the rest of its life: it keeps what it reads a second time only of transactions
    /// that are known to empty tables, and of groups that say so themselves.
    #[test]
    fn one_emptied_table_is_no_reason_to_keep_every_group() {
        let fences = Fences::default();
        let share = Share::of(Lane { number: 0, of: 3 }, fences.clone());
        let part = |commit: u64| Part {
            commit: Lsn::new(commit),
            from_ordinal: 0,
            changes: 1,
            end: None,
            time_us: 0,
            xid: 1,
        };
        let group = |commits: &[u64]| Group {
            number: 1,
            tables: Vec::new(),
            work: Work::Batch {
                parts: commits.iter().map(|commit| part(*commit)).collect(),
                truncates: Vec::new(),
            },
            reached: None,
            beats: Vec::new(),
        };
        assert!(!share.may_fence(&group(&[5])));
        fences.add(Lsn::new(5), &[RelationId(7)].into());
        assert!(share.may_fence(&group(&[4, 5])), "a later part of what is known to empty a table");
        assert!(!share.may_fence(&group(&[6, 7])));
    }
}
