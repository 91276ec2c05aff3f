//! One attempt at running a migration: connect both sides, compare, prepare, and run the pipeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng as _;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use understudy_contract::{Blocker, BlueCatalog, ChangeSink, Class, Failure, Lineage, Saved, Unit};
use understudy_control::{StatusHandle, TableStatus};
use understudy_model::{Checkpoint, RouteId, Snapshot};
use understudy_observe::Recorder;
use understudy_postgres::ident::quote_table;
use understudy_postgres::preflight::{self, TableKind};
use understudy_postgres::sink::{PostgresSink, SinkSettings};
use understudy_postgres::source::catalog::PostgresCatalog;
use understudy_postgres::source::chunk_reader::PostgresChunkReader;
use understudy_postgres::source::publication::{self, PublishedTable};
use understudy_postgres::source::stream::{PostgresStream, StartStream};
use understudy_postgres::source::{lineage, slot};
use understudy_postgres::wire::{Client, ConnectOptions};
use understudy_replicate::{Core, CoreSettings, CoreStart, DetachPolicy, Limits, Pipeline, Rules, Ticks};
use understudy_transform::RouteSpec;

use crate::monitor::Monitor;
use crate::prepare::{self, Beginning, PublicationChanges};
use crate::reporting::Reporting;
use crate::routes::{self, Taken};
use crate::settings::{self, Settings};
use crate::supervise::{RunOptions, Shutdown};

/// The pipeline's beat.
const TICK: Duration = Duration::from_millis(50);

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
}

/// The tables to be published.
fn published(taken: &[Taken<'_>]) -> Vec<PublishedTable> {
    let one = |one: &Taken<'_>| PublishedTable {
        name: one.table.name.clone(),
        partitioned: one.table.kind == TableKind::Partitioned,
    };
    taken.iter().map(one).collect()
}

/// Both sides, compared and made ready.
struct Ready {
    routes: Vec<RouteSpec>,
    published: Vec<PublishedTable>,
    sink: PostgresSink,
    catalog: PostgresCatalog,
    saved: Saved,
    units: Vec<Unit>,
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
    pub(crate) async fn run(&self, mut shutdown: Shutdown) -> Result<(), Failure> {
        let ready = tokio::select! {
            () = shutdown.requested() => return Ok(()),
            ready = Box::pin(self.prepare()) => ready?,
        };
        self.status.target_connected(true);
        let settings = self.settings;
        let start = StartStream {
            slot: settings.name.slot(),
            publication: settings.name.slot(),
            from: ready.saved.checkpoint,
            status_interval: settings.stream.status_interval,
            stall_timeout: settings.stream.stall_timeout,
        };
        let (stream, confirm, feedback) = PostgresStream::start(&self.blue("stream"), start).await?;
        self.status.source_connected(true);
        let mut readers = Vec::with_capacity(settings.copy.readers);
        for _ in 0..settings.copy.readers {
            readers.push(PostgresChunkReader::connect(&self.blue("chunk"), self.prefix()).await?);
        }
        let tables = ready.routes.iter().map(|route| route.source.to_string()).collect();
        let reporting =
            Reporting::new(self.status.clone(), self.recorder.clone(), tables, ready.saved.checkpoint);
        let start = CoreStart {
            routes: ready.routes,
            units: ready.units,
            snapshot: ready.snapshot,
            saved: ready.saved,
            slot_is_new: ready.slot_is_new,
            publication_changed: ready.publication_changed,
            recopy: ready.recopied,
        };
        let pipeline = Pipeline {
            core: Core::new(self.core_settings(), start)?,
            stream,
            readers,
            catalog: ready.catalog,
            sink: ready.sink,
            confirm: Arc::new(confirm),
            observer: Arc::new(reporting),
            limits: self.limits(),
        };
        let mut monitor = JoinSet::new();
        monitor.spawn(self.monitor(ready.published).run());
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
        // The last confirmation goes out before the connection does.
        let flushed = tokio::time::timeout(Duration::from_secs(1), feedback_task.join_next()).await;
        if flushed.is_err() {
            feedback_task.abort_all();
        }
        match found {
            Some(failure) => Err(failure),
            None => ended,
        }
    }

    fn monitor(&self, tables: Vec<PublishedTable>) -> Monitor {
        Monitor {
            blue: self.blue("monitor"),
            slot: self.settings.name.slot(),
            tables,
            interval: self.settings.stream.heartbeat,
            budget_bytes: self.settings.wal.budget,
            status: self.status.clone(),
        }
    }

    fn blue(&self, role: &str) -> ConnectOptions {
        self.settings.blue.clone().with_application_name(&self.settings.name.application_name(role))
    }

    fn green(&self, role: &str) -> ConnectOptions {
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
        let tables = preflight::describe(&mut blue).await?;
        let taken = routes::taken(self.settings, &tables)?;
        let routes = routes::compile(&taken)?;
        self.show_tables(&routes);
        self.preflight(&mut blue, &routes::preflight_plan(self.settings, &taken)?).await?;
        let green = self.green("apply");
        let mut sink = PostgresSink::connect(&green, self.sink_settings(), routes::green_tables(&routes))
            .await
            .map_err(|failure| failure.while_doing("connect to green"))?;
        let saved = sink.claim().await?;
        self.has_owned.store(true, Ordering::Relaxed);
        if saved.is_some() {
            // The stream confirms this checkpoint to blue as soon as it starts.
            sink.persist().await?;
        }
        let slot_name = self.settings.name.slot();
        let mut replication = Client::connect_replication(&self.blue("control")).await?;
        let now = match &saved {
            Some(saved) => lineage::verify(&mut replication, &saved.lineage, saved.checkpoint).await?,
            None => lineage::identify(&mut replication, &slot_name).await?.lineage,
        };
        replication.close().await;
        let state = slot::inspect(&mut blue, &slot_name).await?;
        let mut slot_is_new = false;
        let found = prepare::beginning(saved.as_ref(), &slot_name, state.as_ref())?;
        let saved = match (found, saved) {
            (Beginning::GoOn, Some(saved)) => self.go_on(saved, &now, &mut sink).await?,
            (Beginning::Fresh | Beginning::Unfinished | Beginning::GoOn, _) => {
                slot_is_new = true;
                self.begin(&mut blue, &mut sink, &published(&taken), &now).await?
            }
        };
        let changes = prepare::compare_routes(&saved, &routes, &self.options.recopy)?;
        if !slot_is_new {
            self.must_be_empty(&routes, &changes.added).await?;
        }
        let publication_changed =
            self.publish(&mut blue, &saved, &routes, &published(&taken)).await? || !changes.added.is_empty();
        let names = routes.iter().map(|route| (route.id, route.source.clone())).collect();
        let mut catalog = PostgresCatalog::connect(&self.blue("catalog"), self.prefix(), names).await?;
        let units = catalog.units().await?;
        let snapshot = catalog.snapshot().await?;
        // Recorded at once and as one, so that a stop before the copy starts does not forget that it was asked for.
        for route in &changes.recopied {
            sink.start_again(*route).await?;
        }
        let recopied = changes.recopied;
        blue.close().await;
        Ok(Ready {
            published: published(&taken),
            routes,
            sink,
            catalog,
            saved,
            units,
            snapshot,
            slot_is_new,
            publication_changed,
            recopied,
        })
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

    /// Before anything is created, everything must be in place.
    async fn preflight(&self, blue: &mut Client, plan: &preflight::PreflightPlan) -> Result<(), Failure> {
        let green = Client::connect(&self.green("control")).await;
        let mut green = green.map_err(|failure| failure.while_doing("connect to green"))?;
        if preflight::has_started(&mut green, &plan.migration).await? {
            return Ok(());
        }
        let findings = preflight::check(blue, &mut green, plan).await?;
        green.close().await;
        let errors = findings.iter().filter(|finding| finding.severity == preflight::Severity::Error);
        let errors = errors.map(|f| format!("{}: {} ({})", f.subject, f.what, f.remedy)).collect::<Vec<_>>();
        if errors.is_empty() {
            return Ok(());
        }
        Err(Failure::new(Class::Configuration, errors.join("\n"))
            .remedy("mend these, then see: understudy check FILE"))
    }

    /// Creates the publication and the slot, so that a stop at any point is noticed and mended by the next start.
    async fn begin(
        &self,
        blue: &mut Client,
        sink: &mut PostgresSink,
        tables: &[PublishedTable],
        now: &Lineage,
    ) -> Result<Saved, Failure> {
        let name = now.slot.as_str();
        sink.begin(now, Checkpoint::default()).await?;
        slot::drop(blue, name, &self.prefix()).await?;
        publication::drop(blue, name).await?;
        publication::create(blue, name, tables).await?;
        tracing::info!(slot = name, "creating the slot; it waits for transactions that are writing now");
        let status = self.status;
        let mut on_wait = |blockers: &[Blocker]| {
            status.waiting_for(blockers.iter().map(|blocker| blocker.description.clone()).collect());
            status.beat();
        };
        let patience = self.settings.stream.slot_create_timeout;
        let request = slot::CreateSlot { slot: name, patience, on_wait: &mut on_wait };
        let checkpoint = slot::create(&self.blue("control"), request).await?;
        sink.begin(now, checkpoint).await?;
        let (lineage, unseen) = (now.clone(), Some(Vec::new()));
        Ok(Saved {
            lineage,
            checkpoint,
            unseen,
            routes: vec![],
            units: vec![],
            heals: vec![],
            quarantined: 0,
        })
    }

    async fn go_on(&self, saved: Saved, now: &Lineage, sink: &mut PostgresSink) -> Result<Saved, Failure> {
        if saved.lineage.timeline != now.timeline {
            sink.begin(now, saved.checkpoint).await?;
        }
        self.status.update(|report| report.quarantined = saved.quarantined);
        Ok(saved)
    }

    /// Brings the publication in line with the file. Returns whether tables were added.
    async fn publish(
        &self,
        blue: &mut Client,
        saved: &Saved,
        routes: &[RouteSpec],
        tables: &[PublishedTable],
    ) -> Result<bool, Failure> {
        let name = self.settings.name.slot();
        let there = publication::inspect(blue, &name).await?;
        let names = there.iter().flat_map(|there| &there.tables).map(|table| table.name.clone());
        let changes = prepare::compare_publication(saved, routes, &names.collect::<Vec<_>>())?;
        if changes != PublicationChanges::default() {
            publication::set_tables(blue, &name, tables).await?;
        }
        let now = publication::inspect(blue, &name).await?;
        let now = now.ok_or_else(|| {
            Failure::new(Class::Diverged, format!("the publication {name} is gone from blue"))
                .remedy("start over with: understudy abort FILE, then understudy run FILE")
        })?;
        now.expect(&name, tables)?;
        Ok(!changes.add.is_empty())
    }

    /// A table that joins later starts empty on green, or rows that blue has deleted before would stay there for ever.
    async fn must_be_empty(&self, routes: &[RouteSpec], added: &[RouteId]) -> Result<(), Failure> {
        if added.is_empty() || self.settings.existing_rows == settings::ExistingRows::Adopt {
            return Ok(());
        }
        let mut green = Client::connect(&self.green("control")).await?;
        for route in added.iter().map(|id| &routes[id.index()]) {
            let sql = format!("SELECT EXISTS (SELECT FROM {})", quote_table(&route.target));
            let rows = green.query(&sql).await?;
            if rows.first().is_some_and(|row| row.is_true(0)) {
                return Err(Failure::new(
                    Class::Configuration,
                    format!("{} joins the migration, but {} on green already holds rows", route.source, route.target),
                )
                .remedy("empty the table on green, or set `existing_rows: adopt` if they are blue's, then run again"));
            }
        }
        green.close().await;
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
            read_bytes_per_tick: self
                .settings
                .copy
                .bytes_per_second
                .map(|bytes| (bytes * TICK.as_millis() as u64 / 1000).max(1)),
        }
    }
}
