//! What somebody does to green's rows behind our back, at the worst moment: just before a row is to be read again.

use understudy_model::{Key, RouteId};

use super::state::{GreenRow, State};
use super::{Green, Session};

/// What befalls one row of green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// It is removed.
    Remove,
    /// It becomes another one, if it is there.
    Change(GreenRow),
    /// It is there, whether or not it was.
    Put(GreenRow),
}

impl Green {
    /// Somebody damages a row, unseen by anyone, as soon as the request to read it again is applied. What is done to it
    /// earlier, and left alone by changes until then, comes to the same.
    pub fn plan_damage(&mut self, route: RouteId, key: Key, damage: Damage) {
        self.damages.insert((route, key), damage);
    }

    /// Rows that were damaged.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    pub(super) fn damage(&mut self, state: &mut State, route: RouteId, key: &Key) {
        let Some(damage) = self.damages.remove(&(route, key.clone())) else { return };
        let rows = state.rows_mut(route);
        let before = rows.get(key).cloned();
        match damage {
            Damage::Remove => drop(rows.remove(key)),
            Damage::Change(row) if before.is_some() => drop(rows.insert(key.clone(), row)),
            Damage::Change(_) => {}
            Damage::Put(row) => drop(rows.insert(key.clone(), row)),
        }
        self.damaged += u64::from(state.rows_mut(route).get(key) != before.as_ref());
    }
}

impl Session {
    /// Commits the chunks of routes that are about to be changed, and tells how their rows are then, uncommitted changes
    /// included.
    pub fn rows_before(
        &mut self,
        green: &mut Green,
        routes: &[RouteId],
    ) -> Result<Vec<std::sync::Arc<super::GreenRows>>, understudy_contract::Failure> {
        for route in routes {
            self.finish_route(green, *route)?;
        }
        Ok(self.rows_now(green, routes))
    }

    /// How rows are now, uncommitted changes included.
    pub fn rows_now(&self, green: &Green, routes: &[RouteId]) -> Vec<std::sync::Arc<super::GreenRows>> {
        let state = self.open.as_ref().unwrap_or_else(|| green.current());
        routes.iter().map(|route| state.rows[route.index()].clone()).collect()
    }
}
