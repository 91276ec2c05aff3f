//! Rows that somebody asks to have read again from blue, because green has something else under their keys.

use understudy_model::{HealKey, RouteId, RowChange};

use super::Core;

/// Rows that may wait for the end of the open transaction. Whoever asks for more waits.
const REREADS_MAX: usize = 1_000;

impl Core {
    /// Whether another [`Core::reread`] is taken now.
    pub fn takes_rereads(&self) -> bool {
        self.rereads.len() < REREADS_MAX
    }

    /// A row is to be read again from blue: green is to have what blue has under its key, and nothing where blue has nothing.
    ///
    /// It is recorded on green as a change of our own, so that a restart does not lose it, and done as every heal is. A
    /// route that is being copied is passed over: the copy brings its rows.
    pub fn reread(&mut self, route: RouteId, key: HealKey) {
        self.rereads.push_back((route, key));
        self.push_rereads();
    }

    /// Hands on what has been asked for, unless that would stand in the middle of a transaction of blue.
    pub(super) fn push_rereads(&mut self) {
        if self.rereads.is_empty() || self.batch.open_xid().is_some() {
            return;
        }
        for (route, key) in std::mem::take(&mut self.rereads) {
            if route.index() >= self.routes.len() || self.incomplete.contains(&route) {
                continue;
            }
            for window in self.windows.values_mut().filter(|window| window.route == route) {
                window.ask(&self.settings.rules, &key);
            }
            self.batch.push_own(RowChange::Reread { route, key });
            if self.batch.is_full() {
                self.seal_here();
            }
        }
    }
}
