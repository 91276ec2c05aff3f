//! Decides in which pieces a stretch of changes is applied: folded, in runs, or row by row; in sets or one by one.

use understudy_model::{Before, Key, RouteId, RowChange, Tuple};

use super::fold::{Folded, fold};
use super::runs::{Run, RunKind, presence, runs};
use super::target::{Shape, Target};

/// From this many rows on, a COPY costs less than as many INSERTs in one round trip (measured: 30 to 40).
const COPY_ROWS: usize = 40;

/// From this many rows on, a stage and a join cost less than as many statements in one round trip (measured: 80 to
/// 100; the stage alone takes about a millisecond).
const STAGE_ROWS: usize = 80;

/// One row to be changed. `at` is the index of its change, or of the first of those that it stands for.
#[derive(Debug, Clone)]
pub(super) struct RowOp {
    pub(super) at: usize,
    pub(super) route: RouteId,
    pub(super) body: RowBody,
    /// Whether green must have the row that is changed or removed.
    pub(super) before: Before,
}

/// What happens to the row.
#[derive(Debug, Clone)]
pub(super) enum RowBody {
    Insert(Tuple),
    Update(Tuple),
    /// It takes another key.
    Rekey(Key, Tuple),
    Delete(Key),
    /// It must not exist: it came and went.
    Absent(Key),
}

/// Rows with the index of the change that each stands for.
pub(super) type NumberedRows = Vec<(usize, Tuple)>;

/// One step of the plan.
#[derive(Debug)]
pub(super) enum Work {
    /// Statements for one row each, in order.
    Rows(Vec<RowOp>),
    /// New rows of one route.
    Insert(RouteId, NumberedRows),
    /// Changed rows of one route, each with the same columns sent, and whether they must be there.
    Update(RouteId, Shape, NumberedRows, Before),
    /// Rows of one route that go.
    Delete(RouteId, Leaves, Vec<(usize, Key)>),
    /// Changes whose rows are missing for certain, and of which only a part was sent.
    Missing(RouteId, Vec<usize>),
}

/// What rows that are removed must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// They must be there.
    There,
    /// They may be there.
    Unknown,
    /// They must not even be there.
    Absent,
}

impl From<Before> for Leaves {
    fn from(before: Before) -> Leaves {
        match before {
            Before::There => Leaves::There,
            Before::Unknown => Leaves::Unknown,
        }
    }
}

/// The change as an operation on one row. `None` for one that empties tables or writes nothing.
pub(super) fn row_op(at: usize, change: &RowChange) -> Option<RowOp> {
    let (route, body, before) = match change {
        RowChange::Insert { route, new } => (*route, RowBody::Insert(new.clone()), Before::There),
        RowChange::Update { route, old_key: None, new, before, .. } => {
            (*route, RowBody::Update(new.clone()), *before)
        }
        RowChange::Update { route, old_key: Some(old), new, before, .. } => {
            (*route, RowBody::Rekey(old.clone(), new.clone()), *before)
        }
        RowChange::Delete { route, key, before } => (*route, RowBody::Delete(key.clone()), *before),
        RowChange::Reread { .. }
        | RowChange::Refused { .. }
        | RowChange::Truncate { .. }
        | RowChange::TruncateLeaf { .. } => return None,
    };
    Some(RowOp { at, route, body, before })
}

/// Plans changes that empty no table. `base` is the index of the first of them.
pub(super) fn plan(targets: &[Target], base: usize, changes: &[RowChange]) -> Vec<Work> {
    let mut plan = Plan::default();
    let numbered = || changes.iter().enumerate().map(|(n, change)| (base + n, change));
    if changes.len() < COPY_ROWS {
        plan.small.extend(numbered().filter_map(|(at, change)| row_op(at, change)));
        return plan.finish();
    }
    let mut of_route: Vec<Vec<(usize, &RowChange)>> = vec![Vec::new(); targets.len()];
    // Where triggers of users are alive, what they read and write is unknown: everything keeps its order.
    let all_ordered = targets.iter().any(|target| target.traits.user_triggers);
    let mut ordered = Vec::new();
    for (at, change) in numbered() {
        let Some(route) = change.routes().first().filter(|_| !matches!(change, RowChange::Reread { .. }))
        else {
            continue;
        };
        match targets.get(route.index()) {
            Some(target) if !all_ordered && !target.ordered() => of_route[route.index()].push((at, change)),
            _ => ordered.push((at, change)),
        }
    }
    for (target, changes) in targets.iter().zip(&of_route).filter(|(_, changes)| !changes.is_empty()) {
        let fits = target.foldable() && target.cautious == 0 && changes.len() >= COPY_ROWS;
        match fits.then(|| fold(&target.green.key, changes.iter().copied())).flatten() {
            Some(folded) => plan.folded(target.green.route, folded),
            None => plan.runs(targets, changes),
        }
    }
    plan.runs(targets, &ordered);
    plan.finish()
}

#[derive(Default)]
struct Plan {
    works: Vec<Work>,
    /// Rows since the last set.
    small: Vec<RowOp>,
}

impl Plan {
    fn finish(mut self) -> Vec<Work> {
        self.end_rows();
        self.works
    }

    fn end_rows(&mut self) {
        if !self.small.is_empty() {
            self.works.push(Work::Rows(std::mem::take(&mut self.small)));
        }
    }

    fn set(&mut self, work: Work) {
        self.end_rows();
        self.works.push(work);
    }

    fn rows<T>(&mut self, route: RouteId, rows: Vec<(usize, T)>, body: fn(T) -> RowBody, before: Before) {
        self.small.extend(rows.into_iter().map(|(at, row)| RowOp { at, route, body: body(row), before }));
    }

    fn folded(&mut self, route: RouteId, folded: Folded) {
        let leaving = [
            (folded.absent, Leaves::Absent, RowBody::Absent as fn(Key) -> RowBody, Before::There),
            (folded.deletes, Leaves::There, RowBody::Delete, Before::There),
            (folded.removes, Leaves::Unknown, RowBody::Delete, Before::Unknown),
        ];
        for (keys, leaves, body, before) in leaving {
            if keys.len() >= STAGE_ROWS {
                self.set(Work::Delete(route, leaves, keys));
            } else {
                self.rows(route, keys, body, before);
            }
        }
        for (updates, before) in [(folded.updates, Before::There), (folded.puts, Before::Unknown)] {
            for (shape, rows) in by_shape(updates) {
                match shape {
                    Some(shape) if rows.len() >= STAGE_ROWS => {
                        self.set(Work::Update(route, shape, rows, before));
                    }
                    _ => self.rows(route, rows, RowBody::Update, before),
                }
            }
        }
        if folded.inserts.len() >= COPY_ROWS {
            self.set(Work::Insert(route, folded.inserts));
        } else {
            self.rows(route, folded.inserts, RowBody::Insert, Before::There);
        }
        if !folded.missing.is_empty() {
            self.set(Work::Missing(route, folded.missing));
        }
    }

    fn runs(&mut self, targets: &[Target], changes: &[(usize, &RowChange)]) {
        let key_of =
            |route: RouteId| targets.get(route.index()).map_or(&[][..], |target| target.green.key.as_slice());
        let first = changes.first().map_or(0, |(at, _)| *at);
        let mut places = vec![0; changes.last().map_or(0, |(at, _)| at - first + 1)];
        for (place, (at, _)) in changes.iter().enumerate() {
            places[at - first] = place;
        }
        let change = |at: usize| changes[places[at - first]].1;
        for run in runs(changes.iter().copied(), key_of) {
            let target = targets.get(run.route.index());
            let in_set = target.is_some_and(|target| {
                // Whatever a trigger does to a set's statement is not what it does to single rows.
                target.cautious == 0 && (!target.traits.user_triggers || run.kind == RunKind::Insert)
            });
            let enough = if run.kind == RunKind::Insert { COPY_ROWS } else { STAGE_ROWS };
            if in_set && run.members.len() >= enough {
                self.run_as_set(run, change);
            } else {
                self.small.extend(run.members.iter().filter_map(|at| row_op(*at, change(*at))));
            }
        }
    }

    fn run_as_set<'a>(&mut self, run: Run, change: impl Fn(usize) -> &'a RowChange) {
        let mut rows = Vec::with_capacity(run.members.len());
        let mut keys = Vec::new();
        for at in run.members {
            match change(at) {
                RowChange::Insert { new, .. } | RowChange::Update { new, .. } => rows.push((at, new.clone())),
                RowChange::Delete { key, .. } => keys.push((at, key.clone())),
                RowChange::Reread { .. }
                | RowChange::Refused { .. }
                | RowChange::Truncate { .. }
                | RowChange::TruncateLeaf { .. } => {}
            }
        }
        match run.kind {
            RunKind::Update(presence, before) => {
                self.set(Work::Update(run.route, Shape::of(&presence), rows, before));
            }
            RunKind::Delete(before) => self.set(Work::Delete(run.route, before.into(), keys)),
            RunKind::Insert | RunKind::Rekey => self.set(Work::Insert(run.route, rows)),
        }
    }
}

/// How many different sets of columns one batch may update in sets; what is beyond goes row by row.
const SHAPES: usize = 4;

/// Updates by which columns were sent; without a shape what is to go row by row.
fn by_shape(updates: Vec<(usize, Tuple)>) -> Vec<(Option<Shape>, NumberedRows)> {
    let mut found: Vec<(Option<Shape>, NumberedRows)> = Vec::new();
    let mut rest = Vec::new();
    for (at, row) in updates {
        let shape = Shape::of(&presence(&row));
        let room = found.len() < SHAPES;
        match found.iter_mut().find(|(known, _)| known.as_ref() == Some(&shape)) {
            Some((_, rows)) => rows.push((at, row)),
            None if room => found.push((Some(shape), vec![(at, row)])),
            None => rest.push((at, row)),
        }
    }
    if !rest.is_empty() {
        found.push((None, rest));
    }
    found
}
