//! Roles, what they may do, and which rows they see.

use understudy_contract::ReadinessCheck;

use crate::harness::case;

/// An application whose role is missing on green, or may do less there, is down after the flip.
#[tokio::test]
async fn roles_that_green_lacks_or_has_otherwise_are_told() {
    let blue = "CREATE ROLE ro_owner; CREATE ROLE ro_app LOGIN BYPASSRLS CONNECTION LIMIT 7; CREATE ROLE ro_group NOLOGIN;
        CREATE ROLE ro_new LOGIN CONNECTION LIMIT 3; CREATE ROLE ro_elsewhere LOGIN; CREATE ROLE ro_unused;
        GRANT ro_group TO ro_app; GRANT CONNECT ON DATABASE peopled TO ro_app, ro_new;
        CREATE TABLE t (id int); ALTER TABLE t OWNER TO ro_owner; GRANT SELECT ON t TO ro_group";
    let green =
        "CREATE ROLE ro_app SUPERUSER CONNECTION LIMIT 5 VALID UNTIL '2020-01-01'; CREATE ROLE ro_group;
        CREATE TABLE t (id int)";
    let Some(case) = case("peopled", blue, green).await else { return };
    let case = case.route("t", "t", &["id"]);
    let expected = [
        ("role ro_app", "has LOGIN on blue"),
        ("role ro_app", "has SUPERUSER on green"),
        ("role ro_app", "has BYPASSRLS on blue"),
        ("role ro_app", "may open no more than 5 connections"),
        ("role ro_app", "no longer valid"),
        ("role ro_new", "is not on green"),
        ("role ro_owner", "is not on green"),
        ("role ro_app in group ro_group", "is a member on blue"),
    ];
    let lacks = case.expect(ReadinessCheck::Roles, &expected).await;
    assert_eq!(
        lacks[5].remedy.as_deref(),
        Some("CREATE ROLE \"ro_new\" LOGIN CONNECTION LIMIT 3, and give it its password")
    );
    case.mend(ReadinessCheck::Roles, &lacks).await;
}

/// A right that was granted by hand on blue is asked for on green, however deep: table, column, sequence, schema, database.
#[tokio::test]
async fn rights_that_green_lacks_are_granted_by_the_remedy() {
    let roles =
        "CREATE ROLE gr_app LOGIN; CREATE ROLE gr_group; CREATE ROLE gr_member LOGIN IN ROLE gr_group;";
    let blue = format!(
        "{roles} CREATE SCHEMA shop; CREATE TABLE shop.t (id serial, a int, z int); CREATE TABLE shop.other (id int);
         GRANT SELECT, INSERT ON shop.t TO gr_app WITH GRANT OPTION; GRANT UPDATE (a), UPDATE (z) ON shop.t TO gr_app;
         GRANT SELECT ON shop.t TO PUBLIC, gr_member; GRANT ALL ON shop.other TO gr_app;
         GRANT USAGE ON SEQUENCE shop.t_id_seq TO gr_app; GRANT USAGE ON SCHEMA shop TO gr_app, gr_member;
         GRANT CONNECT ON DATABASE granted TO gr_app"
    );
    let green = format!(
        "{roles} CREATE SCHEMA app; CREATE TABLE app.t (id serial, b int); GRANT INSERT ON app.t TO gr_app;
         GRANT SELECT ON app.t TO gr_group; GRANT USAGE ON SCHEMA app TO gr_group"
    );
    let Some(case) = case("granted", &blue, &green).await else { return };
    let case = case.route("shop.t", "app.t", &["id", "a=b"]);
    let lacks = case.lacks(ReadinessCheck::Grants).await;
    let mut subjects = lacks.iter().map(|lack| lack.subject.as_str()).collect::<Vec<_>>();
    subjects.sort_unstable();
    assert_eq!(
        subjects,
        [
            "grant CONNECT on the database to gr_app",
            "grant SELECT on shop.t to gr_app",
            "grant SELECT on shop.t to public",
            "grant UPDATE on shop.t.a to gr_app",
            "grant USAGE on schema shop to gr_app",
            "grant USAGE on sequence shop.t_id_seq to gr_app",
        ],
        "a member has its group's rights; what is not migrated is not asked for: {lacks:#?}"
    );
    let remedy =
        |subject: &str| lacks.iter().find(|lack| lack.subject == subject).unwrap().remedy.clone().unwrap();
    assert_eq!(
        remedy("grant UPDATE on shop.t.a to gr_app"),
        "GRANT UPDATE (\"b\") ON \"app\".\"t\" TO \"gr_app\""
    );
    assert_eq!(remedy("grant SELECT on shop.t to public"), "GRANT SELECT ON \"app\".\"t\" TO PUBLIC");
    case.mend(ReadinessCheck::Grants, &lacks).await;
}

/// Row security that is off on green shows everybody's rows; a policy that reads otherwise shows other rows.
#[tokio::test]
async fn row_security_that_differs_is_told() {
    let blue = "CREATE TABLE t (id int, owner text, b text); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
        ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY own ON t FOR SELECT USING (owner = current_user);
        CREATE POLICY other ON t AS RESTRICTIVE USING (id > 0) WITH CHECK (id > 1); CREATE POLICY renamed ON t USING (b <> '');
        CREATE POLICY command ON t FOR UPDATE USING (id > 0); CREATE TABLE u (id int)";
    let green = "CREATE TABLE t (id int, owner text, c text); CREATE POLICY own ON t FOR SELECT USING (owner <> current_user);
        CREATE POLICY renamed ON t USING (c <> ''); CREATE POLICY command ON t FOR DELETE USING (id > 0);
        CREATE TABLE u (id int); ALTER TABLE u ENABLE ROW LEVEL SECURITY; CREATE POLICY extra ON u USING (true)";
    let Some(case) = case("secured", blue, green).await else { return };
    let case = case.route("t", "t", &["id", "owner", "b=c"]).route("u", "u", &["id"]);
    let expected = [
        ("row security public.t", "is enabled on blue, and not on green"),
        ("row security public.t", "is forced on the owner on blue"),
        ("policy command on public.t", "is for other commands or roles"),
        ("policy other on public.t", "is not on green's public.t"),
        ("policy own on public.t", "reads differently"),
        ("row security public.u", "is enabled on green, and not on blue"),
        ("green policy extra on public.u", "has no like on blue"),
    ];
    let lacks = case.expect(ReadinessCheck::Policies, &expected).await;
    case.mend(ReadinessCheck::Policies, &lacks).await;
}
