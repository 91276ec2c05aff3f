//! Topics in memory, written as a capture writes them, and a reader that takes what the assembler asks for.

use std::collections::{BTreeMap, HashMap};

use understudy_contract::{Failure, LogEvent};
use understudy_model::{Lsn, Relation, TableName};

use super::super::assembler::{Assembler, At, Wants};
use super::super::cursor::Place;
use super::super::lane::Share;
use super::super::start::Starts;
use crate::codec::{Group, GroupTable, Records, SchemaRecord, TableCodec, partition_of};
use crate::error::Error;
use crate::names::TopicNames;

/// A record as a consumer gets it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) offset: i64,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
}

/// Every topic of a migration.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    names: TopicNames,
    partitions: u32,
    shapes: Vec<SchemaRecord>,
    pub(super) order: Vec<(i64, Vec<u8>)>,
    pub(super) tables: BTreeMap<(TableName, u32), Vec<Stored>>,
    /// Where each partition, and the order topic, goes on: marks of transactions take offsets too.
    ends: HashMap<String, i64>,
    /// Where readers are told that they start.
    pub(super) starts: Starts,
}

impl Topics {
    pub(super) fn new(shapes: Vec<SchemaRecord>, partitions: u32) -> Topics {
        Topics {
            names: TopicNames::new("shop"),
            partitions,
            shapes,
            order: Vec::new(),
            tables: BTreeMap::new(),
            ends: HashMap::new(),
            starts: Starts::default(),
        }
    }

    /// Writes a group: `records` by shape, which tell the group what to count. `named` are tables without records.
    pub(super) fn write(
        &mut self,
        mut group: Group,
        records: &[(SchemaRecord, Records)],
        named: &[&SchemaRecord],
    ) {
        let mut touched = Vec::new();
        for shape in records.iter().map(|(shape, _)| shape).chain(named.iter().copied()) {
            let at = group.tables.iter().position(|table| table.name == shape.table).unwrap_or_else(|| {
                let (name, id) = (shape.table.clone(), shape.id);
                group.tables.push(GroupTable { name, id, version: 0, records: Vec::new() });
                group.tables.len() - 1
            });
            let version = &mut group.tables[at].version;
            *version = shape.version.max(*version);
        }
        for (shape, records) in records {
            for record in records.iter() {
                let partition = record.key.map_or(0, |key| partition_of(key, self.partitions));
                let counted = group.tables.iter_mut().find(|table| table.name == shape.table).unwrap();
                match counted.records.iter_mut().find(|(known, _)| *known == partition) {
                    Some((_, count)) => *count += 1,
                    None => counted.records.push((partition, 1)),
                }
                let at = (shape.table.clone(), partition);
                let place = format!("{}/{partition}", shape.table);
                let headers = record.headers().map(|(name, value)| (name.to_owned(), value.to_vec()));
                let stored = Stored {
                    offset: self.take_offset(&place),
                    headers: headers.collect(),
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                };
                self.tables.entry(at).or_default().push(stored);
                touched.push(place);
            }
        }
        let offset = self.take_offset("order");
        self.order.push((offset, group.to_json().unwrap()));
        touched.push("order".to_owned());
        touched.sort();
        touched.dedup();
        for place in touched {
            self.take_offset(&place);
        }
    }

    fn take_offset(&mut self, place: &str) -> i64 {
        let end = self.ends.entry(place.to_owned()).or_default();
        *end += 1;
        *end - 1
    }

    /// Reads from a place to the end. Fails where a record that is counted is not there, which only a broker can tell.
    pub(super) fn read(&self, from: Option<Place>) -> Result<Vec<LogEvent>, Failure> {
        self.read_share(from, Share::All, &|_| BTreeMap::new())
    }

    /// The same for a lane. `others`: where other lanes stand at the fence of a transaction.
    pub(super) fn read_share(
        &self,
        from: Option<Place>,
        share: Share,
        others: &dyn Fn(Lsn) -> BTreeMap<String, Vec<Option<i64>>>,
    ) -> Result<Vec<LogEvent>, Failure> {
        let place = from.unwrap_or_else(|| Place::start("shop", None));
        let mut order = place.order;
        let mut next = HashMap::<(TableName, u32), i64>::new();
        let mut assembler = Assembler::new(self.names.clone(), place).of(share).starting(self.starts.clone());
        let mut events = Vec::new();
        loop {
            events.extend(std::iter::from_fn(|| assembler.pop()));
            if assembler.is_stopped() {
                let Some(LogEvent::Fence { cursor }) = events.last() else { panic!("it stops at a fence") };
                let commit = Lsn::new(Place::parse(cursor).unwrap().fence.unwrap());
                assembler.widen(commit, others(commit))?;
                continue;
            }
            if assembler.is_over() {
                assembler.narrow();
                // Other lanes have gone on by the next fence.
                next.clear();
            }
            match assembler.wants() {
                Wants::Group => {
                    let Some((offset, value)) = self.order.iter().find(|(offset, _)| *offset >= order) else {
                        break;
                    };
                    order = offset + 1;
                    assembler.on_group(*offset, Some(value))?;
                }
                Wants::Shape { .. } => assembler.learn(self.shapes.clone())?,
                Wants::Record(wanted) => {
                    let at = (wanted.table.clone(), wanted.partition);
                    let from = next.get(&at).copied().or(wanted.from).unwrap_or(0);
                    let records = self.tables.get(&at).map_or(&[][..], Vec::as_slice);
                    let Some(record) = records.iter().find(|record| record.offset >= from) else {
                        let why = "a record is missing".to_owned();
                        return Err(Error::Torn { topic: wanted.topic.to_string(), why }.into());
                    };
                    next.insert(at, record.offset + 1);
                    let topic = wanted.topic.clone();
                    let at = At { topic: &topic, partition: wanted.partition, offset: record.offset };
                    let headers =
                        record.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice())));
                    assembler.on_record(at, headers, (record.key.as_deref(), record.value.as_deref()))?;
                }
            }
        }
        Ok(events)
    }
}

/// Events apart from announcements, each change and chunk with the shape in which its table was announced last.
pub(super) fn resolved(events: &[LogEvent]) -> Vec<(LogEvent, Option<Relation>)> {
    use understudy_model::SourceChange as Change;
    let mut announced = HashMap::new();
    let mut resolved = Vec::new();
    for event in events {
        let table = match event {
            LogEvent::Table(relation) => {
                announced.insert(relation.id, relation.as_ref().clone());
                continue;
            }
            LogEvent::Change(
                Change::Insert { relation, .. }
                | Change::Update { relation, .. }
                | Change::Delete { relation, .. },
            ) => Some(*relation),
            LogEvent::Rows(chunk) => Some(chunk.table),
            LogEvent::TruncateLeaf { table, .. } => Some(*table),
            _ => None,
        };
        let shape = table.map(|table| announced.get(&table).expect("it was announced before").clone());
        resolved.push((event.clone(), shape));
    }
    resolved
}

/// The codec that a capture writes a table with.
pub(super) fn codec(shape: &SchemaRecord) -> TableCodec {
    TableCodec::new(shape, "shop", "blue").unwrap()
}
