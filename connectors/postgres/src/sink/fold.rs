//! Net changes per key: what a run of changes to one table comes to, with what each key's first change expected.
//!
//! Only for tables where nothing but the key can tell the order of changes apart. A sequence that no table could have
//! gone through (an insert onto a row that is there, an update of one that is gone) is not folded: applied one by one,
//! it shows which row was not as promised.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;
use understudy_model::{Before, Key, RowChange, Tuple, TupleBuilder, Value};

/// What changes to one table come to. Each entry carries the index of the first change that it stands for.
///
/// To be applied in the order of the fields; within a field in any order, since every key occurs once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Folded {
    /// Keys that came and went: no row may exist.
    pub(super) absent: Vec<(usize, Key)>,
    /// Rows that must exist and go; those of replaced rows included.
    pub(super) deletes: Vec<(usize, Key)>,
    /// Rows that go if they exist; those of replaced rows included.
    pub(super) removes: Vec<(usize, Key)>,
    /// Rows that must exist and change; `Unchanged` values stay.
    pub(super) updates: Vec<(usize, Tuple)>,
    /// Rows that change if they exist. Those that do not come, unless a value is `Unchanged`: then they are missing.
    pub(super) puts: Vec<(usize, Tuple)>,
    /// Rows that must not exist, once `deletes` and `removes` are done, and come.
    pub(super) inserts: Vec<(usize, Tuple)>,
    /// Changes of which only a part was sent, to rows that do not exist for certain: those rows are missing.
    pub(super) missing: Vec<usize>,
}

/// The net change of one key.
enum Net {
    /// There was no row; now there is this one.
    Insert(Tuple),
    /// There was a row; it has these values.
    Update(Tuple),
    /// There may have been a row; now there is one with these values, unless not all of them are known. With `true` some
    /// change was of a whole row, so that there is one for certain.
    Put(Tuple, bool),
    /// There was a row; it is gone.
    Delete,
    /// There may have been a row; there is none.
    Remove,
    /// There was a row, or there may have been one; another has taken its place.
    Replace(Before, Tuple),
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
    let mut missing = Vec::new();
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
                if finds_nothing(net, change) {
                    missing.push(at);
                } else {
                    *net = next(std::mem::replace(net, Net::Nothing), change, row)?;
                }
            }
        }
    }
    Some(Folded { missing, ..collect(at_key, nets) })
}

/// What a change expects of the row before it. Only what is known of updates and deletes can be unknown.
fn before(change: &RowChange) -> Before {
    match change {
        RowChange::Update { before, .. } | RowChange::Delete { before, .. } => *before,
        _ => Before::There,
    }
}

/// Whether the change would be made to a row that may be there, and is not: a part of it was sent, and the rest is nowhere.
fn finds_nothing(net: &Net, change: &RowChange) -> bool {
    matches!(net, Net::Delete | Net::Remove | Net::Nothing)
        && matches!(change, RowChange::Update { new, before: Before::Unknown, .. } if new.has_unchanged())
}

fn first(change: &RowChange, row: Option<&Tuple>) -> Net {
    match (change, row, before(change)) {
        (RowChange::Insert { .. }, Some(new), _) => Net::Insert(new.clone()),
        (_, Some(new), Before::There) => Net::Update(new.clone()),
        (_, Some(new), Before::Unknown) => Net::Put(new.clone(), !new.has_unchanged()),
        (_, None, Before::There) => Net::Delete,
        (_, None, Before::Unknown) => Net::Remove,
    }
}

fn next(net: Net, change: &RowChange, row: Option<&Tuple>) -> Option<Net> {
    let inserts = matches!(change, RowChange::Insert { .. });
    let unknown = before(change) == Before::Unknown;
    match (net, row) {
        // A row that need not be there comes whole.
        (Net::Delete, Some(new)) if inserts || unknown => Some(Net::Replace(Before::There, new.clone())),
        (Net::Remove, Some(new)) if inserts || unknown => Some(Net::Replace(Before::Unknown, new.clone())),
        (Net::Nothing, Some(new)) if inserts || unknown => Some(Net::Insert(new.clone())),
        (net @ (Net::Delete | Net::Remove | Net::Nothing), None) if unknown => Some(net),
        (Net::Delete | Net::Remove | Net::Nothing, _) => None,
        // If it was there this is one row too many, else it was missing and is here now.
        (Net::Put(_, false), Some(new)) if inserts => Some(Net::Insert(new.clone())),
        (_, Some(_)) if inserts => None,
        (Net::Insert(old), Some(new)) => Some(Net::Insert(merge(&old, new))),
        (Net::Update(old), Some(new)) => Some(Net::Update(merge(&old, new))),
        // Where the first part found no row, that row waits to be read again, and the next part may miss it too.
        (Net::Put(old, there), Some(new)) => Some(Net::Put(merge(&old, new), there || !new.has_unchanged())),
        (Net::Replace(before, old), Some(new)) => Some(Net::Replace(before, merge(&old, new))),
        (Net::Insert(_), None) => Some(Net::Nothing),
        (Net::Update(_) | Net::Replace(Before::There, _), None) => Some(Net::Delete),
        (Net::Put(..) | Net::Replace(Before::Unknown, _), None) => Some(Net::Remove),
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
            Net::Put(row, _) => folded.puts.push((at, row)),
            Net::Delete => folded.deletes.push((at, key)),
            Net::Remove => folded.removes.push((at, key)),
            Net::Replace(before, row) => {
                let leaving = match before {
                    Before::There => &mut folded.deletes,
                    Before::Unknown => &mut folded.removes,
                };
                leaving.push((at, key));
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
    use std::collections::{BTreeMap, BTreeSet};
    use understudy_model::RouteId;

    const ROUTE: RouteId = RouteId(0);

    /// Green's rows, and the rows of which only a part is known and that are to be read again.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    struct Table {
        rows: BTreeMap<Key, Vec<Option<u8>>>,
        /// What is known of rows that are missing.
        parts: BTreeMap<Key, Vec<Option<u8>>>,
        /// Keys that were ever found missing: what comes after is no surprise.
        waiting: BTreeSet<Key>,
    }

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

    fn over(row: &mut [Option<u8>], new: &[Option<u8>]) {
        for (old, new) in row.iter_mut().zip(new) {
            *old = new.or(*old);
        }
    }

    impl Table {
        fn of(rows: BTreeMap<Key, Vec<Option<u8>>>) -> Table {
            Table { rows, ..Table::default() }
        }

        fn insert(&mut self, new: &Tuple) -> bool {
            let key = new.key(&[0]).unwrap();
            self.parts.remove(&key);
            self.rows.insert(key, values(new)).is_none()
        }

        fn delete(&mut self, key: &Key) -> bool {
            self.parts.remove(key);
            self.rows.remove(key).is_some()
        }

        /// False when there is no row.
        fn update(&mut self, new: &Tuple) -> bool {
            let row = self.rows.get_mut(&new.key(&[0]).unwrap());
            row.map(|row| over(row, &values(new))).is_some()
        }

        /// The row is missing: it comes whole, or has to be read again.
        fn mend(&mut self, new: &Tuple) {
            if new.has_unchanged() {
                let key = new.key(&[0]).unwrap();
                let sent = values(new);
                over(self.parts.entry(key.clone()).or_insert_with(|| vec![None; sent.len()]), &sent);
                self.waiting.insert(key);
            } else {
                self.insert(new);
            }
        }

        fn put(&mut self, new: &Tuple) {
            if !self.update(new) {
                self.mend(new);
            }
        }
    }

    /// Applies one change; false when the row is not as the change expects.
    fn apply(table: &mut Table, change: &RowChange) -> bool {
        match change {
            RowChange::Insert { new, .. } => table.insert(new),
            RowChange::Update { new, before: Before::Unknown, .. } => {
                table.put(new);
                true
            }
            RowChange::Update { new, .. } => {
                let there = table.update(new);
                if !there {
                    table.mend(new);
                }
                there
            }
            RowChange::Delete { key, before, .. } => table.delete(key) || *before == Before::Unknown,
            _ => unreachable!("not generated"),
        }
    }

    /// The same as green does it: what happens to a row that waits to be read again is no surprise.
    fn apply_tolerantly(table: &mut Table, change: &RowChange) -> bool {
        let key = match change {
            RowChange::Insert { new, .. } | RowChange::Update { new, .. } => new.key(&[0]).unwrap(),
            RowChange::Delete { key, .. } => key.clone(),
            _ => unreachable!("not generated"),
        };
        let waits = table.waiting.contains(&key);
        apply(table, change) || waits
    }

    fn apply_folded(table: &mut Table, folded: Folded, changes: &[RowChange]) -> bool {
        let mut kept = folded.absent.iter().all(|(_, key)| !table.rows.contains_key(key));
        for (_, key) in folded.deletes {
            kept &= table.delete(&key);
        }
        for (_, key) in folded.removes {
            table.delete(&key);
        }
        for (_, row) in folded.updates {
            kept &= table.update(&row);
        }
        for (_, row) in folded.puts {
            table.put(&row);
        }
        for (_, row) in folded.inserts {
            kept &= table.insert(&row);
        }
        for at in folded.missing {
            let RowChange::Update { new, .. } = &changes[at] else { unreachable!("only updates are missed") };
            table.waiting.insert(new.key(&[0]).unwrap());
        }
        kept
    }

    fn change() -> impl Strategy<Value = RowChange> {
        let value = || prop::option::of(any::<u8>());
        let before = || prop_oneof![Just(Before::There), Just(Before::Unknown)];
        prop_oneof![
            (0u8..5, any::<[u8; 2]>())
                .prop_map(|(k, v)| RowChange::Insert { route: ROUTE, new: row(k, v.map(Some)) }),
            (0u8..5, value(), value(), before()).prop_map(|(k, a, b, before)| RowChange::Update {
                route: ROUTE,
                old_key: None,
                new: row(k, [a, b]),
                blue_key: None,
                before,
            }),
            (0u8..5, before()).prop_map(|(k, before)| RowChange::Delete {
                route: ROUTE,
                key: key(k),
                before
            }),
        ]
    }

    fn rows() -> impl Strategy<Value = BTreeMap<Key, Vec<Option<u8>>>> {
        prop::collection::btree_map(
            (0u8..5).prop_map(key),
            any::<[u8; 2]>().prop_map(|v| v.map(Some).to_vec()),
            0..5,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// What folding promises: where it folds, the outcome is that of the changes one by one, it notices a row that
        /// is not as expected exactly when they do, and a row that is missing in part is reported. Sequences that fit
        /// the table always fold.
        #[test]
        fn folded_changes_come_to_the_same(
            start in rows(),
            drawn in prop::collection::vec((change(), 0u8..10), 0..40),
        ) {
            let mut one_by_one = Table::of(start.clone());
            let (mut fit, mut kept) = (true, true);
            let mut changes = Vec::new();
            for (change, luck) in drawn {
                // Mostly sequences that fit, some that do not.
                let fits = apply(&mut one_by_one.clone(), &change);
                if fits || luck == 0 {
                    fit &= fits;
                    kept &= apply_tolerantly(&mut one_by_one, &change);
                    changes.push(change);
                }
            }
            let folded = fold(&[0], changes.iter().enumerate());
            prop_assert!(folded.is_some() || !fit);
            if let Some(folded) = folded {
                let mut table = Table::of(start);
                prop_assert_eq!(apply_folded(&mut table, folded, &changes), kept);
                if kept {
                    for (key, parts) in &one_by_one.parts {
                        // Parts that make up a whole row need not be read again.
                        match table.rows.remove(key) {
                            Some(row) => prop_assert_eq!(&row, parts),
                            None => prop_assert!(table.waiting.contains(key)),
                        }
                    }
                    prop_assert_eq!(table.rows, one_by_one.rows);
                    prop_assert!(table.waiting.is_subset(&one_by_one.waiting));
                }
            }
        }
    }

    fn put(k: u8, values: [Option<u8>; 2]) -> RowChange {
        let before = Before::Unknown;
        RowChange::Update { route: ROUTE, old_key: None, new: row(k, values), blue_key: None, before }
    }

    /// A row that leaves the condition and comes back in part is reported, by the change that finds nothing.
    #[test]
    fn a_part_of_a_row_that_is_gone_is_missing() {
        let gone = RowChange::Delete { route: ROUTE, key: key(1), before: Before::Unknown };
        let changes = [put(1, [Some(1), Some(1)]), gone, put(1, [Some(2), None])];
        let wanted = Folded { removes: vec![(0, key(1))], missing: vec![2], ..Folded::default() };
        assert_eq!(fold(&[0], changes.iter().enumerate()), Some(wanted));
    }

    /// Where it is not known whether a row was there, it becomes known with the first change that leaves it there.
    #[test]
    fn what_is_not_known_becomes_known() {
        let insert = RowChange::Insert { route: ROUTE, new: row(1, [Some(1), Some(1)]) };
        let gone = RowChange::Delete { route: ROUTE, key: key(1), before: Before::Unknown };
        let net = |changes: &[RowChange]| fold(&[0], changes.iter().enumerate());
        let known = [insert.clone(), put(1, [Some(2), None])];
        let inserted = row(1, [Some(2), Some(1)]);
        assert_eq!(net(&known), Some(Folded { inserts: vec![(0, inserted)], ..Folded::default() }));
        let absent = Folded { absent: vec![(0, key(1))], ..Folded::default() };
        assert_eq!(net(&[insert.clone(), gone.clone()]), Some(absent));
        assert_eq!(net(&[put(1, [Some(1), Some(2)]), insert]), None, "one row too many, for certain");
    }

    #[test]
    fn changed_keys_and_truncates_are_not_folded() {
        let rekey = RowChange::Update {
            route: ROUTE,
            old_key: Some(key(1)),
            new: row(2, [Some(1), Some(1)]),
            blue_key: None,
            before: Before::There,
        };
        assert_eq!(fold(&[0], [rekey].iter().enumerate()), None);
        let truncate = RowChange::Truncate { routes: vec![ROUTE] };
        assert_eq!(fold(&[0], [truncate].iter().enumerate()), None);
    }
}
