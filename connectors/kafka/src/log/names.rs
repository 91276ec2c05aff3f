//! Which rows a log changes, whichever lane takes them: told once every lane has put them on green.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use understudy_contract::{ChangeLog, Failure, LogEvent, LoggedChunk, LoggedKind};
use understudy_model::{Key, Lsn, OldImage, Relation, RelationId, SourceChange, TableName, Value};

use super::cursor::Place;
use super::lane::Share;
use super::lanes::{behind_all, taken_by_all};
use super::start::Partitions;
use super::{KafkaLog, LanePlaces};
use crate::error::Error;
use crate::settings::KafkaSettings;

/// Rows that are listed of one stretch at most. A stretch is a group, or as many as a transaction takes.
const ROWS_MAX: usize = 100_000;

/// What a stretch of the log changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// On blue the stretch ends here.
    pub upto: Lsn,
    /// Its rows, by their keys as the log has them. Some may be listed more than once.
    pub rows: Vec<(TableName, Key)>,
    /// Tables with changed rows that are not listed: there were too many, or the table was emptied.
    pub unlisted: BTreeSet<TableName>,
}

/// The log of a migration as whoever compares both sides reads it, beside the lanes that fill green.
///
/// It is read no faster than the lanes take it, so that nothing piles up here.
pub struct NamesLog {
    inner: KafkaLog,
    places: watch::Receiver<LanePlaces>,
    /// Every lane has taken everything up to this group.
    taken: u64,
    listing: Listing,
    /// A stretch that some lane is yet to take, and the place behind it.
    waiting: Option<(Named, Place)>,
    /// Everything up to here has been told.
    told: Option<Place>,
}

impl fmt::Debug for NamesLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamesLog").field("told", &self.told).finish_non_exhaustive()
    }
}

/// Where a [`NamesLog`] has come to.
#[derive(Debug, Clone)]
pub struct NamesPlace(Place);

impl NamesLog {
    /// Opens it behind a place, or else behind what any lane has taken: up to the end of the first stretch nobody tells then
    /// what has changed. `places` is to tell of every lane, again and again.
    pub async fn open(
        settings: &KafkaSettings,
        tables: &[TableName],
        (from, places): (Option<NamesPlace>, watch::Receiver<LanePlaces>),
    ) -> Result<NamesLog, Failure> {
        let told = from.map(|from| from.0);
        let place = told.clone().or_else(|| behind_all(&places.borrow()));
        let after = place.as_ref().map_or(0, |place| place.group);
        let which = Partitions { lane: None };
        let inner = KafkaLog::open_share(settings, tables, (place, which), Share::Names(after)).await?;
        let listing = Listing::up_to(ROWS_MAX);
        Ok(NamesLog { inner, places, taken: 0, listing, waiting: None, told })
    }

    /// Where to go on after what has been told.
    pub fn place(&self) -> Option<NamesPlace> {
        self.told.clone().map(NamesPlace)
    }

    /// The next stretch that is on green. Cancel-safe.
    pub async fn next(&mut self) -> Result<Named, Failure> {
        while self.waiting.is_none() {
            let event = self.inner.next().await?;
            if let Some(place) = self.listing.take(event)? {
                self.waiting = self.listing.stretch().map(|named| (named, place));
            }
        }
        if let Some((_, place)) = &self.waiting
            && place.group > self.taken
        {
            let group = place.group;
            let all = self.places.wait_for(|places| taken_by_all(places) >= group).await;
            self.taken = taken_by_all(&*all.map_err(|_| gone())?);
        }
        let Some((named, place)) = self.waiting.take() else { return Err(gone()) };
        self.told = Some(place);
        Ok(named)
    }
}

fn gone() -> Failure {
    Error::Internal { why: "nobody tells how far the lanes are".to_owned() }.into()
}

/// What is listed of the stretch that is being read.
#[derive(Debug)]
pub(super) struct Listing {
    /// So many rows are listed of one stretch at most.
    max: usize,
    relations: HashMap<RelationId, Arc<Relation>>,
    is_open: bool,
    /// The end of the last transaction, where the stretch holds one, or another address up to which it tells everything.
    upto: Option<Lsn>,
    named: Named,
}

impl Listing {
    pub(super) fn up_to(max: usize) -> Listing {
        Listing { max, relations: HashMap::new(), is_open: false, upto: None, named: Named::default() }
    }

    /// Takes an event. At the end of what could be a stretch its place comes back.
    pub(super) fn take(&mut self, event: LogEvent) -> Result<Option<Place>, Failure> {
        match event {
            LogEvent::Table(relation) => {
                self.relations.insert(relation.id, relation);
            }
            LogEvent::Begin { .. } => self.is_open = true,
            LogEvent::Commit { end, .. } => (self.is_open, self.upto) = (false, self.upto.max(Some(end))),
            LogEvent::Reached { end } => self.upto = self.upto.max(Some(end)),
            LogEvent::Change(SourceChange::Delete { relation, old }) => {
                let (OldImage::Identity(row) | OldImage::Full(row)) = old;
                let texts = row.values().filter_map(|value| match value {
                    Value::Text(text) => Some(text),
                    Value::Null | Value::Unchanged => None,
                });
                let texts = texts.collect::<Vec<_>>();
                self.add(relation, Key::from_texts(texts.iter().map(|text| &**text)));
            }
            LogEvent::Change(SourceChange::Truncate { relations }) => {
                relations.into_iter().for_each(|relation| self.leave_out(relation));
            }
            LogEvent::TruncateLeaf { table, .. } => self.leave_out(table),
            LogEvent::Rows(LoggedChunk { table, at, kind, .. }) => {
                // What a copy places is verified as a whole once it is complete.
                if let LoggedKind::Heal { keys, .. } = kind {
                    keys.into_iter().for_each(|key| self.add(table, key));
                }
                self.upto = self.upto.max(Some(at.lsn()));
            }
            LogEvent::Whole { cursor } if !self.is_open => {
                let torn = |_| Error::Internal { why: "the log has no place".to_owned() };
                return Ok(Some(Place::parse(&cursor).map_err(torn)?));
            }
            _ => {}
        }
        Ok(None)
    }

    /// What has been read since the last stretch, if that tells up to where.
    pub(super) fn stretch(&mut self) -> Option<Named> {
        let upto = self.upto.take()?;
        Some(Named { upto, ..std::mem::take(&mut self.named) })
    }

    fn add(&mut self, relation: RelationId, key: Key) {
        let Some(known) = self.relations.get(&relation) else { return };
        let name = &known.name;
        if self.named.unlisted.contains(name) {
            return;
        }
        if self.named.rows.len() >= self.max {
            self.leave_out(relation);
            return;
        }
        self.named.rows.push((name.clone(), key));
    }

    fn leave_out(&mut self, relation: RelationId) {
        if let Some(known) = self.relations.get(&relation) {
            self.named.unlisted.insert(known.name.clone());
        }
    }
}
