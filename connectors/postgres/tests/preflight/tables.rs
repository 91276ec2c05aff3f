//! Findings about tables, columns and keys.

use understudy_postgres::preflight::Severity::{Error, Info, NotMoved, Warning};
use understudy_postgres::preflight::{ExistingRows, ReplicaRole};

use crate::databases::connect;
use crate::harness::{PLAIN, case};

#[tokio::test]
async fn f35_tables_whose_updates_blue_would_refuse_get_the_exact_remedy() {
    let blue = "CREATE TABLE keyless (a int, b int NOT NULL);
        CREATE TABLE candidate (a int, b int NOT NULL UNIQUE);
        CREATE TABLE nothing (a int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
        CREATE TABLE alike (a int); ALTER TABLE alike REPLICA IDENTITY FULL;
        CREATE TABLE p (a int NOT NULL, r int) PARTITION BY LIST (r); CREATE TABLE p_1 PARTITION OF p (PRIMARY KEY (a)) DEFAULT;
        CREATE TABLE q (a int, r int) PARTITION BY LIST (r); CREATE TABLE q_1 PARTITION OF q DEFAULT";
    let Some(mut case) = case("identity", blue, "").await else {
        return;
    };
    for name in ["keyless", "candidate", "nothing", "alike", "p", "q"] {
        case = case.route(name, &["a"]);
    }
    for (name, remedy) in [
        ("keyless", "ALTER TABLE \"public\".\"keyless\" ADD PRIMARY KEY"),
        (
            "candidate",
            "ALTER TABLE \"public\".\"candidate\" REPLICA IDENTITY USING INDEX \"candidate_b_key\"",
        ),
        ("nothing", "ALTER TABLE \"public\".\"nothing\" REPLICA IDENTITY DEFAULT"),
        ("alike", "ALTER TABLE \"public\".\"alike\" ADD PRIMARY KEY"),
        ("p", "ALTER TABLE \"public\".\"p\" ADD PRIMARY KEY"),
        ("q_1", "ALTER TABLE \"public\".\"q_1\" ADD PRIMARY KEY"),
    ] {
        let finding = case.expect(Error, "no-usable-identity", &format!("blue table public.{name}")).await;
        assert!(finding.remedy.starts_with(remedy), "{finding}");
    }
}

#[tokio::test]
async fn f34_generated_columns_in_the_identity_are_refused() {
    let blue = "CREATE TABLE g (a int, k int GENERATED ALWAYS AS (a + 1) STORED PRIMARY KEY);
        CREATE TABLE f (id int PRIMARY KEY, s int GENERATED ALWAYS AS (id + 1) STORED); ALTER TABLE f REPLICA IDENTITY FULL";
    let green = "CREATE TABLE g (a int PRIMARY KEY, k int); CREATE TABLE f (id int PRIMARY KEY, s int GENERATED ALWAYS AS (id) STORED)";
    let Some(case) = case("generated", blue, green).await else {
        return;
    };
    let case = case.route("g", &["a", "k"]).route("f", &["id", "s=id"]);
    case.expect(Error, "identity-with-generated-column", "blue table public.g").await;
    case.expect(Error, "source-column-generated", "blue column public.g.k").await;
    case.expect(Error, "target-column-generated", "green column public.f.s").await;
    let version = connect(&case.blue).await.server_version();
    let findings = case.findings().await;
    let full = findings
        .iter()
        .any(|one| one.code == "identity-with-generated-column" && one.subject.ends_with("public.f"));
    assert_eq!(full, version >= 180_000, "only from 18 on does a full identity contain generated columns");
}

#[tokio::test]
async fn what_is_not_a_table_is_refused() {
    let blue = "CREATE UNLOGGED TABLE u (id int PRIMARY KEY); CREATE VIEW v AS SELECT 1 AS id;
        CREATE MATERIALIZED VIEW m AS SELECT 1 AS id; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
        CREATE FOREIGN TABLE f (id int) SERVER s;
        CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE UNLOGGED TABLE p_1 PARTITION OF p DEFAULT";
    let green = "CREATE VIEW v AS SELECT 1 AS id; CREATE UNLOGGED TABLE u (id int PRIMARY KEY)";
    let Some(mut case) = case("kinds", blue, green).await else {
        return;
    };
    for name in ["u", "v", "m", "f", "p", "nowhere"] {
        case = case.route(name, &["id"]);
    }
    case.expect(Error, "source-unlogged", "blue table public.u").await;
    case.expect(Error, "source-unlogged", "blue table public.p_1").await;
    for name in ["v", "m", "f"] {
        case.expect(Error, "source-not-a-table", &format!("blue table public.{name}")).await;
    }
    case.expect(Error, "source-missing", "blue table public.nowhere").await;
    case.expect(Error, "target-missing", "green table public.nowhere").await;
    case.expect(Error, "target-not-a-table", "green table public.v").await;
    case.expect(Error, "target-unlogged", "green table public.u").await;
}

#[tokio::test]
async fn columns_of_green_must_take_what_blue_has() {
    let blue = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text);
        CREATE TABLE t (id int PRIMARY KEY, long text, m mood, ms mood[], c pair, r int4range, o oid, k regclass[], cash money,
          big bigint, f int NOT NULL)";
    let green = "CREATE TYPE mood AS ENUM ('sad'); CREATE TYPE pair AS (a int, b varchar(2));
        CREATE TABLE t (id int PRIMARY KEY, long varchar(3), m mood, ms mood[], c pair, r numrange, o oid, k regclass[],
          cash money, big int, f int, needed int NOT NULL, nulled int NOT NULL)";
    let Some(case) = case("columns", blue, green).await else {
        return;
    };
    let columns =
        ["id", "long", "m", "ms", "c", "r", "o", "k", "cash", "big", "f", "nulled:null", "x=id", "f=nope"];
    let case = case.route("t", &columns);
    for name in ["long", "c", "r", "big"] {
        let finding = case.expect(Error, "type-mismatch", &format!("green column public.t.{name}")).await;
        assert!(finding.what.contains("on blue has type"), "{finding}");
    }
    for name in ["m", "ms"] {
        let finding =
            case.expect(Error, "enum-label-missing", &format!("green column public.t.{name}")).await;
        assert!(finding.what.ends_with("it lacks the labels ok"), "{finding}");
    }
    case.expect(Error, "cluster-bound-type", "blue column public.t.o").await;
    case.expect(Error, "cluster-bound-type", "blue column public.t.k").await;
    case.expect(Warning, "locale-bound-type", "blue column public.t.cash").await;
    case.expect(Error, "target-column-unfilled", "green column public.t.needed").await;
    case.expect(Error, "null-into-not-null", "green column public.t.nulled").await;
    case.expect(Error, "target-column-missing", "green column public.t.x").await;
    case.expect(Error, "source-column-missing", "blue column public.t.nope").await;
}

#[tokio::test]
async fn cluster_bound_values_may_move_as_plain_data() {
    let blue = "CREATE TABLE t (id int PRIMARY KEY, o oid, k regclass)";
    let green = "CREATE TABLE t (id int PRIMARY KEY, o bigint, k text)";
    let Some(case) = case("plaindata", blue, green).await.map(|case| case.route("t", &["id", "o", "k"]))
    else {
        return;
    };
    case.expect_not("cluster-bound-type").await;
    case.expect_not("type-mismatch").await;
}

#[tokio::test]
async fn green_must_name_rows_by_the_same_key() {
    let blue =
        "CREATE TABLE a (x int, y int, v int, PRIMARY KEY (x, y)); CREATE TABLE b (LIKE a INCLUDING ALL);
        CREATE TABLE c (LIKE a INCLUDING ALL); CREATE TABLE d (LIKE a INCLUDING ALL)";
    let green = "CREATE TABLE a (x int, y int, v int); CREATE TABLE b (x int, y int, v int, UNIQUE (x, y));
        CREATE TABLE c (x int, y int, v int UNIQUE, PRIMARY KEY (y, x)); CREATE TABLE d (x int PRIMARY KEY, v int)";
    let Some(case) = case("keys", blue, green).await else {
        return;
    };
    let all = &["x", "y", "v"];
    let case = case.route("a", all).route("b", all).route("c", all).route("d", &["x", "v"]);
    let finding = case.expect(Error, "target-key-not-unique", "green table public.a").await;
    assert_eq!(finding.remedy, "ALTER TABLE \"public\".\"a\" ADD PRIMARY KEY (\"x\", \"y\")");
    // Unique, and null all the same: such an index names no row.
    case.expect(Error, "target-key-not-unique", "green table public.b").await;
    case.expect(Warning, "extra-unique-index", "green table public.c").await;
    case.expect(Error, "key-not-mapped", "green table public.d").await;
    let keys = case.findings().await.into_iter().filter(|one| one.code == "target-key-not-unique").count();
    assert_eq!(keys, 2, "the order of key columns does not matter");
}

#[tokio::test]
async fn nulls_and_rows_on_green_are_seen_beforehand() {
    let blue = "CREATE TABLE t (id int PRIMARY KEY, v text)";
    let green = "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL); INSERT INTO t VALUES (1, 'x')";
    let Some(mut case) = case("held", blue, green).await.map(|case| case.route("t", &["id", "v"])) else {
        return;
    };
    case.expect(Warning, "nullable-into-not-null", "green column public.t.v").await;
    case.expect(Error, "target-not-empty", "green table public.t").await;
    case.plan.existing_rows = ExistingRows::Adopt;
    case.expect(Info, "target-rows-adopted", "green table public.t").await;
    case.expect_not("target-not-empty").await;
}

#[tokio::test]
async fn f25_triggers_and_foreign_keys_of_green_are_weighed() {
    let green = "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, v text, p int REFERENCES parent);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER usual BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
        CREATE TRIGGER always BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE t ENABLE ALWAYS TRIGGER always";
    let Some(mut case) = case("triggers", PLAIN, green).await.map(|case| case.route("t", &["id", "v"]))
    else {
        return;
    };
    let finding = case.expect(Warning, "trigger-on-green", "green table public.t").await;
    assert!(finding.what.ends_with(": always"), "{finding}");
    let key = "green foreign key t_p_fkey of public.t";
    case.expect_not("foreign-key-on-green").await;
    case.plan.replica_role = ReplicaRole::Never;
    let finding = case.expect(Warning, "trigger-on-green", "green table public.t").await;
    assert!(finding.what.ends_with(": always, usual"), "{finding}");
    case.expect(Warning, "foreign-key-on-green", key).await;
}

#[tokio::test]
async fn extensions_and_read_only_roles_are_seen() {
    let blue =
        "CREATE EXTENSION citext; CREATE EXTENSION pg_trgm; CREATE TABLE t (id int PRIMARY KEY, v citext)";
    let Some(case) = case("extension", blue, PLAIN).await.map(|case| case.route("t", &["id", "v"])) else {
        return;
    };
    case.expect(Warning, "extension-missing", "green extension citext").await;
    let finding = case.expect(NotMoved, "extensions", "blue extensions").await;
    assert!(finding.what.contains("pg_trgm"), "{finding}");
    let mut green = connect(&case.green).await;
    green.batch("ALTER DATABASE extension_green SET default_transaction_read_only = on").await.unwrap();
    case.expect(Error, "green-read-only", "green").await;
}
