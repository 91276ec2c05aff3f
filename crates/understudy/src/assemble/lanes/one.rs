//! One lane: claimed on green, read from the log, and given up in order.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use understudy_contract::{AskCapture, Failure, Saved, Wanted};
use understudy_kafka::{KafkaRequests, Lane, LaneLog};
use understudy_postgres::sink::{PostgresSink, SinkSettings, lane_name};
use understudy_replicate::{End, LogCore, LogStart, Reread};
use understudy_transform::RouteSpec;

use super::Work;
use super::changed::{self, Telling};
use super::reporting::LaneReporting;
use crate::assemble::apply::{BY_LOG, Company, Way, watch_lag};
use crate::assemble::{Attempt, REREADS_MAX};
use crate::mapping;
use crate::prepare;
use crate::supervise::Shutdown;
use crate::verifying::Beside;

/// A lane that is claimed and at its place in the log.
struct Opened {
    sink: PostgresSink,
    saved: Saved,
    log: LaneLog,
}

impl Attempt<'_> {
    /// Applies a lane until asked to stop, or until something fails. `reclaim`: nobody else may have claimed it since.
    pub(super) async fn lane(
        &self,
        work: &Work,
        (number, reclaim): (u32, bool),
        mut stop: Shutdown,
    ) -> Result<End, Failure> {
        let opened = tokio::select! {
            () = stop.requested() => return Ok(End::InOrder),
            opened = Box::pin(self.open_lane(work, (number, reclaim))) => opened?,
        };
        work.together.begins(number, opened.log.waits());
        let ended = Box::pin(self.run_lane(work, number, (opened, stop))).await;
        work.together.ends(number);
        ended
    }

    async fn open_lane(&self, work: &Work, (number, reclaim): (u32, bool)) -> Result<Opened, Failure> {
        let settings = SinkSettings {
            migration: lane_name(self.settings.name.as_str(), number),
            // There are as many of each as there are lanes.
            writers: 1,
            origins: false,
            laned: true,
            reclaim,
            ..self.sink_settings()
        };
        let tables = mapping::green_tables(&work.routes);
        let sink = PostgresSink::connect(&self.green("apply")?, settings, tables).await;
        let mut sink = sink.map_err(|failure| failure.while_doing("connect to green"))?;
        sink.set_published(work.routes.iter().map(|route| (route.id, BY_LOG.to_owned())).collect());
        let saved = match self.take_over(&mut sink).await {
            Ok(saved) => saved,
            Err(failure) => return Err(sink.judge(failure).await),
        };
        let mut saved = saved;
        self.take_columns_in(&mut sink, (&mut saved, &work.routes)).await?;
        let tables = work.keys.keys().cloned().collect::<Vec<_>>();
        let lane = Lane { number, of: work.of };
        let shared = (work.fences.clone(), work.places.clone());
        let log = LaneLog::open(self.kafka()?, &tables, (lane, saved.cursor.clone()), shared).await?;
        Ok(Opened { sink, saved, log })
    }

    /// Tables whose columns have come in are copied anew: the capture sees to it.
    async fn take_columns_in(
        &self,
        sink: &mut PostgresSink,
        (saved, routes): (&mut Saved, &[RouteSpec]),
    ) -> Result<(), Failure> {
        let changes = prepare::compare_routes(saved, routes, &[])?;
        self.ask_for_columns(saved, routes, changes.recopied.clone()).await?;
        for route in &changes.recopied {
            sink.start_again(*route).await?;
        }
        prepare::start_again(saved, &changes.recopied);
        Ok(())
    }

    async fn run_lane(
        &self,
        work: &Work,
        number: u32,
        (opened, stop): (Opened, Shutdown),
    ) -> Result<End, Failure> {
        let Opened { sink, saved, log } = opened;
        let (kafka, name) = (self.kafka()?, self.settings.name.as_str());
        let ask = KafkaRequests::new(kafka, name)?;
        let (probe, together) = (log.lag(), Arc::clone(&work.together));
        let asks = work.asks_lag.get_or_init(|| probe.clone());
        let probe = probe.asking_by(asks);
        let mut watching = JoinSet::new();
        watching.spawn(watch_lag(probe, move |partitions| together.lags(number, partitions)));
        // Whoever has the first lane compares both sides, and answers for all.
        let (mut beside, (_, nobody_asks)) = (None, mpsc::channel(1));
        if number == 0 {
            let (rereads, wanted) = mpsc::channel(REREADS_MAX);
            let ask = KafkaRequests::new(kafka, name)?;
            watching.spawn(ask_for(ask, (work.routes.clone(), work.keys.clone()), wanted));
            if self.settings.verify.enabled {
                let told = Telling::new(self.shared.clone(), &work.routes, &work.keys);
                let tables = work.keys.keys().cloned().collect();
                let seen = (work.places.clone(), work.together.applied());
                watching.spawn(changed::tell((kafka.clone(), tables), told, seen));
            }
            let shown = (self.shared, self.status.clone(), self.recorder);
            beside = Some(Beside::start(self.settings, work.subject.clone(), shown, rereads)?);
        }
        let start = LogStart {
            routes: work.routes.clone(),
            keys: work.keys.clone(),
            saved,
            compiled_at: work.compiled_at,
            awaited: Vec::new(),
        };
        let observer = Arc::new(LaneReporting { number, together: Arc::clone(&work.together) });
        let way = Way { sink, sight: work.sight.clone(), start };
        // Nobody asks a lane for rows: what is to be read again may be another's.
        let company = Company { observer, rereads: nobody_asks, beside, watching };
        self.map_log((way, LogCore::take_every_heal), (log, ask), company, stop).await
    }
}

/// Has the capture read rows again. Each comes to the lane that it belongs to, which places it.
async fn ask_for(
    mut ask: KafkaRequests,
    (routes, keys): (Vec<RouteSpec>, std::collections::HashMap<understudy_model::TableName, Vec<String>>),
    mut wanted: mpsc::Receiver<Reread>,
) {
    while let Some(reread) = wanted.recv().await {
        let Reread::Row { route, key } = reread else { continue };
        let Some(spec) = routes.get(route.index()) else { continue };
        let names = keys.get(&spec.source).unwrap_or(&spec.key_source);
        let key = understudy_replicate::key_in_order(&key.blue, &spec.key_source, names);
        let row = Wanted { table: spec.source.clone(), key };
        if let Err(failure) = ask.ask(vec![row]).await {
            tracing::warn!(error = %failure, "a row that differs is not read again now: it will be found again");
        }
    }
}
