//! The tasks beside the loop: readers of both sides, the ledger, and the one that asks replication's evaluator.

use tokio::sync::mpsc;
use understudy_contract::{
    Answer, BlueRead, BlueRows, Detail, Failure, GreenRead, GreenRows, KeyRange, LedgerNews, LedgerWrite,
    RowName, RowSeen, VerifyLedger, Which,
};
use understudy_model::{Key, Lsn, Nonce, RouteId};

use crate::circumstances::Clock;
use crate::core::{Audit, Brought, Done, Explain, Job, Side, Task};
use crate::drive::Explainer;
use crate::throttle::Spent;

/// Rows that are looked up by name in one read.
const NAMES_AT_ONCE: usize = 2_000;

/// What a worker says when it has done a job.
#[derive(Debug)]
pub(crate) struct WorkerSays {
    pub(crate) worker: usize,
    pub(crate) done: Done,
}

/// A connection to each side.
pub(crate) struct Worker<B, G, C> {
    pub(crate) index: usize,
    pub(crate) blue: B,
    pub(crate) green: G,
    pub(crate) clock: C,
    pub(crate) nonces: u128,
    pub(crate) spent: Spent,
}

/// Unwraps an answer, or returns why there is none.
macro_rules! read {
    ($answer:expr) => {
        match $answer {
            Ok(read) => read,
            Err(why) => return Ok(Err(why)),
        }
    };
}

impl<B: BlueRows, G: GreenRows, C: Clock> Worker<B, G, C> {
    /// Reads as told until the queue is closed.
    pub(crate) async fn run(
        mut self,
        mut jobs: mpsc::Receiver<Job>,
        says: mpsc::Sender<WorkerSays>,
    ) -> Result<(), Failure> {
        while let Some(job) = jobs.recv().await {
            self.spent = Spent::default();
            let answer = self.read(job.route, job.task).await?;
            let done = Done { id: job.id, spent: self.spent, answer };
            if says.send(WorkerSays { worker: self.index, done }).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn read(&mut self, route: RouteId, task: Task) -> Result<Answer<Brought>, Failure> {
        match task {
            Task::Boundary { side, after, rows } => {
                let begun = self.clock.now();
                let (key, spent_ms) = match side {
                    Side::Blue => {
                        (self.blue.boundary(route, after.as_ref(), rows).await?, &mut self.spent.blue_ms)
                    }
                    Side::Green => {
                        (self.green.boundary(route, after.as_ref(), rows).await?, &mut self.spent.green_ms)
                    }
                };
                *spent_ms += self.clock.now().since(begun);
                Ok(key.map(Brought::Boundary))
            }
            Task::Digests(range) => {
                let begun = self.clock.now();
                let blue = read!(self.blue.digest(route, &range).await?);
                self.spent.blue_ms += self.clock.now().since(begun);
                self.mark().await?;
                let begun = self.clock.now();
                let green = read!(self.green.digest(route, &range, blue.moment.lsn).await?);
                self.spent.green_ms += self.clock.now().since(begun);
                Ok(Ok(Brought::Digests(blue, green)))
            }
            Task::Both(range) => {
                let which = Which::Range(range);
                let blue = read!(self.blue_rows(route, &which, Detail::Digests).await?);
                self.mark().await?;
                let green = read!(self.green_rows(route, &which, Detail::Digests, blue.moment.lsn).await?);
                Ok(Ok(Brought::Rows(blue, green)))
            }
            Task::Audit(range) => self.audit(route, range).await,
            Task::FromBlue(range) => self.rows_of_blue(route, range).await,
            Task::FromGreen { range, thorough } => self.rows_of_green(route, range, thorough).await,
            Task::Names { names, detail, thorough } => self.names(route, (names, detail), thorough).await,
        }
    }

    async fn audit(&mut self, route: RouteId, range: KeyRange) -> Result<Answer<Brought>, Failure> {
        let which = Which::Range(range.clone());
        let blue_before = read!(self.blue_rows(route, &which, Detail::Digests).await?);
        let blue_digest = read!(self.blue.digest(route, &range).await?);
        let blue_after = read!(self.blue_rows(route, &which, Detail::Digests).await?);
        self.mark().await?;
        let upto = blue_after.moment.lsn;
        let green_before = read!(self.green_rows(route, &which, Detail::Digests, upto).await?);
        let green_digest = read!(self.green.digest(route, &range, upto).await?);
        let green_after = read!(self.green_rows(route, &which, Detail::Digests, upto).await?);
        let audit = Audit { blue_before, blue_digest, blue_after, green_before, green_digest, green_after };
        Ok(Ok(Brought::Audit(Box::new(audit))))
    }

    async fn rows_of_blue(&mut self, route: RouteId, range: KeyRange) -> Result<Answer<Brought>, Failure> {
        let blue = read!(self.blue_rows(route, &Which::Range(range), Detail::Digests).await?);
        self.mark().await?;
        let mut green = Vec::new();
        for names in pieces(&blue.value) {
            let which = Which::Names(names);
            green.push(read!(self.green_rows(route, &which, Detail::Digests, blue.moment.lsn).await?));
        }
        Ok(Ok(Brought::FromBlue(blue, green)))
    }

    async fn rows_of_green(
        &mut self,
        route: RouteId,
        range: KeyRange,
        thorough: bool,
    ) -> Result<Answer<Brought>, Failure> {
        let which = Which::Range(range);
        let green = read!(self.green_rows(route, &which, Detail::Digests, Lsn::ZERO).await?);
        let mut blue = Vec::new();
        if thorough && green.value.iter().any(|row| row.name.blue.is_none()) {
            // One search of all of blue, however many keys: each costs a look at every row. What is found under the name on
            // blue that green's row tells needs none; what is not is settled row by row.
            let keys: Vec<Key> = green.value.iter().map(|row| row.name.green.clone()).collect();
            blue.push(read!(self.blue_rows(route, &Which::Thorough(keys), Detail::Digests).await?));
        } else {
            for names in pieces(&green.value) {
                blue.push(read!(self.blue_rows(route, &Which::Names(names), Detail::Digests).await?));
            }
        }
        Ok(Ok(Brought::FromGreen(green, blue)))
    }

    async fn names(
        &mut self,
        route: RouteId,
        (names, detail): (Vec<RowName>, Detail),
        thorough: bool,
    ) -> Result<Answer<Brought>, Failure> {
        let by_name = Which::Names(names);
        let blue = match (&by_name, thorough) {
            (Which::Names(names), true) => {
                let keys = names.iter().map(|name| name.green.clone()).collect();
                self.blue_rows(route, &Which::Thorough(keys), detail).await?
            }
            (which, _) => self.blue_rows(route, which, detail).await?,
        };
        let blue = read!(blue);
        self.mark().await?;
        let green = read!(self.green_rows(route, &by_name, detail, blue.moment.lsn).await?);
        Ok(Ok(Brought::Rows(blue, green)))
    }

    async fn blue_rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
    ) -> Result<Answer<BlueRead<Vec<RowSeen>>>, Failure> {
        let begun = self.clock.now();
        let answer = self.blue.rows(route, which, detail).await?;
        self.spent.blue_ms += self.clock.now().since(begun);
        Ok(answer)
    }

    async fn green_rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
        at_least: Lsn,
    ) -> Result<Answer<GreenRead<Vec<RowSeen>>>, Failure> {
        let begun = self.clock.now();
        let answer = self.green.rows(route, which, detail, at_least).await?;
        self.spent.green_ms += self.clock.now().since(begun);
        Ok(answer)
    }

    /// Takes the stream beyond what was just read of blue, also where nobody else writes.
    async fn mark(&mut self) -> Result<(), Failure> {
        self.nonces = self.nonces.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(1);
        self.blue.mark(Nonce(self.nonces)).await
    }
}

/// Names in pieces; one empty piece where there is none, since that read too tells a moment.
fn pieces(rows: &[RowSeen]) -> Vec<Vec<RowName>> {
    let name = |row: &RowSeen| {
        let blue = row.name.blue.clone();
        RowName { green: row.name.green.clone(), blue }
    };
    let pieces: Vec<_> = rows.chunks(NAMES_AT_ONCE).map(|rows| rows.iter().map(name).collect()).collect();
    if pieces.is_empty() { vec![Vec::new()] } else { pieces }
}

/// What is asked of the ledger.
#[derive(Debug)]
pub(crate) enum LedgerAsk {
    Write(Vec<LedgerWrite>),
    News,
}

/// What the ledger says.
#[derive(Debug)]
pub(crate) enum LedgerSays {
    Written,
    News(LedgerNews),
}

/// Keeps the ledger, as told, until the queue is closed.
pub(crate) async fn keep_ledger<L: VerifyLedger>(
    mut ledger: L,
    mut asks: mpsc::Receiver<LedgerAsk>,
    says: mpsc::Sender<LedgerSays>,
) -> Result<(), Failure> {
    while let Some(ask) = asks.recv().await {
        let word = match ask {
            LedgerAsk::Write(entries) => {
                ledger.write(&entries).await?;
                LedgerSays::Written
            }
            LedgerAsk::News => LedgerSays::News(ledger.news().await?),
        };
        // What waits is written, also when nobody listens any more.
        let _ = says.send(word).await;
    }
    Ok(())
}

/// What replication makes of a row, or nothing.
#[derive(Debug)]
pub(crate) struct Explained {
    pub(crate) explain: Explain,
    pub(crate) evaluated: Option<Vec<Option<Box<str>>>>,
}

/// Asks replication's evaluator, as told, until the queue is closed.
pub(crate) async fn explain_rows<E: Explainer>(
    mut explainer: E,
    mut asks: mpsc::Receiver<Explain>,
    says: mpsc::Sender<Explained>,
) -> Result<(), Failure> {
    while let Some(explain) = asks.recv().await {
        let evaluated = explainer.evaluated(explain.route, &explain.blue).await?;
        if says.send(Explained { explain, evaluated }).await.is_err() {
            break;
        }
    }
    Ok(())
}
