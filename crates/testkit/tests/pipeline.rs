//! The running pipeline against in-memory connectors: every event of the stream is taken, whatever the size of the burst.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says so")]

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use understudy_contract::{
    Applied, Batch, Blocker, BlueCatalog, ChangeSink, ChangeStream, ChunkDone, ChunkOutcome, ChunkReader,
    ChunkRequest, Confirm, Failure, GreenTable, LedgerEntry, Lineage, PlacedChunk, Saved, StreamEvent, Unit,
};
use understudy_model::{
    Checkpoint, Column, HealKey, Key, Lsn, Nonce, Relation, RelationId, ReplicaIdentity, RouteId, Snapshot,
    SourceChange, TableName, Tuple, TupleBuilder, UnitId, Value, Xid,
};
use understudy_replicate::{
    Core, CoreSettings, CoreStart, DetachPolicy, End, Limits, Observer, Pipeline, Progress, Reread, Rules,
    Tally, Ticks,
};
use understudy_testkit::green::{Green, MemorySink};
use understudy_transform::{BlueTable, Mapping, RouteSpec};

/// A stream whose events are all at hand, and which then falls silent.
struct Burst {
    events: VecDeque<StreamEvent>,
    /// So many of the events come only once something is on its way to be durable.
    late: Option<(usize, Arc<Gate>)>,
}

impl ChangeStream for Burst {
    async fn next(&mut self) -> Result<StreamEvent, Failure> {
        if let Some((count, gate)) = &self.late
            && self.events.len() == *count
        {
            gate.wait(|state| state.persisting > 0).await;
        }
        match self.events.pop_front() {
            Some(event) => Ok(event),
            None => pending().await,
        }
    }

    fn ready(&self) -> bool {
        let is_late = self.late.as_ref().is_some_and(|(count, _)| self.events.len() == *count);
        !self.events.is_empty() && !is_late
    }
}

/// A blue that never changes.
struct Still(Vec<Unit>);

impl BlueCatalog for Still {
    async fn units(&mut self) -> Result<Vec<Unit>, Failure> {
        Ok(self.0.clone())
    }

    async fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        Ok(Snapshot::new(Xid::new(1_000_000), Xid::new(1_000_000), Vec::new()))
    }

    async fn barrier(&mut self) -> Result<Xid, Failure> {
        Ok(Xid::new(1))
    }

    async fn blockers(&mut self, _: &[Xid]) -> Result<Vec<Blocker>, Failure> {
        Ok(Vec::new())
    }

    async fn mark(&mut self, _: Nonce) -> Result<(), Failure> {
        Ok(())
    }
}

impl ChunkReader for Still {
    async fn read(&mut self, _: &ChunkRequest) -> Result<ChunkOutcome, Failure> {
        Ok(ChunkOutcome::Gone)
    }

    async fn mark(&mut self, _: Nonce) -> Result<(), Failure> {
        Ok(())
    }
}

/// Remembers what was confirmed and counted, and whether green was given anything.
#[derive(Default)]
struct Ears {
    confirmed: Mutex<Lsn>,
    transactions: AtomicU64,
    heartbeats: AtomicU64,
    applying: AtomicBool,
    wants_changed: AtomicBool,
    listed: AtomicU64,
    unlisted: AtomicBool,
    incomplete: AtomicBool,
}

impl Confirm for Ears {
    fn confirm(&self, lsn: Lsn) {
        *self.confirmed.lock().unwrap() = lsn;
    }
}

/// What goes on at a green that is held back.
#[derive(Default)]
struct Held {
    /// What is on its way may become durable.
    open: bool,
    /// How many times it is on its way, now and at most.
    persisting: usize,
    persisting_most: usize,
    /// A batch is not being taken.
    stuck: bool,
}

/// Holds a green back.
struct Gate(watch::Sender<Held>);

impl Gate {
    fn new(open: bool) -> Arc<Gate> {
        Arc::new(Gate(watch::Sender::new(Held { open, ..Held::default() })))
    }

    async fn wait(&self, holds: impl FnMut(&Held) -> bool) {
        self.0.subscribe().wait_for(holds).await.unwrap();
    }

    fn open(&self) {
        self.0.send_modify(|held| held.open = true);
    }
}

/// Which batches a green takes.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    All,
    UntilPersisting,
    Nothing,
}

/// A green that takes some batches only, and makes durable what it took when it is let.
struct Slow {
    sink: MemorySink,
    takes: Takes,
    gate: Arc<Gate>,
}

impl ChangeSink for Slow {
    async fn claim(&mut self) -> Result<Option<Saved>, Failure> {
        self.sink.claim().await
    }

    async fn begin(&mut self, lineage: &Lineage, checkpoint: Checkpoint) -> Result<(), Failure> {
        self.sink.begin(lineage, checkpoint).await
    }

    async fn apply(&mut self, batch: Batch) -> Result<Applied, Failure> {
        let persisting = self.gate.0.borrow().persisting > 0;
        if self.takes == Takes::Nothing || (self.takes == Takes::UntilPersisting && persisting) {
            self.gate.0.send_modify(|held| held.stuck = true);
            return pending().await;
        }
        self.sink.apply(batch).await
    }

    async fn place(&mut self, chunk: PlacedChunk) -> Result<(), Failure> {
        self.sink.place(chunk).await
    }

    async fn placed(&mut self) -> Result<ChunkDone, Failure> {
        self.sink.placed().await
    }

    async fn record(&mut self, entry: LedgerEntry) -> Result<(), Failure> {
        self.sink.record(entry).await
    }

    fn persist(&mut self) -> impl Future<Output = Result<Checkpoint, Failure>> + Send + use<> {
        let (persist, gate) = (self.sink.persist(), self.gate.clone());
        gate.0.send_modify(|held| {
            held.persisting += 1;
            held.persisting_most = held.persisting_most.max(held.persisting);
        });
        async move {
            gate.wait(|held| held.open).await;
            gate.0.send_modify(|held| held.persisting -= 1);
            persist.await
        }
    }

    fn aside(&self) -> u64 {
        self.sink.aside()
    }
}

impl Observer for Ears {
    fn received(&self, _: Lsn) {}
    fn applying(&self) {
        self.applying.store(true, Ordering::Relaxed);
    }
    fn applied(&self, tally: &Tally, _: &Applied) {
        self.transactions.fetch_add(tally.transactions, Ordering::Relaxed);
        self.listed.fetch_add(tally.changed.len() as u64, Ordering::Relaxed);
        self.unlisted.fetch_or(!tally.changed_unlisted.is_empty(), Ordering::Relaxed);
    }
    fn wants_changed(&self) -> bool {
        self.wants_changed.load(Ordering::Relaxed)
    }
    fn durable(&self, _: Checkpoint) {}
    fn chunk_done(&self, _: &ChunkDone) {}
    fn heartbeat_sent(&self, _: Nonce) {
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
    }
    fn heartbeat_seen(&self, _: Nonce, _: Checkpoint) {}
    fn progress(&self, progress: &Progress) {
        self.incomplete.fetch_or(!progress.incomplete.is_empty(), Ordering::Relaxed);
    }
    fn waiting_for(&self, _: &[Blocker]) {}
}

/// A beat as fast as the timer goes.
struct Beat(tokio::time::Interval);

impl Ticks for Beat {
    async fn tick(&mut self) {
        self.0.tick().await;
    }
}

/// So many beats, and then silence.
struct Few(u32);

impl Ticks for Few {
    async fn tick(&mut self) {
        // A wait that is given up takes no beat.
        tokio::task::yield_now().await;
        match self.0.checked_sub(1) {
            Some(left) => self.0 = left,
            None => pending().await,
        }
    }
}

fn route() -> RouteSpec {
    let name = TableName::new("public", "t");
    let table = BlueTable::named(name.clone(), &["id"], &["id"]);
    RouteSpec::compile(RouteId(0), &table, (name, None), Mapping::default()).unwrap()
}

fn unit() -> Unit {
    Unit {
        id: UnitId::new(7, RouteId(0)),
        route: RouteId(0),
        root: UnitId::new(7, RouteId(0)),
        name: TableName::new("public", "t"),
        filenode: 1,
        fingerprint: 1,
        marks: None,
        membership: 0,
        blocks: 1,
        block_bytes: 8192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: None,
    }
}

fn row(id: usize) -> Tuple {
    let mut row = TupleBuilder::default();
    row.push(&Value::Text(id.to_string().into_bytes().into()));
    row.finish()
}

/// Transactions of the given sizes, one row each change, and where the last one ends.
fn burst(sizes: &[usize]) -> (Burst, Lsn) {
    let relation = RelationId(7);
    let announced = Relation {
        id: relation,
        name: TableName::new("public", "t"),
        identity: ReplicaIdentity::Default,
        columns: vec![Column { name: "id".into(), type_oid: 23, type_modifier: -1, in_identity: true }],
    };
    let mut events = VecDeque::from([StreamEvent::Keepalive { end: Lsn::new(50) }]);
    let (mut at, mut id) = (Lsn::new(100), 0);
    for (n, size) in sizes.iter().enumerate() {
        events.push_back(StreamEvent::Begin { commit: at, commit_time_us: 1, xid: n as u32 + 3 });
        events.push_back(StreamEvent::Relation(Arc::new(announced.clone())));
        for _ in 0..*size {
            events.push_back(StreamEvent::Change(SourceChange::Insert { relation, new: row(id) }));
            id += 1;
        }
        let foreign =
            StreamEvent::Message { prefix: "app".into(), content: Bytes::new(), transactional: true };
        events.push_back(foreign);
        let end = Lsn::new(at.raw() + 10);
        events.push_back(StreamEvent::Commit { commit: at, end });
        at = end;
    }
    (Burst { events, late: None }, at)
}

/// A green on which the migration has begun.
async fn begun() -> Arc<Mutex<Green>> {
    let route = route();
    let table = GreenTable {
        route: route.id,
        source: route.source.clone(),
        name: route.target.clone(),
        columns: vec!["id".into()],
        source_columns: vec![Some("id".into())],
        key: route.key.clone(),
        filtered: false,
        predicate: None,
        fingerprint: route.fingerprint(),
    };
    let green = Arc::new(Mutex::new(Green::new(vec![table])));
    let mut first = MemorySink::new(green.clone());
    first.claim().await.unwrap();
    let lineage =
        Lineage { system_id: 1, timeline: 1, database: "d".into(), slot: "s".into(), publication: None };
    first.begin(&lineage, Checkpoint::at_commit_end(Lsn::new(10))).await.unwrap();
    first.record(LedgerEntry::Plan(unit())).await.unwrap();
    first.record(LedgerEntry::Complete(route.id)).await.unwrap();
    green
}

async fn pipeline<K: ChangeSink>(
    sizes: &[usize],
    mut sink: K,
    grace_ticks: u32,
) -> (Pipeline<Burst, Still, Still, K, Ears, Ears>, Lsn) {
    let route = route();
    let saved = sink.claim().await.unwrap().unwrap();
    let settings = CoreSettings {
        chunk_bytes: 8192,
        chunk_bytes_max: 8192,
        window_bytes_max: 8192,
        windows_max: 1,
        batch_changes_max: 700,
        batch_bytes_max: 1 << 20,
        on_detach: DetachPolicy::Stop,
        raw: false,
        nonce_base: 1,
        rules: Rules::all(),
    };
    let start = CoreStart {
        routes: vec![route],
        units: vec![unit()],
        units_before: Vec::new(),
        snapshot: Snapshot::new(Xid::new(3), Xid::new(3), Vec::new()),
        saved,
        slot_is_new: false,
        publication_changed: false,
        recopy: Vec::new(),
        recopy_asked: Vec::new(),
    };
    let (stream, end) = burst(sizes);
    let ears = Arc::new(Ears::default());
    let pipeline = Pipeline {
        core: Core::new(settings, start).unwrap(),
        stream,
        readers: vec![Still(vec![unit()])],
        catalog: Still(vec![unit()]),
        sink,
        confirm: ears.clone(),
        observer: ears.clone(),
        rereads: tokio::sync::mpsc::channel(1).1,
        limits: Limits { heartbeat_ticks: 10, read_bytes_per_tick: None, grace_ticks },
    };
    (pipeline, end)
}

fn slow(green: &Arc<Mutex<Green>>, takes: Takes, gate: &Arc<Gate>) -> Slow {
    Slow { sink: MemorySink::new(green.clone()), takes, gate: gate.clone() }
}

fn beat() -> Beat {
    Beat(tokio::time::interval(Duration::from_millis(1)))
}

async fn run(sizes: &[usize]) -> (Arc<Mutex<Green>>, Lsn, Arc<Ears>) {
    let green = begun().await;
    let (pipeline, end) = pipeline(sizes, MemorySink::new(green.clone()), 60_000).await;
    let ears = pipeline.observer.clone();
    let watched = green.clone();
    let arrived = async move {
        while watched.lock().unwrap().checkpoint().lsn() < end {
            tokio::task::yield_now().await;
        }
    };
    let run = pipeline.run(arrived, beat);
    let ended = tokio::time::timeout(Duration::from_secs(60), run).await.expect("the end is reached");
    assert_eq!(ended.unwrap(), End::InOrder);
    (green, end, ears)
}

/// Promise 2: nothing is skipped, at whatever place a burst happens to be cut into turns and batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_a_burst_is_taken() {
    for sizes in [&[5_000][..], &[1; 3_000], &[1_023, 1, 1_024, 1_025, 2_047, 700, 699, 701]] {
        let (green, _, _) = run(sizes).await;
        let green = green.lock().unwrap();
        assert_eq!(green.rows(RouteId(0)).len(), sizes.iter().sum::<usize>());
        assert_eq!(green.mismatches(), 0);
    }
}

/// Verification hears of every changed row while it wants to, and of nothing else: not even that costs while it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_rows_are_listed_while_somebody_wants_them() {
    for wanted in [true, false] {
        let green = begun().await;
        let (pipeline, end) = pipeline(&[900, 1, 3_000], MemorySink::new(green.clone()), 60_000).await;
        let ears = pipeline.observer.clone();
        ears.wants_changed.store(wanted, Ordering::Relaxed);
        let arrived = async move {
            while green.lock().unwrap().checkpoint().lsn() < end {
                tokio::task::yield_now().await;
            }
        };
        let run = pipeline.run(arrived, beat);
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("the end is reached").unwrap();
        let told = (ears.listed.load(Ordering::Relaxed), ears.unlisted.load(Ordering::Relaxed));
        assert_eq!(told, if wanted { (3_901, false) } else { (0, true) });
    }
}

/// A repair must survive a restart: the row that somebody asks for is recorded on green as one to be read again, also when
/// blue is silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_asked_for_is_recorded() {
    let green = begun().await;
    let (mut pipeline, _) = pipeline(&[10], MemorySink::new(green.clone()), 60_000).await;
    let (ask, rereads) = tokio::sync::mpsc::channel(1);
    pipeline.rereads = rereads;
    let key = HealKey::same(Key::from_texts([&b"4"[..]]));
    let asked = (RouteId(0), key.clone());
    let watched = green.clone();
    let recorded = async move {
        while watched.lock().unwrap().rows(RouteId(0)).len() < 10 {
            tokio::task::yield_now().await;
        }
        ask.send(Reread::Row { route: RouteId(0), key }).await.unwrap();
        // One that no route has is passed over.
        let unknown = HealKey::same(Key::from_texts([&b"5"[..]]));
        ask.send(Reread::Row { route: RouteId(7), key: unknown }).await.unwrap();
        while watched.lock().unwrap().heals() != [asked.clone()] {
            tokio::task::yield_now().await;
        }
    };
    let run = pipeline.run(recorded, beat);
    tokio::time::timeout(Duration::from_secs(60), run).await.expect("it is recorded").unwrap();
    assert_eq!(green.lock().unwrap().rows(RouteId(0)).len(), 10);
}

/// Verification must not take rows that green lacks for mismatches while they are copied: a copy that begins is told as soon
/// as it is found to be needed, not with the next regular word of progress.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_begins_is_told_at_once() {
    let green = begun().await;
    let (mut pipeline, _) = pipeline(&[10], MemorySink::new(green), 60_000).await;
    // A partition was attached, which the first regular look shows.
    let name = TableName::new("public", "t_1");
    pipeline.catalog.0.push(Unit { id: UnitId::new(8, RouteId(0)), name, ..unit() });
    let ears = pipeline.observer.clone();
    let told = async move {
        while !ears.incomplete.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    };
    let run = pipeline.run(told, || Few(20));
    tokio::time::timeout(Duration::from_secs(20), run).await.expect("it is told").unwrap();
}

/// Promise 1: what is confirmed to blue is durable on green, and a run that ends confirms all it has applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_run_is_durable_and_confirmed() {
    let (green, end, ears) = run(&[10, 20]).await;
    assert_eq!(*ears.confirmed.lock().unwrap(), end);
    assert_eq!(green.lock().unwrap().unpersisted(), 0);
}

/// A transaction without changes of ours, such as a heartbeat, is none of those that are counted; a long one counts once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_with_changes_are_counted() {
    let (_, _, ears) = run(&[3, 0, 1, 0, 0, 2_000, 0]).await;
    assert_eq!(ears.transactions.load(Ordering::Relaxed), 3);
}

/// Everything is bounded: a green that takes nothing does not keep a run from ending, and blue is told nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_although_green_takes_nothing() {
    let green = begun().await;
    let before = green.lock().unwrap().checkpoint();
    let (pipeline, _) = pipeline(&[10, 20], slow(&green, Takes::Nothing, &Gate::new(true)), 20).await;
    let ears = pipeline.observer.clone();
    let watched = ears.clone();
    let given = async move {
        while !watched.applying.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    };
    let run = pipeline.run(given, beat);
    let ended = tokio::time::timeout(Duration::from_secs(60), run).await.expect("the run ends");
    assert_eq!(ended.unwrap(), End::GivenUp);
    assert_eq!(green.lock().unwrap().checkpoint(), before);
    assert_eq!(*ears.confirmed.lock().unwrap(), Lsn::ZERO);
}

/// Transactions of one row each, the second half of them only once something is on its way to be durable.
async fn two_halves(
    green: &Arc<Mutex<Green>>,
    (takes, gate): (Takes, &Arc<Gate>),
    grace_ticks: u32,
) -> (Pipeline<Burst, Still, Still, Slow, Ears, Ears>, Lsn) {
    let (mut pipeline, end) = pipeline(&[1; 40], slow(green, takes, gate), grace_ticks).await;
    pipeline.stream.late = Some((pipeline.stream.events.len() / 2, gate.clone()));
    (pipeline, end)
}

/// Waits until green shows everything before `end`.
async fn shows(green: &Arc<Mutex<Green>>, end: Lsn) {
    while green.lock().unwrap().checkpoint().lsn() < end {
        tokio::task::yield_now().await;
    }
}

/// Changes go on while green makes earlier ones durable, once at a time; blue is told only then, and of all of them at
/// the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_applied_while_earlier_ones_become_durable() {
    let (green, gate) = (begun().await, Gate::new(false));
    let (pipeline, end) = two_halves(&green, (Takes::All, &gate), 60_000).await;
    let ears = pipeline.observer.clone();
    let (watched, hearing, let_go) = (green.clone(), ears.clone(), gate.clone());
    let applied = async move {
        shows(&watched, end).await;
        // Beats at which another could be started.
        let beats = hearing.heartbeats.load(Ordering::Relaxed) + 3;
        while hearing.heartbeats.load(Ordering::Relaxed) < beats {
            tokio::task::yield_now().await;
        }
        assert_eq!(*hearing.confirmed.lock().unwrap(), Lsn::ZERO);
        let_go.open();
    };
    let run = pipeline.run(applied, beat);
    let ended = tokio::time::timeout(Duration::from_secs(60), run).await.expect("all is applied");
    assert_eq!(ended.unwrap(), End::InOrder);
    assert_eq!(*ears.confirmed.lock().unwrap(), end);
    assert_eq!(green.lock().unwrap().unpersisted(), 0);
    assert_eq!(gate.0.borrow().persisting_most, 1);
}

/// Everything is bounded: what does not become durable keeps a run from ending no longer than the grace, and blue is told
/// nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_although_nothing_becomes_durable() {
    let (green, gate) = (begun().await, Gate::new(false));
    let (pipeline, end) = two_halves(&green, (Takes::All, &gate), 20).await;
    let ears = pipeline.observer.clone();
    let watched = green.clone();
    let run = pipeline.run(async move { shows(&watched, end).await }, beat);
    let ended = tokio::time::timeout(Duration::from_secs(60), run).await.expect("the run ends");
    assert_eq!(ended.unwrap(), End::GivenUp);
    assert_eq!(green.lock().unwrap().checkpoint().lsn(), end);
    assert_eq!(*ears.confirmed.lock().unwrap(), Lsn::ZERO);
}

/// Blue is told of what has become durable also while green takes nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_durable_beside_a_blocked_batch_is_confirmed() {
    let (green, gate) = (begun().await, Gate::new(false));
    let (pipeline, end) = two_halves(&green, (Takes::UntilPersisting, &gate), 20).await;
    let ears = pipeline.observer.clone();
    let (hearing, blocked) = (ears.clone(), gate.clone());
    let confirmed = async move {
        blocked.wait(|held| held.stuck).await;
        blocked.open();
        while *hearing.confirmed.lock().unwrap() == Lsn::ZERO {
            tokio::task::yield_now().await;
        }
    };
    let run = pipeline.run(confirmed, beat);
    let ended = tokio::time::timeout(Duration::from_secs(60), run).await.expect("it is confirmed");
    assert_eq!(ended.unwrap(), End::GivenUp);
    let confirmed = *ears.confirmed.lock().unwrap();
    assert_eq!(green.lock().unwrap().checkpoint().lsn(), confirmed);
    assert!(confirmed < end);
}
