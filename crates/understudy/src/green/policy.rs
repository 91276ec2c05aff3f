//! What the sidecar must be allowed on AWS, and nothing more.

use serde_json::{Value as Json, json};

use crate::settings::DynamoSettings;

/// Calls on the tables that items go into.
const ON_ITEMS: [&str; 11] = [
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:DescribeTable",
    "dynamodb:DescribeTimeToLive",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
];

/// Calls on the table that remembers what has been done.
const ON_STATE: [&str; 12] = [
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:CreateTable",
    "dynamodb:DeleteItem",
    "dynamodb:DescribeTable",
    "dynamodb:DescribeTimeToLive",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
];

/// The policy of the role that the sidecar runs as. The account is whichever it is attached in.
pub(crate) fn json(dynamo: &DynamoSettings) -> Json {
    let region = dynamo.client.region.as_deref().unwrap_or("*");
    let partition = partition(region);
    let arn = |table: &str| format!("arn:{partition}:dynamodb:{region}:*:table/{table}");
    let items = dynamo.tables.iter().map(|table| arn(&table.name)).collect::<Vec<_>>();
    let mut statements = vec![
        json!({ "Sid": "Items", "Effect": "Allow", "Action": ON_ITEMS, "Resource": items }),
        json!({ "Sid": "State", "Effect": "Allow", "Action": ON_STATE, "Resource": arn(&dynamo.state_table) }),
    ];
    if let Some(role) = &dynamo.client.role {
        statements.push(
            json!({ "Sid": "Role", "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role.arn }),
        );
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// What AWS calls the part of itself that a region is in.
fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who takes the policy that a plan prints passes the check: it tries each of these calls on each table.
    #[test]
    fn the_policy_has_every_call_that_a_check_tries() {
        let tried = [
            "BatchGetItem",
            "ConditionCheckItem",
            "DeleteItem",
            "DescribeTable",
            "DescribeTimeToLive",
            "GetItem",
            "PutItem",
            "Query",
            "Scan",
            "UpdateItem",
        ];
        for call in tried.map(|call| format!("dynamodb:{call}")) {
            assert!(ON_ITEMS.contains(&call.as_str()) && ON_STATE.contains(&call.as_str()), "{call}");
        }
    }

    #[test]
    fn a_region_tells_its_part_of_aws() {
        let regions = ["eu-central-1", "cn-north-1", "us-gov-west-1", "*"];
        assert_eq!(regions.map(partition), ["aws", "aws-cn", "aws-us-gov", "aws"]);
    }
}
