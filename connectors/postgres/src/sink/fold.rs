//! Net changes per key: what a run of changes to one table comes to, with what each key's first change expected.
//!
//! Only for tables where nothing but the key can tell the order of changes apart. A sequence that no table could have
//! gone through (an insert onto a row that is there, an update of one that is gone) is not folded: applied one by one,
//! it shows which row was not as promised.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;
use understudy_model::{Key, RowChange, Tuple, TupleBuilder, Value};

/// What changes to one table come to. Each entry carries the index of the first change that it stands for.
///
/// To be applied in the order of the fields; within a field in any order, since every key occurs once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Folded {
    /// Keys that came and went: no row may exist.
    pub(super) absent: Vec<(usize, Key)>,
    /// Rows that must exist and go; those of replaced rows included.
    pub(super) deletes: Vec<(usize, Key)>,
    /// Rows that must exist and change; `Unchanged` values stay.
    pub(super) updates: Vec<(usize, Tuple)>,
    /// Rows that must not exist, once `deletes` is done, and come.
    pub(super) inserts: Vec<(usize, Tuple)>,
}

/// The net change of one key.
enum Net {
    /// There was no row; now there is this one.
    Insert(Tuple),
    /// There was a row; it has these values.
    Update(Tuple),
    /// There was a row; it is gone.
    Delete,
    /// There was a row; another has taken its place.
    Replace(Tuple),
    /// There was no row, then there was one, now it is gone.
    Nothing,
}

/// Folds changes to one table whose key is `key`. `None` when they do not form a sequence that can be folded, or when
/// one of them changes a key or empties the table.
pub(super) fn fold<'a>(
    key: &[usize],
    changes: impl Iterator<Item = (usize, &'a RowChange)>,
) -> Option<Folded> {
    let mut at_key: FxHashMap<Key, usize> = FxHashMap::default();
    let mut nets: Vec<(usize, Net)> = Vec::new();
    for (at, change) in changes {
        let (row, of) = match change {
            RowChange::Insert { new, .. } => (Some(new), new.key(key)?),
            RowChange::Update { new, old_key: None, .. } => (Some(new), new.key(key)?),
            RowChange::Delete { key, .. } => (None, key.clone()),
            _ => return None,
        };
        match at_key.entry(of) {
            Entry::Vacant(slot) => {
                slot.insert(nets.len());
                nets.push((at, first(change, row)));
            }
            Entry::Occupied(slot) => {
                let net = &mut nets[*slot.get()].1;
                *net = next(std::mem::replace(net, Net::Nothing), change, row)?;
            }
        }
    }
    Some(collect(at_key, nets))
}

fn first(change: &RowChange, row: Option<&Tuple>) -> Net {
    match (change, row) {
        (RowChange::Insert { .. }, Some(new)) => Net::Insert(new.clone()),
        (_, Some(new)) => Net::Update(new.clone()),
        (_, None) => Net::Delete,
    }
}

fn next(net: Net, change: &RowChange, row: Option<&Tuple>) -> Option<Net> {
    let inserts = matches!(change, RowChange::Insert { .. });
    match (net, row) {
        (Net::Delete, Some(new)) if inserts => Some(Net::Replace(new.clone())),
        (Net::Nothing, Some(new)) if inserts => Some(Net::Insert(new.clone())),
        (Net::Delete | Net::Nothing, _) => None,
        (_, Some(_)) if inserts => None,
        (Net::Insert(old), Some(new)) => Some(Net::Insert(merge(&old, new))),
        (Net::Update(old), Some(new)) => Some(Net::Update(merge(&old, new))),
        (Net::Replace(old), Some(new)) => Some(Net::Replace(merge(&old, new))),
        (Net::Insert(_), None) => Some(Net::Nothing),
        (Net::Update(_) | Net::Replace(_), None) => Some(Net::Delete),
    }
}

/// The row after `new` came over `old`: what `new` did not send stays.
fn merge(old: &Tuple, new: &Tuple) -> Tuple {
    if !new.has_unchanged() {
        return new.clone();
    }
    let mut merged = TupleBuilder::with_capacity(old.bytes_len() + new.bytes_len());
    for (old, new) in old.values().zip(new.values()) {
        merged.push(if new == Value::Unchanged { &old } else { &new });
    }
    merged.finish()
}

fn collect(at_key: FxHashMap<Key, usize>, nets: Vec<(usize, Net)>) -> Folded {
    let mut folded = Folded::default();
    let mut keys: Vec<Option<Key>> = vec![None; nets.len()];
    for (key, at) in at_key {
        keys[at] = Some(key);
    }
    for ((at, net), key) in nets.into_iter().zip(keys) {
        let Some(key) = key else { continue };
        match net {
            Net::Insert(row) => folded.inserts.push((at, row)),
            Net::Update(row) => folded.updates.push((at, row)),
            Net::Delete => folded.deletes.push((at, key)),
            Net::Replace(row) => {
                folded.deletes.push((at, key));
                folded.inserts.push((at, row));
            }
            Net::Nothing => folded.absent.push((at, key)),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use understudy_model::RouteId;

    type Table = BTreeMap<Key, Vec<Option<u8>>>;

    const ROUTE: RouteId = RouteId(0);

    fn row(key: u8, values: [Option<u8>; 2]) -> Tuple {
        let mut row = TupleBuilder::default();
        row.push(&Value::Text(key.to_string().into_bytes().into()));
        for value in values {
            match value {
                Some(value) => row.push(&Value::Text(value.to_string().into_bytes().into())),
                None => row.push(&Value::Unchanged),
            }
        }
        row.finish()
    }

    fn key(key: u8) -> Key {
        Key::from_texts([key.to_string().as_bytes()])
    }

    fn values(row: &Tuple) -> Vec<Option<u8>> {
        let parse = |text: &[u8]| std::str::from_utf8(text).unwrap().parse().unwrap();
        row.values()
            .skip(1)
            .map(|v| if let Value::Text(text) = v { Some(parse(&text)) } else { None })
            .collect()
    }

    fn put(table: &mut Table, key: Key, new: Vec<Option<u8>>) {
        let row = table.get_mut(&key).unwrap();
        for (old, new) in row.iter_mut().zip(new) {
            *old = new.or(*old);
        }
    }

    /// Applies one change; false when the row is not as the change expects.
    fn apply(table: &mut Table, change: &RowChange) -> bool {
        match change {
            RowChange::Insert { new, .. } => table.insert(new.key(&[0]).unwrap(), values(new)).is_none(),
            RowChange::Update { new, .. } => {
                let key = new.key(&[0]).unwrap();
                let there = table.contains_key(&key);
                if there {
                    put(table, key, values(new));
                }
                there
            }
            RowChange::Delete { key, .. } => table.remove(key).is_some(),
            _ => unreachable!("not generated"),
        }
    }

    fn apply_folded(table: &mut Table, folded: Folded) -> bool {
        let mut kept = folded.absent.iter().all(|(_, key)| !table.contains_key(key));
        for (_, key) in folded.deletes {
            kept &= table.remove(&key).is_some();
        }
        for (_, row) in folded.updates {
            let key = row.key(&[0]).unwrap();
            kept &= table.contains_key(&key);
            if table.contains_key(&key) {
                put(table, key, values(&row));
            }
        }
        for (_, row) in folded.inserts {
            kept &= table.insert(row.key(&[0]).unwrap(), values(&row)).is_none();
        }
        kept
    }

    fn change() -> impl Strategy<Value = RowChange> {
        let value = || prop::option::of(any::<u8>());
        prop_oneof![
            (0u8..5, any::<[u8; 2]>())
                .prop_map(|(k, v)| RowChange::Insert { route: ROUTE, new: row(k, v.map(Some)) }),
            (0u8..5, value(), value()).prop_map(|(k, a, b)| RowChange::Update {
                route: ROUTE,
                old_key: None,
                new: row(k, [a, b])
            }),
            (0u8..5).prop_map(|k| RowChange::Delete { route: ROUTE, key: key(k) }),
        ]
    }

    fn table() -> impl Strategy<Value = Table> {
        prop::collection::btree_map(
            (0u8..5).prop_map(key),
            any::<[u8; 2]>().prop_map(|v| v.map(Some).to_vec()),
            0..5,
        )
    }

    proptest! {
        /// What folding promises: where it folds, the outcome is that of the changes one by one, and it notices a row
        /// that is not as expected exactly when they do. Sequences that fit the table always fold.
        #[test]
        fn folded_changes_come_to_the_same(
            start in table(),
            drawn in prop::collection::vec((change(), 0u8..10), 0..40),
        ) {
            let mut one_by_one = start.clone();
            let mut kept = true;
            let mut changes = Vec::new();
            for (change, luck) in drawn {
                // Mostly sequences that fit, some that do not.
                let fits = apply(&mut one_by_one.clone(), &change);
                if fits || luck == 0 {
                    kept &= apply(&mut one_by_one, &change);
                    changes.push(change);
                }
            }
            let folded = fold(&[0], changes.iter().enumerate());
            prop_assert!(folded.is_some() || !kept);
            if let Some(folded) = folded {
                let mut table = start;
                prop_assert_eq!(apply_folded(&mut table, folded), kept);
                if kept {
                    prop_assert_eq!(table, one_by_one);
                }
            }
        }
    }

    #[test]
    fn changed_keys_and_truncates_are_not_folded() {
        let rekey =
            RowChange::Update { route: ROUTE, old_key: Some(key(1)), new: row(2, [Some(1), Some(1)]) };
        assert_eq!(fold(&[0], [rekey].iter().enumerate()), None);
        let truncate = RowChange::Truncate { routes: vec![ROUTE] };
        assert_eq!(fold(&[0], [truncate].iter().enumerate()), None);
    }
}
