//! Rows of green that somebody else has removed, changed or added, and that are read again for it.

use understudy_model::{HealKey, Key};
use understudy_transform::RouteSpec;

use super::mapping::{GreenKey, Mapping, Outcome};
use super::sidecar::Sidecar;
use super::{Sim, check, trace};
use crate::blue::{Blue, Cell, Shape};
use crate::dice::Dice;
use crate::green::{Damage, Green};

impl Sim {
    /// Damages a row of some route, which may be one that blue does not have, and asks for it as a repair does.
    pub(super) fn damage(&mut self, sidecar: &mut Sidecar) {
        let at = self.damage_dice.below(self.routes.len());
        let (route, table, mapping) = (&self.routes[at], self.tables[at], self.mappings[at]);
        let around = (&self.blue, &self.green);
        let Some((key, damage)) = draw(around, (route, table, mapping), &mut self.damage_dice) else {
            return;
        };
        self.trace.note(|| format!("route {}: {} is damaged: {damage:?}", route.id.0, trace::heal_key(&key)));
        self.green.plan_damage(route.id, key.green.clone(), damage);
        sidecar.core.reread(route.id, key);
    }
}

/// What is to happen to a row of a route, and the row.
pub(super) fn draw(
    (blue, green): (&Blue, &Green),
    (route, table, mapping): (&RouteSpec, usize, Mapping),
    dice: &mut Dice,
) -> Option<(HealKey, Damage)> {
    let shape = blue.shape(table);
    let rows = blue.rows(table).into_values().collect::<Vec<_>>();
    if !green.is_complete(route.id) {
        return None;
    }
    let cells = dice.pick(&rows)?;
    let alone = matches!(mapping.key, GreenKey::Passed | GreenKey::Origin(_));
    let cells =
        if alone && dice.percent(60) { under_another_key(&shape, cells, dice) } else { cells.clone() };
    let whole = Mapping { filter: None, ..mapping };
    let Outcome::Row(row) = check::outcome(&shape, (route, whole), &cells) else { return None };
    let green = Key::from_texts(route.key.iter().map(|at| row[*at].as_deref().unwrap_or_default()));
    let text = |name: &String| {
        let at = shape.columns.iter().position(|(column, _)| column == name);
        at.and_then(|at| cells[at].as_deref()).unwrap_or_default()
    };
    let blue = Key::from_texts(route.key_source.iter().map(text));
    let other = check::outdated(route, &row.into());
    // Which row of blue another key on green may be cannot be told: there nothing is added that would have to go.
    let damage = match dice.below(3) {
        0 => Damage::Remove,
        1 if alone => Damage::Put(other),
        _ => Damage::Change(other),
    };
    Some((HealKey { green, blue }, damage))
}

/// The row with other numbers in its key, so that it may be one that blue does not have.
fn under_another_key(shape: &Shape, cells: &[Cell], dice: &mut Dice) -> Vec<Cell> {
    let values = if shape.key.len() > 1 { 4 } else { 12 };
    let mut cells = cells.to_vec();
    for at in &shape.key {
        if shape.columns[*at].0 != crate::blue::BOUND {
            cells[*at] = Some(dice.below(values).to_string().into());
        }
    }
    cells
}
