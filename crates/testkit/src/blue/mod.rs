//! A simulated blue database: row versions at addresses, transactions that reach the stream before they become
//! visible, locks, schema changes, partitions, a publication and a replication slot.
//!
//! It follows Postgres where the core depends on it: a commit record is written, and may be streamed, before snapshots
//! show its transaction; locks are released only then; a slot starts at a point of the log, not of visibility.

mod heap;
mod schema;

mod log;
mod transaction;

mod ddl;
mod partitions;
mod write;

mod read;

#[cfg(test)]
mod tests;

pub use heap::Cell;
pub use log::{Feed, Logged, Record};
pub use read::RowMap;
pub use schema::{BOUND, ColumnKind, Shape, TableKind, TableSpec};

use std::collections::BTreeMap;

use bytes::Bytes;
use understudy_model::{ReplicaIdentity, TableName, Xid};

use crate::dice::Dice;
use heap::Heap;
use schema::{BOUNDS, DEFAULT};
use transaction::Running;

/// The transaction that made every row which is there from the start.
const FIRST_XID: u64 = (1 << 32) - 30;

/// The simulated database.
#[derive(Debug)]
pub struct Blue {
    pub(self) dice: Dice,
    pub(self) tables: Vec<TableSpec>,
    /// For each table, whether the publication holds it.
    pub(self) published: Vec<bool>,
    pub(self) heaps: Vec<Heap>,
    pub(self) log: Vec<Record>,
    pub(self) lsn: u64,
    pub(self) next_xid: u64,
    pub(self) latest_completed: Xid,
    pub(self) running: BTreeMap<Xid, Running>,
    /// Transactions that were running when a table was published, where their later changes stay out of the stream too.
    pub(self) blind: BTreeMap<Xid, Vec<usize>>,
    pub(self) next_oid: u32,
    pub(self) next_value: u64,
    /// Addresses below this one are forgotten by the slot.
    pub(self) confirmed: u64,
    pub(self) large_bytes: usize,
    /// How likely statements on an existing row are: small columns, large ones, both, its key, its end.
    pub(self) statements: [u32; 5],
}

impl Blue {
    /// A database with these tables, filled with a few rows. The last `later` of them are not published yet.
    pub fn new(seed: u64, kinds: &[TableKind], later: usize) -> Blue {
        let mut blue = Blue {
            dice: Dice::new(seed),
            tables: Vec::new(),
            published: Vec::new(),
            heaps: Vec::new(),
            log: Vec::new(),
            lsn: 0x1_0000_0000 - 500,
            next_xid: FIRST_XID + 1,
            latest_completed: Xid::new(FIRST_XID),
            running: BTreeMap::new(),
            blind: BTreeMap::new(),
            next_oid: 16_384,
            next_value: 0,
            confirmed: 0,
            large_bytes: 60,
            statements: [3, 2, 1, 2, 2],
        };
        for (at, kind) in kinds.iter().enumerate() {
            blue.create(*kind, at + later < kinds.len());
        }
        blue
    }

    /// From now on most statements change small columns only and no change carries the whole old row, so that large
    /// values are rarely sent.
    pub fn leave_large_values(&mut self) {
        for heap in &mut self.heaps {
            heap.shape.identity = ReplicaIdentity::Default;
        }
        self.statements = [12, 1, 1, 1, 1];
    }

    /// From now on large values are rarely sent, and many statements change keys.
    pub fn change_keys(&mut self) {
        self.leave_large_values();
        self.statements = [9, 1, 1, 7, 2];
    }

    /// The tables.
    pub fn tables(&self) -> &[TableSpec] {
        &self.tables
    }

    /// The current shape of a table.
    pub fn shape(&self, table: usize) -> Shape {
        let heap = self.heaps.iter().find(|heap| heap.table == Some(table));
        heap.map_or_else(|| self.tables[table].kind.shape(), |heap| heap.shape.clone())
    }

    /// Whether the publication holds a table.
    pub fn is_published(&self, table: usize) -> bool {
        self.published[table]
    }

    fn create(&mut self, kind: TableKind, published: bool) {
        let table = self.tables.len();
        let oid = self.oid();
        let name = TableName::new("public", format!("t{table}"));
        self.tables.push(TableSpec { name, kind, oid, published });
        self.published.push(published);
        let mut shape = kind.shape();
        let identities = [shape.identity, ReplicaIdentity::Full];
        shape.identity = identities[usize::from(self.dice.percent(25))];
        if kind.is_partitioned() {
            let mut bounds = BOUNDS[..2 + self.dice.below(2)].to_vec();
            bounds.extend(self.dice.percent(40).then_some(DEFAULT));
            let leaves = bounds.into_iter().map(|bound| self.heap(Some(table), Some(bound), shape.clone()));
            leaves.collect::<Vec<_>>().into_iter().for_each(|leaf| self.fill(leaf));
        } else {
            let heap = self.heap(Some(table), None, shape);
            self.heaps[heap].oid = oid;
            self.fill(heap);
        }
    }

    fn heap(&mut self, table: Option<usize>, bound: Option<&'static str>, shape: Shape) -> usize {
        let (oid, filenode) = (self.oid(), self.oid());
        let (versions, locks) = (Vec::new(), Vec::new());
        let heap = Heap {
            oid,
            table,
            bound,
            shape,
            filenode,
            blocks: 0,
            versions,
            locks,
            dropped: false,
            membership: u64::from(bound.is_some()),
            left: None,
        };
        self.heaps.push(heap);
        self.heaps.len() - 1
    }

    /// Gives a heap its first rows, older than any transaction that the stream shows.
    fn fill(&mut self, heap: usize) {
        for _ in 0..self.dice.below(14) {
            let cells = self.random_row(heap);
            let target = &self.heaps[heap];
            let key = target.key(&cells);
            let taken = self.heaps.iter().any(|other| {
                let related = other.table == target.table || other.oid == target.oid;
                related && other.versions.iter().any(|version| other.key(&version.cells) == key)
            });
            if !taken {
                let choice = self.dice.below(1_000);
                self.heaps[heap].place(choice, cells, Xid::new(FIRST_XID));
            }
        }
    }

    fn oid(&mut self) -> u32 {
        self.next_oid += 1;
        self.next_oid
    }

    /// A value that no row has yet.
    fn fresh(&mut self, letter: char) -> Bytes {
        self.next_value += 1;
        Bytes::from(format!("{letter}{}", self.next_value))
    }

    /// A value for a column of this kind, for a row of this heap.
    fn random_cell(&mut self, heap: usize, column: usize) -> Cell {
        let kind = self.heaps[heap].shape.columns[column];
        if kind.0 == schema::BOUND {
            let values = self.regions(heap);
            return self.dice.pick(&values).map(|value| Bytes::from_static(value.as_bytes()));
        }
        match kind.1 {
            ColumnKind::Key => {
                let values = if self.heaps[heap].shape.key.len() > 1 { 4 } else { 12 };
                Some(Bytes::from(self.dice.below(values).to_string()))
            }
            ColumnKind::Small | ColumnKind::Bound if self.dice.percent(10) => None,
            ColumnKind::Small | ColumnKind::Bound => Some(self.fresh('v')),
            ColumnKind::Large => match self.dice.below(10) {
                0 => None,
                1 => Some(self.fresh('s')),
                _ => {
                    let mut text = self.fresh(OUT_OF_LINE).to_vec();
                    text.resize(1 + self.dice.below(self.large_bytes) + text.len(), b'x');
                    Some(text.into())
                }
            },
        }
    }

    fn random_row(&mut self, heap: usize) -> Vec<Cell> {
        (0..self.heaps[heap].shape.columns.len()).map(|column| self.random_cell(heap, column)).collect()
    }
}

/// Values that start with this letter are stored out of line.
const OUT_OF_LINE: char = 'L';

/// Whether a value is stored out of line.
fn out_of_line(cell: &Cell) -> bool {
    cell.as_ref().is_some_and(|text| text.first() == Some(&(OUT_OF_LINE as u8)))
}
