//! What an apply makes of tables that join a log, or join it anew.

use super::*;

fn join(is_void: bool) -> LogEvent {
    LogEvent::Entry(LoggedEntry::Join { table: T, is_void })
}

fn plan() -> LogEvent {
    LogEvent::Entry(LoggedEntry::Plan(unit(T.0)))
}

fn complete() -> LogEvent {
    LogEvent::Entry(LoggedEntry::Complete { table: T })
}

/// A partitioned table without a leaf has nothing that could be planned: where it joins, it is followed all the same, and is
/// not taken for one whose rows lie behind in the log.
#[test]
fn a_table_without_anything_to_be_planned_joins() {
    let mut core = started(vec![plain(0, "t")], saved(&[], Some("x"))).unwrap();
    let work = feed(&mut core, [table(T, "t", 25), join(false), complete(), whole("a")]).unwrap();
    assert!(matches!(work[..], [Work::Record(LedgerEntry::Complete(RouteId(0)))]), "{work:?}");
    assert_eq!(core.progress().unplanned, []);
    let mut core = started(vec![plain(0, "t")], saved(&[], Some("x"))).unwrap();
    let midway = feed(&mut core, [table(T, "t", 25), complete()]);
    assert_eq!(class(midway), Some(Class::Configuration), "its plans lie behind");
}

/// Promise 1: of a table whose changes were missed no copy removes the rows that blue has deleted meanwhile. Green is emptied
/// of it first, in the same order as everything else, and it is not called complete until the new copy is there.
#[test]
fn a_table_that_joins_anew_is_emptied_first() {
    let mut core = started(vec![plain(0, "t")], completed(&[0], Some("x"))).unwrap();
    let before = [table(T, "t", 25), begin(110, 0), insert("1"), commit(110), whole("a")];
    let work = feed(&mut core, before.into_iter().chain([join(true), plan(), whole("b")])).unwrap();
    let emptied = |work: &Work| matches!(work, Work::Batch(batch) if batch.changes == [RowChange::Truncate { routes: vec![RouteId(0)] }]);
    let place = |which: &dyn Fn(&Work) -> bool| work.iter().position(which).expect("it is there");
    let changed = place(
        &|work| matches!(work, Work::Batch(batch) if batch.changes.len() == 1 && !emptied(&Work::Batch(batch.clone()))),
    );
    let planned = place(&|work| matches!(work, Work::Record(LedgerEntry::Plan(_))));
    assert!(changed < place(&emptied) && place(&emptied) < planned, "{work:?}");
    assert_eq!(core.progress().incomplete, [RouteId(0)]);
}

/// The same in the middle of a transaction that comes in parts: its changes before that are on green by then, and it is emptied
/// once the transaction is whole.
#[test]
fn a_table_is_emptied_between_transactions() {
    let other = RelationId(8);
    let routes = vec![plain(0, "t"), plain(1, "u")];
    let mut core = start_with(routes, completed(&[0, 1], Some("x")), Vec::new()).unwrap();
    let row = LogEvent::Change(SourceChange::Insert { relation: other, new: tuple(&["1", "b", "n"]) });
    let part = [table(T, "t", 25), table(other, "u", 25), begin(110, 0), row.clone(), whole("a"), join(true)];
    let work = feed(&mut core, part).unwrap();
    let empties = |work: &[Work]| {
        let of =
            |batch: &Batch| batch.changes.iter().any(|change| matches!(change, RowChange::Truncate { .. }));
        batches(work).into_iter().any(of)
    };
    assert!(!empties(&work));
    let work = feed(&mut core, [whole("b"), begin(110, 1), row, commit(110), whole("c")]).unwrap();
    assert!(empties(&work), "{work:?}");
}

/// Several that share a log would each remove what the others have copied by then.
#[test]
fn a_table_that_several_have_rows_of_is_not_emptied() {
    let mut core = started(vec![plain(0, "t")], completed(&[0], Some("x"))).unwrap();
    core.take_every_heal();
    let refused = feed(&mut core, [table(T, "t", 25), join(true)]).unwrap_err();
    assert!(refused.remedy_text().unwrap().contains("consistency: transaction"), "{refused}");
}
