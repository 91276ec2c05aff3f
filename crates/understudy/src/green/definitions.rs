//! The tables that a file names, as DynamoDB is asked for them.

use serde_json::{Value as Json, json};
use understudy_dynamodb::estimate::{Billing, Projection};
use understudy_dynamodb::layout::KeyKind;
use understudy_dynamodb::{AttributeValue, TableDefinition, TableKey};

use crate::settings::{DynamoSettings, ItemTable, KeyName};

/// The definitions, in the order of the file.
pub(crate) fn of(dynamo: &DynamoSettings) -> Vec<TableDefinition> {
    dynamo.tables.iter().map(definition).collect()
}

fn definition(table: &ItemTable) -> TableDefinition {
    let indexes = table.indexes.iter();
    let indexes = indexes.map(|one| (one.name.clone(), key(&one.pk, one.sk.as_ref()), one.project.clone()));
    TableDefinition {
        name: table.name.clone(),
        key: key(&table.pk, table.sk.as_ref()),
        indexes: indexes.collect(),
        ttl: table.ttl.clone(),
        billing: table.billing,
    }
}

fn key(pk: &KeyName, sk: Option<&KeyName>) -> TableKey {
    let part = |key: &KeyName| (key.name.clone(), key.kind);
    TableKey { pk: part(pk), sk: sk.map(part) }
}

/// A definition as `aws dynamodb create-table --cli-input-json` takes it.
pub(crate) fn json(table: &TableDefinition) -> Json {
    let mut attributes = std::collections::BTreeMap::new();
    for key in std::iter::once(&table.key).chain(table.indexes.iter().map(|(_, key, _)| key)) {
        attributes
            .extend(std::iter::once(&key.pk).chain(&key.sk).map(|(name, kind)| (name, kind.form().name())));
    }
    let attributes =
        attributes.iter().map(|(name, kind)| json!({ "AttributeName": name, "AttributeType": kind }));
    let mut shown = json!({
        "TableName": table.name,
        "KeySchema": schema(&table.key),
        "AttributeDefinitions": attributes.collect::<Vec<_>>(),
    });
    let units = throughput(table.billing);
    shown["BillingMode"] = json!(if units.is_some() { "PROVISIONED" } else { "PAY_PER_REQUEST" });
    if let Some(units) = &units {
        shown["ProvisionedThroughput"] = units.clone();
    }
    let index = |(name, key, project): &(String, TableKey, Projection)| {
        let mut index = json!({
            "IndexName": name, "KeySchema": schema(key), "Projection": projection(project),
        });
        if let Some(units) = &units {
            index["ProvisionedThroughput"] = units.clone();
        }
        index
    };
    if !table.indexes.is_empty() {
        shown["GlobalSecondaryIndexes"] = table.indexes.iter().map(index).collect::<Vec<_>>().into();
    }
    shown
}

fn schema(key: &TableKey) -> Json {
    let one = |(name, _): &(String, KeyKind), role: &str| json!({ "AttributeName": name, "KeyType": role });
    let sk = key.sk.iter().map(|sk| one(sk, "RANGE"));
    std::iter::once(one(&key.pk, "HASH")).chain(sk).collect()
}

fn projection(project: &Projection) -> Json {
    match project {
        Projection::All => json!({ "ProjectionType": "ALL" }),
        Projection::Keys => json!({ "ProjectionType": "KEYS_ONLY" }),
        Projection::Attributes(names) => json!({ "ProjectionType": "INCLUDE", "NonKeyAttributes": names }),
    }
}

fn throughput(billing: Billing) -> Option<Json> {
    let Billing::Provisioned { read, write } = billing else { return None };
    Some(json!({ "ReadCapacityUnits": read, "WriteCapacityUnits": write }))
}

/// A value in DynamoDB's own JSON. Bytes are shown in hex, as Postgres writes them.
pub(crate) fn value_json(value: &AttributeValue) -> Json {
    let hex = |bytes: &[u8]| {
        let digits = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("\\x{digits}")
    };
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(text) => json!({ "N": text }),
        AttributeValue::B(bytes) => json!({ "B": hex(bytes.as_ref()) }),
        AttributeValue::Bool(value) => json!({ "BOOL": value }),
        AttributeValue::L(all) => json!({ "L": all.iter().map(value_json).collect::<Vec<_>>() }),
        AttributeValue::M(all) => {
            let all = all.iter().map(|(name, value)| (name.clone(), value_json(value)));
            json!({ "M": all.collect::<serde_json::Map<_, _>>() })
        }
        AttributeValue::Ss(all) => json!({ "SS": all }),
        AttributeValue::Ns(all) => json!({ "NS": all }),
        AttributeValue::Bs(all) => {
            json!({ "BS": all.iter().map(|bytes| hex(bytes.as_ref())).collect::<Vec<_>>() })
        }
        _ => json!({ "NULL": true }),
    }
}
