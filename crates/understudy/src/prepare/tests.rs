//! Every gap between what is remembered and what is there is refused, and nothing else.

use understudy_contract::{ColumnMarks, Lineage};
use understudy_model::{Checkpoint, ReplicaIdentity, UnitId};
use understudy_postgres::preflight::KnownRoute;
use understudy_postgres::source::publication::PublicationTable;
use understudy_transform::expr::{Modifier, SqlType};
use understudy_transform::{BlueTable, ColumnSource, GreenColumn, GreenShape, Mapping, Requested};

use super::*;

fn lineage() -> Lineage {
    Lineage {
        system_id: 7,
        timeline: 2,
        database: "shop".into(),
        slot: "understudy_shop".into(),
        publication: Some("10.700".into()),
    }
}

fn slot(confirmed: u64) -> SlotState {
    SlotState {
        plugin: Some("pgoutput".into()),
        database: Some("shop".into()),
        active_pid: None,
        restart: None,
        confirmed: Some(Lsn::new(confirmed)),
        wal_status: Some("reserved".into()),
        safe_wal_bytes: None,
        invalidation_reason: None,
        failover: false,
    }
}

fn route(name: &str) -> RouteSpec {
    of_table(&BlueTable::named(TableName::new("public", name), &["id"], &["id"]))
}

fn of_table(table: &BlueTable) -> RouteSpec {
    RouteSpec::compile(RouteId(0), table, (table.name.clone(), None), Mapping::default()).unwrap()
}

fn saved(checkpoint: u64) -> Saved {
    saved_of(&route("t"), checkpoint)
}

/// What is remembered of a route that is copied.
pub(crate) fn saved_of(spec: &RouteSpec, checkpoint: u64) -> Saved {
    Saved {
        lineage: lineage(),
        checkpoint: Checkpoint::at_commit_end(Lsn::new(checkpoint)),
        unseen: None,
        routes: vec![SavedRoute {
            route: Some(RouteId(0)),
            source: spec.source.clone(),
            target: spec.target.clone(),
            fingerprint: spec.fingerprint(),
            complete: true,
            published: Some("11.700".into()),
        }],
        units: Vec::new(),
        departed: Vec::new(),
        heals: Vec::new(),
        cursor: None,
    }
}

#[test]
fn a_slot_behind_or_at_the_checkpoint_goes_on() {
    for confirmed in [50, 100] {
        let found = beginning((Some(&saved(100)), &Memory::Green), "understudy_shop", Some(&slot(confirmed)));
        assert_eq!(found.unwrap(), Beginning::GoOn);
    }
    assert_eq!(beginning((None, &Memory::Green), "understudy_shop", None).unwrap(), Beginning::Fresh);
    assert_eq!(
        beginning((Some(&saved(0)), &Memory::Green), "understudy_shop", Some(&slot(9))).unwrap(),
        Beginning::Unfinished
    );
}

/// F9, F10: a slot that was recreated, moved or lost is a gap, and a gap is never skipped.
#[test]
fn every_gap_is_refused_with_a_remedy() {
    let lost = SlotState { wal_status: Some("lost".into()), ..slot(50) };
    let gaps = [
        beginning((None, &Memory::Green), "understudy_shop", Some(&slot(1))),
        beginning((Some(&saved(100)), &Memory::Green), "understudy_shop", None),
        beginning((Some(&saved(100)), &Memory::Green), "understudy_shop", Some(&lost)),
        beginning((Some(&saved(100)), &Memory::Green), "understudy_shop", Some(&slot(101))),
    ];
    let mistyped = Memory::Log { topic_prefix: "shpo".to_owned() };
    let mistyped = beginning((None, &mistyped), "understudy_shop", Some(&slot(1)));
    let text = mistyped.as_ref().unwrap_err();
    assert!(text.to_string().contains("prefix shpo") && !text.to_string().contains("green"), "{text}");
    for gap in gaps.into_iter().chain([mistyped]) {
        let failure = gap.unwrap_err();
        assert_eq!(failure.class(), Class::Diverged, "{failure}");
        assert!(failure.remedy_text().is_some(), "{failure}");
    }
}

#[test]
fn a_changed_mapping_needs_a_new_copy() {
    let mut known = saved(100);
    known.routes[0].fingerprint = "another".into();
    let routes = [route("t")];
    assert!(compare_routes(&known, &routes, &[]).is_err());
    let again = compare_routes(&known, &routes, &[TableName::new("public", "t")]).unwrap();
    assert_eq!(again.recopied, [RouteId(0)]);
    assert!(compare_routes(&known, &routes, &[TableName::new("public", "typo")]).is_err());
}

/// A failover has every route of the file recorded. One that was refused before, as green holds rows of it, still is.
#[test]
fn a_route_that_was_never_followed_still_joins() {
    let mut known = saved(100);
    known.routes[0].published = None;
    let joins = RouteChanges { added: vec![RouteId(0)], recopied: vec![] };
    assert_eq!(compare_routes(&known, &[route("t")], &[]).unwrap(), joins);
    known.routes[0].fingerprint = "another".into();
    let recopy = [TableName::new("public", "t")];
    assert_eq!(compare_routes(&known, &[route("t")], &recopy).unwrap(), joins);
}

#[test]
fn columns_that_come_in_have_their_table_copied_again() {
    let wider = of_table(&BlueTable::named(TableName::new("public", "t"), &["id", "more"], &["id"]));
    let changes = compare_routes(&saved(100), &[wider], &[]).unwrap();
    assert_eq!(changes, RouteChanges { added: vec![], recopied: vec![RouteId(0)] });
}

fn unit() -> Unit {
    Unit {
        id: UnitId::new(20, RouteId(0)),
        route: RouteId(0),
        root: UnitId::new(10, RouteId(0)),
        name: TableName::new("public", "t_1"),
        filenode: 20,
        fingerprint: 1,
        marks: Some(ColumnMarks { places: 1, written: 1, keys: 1 }),
        membership: 1,
        blocks: 1,
        block_bytes: 8192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: Some("id < 9".into()),
    }
}

/// Promise 2: `--recopy` is no proof that the rows have gone which the operator was told to remove; and where nobody was
/// told to, it works on a table that is full.
#[test]
fn what_no_copy_replaces_must_have_been_removed() {
    let known = SavedUnit {
        id: UnitId::new(20, RouteId(0)),
        route: RouteId(0),
        name: TableName::new("public", "t_1"),
        filenode: 20,
        fingerprint: 1,
        marks: unit().marks,
        membership: 1,
        blocks: 1,
        predicate: unit().predicate,
        done: Vec::new(),
        rows_done: 0,
    };
    let must = |predicate: Option<&str>, now: &[Unit], on_detach: OnDetach| {
        let known = SavedUnit { predicate: predicate.map(str::to_owned), ..known.clone() };
        let saved = Saved { units: vec![known], ..saved(100) };
        let routes = [route("t")];
        assert_eq!(to_be_emptied(&saved, (&routes, now), &[], on_detach), [], "nobody has asked");
        to_be_emptied(&saved, (&routes, now), &[RouteId(0)], on_detach) == [RouteId(0)]
    };
    let marks = |places, keys| Some(ColumnMarks { places, written: 2, keys });
    let (leaf, stop, delete) = (Some("id < 9"), OnDetach::Stop, OnDetach::Delete);
    assert!(!must(leaf, &[unit()], stop));
    let rewritten = Unit { filenode: 21, marks: marks(1, 1), ..unit() };
    assert!(!must(leaf, &[rewritten], stop), "another column was rewritten");
    let noted = Unit { marks: marks(1, 2), ..unit() };
    assert!(!must(leaf, std::slice::from_ref(&noted), stop), "no row has moved");
    assert!(must(leaf, &[Unit { filenode: 21, ..noted }], delete));
    assert!(must(leaf, &[Unit { marks: marks(2, 2), ..unit() }], delete), "added anew");
    let back = [Unit { membership: 2, ..unit() }];
    assert!(must(leaf, &back, stop) && !must(leaf, &back, delete), "its rows are deleted");
    assert!(must(None, &back, delete) && must(None, &[], delete), "nobody knows which they are");
    assert!(!must(leaf, &[], stop), "the run stops by itself");
}

/// Promise 2: a new copy writes no row under a key that the mapping no longer gives, and removes none.
#[test]
fn rows_under_other_keys_must_have_been_removed() {
    let renamed = Requested::Column("number".into(), ColumnSource::Column("id".into()));
    let mapping = Mapping { columns: Some(&[renamed]), filter: None };
    let table = BlueTable::named(TableName::new("public", "t"), &["id"], &["id"]);
    let target = (table.name.clone(), None);
    let other = RouteSpec::compile(RouteId(0), &table, target, mapping).unwrap();
    let asked = |route: RouteSpec| to_be_emptied(&saved(100), (&[route], &[]), &[RouteId(0)], OnDetach::Stop);
    assert_eq!((asked(route("t")), asked(other)), (vec![], vec![RouteId(0)]));
}

/// Promise 1: rows under the constant that a route had before are in the way of its new copy; those of its neighbours never.
#[test]
fn rows_under_a_former_constant_are_in_the_way() {
    let merged = |id: u16, kind: &str| {
        let kind = ColumnSource::Constant(Some(kind.to_owned()));
        let requested = [Requested::Column("kind".into(), kind), Requested::Rest];
        let table = BlueTable::named(TableName::new("public", format!("t{id}")), &["id"], &["id"]);
        let column = |name: &str, ty| GreenColumn { name: name.to_owned(), ty, modifier: Modifier::NONE };
        let green = GreenShape {
            columns: vec![column("kind", SqlType::Text), column("id", SqlType::Int4)],
            keys: vec![vec!["kind".to_owned(), "id".to_owned()]],
        };
        let mapping = Mapping { columns: Some(&requested), filter: None };
        let target = (TableName::new("public", "all"), Some(&green));
        RouteSpec::compile(RouteId(id), &table, target, mapping).unwrap()
    };
    let routes = [merged(0, "a"), merged(1, "b")];
    let saved_as = |spec: &RouteSpec| {
        let mut saved = saved(100);
        saved.routes[0].fingerprint = spec.fingerprint();
        saved
    };
    let own = rows_in_the_way(&saved_as(&routes[0]), &routes, &routes[0]);
    assert_eq!(own.as_deref(), Some("\"kind\" = 'a'"));
    let former = rows_in_the_way(&saved_as(&merged(0, "z")), &routes, &routes[0]);
    assert_eq!(former.as_deref(), Some("(\"kind\" = 'b') IS NOT TRUE"));
    assert_eq!(rows_in_the_way(&saved(100), &routes[..1], &routes[0]), None);
}

fn there(version: &str, tables: &[(&str, &str)]) -> PublicationState {
    let table = |(name, version): &(&str, &str)| PublicationTable {
        version: (*version).to_owned(),
        name: TableName::new("public", *name),
        some_columns: false,
        some_rows: false,
    };
    PublicationState {
        version: version.to_owned(),
        publishes: [true; 4],
        via_root: false,
        all_tables: false,
        schemas: vec![],
        tables: tables.iter().map(table).collect(),
    }
}

/// F46: a table that was published late, or not at all for a while, is never silently incomplete.
#[test]
fn publication_and_file_are_brought_together() {
    let routes = [route("t")];
    let (t, old) = (TableName::new("public", "t"), TableName::new("public", "old"));
    let changes = compare_publication(&routes, &there("10.700", &[("old", "1.1")]));
    assert_eq!(changes, PublicationChanges { add: vec![t.clone()], drop: vec![old], mend: vec![] });
    let mut partial = there("10.700", &[("t", "11.700")]);
    assert_eq!(compare_publication(&routes, &partial), PublicationChanges::default());
    partial.tables[0].some_rows = true;
    assert_eq!(compare_publication(&routes, &partial).mend, [t]);
}

/// Promise 2: a gap is closed by a new copy of all that it concerns, and of nothing less.
#[test]
fn what_was_missed_is_copied_anew_or_refused() {
    let (followed, t) = (followed(&saved(100), "p", false), TableName::new("public", "t"));
    let missed = |now: &PublicationState, recopy: &[TableName]| missed(&followed, Some(now), recopy);
    assert_eq!(missed(&there("10.700", &[("t", "11.700")]), &[]).unwrap(), []);
    let put_back = there("10.700", &[("t", "12.800")]);
    let refusal = missed(&put_back, &[]).unwrap_err();
    assert!(
        refusal.class() == Class::Diverged && refusal.remedy_text().unwrap().contains("--recopy public.t")
    );
    assert!(missed(&put_back, &[TableName::new("public", "other")]).is_err());
    assert_eq!(missed(&put_back, std::slice::from_ref(&t)).unwrap(), std::slice::from_ref(&t));
    let altered = there("10.900", &[("t", "11.700")]);
    assert_eq!(missed(&altered, std::slice::from_ref(&t)).unwrap(), std::slice::from_ref(&t));
    let still = PublicationState { publishes: [true, false, true, true], ..altered };
    assert!(missed(&still, std::slice::from_ref(&t)).is_err(), "a new copy would miss changes too");
    let replaced = there("20.900", &[("t", "21.900")]);
    assert!(missed(&replaced, std::slice::from_ref(&t)).is_err(), "blue cannot send what came before");

    let mut saved = saved(100);
    forget(&mut saved, &[RouteId(0)]);
    assert_eq!(compare_routes(&saved, &[route("t")], &[t]).unwrap().added, [RouteId(0)]);
}

/// A route is looked at before it joins and whenever its mapping has changed, and only then.
#[test]
fn preflight_is_for_what_is_new() {
    let spec = route("t");
    let known = KnownRoute {
        source: spec.source.clone(),
        target: spec.target.clone(),
        fingerprint: spec.fingerprint(),
        complete: true,
        published: Some("11.700".into()),
    };
    let mut known = Known { started: true, publication: None, routes: vec![known] };
    assert_eq!(unfamiliar(&known, std::slice::from_ref(&spec)), []);
    known.routes[0].fingerprint = "another".into();
    assert_eq!(unfamiliar(&known, std::slice::from_ref(&spec)), [RouteId(0)]);
    known.routes.clear();
    assert_eq!(unfamiliar(&known, &[spec]), [RouteId(0)]);
}
