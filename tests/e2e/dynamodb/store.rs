//! The development server: what it keeps, and for whom.

use aws_sdk_dynamodb::types::AttributeValue;
use understudy_tests::Dynamo;

use super::{TIMEOUT, client, create_table, item, number};

/// Tests kill the server and go on: what it has acknowledged must be there, as in DynamoDB itself.
#[tokio::test]
async fn a_killed_server_keeps_what_it_has_acknowledged() {
    let Some(mut dynamo) = Dynamo::start_durable().await else { return };
    let client = client(dynamo.endpoint(), TIMEOUT).await;
    create_table(&client, "kept").await;
    for n in 0..20 {
        let put = client.put_item().table_name("kept").set_item(Some(item(&n.to_string(), n))).send().await;
        put.expect("put an item");
    }
    dynamo.kill();
    assert!(client.list_tables().send().await.is_err(), "nobody is there");
    dynamo.start_again().await;
    for n in 0..20 {
        assert_eq!(number(&client, "kept", &n.to_string()).await, Some(n));
    }
}

/// What the sink rests on: a condition that does not hold leaves the item alone and shows it.
#[tokio::test]
async fn a_condition_that_does_not_hold_shows_the_item() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let client = client(dynamo.endpoint(), TIMEOUT).await;
    let table = Dynamo::prefix("condition") + "t";
    create_table(&client, &table).await;
    let put = |n| {
        let put = client.put_item().table_name(&table).set_item(Some(item("a", n)));
        put.condition_expression("attribute_not_exists(pk) OR n < :n")
            .expression_attribute_values(":n", AttributeValue::N(n.to_string()))
            .return_values_on_condition_check_failure(
                aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld,
            )
            .send()
    };
    put(2).await.expect("there is none");
    let refused = put(1).await.expect_err("it is older").into_service_error();
    let aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(failed) =
        refused
    else {
        panic!("another error: {refused}");
    };
    assert_eq!(failed.item, Some(item("a", 2)));
    assert_eq!(number(&client, &table, "a").await, Some(2));
}
