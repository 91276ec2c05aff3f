//! What the last capture has left in the topics.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::message::Message;
use understudy_model::{RouteId, TableName};

use super::fit::{Known, fit, reaches};
use super::recovery::{Mended, recover};
use super::restore::restore;
use super::transaction::{Draft, Pen, Topics};
use super::turn::Register;
use crate::codec::{CodecError, FoldedState, Group, SchemaRecord, StateFold, StateRecord};
use crate::error::Error;
use crate::names::TopicNames;
use crate::read_all::{Stretch, Told, read};
use crate::settings::KafkaSettings;
use crate::settled::{Extent, Extents, Surveyor, agreed};
use crate::topics::Found;

/// How long brokers have to finish a transaction by themselves. Whoever has sent the older captures away was not answered before
/// their transactions were over, so that only the last replica may be late.
const FINISH_MAX: Duration = Duration::from_secs(5);

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
}

/// The topics of the log that there are, by one broker or another. Blocks its thread.
pub(super) fn topics(
    pen: &Pen,
    surveyor: &Surveyor,
    is_whole: impl Fn(&BTreeMap<String, Found>) -> bool,
) -> Result<BTreeMap<String, Found>, Error> {
    let names = TopicNames::new(&pen.settings.topic_prefix);
    let own = [names.order(), names.schema(), names.state(), names.requests()];
    surveyor.topics(own.iter().chain(&pen.topics.tables).map(String::as_str), is_whole)
}

/// Whether these are all topics that must be there, or none: without its bookkeeping a log looks like one that nobody has begun.
/// The shapes of tables stay when a migration ends.
pub(super) fn is_all_or_nothing(topics: &Topics, there: &BTreeMap<String, Found>) -> bool {
    there.contains_key(&topics.state) || !there.contains_key(&topics.order)
}

/// The topics of the log beside those of rows, but for the one of requests.
pub(super) fn own(topics: &Topics) -> [&String; 3] {
    [&topics.order, &topics.schema, &topics.state]
}

/// Refuses topics that hold something, where there is no bookkeeping. Blocks its thread.
pub(super) fn refuse_remains(
    pen: &Pen,
    (surveyor, there): (&Surveyor, &BTreeMap<String, Found>),
) -> Result<(), Error> {
    let extents = surveyor.look(&sizes(pen, there))?;
    if let Some(order) = extents.of(&pen.topics.order, 0) {
        let last = last_group(&pen.settings, &pen.topics.order, order)?;
        let torn = |why| Error::Torn { topic: pen.topics.order.clone(), why };
        compare(None, (order, last)).map_err(torn)?;
    }
    check_rows(pen, &extents)
}

/// Waits for its turn, sends all others away, finishes what brokers have left unfinished, and reads the rest. Writes nothing by
/// which others would take us for the one who writes. Blocks its thread.
pub(super) fn take_over(
    pen: &Pen,
    mut register: Register,
    routes: &HashMap<TableName, RouteId>,
) -> Result<Left, Error> {
    let passed = register.await_turn(pen)?;
    pen.fence()?;
    register.is_still_ours(pen, &passed)?;
    if register.whose().is_beheaded() {
        let why = "it tells how far the capture is, but not whose it is: it was made anew".to_owned();
        return Err(Error::Torn { topic: pen.topics.state.clone(), why });
    }
    let surveyor = register.surveyor();
    let must = register.must_be_there(pen);
    let there = topics(pen, surveyor, |there| must.iter().all(|topic| there.contains_key(topic)))?;
    let written = sizes(pen, &there);
    let known = Known { group: None, confirmed: pen.claimant.confirmed };
    let (extents, _) = settle(pen, (surveyor, &written), (known, Looks::Always))?;
    let extents = restored(pen, (surveyor, &written), extents)?;
    let (folded, extents) = read_books(pen, (surveyor, &written), (routes, extents))?;
    if folded.is_none() {
        check_rows(pen, &extents)?;
    }
    let shapes = read_shapes(pen, &extents)?;
    Ok(Left { there, folded, shapes })
}

/// How many partitions each topic has that transactions write to.
fn sizes(pen: &Pen, there: &BTreeMap<String, Found>) -> BTreeMap<String, usize> {
    let requests = TopicNames::new(&pen.settings.topic_prefix).requests();
    let written = there.iter().filter(|(name, _)| **name != requests);
    written.map(|(name, found)| (name.clone(), found.partitions)).collect()
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
    let own = own(topics).into_iter().map(|topic| (topic.clone(), 1));
    let of_tables = topics.tables.iter().map(|topic| (topic.clone(), partitions));
    let (surveyor, sizes) = (Surveyor::new(&pen.settings)?, of_tables.chain(own).collect());
    let known = Known { group: Some(last), confirmed: None };
    let (_, mended) = settle(pen, (&surveyor, &sizes), (known, Looks::WhereSomethingHangs))?;
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
    extents: Extents,
) -> Result<Extents, Error> {
    let (patience, began, mut seen) = (pen.settings.patience, Instant::now(), Some(extents));
    loop {
        let is_wanted = || !pen.is_abandoned();
        let (has_written, extents) = agreed(patience, is_wanted, || {
            let extents = seen.take().map_or_else(|| settled(pen, surveyor, topics), Ok)?;
            Ok((restore(pen, &extents)?, extents))
        })?;
        match has_written {
            false => return Ok(extents),
            // What was written is looked at in turn.
            true if began.elapsed() < patience => {}
            true => {
                let why = "what was given up of its last transaction cannot be written again".to_owned();
                return Err(Error::Torn { topic: pen.topics.order.clone(), why });
            }
        }
    }
}

/// When the ends of order and bookkeeping are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    Always,
    WhereSomethingHangs,
}

/// Sees to it that no transaction is unfinished in these topics. Writes only where their ends are seen to be the true ones.
fn settle(
    pen: &Pen,
    (surveyor, topics): (&Surveyor, &BTreeMap<String, usize>),
    (known, looks): (Known, Looks),
) -> Result<(Extents, Option<Mended>), Error> {
    let (patience, is_wanted) = (pen.settings.patience, || !pen.is_abandoned());
    let (extents, mended) = agreed(patience, is_wanted, || {
        let extents = surveyor.await_settled(topics, FINISH_MAX, is_wanted)?;
        let hangs = extents.hanging().next().is_some();
        if hangs || looks == Looks::Always {
            fit(pen, &extents, known)?;
        }
        let mended = hangs.then(|| recover(pen, &extents)).transpose()?;
        Ok((extents, mended))
    })?;
    let extents = if mended.is_some() { settled(pen, surveyor, topics)? } else { extents };
    Ok((extents, mended))
}

fn settled(pen: &Pen, surveyor: &Surveyor, topics: &BTreeMap<String, usize>) -> Result<Extents, Error> {
    let extents = surveyor.await_settled(topics, pen.settings.patience, || !pen.is_abandoned())?;
    let unfinished = extents.hanging().next().map(|(topic, ..)| topic.to_owned());
    unfinished.map_or(Ok(extents), |topic| Err(Error::Unfinished { topic }))
}

/// Reads the books, and compares them with the groups, which are written together with them, and with what blue was told.
fn read_books(
    pen: &Pen,
    (surveyor, topics): (&Surveyor, &BTreeMap<String, usize>),
    (routes, extents): (&HashMap<TableName, RouteId>, Extents),
) -> Result<(Option<FoldedState>, Extents), Error> {
    let mut seen = Some(extents);
    let torn = |topic: &str, why| Error::Torn { topic: topic.to_owned(), why };
    agreed(
        pen.settings.patience,
        || !pen.is_abandoned(),
        || {
            let extents = seen.take().map_or_else(|| settled(pen, surveyor, topics), Ok)?;
            let folded = match extents.of(&pen.topics.state, 0) {
                Some(extent) => fold(&pen.settings, &pen.topics.state, extent)?
                    .finish(|table| routes.get(table).copied())
                    .map_err(|error| torn(&pen.topics.state, error.to_string()))?,
                None => None,
            };
            if let Some(order) = extents.of(&pen.topics.order, 0) {
                let last = last_group(&pen.settings, &pen.topics.order, order)?;
                compare(folded.as_ref().map(|folded| folded.group), (order, last))
                    .map_err(|why| torn(&pen.topics.order, why))?;
            }
            if let Some(folded) = &folded {
                reaches(folded.saved.checkpoint.lsn(), pen.claimant.confirmed)
                    .map_err(|why| torn(&pen.topics.state, why))?;
            }
            Ok((folded, extents))
        },
    )
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
            return Err(unreadable(topic, &error));
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
        Some(error) => Err(unreadable(topic, &error)),
    }
}

/// A record of ours that cannot be read: whether it was left so, or is of a later release.
fn unreadable(topic: &str, error: &CodecError) -> Error {
    let (topic, why) = (topic.to_owned(), error.to_string());
    match error {
        CodecError::Later { .. } => Error::Later { topic, why },
        _ => Error::Torn { topic, why },
    }
}

fn read_shapes(pen: &Pen, extents: &Extents) -> Result<HashMap<(TableName, u32), SchemaRecord>, Error> {
    let mut shapes = HashMap::new();
    let Some(extent) = extents.of(&pen.topics.schema, 0) else { return Ok(shapes) };
    let mut bad = None;
    read(&pen.settings, Stretch::committed(&pen.topics.schema, 0, extent), |message| {
        match message.payload().map(SchemaRecord::from_json) {
            Some(Ok(shape)) => drop(shapes.insert((shape.table.clone(), shape.version), shape)),
            Some(Err(error)) => bad = Some(error),
            None => {}
        }
        Told::GoOn
    })?;
    bad.map_or(Ok(shapes), |error| Err(unreadable(&pen.topics.schema, &error)))
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

    /// Guards a log of which a broker knows all but its bookkeeping for a moment: taken for a log of nobody's it would be refused as
    /// torn, which has a person begin anew.
    #[test]
    fn a_log_without_bookkeeping_is_looked_at_again() {
        let names = TopicNames::new("shop");
        let (order, schema, state) = (names.order(), names.schema(), names.state());
        let tables = vec!["shop.public.orders".to_owned()];
        let topics = Topics { tables, order: order.clone(), schema: schema.clone(), state: state.clone() };
        let there = |found: &[&str]| {
            let found = found
                .iter()
                .map(|topic| ((*topic).to_owned(), Found { partitions: 1, replicas: 3, config: None }));
            is_all_or_nothing(&topics, &found.collect())
        };
        assert!(there(&[]) && there(&["shop.public.orders"]), "nobody waits where nothing was begun");
        assert!(there(&[&schema]), "nobody waits where a migration has ended");
        assert!(there(&[&state]) && there(&[&state, &order]));
        assert!(!there(&[&order]) && !there(&[&order, &schema]));
    }

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
