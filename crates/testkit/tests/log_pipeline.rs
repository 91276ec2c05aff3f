//! The running apply against in-memory connectors: what is whole is durable at its end, and what green lacks is asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says so")]

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use understudy_contract::{
    Applied, AskCapture, Blocker, ChangeLog, ChangeSink, ChunkDone, Cursor, Failure, GreenTable, Lineage,
    LogEvent, LoggedChunk, LoggedEntry, LoggedKind, Unit, Wanted,
};
use understudy_model::{
    BlockRange, Checkpoint, Column, Ctid, Key, Lsn, Nonce, Relation, RelationId, ReplicaIdentity, RouteId,
    SourceChange, TableName, Tuple, TupleBuilder, UnitId, Value,
};
use understudy_replicate::{
    End, LogCore, LogLimits, LogPipeline, LogSettings, LogStart, Observer, Progress, Rules, Tally, Ticks,
};
use understudy_testkit::green::{Green, MemorySink};
use understudy_transform::{BlueTable, Mapping, RouteSpec};

const T: RelationId = RelationId(7);

/// A log whose events are all at hand, and which then falls silent.
struct Burst(VecDeque<LogEvent>);

impl ChangeLog for Burst {
    async fn next(&mut self) -> Result<LogEvent, Failure> {
        match self.0.pop_front() {
            Some(event) => Ok(event),
            None => pending().await,
        }
    }

    fn ready(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Remembers what it is asked for, and what it hears.
struct Ears {
    asked: watch::Sender<Vec<Wanted>>,
    durable: watch::Sender<Lsn>,
    beats: Mutex<Vec<(i64, Checkpoint)>>,
}

struct Mouth(Arc<Ears>);

impl AskCapture for Mouth {
    async fn ask(&mut self, rows: Vec<Wanted>) -> Result<(), Failure> {
        self.0.asked.send_modify(|asked| asked.extend(rows));
        Ok(())
    }
}

impl Observer for Ears {
    fn received(&self, _: Lsn) {}
    fn applying(&self) {}
    fn applied(&self, _: &Tally, _: &Applied) {}
    fn durable(&self, checkpoint: Checkpoint) {
        self.durable.send_replace(checkpoint.lsn());
    }
    fn chunk_done(&self, _: &ChunkDone) {}
    fn heartbeat_sent(&self, _: Nonce) {}
    fn heartbeat_seen(&self, _: Nonce, _: Checkpoint) {}
    fn beat_seen(&self, _: Nonce, sent_us: i64, checkpoint: Checkpoint) {
        self.beats.lock().unwrap().push((sent_us, checkpoint));
    }
    fn progress(&self, _: &Progress) {}
    fn waiting_for(&self, _: &[Blocker]) {}
}

/// A beat as fast as the timer goes.
struct Beat(tokio::time::Interval);

impl Ticks for Beat {
    async fn tick(&mut self) {
        self.0.tick().await;
    }
}

fn ticks() -> Beat {
    Beat(tokio::time::interval(std::time::Duration::from_millis(1)))
}

fn name() -> TableName {
    TableName::new("public", "t")
}

fn row(values: [&str; 2]) -> Tuple {
    let mut row = TupleBuilder::default();
    for value in values {
        row.push(&if value == "*" { Value::Unchanged } else { Value::Text(value.as_bytes().into()) });
    }
    row.finish()
}

/// A table is planned and copied, then rows change of which one has not been copied.
fn events() -> VecDeque<LogEvent> {
    let column = |name: &str| Column {
        name: name.to_owned(),
        type_oid: 25,
        type_modifier: -1,
        in_identity: name == "id",
    };
    let columns = ["id", "n"].map(column).to_vec();
    let relation = Relation { id: T, name: name(), identity: ReplicaIdentity::Default, columns };
    let unit = Unit {
        id: UnitId::new(T.0, RouteId(0)),
        route: RouteId(0),
        root: UnitId::new(T.0, RouteId(0)),
        name: name(),
        filenode: 1,
        fingerprint: 1,
        marks: None,
        membership: 0,
        blocks: 1,
        block_bytes: 8192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: None,
    };
    let at = Checkpoint::at_commit_end(Lsn::new(100));
    let range = BlockRange { from: Ctid::start_of(0), to: Ctid::start_of(u32::MAX) };
    let kind = LoggedKind::Copy { unit: T, range };
    let whole = |group: u8| LogEvent::Whole { cursor: Cursor(Bytes::from(group.to_string())) };
    let change = |id| LogEvent::Change(SourceChange::Update { relation: T, old: None, new: row([id, "*"]) });
    let commit = Lsn::new(200);
    VecDeque::from([
        LogEvent::Table(Arc::new(relation)),
        LogEvent::Entry(LoggedEntry::Plan(unit)),
        whole(1),
        LogEvent::Rows(LoggedChunk { table: T, at, kind, rows: vec![row(["1", "x"])] }),
        whole(2),
        LogEvent::Entry(LoggedEntry::Complete { table: T }),
        whole(3),
        LogEvent::Begin { commit, commit_time_us: 1, xid: 5, from_ordinal: 0 },
        change("1"),
        change("2"),
        LogEvent::Commit { commit, end: Lsn::new(210) },
        whole(4),
        LogEvent::Beat { nonce: Nonce(1), sent_us: 77, at: Checkpoint::at_commit_end(Lsn::new(210)) },
        whole(5),
    ])
}

fn route() -> RouteSpec {
    let table = BlueTable::named(name(), &["id", "n"], &["id"]);
    RouteSpec::compile(RouteId(0), &table, (name(), None), Mapping::default()).unwrap()
}

/// Promises 1 and 2: through entries that wait for chunks, everything whole is applied and durable, the place beyond it is
/// remembered, and the row that green lacks is asked of the capture, once and again for as long as it does not come.
#[tokio::test]
async fn what_is_whole_is_durable_and_what_is_lacking_is_asked_for() {
    let route = route();
    let table = GreenTable {
        route: route.id,
        source: name(),
        name: name(),
        columns: vec!["id".into(), "n".into()],
        source_columns: vec![Some("id".into()), Some("n".into())],
        key: route.key.clone(),
        filtered: false,
        predicate: None,
        fingerprint: route.fingerprint(),
    };
    let green = Arc::new(Mutex::new(Green::new(vec![table])));
    let mut sink = MemorySink::new(green.clone());
    sink.claim().await.unwrap();
    let lineage =
        Lineage { system_id: 1, timeline: 1, database: "d".into(), slot: "s".into(), publication: None };
    sink.begin(&lineage, Checkpoint::at_commit_end(Lsn::new(10))).await.unwrap();
    let saved = sink.claim().await.unwrap().unwrap();
    let settings = LogSettings { batch_changes_max: 10, batch_bytes_max: 1 << 20, rules: Rules::all() };
    let keys = HashMap::from([(name(), vec!["id".to_owned()])]);
    let start = LogStart { routes: vec![route], keys, saved, compiled_at: Lsn::ZERO, awaited: Vec::new() };
    let core = LogCore::new(settings, start).unwrap();
    let ears = Arc::new(Ears {
        asked: watch::Sender::new(Vec::new()),
        durable: watch::Sender::new(Lsn::ZERO),
        beats: Mutex::new(Vec::new()),
    });
    let (_rereads, queue) = mpsc::channel(1);
    let pipeline = LogPipeline {
        core,
        log: Burst(events()),
        sink,
        ask: Mouth(ears.clone()),
        observer: ears.clone(),
        rereads: queue,
        limits: LogLimits { grace_ticks: 10_000, ask_again_ticks: 3 },
    };
    let heard = ears.clone();
    let shutdown = async move {
        heard.durable.subscribe().wait_for(|lsn| *lsn == Lsn::new(210)).await.unwrap();
        heard.asked.subscribe().wait_for(|asked| asked.len() > 1).await.unwrap();
    };
    assert_eq!(pipeline.run(shutdown, ticks).await.unwrap(), End::InOrder);
    let missing = Wanted { table: name(), key: Key::from_texts([&b"2"[..]]) };
    assert!(ears.asked.borrow().iter().all(|wanted| *wanted == missing));
    assert_eq!(ears.beats.lock().unwrap()[..], [(77, Checkpoint::at_commit_end(Lsn::new(210)))]);
    let (_, saved) = green.lock().unwrap().claim();
    let saved = saved.unwrap();
    assert_eq!((saved.checkpoint.lsn(), saved.routes[0].complete), (Lsn::new(210), true));
    let place = saved.cursor.map(|place| place.0);
    assert!([Some(Bytes::from_static(b"4")), Some(Bytes::from_static(b"5"))].contains(&place), "{place:?}");
}
