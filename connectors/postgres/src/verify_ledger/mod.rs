//! The ledger of verification in green's bookkeeping: what the verifier keeps there, and what people read and ask there.

mod claim;
mod look;
mod news;
mod requests;
mod tables;
mod texts;
mod write;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use understudy_contract::{
    Class, ComparedRoute, Failure, LedgerNews, LedgerWrite, SavedVerification, VerifyLedger,
};
use understudy_model::RouteId;

use crate::wire::{Client, ConnectOptions};

pub(crate) use claim::forget_route;
pub use look::{mismatch, mismatches, progress, range_of, server_time};
pub use requests::{answer, ask, withdraw};
pub(crate) use tables::{NAMES, TABLES};

/// How the session of a ledger is called, in the place where the sink's sessions say what they do.
pub(crate) const ROLE: &str = "books";

/// What a session runs first. What it writes is not to be lost, and it waits for no one forever.
const SETUP: &str = "SET synchronous_commit = on; SET jit = off; SET statement_timeout = 0; SET lock_timeout = '30s'; \
    SET idle_in_transaction_session_timeout = 0; SET client_min_messages = warning";

/// The ledger on green, over one connection. After a failure it is to be claimed again.
pub struct PostgresVerifyLedger {
    options: ConnectOptions,
    migration: String,
    routes: Arc<[ComparedRoute]>,
    client: Option<Client>,
    held: Option<Held>,
}

/// What is known while the ledger is held.
#[derive(Debug, Default)]
struct Held {
    /// Numbers of routes in the ledger.
    numbers: HashMap<RouteId, i32>,
    /// The next number of a route.
    next: i32,
    /// Requests that wait for an answer and have been told.
    told: HashSet<u64>,
    /// The last row of `understudy.mismatches` that has been told; recorded with what is written next.
    surprises_upto: i64,
}

impl PostgresVerifyLedger {
    /// Connects to green. The ledger is taken by [`VerifyLedger::claim`].
    pub async fn connect(
        options: &ConnectOptions,
        migration: &str,
        routes: Arc<[ComparedRoute]>,
    ) -> Result<PostgresVerifyLedger, Failure> {
        let token = rand::random::<u32>();
        let name = format!("understudy/{migration}/{ROLE}/{token:08x}");
        let options = options.clone().with_application_name(&name);
        let (migration, held) = (migration.to_owned(), None);
        let mut ledger = PostgresVerifyLedger { options, migration, routes, client: None, held };
        ledger.client = Some(ledger.open().await?);
        Ok(ledger)
    }

    async fn open(&self) -> Result<Client, Failure> {
        let mut client = Client::connect(&self.options).await?;
        client.batch(SETUP).await?;
        Ok(client)
    }

    /// Lets the ledger go, in order.
    pub async fn close(mut self) {
        if let Some(mut client) = self.client.take() {
            // The server may take a while to notice the end of the session. Where this fails it is about to.
            let _ = client.batch("SELECT pg_catalog.pg_advisory_unlock_all()").await;
            client.close().await;
        }
    }

    /// The connection, taken out: it is put back only once what was begun has succeeded. So nothing is ever written over
    /// a connection of which it is not known where it stands.
    fn take(&mut self) -> Result<(Client, Held), Failure> {
        match (self.client.take(), self.held.take()) {
            (Some(client), Some(held)) => Ok((client, held)),
            _ => Err(Failure::new(Class::Transient, "the ledger of verification on green is not held")),
        }
    }

    fn put_back(&mut self, client: Client, held: Held) {
        (self.client, self.held) = (Some(client), Some(held));
    }
}

impl VerifyLedger for PostgresVerifyLedger {
    async fn claim(&mut self) -> Result<SavedVerification, Failure> {
        // A lock that is held by this very session would be taken once more.
        let mut client = match (self.client.take(), self.held.take()) {
            (Some(client), None) => client,
            (before, _) => {
                if let Some(client) = before {
                    client.close().await;
                }
                self.open().await?
            }
        };
        let claimed = claim::claim(&mut client, &self.migration, &self.routes).await;
        match claimed {
            Ok((saved, held)) => {
                self.put_back(client, held);
                Ok(saved)
            }
            Err(failure) => {
                client.close().await;
                Err(failure.while_doing("take the ledger of verification on green"))
            }
        }
    }

    async fn write(&mut self, entries: &[LedgerWrite]) -> Result<(), Failure> {
        let (mut client, mut held) = self.take()?;
        if !entries.is_empty() {
            let written =
                write::write(&mut client, (&self.migration, &self.routes), &mut held, entries).await;
            if let Err(failure) = written {
                client.close().await;
                return Err(failure.while_doing("write to the ledger of verification on green"));
            }
        }
        self.put_back(client, held);
        Ok(())
    }

    async fn news(&mut self) -> Result<LedgerNews, Failure> {
        let (mut client, mut held) = self.take()?;
        match news::news(&mut client, (&self.migration, &self.routes), &mut held).await {
            Ok(news) => {
                self.put_back(client, held);
                Ok(news)
            }
            Err(failure) => {
                client.close().await;
                Err(failure.while_doing("read the ledger of verification on green"))
            }
        }
    }
}
