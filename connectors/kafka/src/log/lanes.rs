//! The log as one lane applies it: behind a fence it waits for the others, as their places on green tell how far they are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use understudy_contract::{ChangeLog, Cursor, Failure, LogEvent};
use understudy_model::{Lsn, TableName};

use super::cursor::Place;
use super::lane::{Fences, Lane, Share};
use super::start::{self, Partitions};
use super::{Chore, KafkaLog, opening};
use crate::error::Error;
use crate::settings::KafkaSettings;

/// The places of all lanes, by number, as green had them last; `None` where a lane has none yet.
pub type LanePlaces = Vec<Option<Cursor>>;

/// The log of a migration as one lane applies it.
pub struct LaneLog {
    lane: Lane,
    places: watch::Receiver<LanePlaces>,
    /// What is waited for, for people.
    waits: Arc<Mutex<Option<String>>>,
    inner: KafkaLog,
    /// The wait behind a fence. It ends with the places of all lanes.
    chore: Option<Chore<Result<(Fence, LanePlaces), Failure>>>,
}

impl fmt::Debug for LaneLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneLog")
            .field("lane", &self.lane)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// What a fence names.
#[derive(Debug, Clone)]
struct Fence {
    /// The place before the group that it is in.
    place: Place,
    commit: Lsn,
}

impl LaneLog {
    /// Opens the log for a lane, behind a place or at its start. `places` is to tell of every lane, again and again.
    pub async fn open(
        settings: &KafkaSettings,
        tables: &[TableName],
        (lane, from): (Lane, Option<Cursor>),
        (fences, places): (Fences, watch::Receiver<LanePlaces>),
    ) -> Result<LaneLog, Failure> {
        let place = start::place_of(settings, from.as_ref(), Some(lane)).map_err(opening)?;
        let which = Partitions { lane: Some(lane) };
        let inner = KafkaLog::open_share(settings, tables, (place, which), Share::of(lane, fences)).await?;
        Ok(LaneLog { lane, places, waits: Arc::default(), inner, chore: None })
    }

    /// Shows what this lane waits for, if it does.
    pub fn waits(&self) -> Arc<Mutex<Option<String>>> {
        Arc::clone(&self.waits)
    }

    /// Tells how far behind this log is read, as long as nothing is waited for.
    pub fn lag(&self) -> super::LagProbe {
        self.inner.lag()
    }

    fn on_event(&mut self, event: &LogEvent) -> Result<(), Failure> {
        let LogEvent::Fence { cursor } = event else { return Ok(()) };
        let torn = || Error::Internal { why: "a fence names no place".to_owned() };
        let place = parse(cursor).ok_or_else(torn)?;
        let commit = Lsn::new(place.fence.ok_or_else(torn)?);
        self.chore = Some(self.stand(Fence { place, commit }));
        Ok(())
    }

    /// Waits behind a fence.
    fn stand(&self, fence: Fence) -> Chore<Result<(Fence, LanePlaces), Failure>> {
        let (mut places, waits, lane) = (self.places.clone(), Arc::clone(&self.waits), self.lane);
        Box::pin(async move {
            let what = match lane.number {
                0 => "the other lanes, before tables are emptied",
                _ => "the first lane, to empty tables",
            };
            show(&waits, Some(format!("lane {}: {what}", lane.number)));
            let told = places.wait_for(|places| is_open(&fence, lane, places)).await;
            let all = told.map(|places| places.clone()).map_err(|_| gone())?;
            show(&waits, None);
            Ok((fence, all))
        })
    }
}

impl ChangeLog for LaneLog {
    async fn next(&mut self) -> Result<LogEvent, Failure> {
        if let Some(chore) = &mut self.chore {
            let stood = chore.await;
            self.chore = None;
            let (fence, places) = stood?;
            if self.lane.number == 0 {
                self.inner.assembler.widen(fence.commit, others(&places))?;
            }
        }
        if self.inner.assembler.is_over() && !self.inner.assembler.has_event() {
            self.inner.narrow();
        }
        let event = self.inner.next().await?;
        self.on_event(&event)?;
        Ok(event)
    }

    fn ready(&self) -> bool {
        self.chore.is_none() && self.inner.ready()
    }
}

fn show(waits: &Mutex<Option<String>>, what: Option<String>) {
    *waits.lock().unwrap_or_else(PoisonError::into_inner) = what;
}

fn gone() -> Failure {
    Error::Internal { why: "nobody tells how far the lanes are".to_owned() }.into()
}

fn parse(cursor: &Cursor) -> Option<Place> {
    Place::parse(cursor).ok()
}

/// A place behind what any lane has taken, from which on all partitions can be read: of groups up to it some may come again.
/// `None` where no lane has taken anything.
pub(super) fn behind_all(places: &LanePlaces) -> Option<Place> {
    let furthest = places.iter().flatten().filter_map(parse).max_by_key(|place| place.group)?;
    let (topics, keys) = (partitions(places, 0), BTreeMap::new());
    Some(Place { lane: None, fence: None, topics, keys, ..furthest })
}

/// The group up to which every lane has taken everything.
pub(super) fn taken_by_all(places: &LanePlaces) -> u64 {
    let taken = |place: &Option<Cursor>| place.as_ref().and_then(parse).map_or(0, |place| place.group);
    places.iter().map(taken).min().unwrap_or(0)
}

/// Whether a lane may go on behind a fence: the first one once all others stand at it, they once the first is past it.
fn is_open(fence: &Fence, lane: Lane, places: &LanePlaces) -> bool {
    let is_past = |place: &Place| place.group > fence.place.group;
    let stands = |number: u32, least: u64| {
        let place = places.get(number as usize).and_then(Option::as_ref).and_then(parse);
        place.is_some_and(|place| {
            let is_there = place.group == fence.place.group && place.fence.is_some_and(|at| at >= least);
            is_there || is_past(&place)
        })
    };
    let commit = fence.commit.raw();
    match lane.number {
        0 => (1..lane.of).all(|number| stands(number, commit)),
        // It stands at a later fence of the same group, or has taken all of that.
        _ => stands(0, commit + 1),
    }
}

/// Where every lane but the first goes on in its partitions.
pub(super) fn others(places: &LanePlaces) -> BTreeMap<String, Vec<Option<i64>>> {
    partitions(places, 1)
}

/// Where the lanes from `first` on go on in their partitions.
fn partitions(places: &LanePlaces, first: usize) -> BTreeMap<String, Vec<Option<i64>>> {
    let mut all = BTreeMap::<String, Vec<Option<i64>>>::new();
    for (number, other) in places.iter().enumerate().skip(first) {
        let Some(other) = other.as_ref().and_then(parse) else { continue };
        for (topic, offsets) in other.topics {
            let of_topic = all.entry(topic).or_default();
            of_topic.resize(of_topic.len().max(offsets.len()), None);
            if let Some(next) = offsets.get(number) {
                of_topic[number] = *next;
            }
        }
    }
    all
}
