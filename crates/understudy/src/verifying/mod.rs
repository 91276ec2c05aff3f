//! Verification beside the pipeline: connects both sides and the ledger, compares until the attempt ends, and connects again
//! by itself after a failure. What fails here never ends replication; the gate stays closed meanwhile.

mod beside;
mod evaluate;
mod sides;
mod surroundings;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use understudy_contract::{Class, ComparedRoute, Failure, VerifyLedger as _};
use understudy_model::{HealKey, Key, RouteId};
use understudy_postgres::readiness::ReadinessPlan;
use understudy_postgres::source::chunk_reader::PostgresChunkReader;
use understudy_postgres::verify::ReadLimits;
use understudy_replicate::Reread;
use understudy_transform::RouteSpec;
use understudy_transform::expr::SqlType;
use understudy_verify::{
    ChangedRows, Circumstances, Clock, Drive, Explainer, Millis, VerifyCore, VerifyLimits, VerifyObserver,
    VerifyReport, VerifyStart,
};

use crate::faults::TestFaults;
use crate::gate::VerifyBoard;
use crate::mapping::Drawn;
use crate::settings::{Settings, VerifySettings};
pub(crate) use beside::Beside;
use evaluate::Evaluator;
use sides::{Blue, ItemSides, ServerSides, Sides};
pub(crate) use sides::{Items, reader_settings};

/// First pause after a failure; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The beat of the verifier's clock.
const TICK: Duration = Duration::from_millis(20);

/// The most rows that one read brings, as a multiple of the usual range.
const ROWS_MAX_FACTOR: u64 = 4;

/// The most bytes that one read brings.
const BYTES_MAX: usize = 64 << 20;

/// How long a search of blue for rows by their keys on green may take, where those are computed.
const THOROUGH_MAX: Duration = Duration::from_secs(120);

/// How long a read of green waits until green has applied what is asked for. Well beyond the lag that a log and its settings
/// may have for good: a shorter wait would read blue anew each time, and never come to an end.
const GREEN_PATIENCE: Duration = Duration::from_secs(30);

/// Rows to be read again that may wait for the pipeline.
const REREADS_MAX: usize = 1_024;

/// What is compared, as an attempt found it.
#[derive(Clone)]
pub(crate) struct Subject {
    /// The routes.
    routes: Arc<[ComparedRoute]>,
    /// The same as replication has them, each with the object id of its table on blue.
    specs: Vec<(RouteSpec, u32)>,
    /// For each column of a route whether updates may leave its value out.
    large: BTreeMap<RouteId, Vec<bool>>,
    /// What both servers are examined for.
    readiness: ReadinessPlan,
    /// Where green is DynamoDB.
    items: Option<Items>,
}

impl Subject {
    /// Of the routes of an attempt.
    pub(crate) fn of(settings: &Settings, drawn: &[Drawn<'_>], routes: Vec<ComparedRoute>) -> Subject {
        let large = |one: &Drawn<'_>| {
            let columns = one.spec.columns.iter().map(|column| {
                let green = one.green.as_ref();
                let known =
                    green.and_then(|green| green.columns.iter().find(|known| known.name == column.name));
                known.is_none_or(|known| is_large(&known.ty))
            });
            (one.spec.id, columns.collect())
        };
        Subject {
            routes: routes.into(),
            specs: drawn.iter().map(|one| (one.spec.clone(), one.taken.table.oid)).collect(),
            large: drawn.iter().map(large).collect(),
            readiness: surroundings::readiness_plan(settings, drawn),
            items: None,
        }
    }

    /// Of an attempt whose green is DynamoDB.
    pub(crate) fn of_items(settings: &Settings, drawn: &[Drawn<'_>], items: Items) -> Subject {
        let routes = items.stored.iter().map(|stored| stored.compared.clone()).collect();
        Subject { items: Some(items), ..Subject::of(settings, drawn, routes) }
    }
}

/// Whether values of a type can be stored apart from their row.
fn is_large(ty: &SqlType) -> bool {
    matches!(
        ty.base(),
        SqlType::Text
            | SqlType::Varchar
            | SqlType::Bpchar
            | SqlType::Bytea
            | SqlType::Numeric
            | SqlType::Json
            | SqlType::Jsonb
            | SqlType::Array(_)
            | SqlType::Opaque(_)
    )
}

/// What verification shares with the rest of the process, over all attempts.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Rows that replication has changed.
    pub(crate) changed: Arc<ChangedRows>,
    /// What is known of the world around.
    pub(crate) circumstances: Arc<watch::Sender<Circumstances>>,
    /// Where what is known is put up.
    pub(crate) board: Arc<VerifyBoard>,
    /// Faults that tests ask for.
    pub(crate) faults: TestFaults,
    /// The beginning of the verifier's time.
    epoch: Instant,
}

impl Shared {
    pub(crate) fn new(settings: &VerifySettings, board: Arc<VerifyBoard>, faults: TestFaults) -> Shared {
        Shared {
            changed: Arc::new(ChangedRows::new(settings.changed_rows)),
            circumstances: Arc::new(watch::Sender::new(Circumstances::default())),
            board,
            faults,
            epoch: Instant::now(),
        }
    }

    /// Now, as the verifier counts.
    pub(crate) fn now(&self) -> Millis {
        Millis(u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// Verification of one attempt.
struct Verifying<S> {
    settings: VerifySettings,
    /// Blue, for reading rows as replication reads them.
    reading: Blue,
    sides: Arc<S>,
    subject: Subject,
    shared: Shared,
}

/// Verification while it runs.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    task: JoinSet<()>,
}

/// Starts verification. `rereads` takes rows that are to be read again.
pub(crate) fn start(
    settings: &Settings,
    subject: Subject,
    shared: Shared,
    rereads: mpsc::Sender<Reread>,
) -> Result<Running, Failure> {
    let role = settings.name.application_name("verify");
    let blue = Blue {
        name: settings.name.clone(),
        options: settings.blue.clone().with_application_name(&role),
        routes: subject.routes.clone(),
    };
    let (own, reading) = (settings.verify.clone(), blue.clone());
    Ok(match subject.items.clone() {
        Some(items) => {
            let sides = Arc::new(ItemSides { blue, items });
            Verifying { settings: own, reading, sides, subject, shared }.start(rereads)
        }
        None => {
            let green = settings.green_postgres()?.clone();
            let to_read = green.clone().with_application_name(&role);
            let sides = Arc::new(ServerSides { blue, reading: to_read, green });
            Verifying { settings: own, reading, sides, subject, shared }.start(rereads)
        }
    })
}

impl<S: Sides> Verifying<S> {
    fn start(self, rereads: mpsc::Sender<Reread>) -> Running {
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(Arc::new(self).run(rereads, stopped));
        Running { stop, task }
    }

    async fn run(self: Arc<Self>, rereads: mpsc::Sender<Reread>, mut stopped: watch::Receiver<bool>) {
        let mut pause = PAUSE_MIN;
        loop {
            let began = Instant::now();
            // In a task of its own, so that a defect of ours ends the attempt and not the watch over it.
            let mut attempt = JoinSet::new();
            attempt.spawn(Box::pin(self.clone().attempt(rereads.clone(), stopped.clone())));
            let failure = match attempt.join_next().await {
                Some(Ok(Ok(()))) | None => return,
                Some(Ok(Err(failure))) => failure,
                Some(Err(crash)) => {
                    Failure::new(Class::Internal, "verification ended unexpectedly").caused_by(crash)
                }
            };
            tracing::warn!(error = %failure, "verification starts again");
            self.shared.board.unverified(failure.to_string());
            if began.elapsed() > PAUSE_MAX {
                pause = PAUSE_MIN;
            }
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Compares until it is stopped, which ends it in order, or until something fails.
    async fn attempt(
        self: Arc<Self>,
        rereads: mpsc::Sender<Reread>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let drive = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            drive = self.connect() => drive,
        };
        let (drive, mut wanted) = drive?;
        let forward = async {
            while let Some((route, key)) = wanted.recv().await {
                // A pipeline that is gone ends this attempt too.
                if rereads.send(Reread::Row { route, key }).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let run = drive.run(async {
            // A sender that is dropped ends it too.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        });
        tokio::select! {
            biased;
            ended = run => ended,
            () = forward => Ok(()),
        }
    }

    async fn connect(&self) -> Result<(Driven<S>, mpsc::Receiver<(RouteId, HealKey)>), Failure> {
        let shared = &self.shared;
        let mut ledger = self.sides.ledger().await?;
        let saved = ledger.claim().await?;
        let specs = self.subject.specs.iter().map(|(spec, _)| spec.clone()).collect::<Vec<_>>();
        let mut readers = Vec::with_capacity(self.settings.workers);
        for _ in 0..self.settings.workers {
            let (blue, green) = self.sides.readers(self.limits()).await?;
            readers.push((blue, shared.faults.green(green, &specs)));
        }
        let reader = PostgresChunkReader::connect(&self.reading.options, self.reading.prefix()).await?;
        let evaluator = Evaluator::new(reader, self.subject.specs.iter().cloned(), shared.faults.clone())?;
        let start = VerifyStart {
            routes: self.subject.routes.to_vec(),
            large: self.subject.large.clone(),
            saved,
            settings: self.pace(),
        };
        let core = VerifyCore::new(start, shared.changed.clone(), shared.now())?;
        let (wants, wanted) = mpsc::channel(REREADS_MAX);
        let drive = Drive {
            core,
            readers,
            ledger,
            explainer: Explaining { evaluator, sides: self.sides.clone() },
            observer: Arc::new(Posting(shared.board.clone())),
            circumstances: shared.circumstances.subscribe(),
            rereads: wants,
            clock: TokioClock::new(shared.epoch),
            seed: u128::from(rand::rng().next_u64()) << 64,
        };
        Ok((drive, wanted))
    }

    fn limits(&self) -> ReadLimits {
        ReadLimits {
            // Twice the time that is aimed at: a read that takes a little longer than that is not in vain.
            statement: self.settings.max_read_time * 2,
            thorough: THOROUGH_MAX,
            rows_max: usize::try_from(self.settings.range_rows * ROWS_MAX_FACTOR).unwrap_or(usize::MAX),
            bytes_max: BYTES_MAX,
            green_patience: GREEN_PATIENCE,
        }
    }

    fn pace(&self) -> understudy_verify::VerifySettings {
        let settings = &self.settings;
        understudy_verify::VerifySettings {
            range_rows: settings.range_rows,
            limits: VerifyLimits {
                rows_per_second: settings.rows_per_second,
                busy: settings.busy,
                max_active_sessions: settings.max_active_sessions,
                max_replica_lag: settings.max_replica_lag,
                max_read_time: settings.max_read_time,
                yield_at_lag: settings.yield_at_lag,
                pass_pause: settings.pass_pause,
            },
            seed: rand::rng().next_u64(),
        }
    }
}

impl Running {
    /// Ends it in order: what is known is written down first.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        // Nothing of it counts but the ledger, and that is whole at any moment.
        let _ = tokio::time::timeout(Duration::from_secs(8), self.task.join_next()).await;
        self.task.shutdown().await;
    }
}

/// Verification over two sides.
type Driven<S> = Drive<
    <S as Sides>::Blue,
    crate::faults::FaultyGreen<<S as Sides>::Green>,
    <S as Sides>::Ledger,
    Explaining<S>,
    Posting,
    TokioClock,
>;

/// Puts up what is known.
struct Posting(Arc<VerifyBoard>);

impl VerifyObserver for Posting {
    fn report(&self, report: &VerifyReport) {
        self.0.verified(report);
    }
}

/// Asks our own evaluator.
struct Explaining<S> {
    evaluator: Evaluator,
    sides: Arc<S>,
}

impl<S: Sides> Explainer for Explaining<S> {
    async fn evaluated(
        &mut self,
        route: RouteId,
        blue: &Key,
    ) -> Result<Option<Vec<Option<Box<str>>>>, Failure> {
        let values = self.evaluator.evaluated(route, blue).await?;
        Ok(values.map(|values| self.sides.shown(route, values)))
    }
}

/// The process's own clock.
struct TokioClock {
    epoch: Instant,
    interval: Interval,
}

impl TokioClock {
    fn new(epoch: Instant) -> TokioClock {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        TokioClock { epoch, interval }
    }
}

/// A clock that beats on its own and shows the same time.
impl Clone for TokioClock {
    fn clone(&self) -> TokioClock {
        TokioClock::new(self.epoch)
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Millis {
        Millis(u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn tick(&mut self) {
        self.interval.tick().await;
    }
}
