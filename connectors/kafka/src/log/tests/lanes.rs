//! Lanes together take what one reader takes: every change once, in its place, whatever moves between them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use understudy_contract::{Class, Cursor, LogEvent, LoggedKind};
use understudy_model::{Key, Lsn, OldImage, SourceChange, Tuple};

use super::super::cursor::Place;
use super::super::lane::{Fences, Lane, Share};
use super::super::lanes::others;
use super::capture::{Capture, LAST_VERSION, Step};
use super::topics::Topics;
use super::{cursors, steps};

/// A change by where it stands: commit, ordinal, and what it does to which row.
type Told = (u64, u64, String);

fn id(row: &Tuple) -> String {
    let key = row.key(&[0]).expect("a row with its key");
    key.texts().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

fn told(events: &[LogEvent]) -> Vec<Told> {
    let (mut all, mut commit, mut next) = (Vec::new(), 0, 0);
    for event in events {
        let mut tell = |what: String| all.push((commit, next, what));
        let write = |relation: u32, row: &Tuple| format!("write {relation}/{}", id(row));
        let remove = |relation: u32, old: &OldImage| match old {
            OldImage::Identity(row) | OldImage::Full(row) => format!("remove {relation}/{}", id(row)),
        };
        match event {
            LogEvent::Begin { commit: lsn, from_ordinal, .. } => {
                (commit, next) = (lsn.raw(), *from_ordinal);
                continue;
            }
            LogEvent::Elsewhere { changes } => {
                next += changes;
                continue;
            }
            LogEvent::Change(SourceChange::Insert { relation, new }) => tell(write(relation.0, new)),
            LogEvent::Change(SourceChange::Update { relation, old, new }) => {
                old.iter().for_each(|old| tell(remove(relation.0, old)));
                tell(write(relation.0, new));
            }
            LogEvent::Change(SourceChange::Delete { relation, old }) => tell(remove(relation.0, old)),
            LogEvent::Change(SourceChange::Truncate { .. }) | LogEvent::TruncateLeaf { .. } => {
                tell(format!("{event:?}"));
            }
            LogEvent::Arrived { relation, new, .. } => tell(write(relation.0, new)),
            LogEvent::Rows(chunk) => {
                let mut rows = chunk.rows.iter().map(|row| format!("row {}", id(row))).collect::<Vec<_>>();
                if let LoggedKind::Heal { keys, gone } = &chunk.kind {
                    let name = |what: &str, key: &Key| format!("{what} {key:?}");
                    rows.extend(keys.iter().map(|key| name("key", key)));
                    rows.extend(gone.iter().map(|key| name("gone", key)));
                }
                all.extend(rows.into_iter().map(|row| (chunk.at.lsn().raw(), 0, row)));
                continue;
            }
            _ => continue,
        }
        next += 1;
    }
    all
}

fn place(cursor: &Cursor) -> Place {
    Place::parse(cursor).expect("a cursor of ours")
}

/// Where each lane stands at the fence of a transaction.
fn stood(commit: Lsn, lanes: &[Vec<LogEvent>]) -> BTreeMap<String, Vec<Option<i64>>> {
    let stands = |events: &Vec<LogEvent>| {
        events.iter().find_map(|event| match event {
            LogEvent::Fence { cursor } if place(cursor).fence == Some(commit.raw()) => Some(cursor.clone()),
            _ => None,
        })
    };
    others(&std::iter::once(None).chain(lanes.iter().map(stands)).collect())
}

/// What each of so many lanes takes, the first one first.
pub(super) fn read_lanes(topics: &Topics, of: u32) -> Vec<Vec<LogEvent>> {
    let fences = Fences::default();
    'again: loop {
        let mut all = Vec::new();
        for number in (0..of).rev() {
            let share = Share::of(Lane { number, of }, fences.clone());
            all.reverse();
            let read = topics.read_share(None, share, &|commit| stood(commit, &all));
            all.reverse();
            match read {
                Ok(events) => all.push(events),
                // A transaction turns out to empty tables.
                Err(failure) if failure.class() == Class::Transient => continue 'again,
                Err(failure) => panic!("{failure}"),
            }
        }
        all.reverse();
        return all;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Promise 1: guards that what one reader takes, lanes take together: no change twice, none left out, each counted where it
    /// stands, also where keys move between lanes, tables are emptied, and transactions are larger than a group or come again.
    #[test]
    fn lanes_take_together_what_one_reader_takes(steps in steps(), of in 1..5_u32) {
        let capture = Capture::new(of).run(&steps);
        let mut whole = told(&capture.topics.read(None).unwrap());
        let lanes = read_lanes(&capture.topics, of);
        let mut together = lanes.iter().flat_map(|events| told(events)).collect::<Vec<_>>();
        whole.sort();
        together.sort();
        prop_assert_eq!(whole, together);
    }

    /// Guards that nothing of a table that is emptied is taken by another lane than the first, which alone keeps the order of its
    /// rows, unless only a read of blue can tell the row.
    #[test]
    fn what_is_emptied_is_taken_by_the_first_lane(keys in prop::collection::vec(0..9_u8, 1..20), of in 2..5_u32) {
        let mut steps = keys.iter().map(|key| Step::Insert { table: 0, key: *key }).collect::<Vec<_>>();
        steps.insert(keys.len() / 2, Step::Truncate);
        let capture = Capture::new(of).run(&steps);
        for (number, events) in read_lanes(&capture.topics, of).iter().enumerate() {
            let changes = events.iter().filter(|event| matches!(event, LogEvent::Change(_))).count();
            prop_assert_eq!(changes, if number == 0 { steps.len() } else { 0 });
            let fences = events.iter().filter(|event| matches!(event, LogEvent::Fence { .. })).count();
            prop_assert_eq!(fences, 1);
        }
    }
}

/// Promise 1: guards that a key which is written in another form, and so falls into other lanes, ends every lane before the first
/// group with it, wherever it goes on from: the lane that has a row's later changes would overtake the one with the earlier ones.
#[test]
fn a_key_in_another_form_ends_every_lane() {
    let insert = Step::Insert { table: 0, key: 1 };
    let mut steps = vec![insert.clone(), Step::Commit, Step::Seal];
    steps.extend((1..LAST_VERSION).map(|_| Step::Alter { table: 0 }));
    let before = Capture::new(3).run(&steps[..3]);
    steps.push(insert);
    let all = Capture::new(3).run(&steps);
    for number in 0..3 {
        let share = || Share::of(Lane { number, of: 3 }, Fences::default());
        let read = |topics: &Topics, from| topics.read_share(from, share(), &|_| BTreeMap::new());
        let events = read(&before.topics, None).unwrap();
        let (_, stood) = cursors(&events).into_iter().next().unwrap();
        for from in [None, Some(stood)] {
            let ended = read(&all.topics, from).unwrap_err();
            assert_eq!(ended.class(), Class::Diverged);
            assert!(ended.to_string().contains("the key of public.t0"), "{ended}");
        }
    }
}
