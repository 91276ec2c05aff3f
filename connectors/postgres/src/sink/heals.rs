//! Rows that wait to be read again by key, and the changes that make more of them.

use std::collections::BTreeMap;
use std::ops::Range;

use rustc_hash::FxHashSet;
use understudy_contract::{Applied, Batch, Failure};
use understudy_model::{Key, Position, RouteId, RowChange};

use super::applier::{Applier, nameless, position};
use super::script::unknown_route;
use super::target::Target;

/// Rows that turned out to need a heal, with the change that each needs it for.
type NewHeals = BTreeMap<RouteId, Vec<(Key, Position)>>;

/// The rows that wait: from the change that makes it necessary until the chunk that settles it has been committed.
#[derive(Default)]
pub(super) struct Heals {
    waiting: FxHashSet<(RouteId, Key)>,
    /// Those of the piece that is being applied, which may have to be tried again.
    tried: Vec<(RouteId, Key)>,
}

impl Heals {
    /// What an earlier instance left waiting.
    pub(super) fn of(saved: impl Iterator<Item = (RouteId, Key)>) -> Heals {
        Heals { waiting: saved.collect(), tried: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn contains(&self, route: RouteId, key: &Key) -> bool {
        // A key is a reference to its bytes: copying it costs no more than counting.
        !self.waiting.is_empty() && self.waiting.contains(&(route, key.clone()))
    }

    fn add(&mut self, route: RouteId, key: Key) {
        if self.waiting.insert((route, key.clone())) {
            self.tried.push((route, key));
        }
    }

    /// The row is on green as it is on blue.
    pub(super) fn settle(&mut self, route: RouteId, key: &Key) {
        self.waiting.remove(&(route, key.clone()));
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&(RouteId, Key)) -> bool) {
        self.waiting.retain(keep);
    }

    /// What is added from here on is tried.
    pub(super) fn start(&mut self) {
        self.tried.clear();
    }

    /// It was rolled back, and with it what the bookkeeping holds of it: trying again must find the same anew.
    pub(super) fn undo(&mut self) {
        for heal in self.tried.drain(..) {
            self.waiting.remove(&heal);
        }
    }
}

impl Applier {
    /// Finds the rows that are on green and may be out of date in what a change did not send, to be read again by key.
    ///
    /// While a route is copied over rows that were there before, that is every row of which only a part was sent, since
    /// the copy leaves rows that are touched to the stream. In any route it is a row that leaves a key which waits to be
    /// read again: that read finds it gone, and what is amiss with it has moved on. A row that stays under a key that
    /// waits needs nothing more, since a read that is still to come or under way takes this change into account.
    ///
    /// It goes by the changes alone, in their order, so that a row that moves on and on is followed, and whether they
    /// have been applied makes no difference.
    pub(super) async fn renew(
        &mut self,
        batch: &Batch,
        changes: Range<usize>,
        found: &mut Applied,
    ) -> Result<(), Failure> {
        if self.heals.is_empty() && !self.targets.iter().any(Target::is_renewed) {
            return Ok(());
        }
        let mut more = NewHeals::default();
        for at in changes {
            let Some(RowChange::Update { route, old_key, new }) = batch.changes.get(at) else { continue };
            let target = self.targets.get(route.index()).ok_or_else(unknown_route)?;
            let may_be =
                target.is_renewed() || old_key.as_ref().is_some_and(|old| self.heals.contains(*route, old));
            if !may_be || !new.has_unchanged() {
                continue;
            }
            let key = new.key(&target.green.key).ok_or_else(|| nameless(target))?;
            if old_key.is_some() || !self.heals.contains(*route, &key) {
                self.heals.add(*route, key.clone());
                more.entry(*route).or_default().push((key, position(batch, at)));
            }
        }
        self.record_heals(more, found).await
    }

    /// Records that rows of which only a part was sent, by the indexes of their changes, are missing.
    pub(super) async fn need_heals(
        &mut self,
        batch: &Batch,
        missing: Vec<(RouteId, usize)>,
        found: &mut Applied,
    ) -> Result<(), Failure> {
        let mut more = NewHeals::default();
        for (route, at) in missing {
            let target = self.targets.get(route.index()).ok_or_else(unknown_route)?;
            let Some(RowChange::Update { new, .. }) = batch.changes.get(at) else { continue };
            let key = new.key(&target.green.key).ok_or_else(|| nameless(target))?;
            self.heals.add(route, key.clone());
            more.entry(route).or_default().push((key, position(batch, at)));
        }
        self.record_heals(more, found).await
    }

    /// Records that a row has to be read again by key.
    pub(super) async fn read_again(
        &mut self,
        (route, key): (RouteId, Key),
        at: Position,
        found: &mut Applied,
    ) -> Result<(), Failure> {
        self.heals.add(route, key.clone());
        self.record_heals(NewHeals::from([(route, vec![(key, at)])]), found).await
    }

    /// Writes down and reports heals that have been added.
    async fn record_heals(&mut self, more: NewHeals, found: &mut Applied) -> Result<(), Failure> {
        for (route, rows) in more {
            let target = self.targets.get(route.index()).ok_or_else(unknown_route)?;
            self.books.heal(&mut self.client, target, &rows).await?;
            found.heals.extend(rows.into_iter().map(|(key, _)| (route, key)));
        }
        Ok(())
    }
}
