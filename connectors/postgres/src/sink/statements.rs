//! Statements prepared once per route, kind and set of columns, and kept while they are used.

use rustc_hash::FxHashMap;
use understudy_contract::Failure;
use understudy_model::{Key, RouteId, Tuple, Value};

use super::plan::{RowBody, RowOp};
use super::runs::{Presence, presence};
use super::target::Target;
use crate::wire::{Client, Pipeline, Statement};

/// How many statements stay prepared on one connection.
const CAPACITY: usize = 512;

/// What a statement does with one row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum RowStatement {
    /// Inserts unless the row exists.
    Insert,
    /// Inserts, or gives an existing row the values.
    Upsert,
    Update(Presence),
    Rekey(Presence),
    /// Gives a row another key and new values, or inserts it where there is none.
    Enter,
    /// Takes the row out and puts it in under another key, where that cannot be set.
    Replace(Presence),
    Delete,
}

impl RowStatement {
    /// The statement for an operation. A strict one tells by its count whether the row was as expected.
    pub(super) fn for_op(target: &Target, op: &RowOp) -> RowStatement {
        let strict = target.expects(op.before);
        match &op.body {
            RowBody::Insert(_) if strict => RowStatement::Insert,
            RowBody::Insert(_) => RowStatement::Upsert,
            RowBody::Update(new) => match presence(new) {
                None if !strict => RowStatement::Upsert,
                presence => RowStatement::Update(presence),
            },
            RowBody::Rekey(_, new) if target.draws_key() => RowStatement::Replace(presence(new)),
            RowBody::Rekey(_, new) => match presence(new) {
                None if !strict => RowStatement::Enter,
                presence => RowStatement::Rekey(presence),
            },
            RowBody::Delete(_) | RowBody::Absent(_) => RowStatement::Delete,
        }
    }

    fn sql(&self, target: &Target) -> String {
        match self {
            RowStatement::Insert => target.insert_sql(false),
            RowStatement::Upsert => target.insert_sql(true),
            RowStatement::Update(presence) => target.update_sql(presence, false),
            RowStatement::Rekey(presence) => target.update_sql(presence, true),
            RowStatement::Enter => target.enter_sql(),
            RowStatement::Replace(presence) => target.replace_sql(presence),
            RowStatement::Delete => target.delete_sql(),
        }
    }
}

/// The statements prepared on one connection.
#[derive(Default)]
pub(super) struct Statements {
    known: FxHashMap<(RouteId, RowStatement), (Statement, u64)>,
    /// Counts uses, so that the one unused for longest is known.
    uses: u64,
}

impl Statements {
    /// The statement for a route, prepared if it is not yet.
    pub(super) async fn get(
        &mut self,
        client: &mut Client,
        target: &Target,
        kind: RowStatement,
    ) -> Result<&Statement, Failure> {
        self.uses += 1;
        let at = (target.green.route, kind);
        if !self.known.contains_key(&at) {
            if self.known.len() >= CAPACITY {
                self.forget_oldest(client).await?;
            }
            let statement = client.prepare(&at.1.sql(target)).await.map_err(|failure| {
                failure.while_doing(format!("prepare a statement for {}", target.green.name))
            })?;
            self.known.insert(at.clone(), (statement, 0));
        }
        let missing = || Failure::new(understudy_contract::Class::Internal, "a prepared statement vanished");
        let (statement, used) = self.known.get_mut(&at).ok_or_else(missing)?;
        *used = self.uses;
        Ok(statement)
    }

    async fn forget_oldest(&mut self, client: &mut Client) -> Result<(), Failure> {
        let oldest = self.known.iter().min_by_key(|(_, (_, used))| *used).map(|(at, _)| at.clone());
        match oldest.and_then(|at| self.known.remove(&at)) {
            Some((statement, _)) => client.close_statement(statement).await,
            None => Ok(()),
        }
    }
}

/// Adds the execution of a statement for an operation.
pub(super) fn push(pipeline: &mut Pipeline, statement: &Statement, op: &RowOp) {
    match &op.body {
        RowBody::Insert(new) | RowBody::Update(new) => push_row(pipeline, statement, new, None),
        RowBody::Rekey(old, new) => push_row(pipeline, statement, new, Some(old)),
        RowBody::Delete(key) | RowBody::Absent(key) => pipeline.execute(statement, key.texts().map(Some)),
    }
}

/// Parameters: every value that was sent, then the key to look for.
pub(super) fn push_row(pipeline: &mut Pipeline, statement: &Statement, row: &Tuple, key: Option<&Key>) {
    let values = row.values().filter(|value| *value != Value::Unchanged).collect::<Vec<_>>();
    let sent = values.iter().map(|value| match value {
        Value::Text(text) => Some(text.as_ref()),
        Value::Null | Value::Unchanged => None,
    });
    match key {
        Some(key) => pipeline.execute(statement, sent.chain(key.texts().map(Some))),
        None => pipeline.execute(statement, sent),
    }
}
