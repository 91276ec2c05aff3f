//! Calls that read many items: some by their keys, a page of a whole table, a page of a partition's beginning.
//!
//! All of them read what is there now, and none is done before everything that was asked for has come.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::scan::builders::ScanFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnConsumedCapacity};

use super::{Attempts, Calls, Page};
use crate::error::{Error, Fault};
use crate::layout::Item;

/// How many items one call reads by their keys.
const KEYS_MOST: usize = 100;

impl Calls {
    /// Reads a page of a table in the order of its own, whatever the items are.
    pub(crate) async fn page(
        &self,
        table: &str,
        from: Option<Item>,
        items_most: Option<i32>,
    ) -> Result<Page, Error> {
        let request = self.client.scan().set_limit(items_most).set_exclusive_start_key(from);
        self.scanned(table, request).await
    }

    /// Reads a page of the items of one partition whose sort key begins with a text.
    pub(crate) async fn beginning(
        &self,
        table: &str,
        (partition, sort): ((&str, &str), (&str, &str)),
        from: Option<Item>,
    ) -> Result<Page, Error> {
        let request = self
            .client
            .query()
            .key_condition_expression("#p = :p AND begins_with(#s, :s)")
            .expression_attribute_names("#p", partition.0)
            .expression_attribute_names("#s", sort.0)
            .expression_attribute_values(":p", AttributeValue::S(partition.1.to_owned()))
            .expression_attribute_values(":s", AttributeValue::S(sort.1.to_owned()))
            .set_exclusive_start_key(from);
        self.queried(table, request).await
    }

    /// Reads a page of the items of one partition whose sort key lies between two texts, both included.
    pub(crate) async fn between(
        &self,
        table: &str,
        (partition, sort): ((&str, &str), (&str, &str, &str)),
    ) -> Result<Page, Error> {
        let request = self
            .client
            .query()
            .key_condition_expression("#p = :p AND #s BETWEEN :from AND :to")
            .expression_attribute_names("#p", partition.0)
            .expression_attribute_names("#s", sort.0)
            .expression_attribute_values(":p", AttributeValue::S(partition.1.to_owned()))
            .expression_attribute_values(":from", AttributeValue::S(sort.1.to_owned()))
            .expression_attribute_values(":to", AttributeValue::S(sort.2.to_owned()));
        self.queried(table, request).await
    }

    /// Reads a page of what a scan asks for, as it is now.
    pub(super) async fn scanned(&self, table: &str, request: ScanFluentBuilder) -> Result<Page, Error> {
        let request = request
            .table_name(table)
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let read = self.persist(("Scan", table), || Box::pin(request.clone().send())).await;
        let read = read.map_err(|(fault, _)| fault.into_error("Scan", table))?;
        self.meter.spent("Scan", &read.consumed_capacity);
        Ok((read.items.unwrap_or_default(), read.last_evaluated_key))
    }

    /// The same of a query.
    pub(super) async fn queried(&self, table: &str, request: QueryFluentBuilder) -> Result<Page, Error> {
        let request = request
            .table_name(table)
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let read = self.persist(("Query", table), || Box::pin(request.clone().send())).await;
        let read = read.map_err(|(fault, _)| fault.into_error("Query", table))?;
        self.meter.spent("Query", &read.consumed_capacity);
        Ok((read.items.unwrap_or_default(), read.last_evaluated_key))
    }

    /// Reads items by their keys, none of which comes twice. What is not there is left out.
    pub(crate) async fn get_all(&self, table: &str, keys: Vec<Item>) -> Result<Vec<Item>, Error> {
        let mut items = Vec::with_capacity(keys.len());
        let mut keys = keys.into_iter();
        loop {
            let some = keys.by_ref().take(KEYS_MOST).collect::<Vec<_>>();
            if some.is_empty() {
                return Ok(items);
            }
            self.get_some(table, some, &mut items).await?;
        }
    }

    /// An answer may be a success without some of the items that were asked for, which are told and asked for again.
    async fn get_some(&self, table: &str, mut left: Vec<Item>, items: &mut Vec<Item>) -> Result<(), Error> {
        let name = "BatchGetItem";
        let mut attempts = Attempts { since: None, count: 0, expired: 0 };
        while !left.is_empty() {
            let keys = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(left)).build();
            let keys = keys.map_err(|_| Error::Invalid {
                operation: name,
                table: table.to_owned(),
                code: "not sent".to_owned(),
            })?;
            let request = self
                .client
                .batch_get_item()
                .request_items(table, keys)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let read = self.persist((name, table), || Box::pin(request.clone().send())).await;
            let read = read.map_err(|(fault, _)| fault.into_error(name, table))?;
            self.meter.spent(name, read.consumed_capacity());
            items.extend(read.responses.into_iter().flatten().flat_map(|(_, items)| items));
            // Whatever the answer calls the table, all of it is to be read yet.
            left = read.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys).collect();
            if !left.is_empty() {
                self.meter.unprocessed((name, table), left.len());
                match attempts.again(&Fault::Throttled, self.settings.patience) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(Error::Throttled { table: table.to_owned() }),
                }
            }
        }
        Ok(())
    }
}
