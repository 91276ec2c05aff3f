//! Placed chunks: written beside the changes on connections of their own, each in one transaction with its progress.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::task::JoinSet;
use understudy_contract::{ChunkDone, Class, Failure, PlacedChunk, PlacedKind};
use understudy_model::{Before, HealKey, Key, Position, RouteId};

use super::applier::{DEFERRED_REMEDY, nameless};
use super::books::{Books, Why};
use super::exact::uncomputed;
use super::ledger::{check_fence, range_done};
use super::plan::{RowBody, RowOp};
use super::script::PINS;
use super::settings::OnError;
use super::stages::{Stages, push_key_line, push_line};
use super::statements::{self, RowStatement, Statements};
use super::target::{Shape, Target};
use crate::error::has_sqlstate;
use crate::wire::{Client, Pipeline};

/// After a collision so many chunks of the route are written over existing rows right away.
pub(super) const OVERWRITING_CHUNKS: u32 = 16;

/// Has constraints checked with each statement that would otherwise be at the commit.
const IMMEDIATELY: &str = "SET CONSTRAINTS ALL IMMEDIATE";

/// One connection that writes chunks, one at a time.
pub(super) struct Writer {
    pub(super) client: Client,
    books: Books,
    on_error: OnError,
    stages: Stages,
    statements: Statements,
}

/// What a writer hands back.
struct Written {
    writer: Writer,
    route: RouteId,
    heals: bool,
    outcome: Result<Outcome, Failure>,
}

/// A chunk that has been committed.
pub(super) struct Outcome {
    pub(super) done: ChunkDone,
    pub(super) route: RouteId,
    /// Rows were there already.
    pub(super) collided: bool,
    /// Keys that were read again. Those that were set aside with it stay in the bookkeeping, for the next instance.
    pub(super) read: Vec<HealKey>,
    /// Rows that were written or removed, over whatever was set aside before: of a copy those that were set aside.
    pub(super) mended: Vec<Key>,
    /// Rows that green refused, or that could not be computed.
    pub(super) quarantined: Vec<Key>,
}

/// The writers and what they are doing.
#[derive(Default)]
pub(super) struct Writers {
    idle: Vec<Writer>,
    busy: JoinSet<Written>,
    routes: FxHashMap<RouteId, UnderWay>,
}

/// The chunks of one route that are being written.
#[derive(Default)]
struct UnderWay {
    copies: usize,
    heals: usize,
}

impl UnderWay {
    fn of(&mut self, heals: bool) -> &mut usize {
        if heals { &mut self.heals } else { &mut self.copies }
    }
}

impl Writers {
    /// Adds a connection, set up and with its name given.
    pub(super) fn add(&mut self, client: Client, books: Books, on_error: OnError) {
        let (stages, statements) = (Stages::default(), Statements::default());
        self.idle.push(Writer { client, books, on_error, stages, statements });
    }

    /// Whether a chunk of any of these routes is being written.
    pub(super) fn writes(&self, route: RouteId) -> bool {
        self.routes.contains_key(&route)
    }

    /// Whether this chunk may hold a row that another one is just writing. Copies of a route have no row in common: one that
    /// moved between two ranges was changed in between, and changes wait for chunks. What is read again by key may be part
    /// of any. Green would refuse the row of one of them where a unique index other than the key's sees it first.
    pub(super) fn meets(&self, chunk: &PlacedChunk) -> bool {
        let Some(under_way) = self.routes.get(&chunk.route) else { return false };
        under_way.heals > 0 || is_heal(chunk)
    }

    /// Whether any chunk is being written.
    pub(super) fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Whether a chunk has to be finished before another can be started.
    pub(super) fn are_all_busy(&self) -> bool {
        self.idle.is_empty() && self.is_busy()
    }

    /// Starts writing a chunk, when a writer is free. `aside` are those of its rows of which changes have been set aside.
    pub(super) fn start(
        &mut self,
        target: Arc<Target>,
        chunk: PlacedChunk,
        aside: Vec<Key>,
    ) -> Result<(), Failure> {
        let Some(mut writer) = self.idle.pop() else {
            return Err(Failure::new(Class::Internal, "no connection is there to write chunks"));
        };
        let (route, heals) = (chunk.route, is_heal(&chunk));
        *self.routes.entry(route).or_default().of(heals) += 1;
        self.busy.spawn(async move {
            let outcome = writer.write(&target, &chunk, aside).await;
            Written { writer, route, heals, outcome }
        });
        Ok(())
    }

    /// Waits for one chunk to be finished. `None` when none is being written. Cancel-safe.
    pub(super) async fn settle(&mut self) -> Result<Option<Outcome>, Failure> {
        let Some(written) = self.busy.join_next().await else {
            return Ok(None);
        };
        let broken =
            |error| Failure::new(Class::Internal, "a chunk writer ended unexpectedly").caused_by(error);
        let Written { writer, route, heals, outcome } = written.map_err(broken)?;
        if let Some(under_way) = self.routes.get_mut(&route) {
            *under_way.of(heals) -= 1;
            if under_way.copies + under_way.heals == 0 {
                self.routes.remove(&route);
            }
        }
        // A writer that failed may be in the middle of anything: the run ends, and its connection with it.
        let outcome = outcome?;
        self.idle.push(writer);
        Ok(Some(outcome))
    }
}

impl Writer {
    async fn write(
        &mut self,
        target: &Target,
        chunk: &PlacedChunk,
        aside: Vec<Key>,
    ) -> Result<Outcome, Failure> {
        let doing = || format!("write rows of {} to {}", target.green.source, target.green.name);
        self.attempts(target, chunk, aside).await.map_err(|failure| failure.while_doing(doing()))
    }

    async fn attempts(
        &mut self,
        target: &Target,
        chunk: &PlacedChunk,
        aside: Vec<Key>,
    ) -> Result<Outcome, Failure> {
        if let (OnError::Stop, Some((key, refusal))) = (self.on_error, chunk.refused.first()) {
            return Err(uncomputed(key, refusal));
        }
        let mut lines = Vec::with_capacity(chunk.rows.iter().map(|row| row.bytes_len() + 1).sum());
        chunk.rows.iter().for_each(|row| push_line(&mut lines, &Shape::Full, row, 0));
        let mut over = target.overwriting > 0 || target.traits.is_view;
        let mut outcome = Outcome {
            done: ChunkDone { id: chunk.id, rows: chunk.rows.len() as u64 },
            route: chunk.route,
            collided: false,
            read: Vec::new(),
            mended: Vec::new(),
            quarantined: Vec::new(),
        };
        loop {
            let result = self.rows(target, (leaving(target, chunk), &lines), over).await;
            let Err(failure) = result else { break };
            if self.client.is_broken() || failure.class() != Class::Data {
                return Err(failure);
            }
            self.undo().await?;
            if has_sqlstate(&failure, "23505") && !over {
                (over, outcome.collided) = (true, true);
                continue;
            }
            if self.on_error == OnError::Stop {
                let remedy = "make green accept the rows (type, constraint or length), or set `on_error: quarantine`, and run again";
                return Err(failure.remedy(remedy));
            }
            let refused = self.one_by_one(target, chunk).await?;
            outcome.done.rows -= refused.rows;
            outcome.quarantined = refused.keys;
            break;
        }
        for (key, refusal) in &chunk.refused {
            let (place, why) = (place(chunk), Some(Why::Uncomputed(refusal)));
            self.books.quarantine(&mut self.client, target, key, place, why).await?;
            outcome.quarantined.push(key.clone());
        }
        match &chunk.kind {
            PlacedKind::Copy { unit, range } => {
                range_done(&mut self.client, &self.books, target, (unit.oid, *range), outcome.done.rows)
                    .await?;
                outcome.mended = aside.into_iter().filter(|key| !outcome.quarantined.contains(key)).collect();
                self.books.settle_aside(&mut self.client, target, &outcome.mended).await?;
            }
            PlacedKind::Heal { keys } => self.settle(target, chunk, keys, &mut outcome).await?,
        }
        self.client.batch("COMMIT").await.map_err(|failure| {
            let doing = "commit them on green";
            match failure.class() {
                Class::Data => failure.remedy(DEFERRED_REMEDY).while_doing(doing),
                _ => failure.while_doing(doing),
            }
        })?;
        self.stages.committed();
        Ok(outcome)
    }

    /// Settles the heals of a chunk, but for rows that were set aside, and what was set aside for the rows that it writes or
    /// removes. Where a key comes with neither, whether green still has a row that should be gone is not known.
    async fn settle(
        &mut self,
        target: &Target,
        chunk: &PlacedChunk,
        keys: &[HealKey],
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let taken = |key: &Key| !outcome.quarantined.contains(key);
        let healed = keys.iter().filter(|key| taken(&key.green)).cloned().collect::<Vec<_>>();
        outcome.mended = settled(target, chunk).filter(taken).collect();
        self.books.settle_heals(&mut self.client, target, &healed).await?;
        outcome.read = keys.to_vec();
        self.books.settle_aside(&mut self.client, target, &outcome.mended).await
    }

    async fn undo(&mut self) -> Result<(), Failure> {
        self.client.batch("ROLLBACK").await?;
        self.stages.rolled_back();
        self.stages.committed();
        Ok(())
    }

    /// Begins a transaction, removes the rows that leave and writes all others. The transaction stays open, or has failed.
    async fn rows(
        &mut self,
        target: &Target,
        (leaving, lines): (&[Key], &[u8]),
        over: bool,
    ) -> Result<(), Failure> {
        self.client.batch("BEGIN").await?;
        check_fence(&mut self.client, &self.books).await?;
        if target.defers() && !(leaving.is_empty() && lines.is_empty()) {
            // What green refuses is refused here, where it can be dealt with, and not at the commit.
            self.client.batch(IMMEDIATELY).await?;
        }
        // Before the others come: one of those may have the same key.
        if !leaving.is_empty() {
            self.remove(target, leaving).await?;
        }
        if lines.is_empty() {
            return Ok(());
        }
        if !over {
            let mut copy = self.client.copy_in(&target.copy_sql()).await?;
            copy.send(lines).await?;
            return copy.finish().await.map(drop);
        }
        let mut pipeline = Pipeline::new();
        let stage = self.stages.ready(&mut pipeline, target, &Shape::Full);
        self.client.run(&mut pipeline).await.map_err(|error| error.failure)?;
        let mut copy = self.client.copy_in(&format!("COPY {stage} FROM STDIN")).await?;
        copy.send(lines).await?;
        copy.finish().await?;
        self.client.query(&target.upsert_from_sql(&stage)).await.map(drop)
    }

    /// Removes rows in one statement, wherever they are.
    async fn remove(&mut self, target: &Target, keys: &[Key]) -> Result<(), Failure> {
        let mut pipeline = Pipeline::new();
        let stage = self.stages.ready(&mut pipeline, target, &Shape::Key);
        let mut lines = Vec::with_capacity(keys.iter().map(|key| key.bytes_len() + 1).sum());
        keys.iter().for_each(|key| push_key_line(&mut lines, key));
        pipeline.copy_in(&format!("COPY {stage} FROM STDIN"), &lines);
        // Looked up by key, whatever the planner thinks of a stage that it knows nothing about.
        PINS.iter().for_each(|pin| pipeline.simple(&format!("SET LOCAL {pin} = off")));
        pipeline.simple(&target.delete_using_sql(&stage));
        PINS.iter().for_each(|pin| pipeline.simple(&format!("SET LOCAL {pin} TO DEFAULT")));
        self.client.run(&mut pipeline).await.map(drop).map_err(|error| error.failure)
    }

    /// Writes and removes the rows one by one and sets those aside that green refuses.
    async fn one_by_one(&mut self, target: &Target, chunk: &PlacedChunk) -> Result<Refused, Failure> {
        let refused = self.each_row(target, chunk, false).await?;
        if !target.defers() {
            return Ok(refused);
        }
        match self.client.batch(IMMEDIATELY).await {
            Err(failure) if failure.class() == Class::Data && !self.client.is_broken() => {
                // Which of the rows a deferred constraint means is told only by asking after each.
                self.undo().await?;
                self.each_row(target, chunk, true).await
            }
            checked => checked.map(|()| refused),
        }
    }

    async fn each_row(
        &mut self,
        target: &Target,
        chunk: &PlacedChunk,
        immediately: bool,
    ) -> Result<Refused, Failure> {
        self.client.batch("BEGIN").await?;
        check_fence(&mut self.client, &self.books).await?;
        if immediately {
            self.client.batch(IMMEDIATELY).await?;
        }
        let mut refused = Refused::default();
        for (at, key) in leaving(target, chunk).iter().enumerate() {
            let failure = self.row(target, at, RowBody::Delete(key.clone())).await?;
            if let Some(failure) = failure {
                self.refuse(target, chunk, key, &failure).await?;
                refused.keys.push(key.clone());
            }
        }
        for (at, row) in chunk.rows.iter().enumerate() {
            let failure = self.row(target, at, RowBody::Insert(row.clone())).await?;
            if let Some(failure) = failure {
                let key = row.key(&target.green.key).ok_or_else(|| nameless(target))?;
                self.refuse(target, chunk, &key, &failure).await?;
                refused.keys.push(key);
                refused.rows += 1;
            }
        }
        Ok(refused)
    }

    async fn refuse(
        &mut self,
        target: &Target,
        chunk: &PlacedChunk,
        key: &Key,
        failure: &Failure,
    ) -> Result<(), Failure> {
        let why = Some(Why::Refused(failure));
        self.books.quarantine(&mut self.client, target, key, place(chunk), why).await
    }

    /// Writes or removes one row. Returns why green refuses it, if it does.
    async fn row(&mut self, target: &Target, at: usize, body: RowBody) -> Result<Option<Failure>, Failure> {
        let op = RowOp { at, route: target.green.route, body, before: Before::Unknown };
        let kind = RowStatement::for_op(target, &op);
        let statement = self.statements.get(&mut self.client, target, kind).await?;
        let mut pipeline = Pipeline::new();
        pipeline.simple("SAVEPOINT understudy_row");
        statements::push(&mut pipeline, statement, &op);
        pipeline.simple("RELEASE understudy_row");
        let Err(failure) = self.client.run(&mut pipeline).await.map_err(|error| error.failure) else {
            return Ok(None);
        };
        if self.client.is_broken() || failure.class() != Class::Data {
            return Err(failure);
        }
        self.client.batch("ROLLBACK TO understudy_row; RELEASE understudy_row").await?;
        Ok(Some(failure))
    }
}

/// Rows that green refused one by one.
#[derive(Default)]
struct Refused {
    keys: Vec<Key>,
    /// How many of them were to be written.
    rows: u64,
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

/// The place of a chunk in the stream, for what is set aside.
fn place(chunk: &PlacedChunk) -> Position {
    Position { commit: chunk.at.lsn(), ordinal: 0 }
}
