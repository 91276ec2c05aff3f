//! Rows of green that are out of date, and blue changing just those at the worst moments.

use understudy_model::{Key, RouteId};

use super::mapping::Mapping;
use super::sidecar::Sidecar;
use super::{Sim, check, trace};
use crate::workload;

impl Sim {
    /// Puts some of green's rows out of date, and says which routes have to be copied again for it.
    pub(super) fn outdate(&mut self) -> Vec<RouteId> {
        let mut recopy = Vec::new();
        for (at, route) in self.routes.iter().enumerate() {
            if !self.dice.percent(self.scenario.recopies) {
                continue;
            }
            self.seen.recopies += 1;
            let upto = self.green.checkpoint().lsn();
            let whole = Mapping { filter: None, ..self.mappings[at] };
            let rows_before = self.blue.rows_before(self.tables[at], upto);
            let mut more = check::outcomes(&self.blue, self.tables[at], (route, whole), rows_before).rows;
            let dice = &mut self.dice;
            // Before anything is planned nobody vouches for rows that are there, nor for those of a leaf that is not.
            let is_whole = !self.blue.tables()[self.tables[at]].kind.is_partitioned();
            let had_rows = self.mappings[at].filter.is_some() && self.green.is_planned(route.id) && is_whole;
            more.retain(|_, _| had_rows && dice.percent(50));
            self.green.tamper(route.id, |rows| {
                // The condition was another one before.
                for (key, row) in more {
                    rows.entry(key).or_insert(row);
                }
                rows.values_mut().for_each(|row| *row = check::outdated(route, row));
            });
            recopy.push(route.id);
        }
        recopy
    }

    /// Green holds most of the rows that blue has now, out of date.
    pub(super) fn fill_green(&mut self) {
        workload::settle_all(&mut self.blue, &mut self.dice);
        for (at, route) in self.routes.iter().enumerate() {
            let dice = &mut self.dice;
            let (table, whole) = (self.tables[at], Mapping { filter: None, ..self.mappings[at] });
            let mut rows = check::outcomes(&self.blue, table, (route, whole), self.blue.rows(table)).rows;
            rows.retain(|_, _| dice.percent(80));
            self.green.tamper(route.id, |there| {
                there.extend(rows.into_iter().map(|(key, row)| (key, check::outdated(route, &row))));
            });
        }
        self.seen.recopies += 1;
    }

    /// Changes rows between the reading of a chunk and its marker, and moves those that are still to be read again when the
    /// copy is complete. `true`: the last chunk is on its way, and nothing more should be read for a while.
    pub(super) fn press(&mut self, sidecar: &mut Sidecar) -> bool {
        // Nothing is read while transactions are in the way; here it is the rows that shall be.
        let late = self.blue.late();
        late.into_iter().filter(|_| self.dice.percent(20)).for_each(|xid| self.blue.settle(xid));
        let unfinished = self.blue.unfinished();
        unfinished.into_iter().filter(|_| self.dice.percent(5)).for_each(|xid| self.blue.commit(xid));
        if self.routes.iter().all(|route| self.green.is_complete(route.id)) && self.dice.percent(5) {
            self.move_unhealed();
        }
        let has_read = std::mem::take(&mut sidecar.has_read);
        if has_read {
            self.touch_outdated();
        }
        let units = sidecar.core.progress().units;
        has_read && units.iter().map(|unit| unit.chunks_left).sum::<u64>() == 1
    }

    /// Rows that wait to be read again get other keys, as far as blue lets them.
    fn move_unhealed(&mut self) {
        for (route, key) in self.green.heals() {
            self.change_row(route, &key.blue, true);
        }
    }

    /// One row changes that is out of date on green.
    fn touch_outdated(&mut self) {
        let route = RouteId(self.dice.below(self.routes.len()) as u16);
        if !self.routes[route.index()].passes_key() {
            return;
        }
        let rows = self.green.rows(route).iter().filter(|(_, row)| check::is_outdated(row));
        let keys = rows.map(|(key, _)| key.clone()).collect::<Vec<_>>();
        if let Some(key) = self.dice.pick(&keys) {
            self.change_row(route, key, false);
        }
    }

    fn change_row(&mut self, route: RouteId, key: &Key, its_key: bool) {
        let table = self.tables[route.index()];
        let key = check::blue_key(&self.blue, table, &self.routes[route.index()], key);
        let changed = self.blue.change_row(table, &key, its_key);
        self.trace.note(|| format!("blue: changes {} (its key: {its_key}): {changed}", trace::key(&key)));
    }
}
