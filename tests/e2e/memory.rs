//! Memory does not grow with the size of a transaction, a table or a backlog (promise 7, F44).

use std::time::Duration;

use understudy_tests::{
    Campaign, Migration, Pair, Same, Session, Sidecar, assert_same, is_campaign, until_within,
};

/// What the sidecar may ever hold.
const LIMIT_BYTES: u64 = 150 * 1024 * 1024;

/// How much more the sidecar may hold in the second half of a transaction than in the first: chunks come and go.
const GROWTH_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Chunks of the copy are read and placed for as long as the transaction takes to arrive.
const SLOW_COPY: &str = "copy: { bytes_per_second: 1MiB, chunk_bytes: 64KiB, chunk_blocks: 8 }";

/// One huge transaction arrives while copy windows are open on a large table.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_transaction_beside_open_copy_windows() {
    let campaign = Campaign::of("huge_transaction", 1, 1);
    for seed in campaign.seeds() {
        huge_transaction(&campaign).await;
        campaign.passed(seed);
    }
}

async fn huge_transaction(campaign: &Campaign) {
    let (rows, copied) = if is_campaign() { (10_000_000, 1_500_000) } else { (300_000, 200_000) };
    let large = [("fsync", "off"), ("max_wal_size", "8GB"), ("max_slot_wal_keep_size", "16GB")];
    let Some(pair) = Pair::start_with(15, 18, &large, &[("fsync", "off")]).await else {
        return;
    };
    pair.on_both(
        "CREATE TABLE copied (id int PRIMARY KEY, filler text); CREATE TABLE streamed (id int PRIMARY KEY, filler text)",
    )
    .await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(&format!(
        "INSERT INTO copied SELECT n, repeat(md5(n::text), 6) FROM generate_series(1, {copied}) n"
    ))
    .await;
    let migration =
        Migration::between(&pair, "huge").table("public.copied").table("public.streamed").with(SLOW_COPY);
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
    let goal = blue.value("SELECT pg_current_wal_insert_lsn()").await;
    let samples = samples_until(&mut sidecar, &mut green, &goal).await;
    assert!(!sidecar.all_copied().await, "the copy was to be still under way");
    assert_flat(campaign, &samples, rows + copied / 2);
    sidecar.wait_copied_within(Duration::from_secs(3600)).await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &[Same::table("streamed"), Same::table("copied")]).await;
    let peak = sidecar.peak_memory_bytes();
    campaign.measured("rows", rows as f64);
    campaign.measured("rss_mib", peak as f64 / 1024.0 / 1024.0);
    assert!(peak < LIMIT_BYTES, "{} MiB were resident", peak / 1024 / 1024);
    sidecar.stop().await;
}

/// How far the stream was, in changes, and what was resident then.
type Sample = (u64, u64);

/// Watches the sidecar until green has everything up to `goal`.
async fn samples_until(sidecar: &mut Sidecar, green: &mut Session, goal: &str) -> Vec<Sample> {
    let reached = format!("SELECT checkpoint >= '{goal}'::pg_lsn FROM understudy.migration");
    let mut samples = Vec::new();
    until_within(Duration::from_secs(1800), "the transaction is on green", async || {
        sidecar.assert_running();
        if let Some(changes) = sidecar.status().await.and_then(|status| status["changes_total"].as_u64()) {
            samples.push((changes, sidecar.memory_bytes()));
        }
        let peak = sidecar.peak_memory_bytes();
        assert!(peak < LIMIT_BYTES, "{} MiB were resident", peak / 1024 / 1024);
        (green.value(&reached).await == "t").then_some(())
    })
    .await;
    samples
}

/// Fails when more was resident while the second half of the changes arrived than while the first did.
fn assert_flat(campaign: &Campaign, samples: &[Sample], changes: u64) {
    let most = |part: std::ops::Range<u64>| {
        samples.iter().filter(|(at, _)| part.contains(at)).map(|(_, bytes)| *bytes).max()
    };
    let (Some(first), Some(second)) = (most(1..changes / 2), most(changes / 2..u64::MAX)) else {
        // A small transaction may be through before it was looked at in both halves.
        assert!(!is_campaign(), "{} samples, and not in both halves of the transaction", samples.len());
        return;
    };
    campaign.measured("samples", samples.len() as f64);
    campaign.measured("rss_mib_first_half", first as f64 / 1024.0 / 1024.0);
    campaign.measured("rss_mib_second_half", second as f64 / 1024.0 / 1024.0);
    assert!(second < first + GROWTH_MAX_BYTES, "memory grew from {first} to {second} bytes");
}
