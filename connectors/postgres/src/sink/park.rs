//! Rows that collide with others in the middle of a transaction of blue and fit at its end: swapped keys, rotated
//! unique values. They are taken out of the table, so that others can have what they held, and put back changed.

use understudy_contract::{Applied, Failure};
use understudy_model::{Key, RowChange};

use super::applier::{Applier, Piece};
use super::careful::entering;
use super::exact::Refusal;
use super::plan::{RowBody, RowOp, row_op};
use super::runs::presence;
use super::script::unknown_route;
use super::statements::{RowStatement, push_row};
use super::target::Target;
use crate::wire::Pipeline;

/// A change that is put off to the end of its transaction. A changed row waits under its number in a temporary table.
pub(super) struct Parked {
    pub(super) at: usize,
    pub(super) how: How,
}

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// The row, taken out of the table.
    Taken,
    /// Only the change, which is tried again.
    Again,
    /// A row that was not there under its old key: it comes whole, at last over what stands under its new one.
    Entering,
}

/// The temporary table for parked rows of a route. It has every column that can be written.
fn yard(target: &Target) -> String {
    format!("understudy_park_{}", target.green.route.0)
}

fn writable(target: &Target, prefix: &str) -> String {
    target.traits.writable.iter().map(|name| format!("{prefix}{name}")).collect::<Vec<_>>().join(", ")
}

fn open_sql(target: &Target) -> String {
    format!(
        "CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT 0 AS understudy_n, {} FROM {} WITH NO DATA",
        yard(target),
        writable(target, ""),
        target.table
    )
}

fn take_sql(target: &Target, at: usize) -> String {
    let wanted = target
        .key_names()
        .iter()
        .enumerate()
        .map(|(n, name)| format!("{name} = ${}", n + 1))
        .collect::<Vec<_>>();
    format!(
        "WITH gone AS (DELETE FROM {} WHERE {} RETURNING *) INSERT INTO pg_temp.{} SELECT {at}, {} FROM gone",
        target.table,
        wanted.join(" AND "),
        yard(target),
        writable(target, "gone.")
    )
}

fn put_sql(target: &Target, op: &RowOp, changed: bool) -> String {
    let sent = match &op.body {
        RowBody::Update(new) | RowBody::Rekey(_, new) if changed => Some(presence(new)),
        _ => None,
    };
    let mut place = 0;
    let mut given = std::collections::HashMap::new();
    if let Some(sent) = sent {
        for (at, column) in target.columns.iter().enumerate() {
            if sent.as_ref().is_none_or(|sent| sent[at]) {
                place += 1;
                given.insert(column.name.as_str(), place);
            }
        }
    }
    let values = target.traits.writable.iter().map(|name| match given.get(name.as_str()) {
        Some(place) => format!("${place}"),
        None => format!("s.{name}"),
    });
    format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM pg_temp.{} AS s WHERE s.understudy_n = {}",
        target.table,
        writable(target, ""),
        values.collect::<Vec<_>>().join(", "),
        yard(target),
        op.at
    )
}

/// The key of the row that an operation leaves.
fn left_by(op: &RowOp, key: &[usize]) -> Option<Key> {
    match &op.body {
        RowBody::Insert(new) | RowBody::Update(new) | RowBody::Rekey(_, new) => new.key(key),
        RowBody::Delete(_) | RowBody::Absent(_) => None,
    }
}

impl Applier {
    /// Puts a change off. `None` when it is about a row that does not exist.
    pub(super) async fn park(&mut self, op: &RowOp) -> Result<Option<Parked>, Failure> {
        let target = self.targets.get(op.route.index()).ok_or_else(unknown_route)?;
        let key = match &op.body {
            RowBody::Insert(_) => {
                return Ok(Some(Parked { at: op.at, how: How::Again }));
            }
            RowBody::Update(new) => new.key(&target.green.key),
            RowBody::Rekey(old, _) => Some(old.clone()),
            RowBody::Delete(_) | RowBody::Absent(_) => None,
        };
        let Some(key) = key else { return Ok(None) };
        self.client.batch(&open_sql(target)).await?;
        let statement = self.client.prepare(&take_sql(target, op.at)).await?;
        let mut pipeline = Pipeline::new();
        pipeline.execute(&statement, key.texts().map(Some));
        let counts = self.client.run(&mut pipeline).await.map_err(|error| error.failure)?;
        self.client.close_statement(statement).await?;
        Ok((counts.first() == Some(&1)).then_some(Parked { at: op.at, how: How::Taken }))
    }

    /// Puts parked rows back, changed. With `last` what still collides is refused; otherwise it stays parked.
    pub(super) async fn put_parked(
        &mut self,
        piece: &Piece<'_>,
        parked: &mut Vec<Parked>,
        found: &mut Applied,
        last: bool,
    ) -> Result<(), Refusal> {
        let mut waiting = std::mem::take(parked);
        // One that is put back may make room for another.
        loop {
            let before = waiting.len();
            for entry in std::mem::take(&mut waiting) {
                let Some(op) = piece.batch.changes.get(entry.at).and_then(|change| row_op(entry.at, change))
                else {
                    continue;
                };
                match self.put(&op, entry.how, true).await {
                    // What stands under its new key has not made room yet.
                    Ok(0) if entry.how == How::Entering => waiting.push(entry),
                    Ok(0) => self.mend(piece, &op, 0, found).await?,
                    Ok(_) => {}
                    Err(failure) if self.client.is_broken() => return Err(failure.into()),
                    Err(_) => waiting.push(entry),
                }
            }
            if waiting.is_empty() || waiting.len() == before {
                break;
            }
        }
        if !last {
            *parked = waiting;
            return Ok(());
        }
        for entry in waiting {
            let op =
                piece.batch.changes.get(entry.at).and_then(|change: &RowChange| row_op(entry.at, change));
            let Some(op) = op else { continue };
            let put = match entering(&op).filter(|_| entry.how == How::Entering) {
                Some(entering) => self.attempt(&entering, RowStatement::Upsert).await,
                None => self.put(&op, entry.how, true).await,
            };
            if let Err(failure) = put {
                self.refuse(piece, entry.at, failure, found).await?;
                // Set aside: the row goes back as it was, if it still can.
                if entry.how == How::Taken {
                    let _ = self.put(&op, entry.how, false).await;
                }
            }
        }
        Ok(())
    }

    /// Whether a change that need not find its row finds one that was put off, and is done with it. One that still cannot go
    /// back is let go: with this change green has it whole, or has it no more, or reads it again.
    pub(super) async fn reaches_parked(
        &mut self,
        piece: &Piece<'_>,
        op: &RowOp,
        parked: &mut Vec<Parked>,
        found: &mut Applied,
    ) -> Result<bool, Refusal> {
        let target = self.targets.get(op.route.index()).ok_or_else(unknown_route)?;
        let key = target.green.key.clone();
        let (wanted, finds) = match &op.body {
            RowBody::Update(new) => (new.key(&key), RowStatement::Update(presence(new))),
            RowBody::Rekey(old, new) if target.draws_key() => {
                (Some(old.clone()), RowStatement::Replace(presence(new)))
            }
            RowBody::Rekey(old, new) => (Some(old.clone()), RowStatement::Rekey(presence(new))),
            RowBody::Delete(old) => (Some(old.clone()), RowStatement::Delete),
            RowBody::Insert(_) | RowBody::Absent(_) => return Ok(false),
        };
        let is_it = |entry: &Parked| {
            let waiting = piece.batch.changes.get(entry.at).and_then(|change| row_op(entry.at, change));
            let left = waiting.filter(|waiting| waiting.route == op.route).and_then(|op| left_by(&op, &key));
            left.is_some() && left == wanted
        };
        for _ in 0..2 {
            if !parked.iter().any(is_it) {
                return Ok(false);
            }
            match self.attempt(op, finds.clone()).await {
                Ok(0) => self.put_parked(piece, parked, found, false).await?,
                Ok(_) => return Ok(true),
                // What is wrong with it is dealt with where it is done in its own way.
                Err(_) => return Ok(false),
            }
        }
        parked.retain(|entry| !is_it(entry));
        Ok(false)
    }

    async fn put(&mut self, op: &RowOp, how: How, changed: bool) -> Result<u64, Failure> {
        if let Some(entering) = entering(op).filter(|_| how == How::Entering) {
            return self.attempt(&entering, RowStatement::Insert).await;
        }
        if how != How::Taken {
            let target = self.targets.get(op.route.index()).ok_or_else(unknown_route)?;
            let kind = RowStatement::for_op(target, op);
            return self.attempt(op, kind).await;
        }
        let target = self.targets.get(op.route.index()).ok_or_else(unknown_route)?;
        let statement = self.client.prepare(&put_sql(target, op, changed)).await?;
        let mut pipeline = Pipeline::new();
        pipeline.simple("SAVEPOINT understudy_row");
        match &op.body {
            RowBody::Update(new) | RowBody::Rekey(_, new) if changed => {
                push_row(&mut pipeline, &statement, new, None)
            }
            _ => pipeline.execute(&statement, []),
        }
        pipeline.simple("RELEASE understudy_row");
        let count = self.under_savepoint(pipeline).await;
        self.client.close_statement(statement).await?;
        count
    }
}
