//! Statements that change single rows, with the changes that they leave in the log.

use std::sync::Arc;

use understudy_model::{
    Key, OldImage, Relation, RelationId, ReplicaIdentity, SourceChange, TableName, Tuple, TupleBuilder,
    Value, Xid,
};

use super::heap::{Cell, Heap};
use super::log::Logged;
use super::schema::ColumnKind;
use super::{Blue, out_of_line};

/// What a writer finds under a key.
enum Found {
    Nothing,
    /// A row: its heap, and its place among the heap's versions.
    Row(usize, usize),
    /// A transaction that has not ended holds it.
    Locked,
}

impl Blue {
    /// Runs one random statement on one row of a table. False when a lock or the data stood in its way.
    pub fn write(&mut self, xid: Xid, table: usize) -> bool {
        let leaves = self.leaves(table);
        let Some(heap) = self.dice.pick(&leaves).copied() else { return false };
        let row = self.random_row(heap);
        let key = self.heaps[heap].key(&row);
        match self.find(table, &key, xid) {
            Found::Locked => false,
            Found::Nothing => self.insert(xid, heap, row),
            Found::Row(heap, at) => match self.dice.weighted(&self.statements.clone()) {
                0 => self.update(xid, heap, at, &[ColumnKind::Small]),
                1 => self.update(xid, heap, at, &[ColumnKind::Large]),
                2 => self.update(xid, heap, at, &[ColumnKind::Small, ColumnKind::Large]),
                3 => self.rename(xid, table, heap, at),
                _ => self.delete(xid, heap, at),
            },
        }
    }

    /// The heaps of a table, attached as this transaction sees it.
    pub(super) fn leaves(&self, table: usize) -> Vec<usize> {
        (0..self.heaps.len()).filter(|at| self.heaps[*at].table == Some(table)).collect()
    }

    fn find(&self, table: usize, key: &Key, xid: Xid) -> Found {
        let ended = |other: Xid| !self.running.contains_key(&other);
        if self.left_with(table, key) {
            return Found::Locked;
        }
        for heap in self.leaves(table) {
            let store = &self.heaps[heap];
            if !store.can_lock(Some(xid), false) {
                return Found::Locked;
            }
            for (at, version) in store.versions.iter().enumerate() {
                if store.key(&version.cells) != *key {
                    continue;
                }
                if version.xmin != xid && !ended(version.xmin) {
                    return Found::Locked;
                }
                match version.xmax {
                    None => return Found::Row(heap, at),
                    Some(xmax) if xmax != xid && !ended(xmax) => return Found::Locked,
                    Some(_) => {}
                }
            }
        }
        Found::Nothing
    }

    /// Whether a leaf that left this table holds a row of this key. Where the leaf is not part of the key such keys are
    /// numbers that nobody gives out twice.
    fn left_with(&self, table: usize, key: &Key) -> bool {
        let left = |heap: &&Heap| heap.left == Some(table) && heap.shape.key.len() == 1;
        self.heaps.iter().filter(left).any(|heap| heap.holds(key))
    }

    fn insert(&mut self, xid: Xid, heap: usize, row: Vec<Cell>) -> bool {
        if !self.heaps[heap].can_lock(Some(xid), false) {
            return false;
        }
        let new = wire(&row, None);
        self.add(xid, heap, row);
        let relation = RelationId(self.heaps[heap].oid);
        self.record(xid, heap, SourceChange::Insert { relation, new });
        true
    }

    fn update(&mut self, xid: Xid, heap: usize, at: usize, kinds: &[ColumnKind]) -> bool {
        let mut row = self.heaps[heap].versions[at].cells.clone();
        for (column, cell) in row.iter_mut().enumerate() {
            if kinds.contains(&self.heaps[heap].shape.columns[column].1) {
                *cell = self.random_cell(heap, column);
            }
        }
        self.replace(xid, heap, at, row)
    }

    /// Changes one row's small columns, or its key, in a transaction of its own. False when a lock or the data stood in its
    /// way.
    pub fn change_row(&mut self, table: usize, key: &Key, its_key: bool) -> bool {
        let xid = self.begin();
        let changed = match self.find(table, key, xid) {
            Found::Row(heap, at) if its_key => self.rename(xid, table, heap, at),
            Found::Row(heap, at) => self.update(xid, heap, at, &[ColumnKind::Small]),
            Found::Nothing | Found::Locked => false,
        };
        if changed {
            self.commit(xid)
        } else {
            self.abort(xid)
        }
        changed
    }

    /// Changes the key, or the leaf, or both; sometimes other columns along with it.
    fn rename(&mut self, xid: Xid, table: usize, heap: usize, at: usize) -> bool {
        let leaves = self.leaves(table);
        let Some(to) = self.dice.pick(&leaves).copied() else { return false };
        let mut row = self.heaps[heap].versions[at].cells.clone();
        let small_too = self.dice.percent(50);
        let new_key = self.dice.percent(60);
        for (column, cell) in row.iter_mut().enumerate() {
            let (name, kind) = self.heaps[to].shape.columns[column];
            let moved = name == super::schema::BOUND;
            let touched = (kind == ColumnKind::Key && new_key) || (kind == ColumnKind::Small && small_too);
            if moved || touched {
                *cell = self.random_cell(to, column);
            }
        }
        let key = self.heaps[to].key(&row);
        let same = key == self.heaps[heap].key(&self.heaps[heap].versions[at].cells);
        if !same && !matches!(self.find(table, &key, xid), Found::Nothing) {
            return false;
        }
        if to == heap {
            return self.replace(xid, heap, at, row);
        }
        let free = |heap: &Heap| heap.can_lock(Some(xid), false);
        if !free(&self.heaps[heap]) || !free(&self.heaps[to]) {
            return false;
        }
        self.delete(xid, heap, at) && self.insert(xid, to, row)
    }

    fn replace(&mut self, xid: Xid, heap: usize, at: usize, row: Vec<Cell>) -> bool {
        if !self.heaps[heap].can_lock(Some(xid), false) {
            return false;
        }
        let store = &mut self.heaps[heap];
        let relation = RelationId(store.oid);
        let before = store.versions[at].cells.clone();
        store.versions[at].xmax = Some(xid);
        let renamed = store.key(&before) != store.key(&row);
        let full = store.shape.identity == ReplicaIdentity::Full;
        let old = (full || renamed).then(|| old_image(store, &before));
        let new = wire(&row, Some(&before));
        self.add(xid, heap, row);
        self.record(xid, heap, SourceChange::Update { relation, old, new });
        true
    }

    fn delete(&mut self, xid: Xid, heap: usize, at: usize) -> bool {
        if !self.heaps[heap].can_lock(Some(xid), false) {
            return false;
        }
        let store = &mut self.heaps[heap];
        store.lock(xid, false);
        store.versions[at].xmax = Some(xid);
        let (relation, old) = (RelationId(store.oid), old_image(store, &store.versions[at].cells));
        self.record(xid, heap, SourceChange::Delete { relation, old });
        true
    }

    fn add(&mut self, xid: Xid, heap: usize, row: Vec<Cell>) {
        let choice = self.dice.below(1_000);
        let store = &mut self.heaps[heap];
        store.lock(xid, false);
        store.place(choice, row, xid);
    }

    /// Changes a table that belongs to no route any more: nothing of it is in the stream.
    pub fn write_apart(&mut self) -> bool {
        let apart = |heap: &Heap| heap.table.is_none() && !heap.dropped && heap.locks.is_empty();
        let heaps: Vec<usize> = (0..self.heaps.len()).filter(|at| apart(&self.heaps[*at])).collect();
        let Some(heap) = self.dice.pick(&heaps).copied() else { return false };
        let xid = self.begin();
        let row = self.random_row(heap);
        let store = &mut self.heaps[heap];
        let key = store.key(&row);
        let same =
            |version: &super::heap::Version| version.xmax.is_none() && store.key(&version.cells) == key;
        if let Some(at) = store.versions.iter().position(same) {
            store.versions[at].xmax = Some(xid);
        }
        self.add(xid, heap, row);
        self.commit(xid);
        true
    }

    /// Writes a change into the log, if the publication shows it at this moment.
    fn record(&mut self, xid: Xid, heap: usize, change: SourceChange) {
        if self.is_shown(xid, heap) {
            let relation = self.relation(heap);
            if let Some(running) = self.running.get_mut(&xid) {
                running.changes.push(Logged::Change(vec![relation], change));
            }
        }
    }

    /// Whether the stream shows what this transaction does to this heap now.
    pub(super) fn is_shown(&self, xid: Xid, heap: usize) -> bool {
        let blind = |table: &usize| self.blind.get(&xid).is_some_and(|tables| tables.contains(table));
        self.heaps[heap].table.is_some_and(|table| self.published[table] && !blind(&table))
    }

    pub(super) fn relation(&self, heap: usize) -> Arc<Relation> {
        self.heaps[heap].shape.relation(self.heaps[heap].oid, self.heap_name(heap))
    }

    /// The name of a table or leaf.
    pub(super) fn heap_name(&self, heap: usize) -> TableName {
        let store = &self.heaps[heap];
        match (store.table, store.bound) {
            (Some(table), None) => self.tables[table].name.clone(),
            (_, bound) => TableName::new("public", format!("{}_{}", bound.unwrap_or("apart"), store.oid)),
        }
    }
}

fn old_image(heap: &Heap, cells: &[Cell]) -> OldImage {
    if heap.shape.identity == ReplicaIdentity::Full {
        return OldImage::Full(wire(cells, None));
    }
    let only_key =
        cells.iter().enumerate().map(|(at, cell)| cell.clone().filter(|_| heap.shape.key.contains(&at)));
    OldImage::Identity(wire(&only_key.collect::<Vec<_>>(), None))
}

/// The wire form. Against the row before, values out of line that stay as they are remain unsent.
fn wire(cells: &[Cell], before: Option<&[Cell]>) -> Tuple {
    let mut out = TupleBuilder::default();
    for (at, cell) in cells.iter().enumerate() {
        match cell {
            Some(_) if out_of_line(cell) && before.is_some_and(|before| before[at] == *cell) => {
                out.push(&Value::Unchanged);
            }
            Some(text) => out.push(&Value::Text(text.as_ref().into())),
            None => out.push(&Value::Null),
        }
    }
    out.finish()
}
