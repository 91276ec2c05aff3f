//! Findings about what a role may do.

use understudy_contract::Severity::{Error, Info, Warning};

use crate::harness::{PLAIN, case};

#[tokio::test]
async fn every_missing_right_is_named_with_its_grant() {
    let Some(case) = case("rights", PLAIN, PLAIN).await.map(|case| case.route("t", &["id", "v"])) else {
        return;
    };
    let case = case.with_role("", "", "").await;
    let role = "blue role rights_role";
    case.expect(Error, "replication-right-missing", role).await;
    case.expect(Error, "publication-right-missing", role).await;
    let finding = case.expect(Error, "select-right-missing", "blue table public.t").await;
    assert!(finding.remedy.contains("GRANT SELECT ON \"public\".\"t\" TO \"rights_role\""), "{finding}");
    let finding = case.expect(Error, "ownership-missing", "blue table public.t").await;
    assert!(finding.what.contains("belongs to postgres"), "{finding}");
    case.expect(Error, "bookkeeping-right-missing", "green schema understudy").await;
    let finding = case.expect(Error, "write-right-missing", "green table public.t").await;
    assert!(finding.what.contains("SELECT, INSERT, UPDATE, DELETE"), "{finding}");
    case.expect(Warning, "truncate-right-missing", "green table public.t").await;
    case.expect(Info, "origin-unavailable", "green role rights_role").await;
    case.expect(Info, "replica-role-unavailable", "green role rights_role").await;
}

#[tokio::test]
async fn the_rights_that_are_asked_for_suffice() {
    let Some(case) = case("granted", PLAIN, PLAIN).await.map(|case| case.route("t", &["id", "v"])) else {
        return;
    };
    let on_blue = "GRANT CREATE ON DATABASE granted_blue TO ROLE; ALTER TABLE t OWNER TO ROLE";
    let on_green = "CREATE SCHEMA understudy AUTHORIZATION ROLE; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON t TO ROLE";
    let case = case.with_role("REPLICATION", on_blue, on_green).await;
    let findings = case.findings().await;
    let errors = findings.iter().filter(|finding| finding.severity == Error).collect::<Vec<_>>();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[tokio::test]
async fn row_security_that_would_hide_rows_is_refused() {
    let schema = "CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t ENABLE ROW LEVEL SECURITY";
    let Some(case) = case("security", schema, schema).await.map(|case| case.route("t", &["id", "v"])) else {
        return;
    };
    case.expect_not("row-security").await;
    let case = case.with_role("", "GRANT SELECT ON t TO ROLE", "GRANT SELECT ON t TO ROLE").await;
    case.expect(Error, "row-security", "blue table public.t").await;
    case.expect(Error, "row-security", "green table public.t").await;
}
