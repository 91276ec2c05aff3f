//! What has come of Debezium's topics, in the order in which an apply takes it. Holds no socket, reads no clock.

use std::collections::{HashMap, VecDeque};

use understudy_contract::{Class, Failure, LogEvent, LoggedEntry, Unit, Wanted};
use understudy_model::{
    Checkpoint, Key, Lsn, Nonce, ReplicaIdentity, RouteId, SourceChange, TableName, UnitId,
};

use super::blue::RowsRead;
use super::fault::Unfit;
use super::offsets::Come;
use super::place::Place;
use super::record::{Reader, Stamp, Told};
use super::windows::Windows;
use super::{DebeziumTable, Declared};
use crate::names::TopicNames;
use crate::offsets::Offsets;

/// Beats that wait until green shows them.
const BEATS_MAX: usize = 1_000;

/// By topic and partition the offset at which what is there ends.
pub(super) type Ends = Offsets;

/// What has come, and what is known of how far it goes.
#[derive(Debug)]
pub(super) struct Intake {
    tables: Vec<DebeziumTable>,
    readers: HashMap<String, Reader>,
    place: Place,
    /// Everything that blue committed before this has been handed out.
    reached: Lsn,
    /// The transaction that is being handed out.
    open: Option<Stamp>,
    /// Something has come since the last place was named.
    has_moved: bool,
    come: Option<Lsn>,
    /// Where blue's log was when the rows of a snapshot were read.
    read_at: Lsn,
    barrier: Option<(Lsn, Ends)>,
    windows: Windows,
    beats: VecDeque<(Lsn, i64, Nonce)>,
    out: VecDeque<LogEvent>,
}

impl Intake {
    /// Goes on from a place. `reached`: what green's checkpoint says. `compiled_at`: where blue's log ended before its catalog
    /// was read.
    pub(super) fn new(
        tables: Vec<DebeziumTable>,
        place: Place,
        (reached, compiled_at): (Lsn, Lsn),
        declared: Declared,
    ) -> Intake {
        let names = TopicNames::new(place.prefix.clone());
        let reader = |table: &DebeziumTable| {
            (names.table(&table.relation.name), Reader::new(table.clone(), declared, compiled_at))
        };
        let mut intake = Intake {
            readers: tables.iter().map(reader).collect(),
            tables,
            place,
            reached,
            open: None,
            has_moved: false,
            come: None,
            read_at: Lsn::ZERO,
            barrier: None,
            windows: Windows::default(),
            beats: VecDeque::new(),
            out: VecDeque::new(),
        };
        intake.announce();
        intake
    }

    fn announce(&mut self) {
        for table in &self.tables {
            self.out.push_back(LogEvent::Table(table.relation.clone()));
            let name = table.relation.name.to_string();
            if let std::collections::btree_map::Entry::Vacant(unknown) = self.place.tables.entry(name) {
                unknown.insert(false);
                self.out.push_back(LogEvent::Entry(LoggedEntry::Plan(unit(table))));
                self.has_moved = true;
            }
        }
        self.end_turn();
    }

    pub(super) fn pop(&mut self) -> Option<LogEvent> {
        self.out.pop_front()
    }

    pub(super) fn has_event(&self) -> bool {
        !self.out.is_empty()
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The topics of all tables.
    pub(super) fn topics(&self) -> Vec<String> {
        self.readers.keys().cloned().collect()
    }

    /// A topic is read from here on.
    pub(super) fn on_topic(&mut self, topic: String, starts: Vec<i64>) {
        self.place.topics.insert(topic, starts);
    }

    /// The next record of a table's topic.
    pub(super) fn on_record(
        &mut self,
        (topic, partition, offset): (&str, i32, i64),
        (key, value): (Option<&[u8]>, Option<&[u8]>),
    ) -> Result<(), Failure> {
        let next =
            self.place.topics.get_mut(topic).and_then(|next| next.get_mut(usize::try_from(partition).ok()?));
        let (Some(next), Some(reader)) = (next, self.readers.get_mut(topic)) else {
            let why = format!("a record of topic {topic} came that nobody has asked for");
            return Err(Failure::new(Class::Internal, why));
        };
        if offset < *next {
            return Ok(());
        }
        let told = reader.read(key, value).map_err(|unfit| unfit.at(topic, partition, offset))?;
        *next = offset + 1;
        self.has_moved = true;
        let Told::Change { change, key, stamp, read_at } = told else { return Ok(()) };
        self.read_at = self.read_at.max(read_at.unwrap_or_default());
        let name = reader.table().relation.name.clone();
        if matches!(change, SourceChange::Truncate { .. }) && self.place.topics[topic].len() > 1 {
            return Err(emptied(&name).at(topic, partition, offset));
        }
        self.on_change((&name, key.as_ref()), change, stamp);
        Ok(())
    }

    fn on_change(&mut self, (table, key): (&TableName, Option<&Key>), change: SourceChange, stamp: Stamp) {
        self.windows.touch(table, key);
        if self.open != Some(stamp) {
            self.close();
            self.open = Some(stamp);
            self.out.push_back(LogEvent::Begin {
                // Where it really stands is not known; it is applied between two places that are.
                commit: self.reached,
                commit_time_us: stamp.time_us,
                xid: stamp.xid,
                from_ordinal: 0,
            });
        }
        self.out.push_back(LogEvent::Change(change));
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            self.out.push_back(LogEvent::Commit { commit: self.reached, end: self.reached });
        }
    }

    /// Nothing more is at hand: what has come is whole.
    pub(super) fn end_turn(&mut self) {
        self.settle();
        self.close();
        if std::mem::take(&mut self.has_moved) {
            self.out.push_back(LogEvent::Whole { cursor: self.place.to_cursor() });
        }
    }

    /// The connector has come so far with everything.
    pub(super) fn on_come(&mut self, come: Come) {
        if let Some(upto) = come.upto {
            self.come = self.come.max(Some(upto));
        }
    }

    /// The connector has confirmed so much to its slot, and this much when that was first looked at. While it takes its
    /// snapshot it confirms nothing.
    pub(super) fn on_confirmed(&mut self, confirmed: Lsn, first: Lsn) {
        if self.is_copied() || confirmed > first || (self.read_at > Lsn::ZERO && confirmed > self.read_at) {
            self.on_come(Come { upto: Some(confirmed) });
        }
    }

    /// Whether every table is known to be copied.
    fn is_copied(&self) -> bool {
        self.place.tables.values().all(|complete| *complete)
    }

    /// What the end of all topics is to be looked up for.
    pub(super) fn wants_ends(&self) -> Option<Lsn> {
        let come = self.come.filter(|come| *come > self.reached || !self.is_copied());
        come.filter(|_| self.barrier.is_none())
    }

    /// So far reached all topics at a moment after the connector had come so far.
    pub(super) fn on_ends(&mut self, upto: Lsn, ends: Ends) {
        self.barrier = Some((upto, ends));
        self.settle();
    }

    /// Whether everything up to the ends that were looked up has been handed out: then so much of blue has been.
    fn settle(&mut self) {
        let next =
            |(topic, partition): &(String, i32)| self.place.next(topic, *partition).unwrap_or_default();
        if !self.barrier.as_ref().is_some_and(|(_, ends)| ends.iter().all(|(at, end)| next(at) >= *end)) {
            return;
        }
        let Some((upto, _)) = self.barrier.take() else { return };
        self.close();
        if upto > self.reached {
            self.reached = upto;
            self.out.push_back(LogEvent::Reached { end: upto });
        }
        for table in &self.tables {
            let complete = self.place.tables.entry(table.relation.name.to_string()).or_default();
            if !std::mem::replace(complete, true) {
                self.out.push_back(LogEvent::Entry(LoggedEntry::Complete { table: table.relation.id }));
            }
        }
        self.out.extend(self.windows.settle(self.reached, &self.tables).into_iter().map(LogEvent::Rows));
        while let Some((at, sent_us, nonce)) = self.beats.pop_front_if(|(at, ..)| *at <= self.reached) {
            let at = Checkpoint::at_commit_end(self.reached.max(at));
            self.out.push_back(LogEvent::Beat { nonce, sent_us, at });
        }
        self.out.push_back(LogEvent::Whole { cursor: self.place.to_cursor() });
        self.has_moved = false;
    }

    /// Blue's log ended there at that time.
    pub(super) fn on_beat(&mut self, at: Lsn, sent_us: i64) {
        if self.beats.len() < BEATS_MAX {
            let nonce = Nonce(u128::from(at.raw()) << 64 | u128::from(sent_us.unsigned_abs()));
            self.beats.push_back((at, sent_us, nonce));
        }
    }

    pub(super) fn on_asked(&mut self, rows: Vec<Wanted>) {
        self.windows.ask(rows);
    }

    pub(super) fn takes_asks(&self) -> bool {
        !self.windows.is_full()
    }

    /// Rows to be read from blue now.
    pub(super) fn begin_read(&mut self) -> Option<(TableName, Vec<Key>)> {
        self.windows.begin()
    }

    /// They have been read, or could not be. Fails for what stays.
    pub(super) fn on_read(&mut self, read: Result<RowsRead, Failure>) -> Result<(), Failure> {
        self.windows.end(read)
    }

    /// A second has passed.
    pub(super) fn on_tick(&mut self) {
        self.windows.on_tick();
    }
}

fn emptied(table: &TableName) -> Unfit {
    Unfit {
        class: Class::Diverged,
        why: format!("blue has emptied {table}, and in a topic of several partitions nothing tells which rows came before that"),
        remedy: "begin anew with a topic of one partition for the table (understudy abort, empty tables on green, a new \
                 connector with another topic.prefix)"
            .to_owned(),
    }
}

/// A table as one unit of the copy, of which nothing but its name is known.
fn unit(table: &DebeziumTable) -> Unit {
    let id = UnitId::new(table.relation.id.0, RouteId(0));
    Unit {
        id,
        route: RouteId(0),
        root: id,
        name: table.relation.name.clone(),
        filenode: 0,
        fingerprint: 0,
        marks: None,
        membership: 0,
        blocks: 0,
        block_bytes: 8192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: None,
    }
}
