//! What an apply makes of a log that it shares with others.

use super::*;

fn arrived(values: [&str; 3]) -> LogEvent {
    let old = OldImage::Identity(tuple(&["0", "b", "*"]));
    LogEvent::Arrived { relation: T, old, new: tuple(&values) }
}

fn complete() -> LogCore {
    let mut core = started(vec![plain(0, "t")], completed(&[0], Some("x"))).unwrap();
    assert_eq!(feed(&mut core, [table(T, "t", 25)]).unwrap(), []);
    core
}

/// Promise 1: changes of others count in the places of ours, or a transaction that comes again after its capture was stopped
/// would be taken twice, or in part.
#[test]
fn changes_of_others_keep_their_places() {
    let mut core = complete();
    let elsewhere = |changes| LogEvent::Elsewhere { changes };
    let first =
        [begin(200, 0), elsewhere(2), insert("1"), whole("a"), begin(200, 0), elsewhere(2), insert("1")];
    let rest = [elsewhere(3), insert("2"), commit(200), whole("b")];
    let work = feed(&mut core, first.into_iter().chain(rest)).unwrap();
    assert_eq!(batches(&work)[0].changes.len(), 2);
    let again = [begin(200, 0), elsewhere(2), insert("1"), elsewhere(4), commit(200), whole("c")];
    assert_eq!(feed(&mut core, again).unwrap(), []);
    assert_eq!(class(feed(&mut core, [elsewhere(1)])), Some(Class::Diverged), "outside any transaction");
}

/// Promises 1 and 2: a row that comes over with all values is new; what was not sent of one nobody here has, so that it is read
/// again, and never taken for an update of a row that should have been there.
#[test]
fn a_row_that_comes_over_is_new_or_read_again() {
    let mut core = complete();
    let events = [begin(200, 0), arrived(["1", "b", "n"]), arrived(["2", "b", "*"]), commit(200), whole("a")];
    let work = feed(&mut core, events).unwrap();
    let key = HealKey::same(key(&["2", "b"]));
    let expected = [
        RowChange::Insert { route: RouteId(0), new: tuple(&["1", "b", "n"]) },
        RowChange::Reread { route: RouteId(0), key },
    ];
    assert_eq!(batches(&work)[0].changes, expected);
}

/// Promise 1: whoever says that he stands at a fence has everything before it on green, chunks included; within a transaction he
/// cannot say so, and takes it again from its beginning.
#[test]
fn at_a_fence_everything_before_it_is_on_green() {
    let mut core = complete();
    let fence = || LogEvent::Fence { cursor: place("fence") };
    let work = feed(&mut core, [copy(1, 150, "9"), begin(200, 0), insert("2"), commit(200)]).unwrap();
    assert!(core.must_wait(&fence()));
    done(&mut core, chunks(&work)[0]);
    assert!(!core.must_wait(&fence()));
    let work = feed(&mut core, [fence()]).unwrap();
    let batches = batches(&work);
    assert_eq!(batches.iter().map(|batch| batch.changes.len()).collect::<Vec<_>>(), [1, 0]);
    assert_eq!((batches[1].checkpoint(), &batches[1].cursor), (Some(at(210)), &Some(place("fence"))));
    assert_eq!(feed(&mut core, [begin(300, 0)]).unwrap(), []);
    assert_eq!(class(feed(&mut core, [fence()])), Some(Class::Transient));
}

/// Promise 1: a row that somebody else has had read again for us is placed, though green does not wait for it; but not into a
/// copy, which brings it.
#[test]
fn rows_that_others_ask_for_are_placed() {
    let mut core = complete();
    assert_eq!(feed(&mut core, [heal(150, (&["1"], &[]), &["1"])]).unwrap().len(), 0);
    core.take_every_heal();
    let work = feed(&mut core, [heal(160, (&["1", "2", "3"], &["2"]), &["1"])]).unwrap();
    let chunk = chunks(&work)[0];
    assert_eq!((chunk.rows.len(), &chunk.left_out), (1, &vec![key(&["2", "b"])]));
    let mut core = started(vec![plain(0, "t")], saved(&[0], Some("x"))).unwrap();
    core.take_every_heal();
    let work = feed(&mut core, [table(T, "t", 25), heal(160, (&["1"], &[]), &["1"])]).unwrap();
    assert_eq!(chunks(&work).len(), 0);
}
