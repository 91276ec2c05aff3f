//! Both sides of a comparison and the ledger that it is written to, by what green is.

use std::sync::Arc;

use understudy_contract::{BlueRows, ComparedRoute, Failure, GreenRows, VerifyLedger};
use understudy_dynamodb::{
    self as dynamodb, DynamoGreenRows, DynamoVerifyLedger, LedgerSettings, ReaderSettings, StoredBlueRows,
    StoredRoute,
};
use understudy_model::RouteId;
use understudy_postgres::verify::{PostgresBlueRows, PostgresGreenRows, ReadLimits};
use understudy_postgres::verify_ledger::PostgresVerifyLedger;
use understudy_postgres::wire::ConnectOptions;

use crate::settings::{DynamoSettings, MigrationName};

/// The values of a row, in the order of a route's columns.
pub(super) type Texts = Vec<Option<Box<str>>>;

/// How both sides are read, and where it is written down what was found.
pub(super) trait Sides: Send + Sync + 'static {
    /// Reads blue.
    type Blue: BlueRows + 'static;
    /// Reads green.
    type Green: GreenRows + 'static;
    /// The ledger on green.
    type Ledger: VerifyLedger + 'static;

    /// The ledger. Nobody has claimed it yet.
    fn ledger(&self) -> impl Future<Output = Result<Self::Ledger, Failure>> + Send;

    /// A reader of each side, on connections of their own.
    fn readers(
        &self,
        limits: ReadLimits,
    ) -> impl Future<Output = Result<(Self::Blue, Self::Green), Failure>> + Send;

    /// The values of a row as green shows them once they are written there.
    fn shown(&self, route: RouteId, values: Texts) -> Texts;
}

/// What is the same whatever green is.
#[derive(Debug, Clone)]
pub(super) struct Blue {
    pub(super) name: MigrationName,
    pub(super) options: ConnectOptions,
    pub(super) routes: Arc<[ComparedRoute]>,
}

impl Blue {
    /// What begins the messages that comparing leaves in blue's log.
    pub(super) fn prefix(&self) -> String {
        format!("understudy/{}", self.name)
    }

    async fn reader(&self, limits: ReadLimits) -> Result<PostgresBlueRows, Failure> {
        PostgresBlueRows::connect(&self.options, self.prefix(), self.routes.clone(), limits).await
    }
}

/// Green is a Postgres.
#[derive(Debug)]
pub(super) struct ServerSides {
    pub(super) blue: Blue,
    pub(super) green: ConnectOptions,
    /// Green as its readers connect to it.
    pub(super) reading: ConnectOptions,
}

impl Sides for ServerSides {
    type Blue = PostgresBlueRows;
    type Green = PostgresGreenRows;
    type Ledger = PostgresVerifyLedger;

    async fn ledger(&self) -> Result<PostgresVerifyLedger, Failure> {
        let Blue { name, routes, .. } = &self.blue;
        PostgresVerifyLedger::connect(&self.green, name.as_str(), routes.clone()).await
    }

    async fn readers(&self, limits: ReadLimits) -> Result<(PostgresBlueRows, PostgresGreenRows), Failure> {
        let Blue { name, routes, .. } = &self.blue;
        let blue = self.blue.reader(limits).await?;
        let green = PostgresGreenRows::connect(&self.reading, name.as_str(), routes.clone(), limits).await?;
        Ok((blue, green))
    }

    fn shown(&self, _: RouteId, values: Texts) -> Texts {
        values
    }
}

/// Green is DynamoDB, as an attempt has found it.
#[derive(Debug, Clone)]
pub(crate) struct Items {
    /// The way to it.
    pub(crate) client: dynamodb::Client,
    /// How it is used.
    pub(crate) settings: DynamoSettings,
    /// The routes, each with how its rows lie in items.
    pub(crate) stored: Arc<[StoredRoute]>,
    /// Tells this process from others: the same as that of its sink.
    pub(crate) instance: u64,
}

/// Green holds items.
#[derive(Debug)]
pub(super) struct ItemSides {
    pub(super) blue: Blue,
    pub(super) items: Items,
}

impl Sides for ItemSides {
    type Blue = StoredBlueRows<PostgresBlueRows>;
    type Green = DynamoGreenRows;
    type Ledger = DynamoVerifyLedger;

    async fn ledger(&self) -> Result<DynamoVerifyLedger, Failure> {
        let Items { client, settings, instance, .. } = &self.items;
        let own = LedgerSettings {
            migration: self.blue.name.as_str().to_owned(),
            state_table: settings.state_table.clone(),
            calls: settings.calls,
            instance: *instance,
        };
        Ok(DynamoVerifyLedger::new(client.clone(), own, self.blue.routes.clone()))
    }

    async fn readers(
        &self,
        limits: ReadLimits,
    ) -> Result<(StoredBlueRows<PostgresBlueRows>, DynamoGreenRows), Failure> {
        let Items { client, settings, stored, .. } = &self.items;
        let blue = StoredBlueRows::new(self.blue.reader(limits).await?, stored)?;
        let own = reader_settings(self.blue.name.as_str(), settings, limits);
        Ok((blue, DynamoGreenRows::new(client.clone(), own, stored)?))
    }

    fn shown(&self, route: RouteId, values: Texts) -> Texts {
        let stored = self.items.stored.iter().find(|stored| stored.compared.route == route);
        match stored {
            Some(stored) => stored.shown(values),
            None => values,
        }
    }
}

/// What a reader of items is told, with the limits that hold for readers of rows.
pub(crate) fn reader_settings(
    migration: &str,
    dynamo: &DynamoSettings,
    limits: ReadLimits,
) -> ReaderSettings {
    ReaderSettings {
        state_table: dynamo.state_table.clone(),
        limits: dynamodb::ReadLimits {
            read: limits.thorough,
            rows_max: limits.rows_max,
            bytes_max: limits.bytes_max,
            patience: limits.green_patience,
        },
        ..ReaderSettings::new(migration)
    }
}
