//! From a log into green in lanes, which the processes that run the apply share out among themselves: each lane is an apply of
//! its own, with books of its own on green, and holds the partition of its number of every table.

mod changed;
pub(crate) mod fit;
mod one;
mod reporting;
mod roster;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::JoinSet;
use understudy_contract::{BlueCatalog, Class, Failure};
use understudy_kafka::{Fences, GroupEvent, KafkaGroup, LagProbe, LanePlaces, Stopped};
use understudy_model::{Checkpoint, Lsn, TableName};
use understudy_postgres::sink::LaneBooks;
use understudy_postgres::source::catalog::PostgresCatalog;
use understudy_postgres::wire::Client;
use understudy_replicate::End;
use understudy_transform::RouteSpec;

use super::Attempt;
use super::apply::{end_of_log, keys_in_log};
use super::sight::Sight;
use super::store::{Database, Store as _};
use crate::comparing;
use crate::mapping;
use crate::publishing;
use crate::routes;
use crate::supervise::{Role, Shutdown};
use crate::verifying::Subject;
use reporting::Together;
use roster::{Next, Roster};

/// Everything that the lanes of an attempt have in common.
struct Work {
    routes: Vec<RouteSpec>,
    /// The columns of each table's key, as the log has them.
    keys: HashMap<TableName, Vec<String>>,
    /// What verification compares.
    subject: Subject,
    /// Where blue's log ended before its catalog was read.
    compiled_at: Lsn,
    sight: Sight,
    /// How many lanes there are.
    of: u32,
    fences: Fences,
    places: watch::Receiver<LanePlaces>,
    together: Arc<Together>,
    /// What asks the brokers how far the log reaches, for all lanes.
    asks_lag: OnceLock<LagProbe>,
}

/// How a lane ended.
type Ended = (u32, Result<End, Failure>);

impl Attempt<'_> {
    /// Applies lanes, as the group shares them out, until asked to end, or until something fails.
    pub(crate) async fn lanes(&self, mut shutdown: Shutdown) -> Result<End, Failure> {
        if !self.options.recopy.is_empty() || self.options.replay.is_some() {
            let cause = "with `consistency: key` tables are not copied again, and no log is replayed";
            return Err(Failure::new(Class::Configuration, cause)
                .remedy("start without --recopy; or fill another green under another name"));
        }
        let kafka = self.kafka()?;
        let mut watching = JoinSet::new();
        let started = async {
            let work = Box::pin(self.prepare_lanes(&mut watching)).await?;
            let joining = KafkaGroup::join(kafka, self.settings.name.as_str());
            let group = self.awaiting_kafka(Role::Apply, "let this worker into its group", joining).await?;
            Ok::<_, Failure>((work, group))
        };
        let (work, group) = tokio::select! {
            () = shutdown.requested() => return Ok(End::InOrder),
            started = started => started?,
        };
        self.status.target_connected(true);
        if self.is_alone() {
            self.status.source_connected(true);
        }
        self.has_owned.store(true, Ordering::Relaxed);
        let mut lanes = Lanes::new(self, &work);
        let mut group = group;
        let ended = Box::pin(lanes.run(&mut group, shutdown)).await;
        let stopped = lanes.stop_all().await;
        group.leave().await;
        watching.shutdown().await;
        ended.and(stopped)
    }

    async fn prepare_lanes(&self, watching: &mut JoinSet<()>) -> Result<Work, Failure> {
        let of = u32::from(self.kafka()?.partitions);
        let blue = Client::connect(&self.blue("control")).await;
        let mut blue =
            blue.map_err(|f| f.while_doing("connect to blue, whose catalog mappings are compiled against"))?;
        self.reach_both(&Database).await?;
        self.bring_up().await?;
        let compiled_at = end_of_log(&mut blue).await?;
        let both = Database.describe(self, &mut blue).await?;
        let taken = routes::taken(self.settings, &both.blue.tables)?;
        let plan = routes::preflight_plan(self.settings, &taken, &both)?;
        let drawn = mapping::draw(self.settings, &taken, &both)?;
        if let Err(failure) = self.check_apply(&Database, &mut blue, (&plan, &drawn)).await {
            // Another process may have begun meanwhile: what is in green's tables then has come from here.
            if !Database.known(self).await?.started {
                return Err(failure);
            }
            self.check_apply(&Database, &mut blue, (&plan, &drawn)).await?;
        }
        let specs = drawn.iter().map(|one| one.spec.clone()).collect::<Vec<_>>();
        let green = self.green("control")?;
        publishing::refuse(fit::findings(&green, self.sink_settings(), &specs).await?)?;
        let compared = comparing::compared_routes(self.settings, &drawn, &both)?;
        let subject = Subject::of(self.settings, &drawn, compared);
        let keys = keys_in_log(&both, drawn.iter().map(|one| one.taken.clone()).collect())?;
        self.show_tables(&specs);
        self.may_share(&Database, Some(of)).await?;
        let mut books = LaneBooks::new(&self.green("lanes")?, self.settings.name.as_str());
        books.lay_out(of).await?;
        let mut catalog = PostgresCatalog::connect(&self.blue("sight"), self.prefix(), &[]).await?;
        let sight = Sight::new(catalog.snapshot().await?);
        blue.close().await;
        let ends = specs.iter().map(|route| (route.id, (route.source.clone(), route.target.clone())));
        let reporting = self.reporting(&specs, Checkpoint::default());
        let shown = (reporting, self.status.clone());
        let together = Arc::new(Together::new(shown, ends.collect()));
        let (told, places) = watch::channel(LanePlaces::new());
        watching.spawn(sight.clone().watch(self.blue("sight"), self.prefix()));
        watching.spawn(reporting::watch(books, Arc::clone(&together), told));
        let (routes, fences) = (specs, Fences::default());
        let asks_lag = OnceLock::new();
        Ok(Work { routes, keys, subject, compiled_at, sight, of, fences, places, together, asks_lag })
    }
}

/// The lanes of an attempt.
struct Lanes<'a> {
    attempt: &'a Attempt<'a>,
    work: &'a Work,
    running: FuturesUnordered<BoxFuture<'a, Ended>>,
    /// Lanes to be begun after a pause.
    pauses: FuturesUnordered<BoxFuture<'a, (u32, Next)>>,
    roster: Roster<Stopped>,
}

impl<'a> Lanes<'a> {
    fn new(attempt: &'a Attempt<'a>, work: &'a Work) -> Lanes<'a> {
        let (running, pauses) = (FuturesUnordered::new(), FuturesUnordered::new());
        Lanes { attempt, work, running, pauses, roster: Roster::new() }
    }

    async fn run(&mut self, group: &mut KafkaGroup, mut shutdown: Shutdown) -> Result<End, Failure> {
        loop {
            tokio::select! {
                biased;
                // 1. The end that was asked for.
                () = shutdown.requested() => return Ok(End::InOrder),
                // 2. What has become of lanes.
                Some((number, ended)) = self.running.next() => self.on_ended(number, ended)?,
                Some((number, next)) = self.pauses.next() => self.on_pause(number, next),
                // 3. Which are ours.
                event = group.next() => match event? {
                    GroupEvent::Assigned(numbers) => numbers.into_iter().for_each(|number| self.assigned(number)),
                    GroupEvent::Revoked(numbers, stopped) => self.on_revoked(numbers, stopped),
                },
            }
        }
    }

    fn assigned(&mut self, number: u32) {
        tracing::info!(lane = number, "this process applies the lane from now on");
        if self.roster.assigned(number) {
            self.begin(number, (false, 0));
        }
    }

    /// Begins a lane. `reclaim`: it must be ours still.
    fn begin(&mut self, number: u32, (reclaim, tries): (bool, u32)) {
        let stopped = self.roster.begins(number, tries);
        let (attempt, work) = (self.attempt, self.work);
        self.running.push(Box::pin(async move {
            (number, Box::pin(attempt.lane(work, (number, reclaim), stopped)).await)
        }));
    }

    fn on_revoked(&mut self, numbers: Vec<u32>, stopped: Stopped) {
        tracing::info!(lanes = ?numbers, "other processes apply these lanes from now on");
        self.roster.revoked(numbers, stopped);
    }

    fn on_ended(&mut self, number: u32, ended: Result<End, Failure>) -> Result<(), Failure> {
        let next = self.roster.ended(number, ended.err(), Instant::now())?;
        let pause = match next {
            Next::Nothing => return Ok(()),
            Next::Begin => {
                self.begin(number, (false, 0));
                return Ok(());
            }
            Next::Claim(pause) | Next::Again(pause) => pause,
        };
        self.pauses.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            (number, next)
        }));
        Ok(())
    }

    /// Begins a lane again that is still ours.
    fn on_pause(&mut self, number: u32, next: Next) {
        match (self.roster.rested(number), next) {
            (Some(tries), Next::Again(_)) => self.begin(number, (true, tries + 1)),
            (Some(_), _) => self.begin(number, (false, 0)),
            (None, _) => {}
        }
    }

    /// Stops every lane in order.
    async fn stop_all(&mut self) -> Result<End, Failure> {
        self.roster.stop();
        let mut end = End::InOrder;
        while let Some((number, ended)) = self.running.next().await {
            match ended {
                Ok(End::InOrder) => {}
                Ok(End::GivenUp) => end = End::GivenUp,
                Err(failure) => {
                    tracing::warn!(lane = number, error = %failure, "the lane did not end in order")
                }
            }
        }
        self.roster.clear();
        Ok(end)
    }
}
