//! One attempt at running a migration: connect both sides, compare, prepare, and run the pipeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use understudy_contract::{Blocker, BlueCatalog, ChangeSink, Class, Failure, Lineage, Saved, Unit};
use understudy_control::{StatusHandle, TableStatus};
use understudy_model::{Checkpoint, RouteId, Snapshot};
use understudy_observe::Recorder;
use understudy_postgres::preflight::{TableDescription, TableKind};
use understudy_postgres::sink::{PostgresSink, SinkSettings};
use understudy_postgres::source::catalog::{ListedTable, PostgresCatalog};
use understudy_postgres::source::chunk_reader::PostgresChunkReader;
use understudy_postgres::source::followed::Followed;
use understudy_postgres::source::publication::PublishedTable;
use understudy_postgres::source::stream::{FeedbackTask, PostgresConfirm, PostgresStream, StartStream};
use understudy_postgres::source::{lineage, slot};
use understudy_postgres::wire::{Client, ConnectOptions};
use understudy_replicate::{
    Core, CoreSettings, CoreStart, DetachPolicy, End, Limits, Pipeline, Rules, Ticks,
};
use understudy_transform::RouteSpec;

use crate::comparing;
use crate::mapping::{self, Both, Described};
use crate::monitor::{Monitor, Watched};
use crate::prepare::{self, Beginning};
use crate::project;
use crate::publishing;
use crate::reporting::Reporting;
use crate::routes::{self, Taken};
use crate::settings::{self, Settings};
use crate::supervise::{RunOptions, Shutdown};
use crate::verifying::{Beside, Shared, Subject};

/// The pipeline's beat.
const TICK: Duration = Duration::from_millis(50);

/// Rows to be read again that may wait for the pipeline.
const REREADS_MAX: usize = 64;

/// Heap blocks of any server that matters are this large; the catalog tells the true size of each table's.
const BLOCK_BYTES: u64 = 8192;

/// Everything an attempt needs.
pub(crate) struct Attempt<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) options: &'a RunOptions,
    pub(crate) status: &'a StatusHandle,
    pub(crate) recorder: &'a Recorder,
    /// Tells this process from others that run the same migration.
    pub(crate) instance: u64,
    /// This process has owned the migration.
    pub(crate) has_owned: &'a AtomicBool,
    /// What verification shares with the rest of the process.
    pub(crate) shared: &'a Shared,
}

/// The tables to be published, each once however many routes take it.
fn published(taken: &[Taken<'_>]) -> Vec<PublishedTable> {
    let mut tables: Vec<PublishedTable> = Vec::with_capacity(taken.len());
    for one in taken {
        if tables.iter().all(|table| table.name != one.table.name) {
            let partitioned = one.table.kind == TableKind::Partitioned;
            tables.push(PublishedTable { name: one.table.name.clone(), partitioned });
        }
    }
    tables
}

/// The table of a route, as its units are to be listed.
fn listed(route: &RouteSpec) -> ListedTable {
    ListedTable {
        route: route.id,
        name: route.source.clone(),
        columns: route.source_columns(),
        key: route.key_inputs(),
    }
}

/// How long a start waits until green and its standbys have on disk what green holds, before it tries again.
const DURABLE_MAX: Duration = Duration::from_secs(60);

fn not_durable() -> Failure {
    Failure::new(
        Class::Transient,
        format!("green, or a standby of it, has not flushed what green holds within {} s", DURABLE_MAX.as_secs()),
    )
    .remedy("bring the standby back, or take it out of `standbys` if it shall never take over; the sidecar tries again by itself")
}

/// How often something that waits shows that it lives.
const WAIT_BEAT: Duration = Duration::from_secs(1);

/// Awaits something, and calls `on_wait` at every beat for as long as that takes.
async fn attended<T>(what: impl Future<Output = T>, beat: Duration, mut on_wait: impl FnMut()) -> T {
    tokio::pin!(what);
    loop {
        tokio::select! {
            biased;
            done = &mut what => return done,
            () = tokio::time::sleep(beat) => on_wait(),
        }
    }
}

/// Both sides, compared and made ready.
struct Ready {
    routes: Vec<RouteSpec>,
    /// What verification compares.
    subject: Subject,
    published: Vec<PublishedTable>,
    /// What of the publication green counts on from now on.
    followed: Followed,
    sink: PostgresSink,
    catalog: PostgresCatalog,
    saved: Saved,
    units: Vec<Unit>,
    units_before: Vec<Unit>,
    snapshot: Snapshot,
    slot_is_new: bool,
    publication_changed: bool,
    recopied: Vec<RouteId>,
}

struct TokioTicks(Interval);

impl Ticks for TokioTicks {
    async fn tick(&mut self) {
        self.0.tick().await;
    }
}

fn ticks() -> TokioTicks {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    TokioTicks(interval)
}

impl Attempt<'_> {
    /// Runs until asked to end, or until something fails.
    pub(crate) async fn run(&self, mut shutdown: Shutdown) -> Result<End, Failure> {
        let ready = tokio::select! {
            () = shutdown.requested() => return Ok(End::InOrder),
            ready = Box::pin(self.prepare()) => ready?,
        };
        self.status.target_connected(true);
        let (stream, confirm, feedback) = self.start_stream(&ready).await?;
        self.status.source_connected(true);
        let readers = self.chunk_readers().await?;
        let reporting = self.reporting(&ready);
        let judge = ready.sink.judge_alone();
        let sink = self.shared.faults.sink(ready.sink, &ready.routes);
        let asked = ready.routes.iter().filter(|route| self.options.recopy.contains(&route.source));
        let start = CoreStart {
            recopy_asked: asked.map(|route| route.id).collect(),
            routes: ready.routes,
            units: ready.units,
            units_before: ready.units_before,
            snapshot: ready.snapshot,
            saved: ready.saved,
            slot_is_new: ready.slot_is_new,
            publication_changed: ready.publication_changed,
            recopy: ready.recopied,
        };
        let (rereads, wanted) = mpsc::channel(REREADS_MAX);
        let pipeline = Pipeline {
            core: Core::new(self.core_settings(), start)?,
            stream,
            readers,
            catalog: ready.catalog,
            sink,
            confirm: Arc::new(confirm),
            observer: Arc::new(reporting),
            rereads: wanted,
            limits: self.limits(),
        };
        let shown = (self.shared, self.status.clone(), self.recorder);
        let beside = Beside::start(self.settings, ready.subject, shown, rereads);
        let mut monitor = JoinSet::new();
        let watched = Watched { tables: ready.published, followed: ready.followed };
        monitor.spawn(self.monitor(watched.clone()).run());
        let mut feedback_task = JoinSet::new();
        feedback_task.spawn(feedback.run());
        let mut found = None;
        let until = async {
            tokio::select! {
                () = shutdown.requested() => {}
                Some(Ok(Err(failure))) = monitor.join_next() => found = Some(failure),
            }
        };
        let ended = Box::pin(pipeline.run(until, ticks)).await;
        drop(monitor);
        beside.stop().await;
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
            Err(failure) => Err(judge.judge(failure).await),
        }
    }

    async fn chunk_readers(&self) -> Result<Vec<PostgresChunkReader>, Failure> {
        let mut readers = Vec::with_capacity(self.settings.copy.readers);
        for _ in 0..self.settings.copy.readers {
            readers.push(PostgresChunkReader::connect(&self.blue("chunk"), self.prefix()).await?);
        }
        Ok(readers)
    }

    fn reporting(&self, ready: &Ready) -> Reporting {
        // What an earlier attempt knew of its copy counts no more, nor do its numbers of routes.
        self.shared.circumstances.send_modify(|circumstances| circumstances.incomplete = None);
        self.shared.changed.begin_anew();
        let shared = self.settings.verify.enabled.then(|| self.shared.clone());
        let tables = ready.routes.iter().map(|route| route.source.to_string()).collect();
        let to = (self.status.clone(), self.recorder.clone(), shared);
        Reporting::new(to, tables, ready.saved.checkpoint)
    }

    async fn start_stream(
        &self,
        ready: &Ready,
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
            Err(failure) => Err(ready.sink.judge(failure).await),
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

    pub(crate) fn blue(&self, role: &str) -> ConnectOptions {
        self.settings.blue.clone().with_application_name(&self.settings.name.application_name(role))
    }

    pub(crate) fn green(&self, role: &str) -> ConnectOptions {
        self.settings
            .green_postgres()
            .clone()
            .with_application_name(&self.settings.name.application_name(role))
    }

    /// What the prefix of our messages in blue's log is.
    fn prefix(&self) -> String {
        format!("understudy/{}", self.settings.name)
    }

    async fn prepare(&self) -> Result<Ready, Failure> {
        let mut blue =
            Client::connect(&self.blue("control")).await.map_err(|f| f.while_doing("connect to blue"))?;
        self.bring_up().await?;
        let both = self.describe(&mut blue).await?;
        let taken = routes::taken(self.settings, &both.blue.tables)?;
        let plan = routes::preflight_plan(self.settings, &taken, &both)?;
        let drawn = mapping::draw(self.settings, &taken, &both)?;
        self.preflight(&mut blue, &plan, &drawn).await?;
        let compared = comparing::compared_routes(self.settings, &drawn, &both)?;
        let subject = Subject::of(self.settings, &drawn, compared);
        let routes = drawn.into_iter().map(|one| one.spec).collect::<Vec<_>>();
        self.show_tables(&routes);
        let green = self.green("apply");
        let mut sink = PostgresSink::connect(&green, self.sink_settings(), mapping::green_tables(&routes))
            .await
            .map_err(|failure| failure.while_doing("connect to green"))?;
        let published = published(&taken);
        let listed = routes.iter().map(listed).collect::<Vec<_>>();
        let mut catalog = PostgresCatalog::connect(&self.blue("catalog"), self.prefix(), &listed).await?;
        let units_before = catalog.units().await?;
        let resumed = self.resume(&mut blue, &mut sink, (&routes, &published, &both.blue.tables)).await;
        let (saved, slot_is_new) = match resumed {
            Ok(resumed) => resumed,
            Err(failure) => return Err(sink.judge(failure).await),
        };
        let changes = prepare::compare_routes(&saved, &routes, &self.options.recopy)?;
        self.may_join((&saved, &routes), &changes.added).await?;
        let in_line = self.publish(&mut blue, &mut sink, (&saved, &routes, &published)).await;
        let (tables_added, followed) = match in_line {
            Ok(in_line) => in_line,
            Err(failure) => return Err(sink.judge(failure).await),
        };
        let publication_changed = tables_added || !changes.added.is_empty();
        let units = catalog.units().await?;
        let snapshot = catalog.snapshot().await?;
        self.may_copy_again(&saved, &routes, (&changes.recopied, &units)).await?;
        // Recorded at once and as one, so that a stop before the copy starts does not forget that it was asked for.
        for route in &changes.recopied {
            sink.start_again(*route).await?;
        }
        let recopied = changes.recopied;
        blue.close().await;
        Ok(Ready {
            subject,
            published,
            followed,
            routes,
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

    /// Gives green what the project's version needs there, and is seen to be at it.
    async fn bring_up(&self) -> Result<(), Failure> {
        let status = self.status;
        let on_wait = || {
            status.waiting_for(vec!["green, to run expand.sql".to_owned()]);
            status.beat();
        };
        let brought = attended(project::bring_up(self.settings), WAIT_BEAT, on_wait).await;
        status.waiting_for(Vec::new());
        brought
    }

    /// What both catalogs say.
    async fn describe(&self, blue: &mut Client) -> Result<Both, Failure> {
        let green = Client::connect(&self.green("control")).await;
        let mut green = green.map_err(|failure| failure.while_doing("connect to green"))?;
        let both = Both { blue: Described::read(blue).await?, green: Described::read(&mut green).await? };
        green.close().await;
        Ok(both)
    }

    /// Takes the migration over, and goes on from what green remembers or begins it. Whether its slot is new comes with it.
    async fn resume(
        &self,
        blue: &mut Client,
        sink: &mut PostgresSink,
        (routes, tables, on_blue): (&[RouteSpec], &[PublishedTable], &[TableDescription]),
    ) -> Result<(Saved, bool), Failure> {
        let saved = sink.claim().await?;
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
        let found = prepare::beginning(saved.as_ref(), &slot_name, state.as_ref())?;
        if let Some(saved) = &saved {
            self.tell_of_left(blue, on_blue, saved).await?;
        }
        sink.forget_absent().await?;
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

    /// Waits until what green holds survives a crash, and is seen to wait.
    async fn await_durable(&self, sink: &mut PostgresSink) -> Result<(), Failure> {
        let status = self.status;
        let on_wait = || {
            status.waiting_for(vec!["green or a standby of it, to flush what green holds".to_owned()]);
            status.beat();
        };
        let persisted = tokio::time::timeout(DURABLE_MAX, attended(sink.persist(), WAIT_BEAT, on_wait)).await;
        status.waiting_for(Vec::new());
        persisted.map_err(|_| not_durable())??;
        Ok(())
    }

    fn show_tables(&self, routes: &[RouteSpec]) {
        let tables = routes.iter().map(|route| TableStatus {
            source: route.source.to_string(),
            target: route.target.to_string(),
            ..TableStatus::default()
        });
        let tables = tables.collect::<Vec<_>>();
        self.status.update(|report| {
            if report.tables.len() != tables.len() {
                report.tables = tables;
            }
        });
    }

    /// Creates the publication and the slot, so that a stop at any point is noticed and mended by the next start.
    async fn begin(
        &self,
        blue: &mut Client,
        sink: &mut PostgresSink,
        (routes, tables): (&[RouteSpec], &[PublishedTable]),
        now: Lineage,
    ) -> Result<Saved, Failure> {
        let name = now.slot.as_str();
        sink.begin(&now, Checkpoint::default()).await?;
        slot::drop(blue, name, &self.prefix()).await?;
        let made = self.make_publication(blue, sink, (routes, tables)).await?;
        tracing::info!(slot = name, "creating the slot; it waits for transactions that are writing now");
        let status = self.status;
        let mut on_wait = |blockers: &[Blocker]| {
            status.waiting_for(blockers.iter().map(|blocker| blocker.description.clone()).collect());
            status.beat();
        };
        let patience = self.settings.stream.slot_create_timeout;
        let request = slot::CreateSlot { slot: name, patience, on_wait: &mut on_wait };
        let checkpoint = slot::create(&self.blue("control"), request).await?;
        let lineage = Lineage { publication: Some(made.version.clone()), ..now };
        sink.begin(&lineage, checkpoint).await?;
        Ok(publishing::begun(lineage, checkpoint, (routes, &made)))
    }

    async fn go_on(&self, saved: &Saved, now: &Lineage, sink: &mut PostgresSink) -> Result<(), Failure> {
        if saved.lineage.timeline != now.timeline {
            sink.begin(now, saved.checkpoint).await?;
        }
        self.status.update(|report| report.quarantined = saved.quarantined);
        Ok(())
    }

    fn sink_settings(&self) -> SinkSettings {
        let apply = &self.settings.apply;
        SinkSettings {
            writers: apply.writers,
            on_error: match apply.on_error {
                settings::OnError::Stop => understudy_postgres::sink::OnError::Stop,
                settings::OnError::Quarantine => understudy_postgres::sink::OnError::Quarantine,
            },
            replica_role: match apply.replica_role {
                settings::ReplicaRole::Auto => understudy_postgres::sink::ReplicaRole::Auto,
                settings::ReplicaRole::Never => understudy_postgres::sink::ReplicaRole::Never,
            },
            standbys: self.settings.standbys.clone(),
            instance: self.instance,
            reclaim: self.has_owned.load(Ordering::Relaxed),
            ..SinkSettings::new(self.settings.name.as_str())
        }
    }

    fn core_settings(&self) -> CoreSettings {
        let (copy, apply) = (&self.settings.copy, &self.settings.apply);
        CoreSettings {
            chunk_bytes: u64::from(copy.chunk_blocks) * BLOCK_BYTES,
            chunk_bytes_max: copy.chunk_bytes,
            window_bytes_max: copy.chunk_bytes,
            windows_max: copy.readers + apply.writers,
            batch_changes_max: apply.batch_changes,
            batch_bytes_max: apply.batch_bytes,
            on_detach: match self.settings.on_detach {
                settings::OnDetach::Stop => DetachPolicy::Stop,
                settings::OnDetach::Delete => DetachPolicy::Delete,
            },
            nonce_base: rand::rng().next_u64(),
            rules: Rules::all(),
        }
    }

    fn limits(&self) -> Limits {
        let ticks_per =
            |time: Duration| (time.as_millis() / TICK.as_millis()).clamp(1, u128::from(u32::MAX)) as u32;
        Limits {
            heartbeat_ticks: ticks_per(self.settings.stream.heartbeat),
            grace_ticks: ticks_per(self.settings.apply.stop_grace),
            read_bytes_per_tick: self
                .settings
                .copy
                .bytes_per_second
                .map(|bytes| (bytes * TICK.as_millis() as u64 / 1000).max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A start that waits for a standby is alive for as long as it waits: nobody kills it before it has said what for.
    #[tokio::test]
    async fn whoever_waits_shows_that_he_lives() {
        let (beat, mut beats) = tokio::sync::watch::channel(0);
        let waited = async { beats.wait_for(|beats| *beats == 3).await.map(|beats| *beats) };
        let beats =
            attended(waited, Duration::from_millis(1), || beat.send_modify(|beats| *beats += 1)).await;
        assert_eq!(beats.ok(), Some(3));
    }
}
