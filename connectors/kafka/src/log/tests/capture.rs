//! A capture that writes whatever it is told to topics in memory, and notes what must come out.

use understudy_contract::{Cursor, LogEvent, LoggedChunk, LoggedEntry, LoggedKind};
use understudy_model::{
    BlockRange, Checkpoint, Column, Ctid, Key, Lsn, Nonce, OldImage, Position, RelationId, ReplicaIdentity,
    SourceChange, TableName, Tuple, TupleBuilder, Value,
};

use super::topics::{Topics, codec};
use crate::codec::{
    Beat, Group, LeafOrTables, Part, Records, SchemaColumn, SchemaRecord, Stamp, Truncated, Work,
};

/// One thing that happens on blue, or in the capture.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Insert {
        table: usize,
        key: u8,
    },
    Update {
        table: usize,
        key: u8,
        unsent: bool,
    },
    Move {
        table: usize,
        from: u8,
        to: u8,
    },
    Delete {
        table: usize,
        key: u8,
    },
    Truncate,
    TruncateLeaf {
        table: usize,
    },
    Commit,
    /// A group ends, also within a transaction.
    Seal,
    /// The capture is started again within a transaction, and begins it anew.
    Restart,
    /// A table gets another shape.
    Alter {
        table: usize,
    },
    Chunk {
        table: usize,
        rows: u8,
    },
    Heal {
        table: usize,
        gone: bool,
    },
    Complete {
        table: usize,
    },
    Idle,
}

/// The capture.
pub(super) struct Capture {
    pub(super) topics: Topics,
    /// What must come out, with empty cursors.
    pub(super) expected: Vec<LogEvent>,
    shapes: Vec<SchemaRecord>,
    number: u64,
    lsn: u64,
    /// Changes of the open transaction, and how many of them earlier groups hold.
    open: Option<(Lsn, u64, u64)>,
    parts: Vec<Part>,
    truncates: Vec<Truncated>,
    records: Vec<(SchemaRecord, Records)>,
    named: Vec<SchemaRecord>,
    /// What the group that is being filled must come to.
    events: Vec<LogEvent>,
}

fn shape(table: usize, version: u32) -> SchemaRecord {
    let column = |name: &str, in_key| SchemaColumn {
        name: name.to_owned(),
        // The last one has the key as a number, which the others write as a text.
        type_oid: if version == LAST_VERSION && in_key { 23 } else { 23 + version },
        type_modifier: -1,
        type_name: None,
        in_identity: in_key,
        in_key,
    };
    SchemaRecord {
        table: TableName::new("public", format!("t{table}")),
        id: RelationId(100 + table as u32),
        version,
        identity: ReplicaIdentity::Default,
        columns: vec![column("id", true), column("a", false), column("b", false)],
    }
}

/// The last shape that a table may get.
pub(super) const LAST_VERSION: u32 = 19;

/// All shapes that tables may get.
fn shapes() -> Vec<SchemaRecord> {
    (0..TABLES).flat_map(|table| (1..=LAST_VERSION).map(move |version| shape(table, version))).collect()
}

pub(super) const TABLES: usize = 3;

fn text(value: &str) -> Value<'_> {
    Value::Text(value.as_bytes().into())
}

fn tuple(values: [Value<'_>; 3]) -> Tuple {
    let mut builder = TupleBuilder::default();
    values.iter().for_each(|value| builder.push(value));
    builder.finish()
}

fn row(key: u8, value: u64) -> Tuple {
    tuple([text(&key.to_string()), text(&value.to_string()), Value::Null])
}

fn key(key: u8) -> Key {
    Key::from_texts([key.to_string().as_bytes()])
}

fn identity(key: u8) -> OldImage {
    OldImage::Identity(tuple([text(&key.to_string()), Value::Null, Value::Null]))
}

impl Capture {
    pub(super) fn new(partitions: u32) -> Capture {
        Capture {
            topics: Topics::new(shapes(), partitions),
            expected: Vec::new(),
            shapes: (0..TABLES).map(|table| shape(table, 1)).collect(),
            number: 1,
            lsn: 1_000,
            open: None,
            parts: Vec::new(),
            truncates: Vec::new(),
            records: Vec::new(),
            named: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Does all steps, and ends what is open.
    pub(super) fn run(mut self, steps: &[Step]) -> Capture {
        steps.iter().for_each(|step| self.step(step));
        self.step(&Step::Commit);
        self.seal(Work::None);
        self
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Insert { table, key } => self.change(table, |capture, stamp, out, codec| {
                let new = row(key, stamp.ordinal);
                codec.encode_insert(&new, stamp, out).unwrap();
                SourceChange::Insert { relation: capture.shapes[table].id, new }
            }),
            Step::Update { table, key, unsent } => self.change(table, |capture, stamp, out, codec| {
                let last = if unsent { Value::Unchanged } else { Value::Null };
                let new = tuple([text(&key.to_string()), text(&stamp.ordinal.to_string()), last]);
                codec.encode_update((None, None), &new, stamp, out).unwrap();
                SourceChange::Update { relation: capture.shapes[table].id, old: None, new }
            }),
            Step::Move { table, from, to } => self.change(table, |capture, stamp, out, codec| {
                let new = row(to, stamp.ordinal);
                codec.encode_update((Some(&key(from)), None), &new, stamp, out).unwrap();
                SourceChange::Update { relation: capture.shapes[table].id, old: Some(identity(from)), new }
            }),
            Step::Delete { table, key: at } => self.change(table, |capture, stamp, out, codec| {
                codec.encode_delete(&key(at), None, stamp, out).unwrap();
                SourceChange::Delete { relation: capture.shapes[table].id, old: identity(at) }
            }),
            Step::Truncate => self.truncate(),
            Step::TruncateLeaf { table } => self.truncate_leaf(table),
            Step::Commit => self.commit(),
            Step::Seal => self.seal(Work::None),
            Step::Restart => {
                self.seal(Work::None);
                if let Some((_, from, ordinal)) = &mut self.open {
                    (*from, *ordinal) = (0, 0);
                }
            }
            Step::Alter { table } => {
                let next = self.shapes[table].version + 1;
                self.shapes[table] = shape(table, next.min(19));
            }
            Step::Chunk { table, rows } => self.chunk(table, (0..rows).collect(), None),
            Step::Heal { table, gone } => self.chunk(table, if gone { vec![] } else { vec![7] }, Some(gone)),
            Step::Complete { table } => {
                self.commit();
                self.seal(Work::None);
                let entry = LoggedEntry::Complete { table: self.shapes[table].id };
                self.named.push(self.shapes[table].clone());
                self.events.push(LogEvent::Entry(entry.clone()));
                self.seal(Work::Entries(vec![entry]));
            }
            Step::Idle => self.idle(),
        }
    }

    fn begin(&mut self) -> (Lsn, u64) {
        let lsn = &mut self.lsn;
        let (commit, _, ordinal) = *self.open.get_or_insert_with(|| {
            *lsn += 10;
            (Lsn::new(*lsn), 0, 0)
        });
        (commit, ordinal)
    }

    /// Begins the part of the open transaction that this group holds, unless it holds one already.
    fn begin_part(&mut self) -> Position {
        let (commit, ordinal) = self.begin();
        let is_here = self.parts.last().is_some_and(|part| part.commit == commit && part.end.is_none());
        if !is_here {
            self.parts.push(Part {
                commit,
                from_ordinal: ordinal,
                changes: 0,
                end: None,
                time_us: 5,
                xid: 9,
            });
            self.events.push(LogEvent::Begin { commit, commit_time_us: 5, xid: 9, from_ordinal: ordinal });
        }
        if let Some((_, _, next)) = &mut self.open {
            *next += 1;
        }
        self.parts.last_mut().unwrap().changes += 1;
        Position { commit, ordinal }
    }

    fn stamp(&self, at: Position) -> Stamp {
        Stamp { commit: at.commit, ordinal: at.ordinal, group: self.number, ..Stamp::default() }
    }

    fn change(
        &mut self,
        table: usize,
        encode: impl FnOnce(&Capture, &Stamp, &mut Records, &crate::codec::TableCodec) -> SourceChange,
    ) {
        let at = self.begin_part();
        let (stamp, shape, mut records) = (self.stamp(at), self.shapes[table].clone(), Records::default());
        let change = encode(self, &stamp, &mut records, &codec(&shape));
        self.records.push((shape, records));
        self.events.push(LogEvent::Change(change));
    }

    fn truncate(&mut self) {
        let position = self.begin_part();
        let stamp = self.stamp(position);
        let relations = self.shapes.iter().map(|shape| shape.id).collect::<Vec<_>>();
        for shape in self.shapes.clone() {
            let mut records = Records::default();
            codec(&shape).encode_truncate(&stamp, &mut records);
            self.records.push((shape, records));
        }
        self.truncates.push(Truncated { position, what: LeafOrTables::Tables(relations.clone()) });
        self.events.push(LogEvent::Change(SourceChange::Truncate { relations }));
    }

    fn truncate_leaf(&mut self, table: usize) {
        let position = self.begin_part();
        let (table, predicate) = (self.shapes[table].clone(), "id < 7".to_owned());
        let what = LeafOrTables::Leaf { table: table.id, predicate: predicate.clone() };
        self.truncates.push(Truncated { position, what });
        self.events.push(LogEvent::TruncateLeaf { table: table.id, predicate });
        self.named.push(table);
    }

    fn commit(&mut self) {
        let Some((commit, ..)) = self.open else { return };
        let end = Lsn::new(commit.raw() + 5);
        let is_here = self.parts.last().is_some_and(|part| part.commit == commit && part.end.is_none());
        if !is_here {
            let (_, ordinal) = self.begin();
            self.parts.push(Part {
                commit,
                from_ordinal: ordinal,
                changes: 0,
                end: None,
                time_us: 5,
                xid: 9,
            });
            self.events.push(LogEvent::Begin { commit, commit_time_us: 5, xid: 9, from_ordinal: ordinal });
        }
        self.parts.last_mut().unwrap().end = Some(end);
        self.events.push(LogEvent::Commit { commit, end });
        self.open = None;
    }

    fn chunk(&mut self, table: usize, keys: Vec<u8>, heal: Option<bool>) {
        self.commit();
        self.seal(Work::None);
        let shape = self.shapes[table].clone();
        let at = Checkpoint::at_commit_end(Lsn::new(self.lsn + 5));
        let mut records = Records::default();
        let rows = keys.iter().map(|key| row(*key, 3)).collect::<Vec<_>>();
        for (row, ordinal) in rows.iter().zip(0..) {
            let stamp = self.stamp(Position { commit: at.lsn(), ordinal });
            codec(&shape).encode_read(row, &stamp, &mut records).unwrap();
        }
        let kind = match heal {
            Some(gone) => {
                LoggedKind::Heal { keys: vec![key(7)], gone: gone.then(|| key(7)).into_iter().collect() }
            }
            None => LoggedKind::Copy {
                unit: shape.id,
                range: BlockRange { from: Ctid::start_of(0), to: Ctid::start_of(5) },
            },
        };
        self.events.push(LogEvent::Rows(LoggedChunk { table: shape.id, at, kind: kind.clone(), rows }));
        let work = Work::Chunk { table: shape.id, at, kind, rows: keys.len() as u64 };
        self.named.push(shape.clone());
        self.records.push((shape, records));
        self.seal(work);
    }

    fn idle(&mut self) {
        self.commit();
        self.seal(Work::None);
        self.lsn += 10;
        let end = Lsn::new(self.lsn);
        let beat = Beat { nonce: Nonce(4), sent_us: 8, at: Checkpoint::at_commit_end(end) };
        self.events.push(LogEvent::Reached { end });
        self.events.push(LogEvent::Beat { nonce: beat.nonce, sent_us: 8, at: beat.at });
        self.write(Group {
            number: self.number,
            tables: vec![],
            work: Work::None,
            reached: Some(end),
            beats: vec![beat],
        });
    }

    /// Writes what has been gathered as a group, if anything has.
    fn seal(&mut self, work: Work) {
        let parts = std::mem::take(&mut self.parts);
        let truncates = std::mem::take(&mut self.truncates);
        let work = match (work, parts.is_empty()) {
            (Work::None, true) => return,
            (Work::None, false) => Work::Batch { parts, truncates },
            (work, _) => work,
        };
        self.write(Group { number: self.number, tables: vec![], work, reached: None, beats: vec![] });
    }

    fn write(&mut self, group: Group) {
        let records = std::mem::take(&mut self.records);
        let named = std::mem::take(&mut self.named);
        self.topics.write(group, &records, &named.iter().collect::<Vec<_>>());
        self.number += 1;
        self.expected.append(&mut self.events);
        self.expected.push(LogEvent::Whole { cursor: Cursor(Default::default()) });
    }
}

/// The relation of a table at a version, as it is announced.
pub(super) fn relation(table: usize, version: u32) -> understudy_model::Relation {
    let columns = shape(table, version).columns.into_iter().map(|column| Column {
        name: column.name,
        type_oid: column.type_oid,
        type_modifier: column.type_modifier,
        in_identity: column.in_identity,
    });
    let SchemaRecord { table: name, id, identity, .. } = shape(table, version);
    understudy_model::Relation { id, name, identity, columns: columns.collect() }
}
