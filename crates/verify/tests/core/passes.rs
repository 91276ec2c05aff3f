//! Full passes: every row is covered, restarts resume them, and every planted difference is found in one.

use proptest::prelude::*;
use understudy_contract::{KeyRelation, MismatchKind, Resolution};
use understudy_verify::Task;

use crate::harness::{Run, settings};
use crate::world::World;

const RELATIONS: [KeyRelation; 3] = [KeyRelation::Aligned, KeyRelation::Passed, KeyRelation::Computed];

fn relation() -> impl Strategy<Value = KeyRelation> {
    proptest::sample::select(RELATIONS.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    /// Whatever is wrong on green, and wherever it lies, one pass finds exactly that: no range is left out, no sound row is
    /// taken for a difference.
    #[test]
    fn one_pass_finds_exactly_what_differs(
        keys in relation(),
        rows in 0_u64..60,
        range_rows in 1_u64..20,
        planted in proptest::collection::btree_map(0_u64..130, proptest::option::of("[ab]"), 0..8),
    ) {
        let mut world = World::filled(keys, 1, rows);
        let mut expected = std::collections::BTreeSet::new();
        for (id, value) in &planted {
            let on_blue = id % 2 == 0 && id / 2 < rows;
            world.tamper(0, *id, value.as_deref());
            let kind = match (on_blue, value) {
                (true, None) => MismatchKind::Missing,
                (true, Some(_)) => MismatchKind::Differs,
                (false, Some(_)) => MismatchKind::Extra,
                (false, None) => continue,
            };
            expected.insert((crate::world::key(*id), kind));
        }
        let mut run = Run::new(world, 1, range_rows);
        run.until(600, "a pass is completed", |report| report.routes[0].passes_completed == 1);
        let found = run.report().mismatches.iter().map(|one| (one.name.green.clone(), one.kind)).collect();
        prop_assert_eq!(expected, found);
        prop_assert_eq!(run.first().coverage, 1.0);
        prop_assert_eq!(run.first().passes_completed, 1);
        prop_assert_eq!(run.ledger.mismatches.len() as u64, run.first().open_total());
    }

    /// A pass that is interrupted anywhere goes on where it was: no range is verified twice, none is left out.
    #[test]
    fn a_restart_resumes_the_pass(keys in relation(), steps in 0_usize..40, rows in 1_u64..60) {
        let whole = {
            let mut run = Run::new(World::filled(keys, 1, rows), 1, 5);
            run.until_verified();
            run.first().rows_checked
        };
        let mut run = Run::new(World::filled(keys, 1, rows), 1, 5);
        (0..steps).for_each(|_| run.step());
        run.replicate();
        run.flush();
        let before = run.first();
        run.restart();
        prop_assert_eq!(run.first().ranges, before.ranges);
        run.until(600, "the pass is completed", |report| report.routes[0].passes_completed == 1);
        let after = run.first();
        prop_assert_eq!(after.coverage, 1.0);
        prop_assert!(before.rows_checked + after.rows_checked <= whole + 10, "{before:?}\n{after:?}");
    }
}

/// Status must tell 100 % from nearly 100 %: until the last range is verified, coverage is below 1 and no age is given.
#[test]
fn coverage_is_whole_only_when_every_range_is() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 100), 1, 10);
    while run.first().passes_completed == 0 {
        let report = run.first();
        assert!(report.coverage < 1.0 && report.oldest_age_ms.is_none() && report.verified_at.is_none());
        run.step();
    }
    let report = run.first();
    assert_eq!((report.coverage, report.ranges, report.ranges_verified, report.rows), (1.0, 11, 11, 100));
    assert!(report.verified_at.is_some() && report.oldest_age_ms.is_some());
}

/// Several tables get their turn: a large one does not keep a small one waiting.
#[test]
fn routes_take_turns() {
    let mut world = World::filled(KeyRelation::Aligned, 2, 5);
    (0..1_000).for_each(|id| world.write(0, 1_000 + id, Some("more")));
    world.apply();
    world.to_note.clear();
    let mut run = Run::new(world, 2, 10);
    run.until(1, "the small one is verified", |report| report.routes[1].coverage == 1.0);
    assert!(run.first().coverage < 0.5);
    run.until_verified();
}

/// Ranges keep their bounds over passes, and one that has grown is cut, so that reads of blue stay short.
#[test]
fn a_range_that_has_grown_is_cut() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 20), 1, 10);
    run.until_verified();
    assert_eq!(run.first().ranges, 3);
    (0..60).for_each(|id| run.world.write(0, 1_000 + id, Some("more")));
    run.replicate();
    run.until(200, "two more passes", |report| report.routes[0].passes_completed == 3);
    assert!(run.first().ranges >= 6, "{:?}", run.first());
    assert_eq!((run.first().rows, run.first().coverage), (80, 1.0));
}

/// Tables whose rows are deleted at one end do not gather empty ranges for ever.
#[test]
fn ranges_that_have_become_empty_are_joined() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 200), 1, 10);
    run.until_verified();
    (0..190).for_each(|id| run.world.write(0, id * 2, None));
    run.replicate();
    run.until(200, "two more passes", |report| report.routes[0].passes_completed == 3);
    assert!(run.first().ranges <= 4, "{:?}", run.first());
    assert_eq!(run.first().rows, 10);
    let ranges = run.first().ranges;
    run.restart();
    assert_eq!(run.first().ranges, ranges, "the ledger has the same chain");
}

/// A range that takes too long is read in smaller pieces instead of failing for ever.
#[test]
fn a_range_that_is_too_slow_is_cut() {
    for keys in RELATIONS {
        let mut world = World::filled(keys, 1, 60);
        world.rows_max = 7;
        let mut run = Run::new(world, 1, 50);
        run.until_verified();
        assert_eq!(run.first().passes_completed, 1, "{keys:?}");
    }
}

/// What was verified under another comparison counts for nothing, and its mismatches are gone with it.
#[test]
fn another_comparison_begins_anew() {
    let mut world = World::filled(KeyRelation::Aligned, 1, 20);
    world.tamper(0, 4, Some("wrong"));
    let mut run = Run::new(world, 1, 10);
    run.until_verified();
    let mut start = crate::harness::start(&run.world, 1, &run.ledger, settings(10));
    start.routes[0].fingerprint = "another".to_owned();
    run.core = understudy_verify::VerifyCore::new(start, run.changed.clone(), run.now).unwrap();
    run.core.set_circumstances(&crate::harness::at_ease(), run.now);
    run.flush();
    assert_eq!((run.first().coverage, run.first().open_total()), (0.0, 0));
    assert_eq!(run.ledger.resolved, [(1, Resolution::Gone)]);
    run.until_verified();
    assert_eq!(run.report().mismatches[0].id.0, 2, "a number is never used again");
}

/// Passes pause once everything is verified, and not before; the next one begins by itself.
#[test]
fn passes_follow_one_another_with_a_pause() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 20), 1, 10);
    run.until_verified();
    let jobs = run.jobs.len();
    run.pass_time(50);
    assert_eq!(run.jobs.len(), jobs);
    run.until(20, "the second pass", |report| report.routes[0].passes_completed == 2);
    let digests = run.jobs[jobs..].iter().filter(|job| matches!(job.task, Task::Digests(_))).count();
    assert_eq!(digests, 3);
}

/// The age of a range counts from its reading, however long a row of it then takes to be settled: a table that was locked
/// meanwhile was not seen since.
#[test]
fn a_range_is_as_old_as_its_reading() {
    let mut world = World::filled(KeyRelation::Aligned, 1, 20);
    world.hot.push((0, 8));
    let mut run = Run::new(world, 1, 100);
    while !run.jobs.iter().any(|job| matches!(job.task, Task::Both(_))) {
        run.step();
    }
    run.world.hot.clear();
    run.world.write(0, 8, Some("settled"));
    run.now.0 += 1_800_000;
    run.until_verified();
    let age_ms = run.first().oldest_age_ms.unwrap();
    assert!(age_ms >= 1_800_000, "{age_ms}");
}
