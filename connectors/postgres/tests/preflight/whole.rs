//! A sound migration, and what stays behind.

use std::sync::Arc;

use understudy_contract::Severity::{Error, Info, NotMoved, Warning};

use crate::databases::connect;
use crate::harness::{case, case_on};
use crate::support::{Cluster, Setup};

#[tokio::test]
async fn a_sound_migration_has_neither_errors_nor_warnings_and_nothing_is_created() {
    let Some(cluster) =
        Cluster::start_with(&Setup { settings: "max_slot_wal_keep_size = 10GB".into(), hba: None })
    else {
        return;
    };
    let blue = "CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v varchar(5), m mood NOT NULL, a int[], n numeric(8, 2));
        CREATE TABLE p (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
        CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
        INSERT INTO p VALUES (1, '2026-05-05')";
    let green = "CREATE TYPE mood AS ENUM ('ok', 'sad', 'new');
        CREATE TABLE t (id bigint PRIMARY KEY, v text, m mood NOT NULL, a bigint[], n numeric(10, 4), s text NOT NULL);
        CREATE TABLE p (id int, day date, PRIMARY KEY (id, day))";
    let case = case_on(Arc::new(cluster), "sound", blue, green).await.unwrap();
    let mut case = case.route("t", &["id", "v", "m", "a", "n", "s:shop"]).route("p", &["id", "day"]);
    case.plan.wal_waiver = false;
    let findings = case.findings().await;
    let grave =
        findings.iter().filter(|finding| matches!(finding.severity, Error | Warning)).collect::<Vec<_>>();
    assert!(grave.is_empty(), "{grave:#?}");
    let left = "SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_publication) + \
                (SELECT count(*) FROM pg_namespace WHERE nspname = 'understudy')";
    for side in [&case.blue, &case.green] {
        assert_eq!(connect(side).await.query(left).await.unwrap()[0].text(0), Some("0"));
    }
}

#[tokio::test]
async fn what_stays_behind_is_listed() {
    let blue = "CREATE TABLE t (id serial PRIMARY KEY, v text); CREATE TABLE left_out (id int PRIMARY KEY, t int REFERENCES t);
        CREATE UNLOGGED TABLE scratch (id int); CREATE VIEW seen AS SELECT 1 AS one;
        CREATE MATERIALIZED VIEW kept AS SELECT 1 AS one; SELECT lo_create(0);
        CREATE TABLE base (id int PRIMARY KEY); CREATE TABLE heir () INHERITS (base);
        CREATE PUBLICATION theirs FOR TABLE t;
        CREATE SUBSCRIPTION theirs CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false);
        CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION e()";
    let green = "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE base (id int PRIMARY KEY)";
    let Some(case) = case("unmoved", blue, green).await else {
        return;
    };
    let case = case.route("t", &["id", "v"]).route("base", &["id"]);
    for (code, subject, names) in [
        ("tables-outside", "blue tables", "public.heir, public.left_out"),
        ("unlogged-tables", "blue unlogged tables", "public.scratch"),
        ("views", "blue views", "public.seen"),
        ("materialized-views", "blue materialised views", "public.kept"),
        ("large-objects", "blue large objects", "1 of them"),
        ("other-publications", "blue publications", "theirs"),
        ("subscriptions", "blue subscriptions", "theirs"),
        ("event-triggers", "blue event triggers", "watch"),
    ] {
        assert_eq!(case.expect(NotMoved, code, subject).await.what, names);
    }
    case.expect(NotMoved, "foreign-key-crosses-edge", "blue foreign key left_out_t_fkey of public.left_out")
        .await;
    assert_eq!(case.expect(Info, "sequences", "blue sequences").await.what, "public.t_id_seq");
    case.expect(Info, "has-heirs", "blue table public.base").await;
    connect(&case.blue)
        .await
        .batch("ALTER SUBSCRIPTION theirs SET (slot_name = NONE); DROP SUBSCRIPTION theirs")
        .await
        .unwrap();
}
