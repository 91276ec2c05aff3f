//! One attempt at running a migration, or one half of it: connect, compare, prepare, and run the pipeline.
//!
//! `direct` follows blue straight into green. Through a log there are two attempts that know nothing of each other: `capture`
//! follows blue into the log, `apply` goes from the log into green, which `store` tells it how to come by. `following` is what all
//! that follow blue have in common.

mod direct;

mod apply;
mod capture;
pub(crate) mod debezium;
pub(crate) mod lanes;

mod following;
mod replaying;
mod sight;
mod store;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng as _;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use understudy_contract::{Class, Failure};
use understudy_control::{StatusHandle, TableStatus};
use understudy_model::Checkpoint;
use understudy_observe::Recorder;
use understudy_postgres::preflight::TableKind;
use understudy_postgres::sink::{PostgresSink, ReplicaRole, SinkSettings};
use understudy_postgres::source::catalog::ListedTable;
use understudy_postgres::source::publication::PublishedTable;
use understudy_postgres::wire::ConnectOptions;
use understudy_replicate::{CoreSettings, DetachPolicy, Limits, Rules, Ticks};
use understudy_transform::RouteSpec;

use crate::mapping;
use crate::project;
use crate::reporting::{Beats, Reporting};
use crate::routes::Taken;
use crate::settings::{self, Settings};
use crate::supervise::{Role, RunOptions};
use crate::verifying::Shared;
pub(crate) use following::{Judge, Keeper, Ready};
pub(crate) use replaying::Replaying;
pub(crate) use store::{Store, joining};

/// The pipeline's beat.
const TICK: Duration = Duration::from_millis(50);

/// Rows to be read again that may wait for the pipeline.
const REREADS_MAX: usize = 64;

/// Heap blocks of any server that matters are this large; the catalog tells the true size of each table's.
const BLOCK_BYTES: u64 = 8192;

/// Whom to wait for, as it is told.
const KAFKA: &str = "Kafka";

/// Everything an attempt needs.
pub(crate) struct Attempt<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) options: &'a RunOptions,
    pub(crate) status: &'a StatusHandle,
    pub(crate) recorder: &'a Recorder,
    /// Tells this process from others that run the same migration.
    pub(crate) instance: u64,
    /// Brokers of the log have answered this process.
    pub(crate) has_answered: &'a AtomicBool,
    /// The migration had begun before this process, as far as whatever has answered tells.
    pub(crate) goes_on: &'a AtomicBool,
    /// This process has owned the migration.
    pub(crate) has_owned: &'a AtomicBool,
    /// What verification shares with the rest of the process.
    pub(crate) shared: &'a Shared,
    /// Whether a capture in this process has found blue and the log in order, and has recorded which tables are copied again.
    pub(crate) log_in_order: &'a watch::Sender<bool>,
    /// The beats that a capture in this process has sent.
    pub(crate) beats: &'a Beats,
}

/// The tables to be published, each once however many routes take it.
pub(crate) fn published(taken: &[Taken<'_>]) -> Vec<PublishedTable> {
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

/// So many beats brokers may take for anything before somebody is told.
const REMARKABLE: u32 = 10;

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

/// Whether green's triggers and foreign keys are passed over.
pub(crate) fn replica_role(settings: &Settings) -> ReplicaRole {
    match settings.apply.replica_role {
        settings::ReplicaRole::Auto => ReplicaRole::Auto,
        settings::ReplicaRole::Never => ReplicaRole::Never,
    }
}

struct TokioTicks(Interval);

impl Ticks for TokioTicks {
    async fn tick(&mut self) {
        self.0.tick().await;
    }
}

/// How many beats a time has.
fn ticks_per(time: Duration) -> u32 {
    (time.as_millis() / TICK.as_millis()).clamp(1, u128::from(u32::MAX)) as u32
}

fn ticks() -> TokioTicks {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    TokioTicks(interval)
}

impl Attempt<'_> {
    pub(crate) fn blue(&self, role: &str) -> ConnectOptions {
        self.settings.blue.clone().with_application_name(&self.settings.name.application_name(role))
    }

    /// Fails where green is DynamoDB.
    pub(crate) fn green(&self, role: &str) -> Result<ConnectOptions, Failure> {
        let green = self.settings.green_postgres()?.clone();
        Ok(green.with_application_name(&self.settings.name.application_name(role)))
    }

    /// Whether this process runs one part of a migration that has two.
    fn is_alone(&self) -> bool {
        self.options.role != Role::All
    }

    /// What the prefix of our messages in blue's log is.
    fn prefix(&self) -> String {
        format!("understudy/{}", self.settings.name)
    }

    /// A capture is alive that waits. Beside an apply it vouches for nothing of what is reported of green.
    fn capture_lives(&self) {
        if self.is_alone() { self.status.alive() } else { self.status.capture_alive() }
    }

    /// Awaits what Kafka has to do, on behalf of a capture or of an apply, and is seen to wait: brokers that are away are waited
    /// for longer than anything may be silent.
    async fn awaiting_kafka<T>(&self, part: Role, to: &str, what: impl Future<Output = T>) -> T {
        self.awaiting(part, (KAFKA, to), what).await
    }

    /// Awaits what somebody has to do, on behalf of a capture or of an apply, and is seen to be alive and what it waits for.
    async fn awaiting<T>(&self, part: Role, (whom, to): (&str, &str), what: impl Future<Output = T>) -> T {
        let is_capture = part == Role::Capture;
        let shown = |waits: Vec<String>| match is_capture {
            true => self.status.capture_waits_for(waits),
            false => self.status.waiting_for(waits),
        };
        let mut beats = 0;
        let on_wait = || {
            beats += 1;
            shown(vec![format!("{whom}, to {to}")]);
            if is_capture {
                self.capture_lives()
            } else {
                self.status.alive()
            }
            // From then on every attempt that fails tells of it.
            if beats == REMARKABLE && self.status.report().last_error.is_none() {
                let perhaps = if whom == KAFKA { ": brokers that are needed may be away" } else { "" };
                tracing::warn!("waiting for {whom} to {to}{perhaps}");
            }
        };
        let done = attended(what, WAIT_BEAT, on_wait).await;
        shown(Vec::new());
        done
    }

    /// Awaits whoever remembers how far blue was followed: a log is seen to be waited for.
    async fn keeping<K: Keeper, T>(&self, to: &str, what: impl Future<Output = T>) -> T {
        match K::HOLDS_ROWS {
            true => what.await,
            false => self.awaiting_kafka(Role::Capture, to, what).await,
        }
    }

    /// The same for what is recorded there.
    pub(crate) async fn recording<K: Keeper, T>(&self, what: impl Future<Output = T>) -> T {
        self.keeping::<K, T>("take what the capture records", what).await
    }

    /// Sees that brokers of the log answer, once in the life of this process.
    async fn reach_kafka(&self, part: Role) -> Result<(), Failure> {
        if !self.has_answered.load(Ordering::Relaxed) {
            let reaching = understudy_kafka::preflight::reach(self.kafka()?);
            self.awaiting_kafka(part, "answer", reaching).await?;
            self.has_answered.store(true, Ordering::Relaxed);
        }
        Ok(())
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

    pub(crate) fn show_tables(&self, routes: &[RouteSpec]) {
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

    /// What tells of the way into green from a checkpoint on.
    pub(crate) fn reporting(&self, routes: &[RouteSpec], checkpoint: Checkpoint) -> Reporting {
        // What an earlier attempt knew of its copy counts no more, nor do its numbers of routes.
        self.shared.circumstances.send_modify(|circumstances| circumstances.incomplete = None);
        self.shared.changed.begin_anew();
        let shared = self.settings.verify.enabled.then(|| self.shared.clone());
        let tables = routes.iter().map(|route| route.source.to_string()).collect();
        let to = (self.status.clone(), self.recorder.clone(), shared);
        Reporting::new(to, tables, checkpoint).with_beats(self.beats.clone())
    }

    async fn connect_green(&self, routes: &[RouteSpec]) -> Result<PostgresSink, Failure> {
        let tables = mapping::green_tables(routes);
        let sink = PostgresSink::connect(&self.green("apply")?, self.sink_settings(), tables).await;
        sink.map_err(|failure| failure.while_doing("connect to green"))
    }

    /// Waits until what is remembered survives a crash, on green or in a log, and is seen to wait.
    async fn await_durable<K: Keeper>(&self, sink: &mut K) -> Result<(), Failure> {
        if !K::HOLDS_ROWS {
            self.awaiting_kafka(Role::Capture, "show what it holds", sink.persist()).await?;
            return Ok(());
        }
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

    pub(crate) fn sink_settings(&self) -> SinkSettings {
        let apply = &self.settings.apply;
        SinkSettings {
            writers: apply.writers,
            on_error: match apply.on_error {
                settings::OnError::Stop => understudy_postgres::sink::OnError::Stop,
                settings::OnError::Quarantine => understudy_postgres::sink::OnError::Quarantine,
            },
            replica_role: replica_role(self.settings),
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
            raw: false,
            nonce_base: rand::rng().next_u64(),
            rules: Rules::all(),
        }
    }

    fn limits(&self) -> Limits {
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
