//! Applies batches: one transaction of green for many of blue, in sets where that is exact, else one by one.

use rustc_hash::FxHashSet;
use understudy_contract::{Applied, Batch, Class, Failure};
use understudy_model::{Checkpoint, Key, Position, RouteId, RowChange};

use super::books::{Books, Reached};
use super::claim;
use super::heals::Heals;
use super::plan::plan;
use super::script::{Expect, Script, Verdict, unknown_route};
use super::settings::OnError;
use super::stages::Stages;
use super::statements::Statements;
use super::target::Target;
use super::truncate::{truncate_leaf_sql, truncate_sql};
use crate::wire::{Client, TransactionState};

/// For how many batches a route goes row by row after a set of its rows was refused.
const CAUTIOUS_BATCHES: u32 = 16;

/// What to do about a constraint that is checked at the end of a transaction and does not hold there.
pub(super) const DEFERRED_REMEDY: &str =
    "make green hold what the constraint asks for, or drop it, and run again";

/// The session that applies changes, and what it remembers.
pub(super) struct Applier {
    pub(super) client: Client,
    pub(super) books: Books,
    /// By the number of their route.
    pub(super) targets: Vec<Target>,
    pub(super) statements: Statements,
    pub(super) stages: Stages,
    pub(super) on_error: OnError,
    /// Whether ordinary triggers and foreign keys are passed over.
    pub(super) replica_role: bool,
    /// Whether the planner is told to look rows up by key for each set, because triggers of users need it otherwise.
    pub(super) pin_each: bool,
    /// The checkpoint that green holds.
    pub(super) applied: Checkpoint,
    /// Whether a transaction of blue has been applied in part.
    pub(super) open: bool,
    /// Rows that are to be read again by key.
    pub(super) heals: Heals,
    /// Rows of which changes have been set aside.
    pub(super) quarantined: FxHashSet<(RouteId, Key)>,
    /// How many more were so before the open transaction, which empties their routes.
    pub(super) emptied: usize,
    /// Whether others fill green too, of which the first one empties tables for all.
    pub(super) laned: bool,
}

/// A stretch of a batch that is applied in one go: whole transactions, or a part of one that is still open.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) batch: &'a Batch,
    pub(super) from: usize,
    pub(super) to: usize,
    /// Where it ends, when it ends at a commit.
    pub(super) end: Option<Reached<'a>>,
}

impl Piece<'_> {
    pub(super) fn changes(&self) -> &[RowChange] {
        &self.batch.changes[self.from..self.to]
    }
}

impl Applier {
    /// Applies a batch as the contract says.
    pub(super) async fn apply(&mut self, batch: &Batch) -> Result<Applied, Failure> {
        let mut applied = Applied::default();
        let closed = batch.commits.last().map_or(0, |mark| mark.changes_before.min(batch.changes.len()));
        if let Some(mark) = batch.commits.last() {
            // With a transaction open behind it, the place in the log may be one that only its end reaches.
            let cursor = batch.cursor.as_ref().filter(|_| batch.open.is_none());
            let end = Some(Reached { checkpoint: mark.checkpoint, unseen: batch.unseen.as_deref(), cursor });
            self.piece(Piece { batch, from: 0, to: closed, end }, &mut applied).await?;
        }
        if batch.open.is_some() && closed < batch.changes.len() {
            self.piece(Piece { batch, from: closed, to: batch.changes.len(), end: None }, &mut applied)
                .await?;
        }
        for target in &mut self.targets {
            target.cautious = target.cautious.saturating_sub(1);
        }
        Ok(applied)
    }

    async fn piece(&mut self, piece: Piece<'_>, applied: &mut Applied) -> Result<(), Failure> {
        self.heals.start();
        let mut aside = self.concerns_aside(piece);
        if aside && self.laned {
            self.look_aside().await?;
            aside = self.concerns_aside(piece);
        }
        let refused = |change: &RowChange| matches!(change, RowChange::Refused { .. });
        let one_by_one = aside || piece.changes().iter().any(refused);
        if !one_by_one && !self.takes_out(piece.changes()) && self.at_once(piece, applied).await? {
            return Ok(());
        }
        self.exactly(piece, applied).await
    }

    /// Whether one of the changes concerns rows of which changes have been set aside.
    fn concerns_aside(&self, piece: Piece<'_>) -> bool {
        let mut changes = piece.changes().iter();
        match self.quarantined.is_empty() {
            true => self.laned && changes.any(|change| self.settles_aside(change)),
            false => changes.any(|change| self.is_aside(change) || self.settles_aside(change)),
        }
    }

    /// Whether a change empties a route of which changes may have been set aside.
    fn settles_aside(&self, change: &RowChange) -> bool {
        let RowChange::Truncate { routes } = change else {
            return false;
        };
        self.laned || self.quarantined.iter().any(|(aside, _)| routes.contains(aside))
    }

    /// What has been set aside may be settled by now: the lane that empties tables does that for all.
    async fn look_aside(&mut self) -> Result<(), Failure> {
        let found = claim::set_aside(&mut self.client, &self.books.migration).await?;
        let of_number = |number| self.targets.iter().find(|target| target.number == number);
        let one = |(number, key)| Some((of_number(number)?.green.route, key));
        self.quarantined = found.into_iter().filter_map(one).collect();
        Ok(())
    }

    /// Whether one of the changes is made by deleting a row that others refer to, which is refused by name.
    pub(super) fn takes_out(&self, changes: &[RowChange]) -> bool {
        let replaces = |target: &Target| target.traits.deletes_spread && target.draws_key();
        let of = |route: &RouteId| self.targets.get(route.index());
        self.targets.iter().any(replaces)
            && changes.iter().any(|change| {
                matches!(change, RowChange::Update { route, old_key: Some(_), .. } if of(route).is_some_and(replaces))
            })
    }

    /// Those of the keys of which changes have been set aside. Nearly always none has, and no key is looked at.
    pub(super) fn of_those_aside<K: Iterator<Item = Key>>(
        &self,
        route: RouteId,
        keys: impl FnOnce() -> K,
    ) -> Vec<Key> {
        match self.quarantined.iter().any(|(aside, _)| *aside == route) {
            true => keys().filter(|key| self.quarantined.contains(&(route, key.clone()))).collect(),
            false => Vec::new(),
        }
    }

    /// Whether a change concerns a row of which changes have been set aside.
    pub(super) fn is_aside(&self, change: &RowChange) -> bool {
        let Some(target) = change.routes().first().and_then(|route| self.targets.get(route.index())) else {
            return false;
        };
        let route = target.green.route;
        let is = |key: Key| self.quarantined.contains(&(route, key));
        match change {
            RowChange::Insert { new, .. } => new.key(&target.green.key).is_some_and(is),
            RowChange::Update { new, old_key, .. } => {
                new.key(&target.green.key).is_some_and(is) || old_key.clone().is_some_and(is)
            }
            RowChange::Delete { key, .. } => is(key.clone()),
            RowChange::Refused { old_key, key, .. } => is(key.clone()) || old_key.clone().is_some_and(is),
            // A row that is read again is written whole, over whatever was set aside.
            RowChange::Reread { .. } | RowChange::Truncate { .. } | RowChange::TruncateLeaf { .. } => false,
        }
    }

    /// Applies a piece in sets. `false`: something was refused or not as expected, and all of it has been undone.
    async fn at_once(&mut self, piece: Piece<'_>, applied: &mut Applied) -> Result<bool, Failure> {
        let fresh = !self.open;
        let mut script = Script::default();
        match (fresh, piece.end) {
            (true, Some(end)) => {
                script.simple("BEGIN", Expect::Any);
                script.simple(&self.books.advance(self.applied, end), Expect::Fence);
            }
            (true, None) => {
                script.simple("BEGIN", Expect::Any);
                script.simple(&self.books.fence_at(self.applied), Expect::Fence);
            }
            (false, _) => script.simple("SAVEPOINT understudy_batch", Expect::Any),
        }
        let mut verdict = self.add_piece(&mut script, piece).await?;
        if let (Verdict::Good, false, Some(end)) = (&verdict, fresh, piece.end) {
            if self.has_deferred() {
                // Refused at the commit, the parts that came before would be lost with it, and nobody could say where.
                script.simple("SET CONSTRAINTS ALL IMMEDIATE", Expect::Any);
            }
            script.simple(&self.books.advance(self.applied, end), Expect::Fence);
        }
        if let Verdict::Good = verdict {
            verdict = self.flush(&mut script).await?;
        }
        if let Verdict::Otherwise(route) = verdict {
            self.be_cautious(route);
            self.undo(fresh).await?;
            return Ok(false);
        }
        let mut found = Applied::default();
        self.need_heals(piece.batch, std::mem::take(&mut script.missing), &mut found).await?;
        self.renew(piece.batch, piece.from..piece.to, &mut found).await?;
        match piece.end {
            Some(end) if !self.commit(end.checkpoint, fresh).await? => {
                self.heals.undo();
                return Ok(false);
            }
            Some(_) => {}
            None if fresh => self.open = true,
            None => self.client.batch("RELEASE understudy_batch").await?,
        }
        merge(applied, found);
        Ok(true)
    }

    async fn add_piece(&mut self, script: &mut Script, piece: Piece<'_>) -> Result<Verdict, Failure> {
        let mut from = piece.from;
        while from < piece.to {
            let rest = &piece.batch.changes[from..piece.to];
            let empties = |change: &RowChange| {
                matches!(change, RowChange::Truncate { .. } | RowChange::TruncateLeaf { .. })
            };
            let until = from + rest.iter().position(empties).unwrap_or(rest.len());
            for work in plan(&self.targets, from, &piece.batch.changes[from..until]) {
                if let otherwise @ Verdict::Otherwise(_) = self.add(script, work).await? {
                    return Ok(otherwise);
                }
            }
            if let Some(change) = piece.batch.changes.get(until).filter(|_| until < piece.to) {
                let statements = self.emptying(change);
                statements.iter().flatten().for_each(|sql| script.simple(sql, Expect::Any));
                // Sent in any case: what is undone must have begun.
                if let otherwise @ Verdict::Otherwise(_) = self.flush(script).await? {
                    return Ok(otherwise);
                }
                if statements.is_err() {
                    return Ok(Verdict::Otherwise(None));
                }
            }
            from = until + 1;
        }
        Ok(Verdict::Good)
    }

    /// The statements of a change that empties tables.
    pub(super) fn emptying(&self, change: &RowChange) -> Result<Vec<String>, Failure> {
        match change {
            RowChange::Truncate { routes } => truncate_sql(&self.targets, routes, self.replica_role),
            RowChange::TruncateLeaf { route, predicate } => {
                let target = self.targets.get(route.index()).ok_or_else(unknown_route)?;
                truncate_leaf_sql(target, predicate)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Whatever was set aside for rows that are gone is settled.
    pub(super) async fn settle_emptied(&mut self, change: &RowChange) -> Result<(), Failure> {
        let RowChange::Truncate { routes } = change else {
            return Ok(());
        };
        for route in routes {
            if (self.laned || self.quarantined.iter().any(|(aside, _)| aside == route))
                && let Some(target) = self.targets.get(route.index())
            {
                self.books.settle_route(&mut self.client, target).await?;
                let before = self.quarantined.len();
                self.quarantined.retain(|(aside, _)| aside != route);
                self.emptied += before - self.quarantined.len();
            }
        }
        Ok(())
    }

    fn be_cautious(&mut self, route: Option<RouteId>) {
        if let Some(target) = route.and_then(|route| self.targets.get_mut(route.index())) {
            target.cautious = CAUTIOUS_BATCHES;
        }
    }

    /// Undoes what this piece did.
    async fn undo(&mut self, fresh: bool) -> Result<(), Failure> {
        let sql = if fresh { "ROLLBACK" } else { "ROLLBACK TO understudy_batch; RELEASE understudy_batch" };
        self.client.batch(sql).await?;
        self.stages.rolled_back();
        if fresh {
            self.stages.committed();
        }
        Ok(())
    }

    /// Commits. `false`: a deferred constraint refused, and everything can be done again.
    pub(super) async fn commit(&mut self, to: Checkpoint, again: bool) -> Result<bool, Failure> {
        if self.client.transaction() != TransactionState::Open {
            return Err(Failure::new(Class::Internal, "a transaction to be committed was not open"));
        }
        match self.client.batch("COMMIT").await {
            Ok(()) => {
                self.stages.committed();
                self.applied = to;
                (self.open, self.emptied) = (false, 0);
                Ok(true)
            }
            Err(failure) if again && failure.class() == Class::Data => {
                self.stages.rolled_back();
                self.stages.committed();
                Ok(false)
            }
            Err(failure) if failure.class() == Class::Data => {
                Err(failure.remedy(DEFERRED_REMEDY).while_doing("commit on green"))
            }
            Err(failure) => Err(failure.while_doing("commit on green")),
        }
    }

    /// Why the fence found no row.
    pub(super) async fn superseded(&mut self) -> Failure {
        if self.client.transaction() != TransactionState::Idle
            && let Err(failure) = self.client.batch("ROLLBACK").await
        {
            return failure;
        }
        self.books.refused(&mut self.client).await
    }
}

/// Adds up what two pieces brought to light.
pub(super) fn merge(into: &mut Applied, from: Applied) {
    into.heals.extend(from.heals);
    into.mismatches += from.mismatches;
    into.quarantined += from.quarantined;
}

/// A row without all of its key.
pub(super) fn nameless(target: &Target) -> Failure {
    let cause = format!("a row for {} has a key column that is null or was not sent", target.green.name);
    Failure::new(Class::Data, cause).remedy(
        "give the table on blue a key of columns that are never null, and make it the replica identity",
    )
}

/// The position of a change of the batch.
pub(super) fn position(batch: &Batch, at: usize) -> Position {
    batch.position_of(at).unwrap_or(Position { commit: understudy_model::Lsn::ZERO, ordinal: at as u64 })
}
