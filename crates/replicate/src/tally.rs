//! What a batch held, for whoever counts and for whoever compares: how many changes, and of which rows.

use std::iter::Peekable;
use std::slice::Iter;

use understudy_contract::{Batch, BlueNames, RowName};
use understudy_model::{Checkpoint, HealKey, Key, Lsn, RouteId, RowChange, Tuple};
use understudy_transform::RouteSpec;

/// What a batch held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Changes by route and kind.
    pub changes: Vec<RouteTally>,
    /// Transactions of blue with changes of ours that ended in it.
    pub transactions: u64,
    /// Where green is now, when the batch ended at a commit.
    pub checkpoint: Option<Checkpoint>,
    /// When the last commit happened on blue, microseconds since 2000-01-01 UTC; zero when unknown.
    pub commit_time_us: i64,
    /// Where on blue its last transaction ends; of one that goes on in the next batch, just beyond where its commit record
    /// begins. Green shows all of the batch once it shows everything before this address.
    pub upto: Lsn,
    /// The rows that it changed, under both names; where one took another key, under the former one too. Some may be listed
    /// more than once.
    pub changed: Vec<(RouteId, RowName)>,
    /// Routes with changed rows that are not listed: nobody wanted to know of them when the batch was begun, or rows were
    /// removed wholesale.
    pub changed_unlisted: Vec<RouteId>,
}

/// Changes of one route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteTally {
    /// Rows inserted.
    pub inserts: u64,
    /// Rows updated.
    pub updates: u64,
    /// Rows deleted.
    pub deletes: u64,
    /// Times that rows were removed wholesale.
    pub truncates: u64,
}

/// Rows that were read again by key and are on green now as they were on blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healed {
    /// Their route.
    pub route: RouteId,
    /// Their keys, also of rows that blue does not have.
    pub keys: Vec<HealKey>,
    /// Where in the stream they belong.
    pub at: Checkpoint,
}

/// How each route names its rows.
#[derive(Debug, Clone, Default)]
pub struct RouteKeys(Vec<RouteKey>);

#[derive(Debug, Clone)]
struct RouteKey {
    columns: Vec<usize>,
    is_blues: bool,
}

impl RouteKeys {
    /// Those of these routes.
    pub fn of(routes: &[RouteSpec]) -> RouteKeys {
        let one = |route: &RouteSpec| RouteKey { columns: route.key.clone(), is_blues: route.passes_key() };
        RouteKeys(routes.iter().map(one).collect())
    }
}

impl Tally {
    /// What a batch holds. Its rows are listed only where it says how blue names them.
    pub fn of(batch: &Batch, keys: &RouteKeys) -> Tally {
        let mut tally = Tally {
            // A heartbeat ends a transaction too, and so does a change of our own making.
            transactions: batch.commits.iter().filter(|mark| mark.position.ordinal > 0).count() as u64,
            checkpoint: batch.checkpoint(),
            commit_time_us: batch.commits.last().map_or(0, |mark| mark.commit_time_us),
            upto: batch
                .open
                .map(|commit| Lsn::new(commit.raw() + 1))
                .or_else(|| batch.commits.last().map(|mark| mark.checkpoint.lsn()))
                .unwrap_or_default(),
            ..Tally::default()
        };
        batch.changes.iter().for_each(|change| tally.count(change));
        match &batch.blue_names {
            Some(names) => tally.list(batch, names, keys),
            None => {
                let changed = |(at, of): (usize, &RouteTally)| {
                    (*of != RouteTally::default()).then_some(RouteId(at as u16))
                };
                tally.changed_unlisted = tally.changes.iter().enumerate().filter_map(changed).collect();
            }
        }
        tally
    }

    fn count(&mut self, change: &RowChange) {
        for route in change.routes() {
            if self.changes.len() <= route.index() {
                self.changes.resize(route.index() + 1, RouteTally::default());
            }
            let of = &mut self.changes[route.index()];
            match change {
                RowChange::Insert { .. } => of.inserts += 1,
                RowChange::Update { .. } | RowChange::Reread { .. } | RowChange::Refused { .. } => {
                    of.updates += 1;
                }
                RowChange::Delete { .. } => of.deletes += 1,
                RowChange::Truncate { .. } | RowChange::TruncateLeaf { .. } => of.truncates += 1,
            }
        }
    }

    fn list(&mut self, batch: &Batch, names: &[BlueNames], keys: &RouteKeys) {
        self.changed.reserve(batch.changes.len());
        let mut names = names.iter().peekable();
        for (at, change) in batch.changes.iter().enumerate() {
            if !self.list_change(change, names_of(&mut names, at), keys) {
                self.changed_unlisted.extend(change.routes());
            }
        }
        self.changed_unlisted.sort_unstable();
        self.changed_unlisted.dedup();
    }

    /// Lists the rows of one change. `false`: they cannot be named.
    fn list_change(&mut self, change: &RowChange, names: Option<&BlueNames>, keys: &RouteKeys) -> bool {
        let (new_blue, old_blue) = match names {
            Some(names) => (names.new.as_ref(), names.old.as_ref().or(names.new.as_ref())),
            None => (None, None),
        };
        let key_of = |route: &RouteId| keys.0.get(route.index());
        let green_of = |route: &RouteId, row: &Tuple| row.key(&key_of(route)?.columns);
        let mut add = |route: &RouteId, green: Option<Key>, blue: Option<&Key>| {
            let Some((green, of)) = green.zip(key_of(route)) else { return false };
            let blue = if of.is_blues { Some(green.clone()) } else { blue.cloned() };
            self.changed.push((*route, RowName { green, blue }));
            true
        };
        let former = |old: &Option<Key>| old.clone();
        match change {
            RowChange::Insert { route, new } => add(route, green_of(route, new), new_blue),
            RowChange::Update { route, old_key, new, .. } => {
                (old_key.is_none() || add(route, former(old_key), old_blue))
                    && add(route, green_of(route, new), new_blue)
            }
            RowChange::Delete { route, key, .. } => add(route, Some(key.clone()), old_blue),
            RowChange::Reread { route, key } => add(route, Some(key.green.clone()), Some(&key.blue)),
            RowChange::Refused { route, old_key, key, .. } => {
                (old_key.is_none() || add(route, former(old_key), old_blue))
                    && add(route, Some(key.clone()), new_blue)
            }
            RowChange::Truncate { .. } | RowChange::TruncateLeaf { .. } => false,
        }
    }
}

/// What blue calls the row of the change at this place.
fn names_of<'a>(names: &mut Peekable<Iter<'a, BlueNames>>, at: usize) -> Option<&'a BlueNames> {
    names.next_if(|names| names.change == at)
}

#[cfg(test)]
mod tests {
    use understudy_model::{Before, TupleBuilder, Value};

    use super::*;

    fn keys() -> RouteKeys {
        let key = |is_blues| RouteKey { columns: vec![0], is_blues };
        RouteKeys(vec![key(true), key(false)])
    }

    fn key(text: &str) -> Key {
        Key::from_texts([text.as_bytes()])
    }

    fn row(text: &str) -> Tuple {
        let mut row = TupleBuilder::default();
        row.push(&Value::Text(text.as_bytes().into()));
        row.finish()
    }

    fn changes() -> Vec<RowChange> {
        let (passed, rekeyed, before) = (RouteId(0), RouteId(1), Before::There);
        let moved = |route, from: &str, to: &str| RowChange::Update {
            route,
            old_key: Some(key(from)),
            new: row(to),
            blue_key: None,
            before,
        };
        vec![
            RowChange::Insert { route: passed, new: row("1") },
            moved(passed, "2", "3"),
            RowChange::Insert { route: rekeyed, new: row("k4") },
            moved(rekeyed, "k5", "k6"),
            RowChange::Delete { route: rekeyed, key: key("k7"), before },
        ]
    }

    /// A change that verification does not hear of would leave it with a verdict on a row that is another one by now.
    #[test]
    fn every_row_is_listed_under_both_names_and_the_former_key() {
        let names = |change, old: Option<&str>, new: Option<&str>| BlueNames {
            change,
            old: old.map(key),
            new: new.map(key),
        };
        let blue_names =
            Some(vec![names(2, None, Some("4")), names(3, Some("5"), Some("6")), names(4, Some("7"), None)]);
        let batch = Batch { changes: changes(), blue_names, ..Batch::default() };
        let tally = Tally::of(&batch, &keys());
        let listed = |(route, green, blue): (u16, &str, &str)| {
            (RouteId(route), RowName { green: key(green), blue: Some(key(blue)) })
        };
        let expected = [
            (0, "1", "1"),
            (0, "2", "2"),
            (0, "3", "3"),
            (1, "k4", "4"),
            (1, "k5", "5"),
            (1, "k6", "6"),
            (1, "k7", "7"),
        ];
        assert_eq!(tally.changed, expected.map(listed));
        assert_eq!(tally.changed_unlisted, []);
    }

    /// A row of a transaction that goes on counts as checked only once green shows the whole of it: an address before its
    /// commit would have verification content with the row as it was.
    #[test]
    fn a_batch_reaches_beyond_the_commit_that_brings_it() {
        let open = Batch { changes: changes(), open: Some(Lsn::new(70)), ..Batch::default() };
        assert_eq!(Tally::of(&open, &keys()).upto, Lsn::new(71));
        let mark = understudy_model::CommitMark {
            changes_before: 0,
            position: understudy_model::Position { commit: Lsn::new(70), ordinal: 0 },
            checkpoint: Checkpoint::at_commit_end(Lsn::new(90)),
            commit_time_us: 0,
            xid: understudy_model::Xid::new(3),
        };
        let whole = Batch { commits: vec![mark], ..Batch::default() };
        assert_eq!(Tally::of(&whole, &keys()).upto, Lsn::new(90));
    }

    /// What is not listed is said not to be: rows removed wholesale, and all rows while nobody asks, when none is looked at.
    #[test]
    fn routes_whose_rows_are_not_listed_are_named() {
        let truncate = RowChange::Truncate { routes: vec![RouteId(1), RouteId(0)] };
        let batch = Batch { changes: vec![truncate], blue_names: Some(Vec::new()), ..Batch::default() };
        let tally = Tally::of(&batch, &keys());
        assert_eq!((tally.changed.len(), &tally.changed_unlisted[..]), (0, &[RouteId(0), RouteId(1)][..]));
        let batch = Batch { changes: changes().split_off(2), ..Batch::default() };
        let tally = Tally::of(&batch, &keys());
        assert_eq!((tally.changed.len(), tally.changed.capacity()), (0, 0));
        assert_eq!(tally.changed_unlisted, [RouteId(1)]);
    }
}
