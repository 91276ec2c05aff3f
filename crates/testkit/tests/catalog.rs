//! The core and what it knows of blue's catalog, through restarts: no table is copied again that need not be.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says so")]

use understudy_contract::{
    ChunkOutcome, ChunkRows, ChunkScope, Class, ColumnMarks, Failure, GreenTable, LedgerEntry, Lineage,
    Saved, StreamEvent, Unit,
};
use understudy_model::{
    Checkpoint, Column, HealKey, Key, Lsn, Relation, RelationId, ReplicaIdentity, RouteId, RowChange,
    Snapshot, TableName, UnitId, Xid,
};
use understudy_replicate::{Core, CoreSettings, CoreStart, DetachPolicy, ReadJob, Rules, Work};
use understudy_testkit::green::Green;
use understudy_transform::{BlueTable, Mapping, RouteSpec};

fn route() -> RouteSpec {
    let name = TableName::new("public", "t");
    let table = BlueTable::named(name.clone(), &["id"], &["id"]);
    RouteSpec::compile(RouteId(0), &table, (name, None), Mapping::default()).unwrap()
}

fn unit(filenode: u32, fingerprint: u64) -> Unit {
    marked(filenode, fingerprint, Some((1, 1)))
}

fn marked(filenode: u32, fingerprint: u64, marks: Option<(u64, u64)>) -> Unit {
    Unit {
        id: UnitId::new(7, RouteId(0)),
        route: RouteId(0),
        root: UnitId::new(7, RouteId(0)),
        name: TableName::new("public", "t"),
        filenode,
        fingerprint,
        marks: marks.map(|(places, written)| ColumnMarks { places, written, keys: 1 }),
        membership: 0,
        blocks: 1,
        block_bytes: 8192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: None,
    }
}

/// A green whose copy of the table is complete.
fn copied() -> Green {
    let route = route();
    let mut green = Green::new(vec![GreenTable {
        route: route.id,
        source: route.source.clone(),
        name: route.target.clone(),
        columns: vec!["id".into()],
        source_columns: vec![Some("id".into())],
        key: route.key.clone(),
        filtered: false,
        predicate: None,
        fingerprint: route.fingerprint(),
    }]);
    let (mut session, _) = green.claim();
    let lineage =
        Lineage { system_id: 1, timeline: 1, database: "d".into(), slot: "s".into(), publication: None };
    session.begin(&mut green, &lineage, Checkpoint::at_commit_end(Lsn::new(10))).unwrap();
    session.record(&mut green, &LedgerEntry::Plan(unit(1, 1))).unwrap();
    session.record(&mut green, &LedgerEntry::Complete(route.id)).unwrap();
    green
}

fn core(saved: Saved, at_start: Unit) -> Core {
    started(saved, vec![at_start], (false, false), DetachPolicy::Stop).unwrap()
}

/// A core that starts; its route is to be copied again, and because an operator asked for it.
fn started(
    saved: Saved,
    units: Vec<Unit>,
    (recopy, asked): (bool, bool),
    on_detach: DetachPolicy,
) -> Result<Core, Failure> {
    let of_route = |is: bool| if is { vec![RouteId(0)] } else { Vec::new() };
    let settings = CoreSettings {
        chunk_bytes: 8192,
        chunk_bytes_max: 8192,
        window_bytes_max: 8192,
        windows_max: 1,
        batch_changes_max: 700,
        batch_bytes_max: 1 << 20,
        on_detach,
        raw: false,
        nonce_base: 1,
        rules: Rules::all(),
    };
    let start = CoreStart {
        routes: vec![route()],
        units,
        units_before: Vec::new(),
        snapshot: Snapshot::new(Xid::new(3), Xid::new(3), Vec::new()),
        saved,
        slot_is_new: false,
        publication_changed: false,
        recopy: of_route(recopy),
        recopy_asked: of_route(asked),
    };
    Core::new(settings, start)
}

/// Runs the sidecar from one look at the catalog to another, and returns how many copies it has planned.
fn run(green: &mut Green, at_start: Unit, later: Unit) -> usize {
    let (mut session, saved) = green.claim();
    let mut core = core(saved.unwrap(), at_start);
    core.asking_units();
    core.on_units(vec![later]).unwrap();
    let mut plans = 0;
    while let Some(work) = core.next_work() {
        if let Work::Record(entry) = work {
            plans += usize::from(matches!(entry, LedgerEntry::Plan(_)));
            session.record(green, &entry).unwrap();
        }
    }
    plans
}

/// A column that came in and a VACUUM FULL each leave the rows as they are, also with a restart between the two.
#[test]
fn what_leaves_rows_alone_copies_nothing_again() {
    let mut green = copied();
    assert_eq!(run(&mut green, unit(1, 1), unit(1, 2)), 0, "a column comes in");
    assert_eq!(run(&mut green, unit(2, 2), unit(2, 2)), 0, "the table is written anew while nobody looks");
    assert_eq!(run(&mut green, unit(2, 2), unit(3, 2)), 0, "and again while somebody does");
    assert_eq!(run(&mut green, unit(3, 4), unit(3, 4)), 0, "another column comes in");
    assert_eq!(run(&mut green, unit(3, 4), unit(5, 6)), 0, "a column that no route reads gets another type");
    let statistics = || marked(5, 6, Some((1, 2)));
    assert_eq!(run(&mut green, statistics(), statistics()), 0, "a description is written, and no row");
    assert_eq!(run(&mut green, marked(7, 6, Some((1, 2))), marked(7, 6, Some((1, 2)))), 0, "no row's values");
}

/// Where a file and the descriptions of columns are written anew the values may be others, whatever their type is.
#[test]
fn a_table_that_is_altered_and_written_anew_is_copied_again() {
    let altered = || marked(2, 1, Some((1, 2)));
    assert_eq!(run(&mut copied(), unit(1, 1), altered()), 1);
    assert_eq!(run(&mut copied(), altered(), altered()), 1, "also while nobody looks");
}

/// A column that was dropped and added again holds nothing of what it held, and neither a row nor the schema shows it.
#[test]
fn a_table_whose_column_was_added_again_is_copied_again() {
    let again = || marked(1, 2, Some((2, 2)));
    assert_eq!(run(&mut copied(), unit(1, 1), again()), 1);
    assert_eq!(run(&mut copied(), again(), again()), 1, "also while nobody looks");
    let mut green = copied();
    assert_eq!(run(&mut green, unit(1, 1), marked(1, 3, None)), 0, "it is gone, and nothing can be compared");
    assert_eq!(run(&mut green, marked(4, 3, None), again()), 1, "what was known before it went counts");
}

/// A column may be renamed, written anew and named back while the catalog is looked at in between.
#[test]
fn a_column_is_known_again_that_had_another_name_for_a_while() {
    let back = || marked(2, 1, Some((1, 2)));
    let mut green = copied();
    assert_eq!(run(&mut green, unit(1, 1), marked(1, 3, None)), 0);
    assert_eq!(run(&mut green, marked(2, 3, None), marked(2, 3, None)), 0, "written anew under that name");
    assert_eq!(run(&mut green, back(), back()), 1);
}

/// What is read again by key was read before the table was altered: a change of its row would be completed from that.
#[test]
fn what_was_read_by_key_before_a_table_was_altered_is_read_again() {
    let (_, saved) = copied().claim();
    let heals = vec![(RouteId(0), HealKey::same(Key::from_texts([&b"1"[..]])))];
    let mut core = core(Saved { heals, unseen: Some(Vec::new()), ..saved.unwrap() }, unit(1, 1));
    let by_key = |job: &ReadJob| matches!(job.request.scope, ChunkScope::Keys { .. });
    let first = core.next_read().filter(by_key).expect("a chunk by key");
    let snapshot = Snapshot::new(Xid::new(3), Xid::new(3), Vec::new());
    let read = ChunkRows { snapshot, filenode: 1, fingerprint: 1, rows: Vec::new() };
    assert!(core.on_chunk(first.request.id, ChunkOutcome::Read(read)), "its marker is wanted");
    core.asking_units();
    core.on_units(vec![marked(2, 1, Some((1, 2)))]).unwrap();
    let again = core.next_read().filter(by_key).expect("a chunk by key once more");
    assert_ne!(again.request.id, first.request.id);
}

/// A commit can be streamed before it is visible: a look at the catalog then does not show yet what it attached, and its
/// rows must neither stop the run nor be left out.
#[test]
fn a_leaf_is_looked_for_until_its_transaction_is_visible() {
    let (_, saved) = copied().claim();
    let root = Unit { root: UnitId::new(6, RouteId(0)), ..unit(1, 1) };
    let leaf = Unit { id: UnitId::new(9, RouteId(0)), ..root.clone() };
    let mut core = core(Saved { unseen: Some(Vec::new()), ..saved.unwrap() }, root.clone());
    core.on_event(StreamEvent::Begin { commit: Lsn::new(20), commit_time_us: 0, xid: 5 }).unwrap();
    let relation = Relation {
        id: RelationId(9),
        name: leaf.name.clone(),
        identity: ReplicaIdentity::Default,
        columns: vec![Column { name: "id".into(), type_oid: 23, type_modifier: -1, in_identity: true }],
    };
    let event = StreamEvent::Relation(relation.into());
    assert!(core.needs_catalog(&event) && core.wants_units());
    core.asking_units();
    core.on_units(vec![root.clone()]).unwrap();
    assert!(core.awaits_look() && core.wants_snapshot(), "that look was too early");
    assert!(!core.wants_units(), "and so would the next one be");
    core.on_snapshot(&Snapshot::new(Xid::new(6), Xid::new(6), Vec::new()));
    assert!(core.wants_units());
    core.asking_units();
    core.on_units(vec![root, leaf]).unwrap();
    assert!(!core.awaits_look() && !core.needs_catalog(&event));
    core.on_event(event).unwrap();
}

/// The same with the key among the columns that were written.
fn rekeyed(filenode: u32, marks: (u64, u64), keys: u64) -> Unit {
    let mut unit = marked(filenode, 1, Some(marks));
    unit.marks = unit.marks.map(|marks| ColumnMarks { keys, ..marks });
    unit
}

/// Promise 1: a key that was computed anew leaves rows on green under keys that blue no longer has, and no copy removes them.
#[test]
fn a_rewritten_key_stops_the_run_until_its_table_is_to_be_copied_again() {
    for altered in [|| rekeyed(2, (1, 2), 2), || rekeyed(1, (2, 2), 2)] {
        let mut green = copied();
        let (_, saved) = green.claim();
        let mut running = core(saved.unwrap(), unit(1, 1));
        let failure = running.on_units(vec![altered()]).unwrap_err();
        assert_eq!(failure.class(), Class::SchemaChange);
        assert!(failure.to_string().starts_with("the key of public.t was rewritten"), "{failure}");
        let remedy = failure.remedy_text().unwrap();
        assert!(
            remedy.contains("TRUNCATE \"public\".\"t\"") && remedy.contains("--recopy public.t"),
            "{remedy}"
        );
        for (recopy, asked, starts) in [(false, false, false), (true, false, false), (true, true, true)] {
            let (_, saved) = green.claim();
            let core = started(saved.unwrap(), vec![altered()], (recopy, asked), DetachPolicy::Stop);
            assert_eq!(core.is_ok(), starts, "copied again: {recopy}, as an operator asked: {asked}");
        }
    }
}

/// A note about a column of the key moves no row, and neither does VACUUM FULL at another time.
#[test]
fn a_key_that_is_only_noted_about_stops_nothing() {
    let mut green = copied();
    let noted = || rekeyed(1, (1, 2), 2);
    assert_eq!(run(&mut green, noted(), noted()), 0, "SET NOT NULL");
    assert_eq!(run(&mut green, rekeyed(2, (1, 2), 2), rekeyed(2, (1, 2), 2)), 0, "VACUUM FULL");
}

/// A leaf of the table, with a condition.
fn leaf(membership: u64) -> Unit {
    Unit { root: UnitId::new(6, RouteId(0)), membership, predicate: Some("(id < 5)".into()), ..unit(1, 1) }
}

/// A green whose table consists of that leaf, and is copied.
fn gathered() -> Green {
    let mut green = copied();
    let (mut session, _) = green.claim();
    session.record(&mut green, &LedgerEntry::Plan(leaf(1))).unwrap();
    session.record(&mut green, &LedgerEntry::Complete(RouteId(0))).unwrap();
    green
}

/// Promise 1: what happened to a leaf while it was detached was not published. Nobody passes that over in silence.
#[test]
fn a_leaf_that_was_attached_again_stops_the_run() {
    let mut green = gathered();
    let mut begin = |asked: bool, on_detach| {
        let (_, saved) = green.claim();
        let saved = Saved { unseen: Some(Vec::new()), ..saved.unwrap() };
        started(saved, vec![leaf(2)], (asked, asked), on_detach)
    };
    for on_detach in [DetachPolicy::Stop, DetachPolicy::Delete] {
        let failure = begin(false, on_detach).unwrap_err();
        let text = format!("{failure} {}", failure.remedy_text().unwrap());
        for words in ["public.t was detached", "attached again", "TRUNCATE", "--recopy public.t"] {
            assert!(text.contains(words), "`{words}` is not in: {text}");
        }
        assert!(begin(true, on_detach).is_ok(), "its rows have been deleted by hand");
    }
}

/// A leaf that has left, with all that it published, may come back to another route: its relation is looked for again.
#[test]
fn a_leaf_that_has_left_is_looked_for_again() {
    let mut green = gathered();
    let (_, saved) = green.claim();
    let saved = Saved { unseen: Some(Vec::new()), ..saved.unwrap() };
    let mut core = started(saved, vec![leaf(1)], (false, false), DetachPolicy::Delete).unwrap();
    let name = TableName::new("public", "t");
    let identity = ReplicaIdentity::Default;
    let relation = Relation { id: RelationId(7), name, identity, columns: Vec::new() };
    let announced = StreamEvent::Relation(relation.into());
    assert!(!core.needs_catalog(&announced), "it is known where it belongs");
    core.on_units(Vec::new()).unwrap();
    let markers = core.markers_to_emit();
    commit_marker(&mut core, &markers[0].to_string());
    core.on_event(StreamEvent::Begin { commit: Lsn::new(40), commit_time_us: 0, xid: 6 }).unwrap();
    assert!(core.needs_catalog(&announced), "nobody knows where it belongs by now");
}

/// Promise 1: the rows of a default leaf that has left are told by its condition, after a restart by the one that green
/// remembers. Where that is from before other leaves were attached, theirs go too, and nothing copies them again.
#[test]
fn a_narrower_condition_is_remembered_before_anything_is_read() {
    let default = |values: &str| Unit { predicate: Some(format!("(NOT (id = ANY ({values})))")), ..leaf(1) };
    let mut green = copied();
    let (mut session, _) = green.claim();
    session.record(&mut green, &LedgerEntry::Plan(default("1"))).unwrap();
    assert_eq!(run(&mut green, default("1, 2"), default("1, 2")), 0, "it is not planned again");
    let (_, saved) = green.claim();
    let saved = Saved { unseen: Some(Vec::new()), ..saved.unwrap() };
    let other = Unit { id: UnitId::new(9, RouteId(0)), ..leaf(2) };
    let mut core = started(saved, vec![other], (false, false), DetachPolicy::Delete).unwrap();
    let marker = core.markers_to_emit()[0];
    commit_marker(&mut core, &marker.to_string());
    let batches = std::iter::from_fn(|| core.next_work());
    let removed =
        batches.flat_map(|work| if let Work::Batch(batch) = work { batch.changes } else { Vec::new() });
    let conditions = removed.filter_map(|change| match change {
        RowChange::TruncateLeaf { predicate, .. } => Some(predicate),
        _ => None,
    });
    assert_eq!(conditions.collect::<Vec<_>>(), ["(NOT (id = ANY (1, 2)))", "(((id < 5)) IS NOT TRUE)"]);
}

/// A transaction that carries nothing but a marker.
fn commit_marker(core: &mut Core, marker: &str) {
    core.on_event(StreamEvent::Begin { commit: Lsn::new(20), commit_time_us: 0, xid: 5 }).unwrap();
    let message = StreamEvent::Message {
        prefix: "understudy/t".into(),
        content: marker.to_owned().into_bytes().into(),
        transactional: true,
    };
    core.on_event(message).unwrap();
    core.on_event(StreamEvent::Commit { commit: Lsn::new(20), end: Lsn::new(30) }).unwrap();
}

/// The last changes of a table that has left the migration are passed over, and those of no other strange one.
#[test]
fn last_changes_of_departed_tables_stop_nothing() {
    for (departed, passed) in [(vec![RelationId(9)], true), (vec![RelationId(8)], false)] {
        let (_, saved) = copied().claim();
        let saved = Saved { departed, unseen: Some(Vec::new()), ..saved.unwrap() };
        let mut core = core(saved, unit(1, 1));
        let name = TableName::new("public", "other");
        let relation =
            Relation { id: RelationId(9), name, identity: ReplicaIdentity::Default, columns: Vec::new() };
        core.on_event(StreamEvent::Begin { commit: Lsn::new(20), commit_time_us: 0, xid: 5 }).unwrap();
        assert_eq!(core.on_event(StreamEvent::Relation(relation.into())).is_ok(), passed);
    }
}
