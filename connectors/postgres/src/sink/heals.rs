//! Rows that wait to be read again by key, and the changes that make more of them.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use rustc_hash::FxHashMap;
use understudy_contract::{Applied, Batch, Failure};
use understudy_model::{HealKey, Key, Position, RouteId, RowChange};

use super::applier::{Applier, nameless, position};
use super::script::unknown_route;
use super::target::Target;

/// Rows that turned out to need a heal, with the change that each needs it for.
type NewHeals = BTreeMap<RouteId, Vec<(HealKey, Position)>>;

/// The rows that wait: from the change that makes it necessary until the chunk that settles it has been committed.
#[derive(Default)]
pub(super) struct Heals {
    /// By their keys on green; with the keys on blue by which they are read, nearly always one.
    waiting: FxHashMap<(RouteId, Key), Vec<Key>>,
    /// Those of the piece that is being applied, which may have to be tried again.
    tried: Vec<(RouteId, HealKey)>,
}

impl Heals {
    /// What an earlier instance left waiting.
    pub(super) fn of(saved: impl Iterator<Item = (RouteId, HealKey)>) -> Heals {
        let mut heals = Heals::default();
        saved.for_each(|(route, key)| heals.add(route, key));
        heals.start();
        heals
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the row that green knows by this key waits, by whatever key it is read.
    pub(super) fn contains(&self, route: RouteId, key: &Key) -> bool {
        // A key is a reference to its bytes: copying it costs no more than counting.
        !self.waiting.is_empty() && self.waiting.contains_key(&(route, key.clone()))
    }

    /// Whether exactly this row waits. Another row of blue that takes the same key on green is not read with it.
    fn covers(&self, route: RouteId, key: &HealKey) -> bool {
        !self.waiting.is_empty()
            && self.waiting.get(&(route, key.green.clone())).is_some_and(|blue| blue.contains(&key.blue))
    }

    fn add(&mut self, route: RouteId, key: HealKey) {
        let of_green = self.waiting.entry((route, key.green.clone())).or_default();
        if !of_green.contains(&key.blue) {
            of_green.push(key.blue.clone());
            self.tried.push((route, key));
        }
    }

    /// The row is on green as it is on blue.
    pub(super) fn settle(&mut self, route: RouteId, key: &HealKey) {
        if let Entry::Occupied(mut of_green) = self.waiting.entry((route, key.green.clone())) {
            of_green.get_mut().retain(|blue| *blue != key.blue);
            if of_green.get().is_empty() {
                of_green.remove();
            }
        }
    }

    /// Those of these routes wait no more.
    pub(super) fn forget(&mut self, routes: &[RouteId]) {
        self.waiting.retain(|(route, _), _| !routes.contains(route));
    }

    /// What is added from here on is tried.
    pub(super) fn start(&mut self) {
        self.tried.clear();
    }

    /// It was rolled back, and with it what the bookkeeping holds of it: trying again must find the same anew.
    pub(super) fn undo(&mut self) {
        for (route, key) in std::mem::take(&mut self.tried) {
            self.settle(route, &key);
        }
    }
}

/// The names of the row that an update leaves.
pub(super) fn heal_key(green: Key, change: &RowChange) -> HealKey {
    match change {
        RowChange::Update { blue_key: Some(blue), .. } => HealKey { green, blue: blue.clone() },
        _ => HealKey::same(green),
    }
}

impl Applier {
    /// Finds the rows that are on green and may be out of date in what a change did not send, to be read again by key; and
    /// those of which too little was sent to tell what they are on green.
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
        let rereads = |change: &RowChange| matches!(change, RowChange::Reread { .. });
        let told = batch.changes.get(changes.clone()).is_some_and(|changes| changes.iter().any(rereads));
        if !told && self.heals.is_empty() && !self.targets.iter().any(Target::is_renewed) {
            return Ok(());
        }
        let mut more = NewHeals::default();
        for at in changes {
            let Some(change) = batch.changes.get(at) else { continue };
            if let RowChange::Reread { route, key } = change
                && !self.heals.covers(*route, key)
            {
                self.heals.add(*route, key.clone());
                more.entry(*route).or_default().push((key.clone(), position(batch, at)));
            }
            let RowChange::Update { route, old_key, new, .. } = change else { continue };
            let target = self.targets.get(route.index()).ok_or_else(unknown_route)?;
            let may_be =
                target.is_renewed() || old_key.as_ref().is_some_and(|old| self.heals.contains(*route, old));
            if !may_be || !new.has_unchanged() {
                continue;
            }
            let key = heal_key(new.key(&target.green.key).ok_or_else(|| nameless(target))?, change);
            if old_key.is_some() || !self.heals.covers(*route, &key) {
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
            let Some(change @ RowChange::Update { new, .. }) = batch.changes.get(at) else { continue };
            let key = heal_key(new.key(&target.green.key).ok_or_else(|| nameless(target))?, change);
            self.heals.add(route, key.clone());
            more.entry(route).or_default().push((key, position(batch, at)));
        }
        self.record_heals(more, found).await
    }

    /// Records that a row has to be read again by key.
    pub(super) async fn read_again(
        &mut self,
        (route, key): (RouteId, HealKey),
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
