//! One change at a time: tells whether the row was as expected, records it when it was not, and mends it.

use understudy_contract::{Applied, Class, Failure};
use understudy_model::{Before, RowChange, Tuple};

use super::applier::{Applier, Piece, nameless, position};
use super::exact::{Refusal, keys};
use super::heals::heal_key;
use super::park::{How, Parked};
use super::plan::{RowBody, RowOp, row_op};
use super::script::unknown_route;
use super::statements::{self, RowStatement};
use super::target::Target;
use crate::error::has_sqlstate;
use crate::wire::Pipeline;

impl Applier {
    /// Applies one change.
    pub(super) async fn one(
        &mut self,
        piece: &Piece<'_>,
        at: usize,
        parked: &mut Vec<Parked>,
        found: &mut Applied,
    ) -> Result<(), Refusal> {
        let Some(change) = piece.batch.changes.get(at) else {
            return Ok(());
        };
        if self.is_aside(change) {
            return Ok(self.set_aside(piece, at, None, found).await?);
        }
        match change {
            // It is noted with the changes around it.
            RowChange::Reread { .. } => return Ok(()),
            RowChange::Refused { refusal, .. } => {
                return self.refuse_uncomputed(piece, at, refusal, found).await;
            }
            _ => {}
        }
        let Some(op) = row_op(at, change) else {
            return self.empty(piece, at, change, found).await;
        };
        let mut retried = false;
        loop {
            let target = self.targets.get(op.route.index()).ok_or_else(unknown_route)?;
            let kind = RowStatement::for_op(target, &op);
            let strict = target.expects(op.before);
            if matches!(kind, RowStatement::Replace(_))
                && let Some(failure) = must_stay(target)
            {
                return self.refuse(piece, at, failure, found).await;
            }
            if !strict && self.reaches_parked(piece, &op, parked, found).await? {
                return Ok(());
            }
            match self.attempt(&op, kind.clone()).await {
                Ok(1) => return Ok(()),
                Ok(_) if !strict && tolerates(&op.body, &kind) => return Ok(()),
                // What was put off may hold the row that this change is about.
                Ok(0) if !parked.is_empty() && !retried => {
                    self.put_parked(piece, parked, found, false).await?;
                    retried = true;
                }
                Ok(0) if !strict && matches!(&op.body, RowBody::Rekey(_, new) if !new.has_unchanged()) => {
                    return self.come(piece, &op, parked, found).await;
                }
                Ok(count) => return self.mend(piece, &op, count, found).await,
                Err(failure) if collides(&failure) && !self.client.is_broken() => {
                    let target = self.targets.get(op.route.index()).ok_or_else(unknown_route)?;
                    if target.traits.deletes_spread && !matches!(op.body, RowBody::Insert(_)) {
                        let failure = failure.remedy(stay_remedy(target));
                        return self.refuse(piece, at, failure, found).await;
                    }
                    match self.park(&op).await?.or_else(|| comes_later(at, &kind)) {
                        Some(entry) => parked.push(entry),
                        // There is no row to put off: it is missing, and the new one collides with another.
                        None => return self.refuse(piece, at, failure, found).await,
                    }
                    return Ok(());
                }
                Err(failure) => return self.refuse(piece, at, failure, found).await,
            }
        }
    }

    /// A row takes another key that green draws, and was not there: it comes whole. A row that stands under the new key may
    /// be one that makes room within the same transaction, so it is not written over before its end.
    async fn come(
        &mut self,
        piece: &Piece<'_>,
        op: &RowOp,
        parked: &mut Vec<Parked>,
        found: &mut Applied,
    ) -> Result<(), Refusal> {
        let Some(entry) = entering(op) else { return Ok(()) };
        match self.attempt(&entry, RowStatement::Insert).await {
            Ok(0) => parked.push(Parked { at: op.at, how: How::Entering }),
            Ok(_) => {}
            Err(failure) if collides(&failure) && !self.client.is_broken() => {
                parked.push(Parked { at: op.at, how: How::Entering });
            }
            Err(failure) => return self.refuse(piece, op.at, failure, found).await,
        }
        Ok(())
    }

    /// Runs a statement for one row under a savepoint, which is gone afterwards.
    pub(super) async fn attempt(&mut self, op: &RowOp, kind: RowStatement) -> Result<u64, Failure> {
        let target = self.targets.get(op.route.index()).ok_or_else(unknown_route)?;
        let statement = self.statements.get(&mut self.client, target, kind.clone()).await?;
        let mut pipeline = Pipeline::new();
        pipeline.simple("SAVEPOINT understudy_row");
        statements::push(&mut pipeline, statement, op);
        pipeline.simple("RELEASE understudy_row");
        self.under_savepoint(pipeline).await
    }

    /// Runs a pipeline of a savepoint `understudy_row`, one statement and its release; returns the statement's count.
    pub(super) async fn under_savepoint(&mut self, mut pipeline: Pipeline) -> Result<u64, Failure> {
        match self.client.run(&mut pipeline).await {
            Ok(counts) => Ok(counts.get(1).copied().unwrap_or_default()),
            Err(error) => {
                if !self.client.is_broken() && error.failure.class() != Class::Transient {
                    self.client.batch("ROLLBACK TO understudy_row; RELEASE understudy_row").await?;
                }
                Err(error.failure)
            }
        }
    }

    async fn empty(
        &mut self,
        piece: &Piece<'_>,
        at: usize,
        change: &RowChange,
        found: &mut Applied,
    ) -> Result<(), Refusal> {
        match self.emptying(change) {
            Ok(statements) => {
                for sql in statements {
                    if let Err(failure) = self.client.batch(&sql).await {
                        return self.refuse(piece, at, failure, found).await;
                    }
                }
                Ok(self.settle_emptied(change).await?)
            }
            Err(failure) => self.refuse(piece, at, failure, found).await,
        }
    }

    /// A row was not as expected: records it and makes it right.
    pub(super) async fn mend(
        &mut self,
        piece: &Piece<'_>,
        op: &RowOp,
        count: u64,
        found: &mut Applied,
    ) -> Result<(), Refusal> {
        let Some(target) = self.targets.get(op.route.index()) else {
            return Err(unknown_route().into());
        };
        let (route, strict) = (op.route, target.expects(op.before));
        let Some(change) = piece.batch.changes.get(op.at) else {
            return Ok(());
        };
        let (wanted, new_key) = keys(change, &target.green.key);
        let Some(wanted) = wanted else {
            let failure = nameless(target);
            return self.refuse(piece, op.at, failure, found).await;
        };
        let tolerated = !strict || self.heals.contains(route, &wanted);
        if !tolerated {
            let kind = if matches!(op.body, RowBody::Insert(_)) || count > 1 { "extra" } else { "missing" };
            self.books
                .mismatch(&mut self.client, target, &wanted, kind, position(piece.batch, op.at))
                .await?;
            found.mismatches += 1;
        }
        if count > 1 {
            return Ok(());
        }
        match &op.body {
            RowBody::Delete(_) | RowBody::Absent(_) => Ok(()),
            RowBody::Insert(new) | RowBody::Update(new) | RowBody::Rekey(_, new) if !new.has_unchanged() => {
                self.overwrite(piece, op, new, found).await
            }
            _ => {
                let key = heal_key(new_key.unwrap_or(wanted), change);
                Ok(self.read_again((route, key), position(piece.batch, op.at), found).await?)
            }
        }
    }

    async fn overwrite(
        &mut self,
        piece: &Piece<'_>,
        op: &RowOp,
        new: &Tuple,
        found: &mut Applied,
    ) -> Result<(), Refusal> {
        let insert = whole(op, new);
        match self.attempt(&insert, RowStatement::Upsert).await {
            Ok(_) => Ok(()),
            Err(failure) => self.refuse(piece, op.at, failure, found).await,
        }
    }
}

/// The whole row that an operation leaves, as a new one.
fn whole(op: &RowOp, new: &Tuple) -> RowOp {
    RowOp { at: op.at, route: op.route, body: RowBody::Insert(new.clone()), before: Before::There }
}

/// The row that takes another key, as a new one.
pub(super) fn entering(op: &RowOp) -> Option<RowOp> {
    match &op.body {
        RowBody::Rekey(_, new) => Some(whole(op, new)),
        _ => None,
    }
}

/// A row that need not have been there comes anew, and what it collides with may yet go.
fn comes_later(at: usize, kind: &RowStatement) -> Option<Parked> {
    match kind {
        RowStatement::Upsert => Some(Parked { at, how: How::Again }),
        RowStatement::Enter => Some(Parked { at, how: How::Entering }),
        _ => None,
    }
}

/// While a copy runs, and where nothing is known of the row before, these may find a row or none.
fn tolerates(body: &RowBody, kind: &RowStatement) -> bool {
    matches!(body, RowBody::Insert(_) | RowBody::Delete(_) | RowBody::Absent(_))
        || matches!(kind, RowStatement::Upsert | RowStatement::Enter)
}

/// Whether the row collides with another, which may yet make room within the same transaction.
fn collides(failure: &Failure) -> bool {
    has_sqlstate(failure, "23505") || has_sqlstate(failure, "23P01")
}

/// Why a row may not be taken out of a table to be put in again. `None` where it may.
fn must_stay(target: &Target) -> Option<Failure> {
    target.traits.deletes_spread.then(|| {
        let cause = format!("a row of {} would have to be deleted and put in again", target.green.name);
        let drawn = target.columns.iter().filter(|column| column.drawn);
        let free = drawn.map(|column| format!("ALTER COLUMN {} SET GENERATED BY DEFAULT", column.name));
        let free = free.collect::<Vec<_>>().join(", ");
        let remedy =
            format!("ALTER TABLE {} {free} until the flip, or: {}", target.table, stay_remedy(target));
        Failure::new(Class::Data, cause).remedy(remedy)
    })
}

fn stay_remedy(target: &Target) -> String {
    format!(
        "rows of {} cannot be taken out and put back while deleting them has foreign keys on green delete or change \
         others: give the role the right to set session_replication_role, or make those foreign keys ON DELETE NO ACTION \
         until the flip, and run again",
        target.green.name
    )
}
