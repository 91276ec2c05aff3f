//! What one commit of green holds: rows, bookkeeping, and how changes act on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use understudy_contract::{Applied, Class, Failure, GreenTable, Lineage, Saved, SavedRoute, SavedUnit, Unit};
use understudy_model::{BlockRange, Checkpoint, Key, RouteId, RowChange, Tuple, UnitId, Value, Xid};

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
    pub(super) rows: Vec<Arc<GreenRows>>,
    pub(super) complete: Vec<bool>,
    pub(super) units: BTreeMap<UnitId, SavedUnit>,
    pub(super) heals: BTreeSet<(RouteId, Key)>,
    pub(super) mismatches: u64,
}

impl State {
    pub(super) fn empty(routes: usize) -> State {
        State {
            lineage: None,
            checkpoint: Checkpoint::default(),
            unseen: None,
            rows: vec![Arc::default(); routes],
            complete: vec![false; routes],
            units: BTreeMap::new(),
            heals: BTreeSet::new(),
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
        };
        Some(Saved {
            lineage: self.lineage.clone()?,
            checkpoint: self.checkpoint,
            unseen: self.unseen.clone(),
            routes: tables.iter().map(route).collect(),
            units: self.units.values().cloned().collect(),
            heals: self.heals.iter().cloned().collect(),
            quarantined: 0,
        })
    }

    /// Applies one change; what does not fit is mended, and counted once the route is complete.
    pub(super) fn apply(
        &mut self,
        tables: &[GreenTable],
        change: &RowChange,
        applied: &mut Applied,
    ) -> Result<(), Failure> {
        match change {
            RowChange::Insert { route, new } => {
                let (key, row) = (key_of(tables, *route, new)?, cells(new, None)?);
                let replaced = self.rows_mut(*route).insert(key.clone(), row).is_some();
                self.expect(*route, &key, !replaced, applied);
            }
            RowChange::Update { route, old_key, new } => {
                self.update(*route, old_key.as_ref(), (key_of(tables, *route, new)?, new), applied)?;
            }
            RowChange::Delete { route, key } => {
                let found = self.rows_mut(*route).remove(key).is_some();
                self.expect(*route, key, found, applied);
            }
            RowChange::Truncate { routes } => routes.iter().for_each(|route| self.rows_mut(*route).clear()),
            RowChange::TruncateLeaf { route, predicate } => {
                if let Some((column, value)) = parse(&tables[route.index()], predicate) {
                    let inside = |row: &GreenRow| row[column].as_deref() == Some(value.as_bytes());
                    self.rows_mut(*route).retain(|_, row| !inside(row));
                }
            }
        }
        Ok(())
    }

    fn update(
        &mut self,
        route: RouteId,
        old_key: Option<&Key>,
        (key, new): (Key, &Tuple),
        applied: &mut Applied,
    ) -> Result<(), Failure> {
        let from = old_key.unwrap_or(&key);
        let before = self.rows_mut(route).remove(from);
        self.expect(route, from, before.is_some(), applied);
        if old_key.is_some() {
            let free = self.rows_mut(route).remove(&key).is_none();
            self.expect(route, &key, free, applied);
        }
        if before.is_none() && new.has_unchanged() {
            self.heals.insert((route, key.clone()));
            applied.heals.push((route, key));
        } else {
            self.rows_mut(route).insert(key, cells(new, before.as_ref())?);
        }
        Ok(())
    }

    /// A complete route keeps what its changes promise, but for rows that wait to be read again.
    fn expect(&mut self, route: RouteId, key: &Key, holds: bool, applied: &mut Applied) {
        let healing = || self.heals.contains(&(route, key.clone()));
        if self.complete[route.index()] && !holds && !healing() {
            self.mismatches += 1;
            applied.mismatches += 1;
        }
    }

    pub(super) fn rows_mut(&mut self, route: RouteId) -> &mut GreenRows {
        Arc::make_mut(&mut self.rows[route.index()])
    }

    pub(super) fn plan(&mut self, unit: &Unit) {
        self.complete[unit.route.index()] = false;
        let saved = SavedUnit {
            id: unit.id,
            route: unit.route,
            name: unit.name.clone(),
            filenode: unit.filenode,
            fingerprint: unit.fingerprint,
            blocks: unit.blocks,
            predicate: unit.predicate.clone(),
            done: Vec::new(),
        };
        self.units.insert(unit.id, saved);
    }

    pub(super) fn done(&mut self, unit: UnitId, range: BlockRange) -> bool {
        let planned = self.units.get_mut(&unit);
        planned.map(|planned| planned.done.push(range)).is_some()
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

/// The column and value of a leaf's condition, which is of the form `(column = 'value')` here.
fn parse<'a>(table: &GreenTable, predicate: &'a str) -> Option<(usize, &'a str)> {
    let (column, value) = predicate.strip_prefix('(')?.strip_suffix("')")?.split_once(" = '")?;
    let at = table.source_columns.iter().position(|source| source.as_deref() == Some(column))?;
    Some((at, value))
}
