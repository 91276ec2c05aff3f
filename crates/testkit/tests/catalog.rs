//! The core and what it knows of blue's catalog, through restarts: no table is copied again that need not be.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says so")]

use understudy_contract::{GreenTable, LedgerEntry, Lineage, Unit};
use understudy_model::{Checkpoint, Lsn, ReplicaIdentity, RouteId, Snapshot, TableName, UnitId, Xid};
use understudy_replicate::{Core, CoreSettings, CoreStart, DetachPolicy, Rules, Work};
use understudy_testkit::green::Green;
use understudy_transform::{BlueTable, RouteSpec};

fn route() -> RouteSpec {
    let name = TableName::new("public", "t");
    let table = BlueTable { name: name.clone(), columns: vec!["id".into()], key: vec!["id".into()] };
    RouteSpec::compile(RouteId(0), &table, name, None).unwrap()
}

fn unit(filenode: u32, fingerprint: u64) -> Unit {
    Unit {
        id: UnitId(7),
        route: RouteId(0),
        root: UnitId(7),
        name: TableName::new("public", "t"),
        filenode,
        fingerprint,
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

/// Runs the sidecar from one look at the catalog to another, and returns how many copies it has planned.
fn run(green: &mut Green, at_start: Unit, later: Unit) -> usize {
    let (mut session, saved) = green.claim();
    let settings = CoreSettings {
        chunk_bytes: 8192,
        chunk_bytes_max: 8192,
        window_bytes_max: 8192,
        windows_max: 1,
        batch_changes_max: 700,
        batch_bytes_max: 1 << 20,
        on_detach: DetachPolicy::Stop,
        nonce_base: 1,
        rules: Rules::all(),
    };
    let start = CoreStart {
        routes: vec![route()],
        units: vec![at_start],
        units_before: Vec::new(),
        snapshot: Snapshot::new(Xid::new(3), Xid::new(3), Vec::new()),
        saved: saved.unwrap(),
        slot_is_new: false,
        publication_changed: false,
        recopy: Vec::new(),
        recopy_asked: Vec::new(),
    };
    let mut core = Core::new(settings, start).unwrap();
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
}

/// Where both happen at once the values themselves may have changed.
#[test]
fn a_table_that_is_altered_and_written_anew_is_copied_again() {
    let mut green = copied();
    assert_eq!(run(&mut green, unit(1, 1), unit(2, 2)), 1);
    assert_eq!(run(&mut copied(), unit(2, 2), unit(2, 2)), 1, "also while nobody looks");
}
