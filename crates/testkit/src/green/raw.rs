//! A green that keeps no rows: it writes what it is given into a log, and the bookkeeping of whoever writes it.

use understudy_contract::Applied;
use understudy_model::{HealKey, RowChange};

use super::Green;
use super::state::{State, key_of};
use crate::fake_log::FakeLog;

impl Green {
    /// One that writes a log. Its tables are blue's own.
    pub fn into_log(log: FakeLog) -> Green {
        Green { log: Some(log), ..Green::new(Vec::new()) }
    }

    /// The log that it writes.
    pub fn log(&self) -> Option<&FakeLog> {
        self.log.as_ref()
    }

    /// The same, to announce tables.
    pub fn log_mut(&mut self) -> Option<&mut FakeLog> {
        self.log.as_mut()
    }
}

impl State {
    /// What a sink reports that has no rows: it cannot tell which partial update finds none.
    pub(super) fn observe(
        &mut self,
        tables: &[understudy_contract::GreenTable],
        change: &RowChange,
        applied: &mut Applied,
    ) -> Result<(), understudy_contract::Failure> {
        match change {
            RowChange::Update { route, old_key, new, .. } if new.has_unchanged() => {
                let key = key_of(tables, *route, new)?;
                let is_copied = self.complete[route.index()];
                let reported = match old_key {
                    Some(old) => !is_copied || self.waits(*route, old),
                    None => !is_copied && !self.waits(*route, &key),
                };
                if reported {
                    let key = HealKey::same(key);
                    self.heals.insert((*route, key.clone()));
                    applied.heals.push((*route, key));
                }
            }
            RowChange::Reread { route, key } => self.heal(*route, key.clone(), applied),
            _ => {}
        }
        Ok(())
    }
}
