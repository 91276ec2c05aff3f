//! What is recorded on its own: the start of a migration, planned and forgotten units, completed routes.

use aws_sdk_dynamodb::types::AttributeValue;
use understudy_contract::{Failure, LedgerEntry, Lineage, Unit};
use understudy_model::{Checkpoint, RouteId, UnitId};

use super::applier::Applier;
use super::target::{Planned, Target, unknown_route};
use super::write::Shared;
use crate::layout::TAG;
use crate::state::{DoneForm, Note, Notes, UnitForm};

impl Applier {
    /// Records the lineage and checkpoint from which the stream is followed.
    pub(super) async fn begin(&mut self, lineage: &Lineage, checkpoint: Checkpoint) -> Result<(), Failure> {
        let Shared { state, calls, .. } = &*self.shared;
        // Routes first: once it has begun, they are known.
        let routes = self.targets.iter().map(|target| target.form().note()).collect::<Notes>();
        state.write(calls, routes).await?;
        let from = self.begun.then_some(self.applied);
        state.begin(calls, (lineage, self.epoch), (from, checkpoint)).await?;
        self.targets.iter_mut().for_each(|target| target.registered = true);
        (self.applied, self.begun) = (checkpoint, true);
        Ok(())
    }

    /// Records an entry: with the open transaction if there is one, otherwise at once.
    pub(super) async fn record(&mut self, entry: &LedgerEntry) -> Result<(), Failure> {
        match entry {
            LedgerEntry::Plan(unit) => self.plan(unit).await?,
            LedgerEntry::Refresh(unit) => self.refresh(unit)?,
            LedgerEntry::Forget(unit) => {
                let notes = forget(self.target_mut(unit.route)?, *unit);
                self.notes.extend(notes);
            }
            LedgerEntry::Complete(route) => {
                let target = self.target_mut(*route)?;
                (target.complete, target.renewed) = (true, false);
                self.note_route(*route)?;
            }
        }
        if self.open { Ok(()) } else { self.write_notes().await }
    }

    pub(super) async fn write_notes(&mut self) -> Result<(), Failure> {
        let notes = std::mem::take(&mut self.notes);
        Ok(self.shared.state.write(&self.shared.calls, notes).await?)
    }

    async fn plan(&mut self, unit: &Unit) -> Result<(), Failure> {
        self.copy_again(unit.route).await?;
        let target = self.target_mut(unit.route)?;
        let rewritten = |known: &Planned| {
            (known.form.filenode, known.form.fingerprint) != (unit.filenode, unit.fingerprint)
        };
        target.renewed |= target.units.get(&unit.id).is_some_and(rewritten);
        let notes = forget(target, unit.id);
        let form = UnitForm::new(unit, target.number, rand::random());
        let note = form.note();
        target.units.insert(unit.id, Planned { form, done: Vec::new(), rows_done: 0 });
        self.notes.extend(notes);
        self.notes.extend([note]);
        self.note_route(unit.route)
    }

    /// The copy of a route is not complete from here on; what is there already may be out of date.
    async fn copy_again(&mut self, route: RouteId) -> Result<(), Failure> {
        let target = self.target(route)?;
        let was_filled = target.renewed || target.complete || target.has_rows || self.has_rows(route).await?;
        let alone = !was_filled && self.is_empty(route).await?;
        let target = self.target_mut(route)?;
        (target.complete, target.renewed, target.alone) = (false, was_filled, alone);
        Ok(())
    }

    /// Records that the copy of a route starts again: what is known of its units stays, but none of their rows count as copied.
    /// Rows of which changes are set aside are taken over by the new copy or by the stream.
    pub(super) async fn start_again(&mut self, route: RouteId) -> Result<(), Failure> {
        self.copy_again(route).await?;
        let target = self.target_mut(route)?;
        let mut notes = Notes::new();
        for (unit, planned) in &mut target.units {
            notes.extend(done_notes(*unit, planned));
            (planned.done, planned.rows_done) = (Vec::new(), 0);
        }
        self.notes.extend(notes);
        self.note_route(route)?;
        self.write_notes().await
    }

    fn refresh(&mut self, unit: &Unit) -> Result<(), Failure> {
        let target = self.target_mut(unit.route)?;
        let number = target.number;
        let Some(known) = target.units.get_mut(&unit.id) else { return Ok(()) };
        known.form = UnitForm { blocks: known.form.blocks, ..UnitForm::new(unit, number, known.form.plan) };
        let note = known.form.note();
        self.notes.extend([note]);
        Ok(())
    }

    fn note_route(&mut self, route: RouteId) -> Result<(), Failure> {
        let target = self.target_mut(route)?;
        target.registered = true;
        let note = target.form().note();
        self.notes.extend([note]);
        Ok(())
    }

    /// Whether there is any row of a route.
    pub(super) async fn has_rows(&self, route: RouteId) -> Result<bool, Failure> {
        let layout = &self.target(route)?.layout;
        let tag = AttributeValue::S(layout.plan().tag.clone());
        let mut from = None;
        loop {
            let page = self.shared.calls.scan(&layout.plan().table, (TAG, tag.clone()), from).await?;
            if page.0.iter().flat_map(|item| layout.rows(item)).any(|seen| !seen.is_tombstone) {
                return Ok(true);
            }
            match page.1 {
                Some(next) => from = Some(next),
                None => return Ok(false),
            }
        }
    }

    /// Whether the table of a route has no item, whosever.
    async fn is_empty(&self, route: RouteId) -> Result<bool, Failure> {
        let table = &self.target(route)?.layout.plan().table;
        let mut from = None;
        loop {
            let page = self.shared.calls.page(table, from, Some(1)).await?;
            match page {
                (items, _) if !items.is_empty() => return Ok(false),
                (_, Some(next)) => from = Some(next),
                (_, None) => return Ok(true),
            }
        }
    }

    fn target_mut(&mut self, route: RouteId) -> Result<&mut Target, Failure> {
        self.targets.get_mut(route.index()).ok_or_else(unknown_route)
    }
}

/// A unit is planned no more, and nothing of it is done.
fn forget(target: &mut Target, unit: UnitId) -> Notes {
    let Some(known) = target.units.remove(&unit) else { return Notes::new() };
    let mut notes = done_notes(unit, &known);
    notes.insert(UnitForm::of(target.number, unit.oid), Note::Remove);
    notes
}

fn done_notes(unit: UnitId, planned: &Planned) -> Notes {
    let UnitForm { route, plan, .. } = planned.form;
    let of = |range: &understudy_model::BlockRange| {
        DoneForm { route, oid: unit.oid, plan, range: *range, rows: 0 }.of()
    };
    planned.done.iter().map(|range| (of(range), Note::Remove)).collect()
}
