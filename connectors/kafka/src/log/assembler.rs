//! Groups put together: records of the order topic and of the tables in, events of the log out. Holds no client.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};

use rustc_hash::FxHashMap;
use understudy_contract::{Class, Failure, LogEvent};
use understudy_model::{Lsn, RelationId, TableName};

use super::cursor::{Place, digest};
use super::emit::{Emitted, emit};
use super::lane::Share;
use super::shapes::{Shape, Shapes};
use super::start::Starts;
use crate::codec::{DataHeaders, Group, RecordOrder, RowEvent, SchemaRecord, Work};
use crate::error::Error;
use crate::names::TopicNames;

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: u32,
    pub(crate) offset: i64,
}

/// What has to be read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants<'a> {
    /// The record of the next group.
    Group,
    /// The shape of a table.
    Shape { table: &'a TableName, version: u32 },
    /// The next record of a partition.
    Record(Next<'a>),
}

/// Records that a group counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next<'a> {
    pub(crate) table: &'a TableName,
    pub(crate) topic: &'a Arc<str>,
    pub(crate) partition: u32,
    /// No record of the group stands before this offset; `None` where nothing was ever taken of the partition.
    pub(crate) from: Option<i64>,
    /// How many records of the group are still to come.
    pub(crate) left: u64,
}

/// A record of a table, read.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) order: RecordOrder,
    pub(crate) partition: u32,
    pub(crate) shape: Arc<Shape>,
    pub(crate) event: RowEvent,
}

/// The records of one partition that a group counts.
#[derive(Debug)]
struct Counted {
    /// The table, by its place in the group.
    table: usize,
    topic: Arc<str>,
    partition: u32,
    left: u64,
    /// The offset of the last one that was taken.
    last: Option<i64>,
    /// The shape of the last one that was taken.
    shape: Option<Arc<Shape>>,
}

/// The group that is being put together.
#[derive(Debug)]
struct Gathering {
    group: Group,
    /// What is still to be read; the last one is next.
    counted: Vec<Counted>,
    /// What has been read wholly.
    read: Vec<Counted>,
    rows: Vec<Row>,
}

/// Puts groups together.
#[derive(Debug)]
pub(crate) struct Assembler {
    names: TopicNames,
    /// Everything up to here has been handed out, or waits in `out`.
    place: Place,
    shapes: Shapes,
    gathering: Option<Gathering>,
    announced: Announced,
    out: VecDeque<LogEvent>,
    /// No group has been taken yet in this session.
    is_first: bool,
    /// Whose rows are taken.
    share: Share,
    /// The end of the group before the last one that was begun.
    before: (u64, i64, u64),
    /// Where reading has started.
    starts: Starts,
    /// A group that is held at a fence, with the rows that have been read of it: see [`Emitted::Fenced`].
    held: Option<Gathering>,
}

impl Assembler {
    /// Goes on behind a place.
    pub(crate) fn new(names: TopicNames, place: Place) -> Assembler {
        Assembler {
            names,
            before: (place.group, place.order, place.digest),
            place,
            share: Share::All,
            starts: Starts::default(),
            held: None,
            shapes: Shapes::default(),
            gathering: None,
            announced: Announced::default(),
            out: VecDeque::new(),
            is_first: true,
        }
    }

    /// The same for one lane.
    pub(crate) fn of(self, share: Share) -> Assembler {
        Assembler { share, ..self }
    }

    /// The same, told where reading starts.
    pub(super) fn starting(self, starts: Starts) -> Assembler {
        Assembler { starts, ..self }
    }

    /// Whether nothing more comes before [`Assembler::widen`]: the group has to be read for all lanes.
    pub(crate) fn is_stopped(&self) -> bool {
        self.held.is_some()
    }

    /// Whether what had to be read for all lanes has been.
    pub(crate) fn is_over(&self) -> bool {
        self.share.is_over()
    }

    /// Reads on behind a fence for all lanes, up to the end of that transaction. `others`: where the partitions of the others
    /// go on.
    pub(crate) fn widen(
        &mut self,
        commit: Lsn,
        others: BTreeMap<String, Vec<Option<i64>>>,
    ) -> Result<(), Failure> {
        let Some(mut gathering) = self.held.take() else { return Ok(()) };
        let was_wide = self.share.widen(commit);
        if !was_wide {
            for (topic, offsets) in others {
                let ours = self.place.topics.entry(topic).or_default();
                ours.resize(ours.len().max(offsets.len()), None);
                for (our, other) in ours.iter_mut().zip(offsets).filter(|(_, other)| other.is_some()) {
                    *our = other;
                }
            }
            gathering.counted = self.counted(&gathering.group);
            gathering.counted.retain(|counted| !self.share.is_own(counted.partition));
        }
        self.gathering = Some(gathering);
        self.finish_if_whole()
    }

    /// Reads on as one lane among others.
    pub(crate) fn narrow(&mut self) {
        self.share.narrow();
        let share = &self.share;
        for offsets in self.place.topics.values_mut() {
            let all = offsets.iter_mut().enumerate();
            all.filter(|(at, _)| !share.is_own(*at as u32)).for_each(|(_, offset)| *offset = None);
        }
    }

    /// Every partition that is still to be read of the group, by table.
    pub(crate) fn wanted(&self) -> Vec<(TableName, String, u32)> {
        let Some(gathering) = &self.gathering else { return Vec::new() };
        let one = |counted: &Counted| {
            let table = gathering.group.tables[counted.table].name.clone();
            (table, counted.topic.to_string(), counted.partition)
        };
        gathering.counted.iter().map(one).collect()
    }

    /// The next event.
    pub(crate) fn pop(&mut self) -> Option<LogEvent> {
        self.out.pop_front()
    }

    /// Whether an event waits to be taken.
    pub(crate) fn has_event(&self) -> bool {
        !self.out.is_empty()
    }

    /// The end of the last group that was put together.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// What has to be read next.
    pub(crate) fn wants(&self) -> Wants<'_> {
        let Some(gathering) = &self.gathering else { return Wants::Group };
        let tables = &gathering.group.tables;
        // A table of which nothing but its copy is planned may have no shape yet.
        let lacks = |name, version| version > 0 && !self.shapes.knows(name, version);
        if let Some(table) = tables.iter().find(|table| lacks(&table.name, table.version)) {
            return Wants::Shape { table: &table.name, version: table.version };
        }
        match gathering.counted.last() {
            Some(next) => {
                let Counted { ref topic, partition, left, last, .. } = *next;
                let from = last.map(|last| last + 1).or_else(|| self.place.next(topic, partition));
                Wants::Record(Next { table: &tables[next.table].name, topic, partition, from, left })
            }
            None => Wants::Group,
        }
    }

    /// Adds what the schema topic holds.
    pub(crate) fn learn(&mut self, shapes: Vec<SchemaRecord>) -> Result<(), Failure> {
        self.shapes.learn(shapes).map_err(|(table, version)| {
            let why = format!("it holds two shapes of {table} as version {version}");
            Error::Torn { topic: self.names.schema(), why }
        })?;
        self.finish_if_whole()
    }

    /// Takes the next record of the order topic.
    pub(crate) fn on_group(&mut self, offset: i64, value: Option<&[u8]>) -> Result<(), Failure> {
        let topic = self.names.order();
        let torn = |why: String| {
            Failure::from(Error::Torn { topic: topic.clone(), why: format!("at offset {offset} {why}") })
        };
        let Some(value) = value else { return Err(torn("there is a tombstone".to_owned())) };
        if offset == self.place.order {
            // A session that goes on reads the last record that it has taken again, to know the log by it.
            return if digest(value) == self.place.digest { Ok(()) } else { Err(another_log(&topic)) };
        }
        let group = Group::from_json(value).map_err(|error| {
            Failure::from(error).while_doing(format!("read offset {offset} of topic {topic}"))
        })?;
        let expected = self.place.group + 1;
        if group.number != expected {
            let found = group.number;
            let why = format!("there is group {found} where group {expected} should be");
            let is_shortened = self.is_first && found > expected;
            return Err(if is_shortened { Error::Expired { topic, why }.into() } else { torn(why) });
        }
        self.is_first = false;
        self.before = (self.place.group, self.place.order, self.place.digest);
        (self.place.group, self.place.order, self.place.digest) = (group.number, offset, digest(value));
        let counted = self.counted(&group);
        let rows = Vec::with_capacity(
            counted.iter().map(|counted| counted.left as usize).sum::<usize>().min(ROWS_MAX),
        );
        self.gathering = Some(Gathering { group, counted, read: Vec::new(), rows });
        self.finish_if_whole()
    }

    fn counted(&self, group: &Group) -> Vec<Counted> {
        let mut counted = Vec::new();
        for (at, table) in group.tables.iter().enumerate() {
            let topic = Arc::<str>::from(self.names.table(&table.name));
            let ours = |(partition, records): &&(u32, u64)| *records > 0 && self.share.reads(*partition);
            for (partition, records) in table.records.iter().filter(ours) {
                let (topic, partition, left) = (Arc::clone(&topic), *partition, *records);
                counted.push(Counted { table: at, topic, partition, left, last: None, shape: None });
            }
        }
        counted.reverse();
        counted
    }

    /// Takes the next record of the partition that [`Assembler::wants`] names.
    pub(crate) fn on_record<'a>(
        &mut self,
        at: At<'_>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
    ) -> Result<(), Failure> {
        let reading = |failure: Failure| failure.while_doing(format!("read {at}"));
        let nobody_asked =
            || reading(Error::Internal { why: "nobody asked for this record".to_owned() }.into());
        let gathering = self.gathering.as_mut().ok_or_else(nobody_asked)?;
        let number = gathering.group.number;
        let headers = DataHeaders::read(headers).map_err(|error| reading(error.into()))?;
        let next = gathering.counted.last_mut().ok_or_else(nobody_asked)?;
        if matches!(self.share, Share::Names(after) if headers.group <= after) {
            return Ok(());
        }
        if headers.group != number {
            let left = next.left;
            return Err(self.wrong_group(at, (headers.group, number), left));
        }
        let shape = match &next.shape {
            Some(shape) if shape.version == headers.schema => Arc::clone(shape),
            _ => {
                let table = &gathering.group.tables[next.table].name;
                let shape = self.shapes.get(table, headers.schema).map_err(|error| reading(error.into()))?;
                let shape = shape.ok_or_else(|| unknown_shape(at, table, headers.schema))?;
                next.shape.insert(shape).clone()
            }
        };
        let event = match (&self.share, &gathering.group.work) {
            // Whoever wants names learns of a chunk from the group alone.
            (Share::Names(_), Work::Chunk { .. }) => Ok(RowEvent::Tombstone),
            (Share::Names(_), _) => shape.codec.decode_name(&headers, key),
            _ => shape.codec.decode(&headers, key, value),
        };
        let event = event.map_err(|error| reading(error.into()))?;
        next.last = Some(at.offset);
        next.left -= 1;
        let is_read = next.left == 0;
        // A tombstone says nothing that the delete before it has not said.
        if !matches!(event, RowEvent::Tombstone) {
            let (order, partition) = (headers.order(), at.partition);
            gathering.rows.push(Row { order, partition, shape, event });
        }
        if is_read {
            gathering.read.extend(gathering.counted.pop());
        }
        self.finish_if_whole()
    }

    /// Hands out the group once everything it counts has been read.
    fn finish_if_whole(&mut self) -> Result<(), Failure> {
        let is_whole = self.gathering.as_ref().is_some_and(|gathering| gathering.counted.is_empty());
        if !is_whole || !matches!(self.wants(), Wants::Group) {
            return Ok(());
        }
        let Some(mut gathering) = self.gathering.take() else { return Ok(()) };
        self.keeps_lanes(&gathering.group)?;
        // Where to go on when it turns out that this group concerns the rows of all lanes.
        let fence = self.share.may_fence(&gathering.group).then(|| self.place_before());
        for read in &gathering.read {
            let offsets = self.place.topics.entry(read.topic.to_string()).or_default();
            let partition = read.partition as usize;
            offsets.resize(offsets.len().max(partition + 1), None);
            offsets[partition] = read.last.map(|last| last + 1);
        }
        gathering.rows.sort_by_key(|row| row.order);
        let number = gathering.group.number;
        let kept = fence
            .as_ref()
            .filter(|_| self.share.holds())
            .map(|place| (gathering.group.clone(), gathering.rows.clone(), place.topics.clone()));
        let to = (&mut self.announced, &mut self.out);
        let by = (&mut self.shapes, &mut self.share, fence);
        let emitted = emit(gathering.group, gathering.rows, by, to).map_err(|why| {
            why.into_failure(&self.names.order())
                .while_doing(format!("put group {number} of the log together"))
        })?;
        match emitted {
            Emitted::Whole => self.out.push_back(LogEvent::Whole { cursor: self.place.to_cursor() }),
            Emitted::Fenced => {
                let Some((group, rows, topics)) = kept else { return Ok(()) };
                self.place.topics = topics;
                self.held = Some(Gathering { group, counted: Vec::new(), read: gathering.read, rows });
            }
        }
        Ok(())
    }

    /// Whether the rows of each table are still in the lanes that they were in: their partitions go by the text of their keys.
    fn keeps_lanes(&mut self, group: &Group) -> Result<(), Failure> {
        if !matches!(self.share, Share::Lane(_)) {
            return Ok(());
        }
        for table in group.tables.iter().filter(|table| table.version > 0) {
            let Some(shape) = self.shapes.get(&table.name, table.version)? else { continue };
            let form = digest(shape.codec.key_form().as_bytes());
            let topic = self.names.table(&table.name);
            if *self.place.keys.entry(topic).or_insert(form) != form {
                return Err(rekeyed(&table.name));
            }
        }
        Ok(())
    }

    /// A record of another group stands where one of this group was looked for. Where the partition begins behind the place that
    /// was gone on from, what lay between has been deleted, as brokers do when its time is over.
    fn wrong_group(&self, at: At<'_>, (found, expected): (u64, u64), left: u64) -> Failure {
        let At { partition, offset, .. } = at;
        let topic = at.topic.to_owned();
        let starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let start = starts.get(&(topic.clone(), partition as i32)).copied();
        let is_shortened = found > expected && start > Some(self.place.next(&topic, partition).unwrap_or(0));
        let why = format!(
            "at offset {offset} of partition {partition} there is a record of group {found}, and {left} of group \
             {expected} are still to come"
        );
        if is_shortened { Error::Expired { topic, why }.into() } else { Error::Torn { topic, why }.into() }
    }

    /// The end of the group before the one that is being put together.
    fn place_before(&self) -> Place {
        let (group, order, digest) = self.before;
        Place { group, order, digest, ..self.place.clone() }
    }

    /// The topic of a table has so many partitions.
    pub(crate) fn on_table(&mut self, table: &TableName, partitions: usize) {
        let offsets = self.place.topics.entry(self.names.table(table)).or_default();
        offsets.resize(offsets.len().max(partitions), None);
    }
}

/// Rows for which room is made beforehand.
const ROWS_MAX: usize = 100_000;

/// The shape that each table was last announced with, in this session.
#[derive(Debug, Default)]
pub(crate) struct Announced(FxHashMap<RelationId, u32>);

impl Announced {
    /// Announces a shape unless it is the last that was.
    pub(crate) fn announce(&mut self, shape: &Shape, out: &mut VecDeque<LogEvent>) {
        let before = self.0.insert(shape.relation.id, shape.version);
        if before != Some(shape.version) {
            out.push_back(LogEvent::Table(Arc::clone(&shape.relation)));
        }
    }
}

impl std::fmt::Display for At<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "offset {} of partition {} of topic {}", self.offset, self.partition, self.topic)
    }
}

fn unknown_shape(at: At<'_>, table: &TableName, version: u32) -> Failure {
    let why = format!(
        "{at} is written in version {version} of the shape of {table}, which the topic of shapes lacks"
    );
    Error::Torn { topic: at.topic.to_owned(), why }.into()
}

/// The record that was the last to be taken is another one now.
fn another_log(topic: &str) -> Failure {
    let why = "it was made anew, or another capture has written to it, since green was here last".to_owned();
    Error::Torn { topic: topic.to_owned(), why }.into()
}

/// From here on rows are in other lanes than before, and no lane knows of the others how far they are.
fn rekeyed(table: &TableName) -> Failure {
    let cause = format!(
        "the key of {table} has other columns, or columns of another type, from here on: with `consistency: key` the changes \
         of a row before and after that are in two lanes, which do not wait for each other"
    );
    Failure::new(Class::Diverged, cause).remedy(
        "begin anew: stop every process, understudy abort FILE, empty the tables on green, and run again; `consistency: \
         transaction` takes such changes in their order",
    )
}
