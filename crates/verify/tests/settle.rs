//! Settling of single rows, at random: every ruling is right, every rule is needed, and what rests is settled.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails says so"
)]

#[path = "settle/blue.rs"]
mod blue;

#[path = "settle/green.rs"]
mod green;

#[path = "settle/world.rs"]
mod world;

#[path = "settle/run.rs"]
mod run;

#[path = "settle/sights.rs"]
mod sights;

#[path = "settle/digests.rs"]
mod digests;

use run::{CASES, Met, disturbed, disturbed_without_horizon, undisturbed};
use understudy_verify::settle::{Rule, Rules};

/// Worlds that `cargo test` always runs.
const SAMPLE: u64 = 6_000;

/// Worlds within which a broken rule must show.
const PATIENCE: u64 = 6_000;

/// The seeds to be run: `UNDERSTUDY_SEEDS=from..to` asks for a campaign instead of the sample, `UNDERSTUDY_SEED` for one.
fn seeds() -> std::ops::Range<u64> {
    let number = |text: &str| text.parse::<u64>().ok();
    if let Ok(one) = std::env::var("UNDERSTUDY_SEED") {
        let one = number(&one).expect("UNDERSTUDY_SEED must be a number");
        return one..one + 1;
    }
    let asked = std::env::var("UNDERSTUDY_SEEDS").ok();
    let parsed = asked.as_deref().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(number(from)?..number(to)?)
    });
    assert_eq!(asked.is_some(), parsed.is_some(), "UNDERSTUDY_SEEDS must read from..to");
    parsed.unwrap_or(0..SAMPLE)
}

/// No row in flight is ever taken for a difference, and no difference for equality, whatever the interleaving.
#[test]
fn every_ruling_is_right() {
    let (seeds, mut met) = (seeds(), Met::default());
    for seed in seeds.clone() {
        if let Err(why) = disturbed(seed, &Rules::all(), &mut met) {
            panic!("seed {seed} (UNDERSTUDY_SEED={seed}): {why}");
        }
    }
    eprintln!("{} cases in worlds {seeds:?}: {met:?}", (seeds.end - seeds.start) * CASES);
    if seeds == (0..SAMPLE) {
        let few = SAMPLE * CASES / 200;
        assert!(met.equal > few && met.covered > few && met.open > few, "{met:?}");
        assert!(met.differs.iter().all(|kind| *kind > few) && met.set_aside > 0, "{met:?}");
    }
}

/// A difference that stays is found, and a row that stays right is seen equal, though everything around them goes on.
#[test]
fn what_is_left_alone_is_settled() {
    let (seeds, mut met) = (seeds(), Met::default());
    for seed in seeds.clone() {
        if let Err(why) = undisturbed(seed, &mut met) {
            panic!("seed {seed} (UNDERSTUDY_SEED={seed}): {why}");
        }
    }
    eprintln!("worlds {seeds:?}: {met:?}");
    if seeds == (0..SAMPLE) {
        let few = SAMPLE / 100;
        assert!(met.equal > few && met.differs.iter().all(|kind| *kind > few), "{met:?}");
    }
}

/// Each rule guards against something that happens: without it the simulation finds a false ruling.
#[test]
fn every_rule_is_needed() {
    for rule in Rule::ALL {
        let fails = |seed| Some((seed, disturbed(seed, &Rules::without(rule), &mut Met::default()).err()?));
        let (seed, why) = (0..PATIENCE).find_map(fails).unwrap_or_else(|| panic!("no world needs {rule:?}"));
        eprintln!("without {rule:?}, world {seed}: {why}");
    }
}

/// Blue's log position overstates what a read covers: with it instead of the horizon a lost change passes for equal.
#[test]
fn the_horizon_is_needed() {
    let fails = |seed| Some((seed, disturbed_without_horizon(seed).err()?));
    let (seed, why) = (0..PATIENCE).find_map(fails).expect("no world needs the horizon");
    eprintln!("without the horizon, world {seed}: {why}");
}
