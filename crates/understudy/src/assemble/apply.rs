//! From a log into green: the mapping, the copy as far as the log holds it, and the comparison of both sides beside it.
//!
//! Changes and rows come from the log alone. Blue is asked for its catalog, against which mappings are compiled, and by
//! whoever compares both sides: without it a start waits, and says so.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use understudy_contract::{AskCapture, BlueCatalog, ChangeLog, Class, Failure, Lineage, Saved};
use understudy_control::{PartitionStatus, StatusHandle};
use understudy_kafka::{DebeziumLag, DebeziumTable, KafkaLog, KafkaRequests, LagProbe, PartitionLag};
use understudy_model::{Checkpoint, Lsn, RouteId, TableName};
use understudy_postgres::preflight::PreflightPlan;
use understudy_postgres::source::catalog::PostgresCatalog;
use understudy_postgres::source::lineage;
use understudy_postgres::source::publication::START_OVER;
use understudy_postgres::wire::Client;
use understudy_replicate::{
    End, LogCore, LogLimits, LogPipeline, LogSettings, LogStart, Observer, Reread, Rules,
};
use understudy_transform::RouteSpec;

use super::capture::{as_they_are, distinct};
use super::debezium;
use super::replaying::Patient;
use super::sight::{Sight, Sighted};
use super::store::Database;
use super::{Attempt, Keeper, REREADS_MAX, Store, joining, listed, ticks, ticks_per};
use crate::green::metering::Metering;
use crate::green::store::Items;
use crate::mapping::{self, Both, Drawn};
use crate::supervise::{Role, Shutdown};
use crate::verifying::{Beside, Subject};
use crate::{opinion, prepare, publishing, routes};

/// Recorded with a route where a direct run records the state of its table in the publication: it is followed, by way of a log.
pub(super) const BY_LOG: &str = "log";

/// After this long the capture is asked once more for rows that have not come.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// How often it is looked how far the log reaches.
const LAG_EVERY: Duration = Duration::from_secs(2);

/// Both sides compared, and green made ready.
pub(super) struct Ready<K> {
    pub(super) routes: Vec<RouteSpec>,
    /// The columns of each table's key, as the log has them.
    pub(super) keys: HashMap<TableName, Vec<String>>,
    /// What verification compares.
    pub(super) subject: Subject,
    pub(super) sink: K,
    pub(super) saved: Saved,
    /// Where blue's log ended before its catalog was read.
    pub(super) compiled_at: Lsn,
    /// Routes that the log is yet to bring a new copy of.
    pub(super) awaited: Vec<RouteId>,
    /// What blue showed once green was claimed.
    pub(super) sight: Sight,
    /// The tables as Debezium's topics have them.
    pub(super) debezium: Vec<DebeziumTable>,
    /// Tells what calls come to, where green is asked by calls that cost.
    pub(super) metering: Option<Metering>,
}

/// Green, claimed, and what the way from the log starts from.
pub(super) struct Way<K> {
    pub(super) sink: K,
    pub(super) sight: Sight,
    pub(super) start: LogStart,
}

/// Who hears of the way into green, and what runs beside it and ends with it.
pub(super) struct Company<O> {
    pub(super) observer: Arc<O>,
    /// Rows that somebody asks to have read again. It may be closed.
    pub(super) rereads: mpsc::Receiver<Reread>,
    pub(super) beside: Option<Beside>,
    pub(super) watching: JoinSet<()>,
}

impl Attempt<'_> {
    /// Follows the log until asked to end, or until something fails.
    pub(crate) async fn apply(&self, mut shutdown: Shutdown) -> Result<End, Failure> {
        let Some(dynamo) = self.settings.green_dynamo() else {
            return Box::pin(self.apply_to(&Database, shutdown)).await;
        };
        let items = tokio::select! {
            () = shutdown.requested() => return Ok(End::InOrder),
            items = Box::pin(Items::connect(dynamo)) => items?,
        };
        Box::pin(self.apply_to(&items, shutdown)).await
    }

    async fn apply_to<S: Store>(&self, store: &S, mut shutdown: Shutdown) -> Result<End, Failure> {
        let kafka = self.kafka()?;
        if let Some(debezium) = &kafka.debezium {
            return self.apply_debezium(store, (kafka, debezium), shutdown).await;
        }
        let opened = async {
            let ready = Box::pin(self.prepare_apply(store)).await?;
            self.status.target_connected(true);
            let tables = ready.keys.keys().cloned().collect::<Vec<_>>();
            let opening = KafkaLog::open(kafka, &tables, ready.saved.cursor.clone());
            let log = self.awaiting_kafka(Role::Apply, "show the log", opening).await?;
            let ask = KafkaRequests::new(kafka, self.settings.name.as_str())?;
            Ok::<_, Failure>((ready, log, Patient::new(ask, self.options.replay.as_ref())))
        };
        let (ready, log, ask) = tokio::select! {
            () = shutdown.requested() => return Ok(End::InOrder),
            opened = opened => opened?,
        };
        if self.is_alone() {
            self.status.source_connected(true);
        }
        let mut watching = JoinSet::new();
        let status = self.status.clone();
        watching.spawn(watch_lag(log.lag(), move |partitions| show_lag(&status, partitions)));
        self.follow_log(ready, (log, ask), |_| {}, (watching, shutdown)).await
    }

    /// Maps what a log brings into green until asked to end, or until something fails. `set_up` has the core before it starts;
    /// `watching` ends with it.
    pub(super) async fn follow_log<K: Keeper, L: ChangeLog + 'static, A: AskCapture + 'static>(
        &self,
        ready: Ready<K>,
        (log, ask): (L, A),
        set_up: impl FnOnce(&mut LogCore),
        (mut watching, shutdown): (JoinSet<()>, Shutdown),
    ) -> Result<End, Failure> {
        let observer = Arc::new(self.reporting(&ready.routes, ready.saved.checkpoint));
        let metering = ready.metering;
        watching.spawn(async move {
            let _ends_with_this = metering;
            std::future::pending::<()>().await;
        });
        watching.spawn(ready.sight.clone().watch(self.blue("sight"), self.prefix()));
        let (rereads, wanted) = mpsc::channel(REREADS_MAX);
        let start = LogStart {
            routes: ready.routes,
            keys: ready.keys,
            saved: ready.saved,
            compiled_at: ready.compiled_at,
            awaited: ready.awaited,
        };
        let shown = (self.shared, self.status.clone(), self.recorder);
        let beside = Some(Beside::start(self.settings, ready.subject, shown, rereads)?);
        let way = Way { sink: ready.sink, sight: ready.sight, start };
        let company = Company { observer, rereads: wanted, beside, watching };
        self.map_log((way, set_up), (log, ask), company, shutdown).await
    }

    /// The same, whoever hears of it.
    pub(super) async fn map_log<K, L, A, O>(
        &self,
        (way, set_up): (Way<K>, impl FnOnce(&mut LogCore)),
        (log, ask): (L, A),
        mut company: Company<O>,
        mut shutdown: Shutdown,
    ) -> Result<End, Failure>
    where
        K: Keeper,
        L: ChangeLog + 'static,
        A: AskCapture + 'static,
        O: Observer + 'static,
    {
        let Way { sink, sight, start } = way;
        let judge = sink.judge_alone();
        let sink = self.shared.faults.sink(sink, &start.routes);
        let sink = Sighted::new(sink, sight, start.saved.unseen.clone());
        let mut core = LogCore::new(self.log_settings(), start)?;
        set_up(&mut core);
        let limits = LogLimits {
            grace_ticks: ticks_per(self.settings.apply.stop_grace),
            ask_again_ticks: ticks_per(ASK_AGAIN),
        };
        let Company { observer, rereads, .. } = company;
        let pipeline = LogPipeline { core, log, sink, ask, observer, rereads, limits };
        // A task of its own, so that several are not one after the other.
        let mut running = JoinSet::new();
        running
            .spawn(async move { Box::pin(pipeline.run(async { shutdown.requested().await }, ticks)).await });
        let ended = running.join_next().await;
        if let Some(beside) = company.beside {
            beside.stop().await;
        }
        company.watching.shutdown().await;
        match ended {
            Some(Ok(Ok(end))) => Ok(end),
            Some(Ok(Err(failure))) => Err(judge.judge(failure).await),
            Some(Err(crash)) => {
                Err(Failure::new(Class::Internal, "the way into green ended unexpectedly").caused_by(crash))
            }
            None => Ok(End::InOrder),
        }
    }

    pub(super) async fn prepare_apply<S: Store>(&self, store: &S) -> Result<Ready<S::Sink>, Failure> {
        let blue = Client::connect(&self.blue("control")).await;
        let mut blue =
            blue.map_err(|f| f.while_doing("connect to blue, whose catalog mappings are compiled against"))?;
        self.reach_both(store).await?;
        store.bring_up(self).await?;
        let compiled_at = end_of_log(&mut blue).await?;
        let both = store.describe(self, &mut blue).await?;
        let taken = routes::taken(self.settings, &both.blue.tables)?;
        let plan = routes::preflight_plan(self.settings, &taken, &both)?;
        let drawn = mapping::draw(self.settings, &taken, &both)?;
        if self.kafka()?.debezium.is_some() {
            publishing::refuse(drawn.iter().filter_map(debezium::needs_old_rows).collect())?;
        }
        self.check_apply(store, &mut blue, (&plan, &drawn)).await?;
        let subject = store.subject(self, &drawn, &both)?;
        let keys = keys_in_log(&both, drawn.iter().map(|one| one.taken.clone()).collect())?;
        let debezium = debezium::tables(&drawn, &both.blue);
        let routes = drawn.iter().map(|one| one.spec.clone()).collect::<Vec<_>>();
        self.show_tables(&routes);
        if self.kafka()?.debezium.is_none() {
            self.may_share(store, None).await?;
        }
        let (mut sink, metering) = store.open(self, &drawn).await?;
        let saved = match self.take_over(&mut sink).await {
            Ok(saved) => saved,
            Err(failure) => return Err(sink.judged(failure).await),
        };
        // Not before: what has yet to join is not followed because the migration was begun on another timeline.
        sink.set_published(routes.iter().map(|route| (route.id, BY_LOG.to_owned())).collect());
        let mut saved = self.begin_in_the_middle(saved);
        let awaited = self.catch_up(&mut sink, &mut saved, &routes).await?;
        let mut catalog = PostgresCatalog::connect(&self.blue("sight"), self.prefix(), &[]).await?;
        let sight = Sight::new(catalog.snapshot().await?);
        blue.close().await;
        Ok(Ready { sight, routes, keys, subject, sink, saved, compiled_at, awaited, debezium, metering })
    }

    /// Sees that green and the log answer, before anything is made on green.
    pub(super) async fn reach_both<S: Store>(&self, store: &S) -> Result<(), Failure> {
        if self.has_answered.load(Ordering::Relaxed) {
            return Ok(());
        }
        if store.known(self).await?.started {
            self.goes_on.store(true, Ordering::Relaxed);
        }
        self.reach_kafka(Role::Apply).await
    }

    /// Refuses a green that was begun by another number of lanes, or by none, before anything of it is touched.
    pub(super) async fn may_share<S: Store>(&self, store: &S, lanes: Option<u32>) -> Result<(), Failure> {
        understudy_kafka::may_go_on(self.kafka()?, &store.places(self).await?, lanes)
    }

    /// Takes the migration over on green, and goes on from what it remembers or begins it.
    pub(super) async fn take_over<K: Keeper>(&self, sink: &mut K) -> Result<Saved, Failure> {
        let saved = sink.claim().await?;
        self.has_owned.store(true, Ordering::Relaxed);
        let mut replication = Client::connect_replication(&self.blue("control")).await?;
        let slot = self.settings.name.slot();
        let now = match &saved {
            Some(saved) => lineage::verify(&mut replication, &saved.lineage, saved.checkpoint).await?,
            None => lineage::identify(&mut replication, &slot).await?.lineage,
        };
        replication.close().await;
        let Some(saved) = saved else {
            sink.begin(&now, Checkpoint::default()).await?;
            return Ok(begun(now));
        };
        if saved.lineage.publication.is_some() {
            let cause =
                "green has been filled straight from blue so far, without the log that the file names now";
            return Err(Failure::new(Class::Configuration, cause)
                .remedy(format!("take `through` out of the migration file, or {START_OVER}")));
        }
        sink.forget_absent().await?;
        if saved.lineage.timeline != now.timeline {
            sink.begin(&now, saved.checkpoint).await?;
        }
        self.status.update(|report| report.quarantined = sink.aside());
        Ok(Saved { lineage: now, ..saved })
    }

    /// Compares the file's routes with what green remembers. Returns those of which a new copy was asked for, which only the
    /// capture can put into the log.
    async fn catch_up<K: Keeper>(
        &self,
        sink: &mut K,
        saved: &mut Saved,
        routes: &[RouteSpec],
    ) -> Result<Vec<RouteId>, Failure> {
        let changes = prepare::compare_routes(saved, routes, &self.options.recopy)?;
        if saved.checkpoint != Checkpoint::default() {
            self.may_join(sink, (saved, routes), &changes.added).await?;
        }
        // An attempt after the first finds what was asked for recorded, and may find rows of the new copy.
        let is_recorded = |id: &RouteId| self.options.recopy_recorded && self.is_asked(&routes[id.index()]);
        let anew = changes.recopied.iter().copied().filter(|id| !is_recorded(id)).collect::<Vec<_>>();
        if !anew.is_empty() && self.kafka()?.debezium.is_some() {
            return Err(debezium::no_copy(&anew.iter().map(|id| &routes[id.index()]).collect::<Vec<_>>()));
        }
        if !anew.is_empty() {
            let listed = routes.iter().map(listed).collect::<Vec<_>>();
            let blue = self.blue("catalog");
            let units = PostgresCatalog::connect(&blue, self.prefix(), &listed).await?.units().await?;
            self.may_copy_again(sink, (saved, routes), (&anew, &units)).await?;
        }
        if !anew.is_empty() && !self.is_alone() {
            // A capture that refuses to copy must not leave green waiting for rows that nobody reads.
            let mut in_order = self.log_in_order.subscribe();
            let gone = |_| Failure::new(Class::Transient, "the capture has ended");
            let found = in_order.wait_for(|in_order| *in_order);
            self.awaiting(Role::Apply, ("the capture", "find blue and the log in order"), found)
                .await
                .map_err(gone)?;
        }
        let unasked = anew.iter().copied().filter(|id| !self.is_asked(&routes[id.index()]));
        let unasked = self.ask_for_columns(saved, routes, unasked.collect()).await?;
        for route in &anew {
            sink.start_again(*route).await?;
        }
        prepare::start_again(saved, &anew);
        let again = changes.recopied.iter().chain(&changes.added).copied();
        let is_awaited = |route: &RouteSpec| self.is_asked(route) || unasked.contains(&route.source);
        let is_ahead = |id: &RouteId| self.copies_are_ahead() && changes.added.contains(id);
        Ok(again.filter(|id| is_awaited(&routes[id.index()]) || is_ahead(id)).collect())
    }

    /// Has tables copied anew into which columns have come that green lacks. Returns them.
    ///
    /// Nobody but an apply knows that their values are needed, so it is the one to ask, and it does before it records that they are
    /// to come: from then on green no longer tells that it has to. The capture, which copies anew by itself where a column is new
    /// on blue, passes over what it has planned behind the place that the apply reads on from. Killed anywhere, either does the
    /// same again, and the answer is the same.
    pub(super) async fn ask_for_columns(
        &self,
        saved: &Saved,
        routes: &[RouteSpec],
        gaining: Vec<RouteId>,
    ) -> Result<BTreeSet<TableName>, Failure> {
        let table = |id: &RouteId| routes[id.index()].source.clone();
        let asked = gaining.iter().filter(|id| !prepare::is_to_come(saved, **id)).map(table);
        let asked = asked.collect::<BTreeSet<_>>();
        if !asked.is_empty() {
            let since = saved.cursor.as_ref().and_then(understudy_kafka::group_of);
            let mut ask = KafkaRequests::new(self.kafka()?, self.settings.name.as_str())?;
            let asking = ask.ask_copies(asked.iter().cloned().collect(), since);
            self.awaiting_kafka(Role::Apply, "take the request for a new copy", asking).await?;
        }
        for table in &asked {
            tracing::info!(%table, "columns have come in: the capture is asked to copy the table anew");
        }
        Ok(gaining.iter().map(table).collect())
    }

    /// Whether the operator has asked for a new copy of a route's table.
    fn is_asked(&self, route: &RouteSpec) -> bool {
        self.options.recopy.contains(&route.source)
    }

    /// What green lacks, and what does not fit between the two. What the capture needs of blue is its own to see to.
    pub(super) async fn check_apply<S: Store>(
        &self,
        store: &S,
        blue: &mut Client,
        (plan, drawn): (&PreflightPlan, &[Drawn<'_>]),
    ) -> Result<(), Failure> {
        let known = store.known(self).await?;
        let ids = joining(&known, drawn);
        let tables = ids.iter().map(|id| plan.tables[id.index()].clone()).collect::<Vec<_>>();
        let mut findings = store.findings(self, blue, (plan, &known, &tables)).await?;
        let drawn = drawn.iter().filter(|one| ids.contains(&one.spec.id)).collect::<Vec<_>>();
        findings.extend(opinion::second_opinion(blue, &drawn).await?);
        publishing::refuse(findings)
    }

    pub(super) fn log_settings(&self) -> LogSettings {
        let apply = &self.settings.apply;
        LogSettings {
            batch_changes_max: apply.batch_changes,
            batch_bytes_max: apply.batch_bytes,
            rules: Rules::all(),
        }
    }
}

/// What green remembers of a migration that has just begun.
fn begun(lineage: Lineage) -> Saved {
    Saved {
        lineage,
        checkpoint: Checkpoint::default(),
        unseen: None,
        routes: Vec::new(),
        units: Vec::new(),
        departed: Vec::new(),
        heals: Vec::new(),
        cursor: None,
    }
}

/// The columns of the keys by which a capture names the rows of these tables.
pub(super) fn keys_in_log(
    both: &Both,
    taken: Vec<routes::Taken<'_>>,
) -> Result<HashMap<TableName, Vec<String>>, Failure> {
    let names = |route: RouteSpec| {
        let names = route.key.iter().map(|at| route.columns[*at].name.clone()).collect();
        (route.source, names)
    };
    Ok(as_they_are(&distinct(taken), &both.blue)?.into_iter().map(names).collect())
}

pub(super) async fn end_of_log(blue: &mut Client) -> Result<Lsn, Failure> {
    let rows = blue.query("SELECT pg_catalog.pg_current_wal_lsn()").await?;
    Ok(rows.first().map(|row| row.parse::<Lsn>(0)).transpose()?.unwrap_or_default())
}

/// Shows how far behind green is, as the partitions of the log tell.
pub(super) fn show_lag(status: &StatusHandle, partitions: Option<&[PartitionLag]>) {
    let partitions = partitions.filter(|partitions| !partitions.is_empty()).map(|partitions| {
        let one = |of: &PartitionLag| PartitionStatus {
            topic: of.topic.clone(),
            partition: of.partition,
            records_behind: of.records(),
        };
        partitions.iter().map(one).collect::<Vec<_>>()
    });
    status.update(|report| {
        if let Some(through) = &mut report.through {
            let total = |of: &Vec<PartitionStatus>| of.iter().map(|of| of.records_behind).sum();
            through.records_behind = partitions.as_ref().map(total);
            through.partitions = partitions;
        }
    });
}

/// Who is told how far behind green is. It is known for no longer than somebody looks.
struct Behind<F: Fn(Option<&[PartitionLag]>)>(F);

impl<F: Fn(Option<&[PartitionLag]>)> Drop for Behind<F> {
    fn drop(&mut self) {
        (self.0)(None);
    }
}

/// Tells how far the partitions of a log have been read.
pub(super) trait Lags {
    /// As they are now; nothing once the log is no longer read.
    fn partitions(&self) -> impl Future<Output = Result<Vec<PartitionLag>, Failure>> + Send;
}

impl Lags for LagProbe {
    async fn partitions(&self) -> Result<Vec<PartitionLag>, Failure> {
        LagProbe::partitions(self).await
    }
}

impl Lags for DebeziumLag {
    async fn partitions(&self) -> Result<Vec<PartitionLag>, Failure> {
        DebeziumLag::partitions(self).await
    }
}

/// Tells how much of the log is still to be taken, until it is dropped.
pub(super) async fn watch_lag(probe: impl Lags, tell: impl Fn(Option<&[PartitionLag]>)) {
    let behind = Behind(tell);
    let mut tick = tokio::time::interval(LAG_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match probe.partitions().await {
            Ok(partitions) => (behind.0)(Some(&partitions)),
            Err(failure) => {
                tracing::debug!(error = %failure, "cannot ask how far the log reaches");
                (behind.0)(None);
            }
        }
    }
}
