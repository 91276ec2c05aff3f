//! Blue straight into green.

use tokio::sync::mpsc;
use understudy_contract::Failure;
use understudy_postgres::sink::PostgresSink;
use understudy_postgres::wire::Client;
use understudy_replicate::End;
use understudy_transform::RouteSpec;

use super::following::{Keeper, Ready};
use super::store::{Database, Store as _};
use super::{Attempt, REREADS_MAX, published};
use crate::comparing;
use crate::mapping;
use crate::routes;
use crate::supervise::Shutdown;
use crate::verifying::{Beside, Subject};

impl Attempt<'_> {
    /// Runs until asked to end, or until something fails.
    pub(crate) async fn direct(&self, mut shutdown: Shutdown) -> Result<End, Failure> {
        if let Some(dynamo) = self.settings.green_dynamo() {
            return Box::pin(self.follow_into_items(dynamo, shutdown)).await;
        }
        let (ready, subject) = tokio::select! {
            () = shutdown.requested() => return Ok(End::InOrder),
            ready = Box::pin(self.prepare()) => ready?,
        };
        self.follow_straight((ready, subject), shutdown).await
    }

    /// Follows blue into green, whichever store it is, and compares both beside it.
    pub(crate) async fn follow_straight<K: Keeper>(
        &self,
        (ready, subject): (Ready<K>, Subject),
        shutdown: Shutdown,
    ) -> Result<End, Failure> {
        self.status.target_connected(true);
        let reading = self.read_blue(&ready).await?;
        let reporting = self.reporting(&ready.routes, ready.saved.checkpoint);
        let (rereads, wanted) = mpsc::channel(REREADS_MAX);
        let shown = (self.shared, self.status.clone(), self.recorder);
        let beside = Beside::start(self.settings, subject, shown, rereads)?;
        let plant = |sink, routes: &[RouteSpec]| self.shared.faults.sink(sink, routes);
        let ends = (shutdown, beside.stop());
        Box::pin(self.follow((ready, reading), plant, (reporting, wanted), ends)).await
    }

    async fn prepare(&self) -> Result<(Ready<PostgresSink>, Subject), Failure> {
        let mut blue =
            Client::connect(&self.blue("control")).await.map_err(|f| f.while_doing("connect to blue"))?;
        self.bring_up().await?;
        let both = Database.describe(self, &mut blue).await?;
        let taken = routes::taken(self.settings, &both.blue.tables)?;
        let plan = routes::preflight_plan(self.settings, &taken, &both)?;
        let drawn = mapping::draw(self.settings, &taken, &both)?;
        self.preflight(&mut blue, &plan, &drawn).await?;
        let compared = comparing::compared_routes(self.settings, &drawn, &both)?;
        let subject = Subject::of(self.settings, &drawn, compared);
        let routes = drawn.into_iter().map(|one| one.spec).collect::<Vec<_>>();
        self.show_tables(&routes);
        let sink = self.connect_green(&routes).await?;
        let what = (routes, published(&taken), &both.blue.tables[..]);
        Ok((self.make_ready(blue, sink, what).await?, subject))
    }
}
