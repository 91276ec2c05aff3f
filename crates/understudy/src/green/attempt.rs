//! One attempt at following blue into DynamoDB, and what a start asks of its sink.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use understudy_contract::Failure;
use understudy_dynamodb::{self as dynamodb, DynamoSink, NoLeaves, SinkSettings};
use understudy_model::RouteId;
use understudy_postgres::preflight::{self, PlannedTable, PreflightPlan};
use understudy_postgres::wire::Client;
use understudy_replicate::End;

use super::comparing::stored_routes;
use super::metering::{self, Metering};
use super::{items, look};
use crate::assemble::{Attempt, Judge, Keeper, Ready, joining, published};
use crate::mapping::{self, Both, Described, Drawn};
use crate::settings::{self, DynamoSettings};
use crate::supervise::Shutdown;
use crate::verifying::{Items, Subject};
use crate::{opinion, publishing, routes};

impl Keeper for DynamoSink {
    const HOLDS_ROWS: bool = true;

    fn set_published(&mut self, published: Vec<(RouteId, String)>) {
        DynamoSink::set_published(self, published);
    }

    async fn forget_absent(&mut self) -> Result<(), Failure> {
        DynamoSink::forget_absent(self).await
    }

    async fn forget_routes(&mut self, routes: &[RouteId], publication: &str) -> Result<(), Failure> {
        DynamoSink::forget_routes(self, routes, publication).await
    }

    async fn start_again(&mut self, route: RouteId) -> Result<(), Failure> {
        DynamoSink::start_again(self, route).await
    }

    async fn holds_rows(&mut self, route: RouteId) -> Result<Option<bool>, Failure> {
        DynamoSink::holds_rows(self, route).await.map(Some)
    }

    async fn judged(&self, failure: Failure) -> Failure {
        if self.is_claimed() { DynamoSink::judge_alone(self).judge(failure).await } else { failure }
    }

    fn judge_alone(&self) -> Judge {
        Judge::Items(DynamoSink::judge_alone(self))
    }
}

impl Attempt<'_> {
    /// Follows blue into DynamoDB until asked to end, or until something fails.
    pub(crate) async fn follow_into_items(
        &self,
        dynamo: &DynamoSettings,
        mut shutdown: Shutdown,
    ) -> Result<End, Failure> {
        let (ready, subject, _metering) = tokio::select! {
            () = shutdown.requested() => return Ok(End::InOrder),
            ready = Box::pin(self.prepare_items(dynamo)) => ready?,
        };
        self.follow_straight((ready, subject), shutdown).await
    }

    async fn prepare_items(
        &self,
        dynamo: &DynamoSettings,
    ) -> Result<(Ready<DynamoSink>, Subject, Metering), Failure> {
        let mut blue =
            Client::connect(&self.blue("control")).await.map_err(|f| f.while_doing("connect to blue"))?;
        let both = Both::of_blue(Described::read(&mut blue).await?);
        let taken = routes::taken(self.settings, &both.blue.tables)?;
        let plan = routes::preflight_plan(self.settings, &taken, &both)?;
        let drawn = mapping::draw(self.settings, &taken, &both)?;
        let tables = items::tables(self.settings, &drawn)?;
        let client = Box::pin(dynamodb::connect(&dynamo.client)).await;
        let client = client.map_err(|failure| failure.while_doing("connect to green"))?;
        let started = self.preflight_items(&mut blue, (&client, dynamo), (&plan, &drawn)).await?;
        let subject = self.item_subject((&client, dynamo), &drawn)?;
        let sink = DynamoSink::new(client, self.item_sink_settings(dynamo), tables, Arc::new(NoLeaves))?;
        let metering = self.metering(metering::APPLY, &sink);
        let routes = drawn.into_iter().map(|one| one.spec).collect::<Vec<_>>();
        if !started {
            // Rows that blue has deleted before the copy would stay for ever.
            let found = look::in_the_way(&sink, routes.iter(), self.settings.existing_rows).await?;
            publishing::refuse(found)?;
        }
        self.show_tables(&routes);
        let drawn = (routes, published(&taken), &both.blue.tables[..]);
        Ok((Box::pin(self.make_ready(blue, sink, drawn)).await?, subject, metering))
    }

    /// What verification compares.
    pub(super) fn item_subject(
        &self,
        (client, dynamo): (&look::Client, &DynamoSettings),
        drawn: &[Drawn<'_>],
    ) -> Result<Subject, Failure> {
        let items = Items {
            client: client.clone(),
            settings: dynamo.clone(),
            stored: stored_routes(self.settings, drawn)?.into(),
            instance: self.instance,
        };
        Ok(Subject::of_items(self.settings, drawn, items))
    }

    /// Before anything is created, everything must be in place; later, what joins must be. Returns whether it is later.
    async fn preflight_items(
        &self,
        blue: &mut Client,
        (client, dynamo): (&look::Client, &DynamoSettings),
        (plan, drawn): (&PreflightPlan, &[Drawn<'_>]),
    ) -> Result<bool, Failure> {
        let mut known = Box::pin(look::known(client, dynamo, self.settings.name.as_str())).await?;
        let mut findings = Box::pin(look::findings(client, dynamo, known.started)).await?;
        if known.started {
            self.forget_missed(blue, plan, &mut known).await?;
        }
        let ids = joining(&known, drawn);
        let tables = ids.iter().map(|id| plan.tables[id.index()].clone()).collect::<Vec<PlannedTable>>();
        if known.started {
            findings.extend(preflight::check_always(blue, plan).await?);
        }
        if !known.started || !tables.is_empty() {
            findings.extend(preflight::check_blue(blue, plan, known.started, &tables).await?);
            let drawn = drawn.iter().filter(|one| ids.contains(&one.spec.id)).collect::<Vec<_>>();
            findings.extend(opinion::second_opinion(blue, &drawn).await?);
        }
        publishing::refuse(findings)?;
        Ok(known.started)
    }

    pub(super) fn item_sink_settings(&self, dynamo: &DynamoSettings) -> SinkSettings {
        let apply = &self.settings.apply;
        SinkSettings {
            state_table: dynamo.state_table.clone(),
            on_error: match apply.on_error {
                settings::OnError::Stop => dynamodb::OnError::Stop,
                settings::OnError::Quarantine => dynamodb::OnError::Quarantine,
            },
            writers: apply.writers,
            batches: dynamo.batches,
            transactions: dynamo.transactions,
            adopts: self.settings.existing_rows == settings::ExistingRows::Adopt,
            tombstones: dynamo.tombstones,
            calls: dynamo.calls,
            instance: self.instance,
            reclaim: self.has_owned.load(Ordering::Relaxed),
            ..SinkSettings::new(self.settings.name.as_str())
        }
    }
}
