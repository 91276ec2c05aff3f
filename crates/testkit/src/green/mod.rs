//! An in-memory green that keeps every sentence of [`understudy_contract::ChangeSink`], with the freedom that the
//! contract leaves: chunks are committed when the caller says so, and a crash may take back what was not persisted.

mod damage;
mod raw;
mod sink;
mod state;

pub use damage::Damage;
pub use sink::MemorySink;
pub use state::{GreenRow, GreenRows};

use std::collections::{BTreeMap, VecDeque};

use understudy_contract::{
    Applied, Batch, ChunkDone, Class, Failure, GreenTable, LedgerEntry, Lineage, PlacedChunk, PlacedKind,
    Saved,
};
use understudy_model::{Checkpoint, HealKey, Key, RouteId, RowChange};
use understudy_replicate::Rules;

use crate::fake_log::FakeLog;
use state::{State, cells, key_of};

/// The store itself, which outlives its sessions.
#[derive(Debug)]
pub struct Green {
    tables: Vec<GreenTable>,
    /// Commits since the last one that is known to survive a crash, that one first.
    commits: VecDeque<State>,
    owner: u64,
    /// The rules in force: all of them but where a test shows that one is needed.
    rules: Rules,
    /// What befalls rows as soon as they are asked to be read again.
    damages: BTreeMap<(RouteId, Key), Damage>,
    damaged: u64,
    /// What is written instead of rows.
    log: Option<FakeLog>,
}

/// One instance's connection to green.
#[derive(Debug)]
pub struct Session {
    owner: u64,
    /// The transaction that a batch left open.
    open: Option<State>,
    /// Chunks that are being written.
    writing: Vec<PlacedChunk>,
    /// Chunks committed and not yet reported.
    finished: VecDeque<ChunkDone>,
    /// Changes of the open transaction that earlier batches brought.
    open_changes: u64,
}

/// What is on its way to survive a crash.
#[derive(Debug)]
pub struct Persist {
    owner: u64,
    upto: Checkpoint,
}

impl Green {
    /// An empty store.
    pub fn new(tables: Vec<GreenTable>) -> Green {
        Green::with_rules(tables, Rules::all())
    }

    /// An empty store that may break a rule.
    pub fn with_rules(tables: Vec<GreenTable>, rules: Rules) -> Green {
        let commits = VecDeque::from([State::empty(tables.len())]);
        Green { tables, commits, owner: 0, rules, damages: BTreeMap::new(), damaged: 0, log: None }
    }

    /// Takes ownership away from every earlier session.
    pub fn claim(&mut self) -> (Session, Option<Saved>) {
        self.owner += 1;
        let session = Session {
            owner: self.owner,
            open: None,
            writing: Vec::new(),
            finished: VecDeque::new(),
            open_changes: 0,
        };
        (session, self.current().saved(&self.tables))
    }

    /// Adds a table that the migration did not have before.
    pub fn add_table(&mut self, table: GreenTable) {
        self.tables.push(table);
        for state in &mut self.commits {
            state.rows.push(std::sync::Arc::default());
            state.complete.push(false);
            state.renewed.push(false);
        }
    }

    /// Puts rows there that no change has brought, or gives rows that are there other values: durably, and without a word
    /// in the bookkeeping, as somebody does who works on green directly.
    pub fn tamper(&mut self, route: RouteId, by: impl FnOnce(&mut GreenRows)) {
        let mut current = self.current().clone();
        by(current.rows_mut(route));
        self.commits = VecDeque::from([current]);
    }

    /// Stops the server at once: keeps what was persisted, and as many later commits, in order, as `keep` allows.
    pub fn crash(&mut self, keep: usize) {
        if self.log.is_none() {
            self.commits.truncate(keep.max(1));
        }
        self.owner += 1;
    }

    /// What was committed when this was started survives a crash from now on, and nothing later.
    pub fn persisted(&mut self, persist: Persist) -> Result<Checkpoint, Failure> {
        self.check_owner(persist.owner)?;
        while self.commits.get(1).is_some_and(|next| next.checkpoint <= persist.upto) {
            self.commits.pop_front();
        }
        Ok(persist.upto)
    }

    /// Commits that a crash may still take back.
    pub fn unpersisted(&self) -> usize {
        self.commits.len() - 1
    }

    /// The rows of a route.
    pub fn rows(&self, route: RouteId) -> &GreenRows {
        &self.current().rows[route.index()]
    }

    /// Whether a unit of a route has been planned.
    pub fn is_planned(&self, route: RouteId) -> bool {
        self.current().units.keys().any(|unit| unit.route == route)
    }

    /// Whether a route's copy is complete.
    pub fn is_complete(&self, route: RouteId) -> bool {
        self.current().complete[route.index()]
    }

    /// Rows that wait to be read again.
    pub fn heals(&self) -> Vec<(RouteId, HealKey)> {
        self.current().heals.iter().cloned().collect()
    }

    /// Rows of complete routes that were not as the changes promised.
    pub fn mismatches(&self) -> u64 {
        self.current().mismatches
    }

    /// Rows of which changes have been set aside.
    pub fn set_aside(&self) -> Vec<(RouteId, Key)> {
        self.current().aside.iter().cloned().collect()
    }

    /// The committed checkpoint.
    pub fn checkpoint(&self) -> Checkpoint {
        self.current().checkpoint
    }

    /// The tables.
    pub fn tables(&self) -> &[GreenTable] {
        &self.tables
    }

    fn current(&self) -> &State {
        &self.commits[self.commits.len() - 1]
    }

    fn commit(&mut self, session: &Session, state: State) -> Result<(), Failure> {
        self.check_owner(session.owner)?;
        self.commits.push_back(state);
        Ok(())
    }

    fn check_owner(&self, owner: u64) -> Result<(), Failure> {
        let owns = self.owner == owner;
        owns.then_some(())
            .ok_or_else(|| Failure::new(Class::Superseded, "another instance owns the migration"))
    }
}

impl Session {
    /// Records the start of a migration, or of its life under a new slot. Survives a crash at once.
    pub fn begin(&self, green: &mut Green, lineage: &Lineage, at: Checkpoint) -> Result<(), Failure> {
        let state =
            State { lineage: Some(lineage.clone()), checkpoint: at, unseen: None, ..green.current().clone() };
        green.commit(self, state)?;
        green.commits.drain(..green.commits.len() - 1);
        Ok(())
    }

    /// Applies a batch; commits when it ends at a commit.
    pub fn apply(&mut self, green: &mut Green, batch: &Batch) -> Result<Applied, Failure> {
        green.check_owner(self.owner)?;
        self.check_order(green, batch)?;
        for route in batch.changes.iter().flat_map(|change| change.routes().to_vec()) {
            self.finish_route(green, route)?;
        }
        let mut state = self.open.take().unwrap_or_else(|| green.current().clone());
        let mut applied = Applied::default();
        for change in &batch.changes {
            if let RowChange::Reread { route, key } = change {
                green.damage(&mut state, *route, &key.green);
            }
            if green.log.is_some() {
                state.observe(&green.tables, change, &mut applied)?;
            } else {
                state.apply((&green.tables, &green.rules), change, &mut applied)?;
            }
        }
        if let Some(log) = &mut green.log {
            log.batch(batch)?;
        }
        match batch.checkpoint() {
            Some(checkpoint) => {
                state.checkpoint = checkpoint;
                state.unseen.clone_from(&batch.unseen);
                state.cursor.clone_from(&batch.cursor);
                self.open_changes = 0;
                green.commit(self, state)?;
            }
            None => {
                let before = batch.commits.last().map_or(0, |mark| mark.changes_before);
                let fresh = batch.commits.is_empty();
                self.open_changes =
                    (batch.changes.len() - before) as u64 + if fresh { batch.first_ordinal } else { 0 };
                self.open = Some(state);
            }
        }
        Ok(applied)
    }

    /// Batches follow each other without gap or repetition.
    fn check_order(&self, green: &Green, batch: &Batch) -> Result<(), Failure> {
        let ordered = batch.commits.is_sorted_by_key(|mark| (mark.changes_before, mark.checkpoint));
        let after = batch.commits.first().is_none_or(|mark| mark.checkpoint >= green.checkpoint());
        let follows =
            batch.first_ordinal == self.open_changes && (batch.first_ordinal > 0) == self.open.is_some();
        if ordered && after && follows {
            return Ok(());
        }
        Err(Failure::new(
            Class::Internal,
            format!(
                "a batch is out of order (ordered {ordered}, after the checkpoint {after}, continues {follows})"
            ),
        ))
    }

    /// Starts writing a chunk.
    pub fn place(&mut self, green: &mut Green, chunk: PlacedChunk) -> Result<(), Failure> {
        green.check_owner(self.owner)?;
        if self.open.is_some() || chunk.at != green.checkpoint() {
            let cause =
                format!("a chunk of {} is placed while green stands at {}", chunk.at, green.checkpoint());
            return Err(Failure::new(Class::Internal, cause));
        }
        if let Some(log) = &mut green.log {
            // Written at once; only the bookkeeping is kept here.
            log.chunk(&chunk);
            self.writing.push(PlacedChunk { rows: Vec::new(), left_out: Vec::new(), ..chunk });
            return self.finish(green, self.writing.len() - 1);
        }
        self.writing.push(chunk);
        Ok(())
    }

    /// How many chunks are being written.
    pub fn writing(&self) -> usize {
        self.writing.len()
    }

    /// Commits one of the chunks that are being written.
    pub fn finish(&mut self, green: &mut Green, at: usize) -> Result<(), Failure> {
        if at >= self.writing.len() {
            return Ok(());
        }
        let chunk = self.writing.remove(at);
        let mut state = green.current().clone();
        write(&mut state, &green.tables, &chunk)?;
        green.commit(self, state)?;
        if let Some(open) = &mut self.open {
            write(open, &green.tables, &chunk)?;
        }
        self.finished.push_back(ChunkDone { id: chunk.id, rows: chunk.rows.len() as u64 });
        Ok(())
    }

    fn finish_route(&mut self, green: &mut Green, route: RouteId) -> Result<(), Failure> {
        while let Some(at) = self.writing.iter().position(|chunk| chunk.route == route) {
            self.finish(green, at)?;
        }
        Ok(())
    }

    /// Rows that are set aside: what the open transaction settles is so until it is committed.
    pub fn aside(&self, green: &Green) -> u64 {
        let committed = &green.current().aside;
        self.open.as_ref().map_or(committed.len(), |open| committed.union(&open.aside).count()) as u64
    }

    /// A chunk that has been committed and not been reported yet.
    pub fn placed(&mut self) -> Option<ChunkDone> {
        self.finished.pop_front()
    }

    /// Records an entry.
    pub fn record(&mut self, green: &mut Green, entry: &LedgerEntry) -> Result<(), Failure> {
        while self.writing() > 0 {
            self.finish(green, 0)?;
        }
        let inside = self.open.take();
        let alone = inside.is_none();
        if let Some(log) = &mut green.log {
            log.entry(entry);
        }
        let mut state = inside.unwrap_or_else(|| green.current().clone());
        match entry {
            LedgerEntry::Plan(unit) => state.plan(unit),
            LedgerEntry::Refresh(unit) => state.refresh(unit),
            LedgerEntry::Forget(unit) => drop(state.units.remove(unit)),
            LedgerEntry::Complete(route) => state.completed(*route),
        }
        if alone {
            return green.commit(self, state);
        }
        self.open = Some(state);
        green.check_owner(self.owner)
    }

    /// Records that the copy of a route starts again, at once and durably.
    pub fn start_again(&mut self, green: &mut Green, route: RouteId) -> Result<(), Failure> {
        let mut state = green.current().clone();
        state.start_again(route);
        green.commit(self, state)?;
        self.persist(green).map(drop)
    }

    /// Makes everything committed so far survive a crash.
    pub fn persist(&mut self, green: &mut Green) -> Result<Checkpoint, Failure> {
        let persist = self.start_persist(green)?;
        green.persisted(persist)
    }

    /// Starts to make everything committed so far survive a crash.
    pub fn start_persist(&self, green: &Green) -> Result<Persist, Failure> {
        green.check_owner(self.owner)?;
        Ok(Persist { owner: self.owner, upto: green.checkpoint() })
    }
}

/// Writes the rows of a chunk together with what they settle.
fn write(state: &mut State, tables: &[GreenTable], chunk: &PlacedChunk) -> Result<(), Failure> {
    for row in &chunk.rows {
        let (key, row) = (key_of(tables, chunk.route, row)?, cells(row, None)?);
        state.rows_mut(chunk.route).insert(key, row);
    }
    let heals = matches!(chunk.kind, PlacedKind::Heal { .. });
    // What was set aside of rows that are written or removed is on green now.
    for row in &chunk.rows {
        state.aside.remove(&(chunk.route, key_of(tables, chunk.route, row)?));
    }
    if heals || state.is_renewed(chunk.route) {
        for key in &chunk.left_out {
            state.rows_mut(chunk.route).remove(key);
            state.aside.remove(&(chunk.route, key.clone()));
        }
    }
    state.aside.extend(chunk.refused.iter().map(|(key, _)| (chunk.route, key.clone())));
    let known = match &chunk.kind {
        PlacedKind::Copy { unit, range } => state.done(*unit, *range, chunk.rows.len() as u64),
        PlacedKind::Heal { keys } => {
            for key in keys {
                state.heals.remove(&(chunk.route, key.clone()));
            }
            true
        }
    };
    known.then_some(()).ok_or_else(|| Failure::new(Class::Internal, "a chunk belongs to no planned unit"))
}
