//! What happens to tables while they are copied or followed: rewrites, changed columns, tables added later.

use understudy_tests::{Migration, Pair, Same, Session, Shop, Sidecar, assert_same, until};

const SLOW_COPY: &str = "copy: { chunk_bytes: 64KiB, chunk_blocks: 8, bytes_per_second: 1500kB }";

async fn wait_for_chunks(sidecar: &mut Sidecar, table: &str, chunks: u64) {
    sidecar
        .wait_for("the copy has come some way", |status| {
            let tables = status["tables"].as_array().map(Vec::as_slice).unwrap_or_default();
            tables.iter().any(|each| each["source"] == table && each["chunks_done"].as_u64() >= Some(chunks))
        })
        .await;
}

/// A rewrite moves every row: block ranges read before it mean nothing afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn tables_are_rewritten_during_the_copy() {
    for blue_version in [15, 18] {
        let Some(pair) = Pair::start(blue_version, 18).await else {
            return;
        };
        let mut shop = Shop::open(&pair, 20_000).await;
        shop.start_load(&pair, 60.0).await;
        let mut sidecar = Sidecar::start(&Migration::of_shop(&pair, "rewrite").with(SLOW_COPY));
        wait_for_chunks(&mut sidecar, "shop.orders", 3).await;
        let mut blue = pair.on_blue().await;
        blue.batch("VACUUM FULL shop.orders").await;
        blue.batch("CLUSTER shop.inventory USING inventory_pkey").await;
        blue.batch("VACUUM FULL shop.articles").await;
        assert!(!sidecar.all_copied().await, "the copy was to be still under way");
        sidecar.wait_copied().await;
        blue.batch("VACUUM FULL shop.customers").await;
        shop.prove(&pair, &mut sidecar).await;
        sidecar.stop().await;
    }
}

/// A table with `rows` rows on both sides, the sidecar copying it slowly or following it.
async fn one_table(pair: &Pair, rows: u32, more: &str) -> (Session, Session, Migration) {
    pair.on_both("CREATE TABLE item (id int PRIMARY KEY, count int, note text)").await;
    let (mut blue, green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(&format!("INSERT INTO item SELECT n, n, repeat('x', 300) FROM generate_series(1, {rows}) n"))
        .await;
    (blue, green, Migration::between(pair, "item").table("public.item").with(more))
}

/// The sidecar either goes on, or stops cleanly and names the table; once it is mended by a statement on green and
/// arguments of the next start, it ends equal.
async fn settle(
    mut sidecar: Sidecar,
    migration: &Migration,
    blue: &mut Session,
    green: &mut Session,
    mend: (&str, &[&str]),
) {
    let stopped = until("the change is noticed or followed", async || {
        let goal = blue.value("SELECT pg_current_wal_insert_lsn()").await;
        let reached = format!("SELECT checkpoint >= '{goal}'::pg_lsn FROM understudy.migration");
        if sidecar.has_ended() {
            return Some(true);
        }
        let caught_up = green.try_column(&reached).await.is_ok_and(|rows| rows.contains(&"t".to_owned()));
        (caught_up && sidecar.all_copied().await).then_some(false)
    })
    .await;
    if stopped {
        let exit = sidecar.exit().await;
        assert_eq!(exit.code, Some(9), "{}", exit.stderr);
        assert!(exit.stderr.contains("public.item"), "the table is named:\n{}", exit.stderr);
        green.batch(mend.0).await;
        sidecar = Sidecar::start_with(migration, mend.1);
    }
    blue.batch("UPDATE item SET count = count + 1 WHERE id % 4 = 0").await;
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(blue, green).await;
    let columns = "SELECT id, count::text, note FROM item".to_owned();
    assert_same(blue, green, &[Same { blue: columns.clone(), green: columns }]).await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_columns_type_changes_during_the_copy() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green, migration) = one_table(&pair, 20_000, SLOW_COPY).await;
    let mut sidecar = Sidecar::start(&migration);
    wait_for_chunks(&mut sidecar, "public.item", 3).await;
    blue.batch("ALTER TABLE item ALTER count TYPE bigint").await;
    blue.batch("UPDATE item SET count = 5000000000 WHERE id = 7").await;
    settle(sidecar, &migration, &mut blue, &mut green, ("ALTER TABLE item ALTER count TYPE bigint", &[]))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_columns_type_changes_while_it_is_followed() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green, migration) = one_table(&pair, 500, "").await;
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    blue.batch("BEGIN; UPDATE item SET note = 'before'; COMMIT; ALTER TABLE item ALTER count TYPE bigint")
        .await;
    blue.batch("UPDATE item SET count = 5000000000 WHERE id = 7").await;
    settle(sidecar, &migration, &mut blue, &mut green, ("ALTER TABLE item ALTER count TYPE bigint", &[]))
        .await;
}

/// Every row of blue's table gets other values by `followed` while the sidecar follows and by `stopped` while it is stopped,
/// without an event in the stream. Green gets them all the same.
async fn values_change_unseen(followed: &str, stopped: &str) {
    for blue_version in [15, 18] {
        let Some(pair) = Pair::start(blue_version, 18).await else {
            return;
        };
        let (mut blue, mut green, migration) = one_table(&pair, 500, "").await;
        let mut sidecar = Sidecar::start(&migration);
        sidecar.wait_copied().await;
        sidecar.wait_caught_up(&mut blue, &mut green).await;
        blue.batch(followed).await;
        blue.batch("UPDATE item SET count = count + 1 WHERE id % 5 = 0").await;
        until_same(&mut sidecar, &mut blue, &mut green).await;
        sidecar.stop().await;
        blue.batch("UPDATE item SET count = count + 1 WHERE id % 3 = 0").await;
        blue.batch(stopped).await;
        blue.batch("UPDATE item SET count = count + 1 WHERE id % 7 = 0").await;
        let mut sidecar = Sidecar::start(&migration);
        until_same(&mut sidecar, &mut blue, &mut green).await;
        assert_eq!(green.value("SELECT count(*) FROM understudy.mismatches").await, "0");
        sidecar.stop().await;
    }
}

async fn until_same(sidecar: &mut Sidecar, blue: &mut Session, green: &mut Session) {
    let all = "SELECT coalesce(md5(string_agg(i::text, ',' ORDER BY id)), '') FROM (SELECT id, count, note FROM item) i";
    let there = blue.value(all).await;
    until("green has blue's values", async || {
        sidecar.assert_running();
        (green.value(all).await == there).then_some(())
    })
    .await;
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(blue, green).await;
    assert_eq!(green.value(all).await, there);
}

/// Promise 1: a column may be computed anew without another type, and nothing in the stream or in the schema shows it.
#[tokio::test(flavor = "multi_thread")]
async fn values_are_computed_anew_in_their_old_type() {
    values_change_unseen(
        "ALTER TABLE item ALTER note TYPE text USING upper(note)",
        "ALTER TABLE item ALTER note TYPE text USING left(note, 7)",
    )
    .await;
}

/// Promise 1: a column that is dropped and added again holds its default in every row, and no row is written for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_is_dropped_and_added_again() {
    values_change_unseen(
        "ALTER TABLE item DROP note, ADD note text DEFAULT 'again'",
        "ALTER TABLE item DROP note, ADD note text",
    )
    .await;
}

/// Rows under keys that blue no longer has are not removed by any copy: where a key is computed anew, an operator is told, and
/// the way out works, while the sidecar follows and while it is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rewritten() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green, migration) = one_table(&pair, 500, "").await;
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    // A note about the key alone stops nothing.
    let marks = "SELECT keys::text FROM understudy.units";
    let before = green.value(marks).await;
    blue.batch("ALTER TABLE item ALTER id SET STATISTICS 50").await;
    until("the catalog has been looked at", async || {
        sidecar.assert_running();
        (green.value(marks).await != before).then_some(())
    })
    .await;
    for stopped in [false, true] {
        sidecar.wait_caught_up(&mut blue, &mut green).await;
        let rewrite = "ALTER TABLE item ALTER id TYPE int USING id + 10000";
        let exit = if stopped {
            sidecar.stop().await;
            blue.batch(rewrite).await;
            Sidecar::start(&migration).exit().await
        } else {
            blue.batch(rewrite).await;
            sidecar.exit().await
        };
        assert_eq!(exit.code, Some(9), "{}", exit.stderr);
        let told = [
            "the key of public.item was rewritten on blue",
            "TRUNCATE \"public\".\"item\"",
            "--recopy public.item",
        ];
        assert!(
            told.iter().all(|words| exit.stderr.contains(words)),
            "{told:?} are not in:\n{}",
            exit.stderr
        );
        assert_eq!(Sidecar::start(&migration).exit().await.code, Some(9), "it is not forgotten");
        green.batch("TRUNCATE public.item").await;
        sidecar = Sidecar::start_with(&migration, &["--recopy", "public.item"]);
        sidecar.wait_copied().await;
        blue.batch("UPDATE item SET count = count + 1 WHERE id % 3 = 0; DELETE FROM item WHERE id % 7 = 0")
            .await;
        until_same(&mut sidecar, &mut blue, &mut green).await;
        sidecar.stop().await;
        sidecar = Sidecar::start(&migration);
        sidecar.wait_copied().await;
    }
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    sidecar.stop().await;
}

/// What leaves every value as it is copies no table again: VACUUM FULL of a table that is copied, and a note about one of
/// its columns.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_no_value_copies_nothing_again() {
    for blue_version in [15, 18] {
        let Some(pair) = Pair::start(blue_version, 18).await else {
            return;
        };
        let (mut blue, mut green, migration) = one_table(&pair, 500, "").await;
        let mut sidecar = Sidecar::start(&migration);
        sidecar.wait_copied().await;
        // A new copy forgets the chunks of the one before it.
        let copied = "SELECT string_agg(done_at::text, ',' ORDER BY done_at) FROM understudy.chunks_done";
        let chunks = green.value(copied).await;
        let marks = "SELECT filenode || ' ' || written FROM understudy.units";
        for statement in [
            "VACUUM FULL item",
            "ALTER TABLE item ALTER note SET STATISTICS 50",
            "CLUSTER item USING item_pkey",
        ] {
            let before = green.value(marks).await;
            blue.batch(statement).await;
            until("the catalog has been looked at", async || {
                sidecar.assert_running();
                (green.value(marks).await != before).then_some(())
            })
            .await;
            assert_eq!(green.value(copied).await, chunks, "after {statement}");
            assert!(sidecar.all_copied().await, "after {statement}");
        }
        sidecar.stop().await;
        blue.batch("VACUUM FULL item").await;
        blue.batch("UPDATE item SET count = -count").await;
        let mut sidecar = Sidecar::start(&migration);
        until_same(&mut sidecar, &mut blue, &mut green).await;
        assert_eq!(green.value(copied).await, chunks, "with the sidecar stopped meanwhile");
        sidecar.stop().await;
    }
}

/// A column that green needs disappears: stop there, and say so. What was committed before is on green.
#[tokio::test(flavor = "multi_thread")]
async fn a_mapped_column_is_dropped() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green, migration) = one_table(&pair, 500, "").await;
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    blue.batch("UPDATE item SET count = -1 WHERE id = 1").await;
    blue.batch("ALTER TABLE item DROP COLUMN note; UPDATE item SET count = -2 WHERE id = 2").await;
    let exit = sidecar.exit().await;
    assert_eq!(exit.code, Some(9), "{}", exit.stderr);
    assert!(exit.stderr.contains("public.item") && exit.stderr.contains("note"), "{}", exit.stderr);
    assert_eq!(green.column("SELECT id FROM item WHERE count < 0 ORDER BY id").await, ["1"]);
}

/// A column that no mapping names appears, gets a default, and changes: with a wildcard it has to exist on green.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_is_added() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green, migration) = one_table(&pair, 500, "").await;
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    blue.batch(
        "ALTER TABLE item ADD COLUMN extra text DEFAULT 'e'; UPDATE item SET extra = 'f' WHERE id < 10",
    )
    .await;
    // Rows that are on green already lack the new column's values.
    let added = "ALTER TABLE item ADD COLUMN extra text DEFAULT 'e'";
    settle(sidecar, &migration, &mut blue, &mut green, (added, &["--recopy", "public.item"])).await;
    let all = [Same::table("item")];
    assert_same(&mut blue, &mut green, &all).await;
}

/// A table joins a running migration: its old rows are copied, and nobody else's progress is disturbed (F46).
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_added_later() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both(
        "CREATE TABLE first (id int PRIMARY KEY, n int); CREATE TABLE second (id int PRIMARY KEY, n int)",
    )
    .await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch("INSERT INTO first SELECT n, 0 FROM generate_series(1, 5000) n").await;
    blue.batch("INSERT INTO second SELECT n, 0 FROM generate_series(1, 5000) n").await;
    let mut sidecar = Sidecar::start(&Migration::between(&pair, "later").table("public.first"));
    sidecar.wait_copied().await;
    blue.batch("UPDATE second SET n = 1 WHERE id % 2 = 0").await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    sidecar.stop().await;
    blue.batch("UPDATE first SET n = 2 WHERE id % 3 = 0; UPDATE second SET n = 2 WHERE id % 3 = 0").await;
    let both = Migration::between(&pair, "later").table("public.first").table("public.second");
    let mut sidecar = Sidecar::start(&both);
    blue.batch("UPDATE first SET n = 3 WHERE id % 5 = 0; UPDATE second SET n = 3 WHERE id % 5 = 0").await;
    blue.batch("DELETE FROM second WHERE id % 7 = 0; UPDATE second SET id = -id WHERE id % 11 = 0").await;
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &[Same::table("first"), Same::table("second")]).await;
    sidecar.stop().await;
}

/// Touches rows of `doc` without sending their large values, before, inside and after the windows of their chunks, and
/// moves them on while they wait to be read again.
struct TouchAndMove {
    writer: Session,
    round: u64,
}

impl TouchAndMove {
    async fn burst(&mut self) {
        for round in self.round..self.round + 20 {
            let (touched, moved) = (round % 211, (round + 210) % 211);
            self.writer.batch(&format!("UPDATE doc SET n = {round} WHERE id % 211 = {touched}")).await;
            self.writer.batch(&format!("UPDATE doc SET id = id + 211000 WHERE id % 211 = {moved}")).await;
        }
        self.round += 20;
    }
}

/// Promise 1: a mapping that gains a column has its table copied again, and large values that updates do not send reach
/// green all the same, although green holds every row already.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_column_joins_a_mapping_under_load() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both("CREATE TABLE doc (id int PRIMARY KEY, n int, big text); ALTER TABLE doc ALTER big SET STORAGE EXTERNAL")
        .await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch("INSERT INTO doc SELECT n, 0, repeat(md5(n::text), 200) FROM generate_series(1, 3000) n")
        .await;
    let narrow = "  - from: public.doc\n    columns:\n      id: id\n      n: n\n";
    let mut sidecar = Sidecar::start(&Migration::between(&pair, "widened").entry(narrow));
    sidecar.wait_copied().await;
    sidecar.stop().await;
    let wide = format!("{narrow}      big: big\n");
    let slow = "copy: { chunk_bytes: 64KiB, chunk_blocks: 8, bytes_per_second: 6MB }";
    let mut sidecar = Sidecar::start(&Migration::between(&pair, "widened").entry(&wide).with(slow));
    let mut load = TouchAndMove { writer: pair.on_blue().await, round: 0 };
    let mut goal = blue.value("SELECT pg_current_wal_insert_lsn()").await;
    let mut after = 0;
    for burst in 0.. {
        assert!(burst < 5_000, "the copy does not end");
        let next = blue.value("SELECT pg_current_wal_insert_lsn()").await;
        load.burst().await;
        let reached = format!("SELECT checkpoint >= '{goal}'::pg_lsn FROM understudy.migration");
        until("green is one burst behind", async || (green.value(&reached).await == "t").then_some(())).await;
        goal = next;
        after += u32::from(sidecar.all_copied().await);
        if after > 5 {
            break;
        }
    }
    blue.batch("UPDATE doc SET n = -1 WHERE id % 7 = 0").await;
    // Once every change has been applied, no more rows turn up that must be read again.
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    until("every row is whole", async || {
        (green.value("SELECT count(*) FROM understudy.heals").await == "0").then_some(())
    })
    .await;
    let brief = "SELECT id, n, md5(big) FROM doc".to_owned();
    assert_same(&mut blue, &mut green, &[Same { blue: brief.clone(), green: brief }]).await;
    assert_eq!(green.value("SELECT count(*) FROM understudy.mismatches").await, "0");
    sidecar.stop().await;
}
