//! Servers that refuse, change or lie: nothing of that ever counts as verified.

use understudy_contract::{KeyRelation, NotRead};
use understudy_verify::{RouteState, Side, Task};

use crate::harness::{Run, at_ease, is_blocked, settings};
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

/// A queue whose rows come and go between two reads makes a digest of more rows than either showed: that is no wrong digest,
/// which would hold the gate until somebody starts the sidecar again.
#[test]
fn a_queue_that_is_emptied_at_once_has_no_wrong_digest() {
    for side in [Side::Blue, Side::Green] {
        let mut world = World::filled(KeyRelation::Aligned, 1, 20);
        world.passing = Some(side);
        let mut run = Run::new(world, 1, 10);
        run.pass_time(200);
        assert_eq!((run.first().wrong_digests, run.first().open_total()), (0, 0), "{side:?}");
        run.world.passing = None;
        run.until_verified();
    }
}

/// An index that is damaged lets green have a row twice. Both are as on blue, and yet green is not.
#[test]
fn a_row_that_green_has_twice_is_not_equal() {
    for keys in RELATIONS {
        let mut world = World::filled(keys, 1, 20);
        world.twice.insert((0, 8));
        let mut run = Run::new(world, 1, 10);
        run.until(20, "it is not settled", |report| report.routes[0].pending == 1);
        assert_eq!(run.first().open_total(), 0);
    }
}

/// Searching all of blue for rows takes its time there, and rests as full passes do: one open mismatch must not keep a
/// processor of blue busy.
#[test]
fn searches_of_all_of_blue_rest() {
    let mut settings = settings(10);
    settings.limits.busy = 0.05;
    let mut world = World::filled(KeyRelation::Computed, 1, 20);
    world.tamper(0, 7, Some("extra"));
    let mut run = Run::with_settings(world, 1, settings, 1_000);
    run.until(60, "it is found", |report| report.routes[0].open_total() == 1);
    let (jobs, from) = (run.jobs.len(), run.now);
    run.search_ms = 2_000;
    run.pass_time(600);
    let searches =
        run.jobs[jobs..].iter().filter(|job| matches!(job.task, Task::Names { thorough: true, .. }));
    let (searches, passed_ms) = (searches.count() as u64, run.now.since(from));
    assert!(searches > 2 && searches * 2_000 < passed_ms / 10, "{searches} searches in {passed_ms} ms");
}

/// A search that takes too long is no reason to look fewer rows up by their keys, for ever.
#[test]
fn a_search_that_is_too_slow_blocks_at_once() {
    let mut world = World::filled(KeyRelation::Computed, 1, 20);
    world.tamper(0, 7, Some("extra"));
    let mut run = Run::new(world, 1, 10);
    run.until(60, "it is found", |report| report.routes[0].open_total() == 1);
    run.world.search_is_slow = true;
    run.pass_time(6);
    assert!(is_blocked(&run.first()), "{:?}", run.first());
}

/// A partition that is attached or detached on blue brings its rows there, or takes them away, at once. Until replication
/// has noticed, and has copied them, green cannot have what blue has: no row of it is a mismatch. A row that really differs
/// is found nevertheless.
#[test]
fn an_attached_partition_is_no_mismatch() {
    for value in [Some("attached"), None] {
        let mut world = World::filled(KeyRelation::Aligned, 1, 20);
        world.partitioned = true;
        let mut run = Run::new(world, 1, 10);
        run.until_verified();
        let id = if value.is_some() { 9 } else { 8 };
        run.world.attach(0, id, value);
        run.ask(understudy_contract::Ask::Pass(Vec::new()));
        run.pass_time(3);
        let mut copying = at_ease();
        copying.incomplete = Some([understudy_model::RouteId(0)].into());
        run.core.set_circumstances(&copying, run.now);
        run.pass_time(10);
        run.world.reread(0, id);
        run.core.set_circumstances(&at_ease(), run.now);
        run.until_verified();
        run.pass_time(20);
        assert_eq!(run.first().found, [0; 3]);
        run.world.tamper(0, 6, Some("wrong"));
        run.until(120, "it is found", |report| report.routes[0].open_total() == 1);
    }
}

/// Promise 7: a mapping that is wrong for every row must not fill the memory with mismatches; what is not recorded does not
/// count as verified.
#[test]
fn mismatches_are_recorded_up_to_a_bound() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 24_000), 1, 10_000);
    run.until_verified();
    for id in 0..24_000 {
        run.world.lose.insert((0, id * 2));
        run.world.write(0, id * 2, Some("lost"));
    }
    run.replicate();
    run.until(600, "all are checked", |report| report.changed.waiting == 0);
    assert_eq!(run.first().open_total(), 20_000);
    run.pass_time(60);
    assert_eq!((run.first().open_total(), run.first().coverage < 1.0), (20_000, true));
    assert!(run.first().pending > 0, "{:?}", run.first());
}
