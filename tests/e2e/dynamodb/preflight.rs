//! What `check` says of tables on a real server.

use understudy_contract::Severity;
use understudy_dynamodb::estimate::{Billing, Projection};
use understudy_dynamodb::layout::KeyKind;
use understudy_dynamodb::preflight::{Checked, check};
use understudy_dynamodb::{TableDefinition, TableKey};
use understudy_tests::Dynamo;

use super::{TIMEOUT, client};

fn key(pk: (&str, KeyKind), sk: Option<(&str, KeyKind)>) -> TableKey {
    let part = |(name, kind): (&str, KeyKind)| (name.to_owned(), kind);
    TableKey { pk: part(pk), sk: sk.map(part) }
}

/// Tables that are made as they are asked for are not complained of, and nothing is written to find that out; each that is
/// missing or otherwise is.
#[tokio::test(flavor = "multi_thread")]
async fn tables_are_checked_against_their_definitions() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let client = Box::pin(client(dynamo.endpoint(), TIMEOUT)).await;
    let prefix = Dynamo::prefix("check");
    let right = TableDefinition {
        name: format!("{prefix}shop"),
        key: key(("pk", KeyKind::S), Some(("sk", KeyKind::N))),
        indexes: vec![("by_mail".to_owned(), key(("mail", KeyKind::S), None), Projection::All)],
        ttl: Some("expires_at".to_owned()),
        billing: Billing::OnDemand,
    };
    Box::pin(right.create(&client)).await.expect("a table");
    let state_table = format!("{prefix}state");
    let codes = async |tables: &[TableDefinition]| {
        let checked = Checked { tables, state_table: &state_table, has_begun: false };
        let found = Box::pin(check(&client, &checked)).await.expect("findings");
        found.into_iter().map(|finding| (finding.code, finding.severity)).collect::<Vec<_>>()
    };
    let state = ("state_table_missing", Severity::Info);
    assert_eq!(codes(std::slice::from_ref(&right)).await, [state]);
    let scanned = client.scan().table_name(&right.name).consistent_read(true).send();
    assert_eq!(Box::pin(scanned).await.expect("a scan").count, 0, "something was written");
    let missing = TableDefinition { name: format!("{prefix}none"), ..right.clone() };
    assert_eq!(codes(&[missing]).await, [("green_table_missing", Severity::Error), state]);
    let otherwise = TableDefinition {
        key: key(("pk", KeyKind::S), None),
        indexes: vec![("by_name".to_owned(), key(("name", KeyKind::S), None), Projection::All)],
        ttl: Some("gone_at".to_owned()),
        ..right
    };
    let found = codes(&[otherwise]).await;
    for code in ["green_key_schema", "green_index_missing", "green_ttl_other"] {
        assert!(found.contains(&(code, Severity::Error)), "{code} is not among {found:?}");
    }
}
