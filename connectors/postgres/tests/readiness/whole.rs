//! Two sides that are ready, and checks that cannot be made.

use understudy_contract::{Found, ReadinessCheck};
use understudy_postgres::wire::Client;

use crate::harness::case;

const SHOP: &str = "CREATE SCHEMA app; CREATE EXTENSION pg_trgm; CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TABLE users (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL UNIQUE, m mood DEFAULT 'ok',
      CHECK (email <> ''));
    CREATE TABLE orders (id bigserial PRIMARY KEY, owner int NOT NULL REFERENCES users (id) ON DELETE CASCADE, note varchar(20),
      paid bool NOT NULL DEFAULT false);
    CREATE INDEX orders_owner ON orders (owner); CREATE INDEX orders_open ON orders (lower(note)) WHERE NOT paid;
    CREATE TABLE days (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE SEQUENCE tickets; CREATE VIEW seen AS SELECT 1 AS one;
    CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT a';
    ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON orders FOR SELECT USING (owner > 0);
    GRANT SELECT ON orders TO PUBLIC; GRANT UPDATE (note) ON orders TO PUBLIC; ANALYZE";

/// No false alarm: two sides that are alike are ready in every respect, and looking changes neither.
#[tokio::test]
async fn two_sides_that_are_alike_are_ready() {
    let Some(case) = case("ready", SHOP, SHOP).await else { return };
    let case = case
        .route("users", "users", &["id", "email", "m"])
        .route("orders", "orders", &["id", "owner", "note", "paid"])
        .route("days", "days", &["id", "day"]);
    case.on_blue("CREATE PUBLICATION understudy_ready FOR TABLE orders").await;
    case.on_blue("SELECT pg_create_logical_replication_slot('understudy_ready', 'pgoutput')").await;
    let reader = Client::connect_replication(&case.blue).await.unwrap();
    let start = "START_REPLICATION SLOT understudy_ready LOGICAL 0/0 \
                 (proto_version '1', publication_names 'understudy_ready')";
    let _reading = reader.copy_both(start).await.ok().unwrap();
    let examined = case.examined().await;
    assert_eq!(examined.iter().map(|one| one.check).collect::<Vec<_>>(), ReadinessCheck::ALL);
    let held = examined.iter().filter(|one| one.found != Found::Good).collect::<Vec<_>>();
    assert!(held.is_empty(), "{held:#?}");
}

/// No false calm: a check whose catalog may not be read is unknown, and the others are made all the same.
#[tokio::test]
async fn a_check_that_cannot_be_made_is_unknown() {
    let blue = "CREATE TABLE t (id int PRIMARY KEY); ANALYZE";
    let Some(case) = case("unreadable", blue, blue).await else { return };
    let case = case.route("t", "t", &["id"]).with_role("unreadable_role").await;
    for (catalog, on_blue, checks) in [
        ("pg_replication_slots", true, vec![ReadinessCheck::Slot, ReadinessCheck::NotMoved]),
        ("pg_stat_activity", true, vec![ReadinessCheck::LongTransactions]),
        ("pg_prepared_xacts", true, vec![ReadinessCheck::PreparedTransactions]),
        ("pg_sequence", true, vec![ReadinessCheck::Sequences, ReadinessCheck::Grants]),
        ("pg_opclass", false, vec![ReadinessCheck::Indexes]),
        ("pg_get_constraintdef(oid)", false, vec![ReadinessCheck::Constraints]),
        ("pg_stat_all_tables", false, vec![ReadinessCheck::Analysed]),
        ("pg_auth_members", true, vec![ReadinessCheck::Roles]),
        ("pg_policy", false, vec![ReadinessCheck::Policies]),
        ("pg_extension", false, vec![ReadinessCheck::Extensions]),
        ("pg_db_role_setting", true, vec![ReadinessCheck::Limits]),
        ("pg_event_trigger", false, vec![ReadinessCheck::NotMoved]),
    ] {
        let side = async |sql: &str| match on_blue {
            true => case.on_blue(sql).await,
            false => case.on_green(sql).await,
        };
        let right = if catalog.ends_with(')') { "EXECUTE ON FUNCTION" } else { "SELECT ON" };
        side(&format!("REVOKE {right} pg_catalog.{catalog} FROM PUBLIC")).await;
        let examined = case.examined().await;
        side(&format!("GRANT {right} pg_catalog.{catalog} TO PUBLIC")).await;
        let unknown = examined.iter().filter(|one| matches!(&one.found, Found::Unknown(_)));
        let unknown = unknown.collect::<Vec<_>>();
        let which = unknown.iter().map(|one| one.check).collect::<Vec<_>>();
        assert_eq!(which, checks, "{catalog}: {unknown:#?}");
        let Found::Unknown(reason) = &unknown[0].found else { panic!() };
        assert!(reason.contains("permission denied"), "{reason}");
    }
}

/// A table that is gone from a side makes what was to be compared unknown, not good.
#[tokio::test]
async fn a_table_that_is_gone_leaves_nothing_to_compare() {
    let Some(case) = case("gone", "CREATE TABLE t (id int PRIMARY KEY)", "").await else { return };
    let case = case.route("t", "t", &["id"]);
    for check in [ReadinessCheck::Indexes, ReadinessCheck::Constraints, ReadinessCheck::Grants] {
        let found = case.found(check).await;
        assert!(
            matches!(&found, Found::Unknown(reason) if reason.contains("table public.t is not on green")),
            "{found:?}"
        );
    }
}
