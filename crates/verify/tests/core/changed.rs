//! Rows that replication changes: each is checked soon, and none is forgotten.

use understudy_contract::KeyRelation;

use crate::harness::{Run, settings};
use crate::world::World;

/// The target of the migration guide: under 1,000 changed rows per second, 99 % are checked within 5 s of being applied,
/// while full passes go on.
#[test]
fn a_thousand_rows_a_second_are_checked_in_time() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 2_000), 1, 100);
    for second in 0..20_u64 {
        let end = run.now.0 + 1_000;
        for part in 0..10 {
            (0..100).for_each(|id| run.world.write(0, (second * 97 + part * 100 + id) % 4_000, Some("new")));
            run.replicate();
            while run.now.0 < end - (9 - part) * 100 {
                run.step();
            }
        }
    }
    let report = run.report();
    assert!(report.changed.age_p99_ms.is_some_and(|age| age < 5_000), "{:?}", report.changed);
    assert!(report.routes[0].changes_checked > 15_000, "{:?}", report.routes[0]);
    assert_eq!((report.routes[0].open_total(), report.routes[0].passes_completed > 0), (0, true));
    run.until(5, "all of them are checked", |report| report.changed.waiting == 0);
    assert_eq!(run.ledger.changed_upto, run.world.checkpoint());
}

/// However much changes, passes go on: what was missed without a trace is only found by them.
#[test]
fn passes_go_on_however_much_changes() {
    let world = World::filled(KeyRelation::Aligned, 1, 2_000);
    let mut run = Run::with_settings(world, 1, settings(500), 1_000_000);
    for step in 0..400_u64 {
        (0..1_200).for_each(|id| run.world.write(0, (step * 1_200 + id) % 60_000, Some("new")));
        run.replicate();
        run.step();
    }
    let report = run.report();
    assert!(report.changed.waiting > 10_000, "there is no end to it: {:?}", report.changed);
    // About a dozen have their turn before the first change is old enough to be looked at.
    assert!(report.routes[0].ranges_verified > 20, "{:?}", report.routes[0]);
}

/// More changes than can be remembered make the route count as not verified, until a pass has gone over it again.
#[test]
fn an_overflow_is_made_good_by_the_next_pass() {
    let mut run = Run::with_settings(World::filled(KeyRelation::Aligned, 1, 100), 1, settings(10), 20);
    run.until_verified();
    (0..50).for_each(|id| run.world.write(0, id * 2, Some("new")));
    run.replicate();
    run.flush();
    let report = run.report();
    assert!(report.changed.overflowed && report.routes[0].coverage == 0.0, "{report:#?}");
    run.until_verified();
    run.until(5, "there is room again", |report| !report.changed.overflowed);
    assert_eq!(run.first().open_total(), 0);
}

/// A change that got lost among too many is found by that pass.
#[test]
fn a_change_lost_in_an_overflow_is_found() {
    let mut run = Run::with_settings(World::filled(KeyRelation::Aligned, 1, 100), 1, settings(10), 20);
    run.until_verified();
    run.world.lose.insert((0, 90));
    (0..50).for_each(|id| run.world.write(0, id * 2, Some("new")));
    run.replicate();
    run.flush();
    run.until_verified();
    assert_eq!(run.first().open_total(), 1);
}

/// A change that replication claims to have applied and that left no trace is found without waiting for a pass.
#[test]
fn a_lost_change_is_found_at_once() {
    for keys in [KeyRelation::Aligned, KeyRelation::Passed, KeyRelation::Computed] {
        let mut run = Run::new(World::filled(keys, 1, 20), 1, 10);
        run.until_verified();
        run.world.lose.insert((0, 8));
        run.world.write(0, 8, Some("lost"));
        run.replicate();
        run.until(5, "it is found", |report| report.routes[0].open_total() == 1);
        assert_eq!(run.first().passes_completed, 1, "{keys:?}");
    }
}

/// What a restart believes to be checked has been checked: the address never passes a change that waits.
#[test]
fn a_restart_never_skips_a_change() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 20), 1, 10);
    run.until_verified();
    let before = run.world.checkpoint();
    run.world.write(0, 8, Some("new"));
    run.replicate();
    run.flush();
    assert!(run.ledger.changed_upto <= before, "it waits to be checked");
    run.restart();
    assert_eq!(run.first().coverage, 0.0, "nobody checked what came after");
    run.until_verified();
}

/// Verification that fails and begins again beside a replication that goes on must not take for checked what it had taken
/// in: part of a transaction that is still open on blue lies beyond green's checkpoint.
#[test]
fn rows_that_a_failed_run_had_taken_are_verified_anew() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 20), 1, 10);
    run.until_verified();
    run.replicate();
    run.flush();
    let beyond = understudy_model::Lsn::new(run.world.checkpoint().raw() + 1_000_000);
    run.changed.note([(understudy_model::RouteId(0), run.world.name(8))], beyond, run.now);
    run.pass_time(1);
    run.begin_again();
    assert_eq!(run.first().coverage, 0.0);
    run.pass_time(5);
    assert!(run.first().coverage < 1.0, "blue has not come to where that transaction ends");
    assert_eq!(run.ledger.changed_upto, beyond);
}

/// An orderly restart with nothing left to check keeps everything that is verified.
#[test]
fn a_restart_keeps_what_is_verified() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 20), 1, 10);
    run.until_verified();
    run.replicate();
    run.flush();
    run.restart();
    assert_eq!((run.first().coverage, run.first().passes_completed), (1.0, 1));
}

/// A read that began before a change was applied does not settle it, even when that read finds the row equal.
#[test]
fn an_older_read_settles_no_newer_change() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 20), 1, 10);
    run.until_verified();
    run.world.write(0, 8, Some("first"));
    run.replicate();
    run.now.0 += 1_000;
    let job = run.core.next_job(0, run.now).unwrap();
    let answer = crate::harness::execute(&mut run.world, &job);
    run.world.lose.insert((0, 8));
    run.world.write(0, 8, Some("lost"));
    run.replicate();
    run.now.0 += 1_000;
    // The second change joins the row that is being read.
    run.core.next_job(1, run.now);
    let done = understudy_verify::Done { id: job.id, spent: Default::default(), answer };
    run.core.on_done(done, run.now);
    run.until(5, "it is found", |report| report.routes[0].open_total() == 1);
}

/// A row that was shown to differ is told from the first moment on, also while replication is asked what it makes of it.
#[test]
fn a_difference_that_is_being_explained_is_not_settled() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 20), 1, 10);
    run.until_verified();
    run.explains = false;
    run.world.tamper(0, 8, Some("wrong"));
    run.changed.note([(understudy_model::RouteId(0), run.world.name(8))], run.world.checkpoint(), run.now);
    run.pass_time(3);
    assert_eq!((run.first().open_total(), run.first().pending), (0, 1));
}

/// A row that never stands still is pending, then suspended; it never counts as equal, and no mismatch is made of it.
#[test]
fn a_hot_row_is_counted_and_never_equal() {
    let mut world = World::filled(KeyRelation::Aligned, 1, 20);
    world.hot.push((0, 8));
    let mut run = Run::new(world, 1, 10);
    run.until(20, "it is pending", |report| report.routes[0].pending == 1);
    run.until(20, "its range counts", |report| report.routes[0].ranges_verified == report.routes[0].ranges);
    assert!(run.ledger.verified() < run.first().ranges as usize, "whoever starts next does not know of it");
    run.until(100, "it is suspended", |report| report.routes[0].suspended == 1);
    assert_eq!((run.first().pending, run.first().open_total()), (0, 0));
    assert!(run.ledger.changed_upto < run.world.checkpoint());
    run.world.hot.clear();
    run.until(60, "it is settled", |report| report.routes[0].suspended == 0 && report.changed.waiting == 0);
    run.flush();
    assert_eq!((run.first().open_total(), run.ledger.verified()), (0, run.first().ranges as usize));
}

/// Rows of a table whose first copy is under way are not compared, and take no room from others.
#[test]
fn a_table_that_is_being_copied_waits() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 20), 1, 10);
    let mut copying = crate::harness::at_ease();
    copying.incomplete = Some([understudy_model::RouteId(0)].into());
    run.core.set_circumstances(&copying, run.now);
    run.world.write(0, 8, Some("new"));
    run.replicate();
    run.pass_time(3);
    assert!(run.jobs.is_empty());
    assert_eq!(run.report().changed.waiting, 0);
    assert_eq!(run.first().state, understudy_verify::RouteState::Waiting);
    run.core.set_circumstances(&crate::harness::at_ease(), run.now);
    run.until_verified();
}
