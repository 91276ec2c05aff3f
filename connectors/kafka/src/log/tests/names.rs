//! Names of changed rows as whoever compares both sides hears them: none left out, wherever the lanes are.

use std::collections::BTreeSet;

use proptest::prelude::*;
use understudy_contract::{LogEvent, LoggedKind};
use understudy_model::{Key, Lsn, OldImage, SourceChange, TableName, Tuple};

use super::super::LanePlaces;
use super::super::lane::Share;
use super::super::lanes::{behind_all, taken_by_all};
use super::super::names::{Listing, Named};
use super::capture::{Capture, Step};
use super::lanes::read_lanes;
use super::topics::Topics;
use super::{cursors, steps};

/// What a reader of the names tells, from these places on.
fn told(topics: &Topics, places: &LanePlaces, max: usize) -> Vec<Named> {
    let place = behind_all(places);
    let after = place.as_ref().map_or(0, |place| place.group);
    let mut listing = Listing::up_to(max);
    let mut all = Vec::new();
    for event in topics.read_share(place, Share::Names(after), &|_| panic!("nothing is fenced")).unwrap() {
        if listing.take(event).unwrap().is_some() {
            all.extend(listing.stretch());
        }
    }
    all
}

/// By table the keys of the rows that these events change, with where; a table that is emptied has no key there.
fn changed(events: &[LogEvent]) -> Vec<(Lsn, TableName, Option<Key>)> {
    let table = |relation: u32| TableName::new("public", format!("t{}", relation - 100));
    let key = |row: &Tuple| row.key(&[0]);
    let (mut all, mut at) = (Vec::new(), Lsn::ZERO);
    for event in events {
        let mut add = |relation: u32, key: Option<Key>| all.push((at, table(relation), key));
        let old_key = |old: &OldImage| match old {
            OldImage::Identity(row) | OldImage::Full(row) => key(row),
        };
        match event {
            LogEvent::Begin { commit, .. } => at = *commit,
            LogEvent::Change(SourceChange::Insert { relation, new }) => add(relation.0, key(new)),
            LogEvent::Change(SourceChange::Update { relation, old, new }) => {
                old.iter().for_each(|old| add(relation.0, old_key(old)));
                add(relation.0, key(new));
            }
            LogEvent::Change(SourceChange::Delete { relation, old }) => add(relation.0, old_key(old)),
            LogEvent::Change(SourceChange::Truncate { relations }) => {
                relations.iter().for_each(|relation| add(relation.0, None));
            }
            LogEvent::TruncateLeaf { table, .. } => add(table.0, None),
            LogEvent::Rows(chunk) => {
                if let LoggedKind::Heal { keys, .. } = &chunk.kind {
                    at = chunk.at.lsn();
                    keys.iter().for_each(|key| all.push((at, table(chunk.table.0), Some(key.clone()))));
                }
            }
            _ => {}
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Promise 3: guards that every row which changes behind what the lanes have taken is named, up to where it changed at least,
    /// wherever each lane is: who compares would else go by what a row was.
    #[test]
    fn every_row_that_changes_is_named(
        steps in steps(),
        of in 1..5_u32,
        which in prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), 5),
    ) {
        let capture = Capture::new(of).run(&steps);
        let whole = capture.topics.read(None).unwrap();
        let lanes = read_lanes(&capture.topics, of);
        let place = |(events, which): (&Vec<LogEvent>, &Option<prop::sample::Index>)| {
            let (places, which) = (cursors(events), (*which)?);
            (!places.is_empty()).then(|| places[which.index(places.len())].1.to_cursor())
        };
        let places: LanePlaces = lanes.iter().zip(&which).map(place).collect();
        let after = behind_all(&places).map_or(0, |place| place.group);
        prop_assert!(taken_by_all(&places) <= after);
        let start = cursors(&whole).into_iter().find(|(_, place)| place.group == after);
        let expected = changed(&whole[start.map_or(0, |(at, _)| at)..]);
        let told = told(&capture.topics, &places, 20);
        for (commit, table, key) in &expected {
            let is_told = |named: &&Named| {
                named.unlisted.contains(table) || named.rows.iter().any(|row| row.0 == *table && Some(&row.1) == key.as_ref())
            };
            let upto = told.iter().filter(is_told).map(|named| named.upto).max();
            prop_assert!(upto >= Some(*commit), "{table} {key:?} at {commit}: {upto:?}");
        }
        let expected = expected.into_iter().map(|(_, table, key)| (table, key)).collect::<BTreeSet<_>>();
        for (table, key) in told.into_iter().flat_map(|named| named.rows) {
            prop_assert!(expected.contains(&(table, Some(key))), "nothing else is named");
        }
    }
}

/// Guards that a transaction of any size takes no more memory than so many names: its tables count as changed as a whole.
#[test]
fn too_many_rows_of_one_transaction_leave_their_table_unlisted() {
    let mut steps = (0..30).map(|key| Step::Insert { table: 0, key }).collect::<Vec<_>>();
    steps.insert(10, Step::Seal);
    let capture = Capture::new(1).run(&steps);
    let told = |max| told(&capture.topics, &vec![None], max);
    let [whole, cut] = [told(30), told(29)].map(|told| (told[0].rows.len(), told[0].unlisted.len()));
    assert_eq!((whole, cut), ((30, 0), (29, 1)));
}
