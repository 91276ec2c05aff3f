//! Routes that compute, filter, split and merge: what is refused, what is warned of, and what is nobody's business.

use understudy_contract::Finding;
use understudy_contract::Severity::{Error, Info, Warning};
use understudy_postgres::preflight::PlannedTable;

use crate::databases::connect;
use crate::harness::{case, table};

fn count(findings: &[Finding], code: &str) -> usize {
    findings.iter().filter(|one| one.code == code).count()
}

/// Bad input: what an expression fills must be there and writable, and what nothing fills must be able to stay empty.
#[tokio::test]
async fn computed_columns_of_green_are_looked_at() {
    let blue = "CREATE TABLE t (id int PRIMARY KEY, a int, b int)";
    let green =
        "CREATE TABLE t (id int PRIMARY KEY, sum text NOT NULL, g int GENERATED ALWAYS AS (id) STORED,
          n int GENERATED ALWAYS AS IDENTITY, needed int NOT NULL)";
    let Some(case) = case("computed", blue, green).await else { return };
    let case = case.route("t", &["id", "sum~a,b", "g~a", "n~a", "nowhere~b"]);
    case.expect(Error, "target-column-generated", "green column public.t.g").await;
    case.expect(Error, "target-column-missing", "green column public.t.nowhere").await;
    case.expect(Error, "target-identity-always", "green column public.t.n").await;
    case.expect(Error, "target-column-unfilled", "green column public.t.needed").await;
    let findings = case.findings().await;
    assert!(findings.iter().all(|one| one.subject != "green column public.t.sum"), "{findings:#?}");
}

/// A key of green's own is used where blue's is not one there: it must be filled, from what blue sends of every row, and
/// must tell rows of blue apart.
#[tokio::test]
async fn keys_of_green_are_filled_from_what_blue_sends() {
    let blue = "CREATE TABLE a (id int PRIMARY KEY, tenant int NOT NULL, mail text NOT NULL UNIQUE);
        CREATE TABLE b (LIKE a INCLUDING ALL); CREATE TABLE c (LIKE a INCLUDING ALL); CREATE TABLE d (LIKE a INCLUDING ALL);
        CREATE TABLE e (LIKE a INCLUDING ALL); ALTER TABLE e REPLICA IDENTITY FULL;
        CREATE TABLE f (x int, y int, PRIMARY KEY (x, y)); CREATE TABLE g (LIKE f INCLUDING ALL)";
    let green = "CREATE TABLE a (shop text, id int, PRIMARY KEY (shop, id)); CREATE TABLE b (code text PRIMARY KEY);
        CREATE TABLE c (mail text PRIMARY KEY); CREATE TABLE d (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), mail text);
        CREATE TABLE e (mail text PRIMARY KEY); CREATE TABLE f (x int PRIMARY KEY); CREATE TABLE g (x int PRIMARY KEY)";
    let Some(case) = case("ownkeys", blue, green).await else { return };
    let case = case
        .route("a", &["shop:eu", "id"])
        .route("b", &["code~id"])
        .route("c", &["mail"])
        .route("d", &["mail"])
        .route("e", &["mail"])
        .route_between("f", "f", &["x"], Some(&["y"]))
        .route("g", &["x"]);
    case.expect(Warning, "key-computed", "green table public.b").await;
    let finding = case.expect(Error, "key-not-carried", "green column public.c.mail").await;
    assert!(finding.what.contains("blue column public.c.mail"), "{finding}");
    assert!(finding.remedy.starts_with("ALTER TABLE \"public\".\"c\" REPLICA IDENTITY FULL"), "{finding}");
    case.expect(Error, "key-not-filled", "green column public.d.id").await;
    case.expect(Warning, "key-narrowed", "green table public.f").await;
    case.expect(Error, "key-not-mapped", "green table public.g").await;
    let findings = case.findings().await;
    let of = |name: &str| findings.iter().filter(|one| one.subject.ends_with(name)).collect::<Vec<_>>();
    assert!(of("public.a").is_empty(), "a constant beside blue's key: {:#?}", of("public.a"));
    assert!(of("public.e").is_empty(), "a whole old row is sent: {:#?}", of("public.e"));
}

/// Several routes may share a table: what is wrong with it is said once.
#[tokio::test]
async fn shared_tables_are_looked_at_once() {
    let blue = "CREATE UNLOGGED TABLE s (id int PRIMARY KEY, v text)";
    let green = "CREATE TABLE one (id int PRIMARY KEY, v text); INSERT INTO one VALUES (1, 'x');
        CREATE UNLOGGED TABLE two (id int PRIMARY KEY, v text)";
    let Some(case) = case("shared", blue, green).await else { return };
    let case = case
        .route_between("s", "one", &["id", "v"], None)
        .route_between("s", "two", &["id", "v=nope"], None)
        .route_between("s", "two", &["id", "v=nope"], Some(&["v"]));
    let findings = case.findings().await;
    for code in ["source-unlogged", "source-column-missing", "target-not-empty", "target-unlogged"] {
        assert_eq!(count(&findings, code), 1, "{code} in {findings:#?}");
    }
}

/// Two tables may each be free of duplicates, and not both together: only a constant of each tells them apart.
#[tokio::test]
async fn merged_tables_may_meet_in_a_unique_index() {
    let blue =
        "CREATE TABLE eu (id int PRIMARY KEY, mail text UNIQUE); CREATE TABLE us (LIKE eu INCLUDING ALL)";
    let green = "CREATE TABLE t (region text, id int, mail text UNIQUE, PRIMARY KEY (region, id), UNIQUE (mail, region))";
    let Some(case) = case("merged", blue, green).await else { return };
    let case = case.route_between("eu", "t", &["region:eu", "id", "mail"], None).route_between(
        "us",
        "t",
        &["region:us", "id", "mail"],
        None,
    );
    let finding = case.expect(Warning, "extra-unique-index", "green table public.t").await;
    assert!(finding.what.starts_with("unique index t_mail_key may refuse rows: several tables"), "{finding}");
    assert_eq!(count(&case.findings().await, "extra-unique-index"), 1);
    assert_eq!(count(&case.findings().await, "target-key-not-unique"), 0);

    let mut same = case;
    same.plan.tables[1].columns[0] = same.plan.tables[0].columns[0].clone();
    assert_eq!(count(&same.findings().await, "extra-unique-index"), 3, "one region is none");
}

/// What an update leaves unsent makes a row be read again; whoever does that often is told how to avoid it.
#[tokio::test]
async fn expressions_over_values_stored_aside_are_told_of() {
    let columns = "id int PRIMARY KEY, note text, doc jsonb, raw bytea, tags int[], amount numeric, code varchar(20), \
        price numeric(10, 2), host inet, flat text";
    let blue = format!(
        "CREATE DOMAIN short AS varchar(9);
         CREATE TABLE t ({columns}, tiny short); ALTER TABLE t ALTER flat SET STORAGE PLAIN;
         CREATE TABLE f ({columns}); ALTER TABLE f REPLICA IDENTITY FULL; CREATE TABLE w ({columns});
         CREATE TABLE p ({columns}) PARTITION BY RANGE (id); CREATE TABLE p_1 PARTITION OF p DEFAULT"
    );
    let green = "CREATE TABLE t (id int PRIMARY KEY, x text, y text); CREATE TABLE t2 (LIKE t INCLUDING ALL);
        CREATE TABLE f (LIKE t INCLUDING ALL); CREATE TABLE w (LIKE t INCLUDING ALL); CREATE TABLE p (LIKE t INCLUDING ALL)";
    let Some(case) = case("aside", &blue, green).await else { return };
    let case = case
        .route("t", &["id", "x~id,note,doc,code", "y~tags"])
        .route_between("t", "t2", &["id", "x~note,raw,amount,price,host,flat,tiny"], None)
        .route("f", &["id", "x~id,note"])
        .route_between("w", "w", &["id", "x=note"], Some(&["doc"]))
        .route("p", &["id", "x~id,note"]);
    let finding = case.expect(Warning, "heals-expected", "blue table public.t").await;
    assert!(finding.what.starts_with("expressions read amount, doc, note, raw, which"), "{finding}");
    assert!(finding.remedy.contains("ALTER TABLE \"public\".\"t\" REPLICA IDENTITY FULL"), "{finding}");
    let finding = case.expect(Warning, "heals-expected", "blue table public.w").await;
    assert!(finding.what.starts_with("expressions read doc, which"), "{finding}");
    case.expect(Warning, "heals-expected", "blue table public.p").await;
    assert_eq!(count(&case.findings().await, "heals-expected"), 3, "none where the whole old row is sent");
    let mut client = connect(&case.blue).await;
    client.batch("ALTER TABLE p_1 REPLICA IDENTITY FULL").await.unwrap();
    assert_eq!(count(&case.findings().await, "heals-expected"), 2);
}

/// The rows of a leaf are deleted by its condition: each of its columns has to be on green as it is on blue, at every level
/// and within expressions too.
#[tokio::test]
async fn leaves_whose_rows_cannot_be_named_are_refused() {
    let blue = "CREATE TABLE p (id int NOT NULL, day date NOT NULL, k int NOT NULL, v text) PARTITION BY RANGE (day);
        CREATE TABLE p_1 PARTITION OF p DEFAULT PARTITION BY LIST ((k % 3)); CREATE TABLE p_1_1 PARTITION OF p_1 DEFAULT;
        CREATE UNIQUE INDEX ON p_1_1 (id); ALTER TABLE p_1_1 REPLICA IDENTITY FULL;
        CREATE TABLE t (id int PRIMARY KEY, day date)";
    let green =
        "CREATE TABLE p (id int PRIMARY KEY, day date, k int, v text); CREATE TABLE q (LIKE p INCLUDING ALL);
        CREATE TABLE r (LIKE p INCLUDING ALL); CREATE TABLE t (LIKE p INCLUDING ALL)";
    let Some(case) = case("leaves", blue, green).await else { return };
    let case = case
        .route("p", &["id", "day", "k"])
        .route_between("p", "q", &["id", "day~day", "v"], None)
        .route_between("p", "r", &["id", "v=k", "day"], None)
        .route("t", &["id"]);
    let finding = case.expect(Error, "leaf-unnamed", "blue table public.p").await;
    assert!(finding.what.starts_with("is partitioned by day, k, which public.q does not take"), "{finding}");
    assert_eq!(count(&case.findings().await, "leaf-unnamed"), 1);
}

/// Blue's order of rows holds for tables that arrive whole: not where rows are left out, nor where one row of blue is split.
#[tokio::test]
async fn foreign_keys_between_split_and_filtered_tables_are_warned_of() {
    let blue = "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int)";
    let green = "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent)";
    let Some(case) = case("splitkeys", blue, green).await else { return };
    let case = case.route("parent", &["id"]).route("child", &["id", "p"]).never_replica();
    case.remember(None, &[("parent", None), ("child", None)]).await;
    let key = "green foreign key child_p_fkey of public.child";
    case.expect(Info, "foreign-key-on-green", key).await;
    let mut filtered = case;
    filtered.plan.tables[0].filter = Some(vec!["id".to_owned()]);
    let finding = filtered.expect(Warning, "foreign-key-on-green", key).await;
    assert!(finding.what.contains("leaves rows of public.parent out"), "{finding}");
    let mut split = filtered;
    split.plan.tables[0].filter = None;
    split.plan.tables.push(PlannedTable { target: table("parent"), ..split.plan.tables[1].clone() });
    let books = "INSERT INTO understudy.routes VALUES ('splitkeys', 2, 'public', 'child', 'public', 'parent', '', true, NULL)";
    connect(&split.green).await.batch(books).await.unwrap();
    let finding = split.expect(Warning, "foreign-key-on-green", key).await;
    assert!(finding.what.contains("filled from public.child"), "{finding}");
}
