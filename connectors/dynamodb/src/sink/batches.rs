//! Rows of a first copy, many in one call, whatever is there.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use understudy_contract::{Class, Failure};

use super::write::{Body, Op, Shared};
use crate::calls::BATCH_ITEMS_MOST;
use crate::error::Error;
use crate::layout::Item;

/// How many batches are on their way at once at most.
const BATCHES_AT_ONCE: usize = 32;

/// Puts rows, each a whole item, that were found to fit. Where some attempt was without an answer, it waits until that cannot be
/// done any more: nothing that is written afterwards would be safe from it.
pub(super) async fn put(shared: &Arc<Shared>, ops: Vec<Op>, in_doubt: Duration) -> Result<(), Failure> {
    let Some(table) = ops.first().map(|op| op.item.table().to_owned()) else { return Ok(()) };
    let items = ops.into_iter().map(item).collect::<Result<Vec<_>, Error>>()?;
    let (mut under_way, mut any_in_doubt) = (JoinSet::new(), false);
    for some in batches(items) {
        while under_way.len() >= BATCHES_AT_ONCE {
            any_in_doubt |= next(&mut under_way).await?;
        }
        let (shared, table) = (Arc::clone(shared), table.clone());
        under_way.spawn(async move { Box::pin(shared.calls.put_all(&table, some)).await });
    }
    while !under_way.is_empty() {
        any_in_doubt |= next(&mut under_way).await?;
    }
    if any_in_doubt {
        tokio::time::sleep(in_doubt).await;
    }
    Ok(())
}

/// The item of a row; a removal has none, and is none of a first copy's.
fn item(op: Op) -> Result<Item, Error> {
    match op.body {
        Body::Put(row) => Ok(op.layout.item_of(row, op.upto.0)?),
        Body::Patch(_) | Body::Gone => Err(Error::Invalid {
            operation: "BatchWriteItem",
            table: op.item.table().to_owned(),
            code: "not a whole row".to_owned(),
        }),
    }
}

/// As many items at once as a call takes.
fn batches(items: Vec<Item>) -> impl Iterator<Item = Vec<Item>> {
    let mut items = items.into_iter();
    std::iter::from_fn(move || {
        let some = items.by_ref().take(BATCH_ITEMS_MOST).collect::<Vec<_>>();
        (!some.is_empty()).then_some(some)
    })
}

async fn next(under_way: &mut JoinSet<Result<bool, Error>>) -> Result<bool, Failure> {
    let broken = |error| Failure::new(Class::Internal, "a write ended unexpectedly").caused_by(error);
    match under_way.join_next().await {
        Some(joined) => Ok(joined.map_err(broken)??),
        None => Ok(false),
    }
}
