//! Runs: consecutive changes of one kind to one route, with distinct keys, so that their order among themselves does
//! not matter to the key. Used where net changes per key would not be safe.

use rustc_hash::FxHashSet;
use understudy_model::{Before, RouteId, RowChange, Tuple, Value};

/// Which columns of an update were sent; `None` for all of them.
pub(super) type Presence = Option<Box<[bool]>>;

/// The kind of statement that a run needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum RunKind {
    /// New rows.
    Insert,
    /// Changed rows with an unchanged key; the columns that were sent, and whether the rows must be there.
    Update(Presence, Before),
    /// A row that takes another key. Always alone.
    Rekey,
    /// Rows that go, and whether they must be there.
    Delete(Before),
}

/// Consecutive changes of one kind to one route, as indexes into what was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) route: RouteId,
    pub(super) kind: RunKind,
    pub(super) members: Vec<usize>,
}

/// Which values of a row were sent.
pub(super) fn presence(row: &Tuple) -> Presence {
    row.has_unchanged().then(|| row.values().map(|value| value != Value::Unchanged).collect())
}

/// Cuts changes into runs, in their order. Changes that empty tables must not be among them; those that write nothing are
/// left out.
pub(super) fn runs<'a, 'k>(
    changes: impl Iterator<Item = (usize, &'a RowChange)>,
    key_of: impl Fn(RouteId) -> &'k [usize],
) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut seen = FxHashSet::default();
    for (at, change) in changes {
        let (route, kind, key) = match change {
            RowChange::Insert { route, new } => (*route, RunKind::Insert, new.key(key_of(*route))),
            RowChange::Update { route, old_key: None, new, before, .. } => {
                (*route, RunKind::Update(presence(new), *before), new.key(key_of(*route)))
            }
            RowChange::Update { route, old_key: Some(_), .. } => (*route, RunKind::Rekey, None),
            RowChange::Delete { route, key, before } => (*route, RunKind::Delete(*before), Some(key.clone())),
            RowChange::Reread { .. }
            | RowChange::Refused { .. }
            | RowChange::Truncate { .. }
            | RowChange::TruncateLeaf { .. } => continue,
        };
        let same = |run: &&mut Run| run.route == route && run.kind == kind;
        match (runs.last_mut().filter(same), key) {
            // A row that cannot be named, or takes another key, stands alone.
            (_, None) => {
                seen.clear();
                runs.push(Run { route, kind: RunKind::Rekey, members: vec![at] });
            }
            (Some(run), Some(key)) if seen.insert(key.clone()) => run.members.push(at),
            (_, Some(key)) => {
                seen.clear();
                seen.insert(key);
                runs.push(Run { route, kind, members: vec![at] });
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use understudy_model::{HealKey, Key, TupleBuilder};

    const ROUTE: RouteId = RouteId(0);

    fn row(key: u8, value: Option<u8>) -> Tuple {
        let mut row = TupleBuilder::default();
        row.push(&Value::Text(key.to_string().into_bytes().into()));
        row.push(&value.map_or(Value::Unchanged, |value| Value::Text(value.to_string().into_bytes().into())));
        row.finish()
    }

    fn key(key: u8) -> Key {
        Key::from_texts([key.to_string().as_bytes()])
    }

    fn change() -> impl Strategy<Value = RowChange> {
        let route = (0u16..2).prop_map(RouteId);
        let before = || prop_oneof![Just(Before::There), Just(Before::Unknown)];
        let update =
            |route, old_key, new, before| RowChange::Update { route, old_key, new, blue_key: None, before };
        prop_oneof![
            (route.clone(), 0u8..6).prop_map(|(route, k)| RowChange::Insert { route, new: row(k, Some(1)) }),
            (route.clone(), 0u8..6, any::<bool>(), before()).prop_map(move |(route, k, full, before)| {
                update(route, None, row(k, full.then_some(2)), before)
            }),
            (route.clone(), 0u8..6, 0u8..6, before()).prop_map(move |(route, from, to, before)| {
                update(route, Some(key(from)), row(to, Some(3)), before)
            }),
            (route.clone(), 0u8..6, before()).prop_map(|(route, k, before)| RowChange::Delete {
                route,
                key: key(k),
                before,
            }),
            (route, 0u8..6).prop_map(|(route, k)| RowChange::Reread { route, key: HealKey::same(key(k)) }),
        ]
    }

    proptest! {
        /// F24: order is kept between runs, within a run no key occurs twice, and what expects rows to be there stands
        /// apart from what does not know.
        #[test]
        fn runs_keep_order_and_hold_each_key_once(changes in prop::collection::vec(change(), 0..60)) {
            let cut = runs(changes.iter().enumerate(), |_| &[0]);
            let order = cut.iter().flat_map(|run| run.members.iter().copied()).collect::<Vec<_>>();
            let writes = |at: &usize| !matches!(changes[*at], RowChange::Reread { .. });
            prop_assert_eq!(order, (0..changes.len()).filter(writes).collect::<Vec<_>>());
            for run in cut {
                let befores = run.members.iter().filter_map(|at| match &changes[*at] {
                    RowChange::Update { before, .. } | RowChange::Delete { before, .. } => Some(*before),
                    _ => None,
                });
                prop_assert!(befores.collect::<FxHashSet<_>>().len() < 2);
                let keys = run.members.iter().map(|at| match &changes[*at] {
                    RowChange::Insert { new, .. } | RowChange::Update { new, .. } => new.key(&[0]).unwrap(),
                    RowChange::Delete { key, .. } => key.clone(),
                    _ => unreachable!("only rows are in runs"),
                });
                prop_assert_eq!(keys.collect::<FxHashSet<_>>().len(), run.members.len());
                prop_assert!(run.kind != RunKind::Rekey || run.members.len() == 1);
                prop_assert!(run.members.iter().all(|at| changes[*at].routes() == [run.route]));
            }
        }
    }

    #[test]
    fn interleaved_routes_are_cut_apart() {
        let insert = |route| RowChange::Insert { route, new: row(1, Some(1)) };
        let changes = [insert(ROUTE), insert(RouteId(1)), insert(ROUTE)];
        assert_eq!(runs(changes.iter().enumerate(), |_| &[0]).len(), 3);
    }
}
