//! Blue into a log: every table as it is, once, however many routes take it.
//!
//! Nothing here asks green. Mappings, conditions, what green's tables hold and whether they fit are the apply's to see to; a
//! capture starts and runs while green is away, does not exist yet, or is being replaced. It needs blue, its slot and its
//! publication, and the brokers, which hold the rows and what is remembered of the copy.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use understudy_contract::{Class, Failure};
use understudy_control::StatusHandle;
use understudy_kafka::codec::{Asked, Owner};
use understudy_kafka::{
    CaptureNotes, CapturedTable, Claimant, Handed, KafkaSettings, KafkaSink, RequestReader,
};
use understudy_model::{Column, HealKey, Relation, RelationId, ReplicaIdentity, RouteId, TableName};
use understudy_postgres::preflight::{
    self, Generated, PlannedColumn, PlannedSource, PlannedTable, PreflightPlan, TableDescription,
};
use understudy_postgres::source::{lineage, publication, slot};
use understudy_postgres::wire::Client;
use understudy_replicate::{End, Reread};
use understudy_transform::{Mapping, RouteSpec};

use super::following::Ready;
use super::{Attempt, REREADS_MAX, published};
use crate::mapping::Described;
use crate::publishing;
use crate::reporting::capture::CaptureReporting;
use crate::routes::{self, Taken};
use crate::supervise::{Role, Shutdown};

/// Tables that are not captured of which one is told when somebody asks for them.
const UNKNOWN_MAX: usize = 100;

/// The pause before the requests are read anew after a failure.
const REQUESTS_PAUSE: Duration = Duration::from_secs(1);

impl Attempt<'_> {
    /// Follows blue into the log until asked to end, or until something fails.
    pub(crate) async fn capture(&self, mut shutdown: Shutdown) -> Result<End, Failure> {
        let kafka = self.kafka()?;
        let ready = tokio::select! {
            () = shutdown.requested() => return Ok(End::InOrder),
            ready = Box::pin(self.prepare_capture(kafka)) => ready?,
        };
        self.log_in_order.send_replace(true);
        if self.is_alone() {
            self.status.target_connected(true);
        }
        let reading = self.read_blue(&ready).await?;
        let notes = ready.sink.notes();
        let (rereads, wanted) = mpsc::channel(REREADS_MAX);
        let requests = Requests {
            kafka: kafka.clone(),
            next: ready.sink.requests_offset(),
            tables: ready
                .sink
                .captured()
                .iter()
                .map(|table| (table.relation.name.clone(), table.clone()))
                .collect(),
            unknown: HashSet::new(),
            notes: notes.clone(),
            rereads,
            status: self.status.clone(),
        };
        let mut taking = JoinSet::new();
        let (deaf, heard) = oneshot::channel();
        taking.spawn(requests.take(deaf));
        let to = (self.status.clone(), self.is_alone(), self.beats.clone());
        let observer = CaptureReporting::new(to, notes, ready.saved.checkpoint);
        let stop = async { taking.shutdown().await };
        let following =
            Box::pin(self.follow((ready, reading), |sink, _| sink, (observer, wanted), (shutdown, stop)));
        tokio::select! {
            ended = following => ended,
            // Rows that an apply waits for would never be read again, and nobody would know of it.
            Ok(failure) = heard => Err(failure),
        }
    }

    async fn prepare_capture(&self, kafka: &KafkaSettings) -> Result<Ready<KafkaSink>, Failure> {
        let mut blue =
            Client::connect(&self.blue("control")).await.map_err(|f| f.while_doing("connect to blue"))?;
        let described = Described::read(&mut blue).await?;
        let tables = distinct(routes::taken(self.settings, &described.tables)?);
        self.check_blue(&mut blue, &tables).await?;
        let routes = as_they_are(&tables, &described)?;
        let captured = tables.iter().zip(&routes).map(|(one, route)| captured(one.table, route)).collect();
        self.reach_kafka(Role::Capture).await?;
        let connecting = KafkaSink::connect(kafka, self.claimant(&mut blue).await?, captured);
        let sink = self.awaiting_kafka(Role::Capture, "answer", connecting).await?;
        self.make_ready(blue, sink, (routes, published(&tables), &described.tables[..])).await
    }

    /// As whom the log is claimed.
    async fn claimant(&self, blue: &mut Client) -> Result<Claimant, Failure> {
        let mut replication = Client::connect_replication(&self.blue("control")).await?;
        let slot = self.settings.name.slot();
        let confirmed = slot::inspect(blue, &slot).await?.and_then(|slot| slot.confirmed);
        let now = lineage::identify(&mut replication, &slot).await?.lineage;
        replication.close().await;
        let owner = Owner {
            migration: self.settings.name.as_str().to_owned(),
            slot,
            database: now.database,
            system_id: now.system_id,
            token: self.instance,
        };
        Ok(Claimant { owner, has_owned: self.has_owned.load(Ordering::Relaxed), confirmed })
    }

    /// What blue lacks. Without its slot nothing has begun; with it, the tables of the publication have been looked at.
    async fn check_blue(&self, blue: &mut Client, tables: &[Taken<'_>]) -> Result<(), Failure> {
        let name = self.settings.name.slot();
        let started = slot::inspect(blue, &name).await?.is_some();
        if started {
            self.goes_on.store(true, Ordering::Relaxed);
        }
        let there = publication::inspect(blue, &name).await?.filter(|_| started);
        let known = |one: &&Taken<'_>| {
            there.iter().flat_map(|there| &there.tables).any(|table| table.name == one.table.name)
        };
        let joining = tables.iter().filter(|one| !known(one)).map(planned).collect::<Vec<_>>();
        let plan = PreflightPlan {
            tables: tables.iter().map(planned).collect(),
            ..routes::plan_without_tables(self.settings)
        };
        publishing::refuse(preflight::check_blue(blue, &plan, started, &joining).await?)
    }

    /// The log that the file names.
    pub(super) fn kafka(&self) -> Result<&KafkaSettings, Failure> {
        let missing =
            || Failure::new(Class::Configuration, "the migration file names no log under `through`");
        self.settings.through.as_ref().ok_or_else(missing)
    }
}

/// Each table once, however many routes take it.
pub(super) fn distinct(taken: Vec<Taken<'_>>) -> Vec<Taken<'_>> {
    let mut tables: Vec<Taken<'_>> = Vec::with_capacity(taken.len());
    for one in taken {
        if tables.iter().all(|other| other.table.name != one.table.name) {
            tables.push(Taken { target: one.table.name.clone(), ..one });
        }
    }
    tables
}

/// One route for each table, to a place of the same name, with all that the stream carries of it.
pub(super) fn as_they_are(tables: &[Taken<'_>], blue: &Described) -> Result<Vec<RouteSpec>, Failure> {
    let route = |(at, one): (usize, &Taken<'_>)| {
        let number = u16::try_from(at).map_err(|_| {
            Failure::new(Class::Configuration, "a migration can have at most 65,535 routes")
                .remedy("split the migration file in two")
        })?;
        let table = blue.catalog.blue_table(one.table);
        let route =
            RouteSpec::compile(RouteId(number), &table, (one.target.clone(), None), Mapping::default());
        let route = route.map_err(|error| Failure::new(Class::Configuration, error.to_string()))?;
        // Readers are told of them: rows that were read when they had become others are none of this route's.
        Ok(RouteSpec { source_types: Some(table.types), ..route })
    };
    tables.iter().enumerate().map(route).collect()
}

/// A table of which every column goes to one of its name.
fn planned(one: &Taken<'_>) -> PlannedTable {
    let carried = one.table.columns.iter().filter(|column| column.generated == Generated::No);
    PlannedTable {
        source: one.table.name.clone(),
        target: one.table.name.clone(),
        columns: carried
            .map(|column| PlannedColumn {
                target: column.name.clone(),
                source: PlannedSource::Column(column.name.clone()),
            })
            .collect(),
        filter: None,
    }
}

/// A table as the log has it.
fn captured(table: &TableDescription, route: &RouteSpec) -> CapturedTable {
    let key = table.key.as_deref().unwrap_or_default();
    let carried = table.columns.iter().filter(|column| column.generated == Generated::No);
    let columns = carried.map(|column| Column {
        name: column.name.clone(),
        type_oid: column.type_oid,
        type_modifier: column.type_modifier,
        in_identity: table.identity == ReplicaIdentity::Full || key.contains(&column.name),
    });
    CapturedTable {
        route: route.id,
        relation: Relation {
            id: RelationId(table.oid),
            name: table.name.clone(),
            identity: table.identity,
            columns: columns.collect(),
        },
        key: route.key.clone(),
        fingerprint: route.fingerprint(),
    }
}

/// What applies ask for, on its way to the pipeline.
struct Requests {
    kafka: KafkaSettings,
    /// Offset of the first that has not been taken.
    next: i64,
    tables: HashMap<TableName, CapturedTable>,
    /// Tables that were asked for and are not captured.
    unknown: HashSet<TableName>,
    notes: CaptureNotes,
    rereads: mpsc::Sender<Reread>,
    status: StatusHandle,
}

impl Requests {
    /// Takes them until the pipeline is gone, or until something fails that does not pass by itself. Rows that nobody reads again
    /// are a gap for nobody: applies ask again.
    async fn take(mut self, deaf: oneshot::Sender<Failure>) {
        loop {
            match self.take_until_failure().await {
                Ok(()) => return,
                Err(failure) if failure.class() == Class::Transient => {
                    tracing::warn!(error = %failure, "requests to read rows again are not heard");
                }
                Err(failure) => {
                    // Nobody is there to hear it where the attempt has ended.
                    let _ = deaf.send(failure);
                    return;
                }
            }
            tokio::time::sleep(REQUESTS_PAUSE).await;
        }
    }

    async fn take_until_failure(&mut self) -> Result<(), Failure> {
        let mut reader = RequestReader::open(&self.kafka, self.next).await?;
        if reader.begins_at() < self.next {
            self.next = reader.begins_at();
            self.notes.requests_begin_anew(self.next);
        }
        loop {
            let (asked, next) = reader.next().await?;
            let since = match &asked {
                Some(Asked::Table { since, .. }) => *since,
                Some(Asked::Row(_)) | None => None,
            };
            match asked.and_then(|asked| self.fitting(asked)) {
                Some(Reread::Table(route)) if !self.notes.wants_copy(route, since) => {
                    tracing::info!("that copy is in the log already, where the apply comes by it");
                }
                Some(reread) => {
                    let handed = match &reread {
                        Reread::Row { route, key } => (*route, Handed::Row(key.blue.clone())),
                        Reread::Table(route) => (*route, Handed::Copy { since }),
                    };
                    self.notes.request_handed_on(next - 1, handed);
                    if self.rereads.send(reread).await.is_err() {
                        return Ok(());
                    }
                }
                None => self.status.update(|report| {
                    if let Some(through) = &mut report.through {
                        *through.requests_ignored.get_or_insert_default() += 1;
                    }
                }),
            }
            self.notes.requests_consumed(next);
            self.next = next;
        }
    }

    /// What is to be read, where a row of the table can have that key: an apply may still know the table as it was, and what
    /// cannot be looked for would stop the capture at every start.
    fn fitting(&mut self, asked: Asked) -> Option<Reread> {
        let name = match &asked {
            Asked::Row(wanted) => &wanted.table,
            Asked::Table { table, .. } => table,
        };
        let Some(table) = self.tables.get(name) else {
            if self.unknown.len() < UNKNOWN_MAX && self.unknown.insert(name.clone()) {
                tracing::warn!(table = %name, "an apply asks for rows of a table that is not captured");
            }
            return None;
        };
        match asked {
            Asked::Row(wanted) => {
                let fits = table.has_key_like(&wanted.key);
                fits.then(|| Reread::Row { route: table.route, key: HealKey::same(wanted.key) })
            }
            Asked::Table { .. } => Some(Reread::Table(table.route)),
        }
    }
}
