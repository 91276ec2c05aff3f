//! A capture's sink: what blue brings goes into topics, with the capture's bookkeeping in the same transactions of Kafka.
//!
//! `groups` writes changes (`spans`) and chunks as groups, `books` knows what is recorded of the copy and of rows that wait to
//! be read again, and `transaction` writes both as one. `claim` takes the log over, `turn` tells from whom, and `left` reads what is there. The sink has
//! no rows: whether a row is there it cannot tell, and mismatches are for those who read.

mod books;
mod claim;
mod connect;
mod copies;
mod entries;
mod fit;
mod groups;
mod left;
mod marks;
mod notes;
mod recovery;
mod restore;
mod spans;
mod tables;
mod transaction;
mod turn;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;
use understudy_contract::{
    Applied, Batch, ChangeSink, ChunkDone, Class, Failure, LedgerEntry, Lineage, PlacedChunk, PlacedKind,
    Saved,
};
use understudy_model::{Checkpoint, HealKey, Key, Lsn, RouteId, RowChange};

use crate::codec::{Records, StateRecord};
use crate::error::Error;
use crate::owner::LogJudge;
use crate::settings::KafkaSettings;

use books::Books;
use groups::{Groups, Tail};
use marks::Marks;
use spans::OpenSpan;
use tables::Tables;
use transaction::{Draft, Pen, Sealed};

pub use connect::transactional_id;
pub use notes::{CaptureNotes, Handed};
pub use tables::CapturedTable;

/// Kafka, as what a capture writes to.
pub struct KafkaSink {
    settings: KafkaSettings,
    database: String,
    captured: Vec<CapturedTable>,
    pen: Arc<Pen>,
    /// Made by a claim, since it tells the versions of the shapes.
    tables: Tables,
    books: Books,
    /// The transaction of blue that the last batch has left open.
    open: Option<OpenSpan>,
    notes: CaptureNotes,
    /// Chunks that are in the log and have not been told.
    finished: VecDeque<ChunkDone>,
    /// A transaction that is being written. It goes on where the call that began it was dropped.
    under_way: Option<JoinHandle<Result<Written, Error>>>,
    /// Memory of earlier groups.
    spare: Vec<Records>,
    /// Where marks have not been seen yet.
    marks: Marks,
    claimed: bool,
}

impl ChangeSink for KafkaSink {
    async fn claim(&mut self) -> Result<Option<Saved>, Failure> {
        Box::pin(self.take())
            .await
            .map_err(|failure| failure.while_doing("take ownership of the migration's topics"))
    }

    async fn begin(&mut self, lineage: &Lineage, checkpoint: Checkpoint) -> Result<(), Failure> {
        let result = Box::pin(self.write_beginning(lineage, checkpoint)).await;
        result.map_err(|failure| failure.while_doing("record the start of the migration in Kafka"))
    }

    async fn apply(&mut self, batch: Batch) -> Result<Applied, Failure> {
        let result = Box::pin(self.write_batch(&batch)).await;
        result.map_err(|failure| failure.while_doing("write changes to Kafka"))
    }

    async fn place(&mut self, chunk: PlacedChunk) -> Result<(), Failure> {
        let result = Box::pin(self.write_chunk(&chunk)).await;
        result.map_err(|failure| failure.while_doing("write rows to Kafka"))
    }

    async fn placed(&mut self) -> Result<ChunkDone, Failure> {
        loop {
            // Nothing may be waited for between taking a failure and returning it, or a dropped call would lose it.
            self.settle().await.map_err(|failure| failure.while_doing("write to Kafka"))?;
            if let Some(done) = self.finished.pop_front() {
                return Ok(done);
            }
            if self.has_late_beats() {
                self.ready().await.map_err(|failure| failure.while_doing("write to Kafka"))?;
                self.start_beats().map_err(|failure| failure.while_doing("write beats to Kafka"))?;
            } else {
                self.notes.beat_came().await;
            }
        }
    }

    async fn record(&mut self, entry: LedgerEntry) -> Result<(), Failure> {
        let result = Box::pin(self.write_entry(&entry)).await;
        result.map_err(|failure| failure.while_doing("record progress in Kafka"))
    }

    fn persist(&mut self) -> impl Future<Output = Result<Checkpoint, Failure>> + Send + use<> {
        // Every call that has returned has committed, on as many brokers as its topics ask for. What has no mark yet can still be
        // lost, though: until that is there, blue keeps it.
        let (seen, checkpoint) = (self.marks.seen(&self.pen), self.books.checkpoint);
        async move {
            let seen = seen.await.map(|()| checkpoint);
            seen.map_err(|error| Failure::from(error).while_doing("see what is committed in Kafka"))
        }
    }

    // A log takes every row as blue has it.
    fn aside(&self) -> u64 {
        0
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        self.pen.abandoned.store(true, Ordering::Relaxed);
    }
}

impl KafkaSink {
    /// What beats and requests are handed in by while the pipeline has the sink.
    pub fn notes(&self) -> CaptureNotes {
        self.notes.clone()
    }

    /// Whether the migration was taken over. Nobody supersedes a sink that has claimed nothing.
    pub fn is_claimed(&self) -> bool {
        self.claimed
    }

    /// What tells failures from being superseded, for as long as somebody else has the sink.
    pub fn judge_alone(&self) -> LogJudge {
        LogJudge { settings: self.settings.clone(), claimant: self.pen.claimant.clone() }
    }

    /// The tables, in the order of their routes.
    pub fn captured(&self) -> &[CapturedTable] {
        &self.captured
    }

    /// Offset of the first request that has not been taken, as recorded when the migration was claimed.
    pub fn requests_offset(&self) -> i64 {
        self.books.requests
    }

    async fn write_batch(&mut self, batch: &Batch) -> Result<Applied, Failure> {
        self.ready().await?;
        let spans = spans::spans(batch, self.open.as_ref())?;
        let mut applied = Applied::default();
        let names = (self.settings.topic_prefix.as_str(), self.database.as_str());
        let switches = self.tables.switches(batch.raw.as_ref(), names)?;
        if spans.is_empty() {
            self.tables.switch(&switches);
            return Ok(applied);
        }
        let mut state = self.heals(batch, &mut applied)?;
        let upto = batch.checkpoint();
        let beats = upto.map(|upto| self.notes.take_beats(upto)).unwrap_or_default();
        let open = self.open.take();
        let mut groups = self.groups().switching(switches.clone());
        let left_open = groups.batch(batch, &spans, open, beats)?;
        let (last, groups) = groups.finish();
        self.tables.switch(&switches);
        if let Some(upto) = upto {
            self.books.checkpoint = upto;
            self.books.unseen.clone_from(&batch.unseen);
        }
        self.open = left_open;
        self.start(last, groups, &mut state)?;
        self.settle().await?;
        Ok(applied)
    }

    /// Finds the rows that must be read again. The sink has no rows, so that every one is taken to be missing, or out of date,
    /// whose table is not complete.
    fn heals(&mut self, batch: &Batch, applied: &mut Applied) -> Result<Vec<StateRecord>, Failure> {
        let mut records = Vec::new();
        for change in &batch.changes {
            let (route, key, waits_is_enough) = match change {
                RowChange::Reread { route, key } => (*route, key.blue.clone(), true),
                RowChange::Update { route, old_key, new, .. } if new.has_unchanged() => {
                    let (_, table) = self.tables.of(*route)?;
                    let moved = old_key.as_ref().is_some_and(|old| self.books.waits(*route, old));
                    if self.books.is_complete(*route) && !moved {
                        continue;
                    }
                    let nameless = || Failure::new(Class::Internal, "a row does not carry its key");
                    (*route, new.key(&table.key).ok_or_else(nameless)?, old_key.is_none())
                }
                _ => continue,
            };
            if waits_is_enough && self.books.waits(route, &key) {
                continue;
            }
            let (_, table) = self.tables.of(route)?;
            records.extend(self.books.heal(&table.name, route, &key));
            applied.heals.push((route, HealKey::same(key)));
        }
        Ok(records)
    }

    async fn write_chunk(&mut self, chunk: &PlacedChunk) -> Result<(), Failure> {
        self.ready().await?;
        if self.open.is_some() || chunk.at != self.books.checkpoint {
            let cause =
                format!("a chunk belongs at {}, but the log is at {}", chunk.at, self.books.checkpoint);
            return Err(Failure::new(Class::Internal, cause));
        }
        if !chunk.refused.is_empty() {
            return Err(Failure::new(Class::Internal, "a row that is not mapped cannot be refused"));
        }
        let (_, table) = self.tables.of(chunk.route)?;
        let rows = chunk.rows.len() as u64;
        let mut state = match &chunk.kind {
            PlacedKind::Copy { unit, range } => self.books.range_done(*unit, *range, rows)?,
            PlacedKind::Heal { keys } => {
                let settled = |key: &HealKey| self.books.healed(&table.name, chunk.route, &key.blue);
                keys.iter().filter_map(settled).collect()
            }
        };
        let beats = self.notes.take_beats(chunk.at);
        let mut groups = self.groups();
        match &chunk.kind {
            PlacedKind::Copy { unit, range } => groups.copied(chunk, (*unit, *range), beats)?,
            PlacedKind::Heal { keys } => groups.healed(chunk, keys, beats)?,
        }
        let (last, groups) = groups.finish();
        self.start(last, groups, &mut state)?;
        self.settle().await?;
        self.finished.push_back(ChunkDone { id: chunk.id, rows });
        Ok(())
    }

    /// Whether beats have come back of which the log could have told already.
    fn has_late_beats(&self) -> bool {
        self.claimed && self.open.is_none() && self.notes.has_beats(self.books.checkpoint)
    }

    /// Starts to write a group of its own for beats that found none to go with.
    fn start_beats(&mut self) -> Result<(), Failure> {
        let beats = self.notes.take_beats(self.books.checkpoint);
        let mut groups = self.groups();
        groups.bare(crate::codec::Work::None, &[], Tail { reached: None, beats })?;
        let (last, groups) = groups.finish();
        self.start(last, groups, &mut Vec::new())
    }

    fn groups(&mut self) -> Groups<'_> {
        let spare = std::mem::take(&mut self.spare);
        let end: Lsn = self.books.checkpoint.lsn();
        Groups::new(&self.tables, (self.books.group, end), now_us(), spare)
    }

    /// Starts to write groups, of which the last has this number, and the bookkeeping that goes with them.
    fn start(&mut self, last: u64, groups: Vec<Sealed>, state: &mut Vec<StateRecord>) -> Result<(), Failure> {
        // Without progress beside them, groups would get their numbers twice.
        if !self.claimed || self.books.lineage.is_none() {
            return Err(Failure::new(Class::Internal, "nothing was claimed and begun before it was written"));
        }
        self.books.group = last;
        let shapes = self.tables.announce(groups.iter().flat_map(|group| group.places.iter().copied()));
        for shape in &shapes {
            self.books.schemas.insert(shape.table.clone(), shape.version);
            state.push(StateRecord::Schema { table: shape.table.clone(), version: shape.version });
        }
        let books = &self.books;
        let known = |route: RouteId, key: Option<&Key>| {
            key.is_some_and(|key| books.waits(route, key)) || !books.is_complete(route)
        };
        self.books.requests = self.notes.requests(known).unwrap_or(self.books.requests);
        state.extend(self.books.progress());
        let draft = Draft {
            schemas: shapes.iter().map(|shape| (shape.record_key(), shape.to_json())).collect(),
            groups,
            touched: Vec::new(),
            state: state.iter().map(|record| (record.key(), record.value())).collect(),
        };
        self.marks.written(draft.groups.iter().flat_map(|group| &group.to));
        let pen = Arc::clone(&self.pen);
        let writing = move || Ok(Written { spare: pen.write(draft)?, last });
        self.under_way = Some(tokio::task::spawn_blocking(writing));
        Ok(())
    }

    /// Waits until groups can be written: until nothing is being written, nor left unfinished by a broker that went away.
    /// Cancel-safe.
    async fn ready(&mut self) -> Result<(), Failure> {
        self.settle().await?;
        if self.claimed && self.pen.watcher.take_shaken() {
            let (pen, last) = (Arc::clone(&self.pen), self.books.group);
            let mending = move || Ok(Written { spare: Vec::new(), last: left::mend(&pen, last)? });
            self.under_way = Some(tokio::task::spawn_blocking(mending));
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits until what is being written has been committed. Cancel-safe.
    async fn settle(&mut self) -> Result<(), Failure> {
        let Some(under_way) = &mut self.under_way else { return Ok(()) };
        let written = under_way.await;
        self.under_way = None;
        let crashed = |crash| Failure::new(Class::Internal, "a task ended unexpectedly").caused_by(crash);
        let Written { spare, last } = written.map_err(crashed)??;
        self.books.group = last;
        self.spare.extend(spare);
        self.spare.truncate(SPARE_MAX);
        Ok(())
    }
}

/// What writing came to.
struct Written {
    /// Memory of its groups.
    spare: Vec<Records>,
    /// The last group.
    last: u64,
}

/// Buffers of groups that are kept for the next ones.
const SPARE_MAX: usize = 2;

/// Microseconds since 1970-01-01 UTC.
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
