//! Finishes what brokers have come to forget.
//!
//! A broker that is killed right after it has told that a transaction is committed (or given up) may leave some of its partitions
//! without the mark that says so, for ever: by its own books the transaction is over. Nobody reads beyond such a place, until a
//! later transaction of the same capture touches the partition: its mark counts for both. So what was left is looked at, and is
//! finished as it was meant to end, by a transaction that touches those partitions and is committed or given up.
//!
//! How it was meant to end shows by the rest of it: every transaction has records in the topics of the order and of the
//! bookkeeping. Where one of these shows it, or lacks it for good, that is how it ended. Where both hang, it was committed if all
//! of it is there; if it was to be given up, nobody has seen that yet, and what it holds is true all the same.
//!
//! What a recovery writes may be left unfinished in its turn. Then what was committed hangs in a partition together with what was
//! not, or in part, and one mark would count for all: it is given up there, and what was committed is written again (`copies`).

use std::collections::BTreeMap;

use rdkafka::message::{BorrowedMessage, Headers, Message};
use understudy_model::{RelationId, TableName};

use super::copies::{At, Counts, Ending, ending, last_written};
use super::left::{fold, groups_from, last_group};
use super::transaction::{Draft, Pen, Sealed, Topics, Touch};
use crate::codec::{
    CodecError, DataHeaders, FoldedState, Group, GroupTable, PLACE, Progress, SchemaRecord, StateFold,
    StateKey, StateRecord, TOMBSTONE, Work, placed_in_group, progress_records,
};
use crate::error::Error;
use crate::names::TopicNames;
use crate::read_all::{Stretch, Told, read};
use crate::settled::{Extent, Extents};

/// A table that is captured: its topic, its name, its number on blue.
pub(super) type Captured = (String, TableName, RelationId);

/// Key and value of a record of the bookkeeping.
type Entry = (Vec<u8>, Option<Vec<u8>>);

/// What hangs in one partition of a table.
#[derive(Debug, Clone, Default)]
struct Rows {
    /// Offset and group of each record.
    records: Vec<(i64, u64)>,
    /// The last record, and the version of its shape.
    last: Touch,
    version: u32,
}

/// What hangs.
#[derive(Debug, Default)]
struct Hanging {
    /// In the topic of the order: the groups.
    order: Option<Vec<Group>>,
    /// In that of the bookkeeping: its records.
    state: Option<Vec<Entry>>,
    /// In that of the shapes; and whether there is more than shapes.
    shapes: Vec<(Touch, SchemaRecord)>,
    other_shapes: bool,
    /// In those of tables.
    rows: BTreeMap<At, Rows>,
}

/// How a transaction is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    GiveUp,
}

/// What is finished, and what hangs, as far as that tells how the transaction ended whose records hang.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signs {
    /// The last group that is committed.
    committed: u64,
    /// The group of the books that are committed.
    books: u64,
    /// The last group that hangs in the order, if any does.
    order: Option<u64>,
    /// Whether records of the bookkeeping hang, and the group of the last progress among them.
    state: Option<Option<u64>>,
    /// Whether tables hold all the records that the hanging groups count.
    is_whole: bool,
}

impl Signs {
    /// How the hanging groups, or the hanging books, are to end, and the last group after that.
    fn judge(&self) -> (End, u64) {
        let Signs { committed, books, order, state, is_whole } = *self;
        let is_meant = match (order, state) {
            (None, None) => return (End::Commit, committed),
            (None, Some(progress)) => {
                return (commit_if(progress.is_some_and(|group| group <= committed)), committed);
            }
            (Some(group), None) => books >= group,
            (Some(group), Some(progress)) => progress == Some(group) && is_whole,
        };
        (commit_if(is_meant), if is_meant { order.unwrap_or(committed) } else { committed })
    }
}

fn commit_if(is_meant: bool) -> End {
    if is_meant { End::Commit } else { End::GiveUp }
}

/// The last group before what hung was finished, and the last one since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mended {
    pub(super) before: u64,
    pub(super) after: u64,
}

/// Finishes what hangs in these topics. Only after older captures were sent away. Blocks its thread.
pub(super) fn recover(pen: &Pen, extents: &Extents) -> Result<Mended, Error> {
    let hanging = gather(pen, extents)?;
    let of = |topic: &str| extents.of(topic, 0);
    let order = of(&pen.topics.order);
    let finished = match of(&pen.topics.state) {
        Some(extent) => fold(&pen.settings, &pen.topics.state, extent)?,
        None => StateFold::default(),
    };
    let before = books(finished.clone())?;
    let group_of = |books: &Option<FoldedState>| books.as_ref().map(|books| books.group);
    let last = match order {
        Some(extent) => last_group(&pen.settings, &pen.topics.order, extent)?,
        None => None,
    };
    // Where the time of all groups is over, the books tell.
    let committed = last.or(group_of(&before)).unwrap_or(0);
    let after = match &hanging.state {
        Some(records) => books(with(finished, records)?)?,
        None => before.clone(),
    };
    let signs = Signs {
        committed,
        books: group_of(&before).unwrap_or(0),
        order: hanging
            .order
            .as_ref()
            .map(|groups| groups.iter().map(|group| group.number).max().unwrap_or(0)),
        state: hanging
            .state
            .as_ref()
            .map(|records| has_progress(records).then(|| group_of(&after)).flatten()),
        is_whole: is_whole(pen, extents, &hanging)?,
    };
    let (end, last) = signs.judge();
    let books = if end == End::Commit { after } else { before };
    let plan = plan(&pen.topics, &hanging, (end, last, books.as_ref()), &told(pen, order, &hanging)?);
    // Read before it is given up: nothing is begun that cannot be ended.
    let again = plan.again(pen, extents)?;
    for (topic, partition, _) in extents.hanging() {
        tracing::warn!(topic, partition, "the brokers have left a transaction unfinished: finishing it");
    }
    if !plan.given_up.is_empty() {
        pen.give_up(&plan.given_up)?;
    }
    match (plan.is_needed(), books) {
        (true, Some(books)) => {
            let mut draft = plan.draft(&books, last + 1, &pen.captured)?;
            draft.touched.extend(again);
            pen.write(draft)?;
            Ok(Mended { before: last, after: last + 1 })
        }
        (true, None) => Err(torn(&pen.topics.state, "records hang, and no books tell of them")),
        (false, _) => {
            if !again.is_empty() {
                pen.write(Draft { touched: again, ..Draft::default() })?;
            }
            Ok(Mended { before: last, after: last })
        }
    }
}

/// What is to be written.
#[derive(Debug, Default)]
struct Plan {
    /// Partitions whose records are to be given up.
    given_up: Vec<Touch>,
    /// Whether the order or the bookkeeping is to be committed: both are written with every group.
    finishes_own: bool,
    shapes: Vec<Touch>,
    rows: Vec<(u32, Touch)>,
    /// What was committed and is given up: how many records of which groups each partition is to hold again.
    again: Vec<(At, Counts)>,
    /// The same of shapes.
    shapes_again: Vec<Touch>,
}

impl Plan {
    fn is_needed(&self) -> bool {
        self.finishes_own || !self.shapes.is_empty() || !self.rows.is_empty()
    }

    /// What is to be written again, as it was written last.
    fn again(&self, pen: &Pen, extents: &Extents) -> Result<Vec<Touch>, Error> {
        let mut again = self.shapes_again.clone();
        for (at, counts) in &self.again {
            let extent = extents.of(&at.0, at.1).ok_or_else(|| torn(&at.0, "nobody tells what it holds"))?;
            again.extend(last_written(pen, at, extent, counts)?);
        }
        Ok(again)
    }

    /// A group of its own, which readers pass over, with a record in every partition that is to be finished.
    fn draft(self, books: &FoldedState, number: u64, captured: &[Captured]) -> Result<Draft, Error> {
        let mut tables: BTreeMap<String, GroupTable> = BTreeMap::new();
        let mut touched = self.shapes;
        for (version, mut touch) in self.rows {
            let known = captured.iter().find(|(topic, ..)| *topic == touch.topic);
            let (_, name, id) =
                known.ok_or_else(|| torn(&touch.topic, "it belongs to no table of the migration"))?;
            let table = tables.entry(touch.topic.clone()).or_insert_with(|| GroupTable {
                name: name.clone(),
                id: *id,
                version,
                records: Vec::new(),
            });
            table.version = table.version.max(version);
            table.records.push((touch.partition, 1));
            touch.headers.retain(|(name, _)| name != TOMBSTONE);
            touch.headers.push((TOMBSTONE.to_owned(), Vec::new()));
            let unplaced = || torn(&touch.topic, "a record of it does not tell its place");
            let place = touch.headers.iter_mut().find(|(name, _)| name == PLACE);
            let (_, place) = place.ok_or_else(unplaced)?;
            *place = placed_in_group(place, number).ok_or_else(unplaced)?;
            touched.push(touch);
        }
        let tables = tables.into_values().collect();
        let group = Group { number, tables, work: Work::None, reached: None, beats: Vec::new() };
        let json = group.to_json().map_err(|error| Error::Internal { why: error.to_string() })?;
        let progress = Progress {
            lineage: books.saved.lineage.clone(),
            checkpoint: books.saved.checkpoint,
            unseen: books.saved.unseen.clone(),
            group: number,
            requests: books.requests,
        };
        let state = progress_records(&progress);
        let record = (group.record_key(), json);
        let sealed = Sealed { records: Default::default(), to: Vec::new(), places: Vec::new(), record };
        Ok(Draft {
            groups: vec![sealed],
            touched,
            state: state.iter().map(|record| (record.key(), record.value())).collect(),
            ..Draft::default()
        })
    }
}

/// The key of records that are written to be given up.
const DUMMY: &[u8] = b"-";

/// No group has this number.
const NO_GROUP: u64 = u64::MAX;

/// How every partition is to be finished. A transaction ends everywhere as it does in the order and the bookkeeping.
fn plan(
    topics: &Topics,
    hanging: &Hanging,
    (end, last, books): (End, u64, Option<&FoldedState>),
    told: &BTreeMap<At, Counts>,
) -> Plan {
    let mut plan = Plan::default();
    let dummy = |topic: &str, partition| Touch {
        topic: topic.to_owned(),
        partition,
        key: Some(DUMMY.to_vec()),
        ..Touch::default()
    };
    if hanging.order.is_some() || hanging.state.is_some() {
        match end {
            End::Commit => plan.finishes_own = true,
            End::GiveUp => {
                let own =
                    [(&topics.order, hanging.order.is_some()), (&topics.state, hanging.state.is_some())];
                plan.given_up
                    .extend(own.iter().filter(|(_, hangs)| *hangs).map(|(topic, _)| dummy(topic, 0)));
            }
        }
    }
    let known = |shape: &SchemaRecord| {
        let newest = books.and_then(|books| books.schemas.get(&shape.table));
        newest.is_some_and(|newest| shape.version <= *newest)
    };
    let (named, unnamed) = hanging.shapes.iter().partition::<Vec<_>, _>(|(_, shape)| known(shape));
    match (named.is_empty(), unnamed.is_empty() && !hanging.other_shapes) {
        (_, true) => plan.shapes.extend(named.into_iter().map(|(touch, _)| touch.clone())),
        (true, false) => plan.given_up.push(dummy(&topics.schema, 0)),
        (false, false) => {
            plan.given_up.push(dummy(&topics.schema, 0));
            plan.shapes_again.extend(named.into_iter().map(|(touch, _)| touch.clone()));
        }
    }
    for (at, rows) in &hanging.rows {
        match ending(&rows.records, last, told.get(at).unwrap_or(&Counts::new())) {
            Ending::Shown => plan.rows.push((rows.version, rows.last.clone())),
            Ending::Hidden(counts) => {
                plan.given_up.push(dummy(&at.0, at.1 as u32));
                if !counts.is_empty() {
                    plan.again.push((at.clone(), counts));
                }
            }
        }
    }
    plan
}

/// What the groups from the first that hangs in a table on tell of each partition in which one hangs.
fn told(pen: &Pen, order: Option<Extent>, hanging: &Hanging) -> Result<BTreeMap<At, Counts>, Error> {
    let rows = hanging.rows.values().flat_map(|rows| &rows.records);
    let first = rows.map(|(_, group)| *group).min().unwrap_or(NO_GROUP);
    let mut groups = match order {
        Some(extent) if first != NO_GROUP => groups_from(&pen.settings, &pen.topics.order, extent, first)?,
        Some(_) | None => Vec::new(),
    };
    groups.extend(hanging.order.iter().flatten().filter(|group| group.number != NO_GROUP).cloned());
    let names = TopicNames::new(&pen.settings.topic_prefix);
    let mut told: BTreeMap<At, Counts> = BTreeMap::new();
    for at in hanging.rows.keys() {
        let of_partition = told.entry(at.clone()).or_default();
        for group in &groups {
            let table = group.tables.iter().find(|table| names.table(&table.name) == at.0);
            let records = table.into_iter().flat_map(|table| &table.records);
            let count = records.filter(|(partition, _)| *partition as i32 == at.1).map(|(_, count)| count);
            of_partition.insert(group.number, count.sum());
        }
    }
    Ok(told)
}

fn torn(topic: &str, why: &str) -> Error {
    Error::Torn { topic: topic.to_owned(), why: why.to_owned() }
}

/// Reads what hangs. What was written to be given up, and hangs for its part, is part of no group.
fn gather(pen: &Pen, extents: &Extents) -> Result<Hanging, Error> {
    let mut found = Hanging::default();
    let topics = &pen.topics;
    for (topic, partition, extent) in extents.hanging() {
        let mut bad = None;
        read(&pen.settings, Stretch::hanging(topic, partition, extent), |message| {
            let (key, value) = (message.key().unwrap_or_default(), message.payload());
            let is_dummy = key == DUMMY;
            let taken = if topic == topics.order {
                found.take_group(value, is_dummy)
            } else if topic == topics.state {
                let records = found.state.get_or_insert_default();
                // Notes of captures that are about to write are part of no transaction.
                let counts = !is_dummy && !matches!(StateKey::from_bytes(key), Ok(StateKey::Claim));
                records.extend(counts.then(|| (key.to_vec(), value.map(<[u8]>::to_vec))));
                Ok(())
            } else if topic == topics.schema {
                found.take_shape(message, is_dummy)
            } else {
                found.take_row(message, is_dummy)
            };
            match taken {
                Ok(()) => Told::GoOn,
                Err(error) => {
                    bad = Some(error);
                    Told::Stop
                }
            }
        })?;
        if let Some(error) = bad {
            return Err(torn(topic, &error.to_string()));
        }
    }
    Ok(found)
}

impl Hanging {
    fn take_group(&mut self, value: Option<&[u8]>, is_dummy: bool) -> Result<(), CodecError> {
        let none = Group {
            number: NO_GROUP,
            tables: Vec::new(),
            work: Work::None,
            reached: None,
            beats: Vec::new(),
        };
        let group = if is_dummy { none } else { Group::from_json(value.unwrap_or_default())? };
        self.order.get_or_insert_default().push(group);
        Ok(())
    }

    fn take_shape(&mut self, message: &BorrowedMessage<'_>, is_dummy: bool) -> Result<(), CodecError> {
        if is_dummy {
            self.other_shapes = true;
        } else {
            let shape = SchemaRecord::from_json(message.payload().unwrap_or_default())?;
            self.shapes.push((copy(message), shape));
        }
        Ok(())
    }

    fn take_row(&mut self, message: &BorrowedMessage<'_>, is_dummy: bool) -> Result<(), CodecError> {
        let rows = self.rows.entry((message.topic().to_owned(), message.partition())).or_default();
        if is_dummy {
            rows.records.push((message.offset(), NO_GROUP));
        } else {
            let headers = headers(message)?;
            rows.records.push((message.offset(), headers.group));
            (rows.last, rows.version) = (copy(message), headers.schema);
        }
        Ok(())
    }
}

/// The headers of a record of a table.
pub(super) fn headers(message: &BorrowedMessage<'_>) -> Result<DataHeaders, CodecError> {
    DataHeaders::read(
        message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter())
            .map(|header| (header.key, header.value)),
    )
}

/// A record, to be written once more.
pub(super) fn copy(message: &BorrowedMessage<'_>) -> Touch {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Touch {
        topic: message.topic().to_owned(),
        partition: message.partition() as u32,
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers
            .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
            .collect(),
    }
}

fn books(fold: StateFold) -> Result<Option<FoldedState>, Error> {
    fold.finish(|_| None).map_err(|error| Error::Internal { why: error.to_string() })
}

fn with(mut fold: StateFold, records: &[Entry]) -> Result<StateFold, Error> {
    for (key, value) in records {
        fold.apply(key, value.as_deref()).map_err(|error| Error::Internal { why: error.to_string() })?;
    }
    Ok(fold)
}

fn has_progress(records: &[Entry]) -> bool {
    let is_progress = |(key, value): &Entry| {
        matches!(StateRecord::read(key, value.as_deref()), Ok(StateRecord::Progress { .. }))
    };
    records.iter().any(is_progress)
}

/// Whether every partition holds the records that the hanging groups count: hanging too, or committed already. Where the
/// transaction was given up in one of them, they are not there.
fn is_whole(pen: &Pen, extents: &Extents, hanging: &Hanging) -> Result<bool, Error> {
    let names = TopicNames::new(&pen.settings.topic_prefix);
    for group in hanging.order.iter().flatten() {
        for table in &group.tables {
            let topic = names.table(&table.name);
            for (partition, count) in &table.records {
                let at = (topic.clone(), *partition as i32);
                let of_group = |rows: &Rows| {
                    let of_group = rows.records.iter().filter(|(_, of)| *of == group.number);
                    Some(of_group.count() as u64).filter(|found| *found > 0)
                };
                let hangs = hanging.rows.get(&at).and_then(of_group);
                let found = match (hangs, extents.of(&topic, at.1)) {
                    (Some(found), _) => found,
                    (None, Some(extent)) => committed(pen, &at, (extent, group.number, *count))?,
                    (None, None) => 0,
                };
                if found != *count {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// How many records of a group, the last that was written, are committed in a partition: they stand at its end.
fn committed(
    pen: &Pen,
    (topic, partition): &(String, i32),
    (extent, group, count): (Extent, u64, u64),
) -> Result<u64, Error> {
    let reach = i64::try_from(count).unwrap_or(i64::MAX).saturating_add(MARKS_MAX);
    let from = extent.low.max(extent.stable.saturating_sub(reach));
    let mut found = 0;
    read(&pen.settings, Stretch { from, ..Stretch::committed(topic, *partition, extent) }, |message| {
        if headers(message).is_ok_and(|headers| headers.group == group) {
            found += 1;
        }
        Told::GoOn
    })?;
    Ok(found)
}

/// Marks of transactions, and records of groups after it that were given up, that may stand behind a group.
const MARKS_MAX: i64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn signs() -> Signs {
        Signs { committed: 9, books: 9, order: None, state: None, is_whole: true }
    }

    /// Guards that what was said to be committed is never given up, and what was given up never shown, whichever partitions
    /// the brokers have left unfinished.
    #[test]
    fn a_transaction_ends_as_its_other_records_tell() {
        let judged = |signs: Signs| signs.judge();
        // Only tables or shapes hang.
        assert_eq!(judged(signs()), (End::Commit, 9));
        // The order hangs alone: the books tell.
        assert_eq!(judged(Signs { order: Some(10), books: 10, ..signs() }), (End::Commit, 10));
        assert_eq!(judged(Signs { order: Some(10), ..signs() }), (End::GiveUp, 9));
        // The books hang alone: the order tells.
        assert_eq!(judged(Signs { state: Some(Some(9)), books: 8, ..signs() }), (End::Commit, 9));
        assert_eq!(judged(Signs { state: Some(Some(10)), ..signs() }), (End::GiveUp, 9));
        assert_eq!(judged(Signs { state: Some(None), ..signs() }), (End::GiveUp, 9));
        // Both hang: it counts whether all of it is there.
        let both = Signs { order: Some(10), state: Some(Some(10)), ..signs() };
        assert_eq!(judged(both.clone()), (End::Commit, 10));
        assert_eq!(judged(Signs { is_whole: false, ..both.clone() }), (End::GiveUp, 9));
        assert_eq!(judged(Signs { state: Some(None), ..both }), (End::GiveUp, 9));
    }
}
