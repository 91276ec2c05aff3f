//! Statements that change a table as a whole: truncation, rewrites, schema changes, publication.

use std::collections::BTreeSet;

use bytes::Bytes;
use understudy_model::{RelationId, ReplicaIdentity, SourceChange, Xid};

use super::Blue;
use super::log::Logged;
use super::schema::ColumnKind;

impl Blue {
    /// Takes exclusive locks on these heaps and keeps them as they are for an abort. False when one must wait.
    pub(super) fn seize(&mut self, xid: Xid, heaps: &[usize]) -> bool {
        if !heaps.iter().all(|heap| self.heaps[*heap].can_lock(Some(xid), true)) {
            return false;
        }
        for heap in heaps {
            self.heaps[*heap].lock(xid, true);
            let before = self.heaps[*heap].clone();
            if let Some(running) = self.running.get_mut(&xid) {
                running.undo.push((*heap, before));
            }
        }
        true
    }

    /// TRUNCATE of whole tables in one statement, or of a single leaf.
    pub fn truncate(&mut self, xid: Xid, tables: &[usize], one_leaf: bool) -> bool {
        let mut heaps: Vec<usize> = tables.iter().flat_map(|table| self.leaves(*table)).collect();
        if one_leaf {
            heaps = self.dice.pick(&heaps).copied().into_iter().collect();
        }
        if heaps.is_empty() || !self.seize(xid, &heaps) {
            return false;
        }
        for heap in &heaps {
            let filenode = self.oid();
            let store = &mut self.heaps[*heap];
            store.versions.clear();
            store.blocks = 0;
            store.filenode = filenode;
        }
        heaps.retain(|heap| self.is_shown(xid, *heap));
        let shown = heaps.iter().map(|heap| self.relation(*heap)).collect::<Vec<_>>();
        let relations = heaps.iter().map(|heap| RelationId(self.heaps[*heap].oid)).collect::<Vec<_>>();
        if let Some(running) = self.running.get_mut(&xid)
            && !relations.is_empty()
        {
            running.changes.push(Logged::Change(shown, SourceChange::Truncate { relations }));
        }
        true
    }

    /// VACUUM FULL of one table or leaf, as a transaction of its own: every row moves. Nothing of it is streamed.
    pub fn vacuum_full(&mut self, table: usize) -> Option<Xid> {
        let leaves = self.leaves(table);
        let heap = self.dice.pick(&leaves).copied()?;
        let xid = self.begin();
        if !self.seize(xid, &[heap]) {
            self.abort(xid);
            return None;
        }
        let (filenode, choice) = (self.oid(), self.dice.below(100));
        let running: BTreeSet<Xid> = self.running.keys().copied().collect();
        self.heaps[heap].vacuum(|other| !running.contains(&other));
        self.heaps[heap].rewrite(filenode, choice);
        Some(xid)
    }

    /// Plain VACUUM of everything that is not locked: dead versions go, empty blocks at the end are given back.
    pub fn vacuum(&mut self) {
        let running: BTreeSet<Xid> = self.running.keys().copied().collect();
        for heap in &mut self.heaps {
            if heap.locks.iter().all(|lock| !lock.exclusive) {
                heap.vacuum(|xid| !running.contains(&xid));
            }
        }
    }

    /// ALTER TABLE ... TYPE of the small or of the large columns, to another type or with another value to the same one: their
    /// texts change, every row is rewritten, nothing is streamed.
    pub fn alter_type(&mut self, xid: Xid, table: usize) -> bool {
        let heaps = self.leaves(table);
        if heaps.is_empty() || !self.seize(xid, &heaps) {
            return false;
        }
        let running: BTreeSet<Xid> = self.running.keys().copied().collect();
        let altered = if self.dice.percent(50) { ColumnKind::Small } else { ColumnKind::Large };
        let same_type = self.dice.percent(50);
        for heap in heaps {
            let (filenode, choice) = (self.oid(), self.dice.below(100));
            let store = &mut self.heaps[heap];
            store.vacuum(|other| other == xid || !running.contains(&other));
            store.rewrite(filenode, choice);
            store.shape.revision += u32::from(!same_type);
            for column in 0..store.shape.columns.len() {
                if store.shape.columns[column].1 == altered {
                    store.shape.write(column);
                }
            }
            for version in &mut store.versions {
                version.xmin = xid;
                for (cell, (_, kind)) in version.cells.iter_mut().zip(&store.shape.columns) {
                    if let Some(text) = cell.as_ref().filter(|_| *kind == altered) {
                        *cell = Some(Bytes::from([text.as_ref(), b".0"].concat()));
                    }
                }
            }
        }
        true
    }

    /// ALTER TABLE ... DROP COLUMN, ADD COLUMN of the same name and type: every row has the default there, or nothing. No row
    /// is written, nothing is streamed.
    pub fn add_column_again(&mut self, xid: Xid, table: usize) -> bool {
        let heaps = self.leaves(table);
        if heaps.is_empty() || !self.seize(xid, &heaps) {
            return false;
        }
        let kind = if self.dice.percent(50) { ColumnKind::Small } else { ColumnKind::Large };
        let default = if self.dice.percent(50) { Some(self.fresh('d')) } else { None };
        for heap in heaps {
            let store = &mut self.heaps[heap];
            let Some(column) = store.shape.find(kind) else { continue };
            store.shape.add_again(column);
            for version in &mut store.versions {
                version.cells.remove(column);
                version.cells.push(default.clone());
            }
        }
        true
    }

    /// ALTER TABLE ... REPLICA IDENTITY, to the whole row or back.
    pub fn alter_identity(&mut self, xid: Xid, table: usize) -> bool {
        let heaps = self.leaves(table);
        if heaps.is_empty() || !self.seize(xid, &heaps) {
            return false;
        }
        let usual = self.tables[table].kind.shape().identity;
        for heap in heaps {
            let identity = &mut self.heaps[heap].shape.identity;
            let other = if usual == ReplicaIdentity::Full { ReplicaIdentity::Default } else { usual };
            *identity = if *identity == ReplicaIdentity::Full { other } else { ReplicaIdentity::Full };
        }
        true
    }

    /// ALTER PUBLICATION ... ADD TABLE, committed and visible at once. What running transactions did to the table before
    /// stays out of the stream; what they do to it later may stay out too.
    pub fn publish(&mut self, table: usize) {
        let xid = self.begin();
        self.commit(xid);
        self.settle(xid);
        self.published[table] = true;
        if self.dice.percent(50) {
            for xid in self.unfinished() {
                self.blind.entry(xid).or_default().push(table);
            }
        }
    }
}
