//! Applies batches: goes through the changes in order, lets those to one row become one write, and writes all rows side by side.
//!
//! A batch is cut into waves where a change has to see what those before it have written: before a truncation, and before a row
//! takes another key of which a part was sent by changes before.

use std::sync::Arc;

use understudy_contract::{Applied, Batch, Class, Failure};
use understudy_model::{Before, Checkpoint, HealKey, Key, Position, Refusal, RouteId, RowChange};

use super::books::{Aside, Heals, heal_key};
use super::fold::{Fold, Wave};
use super::places::Places;
use super::settings::{OnError, Transactions};
use super::target::{Leaves, Target, unknown_route};
use super::write::{Body, First, Heal, Op, Outcome, Shared, write_all};
use crate::error::Error;
use crate::layout::{Row, Version};
use crate::state::{Note, Notes, Reached, Why, aside, heal, surprise};

/// After so many rows a wave is written, so that neither it nor what it brings to light grows with the batch.
const WAVE_ROWS: usize = 4_096;

/// What applies changes, and what it knows.
pub(super) struct Applier {
    pub(super) shared: Arc<Shared>,
    pub(super) leaves: Arc<dyn Leaves>,
    pub(super) targets: Vec<Target>,
    pub(super) heals: Heals,
    pub(super) aside: Aside,
    /// Whether the migration has begun.
    pub(super) begun: bool,
    /// Where green stands.
    pub(super) applied: Checkpoint,
    /// Of this run.
    pub(super) epoch: u32,
    pub(super) places: Places,
    /// Whether a batch has left a transaction open.
    pub(super) open: bool,
    /// What is to be recorded with the next commit.
    pub(super) notes: Notes,
    /// How many rows are aside until then, and are settled by it.
    pub(super) emptied: usize,
}

/// Why applying ends.
pub(super) enum Halt {
    /// A change is refused, and the policy is to stop before its transaction.
    Stop {
        /// The place of the change in its batch.
        at: usize,
        failure: Box<Failure>,
    },
    /// Nothing can be decided here.
    Fatal(Failure),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Halt {
        Halt::Fatal(failure)
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Fatal(error.into())
    }
}

/// What a pass over a batch has brought to light, by the places of the changes.
#[derive(Default)]
pub(super) struct Found {
    pub(super) heals: Vec<(usize, RouteId, HealKey)>,
    pub(super) mismatches: u64,
    pub(super) quarantined: u64,
}

/// One pass over a batch.
pub(super) struct Pass<'b> {
    pub(super) batch: &'b Batch,
    /// Whole transactions, where those are to be visible all at once.
    pub(super) whole: Wave,
    /// What comes after them.
    pub(super) wave: Wave,
    /// A part of the transaction that is gone through was written before its end.
    split: bool,
    pub(super) found: Found,
}

impl<'b> Pass<'b> {
    fn new(batch: &'b Batch) -> Pass<'b> {
        let split = batch.first_ordinal > 0;
        Pass { batch, whole: Wave::default(), wave: Wave::default(), split, found: Found::default() }
    }
}

/// A change on its way to become a write.
pub(super) struct Step {
    pub(super) at: usize,
    pub(super) first: First,
    pub(super) heal: Option<HealKey>,
}

impl Applier {
    /// Applies a batch. What is refused by the policy to stop ends it before its transaction; those before are committed.
    pub(super) async fn apply(&mut self, batch: &Batch) -> Result<Applied, Failure> {
        self.check_order(batch)?;
        let shared = Arc::clone(&self.shared);
        shared.state.check(&shared.calls).await?;
        self.places.begin(batch);
        let mut pass = Pass::new(batch);
        match Box::pin(self.changes(&mut pass, batch.changes.len())).await {
            Ok(()) => {}
            Err(Halt::Fatal(failure)) => return Err(failure),
            Err(Halt::Stop { at, failure }) => return Err(self.stop(batch, at, *failure).await),
        }
        match batch.checkpoint() {
            Some(checkpoint) => {
                let (unseen, cursor) = (batch.unseen.as_deref(), batch.cursor.as_ref());
                self.commit(Reached { checkpoint, unseen, cursor }).await?;
                self.open = false;
            }
            None => self.open = batch.open.is_some(),
        }
        let Found { mut heals, mismatches, quarantined } = pass.found;
        heals.sort_by_key(|(at, ..)| *at);
        let heals = heals.into_iter().map(|(_, route, key)| (route, key)).collect();
        Ok(Applied { heals, mismatches, quarantined })
    }

    /// Whether a batch goes on where the last one ended.
    fn check_order(&self, batch: &Batch) -> Result<(), Failure> {
        let after = batch.commits.first().is_none_or(|mark| mark.checkpoint >= self.applied);
        if after && (batch.first_ordinal == 0 || self.open) {
            return Ok(());
        }
        Err(Failure::new(Class::Internal, "a batch does not go on where the last one ended"))
    }

    /// Commits what is whole before a change that is refused. The run ends, so what else was found is of no use any more.
    async fn stop(&mut self, batch: &Batch, at: usize, failure: Failure) -> Failure {
        let whole = batch.commits.iter().rev().find(|mark| mark.changes_before <= at);
        let Some(mark) = whole else { return failure };
        let mut pass = Pass::new(batch);
        let again = Box::pin(self.changes(&mut pass, mark.changes_before)).await;
        if again.is_ok() {
            // The place in the log stays, which is further back at most; what was seen of transactions is not known.
            let reached = Reached { checkpoint: mark.checkpoint, unseen: None, cursor: None };
            if let Err(other) = self.commit(reached).await {
                return other;
            }
        }
        failure
    }

    async fn commit(&mut self, reached: Reached<'_>) -> Result<(), Failure> {
        let notes = std::mem::take(&mut self.notes);
        let Shared { state, calls, .. } = &*self.shared;
        state.write(calls, notes).await?;
        state.advance(calls, self.applied, reached).await?;
        (self.applied, self.emptied) = (reached.checkpoint, 0);
        Ok(())
    }

    /// Goes through the first changes of a batch, and writes what they make.
    async fn changes(&mut self, pass: &mut Pass<'_>, count: usize) -> Result<(), Halt> {
        let batch = pass.batch;
        let ends = batch.commits.iter().map(|mark| mark.changes_before).collect::<Vec<_>>();
        let mut ends = ends.into_iter().peekable();
        for at in 0..count {
            self.change(pass, at).await?;
            if pass.wave.len() >= WAVE_ROWS {
                self.flush(pass).await?;
            }
            while ends.next_if(|end| *end <= at + 1).is_some() {
                self.end(pass).await?;
            }
        }
        self.flush(pass).await
    }

    /// A transaction is whole: it joins those before it, where all of them are to be visible at once.
    async fn end(&mut self, pass: &mut Pass<'_>) -> Result<(), Halt> {
        if self.shared.transactions == Transactions::Rows {
            return Ok(());
        }
        let is_split = std::mem::take(&mut pass.split);
        if pass.wave.is_empty() {
            self.shared.calls.meter.transaction(!is_split);
            return Ok(());
        }
        if is_split || !pass.wave.fits() {
            self.shared.calls.meter.transaction(false);
            let flushed = self.flush(pass).await;
            pass.split = false;
            return flushed;
        }
        if !pass.whole.takes(&pass.wave) {
            self.flush_whole(pass).await?;
        }
        self.shared.calls.meter.transaction(true);
        for op in pass.wave.take() {
            let meant = Meant::of(&op);
            let fold = pass.whole.add(op)?;
            self.folded(pass, meant, fold)?;
        }
        Ok(())
    }

    /// Writes the transactions that are whole.
    pub(super) async fn flush_whole(&mut self, pass: &mut Pass<'_>) -> Result<(), Halt> {
        if pass.whole.is_empty() {
            return Ok(());
        }
        let ops = self.noted(pass.whole.take());
        let (outcomes, _) = Box::pin(self.shared.write_whole(ops)).await?;
        outcomes.into_iter().try_for_each(|outcome| self.learn(pass, outcome))
    }

    async fn change(&mut self, pass: &mut Pass<'_>, at: usize) -> Result<(), Halt> {
        let Some(change) = pass.batch.changes.get(at) else { return Ok(()) };
        self.renew(pass, at, change)?;
        if let RowChange::Refused { refusal, .. } = change {
            return self.refuse(pass, at, Refused::Uncomputed(refusal));
        }
        if !self.aside.is_empty()
            && self.keys(change)?.iter().any(|(route, key)| self.aside.contains(*route, key))
        {
            return Ok(self.set_aside(pass, at, None)?);
        }
        match change {
            RowChange::Reread { .. } | RowChange::Refused { .. } => Ok(()),
            RowChange::Truncate { .. } | RowChange::TruncateLeaf { .. } => {
                self.flush(pass).await?;
                self.empty(pass, at, change).await
            }
            RowChange::Update { old_key: Some(_), .. } => self.moves(pass, at, change).await,
            RowChange::Insert { route, new } => {
                let target = self.target(*route)?;
                let key = target.key_of(new)?;
                let first = if target.complete { First::Free } else { First::Any };
                self.row(pass, Step { at, first, heal: None }, (*route, key, new)).await
            }
            RowChange::Update { route, new, before, .. } => {
                let target = self.target(*route)?;
                let key = target.key_of(new)?;
                let first = there(target, *before);
                let heal = Some(heal_key(key.clone(), change));
                self.row(pass, Step { at, first, heal }, (*route, key, new)).await
            }
            RowChange::Delete { route, key, before } => {
                let first = there(self.target(*route)?, *before);
                self.gone(pass, Step { at, first, heal: None }, (*route, key)).await
            }
        }
    }

    async fn row(
        &mut self,
        pass: &mut Pass<'_>,
        step: Step,
        (route, key, new): (RouteId, Key, &understudy_model::Tuple),
    ) -> Result<(), Halt> {
        let version = self.version(step.at)?;
        match self.target(route)?.layout.read_checked(new, version) {
            Ok(row) => self.put(pass, step, (route, key, row)).await,
            Err(not_fit) => self.refuse(pass, step.at, Refused::NotTaken(not_fit.into())),
        }
    }

    /// Adds a row that is there afterwards.
    pub(super) async fn put(
        &mut self,
        pass: &mut Pass<'_>,
        step: Step,
        (route, key, row): (RouteId, Key, Row),
    ) -> Result<(), Halt> {
        let (item, part) = (row.key().clone(), row.part().map(str::to_owned));
        let body = if row.is_whole() { Body::Put(row) } else { Body::Patch(row) };
        let op = self.op(pass.batch, step, (route, key, item, part), body)?;
        self.add(pass, op).await
    }

    /// Adds a row that is gone afterwards.
    pub(super) async fn gone(
        &mut self,
        pass: &mut Pass<'_>,
        step: Step,
        (route, key): (RouteId, &Key),
    ) -> Result<(), Halt> {
        match self.target(route)?.place_of(key) {
            Ok((item, part)) => {
                let op = self.op(pass.batch, step, (route, key.clone(), item, part), Body::Gone)?;
                self.add(pass, op).await
            }
            Err(error) => self.refuse(pass, step.at, Refused::NotTaken(error)),
        }
    }

    fn op(
        &self,
        batch: &Batch,
        step: Step,
        (route, key, item, part): (RouteId, Key, crate::layout::ItemKey, Option<String>),
        body: Body,
    ) -> Result<Op, Failure> {
        let target = self.target(route)?;
        let place = (self.version(step.at)?, position(batch, step.at)?);
        // What is read again is put right then, whatever is found of it now.
        let is_read_again = self.heals.contains(route, &key);
        let first = if is_read_again { First::Any } else { step.first };
        Ok(Op {
            layout: Arc::clone(&target.layout),
            route,
            number: target.number,
            key,
            item,
            part,
            first,
            is_new: target.is_new() && !is_read_again,
            from: place,
            body,
            upto: place,
            at: step.at,
            heal: step.heal,
        })
    }

    async fn add(&mut self, pass: &mut Pass<'_>, op: Op) -> Result<(), Halt> {
        let meant = Meant::of(&op);
        match pass.wave.add(op)? {
            Fold::Wait(op) => {
                self.flush(pass).await?;
                pass.wave.add(*op)?;
                Ok(())
            }
            fold => Ok(self.folded(pass, meant, fold)?),
        }
    }

    /// Notes what a change has found that follows others of its row.
    fn folded(&mut self, pass: &mut Pass<'_>, meant: Meant, fold: Fold) -> Result<(), Failure> {
        let Meant { at, route, key, heal } = meant;
        match fold {
            Fold::Fits => {}
            Fold::Extra => self.note_surprise(pass, at, (route, &key), "extra")?,
            Fold::Missing => self.note_surprise(pass, at, (route, &key), "missing")?,
            Fold::Nothing { is_expected } => {
                if is_expected {
                    self.note_surprise(pass, at, (route, &key), "missing")?;
                }
                if let Some(heal) = heal {
                    self.read_again(pass, at, (route, heal))?;
                }
            }
            Fold::Wait(_) => {
                return Err(Failure::new(Class::Internal, "a change follows one that is not written yet"));
            }
        }
        Ok(())
    }

    /// Writes what has come together, transactions that are whole before the others.
    pub(super) async fn flush(&mut self, pass: &mut Pass<'_>) -> Result<(), Halt> {
        self.flush_whole(pass).await?;
        if pass.wave.is_empty() {
            return Ok(());
        }
        pass.split = true;
        let ops = self.noted(pass.wave.take());
        let outcomes = write_all(&self.shared, ops).await?;
        outcomes.into_iter().try_for_each(|outcome| self.learn(pass, outcome))
    }

    /// Notes that routes have rows which are about to be written.
    fn noted(&mut self, ops: Vec<Op>) -> Vec<Op> {
        for op in &ops {
            if let Some(target) = self.targets.get_mut(op.route.index()) {
                target.has_rows |= !matches!(op.body, Body::Gone);
            }
        }
        ops
    }

    fn learn(&mut self, pass: &mut Pass<'_>, outcome: Outcome) -> Result<(), Halt> {
        let Outcome { op, surprised, heal, refused } = outcome;
        pass.found.mismatches += u64::from(surprised);
        if let Some(key) = op.heal.filter(|_| heal != Heal::No)
            && (heal == Heal::Missing || !self.heals.covers(op.route, &key))
        {
            self.read_again(pass, op.at, (op.route, key))?;
        }
        match refused {
            Some(error) => self.refuse(pass, op.at, Refused::NotTaken(error)),
            None => Ok(()),
        }
    }

    /// Finds the rows that may be out of date in what a change did not send, and those of which too little was sent to tell what
    /// they are on green.
    ///
    /// While a route is copied over rows that were there before, that is every row of which only a part was sent, since the copy
    /// leaves rows that are touched to the stream. In any route it is a row that leaves a key which waits to be read again: that
    /// read finds it gone, and what is amiss with it has moved on. A row that stays under a key that waits needs nothing more,
    /// since a read that is still to come or under way takes this change into account.
    fn renew(&mut self, pass: &mut Pass<'_>, at: usize, change: &RowChange) -> Result<(), Failure> {
        match change {
            RowChange::Reread { route, key } if !self.heals.covers(*route, key) => {
                self.read_again(pass, at, (*route, key.clone()))
            }
            RowChange::Update { route, old_key, new, .. } => {
                let target = self.target(*route)?;
                let leaves = old_key.as_ref().is_some_and(|old| self.heals.contains(*route, old));
                if !(target.is_renewed() || leaves) || !new.has_unchanged() {
                    return Ok(());
                }
                let key = heal_key(target.key_of(new)?, change);
                if old_key.is_some() || !self.heals.covers(*route, &key) {
                    self.read_again(pass, at, (*route, key))?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Notes and reports that a row has to be read again. Once is enough for all changes of a batch.
    pub(super) fn read_again(
        &mut self,
        pass: &mut Pass<'_>,
        at: usize,
        (route, key): (RouteId, HealKey),
    ) -> Result<(), Failure> {
        let number = self.number(route)?;
        let (of, note) = heal(number, &key, position(pass.batch, at)?);
        self.notes.insert(of, note);
        let is_known = self.heals.covers(route, &key);
        self.heals.add(route, &key);
        if !is_known || !pass.found.heals.iter().any(|(_, of, known)| (*of, known) == (route, &key)) {
            pass.found.heals.push((at, route, key));
        }
        Ok(())
    }

    pub(super) fn note_surprise(
        &mut self,
        pass: &mut Pass<'_>,
        at: usize,
        (route, key): (RouteId, &Key),
        kind: &str,
    ) -> Result<(), Failure> {
        if self.heals.contains(route, key) {
            return Ok(());
        }
        let number = self.number(route)?;
        let (of, note) = surprise(number, key, position(pass.batch, at)?, kind);
        self.notes.insert(of, note);
        pass.found.mismatches += 1;
        Ok(())
    }

    /// A change cannot be written as it is: it is set aside, or the run stops before its transaction.
    pub(super) fn refuse(&mut self, pass: &mut Pass<'_>, at: usize, why: Refused<'_>) -> Result<(), Halt> {
        if self.shared.on_error == OnError::Stop {
            let failure = why.failure().at(position(pass.batch, at)?);
            return Err(Halt::Stop { at, failure: Box::new(failure) });
        }
        Ok(self.set_aside(pass, at, Some(why))?)
    }

    /// Sets a change aside, with both keys of its row. Without a reason it follows an earlier one of them.
    fn set_aside(&mut self, pass: &mut Pass<'_>, at: usize, why: Option<Refused<'_>>) -> Result<(), Failure> {
        let Some(change) = pass.batch.changes.get(at) else { return Ok(()) };
        let why = why.map_or_else(earlier, |why| why.why());
        for (route, key) in self.keys(change)? {
            let number = self.number(route)?;
            let (of, note) = aside(number, &key, position(pass.batch, at)?, &why);
            self.notes.insert(of.clone(), note);
            self.aside.add(route, key, of);
        }
        pass.found.quarantined += 1;
        Ok(())
    }

    /// The keys that a change of a row is about.
    fn keys(&self, change: &RowChange) -> Result<Vec<(RouteId, Key)>, Failure> {
        let (route, old, new) = match change {
            RowChange::Insert { route, new } => (*route, None, Some(self.target(*route)?.key_of(new)?)),
            RowChange::Update { route, old_key, new, .. } => {
                (*route, old_key.clone(), Some(self.target(*route)?.key_of(new)?))
            }
            RowChange::Delete { route, key, .. } => (*route, Some(key.clone()), None),
            RowChange::Refused { route, old_key, key, .. } => (*route, old_key.clone(), Some(key.clone())),
            RowChange::Reread { .. } | RowChange::Truncate { .. } | RowChange::TruncateLeaf { .. } => {
                return Ok(Vec::new());
            }
        };
        Ok([old, new].into_iter().flatten().map(|key| (route, key)).collect())
    }

    /// Nothing of a route is aside any more.
    pub(super) fn settle_route(&mut self, route: RouteId) {
        let before = self.aside.len();
        let told = self.aside.settle_route(route);
        self.emptied += before - self.aside.len();
        self.notes.extend(told.into_iter().map(|of| (of, Note::Remove)));
    }

    pub(super) fn target(&self, route: RouteId) -> Result<&Target, Failure> {
        self.targets.get(route.index()).ok_or_else(unknown_route)
    }

    /// The number of a route in the state table, where it is noted if it is not known yet.
    pub(super) fn number(&mut self, route: RouteId) -> Result<u32, Failure> {
        let target = self.targets.get_mut(route.index()).ok_or_else(unknown_route)?;
        if !target.registered {
            let (of, note) = target.form().note();
            self.notes.insert(of, note);
            target.registered = true;
        }
        Ok(target.number)
    }

    pub(super) fn version(&self, at: usize) -> Result<Version, Failure> {
        Ok(Version::change(self.epoch, self.places.at(at).ok_or_else(outside)?))
    }
}

/// What a change is about that becomes a write.
struct Meant {
    at: usize,
    route: RouteId,
    key: Key,
    heal: Option<HealKey>,
}

impl Meant {
    fn of(op: &Op) -> Meant {
        Meant { at: op.at, route: op.route, key: op.key.clone(), heal: op.heal.clone() }
    }
}

/// Why a change is refused.
pub(super) enum Refused<'r> {
    /// DynamoDB does not take it.
    NotTaken(Error),
    /// Its values cannot be computed.
    Uncomputed(&'r Refusal),
}

impl Refused<'_> {
    pub(super) fn failure(self) -> Failure {
        match self {
            Refused::NotTaken(error) => error.into(),
            Refused::Uncomputed(refusal) => Failure::new(Class::Data, refusal.to_string()).remedy(
                "mend the row on blue, or the expression so that it takes such rows, or set `on_error: quarantine`, and run \
                 again",
            ),
        }
    }

    pub(super) fn why(&self) -> Why {
        match self {
            Refused::NotTaken(error) => {
                let column = match error {
                    Error::NotFit(not_fit) => not_fit.column.clone(),
                    _ => None,
                };
                Why { column, sqlstate: None, reason: error.to_string() }
            }
            Refused::Uncomputed(refusal) => Why {
                column: refusal.column.clone(),
                sqlstate: Some(refusal.sqlstate.clone()),
                reason: refusal.to_string(),
            },
        }
    }
}

fn earlier() -> Why {
    Why { column: None, sqlstate: None, reason: "an earlier change to this row was set aside".to_owned() }
}

/// What a change promises that knows of the row before it. One that DynamoDB may have removed by itself is not missed.
pub(super) fn there(target: &Target, before: Before) -> First {
    let is_promised = target.complete && before == Before::There && !target.layout.may_end();
    if is_promised { First::There } else { First::Any }
}

/// The identity of a change.
pub(super) fn position(batch: &Batch, at: usize) -> Result<Position, Failure> {
    batch.position_of(at).ok_or_else(outside)
}

fn outside() -> Failure {
    Failure::new(Class::Internal, "a change belongs to no transaction")
}
