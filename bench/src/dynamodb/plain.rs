//! The plain writer: puts the same rows as items as fast as DynamoDB takes them. It looks at nothing, remembers nothing, and would
//! double or lose rows whenever something fails.

use std::collections::HashMap;
use std::future::Future;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, PutRequest, ReturnConsumedCapacity, WriteRequest,
};
use tokio::task::JoinSet;
use understudy_contract::{Class, Failure};

use super::page::Spent;

/// Calls that are under way at once: as many as the sidecar makes at most.
pub(super) const AT_ONCE: usize = 128;

/// Batches that are under way at once: as many as the sidecar makes at most, with two writers.
const BATCHES_AT_ONCE: usize = 64;

/// How many items a batch takes.
const BATCH_ITEMS: u64 = 25;

/// An item.
type Item = HashMap<String, AttributeValue>;

/// Puts the rows with numbers from 1 on in batches.
pub(super) async fn copy(client: &Client, table: &str, rows: u64) -> Result<(Duration, Spent), Failure> {
    let starts = (1..=rows).step_by(BATCH_ITEMS as usize);
    let batches = starts.map(|first| {
        let items = (first..=rows.min(first + BATCH_ITEMS - 1)).map(item).collect();
        put_batch(client.clone(), table.to_owned(), items)
    });
    timed(batches, BATCHES_AT_ONCE).await
}

/// Puts each of these rows by itself.
pub(super) async fn stream(
    client: &Client,
    table: &str,
    rows: impl Iterator<Item = u64>,
) -> Result<(Duration, Spent), Failure> {
    timed(rows.map(|row| put(client.clone(), table.to_owned(), item(row))), AT_ONCE).await
}

/// A row as the sidecar's mapping makes an item of it, without what the sidecar adds.
fn item(row: u64) -> Item {
    let number = |n: u64| AttributeValue::N(n.to_string());
    let note = format!("{:032x}", u128::from(row).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060));
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(format!("ORDER#{row}"))),
        ("id".to_owned(), number(row)),
        ("customer".to_owned(), number(row % 9973)),
        ("name".to_owned(), AttributeValue::S(format!("name {row}"))),
        ("amount".to_owned(), AttributeValue::N(format!("{}.{:02}", row / 7, row % 100))),
        ("counter".to_owned(), number(row % 1000)),
        ("changed_at".to_owned(), AttributeValue::S("2026-11-22T12:34:56.789012Z".to_owned())),
        ("note".to_owned(), AttributeValue::S(note)),
    ])
}

async fn put(client: Client, table: String, item: Item) -> Result<Spent, Failure> {
    let put = client.put_item().table_name(table).set_item(Some(item));
    let done = Box::pin(put.return_consumed_capacity(ReturnConsumedCapacity::Total).send()).await;
    let done = done.map_err(|error| failed(&error))?;
    Ok(one_call(done.consumed_capacity.iter()))
}

async fn put_batch(client: Client, table: String, items: Vec<Item>) -> Result<Spent, Failure> {
    let request = |item| {
        let put = PutRequest::builder().set_item(Some(item)).build().ok();
        WriteRequest::builder().set_put_request(put).build()
    };
    let mut left = items.into_iter().map(request).collect::<Vec<_>>();
    let mut spent = Spent::default();
    while !left.is_empty() {
        let batch = client.batch_write_item().request_items(&table, left);
        let done = Box::pin(batch.return_consumed_capacity(ReturnConsumedCapacity::Total).send()).await;
        let done = done.map_err(|error| failed(&error))?;
        spent = together(spent, one_call(done.consumed_capacity()));
        left = done.unprocessed_items.into_iter().flatten().flat_map(|(_, items)| items).collect();
    }
    Ok(spent)
}

/// Makes calls, so many at once. Returns how long that took, and what they have come to.
async fn timed<C>(calls: impl Iterator<Item = C>, at_once: usize) -> Result<(Duration, Spent), Failure>
where
    C: Future<Output = Result<Spent, Failure>> + Send + 'static,
{
    let began = Instant::now();
    let (mut under_way, mut spent) = (JoinSet::new(), Spent::default());
    for call in calls {
        if under_way.len() >= at_once {
            spent = together(spent, next(&mut under_way).await?);
        }
        under_way.spawn(call);
    }
    while !under_way.is_empty() {
        spent = together(spent, next(&mut under_way).await?);
    }
    Ok((began.elapsed(), spent))
}

async fn next(under_way: &mut JoinSet<Result<Spent, Failure>>) -> Result<Spent, Failure> {
    let broken = |error| Failure::new(Class::Internal, format!("a call ended unexpectedly: {error}"));
    match under_way.join_next().await {
        Some(joined) => joined.map_err(broken)?,
        None => Ok(Spent::default()),
    }
}

fn one_call<'c>(consumed: impl IntoIterator<Item = &'c ConsumedCapacity>) -> Spent {
    let units = consumed.into_iter().filter_map(ConsumedCapacity::capacity_units).sum();
    Spent { calls: 1.0, write_units: units, ..Spent::default() }
}

fn together(one: Spent, other: Spent) -> Spent {
    Spent { calls: one.calls + other.calls, write_units: one.write_units + other.write_units, ..one }
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(Class::Transient, format!("a call of the plain writer failed: {error}"))
}
