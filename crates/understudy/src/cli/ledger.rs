//! The ledger of verification as people read it, wherever green keeps it.

use understudy_contract::{
    Ask, ComparedRoute, Failure, KnownMismatch, MismatchId, TableProgress, WhichMismatches,
};
use understudy_dynamodb::{self as dynamodb, DynamoBooks};
use understudy_model::{Key, Lsn};
use understudy_postgres::verify_ledger;
use understudy_postgres::wire::Client;

use crate::settings::Settings;

/// What reaches the ledger of a migration.
pub(super) struct Ledger {
    migration: String,
    kept: Kept,
}

enum Kept {
    /// Beside the rows of green.
    Rows(Client),
    /// In the state table.
    Items(DynamoBooks),
}

impl Ledger {
    /// Connects to green under an application name.
    pub(super) async fn connect(settings: &Settings, application_name: &str) -> Result<Ledger, Failure> {
        let migration = settings.name.as_str().to_owned();
        let kept = match settings.green_dynamo() {
            Some(dynamo) => {
                let client = Box::pin(dynamodb::connect(&dynamo.client)).await;
                let client = client.map_err(|failure| failure.while_doing("connect to green"))?;
                Kept::Items(DynamoBooks::new(client, (&migration, &dynamo.state_table), dynamo.calls))
            }
            None => {
                let options = settings.green_postgres()?.clone().with_application_name(application_name);
                let green = Client::connect(&options).await;
                let connecting =
                    |failure: Failure| failure.while_doing(format!("connect to green ({options})"));
                Kept::Rows(green.map_err(connecting)?)
            }
        };
        Ok(Ledger { migration, kept })
    }

    /// Leaves a request in the name of a person, and returns its number.
    pub(super) async fn ask(&mut self, ask: &Ask, by: &str) -> Result<u64, Failure> {
        match &mut self.kept {
            Kept::Rows(green) => verify_ledger::ask(green, &self.migration, ask, by).await,
            Kept::Items(books) => Box::pin(books.ask(ask, by)).await,
        }
    }

    /// What the sidecar has answered, if it has.
    pub(super) async fn answer(&mut self, request: u64) -> Result<Option<String>, Failure> {
        match &mut self.kept {
            Kept::Rows(green) => verify_ledger::answer(green, request).await,
            Kept::Items(books) => Box::pin(books.answer(request)).await,
        }
    }

    /// Takes a request back; returns the answer where there is one already.
    pub(super) async fn withdraw(&mut self, request: u64) -> Result<Option<String>, Failure> {
        match &mut self.kept {
            Kept::Rows(green) => verify_ledger::withdraw(green, request).await,
            Kept::Items(books) => Box::pin(books.withdraw(request)).await,
        }
    }

    /// The mismatches, in the order in which they were found.
    pub(super) async fn mismatches(&mut self, which: WhichMismatches) -> Result<Vec<KnownMismatch>, Failure> {
        match &mut self.kept {
            Kept::Rows(green) => verify_ledger::mismatches(green, &self.migration, which).await,
            Kept::Items(books) => Box::pin(books.mismatches(which)).await,
        }
    }

    /// One mismatch.
    pub(super) async fn mismatch(&mut self, id: MismatchId) -> Result<Option<KnownMismatch>, Failure> {
        match &mut self.kept {
            Kept::Rows(green) => verify_ledger::mismatch(green, &self.migration, id).await,
            Kept::Items(books) => Box::pin(books.mismatch(id)).await,
        }
    }

    /// The time, as [`Ledger::progress`] takes it.
    pub(super) async fn time(&mut self) -> Result<String, Failure> {
        match &mut self.kept {
            Kept::Rows(green) => verify_ledger::server_time(green).await,
            Kept::Items(_) => Ok(DynamoBooks::time()),
        }
    }

    /// How far every route is, and how much of it was verified since a time.
    pub(super) async fn progress(&mut self, since: &str) -> Result<Vec<TableProgress>, Failure> {
        match &mut self.kept {
            Kept::Rows(green) => verify_ledger::progress(green, &self.migration, since).await,
            Kept::Items(books) => Box::pin(books.progress(since)).await,
        }
    }

    /// When the range that holds a row was last verified: where blue's log was, and milliseconds since. `None` where that is not
    /// known, as with items: their ranges lie in an order that is the table's own.
    pub(super) async fn range_of(
        &mut self,
        route: &ComparedRoute,
        key: &Key,
    ) -> Result<Option<(Lsn, u64)>, Failure> {
        match &mut self.kept {
            Kept::Rows(green) => verify_ledger::range_of(green, &self.migration, route, key).await,
            Kept::Items(_) => Ok(None),
        }
    }

    /// Ends the connection in order.
    pub(super) async fn close(self) {
        if let Kept::Rows(green) = self.kept {
            green.close().await;
        }
    }
}
