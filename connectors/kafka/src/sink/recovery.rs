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

use std::collections::BTreeMap;

use rdkafka::message::{BorrowedMessage, Headers, Message};
use understudy_model::{RelationId, TableName};

use super::left::{fold, last_group};
use super::transaction::{Draft, Pen, Sealed, Touch};
use crate::codec::{
    CodecError, DataHeaders, FoldedState, GROUP, Group, GroupTable, Progress, SchemaRecord, StateFold,
    StateRecord, TOMBSTONE, Work, progress_records,
};
use crate::error::Error;
use crate::read_all::{Stretch, Told, read};
use crate::settled::{Extent, Extents};

/// A table that is captured: its topic, its name, its number on blue.
pub(super) type Captured = (String, TableName, RelationId);

/// Key and value of a record of the bookkeeping.
type Entry = (Vec<u8>, Option<Vec<u8>>);

/// What hangs in one partition of a table.
#[derive(Debug, Clone, Default)]
struct Rows {
    /// How many records of each group.
    groups: BTreeMap<u64, u64>,
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
    rows: BTreeMap<(String, i32), Rows>,
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
    let plan = plan(pen, &hanging, (end, last, books.as_ref()))?;
    for (topic, partition, _) in extents.hanging() {
        tracing::warn!(topic, partition, "the brokers have left a transaction unfinished: finishing it");
    }
    if !plan.given_up.is_empty() {
        pen.give_up(&plan.given_up)?;
    }
    match (plan.is_needed(), books) {
        (true, Some(books)) => {
            pen.write(plan.draft(&books, last + 1, &pen.captured)?)?;
            Ok(Mended { before: last, after: last + 1 })
        }
        (true, None) => Err(torn(&pen.topics.state, "records hang, and no books tell of them")),
        (false, _) => Ok(Mended { before: last, after: last }),
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
}

impl Plan {
    fn is_needed(&self) -> bool {
        self.finishes_own || !self.shapes.is_empty() || !self.rows.is_empty()
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
            touch.headers.retain(|(name, _)| name != GROUP && name != TOMBSTONE);
            touch.headers.push((GROUP.to_owned(), number.to_string().into_bytes()));
            touch.headers.push((TOMBSTONE.to_owned(), Vec::new()));
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
    pen: &Pen,
    hanging: &Hanging,
    (end, last, books): (End, u64, Option<&FoldedState>),
) -> Result<Plan, Error> {
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
                let own = [
                    (&pen.topics.order, hanging.order.is_some()),
                    (&pen.topics.state, hanging.state.is_some()),
                ];
                plan.given_up
                    .extend(own.iter().filter(|(_, hangs)| *hangs).map(|(topic, _)| dummy(topic, 0)));
            }
        }
    }
    let known = |shape: &SchemaRecord| {
        let newest = books.and_then(|books| books.schemas.get(&shape.table));
        newest.is_some_and(|newest| shape.version <= *newest)
    };
    let (told, untold) = hanging.shapes.iter().partition::<Vec<_>, _>(|(_, shape)| known(shape));
    match (told.is_empty(), untold.is_empty() && !hanging.other_shapes) {
        (_, true) => plan.shapes.extend(told.into_iter().map(|(touch, _)| touch.clone())),
        (true, false) => plan.given_up.push(dummy(&pen.topics.schema, 0)),
        (false, false) => return Err(torn(&pen.topics.schema, "shapes of two transactions hang in it")),
    }
    for ((topic, partition), rows) in &hanging.rows {
        let (mut groups, partition) = (rows.groups.keys(), *partition as u32);
        match (groups.clone().all(|group| *group <= last), groups.all(|group| *group > last)) {
            (true, _) => plan.rows.push((rows.version, rows.last.clone())),
            (false, true) => plan.given_up.push(dummy(topic, partition)),
            (false, false) => return Err(torn(topic, "records of two transactions hang in it")),
        }
    }
    Ok(plan)
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
                records.extend((!is_dummy).then(|| (key.to_vec(), value.map(<[u8]>::to_vec))));
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
            rows.groups.insert(NO_GROUP, 1);
        } else {
            let headers = headers(message)?;
            *rows.groups.entry(headers.group).or_default() += 1;
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
    let names = crate::names::TopicNames::new(&pen.settings.topic_prefix);
    for group in hanging.order.iter().flatten() {
        for table in &group.tables {
            let topic = names.table(&table.name);
            for (partition, count) in &table.records {
                let at = (topic.clone(), *partition as i32);
                let hangs = hanging.rows.get(&at).and_then(|rows| rows.groups.get(&group.number));
                let found = match (hangs, extents.of(&topic, at.1)) {
                    (Some(found), _) => *found,
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
