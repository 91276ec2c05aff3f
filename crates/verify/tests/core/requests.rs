//! What people ask for, and what they are told.

use understudy_contract::{Ask, KeyRelation};
use understudy_model::TableName;
use understudy_verify::{Load, Task};

use crate::harness::{Run, at_ease};
use crate::world::World;

fn limits(changes: &[(&str, &str)]) -> Ask {
    Ask::Limits(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

/// Whoever does not trust what was verified can have all of it verified anew, at once and for one table alone.
#[test]
fn a_pass_begins_at_once() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 2, 20), 2, 10);
    run.until_verified();
    let answer = run.ask(Ask::Pass(vec![TableName::new("public", "t1")]));
    assert_eq!(answer, "began pass 2 of public.t1");
    let report = run.report();
    assert_eq!((report.routes[0].coverage, report.routes[1].coverage), (1.0, 0.0));
    run.restart();
    assert_eq!(run.report().routes[1].coverage, 0.0, "a restart does not make it good");
    run.until_verified();
    assert_eq!(run.report().routes[1].passes_completed, 2);
    let answer = run.ask(Ask::Pass(vec![TableName::new("public", "other")]));
    assert_eq!(answer, "public.other is not compared; those that are: public.t0, public.t1");
}

/// A range that was being read when a new pass was asked for is read again: its result is of before.
#[test]
fn a_pass_does_not_count_what_began_before() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 5), 1, 10);
    run.until_verified();
    run.ask(Ask::Pass(Vec::new()));
    let job = run.core.next_job(0, run.now).unwrap();
    assert!(matches!(job.task, Task::Digests(_)));
    let answer = crate::harness::execute(&mut run.world, &job);
    run.ask(Ask::Pass(Vec::new()));
    run.core.on_done(understudy_verify::Done { id: job.id, spent: Default::default(), answer }, run.now);
    assert_eq!(run.first().coverage, 0.0);
    run.until_verified();
}

/// Limits change while it runs; a bad one changes nothing and is answered with what is allowed.
#[test]
fn limits_change_live() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 1_000), 1, 10);
    let answer = run.ask(limits(&[("busy", "0.5"), ("rows_per_second", "fast")]));
    assert!(answer.starts_with("nothing was changed: `rows_per_second` cannot be `fast`"), "{answer}");
    let answer = run.ask(limits(&[("rows_per_second", "50")]));
    assert_eq!(answer, "until the next start, rows_per_second is 50");
    run.pass_time(10);
    assert!((300..=600).contains(&run.first().rows_checked), "{:?}", run.first());
    run.ask(limits(&[("rows_per_second", "none")]));
    run.pass_time(5);
    assert_eq!(run.first().coverage, 1.0);
}

/// Replication comes before full passes, and changed rows are checked nevertheless.
#[test]
fn passes_yield_and_changed_rows_do_not() {
    let mut run = Run::new(World::filled(KeyRelation::Aligned, 1, 100), 1, 10);
    let mut behind = at_ease();
    behind.load = Load { lag_ms: Some(7_200), ..behind.load };
    run.core.set_circumstances(&behind, run.now);
    run.world.write(0, 8, Some("new"));
    run.replicate();
    run.pass_time(3);
    let report = run.report();
    assert_eq!(report.held_back.as_deref(), Some("green is 7.2 s behind, above yield_at_lag 5s"));
    assert_eq!((report.routes[0].rows_checked, report.routes[0].changes_checked), (0, 1));
    run.core.set_circumstances(&at_ease(), run.now);
    run.until_verified();
    assert_eq!(run.report().held_back, None);
}

/// Whoever mends rows and asks for a pass is told by its end whether they are mended: what was found before is read again first.
#[test]
fn a_pass_ends_with_what_is_open_then() {
    let mut world = World::filled(KeyRelation::Aligned, 1, 20);
    world.tamper(0, 8, Some("wrong"));
    world.tamper(0, 10, Some("wrong"));
    let mut run = Run::new(world, 1, 10);
    run.until(20, "both are found", |report| report.routes[0].open_total() == 2);
    run.until_verified();
    run.world.reread(0, 8);
    let before = run.first().passes_completed;
    run.ask(Ask::Pass(Vec::new()));
    run.until(20, "the pass is complete", |report| report.routes[0].passes_completed > before);
    assert_eq!(run.first().open_total(), 1);
}
