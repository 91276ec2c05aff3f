//! What the last capture has left in the topics.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::message::Message;
use understudy_model::{RouteId, TableName};

use super::recovery::{Mended, recover};
use super::restore::restore;
use super::transaction::{Draft, Pen};
use crate::codec::{CodecError, FoldedState, Group, SchemaRecord, StateFold, StateRecord};
use crate::error::Error;
use crate::names::TopicNames;
use crate::owner::{Whose, read_owner};
use crate::read_all::{Stretch, Told, read};
use crate::settings::KafkaSettings;
use crate::settled::{Extent, Extents, Surveyor};
use crate::topics::Found;

/// How long brokers have to finish a transaction by themselves. Whoever has sent the older captures away was not answered before
/// their transactions were over, so that only the last replica may be late.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// How long they have to show what was finished for them.
const SHOW_MAX: Duration = Duration::from_secs(30);

/// How long a broker may tell less of one topic than of another, before that is taken for a loss.
const FIT_MAX: Duration = Duration::from_secs(10);

/// How long it may take until what was written again is shown.
const RESTORE_MAX: Duration = Duration::from_secs(60);

/// Pause between two looks whether books and groups belong together.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// How many offsets before the end the last group is looked for at first.
const TAIL: i64 = 64;

/// What was left.
pub(super) struct Left {
    /// The topics that there are.
    pub(super) there: BTreeMap<String, Found>,
    /// What the books say.
    pub(super) folded: Option<FoldedState>,
    /// The shapes that readers know, those of an earlier migration under this name too.
    pub(super) shapes: HashMap<(TableName, u32), SchemaRecord>,
    /// Whether the books name us by now.
    pub(super) is_named: bool,
}

/// Refuses a log that is another's, sends older captures away, finishes what brokers have left unfinished, and reads the rest.
/// Blocks its thread.
pub(super) fn take_over(pen: &Pen, routes: &HashMap<TableName, RouteId>) -> Result<Left, Error> {
    let names = TopicNames::new(&pen.settings.topic_prefix);
    let own = [names.order(), names.schema(), names.state(), names.requests()];
    let wanted = own.iter().chain(&pen.topics.tables).map(String::as_str);
    let surveyor = Surveyor::new(&pen.settings)?;
    let there = surveyor.topics(wanted)?;
    let has_books = there.contains_key(&pen.topics.state);
    let mut whose = Whose::default();
    if has_books {
        whose = read_owner(&pen.settings, &pen.topics.state)?;
        whose.check(&pen.claimant, names.prefix())?;
    }
    pen.fence()?;
    // Once more when nobody else writes: what a claim at the same time puts there may have been missed.
    if whose.is_beheaded() && read_owner(&pen.settings, &pen.topics.state)?.is_beheaded() {
        let why = "it tells how far the capture is, but not whose it is: it was made anew".to_owned();
        return Err(Error::Torn { topic: pen.topics.state.clone(), why });
    }
    let written = there.iter().filter(|(name, _)| **name != names.requests());
    let written = written.map(|(name, found)| (name.clone(), found.partitions)).collect();
    let (mut extents, _) = settle(pen, &surveyor, &written)?;
    if has_books {
        restored(pen, (&surveyor, &written), extents)?;
        // As early as can be: a capture that is sent away looks here whether that was for somebody else.
        pen.write(naming(pen))?;
        extents = settled(pen, &surveyor, &written)?;
    }
    let folded = read_books(pen, (&surveyor, &written), (routes, &mut extents))?;
    if folded.is_none() {
        check_rows(pen, &extents)?;
    }
    let shapes = read_shapes(pen, &extents)?;
    Ok(Left { there, folded, shapes, is_named: has_books })
}

/// Puts our name into the books.
pub(super) fn naming(pen: &Pen) -> Draft {
    let owner = StateRecord::Owner(pen.claimant.owner.clone());
    Draft { state: vec![(owner.key(), owner.value())], ..Draft::default() }
}

/// Finishes what brokers may have left unfinished when one of them went away, before anything more is written: what is given up
/// from then on would take with it what hangs in its partitions. Gives the number of the last group then. Blocks its thread.
pub(super) fn mend(pen: &Pen, last: u64) -> Result<u64, Error> {
    let (partitions, topics) = (usize::from(pen.settings.partitions), &pen.topics);
    let own = [&topics.order, &topics.schema, &topics.state].into_iter().map(|topic| (topic.clone(), 1));
    let of_tables = topics.tables.iter().map(|topic| (topic.clone(), partitions));
    let (_, mended) = settle(pen, &Surveyor::new(&pen.settings)?, &of_tables.chain(own).collect())?;
    match mended {
        Some(mended) if mended.before != last => {
            let why = format!("it ends with group {}, and group {last} was committed", mended.before);
            Err(Error::Torn { topic: topics.order.clone(), why })
        }
        Some(mended) => Ok(mended.after),
        None => Ok(last),
    }
}

/// Sees to it that the last transaction is shown in every partition, where it is in one.
fn restored(
    pen: &Pen,
    (surveyor, topics): (&Surveyor, &BTreeMap<String, usize>),
    mut extents: Extents,
) -> Result<Extents, Error> {
    let began = Instant::now();
    loop {
        match restore(pen, &extents) {
            Ok(false) => return Ok(extents),
            // What was written is looked at in turn.
            Ok(true) if began.elapsed() < RESTORE_MAX => {}
            // A broker that has just begun to lead a partition may not know all of it yet.
            Err(Error::Torn { .. }) if began.elapsed() < FIT_MAX => std::thread::sleep(LOOK_PAUSE),
            Ok(true) => {
                let why = "what was given up of its last transaction cannot be written again".to_owned();
                return Err(Error::Torn { topic: pen.topics.order.clone(), why });
            }
            Err(error) => return Err(error),
        }
        extents = settled(pen, surveyor, topics)?;
    }
}

/// Sees to it that no transaction is unfinished in these topics.
fn settle(
    pen: &Pen,
    surveyor: &Surveyor,
    topics: &BTreeMap<String, usize>,
) -> Result<(Extents, Option<Mended>), Error> {
    let extents = surveyor.await_settled(topics, FINISH_MAX, || !pen.is_abandoned())?;
    if extents.hanging().next().is_none() {
        return Ok((extents, None));
    }
    let mended = recover(pen, &extents)?;
    Ok((settled(pen, surveyor, topics)?, Some(mended)))
}

fn settled(pen: &Pen, surveyor: &Surveyor, topics: &BTreeMap<String, usize>) -> Result<Extents, Error> {
    let extents = surveyor.await_settled(topics, SHOW_MAX, || !pen.is_abandoned())?;
    let unfinished = extents.hanging().next().map(|(topic, ..)| topic.to_owned());
    unfinished.map_or(Ok(extents), |topic| Err(Error::Unfinished { topic }))
}

/// Reads the books, and compares them with the groups: they are written together.
fn read_books(
    pen: &Pen,
    (surveyor, topics): (&Surveyor, &BTreeMap<String, usize>),
    (routes, extents): (&HashMap<TableName, RouteId>, &mut Extents),
) -> Result<Option<FoldedState>, Error> {
    let began = Instant::now();
    loop {
        let folded = match extents.of(&pen.topics.state, 0) {
            Some(extent) => fold(&pen.settings, &pen.topics.state, extent)?
                .finish(|table| routes.get(table).copied())
                .map_err(|error| unreadable(pen, &error))?,
            None => None,
        };
        let Some(order) = extents.of(&pen.topics.order, 0) else { return Ok(folded) };
        let last = last_group(&pen.settings, &pen.topics.order, order)?;
        match compare(folded.as_ref().map(|folded| folded.group), (order, last)) {
            Ok(()) => return Ok(folded),
            // A broker that has just begun to lead a partition may not know all of it yet.
            Err(_) if began.elapsed() < FIT_MAX && topics.contains_key(&pen.topics.state) => {
                std::thread::sleep(LOOK_PAUSE)
            }
            Err(why) => return Err(Error::Torn { topic: pen.topics.order.clone(), why }),
        }
        *extents = settled(pen, surveyor, topics)?;
    }
}

/// Neither can be there without the other, unless something was lost.
fn compare(books: Option<u64>, (order, last): (Extent, Option<u64>)) -> Result<(), String> {
    match (books, last) {
        (None, None) => Ok(()),
        (None, Some(last)) => Err(format!("it holds group {last}, but the books know of none")),
        (Some(0), None) => Ok(()),
        // Groups are deleted when their time is over; then the place where they were is left.
        (Some(_), None) if order.stable > 0 => Ok(()),
        (Some(books), None) => Err(format!("it is empty, though the books know of group {books}")),
        (Some(books), Some(last)) if books == last => Ok(()),
        (Some(books), Some(last)) => Err(format!(
            "it ends with group {last}, and the books with group {books}: the brokers have lost what they had said to hold"
        )),
    }
}

/// The number of the last group that is committed; `None` when none is there.
pub(super) fn last_group(
    settings: &KafkaSettings,
    topic: &str,
    extent: Extent,
) -> Result<Option<u64>, Error> {
    let groups = groups_at_end(settings, topic, extent, |groups| !groups.is_empty())?;
    Ok(groups.last().map(|group| group.number))
}

/// The committed groups from this number on, as far as they are still there, and some before.
pub(super) fn groups_from(
    settings: &KafkaSettings,
    topic: &str,
    extent: Extent,
    first: u64,
) -> Result<Vec<Group>, Error> {
    groups_at_end(settings, topic, extent, |groups| groups.iter().any(|group| group.number <= first))
}

/// The last groups that are committed: so many that they are enough, or all.
fn groups_at_end(
    settings: &KafkaSettings,
    topic: &str,
    extent: Extent,
    are_enough: impl Fn(&[Group]) -> bool,
) -> Result<Vec<Group>, Error> {
    let mut tail = TAIL;
    loop {
        let from = extent.low.max(extent.stable.saturating_sub(tail));
        let (mut groups, mut bad) = (Vec::new(), None);
        read(settings, Stretch { from, ..Stretch::committed(topic, 0, extent) }, |message| {
            match Group::from_json(message.payload().unwrap_or_default()) {
                Ok(group) => groups.push(group),
                Err(error) => bad = Some(error),
            }
            Told::GoOn
        })?;
        if let Some(error) = bad {
            return Err(Error::Torn { topic: topic.to_owned(), why: error.to_string() });
        }
        if are_enough(&groups) || from == extent.low {
            return Ok(groups);
        }
        tail = tail.saturating_mul(64);
    }
}

/// Reads the committed records of the bookkeeping.
pub(super) fn fold(settings: &KafkaSettings, topic: &str, extent: Extent) -> Result<StateFold, Error> {
    let (mut fold, mut unread) = (StateFold::default(), None);
    read(settings, Stretch::committed(topic, 0, extent), |message| {
        match fold.apply(message.key().unwrap_or_default(), message.payload()) {
            Ok(()) => Told::GoOn,
            Err(error) => {
                unread = Some(error);
                Told::Stop
            }
        }
    })?;
    match unread {
        None => Ok(fold),
        Some(error) => Err(Error::Torn { topic: topic.to_owned(), why: error.to_string() }),
    }
}

fn unreadable(pen: &Pen, error: &CodecError) -> Error {
    Error::Torn { topic: pen.topics.state.clone(), why: error.to_string() }
}

fn read_shapes(pen: &Pen, extents: &Extents) -> Result<HashMap<(TableName, u32), SchemaRecord>, Error> {
    let mut shapes = HashMap::new();
    let Some(extent) = extents.of(&pen.topics.schema, 0) else { return Ok(shapes) };
    let mut torn = false;
    read(&pen.settings, Stretch::committed(&pen.topics.schema, 0, extent), |message| {
        match message.payload().map(SchemaRecord::from_json) {
            Some(Ok(shape)) => drop(shapes.insert((shape.table.clone(), shape.version), shape)),
            Some(Err(_)) => torn = true,
            None => {}
        }
        Told::GoOn
    })?;
    if torn {
        let why = "a shape of a table in it cannot be read".to_owned();
        return Err(Error::Torn { topic: pen.topics.schema.clone(), why });
    }
    Ok(shapes)
}

/// Rows come after books. Those of a migration that was finished may stay for others to read; the groups of another one would
/// begin at the same numbers, and whoever reads could not tell its rows from these.
fn check_rows(pen: &Pen, extents: &Extents) -> Result<(), Error> {
    let holds_rows = |topic: &&String| {
        let partitions = (0..).map_while(|partition| extents.of(topic, partition));
        partitions.into_iter().any(|extent| extent.low < extent.whole)
    };
    match pen.topics.tables.iter().find(holds_rows) {
        None => Ok(()),
        Some(topic) => {
            let why = format!("it holds rows, but {} knows of none", pen.topics.state);
            Err(Error::Torn { topic: topic.clone(), why })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that groups are neither written a second time nor left out where the brokers have lost some of either topic.
    #[test]
    fn books_and_groups_belong_together() {
        let extent = |stable| Extent { low: 0, stable, whole: stable };
        assert!(compare(Some(7), (extent(9), Some(7))).is_ok());
        assert!(compare(Some(7), (extent(9), Some(5))).is_err());
        assert!(compare(Some(7), (extent(9), Some(8))).is_err());
        assert!(compare(None, (extent(9), Some(8))).is_err());
        assert!(compare(Some(7), (extent(0), None)).is_err());
        assert!(compare(Some(7), (Extent { low: 9, stable: 9, whole: 9 }, None)).is_ok());
        assert!(compare(None, (extent(0), None)).is_ok());
    }
}
