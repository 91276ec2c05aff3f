//! What stays on blue.

use understudy_contract::ReadinessCheck;

use crate::harness::case;

/// Whatever replication does not carry is named object by object, so that each can be acknowledged.
#[tokio::test]
async fn each_object_that_stays_behind_is_named() {
    let blue = "CREATE TABLE t (id serial PRIMARY KEY, v text); CREATE TABLE left_out (id int PRIMARY KEY, t int REFERENCES t);
        CREATE TABLE also_left (id int); CREATE UNLOGGED TABLE scratch (id int); CREATE VIEW seen AS SELECT 1 AS one;
        CREATE VIEW there AS SELECT 1 AS one; CREATE MATERIALIZED VIEW kept AS SELECT 1 AS one; SELECT lo_create(0);
        CREATE PUBLICATION theirs FOR TABLE t; CREATE PUBLICATION understudy_staying FOR TABLE t;
        CREATE SUBSCRIPTION theirs CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false);
        CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
        CREATE FUNCTION there(a int) RETURNS int LANGUAGE sql AS 'SELECT a';
        CREATE FUNCTION there(a text) RETURNS text LANGUAGE sql AS 'SELECT a';
        CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION e();
        CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION g();
        CREATE TRIGGER understudy_guard BEFORE UPDATE ON t EXECUTE FUNCTION g();
        CREATE TRIGGER off BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION g(); ALTER TABLE t DISABLE TRIGGER off;
        CREATE RULE quiet AS ON DELETE TO t DO INSTEAD NOTHING; CREATE DOMAIN short AS varchar(3);
        CREATE STATISTICS both_of ON id, v FROM t;; SELECT pg_create_logical_replication_slot('other_staying', 'pgoutput')";
    let green = "CREATE TABLE t (id serial PRIMARY KEY, v text); CREATE TABLE left_out (id int);
        CREATE VIEW there AS SELECT 1 AS one; CREATE FUNCTION there(a int) RETURNS int LANGUAGE sql AS 'SELECT a'";
    let Some(case) = case("staying", blue, green).await else { return };
    let case = case.route("t", "t", &["id", "v"]);
    let lacks = case.lacks(ReadinessCheck::NotMoved).await;
    case.on_blue("ALTER SUBSCRIPTION theirs SET (slot_name = NONE); DROP SUBSCRIPTION theirs").await;
    case.on_blue("SELECT pg_drop_replication_slot('other_staying')").await;
    let subjects = lacks.iter().map(|lack| lack.subject.as_str()).collect::<Vec<_>>();
    assert_eq!(
        subjects,
        [
            "table public.also_left",
            "table public.left_out",
            "table public.scratch",
            "view public.seen",
            "materialised view public.kept",
            "large objects",
            "replication slot other_staying",
            "publication theirs",
            "subscription theirs",
            "event trigger watch",
            "foreign key left_out_t_fkey on public.left_out",
            "function public.e()",
            "function public.g()",
            "function public.there(a text)",
            "type public.short",
            "statistics public.both_of",
            "rule quiet on public.t",
            "trigger g on public.t",
        ],
        "{lacks:#?}"
    );
    assert!(lacks[5].reason.contains("1 of them"), "{:?}", lacks[5]);
}

/// A database with very many objects outside is still a list that a person can go through.
#[tokio::test]
async fn too_many_objects_are_summed_up() {
    let blue = "CREATE TABLE t (id int);
        DO $$ BEGIN FOR n IN 1..310 LOOP EXECUTE format('CREATE VIEW v%s AS SELECT 1 AS one', n); END LOOP; END $$";
    let Some(case) = case("many", blue, "CREATE TABLE t (id int)").await else { return };
    let case = case.route("t", "t", &["id"]);
    let lacks = case.lacks(ReadinessCheck::NotMoved).await;
    assert_eq!(lacks.len(), 301);
    assert_eq!(lacks[300].subject, "further not_moved");
    assert!(lacks[300].reason.starts_with("10 more"), "{:?}", lacks[300]);
}
