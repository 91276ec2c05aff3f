//! The running loop: readers, ledger, clock and shutdown put together.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, mpsc, watch};
use understudy_contract::{
    Answer, Ask, BlueRead, BlueRows, Class, Detail, Failure, GreenRead, GreenRows, KeyRange, KeyRelation,
    LedgerNews, LedgerWrite, MismatchId, RangeDigest, Request, Resolution, RowSeen, SavedVerification,
    VerifyLedger, Which,
};
use understudy_model::{HealKey, Key, Lsn, Nonce, RouteId};
use understudy_verify::{
    ChangedRows, Clock, Drive, Explainer, Millis, Side, VerifyCore, VerifyObserver, VerifyReport,
};

use crate::harness::{at_ease, settings, start};
use crate::ledger::Ledger;
use crate::world::World;

/// What all fakes share.
#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    ledger: Mutex<Ledger>,
    requests: Mutex<VecDeque<Request>>,
    reports: Mutex<Vec<VerifyReport>>,
    /// Rows that replication was asked to read again.
    rereads: Mutex<Vec<HealKey>>,
    explained: AtomicUsize,
    /// Sides that are being read, and whether both were at the same time.
    reading: Mutex<[usize; 2]>,
    overlapped: AtomicBool,
    fails: AtomicBool,
}

impl Shared {
    fn new(world: World) -> Arc<Shared> {
        Arc::new(Shared {
            world: Mutex::new(world),
            ledger: Mutex::default(),
            requests: Mutex::default(),
            reports: Mutex::default(),
            rereads: Mutex::default(),
            explained: AtomicUsize::new(0),
            reading: Mutex::default(),
            overlapped: AtomicBool::new(false),
            fails: AtomicBool::new(false),
        })
    }

    /// A read takes a while, during which the other side may be read by somebody else.
    async fn read<T>(&self, side: Side, read: impl FnOnce(&mut World) -> T) -> Result<T, Failure> {
        let at = usize::from(side == Side::Green);
        {
            let mut reading = self.reading.lock().unwrap();
            reading[at] += 1;
            if reading.iter().all(|readers| *readers > 0) {
                self.overlapped.store(true, Ordering::Relaxed);
            }
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        self.reading.lock().unwrap()[at] -= 1;
        if self.fails.load(Ordering::Relaxed) {
            return Err(Failure::new(Class::Transient, "the server is away"));
        }
        Ok(read(&mut self.world.lock().unwrap()))
    }
}

struct Blue(Arc<Shared>);
struct Green(Arc<Shared>);

impl BlueRows for Blue {
    async fn boundary(
        &mut self,
        route: RouteId,
        after: Option<&Key>,
        rows: u64,
    ) -> Result<Answer<Option<Key>>, Failure> {
        self.0.read(Side::Blue, |world| world.boundary(Side::Blue, route, after, rows)).await
    }

    async fn digest(
        &mut self,
        route: RouteId,
        range: &KeyRange,
    ) -> Result<Answer<BlueRead<RangeDigest>>, Failure> {
        self.0.read(Side::Blue, |world| world.blue_digest(route, range)).await
    }

    async fn rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
    ) -> Result<Answer<BlueRead<Vec<RowSeen>>>, Failure> {
        self.0.read(Side::Blue, |world| world.blue_rows(route, which, detail)).await
    }

    async fn mark(&mut self, _: Nonce) -> Result<(), Failure> {
        self.0.world.lock().unwrap().mark();
        Ok(())
    }
}

impl GreenRows for Green {
    async fn boundary(
        &mut self,
        route: RouteId,
        after: Option<&Key>,
        rows: u64,
    ) -> Result<Answer<Option<Key>>, Failure> {
        self.0.read(Side::Green, |world| world.boundary(Side::Green, route, after, rows)).await
    }

    async fn digest(
        &mut self,
        route: RouteId,
        range: &KeyRange,
        at_least: Lsn,
    ) -> Result<Answer<GreenRead<RangeDigest>>, Failure> {
        self.0.read(Side::Green, |world| world.green_digest(route, range, at_least)).await
    }

    async fn rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
        at_least: Lsn,
    ) -> Result<Answer<GreenRead<Vec<RowSeen>>>, Failure> {
        self.0.read(Side::Green, |world| world.green_rows(route, which, detail, at_least)).await
    }
}

struct Books(Arc<Shared>);

impl VerifyLedger for Books {
    async fn claim(&mut self) -> Result<SavedVerification, Failure> {
        Ok(self.0.ledger.lock().unwrap().saved(Lsn::ZERO))
    }

    async fn write(&mut self, entries: &[LedgerWrite]) -> Result<(), Failure> {
        tokio::task::yield_now().await;
        self.0.ledger.lock().unwrap().write(entries);
        Ok(())
    }

    async fn news(&mut self) -> Result<LedgerNews, Failure> {
        let requests = self.0.requests.lock().unwrap().drain(..).collect();
        Ok(LedgerNews { requests, surprises: Vec::new() })
    }
}

struct Evaluator(Arc<Shared>);

impl Explainer for Evaluator {
    async fn evaluated(&mut self, _: RouteId, _: &Key) -> Result<Option<Vec<Option<Box<str>>>>, Failure> {
        self.0.explained.fetch_add(1, Ordering::Relaxed);
        Ok(None)
    }
}

impl VerifyObserver for Shared {
    fn report(&self, report: &VerifyReport) {
        self.reports.lock().unwrap().push(report.clone());
    }
}

/// A clock that goes on whenever the loop has nothing else to do.
#[derive(Debug, Clone, Default)]
struct Beats(Arc<AtomicU64>);

impl Clock for Beats {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }

    fn tick(&mut self) -> impl Future<Output = ()> + Send {
        let beats = self.0.clone();
        async move {
            tokio::task::yield_now().await;
            beats.fetch_add(20, Ordering::Relaxed);
        }
    }
}

/// What a test does beside the loop, once for each of its reports.
type Beside = Box<dyn FnMut(&Shared, &VerifyReport, &Notify) + Send>;

/// Observes for the shared fakes and for the test.
struct Watching {
    shared: Arc<Shared>,
    beside: Mutex<Beside>,
    end: Arc<Notify>,
}

impl VerifyObserver for Watching {
    fn report(&self, report: &VerifyReport) {
        self.shared.report(report);
        (self.beside.lock().unwrap())(&self.shared, report, &self.end);
    }
}

/// Runs until the test ends it, or for an hour of the clock. Replication takes one row at a time.
fn run(shared: &Arc<Shared>, workers: usize, beside: Beside) -> Result<(), Failure> {
    let clock = Beats::default();
    let changed = Arc::new(ChangedRows::new(1_000));
    let start = start(&shared.world.lock().unwrap(), 1, &shared.ledger.lock().unwrap(), settings(10));
    let core = VerifyCore::new(start, changed, clock.now()).unwrap();
    let (rereads, mut reread) = mpsc::channel(1);
    let (_keep, circumstances) = watch::channel(at_ease());
    let end = Arc::new(Notify::new());
    let observer = Watching { shared: shared.clone(), beside: Mutex::new(beside), end: end.clone() };
    let drive = Drive {
        core,
        readers: (0..workers).map(|_| (Blue(shared.clone()), Green(shared.clone()))).collect(),
        ledger: Books(shared.clone()),
        explainer: Evaluator(shared.clone()),
        observer: Arc::new(observer),
        circumstances,
        rereads,
        clock: clock.clone(),
        seed: 7,
    };
    let (mut late, replication) = (clock, shared.clone());
    let shutdown = async move {
        let take = async {
            while let Some((_, row)) = reread.recv().await {
                replication.rereads.lock().unwrap().push(row);
            }
            std::future::pending::<()>().await;
        };
        let an_hour = async {
            while late.now() < Millis(3_600_000) {
                late.tick().await;
            }
        };
        tokio::select! {
            () = end.notified() => {}
            () = an_hour => panic!("it took an hour"),
            () = take => {}
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(drive.run(shutdown))
}

/// A difference goes all the way: found, explained, told, kept, and handed to replication when somebody asks for repair.
#[test]
fn a_difference_goes_all_the_way() {
    let mut world = World::filled(KeyRelation::Aligned, 1, 100);
    world.tamper(0, 8, Some("wrong"));
    world.tamper(0, 10, Some("wrong"));
    let shared = Shared::new(world);
    let mut asked = false;
    let ended = run(
        &shared,
        2,
        Box::new(move |shared, report, end| {
            if report.routes[0].open_total() == 2 && !asked {
                asked = true;
                let ask = Ask::Repair(vec![MismatchId(1), MismatchId(2)]);
                shared.requests.lock().unwrap().push_back(Request { id: 1, ask });
            }
            if shared.rereads.lock().unwrap().len() == 2 {
                let mut world = shared.world.lock().unwrap();
                world.reread(0, 8);
                world.reread(0, 10);
            }
            if asked && report.routes[0].open_total() == 0 {
                end.notify_one();
            }
        }),
    );
    ended.unwrap();
    assert_eq!(shared.ledger.lock().unwrap().answers.len(), 1);
    assert_eq!(shared.explained.load(Ordering::Relaxed), 2);
    let ledger = shared.ledger.lock().unwrap();
    assert_eq!(ledger.resolved.iter().map(|(_, how)| *how).collect::<Vec<_>>(), [Resolution::Repaired; 2]);
    assert!(ledger.verified() > 0 && ledger.changed_upto > Lsn::ZERO);
}

/// With two workers both servers are kept busy at once: that is where the speed of full passes comes from.
#[test]
fn two_workers_keep_both_servers_busy() {
    for (workers, overlaps) in [(1, false), (2, true)] {
        let shared = Shared::new(World::filled(KeyRelation::Aligned, 1, 200));
        let verified = |_: &Shared, report: &VerifyReport, end: &Notify| {
            if report.routes[0].coverage == 1.0 {
                end.notify_one();
            }
        };
        run(&shared, workers, Box::new(verified)).unwrap();
        assert_eq!(shared.overlapped.load(Ordering::Relaxed), overlaps, "{workers} workers");
    }
}

/// A server that goes away ends the run with its failure, so that whoever runs it connects again; nothing is made of it.
#[test]
fn a_failure_ends_the_run() {
    let mut world = World::filled(KeyRelation::Aligned, 1, 200);
    world.tamper(0, 8, Some("wrong"));
    let shared = Shared::new(world);
    let fail = |shared: &Shared, report: &VerifyReport, _: &Notify| {
        shared.fails.fetch_or(report.routes[0].open_total() == 1, Ordering::Relaxed);
    };
    let ended = run(&shared, 2, Box::new(fail));
    assert_eq!(ended.unwrap_err().class(), Class::Transient);
    let ledger = shared.ledger.lock().unwrap();
    assert_eq!((ledger.mismatches.len(), ledger.resolved.len()), (1, 0), "what was found is kept");
}

/// Whoever ends the run loses nothing: what had been verified by then is in the ledger.
#[test]
fn the_end_keeps_what_is_known() {
    let shared = Shared::new(World::filled(KeyRelation::Aligned, 1, 5_000));
    let begun = |_: &Shared, report: &VerifyReport, end: &Notify| {
        if report.routes[0].ranges_verified > 0 {
            end.notify_one();
        }
    };
    run(&shared, 2, Box::new(begun)).unwrap();
    let reports = shared.reports.lock().unwrap();
    let last = &reports.last().unwrap().routes[0];
    assert!(last.coverage < 1.0);
    assert_eq!(shared.ledger.lock().unwrap().verified() as u64, last.ranges_verified);
}
