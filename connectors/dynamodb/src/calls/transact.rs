//! Calls that do all of some writes or none.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, ReturnConsumedCapacity, TransactWriteItem};

use super::{Attempts, Calls};
use crate::error::{Error, Fault, refusal};
use crate::layout::Item;

/// How many items a transaction takes.
pub(crate) const TRANSACTION_ITEMS_MAX: usize = 100;

/// How many bytes it takes: 4 MB, of which we count less than DynamoDB does.
pub(crate) const TRANSACTION_BYTES_MAX: usize = 4_000_000;

const NAME: &str = "TransactWriteItems";

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transacted {
    Done,
    /// The condition of the first of its parts did not hold.
    Unmet,
}

/// What a part of a transaction that was not done has to do with that.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Canceled {
    /// Nothing.
    Not,
    /// Its condition did not hold; with the item that is there.
    Unmet(Option<Item>),
    /// The map below which it writes is not there.
    NoRoom,
    /// It cannot be done, whatever the others do.
    Failed(Error),
}

impl Calls {
    /// Does all of these or none; whether the first holds is what may be against it. Made again after no answer came it is done
    /// once, within the ten minutes that DynamoDB remembers it.
    pub(crate) async fn transact(
        &self,
        table: &str,
        parts: Vec<TransactWriteItem>,
    ) -> Result<Transacted, Error> {
        let Some(reasons) = self.all_or_none(table, parts).await? else { return Ok(Transacted::Done) };
        if reasons.first().and_then(CancellationReason::code) == Some("ConditionalCheckFailed") {
            return Ok(Transacted::Unmet);
        }
        Err(Fault::Canceled.into_error(NAME, table))
    }

    /// Does all of these or none, and tells of each part whether it was against it. `None`: all are done. A later attempt must
    /// change nothing once it is done, as with [`Calls::transact`].
    pub(crate) async fn together(
        &self,
        table: &str,
        parts: Vec<TransactWriteItem>,
    ) -> Result<Option<Vec<Canceled>>, Error> {
        let reasons = self.all_or_none(table, parts).await?;
        Ok(reasons.map(|reasons| reasons.into_iter().map(|reason| canceled(table, reason)).collect()))
    }

    /// `None`: all are done. Else why they are not, where it is not what passes by itself.
    async fn all_or_none(
        &self,
        table: &str,
        parts: Vec<TransactWriteItem>,
    ) -> Result<Option<Vec<CancellationReason>>, Error> {
        let mut attempts = Attempts { since: None, count: 0, expired: 0 };
        loop {
            let token = format!("{:032x}", rand::random::<u128>());
            let request = self
                .client
                .transact_write_items()
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .set_transact_items(Some(parts.clone()))
                .client_request_token(token);
            let error = match self.persist((NAME, table), || Box::pin(request.clone().send())).await {
                Ok(done) => {
                    self.meter.spent(NAME, done.consumed_capacity());
                    return Ok(None);
                }
                Err((Fault::Canceled, error)) => error.into_service_error(),
                Err((fault, _)) => return Err(fault.into_error(NAME, table)),
            };
            let TransactWriteItemsError::TransactionCanceledException(canceled) = error else {
                return Err(Fault::Canceled.into_error(NAME, table));
            };
            let reasons = canceled.cancellation_reasons.unwrap_or_default();
            if reasons.is_empty() {
                return Err(Fault::Canceled.into_error(NAME, table));
            }
            if !reasons.iter().all(passes) {
                return Ok(Some(reasons));
            }
            // Another of ours was just writing one of these items, or there are too many.
            self.meter.throttled((NAME, table), false);
            match attempts.again(&Fault::Throttled, self.settings.patience) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(Error::Throttled { table: table.to_owned() }),
            }
        }
    }
}

/// Whether a part was not done for what passes by itself.
fn passes(reason: &CancellationReason) -> bool {
    let code = reason.code().unwrap_or("None");
    ["None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"].contains(&code)
}

fn canceled(table: &str, reason: CancellationReason) -> Canceled {
    if passes(&reason) {
        return Canceled::Not;
    }
    let (code, message) = (reason.code().unwrap_or_default(), reason.message().unwrap_or_default());
    match refusal((NAME, table), code, message) {
        Fault::Unmet => Canceled::Unmet(reason.item),
        Fault::NoRoom => Canceled::NoRoom,
        fault => Canceled::Failed(fault.into_error(NAME, table)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: &str, message: &str) -> Canceled {
        canceled("shop", CancellationReason::builder().code(code).message(message).build())
    }

    /// What is against a transaction decides what becomes of it: a part that only has to wait must not be taken for one that can
    /// never be written, nor the other way round.
    #[test]
    fn parts_that_are_against_it_are_told_apart() {
        assert_eq!(reason("None", ""), Canceled::Not);
        assert_eq!(reason("TransactionConflict", ""), Canceled::Not);
        assert_eq!(reason("ConditionalCheckFailed", "The conditional request failed"), Canceled::Unmet(None));
        let message = "The document path provided in the update expression is invalid for update";
        assert_eq!(reason("ValidationError", message), Canceled::NoRoom);
        let too_large = Error::TooLarge { table: "shop".to_owned() };
        let message = "Item size to update has exceeded the maximum allowed size";
        assert_eq!(reason("ValidationError", message), Canceled::Failed(too_large.clone()));
        assert_eq!(reason("ItemCollectionSizeLimitExceeded", ""), Canceled::Failed(too_large));
        assert!(matches!(reason("DuplicateItem", "guarded"), Canceled::Failed(Error::Invalid { .. })));
    }
}
