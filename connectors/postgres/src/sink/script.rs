//! Steps that travel to green together, and what each of them must report.

use understudy_contract::{Class, Failure};
use understudy_model::{Before, RouteId};

use super::applier::Applier;
use super::plan::{Leaves, NumberedRows, RowBody, RowOp, Work};
use super::stages::{push_key_line, push_line};
use super::statements::{self, RowStatement};
use super::target::Shape;
use crate::wire::Pipeline;

/// Steps are sent once they hold this much, so that memory stays bounded.
const FLUSH_BYTES: usize = 8 * 1024 * 1024;

/// Rows that go into one round trip at most.
const FLUSH_STEPS: usize = 2_000;

/// Planner settings that are off where a set of rows meets a table: whatever the planner guesses of a table it has no
/// statistics for, rows are looked up by key.
pub(super) const PINS: [&str; 3] = ["enable_hashjoin", "enable_mergejoin", "enable_seqscan"];

/// What a step must report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Any,
    /// One row, or another instance has taken over.
    Fence,
    /// So many rows.
    Rows(u64),
    /// So many rows at most; the steps note when it were fewer.
    UpTo(u64),
    /// One row, or the row of this change is missing and has to be read again.
    OrMissing(usize),
}

/// Steps under construction.
#[derive(Default)]
pub(super) struct Script {
    pub(super) pipeline: Pipeline,
    expects: Vec<(Expect, Option<RouteId>)>,
    lines: Vec<u8>,
    /// Rows of which only a part was sent and that are not there, by the indexes of their changes.
    pub(super) missing: Vec<(RouteId, usize)>,
    /// Whether a step reported fewer rows than it may have.
    fewer: bool,
}

/// What came of the steps.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Each reported what it must.
    Good,
    /// Green refused one, or a row was not as expected; a route if one is to blame.
    Otherwise(Option<RouteId>),
}

impl Script {
    /// Adds a statement that belongs to no route.
    pub(super) fn simple(&mut self, sql: &str, expect: Expect) {
        self.pipeline.simple(sql);
        self.expects.push((expect, None));
    }

    fn expect(&mut self, expect: Expect, route: RouteId) {
        self.expects.resize(self.pipeline.len() - 1, (Expect::Any, Some(route)));
        self.expects.push((expect, Some(route)));
    }
}

impl Applier {
    /// Sends the steps and checks what they report. An error means that nothing can be mended here.
    pub(super) async fn flush(&mut self, script: &mut Script) -> Result<Verdict, Failure> {
        if script.pipeline.is_empty() {
            return Ok(Verdict::Good);
        }
        let expects = std::mem::take(&mut script.expects);
        match self.client.run(&mut script.pipeline).await {
            Ok(counts) => {
                for (count, (expect, route)) in counts.iter().zip(&expects) {
                    match expect {
                        Expect::Fence if *count != 1 => return Err(self.superseded().await),
                        Expect::Rows(wanted) if count != wanted => return Ok(Verdict::Otherwise(*route)),
                        Expect::UpTo(most) => script.fewer |= count < most,
                        Expect::OrMissing(at) if *count == 0 => {
                            script.missing.extend(route.map(|route| (route, *at)));
                        }
                        _ => {}
                    }
                }
                Ok(Verdict::Good)
            }
            Err(error) if self.client.is_broken() || error.failure.class() == Class::Transient => {
                Err(error.failure)
            }
            Err(error) => Ok(Verdict::Otherwise(expects.get(error.step).and_then(|(_, route)| *route))),
        }
    }

    /// Adds the steps for one row each.
    pub(super) async fn add_rows(&mut self, script: &mut Script, ops: &[RowOp]) -> Result<Verdict, Failure> {
        for op in ops {
            let Some(target) = self.targets.get(op.route.index()) else {
                return Err(unknown_route());
            };
            let kind = RowStatement::for_op(target, op);
            let strict = target.expects(op.before);
            let statement = self.statements.get(&mut self.client, target, kind.clone()).await?;
            statements::push(&mut script.pipeline, statement, op);
            let expect = match &op.body {
                RowBody::Absent(_) if strict => Expect::Rows(0),
                RowBody::Insert(_) | RowBody::Delete(_) | RowBody::Absent(_) if !strict => Expect::Any,
                _ if matches!(kind, RowStatement::Upsert | RowStatement::Enter) => Expect::Any,
                RowBody::Update(new) | RowBody::Rekey(_, new) if !strict && new.has_unchanged() => {
                    Expect::OrMissing(op.at)
                }
                _ => Expect::Rows(1),
            };
            script.expect(expect, op.route);
            let full = script.pipeline.len() >= FLUSH_STEPS || script.pipeline.bytes_len() >= FLUSH_BYTES;
            if full && let otherwise @ Verdict::Otherwise(_) = self.flush(script).await? {
                return Ok(otherwise);
            }
        }
        Ok(Verdict::Good)
    }

    /// Adds the steps of one piece of work. Rows that need healing are noted in the script.
    pub(super) async fn add(&mut self, script: &mut Script, work: Work) -> Result<Verdict, Failure> {
        match work {
            Work::Rows(ops) => self.add_rows(script, &ops).await,
            Work::Insert(route, rows) => self.add_inserts(script, route, &rows).await,
            Work::Update(route, shape, rows, before) => {
                self.add_updates(script, (route, before), shape, rows).await
            }
            Work::Delete(route, leaves, keys) => {
                let Some(target) = self.targets.get(route.index()) else {
                    return Err(unknown_route());
                };
                let stage = self.stages.ready(&mut script.pipeline, target, &Shape::Key);
                script.lines.clear();
                keys.iter().for_each(|(_, key)| push_key_line(&mut script.lines, key));
                script.pipeline.copy_in(&format!("COPY {stage} FROM STDIN"), &script.lines);
                self.few_rows(script, &target.delete_using_sql(&stage));
                let expect = match leaves {
                    Leaves::There if target.strict() => Expect::Rows(keys.len() as u64),
                    Leaves::Absent if target.strict() => Expect::Rows(0),
                    _ => Expect::Any,
                };
                script.expect(expect, route);
                self.unpin(script);
                self.flush_if_full(script).await
            }
            Work::Missing(route, changes) => {
                script.missing.extend(changes.into_iter().map(|at| (route, at)));
                Ok(Verdict::Good)
            }
        }
    }

    async fn add_inserts(
        &mut self,
        script: &mut Script,
        route: RouteId,
        rows: &NumberedRows,
    ) -> Result<Verdict, Failure> {
        let Some(target) = self.targets.get(route.index()) else {
            return Err(unknown_route());
        };
        script.lines.clear();
        for (at, row) in rows {
            push_line(&mut script.lines, &Shape::Full, row, *at);
        }
        if target.traits.is_view || target.overwriting > 0 {
            let stage = self.stages.ready(&mut script.pipeline, target, &Shape::Full);
            script.pipeline.copy_in(&format!("COPY {stage} FROM STDIN"), &script.lines);
            let upserts = target.overwriting > 0 && !target.strict();
            let sql = if upserts { target.upsert_from_sql(&stage) } else { target.insert_from_sql(&stage) };
            script.pipeline.simple(&sql);
        } else {
            script.pipeline.copy_in(&target.copy_sql(), &script.lines);
        }
        let exact = target.strict().then_some(Expect::Rows(rows.len() as u64));
        script.expect(exact.unwrap_or(Expect::Any), route);
        self.flush_if_full(script).await
    }

    async fn add_updates(
        &mut self,
        script: &mut Script,
        (route, before): (RouteId, Before),
        shape: Shape,
        rows: NumberedRows,
    ) -> Result<Verdict, Failure> {
        let Some(target) = self.targets.get(route.index()) else {
            return Err(unknown_route());
        };
        if !self.stages.has_room(route, &shape) {
            let op = |(at, row)| RowOp { at, route, body: RowBody::Update(row), before };
            return self.add_rows(script, &rows.into_iter().map(op).collect::<Vec<_>>()).await;
        }
        let strict = target.expects(before);
        let stage = self.stages.ready(&mut script.pipeline, target, &shape);
        script.lines.clear();
        for (number, (_, row)) in rows.iter().enumerate() {
            push_line(&mut script.lines, &shape, row, number);
        }
        script.pipeline.copy_in(&format!("COPY {stage} FROM STDIN"), &script.lines);
        let heals = !strict && shape.numbered();
        if strict || heals {
            self.few_rows(script, &target.update_from_sql(&stage, &shape));
        } else {
            script.pipeline.simple(&target.upsert_from_sql(&stage));
        }
        let expect = match rows.len() as u64 {
            all if strict => Expect::Rows(all),
            all if heals => Expect::UpTo(all),
            _ => Expect::Any,
        };
        script.expect(expect, route);
        self.unpin(script);
        if !heals {
            return self.flush_if_full(script).await;
        }
        let sql = target.missing_sql(&stage);
        script.fewer = false;
        if let otherwise @ Verdict::Otherwise(_) = self.flush(script).await? {
            return Ok(otherwise);
        }
        if !script.fewer {
            return Ok(Verdict::Good);
        }
        for row in self.client.query(&sql).await? {
            let found = row.parse::<usize>(0)?;
            script.missing.extend(rows.get(found).map(|(at, _)| (route, *at)));
        }
        Ok(Verdict::Good)
    }

    /// Adds a statement that joins a stage to a table, with the settings that make it look rows up by key.
    fn few_rows(&self, script: &mut Script, sql: &str) {
        if self.pin_each {
            PINS.iter().for_each(|pin| script.pipeline.simple(&format!("SET LOCAL {pin} = off")));
        }
        script.pipeline.simple(sql);
    }

    /// Gives the planner back what triggers of users may need.
    fn unpin(&self, script: &mut Script) {
        if self.pin_each {
            PINS.iter().for_each(|pin| script.simple(&format!("SET LOCAL {pin} TO DEFAULT"), Expect::Any));
        }
    }

    async fn flush_if_full(&mut self, script: &mut Script) -> Result<Verdict, Failure> {
        if script.pipeline.bytes_len() < FLUSH_BYTES { Ok(Verdict::Good) } else { self.flush(script).await }
    }
}

/// A change for a route that the sink was not given.
pub(super) fn unknown_route() -> Failure {
    Failure::new(Class::Internal, "a change belongs to a route that green was not told of")
}
