//! What one commit of green holds: rows, bookkeeping, and how changes act on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use understudy_contract::{
    Applied, Class, Cursor, Failure, GreenTable, Lineage, Saved, SavedRoute, SavedUnit, Unit,
};
use understudy_model::{
    Before, BlockRange, Checkpoint, HealKey, Key, RouteId, RowChange, Tuple, UnitId, Value, Xid,
};
use understudy_replicate::{Rule, Rules};

/// One row: its texts and nulls, in the route's columns.
pub type GreenRow = Arc<[Option<Bytes>]>;

/// The rows of a route by key.
pub type GreenRows = BTreeMap<Key, GreenRow>;

/// A consistent state of green.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) lineage: Option<Lineage>,
    pub(super) checkpoint: Checkpoint,
    pub(super) unseen: Option<Vec<Xid>>,
    /// Where to go on in a log.
    pub(super) cursor: Option<Cursor>,
    pub(super) rows: Vec<Arc<GreenRows>>,
    pub(super) complete: Vec<bool>,
    /// For each route, whether the copy that is not complete writes over rows that were there before it.
    pub(super) renewed: Vec<bool>,
    pub(super) units: BTreeMap<UnitId, SavedUnit>,
    pub(super) heals: BTreeSet<(RouteId, HealKey)>,
    /// Rows of which changes have been set aside.
    pub(super) aside: BTreeSet<(RouteId, Key)>,
    pub(super) mismatches: u64,
}

impl State {
    pub(super) fn empty(routes: usize) -> State {
        State {
            lineage: None,
            checkpoint: Checkpoint::default(),
            unseen: None,
            cursor: None,
            rows: vec![Arc::default(); routes],
            complete: vec![false; routes],
            renewed: vec![false; routes],
            units: BTreeMap::new(),
            heals: BTreeSet::new(),
            aside: BTreeSet::new(),
            mismatches: 0,
        }
    }

    /// What a new owner reads.
    pub(super) fn saved(&self, tables: &[GreenTable]) -> Option<Saved> {
        let route = |table: &GreenTable| SavedRoute {
            route: Some(table.route),
            source: table.source.clone(),
            target: table.name.clone(),
            fingerprint: table.fingerprint.clone(),
            complete: self.complete[table.route.index()],
            published: None,
        };
        Some(Saved {
            lineage: self.lineage.clone()?,
            checkpoint: self.checkpoint,
            unseen: self.unseen.clone(),
            routes: tables.iter().map(route).collect(),
            units: self.units.values().cloned().collect(),
            departed: Vec::new(),
            heals: self.heals.iter().cloned().collect(),
            cursor: self.cursor.clone(),
        })
    }

    /// Applies one change; what does not fit is mended, and counted once the route is complete.
    pub(super) fn apply(
        &mut self,
        (tables, rules): (&[GreenTable], &Rules),
        change: &RowChange,
        applied: &mut Applied,
    ) -> Result<(), Failure> {
        if self.set_aside(tables, change, applied)? {
            return Ok(());
        }
        match change {
            RowChange::Insert { route, new } => {
                let (key, row) = (key_of(tables, *route, new)?, cells(new, None)?);
                let replaced = self.rows_mut(*route).insert(key.clone(), row).is_some();
                self.expect(*route, &key, !replaced, applied);
            }
            RowChange::Update { .. } => self.update((tables, rules), change, applied)?,
            RowChange::Delete { route, key, before } => {
                let found = self.rows_mut(*route).remove(key).is_some();
                self.expect(*route, key, found || *before == Before::Unknown, applied);
            }
            RowChange::Reread { route, key } => self.heal(*route, key.clone(), applied),
            RowChange::Refused { .. } => {}
            RowChange::Truncate { routes } => {
                routes.iter().for_each(|route| self.rows_mut(*route).clear());
                self.aside.retain(|(route, _)| !routes.contains(route));
            }
            RowChange::TruncateLeaf { route, predicate } => {
                let leaves = leaves(&tables[route.index()], predicate);
                let none = predicate.contains(NOT_HERE);
                let goes = |row: &GreenRow| leaves.iter().any(|leaf| leaf.holds(row)) != none;
                self.rows_mut(*route).retain(|_, row| !goes(row));
            }
        }
        Ok(())
    }

    /// Whether a change is set aside: it cannot be computed, or an earlier one of its row could not.
    fn set_aside(
        &mut self,
        tables: &[GreenTable],
        change: &RowChange,
        applied: &mut Applied,
    ) -> Result<bool, Failure> {
        let (route, old, new) = match change {
            RowChange::Refused { route, old_key, key, .. } => (*route, old_key.clone(), Some(key.clone())),
            RowChange::Insert { route, new } => (*route, None, Some(key_of(tables, *route, new)?)),
            RowChange::Update { route, old_key, new, .. } => {
                (*route, old_key.clone(), Some(key_of(tables, *route, new)?))
            }
            RowChange::Delete { route, key, .. } => (*route, Some(key.clone()), None),
            _ => return Ok(false),
        };
        let keys = [old, new].into_iter().flatten().map(|key| (route, key)).collect::<Vec<_>>();
        let refused = matches!(change, RowChange::Refused { .. });
        if !refused && !keys.iter().any(|key| self.aside.contains(key)) {
            return Ok(false);
        }
        self.aside.extend(keys);
        applied.quarantined += 1;
        Ok(true)
    }

    /// A row is to be read again, unless it waits for that already.
    pub(super) fn heal(&mut self, route: RouteId, key: HealKey, applied: &mut Applied) {
        if self.heals.insert((route, key.clone())) {
            applied.heals.push((route, key));
        }
    }

    fn update(
        &mut self,
        (tables, rules): (&[GreenTable], &Rules),
        change: &RowChange,
        applied: &mut Applied,
    ) -> Result<(), Failure> {
        let RowChange::Update { route, old_key, new, blue_key, before: known } = change else {
            return Ok(());
        };
        let route = *route;
        let key = key_of(tables, route, new)?;
        let from = old_key.as_ref().unwrap_or(&key);
        let before = self.rows_mut(route).remove(from);
        self.expect(route, from, before.is_some() || *known == Before::Unknown, applied);
        if old_key.is_some() {
            let free = self.rows_mut(route).remove(&key).is_none();
            self.expect(route, &key, free, applied);
        }
        let missing = before.is_none() && new.has_unchanged();
        if missing || (new.has_unchanged() && self.may_be_stale(rules, route, (old_key.as_ref(), &key))) {
            let heal = HealKey { green: key.clone(), blue: blue_key.clone().unwrap_or_else(|| key.clone()) };
            self.heals.insert((route, heal.clone()));
            applied.heals.push((route, heal));
        }
        if !missing {
            self.rows_mut(route).insert(key, cells(new, before.as_ref())?);
        }
        Ok(())
    }

    /// Whether a row that was there before a partial update must be read again for what the update left alone.
    fn may_be_stale(&self, rules: &Rules, route: RouteId, (old_key, key): (Option<&Key>, &Key)) -> bool {
        let waits = |key: &Key| self.waits(route, key);
        let copied_over = self.is_renewed(route);
        match old_key {
            Some(old) if rules.holds(Rule::MovedHeal) && waits(old) => true,
            None if waits(key) => false,
            Some(_) | None => copied_over && rules.holds(Rule::Renewal),
        }
    }

    /// Whether a row waits to be read again.
    pub(super) fn waits(&self, route: RouteId, key: &Key) -> bool {
        self.heals.iter().any(|(of, heal)| *of == route && heal.green == *key)
    }

    /// A complete route keeps what its changes promise, but for rows that wait to be read again.
    fn expect(&mut self, route: RouteId, key: &Key, holds: bool, applied: &mut Applied) {
        let healing = || self.waits(route, key);
        if self.complete[route.index()] && !holds && !healing() {
            self.mismatches += 1;
            applied.mismatches += 1;
        }
    }

    /// Whether the copy that is not complete writes over rows that were there before it.
    pub(super) fn is_renewed(&self, route: RouteId) -> bool {
        self.renewed[route.index()] && !self.complete[route.index()]
    }

    pub(super) fn rows_mut(&mut self, route: RouteId) -> &mut GreenRows {
        Arc::make_mut(&mut self.rows[route.index()])
    }

    pub(super) fn plan(&mut self, unit: &Unit) {
        self.copy_again(unit.route);
        let rewritten =
            |known: &SavedUnit| (known.filenode, known.fingerprint) != (unit.filenode, unit.fingerprint);
        self.renewed[unit.route.index()] |= self.units.get(&unit.id).is_some_and(rewritten);
        self.units.insert(unit.id, saved(unit, Vec::new()));
    }

    /// What is known of a unit has changed; what is done stays done.
    pub(super) fn refresh(&mut self, unit: &Unit) {
        if let Some(known) = self.units.get_mut(&unit.id) {
            let blocks = known.blocks;
            let rows_done = known.rows_done;
            *known = SavedUnit { blocks, rows_done, ..saved(unit, std::mem::take(&mut known.done)) };
        }
    }

    /// The copy of a route is not complete from here on; what is there already may be out of date.
    fn copy_again(&mut self, route: RouteId) {
        let at = route.index();
        self.renewed[at] |= self.complete[at] || !self.rows[at].is_empty();
        self.complete[at] = false;
    }

    /// Every unit of a route is to be copied again.
    pub(super) fn start_again(&mut self, route: RouteId) {
        self.copy_again(route);
        for unit in self.units.values_mut().filter(|unit| unit.route == route) {
            unit.done.clear();
            unit.rows_done = 0;
        }
    }

    pub(super) fn completed(&mut self, route: RouteId) {
        self.complete[route.index()] = true;
        self.renewed[route.index()] = false;
    }

    pub(super) fn done(&mut self, unit: UnitId, range: BlockRange, rows: u64) -> bool {
        let Some(planned) = self.units.get_mut(&unit) else { return false };
        planned.done.push(range);
        planned.rows_done += rows;
        true
    }
}

fn saved(unit: &Unit, done: Vec<BlockRange>) -> SavedUnit {
    SavedUnit {
        id: unit.id,
        route: unit.route,
        name: unit.name.clone(),
        filenode: unit.filenode,
        fingerprint: unit.fingerprint,
        marks: unit.marks,
        membership: unit.membership,
        blocks: unit.blocks,
        predicate: unit.predicate.clone(),
        done,
        rows_done: 0,
    }
}

pub(super) fn key_of(tables: &[GreenTable], route: RouteId, row: &Tuple) -> Result<Key, Failure> {
    row.key(&tables[route.index()].key)
        .ok_or_else(|| Failure::new(Class::Internal, "a row for green does not carry its key"))
}

pub(super) fn cells(new: &Tuple, before: Option<&GreenRow>) -> Result<GreenRow, Failure> {
    let unsent = || Failure::new(Class::Internal, "a whole row for green holds a value that was not sent");
    let one = |(at, value): (usize, Value<'_>)| match value {
        Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(Bytes::from(text.into_owned()))),
        Value::Unchanged => Ok(before.ok_or_else(unsent)?[at].clone()),
    };
    new.values().enumerate().map(one).collect()
}

/// What stands behind each leaf's condition in that of rows which belong to no leaf.
const NOT_HERE: &str = ") IS NOT TRUE";

/// The leaf that a condition tells of, or those that it leaves out: `((one) IS NOT TRUE AND (other) IS NOT TRUE)`.
fn leaves<'a>(table: &GreenTable, condition: &'a str) -> Vec<Leaf<'a>> {
    if !condition.contains(NOT_HERE) {
        return Leaf::parse(table, condition).into_iter().collect();
    }
    let inner = condition.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or_default();
    let one = |part: &'a str| Leaf::parse(table, part.strip_prefix('(')?.strip_suffix(NOT_HERE)?);
    inner.split(" AND ").filter_map(one).collect()
}

/// The condition of a leaf: `(column = 'value')`, or `(NOT (column = ANY ('value', 'value')))` for a default leaf, or
/// `(NOT (false))` for one without siblings.
struct Leaf<'a> {
    column: usize,
    values: Vec<&'a str>,
    is_default: bool,
}

impl<'a> Leaf<'a> {
    fn parse(table: &GreenTable, predicate: &'a str) -> Option<Leaf<'a>> {
        if predicate == "(NOT (false))" {
            return Some(Leaf { column: 0, values: Vec::new(), is_default: true });
        }
        let default = predicate.strip_prefix("(NOT ").and_then(|rest| rest.strip_suffix("))"));
        let (column, values) = match default {
            Some(rest) => rest.strip_prefix('(')?.strip_suffix(')')?.split_once(" = ANY (")?,
            None => predicate.strip_prefix('(')?.strip_suffix(')')?.split_once(" = ")?,
        };
        let column = table.source_columns.iter().position(|source| source.as_deref() == Some(column))?;
        let values = values.split(", ").map(|value| value.trim_matches('\'')).collect();
        Some(Leaf { column, values, is_default: default.is_some() })
    }

    fn holds(&self, row: &GreenRow) -> bool {
        let listed = self.values.iter().any(|value| row[self.column].as_deref() == Some(value.as_bytes()));
        listed != self.is_default
    }
}
