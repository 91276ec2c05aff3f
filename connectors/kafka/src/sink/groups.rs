//! Changes and rows of chunks as groups, ready to be written.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::{FxHashMap, FxHashSet};
use understudy_contract::{Batch, Class, Failure, LoggedEntry, LoggedKind, PlacedChunk};
use understudy_model::{BlockRange, Checkpoint, HealKey, Lsn, Position, RouteId, RowChange, Tuple, UnitId};

use super::spans::{OpenSpan, Span, counts};
use super::tables::{Switch, Tables};
use super::transaction::Sealed;
use crate::codec::{
    Beat, CodecError, Group, GroupTable, LeafOrTables, Part, Records, Stamp, TableCodec, Truncated, Work,
    entry_bytes_max, partition_of,
};

/// Bytes of records from which on a group is closed, so that a reader can hold it.
const GROUP_DATA_BYTES: usize = 8 * 1024 * 1024;

/// Parts of transactions from which on a group is closed: far from what makes its record too large.
const GROUP_PARTS: usize = 2_000;

/// Bytes of conditions of emptied leaves from which on a group is closed.
const GROUP_TRUNCATE_BYTES: usize = 128 * 1024;

/// Bytes of entries in one group: each can hold the condition of a leaf.
const GROUP_ENTRY_BYTES: usize = 512 * 1024;

/// Bytes of keys in one group, far below what its record can hold: they may be written several times as long.
const GROUP_KEY_BYTES: usize = 48 * 1024;

/// Writes groups one after the other.
pub(super) struct Groups<'a> {
    tables: &'a Tables,
    /// The number of the group that is being filled.
    number: u64,
    now_us: i64,
    /// Where the transaction before the one that is being written ended.
    previous_end: Lsn,
    spare: Vec<Records>,
    sealed: Vec<Sealed>,
    filling: Filling,
    /// Where changes come in other shapes, and the shapes of tables of which they have by now.
    switches: VecDeque<Switch>,
    switched: FxHashMap<usize, usize>,
}

/// The group that is being filled.
#[derive(Default)]
struct Filling {
    records: Records,
    /// Which table the records are of, and how many of them in a row.
    runs: Vec<(usize, usize)>,
    parts: Vec<Part>,
    truncates: Vec<Truncated>,
    truncate_bytes: usize,
    /// Tables that are spoken of without a record of theirs.
    named: Vec<usize>,
    /// For each table with rows the newest version that they come in.
    versions: FxHashMap<usize, u32>,
}

/// What a group tells beside its work.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) reached: Option<Lsn>,
    pub(super) beats: Vec<Beat>,
}

impl<'a> Groups<'a> {
    /// The first group gets the number after `last`. `spare` is memory of earlier groups.
    pub(super) fn new(
        tables: &'a Tables,
        (last, previous_end): (u64, Lsn),
        now_us: i64,
        mut spare: Vec<Records>,
    ) -> Groups<'a> {
        spare.iter_mut().for_each(Records::clear);
        let filling = Filling { records: spare.pop().unwrap_or_default(), ..Filling::default() };
        let (switches, switched) = (VecDeque::new(), FxHashMap::default());
        let number = last + 1;
        Groups {
            tables,
            number,
            now_us,
            previous_end,
            spare,
            sealed: Vec::new(),
            filling,
            switches,
            switched,
        }
    }

    /// Changes come in other shapes from these on.
    pub(super) fn switching(mut self, switches: Vec<Switch>) -> Groups<'a> {
        self.switches = switches.into();
        self
    }

    /// The number of the last group, and all groups.
    pub(super) fn finish(self) -> (u64, Vec<Sealed>) {
        (self.number - 1, self.sealed)
    }

    /// Groups without data: one, or as many as a long list of entries needs.
    pub(super) fn bare(&mut self, work: Work, named: &[usize], tail: Tail) -> Result<(), Failure> {
        let mut rest = match work {
            Work::Entries(entries) => entries,
            other => {
                self.filling.named.extend_from_slice(named);
                return self.seal(other, tail);
            }
        };
        loop {
            let fitting = fitting_entries(&rest);
            if fitting >= rest.len() {
                break;
            }
            let later = rest.split_off(fitting);
            self.filling.named.extend_from_slice(named);
            self.seal(Work::Entries(rest), Tail::default())?;
            rest = later;
        }
        self.filling.named.extend_from_slice(named);
        self.seal(Work::Entries(rest), tail)
    }

    /// The changes of a batch, in as many groups as they need. Gives what the batch leaves open.
    pub(super) fn batch(
        &mut self,
        batch: &Batch,
        spans: &[Span],
        open: Option<OpenSpan>,
        beats: Vec<Beat>,
    ) -> Result<Option<OpenSpan>, Failure> {
        let mut open = open;
        let mut reached = None;
        for span in spans {
            let going_on = open.take().filter(|open| open.commit == span.commit);
            let of_table = going_on.map_or_else(|| vec![0; self.tables.len()], |open| open.of_table);
            let left = self.span(batch, span, of_table)?;
            // The last transaction may be one without changes of ours.
            let is_empty = left.written == 0;
            reached = span.end.filter(|_| is_empty);
            if span.end.is_none() {
                open = Some(left);
            }
            self.previous_end = span.end.unwrap_or(self.previous_end);
        }
        let work = self.take_batch();
        self.seal(work, Tail { reached, beats })?;
        Ok(open)
    }

    /// One transaction, or a part of one.
    fn span(&mut self, batch: &Batch, span: &Span, of_table: Vec<u64>) -> Result<OpenSpan, Failure> {
        let mut at = OpenSpan { commit: span.commit, written: span.from_ordinal, of_table };
        let mut part_from = at.written;
        let part = |from: u64, to: u64, end| Part {
            commit: span.commit,
            from_ordinal: from,
            changes: to - from,
            end,
            time_us: span.time_us,
            xid: span.xid,
        };
        let beyond = || Failure::new(Class::Internal, "a transaction goes beyond its batch");
        let changes = batch.changes.get(span.changes.clone()).ok_or_else(beyond)?;
        for (index, change) in span.changes.clone().zip(changes).filter(|(_, change)| counts(change)) {
            if self.is_full() {
                if at.written > part_from {
                    self.filling.parts.push(part(part_from, at.written, None));
                }
                let work = self.take_batch();
                self.seal(work, Tail::default())?;
                part_from = at.written;
            }
            while let Some(switch) = self.switches.pop_front_if(|switch| switch.change <= index) {
                self.switched.insert(switch.place, switch.shape);
            }
            let old_row = batch.raw.as_ref().and_then(|raw| raw.old_row(index));
            self.change((change, old_row), span, &mut at)?;
        }
        let is_seen = at.written > part_from || at.written > 0 && span.end.is_some();
        if is_seen {
            self.filling.parts.push(part(part_from, at.written, span.end));
        }
        Ok(at)
    }

    /// One change: its records, or what the group record tells of it.
    fn change(
        &mut self,
        (change, before): (&RowChange, Option<&Tuple>),
        span: &Span,
        at: &mut OpenSpan,
    ) -> Result<(), Failure> {
        let stamp = Stamp {
            commit: span.commit,
            previous_end: self.previous_end,
            ordinal: at.written,
            table_ordinal: 0,
            tx_size: span.size,
            xid: span.xid,
            commit_time_us: span.time_us,
            now_us: self.now_us,
            group: self.number,
        };
        at.written += 1;
        match change {
            RowChange::Insert { route, new } => {
                self.row(*route, stamp, at, |codec, stamp, out| codec.encode_insert(new, stamp, out))
            }
            RowChange::Update { route, old_key, new, .. } => {
                self.row(*route, stamp, at, |codec, stamp, out| {
                    codec.encode_update((old_key.as_ref(), before), new, stamp, out)
                })
            }
            RowChange::Delete { route, key, .. } => {
                self.row(*route, stamp, at, |codec, stamp, out| codec.encode_delete(key, before, stamp, out))
            }
            RowChange::Truncate { routes } => self.truncate(routes, stamp, at),
            RowChange::TruncateLeaf { route, predicate } => {
                let (place, table) = self.tables.of(*route)?;
                let position = Position { commit: stamp.commit, ordinal: stamp.ordinal };
                let what = LeafOrTables::Leaf { table: table.id, predicate: predicate.clone() };
                self.filling.truncate_bytes += predicate.len();
                self.filling.truncates.push(Truncated { position, what });
                self.filling.named.push(place);
                count(at, place);
                Ok(())
            }
            RowChange::Reread { .. } => Ok(()),
            RowChange::Refused { .. } => {
                Err(Failure::new(Class::Internal, "a row that is not mapped cannot be refused"))
            }
        }
    }

    fn row(
        &mut self,
        route: RouteId,
        mut stamp: Stamp,
        at: &mut OpenSpan,
        encode: impl FnOnce(&TableCodec, &Stamp, &mut Records) -> Result<(), CodecError>,
    ) -> Result<(), Failure> {
        let (place, table) = self.tables.of(route)?;
        let codec = table.streamed(self.switched.get(&place).copied());
        stamp.table_ordinal = count(at, place);
        note_version(&mut self.filling.versions, place, codec);
        let records = &mut self.filling.records;
        let before = records.len();
        encode(codec, &stamp, records)?;
        push_run(&mut self.filling.runs, place, records.len() - before);
        Ok(())
    }

    fn truncate(&mut self, routes: &[RouteId], stamp: Stamp, at: &mut OpenSpan) -> Result<(), Failure> {
        let mut emptied = Vec::with_capacity(routes.len());
        for route in routes {
            let (place, table) = self.tables.of(*route)?;
            let codec = table.streamed(self.switched.get(&place).copied());
            let stamp = Stamp { table_ordinal: count(at, place), ..stamp };
            note_version(&mut self.filling.versions, place, codec);
            let records = &mut self.filling.records;
            let before = records.len();
            codec.encode_truncate(&stamp, records);
            push_run(&mut self.filling.runs, place, records.len() - before);
            self.filling.truncate_bytes += TABLE_BYTES;
            emptied.push(table.id);
        }
        let position = Position { commit: stamp.commit, ordinal: stamp.ordinal };
        self.filling.truncates.push(Truncated { position, what: LeafOrTables::Tables(emptied) });
        Ok(())
    }

    /// The rows of a part of the first copy, in one group.
    pub(super) fn copied(
        &mut self,
        chunk: &PlacedChunk,
        (unit, range): (UnitId, BlockRange),
        beats: Vec<Beat>,
    ) -> Result<(), Failure> {
        let kind = LoggedKind::Copy { unit: unit.relation(), range };
        self.chunk((chunk.route, chunk.at), kind, chunk.rows.iter(), Tail { reached: None, beats })
    }

    /// Rows that were read again, in as many groups as their keys need.
    pub(super) fn healed(
        &mut self,
        chunk: &PlacedChunk,
        keys: &[HealKey],
        beats: Vec<Beat>,
    ) -> Result<(), Failure> {
        let (_, table) = self.tables.of(chunk.route)?;
        let nameless = || Failure::new(Class::Internal, "a row does not carry its key");
        let named = |row| Ok((Tuple::key(row, &table.key).ok_or_else(nameless)?, row));
        let rows = chunk.rows.iter().map(named).collect::<Result<Vec<_>, Failure>>()?;
        let mut portions = portions(keys);
        let last = portions.pop().unwrap_or_default();
        for (portion, beats) in
            portions.into_iter().map(|portion| (portion, Vec::new())).chain([(last, beats)])
        {
            let here = portion.iter().map(|key| &key.blue).collect::<FxHashSet<_>>();
            let gone = chunk.left_out.iter().filter(|key| here.contains(key)).cloned().collect();
            let keys = portion.iter().map(|key| key.blue.clone()).collect();
            let rows = rows.iter().filter(|(key, _)| here.contains(key)).map(|(_, row)| *row);
            let kind = LoggedKind::Heal { keys, gone };
            self.chunk((chunk.route, chunk.at), kind, rows, Tail { reached: None, beats })?;
        }
        Ok(())
    }

    fn chunk<'r>(
        &mut self,
        (route, checkpoint): (RouteId, Checkpoint),
        kind: LoggedKind,
        rows: impl Iterator<Item = &'r Tuple>,
        tail: Tail,
    ) -> Result<(), Failure> {
        let (place, table) = self.tables.of(route)?;
        self.filling.named.push(place);
        let mut count = 0;
        for row in rows {
            let stamp = Stamp {
                commit: checkpoint.lsn(),
                previous_end: self.previous_end,
                ordinal: count,
                table_ordinal: count,
                now_us: self.now_us,
                group: self.number,
                ..Stamp::default()
            };
            table.read().encode_read(row, &stamp, &mut self.filling.records)?;
            count += 1;
        }
        push_run(&mut self.filling.runs, place, self.filling.records.len());
        self.seal(Work::Chunk { table: table.id, at: checkpoint, kind, rows: count }, tail)
    }

    fn is_full(&self) -> bool {
        let filling = &self.filling;
        filling.records.bytes_len() >= GROUP_DATA_BYTES
            || filling.parts.len() >= GROUP_PARTS
            || filling.truncate_bytes >= GROUP_TRUNCATE_BYTES
    }

    /// What has been filled in of a batch.
    fn take_batch(&mut self) -> Work {
        let parts = std::mem::take(&mut self.filling.parts);
        let truncates = std::mem::take(&mut self.filling.truncates);
        if parts.is_empty() { Work::None } else { Work::Batch { parts, truncates } }
    }

    /// Closes the group that is being filled, and starts the next one.
    fn seal(&mut self, work: Work, tail: Tail) -> Result<(), Failure> {
        let next = Filling { records: self.spare.pop().unwrap_or_default(), ..Filling::default() };
        let filled = std::mem::replace(&mut self.filling, next);
        let places = filled.runs.iter().flat_map(|(place, count)| std::iter::repeat_n(*place, *count));
        let to = places.zip(filled.records.iter()).map(|(place, record)| {
            (place, record.key.map_or(0, |key| partition_of(key, self.tables.partitions)))
        });
        let to = to.collect::<Vec<_>>();
        let mut counts: BTreeMap<usize, BTreeMap<u32, u64>> = BTreeMap::new();
        for place in filled.named {
            counts.entry(place).or_default();
        }
        for (place, partition) in &to {
            *counts.entry(*place).or_default().entry(*partition).or_default() += 1;
        }
        let places = counts.keys().copied().collect();
        let versions = &filled.versions;
        let tables = counts.into_iter().map(|(place, records)| {
            let table = self.tables.at(place)?;
            Ok(GroupTable {
                name: table.name.clone(),
                id: table.id,
                version: versions.get(&place).copied().unwrap_or(table.read().schema().version),
                records: records.into_iter().collect(),
            })
        });
        let tables = tables.collect::<Result<Vec<_>, Failure>>()?;
        let group = Group { number: self.number, tables, work, reached: tail.reached, beats: tail.beats };
        let record = (group.record_key(), group.to_json()?);
        self.sealed.push(Sealed { records: filled.records, to, places, record });
        self.number += 1;
        Ok(())
    }
}

/// Bytes that an emptied table takes in a group record, about.
const TABLE_BYTES: usize = 12;

/// Readers look for the newest shape that a group has rows in: those before it are known by then.
fn note_version(versions: &mut FxHashMap<usize, u32>, place: usize, codec: &TableCodec) {
    let version = versions.entry(place).or_default();
    *version = codec.schema().version.max(*version);
}

/// The place of a change among those of its table in the transaction.
fn count(at: &mut OpenSpan, place: usize) -> u64 {
    let Some(count) = at.of_table.get_mut(place) else { return 0 };
    *count += 1;
    *count - 1
}

/// How many of these entries one group holds: at least one.
fn fitting_entries(entries: &[LoggedEntry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&LoggedEntry| {
        bytes += entry_bytes_max(entry);
        bytes <= GROUP_ENTRY_BYTES
    };
    entries.iter().take_while(fits).count().max(1)
}

/// Keys in portions, each of which a group record holds.
fn portions(keys: &[HealKey]) -> Vec<&[HealKey]> {
    let (mut portions, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (at, key) in keys.iter().enumerate() {
        if bytes > GROUP_KEY_BYTES {
            portions.push(&keys[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += key.blue.bytes_len();
    }
    portions.push(&keys[from..]);
    portions
}

fn push_run(runs: &mut Vec<(usize, usize)>, place: usize, count: usize) {
    match runs.last_mut() {
        Some((last, counted)) if *last == place => *counted += count,
        _ => runs.push((place, count)),
    }
}
