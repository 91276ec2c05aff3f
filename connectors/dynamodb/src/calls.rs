//! Every call to DynamoDB: so many at once as each table takes, tried again while that makes sense, and no longer than we are
//! patient.
//!
//! A call of which no answer came may have been done, and is made again. So every write here has a condition on versions or on
//! the owner under which doing it twice is doing it once.

mod read;

mod transact;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, PutRequest, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure,
    WriteRequest,
};

use crate::error::{Error, Fault, fault};
use crate::layout::{Guard, Item, ItemKey, UpdateParts};
use crate::limiter::Limiter;
use crate::meter::{Figures, Meter, TableFigures};

pub(crate) use transact::{Canceled, TRANSACTION_BYTES_MAX, TRANSACTION_ITEMS_MAX, Transacted};

/// How long the first wait before another attempt is at most; each is up to twice as long as the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(25);

/// How long any wait before another attempt is at most.
const PAUSE_MOST: Duration = Duration::from_secs(3);

/// How often expired credentials are tried again: whoever hands them out may be about to renew them.
const EXPIRED_MOST: u32 = 3;

/// How many items one batch takes.
pub(crate) const BATCH_ITEMS_MOST: usize = 25;

/// How calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSettings {
    /// How long one call is tried again, from the first attempt that fails on. Then the run fails as one that passes by itself.
    pub patience: Duration,
    /// How many calls to one table are under way at once at most.
    pub at_once: usize,
}

impl Default for CallSettings {
    fn default() -> CallSettings {
        CallSettings { patience: Duration::from_secs(60), at_once: 128 }
    }
}

/// The way to DynamoDB for all of a sink.
#[derive(Debug)]
pub(crate) struct Calls {
    client: Client,
    settings: CallSettings,
    limiters: Mutex<BTreeMap<String, Arc<Limiter>>>,
    pub(crate) meter: Meter,
}

/// What became of a conditional write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Written {
    /// It is done; with what the call was to return.
    Done(Option<Item>),
    /// Its condition did not hold; with the item that is there.
    Unmet(Option<Item>),
    /// The map below which it writes is not there.
    NoRoom,
}

/// Items, and from where to read on.
pub(crate) type Page = (Vec<Item>, Option<Item>);

/// One of the parts into which a table falls when it is read by several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Which one it is, from zero.
    pub(crate) number: i32,
    /// How many there are.
    pub(crate) of: i32,
}

/// Attempts at one call.
struct Attempts {
    since: Option<Instant>,
    count: u32,
    expired: u32,
}

impl Calls {
    pub(crate) fn new(client: Client, settings: CallSettings) -> Calls {
        Calls { client, settings, limiters: Mutex::default(), meter: Meter::default() }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// What calls have come to.
    pub(crate) fn figures(&self) -> Figures {
        let limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(table, limiter): (&String, &Arc<Limiter>)| {
            let (under_way, limit, limit_max) = limiter.figures();
            TableFigures { table: table.clone(), under_way, limit, limit_max }
        };
        self.meter.figures(limiters.iter().map(of).collect())
    }

    fn limiter(&self, table: &str) -> Arc<Limiter> {
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = limiters.get(table) {
            return Arc::clone(known);
        }
        let limiter = Arc::new(Limiter::new(table, self.settings.at_once));
        limiters.insert(table.to_owned(), Arc::clone(&limiter));
        limiter
    }

    /// Makes a call until it succeeds, is refused for good, or we lose patience. The error is the last attempt's.
    async fn persist<T, E, F>(
        &self,
        (operation, table): (&'static str, &str),
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, (Fault, SdkError<E>)>
    where
        E: ProvideErrorMetadata,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        let limiter = self.limiter(table);
        let mut attempts = Attempts { since: None, count: 0, expired: 0 };
        loop {
            let permit = limiter.permit().await;
            self.meter.attempt((operation, table), attempts.count > 0);
            let error = match attempt().await {
                Ok(done) => {
                    permit.taken();
                    return Ok(done);
                }
                Err(error) => error,
            };
            let fault = fault(&error, (operation, table));
            match fault {
                Fault::Throttled => {
                    self.meter.throttled((operation, table), is_hot(&error));
                    permit.throttled();
                }
                Fault::Unmet | Fault::NoRoom | Fault::Canceled => permit.taken(),
                Fault::Unsure(_) | Fault::Failed(_) => drop(permit),
            }
            match attempts.again(&fault, self.settings.patience) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err((attempts.given_up(fault, table), error)),
            }
        }
    }

    /// Puts an item under a condition.
    pub(crate) async fn put(&self, table: &str, item: Item, guard: Guard) -> Result<Written, Error> {
        let request = self
            .client
            .put_item()
            .table_name(table)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_item(Some(item))
            .condition_expression(guard.condition)
            .set_expression_attribute_names(some(guard.names))
            .set_expression_attribute_values(some(guard.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match self.persist(("PutItem", table), || Box::pin(request.clone().send())).await {
            Ok(done) => {
                self.meter.spent("PutItem", &done.consumed_capacity);
                Ok(Written::Done(None))
            }
            Err((Fault::Unmet, error)) => Ok(Written::Unmet(match error.into_service_error() {
                PutItemError::ConditionalCheckFailedException(failed) => failed.item,
                _ => None,
            })),
            Err((fault, _)) => Err(fault.into_error("PutItem", table)),
        }
    }

    /// Updates an item under a condition.
    pub(crate) async fn update(&self, update: UpdateParts, returns: ReturnValue) -> Result<Written, Error> {
        let table = update.key.table().to_owned();
        let request = self
            .client
            .update_item()
            .table_name(&table)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_key(Some(update.key.to_av()))
            .update_expression(update.expression)
            .condition_expression(update.condition)
            .set_expression_attribute_names(some(update.names))
            .set_expression_attribute_values(some(update.values))
            .return_values(returns)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match self.persist(("UpdateItem", &table), || Box::pin(request.clone().send())).await {
            Ok(done) => {
                self.meter.spent("UpdateItem", &done.consumed_capacity);
                Ok(Written::Done(done.attributes))
            }
            Err((Fault::Unmet, error)) => Ok(Written::Unmet(match error.into_service_error() {
                UpdateItemError::ConditionalCheckFailedException(failed) => failed.item,
                _ => None,
            })),
            Err((Fault::NoRoom, _)) => Ok(Written::NoRoom),
            Err((fault, _)) => Err(fault.into_error("UpdateItem", &table)),
        }
    }

    /// Removes an item under a condition.
    pub(crate) async fn delete(&self, key: &ItemKey, guard: Guard) -> Result<Written, Error> {
        let table = key.table();
        let request = self
            .client
            .delete_item()
            .table_name(table)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_key(Some(key.to_av()))
            .condition_expression(guard.condition)
            .set_expression_attribute_names(some(guard.names))
            .set_expression_attribute_values(some(guard.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match self.persist(("DeleteItem", table), || Box::pin(request.clone().send())).await {
            Ok(done) => {
                self.meter.spent("DeleteItem", &done.consumed_capacity);
                Ok(Written::Done(None))
            }
            Err((Fault::Unmet, error)) => Ok(Written::Unmet(match error.into_service_error() {
                DeleteItemError::ConditionalCheckFailedException(failed) => failed.item,
                _ => None,
            })),
            Err((fault, _)) => Err(fault.into_error("DeleteItem", table)),
        }
    }

    /// Reads an item as it is now.
    pub(crate) async fn get(&self, table: &str, key: Item) -> Result<Option<Item>, Error> {
        let request = self
            .client
            .get_item()
            .table_name(table)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_key(Some(key))
            .consistent_read(true);
        let read = self.persist(("GetItem", table), || Box::pin(request.clone().send())).await;
        let read = read.map_err(|(fault, _)| fault.into_error("GetItem", table))?;
        self.meter.spent("GetItem", &read.consumed_capacity);
        Ok(read.item)
    }

    /// Reads a page of the items that have a value in an attribute.
    pub(crate) async fn scan(
        &self,
        table: &str,
        (attribute, value): (&str, AttributeValue),
        from: Option<Item>,
    ) -> Result<Page, Error> {
        let filter = Guard {
            condition: "#a = :v".to_owned(),
            names: HashMap::from([("#a".to_owned(), attribute.to_owned())]),
            values: HashMap::from([(":v".to_owned(), value)]),
        };
        self.scan_segment(table, filter, (None, from)).await
    }

    /// Reads a page of the items of a segment, or of all, for which a condition holds.
    pub(crate) async fn scan_segment(
        &self,
        table: &str,
        filter: Guard,
        (segment, from): (Option<Segment>, Option<Item>),
    ) -> Result<Page, Error> {
        let request = self
            .client
            .scan()
            .filter_expression(filter.condition)
            .set_expression_attribute_names(some(filter.names))
            .set_expression_attribute_values(some(filter.values))
            .set_segment(segment.map(|segment| segment.number))
            .set_total_segments(segment.map(|segment| segment.of))
            .set_exclusive_start_key(from);
        self.scanned(table, request).await
    }

    /// Reads a page of the items of one partition, in the order of their sort keys.
    pub(crate) async fn query(
        &self,
        table: &str,
        (attribute, value): (&str, AttributeValue),
        from: Option<Item>,
    ) -> Result<Page, Error> {
        let request = self
            .client
            .query()
            .key_condition_expression("#a = :v")
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":v", value)
            .set_exclusive_start_key(from);
        self.queried(table, request).await
    }

    /// Puts items whatever is there, at most [`BATCH_ITEMS_MOST`], none of them twice. Returns whether some attempt was without
    /// an answer, so that it may yet be done, later than this returns.
    pub(crate) async fn put_all(&self, table: &str, items: Vec<Item>) -> Result<bool, Error> {
        let put = |item| {
            let put = PutRequest::builder().set_item(Some(item)).build().ok();
            WriteRequest::builder().set_put_request(put).build()
        };
        let mut left = items.into_iter().map(put).collect::<Vec<_>>();
        let (mut attempts, mut in_doubt) = (Attempts { since: None, count: 0, expired: 0 }, false);
        while !left.is_empty() {
            let request = self
                .client
                .batch_write_item()
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .request_items(table, left);
            let tries = AtomicU32::new(0);
            let attempt = || {
                tries.fetch_add(1, Ordering::Relaxed);
                Box::pin(request.clone().send())
            };
            let done = self.persist(("BatchWriteItem", table), attempt).await;
            let done = done.map_err(|(fault, _)| fault.into_error("BatchWriteItem", table))?;
            in_doubt |= tries.into_inner() > 1;
            self.meter.spent("BatchWriteItem", done.consumed_capacity());
            // Whatever the answer calls the table, all of it is to be done yet.
            left = done.unprocessed_items.into_iter().flatten().flat_map(|(_, items)| items).collect();
            if !left.is_empty() {
                self.meter.unprocessed(("BatchWriteItem", table), left.len());
                match attempts.again(&Fault::Throttled, self.settings.patience) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(Error::Throttled { table: table.to_owned() }),
                }
            }
        }
        Ok(in_doubt)
    }
}

impl Attempts {
    /// How long to wait before another one. `None`: there is to be none.
    fn again(&mut self, fault: &Fault, patience: Duration) -> Option<Duration> {
        match fault {
            Fault::Failed(Error::Expired) if self.expired < EXPIRED_MOST => self.expired += 1,
            Fault::Throttled | Fault::Unsure(_) => {}
            Fault::Unmet | Fault::NoRoom | Fault::Canceled | Fault::Failed(_) => return None,
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= patience {
            return None;
        }
        let most = PAUSE_FIRST.saturating_mul(1 << self.count.min(16)).min(PAUSE_MOST);
        self.count += 1;
        // Anywhere below, so that those who were refused together do not come back together.
        Some(most.mul_f64(rand::random::<f64>()))
    }

    /// What is to be told once there is no other attempt.
    fn given_up(&self, fault: Fault, table: &str) -> Fault {
        match fault {
            Fault::Throttled => Fault::Failed(Error::Throttled { table: table.to_owned() }),
            Fault::Unsure(why) => Fault::Failed(Error::NoAnswer { why }),
            other => other,
        }
    }
}

impl Fault {
    /// As an error, where nothing else can be made of it.
    fn into_error(self, operation: &'static str, table: &str) -> Error {
        let table = table.to_owned();
        let code = match self {
            Fault::Failed(error) => return error,
            Fault::Throttled => return Error::Throttled { table },
            Fault::Unsure(why) => return Error::NoAnswer { why },
            Fault::Unmet => "ConditionalCheckFailedException",
            Fault::NoRoom => "ValidationException",
            Fault::Canceled => "TransactionCanceledException",
        };
        Error::Invalid { operation, table, code: code.to_owned() }
    }
}

/// Whether a refusal says that one partition is asked for too much. The reasons stand in the body, for tables as for indexes, for reads
/// as for writes: `TableWriteKeyRangeThroughputExceeded`.
fn is_hot<E>(error: &SdkError<E>) -> bool {
    const REASON: &[u8] = b"KeyRangeThroughputExceeded";
    let body = error.raw_response().and_then(|response| response.body().bytes());
    body.is_some_and(|body| body.windows(REASON.len()).any(|part| part == REASON))
}

/// What is empty must not be sent.
fn some<K, V>(map: HashMap<K, V>) -> Option<HashMap<K, V>> {
    (!map.is_empty()).then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits grow, are never longer than the longest, and end with our patience.
    #[test]
    fn waits_are_bounded() {
        let mut attempts = Attempts { since: None, count: 0, expired: 0 };
        for _ in 0..40 {
            let pause = attempts.again(&Fault::Throttled, Duration::from_secs(60)).expect("another attempt");
            assert!(pause <= PAUSE_MOST);
        }
        assert_eq!(attempts.again(&Fault::Throttled, Duration::ZERO), None);
        assert_eq!(attempts.again(&Fault::Unmet, Duration::from_secs(60)), None);
    }

    /// Credentials that stay expired are told soon: only a new run looks for others.
    #[test]
    fn expired_credentials_are_tried_a_few_times() {
        let mut attempts = Attempts { since: None, count: 0, expired: 0 };
        let expired = Fault::Failed(Error::Expired);
        let tries =
            (0..9).take_while(|_| attempts.again(&expired, Duration::from_secs(60)).is_some()).count();
        assert_eq!(tries as u32, EXPIRED_MOST);
    }
}
