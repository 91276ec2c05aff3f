//! One table or leaf partition as it lies on disk: row versions at addresses, with who made and who ended them.

use std::collections::BTreeSet;

use bytes::Bytes;
use understudy_model::{Ctid, Key, Snapshot, Xid};

use super::schema::Shape;

/// One value as blue stores it: its text, or null.
pub type Cell = Option<Bytes>;

/// Lines that fit into a block, so small that a handful of rows spreads over several chunks.
const LINES_PER_BLOCK: u16 = 3;

/// A version of a row.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) ctid: Ctid,
    pub(super) cells: Vec<Cell>,
    pub(super) xmin: Xid,
    pub(super) xmax: Option<Xid>,
}

/// A lock on a unit, held until its transaction's effects are visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) holder: Xid,
    pub(super) exclusive: bool,
}

/// A table or leaf partition.
#[derive(Debug, Clone)]
pub(super) struct Heap {
    /// Object id.
    pub(super) oid: u32,
    /// Its place in the schema's list of tables; `None` while it stands alone.
    pub(super) table: Option<usize>,
    /// The one value of the partition column that it holds, or that it holds what the others do not.
    pub(super) bound: Option<&'static str>,
    pub(super) shape: Shape,
    pub(super) filenode: u32,
    pub(super) blocks: u32,
    pub(super) versions: Vec<Version>,
    pub(super) locks: Vec<Lock>,
    pub(super) dropped: bool,
    /// What made it a leaf.
    pub(super) membership: u64,
    /// The table that it was a leaf of.
    pub(super) left: Option<usize>,
}

impl Heap {
    /// Puts a new version on a block with room, at random or at the end.
    pub(super) fn place(&mut self, choice: usize, cells: Vec<Cell>, xmin: Xid) {
        let used: BTreeSet<Ctid> = self.versions.iter().map(|version| version.ctid).collect();
        let address = |block: u32, line: u16| Ctid { block, line };
        let free = (0..=self.blocks)
            .flat_map(|block| (1..=LINES_PER_BLOCK).map(move |line| address(block, line)))
            .filter(|ctid| !used.contains(ctid))
            .collect::<Vec<_>>();
        let ctid = free[choice % free.len()];
        self.blocks = self.blocks.max(ctid.block + 1);
        self.versions.push(Version { ctid, cells, xmin, xmax: None });
    }

    /// Frees versions that nobody can see any more, and gives empty blocks at the end back.
    pub(super) fn vacuum(&mut self, ended: impl Fn(Xid) -> bool) {
        self.versions.retain(|version| !version.xmax.is_some_and(&ended));
        self.blocks = self.versions.iter().map(|version| version.ctid.block + 1).max().unwrap_or(0);
    }

    /// Moves every remaining version to a new file, dense from its start, in an order that `choice` turns.
    pub(super) fn rewrite(&mut self, filenode: u32, choice: usize) {
        self.filenode = filenode;
        let count = self.versions.len().max(1);
        self.versions.rotate_left(choice % count);
        for (at, version) in self.versions.iter_mut().enumerate() {
            let at = at as u32;
            let line = (at % u32::from(LINES_PER_BLOCK)) as u16 + 1;
            version.ctid = Ctid { block: at / u32::from(LINES_PER_BLOCK), line };
        }
        self.blocks = (self.versions.len() as u32).div_ceil(u32::from(LINES_PER_BLOCK));
    }

    /// The effects of an aborted transaction vanish.
    pub(super) fn undo(&mut self, xid: Xid) {
        self.versions.retain(|version| version.xmin != xid);
        for version in &mut self.versions {
            if version.xmax == Some(xid) {
                version.xmax = None;
            }
        }
    }

    /// The versions that a snapshot shows.
    pub(super) fn shown(&self, snapshot: &Snapshot) -> impl Iterator<Item = &Version> {
        self.versions.iter().filter(|version| {
            snapshot.sees(version.xmin) && !version.xmax.is_some_and(|xmax| snapshot.sees(xmax))
        })
    }

    /// The key of a version, from the key columns in order.
    pub(super) fn key(&self, cells: &[Cell]) -> Key {
        Key::from_texts(self.shape.key.iter().map(|at| cells[*at].as_deref().unwrap_or_default()))
    }

    /// Whether a row that nobody has deleted has this value in the partition column.
    pub(super) fn has_row_of(&self, bound: &str) -> bool {
        let column = self.shape.bound_column();
        let is = |cells: &[Cell]| column.is_some_and(|at| cells[at].as_deref() == Some(bound.as_bytes()));
        self.versions.iter().any(|version| version.xmax.is_none() && is(&version.cells))
    }

    /// Whether any version of this key is there, seen or unseen.
    pub(super) fn holds(&self, key: &Key) -> bool {
        self.versions.iter().any(|version| self.key(&version.cells) == *key)
    }

    /// The digest that the catalog reports: of its columns, and of its place in a table.
    pub(super) fn fingerprint(&self) -> u64 {
        self.shape.fingerprint() << 1 | u64::from(self.table.is_some())
    }

    /// Whether a transaction may lock it so without waiting.
    pub(super) fn can_lock(&self, xid: Option<Xid>, exclusive: bool) -> bool {
        self.locks.iter().all(|lock| Some(lock.holder) == xid || !(exclusive || lock.exclusive))
    }

    pub(super) fn lock(&mut self, holder: Xid, exclusive: bool) {
        let lock = Lock { holder, exclusive };
        if !self.locks.contains(&lock) {
            self.locks.push(lock);
        }
    }

    pub(super) fn unlock(&mut self, holder: Xid) {
        self.locks.retain(|lock| lock.holder != holder);
    }
}
