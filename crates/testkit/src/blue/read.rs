//! What readers of blue see: chunks, the catalog, and the whole of a table.

use std::collections::BTreeMap;

use bytes::Bytes;
use understudy_contract::{ChunkOutcome, ChunkRequest, ChunkRows, ChunkScope, Unit};
use understudy_model::{Key, Lsn, RouteId, Snapshot, Tuple, TupleBuilder, UnitId, Value, Xid};

use super::Blue;
use super::heap::{Cell, Heap, Version};
use super::log::Record;

/// The rows of a table by key.
pub type RowMap = BTreeMap<Key, Vec<Cell>>;

impl Blue {
    /// Every row of a table that a snapshot taken now shows.
    pub fn rows(&self, table: usize) -> RowMap {
        let snapshot = self.snapshot();
        let heaps = self.heaps.iter().filter(|heap| heap.table == Some(table));
        let rows = heaps.flat_map(|heap| {
            heap.shown(&snapshot).map(|version| (heap.key(&version.cells), version.cells.clone()))
        });
        rows.collect()
    }

    /// The rows of a table that are as a transaction left them which ended in the log before an address.
    pub fn rows_before(&self, table: usize, lsn: Lsn) -> RowMap {
        let snapshot = self.snapshot();
        let ended = self.log.iter().filter_map(|record| match record {
            Record::Transaction(committed) => Some((committed.xid, committed.end > lsn)),
            Record::Loose(..) => None,
        });
        let ended = ended.collect::<BTreeMap<_, _>>();
        // One that has been deleted in the log is shown until that is visible.
        let is_gone = |xmax: Option<Xid>| xmax.is_some_and(|xmax| ended.get(&xmax) == Some(&false));
        let stands = |version: &&Version| ended.get(&version.xmin) != Some(&true) && !is_gone(version.xmax);
        let heaps = self.heaps.iter().filter(|heap| heap.table == Some(table));
        let rows = heaps.flat_map(|heap| {
            let shown = heap.shown(&snapshot).filter(stands);
            shown.map(|version| (heap.key(&version.cells), version.cells.clone()))
        });
        rows.collect()
    }

    /// Every unit of these tables, one route each in this order. `None` while a lock keeps the catalog from answering.
    pub fn units(&self, tables: &[usize]) -> Option<Vec<Unit>> {
        let mut units = Vec::new();
        for (route, table) in tables.iter().enumerate() {
            let route = RouteId(route as u16);
            for at in self.leaves(*table) {
                let heap = &self.heaps[at];
                units.push(Unit {
                    id: UnitId::new(heap.oid, route),
                    route,
                    root: UnitId::new(self.tables[*table].oid, route),
                    name: self.heap_name(at),
                    filenode: heap.filenode,
                    fingerprint: heap.fingerprint(),
                    marks: Some(heap.shape.marks()),
                    membership: heap.membership,
                    blocks: heap.blocks,
                    block_bytes: 8_192,
                    rows_estimate: None,
                    identity: heap.shape.identity,
                    predicate: self.predicate(at),
                });
            }
        }
        let free = |heap: &Heap| heap.locks.iter().all(|lock| !lock.exclusive);
        self.heaps.iter().all(free).then_some(units)
    }

    /// Asks for the conditions of leaves again, which are not part of the snapshot that the units were listed in. Those of
    /// leaves that have gone since stay.
    pub fn describe_leaves(&self, units: &mut [Unit]) {
        for unit in units {
            let leaf = self.heaps.iter().position(|heap| heap.oid == unit.id.oid);
            if let Some(leaf) = leaf.filter(|leaf| self.heaps[*leaf].table.is_some()) {
                unit.predicate = self.predicate(leaf);
            }
        }
    }

    /// Reads a chunk. `None` while a lock makes the reader wait.
    pub fn read(&self, request: &ChunkRequest) -> Option<ChunkOutcome> {
        let root =
            self.tables.iter().position(|table| table.oid == request.unit.oid && table.kind.is_partitioned());
        let heaps: Vec<&Heap> = match root {
            Some(table) => self.heaps.iter().filter(|heap| heap.table == Some(table)).collect(),
            None => self.heaps.iter().filter(|heap| heap.oid == request.unit.oid).collect(),
        };
        if !heaps.iter().all(|heap| heap.can_lock(None, false)) {
            return None;
        }
        let heaps: Vec<&Heap> = heaps.into_iter().filter(|heap| !heap.dropped).collect();
        let Some(first) = heaps.first() else { return Some(ChunkOutcome::Gone) };
        let snapshot = self.snapshot();
        let mut lines = Vec::new();
        for heap in &heaps {
            let Some(found) = lines_of(heap, request, &snapshot) else { return Some(ChunkOutcome::Gone) };
            lines.extend(found);
        }
        if lines.len() > 1 && lines.iter().map(Bytes::len).sum::<usize>() > request.bytes_max {
            return Some(ChunkOutcome::TooLarge);
        }
        Some(ChunkOutcome::Read(ChunkRows {
            snapshot,
            filenode: if root.is_some() { 0 } else { first.filenode },
            fingerprint: first.fingerprint(),
            rows: lines.into_iter().map(Tuple::from_copy_line).collect(),
        }))
    }
}

/// The lines of one heap that a request asks for. `None` when a column is not there, or has another type.
fn lines_of(heap: &Heap, request: &ChunkRequest, snapshot: &Snapshot) -> Option<Vec<Bytes>> {
    let place = |name: &String| heap.shape.columns.iter().position(|(column, _)| column == name);
    let columns = request.columns.iter().map(place).collect::<Option<Vec<_>>>()?;
    let typed = |(at, ty): (&usize, &(u32, i32))| heap.shape.type_of(*at) == *ty;
    if !request.types.iter().all(|types| columns.iter().zip(types).all(typed)) {
        return None;
    }
    let wanted: Box<dyn Fn(&Version) -> bool> = match &request.scope {
        ChunkScope::Blocks(range) => {
            Box::new(|version| range.from <= version.ctid && version.ctid < range.to)
        }
        ChunkScope::Keys { columns, keys } => {
            let columns = columns.iter().map(place).collect::<Option<Vec<_>>>()?;
            Box::new(move |version| {
                tuple_of(&version.cells, &columns)
                    .key(&all(columns.len()))
                    .is_some_and(|key| keys.contains(&key))
            })
        }
    };
    let line = |version: &Version| {
        let mut out = Vec::new();
        tuple_of(&version.cells, &columns).push_copy_line(&mut out);
        Bytes::from(out)
    };
    Some(heap.shown(snapshot).filter(|version| wanted(version)).map(line).collect())
}

fn all(columns: usize) -> Vec<usize> {
    (0..columns).collect()
}

fn tuple_of(cells: &[Cell], columns: &[usize]) -> Tuple {
    let mut out = TupleBuilder::default();
    for column in columns {
        out.push(&cells[*column].as_ref().map_or(Value::Null, |text| Value::Text(text.as_ref().into())));
    }
    out.finish()
}
