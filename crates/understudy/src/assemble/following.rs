//! Following blue into a sink that remembers how far that went: green itself, or a log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use understudy_contract::{Blocker, BlueCatalog, ChangeSink, Class, Failure, Lineage, Saved, Unit};
use understudy_dynamodb::Judge as ItemsJudge;
use understudy_kafka::{KafkaSink, LogJudge};
use understudy_model::{Checkpoint, RouteId, Snapshot};
use understudy_postgres::preflight::TableDescription;
use understudy_postgres::sink::{Judge as GreenJudge, PostgresSink};
use understudy_postgres::source::catalog::PostgresCatalog;
use understudy_postgres::source::chunk_reader::PostgresChunkReader;
use understudy_postgres::source::followed::Followed;
use understudy_postgres::source::publication::PublishedTable;
use understudy_postgres::source::stream::{FeedbackTask, PostgresConfirm, PostgresStream, StartStream};
use understudy_postgres::source::{lineage, slot};
use understudy_postgres::wire::Client;
use understudy_replicate::{Core, CoreSettings, CoreStart, End, Observer, Pipeline, Reread};
use understudy_transform::RouteSpec;

use super::{Attempt, listed, ticks};
use crate::captured;
use crate::monitor::{Monitor, Watched};
use crate::prepare::{self, Beginning, Memory};
use crate::publishing;
use crate::routes;
use crate::supervise::Shutdown;

/// What Kafka is waited for to do when something has failed.
const TELL_WHOSE: &str = "tell whose its topics are";

/// What a start asks of whoever remembers how far blue was followed, beyond what the pipeline asks of a sink.
pub(crate) trait Keeper: ChangeSink + Sized + 'static {
    /// Whether it holds rows that a new copy may not remove, so that it may have to be empty before one.
    const HOLDS_ROWS: bool;

    /// In which state tables are in the publication: recorded with each as soon as it is followed.
    fn set_published(&mut self, published: Vec<(RouteId, String)>);

    /// Forgets routes that the migration had and has no more.
    fn forget_absent(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Forgets that routes were ever followed, and records the publication that they come through from now on.
    fn forget_routes(
        &mut self,
        routes: &[RouteId],
        publication: &str,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Records that a route is to be copied again from the start.
    fn start_again(&mut self, route: RouteId) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether green has rows of a route; `None`: whoever asks has to look by SQL.
    fn holds_rows(&mut self, route: RouteId) -> impl Future<Output = Result<Option<bool>, Failure>> + Send;

    /// Tells a failure from being superseded by a later instance.
    fn judged(&self, failure: Failure) -> impl Future<Output = Failure> + Send;

    /// What does the same for as long as somebody else has the sink.
    fn judge_alone(&self) -> Judge;
}

/// Finds out whether a failure is due to a later instance: by asking green who owns the migration, or the log.
pub(crate) enum Judge {
    Green(GreenJudge),
    Log(LogJudge),
    Items(ItemsJudge),
}

impl Judge {
    pub(super) async fn judge(&self, failure: Failure) -> Failure {
        match self {
            Judge::Green(green) => green.judge(failure).await,
            Judge::Log(log) => log.judge(failure).await,
            Judge::Items(items) => items.judge(failure).await,
        }
    }
}

impl Keeper for KafkaSink {
    // It holds rows for others, and none that a copy would have to meet.
    const HOLDS_ROWS: bool = false;

    fn set_published(&mut self, published: Vec<(RouteId, String)>) {
        KafkaSink::set_published(self, published);
    }

    async fn forget_absent(&mut self) -> Result<(), Failure> {
        KafkaSink::forget_absent(self).await
    }

    async fn forget_routes(&mut self, routes: &[RouteId], publication: &str) -> Result<(), Failure> {
        KafkaSink::forget_routes(self, routes, publication).await
    }

    async fn start_again(&mut self, route: RouteId) -> Result<(), Failure> {
        KafkaSink::start_again(self, route).await
    }

    async fn holds_rows(&mut self, _: RouteId) -> Result<Option<bool>, Failure> {
        Ok(None)
    }

    async fn judged(&self, failure: Failure) -> Failure {
        if self.is_claimed() { KafkaSink::judge_alone(self).judge(failure).await } else { failure }
    }

    fn judge_alone(&self) -> Judge {
        Judge::Log(KafkaSink::judge_alone(self))
    }
}

impl Keeper for PostgresSink {
    const HOLDS_ROWS: bool = true;

    fn set_published(&mut self, published: Vec<(RouteId, String)>) {
        PostgresSink::set_published(self, published);
    }

    async fn forget_absent(&mut self) -> Result<(), Failure> {
        PostgresSink::forget_absent(self).await
    }

    async fn forget_routes(&mut self, routes: &[RouteId], publication: &str) -> Result<(), Failure> {
        PostgresSink::forget_routes(self, routes, publication).await
    }

    async fn start_again(&mut self, route: RouteId) -> Result<(), Failure> {
        PostgresSink::start_again(self, route).await
    }

    async fn holds_rows(&mut self, _: RouteId) -> Result<Option<bool>, Failure> {
        Ok(None)
    }

    async fn judged(&self, failure: Failure) -> Failure {
        self.judge(failure).await
    }

    fn judge_alone(&self) -> Judge {
        Judge::Green(PostgresSink::judge_alone(self))
    }
}

/// Blue and a sink, compared and made ready.
pub(crate) struct Ready<K> {
    pub(crate) routes: Vec<RouteSpec>,
    pub(super) published: Vec<PublishedTable>,
    /// What of the publication the sink counts on from now on.
    followed: Followed,
    pub(super) sink: K,
    catalog: PostgresCatalog,
    pub(crate) saved: Saved,
    units: Vec<Unit>,
    units_before: Vec<Unit>,
    snapshot: Snapshot,
    slot_is_new: bool,
    publication_changed: bool,
    recopied: Vec<RouteId>,
}

/// Connections on which blue is read.
pub(crate) struct Reading {
    stream: PostgresStream,
    confirm: PostgresConfirm,
    feedback: FeedbackTask,
    readers: Vec<PostgresChunkReader>,
}

impl Attempt<'_> {
    /// Takes the migration over and brings publication, slot and what is remembered in line with each other.
    pub(crate) async fn make_ready<K: Keeper>(
        &self,
        mut blue: Client,
        mut sink: K,
        (routes, published, on_blue): (Vec<RouteSpec>, Vec<PublishedTable>, &[TableDescription]),
    ) -> Result<Ready<K>, Failure> {
        let listed = routes.iter().map(listed).collect::<Vec<_>>();
        let mut catalog = PostgresCatalog::connect(&self.blue("catalog"), self.prefix(), &listed).await?;
        let units_before = catalog.units().await?;
        let resumed = self.resume(&mut blue, &mut sink, (&routes, &published, on_blue)).await;
        let (saved, slot_is_new) = match resumed {
            Ok(resumed) => resumed,
            Err(failure) => return Err(self.judged(&sink, failure).await),
        };
        let changes = if K::HOLDS_ROWS {
            prepare::compare_routes(&saved, &routes, &self.options.recopy)?
        } else {
            captured::compare_tables(&saved, &routes, &self.options.recopy)?
        };
        if K::HOLDS_ROWS {
            self.may_join(&mut sink, (&saved, &routes), &changes.added).await?;
        }
        let in_line = self.publish(&mut blue, &mut sink, (&saved, &routes, &published)).await;
        let (tables_added, followed) = match in_line {
            Ok(in_line) => in_line,
            Err(failure) => return Err(self.judged(&sink, failure).await),
        };
        let publication_changed = tables_added || !changes.added.is_empty();
        let units = catalog.units().await?;
        let snapshot = catalog.snapshot().await?;
        if K::HOLDS_ROWS {
            self.may_copy_again(&mut sink, (&saved, &routes), (&changes.recopied, &units)).await?;
        }
        // Recorded at once and as one, so that a stop before the copy starts does not forget that it was asked for.
        for route in &changes.recopied {
            self.recording::<K, _>(sink.start_again(*route)).await?;
        }
        let recopied = changes.recopied;
        blue.close().await;
        Ok(Ready {
            routes,
            published,
            followed,
            sink,
            catalog,
            saved,
            units,
            units_before,
            snapshot,
            slot_is_new,
            publication_changed,
            recopied,
        })
    }

    /// Opens the connections on which blue is read.
    pub(crate) async fn read_blue<K: Keeper>(&self, ready: &Ready<K>) -> Result<Reading, Failure> {
        let (stream, confirm, feedback) = self.start_stream(ready).await?;
        self.status.source_connected(true);
        let readers = self.chunk_readers().await?;
        Ok(Reading { stream, confirm, feedback, readers })
    }

    /// Follows blue until asked to end, or until something fails. `plant` is between the pipeline and the sink; `beside`
    /// is awaited as soon as the pipeline has ended.
    pub(crate) async fn follow<K: Keeper, S: ChangeSink + 'static, O: Observer + 'static>(
        &self,
        (ready, reading): (Ready<K>, Reading),
        plant: impl FnOnce(K, &[RouteSpec]) -> S,
        (observer, rereads): (O, mpsc::Receiver<Reread>),
        (mut shutdown, beside): (Shutdown, impl Future<Output = ()>),
    ) -> Result<End, Failure> {
        let judge = ready.sink.judge_alone();
        let watched = Watched { tables: ready.published, followed: ready.followed };
        let asked = ready.routes.iter().filter(|route| self.options.recopy.contains(&route.source));
        let start = CoreStart {
            recopy_asked: asked.map(|route| route.id).collect(),
            units: ready.units,
            units_before: ready.units_before,
            snapshot: ready.snapshot,
            saved: ready.saved,
            slot_is_new: ready.slot_is_new,
            publication_changed: ready.publication_changed,
            recopy: ready.recopied,
            routes: ready.routes.clone(),
        };
        let pipeline = Pipeline {
            core: Core::new(CoreSettings { raw: !K::HOLDS_ROWS, ..self.core_settings() }, start)?,
            stream: reading.stream,
            readers: reading.readers,
            catalog: ready.catalog,
            sink: plant(ready.sink, &ready.routes),
            confirm: Arc::new(reading.confirm),
            observer: Arc::new(observer),
            rereads,
            limits: self.limits(),
        };
        let mut monitor = JoinSet::new();
        monitor.spawn(self.monitor(watched.clone()).run());
        let mut feedback_task = JoinSet::new();
        feedback_task.spawn(reading.feedback.run());
        let mut found = None;
        let until = async {
            tokio::select! {
                () = shutdown.requested() => {}
                Some(Ok(Err(failure))) = monitor.join_next() => found = Some(failure),
            }
        };
        let ended = Box::pin(pipeline.run(until, ticks)).await;
        drop(monitor);
        beside.await;
        // The last confirmation goes out before the connection does.
        let flushed = tokio::time::timeout(Duration::from_secs(1), feedback_task.join_next()).await;
        if flushed.is_err() {
            feedback_task.abort_all();
        }
        let is_schema = ended.as_ref().is_err_and(|failure| failure.class() == Class::SchemaChange);
        let looked = match found {
            Some(failure) => Err(failure),
            // What is called complete must not rest on a look that is a heartbeat old; and whoever notices first that a
            // table is gone, it is the publication that tells what has become of it.
            None if is_schema || matches!(ended, Ok(End::InOrder)) => self.monitor(watched).last_look().await,
            None => Ok(()),
        };
        match looked {
            Ok(()) => ended,
            Err(failure) => Err(self.keeping::<K, _>(TELL_WHOSE, judge.judge(failure)).await),
        }
    }

    async fn chunk_readers(&self) -> Result<Vec<PostgresChunkReader>, Failure> {
        let mut readers = Vec::with_capacity(self.settings.copy.readers);
        for _ in 0..self.settings.copy.readers {
            readers.push(PostgresChunkReader::connect(&self.blue("chunk"), self.prefix()).await?);
        }
        Ok(readers)
    }

    async fn start_stream<K: Keeper>(
        &self,
        ready: &Ready<K>,
    ) -> Result<(PostgresStream, PostgresConfirm, FeedbackTask), Failure> {
        let settings = self.settings;
        let start = StartStream {
            slot: settings.name.slot(),
            publication: settings.name.slot(),
            from: ready.saved.checkpoint,
            status_interval: settings.stream.status_interval,
            stall_timeout: settings.stream.stall_timeout,
            decoding_memory_bytes: settings.stream.decoding_memory,
        };
        match PostgresStream::start(&self.blue(routes::STREAM_ROLE), start).await {
            Ok(started) => Ok(started),
            Err(failure) => Err(self.judged(&ready.sink, failure).await),
        }
    }

    fn monitor(&self, watched: Watched) -> Monitor {
        Monitor {
            blue: self.blue("monitor"),
            slot: self.settings.name.slot(),
            watched,
            interval: self.settings.stream.heartbeat,
            budget_bytes: self.settings.wal.budget,
            status: self.status.clone(),
        }
    }

    /// Takes the migration over, and goes on from what green remembers or begins it. Whether its slot is new comes with it.
    async fn resume<K: Keeper>(
        &self,
        blue: &mut Client,
        sink: &mut K,
        (routes, tables, on_blue): (&[RouteSpec], &[PublishedTable], &[TableDescription]),
    ) -> Result<(Saved, bool), Failure> {
        let saved = self.keeping::<K, _>("hand its topics over", sink.claim()).await?;
        self.has_owned.store(true, Ordering::Relaxed);
        if saved.is_some() {
            // The stream confirms this checkpoint to blue as soon as it starts.
            self.await_durable(sink).await?;
        }
        let slot_name = self.settings.name.slot();
        let mut replication = Client::connect_replication(&self.blue("control")).await?;
        let now = match &saved {
            Some(saved) => lineage::verify(&mut replication, &saved.lineage, saved.checkpoint).await?,
            None => lineage::identify(&mut replication, &slot_name).await?.lineage,
        };
        replication.close().await;
        let state = slot::inspect(blue, &slot_name).await?;
        let memory = match self.settings.own_log() {
            Some(kafka) if !K::HOLDS_ROWS => Memory::Log { topic_prefix: kafka.topic_prefix.clone() },
            Some(_) | None => Memory::Green,
        };
        let found = prepare::beginning((saved.as_ref(), &memory), &slot_name, state.as_ref())?;
        if let Some(saved) = &saved {
            self.tell_of_left(blue, on_blue, saved).await?;
        }
        self.recording::<K, _>(sink.forget_absent()).await?;
        match (found, saved) {
            (Beginning::GoOn, Some(mut saved)) => {
                self.go_on(&saved, &now, sink).await?;
                self.close_gap(blue, sink, (&mut saved, routes)).await?;
                Ok((saved, false))
            }
            (Beginning::Fresh | Beginning::Unfinished | Beginning::GoOn, _) => {
                Ok((self.begin(blue, sink, (routes, tables), now).await?, true))
            }
        }
    }

    /// Creates the publication and the slot, so that a stop at any point is noticed and mended by the next start.
    async fn begin<K: Keeper>(
        &self,
        blue: &mut Client,
        sink: &mut K,
        (routes, tables): (&[RouteSpec], &[PublishedTable]),
        now: Lineage,
    ) -> Result<Saved, Failure> {
        let name = now.slot.as_str();
        self.recording::<K, _>(sink.begin(&now, Checkpoint::default())).await?;
        slot::drop(blue, name, &self.prefix()).await?;
        let made = self.make_publication(blue, sink, (routes, tables)).await?;
        tracing::info!(slot = name, "creating the slot; it waits for transactions that are writing now");
        let status = self.status;
        let mut on_wait = |blockers: &[Blocker]| {
            let waits = blockers.iter().map(|blocker| blocker.description.clone()).collect();
            // What green shows is no matter of a capture.
            if K::HOLDS_ROWS {
                status.waiting_for(waits);
                status.beat();
            } else {
                status.capture_waits_for(waits);
                self.capture_lives();
            }
        };
        let patience = self.settings.stream.slot_create_timeout;
        let request = slot::CreateSlot { slot: name, patience, on_wait: &mut on_wait };
        let checkpoint = slot::create(&self.blue("control"), request).await?;
        let lineage = Lineage { publication: Some(made.version.clone()), ..now };
        self.recording::<K, _>(sink.begin(&lineage, checkpoint)).await?;
        Ok(publishing::begun(lineage, checkpoint, (routes, &made)))
    }

    /// Tells a failure from being superseded by a later instance, which whoever remembers is asked for.
    async fn judged<K: Keeper>(&self, sink: &K, failure: Failure) -> Failure {
        self.keeping::<K, _>(TELL_WHOSE, sink.judged(failure)).await
    }

    async fn go_on<K: Keeper>(&self, saved: &Saved, now: &Lineage, sink: &mut K) -> Result<(), Failure> {
        if saved.lineage.timeline != now.timeline {
            self.recording::<K, _>(sink.begin(now, saved.checkpoint)).await?;
        }
        if K::HOLDS_ROWS {
            self.status.update(|report| report.quarantined = sink.aside());
        }
        Ok(())
    }
}
