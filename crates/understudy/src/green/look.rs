//! What is there on DynamoDB, without changing anything: what is remembered of a migration, and whether tables are as they should.

use understudy_contract::{Failure, Finding, Severity};
use understudy_dynamodb::preflight::{self, Checked};
use understudy_dynamodb::{Books, DynamoSink, Remembered};
use understudy_postgres::preflight::{Known, KnownRoute};
use understudy_transform::RouteSpec;

use super::definitions;
use crate::settings::{DynamoSettings, ExistingRows};

/// The way to DynamoDB.
pub(crate) type Client = understudy_dynamodb::Client;

/// The books of a migration.
pub(crate) fn books(client: &Client, dynamo: &DynamoSettings, migration: &str) -> Books {
    Books {
        client: client.clone(),
        calls: dynamo.calls,
        table: dynamo.state_table.clone(),
        migration: migration.to_owned(),
    }
}

/// All that is remembered of a migration.
pub(crate) async fn remembered(
    client: &Client,
    dynamo: &DynamoSettings,
    migration: &str,
) -> Result<Remembered, Failure> {
    let remembered = Box::pin(books(client, dynamo, migration).read()).await;
    remembered.map_err(|failure| failure.while_doing("read what DynamoDB remembers of the migration"))
}

/// What is remembered of a migration, as that of a database is told.
pub(crate) async fn known(
    client: &Client,
    dynamo: &DynamoSettings,
    migration: &str,
) -> Result<Known, Failure> {
    remembered(client, dynamo, migration).await.map(as_known)
}

/// The same of what has been read.
pub(crate) fn as_known(remembered: Remembered) -> Known {
    let route = |route: understudy_dynamodb::RememberedRoute| KnownRoute {
        source: route.source,
        target: route.target,
        fingerprint: route.fingerprint,
        complete: route.complete,
        published: route.published,
    };
    Known {
        started: remembered.started,
        publication: remembered.publication,
        routes: remembered.routes.into_iter().map(route).collect(),
    }
}

/// What DynamoDB lacks.
pub(crate) async fn findings(
    client: &Client,
    dynamo: &DynamoSettings,
    has_begun: bool,
) -> Result<Vec<Finding>, Failure> {
    let tables = definitions::of(dynamo);
    let checked = Checked { tables: &tables, state_table: &dynamo.state_table, has_begun };
    let found = Box::pin(preflight::check(client, &checked)).await;
    found.map_err(|failure| failure.while_doing("look at green"))
}

/// Items of the routes that are there before anything was copied, where they may not be. Looks through the tables.
pub(crate) async fn in_the_way<'r>(
    sink: &DynamoSink,
    routes: impl Iterator<Item = &'r RouteSpec>,
    existing: ExistingRows,
) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    if existing == ExistingRows::Adopt {
        return Ok(findings);
    }
    for route in routes {
        if Box::pin(sink.holds_rows(route.id)).await? {
            findings.push(Finding {
                severity: Severity::Error,
                code: "target-not-empty",
                subject: format!("green {}", route.target),
                what: format!("holds items of {} already", route.source),
                remedy: "set `existing_rows: adopt` if they are blue's, or remove them on DynamoDB; if they are another migration's, give \
                         this entry an `item` of its own"
                    .to_owned(),
            });
        }
    }
    Ok(findings)
}
