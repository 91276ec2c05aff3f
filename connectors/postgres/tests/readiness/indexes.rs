//! Indexes of blue and their likes on green, and green's statistics.

use understudy_contract::ReadinessCheck;

use crate::harness::case;
use crate::support::until;

/// Without an index the first minute after the flip is slow, and without a unique one duplicates come in. Each that is
/// missing is told with the statement that builds it under green's names.
#[tokio::test]
async fn indexes_that_green_lacks_are_built_by_the_remedy() {
    let blue = "CREATE TABLE t (id int PRIMARY KEY, a int, b text, c text, z text);
        CREATE UNIQUE INDEX uniq ON t (a, b); CREATE UNIQUE INDEX stricter ON t (a, c); CREATE UNIQUE INDEX looser ON t (c, a); CREATE INDEX plain ON t (b) INCLUDE (a);
        CREATE INDEX pattern ON t (c text_pattern_ops); CREATE INDEX lowered ON t (lower(c)) WHERE a > 0;
        CREATE INDEX hashed ON t USING hash (b); CREATE INDEX led ON t (c, b); CREATE INDEX computed ON t (z);
        CREATE INDEX computed_too ON t (lower(z)); CREATE INDEX partly ON t (a) WHERE z IS NULL";
    let green = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, a int, name text, c text);
        CREATE INDEX uniq ON app.t (a, name); CREATE UNIQUE INDEX s ON app.t (a); CREATE UNIQUE INDEX l ON app.t (c, a, id); CREATE INDEX led ON app.t (c, name, a);
        CREATE INDEX lowered ON app.t (lower(c)) WHERE a > 1";
    let Some(case) = case("indexed", blue, green).await else { return };
    let case = case.route("t", "app.t", &["id", "a", "b=name", "c"]);
    let lacks = case
        .expect(
            ReadinessCheck::Indexes,
            &[
                ("index public.hashed", "has no like on green's app.t"),
                ("index public.looser", "has no unique like"),
                ("index public.lowered", "has no like"),
                ("index public.pattern", "has no like"),
                ("index public.plain", "has no like"),
                ("index public.stricter", "has no unique like"),
                ("index public.uniq", "has no unique like"),
            ],
        )
        .await;
    let remedy = |at: usize| lacks[at].remedy.as_deref().unwrap();
    assert_eq!(
        remedy(4),
        "CREATE INDEX CONCURRENTLY \"plain\" ON \"app\".\"t\" USING \"btree\" (\"name\") INCLUDE (\"a\")"
    );
    assert_eq!(
        remedy(6),
        "CREATE UNIQUE INDEX CONCURRENTLY ON \"app\".\"t\" USING \"btree\" (\"a\", \"name\")"
    );
    case.mend(ReadinessCheck::Indexes, &lacks).await;
}

/// An index whose build failed is there by name and serves nobody.
#[tokio::test]
async fn indexes_that_cannot_be_used_are_told() {
    let blue = "CREATE TABLE t (id int PRIMARY KEY, a int)";
    let green = "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (2, 1)";
    let Some(case) = case("broken", blue, green).await else { return };
    let case = case.route("t", "t", &["id", "a"]);
    let mut client = crate::databases::connect(&case.green).await;
    client.batch("CREATE UNIQUE INDEX CONCURRENTLY failed ON t (a)").await.unwrap_err();
    client.batch("DELETE FROM t WHERE id = 2").await.unwrap();
    let lacks = case.expect(ReadinessCheck::Indexes, &[("green index public.failed", "is not valid")]).await;
    assert_eq!(lacks[0].remedy.as_deref(), Some("REINDEX INDEX CONCURRENTLY \"public\".\"failed\""));
    case.mend(ReadinessCheck::Indexes, &lacks).await;
}

/// A partitioned table's index counts once, whether green is partitioned or not; a partition's own has to be somewhere.
#[tokio::test]
async fn indexes_of_partitions_count_with_their_table() {
    let blue = "CREATE TABLE p (id int, day date, a int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
        CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
        CREATE INDEX p_day ON p (day); CREATE INDEX p_1_a ON p_1 (a)";
    let whole = "CREATE TABLE p (id int, day date, a int, PRIMARY KEY (id, day)); CREATE INDEX ON p (day)";
    let Some(one) = case("whole_green", blue, whole).await else { return };
    let one = one.route("p", "p", &["id", "day", "a"]);
    let lacks = one.expect(ReadinessCheck::Indexes, &[("index public.p_1_a", "has no like")]).await;
    one.mend(ReadinessCheck::Indexes, &lacks).await;

    let parted = "CREATE TABLE p (id int, day date, a int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
        CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
        CREATE INDEX p_1_a ON p_1 (a); CREATE INDEX halfway ON ONLY p (a)";
    let Some(other) = case("parted_green", blue, parted).await else { return };
    let other = other.route("p", "p", &["id", "day", "a"]);
    let expected = [("index public.p_day", "has no like"), ("green index public.halfway", "is not valid")];
    let lacks = other.expect(ReadinessCheck::Indexes, &expected).await;
    assert!(lacks[0].remedy.as_deref().unwrap().starts_with("CREATE INDEX \"p_day\" ON"), "{lacks:?}");
    assert!(lacks[1].remedy.as_deref().unwrap().contains("ATTACH PARTITION"), "{lacks:?}");
}

/// Where nulls count as equal, an index that tells them apart lets duplicates in.
#[tokio::test]
async fn nulls_that_count_as_equal_are_part_of_uniqueness() {
    let green = "CREATE TABLE t (a int); CREATE UNIQUE INDEX u ON t (a)";
    let Some(case) = case("nulls", "CREATE TABLE t (a int)", green).await else { return };
    let case = case.route("t", "t", &["a"]);
    if crate::databases::connect(&case.blue).await.server_version() < 150_000 {
        return;
    }
    case.on_blue("CREATE UNIQUE INDEX u ON t (a) NULLS NOT DISTINCT").await;
    let lacks = case.expect(ReadinessCheck::Indexes, &[("index public.u", "has no unique like")]).await;
    case.mend(ReadinessCheck::Indexes, &lacks).await;
}

/// Without statistics the planner guesses: tables never analysed, outgrown since, or still being copied are told.
#[tokio::test]
async fn tables_without_fresh_statistics_are_told() {
    let blue = "CREATE TABLE t (id int); CREATE TABLE p (id int); CREATE TABLE q (id int)";
    let green = "CREATE TABLE t (id int) WITH (autovacuum_enabled = off); CREATE TABLE q (id int); ANALYZE q;
        CREATE TABLE p (id int) PARTITION BY RANGE (id);
        CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (9); ANALYZE p_1";
    let Some(case) = case("statistics", blue, green).await else { return };
    let mut case = case.route("t", "t", &["id"]).route("p", "p", &["id"]).route("q", "q", &["id"]);
    let never = "has never been analysed";
    until("the statistics of q and p_1 are known", async || {
        case.lacks(ReadinessCheck::Analysed).await.len() == 2
    })
    .await;
    let lacks = case
        .expect(ReadinessCheck::Analysed, &[("green table public.p", never), ("green table public.t", never)])
        .await;
    assert_eq!(lacks[1].remedy.as_deref(), Some("ANALYZE \"public\".\"t\""));
    case.on_green("ANALYZE p; ANALYZE t").await;
    until("all are analysed", async || case.lacks(ReadinessCheck::Analysed).await.is_empty()).await;
    case.on_green("INSERT INTO t SELECT generate_series(1, 1000)").await;
    until("the new rows are counted", async || !case.lacks(ReadinessCheck::Analysed).await.is_empty()).await;
    case.expect(
        ReadinessCheck::Analysed,
        &[("green table public.t", "was analysed with 0 rows and has 1000 now")],
    )
    .await;
    case.on_green("ANALYZE t").await;
    until("t is analysed", async || case.lacks(ReadinessCheck::Analysed).await.is_empty()).await;
    case.on_green("UPDATE t SET id = id + 1").await;
    case.on_green("UPDATE t SET id = id + 1").await;
    until("the updates are counted", async || {
        let sql = "SELECT n_tup_upd FROM pg_stat_all_tables WHERE relname = 't'";
        crate::databases::connect(&case.green).await.query(sql).await.unwrap()[0].text(0) == Some("2000")
    })
    .await;
    case.expect(ReadinessCheck::Analysed, &[]).await;
    case.plan.routes[2].copied_before = false;
    case.expect(ReadinessCheck::Analysed, &[("green table public.q", "first copy is not complete")]).await;
}
