//! A group as JSON: short, since there is one for every transaction of a capture.

use serde::{Deserialize, Serialize};
use understudy_contract::{LoggedEntry, LoggedKind, Unit};
use understudy_model::{Checkpoint, Position, RelationId, RouteId, UnitId};

use super::super::error::CodecError;
use super::super::schema::IdentityWire;
use super::super::wire::{self, Address, AsText, Format, KeyWire, MarksWire, NameWire, RangeWire};
use super::{Beat, Group, GroupTable, LeafOrTables, Part, Truncated, Work};

pub(super) const WHAT: &str = "a group record";

/// More than the fields of fixed size of anything in a group take.
const FIXED_BYTES_MAX: usize = 512;
const PART_BYTES_MAX: usize = 160;
const BEAT_BYTES_MAX: usize = 96;
const COUNT_BYTES_MAX: usize = 36;
const ID_BYTES_MAX: usize = 11;

#[derive(Serialize, Deserialize)]
pub(super) struct GroupWire {
    v: Format,
    n: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tables: Vec<TableWire>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch: Option<BatchWire>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chunk: Option<ChunkWire>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<EntryWire>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reached: Option<Address>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beats: Vec<BeatWire>,
}

#[derive(Serialize, Deserialize)]
struct TableWire {
    name: NameWire,
    id: u32,
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    records: Vec<(u32, u64)>,
}

#[derive(Serialize, Deserialize)]
struct BatchWire {
    parts: Vec<PartWire>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    truncates: Vec<TruncatedWire>,
}

/// Commit, first ordinal, changes, end, time and transaction id.
#[derive(Serialize, Deserialize)]
struct PartWire(Address, u64, u64, Option<Address>, i64, u32);

#[derive(Serialize, Deserialize)]
struct TruncatedWire(Address, u64, EmptiedWire);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EmptiedWire {
    Tables(Vec<u32>),
    Leaf(u32, String),
}

#[derive(Serialize, Deserialize)]
struct ChunkWire {
    table: u32,
    at: Address,
    rows: u64,
    kind: KindWire,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindWire {
    Copy(u32, RangeWire),
    Heal { keys: Vec<KeyWire>, gone: Vec<KeyWire> },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EntryWire {
    Join(u32, bool),
    Plan(UnitWire),
    Refresh(UnitWire),
    Forget(u32, u32),
    Complete(u32),
}

#[derive(Serialize, Deserialize)]
struct UnitWire {
    id: u32,
    root: u32,
    name: NameWire,
    filenode: u32,
    fingerprint: u64,
    marks: Option<MarksWire>,
    membership: u64,
    blocks: u32,
    block_bytes: u32,
    rows_estimate: Option<u64>,
    identity: IdentityWire,
    predicate: Option<String>,
}

/// Nonce, when it was sent, and where green shows it.
#[derive(Serialize, Deserialize)]
struct BeatWire(AsText<understudy_model::Nonce>, i64, Address);

impl From<&Group> for GroupWire {
    fn from(group: &Group) -> GroupWire {
        let (mut batch, mut chunk, mut entries) = (None, None, None);
        match &group.work {
            Work::None => {}
            Work::Batch { parts, truncates } => {
                let parts = parts.iter().map(PartWire::from).collect();
                let truncates = truncates.iter().map(TruncatedWire::from).collect();
                batch = Some(BatchWire { parts, truncates });
            }
            Work::Chunk { table, at, kind, rows } => {
                chunk =
                    Some(ChunkWire { table: table.0, at: AsText(at.lsn()), rows: *rows, kind: kind.into() });
            }
            Work::Entries(all) => entries = Some(all.iter().map(EntryWire::from).collect()),
        }
        let table = |table: &GroupTable| TableWire {
            name: (&table.name).into(),
            id: table.id.0,
            version: table.version,
            records: table.records.clone(),
        };
        let beat = |beat: &Beat| BeatWire(AsText(beat.nonce), beat.sent_us, AsText(beat.at.lsn()));
        GroupWire {
            v: Format,
            n: group.number,
            tables: group.tables.iter().map(table).collect(),
            batch,
            chunk,
            entries,
            reached: group.reached.map(AsText),
            beats: group.beats.iter().map(beat).collect(),
        }
    }
}

impl TryFrom<GroupWire> for Group {
    type Error = CodecError;

    fn try_from(wire: GroupWire) -> Result<Group, CodecError> {
        let GroupWire { v: Format, n, tables, batch, chunk, entries, reached, beats } = wire;
        let work = match (batch, chunk, entries) {
            (None, None, None) => Work::None,
            (Some(BatchWire { parts, truncates }), None, None) => Work::Batch {
                parts: parts.into_iter().map(Part::from).collect(),
                truncates: truncates.into_iter().map(Truncated::from).collect(),
            },
            (None, Some(ChunkWire { table, at, rows, kind }), None) => {
                Work::Chunk { table: RelationId(table), at: checkpoint(at), kind: kind.into(), rows }
            }
            (None, None, Some(entries)) => {
                Work::Entries(entries.into_iter().map(LoggedEntry::from).collect())
            }
            _ => {
                let reason = "it holds more than one kind of work".to_owned();
                return Err(CodecError::Record { what: WHAT, reason });
            }
        };
        let table = |TableWire { name, id, version, records }: TableWire| GroupTable {
            name: name.into(),
            id: RelationId(id),
            version,
            records,
        };
        let beat = |BeatWire(nonce, sent_us, at)| Beat {
            nonce: AsText::into_inner(nonce),
            sent_us,
            at: checkpoint(at),
        };
        Ok(Group {
            number: n,
            tables: tables.into_iter().map(table).collect(),
            work,
            reached: reached.map(Address::into_inner),
            beats: beats.into_iter().map(beat).collect(),
        })
    }
}

fn checkpoint(at: Address) -> Checkpoint {
    Checkpoint::at_commit_end(at.into_inner())
}

impl From<&Part> for PartWire {
    fn from(part: &Part) -> PartWire {
        let Part { commit, from_ordinal, changes, end, time_us, xid } = *part;
        PartWire(AsText(commit), from_ordinal, changes, end.map(AsText), time_us, xid)
    }
}

impl From<PartWire> for Part {
    fn from(PartWire(commit, from_ordinal, changes, end, time_us, xid): PartWire) -> Part {
        let end = end.map(Address::into_inner);
        Part { commit: commit.into_inner(), from_ordinal, changes, end, time_us, xid }
    }
}

impl From<&Truncated> for TruncatedWire {
    fn from(truncated: &Truncated) -> TruncatedWire {
        let what = match &truncated.what {
            LeafOrTables::Tables(tables) => EmptiedWire::Tables(tables.iter().map(|table| table.0).collect()),
            LeafOrTables::Leaf { table, predicate } => EmptiedWire::Leaf(table.0, predicate.clone()),
        };
        TruncatedWire(AsText(truncated.position.commit), truncated.position.ordinal, what)
    }
}

impl From<TruncatedWire> for Truncated {
    fn from(TruncatedWire(commit, ordinal, what): TruncatedWire) -> Truncated {
        let what = match what {
            EmptiedWire::Tables(tables) => LeafOrTables::Tables(tables.into_iter().map(RelationId).collect()),
            EmptiedWire::Leaf(table, predicate) => LeafOrTables::Leaf { table: RelationId(table), predicate },
        };
        Truncated { position: Position { commit: commit.into_inner(), ordinal }, what }
    }
}

impl From<&LoggedKind> for KindWire {
    fn from(kind: &LoggedKind) -> KindWire {
        let keys = |keys: &[understudy_model::Key]| keys.iter().cloned().map(KeyWire).collect();
        match kind {
            LoggedKind::Copy { unit, range } => KindWire::Copy(unit.0, (*range).into()),
            LoggedKind::Heal { keys: all, gone } => KindWire::Heal { keys: keys(all), gone: keys(gone) },
        }
    }
}

impl From<KindWire> for LoggedKind {
    fn from(kind: KindWire) -> LoggedKind {
        let keys = |keys: Vec<KeyWire>| keys.into_iter().map(|key| key.0).collect();
        match kind {
            KindWire::Copy(unit, range) => LoggedKind::Copy { unit: RelationId(unit), range: range.into() },
            KindWire::Heal { keys: all, gone } => LoggedKind::Heal { keys: keys(all), gone: keys(gone) },
        }
    }
}

impl From<&LoggedEntry> for EntryWire {
    fn from(entry: &LoggedEntry) -> EntryWire {
        match entry {
            LoggedEntry::Join { table, is_void } => EntryWire::Join(table.0, *is_void),
            LoggedEntry::Plan(unit) => EntryWire::Plan(unit.into()),
            LoggedEntry::Refresh(unit) => EntryWire::Refresh(unit.into()),
            LoggedEntry::Forget { unit, table } => EntryWire::Forget(unit.0, table.0),
            LoggedEntry::Complete { table } => EntryWire::Complete(table.0),
        }
    }
}

impl From<EntryWire> for LoggedEntry {
    fn from(entry: EntryWire) -> LoggedEntry {
        match entry {
            EntryWire::Join(table, is_void) => LoggedEntry::Join { table: RelationId(table), is_void },
            EntryWire::Plan(unit) => LoggedEntry::Plan(unit.into()),
            EntryWire::Refresh(unit) => LoggedEntry::Refresh(unit.into()),
            EntryWire::Forget(unit, table) => {
                LoggedEntry::Forget { unit: RelationId(unit), table: RelationId(table) }
            }
            EntryWire::Complete(table) => LoggedEntry::Complete { table: RelationId(table) },
        }
    }
}

impl From<&Unit> for UnitWire {
    fn from(unit: &Unit) -> UnitWire {
        UnitWire {
            id: unit.id.oid,
            root: unit.root.oid,
            name: (&unit.name).into(),
            filenode: unit.filenode,
            fingerprint: unit.fingerprint,
            marks: unit.marks.map(MarksWire::from),
            membership: unit.membership,
            blocks: unit.blocks,
            block_bytes: unit.block_bytes,
            rows_estimate: unit.rows_estimate,
            identity: unit.identity.into(),
            predicate: unit.predicate.clone(),
        }
    }
}

impl From<UnitWire> for Unit {
    fn from(unit: UnitWire) -> Unit {
        let route = RouteId(0);
        Unit {
            id: UnitId::new(unit.id, route),
            route,
            root: UnitId::new(unit.root, route),
            name: unit.name.into(),
            filenode: unit.filenode,
            fingerprint: unit.fingerprint,
            marks: unit.marks.map(Into::into),
            membership: unit.membership,
            blocks: unit.blocks,
            block_bytes: unit.block_bytes,
            rows_estimate: unit.rows_estimate,
            identity: unit.identity.into(),
            predicate: unit.predicate,
        }
    }
}

/// How large a group's record is at most.
pub(super) fn bytes_max(group: &Group) -> usize {
    let table = |table: &GroupTable| {
        FIXED_BYTES_MAX + wire::name_len_max(&table.name) + COUNT_BYTES_MAX * table.records.len()
    };
    let work = match &group.work {
        Work::None => 0,
        Work::Batch { parts, truncates } => {
            let truncate = |truncated: &Truncated| match &truncated.what {
                LeafOrTables::Tables(tables) => ID_BYTES_MAX * tables.len(),
                LeafOrTables::Leaf { predicate, .. } => wire::text_len_max(predicate.as_bytes()),
            };
            let truncates =
                truncates.iter().map(|truncated| PART_BYTES_MAX + truncate(truncated)).sum::<usize>();
            PART_BYTES_MAX * parts.len() + truncates
        }
        Work::Chunk { kind: LoggedKind::Copy { .. }, .. } => 0,
        Work::Chunk { kind: LoggedKind::Heal { keys, gone }, .. } => {
            keys.iter().chain(gone).map(|key| 1 + wire::key_len_max(key)).sum()
        }
        Work::Entries(entries) => entries.iter().map(entry_bytes_max).sum(),
    };
    2 * FIXED_BYTES_MAX
        + group.tables.iter().map(table).sum::<usize>()
        + work
        + BEAT_BYTES_MAX * group.beats.len()
}

/// How large an entry is in a group's record at most.
pub(crate) fn entry_bytes_max(entry: &LoggedEntry) -> usize {
    let unit = match entry {
        LoggedEntry::Plan(unit) | LoggedEntry::Refresh(unit) => {
            let predicate =
                unit.predicate.as_ref().map_or(0, |predicate| wire::text_len_max(predicate.as_bytes()));
            wire::name_len_max(&unit.name) + predicate
        }
        LoggedEntry::Join { .. } | LoggedEntry::Forget { .. } | LoggedEntry::Complete { .. } => 0,
    };
    FIXED_BYTES_MAX + unit
}
