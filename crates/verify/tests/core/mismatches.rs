//! Mismatches: open until seen equal, repaired or waived, whatever happens to the verifier.

use understudy_contract::{Ask, KeyRelation, LedgerNews, MismatchId, MismatchKind, Resolution, Waiver};
use understudy_model::RouteId;

use crate::harness::Run;
use crate::world::World;

fn with_one_wrong_row() -> Run {
    let mut world = World::filled(KeyRelation::Aligned, 1, 20);
    world.tamper(0, 8, Some("wrong"));
    let mut run = Run::new(world, 1, 10);
    run.until_verified();
    run
}

fn waiver() -> Waiver {
    Waiver { by: "ann".to_owned(), reason: "known".to_owned() }
}

/// A difference that was found is not forgotten by a restart, and is told again before anything else is read.
#[test]
fn it_survives_restarts() {
    let mut run = with_one_wrong_row();
    let found = run.report().mismatches;
    for _ in 0..3 {
        run.restart();
        assert_eq!(run.report().mismatches, found);
        run.pass_time(70);
        assert_eq!(run.report().mismatches, found, "looked at again and again, it stays one");
    }
    assert_eq!((found[0].kind, &found[0].columns[..]), (MismatchKind::Differs, &["value".to_owned()][..]));
}

/// A row that becomes equal by itself ends its mismatch, and only then.
#[test]
fn it_ends_when_it_is_seen_equal() {
    let mut run = with_one_wrong_row();
    run.world.write(0, 8, Some("new"));
    run.replicate();
    run.until(20, "it has ended", |report| report.routes[0].open_total() == 0);
    assert_eq!(run.ledger.resolved, [(1, Resolution::Converged)]);
    assert!(run.ledger.mismatches.is_empty());
}

/// A repair reads the row again from blue; the mismatch ends when the row was seen equal, not when that was asked for.
#[test]
fn a_repair_is_asked_of_replication() {
    for keys in [KeyRelation::Aligned, KeyRelation::Passed, KeyRelation::Computed] {
        let mut world = World::filled(keys, 1, 20);
        world.tamper(0, 8, Some("wrong"));
        world.tamper(0, 10, None);
        let mut run = Run::new(world, 1, 10);
        run.until_verified();
        let answer = run.ask(Ask::Repair(vec![MismatchId(1), MismatchId(2), MismatchId(9)]));
        assert!(
            answer.contains("mismatch 1, 2 will be read again") && answer.contains("9 is not open"),
            "{answer}"
        );
        run.pass_time(20);
        assert_eq!(run.first().open_total(), 2);
        run.restart();
        assert!(run.report().mismatches.iter().all(|one| one.repair_asked));
        run.place_rereads();
        run.until(20, "both have ended", |report| report.routes[0].open_total() == 0);
        assert_eq!(run.first().resolved, [0, 2, 0, 0], "{keys:?}");
    }
}

/// Where green's key is computed, a row that blue does not have cannot be read again: whoever asks is told so.
#[test]
fn a_row_without_a_key_on_blue_is_not_repaired_in_silence() {
    let mut world = World::filled(KeyRelation::Computed, 1, 20);
    world.tamper(0, 9, Some("extra"));
    let mut run = Run::new(world, 1, 10);
    run.until_verified();
    let answer = run.ask(Ask::Repair(vec![MismatchId(1)]));
    assert!(answer.contains("cannot be repaired automatically"), "{answer}");
    run.pass_time(6);
    assert!(run.rereads.is_empty() && run.first().open_total() == 1);
}

/// A waiver is for one difference: the row is open again as soon as it differs in another way, also after a restart.
#[test]
fn a_waiver_holds_for_just_that_difference() {
    let mut run = with_one_wrong_row();
    let answer = run.ask(Ask::Waive(MismatchId(1), waiver()));
    assert!(answer.contains("waived by ann"), "{answer}");
    assert_eq!((run.first().open_total(), run.first().waived), (0, 1));
    run.restart();
    run.pass_time(100);
    assert_eq!((run.first().open_total(), run.first().waived), (0, 1));
    run.world.tamper(0, 8, Some("wrong in another way"));
    run.until(60, "it is open again", |report| report.routes[0].open_total() == 1);
    assert_eq!((run.first().waived, run.report().mismatches[0].waived.clone()), (0, None));
    assert!(run.ask(Ask::Waive(MismatchId(5), waiver())).contains("not open"));
}

/// What the stream found wrong and mended is on record, and ends once a comparison has seen the row equal.
#[test]
fn a_surprise_of_the_stream_is_settled_like_others() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 20), 1, 10);
    run.until_verified();
    let surprise = (RouteId(0), run.world.name(8), MismatchKind::Missing, run.world.checkpoint());
    run.core.on_news(LedgerNews { requests: Vec::new(), surprises: vec![surprise] }, run.now);
    run.flush();
    assert!(run.ledger.mismatches[&1].by_stream && run.first().found == [1, 0, 0]);
    run.until(10, "it has ended", |report| report.routes[0].open_total() == 0);
    assert_eq!(run.ledger.resolved, [(1, Resolution::Converged)]);
}

/// A table that lacks nearly everything does not fill memory: what cannot be taken in leaves its ranges unverified, counted.
#[test]
fn a_flood_of_differences_is_bounded_and_shown() {
    let mut world = World::new(KeyRelation::Aligned);
    (0..25_000).for_each(|id| world.write(0, id, Some("row")));
    world.apply();
    world.to_note.clear();
    (0..25_000).for_each(|id| world.tamper(0, id, None));
    let mut run = Run::new(world, 1, 5_000);
    run.until(60, "it is found", |report| report.routes[0].open_total() >= 10_000);
    run.pass_time(12);
    let report = run.first();
    assert!((10_000..20_000).contains(&report.open_total()), "{report:?}");
    assert!(report.pending > 0 && report.coverage < 1.0 && report.passes_completed == 0, "{report:?}");
}

/// More rows may differ than can be explained at once. Each is explained in the end, once: a wrong mapping does not pass for
/// lost changes.
#[test]
fn every_difference_is_explained_in_the_end() {
    let mut world = World::filled(KeyRelation::Aligned, 1, 400);
    let ids: Vec<u64> = (0..400).map(|at| at * 2).collect();
    ids.iter().for_each(|id| world.tamper(0, *id, Some("wrong")));
    let mut run = Run::new(world, 1, 1_000);
    run.until(60, "all are found", |report| report.routes[0].open_total() == 400);
    run.pass_time(60);
    let mut keys: Vec<_> = run.explained.iter().map(|explain| explain.green.clone()).collect();
    keys.sort_unstable();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "one was explained twice");
    assert_eq!(keys.len(), 400);
}
