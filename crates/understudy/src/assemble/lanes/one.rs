//! One lane: claimed on green, read from the log, and given up in order.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use understudy_contract::{AskCapture, Class, Failure, Saved, Wanted};
use understudy_kafka::{KafkaRequests, Lane, LaneLog};
use understudy_postgres::sink::{PostgresSink, SinkSettings, lane_name};
use understudy_replicate::{End, LogCore, LogLimits, LogPipeline, LogStart, Reread};
use understudy_transform::RouteSpec;

use super::Work;
use super::reporting::LaneReporting;
use crate::assemble::apply::{ASK_AGAIN, BY_LOG};
use crate::assemble::sight::Sighted;
use crate::assemble::{Attempt, REREADS_MAX, ticks, ticks_per};
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
            reclaim,
            ..self.sink_settings()
        };
        let tables = mapping::green_tables(&work.routes);
        let sink = PostgresSink::connect(&self.green("apply"), settings, tables).await;
        let mut sink = sink.map_err(|failure| failure.while_doing("connect to green"))?;
        sink.set_published(work.routes.iter().map(|route| (route.id, BY_LOG.to_owned())).collect());
        let saved = match self.take_over(&mut sink).await {
            Ok(saved) => saved,
            Err(failure) => return Err(sink.judge(failure).await),
        };
        self.take_columns_in(&mut sink, (&saved, &work.routes)).await?;
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
        (saved, routes): (&Saved, &[RouteSpec]),
    ) -> Result<(), Failure> {
        let changes = prepare::compare_routes(saved, routes, &[])?;
        for route in changes.recopied {
            sink.start_again(route).await?;
        }
        Ok(())
    }

    async fn run_lane(
        &self,
        work: &Work,
        number: u32,
        (opened, mut stop): (Opened, Shutdown),
    ) -> Result<End, Failure> {
        let Opened { sink, saved, log } = opened;
        let kafka = self.kafka()?;
        let ask = KafkaRequests::new(kafka, self.settings.name.as_str())?;
        let judge = sink.judge_alone();
        let sink = self.shared.faults.sink(sink, &work.routes);
        let sink = Sighted::new(sink, work.sight.clone(), saved.unseen.clone());
        let start = LogStart {
            routes: work.routes.clone(),
            keys: work.keys.clone(),
            saved,
            compiled_at: work.compiled_at,
            awaited: Vec::new(),
        };
        let mut core = LogCore::new(self.log_settings(), start)?;
        core.take_every_heal();
        let limits = LogLimits {
            grace_ticks: ticks_per(self.settings.apply.stop_grace),
            ask_again_ticks: ticks_per(ASK_AGAIN),
        };
        let observer = Arc::new(LaneReporting { number, together: Arc::clone(&work.together) });
        // Nobody asks a lane for rows: what is to be read again may be another's.
        let (_, rereads) = mpsc::channel(1);
        let pipeline = LogPipeline { core, log, sink, ask, observer, rereads, limits };
        let mut running = JoinSet::new();
        running.spawn(async move { Box::pin(pipeline.run(async { stop.requested().await }, ticks)).await });
        // Whoever has the first lane compares both sides, and answers for all.
        let compares = number == 0;
        let mut asking = JoinSet::new();
        let beside = match compares {
            true => {
                let (rereads, wanted) = mpsc::channel(REREADS_MAX);
                let ask = KafkaRequests::new(kafka, self.settings.name.as_str())?;
                asking.spawn(ask_for(ask, (work.routes.clone(), work.keys.clone()), wanted));
                let shown = (self.shared, self.status.clone(), self.recorder);
                Some(Beside::start(self.settings, work.subject.clone(), shown, rereads))
            }
            false => None,
        };
        let ended = running.join_next().await;
        if let Some(beside) = beside {
            beside.stop().await;
        }
        asking.shutdown().await;
        match ended {
            Some(Ok(Ok(end))) => Ok(end),
            Some(Ok(Err(failure))) => Err(judge.judge(failure).await),
            Some(Err(crash)) => {
                Err(Failure::new(Class::Internal, "a lane ended unexpectedly").caused_by(crash))
            }
            None => Ok(End::InOrder),
        }
    }
}

/// Has the capture read rows again. Each comes to the lane that it belongs to, which places it.
async fn ask_for(
    mut ask: KafkaRequests,
    (routes, keys): (Vec<RouteSpec>, std::collections::HashMap<understudy_model::TableName, Vec<String>>),
    mut wanted: mpsc::Receiver<Reread>,
) {
    while let Some(Reread { route, key }) = wanted.recv().await {
        let Some(spec) = routes.get(route.index()) else { continue };
        let names = keys.get(&spec.source).unwrap_or(&spec.key_source);
        let key = understudy_replicate::key_in_order(&key.blue, &spec.key_source, names);
        let row = Wanted { table: spec.source.clone(), key };
        if let Err(failure) = ask.ask(vec![row]).await {
            tracing::warn!(error = %failure, "a row that differs is not read again now: it will be found again");
        }
    }
}
