//! Placed chunks: written beside the changes, each recorded once all of its rows are acknowledged.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::task::JoinSet;
use understudy_contract::{ChunkDone, Class, Failure, PlacedChunk, PlacedKind};
use understudy_model::{HealKey, Key, Position, RouteId};

use super::applier::Refused;
use super::settings::{Batches, OnError};
use super::target::Target;
use super::write::{Body, First, Op, Shared, write_all};
use crate::layout::Version;
use crate::state::{DoneForm, Note, Notes, aside, heal_of};

/// A chunk on its way.
pub(super) struct Job {
    pub(super) shared: Arc<Shared>,
    pub(super) target: Target,
    pub(super) epoch: u32,
    /// Those of its rows of which changes are set aside, with what tells of them.
    pub(super) aside: Vec<(Key, Vec<String>)>,
    pub(super) chunk: PlacedChunk,
}

/// A chunk that is written and recorded.
pub(super) struct Outcome {
    pub(super) done: ChunkDone,
    pub(super) route: RouteId,
    /// The range that is done.
    pub(super) range: Option<(understudy_model::UnitId, DoneForm)>,
    /// Keys that were read again.
    pub(super) read: Vec<HealKey>,
    /// Rows that were written or removed, over whatever was set aside before.
    pub(super) mended: Vec<Key>,
    /// Rows that are set aside, with what tells of them.
    pub(super) aside: Vec<(Key, String)>,
}

/// The chunks that are being written.
#[derive(Default)]
pub(super) struct Writers {
    busy: JoinSet<(RouteId, Result<Outcome, Failure>)>,
    /// How many of each route, and whether some are heals.
    routes: FxHashMap<RouteId, UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    count: usize,
    heals: bool,
}

impl Writers {
    /// The routes of which chunks are being written.
    pub(super) fn routes(&self) -> impl Iterator<Item = RouteId> + '_ {
        self.routes.keys().copied()
    }

    pub(super) fn count(&self) -> usize {
        self.busy.len()
    }

    /// Whether this chunk may hold a row that another one is just writing.
    pub(super) fn meets(&self, chunk: &PlacedChunk) -> bool {
        self.routes.get(&chunk.route).is_some_and(|under_way| under_way.heals || is_heal(chunk))
    }

    pub(super) fn start(&mut self, job: Job) {
        let (route, heals) = (job.chunk.route, is_heal(&job.chunk));
        let under_way = self.routes.entry(route).or_default();
        under_way.count += 1;
        under_way.heals |= heals;
        self.busy.spawn(async move { (route, Box::pin(job.write()).await) });
    }

    /// Waits for one chunk to be finished. `None` when none is being written. Cancel-safe.
    pub(super) async fn settle(&mut self) -> Result<Option<Outcome>, Failure> {
        let Some(joined) = self.busy.join_next().await else { return Ok(None) };
        let broken =
            |error| Failure::new(Class::Internal, "a chunk writer ended unexpectedly").caused_by(error);
        let (route, outcome) = joined.map_err(broken)?;
        if let Some(under_way) = self.routes.get_mut(&route) {
            under_way.count -= 1;
            if under_way.count == 0 {
                self.routes.remove(&route);
            }
        }
        outcome.map(Some)
    }
}

impl Job {
    async fn write(self) -> Result<Outcome, Failure> {
        let doing = format!("write rows of {} to {}", self.target.green.source, self.target.green.name);
        self.rows().await.map_err(|failure| failure.while_doing(doing))
    }

    async fn rows(self) -> Result<Outcome, Failure> {
        let Shared { state, calls, on_error, .. } = &*self.shared;
        state.check(calls).await?;
        let mut refused = Vec::new();
        for (key, refusal) in &self.chunk.refused {
            refused.push((key.clone(), Refused::Uncomputed(refusal)));
        }
        let ops = self.ops(&mut refused)?;
        // Before anything is written.
        stop(*on_error, &mut refused, self.place())?;
        match self.in_doubt() {
            Some(in_doubt) => super::batches::put(&self.shared, ops, in_doubt).await?,
            None => {
                for outcome in write_all(&self.shared, ops).await? {
                    let taken = outcome.refused.map(|error| (outcome.op.key, Refused::NotTaken(error)));
                    refused.extend(taken);
                }
                stop(*on_error, &mut refused, self.place())?;
            }
        }
        let (outcome, notes) = self.outcome(&refused)?;
        state.write(calls, notes).await?;
        Ok(outcome)
    }

    /// Whether its rows may be put in batches, and for how long one of those may be in doubt.
    fn in_doubt(&self) -> Option<Duration> {
        let is_copy = matches!(self.chunk.kind, PlacedKind::Copy { .. });
        let is_first = self.target.is_new() && self.target.alone;
        match self.shared.batches {
            Batches::FirstCopy { in_doubt } if is_copy && is_first => Some(in_doubt),
            Batches::FirstCopy { .. } | Batches::Never => None,
        }
        .filter(|_| self.target.layout.plan().part.is_none())
    }

    /// The rows that are to be written and removed.
    fn ops(&self, refused: &mut Vec<(Key, Refused<'_>)>) -> Result<Vec<Op>, Failure> {
        let version = Version::chunk(self.epoch, self.chunk.at.lsn());
        let mut ops = Vec::with_capacity(self.chunk.rows.len());
        for key in leaving(&self.target, &self.chunk) {
            // What has no place in the table is not there either.
            if let Ok((item, part)) = self.target.place_of(key) {
                ops.push(self.op(ops.len(), (key.clone(), item, part), Body::Gone, version));
            }
        }
        for row in &self.chunk.rows {
            let key = self.target.key_of(row)?;
            match self.target.layout.read_checked(row, version) {
                Ok(row) => {
                    let (item, part) = (row.key().clone(), row.part().map(str::to_owned));
                    ops.push(self.op(ops.len(), (key, item, part), Body::Put(row), version));
                }
                Err(not_fit) => refused.push((key, Refused::NotTaken(not_fit.into()))),
            }
        }
        Ok(ops)
    }

    fn op(
        &self,
        at: usize,
        (key, item, part): (Key, crate::layout::ItemKey, Option<String>),
        body: Body,
        version: Version,
    ) -> Op {
        let place = (version, self.place());
        Op {
            layout: Arc::clone(&self.target.layout),
            route: self.chunk.route,
            number: self.target.number,
            key,
            item,
            part,
            first: First::Any,
            is_new: self.target.is_new() && !is_heal(&self.chunk),
            from: place,
            body,
            upto: place,
            at,
            heal: None,
        }
    }

    /// Its place in the stream, for what is set aside.
    fn place(&self) -> Position {
        Position { commit: self.chunk.at.lsn(), ordinal: 0 }
    }

    /// What it comes to, and what is to be recorded of it.
    fn outcome(&self, refused: &[(Key, Refused<'_>)]) -> Result<(Outcome, Notes), Failure> {
        let (chunk, number, mut notes) = (&self.chunk, self.target.number, Notes::new());
        let taken = |key: &Key| !refused.iter().any(|(refused, _)| refused == key);
        let keys = chunk.rows.iter().map(|row| self.target.key_of(row)).collect::<Result<Vec<_>, _>>()?;
        let rows = keys.iter().filter(|key| taken(key)).count() as u64;
        let mut outcome = Outcome {
            done: ChunkDone { id: chunk.id, rows },
            route: chunk.route,
            range: None,
            read: Vec::new(),
            mended: Vec::new(),
            aside: Vec::new(),
        };
        for (key, told) in self.aside.iter().filter(|(key, _)| taken(key)) {
            notes.extend(told.iter().map(|of| (of.clone(), Note::Remove)));
            outcome.mended.push(key.clone());
        }
        for (key, why) in refused {
            let (of, note) = aside(number, key, self.place(), &why.why());
            notes.insert(of.clone(), note);
            outcome.aside.push((key.clone(), of));
        }
        match &chunk.kind {
            PlacedKind::Copy { unit, range } => {
                let unplanned = || Failure::new(Class::Internal, "a chunk belongs to no planned unit");
                let planned = self.target.units.get(unit).ok_or_else(unplanned)?;
                let plan = planned.form.plan;
                let done = DoneForm { route: number, oid: unit.oid, plan, range: *range, rows };
                notes.extend([done.note()]);
                outcome.range = Some((*unit, done));
            }
            PlacedKind::Heal { keys } => {
                let healed = keys.iter().filter(|key| taken(&key.green));
                notes.extend(healed.map(|key| (heal_of(number, key), Note::Remove)));
                outcome.read.clone_from(keys);
            }
        }
        Ok((outcome, notes))
    }
}

/// What is refused ends the run where that is the policy.
fn stop(on_error: OnError, refused: &mut Vec<(Key, Refused<'_>)>, at: Position) -> Result<(), Failure> {
    match (on_error, refused.is_empty()) {
        (OnError::Stop, false) => Err(refused.swap_remove(0).1.failure().at(at)),
        _ => Ok(()),
    }
}

/// The rows that a chunk writes or removes, by their keys on green.
pub(super) fn settled<'a>(target: &'a Target, chunk: &'a PlacedChunk) -> impl Iterator<Item = Key> + 'a {
    let written = chunk.rows.iter().filter_map(|row| row.key(&target.green.key));
    written.chain(leaving(target, chunk).iter().cloned())
}

/// The rows that a chunk removes: those that green may have although blue has none for it.
fn leaving<'a>(target: &Target, chunk: &'a PlacedChunk) -> &'a [Key] {
    match &chunk.kind {
        PlacedKind::Copy { .. } if !target.is_renewed() => &[],
        PlacedKind::Copy { .. } | PlacedKind::Heal { .. } => &chunk.left_out,
    }
}

fn is_heal(chunk: &PlacedChunk) -> bool {
    matches!(chunk.kind, PlacedKind::Heal { .. })
}
