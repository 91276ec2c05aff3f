//! The great migration: everything that a route can do, at once, under load, killed again and again.
//!
//! Its last word is the operator's own: queries over blue, written by hand, that say what green's rows are to be.

use std::cell::Cell;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use understudy::demo::cluster::Stop;
use understudy_tests::{Campaign, Migration, Pair, Same, Shop, Sidecar, assert_same, hold, understudy};

use super::churn::churn;
use super::opinion::opinions;
use super::{Masking, healed};

/// What blue has beside the shop.
pub(crate) const BLUE: &str = include_str!("great/blue.sql");
/// Green's tables.
pub(crate) const GREEN: &str = include_str!("great/green.sql");
/// The entries of `tables`.
pub(crate) const TABLES: &str = include_str!("great/tables.yaml");

/// A copy slow enough to be interrupted many times.
const SLOW_COPY: &str = "copy: { chunk_bytes: 64KiB, chunk_blocks: 8, bytes_per_second: 2MiB }";

/// How often the sidecar is killed while it copies, and how often while it follows.
const KILLS: [u32; 2] = [4, 3];

/// Kills the sidecar at any moment, after it has answered or before.
async fn kill(migration: &Migration, mut sidecar: Sidecar, dice: &mut StdRng) -> Sidecar {
    if dice.random_bool(0.7) {
        sidecar.wait_for("the sidecar says how far it is", |status| status["tables"].is_array()).await;
    }
    hold(Duration::from_millis(dice.random_range(0..400)), async || {}).await;
    sidecar.kill();
    Sidecar::start(migration)
}

/// Kills the sidecar in copy and in follow, with a restart of green between the two.
async fn hardships(pair: &mut Pair, migration: &Migration, dice: &mut StdRng) -> Sidecar {
    let mut sidecar = Sidecar::start(migration);
    for _ in 0..KILLS[0] {
        sidecar = kill(migration, sidecar, dice).await;
    }
    sidecar.wait_for("the copy has begun", |status| status["tables"].is_array()).await;
    pair.green.stop(Stop::Fast).await.expect("stop green");
    pair.green.start().await.expect("start green again");
    sidecar.wait_copied().await;
    for _ in 0..KILLS[1] {
        sidecar = kill(migration, sidecar, dice).await;
    }
    sidecar
}

async fn great_migration(blue: u32, green: u32, campaign: Campaign) {
    for seed in campaign.seeds() {
        let Some(mut pair) = Pair::start(blue, green).await else {
            return;
        };
        let mut dice = StdRng::seed_from_u64(seed);
        let mut shop = Shop::on_blue(&pair, 8_000).await;
        pair.on_blue().await.batch(BLUE).await;
        pair.on_green().await.batch(GREEN).await;
        shop.start_load(&pair, 60.0).await;
        let masking = Masking::of(&pair);
        let migration =
            Migration::between(&pair, "great").entry(TABLES).with(&masking.section()).with(SLOW_COPY);
        let over = Cell::new(false);
        let changes = churn(pair.on_blue().await, StdRng::seed_from_u64(seed + 1_000), &over);
        let killed = async {
            let sidecar = hardships(&mut pair, &migration, &mut dice).await;
            over.set(true);
            sidecar
        };
        let (changes, mut sidecar) = tokio::join!(changes, killed);
        assert!(changes > 50, "the tables beside the shop hardly changed: {changes} times");
        assert!(shop.end_load().await > 0, "the load did nothing");
        let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
        sidecar.wait_copied().await;
        sidecar.wait_caught_up(&mut blue, &mut green).await;
        healed(&mut sidecar, &mut green, "great").await;
        sidecar.wait_caught_up(&mut blue, &mut green).await;
        assert_same(&mut blue, &mut green, &opinions(&masking)).await;
        assert_eq!(green.column("SELECT kind FROM understudy.mismatches").await, Vec::<String>::new());
        assert_eq!(green.column("SELECT reason FROM understudy.quarantine").await, Vec::<String>::new());
        pushed_down(&pair, &sidecar, &masking).await;
        sidecar.stop().await;
        campaign.passed(seed);
    }
}

/// What `plan` says Postgres would make of blue's rows is what green holds.
async fn pushed_down(pair: &Pair, sidecar: &Sidecar, masking: &Masking) {
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    masking.tell(&mut blue).await;
    // A query gives text in the session that reads it; blue's are pinned.
    for session in [&mut blue, &mut green] {
        session.batch("SET search_path = ''; SET TimeZone = 'UTC'; SET extra_float_digits = 3").await;
    }
    let file = sidecar.file.to_string_lossy().into_owned();
    let exit = understudy(pair.scratch.path(), &["plan", &file, "--output", "json", "--no-samples"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let plan: serde_json::Value = serde_json::from_str(&exit.stdout).expect("JSON on stdout");
    let routes = plan["tables"].as_array().expect("tables");
    let word = |route: &serde_json::Value, key: &str| route[key].as_str().unwrap_or_default().to_owned();
    let mut targets: Vec<String> = routes.iter().map(|route| word(route, "green")).collect();
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), 14, "{targets:?}");
    let mut all = Vec::with_capacity(targets.len());
    for target in targets {
        let mine = routes.iter().filter(|route| word(route, "green") == target).collect::<Vec<_>>();
        let queries = mine.iter().map(|route| word(route, "query")).collect::<Vec<_>>();
        assert!(queries.iter().all(|query| query.starts_with("SELECT")), "{target}: {queries:?}");
        // Routes into one table name its columns in the same order here.
        let columns = mine[0]["columns"].as_array().expect("columns").iter();
        let columns = columns.map(|column| format!("\"{}\"", word(column, "green"))).collect::<Vec<_>>();
        all.push(Same {
            blue: queries.join(" UNION ALL "),
            green: format!("SELECT {} FROM {target}", columns.join(", ")),
        });
    }
    assert_same(&mut blue, &mut green, &all).await;
}

/// Promise 1 for everything that a route can do: rename, type change, split, merge, filter, concatenation, documents,
/// masking and a new key.
#[tokio::test(flavor = "multi_thread")]
async fn the_great_migration_from_15_to_18() {
    great_migration(15, 18, Campaign::of("transforms_15_18", 1, 10)).await;
}

/// The same with an older green.
#[tokio::test(flavor = "multi_thread")]
async fn the_great_migration_from_18_to_15() {
    great_migration(18, 15, Campaign::of("transforms_18_15", 1, 10)).await;
}
