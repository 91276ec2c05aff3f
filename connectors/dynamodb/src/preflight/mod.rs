//! What `check` asks of DynamoDB before anything is copied: whether tables, indexes and rights are as the migration needs them.
//!
//! `facts` reads how tables are, `compare` tells what of it is not as their definitions say, and `rights` tries calls under
//! conditions that never hold.

mod compare;
mod facts;
mod rights;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use understudy_contract::{Class, Failure, Finding, Findings, Severity};

use crate::definitions::TableDefinition;
use crate::state;
use facts::{Found, look};

/// How often a question is asked at most.
const ATTEMPTS: u32 = 5;

/// What must not be so at the flip.
const READIED: [&str; 7] = [
    "green_table_missing",
    "green_not_active",
    "green_index_missing",
    "green_index_key",
    "green_index_not_active",
    "green_index_projection",
    "green_ttl_off",
];

/// What is to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked<'c> {
    /// The tables of the migration, as they should be.
    pub tables: &'c [TableDefinition],
    /// The table that keeps its state.
    pub state_table: &'c str,
    /// Whether the migration has begun: then tables are expected to hold rows.
    pub has_begun: bool,
}

/// Everything that there is to say of green, the gravest first. Nothing is written: calls that write are made under a condition
/// that no item meets. Fails where DynamoDB does not answer, or does not say who we are.
pub async fn check(client: &Client, checked: &Checked<'_>) -> Result<Vec<Finding>, Failure> {
    let client = &patient(client);
    let mut findings = Findings::default();
    let mut missing = 0;
    for definition in checked.tables {
        match Box::pin(look(client, &definition.name)).await? {
            Found::There(facts) => {
                compare::table(&mut findings, definition, &facts, checked.has_begun);
                if compare::has_key_of(definition, &facts) {
                    Box::pin(rights::try_out(client, definition, &mut findings)).await?;
                }
            }
            Found::Missing => {
                missing += 1;
                findings.error(
                    "green_table_missing",
                    format!("green table {}", definition.name),
                    "it does not exist",
                    "create it: `understudy plan` shows its definition",
                );
            }
            Found::NotAllowed => not_allowed(&mut findings, &definition.name),
        }
    }
    let state = state::definition(checked.state_table);
    match Box::pin(look(client, checked.state_table)).await? {
        Found::There(facts) => {
            compare::table(&mut findings, &state, &facts, true);
            if compare::has_key_of(&state, &facts) {
                Box::pin(rights::try_out(client, &state, &mut findings)).await?;
            }
        }
        Found::Missing => findings.info(
            "state_table_missing",
            format!("state table {}", checked.state_table),
            "it does not exist, and is created when the migration begins: that takes the right to `CreateTable`",
        ),
        Found::NotAllowed => not_allowed(&mut findings, checked.state_table),
    }
    if missing == 0 && checked.tables.is_empty() {
        findings.warning("green_tables_none", "green", "no table of DynamoDB is part of the migration", "");
    }
    Ok(findings.sorted())
}

/// What of the tables, their indexes and their time to live would let readers down, were they to rely on green now. Nothing is
/// written. Fails where DynamoDB does not answer, or does not tell.
pub async fn unready(client: &Client, tables: &[TableDefinition]) -> Result<Vec<Finding>, Failure> {
    let client = &patient(client);
    let mut findings = Findings::default();
    for definition in tables {
        let subject = format!("green table {}", definition.name);
        match Box::pin(look(client, &definition.name)).await? {
            Found::There(facts) => compare::table(&mut findings, definition, &facts, true),
            Found::Missing => findings.error(READIED[0], subject, "it does not exist", "start over"),
            Found::NotAllowed => {
                let cause = format!("`DescribeTable` on {subject} is not allowed");
                return Err(Failure::new(Class::Configuration, cause).remedy(
                    "add the call to the policy of the sidecar's role: `understudy plan` prints it",
                ));
            }
        }
    }
    let counts = |finding: &Finding| {
        READIED.contains(&finding.code) && matches!(finding.severity, Severity::Error | Severity::Warning)
    };
    Ok(findings.sorted().into_iter().filter(counts).collect())
}

/// The same client, which makes a call again that was throttled, or of which no answer came: one of many questions that goes wrong
/// would have all of them asked again.
fn patient(client: &Client) -> Client {
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
    Client::from_conf(client.config().to_builder().retry_config(retries).build())
}

fn not_allowed(findings: &mut Findings, table: &str) {
    findings.warning(
        "green_not_described",
        format!("green table {table}"),
        "`DescribeTable` on it is not allowed, so its key and its indexes could not be checked",
        "add the call to the policy of the sidecar's role: `understudy plan` prints it",
    );
}
