//! The load: clients that change the shop at a steady rate and remember each operation that blue acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use understudy_contract::{Class, Failure};
use understudy_postgres::wire::{Client, ConnectOptions};

use super::shop::Scale;

mod operation;
mod probe;
mod record;

pub use operation::{Kind, OperationId, Tracked};
pub use probe::{Delays, Pace, ProbeSql, measure};
pub use record::{Journal, Proof, Record};

use operation::Sql;

/// How hard the load works.
#[derive(Debug, Clone)]
pub struct LoadSettings {
    /// Clients, each with a connection of its own.
    pub clients: u8,
    /// Operations a second over all clients.
    pub rate: f64,
    /// What there is to work on.
    pub scale: Scale,
    /// Where committed operations are written at once, besides memory.
    pub journal: Option<Journal>,
}

/// What the clients have done so far.
#[derive(Debug, Default)]
pub struct Counters {
    committed: AtomicU64,
    refused: AtomicU64,
    reconnects: AtomicU64,
    failed: AtomicBool,
}

impl Counters {
    /// Operations that blue acknowledged.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Operations that blue refused, since two clients met or a row was gone.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Connections that were lost and made again.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    clients: JoinSet<Result<Record, Failure>>,
    stop: Arc<AtomicBool>,
    counters: Arc<Counters>,
    run: u32,
}

impl Load {
    /// Connects the clients and starts them.
    pub async fn start(blue: &ConnectOptions, settings: LoadSettings) -> Result<Load, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let counters = Arc::new(Counters::default());
        let run = seconds_now();
        let mut clients = JoinSet::new();
        for number in 0..settings.clients {
            let worker = Worker {
                options: blue.clone().with_application_name("shop"),
                client: Some(Client::connect(blue).await?),
                number,
                run,
                scale: settings.scale,
                record: Record::with_journal(settings.journal.clone()),
                counters: counters.clone(),
            };
            let pause = Duration::from_secs_f64(f64::from(settings.clients) / settings.rate.max(0.001));
            let (stop, counters) = (stop.clone(), counters.clone());
            clients.spawn(async move {
                let ended = worker.work(pause, stop).await;
                counters.failed.fetch_or(ended.is_err(), Ordering::Relaxed);
                ended
            });
        }
        Ok(Load { clients, stop, counters, run })
    }

    /// What has been done so far.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Numbers for a probe beside this load: no client uses them.
    pub const fn probe_numbers(&self) -> i64 {
        OperationId::new(self.run, OperationId::CLIENT_MAX, 0).raw()
    }

    /// Whether a client gave up; `stop` tells why.
    pub fn failed(&self) -> bool {
        self.counters.failed.load(Ordering::Relaxed)
    }

    /// Lets each client finish its operation, and gathers what they know.
    pub async fn stop(mut self) -> Result<Record, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut record = Record::default();
        while let Some(ended) = self.clients.join_next().await {
            let ended = ended
                .map_err(|error| Failure::new(Class::Internal, format!("a load client ended: {error}")))?;
            record.absorb(ended?);
        }
        Ok(record)
    }
}

/// The ledger as a probe's target: written on blue as operations, looked for on green.
pub fn ledger_probe() -> ProbeSql {
    ProbeSql {
        write: "INSERT INTO shop.operations (operation, kind) VALUES ({n}, 'probe')".to_owned(),
        read: "SELECT max(operation) FROM store.operations".to_owned(),
    }
}

fn seconds_now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() & 0x7FFF_FFFF).unwrap_or_default()
}

/// One client of the load.
struct Worker {
    options: ConnectOptions,
    client: Option<Client>,
    number: u8,
    run: u32,
    scale: Scale,
    record: Record,
    counters: Arc<Counters>,
}

impl Worker {
    async fn work(mut self, pause: Duration, stop: Arc<AtomicBool>) -> Result<Record, Failure> {
        let mut random = StdRng::seed_from_u64(u64::from(self.run) << 8 | u64::from(self.number));
        let mut ticks = tokio::time::interval(pause);
        // A stall is made up for, so that the rate holds.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            let id = OperationId::new(self.run, self.number, count);
            count += 1;
            let kind = Kind::pick(&mut random);
            let sql = kind.sql(id, &self.scale, &mut random);
            let Some(mut client) = self.connected(&stop).await? else {
                break;
            };
            let outcome = perform(&mut client, kind, &sql).await;
            self.client = self.settle(client, id, kind, outcome).await?;
        }
        Ok(self.record)
    }

    /// Notes what came of an operation. Answers with the connection while it can still be used.
    async fn settle(
        &mut self,
        mut client: Client,
        id: OperationId,
        kind: Kind,
        outcome: Result<Outcome, Failure>,
    ) -> Result<Option<Client>, Failure> {
        match outcome {
            Ok(Outcome::Committed(counter)) => {
                self.counters.committed.fetch_add(1, Ordering::Relaxed);
                let counter = kind
                    .tracked()
                    .zip(counter)
                    .map(|(tracked, (subject, revision))| (tracked, subject, revision));
                self.record.committed(id, counter)?;
                Ok(Some(client))
            }
            Ok(Outcome::RolledBack) => {
                self.record.rolled_back(id);
                Ok(Some(client))
            }
            Ok(Outcome::NothingToDo) => Ok(Some(client)),
            Err(failure) if failure.class() == Class::Data => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                self.record.rolled_back(id);
                Ok(client.batch("ROLLBACK").await.is_ok().then_some(client))
            }
            // A deadlock is among these, and so is a server that stops: whether the commit took place is open.
            Err(failure) if failure.class() == Class::Transient => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                self.record.in_doubt(id);
                Ok(None)
            }
            Err(failure) => Err(failure.while_doing("change the shop")),
        }
    }

    /// The connection, made again with growing pauses when it was lost; `None` when the load stops meanwhile.
    async fn connected(&mut self, stop: &AtomicBool) -> Result<Option<Client>, Failure> {
        if let Some(client) = self.client.take() {
            return Ok(Some(client));
        }
        let mut pause = Duration::from_millis(20);
        while !stop.load(Ordering::Relaxed) {
            match Client::connect(&self.options).await {
                Ok(client) => {
                    self.counters.reconnects.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(client));
                }
                Err(failure) if failure.class() == Class::Transient => {}
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        Ok(None)
    }
}

/// How an operation ended.
enum Outcome {
    /// Committed, with subject and counter where the statement answers with them.
    Committed(Option<(i64, i64)>),
    RolledBack,
    /// It found no row to work on.
    NothingToDo,
}

async fn perform(client: &mut Client, kind: Kind, sql: &Sql) -> Result<Outcome, Failure> {
    match sql {
        Sql::Several(sql) => {
            client.batch(sql).await?;
            Ok(if kind.rolls_back() { Outcome::RolledBack } else { Outcome::Committed(None) })
        }
        Sql::One(sql) => {
            let rows = client.query(sql).await?;
            let Some(row) = rows.first() else {
                return Ok(Outcome::NothingToDo);
            };
            let counter = row.optional(0)?.zip(row.optional(1)?);
            Ok(Outcome::Committed(counter))
        }
    }
}
