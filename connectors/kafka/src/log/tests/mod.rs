//! Groups are put together as they were written, whatever lies between, or not at all.

mod capture;
mod lanes;
mod names;
mod topics;

use proptest::prelude::*;
use understudy_contract::{Class, Cursor, LogEvent};
use understudy_model::SourceChange;

use super::cursor::Place;
use crate::codec::partition_of;
use capture::{Capture, Step, TABLES};
use topics::resolved;

fn step() -> impl Strategy<Value = Step> {
    let table = || 0..TABLES;
    let key = || 0..9_u8;
    prop_oneof![
        4 => (table(), key()).prop_map(|(table, key)| Step::Insert { table, key }),
        4 => (table(), key(), any::<bool>()).prop_map(|(table, key, unsent)| Step::Update { table, key, unsent }),
        3 => (table(), key(), 9..18_u8).prop_map(|(table, from, to)| Step::Move { table, from, to }),
        3 => (table(), key()).prop_map(|(table, key)| Step::Delete { table, key }),
        1 => Just(Step::Truncate),
        1 => table().prop_map(|table| Step::TruncateLeaf { table }),
        3 => Just(Step::Commit),
        2 => Just(Step::Seal),
        1 => Just(Step::Restart),
        1 => table().prop_map(|table| Step::Alter { table }),
        1 => (table(), 0..5_u8).prop_map(|(table, rows)| Step::Chunk { table, rows }),
        1 => (table(), any::<bool>()).prop_map(|(table, gone)| Step::Heal { table, gone }),
        1 => table().prop_map(|table| Step::Complete { table }),
        1 => Just(Step::Idle),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..60)
}

/// The same without what differs by the number of partitions.
fn plain(events: &[LogEvent]) -> Vec<LogEvent> {
    let plain = events.iter().filter(|event| !matches!(event, LogEvent::Table(_))).map(|event| match event {
        LogEvent::Whole { .. } => LogEvent::Whole { cursor: Cursor(Default::default()) },
        other => other.clone(),
    });
    plain.collect()
}

/// By event the place at which to go on after it.
fn cursors(events: &[LogEvent]) -> Vec<(usize, Place)> {
    let cursors = events.iter().enumerate().filter_map(|(at, event)| match event {
        LogEvent::Whole { cursor } => Some((at, Place::parse(cursor).expect("a cursor of ours"))),
        _ => None,
    });
    cursors.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Guards that what a capture has written comes out in the order of blue's changes, however the records of a table are
    /// spread over partitions, whatever marks of transactions stand between, and also where a transaction comes twice.
    #[test]
    fn everything_comes_out_as_it_was_written(steps in steps(), partitions in 1..5_u32) {
        let capture = Capture::new(partitions).run(&steps);
        let events = capture.topics.read(None).unwrap();
        prop_assert_eq!(plain(&events), capture.expected);
        // Panics where something comes before its table was announced.
        resolved(&events);
    }

    /// F20, F41: guards that who goes on from any place gets exactly the rest, in the shapes that it was written in.
    #[test]
    fn every_place_leads_to_the_rest(steps in steps(), partitions in 1..5_u32) {
        let capture = Capture::new(partitions).run(&steps);
        let events = capture.topics.read(None).unwrap();
        let all = resolved(&events);
        for (at, place) in cursors(&events) {
            let rest = resolved(&capture.topics.read(Some(place)).unwrap());
            let expected = &all[all.len() - rest.len()..];
            prop_assert_eq!(plain(&events[at + 1..]).len(), rest.len());
            prop_assert_eq!(&rest[..], expected);
        }
    }

    /// F8, F9: guards that a log which lacks a record, has one twice, or lacks a group, is refused before anything of the group
    /// is handed out.
    #[test]
    fn what_is_missing_or_foreign_is_refused(
        steps in steps(),
        partitions in 1..4_u32,
        which in any::<prop::sample::Index>(),
        twice in any::<bool>(),
    ) {
        let capture = Capture::new(partitions).run(&steps);
        let mut topics = capture.topics.clone();
        let places = topics.tables.iter().flat_map(|(at, records)| (0..records.len()).map(move |n| (at.clone(), n)));
        let places = places.collect::<Vec<_>>();
        prop_assume!(!places.is_empty());
        let (at, n) = which.get(&places).clone();
        let records = topics.tables.get_mut(&at).unwrap();
        if twice {
            let copy = records[n].clone();
            records.insert(n, copy);
            // Offsets stay as a broker gives them.
            for (record, offset) in records.iter_mut().zip(0..) {
                record.offset = offset;
            }
            // One too many at the end of a group shows once the next group finds it.
            match topics.read(None) {
                Ok(events) => prop_assert_eq!(plain(&events), capture.expected),
                Err(failure) => prop_assert_eq!(failure.class(), Class::Diverged),
            }
        } else {
            records.remove(n);
            let failure = topics.read(None).unwrap_err();
            prop_assert_eq!(failure.class(), Class::Diverged);
        }
    }

    /// Guards that a gap in the order topic, its start cut off, or another topic of the same name, is no log to go on with.
    #[test]
    fn a_gap_between_groups_is_refused(steps in steps(), which in any::<prop::sample::Index>()) {
        let capture = Capture::new(2).run(&steps);
        let events = capture.topics.read(None).unwrap();
        let mut topics = capture.topics.clone();
        let groups = topics.order.len();
        prop_assume!(groups > 1);
        topics.order.remove(which.index(groups - 1));
        let failure = topics.read(None).unwrap_err();
        prop_assert_eq!(failure.class(), Class::Diverged);
        let mut other = cursors(&events)[which.index(groups)].1.clone();
        other.digest ^= 1;
        prop_assert_eq!(capture.topics.read(Some(other)).unwrap_err().class(), Class::Diverged);
    }
}

/// Guards that an update whose halves stand in different partitions is one change, in its place.
#[test]
fn halves_of_an_update_meet_across_partitions() {
    let partition = |key: u8| partition_of(format!("{{\"id\":{key}}}").as_bytes(), 4);
    let to = (2..18).find(|to| partition(*to) != partition(1)).expect("keys are spread over partitions");
    let steps = [
        Step::Insert { table: 0, key: 1 },
        Step::Move { table: 0, from: 1, to },
        Step::Delete { table: 0, key: to },
    ];
    let capture = Capture::new(4).run(&steps);
    assert_eq!(capture.topics.tables.len(), 2);
    let events = plain(&capture.topics.read(None).unwrap());
    let changes = events.iter().filter_map(|event| match event {
        LogEvent::Change(change) => Some(change),
        _ => None,
    });
    let moved = changes.clone().filter(|change| matches!(change, SourceChange::Update { old: Some(_), .. }));
    assert_eq!((changes.count(), moved.count()), (3, 1));
}

/// Guards that rows are announced in the shape that they were written in, also when a capture that was stopped writes rows of
/// an earlier shape again.
#[test]
fn a_table_is_announced_whenever_its_shape_differs() {
    let insert = Step::Insert { table: 0, key: 1 };
    let steps = [insert.clone(), Step::Commit, Step::Alter { table: 0 }, insert.clone(), insert];
    let events = Capture::new(1).run(&steps).topics.read(None).unwrap();
    let announced = events.iter().filter_map(|event| match event {
        LogEvent::Table(relation) => Some(relation.as_ref().clone()),
        _ => None,
    });
    assert_eq!(announced.collect::<Vec<_>>(), [capture::relation(0, 1), capture::relation(0, 2)]);
}

/// Guards that a record is never taken for the one that is missing before it, even where a capture that was stopped has written
/// the same change again; and that an operator is told where it stands.
#[test]
fn a_record_of_another_group_is_refused() {
    let insert = Step::Insert { table: 0, key: 1 };
    let capture = Capture::new(1).run(&[insert.clone(), Step::Restart, insert]);
    let mut topics = capture.topics.clone();
    let records = topics.tables.values_mut().next().unwrap();
    assert_eq!(records.len(), 2);
    records.remove(0);
    let told = topics.read(None).unwrap_err().to_string();
    let at = format!(
        "offset {} of partition 0 there is a record of group 2",
        topics.tables.values().next().unwrap()[0].offset
    );
    assert!(told.contains("shop.public.t0") && told.contains(&at), "{told}");
}

/// Guards that an apply which comes too late is told so, with what helps, also where the order of all changes is there still and
/// only a table lacks what was deleted after its time: nothing is wrong with such a log.
#[test]
fn records_whose_time_is_over_are_told_from_those_that_are_lost() {
    let insert = Step::Insert { table: 0, key: 1 };
    let capture = Capture::new(1).run(&[insert.clone(), Step::Restart, insert]);
    let mut topics = capture.topics.clone();
    let records = topics.tables.values_mut().next().unwrap();
    records.remove(0);
    let first = records[0].offset;
    let told = |topics: &topics::Topics| topics.read(None).unwrap_err().to_string();
    assert!(told(&topics).contains("is not as it was left"), "{}", told(&topics));
    topics.starts.lock().unwrap().insert(("shop.public.t0".to_owned(), 0), first);
    assert!(told(&topics).contains("has been shortened"), "{}", told(&topics));
}
