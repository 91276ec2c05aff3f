//! Anything may die at any moment, as often as it likes: green ends equal to blue (promise 1).

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use understudy::demo::cluster::{Cluster, Stop};
use understudy_tests::{Campaign, Migration, Pair, Shop, Sidecar, hold, until};

/// A copy slow enough to be interrupted many times.
const SLOW_COPY: &str = "copy: { chunk_bytes: 64KiB, chunk_blocks: 8, bytes_per_second: 2MiB }";

/// How far the first copy has come, in chunks; `None` while the sidecar does not say.
async fn chunks_done(sidecar: &Sidecar) -> Option<u64> {
    let status = sidecar.status().await?;
    let tables = status["tables"].as_array()?;
    Some(tables.iter().filter_map(|table| table["chunks_done"].as_u64()).sum())
}

/// Kills the sidecar after it has made a little progress, `times` over, and returns the one that then runs.
async fn kill_repeatedly(
    migration: &Migration,
    mut sidecar: Sidecar,
    times: u32,
    dice: &mut StdRng,
) -> Sidecar {
    for _ in 0..times {
        sidecar.wait_for("the sidecar says how far it is", |status| status["tables"].is_array()).await;
        hold(Duration::from_millis(dice.random_range(0..400)), async || {}).await;
        sidecar.kill();
        sidecar = Sidecar::start(migration);
    }
    sidecar
}

/// Megabytes, as people read them.
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

/// The sidecar is killed again and again, in copy and in follow, for each seed of the campaign.
async fn sidecar_killed(blue: u32, green: u32, campaign: Campaign) {
    for seed in campaign.seeds() {
        let Some(pair) = Pair::start(blue, green).await else {
            return;
        };
        let mut dice = StdRng::seed_from_u64(seed);
        let mut shop = Shop::open(&pair, 15_000).await;
        shop.start_load(&pair, 100.0).await;
        let migration = Migration::of_shop(&pair, "kill").with(SLOW_COPY);
        // Killed at once too: while the slot, the publication or the bookkeeping are being made.
        let mut sidecar = Sidecar::start(&migration);
        for _ in 0..3 {
            hold(Duration::from_millis(dice.random_range(0..300)), async || {}).await;
            sidecar.kill();
            sidecar = Sidecar::start(&migration);
        }
        let mut sidecar = kill_repeatedly(&migration, sidecar, 5, &mut dice).await;
        sidecar.wait_copied().await;
        let mut sidecar = kill_repeatedly(&migration, sidecar, 5, &mut dice).await;
        shop.prove(&pair, &mut sidecar).await;
        campaign.measured("rss_mib_of_the_last", mebibytes(sidecar.peak_memory_bytes()));
        sidecar.stop().await;
        campaign.passed(seed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_is_killed_in_copy_and_in_follow() {
    sidecar_killed(15, 18, Campaign::of("kill_15_18", 1, 10)).await;
}

/// Promise 1 where both servers are 15.
#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_is_killed_on_15() {
    sidecar_killed(15, 15, Campaign::of("kill_15_15", 1, 10)).await;
}

/// Promise 1 where both servers are 18.
#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_is_killed_on_18() {
    sidecar_killed(18, 18, Campaign::of("kill_18_18", 1, 10)).await;
}

/// Crashes a server and starts it again.
async fn crash(server: &mut Cluster) {
    server.stop(Stop::Immediate).await.expect("stop the server at once");
    server.start().await.expect("start the server again");
}

/// Both servers crash, alone and together, in copy and in follow; the sidecar stays up and connects again by itself.
async fn servers_crash(blue: u32, green: u32, campaign: Campaign) {
    for seed in campaign.seeds() {
        let Some(mut pair) = Pair::durable(blue, green).await else {
            return;
        };
        let mut dice = StdRng::seed_from_u64(seed);
        let mut shop = Shop::open(&pair, 15_000).await;
        shop.start_load(&pair, 100.0).await;
        let mut sidecar = Sidecar::start(&Migration::of_shop(&pair, "crash").with(SLOW_COPY));
        until("the copy has begun", async || chunks_done(&sidecar).await.filter(|done| *done > 3)).await;
        let mut kinds = [(true, false), (false, true), (true, true)];
        for round in 0..6 {
            if round == 3 {
                sidecar.wait_copied().await;
            }
            let goal = shop.committed() + dice.random_range(20..120);
            sidecar.wait_for("the load goes on", |_| shop.committed() > goal).await;
            // Each phase has every kind once, in an order of its own.
            if round % 3 == 0 {
                kinds.shuffle(&mut dice);
            }
            let (on_blue, on_green) = kinds[round % 3];
            if on_blue {
                crash(&mut pair.blue).await;
            }
            if on_green {
                crash(&mut pair.green).await;
            }
        }
        shop.prove(&pair, &mut sidecar).await;
        campaign.measured("rss_mib", mebibytes(sidecar.peak_memory_bytes()));
        sidecar.stop().await;
        campaign.passed(seed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_crash_from_15_to_18() {
    servers_crash(15, 18, Campaign::of("servers_crash_15_18", 1, 10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_crash_from_18_to_15() {
    servers_crash(18, 15, Campaign::of("servers_crash_18_15", 1, 10)).await;
}

/// Promise 1 where both servers are 15.
#[tokio::test(flavor = "multi_thread")]
async fn servers_crash_on_15() {
    servers_crash(15, 15, Campaign::of("servers_crash_15_15", 1, 10)).await;
}

/// Promise 1 where both servers are 18.
#[tokio::test(flavor = "multi_thread")]
async fn servers_crash_on_18() {
    servers_crash(18, 18, Campaign::of("servers_crash_18_18", 1, 10)).await;
}
