//! Findings about triggers and foreign keys that are alive on green: each remedy is carried out, and helps.

use understudy_contract::Finding;
use understudy_contract::Severity::{Error, Info, Warning};
use understudy_postgres::preflight::ReplicaRole;

use crate::databases::connect;
use crate::harness::{Case, case};

const FAMILY: &str =
    "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int)";

/// Both tables move, and green's keys and triggers stay alive.
async fn family(name: &str, on_green: &str) -> Option<Case> {
    let case = case(name, FAMILY, on_green).await?.route("parent", &["id"]).route("child", &["id", "p"]);
    Some(case.never_replica())
}

/// The statements of a remedy between two of its words.
fn between<'a>(finding: &'a Finding, from: &str, to: &str) -> &'a str {
    let (_, rest) = finding.remedy.split_once(from).unwrap_or_else(|| panic!("no `{from}` in {finding}"));
    if to.is_empty() {
        rest
    } else {
        rest.split_once(to).unwrap_or_else(|| panic!("no `{to}` in {finding}")).0
    }
}

async fn about_keys(case: &Case) -> Vec<Finding> {
    let findings = case.findings().await;
    findings.into_iter().filter(|finding| finding.code.starts_with("foreign-key")).collect()
}

/// F25: rows of a child that are copied before those of its parent are refused, so such a key may not be alive while the
/// parent is being copied. Afterwards it is welcome.
#[tokio::test]
async fn f25_a_foreign_key_among_tables_that_fill_is_refused() {
    let key = "ALTER TABLE child ADD FOREIGN KEY (p) REFERENCES parent";
    let Some(case) = family("keyfill", &format!("{FAMILY}; {key}")).await else {
        return;
    };
    let subject = "green foreign key child_p_fkey of public.child";
    let refused = case.expect(Error, "foreign-key-on-green", subject).await;
    assert!(refused.what.contains("while public.parent is being copied"), "{refused}");
    assert!(refused.remedy.starts_with("set `apply: { replica_role: auto }`; or run now"), "{refused}");
    let mut green = connect(&case.green).await;
    green.batch(between(&refused, "run now on green: ", "; and once")).await.unwrap();
    assert_eq!(about_keys(&case).await, []);
    case.remember(None, &[("parent", None), ("child", None)]).await;
    green.batch(between(&refused, "once the copy is complete: ", "")).await.unwrap();
    case.expect(Info, "foreign-key-on-green", subject).await;
    let valid =
        green.query("SELECT convalidated FROM pg_constraint WHERE conname = 'child_p_fkey'").await.unwrap();
    assert!(valid[0].is_true(0));
    // A child that joins later finds its parents; a parent that joins later is missed by its children.
    case.remember(None, &[("parent", None)]).await;
    case.expect(Info, "foreign-key-on-green", subject).await;
    case.remember(None, &[("child", None)]).await;
    case.expect(Error, "foreign-key-on-green", subject).await;
}

/// F25: an action would repeat on green what blue sends anyway, before it arrives. It is refused at any time.
#[tokio::test]
async fn f25_a_foreign_key_that_acts_is_refused_even_when_all_is_copied() {
    for (at, action) in
        ["ON DELETE CASCADE", "ON UPDATE SET NULL", "ON DELETE SET DEFAULT"].iter().enumerate()
    {
        let key = format!("ALTER TABLE child ADD FOREIGN KEY (p) REFERENCES parent {action}");
        let Some(case) = family(&format!("keyacts{at}"), &format!("{FAMILY}; {key}")).await else {
            return;
        };
        case.remember(None, &[("parent", None), ("child", None)]).await;
        let subject = "green foreign key child_p_fkey of public.child";
        let refused = case.expect(Error, "foreign-key-acts-on-green", subject).await;
        assert!(refused.what.starts_with(action), "{refused}");
        let mut green = connect(&case.green).await;
        green.batch(between(&refused, "until the flip: ", "; and then ")).await.unwrap();
        assert_eq!(about_keys(&case).await, []);
        green.batch("ALTER TABLE child ADD FOREIGN KEY (p) REFERENCES parent").await.unwrap();
        case.expect(Info, "foreign-key-on-green", subject).await;
        green.batch("ALTER TABLE child DROP CONSTRAINT child_p_fkey").await.unwrap();
        green.batch(between(&refused, "and then ", " (with NO ACTION")).await.unwrap();
        assert_eq!(case.expect(Error, "foreign-key-acts-on-green", subject).await.what, refused.what);
    }
}

/// With the right that is asked for, or as a superuser, no key is alive, and nothing is said.
#[tokio::test]
async fn the_grant_that_is_asked_for_helps() {
    let key = "ALTER TABLE child ADD FOREIGN KEY (p) REFERENCES parent ON DELETE CASCADE";
    let Some(case) = family("keygrant", &format!("{FAMILY}; {key}")).await else {
        return;
    };
    let case = case.with_role("REPLICATION", "", "GRANT ALL ON ALL TABLES IN SCHEMA public TO ROLE").await;
    let mut case = case;
    case.plan.replica_role = ReplicaRole::Auto;
    let refused = case
        .expect(Error, "foreign-key-acts-on-green", "green foreign key child_p_fkey of public.child")
        .await;
    let mut admin = case.cluster.client().await;
    if admin.server_version() >= 150_000 {
        admin.batch(refused.remedy.split("; or ").next().unwrap()).await.unwrap();
        assert_eq!(about_keys(&case).await, []);
        case.expect_not("replica-role-unavailable").await;
    }
}

/// What partitions inherit is one key, named where it was declared; a key from outside or to the outside is no obstacle.
#[tokio::test]
async fn keys_of_partitions_and_of_other_tables_are_told_apart() {
    let green = "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE lookup (id int PRIMARY KEY);
        CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent) PARTITION BY RANGE (id);
        CREATE TABLE child_1 PARTITION OF child DEFAULT; ALTER TABLE child_1 ADD FOREIGN KEY (p) REFERENCES lookup;
        CREATE TABLE outside (id int PRIMARY KEY, p int REFERENCES parent)";
    let Some(case) = family("keyparts", green).await else {
        return;
    };
    let found = about_keys(&case).await;
    let found = found.iter().map(|one| (one.severity, one.subject.as_str())).collect::<Vec<_>>();
    assert_eq!(
        found,
        [
            (Error, "green foreign key child_p_fkey of public.child"),
            (Warning, "green foreign key child_1_p_fkey of public.child_1"),
            (Warning, "green foreign key outside_p_fkey of public.outside"),
        ]
    );
}

/// F25: a trigger that fires again on what blue's trigger has done is named with the statements that switch it off until
/// the flip, and back on as it was.
#[tokio::test]
async fn f25_live_triggers_can_be_switched_off_as_told() {
    let green = format!(
        "{FAMILY}; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER usual BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION f();
         CREATE TRIGGER \"Odd one\" BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION f();
         ALTER TABLE child ENABLE ALWAYS TRIGGER \"Odd one\""
    );
    let Some(mut case) = family("triggersoff", &green).await else {
        return;
    };
    let subject = "green table public.child";
    let warned = case.expect(Warning, "trigger-on-green", subject).await;
    assert!(warned.what.ends_with(": Odd one, usual"), "{warned}");
    let mut client = connect(&case.green).await;
    client.batch(between(&warned, "; or ", " until the flip")).await.unwrap();
    case.expect_not("trigger-on-green").await;
    client.batch(between(&warned, "and then ", "")).await.unwrap();
    assert_eq!(case.expect(Warning, "trigger-on-green", subject).await, warned);
    // Held off by the role, but for the one that always fires: there the role is no remedy.
    case.plan.replica_role = ReplicaRole::Auto;
    let warned = case.expect(Warning, "trigger-on-green", subject).await;
    assert!(warned.what.ends_with(": Odd one") && warned.remedy.starts_with("ALTER TABLE"), "{warned}");
}
