//! Writes again what was given up of a transaction that brokers had said to be committed.
//!
//! A broker that is killed right after it has told that a transaction is committed may come back and know nothing of the partitions
//! that lack the mark. When the capture has begun to write the next transaction by then, and ends before that is committed, it is
//! given up: in the partitions that it has touched, and with it whatever hangs there. What is left of the first one would tear
//! the log. But all of it stands in its partitions still, though no reader is shown it. So whoever claims the log compares the
//! last transaction with what its partitions show, and writes what is missing a second time, before anything else.
//!
//! A transaction of which nothing is shown is as if it had never been. Blue is not told that the log holds it before its marks
//! have been seen (`marks`), and sends it again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use rdkafka::message::Message;
use understudy_model::TableName;

use super::copies::{At, Counts, last_written};
use super::recovery::{copy, headers};
use super::transaction::{Draft, Pen, Touch};
use crate::codec::{Group, SchemaRecord, StateKey, StateRecord, Work};
use crate::error::Error;
use crate::names::TopicNames;
use crate::read_all::{Stretch, Told, read_each};
use crate::settled::{Extent, Extents};

/// How many offsets before the end of the order and of the bookkeeping are looked at, at first.
const TAIL: i64 = 16;

/// How many of a table's partition: usually the last record and the mark behind it.
const LAST: i64 = 4;

/// How much further back the next look goes.
const WIDER: i64 = 32;

/// Writes again what is missing of the last transaction, where nothing hangs. Whether there was anything. Blocks its thread.
pub(super) fn restore(pen: &Pen, extents: &Extents) -> Result<bool, Error> {
    let of = |topic: &str| extents.of(topic, 0);
    let (Some(order), Some(state)) = (of(&pen.topics.order), of(&pen.topics.state)) else { return Ok(false) };
    let ends = Ends::read(pen, (order, state, of(&pen.topics.schema)))?;
    if order.low > 0 && ends.last_group() == 0 {
        // The time of all groups is over.
        return Ok(false);
    }
    let mut missing = Vec::new();
    for suspect in ends.suspects() {
        missing = suspect.missing(pen, extents, &ends)?;
        if !missing.is_empty() {
            break;
        }
    }
    if missing.is_empty() {
        return Ok(false);
    }
    let partitions = missing.iter().map(|touch| (&touch.topic, touch.partition)).collect::<BTreeSet<_>>();
    tracing::warn!(
        records = missing.len(),
        partitions = partitions.len(),
        "the brokers have given up a part of what they had said to be committed: writing it again"
    );
    pen.write(Draft { touched: missing, ..Draft::default() })?;
    Ok(true)
}

/// A record at the end of a topic.
struct Stored<T> {
    touch: Touch,
    is_shown: bool,
    what: T,
}

/// The end of the topics that every transaction is written to, with what was given up there.
struct Ends {
    groups: Vec<Stored<Group>>,
    /// The records of each transaction, by the group that its progress names.
    books: Vec<Stored<(u64, Vec<Touch>)>>,
    /// All shapes.
    shapes: Vec<Stored<(TableName, u32)>>,
}

/// A transaction that may be there in part.
struct Suspect {
    groups: RangeInclusive<u64>,
    /// Whether it was committed for certain.
    is_committed: bool,
}

impl Ends {
    fn read(pen: &Pen, (order, state, schema): (Extent, Extent, Option<Extent>)) -> Result<Ends, Error> {
        let mut tail = TAIL;
        loop {
            let from = |extent: Extent| extent.low.max(extent.stable.saturating_sub(tail));
            let mut stretches = vec![
                Stretch { from: from(order), ..Stretch::committed(&pen.topics.order, 0, order) },
                Stretch { from: from(state), ..Stretch::committed(&pen.topics.state, 0, state) },
            ];
            stretches.extend(schema.map(|extent| Stretch::committed(&pen.topics.schema, 0, extent)));
            let ends = Ends::of(pen, &stretches)?;
            let reaches_back = (from(order) == order.low || ends.last_group() > 0)
                && (from(state) == state.low || ends.books_before().is_some());
            if reaches_back {
                return Ok(ends);
            }
            tail = tail.saturating_mul(WIDER);
        }
    }

    fn of(pen: &Pen, stretches: &[Stretch<'_>]) -> Result<Ends, Error> {
        let mut shown = BTreeSet::new();
        read_each(&pen.settings, stretches, |at, message| {
            shown.insert((at, message.offset()));
            Told::GoOn
        })?;
        let all = stretches.iter().map(|stretch| Stretch { uncommitted: true, ..*stretch });
        let mut ends = Ends { groups: Vec::new(), books: Vec::new(), shapes: Vec::new() };
        let mut written = Vec::new();
        read_each(&pen.settings, &all.collect::<Vec<_>>(), |at, message| {
            let (touch, is_shown) = (copy(message), shown.contains(&(at, message.offset())));
            let value = message.payload().unwrap_or_default();
            match at {
                0 => {
                    // What was written to be given up is no group.
                    if let Ok(what) = Group::from_json(value) {
                        ends.groups.push(Stored { touch, is_shown, what });
                    }
                }
                1 => ends.take_books(&mut written, touch, is_shown),
                _ => {
                    if let Ok(shape) = SchemaRecord::from_json(value) {
                        ends.shapes.push(Stored { touch, is_shown, what: (shape.table, shape.version) });
                    }
                }
            }
            Told::GoOn
        })?;
        Ok(ends)
    }

    /// The progress is the last record of its transaction, and nobody begins to write before it has put its name there.
    fn take_books(&mut self, written: &mut Vec<Touch>, touch: Touch, is_shown: bool) {
        let key = touch.key.as_deref().unwrap_or_default();
        match StateKey::from_bytes(key) {
            Ok(StateKey::Progress) => {
                let group = match StateRecord::read(key, touch.value.as_deref()) {
                    Ok(StateRecord::Progress { progress, .. }) => Some(progress.group),
                    Ok(_) | Err(_) => None,
                };
                written.push(touch.clone());
                let records = std::mem::take(written);
                self.books.extend(group.map(|group| Stored { touch, is_shown, what: (group, records) }));
            }
            // Written by somebody else, in the middle of it.
            Ok(StateKey::Claim) => {}
            Ok(StateKey::Owner) | Err(_) => written.clear(),
            Ok(_) => written.push(touch),
        }
    }

    /// The last group that is shown; 0 for none.
    fn last_group(&self) -> u64 {
        self.groups.iter().filter(|group| group.is_shown).map(|group| group.what.number).max().unwrap_or(0)
    }

    /// The groups of the books that are shown.
    fn shown_books(&self) -> BTreeSet<u64> {
        self.books.iter().filter(|books| books.is_shown).map(|books| books.what.0).collect()
    }

    /// The last group up to this one that is more than what a recovery writes for the sake of the partitions.
    fn last_work(&self, mut last: u64) -> u64 {
        while last > 1 && self.group(last).is_some_and(|group| is_bare(&group.what)) {
            last -= 1;
        }
        last
    }

    /// The books before the last transaction. A recovery that writes a group may itself come after one that was interrupted: it
    /// does not stand for what was committed before it.
    fn books_before(&self) -> Option<u64> {
        let shown = self.shown_books();
        let last = self.last_work(*shown.last()?);
        shown.range(..last).next_back().copied()
    }

    /// The transaction that was the last to be committed, and one after it of which only tables may show something.
    fn suspects(&self) -> Vec<Suspect> {
        let shown = self.shown_books();
        let (order, books) = (self.last_group(), shown.last().copied().unwrap_or(0));
        let first = match order == books {
            // Where the books before are gone, the last group speaks for all.
            true => self.books_before().map_or(self.last_work(books), |before| before + 1),
            false => order.min(books) + 1,
        };
        let last = order.max(books);
        let mut suspects = vec![Suspect { groups: first..=last, is_committed: true }];
        let mut given_up = self.books.iter().filter(|books| !books.is_shown && books.what.0 > last);
        if let Some(next) = given_up.next_back().filter(|_| order == books) {
            suspects.push(Suspect { groups: last + 1..=next.what.0, is_committed: false });
        }
        suspects
    }

    /// The group of this number as it was written last, if it stands in the log.
    fn group(&self, number: u64) -> Option<&Stored<Group>> {
        let of = |shown: bool| {
            let mut groups = self.groups.iter().rev();
            groups.find(|group| group.what.number == number && group.is_shown == shown)
        };
        of(true).or_else(|| of(false))
    }
}

impl Suspect {
    /// What is to be written again of it. What cannot be is left to whoever compares the books with the groups.
    fn missing(&self, pen: &Pen, extents: &Extents, ends: &Ends) -> Result<Vec<Touch>, Error> {
        let groups = self.groups.clone().filter_map(|number| ends.group(number)).collect::<Vec<_>>();
        let are_all = groups.len() as u64 == self.groups.end() + 1 - self.groups.start();
        if !are_all && (!self.is_committed || groups.iter().any(|group| !group.is_shown)) {
            return Ok(Vec::new());
        }
        let mut rows = counts(&TopicNames::new(&pen.settings.topic_prefix), &groups);
        // A table that the migration no longer has is nobody's business.
        rows.retain(|at, _| extents.of(&at.0, at.1).is_some());
        let last = last_groups(pen, extents, rows.keys())?;
        if !self.is_committed && !rows.keys().any(|at| last.get(at) >= Some(self.groups.start())) {
            return Ok(Vec::new());
        }
        let mut missing = Vec::new();
        for (at, mut counts) in rows {
            counts.retain(|group, _| last.get(&at).is_none_or(|last| group > last));
            if !counts.is_empty() {
                let lost = || torn(&at.0, "nobody tells what it holds");
                let extent = extents.of(&at.0, at.1).ok_or_else(lost)?;
                missing.extend(last_written(pen, &at, extent, &counts)?);
            }
        }
        missing.extend(groups.iter().filter(|group| !group.is_shown).map(|group| group.touch.clone()));
        missing.extend(self.shapes(pen, ends, &groups)?);
        missing.extend(self.books(ends));
        Ok(missing)
    }

    /// Shapes that only its transaction has told.
    fn shapes(&self, pen: &Pen, ends: &Ends, groups: &[&Stored<Group>]) -> Result<Vec<Touch>, Error> {
        let tables = groups.iter().flat_map(|group| &group.what.tables).filter(|table| table.version > 0);
        let tables = tables.map(|table| (table.name.clone(), table.version)).collect::<BTreeSet<_>>();
        let mut missing = Vec::new();
        for table in tables {
            let of_table = || ends.shapes.iter().filter(|shape| shape.what == table);
            if of_table().any(|shape| shape.is_shown) {
                continue;
            }
            let lost = || torn(&pen.topics.schema, "it lacks the shape of a table that groups speak of");
            missing.push(of_table().next_back().ok_or_else(lost)?.touch.clone());
        }
        Ok(missing)
    }

    /// The bookkeeping of its transactions.
    fn books(&self, ends: &Ends) -> Vec<Touch> {
        let end = *self.groups.end();
        if ends.shown_books().last().is_some_and(|shown| *shown >= end) {
            return Vec::new();
        }
        let mut chosen: BTreeMap<u64, &Vec<Touch>> = BTreeMap::new();
        for Stored { is_shown, what: (group, records), .. } in &ends.books {
            if !is_shown && self.groups.contains(group) {
                chosen.insert(*group, records);
            }
        }
        if !chosen.contains_key(&end) {
            return Vec::new();
        }
        chosen.into_values().flatten().cloned().collect()
    }
}

/// Whether a group tells nothing.
fn is_bare(group: &Group) -> bool {
    group.work == Work::None && group.reached.is_none() && group.beats.is_empty()
}

/// How many records of each group a partition holds by what the groups tell.
fn counts(names: &TopicNames, groups: &[&Stored<Group>]) -> BTreeMap<At, Counts> {
    let mut counts: BTreeMap<At, Counts> = BTreeMap::new();
    for group in groups {
        for table in &group.what.tables {
            for (partition, count) in table.records.iter().filter(|(_, count)| *count > 0) {
                let at = (names.table(&table.name), *partition as i32);
                counts.entry(at).or_default().insert(group.what.number, *count);
            }
        }
    }
    counts
}

/// The group of the last record that each of these partitions shows. A transaction is shown in all of a partition or in none of
/// it.
fn last_groups<'a>(
    pen: &Pen,
    extents: &Extents,
    partitions: impl Iterator<Item = &'a At>,
) -> Result<BTreeMap<At, u64>, Error> {
    let mut found = BTreeMap::new();
    let extent = |at: &'a At| Some((at, extents.of(&at.0, at.1)?));
    let mut open = partitions.filter_map(extent).collect::<Vec<_>>();
    let mut tail = LAST;
    while !open.is_empty() {
        let stretch = |(at, extent): &(&'a At, Extent)| Stretch {
            from: extent.low.max(extent.stable.saturating_sub(tail)),
            ..Stretch::committed(&at.0, at.1, *extent)
        };
        let stretches = open.iter().map(stretch).collect::<Vec<_>>();
        read_each(&pen.settings, &stretches, |at, message| {
            if let Ok(headers) = headers(message) {
                found.insert(open[at].0.clone(), headers.group);
            }
            Told::GoOn
        })?;
        open.retain(|(at, extent)| {
            !found.contains_key(*at) && extent.stable.saturating_sub(tail) > extent.low
        });
        tail = tail.saturating_mul(WIDER);
    }
    Ok(found)
}

fn torn(topic: &str, why: &str) -> Error {
    Error::Torn { topic: topic.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored<T>(what: T) -> Stored<T> {
        Stored { touch: Touch::default(), is_shown: true, what }
    }

    fn group(number: u64, is_bare: bool) -> Stored<Group> {
        let work = if is_bare { Work::None } else { Work::Entries(Vec::new()) };
        stored(Group { number, tables: Vec::new(), work, reached: None, beats: Vec::new() })
    }

    /// Guards what a recovery finishes in one partition and not in another, because it was interrupted: the transaction before it
    /// is looked at all the same by who claims next.
    #[test]
    fn a_recovery_does_not_hide_what_was_committed_before_it() {
        let suspected = |bare: &[u64]| {
            let groups = (5..=9).map(|number| group(number, bare.contains(&number))).collect();
            let books = [4, 6, 7, 8, 9].map(|last| stored((last, Vec::new()))).into();
            let ends = Ends { groups, books, shapes: Vec::new() };
            ends.suspects().into_iter().map(|suspect| suspect.groups).collect::<Vec<_>>()
        };
        assert_eq!(suspected(&[]), [9..=9]);
        assert_eq!(suspected(&[9]), [8..=9]);
        // Of the groups 5 and 6 both were written by one transaction.
        assert_eq!(suspected(&[7, 8, 9]), [5..=9]);
    }
}
