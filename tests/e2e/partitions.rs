//! Partitioned and inherited tables: published by leaf, gathered by root, and their tree may change (F33).

use understudy_tests::{Migration, Pair, Same, Session, Sidecar, assert_same, until};

const PARTITIONED: &str = "CREATE TABLE readings (id int, at date, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE readings_1 PARTITION OF readings FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
    CREATE TABLE readings_2 PARTITION OF readings FOR VALUES FROM ('2025-02-01') TO ('2025-03-01') PARTITION BY LIST (id);
    CREATE TABLE readings_2a PARTITION OF readings_2 FOR VALUES IN (1, 2, 3);
    CREATE TABLE readings_2b PARTITION OF readings_2 DEFAULT;";

/// Green gathers the partitions in one plain table.
const GATHERED: &str = "CREATE TABLE readings (id int, at date, note text, PRIMARY KEY (id, at))";

/// Blue with rows in every leaf, green gathering them, and the sidecar following.
async fn following(pair: &Pair) -> (Session, Session, Sidecar) {
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(PARTITIONED).await;
    green.batch(GATHERED).await;
    blue.batch(
        "INSERT INTO readings SELECT n, date '2025-01-01' + n % 59, 'copied' FROM generate_series(1, 5000) n",
    )
    .await;
    let mut sidecar = Sidecar::start(&Migration::between(pair, "tree").table("public.readings"));
    sidecar.wait_copied().await;
    (blue, green, sidecar)
}

fn readings() -> [Same; 1] {
    [Same::table("readings")]
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_move_between_leaves_and_a_leaf_is_truncated() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green, mut sidecar) = following(&pair).await;
    blue.batch("UPDATE readings SET at = at + 31 WHERE at < '2025-01-15'").await;
    blue.batch("DELETE FROM readings WHERE id % 11 = 0").await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &readings()).await;
    blue.batch("TRUNCATE readings_1; INSERT INTO readings VALUES (1, '2025-01-03', 'after')").await;
    blue.batch("TRUNCATE readings_2").await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &readings()).await;
    assert_eq!(green.number("SELECT count(*) FROM readings").await, 1);
    sidecar.stop().await;
}

/// A default leaf without siblings has every row, and no condition of its own on blue: truncating it is followed all the
/// same, and so is what comes and goes beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_default_leaf_alone_is_truncated() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(
        "CREATE TABLE readings (id int, at date, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE readings_rest PARTITION OF readings DEFAULT;
         INSERT INTO readings SELECT n, '2025-01-01', 'copied' FROM generate_series(1, 500) n",
    )
    .await;
    green.batch(GATHERED).await;
    let mut sidecar = Sidecar::start(&Migration::between(&pair, "rest").table("public.readings"));
    sidecar.wait_copied().await;
    blue.batch("TRUNCATE readings_rest; INSERT INTO readings VALUES (1, '2025-01-01', 'after')").await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &readings()).await;
    blue.batch(
        "CREATE TABLE readings_2 PARTITION OF readings FOR VALUES FROM ('2025-02-01') TO ('2025-03-01');
         INSERT INTO readings VALUES (2, '2025-02-02', 'beside')",
    )
    .await;
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    until("the condition of the default leaf has just become another", async || {
        let known = "SELECT count(*) FROM understudy.units WHERE predicate LIKE '%2025-03-01%'";
        (green.number(known).await == 2).then_some(())
    })
    .await;
    // The former condition still counts for what the stream brings from before, and the new leaf is copied already.
    blue.batch("TRUNCATE readings_rest").await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    // The status may not tell yet that the new leaf is copied once more.
    same_readings(&mut sidecar, &mut blue, &mut green).await;
    assert_eq!(green.column("SELECT note FROM readings").await, ["beside"]);
    sidecar.stop().await;
}

/// Attaching is not in the stream: the new leaf's rows are copied, and what changes in it afterwards follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_is_attached() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green, mut sidecar) = following(&pair).await;
    blue.batch(
        "CREATE TABLE readings_3 (id int, at date, note text, PRIMARY KEY (id, at));
         INSERT INTO readings_3 SELECT n, '2025-03-05', 'attached' FROM generate_series(1, 3000) n;
         ALTER TABLE readings ATTACH PARTITION readings_3 FOR VALUES FROM ('2025-03-01') TO ('2025-04-01');
         UPDATE readings SET note = 'changed at once' WHERE at = '2025-03-05' AND id % 3 = 0;
         CREATE TABLE readings_4 PARTITION OF readings FOR VALUES FROM ('2025-04-01') TO ('2025-05-01');
         INSERT INTO readings SELECT n, '2025-04-05', 'created' FROM generate_series(1, 10) n",
    )
    .await;
    until("the attached rows are on green", async || {
        sidecar.assert_running();
        (green.number("SELECT count(*) FROM readings WHERE at > '2025-03-01'").await == 3010).then_some(())
    })
    .await;
    blue.batch("UPDATE readings SET note = 'changed' WHERE at > '2025-03-01' AND id % 2 = 0").await;
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &readings()).await;
    sidecar.stop().await;
}

/// Detaching is not in the stream either. The rows left the table, so an operator decides, or a policy deletes them:
/// green never silently keeps rows that blue's table no longer has.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_is_detached() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green, sidecar) = following(&pair).await;
    blue.batch("ALTER TABLE readings DETACH PARTITION readings_1").await;
    let exit = sidecar.exit().await;
    assert_eq!(exit.code, Some(9), "{}", exit.stderr);
    assert!(exit.stderr.contains("readings_1"), "the leaf is named:\n{}", exit.stderr);
    let kept = green.number("SELECT count(*) FROM readings WHERE at < '2025-02-01'").await;
    assert!(kept > 0, "nothing is deleted unasked");
}

/// What happens to a leaf between DETACH and ATTACH is not published, and afterwards it looks as before. Its rows go and are
/// copied anew, or the sidecar stops, while it follows and while it is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_is_detached_and_attached_again() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green, sidecar) = following(&pair).await;
    let away = |leaf: &str, bounds: &str, changed: &str| {
        format!(
            "BEGIN; ALTER TABLE readings DETACH PARTITION {leaf}; UPDATE {changed} SET note = note || '!' WHERE id % 2 = 0; \
             DELETE FROM {changed} WHERE id % 5 = 0; ALTER TABLE readings ATTACH PARTITION {leaf} FOR VALUES {bounds}; COMMIT; \
             UPDATE readings SET note = note || '?' WHERE id % 7 = 0"
        )
    };
    let january = away("readings_1", "FROM ('2025-01-01') TO ('2025-02-01')", "readings_1");
    blue.batch(&january).await;
    let exit = sidecar.exit().await;
    assert_eq!(exit.code, Some(9), "{}", exit.stderr);
    let told = ["public.readings_1 was detached from public.readings", "attached again", "TRUNCATE"];
    assert!(told.iter().all(|words| exit.stderr.contains(words)), "{told:?} are not in:\n{}", exit.stderr);

    green.batch("TRUNCATE readings").await;
    let migration = Migration::between(&pair, "tree").table("public.readings");
    let mut sidecar = Sidecar::start_with(&migration, &["--recopy", "public.readings"]);
    same_readings(&mut sidecar, &mut blue, &mut green).await;
    sidecar.wait_copied().await;
    sidecar.stop().await;
    // Also while nobody looks, and whatever shall happen to leaves that have left.
    let february = "FROM ('2025-02-01') TO ('2025-03-01')";
    blue.batch(&away("readings_2", february, "readings_2b")).await;
    let exit = Sidecar::start(&migration.with("partitions: { on_detach: delete }")).exit().await;
    assert_eq!(exit.code, Some(9), "{}", exit.stderr);
    assert!(exit.stderr.contains("from public.readings on blue and attached again"), "{}", exit.stderr);
}

async fn same_readings(sidecar: &mut Sidecar, blue: &mut Session, green: &mut Session) {
    let all = "SELECT coalesce(md5(string_agg(r::text, ',' ORDER BY id, at)), '') FROM readings r";
    let there = blue.value(all).await;
    until("green has blue's rows", async || {
        sidecar.assert_running();
        (green.value(all).await == there).then_some(())
    })
    .await;
}

/// A partitioned table of green takes rows through its root.
#[tokio::test(flavor = "multi_thread")]
async fn green_is_partitioned_otherwise() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(PARTITIONED).await;
    green
        .batch(
            "CREATE TABLE readings (id int, at date, note text, PRIMARY KEY (id, at)) PARTITION BY HASH (id);
             CREATE TABLE readings_x PARTITION OF readings FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE readings_y PARTITION OF readings FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        )
        .await;
    blue.batch(
        "INSERT INTO readings SELECT n, date '2025-01-01' + n % 59, 'x' FROM generate_series(1, 3000) n",
    )
    .await;
    let mut sidecar = Sidecar::start(&Migration::between(&pair, "hash").table("public.readings"));
    sidecar.wait_copied().await;
    blue.batch("UPDATE readings SET id = id + 10000 WHERE id % 5 = 0; DELETE FROM readings WHERE id % 7 = 0")
        .await;
    blue.batch("INSERT INTO readings SELECT n, '2025-02-02', 'y' FROM generate_series(20000, 20500) n").await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &readings()).await;
    sidecar.stop().await;
}

/// An inheritance parent is copied without its children's rows, and each child on its own.
#[tokio::test(flavor = "multi_thread")]
async fn inheritance_counts_no_row_twice() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both(
        "CREATE TABLE vehicle (id int PRIMARY KEY, name text);
         CREATE TABLE lorry (load int, PRIMARY KEY (id)) INHERITS (vehicle)",
    )
    .await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch("INSERT INTO vehicle SELECT n, 'v' FROM generate_series(1, 500) n").await;
    blue.batch("INSERT INTO lorry SELECT n, 'l', n FROM generate_series(1, 500) n").await;
    let migration = Migration::between(&pair, "inherit").table("public.vehicle").table("public.lorry");
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    blue.batch("UPDATE ONLY vehicle SET name = 'w' WHERE id % 2 = 0; DELETE FROM lorry WHERE id % 3 = 0")
        .await;
    blue.batch("UPDATE vehicle SET id = id + 1000").await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    let only = |table: &str| Same {
        blue: format!("SELECT * FROM ONLY {table}"),
        green: format!("SELECT * FROM ONLY {table}"),
    };
    assert_same(&mut blue, &mut green, &[only("vehicle"), only("lorry")]).await;
    sidecar.stop().await;
}
