//! The running verification: one loop feeds the core from readers of both sides, from the ledger and from the clock.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use understudy_contract::{BlueRows, Class, Failure, GreenRows, VerifyLedger};
use understudy_model::{HealKey, Key, RouteId};

use crate::circumstances::{Circumstances, Clock, Millis};
use crate::core::{Explain, Job, VerifyCore};
use crate::report::VerifyReport;
use crate::throttle::Spent;
use crate::workers::{Explained, LedgerAsk, LedgerSays, Worker, WorkerSays, explain_rows, keep_ledger};

/// Milliseconds between reports, writes to the ledger and looks at what is new there.
const SECOND_MS: u64 = 1_000;

/// Milliseconds for which the end of a run waits for the ledger.
const GRACE_MS: u64 = 5_000;

/// Hears what is known. Calls must return at once.
pub trait VerifyObserver: Send + Sync {
    /// What is known now: called each second, and when something was found.
    fn report(&self, report: &VerifyReport);
}

/// Asks replication's evaluator what it makes of a row, so that a mapping that differs from blue's own SQL is recognised.
pub trait Explainer: Send {
    /// The values of blue's row with this key, as replication computes them, in the order of the route's columns; `None`
    /// where there is no such row, or where it refuses the row.
    fn evaluated(
        &mut self,
        route: RouteId,
        blue: &Key,
    ) -> impl Future<Output = Result<Option<Vec<Option<Box<str>>>>, Failure>> + Send;
}

/// Everything a run is made of.
pub struct Drive<B, G, L, E, O, C> {
    /// The deciding part.
    pub core: VerifyCore,
    /// A connection to each side for each worker. With two, both servers are busy at once.
    pub readers: Vec<(B, G)>,
    /// The ledger, already claimed.
    pub ledger: L,
    /// Replication's evaluator.
    pub explainer: E,
    /// Hears what is known.
    pub observer: Arc<O>,
    /// What has to be known of the world around.
    pub circumstances: watch::Receiver<Circumstances>,
    /// Rows that replication is to read again.
    pub rereads: mpsc::Sender<(RouteId, HealKey)>,
    /// The clock.
    pub clock: C,
    /// Tells the markers of this run from those of others.
    pub seed: u128,
}

impl<B, G, L, E, O, C> Drive<B, G, L, E, O, C>
where
    B: BlueRows + 'static,
    G: GreenRows + 'static,
    L: VerifyLedger + 'static,
    E: Explainer + 'static,
    O: VerifyObserver,
    C: Clock + Clone + 'static,
{
    /// Compares until `shutdown` resolves or something fails. What is known is written before it returns.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Failure> {
        let (says_queue, worker_says) = mpsc::channel(self.readers.len() + 1);
        let (ledger_asks, ledger_queue) = mpsc::channel(2);
        let (ledger_said, ledger_says) = mpsc::channel(4);
        let (explain_asks, explain_queue) = mpsc::channel(8);
        let (explained_queue, explained) = mpsc::channel(8);
        let mut helpers = JoinSet::new();
        let mut jobs = Vec::new();
        for (index, (blue, green)) in self.readers.into_iter().enumerate() {
            let (queue, work) = mpsc::channel(1);
            jobs.push(queue);
            let nonces = self.seed.wrapping_add(index as u128);
            let clock = self.clock.clone();
            let worker = Worker { index, blue, green, clock, nonces, spent: Spent::default() };
            helpers.spawn(worker.run(work, says_queue.clone()));
        }
        helpers.spawn(explain_rows(self.explainer, explain_queue, explained_queue));
        let mut ledger = JoinSet::new();
        ledger.spawn(keep_ledger(self.ledger, ledger_queue, ledger_said));
        let mut turn = Turn {
            idle: (0..jobs.len()).collect(),
            core: self.core,
            observer: self.observer,
            circumstances: self.circumstances,
            rereads: self.rereads,
            unsent: VecDeque::new(),
            jobs,
            ledger_asks,
            explain_asks,
            held: None,
            news_asked: false,
            write_next: false,
        };
        let mut inputs = Inputs { worker_says, ledger_says, explained };
        let mut clock = self.clock;
        let ended = turn.follow(&mut inputs, &mut helpers, &mut ledger, shutdown, &mut clock).await;
        // Readers end first: what they still read would not be taken in. Then what is known is written.
        drop(helpers);
        let Turn { mut core, observer, ledger_asks, .. } = turn;
        let last = clock.now();
        core.tick(last);
        let entries = core.take_writes();
        let written = tokio::select! {
            biased;
            written = finish(ledger_asks, entries, inputs.ledger_says, &mut ledger) => written,
            () = until(Millis(last.0 + GRACE_MS), &mut clock) => Ok(()),
        };
        observer.report(&core.report(last));
        ended.and(written)
    }
}

/// Hands the ledger what is left and waits until it is durable.
async fn finish(
    asks: mpsc::Sender<LedgerAsk>,
    entries: Vec<understudy_contract::LedgerWrite>,
    says: mpsc::Receiver<LedgerSays>,
    ledger: &mut JoinSet<Result<(), Failure>>,
) -> Result<(), Failure> {
    // What the ledger still says is of no use, and must not keep it waiting.
    drop(says);
    if !entries.is_empty() {
        // A ledger that is gone has failed, and its failure is told below.
        let _ = asks.send(LedgerAsk::Write(entries)).await;
    }
    drop(asks);
    ledger.join_next().await.map_or(Ok(()), joined)
}

/// Resolves at a moment.
async fn until(moment: Millis, clock: &mut impl Clock) {
    while clock.now() < moment {
        clock.tick().await;
    }
}

fn joined(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    ended.unwrap_or_else(|crash| {
        Err(Failure::new(Class::Internal, "a task of verification ended unexpectedly").caused_by(crash))
    })
}

/// Where events come from.
struct Inputs {
    worker_says: mpsc::Receiver<WorkerSays>,
    ledger_says: mpsc::Receiver<LedgerSays>,
    explained: mpsc::Receiver<Explained>,
}

/// The core and what surrounds it.
struct Turn<O> {
    core: VerifyCore,
    observer: Arc<O>,
    circumstances: watch::Receiver<Circumstances>,
    rereads: mpsc::Sender<(RouteId, HealKey)>,
    unsent: VecDeque<(RouteId, HealKey)>,
    jobs: Vec<mpsc::Sender<Job>>,
    idle: Vec<usize>,
    ledger_asks: mpsc::Sender<LedgerAsk>,
    explain_asks: mpsc::Sender<Explain>,
    /// A question that found no room.
    held: Option<Explain>,
    news_asked: bool,
    /// Whether the second is over since the last write.
    write_next: bool,
}

impl<O: VerifyObserver> Turn<O> {
    async fn follow<C: Clock>(
        &mut self,
        inputs: &mut Inputs,
        helpers: &mut JoinSet<Result<(), Failure>>,
        ledger: &mut JoinSet<Result<(), Failure>>,
        shutdown: impl Future<Output = ()> + Send,
        clock: &mut C,
    ) -> Result<(), Failure> {
        tokio::pin!(shutdown);
        let mut second = clock.now();
        self.look_around(clock.now());
        loop {
            let now = clock.now();
            if now.since(second) >= SECOND_MS {
                second = now;
                self.on_second(now);
            }
            self.give_work(now);
            tokio::select! {
                biased;
                // 1: the end.
                () = &mut shutdown => return Ok(()),
                Some(ended) = ledger.join_next() => return joined(ended).and(Err(ended_early())),
                Some(ended) = helpers.join_next() => return joined(ended).and(Err(ended_early())),
                // 2: what was found is written and told before more is looked for.
                Some(says) = inputs.ledger_says.recv() => self.on_ledger(says, clock.now()),
                Some(says) = inputs.explained.recv() => {
                    self.core.on_explained(&says.explain, says.evaluated.as_deref(), clock.now());
                }
                Some(says) = inputs.worker_says.recv() => {
                    self.idle.push(says.worker);
                    self.core.on_done(says.done, clock.now());
                }
                // 3: the world around.
                Ok(()) = self.circumstances.changed() => self.look_around(clock.now()),
                () = clock.tick() => {}
            }
            if self.core.is_urgent() && !self.write_next {
                self.write_next = true;
                self.core.tick(clock.now());
                self.observer.report(&self.core.report(clock.now()));
            }
            self.write();
            self.send_rereads();
        }
    }

    fn look_around(&mut self, now: Millis) {
        let circumstances = self.circumstances.borrow_and_update().clone();
        self.core.set_circumstances(&circumstances, now);
    }

    fn on_second(&mut self, now: Millis) {
        self.core.tick(now);
        self.write_next = true;
        if !self.news_asked {
            self.news_asked = self.ledger_asks.try_send(LedgerAsk::News).is_ok();
        }
        self.observer.report(&self.core.report(now));
    }

    fn on_ledger(&mut self, says: LedgerSays, now: Millis) {
        match says {
            LedgerSays::Written => {}
            LedgerSays::News(news) => {
                self.news_asked = false;
                self.core.on_news(news, now);
            }
        }
    }

    fn give_work(&mut self, now: Millis) {
        let idle = std::mem::take(&mut self.idle);
        for worker in idle {
            match self.core.next_job(worker, now) {
                // A worker that is gone has failed, and its failure ends the loop.
                Some(job) => drop(self.jobs[worker].try_send(job)),
                None => self.idle.push(worker),
            }
        }
        while let Some(explain) = self.held.take().or_else(|| self.core.next_explain()) {
            if let Err(mpsc::error::TrySendError::Full(explain)) = self.explain_asks.try_send(explain) {
                self.held = Some(explain);
                return;
            }
        }
    }

    /// What was gathered goes to the ledger in one piece, as soon as it has room. Why it is gone, the loop tells.
    fn write(&mut self) {
        if !self.write_next {
            return;
        }
        if let Ok(permit) = self.ledger_asks.try_reserve() {
            self.write_next = false;
            let entries = self.core.take_writes();
            if !entries.is_empty() {
                permit.send(LedgerAsk::Write(entries));
            }
        }
    }

    /// Replication hears of rows as it has room.
    fn send_rereads(&mut self) {
        self.unsent.extend(self.core.take_rereads());
        while let Some(reread) = self.unsent.pop_front() {
            if let Err(error) = self.rereads.try_send(reread) {
                let (mpsc::error::TrySendError::Full(reread) | mpsc::error::TrySendError::Closed(reread)) =
                    error;
                self.unsent.push_front(reread);
                return;
            }
        }
    }
}

fn ended_early() -> Failure {
    Failure::new(Class::Internal, "a part of verification ended early")
}
