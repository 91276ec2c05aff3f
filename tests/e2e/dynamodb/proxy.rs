//! The proxy: each kind of fault happens, and is counted.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, PutRequest, WriteRequest};
use understudy_tests::{Dynamo, DynamoProxy, Fault, When, until};

use super::{TIMEOUT, client, create_table, item, number};

/// How long the client waits for answers that never come.
const SHORT: Duration = Duration::from_millis(700);

/// A table of its own behind a proxy of its own.
struct Rig {
    proxy: DynamoProxy,
    table: String,
    /// By way of the proxy.
    client: Client,
    /// Past it.
    direct: Client,
}

impl Rig {
    async fn new(test: &str, timeout: Duration) -> Option<Rig> {
        let dynamo = Dynamo::shared()?;
        let proxy = DynamoProxy::start(dynamo, 7).await;
        let (client, direct) =
            (client(proxy.endpoint(), timeout).await, client(dynamo.endpoint(), TIMEOUT).await);
        let table = Dynamo::prefix(test) + "t";
        create_table(&direct, &table).await;
        Some(Rig { proxy, table, client, direct })
    }

    async fn put(&self, pk: &str, n: u32) -> Result<(), SdkError<PutItemError>> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item(pk, n)));
        put.send().await.map(drop)
    }

    async fn number(&self, pk: &str) -> Option<u32> {
        number(&self.direct, &self.table, pk).await
    }
}

/// Refusals are those of DynamoDB, by name and code, and nothing is done.
#[tokio::test]
async fn calls_are_refused_as_the_service_refuses_them() {
    let Some(rig) = Rig::new("refused", TIMEOUT).await else { return };
    for (fault, code) in [
        (Fault::Exceeded, "ProvisionedThroughputExceededException"),
        (Fault::Throttled, "ThrottlingException"),
        (Fault::Expired, "ExpiredTokenException"),
        (Fault::ServerError, "InternalServerError"),
    ] {
        rig.proxy.fail(Some("PutItem"), fault, When::Next(1));
        let refused = rig.put(code, 1).await.expect_err("a refusal");
        assert_eq!(refused.code(), Some(code), "{refused:?}");
        assert_eq!(rig.number(code).await, None, "{code}: it was done");
        rig.put(code, 2).await.expect("once only");
        assert_eq!((rig.number(code).await, rig.proxy.faults(fault.name())), (Some(2), 1));
    }
    let calls = rig.proxy.calls("PutItem");
    assert_eq!((calls.came, calls.done, calls.faults.len()), (8, 4, 4));
    assert!((calls.units - 4.0).abs() < 0.01, "{} units for four small items", calls.units);
}

/// Whether a call was done cannot be told by a client whose connection breaks: both ways happen.
#[tokio::test]
async fn connections_break_before_and_after() {
    let Some(rig) = Rig::new("reset", TIMEOUT).await else { return };
    for (fault, done) in [(Fault::Reset, None), (Fault::ResetAfter, Some(1))] {
        rig.proxy.fail(None, fault, When::Next(1));
        let broken = rig.put(fault.name(), 1).await.expect_err("a broken connection");
        assert!(matches!(broken, SdkError::DispatchFailure(_)), "{broken:?}");
        assert_eq!(rig.number(fault.name()).await, done);
        assert_eq!(rig.proxy.faults(fault.name()), 1);
    }
    rig.put("later", 1).await.expect("a new connection");
}

/// A call that is given up may be done at once, or later than another one that was made after it.
#[tokio::test]
async fn answers_are_swallowed_and_calls_come_late() {
    let Some(rig) = Rig::new("late", SHORT).await else { return };
    // The first call to a table takes the server a while.
    rig.direct.scan().table_name(&rig.table).send().await.expect("a scan");
    let timed_out = |given_up: SdkError<PutItemError>| matches!(given_up, SdkError::TimeoutError(_));
    rig.proxy.fail(None, Fault::Swallowed, When::Next(1));
    assert!(timed_out(rig.put("swallowed", 1).await.expect_err("no answer")));
    assert_eq!(rig.number("swallowed").await, Some(1));
    rig.proxy.fail(None, Fault::Late(SHORT * 2), When::Next(1));
    assert!(timed_out(rig.put("late", 1).await.expect_err("no answer")));
    let put = rig.direct.put_item().table_name(&rig.table).set_item(Some(item("late", 2)));
    put.send().await.expect("a call that overtakes it");
    until("the late call overwrites a later one", async || {
        (rig.number("late").await == Some(1)).then_some(())
    })
    .await;
    rig.proxy.fail(None, Fault::Slow(SHORT / 4), When::Next(1));
    rig.put("slow", 1).await.expect("an answer");
    let proxy = &rig.proxy;
    assert_eq!(["swallowed", "late", "slow"].map(|name| proxy.faults(name)), [1, 1, 1]);
}

/// Batches succeed without some of their parts, which are told, and done when they are asked for again.
#[tokio::test]
async fn parts_of_batches_are_left_undone() {
    let Some(rig) = Rig::new("batch", TIMEOUT).await else { return };
    let write = |n: u32| {
        let put = PutRequest::builder().set_item(Some(item(&n.to_string(), n))).build().expect("a put");
        WriteRequest::builder().put_request(put).build()
    };
    rig.proxy.fail(None, Fault::Unprocessed, When::Next(3));
    // Concerns no batch, and so is not what the rule waits for.
    rig.put("alone", 0).await.expect("no batch");
    let mut rounds = 0;
    let mut left = (0..12).map(write).collect::<Vec<_>>();
    while !left.is_empty() {
        let before = left.len();
        let batch = rig.client.batch_write_item().request_items(&rig.table, left).send().await;
        left = batch
            .expect("a success")
            .unprocessed_items
            .unwrap_or_default()
            .remove(&rig.table)
            .unwrap_or_default();
        assert!(left.len() <= before);
        rounds += 1;
        let there = rig.direct.scan().table_name(&rig.table).consistent_read(true).send().await;
        assert_eq!(there.expect("a scan").count as usize, 13 - left.len(), "what is not told is done");
    }
    assert!(rounds > 1 && rig.proxy.faults("unprocessed") >= 1, "{rounds} rounds");
    rig.proxy.heal();
    rig.proxy.fail(Some("BatchGetItem"), Fault::Unprocessed, When::Next(1));
    let keys = (0..12).map(|n| [("pk".to_owned(), AttributeValue::S(n.to_string()))].into());
    let keys = KeysAndAttributes::builder().set_keys(Some(keys.collect())).build().expect("keys");
    let read = rig.client.batch_get_item().request_items(&rig.table, keys).send().await.expect("a success");
    let found = read.responses.unwrap_or_default().remove(&rig.table).unwrap_or_default().len();
    let told = read.unprocessed_keys.unwrap_or_default().remove(&rig.table).map_or(0, |keys| keys.keys.len());
    assert!(told > 0 && found + told == 12, "{found} found, {told} told");
}

/// A share of all calls fails, about as many as asked for.
#[tokio::test]
async fn a_share_of_calls_fails() {
    let Some(rig) = Rig::new("share", TIMEOUT).await else { return };
    rig.proxy.fail(Some("PutItem"), Fault::Throttled, When::OneIn(4));
    let mut failed = 0;
    for n in 0..200 {
        failed += u64::from(rig.put("same", n).await.is_err());
    }
    assert_eq!(rig.proxy.faults("throttled"), failed);
    assert!((20..=80).contains(&failed), "{failed} of 200 calls failed");
}
