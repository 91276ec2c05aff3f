//! Which calls we may make, as far as trying them tells.
//!
//! DynamoDB has no call that tells rights. Reads are made of an item that is not there, and writes of it under a condition that
//! does not hold for any item, so that a refusal for want of rights is all that they can come to.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, KeysAndAttributes, TransactWriteItem};
use understudy_contract::{Failure, Findings};

use super::facts::KeyPart;
use crate::definitions::TableDefinition;
use crate::error::{Error, Fault, fault};
use crate::layout::{Item, KeyKind};

/// An attribute that no item has.
const NEVER: &str = "attribute_exists(understudy_never)";

/// What a key of no row begins with.
const NOBODY: &str = "understudy preflight";

/// Tries every call that the sidecar makes on a table of rows.
pub(super) async fn try_out(
    client: &Client,
    definition: &TableDefinition,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let (table, key) = (definition.name.as_str(), key(definition));
    let mut refused = Vec::new();
    let mut note = |operation: &'static str, allowed: Result<bool, Failure>| {
        if !allowed? {
            refused.push(operation);
        }
        Ok::<_, Failure>(())
    };
    let get = client.get_item().table_name(table).set_key(Some(key.clone()));
    note("GetItem", allowed(Box::pin(get.send()).await, ("GetItem", table)))?;
    note("BatchGetItem", batch_get(client, table, &key).await)?;
    let query = client
        .query()
        .table_name(table)
        .key_condition_expression("#p = :p")
        .expression_attribute_names("#p", &definition.key.pk.0)
        .expression_attribute_values(":p", nobody(&definition.key.pk))
        .limit(1);
    note("Query", allowed(Box::pin(query.send()).await, ("Query", table)))?;
    let scan = client.scan().table_name(table).limit(1);
    note("Scan", allowed(Box::pin(scan.send()).await, ("Scan", table)))?;
    let put = client.put_item().table_name(table).set_item(Some(key.clone())).condition_expression(NEVER);
    note("PutItem", allowed(Box::pin(put.send()).await, ("PutItem", table)))?;
    let update = client
        .update_item()
        .table_name(table)
        .set_key(Some(key.clone()))
        .update_expression("SET understudy_never = :v")
        .expression_attribute_values(":v", AttributeValue::Bool(true))
        .condition_expression(NEVER);
    note("UpdateItem", allowed(Box::pin(update.send()).await, ("UpdateItem", table)))?;
    let delete =
        client.delete_item().table_name(table).set_key(Some(key.clone())).condition_expression(NEVER);
    note("DeleteItem", allowed(Box::pin(delete.send()).await, ("DeleteItem", table)))?;
    note("ConditionCheckItem", transaction(client, table, &key).await)?;
    if !refused.is_empty() {
        findings.error(
            "green_rights",
            format!("green table {table}"),
            format!("these calls are not allowed: {}", refused.join(", ")),
            "add them to the policy of the sidecar's role: `understudy plan` prints it",
        );
    }
    Ok(())
}

async fn batch_get(client: &Client, table: &str, key: &Item) -> Result<bool, Failure> {
    let Ok(keys) = KeysAndAttributes::builder().keys(key.clone()).build() else { return Ok(true) };
    let read = client.batch_get_item().request_items(table, keys);
    allowed(Box::pin(read.send()).await, ("BatchGetItem", table))
}

async fn transaction(client: &Client, table: &str, key: &Item) -> Result<bool, Failure> {
    let check = ConditionCheck::builder()
        .table_name(table)
        .set_key(Some(key.clone()))
        .condition_expression(NEVER)
        .build();
    let Ok(check) = check else { return Ok(true) };
    let part = TransactWriteItem::builder().condition_check(check).build();
    let done = Box::pin(client.transact_write_items().transact_items(part).send()).await;
    allowed(done, ("TransactWriteItems", table))
}

/// Whether a call came to more than a refusal for want of rights. A condition that does not hold is what is expected.
fn allowed<T, E, R>(
    done: Result<T, SdkError<E, R>>,
    (operation, table): (&'static str, &str),
) -> Result<bool, Failure>
where
    E: ProvideErrorMetadata,
{
    let Err(error) = done else { return Ok(true) };
    match fault(&error, (operation, table)) {
        Fault::Failed(Error::NotAllowed { .. }) => Ok(false),
        Fault::Unmet | Fault::Canceled | Fault::Throttled | Fault::NoRoom => Ok(true),
        Fault::Unsure(why) => Err(failed(Error::NoAnswer { why }, operation)),
        Fault::Failed(error) => Err(failed(error, operation)),
    }
}

fn failed(error: Error, operation: &str) -> Failure {
    Failure::from(error).while_doing(format!("try {operation} out"))
}

fn key(definition: &TableDefinition) -> Item {
    let parts = std::iter::once(&definition.key.pk).chain(&definition.key.sk);
    parts.map(|part| (part.0.clone(), nobody(part))).collect()
}

fn nobody((_, kind): &KeyPart) -> AttributeValue {
    match kind {
        KeyKind::S => AttributeValue::S(NOBODY.to_owned()),
        KeyKind::N => AttributeValue::N("-1".to_owned()),
        KeyKind::B => AttributeValue::B(Blob::new(NOBODY.as_bytes())),
    }
}
