//! Statements that change which leaves a partitioned table has. None of them shows in the stream.

use understudy_model::Xid;

use super::Blue;
use super::schema::BOUNDS;

impl Blue {
    /// ATTACH PARTITION, or CREATE TABLE ... PARTITION OF when no rows come with it.
    pub fn attach(&mut self, xid: Xid, table: usize) -> bool {
        let leaves = self.leaves(table);
        let shape = self.shape(table);
        let free = |bound: &&'static str| leaves.iter().all(|leaf| self.heaps[*leaf].bound != Some(*bound));
        let bounds: Vec<&'static str> = BOUNDS.iter().filter(|bound| free(bound)).copied().collect();
        let exclusive_now = leaves.iter().any(|leaf| !self.heaps[*leaf].can_lock(Some(xid), false));
        let Some(bound) = self.dice.pick(&bounds).copied().filter(|_| !exclusive_now) else { return false };
        let heap = self.heap(None, Some(bound), shape);
        if self.seize(xid, &[heap]) {
            self.heaps[heap].table = Some(table);
            if self.tables[table].kind.shape().key.len() > 1 {
                self.fill(heap);
            }
        }
        true
    }

    /// DETACH PARTITION: the leaf lives on as a table of its own, and its changes are streamed no more.
    pub fn detach(&mut self, xid: Xid, table: usize, and_drop: bool) -> bool {
        let leaves = self.leaves(table);
        let Some(heap) = self.dice.pick(&leaves).copied() else { return false };
        if leaves.len() < 2 || !self.seize(xid, &leaves) {
            return false;
        }
        self.heaps[heap].table = None;
        self.heaps[heap].dropped = and_drop;
        true
    }
}
