//! Rows that lanes have changed, for whoever compares both sides: told once every lane has come as far.
//!
//! Where other processes have some of the lanes, nobody here knows what those change. Then everything counts as changed, so that
//! nothing counts as verified while it may have changed unseen.

use std::collections::{BTreeMap, VecDeque};

use understudy_contract::RowName;
use understudy_model::{Lsn, RouteId};
use understudy_replicate::{Healed, Tally};

use crate::verifying::Shared;

/// Rows that wait for the lane that is furthest behind. Beyond that their routes are verified anew.
const ROWS_MAX: usize = 200_000;

/// What the lanes of this process have changed.
pub(super) struct ChangedByLanes {
    shared: Option<Shared>,
    routes: Vec<RouteId>,
    /// How many lanes there are in all.
    of: usize,
    lanes: BTreeMap<u32, Lane>,
    rows: usize,
    /// A lane has come since all of them were last heard of: others may have changed rows in it before.
    is_new: bool,
    /// Up to where everything counts as changed.
    unknown_upto: Lsn,
}

#[derive(Default)]
struct Lane {
    upto: Option<Lsn>,
    batches: VecDeque<Batch>,
}

struct Batch {
    upto: Lsn,
    rows: Vec<(RouteId, RowName)>,
    unlisted: Vec<RouteId>,
}

impl ChangedByLanes {
    pub(super) fn new(shared: Option<Shared>, routes: Vec<RouteId>, of: u32) -> ChangedByLanes {
        let (lanes, unknown_upto) = (BTreeMap::new(), Lsn::ZERO);
        ChangedByLanes { shared, routes, of: of as usize, lanes, rows: 0, is_new: true, unknown_upto }
    }

    pub(super) fn begins(&mut self, number: u32) {
        self.lanes.insert(number, Lane::default());
        self.is_new = true;
    }

    /// What it has changed and not told may be gone with it.
    pub(super) fn ends(&mut self, number: u32) {
        self.lanes.remove(&number);
        self.unknown();
    }

    /// Whether every lane is this process's.
    fn is_whole(&self) -> bool {
        self.lanes.len() == self.of
    }

    pub(super) fn wants_rows(&self) -> bool {
        self.is_whole() && self.shared.as_ref().is_some_and(|shared| shared.changed.is_open())
    }

    /// A lane has applied a batch.
    pub(super) fn applied(&mut self, number: u32, tally: &Tally) {
        let (rows, unlisted) = (tally.changed.clone(), tally.changed_unlisted.clone());
        self.rows += rows.len();
        if let Some(lane) = self.lanes.get_mut(&number) {
            lane.upto = lane.upto.max(Some(tally.upto));
            lane.batches.push_back(Batch { upto: tally.upto, rows, unlisted });
        }
        if self.rows > ROWS_MAX {
            self.unknown();
        }
        self.tell();
    }

    /// A lane has placed rows that were read again.
    pub(super) fn healed(&mut self, number: u32, healed: &Healed) {
        let name = |key: &understudy_model::HealKey| RowName {
            green: key.green.clone(),
            blue: Some(key.blue.clone()),
        };
        let rows = healed.keys.iter().map(|key| (healed.route, name(key))).collect::<Vec<_>>();
        self.rows += rows.len();
        if let Some(lane) = self.lanes.get_mut(&number) {
            lane.batches.push_back(Batch { upto: healed.at.lsn(), rows, unlisted: Vec::new() });
        }
    }

    /// Green as a whole is here. What others have changed up to there nobody has told.
    pub(super) fn seen(&mut self, upto: Lsn) {
        if self.is_whole() || upto <= self.unknown_upto {
            return;
        }
        self.unknown_upto = upto;
        if let Some(shared) = &self.shared {
            self.routes.iter().for_each(|route| shared.changed.note_unlisted(*route, upto));
            shared.changed.note([], upto, shared.now());
        }
    }

    /// Gives up what waits: it counts as changed as far as any lane has come.
    fn unknown(&mut self) {
        let uptos = self.lanes.values().filter_map(|lane| lane.upto);
        let upto = uptos.chain([self.unknown_upto]).max().unwrap_or_default();
        self.lanes.values_mut().for_each(|lane| lane.batches.clear());
        (self.rows, self.unknown_upto) = (0, upto);
        if let Some(shared) = &self.shared {
            self.routes.iter().for_each(|route| shared.changed.note_unlisted(*route, upto));
        }
    }

    /// Tells what every lane has come to.
    fn tell(&mut self) {
        let uptos = self.lanes.values().map(|lane| lane.upto).collect::<Option<Vec<_>>>();
        let upto = uptos.filter(|_| self.is_whole()).and_then(|all| all.into_iter().min());
        let Some(upto) = upto else { return };
        if std::mem::take(&mut self.is_new) {
            self.unknown();
        }
        let Some(shared) = &self.shared else { return };
        let mut told = Vec::new();
        for lane in self.lanes.values_mut() {
            while let Some(batch) = lane.batches.pop_front_if(|batch| batch.upto <= upto) {
                told.push(batch);
            }
        }
        told.sort_by_key(|batch| batch.upto);
        for batch in told {
            self.rows -= batch.rows.len();
            batch.unlisted.iter().for_each(|route| shared.changed.note_unlisted(*route, batch.upto));
            shared.changed.note(batch.rows, batch.upto, shared.now());
        }
        shared.changed.note([], upto, shared.now());
    }
}
