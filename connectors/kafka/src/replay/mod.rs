//! Building a green anew from the log alone: what the log holds, from where it can be read, and whether nothing is missing.
//!
//! Nothing is written, and the capture may be at work meanwhile: the survey tells of the log as it was when it began.

mod bounds;
mod order;
mod scan;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use understudy_contract::{Class, Cursor, Failure};
use understudy_model::{RouteId, TableName};

use crate::client::{admin, blocking};
use crate::codec::{SchemaRecord, StateFold};
use crate::error::Error;
use crate::log::Place;
use crate::names::TopicNames;
use crate::settings::KafkaSettings;
use crate::topics;
use bounds::Reader;
pub use order::{Mark, ReplayFrom};
use order::{OrderFold, Seen};

/// What of a table a replay would read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSurvey {
    /// The table on blue.
    pub table: TableName,
    /// Records of it.
    pub records: u64,
    /// Whether the log has all its rows, as they were at some point, and every change since.
    pub is_complete: bool,
    /// Rows of which the log has a part only, until the capture has read them again.
    pub partial: u64,
}

/// What the log holds of the tables asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Before the oldest group that there is.
    pub oldest: Mark,
    /// From where it is read.
    pub begin: Mark,
    /// What was the end of it when the survey began, outside any transaction.
    pub end: Mark,
    /// The last place from which it could be read: each table is copied anew behind it. `None`: from its start alone.
    pub latest: Option<Mark>,
    /// The same for whoever reads it. `None`: its start.
    pub cursor: Option<Cursor>,
    /// The tables, in the order asked for.
    pub tables: Vec<TableSurvey>,
    /// For how long a topic of it keeps its records, in milliseconds; `None`: for ever, or nobody may see it.
    pub retention_ms: Option<u64>,
    /// Groups, and how many records were before the end of each.
    samples: Vec<(u64, u64)>,
}

impl Survey {
    /// Records that a replay reads.
    pub fn records(&self) -> u64 {
        self.tables.iter().map(|table| table.records).sum()
    }

    /// How many of them are in the groups up to this one, more or less.
    pub fn records_until(&self, group: u64) -> u64 {
        if group >= self.end.group {
            return self.records();
        }
        let upto = self.samples.partition_point(|(of, _)| *of <= group);
        upto.checked_sub(1).map_or(0, |at| self.samples[at].1).min(self.records())
    }
}

/// The group up to which a place says that everything was taken. `None`: it is none of ours.
pub fn group_of(cursor: &Cursor) -> Option<u64> {
    Place::parse(cursor).ok().map(|place| place.group)
}

/// Looks at the log of these tables, from a place on. Refuses one that lacks something: whatever was deleted, compacted or never
/// written.
pub async fn survey(
    settings: &KafkaSettings,
    tables: &[TableName],
    from: ReplayFrom,
) -> Result<Survey, Failure> {
    let (of_settings, of_tables) = (settings.clone(), tables.to_vec());
    let read = tokio::task::spawn_blocking(move || read(&of_settings, &of_tables, from)).await;
    let crashed = |crash: tokio::task::JoinError| Error::Internal { why: format!("a task ended: {crash}") };
    let read = read.map_err(|crash| Failure::from(crashed(crash)))?;
    let mut survey = read.map_err(|failure| failure.while_doing("look whether the log is whole"))?;
    survey.retention_ms = retention(settings, tables).await?;
    Ok(survey)
}

/// Whether a capture is writing to the log: it is watched for as long as `patience` until something comes.
pub async fn is_written(settings: &KafkaSettings, patience: std::time::Duration) -> Result<bool, Failure> {
    let settings = settings.clone();
    let seen = blocking(move || {
        let order = TopicNames::new(&settings.topic_prefix).order();
        Reader::open(&settings)?.grows(&order, patience)
    });
    seen.await.map_err(|error| Failure::from(error).while_doing("see whether a capture is at work"))
}

/// Counts the records of a table that leave out values which are stored aside. Reads all of its topic from a survey's place on.
pub async fn partial_records(
    settings: &KafkaSettings,
    survey: &Survey,
    table: &TableName,
) -> Result<u64, Failure> {
    let topic = TopicNames::new(&settings.topic_prefix).table(table);
    let place = survey.cursor.as_ref().and_then(|cursor| Place::parse(cursor).ok());
    let (settings, of_topic) = (settings.clone(), topic.clone());
    let counted = blocking(move || Reader::open(&settings)?.partial_records(&of_topic, place.as_ref()));
    counted.await.map_err(|error| Failure::from(error).while_doing(format!("read topic {topic}")))
}

/// Everything but the settings of the topics. Blocks its thread.
fn read(settings: &KafkaSettings, tables: &[TableName], from: ReplayFrom) -> Result<Survey, Failure> {
    let names = TopicNames::new(&settings.topic_prefix);
    let reader = Reader::open(settings)?;
    let own = [names.order(), names.schema(), names.state()];
    let of_tables = tables.iter().map(|table| names.table(table)).collect::<Vec<_>>();
    let there = reader.topics(own.iter().chain(&of_tables).map(String::as_str))?;
    for own in own {
        if !there.contains_key(&own) {
            return Err(no_log(&settings.topic_prefix, &own));
        }
    }
    let mut fold = OrderFold::new(tables, from);
    let order = names.order();
    scan::scan(settings, &order, |record| {
        fold.take(record).map_err(|why| Failure::from(Error::Torn { topic: order.clone(), why }))
    })?;
    let folded = fold.finish().ok_or_else(|| no_log(&settings.topic_prefix, &order))?;
    let books = books(settings, tables)?;
    let latest = latest(tables, &folded.tables, &books, folded.oldest.clone());
    let begin = may_begin(&folded, latest.as_ref(), from)?;
    check_shapes(settings, tables, &folded.tables)?;
    let mut place = (begin.group > 0).then(|| folded.place(&settings.topic_prefix, reader.cluster()));
    for (table, seen) in tables.iter().zip(&folded.tables) {
        let topic = names.table(table);
        match there.get(&topic).map(|found| found.partitions) {
            Some(partitions) => {
                let checked = reader.check_table((&topic, partitions), seen, (begin.group + 1, &mut place));
                checked.map_err(|error| match error {
                    Error::Expired { .. } => Failure::new(Class::Diverged, error.to_string())
                        .remedy(possible_places(latest.as_ref(), &folded.oldest)),
                    other => other.into(),
                })?;
            }
            None if seen.records() == 0 => {}
            None => return Err(Error::NoTopic { topic }.into()),
        }
    }
    let survey_of = |(table, (seen, known)): (&TableName, (&Seen, &Known))| TableSurvey {
        table: table.clone(),
        records: seen.records(),
        is_complete: known.is_complete && seen.completed.is_some(),
        partial: known.heals,
    };
    let surveyed = tables.iter().zip(folded.tables.iter().zip(&books)).map(survey_of).collect();
    Ok(Survey {
        oldest: folded.oldest,
        begin,
        end: folded.end,
        latest,
        cursor: place.map(|place| place.to_cursor()),
        tables: surveyed,
        retention_ms: None,
        samples: folded.samples,
    })
}

/// What the capture's books say of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    is_complete: bool,
    /// The object ids of the table or its leaves, as far as they are copied.
    units: Vec<u32>,
    /// Rows that are to be read again.
    heals: u64,
}

fn books(settings: &KafkaSettings, tables: &[TableName]) -> Result<Vec<Known>, Failure> {
    let topic = TopicNames::new(&settings.topic_prefix).state();
    let reading = |failure: Failure| failure.while_doing(format!("read topic {topic}"));
    let mut fold = StateFold::default();
    scan::scan(settings, &topic, |record| {
        fold.apply(record.key.unwrap_or_default(), record.value).map_err(Failure::from)
    })
    .map_err(reading)?;
    let number = |table: &TableName| {
        tables.iter().position(|wanted| wanted == table).and_then(|at| u16::try_from(at).ok()).map(RouteId)
    };
    let folded = fold.finish(number).map_err(|error| reading(error.into()))?;
    let mut books = vec![Known::default(); tables.len()];
    let Some(folded) = folded else { return Ok(books) };
    for (route, state) in &folded.routes {
        books[route.index()].is_complete = state.complete;
    }
    for unit in &folded.saved.units {
        books[unit.route.index()].units.push(unit.id.oid);
    }
    for (route, _) in &folded.saved.heals {
        books[route.index()].heals += 1;
    }
    Ok(books)
}

/// The last place from which every table's copy is still to come. `None`: a table was copied once, at the beginning.
fn latest(tables: &[TableName], seen: &[Seen], books: &[Known], oldest: Mark) -> Option<Mark> {
    let mut latest: Option<Mark> = None;
    for (at, _) in tables.iter().enumerate() {
        for unit in &books[at].units {
            let planned = seen[at].plans.get(unit)?;
            if latest.as_ref().is_none_or(|known| planned.group < known.group) {
                latest = Some(planned.clone());
            }
        }
        if books[at].units.is_empty() {
            return None;
        }
    }
    latest.filter(|latest| latest.group >= oldest.group)
}

/// From where the log is read, if it can be.
fn may_begin(folded: &order::Folded, latest: Option<&Mark>, from: ReplayFrom) -> Result<Mark, Failure> {
    let (oldest, begin) = (&folded.oldest, &folded.begin);
    let latest = latest.filter(|latest| latest.group > 0);
    let possible = possible_places(latest, oldest);
    let refused = |cause: String| Failure::new(Class::Diverged, cause).remedy(possible.clone());
    if from == ReplayFrom::Start {
        if oldest.group > 0 {
            return Err(refused(format!(
                "the log is not whole: its first {} groups have been deleted, it reaches back to {oldest} only",
                oldest.group
            )));
        }
        return Ok(oldest.clone());
    }
    if let (ReplayFrom::Group(group), Some(begin)) = (from, begin) {
        return match begin.group {
            at if at <= group => Ok(begin.clone()),
            _ => Err(refused(format!("what comes after group {group} is gone: the log begins at {oldest}"))),
        };
    }
    let Some(begin) = begin else {
        return Err(refused(format!("the log does not reach back to there: it begins at {oldest}")));
    };
    if begin.group == 0 || latest.is_some_and(|latest| begin.group <= latest.group) {
        return Ok(begin.clone());
    }
    Err(Failure::new(
        Class::Configuration,
        format!(
            "the log cannot be read from {begin}: what comes after it are changes to rows that lie before it"
        ),
    )
    .remedy(possible))
}

/// The places from which the log can be read, for a person.
fn possible_places(latest: Option<&Mark>, oldest: &Mark) -> String {
    let start = if oldest.group == 0 { "--from start, or " } else { "" };
    match latest {
        Some(latest) => format!(
            "every table is copied anew behind {latest}: {start}--from {}, or any place between",
            latest.at
        ),
        None => format!(
            "no later copy of every table is in the log: {start}have the capture write them once more, with understudy run \
             FILE --role capture --recopy TABLE for each of them"
        ),
    }
}

/// Every shape in which rows are written has to be known.
fn check_shapes(settings: &KafkaSettings, tables: &[TableName], seen: &[Seen]) -> Result<(), Failure> {
    let topic = TopicNames::new(&settings.topic_prefix).schema();
    let mut known = BTreeMap::<TableName, BTreeSet<u32>>::new();
    scan::scan(settings, &topic, |record| {
        if let Some(value) = record.value {
            let shape = SchemaRecord::from_json(value)?;
            known.entry(shape.table).or_default().insert(shape.version);
        }
        Ok(())
    })?;
    for (table, seen) in tables.iter().zip(seen) {
        let lacks = |version: &&u32| !known.get(table).is_some_and(|known| known.contains(version));
        if let Some(version) = seen.versions.iter().find(lacks) {
            let why =
                format!("it lacks version {version} of the shape of {table}, in which rows are written");
            return Err(Error::Torn { topic, why }.into());
        }
    }
    Ok(())
}

/// The shortest time for which any of the topics keeps its records. Refuses one that keeps the last record of a key only.
async fn retention(settings: &KafkaSettings, tables: &[TableName]) -> Result<Option<u64>, Failure> {
    let names = TopicNames::new(&settings.topic_prefix);
    let mut ours = tables.iter().map(|table| names.table(table)).collect::<BTreeSet<_>>();
    ours.insert(names.order());
    let of_settings = settings.clone();
    let there = move || Reader::open(&of_settings)?.topics(ours.iter().map(String::as_str));
    let mut there = blocking(there).await?;
    let described = topics::describe(&admin(settings)?, &mut there).await;
    described.map_err(|error| Failure::from(Error::of(&error, "the topics")))?;
    let mut shortest = None::<u64>;
    for (topic, found) in &there {
        let Some(config) = &found.config else { continue };
        if config.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
            return Err(Failure::new(
                Class::Diverged,
                format!("topic {topic} is compacted: it keeps the last record of a key, and the log needs every one"),
            )
            .remedy(format!(
                "have its table copied anew once it is not any more: kafka-configs --bootstrap-server BROKER --alter \
                 --entity-type topics --entity-name {topic} --add-config cleanup.policy=delete, then understudy run FILE \
                 --role capture --recopy TABLE, and replay --from there"
            )));
        }
        let kept = config.get("retention.ms").and_then(|ms| ms.parse::<u64>().ok());
        shortest = shortest.into_iter().chain(kept).min();
    }
    Ok(shortest)
}

fn no_log(prefix: &str, topic: &str) -> Failure {
    let cause = format!("there is no log under the prefix `{prefix}`: topic {topic} is missing or empty");
    Failure::new(Class::Configuration, cause).remedy(
        "set `topic_prefix` under `through.kafka` to that of the capture; a capture that was finished or aborted has \
         taken its log with it",
    )
}
