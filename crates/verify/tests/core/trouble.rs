//! Servers that refuse, change or lie: nothing of that ever counts as verified.

use understudy_contract::{KeyRelation, NotRead};
use understudy_verify::{RouteState, Side};

use crate::harness::{Run, is_blocked};
use crate::world::World;

const RELATIONS: [KeyRelation; 3] = [KeyRelation::Aligned, KeyRelation::Passed, KeyRelation::Computed];

/// A table that cannot be read is a state with its reason: not an empty table, and not a verified one, whatever was known of
/// it before. It recovers by itself.
#[test]
fn a_table_that_cannot_be_read_blocks() {
    let whys = [NotRead::Busy, NotRead::Changed("a column is gone".into()), NotRead::Unreadable("x".into())];
    for why in whys {
        for keys in RELATIONS {
            let mut run = Run::new(World::filled(keys, 2, 20), 2, 10);
            run.until_verified();
            run.world.broken.insert(0, why.clone());
            run.until(70, "it is blocked", |report| is_blocked(&report.routes[0]));
            let jobs = run.jobs.len();
            run.pass_time(100);
            let report = run.first();
            assert!(is_blocked(&report), "{why:?}");
            assert_eq!(
                (report.coverage, report.ranges_verified, report.verified_at),
                (0.0, 0, None),
                "{why:?}"
            );
            assert_eq!(report.open_total(), 0, "{why:?}: a refusal is no empty table");
            let tries = run.jobs[jobs..].iter().filter(|job| job.route.0 == 0).count();
            assert!(tries < 12, "{tries} tries");
            assert_eq!(run.report().routes[1].coverage, 1.0, "others go on");
            run.world.broken.clear();
            run.until_verified();
            assert_eq!(run.first().state, RouteState::Comparing);
        }
    }
}

/// After a table was changed, what was verified before counts for nothing, also after a restart: rewriting a table
/// changes its rows without a trace in the stream.
#[test]
fn a_changed_table_is_verified_anew() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 20), 1, 10);
    run.until_verified();
    run.world.broken.insert(0, NotRead::Changed("a column is gone".into()));
    run.until(70, "it is blocked", |report| is_blocked(&report.routes[0]));
    run.flush();
    assert_eq!(run.ledger.verified(), 0);
}

/// A digest that is not what the rows add up to is told as such: neither verified nor a mismatch of any row.
#[test]
fn a_wrong_digest_is_recognised() {
    for side in [Side::Blue, Side::Green] {
        let mut world = World::filled(KeyRelation::Aligned, 1, 20);
        world.wrong = Some(side);
        let mut run = Run::new(world, 1, 10);
        run.until(10, "it is recognised", |report| report.routes[0].wrong_digests >= 3);
        let report = run.first();
        assert!(
            matches!(&report.state, RouteState::Blocked(why) if why.contains("wrong digest")),
            "{report:?}"
        );
        assert_eq!((report.coverage < 1.0, report.passes_completed, report.open_total()), (true, 0, 0));
        run.world.wrong = None;
        run.until_verified();
        assert_eq!(run.first().state, RouteState::Comparing);
    }
}

/// Digests that agree whatever the rows are would hide everything: ranges that are read row by row nevertheless show it.
#[test]
fn digests_that_always_agree_are_recognised() {
    let mut world = World::filled(KeyRelation::Aligned, 1, 2_000);
    world.blind = true;
    let mut run = Run::new(world, 1, 5);
    run.pass_time(30);
    assert!(run.first().wrong_digests > 0 && is_blocked(&run.first()), "{:?}", run.first());
}

/// Rows that change while their range is read make digests differ without any row being wrong: that is no wrong digest.
#[test]
fn a_busy_range_has_no_wrong_digest() {
    let mut world = World::filled(KeyRelation::Aligned, 1, 20);
    world.hot.push((0, 8));
    let mut run = Run::new(world, 1, 10);
    run.pass_time(200);
    assert_eq!((run.first().wrong_digests, run.first().open_total()), (0, 0));
    assert!(run.first().passes_completed > 1);
}
