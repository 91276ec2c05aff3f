//! What an apply makes of a log, event by event.

mod joins;
mod shared;

use std::collections::HashMap;
use std::sync::Arc;

use understudy_contract::{
    Applied, Batch, ChunkDone, Class, Cursor, Failure, LedgerEntry, Lineage, LogEvent, LoggedChunk,
    LoggedEntry, LoggedKind, PlacedChunk, PlacedKind, Saved, SavedRoute, SavedUnit, Unit, Wanted,
};
use understudy_model::{
    BlockRange, Checkpoint, Column, Ctid, HealKey, Key, Lsn, OldImage, Relation, RelationId, ReplicaIdentity,
    RouteId, RowChange, SourceChange, TableName, Tuple, TupleBuilder, UnitId, Value,
};
use understudy_transform::expr::{Collation, Modifier, Scope, ScopeColumn, SqlType};
use understudy_transform::{BlueTable, ColumnSource, GreenShape, Mapping, Requested, RouteSpec};

use super::{LogCore, LogSettings, LogStart};
use crate::core::Work;
use crate::rules::{Rule, Rules};

const T: RelationId = RelationId(7);

fn name(table: &str) -> TableName {
    TableName::new("public", table)
}

/// A route of a table `(a, b, n)` with the key `(a, b)`.
fn route(id: u16, table: &str, (requested, filter): (Option<&[Requested]>, Option<&str>)) -> RouteSpec {
    let columns = ["a", "b", "n"];
    let mut source = BlueTable::named(name(table), &columns, &["a", "b"]);
    source.types = vec![(25, -1); 3];
    source.scope = scope(&name(table));
    let target = TableName::new("app", format!("{table}_{id}"));
    RouteSpec::compile(RouteId(id), &source, (target, None), Mapping { columns: requested, filter }).unwrap()
}

fn scope(table: &TableName) -> Option<Scope> {
    let column = |name: &str| ScopeColumn {
        name: name.to_owned(),
        ty: SqlType::Text,
        modifier: Modifier::NONE,
        collation: Some(Collation::bytes()),
    };
    Some(Scope {
        table: table.clone(),
        columns: ["a", "b", "n"].map(column).to_vec(),
        types: HashMap::new(),
        collation: Collation::bytes(),
        mask_key: None,
    })
}

fn plain(id: u16, table: &str) -> RouteSpec {
    route(id, table, (None, None))
}

fn computing(id: u16, table: &str) -> RouteSpec {
    let requested = [Requested::Sql("m".into(), "n || 'x'".into()), Requested::Rest];
    route(id, table, (Some(&requested), None))
}

fn at(lsn: u64) -> Checkpoint {
    Checkpoint::at_commit_end(Lsn::new(lsn))
}

fn place(text: &str) -> Cursor {
    Cursor(bytes::Bytes::from(text.to_owned()))
}

fn tuple(values: &[&str]) -> Tuple {
    let mut out = TupleBuilder::default();
    for value in values {
        out.push(&if *value == "*" { Value::Unchanged } else { Value::Text(value.as_bytes().into()) });
    }
    out.finish()
}

fn key(texts: &[&str]) -> Key {
    Key::from_texts(texts.iter().map(|text| text.as_bytes()))
}

fn range(from: u32) -> BlockRange {
    BlockRange { from: Ctid::start_of(from), to: Ctid::start_of(from + 1) }
}

fn unit(oid: u32) -> Unit {
    Unit {
        id: UnitId::new(oid, RouteId(0)),
        route: RouteId(0),
        root: UnitId::new(oid, RouteId(0)),
        name: name("t"),
        filenode: 1,
        fingerprint: 1,
        marks: None,
        membership: 0,
        blocks: 4,
        block_bytes: 8192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: None,
    }
}

/// A green that stands at 100, with these routes planned and one block of each done.
fn saved(planned: &[u16], cursor: Option<&str>) -> Saved {
    let one = |route: &u16| SavedUnit {
        id: UnitId::new(T.0, RouteId(*route)),
        route: RouteId(*route),
        name: name("t"),
        filenode: 1,
        fingerprint: 1,
        marks: None,
        membership: 0,
        blocks: 4,
        predicate: None,
        done: vec![range(0)],
        rows_done: 3,
    };
    let lineage =
        Lineage { system_id: 1, timeline: 1, database: "d".into(), slot: "s".into(), publication: None };
    Saved {
        lineage,
        checkpoint: at(100),
        unseen: None,
        routes: Vec::new(),
        units: planned.iter().map(one).collect(),
        departed: Vec::new(),
        heals: Vec::new(),
        cursor: cursor.map(place),
    }
}

fn completed(planned: &[u16], cursor: Option<&str>) -> Saved {
    let route = |id: &u16| SavedRoute {
        route: Some(RouteId(*id)),
        source: name("t"),
        target: name("t"),
        fingerprint: String::new(),
        complete: true,
        published: None,
    };
    Saved { routes: planned.iter().map(route).collect(), ..saved(planned, cursor) }
}

fn started(routes: Vec<RouteSpec>, saved: Saved) -> Result<LogCore, Failure> {
    start_with(routes, saved, Vec::new())
}

fn start_with(routes: Vec<RouteSpec>, saved: Saved, awaited: Vec<RouteId>) -> Result<LogCore, Failure> {
    let settings = LogSettings { batch_changes_max: 100, batch_bytes_max: 1 << 20, rules: Rules::all() };
    let names = || vec!["a".to_owned(), "b".to_owned()];
    let keys = routes.iter().map(|route| (route.source.clone(), names())).collect();
    LogCore::new(settings, LogStart { routes, keys, saved, compiled_at: Lsn::new(500), awaited })
}

fn table(id: RelationId, table: &str, type_oid: u32) -> LogEvent {
    let column =
        |name: &str| Column { name: name.to_owned(), type_oid, type_modifier: -1, in_identity: name != "n" };
    let columns = ["a", "b", "n"].map(column).to_vec();
    LogEvent::Table(Arc::new(Relation { id, name: name(table), identity: ReplicaIdentity::Default, columns }))
}

fn begin(commit: u64, from_ordinal: u64) -> LogEvent {
    LogEvent::Begin { commit: Lsn::new(commit), commit_time_us: 1, xid: 9, from_ordinal }
}

fn commit(commit: u64) -> LogEvent {
    LogEvent::Commit { commit: Lsn::new(commit), end: Lsn::new(commit + 10) }
}

fn insert(a: &str) -> LogEvent {
    LogEvent::Change(SourceChange::Insert { relation: T, new: tuple(&[a, "b", "n"]) })
}

fn partial(a: &str) -> LogEvent {
    LogEvent::Change(SourceChange::Update { relation: T, old: None, new: tuple(&[a, "b", "*"]) })
}

fn whole(text: &str) -> LogEvent {
    LogEvent::Whole { cursor: place(text) }
}

fn copy(block: u32, lsn: u64, a: &str) -> LogEvent {
    let kind = LoggedKind::Copy { unit: T, range: range(block) };
    LogEvent::Rows(LoggedChunk { table: T, at: at(lsn), kind, rows: vec![tuple(&[a, "b", "n"])] })
}

/// Rows read again: keys by `a`, of which some are gone, and some have a row.
fn heal(lsn: u64, (keys, gone): (&[&str], &[&str]), rows: &[&str]) -> LogEvent {
    let named = |names: &[&str]| names.iter().map(|a| key(&[a, "b"])).collect();
    let kind = LoggedKind::Heal { keys: named(keys), gone: named(gone) };
    let rows = rows.iter().map(|a| tuple(&[a, "b", "n"])).collect();
    LogEvent::Rows(LoggedChunk { table: T, at: at(lsn), kind, rows })
}

fn feed(core: &mut LogCore, events: impl IntoIterator<Item = LogEvent>) -> Result<Vec<Work>, Failure> {
    for event in events {
        core.on_event(event)?;
    }
    core.seal();
    Ok(std::iter::from_fn(|| core.next_work()).collect())
}

fn batches(work: &[Work]) -> Vec<&Batch> {
    work.iter().filter_map(|work| if let Work::Batch(batch) = work { Some(batch) } else { None }).collect()
}

fn chunks(work: &[Work]) -> Vec<&PlacedChunk> {
    work.iter().filter_map(|work| if let Work::Place(chunk) = work { Some(chunk) } else { None }).collect()
}

fn lacks(core: &mut LogCore, route: u16, a: &str) {
    let heals = vec![(RouteId(route), HealKey::same(key(&[a, "b"])))];
    core.on_applied(Applied { heals, ..Applied::default() });
}

fn done(core: &mut LogCore, chunk: &PlacedChunk) {
    core.on_chunk_done(&ChunkDone { id: chunk.id, rows: chunk.rows.len() as u64 });
}

fn class(result: Result<Vec<Work>, Failure>) -> Option<Class> {
    result.err().map(|failure| failure.class())
}

/// Promise 1: what green had when it crashed is not applied twice, and what came after it is not passed over.
#[test]
fn what_green_has_is_passed_over() {
    let mut core = started(vec![plain(0, "t")], completed(&[0], Some("x"))).unwrap();
    let events = [table(T, "t", 25), begin(80, 0), insert("1"), commit(80), whole("a")];
    assert_eq!(feed(&mut core, events).unwrap(), [], "it ended before the checkpoint");
    let work = feed(&mut core, [begin(100, 0), insert("2"), commit(100), whole("b")]).unwrap();
    assert_eq!(batches(&work)[0].changes.len(), 1, "one may begin where the last one ended");
    assert_eq!(batches(&work)[0].cursor, Some(place("b")));
}

/// Promise 1: rows of a leaf that the capture removed on its own stand at the checkpoint of the transaction before. They are
/// removed also where that one has been applied already, and not before every chunk is on green: those that come again
/// after a crash would otherwise be lost to it.
#[test]
fn what_the_capture_did_on_its_own_is_not_taken_for_what_came_before() {
    let mut core = started(vec![plain(0, "t")], completed(&[0], Some("x"))).unwrap();
    let truncate = || LogEvent::TruncateLeaf { table: T, predicate: "(a = '1')".into() };
    let work = feed(&mut core, [table(T, "t", 25), copy(2, 100, "1"), whole("a"), begin(100, 0)]).unwrap();
    assert!(core.must_wait(&truncate()));
    done(&mut core, chunks(&work)[0]);
    assert!(!core.must_wait(&truncate()));
    let end = LogEvent::Commit { commit: Lsn::new(100), end: Lsn::new(100) };
    let work = feed(&mut core, [truncate(), end, whole("b")]).unwrap();
    let batch = batches(&work)[0];
    assert!(matches!(batch.changes[..], [RowChange::TruncateLeaf { .. }]));
    assert_eq!((batch.checkpoint(), &batch.cursor), (Some(at(100)), &Some(place("b"))));
}

/// Promise 1, (a): a chunk of one route is still on its way while other routes go on: the checkpoint says to read it again.
/// When it comes again it is placed where green stands by then; one that green has is not.
#[test]
fn a_chunk_comes_again_until_it_is_on_green() {
    let routes = || vec![plain(0, "t"), plain(1, "t")];
    let mut core = started(routes(), saved(&[0, 1], Some("x"))).unwrap();
    let events = [table(T, "t", 25), copy(0, 100, "1"), whole("a")];
    assert_eq!(feed(&mut core, events).unwrap(), [], "block 0 is done for both routes");
    let work = feed(&mut core, [copy(1, 100, "1"), whole("b")]).unwrap();
    let placed = chunks(&work);
    assert_eq!(placed.iter().map(|chunk| chunk.route.0).collect::<Vec<_>>(), [0, 1]);
    done(&mut core, placed[0]);
    let later =
        |commit_at| [begin(commit_at, 0), insert("9"), commit(commit_at), whole(&format!("w{commit_at}"))];
    let work = feed(&mut core, later(120)).unwrap();
    assert_eq!(batches(&work)[0].cursor, Some(place("a")), "one of them is not on green yet");
    done(&mut core, placed[1]);
    let work = feed(&mut core, later(140)).unwrap();
    assert_eq!(batches(&work)[0].cursor, Some(place("w140")));

    let mut again = saved(&[0, 1], Some("a"));
    again.checkpoint = at(130);
    again.units[0].done.push(range(1));
    let mut core = started(routes(), again).unwrap();
    let events = [table(T, "t", 25), copy(1, 100, "1"), whole("b")].into_iter().chain(later(120));
    let work = feed(&mut core, events).unwrap();
    let placed = chunks(&work);
    assert_eq!(placed.iter().map(|chunk| (chunk.route.0, chunk.at)).collect::<Vec<_>>(), [(1, at(130))]);
    assert_eq!(batches(&work).len(), 0);
}

/// Promise 1: a place within a transaction is no place to go on from before that has ended, also where nothing of it is ours.
#[test]
fn no_checkpoint_names_a_place_within_an_open_transaction() {
    let mut core = started(vec![plain(0, "t")], completed(&[0], Some("x"))).unwrap();
    let other = || LogEvent::Change(SourceChange::Insert { relation: RelationId(8), new: tuple(&["1"]) });
    let events = [
        table(T, "t", 25),
        table(RelationId(8), "other", 25),
        whole("a"),
        begin(110, 0),
        insert("1"),
        commit(110),
        begin(130, 0),
        other(),
        whole("b"),
    ];
    events.into_iter().for_each(|event| core.on_event(event).unwrap());
    core.seal_here();
    let Some(Work::Batch(batch)) = core.next_work() else { panic!("the first transaction is whole") };
    assert_eq!((batch.checkpoint(), batch.cursor), (Some(at(120)), Some(place("a"))));
    let work = feed(&mut core, [begin(130, 1), commit(130), whole("c")]).unwrap();
    assert_eq!(batches(&work)[0].cursor, Some(place("c")));
}

/// Promise 1: a capture that was stopped within a transaction writes all of it again. Each change is applied once; and a log
/// that lacks some, or goes back, is not followed.
#[test]
fn a_transaction_that_comes_again_is_taken_from_where_it_broke_off() {
    let first = || [table(T, "t", 25), begin(110, 0), insert("1"), insert("2"), whole("a")];
    let start = || started(vec![plain(0, "t")], completed(&[0], Some("x"))).unwrap();
    let mut core = start();
    let again =
        || [begin(110, 0), insert("1"), whole("b"), begin(110, 1), insert("2"), insert("3"), commit(110)];
    let work = feed(&mut core, first().into_iter().chain(again()).chain([whole("c")])).unwrap();
    assert_eq!(batches(&work).iter().map(|batch| batch.changes.len()).collect::<Vec<_>>(), [3]);
    let mut begun = start();
    feed(&mut begun, first()).unwrap();
    begun.seal_here();
    let work = feed(&mut begun, again().into_iter().chain([whole("c")])).unwrap();
    assert_eq!(batches(&work).iter().map(|batch| batch.changes.len()).collect::<Vec<_>>(), [2, 1]);
    let twice = [begin(110, 0), insert("1"), commit(110), whole("d")];
    assert_eq!(feed(&mut core, twice).unwrap(), [], "it may also come twice");
    for wrong in [
        vec![begin(110, 3)],
        vec![begin(110, 0), insert("1"), commit(110)],
        // As if a leaf had been detached meanwhile, so that the first change is not written any more.
        vec![begin(110, 0), insert("2"), insert("3")],
        vec![begin(130, 0)],
        vec![commit(90)],
        vec![copy(2, 100, "1")],
    ] {
        let mut core = start();
        feed(&mut core, first()).unwrap();
        core.seal_here();
        assert_eq!(class(feed(&mut core, wrong)), Some(Class::Diverged));
    }
    let vanished = first().into_iter().chain([begin(130, 0), insert("5"), commit(130), whole("b")]);
    let work = feed(&mut start(), vanished).unwrap();
    assert_eq!(batches(&work)[0].changes.len(), 1, "all of it was of leaves that are detached by then");
    let outside = [table(T, "t", 25), insert("1")];
    assert_eq!(class(feed(&mut start(), outside)), Some(Class::Diverged));
    let two = || [table(T, "t", 25), begin(110, 0), insert("1"), commit(110), begin(130, 0), insert("2")];
    let back = [
        begin(110, 0),
        insert("1"),
        commit(110),
        begin(120, 0),
        LogEvent::Commit { commit: Lsn::new(120), end: Lsn::new(120) },
    ];
    let events = two().into_iter().chain(back).chain([begin(130, 0), insert("2"), commit(130), whole("d")]);
    let work = feed(&mut start(), events).unwrap();
    assert_eq!(batches(&work)[0].changes.len(), 2, "those before it may come again with it");
    for wrong in [
        vec![begin(125, 0), insert("9")],
        vec![commit(130), begin(150, 2)],
        vec![commit(130), copy(2, 105, "1")],
    ] {
        assert_eq!(class(feed(&mut start(), two().into_iter().chain(wrong))), Some(Class::Diverged));
    }
}

/// (f): what the capture records of a table is recorded for each route that takes it, and tells nothing to others.
#[test]
fn entries_are_recorded_for_every_route_of_the_table() {
    let mut core = started(vec![plain(0, "t"), plain(1, "t"), plain(2, "u")], saved(&[], None)).unwrap();
    let entry = |entry| [LogEvent::Entry(entry), whole("a")];
    let events = [table(T, "t", 25), table(RelationId(8), "foreign", 25)];
    let events = events.into_iter().chain(entry(LoggedEntry::Plan(unit(T.0))));
    let events = events.chain(entry(LoggedEntry::Plan(unit(8))));
    let events = events.chain(entry(LoggedEntry::Complete { table: T }));
    let work = feed(&mut core, events).unwrap();
    let recorded = work.iter().filter_map(|work| match work {
        Work::Record(LedgerEntry::Plan(unit)) => Some((unit.id.route.0, unit.route.0, unit.root.route.0)),
        Work::Record(LedgerEntry::Complete(route)) => Some((route.0, 9, 9)),
        _ => None,
    });
    assert_eq!(recorded.collect::<Vec<_>>(), [(0, 0, 0), (1, 1, 1), (0, 9, 9), (1, 9, 9)]);
    let progress = core.progress();
    assert_eq!((&progress.incomplete[..], &progress.unplanned[..]), (&[RouteId(2)][..], &[RouteId(2)][..]));
    assert_eq!(core.copy_turns(), 2);
}

/// Promise 1, (b): a plan forgets what is done. It is recorded once no chunk before it can come again, with a checkpoint that
/// names the place before it; what is applied after it names a place beyond it.
#[test]
fn a_plan_does_not_come_again_behind_what_was_applied_after_it() {
    let mut core = started(vec![plain(0, "t")], saved(&[0], Some("x"))).unwrap();
    let plan = || LogEvent::Entry(LoggedEntry::Plan(unit(T.0)));
    let work = feed(&mut core, [table(T, "t", 25), copy(1, 100, "1"), whole("a")]).unwrap();
    assert!(core.must_wait(&plan()));
    done(&mut core, chunks(&work)[0]);
    assert!(!core.must_wait(&plan()));
    let events = [plan(), whole("b"), copy(0, 100, "1"), whole("c")];
    let events = events.into_iter().chain([begin(110, 0), insert("2"), commit(110), whole("d")]);
    let work = feed(&mut core, events).unwrap();
    let Work::Batch(before) = &work[0] else { panic!("a checkpoint comes first") };
    assert_eq!((before.checkpoint(), &before.cursor), (Some(at(100)), &Some(place("a"))));
    assert!(matches!(work[1], Work::Record(LedgerEntry::Plan(_))));
    assert_eq!(chunks(&work).len(), 1, "what was done is not done any more");
    assert_eq!(batches(&work)[1].cursor, Some(place("b")));
}

/// (d): rows that green lacks are asked of the capture, by its names of them; what it reads again is placed for those routes
/// alone that wait for it.
#[test]
fn rows_are_read_again_for_whoever_waits_for_them() {
    let mut turned = plain(1, "t");
    turned.key_source.reverse();
    turned.key = vec![0, 1];
    let routes = vec![plain(0, "t"), turned];
    let mut core = started(routes, completed(&[0, 1], Some("x"))).unwrap();
    let heals = vec![(RouteId(1), HealKey::same(key(&["b", "1"])))];
    core.on_applied(Applied { heals, ..Applied::default() });
    let expected = Wanted { table: name("t"), key: key(&["1", "b"]) };
    assert_eq!((core.wanted(9), core.progress().heals), (vec![expected.clone()], 1));
    assert_eq!(core.wanted(9), [], "once");
    core.ask_again();
    assert_eq!(core.wanted(9), [expected]);
    let work = feed(&mut core, [table(T, "t", 25), heal(100, (&["1", "2"], &[]), &["1", "2"])]).unwrap();
    let placed = chunks(&work);
    assert_eq!(placed.iter().map(|chunk| (chunk.route.0, chunk.rows.len())).collect::<Vec<_>>(), [(1, 1)]);
    assert_eq!(placed[0].kind, PlacedKind::Heal { keys: vec![HealKey::same(key(&["b", "1"]))] });
    done(&mut core, placed[0]);
    assert!(core.is_settled());
}

/// Promise 1, (c): what was read again before green lacked the row is not what it waits for, and what was reported while the
/// chunk was on its way waits on.
#[test]
fn what_was_read_before_a_row_was_lacking_does_not_settle_it() {
    let mut late = completed(&[0], Some("x"));
    late.heals.push((RouteId(0), HealKey::same(key(&["1", "b"]))));
    let mut core = started(vec![plain(0, "t")], late.clone()).unwrap();
    assert_eq!(core.wanted(9).len(), 1, "every run asks anew");
    let events = || [table(T, "t", 25), heal(90, (&["1"], &[]), &["1"]), whole("a")];
    assert_eq!(feed(&mut core, events()).unwrap(), []);
    let mut broken = started(vec![plain(0, "t")], late).unwrap();
    broken.rules = Rules::without(Rule::LogHeals);
    assert_eq!(chunks(&feed(&mut broken, events()).unwrap()).len(), 1, "it takes the rule");
    let work = feed(&mut core, [heal(100, (&["1"], &["1"]), &[]), whole("b")]).unwrap();
    let placed = chunks(&work)[0];
    assert_eq!((placed.rows.len(), &placed.left_out[..]), (0, &[key(&["1", "b"])][..]), "gone from blue");
    lacks(&mut core, 0, "1");
    done(&mut core, placed);
    assert_eq!((core.progress().heals, core.wanted(9).len()), (1, 1));
}

/// Promise 1: a key that the capture has settled without a row is told by changes of the log, if this green was told the
/// whole row by one of them. Otherwise it is asked for again.
#[test]
fn a_key_without_a_row_is_settled_by_a_whole_change_only() {
    let change = |event| [begin(110, 0), event, commit(110), whole("a")];
    let settles = |event: LogEvent| {
        let mut core = started(vec![computing(0, "t")], completed(&[0], Some("x"))).unwrap();
        lacks(&mut core, 0, "1");
        core.wanted(9);
        feed(&mut core, [table(T, "t", 25)].into_iter().chain(change(event))).unwrap();
        let work = feed(&mut core, [heal(120, (&["1"], &[]), &[]), whole("b")]).unwrap();
        (chunks(&work).len(), core.wanted(9).len())
    };
    assert_eq!(settles(insert("1")), (1, 0));
    assert_eq!(settles(partial("1")), (0, 1));
    assert_eq!(settles(insert("2")), (0, 1));
    let old = OldImage::Identity(tuple(&["1", "b", "*"]));
    assert_eq!(settles(LogEvent::Change(SourceChange::Delete { relation: T, old })), (1, 0));
}

/// The capture passes over what is asked for while it copies the table: it is asked once more when the copy is complete.
#[test]
fn rows_are_asked_for_again_once_their_table_is_complete() {
    let mut core = started(vec![plain(0, "t")], saved(&[0], Some("x"))).unwrap();
    lacks(&mut core, 0, "1");
    core.wanted(9);
    let complete = LogEvent::Entry(LoggedEntry::Complete { table: T });
    feed(&mut core, [table(T, "t", 25), complete]).unwrap();
    assert_eq!(core.wanted(9).len(), 1);
}

/// (d): a row of which too little was sent to compute from is recorded as to be read again, in its transaction.
#[test]
fn rows_that_cannot_be_told_are_left_to_green_to_report() {
    let passed = Requested::Column("a".into(), ColumnSource::Column("a".into()));
    let requested = [Requested::Sql("m".into(), "concat(a, n)".into()), passed, Requested::Rest];
    let routes = vec![route(0, "t", (Some(&requested), None)), route(1, "t", (None, Some("n LIKE '1%'")))];
    let mut core = started(routes, completed(&[0, 1], Some("x"))).unwrap();
    let events = [table(T, "t", 25), begin(110, 0), partial("1"), commit(110), whole("a")];
    let work = feed(&mut core, events).unwrap();
    let changes = &batches(&work)[0].changes;
    assert!(matches!(changes[..], [RowChange::Reread { .. }, RowChange::Reread { .. }]), "{changes:?}");
}

/// (e): a route that starts when the rows of its table lie behind in the log cannot be followed from here on, and says so;
/// unless the table is planned later on, and then nothing after that has been passed over.
#[test]
fn a_route_that_begins_midway_is_refused() {
    let routes = || vec![plain(0, "t"), plain(1, "t")];
    let known = started(routes(), completed(&[0], Some("x"))).err().unwrap();
    assert_eq!(known.class(), Class::Configuration);
    assert!(known.remedy_text().unwrap().contains("--recopy public.t"));
    let change = [table(T, "t", 25), begin(110, 0), insert("1"), commit(110)];
    let mut alone = started(vec![plain(0, "t")], saved(&[], Some("x"))).unwrap();
    assert_eq!(class(feed(&mut alone, change.clone())), Some(Class::Configuration));

    let mut awaited = start_with(routes(), completed(&[0], Some("x")), vec![RouteId(1)]).unwrap();
    let plan = LogEvent::Entry(LoggedEntry::Plan(unit(T.0)));
    let later = [whole("a"), plan.clone(), whole("b"), begin(130, 0), insert("2"), commit(130), whole("c")];
    let work = feed(&mut awaited, change.into_iter().chain(later)).unwrap();
    let changes = batches(&work).iter().map(|batch| batch.changes.len()).collect::<Vec<_>>();
    assert_eq!(changes, [1, 2], "one route, then both: {work:?}");

    let mut late = started(vec![plain(0, "t"), plain(1, "u")], completed(&[1], Some("x"))).unwrap();
    let events = [table(T, "t", 25), plan, whole("a"), begin(80, 0), insert("1"), commit(80)];
    assert_eq!(class(feed(&mut late, events)), Some(Class::Configuration), "that change is lost to it");
}

/// Promise 1: a key of green that is made of more than blue's is told by the whole old row, which the log has where blue has
/// sent it; without that no row is guessed at.
#[test]
fn a_route_that_needs_old_rows_has_them_from_the_log() {
    let requested = [Requested::Sql("code".into(), "a || n".into()), Requested::Rest];
    let mut source = BlueTable::named(name("t"), &["a", "b", "n"], &["a", "b"]);
    source.scope = scope(&name("t"));
    source.identity_is_full = true;
    let green = GreenShape { keys: vec![vec!["code".to_owned()]], ..GreenShape::default() };
    let mapping = Mapping { columns: Some(&requested), filter: None };
    let spec = RouteSpec::compile(RouteId(0), &source, (name("t"), Some(&green)), mapping).unwrap();
    let start = || started(vec![spec.clone()], completed(&[0], Some("x"))).unwrap();
    let update = |old: OldImage| {
        let new = tuple(&["1", "b", "new"]);
        LogEvent::Change(SourceChange::Update { relation: T, old: Some(old), new })
    };
    let change = |old: OldImage| [table(T, "t", 25), begin(110, 0), update(old), commit(110), whole("a")];
    let work = feed(&mut start(), change(OldImage::Full(tuple(&["1", "b", "old"])))).unwrap();
    let [RowChange::Update { old_key: Some(old), .. }] = &batches(&work)[0].changes[..] else {
        panic!("the row leaves its former key: {work:?}");
    };
    assert_eq!(*old, key(&["1old"]));
    let untold = change(OldImage::Identity(tuple(&["1", "b", "old"])));
    assert_eq!(class(feed(&mut start(), untold)), Some(Class::SchemaChange));
}

/// Values mean to an expression what the types say that it was compiled for. Rows of other types are read again; rows that
/// are newer than the expressions have those compiled anew.
#[test]
fn rows_of_other_types_are_not_computed() {
    let start = || started(vec![computing(0, "t")], saved(&[0], Some("x"))).unwrap();
    let work = feed(&mut start(), [table(T, "t", 20), copy(2, 110, "1"), whole("a")]).unwrap();
    assert!(matches!(batches(&work)[0].changes[..], [RowChange::Reread { .. }]));
    assert_eq!((chunks(&work).len(), chunks(&work)[0].rows.len()), (1, 0));
    let newer = [table(T, "t", 20), copy(2, 600, "1"), whole("a")];
    assert_eq!(class(feed(&mut start(), newer)), Some(Class::Transient));
    let mut waiting = start();
    lacks(&mut waiting, 0, "1");
    let healed = [table(T, "t", 20), heal(600, (&["1"], &[]), &["1"])];
    assert_eq!(class(feed(&mut waiting, healed)), Some(Class::Transient));
}

/// Nothing happens on blue: the place that chunks have freed is named all the same, once.
#[test]
fn a_quiet_log_is_not_read_again_from_long_ago() {
    let mut core = started(vec![plain(0, "t")], saved(&[0], Some("x"))).unwrap();
    let work = feed(&mut core, [table(T, "t", 25), copy(1, 100, "1"), whole("a")]).unwrap();
    core.on_tick();
    assert!(!core.has_work());
    done(&mut core, chunks(&work)[0]);
    core.on_tick();
    core.on_tick();
    let Some(Work::Batch(batch)) = core.next_work() else { panic!("a checkpoint") };
    assert_eq!((batch.checkpoint(), batch.cursor, core.has_work()), (Some(at(100)), Some(place("a")), false));
}
