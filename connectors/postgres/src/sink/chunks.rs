//! Placed chunks: written beside the changes on connections of their own, each in one transaction with its progress.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::task::JoinSet;
use understudy_contract::{ChunkDone, Class, Failure, PlacedChunk, PlacedKind};
use understudy_model::{Key, Position, RouteId, Tuple};

use super::applier::{DEFERRED_REMEDY, nameless};
use super::books::Books;
use super::ledger::{check_fence, range_done};
use super::plan::{RowBody, RowOp};
use super::settings::OnError;
use super::stages::{Stages, push_line};
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
    outcome: Result<Outcome, Failure>,
}

/// A chunk that has been committed.
pub(super) struct Outcome {
    pub(super) done: ChunkDone,
    pub(super) route: RouteId,
    /// Rows were there already.
    pub(super) collided: bool,
    /// Keys that were read again.
    pub(super) healed: Vec<Key>,
    /// Those of them whose rows were written, over whatever was set aside before.
    pub(super) mended: Vec<Key>,
    /// Rows that green refused.
    pub(super) quarantined: Vec<Key>,
}

/// The writers and what they are doing.
#[derive(Default)]
pub(super) struct Writers {
    idle: Vec<Writer>,
    busy: JoinSet<Written>,
    routes: FxHashMap<RouteId, usize>,
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

    /// Whether any chunk is being written.
    pub(super) fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Whether a chunk has to be finished before another can be started.
    pub(super) fn are_all_busy(&self) -> bool {
        self.idle.is_empty() && self.is_busy()
    }

    /// Starts writing a chunk, when a writer is free.
    pub(super) fn start(&mut self, target: Arc<Target>, chunk: PlacedChunk) -> Result<(), Failure> {
        let Some(mut writer) = self.idle.pop() else {
            return Err(Failure::new(Class::Internal, "no connection is there to write chunks"));
        };
        let route = chunk.route;
        *self.routes.entry(route).or_default() += 1;
        self.busy.spawn(async move {
            let outcome = writer.write(&target, &chunk).await;
            Written { writer, route, outcome }
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
        let Written { writer, route, outcome } = written.map_err(broken)?;
        if let Some(count) = self.routes.get_mut(&route) {
            *count -= 1;
            if *count == 0 {
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
    async fn write(&mut self, target: &Target, chunk: &PlacedChunk) -> Result<Outcome, Failure> {
        let doing = || format!("write rows of {} to {}", target.green.source, target.green.name);
        self.attempts(target, chunk).await.map_err(|failure| failure.while_doing(doing()))
    }

    async fn attempts(&mut self, target: &Target, chunk: &PlacedChunk) -> Result<Outcome, Failure> {
        let mut lines = Vec::with_capacity(chunk.rows.iter().map(|row| row.bytes_len() + 1).sum());
        chunk.rows.iter().for_each(|row| push_line(&mut lines, &Shape::Full, row, 0));
        let mut over = target.overwriting > 0 || target.traits.is_view;
        let mut outcome = Outcome {
            done: ChunkDone { id: chunk.id, rows: chunk.rows.len() as u64 },
            route: chunk.route,
            collided: false,
            healed: Vec::new(),
            mended: Vec::new(),
            quarantined: Vec::new(),
        };
        loop {
            let result = self.rows(target, &lines, over).await;
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
            outcome.quarantined = self.one_by_one(target, chunk).await?;
            outcome.done.rows -= outcome.quarantined.len() as u64;
            break;
        }
        match &chunk.kind {
            PlacedKind::Copy { unit, range } => {
                range_done(&mut self.client, &self.books, target, (unit.0, *range), outcome.done.rows)
                    .await?;
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

    /// Settles the heals of a chunk. What was set aside for a key without a row is not: whether green still has a row
    /// that should be gone is not known.
    async fn settle(
        &mut self,
        target: &Target,
        chunk: &PlacedChunk,
        keys: &[Key],
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let taken = |key: &Key| !outcome.quarantined.contains(key);
        outcome.healed = keys.iter().filter(|key| taken(key)).cloned().collect();
        let written = chunk.rows.iter().filter_map(|row| row.key(&target.green.key));
        outcome.mended = written.filter(taken).collect();
        self.books.settle_heals(&mut self.client, target, &outcome.healed).await?;
        self.books.settle_aside(&mut self.client, target, &outcome.mended).await
    }

    async fn undo(&mut self) -> Result<(), Failure> {
        self.client.batch("ROLLBACK").await?;
        self.stages.rolled_back();
        self.stages.committed();
        Ok(())
    }

    /// Begins a transaction and writes all rows. The transaction stays open, or has failed.
    async fn rows(&mut self, target: &Target, lines: &[u8], over: bool) -> Result<(), Failure> {
        self.client.batch("BEGIN").await?;
        check_fence(&mut self.client, &self.books).await?;
        if lines.is_empty() {
            return Ok(());
        }
        if target.defers() {
            // What green refuses is refused here, where it can be dealt with, and not at the commit.
            self.client.batch(IMMEDIATELY).await?;
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

    /// Writes the rows one by one and sets those aside that green refuses.
    async fn one_by_one(&mut self, target: &Target, chunk: &PlacedChunk) -> Result<Vec<Key>, Failure> {
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
    ) -> Result<Vec<Key>, Failure> {
        self.client.batch("BEGIN").await?;
        check_fence(&mut self.client, &self.books).await?;
        if immediately {
            self.client.batch(IMMEDIATELY).await?;
        }
        let mut refused = Vec::new();
        for (at, row) in chunk.rows.iter().enumerate() {
            match self.row(target, at, row).await {
                Ok(()) => {}
                Err(failure) if self.client.is_broken() || failure.class() != Class::Data => {
                    return Err(failure);
                }
                Err(failure) => {
                    self.client.batch("ROLLBACK TO understudy_row; RELEASE understudy_row").await?;
                    let key = row.key(&target.green.key).ok_or_else(|| nameless(target))?;
                    let place = Position { commit: chunk.at.lsn(), ordinal: 0 };
                    self.books.quarantine(&mut self.client, target, &key, place, Some(&failure)).await?;
                    refused.push(key);
                }
            }
        }
        Ok(refused)
    }

    async fn row(&mut self, target: &Target, at: usize, row: &Tuple) -> Result<(), Failure> {
        let statement = self.statements.get(&mut self.client, target, RowStatement::Upsert).await?;
        let op = RowOp { at, route: target.green.route, body: RowBody::Insert(row.clone()) };
        let mut pipeline = Pipeline::new();
        pipeline.simple("SAVEPOINT understudy_row");
        statements::push(&mut pipeline, statement, &op);
        pipeline.simple("RELEASE understudy_row");
        self.client.run(&mut pipeline).await.map(drop).map_err(|error| error.failure)
    }
}
