//! Constraints and defaults of blue and their likes on green.

use understudy_contract::ReadinessCheck;

use crate::harness::case;

/// What blue refuses green has to refuse, or bad rows come in from the first write after the flip.
#[tokio::test]
async fn what_blue_refuses_and_green_does_not_is_told() {
    let blue = "CREATE TABLE users (id int PRIMARY KEY);
        CREATE TABLE t (id int PRIMARY KEY, owner int CONSTRAINT owned REFERENCES users ON DELETE CASCADE, a int NOT NULL, b text,
          c int, z int NOT NULL,
          CONSTRAINT positive CHECK (a > 0), CONSTRAINT renamed CHECK (b <> ''), CONSTRAINT unlike CHECK (c > 0),
          CONSTRAINT computed CHECK (z > 0), CONSTRAINT lonely EXCLUDE (c WITH =), CONSTRAINT late UNIQUE (c) DEFERRABLE)";
    let green = "CREATE SCHEMA app; CREATE TABLE app.people (key int PRIMARY KEY);
        CREATE TABLE app.t (id int PRIMARY KEY, owner int REFERENCES app.people, a int, name text, c int UNIQUE,
          CONSTRAINT unlike CHECK (c >= 0))";
    let Some(case) = case("refusing", blue, green).await else { return };
    let case = case.route("users", "app.people", &["id=key"]).route(
        "t",
        "app.t",
        &["id", "owner", "a", "b=name", "c"],
    );
    let expected = [
        ("not null public.t.a", "is not required of green's app.t.a"),
        ("constraint late on public.t", "may be checked late on blue"),
        ("constraint lonely on public.t", "has no like on green's app.t"),
        ("foreign key owned on public.t", "has no like on green's app.t"),
        ("constraint positive on public.t", "has no like"),
        ("constraint renamed on public.t", "has no like"),
        ("constraint unlike on public.t", "reads differently"),
    ];
    let lacks = case.expect(ReadinessCheck::Constraints, &expected).await;
    assert_eq!(
        lacks[3].remedy.as_deref(),
        Some(
            "ALTER TABLE \"app\".\"t\" ADD CONSTRAINT \"owned\" FOREIGN KEY (\"owner\") REFERENCES \"app\".\"people\" \
             (\"key\") ON DELETE CASCADE NOT VALID; ALTER TABLE \"app\".\"t\" VALIDATE CONSTRAINT \"owned\""
        )
    );
    for lack in [&lacks[0], &lacks[2], &lacks[3], &lacks[4]] {
        case.on_green(lack.remedy.as_deref().unwrap()).await;
    }
    case.on_green(
        "ALTER TABLE app.t ADD CHECK (name > ''), DROP CONSTRAINT unlike, ADD CHECK (c > 0), DROP CONSTRAINT t_c_key, \
         ADD UNIQUE (c) DEFERRABLE",
    )
    .await;
    case.expect(ReadinessCheck::Constraints, &[]).await;
}

/// A constraint that was added without looking at the rows says nothing about them.
#[tokio::test]
async fn constraints_that_were_not_validated_are_told() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, a int)";
    let Some(case) = case("validated", sql, sql).await else { return };
    let case = case.route("t", "t", &["id", "a"]);
    case.on_green(
        "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID, ADD FOREIGN KEY (a) REFERENCES t NOT VALID",
    )
    .await;
    let expected = [
        ("green constraint c on public.t", "is not validated"),
        ("green constraint t_a_fkey on public.t", "is not validated"),
    ];
    let lacks = case.expect(ReadinessCheck::Constraints, &expected).await;
    case.mend(ReadinessCheck::Constraints, &lacks).await;
}

/// From 18 on a constraint may be declared and not enforced, and a column required of new rows only.
#[tokio::test]
async fn constraints_that_are_not_enforced_do_not_count() {
    let blue = "CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL, CONSTRAINT positive CHECK (a > 0))";
    let Some(case) = case("enforced", blue, "CREATE TABLE t (id int PRIMARY KEY, a int)").await else {
        return;
    };
    let case = case.route("t", "t", &["id", "a"]);
    if crate::databases::connect(&case.green).await.server_version() < 180_000 {
        return;
    }
    case.on_green(
        "ALTER TABLE t ADD CONSTRAINT n NOT NULL a NOT VALID, ADD CONSTRAINT c CHECK (a > 0) NOT ENFORCED",
    )
    .await;
    case.on_blue("ALTER TABLE t ADD CONSTRAINT loose CHECK (a > 1) NOT ENFORCED").await;
    let expected = [
        ("green constraint n on public.t", "is not validated"),
        ("constraint positive on public.t", "has no like"),
    ];
    let lacks = case.expect(ReadinessCheck::Constraints, &expected).await;
    case.mend(ReadinessCheck::Constraints, &lacks).await;
}

/// A foreign key to a table that is not migrated cannot hold on green: the rows there are not kept in step.
#[tokio::test]
async fn foreign_keys_that_leave_the_migration_are_told() {
    let sql = "CREATE TABLE outside (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, o int REFERENCES outside)";
    let Some(case) = case("leaving", sql, sql).await else { return };
    let case = case.route("t", "t", &["id", "o"]);
    case.expect(
        ReadinessCheck::Constraints,
        &[("foreign key t_o_fkey on public.t", "refers to public.outside, which is outside the migration")],
    )
    .await;
}

/// Without a default, inserts that leave the column out fail or store nulls.
#[tokio::test]
async fn defaults_that_green_lacks_are_told() {
    let blue =
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, at timestamptz DEFAULT now(), n int DEFAULT 1,
        g int GENERATED ALWAYS AS (1) STORED)";
    let Some(case) =
        case("defaults", blue, "CREATE TABLE t (id int NOT NULL, at timestamptz, n int DEFAULT 2, g int)")
            .await
    else {
        return;
    };
    let case = case.route("t", "t", &["id", "at", "n", "g"]);
    let expected =
        [("default public.t.id", "green's public.t.id has none"), ("default public.t.at", "has none")];
    case.expect(ReadinessCheck::Constraints, &expected).await;
    case.on_green("ALTER TABLE t ALTER id ADD GENERATED ALWAYS AS IDENTITY, ALTER at SET DEFAULT now()")
        .await;
    case.expect(ReadinessCheck::Constraints, &[]).await;
}
