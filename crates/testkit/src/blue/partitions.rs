//! Which leaves a partitioned table has, and statements that change it. None of them shows in the stream.

use understudy_model::Xid;

use super::Blue;
use super::schema::{BOUND, BOUNDS, DEFAULT, OTHER};

impl Blue {
    /// The values of the partition column that a leaf takes. Those of a default leaf are what the others leave over.
    pub(super) fn regions(&self, heap: usize) -> Vec<&'static str> {
        let store = &self.heaps[heap];
        match (store.bound, store.table) {
            (Some(DEFAULT), Some(table)) => {
                let taken = self.bounds(table);
                BOUNDS.into_iter().filter(|bound| !taken.contains(bound)).chain([OTHER]).collect()
            }
            (Some(DEFAULT), None) => vec![OTHER],
            (bound, _) => bound.into_iter().collect(),
        }
    }

    /// What the leaves of a table are bound to.
    fn bounds(&self, table: usize) -> Vec<&'static str> {
        self.leaves(table).into_iter().filter_map(|leaf| self.heaps[leaf].bound).collect()
    }

    /// The condition that the catalog tells of a leaf.
    pub(super) fn predicate(&self, heap: usize) -> Option<String> {
        let store = &self.heaps[heap];
        match (store.bound?, store.table) {
            (DEFAULT, Some(table)) => {
                let others = self.bounds(table).into_iter().filter(|bound| *bound != DEFAULT);
                let others = others.collect::<Vec<_>>();
                if others.is_empty() {
                    return Some("(NOT (false))".to_owned());
                }
                let others =
                    others.into_iter().map(|bound| format!("'{bound}'")).collect::<Vec<_>>().join(", ");
                Some(format!("(NOT ({BOUND} = ANY ({others})))"))
            }
            (bound, _) => Some(format!("({BOUND} = '{bound}')")),
        }
    }

    /// ATTACH PARTITION, or CREATE TABLE ... PARTITION OF when no rows come with it. Refused while the default leaf holds
    /// rows that would belong to the new one.
    pub fn attach(&mut self, xid: Xid, table: usize) -> bool {
        let leaves = self.leaves(table);
        let shape = self.shape(table);
        let taken = self.bounds(table);
        let bounds = BOUNDS.into_iter().chain([DEFAULT]).filter(|bound| !taken.contains(bound));
        let bounds = bounds.collect::<Vec<_>>();
        let exclusive_now = leaves.iter().any(|leaf| !self.heaps[*leaf].can_lock(Some(xid), false));
        let Some(bound) = self.dice.pick(&bounds).copied().filter(|_| !exclusive_now) else { return false };
        let default = leaves.iter().copied().find(|leaf| self.heaps[*leaf].bound == Some(DEFAULT));
        if let Some(default) = default
            && (!self.seize(xid, &[default]) || self.heaps[default].has_row_of(bound))
        {
            return false;
        }
        let heap = self.heap(None, Some(bound), shape);
        if self.seize(xid, &[heap]) {
            self.heaps[heap].table = Some(table);
            self.heaps[heap].membership = u64::from(self.oid());
            if self.tables[table].kind.shape().key.len() > 1 {
                self.fill(heap);
            }
        }
        true
    }

    /// DETACH PARTITION: the leaf lives on as a table of its own, and its changes are streamed no more. The default leaf
    /// takes rows of its values from then on.
    pub fn detach(&mut self, xid: Xid, table: usize, and_drop: bool) -> bool {
        let leaves = self.leaves(table);
        let Some(heap) = self.dice.pick(&leaves).copied() else { return false };
        if leaves.len() == 1 || !self.seize(xid, &leaves) {
            return false;
        }
        self.heaps[heap].table = None;
        self.heaps[heap].left = Some(table);
        self.heaps[heap].dropped = and_drop;
        true
    }
}
