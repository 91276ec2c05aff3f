//! What is left to copy: the block ranges of every table and leaf, largest first, and which are done.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use understudy_contract::{SavedUnit, Unit};
use understudy_model::{BlockRange, ChunkId, Ctid, RouteId, UnitId};

/// Beyond every row. The last range of a unit ends here, so that a size that is out of date costs balance, never rows.
const END: Ctid = Ctid::start_of(u32::MAX);

/// The copy of all units.
#[derive(Debug, Default)]
pub(crate) struct CopyPlan {
    units: BTreeMap<UnitId, UnitCopy>,
    /// Heap bytes that one chunk spans.
    chunk_bytes: u64,
}

/// The copy of one table or leaf.
#[derive(Debug)]
struct UnitCopy {
    unit: Unit,
    pending: VecDeque<BlockRange>,
    under_way: HashMap<ChunkId, BlockRange>,
    chunks_done: u64,
    rows_done: u64,
    /// A chunk found the table changed: nothing is read until the catalog has been looked at again.
    suspect: bool,
}

/// How far the copy of a unit has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitProgress {
    /// The table or leaf.
    pub unit: Unit,
    /// Chunks committed on green, in this run or before.
    pub chunks_done: u64,
    /// Chunks not yet committed.
    pub chunks_left: u64,
    /// Rows committed on green, in this run or before.
    pub rows_done: u64,
}

impl CopyPlan {
    pub(crate) fn new(chunk_bytes: u64) -> CopyPlan {
        CopyPlan { units: BTreeMap::new(), chunk_bytes: chunk_bytes.max(1) }
    }

    /// Plans a unit from its first block.
    pub(crate) fn start(&mut self, unit: Unit) {
        let whole = BlockRange { from: Ctid::start_of(0), to: END };
        let pending = self.cut(whole, &unit);
        self.insert(unit, pending, (0, 0));
    }

    /// Goes on with a unit whose ranges are partly done. The unit is as it was when the copy was planned.
    pub(crate) fn go_on(&mut self, unit: Unit, saved: &SavedUnit) {
        let mut done = saved.done.clone();
        done.sort_unstable_by_key(|range| (range.from, range.to));
        let mut pending = VecDeque::new();
        let mut from = Ctid::start_of(0);
        for range in &done {
            if range.from > from {
                pending.extend(self.cut(BlockRange { from, to: range.from }, &unit));
            }
            from = from.max(range.to);
        }
        if from < END {
            pending.extend(self.cut(BlockRange { from, to: END }, &unit));
        }
        self.insert(unit, pending, (done.len() as u64, saved.rows_done));
    }

    /// Takes up a unit that is copied already.
    pub(crate) fn copied(&mut self, unit: Unit, saved: &SavedUnit) {
        self.insert(unit, VecDeque::new(), (saved.done.len().max(1) as u64, saved.rows_done));
    }

    fn insert(&mut self, unit: Unit, pending: VecDeque<BlockRange>, (chunks_done, rows_done): (u64, u64)) {
        let under_way = HashMap::new();
        self.units
            .insert(unit.id, UnitCopy { unit, pending, under_way, chunks_done, rows_done, suspect: false });
    }

    /// Ranges of the chosen size up to the table's known size, the last one open-ended.
    fn cut(&self, range: BlockRange, unit: &Unit) -> VecDeque<BlockRange> {
        let blocks =
            (self.chunk_bytes / u64::from(unit.block_bytes.max(1))).clamp(1, u64::from(u32::MAX)) as u32;
        let mut ranges = VecDeque::new();
        let mut from = range.from;
        while from < range.to {
            let next = from.block.saturating_add(blocks);
            let to = if next >= unit.blocks { range.to } else { Ctid::start_of(next).min(range.to) };
            ranges.push_back(BlockRange { from, to });
            from = to;
        }
        ranges
    }

    pub(crate) fn forget(&mut self, unit: UnitId) {
        self.units.remove(&unit);
    }

    pub(crate) fn unit(&self, unit: UnitId) -> Option<&Unit> {
        self.units.get(&unit).map(|copy| &copy.unit)
    }

    pub(crate) fn units(&self) -> impl Iterator<Item = &Unit> {
        self.units.values().map(|copy| &copy.unit)
    }

    /// The table of a route itself.
    pub(crate) fn root_of(&self, route: RouteId) -> Option<UnitId> {
        self.units().find(|unit| unit.route == route).map(|unit| unit.root)
    }

    /// Whether some range of a unit is not committed yet.
    pub(crate) fn is_copying(&self, unit: UnitId) -> bool {
        self.units.get(&unit).is_some_and(|copy| !copy.pending.is_empty() || !copy.under_way.is_empty())
    }

    /// The units of a route of which nothing has been read yet.
    pub(crate) fn untouched(&self, route: RouteId) -> impl Iterator<Item = UnitId> {
        let of_route = self.units.values().filter(move |copy| copy.unit.route == route);
        of_route.filter(|copy| copy.chunks_done == 0 && copy.under_way.is_empty()).map(|copy| copy.unit.id)
    }

    /// The units of a route of which no chunk is committed on green.
    pub(crate) fn without_chunks(&self, route: RouteId) -> impl Iterator<Item = &Unit> {
        let of_route = self.units.values().filter(move |copy| copy.unit.route == route);
        of_route.filter(|copy| copy.chunks_done == 0).map(|copy| &copy.unit)
    }

    /// Whether a chunk belongs to the plan as it is now.
    pub(crate) fn is_under_way(&self, unit: UnitId, id: ChunkId) -> bool {
        self.units.get(&unit).is_some_and(|copy| copy.under_way.contains_key(&id))
    }

    /// Takes the next range to read: of the largest unit that has any, among the routes that may be read.
    pub(crate) fn next(
        &mut self,
        id: ChunkId,
        may_read: impl Fn(RouteId) -> bool,
    ) -> Option<(&Unit, BlockRange)> {
        let readable = self
            .units
            .values_mut()
            .filter(|copy| !copy.suspect && !copy.pending.is_empty() && may_read(copy.unit.route));
        let copy =
            readable.max_by_key(|copy| u64::from(copy.unit.blocks) * u64::from(copy.unit.block_bytes))?;
        let range = copy.pending.pop_front()?;
        copy.under_way.insert(id, range);
        Some((&copy.unit, range))
    }

    /// A chunk could not be placed: its range is read again.
    pub(crate) fn again(&mut self, unit: UnitId, id: ChunkId) {
        if let Some(copy) = self.units.get_mut(&unit)
            && let Some(range) = copy.under_way.remove(&id)
        {
            copy.pending.push_front(range);
        }
    }

    /// A chunk was too large: its range is read again in two halves, or as it is when it holds one row only.
    pub(crate) fn again_smaller(&mut self, unit: UnitId, id: ChunkId) {
        if let Some(copy) = self.units.get_mut(&unit)
            && let Some(range) = copy.under_way.remove(&id)
        {
            match halves(range, &copy.unit, self.chunk_bytes) {
                Some((low, high)) => {
                    copy.pending.push_front(high);
                    copy.pending.push_front(low);
                }
                None => copy.pending.push_front(range),
            }
        }
    }

    /// A chunk found its table changed: nothing of the unit is read until the next look at the catalog.
    pub(crate) fn suspect(&mut self, unit: UnitId) {
        if let Some(copy) = self.units.get_mut(&unit) {
            copy.suspect = true;
        }
    }

    /// The unit is as planned but for what moves no row that is still to be copied. Returns whether that differs from
    /// what was known.
    pub(crate) fn refresh(&mut self, unit: &Unit) -> bool {
        // While a column is missing the file is kept together with the marks: only both tell whether rows were written anew.
        let file_matters = self.is_copying(unit.id) || unit.marks.is_none();
        let Some(copy) = self.units.get_mut(&unit.id) else { return false };
        copy.suspect = false;
        copy.unit.identity = unit.identity;
        let filenode = if file_matters { copy.unit.filenode } else { unit.filenode };
        let seen = Unit {
            blocks: copy.unit.blocks,
            rows_estimate: copy.unit.rows_estimate,
            filenode,
            marks: unit.marks.or(copy.unit.marks),
            ..unit.clone()
        };
        let differs = copy.unit != seen;
        copy.unit = seen;
        differs
    }

    pub(crate) fn any_suspect(&self) -> bool {
        self.units.values().any(|copy| copy.suspect)
    }

    /// A chunk has been committed on green. Chunks of an earlier plan are not known any more and change nothing.
    pub(crate) fn done(&mut self, unit: UnitId, id: ChunkId, rows: u64) {
        if let Some(copy) = self.units.get_mut(&unit)
            && copy.under_way.remove(&id).is_some()
        {
            copy.chunks_done += 1;
            copy.rows_done += rows;
        }
    }

    /// Routes all of whose units are copied.
    pub(crate) fn copied_routes(&self) -> HashSet<RouteId> {
        let mut routes: HashSet<_> = self.units.values().map(|copy| copy.unit.route).collect();
        for copy in self.units.values() {
            if copy.suspect || !copy.pending.is_empty() || !copy.under_way.is_empty() {
                routes.remove(&copy.unit.route);
            }
        }
        routes
    }

    pub(crate) fn progress(&self) -> Vec<UnitProgress> {
        let one = |copy: &UnitCopy| UnitProgress {
            unit: copy.unit.clone(),
            chunks_done: copy.chunks_done,
            chunks_left: (copy.pending.len() + copy.under_way.len()) as u64,
            rows_done: copy.rows_done,
        };
        self.units.values().map(one).collect()
    }
}

/// Two smaller ranges, or none for a single address. An open-ended range is cut within the table's known size, and beyond
/// that by the size of a chunk.
fn halves(range: BlockRange, unit: &Unit, chunk_bytes: u64) -> Option<(BlockRange, BlockRange)> {
    if range.to < END {
        return range.halves();
    }
    let known = unit.blocks.saturating_sub(range.from.block) / 2;
    let chunk = u32::try_from(chunk_bytes / u64::from(unit.block_bytes.max(1))).unwrap_or(u32::MAX);
    let step = if known > 0 { known } else { chunk.max(1) };
    let middle = Ctid::start_of(range.from.block.saturating_add(step));
    Some((BlockRange { from: range.from, to: middle }, BlockRange { from: middle, to: END }))
}

#[cfg(test)]
mod tests {
    use understudy_model::{ReplicaIdentity, TableName};

    use super::*;

    fn unit(id: u32, blocks: u32) -> Unit {
        Unit {
            id: UnitId::new(id, RouteId(0)),
            route: RouteId(0),
            root: UnitId::new(id, RouteId(0)),
            name: TableName::new("public", format!("t{id}")),
            filenode: 1,
            fingerprint: 1,
            marks: None,
            membership: 0,
            blocks,
            block_bytes: 10,
            rows_estimate: None,
            identity: ReplicaIdentity::Default,
            predicate: None,
        }
    }

    fn drain(plan: &mut CopyPlan) -> Vec<(u32, u32, u32)> {
        let mut ranges = Vec::new();
        while let Some((unit, range)) = plan.next(ChunkId(ranges.len() as u64), |_| true) {
            ranges.push((unit.id.oid, range.from.block, range.to.block));
        }
        ranges
    }

    #[test]
    fn largest_table_first_and_every_block_once() {
        let mut plan = CopyPlan::new(40);
        plan.start(unit(1, 5));
        plan.start(unit(2, 9));
        plan.start(unit(3, 0));
        let end = u32::MAX;
        assert_eq!(
            drain(&mut plan),
            [(2, 0, 4), (2, 4, 8), (2, 8, end), (1, 0, 4), (1, 4, end), (3, 0, end)]
        );
    }

    #[test]
    fn only_what_is_not_done_is_read_after_a_restart() {
        let mut plan = CopyPlan::new(40);
        let range = |from, to| BlockRange { from: Ctid::start_of(from), to: Ctid::start_of(to) };
        let current = unit(1, 20);
        let saved = SavedUnit {
            id: current.id,
            route: current.route,
            name: current.name.clone(),
            filenode: 1,
            fingerprint: 1,
            marks: None,
            membership: 0,
            blocks: 12,
            predicate: None,
            done: vec![range(8, 10), range(0, 4)],
            rows_done: 77,
        };
        plan.go_on(current, &saved);
        let progress = plan.progress();
        assert_eq!((progress[0].chunks_done, progress[0].rows_done), (2, 77), "what was done before counts");
        assert_eq!(drain(&mut plan), [(1, 4, 8), (1, 10, 14), (1, 14, 18), (1, 18, u32::MAX)]);
    }

    #[test]
    fn an_open_ended_range_is_cut_within_the_known_size() {
        let mut plan = CopyPlan::new(1000);
        plan.start(unit(1, 8));
        for id in 0..4 {
            assert!(plan.next(ChunkId(id), |_| true).is_some());
            plan.again_smaller(UnitId::new(1, RouteId(0)), ChunkId(id));
        }
        let ranges = drain(&mut plan);
        assert_eq!(ranges[ranges.len() - 2..], [(1, 2, 4), (1, 4, u32::MAX)]);
        let (low, _) = halves(BlockRange { from: Ctid::start_of(20), to: END }, &unit(1, 8), 50).unwrap();
        assert_eq!(low.to, Ctid::start_of(25), "beyond the known size by the size of a chunk");
    }

    #[test]
    fn chunks_of_an_earlier_plan_do_not_count() {
        let mut plan = CopyPlan::new(1000);
        plan.start(unit(1, 5));
        assert!(plan.next(ChunkId(1), |_| true).is_some());
        plan.start(unit(1, 5));
        plan.done(UnitId::new(1, RouteId(0)), ChunkId(1), 10);
        assert!(plan.copied_routes().is_empty());
    }
}
