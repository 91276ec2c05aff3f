//! DynamoDB: what the server and the proxy that other tests rest on do, as our client sees it.

mod existing;
mod layout;
mod metered;
mod moving;
mod parts;
mod preflight;
mod proxy;
mod shop;
mod sink;
mod store;
mod through;
mod verified;

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use understudy_dynamodb::{ClientSettings, Keys, Secret, connect};

/// How long our client waits for an answer here: the server's slowest is much quicker, and what is swallowed must not take long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A client that gives an attempt up after so long. The server lets anybody in who says a name.
async fn client(endpoint: String, timeout: Duration) -> Client {
    let keys = Keys { id: "tests".to_owned(), secret: Secret::new("tests") };
    let settings =
        ClientSettings { endpoint: Some(endpoint), keys: Some(keys), timeout, ..ClientSettings::default() };
    connect(&settings).await.expect("a client")
}

/// Creates a table with a key of one text, `pk`.
async fn create_table(client: &Client, name: &str) {
    let key = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
    let attribute =
        AttributeDefinition::builder().attribute_name("pk").attribute_type(ScalarAttributeType::S);
    let created = client
        .create_table()
        .table_name(name)
        .key_schema(key.build().expect("a key"))
        .attribute_definitions(attribute.build().expect("an attribute"))
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await;
    created.expect("create a table");
}

/// An item of that table.
fn item(pk: &str, n: u32) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(pk.to_owned())),
        ("n".to_owned(), AttributeValue::N(n.to_string())),
    ])
}

/// The number in the item with this key, as the server has it now.
async fn number(client: &Client, table: &str, pk: &str) -> Option<u32> {
    let key = AttributeValue::S(pk.to_owned());
    let read = client.get_item().table_name(table).key("pk", key).consistent_read(true).send().await;
    let item = read.expect("read an item").item?;
    Some(item["n"].as_n().expect("a number").parse().expect("a number"))
}
