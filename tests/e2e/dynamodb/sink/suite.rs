//! The contract's own suite, on a real server.

use std::time::Duration;

use understudy_dynamodb::{Batches, OnError, Transactions};
use understudy_model::RouteId;
use understudy_testkit::suite::{SinkUnderTest, SuiteRows, run_sink_suite};
use understudy_tests::Dynamo;

use super::tagged::Tagged;
use super::{Shape, Store};

impl SinkUnderTest for Store {
    type Sink = Tagged;

    const IS_ATOMIC: bool = false;

    const PERSISTS_LATER: bool = false;

    async fn connect(&self) -> Tagged {
        Store::connect(self).await
    }

    async fn rows(&self, route: RouteId) -> SuiteRows {
        Store::rows(self, route).await
    }
}

async fn run(shape: Shape, policy: OnError, batches: Batches) {
    run_with(shape, policy, (batches, Transactions::Rows)).await;
}

async fn run_with(shape: Shape, policy: OnError, (batches, transactions): (Batches, Transactions)) {
    let Some(dynamo) = Dynamo::shared() else { return };
    let make = async |case: &'static str| {
        let name = case.chars().take(60).collect::<String>();
        Store { batches, transactions, ..Store::new(dynamo, &name, shape, policy).await }
    };
    Box::pin(run_sink_suite(make)).await.unwrap();
}

/// Every sentence of the contract holds, as it does for the green of the simulator.
#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_of_the_contract_is_kept() {
    run(Shape::Items, OnError::Stop, Batches::Never).await;
}

/// The same where rows that cannot be computed are set aside.
#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_is_kept_where_rows_are_set_aside() {
    run(Shape::Items, OnError::Quarantine, Batches::Never).await;
}

/// The same where rows are parts of items.
#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_is_kept_where_rows_share_items() {
    run(Shape::Parts, OnError::Stop, Batches::Never).await;
}

/// The same where rows of a first copy come in batches.
#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_is_kept_where_copies_come_in_batches() {
    let batches = Batches::FirstCopy { in_doubt: Duration::from_millis(10) };
    run(Shape::Items, OnError::Quarantine, batches).await;
}

/// The same where transactions are visible all at once.
#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_is_kept_where_transactions_are_whole() {
    run_with(Shape::Items, OnError::Stop, (Batches::Never, Transactions::Whole)).await;
}

/// The same where rows are parts of items, and are set aside.
#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_is_kept_where_transactions_of_parts_are_whole() {
    run_with(Shape::Parts, OnError::Quarantine, (Batches::Never, Transactions::Whole)).await;
}
