//! Rows that are written all at once or not at all.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use rustc_hash::FxHashSet;
use understudy_contract::Failure;
use understudy_model::Lsn;

use super::fold::Wave;
use super::settings::OnError;
use super::write::{Body, Heal, Next, Op, Outcome, Request, Shared};
use crate::calls::{Canceled, TRANSACTION_BYTES_MAX, TRANSACTION_ITEMS_MAX};
use crate::error::Error;
use crate::layout::{Expect, Finds, Guard, Item, Standing, UpdateParts, Version};

/// How often a transaction may find rows in another state than it was told the moment before.
const ROUNDS_MOST: u32 = 16;

/// More than what names, keys and conditions add to the values of a row.
const BYTES_BESIDE: usize = 4_096;

/// A row on its way.
struct Member {
    outcome: Outcome,
    expect: Expect,
    /// Which version it finds, where that decides what becomes of values that were not sent.
    finds: Option<Finds>,
    /// Nothing of it is to be written.
    over: bool,
}

impl Op {
    /// At least the bytes that its write has.
    fn bytes(&self) -> usize {
        let values = match &self.body {
            Body::Put(row) | Body::Patch(row) => row.bytes(),
            Body::Gone => 0,
        };
        values + BYTES_BESIDE
    }
}

impl Wave {
    /// Whether DynamoDB takes all of it at once.
    pub(super) fn fits(&self) -> bool {
        let items = self.ops().iter().map(|op| &op.item).collect::<FxHashSet<_>>();
        self.len() <= TRANSACTION_ITEMS_MAX
            && items.len() == self.len()
            && self.ops().iter().map(Op::bytes).sum::<usize>() <= TRANSACTION_BYTES_MAX
    }

    /// Whether DynamoDB takes it together with a later one at once, and the rows of that can follow these before any is written.
    pub(super) fn takes(&self, later: &Wave) -> bool {
        let all = || self.ops().iter().chain(later.ops());
        let rows = all().map(|op| (&op.item, &op.part)).collect::<FxHashSet<_>>();
        let items = all().map(|op| &op.item).collect::<FxHashSet<_>>();
        rows.len() <= TRANSACTION_ITEMS_MAX
            && items.len() == rows.len()
            && all().map(Op::bytes).sum::<usize>() <= TRANSACTION_BYTES_MAX
            && !later.ops().iter().any(|op| self.waits(op))
    }
}

impl Member {
    fn new(op: Op) -> Member {
        let expect = op.first.expect();
        // What another run wrote may be ahead, which its version tells.
        let of_run = Version::chunk(op.upto.0.epoch, Lsn::ZERO);
        let finds = matches!(op.body, Body::Patch(_)).then_some(Finds::From(of_run));
        Member { outcome: Outcome::new(op), expect, finds, over: false }
    }

    fn refuse(&mut self, error: Error) {
        self.outcome.refused = Some(error);
        self.over = true;
    }
}

impl Shared {
    /// Writes rows of different items all at once; where one is refused, all but that, or none by the policy to stop. Where
    /// DynamoDB does not take them so after all, they are written side by side. Returns whether they were all at once.
    pub(super) async fn write_whole(
        self: &Arc<Shared>,
        ops: Vec<Op>,
    ) -> Result<(Vec<Outcome>, bool), Failure> {
        let [first, _, ..] = ops.as_slice() else {
            return Ok((super::write::write_all(self, ops).await?, true));
        };
        let (at, table) = (first.upto.1, first.item.table().to_owned());
        let mut members = ops.iter().cloned().map(Member::new).collect::<Vec<_>>();
        let written = Box::pin(self.rounds_together(&table, &mut members)).await;
        let doing = || format!("write a transaction to {table}");
        match written.map_err(|error| Failure::from(error).at(at).while_doing(doing()))? {
            true => {
                let mut outcomes = members.into_iter().map(|member| member.outcome).collect::<Vec<_>>();
                outcomes.sort_by_key(|outcome| outcome.op.at);
                Ok((outcomes, true))
            }
            false => Ok((super::write::write_all(self, ops).await?, false)),
        }
    }

    /// Returns whether they are written, or need not be; else DynamoDB does not take them together.
    async fn rounds_together(&self, table: &str, members: &mut [Member]) -> Result<bool, Error> {
        for _ in 0..ROUNDS_MOST {
            let mut parts = Vec::with_capacity(members.len());
            for member in members.iter_mut().filter(|member| !member.over) {
                match self.part(member) {
                    Ok(part) => parts.push(part),
                    Err(error) if error.is_of_row() => member.refuse(error),
                    Err(error) => return Err(error),
                }
            }
            let is_refused = members.iter().any(|member| member.outcome.refused.is_some());
            if parts.is_empty() || (is_refused && self.on_error == OnError::Stop) {
                return Ok(true);
            }
            let reasons = match self.calls.together(table, parts).await {
                Ok(None) => return self.settle(members).await.map(|()| true),
                Ok(Some(reasons)) => reasons,
                Err(Error::Invalid { .. } | Error::TooLarge { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
            let live = members.iter_mut().filter(|member| !member.over);
            for (member, reason) in live.zip(reasons) {
                self.against(member, reason).await?;
            }
        }
        let unsteady = members.first().map(|member| member.outcome.op.item.hashed()).unwrap_or_default();
        Err(Error::Unsteady { table: table.to_owned(), item: unsteady })
    }

    fn part(&self, member: &Member) -> Result<TransactWriteItem, Error> {
        let op = &member.outcome.op;
        let unsent = || Error::Invalid {
            operation: "TransactWriteItems",
            table: op.item.table().to_owned(),
            code: "not sent".to_owned(),
        };
        let part = TransactWriteItem::builder();
        Ok(match self.request(op, &member.expect)? {
            Request::Put(item, guard) => part.put(put(op, item, guard).ok_or_else(unsent)?),
            Request::Update(mut parts, _) => {
                if let Some(finds) = member.finds {
                    parts.and_finds(op.part.as_deref(), finds);
                }
                part.update(update(parts).ok_or_else(unsent)?)
            }
        }
        .build())
    }

    /// What is to be done about what was against the transaction.
    async fn against(&self, member: &mut Member, reason: Canceled) -> Result<(), Error> {
        match reason {
            Canceled::Not => {}
            Canceled::NoRoom => self.make_room(&member.outcome.op).await?,
            Canceled::Failed(error) if error.is_of_row() => member.refuse(error),
            Canceled::Failed(error) => return Err(error),
            Canceled::Unmet(found) => match self.unmet(&mut member.outcome, found.as_ref()).await? {
                Next::Over => member.over = true,
                Next::Again(expect) => {
                    member.expect = expect;
                    member.find(found.as_ref());
                }
            },
        }
        Ok(())
    }

    /// All are written: items of which no part is left become tombstones.
    async fn settle(&self, members: &[Member]) -> Result<(), Error> {
        let is_part_gone = |op: &&Op| op.part.is_some() && matches!(op.body, Body::Gone);
        let live = members.iter().filter(|member| !member.over).map(|member| &member.outcome.op);
        for op in live.filter(is_part_gone) {
            if let Some(now) = self.calls.get(op.item.table(), op.item.to_av()).await? {
                self.bury(op, &now).await?;
            }
        }
        Ok(())
    }
}

impl Member {
    /// A part of the row was sent, and another run wrote the rest: from here on exactly what was seen of it is gone over.
    fn find(&mut self, found: Option<&Item>) {
        let op = &self.outcome.op;
        if self.finds.is_none() {
            return;
        }
        if let Standing::There(before) = op.layout.standing(found, op.part.as_deref()) {
            self.outcome.heal = if before.is_ahead_of(op.upto.0) { Heal::Ahead } else { Heal::No };
            self.finds = Some(Finds::Exactly(before));
        }
    }
}

fn put(op: &Op, item: Item, guard: Guard) -> Option<Put> {
    let put = Put::builder()
        .table_name(op.item.table())
        .set_item(Some(item))
        .condition_expression(guard.condition)
        .set_expression_attribute_names(Some(guard.names))
        .set_expression_attribute_values(Some(guard.values).filter(|values| !values.is_empty()))
        .return_values_on_condition_check_failure(ALL_OLD);
    put.build().ok()
}

fn update(parts: UpdateParts) -> Option<Update> {
    let update = Update::builder()
        .table_name(parts.key.table())
        .set_key(Some(parts.key.to_av()))
        .update_expression(parts.expression)
        .condition_expression(parts.condition)
        .set_expression_attribute_names(Some(parts.names))
        .set_expression_attribute_values(Some(parts.values).filter(|values| !values.is_empty()))
        .return_values_on_condition_check_failure(ALL_OLD);
    update.build().ok()
}

const ALL_OLD: aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure =
    aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld;
