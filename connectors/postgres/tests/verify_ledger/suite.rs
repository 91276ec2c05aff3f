//! The contract's own suite, on a real server.

use understudy_contract::Ask;
use understudy_postgres::verify_ledger::{self, PostgresVerifyLedger};
use understudy_postgres::wire::Client;
use understudy_testkit::suite::{LedgerUnderTest, run_ledger_suite};

use crate::books::Books;

/// A green of its own.
struct Real(Books);

impl Real {
    async fn client(&self) -> Client {
        Client::connect(&self.0.options).await.unwrap()
    }
}

impl LedgerUnderTest for Real {
    type Ledger = PostgresVerifyLedger;

    async fn connect(&self) -> PostgresVerifyLedger {
        self.0.ledger().await
    }

    async fn close(&self, ledger: PostgresVerifyLedger) {
        ledger.close().await;
    }

    async fn ask(&self, ask: &Ask) -> u64 {
        verify_ledger::ask(&mut self.client().await, self.0.migration, ask, "me").await.unwrap()
    }

    async fn answer(&self, request: u64) -> Option<String> {
        verify_ledger::answer(&mut self.client().await, request).await.unwrap()
    }

    async fn withdraw(&self, request: u64) -> Option<String> {
        verify_ledger::withdraw(&mut self.client().await, request).await.unwrap()
    }
}

/// Every sentence of the contract holds.
#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_of_the_ledger_is_kept() {
    if crate::databases::shared().is_none() {
        return;
    }
    let make = async |case: &'static str| {
        // A replication origin, which belongs to the whole cluster, is named after the migration.
        let name: &'static str = format!("ledger_{case}").chars().take(40).collect::<String>().leak();
        Real(Books::open_as(name, name).await.unwrap())
    };
    Box::pin(run_ledger_suite(make)).await.unwrap();
}
