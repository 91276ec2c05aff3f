//! Changes to one row that follow each other become one write of it.

use rustc_hash::FxHashMap;
use understudy_contract::{Class, Failure};

use super::write::{Body, First, Op};
use crate::layout::{ItemKey, Row};

/// Rows that are to be written side by side, each once.
#[derive(Debug, Default)]
pub(super) struct Wave {
    ops: Vec<Op>,
    /// Where each row is among them.
    at: FxHashMap<(ItemKey, Option<String>), usize>,
}

/// What a change finds that follows others of its row.
#[derive(Debug)]
pub(super) enum Fold {
    /// What it expects.
    Fits,
    /// A row where none should be.
    Extra,
    /// No row where one should be.
    Missing,
    /// No row of which it brings but a part; whether one should be there. It comes to nothing.
    Nothing {
        /// Whether the row should be there.
        is_expected: bool,
    },
    /// Nothing that could be known before the others are written. It comes back.
    Wait(Box<Op>),
}

/// What is known of a row from the changes before.
#[derive(Debug)]
pub(super) enum Known<'w> {
    /// Nothing: no change was about it.
    Nothing,
    /// It is there as a whole.
    Row(&'w Row),
    /// It is gone.
    Gone,
    /// A part of it was written.
    Part,
}

impl Wave {
    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    /// The rows, in the order of their first changes.
    pub(super) fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Whether what a change finds cannot be known before the others are written.
    pub(super) fn waits(&self, op: &Op) -> bool {
        let is_free = op.first == First::Free;
        is_free && matches!(self.known(&op.item, op.part.as_deref()), Known::Part)
    }

    /// The rows, each with all its changes.
    pub(super) fn take(&mut self) -> Vec<Op> {
        self.at.clear();
        std::mem::take(&mut self.ops)
    }

    pub(super) fn known(&self, item: &ItemKey, part: Option<&str>) -> Known<'_> {
        let at = self.at.get(&(item.clone(), part.map(str::to_owned)));
        match at.and_then(|at| self.ops.get(*at)).map(|op| &op.body) {
            None => Known::Nothing,
            Some(Body::Put(row)) => Known::Row(row),
            Some(Body::Gone) => Known::Gone,
            Some(Body::Patch(_)) => Known::Part,
        }
    }

    /// Adds a change to those of its row.
    pub(super) fn add(&mut self, op: Op) -> Result<Fold, Failure> {
        let name = (op.item.clone(), op.part.clone());
        let Some(at) = self.at.get(&name) else {
            self.at.insert(name, self.ops.len());
            self.ops.push(op);
            return Ok(Fold::Fits);
        };
        let lost = || Failure::new(Class::Internal, "a row that is to be written is not where it was put");
        let earlier = self.ops.get_mut(*at).ok_or_else(lost)?;
        let fold = match (&earlier.body, &op.body) {
            (Body::Patch(_), _) if op.first == First::Free => return Ok(Fold::Wait(Box::new(op))),
            (Body::Gone, Body::Patch(_)) => {
                return Ok(Fold::Nothing { is_expected: op.first == First::There });
            }
            (Body::Put(_), _) if op.first == First::Free => Fold::Extra,
            (Body::Gone, Body::Put(_) | Body::Gone) if op.first == First::There => Fold::Missing,
            _ => Fold::Fits,
        };
        earlier.body = after(&earlier.body, op.body);
        (earlier.upto, earlier.at) = (op.upto, op.at);
        earlier.heal = op.heal;
        Ok(fold)
    }
}

/// What a later change leaves of a row.
fn after(earlier: &Body, later: Body) -> Body {
    match (earlier, later) {
        (Body::Put(before) | Body::Patch(before), Body::Patch(mut row)) => {
            row.take_from(before);
            if row.is_whole() { Body::Put(row) } else { Body::Patch(row) }
        }
        (_, later) => later,
    }
}

#[cfg(test)]
mod tests;
