//! Records of tables, as applies take them.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use understudy_contract::{Class, LogEvent, LoggedEntry, LoggedKind, Wanted};
use understudy_model::{
    Checkpoint, Column, Key, Lsn, Relation, RelationId, ReplicaIdentity, SourceChange, TableName, Value,
};

use super::blue::RowsRead;
use super::intake::{Ends, Intake};
use super::offsets::Come;
use super::place::Place;
use super::record::{Reader, Told};
use super::{DebeziumTable, Declared, Kind};

const TOPIC: &str = "shop.public.t";

fn table(columns: &[(&str, Kind)]) -> DebeziumTable {
    let column = |(name, _): &(&str, Kind)| Column {
        name: (*name).to_owned(),
        type_oid: 25,
        type_modifier: -1,
        in_identity: *name == "id",
    };
    let relation = Relation {
        id: RelationId(7),
        name: TableName::new("public", "t"),
        identity: ReplicaIdentity::Default,
        columns: columns.iter().map(column).collect(),
    };
    DebeziumTable {
        relation: Arc::new(relation),
        kinds: columns.iter().map(|(_, kind)| kind.clone()).collect(),
        key: vec![0],
        defaulted: Vec::new(),
        unread: Vec::new(),
    }
}

fn plain() -> DebeziumTable {
    table(&[("id", Kind::Int), ("v", Kind::Text)])
}

fn source(lsn: u64) -> String {
    format!(
        r#"{{"version":"3.5.0.Final","connector":"postgresql","name":"shop","ts_ms":1795314547578,"snapshot":"false","db":"postgres","sequence":"[null,\"{lsn}\"]","schema":"public","table":"t","txId":{lsn},"lsn":{lsn},"xmin":null}}"#
    )
}

fn change(op: &str, before: &str, after: &str, lsn: u64) -> String {
    format!(
        r#"{{"before":{before},"after":{after},"source":{},"transaction":null,"op":"{op}","ts_ms":1795314548050}}"#,
        source(lsn)
    )
}

fn reader(compiled_at: u64) -> Reader {
    Reader::new(plain(), Declared::default(), Lsn::new(compiled_at))
}

fn key(id: i64) -> Key {
    Key::from_texts([id.to_string().as_bytes()])
}

/// Promise 1: rows, the ends of rows, emptied tables and what is there for others, with a schema around them and without.
#[test]
fn records_say_what_blue_did() {
    let after = change("c", "null", r#"{"id":1,"v":"a"}"#, 5);
    let schema = r#"{"type":"struct","fields":[{"type":"struct","fields":[{"type":"int64","field":"id"},{"type":"string","field":"v"}],"optional":true,"field":"after"}]}"#;
    let wrapped = format!(r#"{{"schema":{schema},"payload":{after}}}"#);
    let mut reader = reader(100);
    for text in [after, wrapped] {
        let told = reader.read(Some(br#"{"id":1}"#), Some(text.as_bytes())).unwrap();
        let Told::Change { change: SourceChange::Update { new, old: None, .. }, key: of, stamp, .. } = told
        else {
            panic!("{told:?}");
        };
        assert_eq!(new.get(1), Some(Value::Text(b"a".into())));
        assert_eq!((of, stamp.xid), (Some(key(1)), 5));
        assert_eq!(stamp.time_us, 1_795_314_547_578_000 - 946_684_800_000_000);
    }
    let gone = change("d", r#"{"id":2,"v":""}"#, "null", 6);
    for key_json in [
        r#"{"id":2}"#,
        r#"{"schema":{"type":"struct","fields":[{"type":"int64","field":"id"}]},"payload":{"id":2}}"#,
    ] {
        let told = reader.read(Some(key_json.as_bytes()), Some(gone.as_bytes())).unwrap();
        assert!(
            matches!(told, Told::Change { change: SourceChange::Delete { .. }, key: Some(of), .. } if of == key(2))
        );
    }
    assert_eq!(reader.read(Some(br#"{"id":2}"#), None), Ok(Told::Nothing));
    let emptied = change("t", "null", "null", 7);
    let told = reader.read(None, Some(emptied.as_bytes())).unwrap();
    assert!(matches!(told, Told::Change { change: SourceChange::Truncate { .. }, key: None, .. }));
}

/// Bad input: what is no record of the table's is never passed over, and the failure says where it is and what to do, and holds
/// nothing of a row.
#[test]
fn foreign_records_stop_the_apply() {
    let other = change("c", "null", r#"{"id":1,"v":"hush"}"#, 5).replace(r#""table":"t""#, r#""table":"u""#);
    let mysql = change("c", "null", r#"{"id":1,"v":"hush"}"#, 5).replace("postgresql", "mysql");
    let unknown = change("x", "null", "null", 5);
    let flat = r#"{"id":1,"v":"hush"}"#.to_owned();
    let lacking = change("c", "null", r#"{"v":"hush"}"#, 5);
    let wrong = change("c", "null", r#"{"id":"hush","v":"a"}"#, 5);
    for text in [other, mysql, unknown, flat, lacking, wrong, "hush".to_owned(), "\u{0}".to_owned()] {
        let unfit = reader(100).read(None, Some(text.as_bytes())).expect_err(&text);
        let failure = unfit.at(TOPIC, 1, 42);
        let told = failure.to_string();
        assert!(told.contains("record 42 of partition 1 of topic shop.public.t"), "{told}");
        assert!(
            !told.contains("hush") && failure.remedy_text().is_some_and(|remedy| !remedy.contains("hush"))
        );
        assert_ne!(failure.class(), Class::Transient, "{told}");
    }
}

/// Guards a table that changes while its topic is read: blue is looked at anew, and only what is still amiss then stops.
#[test]
fn a_table_that_has_changed_is_looked_at_anew() {
    let added = change("c", "null", r#"{"id":1,"v":"a","w":1}"#, 200);
    let unfit = reader(100).read(None, Some(added.as_bytes())).unwrap_err();
    assert_eq!(unfit.class, Class::Transient);
    assert!(reader(300).read(None, Some(added.as_bytes())).is_ok(), "it has been dropped since");
    let unread = DebeziumTable { unread: vec!["w".to_owned()], ..plain() };
    let mut known = Reader::new(unread, Declared::default(), Lsn::new(100));
    assert!(known.read(None, Some(added.as_bytes())).is_ok(), "a mapping leaves it out");
    // A row from before a column was added: its value is read from blue.
    let older = change("c", "null", r#"{"id":1}"#, 5);
    let told = reader(300).read(None, Some(older.as_bytes())).unwrap();
    assert!(
        matches!(told, Told::Change { change: SourceChange::Update { new, .. }, .. } if new.get(1) == Some(Value::Unchanged))
    );
}

fn intake(place: Place, reached: u64) -> Intake {
    Intake::new(vec![plain()], place, (Lsn::new(reached), Lsn::new(1_000_000)), Declared::default())
}

fn events(intake: &mut Intake) -> Vec<LogEvent> {
    std::iter::from_fn(|| intake.pop()).collect()
}

fn come(upto: u64) -> Come {
    Come { upto: Some(Lsn::new(upto)) }
}

/// Promise 3: blue counts as reached, and the copy as complete, only once every partition has been read to where it ended
/// after the connector had come so far.
#[test]
fn a_place_of_blue_is_reached_when_every_partition_is_read() {
    let mut intake = intake(Place::start("shop"), 0);
    assert!(matches!(
        &events(&mut intake)[..],
        [LogEvent::Table(_), LogEvent::Entry(LoggedEntry::Plan(_)), LogEvent::Whole { .. }]
    ));
    intake.on_topic(TOPIC.to_owned(), vec![0, 0]);
    intake.on_come(come(50));
    assert_eq!(intake.wants_ends(), Some(Lsn::new(50)));
    let ends = Ends::from([((TOPIC.to_owned(), 0), 1), ((TOPIC.to_owned(), 1), 1)]);
    intake.on_ends(Lsn::new(50), ends);
    let row = |id: u32| change("c", "null", &format!(r#"{{"id":{id},"v":"a"}}"#), 5);
    intake.on_record((TOPIC, 0, 0), (None, Some(row(1).as_bytes()))).unwrap();
    intake.end_turn();
    let early = events(&mut intake);
    assert!(
        !early.iter().any(|event| matches!(event, LogEvent::Reached { .. } | LogEvent::Entry(_))),
        "{early:?}"
    );
    intake.on_record((TOPIC, 1, 0), (None, Some(row(2).as_bytes()))).unwrap();
    intake.end_turn();
    let late = events(&mut intake);
    assert!(
        matches!(
            &late[..],
            [
                LogEvent::Begin { .. },
                LogEvent::Change(_),
                LogEvent::Commit { .. },
                LogEvent::Reached { end },
                LogEvent::Entry(LoggedEntry::Complete { .. }),
                LogEvent::Whole { .. }
            ] if *end == Lsn::new(50)
        ),
        "{late:?}"
    );
}

/// Guards the copy where only the slot tells: it says nothing while the connector takes its snapshot.
#[test]
fn a_slot_that_has_not_moved_proves_no_copy() {
    let mut intake = intake(Place::start("shop"), 0);
    intake.on_confirmed(Lsn::new(50), Lsn::new(50));
    assert_eq!(intake.wants_ends(), None);
    intake.on_confirmed(Lsn::new(51), Lsn::new(50));
    assert_eq!(intake.wants_ends(), Some(Lsn::new(51)));
}

/// Promise 1: a row that was read from blue is placed where it belongs, and not where a change of it came meanwhile.
#[test]
fn rows_of_blue_are_placed_unless_they_changed_meanwhile() {
    let mut intake = intake(Place::start("shop"), 10);
    intake.on_topic(TOPIC.to_owned(), vec![0]);
    events(&mut intake);
    let name = TableName::new("public", "t");
    intake.on_asked((1..=3).map(|id| Wanted { table: name.clone(), key: key(id) }).collect());
    let (_, keys) = intake.begin_read().unwrap();
    assert_eq!(keys.len(), 3);
    let two = change("u", "null", r#"{"id":2,"v":"new"}"#, 15);
    intake.on_record((TOPIC, 0, 0), (None, Some(two.as_bytes()))).unwrap();
    let row = |id: i64| {
        let told = reader(0)
            .read(None, Some(change("r", "null", &format!(r#"{{"id":{id},"v":"b"}}"#), 0).as_bytes()));
        let Ok(Told::Change { change: SourceChange::Update { new, .. }, .. }) = told else {
            panic!("{told:?}")
        };
        new
    };
    intake.on_read(Ok(RowsRead { rows: vec![row(1), row(2)], at: Lsn::new(20) })).unwrap();
    let none = Ends::from([((TOPIC.to_owned(), 0), 1)]);
    intake.on_ends(Lsn::new(19), none.clone());
    assert!(
        !events(&mut intake).iter().any(|event| matches!(event, LogEvent::Rows(_))),
        "not all before it has come"
    );
    intake.on_ends(Lsn::new(20), none);
    let chunks = events(&mut intake);
    let chunk =
        chunks.iter().find_map(|event| if let LogEvent::Rows(chunk) = event { Some(chunk) } else { None });
    let chunk = chunk.unwrap();
    assert_eq!(chunk.at, Checkpoint::at_commit_end(Lsn::new(20)));
    assert_eq!(chunk.rows, vec![row(1)]);
    assert_eq!(chunk.kind, LoggedKind::Heal { keys: (1..=3).map(key).collect(), gone: vec![key(3)] });
}

/// Guards a table whose rows lie in several partitions: which of them a TRUNCATE meant is not guessed.
#[test]
fn a_truncate_among_several_partitions_stops_the_apply() {
    let emptied = change("t", "null", "null", 7);
    for (partitions, is_taken) in [(1, true), (2, false)] {
        let mut intake = intake(Place::start("shop"), 0);
        intake.on_topic(TOPIC.to_owned(), vec![0; partitions]);
        let taken = intake.on_record((TOPIC, 0, 0), (None, Some(emptied.as_bytes())));
        assert_eq!(taken.is_ok(), is_taken, "{partitions} partitions");
        assert!(is_taken || taken.unwrap_err().class() == Class::Diverged);
    }
}

/// What green has: the rows, and the place and address that are committed with them.
#[derive(Clone)]
struct Green {
    rows: BTreeMap<i64, u64>,
    place: Place,
    reached: u64,
}

/// A run of a connector: what it wrote to two partitions, and after how many records of each it had come how far.
struct Written {
    partitions: [Vec<String>; 2],
    comes: Vec<(u64, [usize; 2])>,
}

/// Changes of few keys; now and then the connector is stopped, and writes again what it had not noted.
fn write(changes: &[(u8, bool)], stops: &[(usize, usize)]) -> Written {
    let mut written = Written { partitions: [Vec::new(), Vec::new()], comes: Vec::new() };
    let (mut at, mut noted, mut stops) = (0, 0, stops.to_vec());
    while at < changes.len() {
        let (id, is_there) = (i64::from(changes[at].0 % 4), changes[at].1);
        let lsn = at as u64 + 1;
        let text = match is_there {
            true => change("u", "null", &format!(r#"{{"id":{id},"v":"{lsn}"}}"#), lsn),
            false => change("d", &format!(r#"{{"id":{id},"v":null}}"#), "null", lsn),
        };
        written.partitions[(id % 2) as usize].push(text);
        at += 1;
        if at.is_multiple_of(5) {
            noted = at;
            let ends = [written.partitions[0].len(), written.partitions[1].len()];
            written.comes.push((at as u64, ends));
        }
        if let Some(stop) = stops.iter().position(|(after, _)| *after == at) {
            let (_, back) = stops.remove(stop);
            at = at.saturating_sub(back).max(noted);
        }
    }
    let ends = [written.partitions[0].len(), written.partitions[1].len()];
    written.comes.push((at as u64, ends));
    written
}

/// The rows after so many changes.
fn truth(changes: &[(u8, bool)], upto: usize) -> BTreeMap<i64, u64> {
    let mut rows = BTreeMap::new();
    for (at, (id, is_there)) in changes.iter().enumerate().take(upto) {
        let id = i64::from(id % 4);
        match is_there {
            true => rows.insert(id, at as u64 + 1),
            false => rows.remove(&id),
        };
    }
    rows
}

impl Green {
    /// Takes events into `next`, and commits it where a place is named. Checks what is said of blue.
    fn take(&mut self, next: &mut Green, events: Vec<LogEvent>) {
        for event in events {
            match event {
                LogEvent::Change(SourceChange::Update { new, .. }) => {
                    let number = |at: usize| match new.get(at) {
                        Some(Value::Text(text)) => {
                            std::str::from_utf8(&text).unwrap().parse::<u64>().unwrap()
                        }
                        other => panic!("{other:?}"),
                    };
                    next.rows.insert(number(0) as i64, number(1));
                }
                LogEvent::Change(SourceChange::Delete { old, .. }) => {
                    let (understudy_model::OldImage::Identity(old) | understudy_model::OldImage::Full(old)) =
                        old;
                    let Some(Value::Text(id)) = old.get(0) else { panic!("no key") };
                    next.rows.remove(&std::str::from_utf8(&id).unwrap().parse::<i64>().unwrap());
                }
                LogEvent::Reached { end } => next.reached = end.raw(),
                LogEvent::Whole { cursor } => {
                    next.place = Place::of("shop", Some(&cursor)).unwrap();
                    *self = next.clone();
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Promise 1: a connector that writes again what it had not noted, and an apply that is killed anywhere, lose nothing and
    /// double nothing; and whatever green says it has reached, it has.
    #[test]
    fn nothing_is_lost_over_restarts(
        changes in prop::collection::vec((0u8..4, prop::bool::weighted(0.8)), 1..60),
        stops in prop::collection::vec((1usize..60, 1usize..8), 0..4),
        turns in prop::collection::vec((0usize..2, 1usize..6, prop::bool::weighted(0.15), prop::bool::weighted(0.3)), 0..60),
    ) {
        let written = write(&changes, &stops);
        let mut green = Green { rows: BTreeMap::new(), place: Place::start("shop"), reached: 0 };
        let mut next = green.clone();
        let mut log = intake(green.place.clone(), 0);
        log.on_topic(TOPIC.to_owned(), vec![0, 0]);
        log.end_turn();
        // In the end everything is read.
        let turns = turns.into_iter().chain([(0, usize::MAX, false, true), (1, usize::MAX, false, true), (0, 1, false, true)]);
        for (partition, records, is_killed, has_come) in turns {
            if has_come {
                let read = |at: usize| log.place().next(TOPIC, at as i32).unwrap_or_default() as usize;
                // As far as the connector had come when the ends were looked up: anything that is written by then.
                let so_far = [read(0), read(1)];
                let known = written.comes.iter().rev().find(|(_, ends)| ends[0] <= so_far[0] + 5 && ends[1] <= so_far[1] + 5);
                if let Some((upto, ends)) = known {
                    log.on_come(come(*upto));
                    if let Some(upto) = log.wants_ends() {
                        let at = |partition: usize| ((TOPIC.to_owned(), partition as i32), ends[partition] as i64);
                        log.on_ends(upto, Ends::from([at(0), at(1)]));
                    }
                }
            }
            for _ in 0..records {
                let offset = log.place().next(TOPIC, partition as i32).unwrap_or_default();
                let Some(text) = written.partitions[partition].get(offset as usize) else { break };
                let key = None;
                log.on_record((TOPIC, partition as i32, offset), (key, Some(text.as_bytes()))).unwrap();
            }
            log.end_turn();
            if is_killed {
                // Some of what was handed out is not committed.
                let handed = events(&mut log);
                let half = handed.into_iter().take(records).collect();
                green.take(&mut next, half);
                next = green.clone();
                log = intake(green.place.clone(), green.reached);
                if log.place().topics.is_empty() {
                    log.on_topic(TOPIC.to_owned(), vec![0, 0]);
                }
            } else {
                green.take(&mut next, events(&mut log));
                let reached = green.reached as usize;
                for (id, version) in truth(&changes, reached) {
                    let is_older = green.rows.get(&id).is_some_and(|has| *has < version);
                    prop_assert!(!is_older, "row {id} is older than {reached}, which is said to be reached");
                }
            }
        }
        prop_assert_eq!(green.rows, truth(&changes, changes.len()));
    }
}
