//! Memory does not grow with the size of a transaction, a table or a backlog (promise 7, F44).

use std::time::Duration;

use understudy_tests::{Migration, Pair, Same, Sidecar, assert_same, is_campaign, until_within};

/// What the sidecar may ever hold.
const LIMIT_BYTES: u64 = 150 * 1024 * 1024;

/// One huge transaction arrives while copy windows are open on a large table.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_transaction_beside_open_copy_windows() {
    let rows = if is_campaign() { 10_000_000 } else { 300_000 };
    let Some(pair) =
        Pair::start_with(15, 18, &[("fsync", "off"), ("max_wal_size", "8GB")], &[("fsync", "off")]).await
    else {
        return;
    };
    pair.on_both(
        "CREATE TABLE copied (id int PRIMARY KEY, filler text); CREATE TABLE streamed (id int PRIMARY KEY, filler text)",
    )
    .await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch("INSERT INTO copied SELECT n, repeat(md5(n::text), 6) FROM generate_series(1, 200000) n")
        .await;
    let slow = "copy: { bytes_per_second: 1MiB, chunk_bytes: 64KiB, chunk_blocks: 8 }";
    let migration =
        Migration::between(&pair, "huge").table("public.copied").table("public.streamed").with(slow);
    let mut sidecar = Sidecar::start(&migration);
    sidecar
        .wait_for("the copy is under way", |status| {
            let tables = status["tables"].as_array().map(Vec::as_slice).unwrap_or_default();
            tables.iter().any(|table| table["chunks_done"].as_u64() > Some(1))
        })
        .await;
    blue.batch(&format!(
        "INSERT INTO streamed SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, {rows}) n; \
         UPDATE copied SET filler = 'changed' || id WHERE id % 2 = 0"
    ))
    .await;
    assert!(!sidecar.all_copied().await, "the copy was to be still under way");
    let goal = blue.value("SELECT pg_current_wal_insert_lsn()").await;
    let reached = format!("SELECT checkpoint >= '{goal}'::pg_lsn FROM understudy.migration");
    until_within(Duration::from_secs(1800), "the transaction is on green", async || {
        sidecar.assert_running();
        let peak = sidecar.peak_memory_bytes();
        assert!(peak < LIMIT_BYTES, "{} MiB were resident", peak / 1024 / 1024);
        (green.value(&reached).await == "t").then_some(())
    })
    .await;
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &[Same::table("streamed"), Same::table("copied")]).await;
    let peak = sidecar.peak_memory_bytes();
    println!("{rows} rows in one transaction: {} MiB at most", peak / 1024 / 1024);
    assert!(peak < LIMIT_BYTES, "{} MiB were resident", peak / 1024 / 1024);
    sidecar.stop().await;
}
