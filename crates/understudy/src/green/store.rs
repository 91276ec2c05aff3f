//! DynamoDB as an apply from a log comes by it.

use std::sync::Arc;

use understudy_contract::{Cursor, Failure, Finding};
use understudy_dynamodb::{self as dynamodb, DynamoSink, NoLeaves, Remembered};
use understudy_postgres::preflight::{self, Known, PlannedTable, PreflightPlan};
use understudy_postgres::wire::Client;

use super::metering::{self, Metering};
use super::{items, look};
use crate::assemble::{Attempt, Store};
use crate::mapping::{Both, Described, Drawn};
use crate::publishing;
use crate::settings::DynamoSettings;
use crate::verifying::Subject;

/// Tables of DynamoDB.
pub(crate) struct Items<'a> {
    dynamo: &'a DynamoSettings,
    client: look::Client,
}

impl Items<'_> {
    /// Finds the way there.
    pub(crate) async fn connect(dynamo: &DynamoSettings) -> Result<Items<'_>, Failure> {
        let client = Box::pin(dynamodb::connect(&dynamo.client)).await;
        let client = client.map_err(|failure| failure.while_doing("connect to green"))?;
        Ok(Items { dynamo, client })
    }

    async fn remembered(&self, attempt: &Attempt<'_>) -> Result<Remembered, Failure> {
        look::remembered(&self.client, self.dynamo, attempt.settings.name.as_str()).await
    }
}

impl Store for Items<'_> {
    type Sink = DynamoSink;

    /// A project's scripts are SQL, and refused where green is DynamoDB.
    async fn bring_up(&self, _: &Attempt<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn describe(&self, _: &Attempt<'_>, blue: &mut Client) -> Result<Both, Failure> {
        Ok(Both::of_blue(Described::read(blue).await?))
    }

    async fn known(&self, attempt: &Attempt<'_>) -> Result<Known, Failure> {
        look::known(&self.client, self.dynamo, attempt.settings.name.as_str()).await
    }

    async fn findings(
        &self,
        _: &Attempt<'_>,
        blue: &mut Client,
        (_, known, joining): (&PreflightPlan, &Known, &[PlannedTable]),
    ) -> Result<Vec<Finding>, Failure> {
        let mut findings = look::findings(&self.client, self.dynamo, known.started).await?;
        findings.extend(preflight::check_joining_of_blue(blue, joining).await?);
        Ok(findings)
    }

    async fn places(&self, attempt: &Attempt<'_>) -> Result<Vec<Option<Cursor>>, Failure> {
        Ok(vec![self.remembered(attempt).await?.cursor])
    }

    fn subject(&self, attempt: &Attempt<'_>, drawn: &[Drawn<'_>], _: &Both) -> Result<Subject, Failure> {
        attempt.item_subject((&self.client, self.dynamo), drawn)
    }

    async fn open(
        &self,
        attempt: &Attempt<'_>,
        drawn: &[Drawn<'_>],
    ) -> Result<(DynamoSink, Option<Metering>), Failure> {
        let (tables, settings) =
            (items::tables(attempt.settings, drawn)?, attempt.item_sink_settings(self.dynamo));
        let sink = DynamoSink::new(self.client.clone(), settings, tables, Arc::new(NoLeaves))?;
        let metering = attempt.metering(metering::APPLY, &sink);
        // Items of an apply that was killed before it had recorded a place in the log are its own.
        if !self.remembered(attempt).await?.begun {
            let routes = drawn.iter().map(|one| &one.spec);
            let found = look::in_the_way(&sink, routes, attempt.settings.existing_rows).await?;
            publishing::refuse(found)?;
        }
        Ok((sink, Some(metering)))
    }
}
