//! Dual reads without servers: what is ruled on answers that move and on those that stay different, what is asked when,
//! and what is reported.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails says so")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use understudy_contract::{
    BlueAnswer, BlueMoment, BlueProbe, Class, Failure, GreenAnswer, GreenMoment, GreenProbe, NotAnswered,
    ProbeAnswer, ProbeParams, ProbeQuery, ScannedRelation, Tried,
};
use understudy_model::{Checkpoint, Lsn, Snapshot, Xid};
use understudy_verify::Millis;
use understudy_verify::probes::{
    Asked, Latencies, Next, ProbePlan, ProbeSide, ProbeState, Probes, Settling, Span, Step, Stepped, Task,
    Verdict, regressions, step,
};

fn texts(rows: &[&str]) -> ProbeAnswer {
    let mut answer = ProbeAnswer::new(false);
    rows.iter().for_each(|text| answer.add([Some(*text)].into_iter()));
    answer
}

/// Blue at the end of its transaction of a number: it sees all up to it.
fn blue(at: u64, answer: &str) -> BlueAnswer {
    let snapshot = Snapshot::new(Xid::new(at + 1), Xid::new(at + 1), Vec::new());
    let moment = BlueMoment { snapshot, lsn: Lsn::new(at) };
    BlueAnswer { moment, answer: texts(&[answer]), took: Duration::from_millis(1) }
}

/// Green with everything up to a transaction of blue, of which it has not seen the last one visible.
fn green(at: u64, answer: &str) -> GreenAnswer {
    let moment =
        GreenMoment { checkpoint: Checkpoint::at_commit_end(Lsn::new(at)), unseen: Some(vec![Xid::new(at)]) };
    GreenAnswer { moment, answer: texts(&[answer]), took: Duration::from_millis(2), owed: false }
}

proptest! {
    /// However blue moves, and however far green is along with it, an answer that green only gives later or earlier is never
    /// ruled different, and the asking comes to an end.
    #[test]
    fn what_moves_is_never_ruled_different(steps in prop::collection::vec((0_u64..3, 0_u64..3), 1..40)) {
        let (mut settling, mut now) = (Settling::default(), 1);
        let mut next = settling.blue(blue(now, "1"));
        let mut steps = steps.into_iter().cycle();
        for _ in 0..40 {
            let (ahead, more) = steps.next().unwrap();
            next = match next {
                Step::Blue => settling.blue(blue(now, &now.to_string())),
                Step::Green(at_least) => {
                    prop_assert_eq!(at_least, Lsn::new(now));
                    let applied = now + ahead;
                    now = applied + more;
                    settling.green(green(applied, &applied.to_string()))
                }
                Step::Done(verdict) => {
                    prop_assert!(!matches!(verdict, Verdict::Differs(_)), "ruled {:?}", verdict);
                    return Ok(());
                }
            };
        }
        prop_assert!(false, "no end");
    }

    /// A difference that stays is ruled one as soon as blue has been at rest for three rounds, however it moved before.
    #[test]
    fn what_stays_different_is_ruled_so(moved in 0_u64..=5) {
        let mut settling = Settling::default();
        let mut next = settling.blue(blue(1, "0"));
        for round in 1..=moved + 3 {
            prop_assert!(matches!(next, Step::Green(_)), "round {}: {:?}", round, next);
            let at = round + 1;
            prop_assert_eq!(settling.green(green(at, "wrong")), Step::Blue);
            next = settling.blue(blue(at, &round.min(moved).to_string()));
        }
        prop_assert!(matches!(next, Step::Done(Verdict::Differs(_))), "{:?}", next);
    }
}

/// Asks blue and green in turn, always at rest but for what `change` does to green's answers, and says how it ended.
fn settled(change: impl Fn(&mut GreenAnswer)) -> Verdict {
    let mut settling = Settling::default();
    let mut next = settling.blue(blue(1, "a"));
    for at in 2..20 {
        next = match next {
            Step::Blue => settling.blue(blue(at, "a")),
            Step::Green(_) => {
                let mut answer = green(at, "b");
                change(&mut answer);
                settling.green(answer)
            }
            Step::Done(verdict) => return verdict,
        };
    }
    panic!("no end");
}

/// What green may show before blue's next answer does, what it owes, and what it does not show yet prove nothing.
#[test]
fn no_difference_is_ruled_while_something_explains_it() {
    assert!(matches!(settled(|_| {}), Verdict::Differs(_)));
    assert_eq!(settled(|green| green.moment.unseen = None), Verdict::Unsettled);
    assert_eq!(settled(|green| green.moment.unseen = Some(vec![Xid::new(100)])), Verdict::Unsettled);
    assert_eq!(settled(|green| green.owed = true), Verdict::Unsettled);
    let behind = |green: &mut GreenAnswer| green.moment.checkpoint = Checkpoint::default();
    assert_eq!(settled(behind), Verdict::Unsettled);
}

/// Green that is ahead of blue's first answer and equal to its next one agrees.
#[test]
fn green_may_agree_with_what_blue_says_next() {
    let mut settling = Settling::default();
    assert_eq!(settling.blue(blue(1, "a")), Step::Green(Lsn::new(1)));
    assert_eq!(settling.green(green(2, "b")), Step::Blue);
    assert_eq!(settling.blue(blue(2, "b")), Step::Done(Verdict::Agrees));
}

fn plan(name: &str, params: Option<&str>, every_ms: u64) -> ProbePlan {
    let query = |sql: &str| ProbeQuery { sql: sql.to_owned(), ordered: false };
    let params = params.map(str::to_owned);
    ProbePlan { name: name.to_owned(), blue: query("blue"), green: query("green"), params, every_ms }
}

fn sets(count: u64) -> Vec<ProbeParams> {
    (0..count).map(|n| ProbeParams::new([Some(n.to_string().into())])).collect()
}

fn span(at: Millis) -> Span {
    Span { began: at, ended: at, busy: Duration::from_millis(1) }
}

fn difference() -> Asked {
    Asked::Differs(texts(&["a"]).difference(&texts(&["b"])).unwrap())
}

/// Asks until `until`, with `verdict` saying what comes of a set, and returns the sets in the order in which they were asked.
fn asked_until(
    probes: &mut Probes,
    now: &mut Millis,
    askings: u64,
    verdict: impl Fn(&ProbeParams) -> Asked,
) -> Vec<ProbeParams> {
    let mut asked = Vec::new();
    while (asked.len() as u64) < askings {
        match probes.next(*now) {
            Next::Wait(until) => *now = until,
            Next::Do(probe, Task::Sample) => probes.sampled(probe, *now, Duration::ZERO, Ok(sets(200))),
            Next::Do(probe, Task::Explain) => probes.explained(probe, *now, Ok(Vec::new())),
            Next::Do(probe, Task::Ask(params)) => {
                probes.asked(probe, span(*now), &params, verdict(&params));
                asked.push(params);
            }
        }
    }
    asked
}

/// A probe differs until the very parameters that differed agree, whatever other parameters say meanwhile; and they are asked
/// first.
#[test]
fn a_probe_differs_until_the_same_parameters_agree() {
    let mut now = Millis(0);
    let mut probes = Probes::new(vec![plan("p", Some("sample"), 1_000)], 7, now);
    let first = asked_until(&mut probes, &mut now, 1, |_| difference()).remove(0);
    assert_eq!(probes.report(now)[0].state, ProbeState::Differs);
    let bad = first.clone();
    let verdict = |params: &ProbeParams| if *params == bad { difference() } else { Asked::Agrees };
    let asked = asked_until(&mut probes, &mut now, 40, verdict);
    assert!(asked.iter().filter(|params| **params == first).count() >= 20, "asked again first");
    assert!(asked.iter().any(|params| *params != first), "others are asked too");
    let report = &probes.report(now)[0];
    assert_eq!((&report.state, report.differing.len()), (&ProbeState::Differs, 1));
    assert_eq!((report.differing[0].params, report.asked), (first.digest(), 41));
    asked_until(&mut probes, &mut now, 2, |_| Asked::Agrees);
    assert_eq!(probes.report(now)[0].state, ProbeState::Agrees);
}

/// Parameters that differ are bounded, each is asked again before long, and all have to agree.
#[test]
fn at_most_twenty_differing_sets_are_kept_and_all_are_asked_again() {
    let mut now = Millis(0);
    let mut probes = Probes::new(vec![plan("p", Some("sample"), 1_000)], 7, now);
    asked_until(&mut probes, &mut now, 200, |_| difference());
    assert_eq!(probes.report(now)[0].differing.len(), 20);
    asked_until(&mut probes, &mut now, 30, |_| Asked::Agrees);
    assert_eq!(probes.report(now)[0].state, ProbeState::Agrees);
}

/// A side that refuses some parameters is not forgotten when others agree, and never counts as agreement.
#[test]
fn failing_is_told_until_the_same_parameters_are_answered() {
    let mut now = Millis(0);
    let mut probes = Probes::new(vec![plan("p", Some("sample"), 1_000)], 3, now);
    let refused = || Asked::NotAnswered(ProbeSide::Green, NotAnswered::Refused("no table".to_owned()));
    let first = asked_until(&mut probes, &mut now, 1, |_| refused()).remove(0);
    let verdict = |params: &ProbeParams| if *params == first { refused() } else { Asked::Agrees };
    let asked = asked_until(&mut probes, &mut now, 10, verdict);
    let report = &probes.report(now)[0];
    let failing = ProbeState::Failing { side: ProbeSide::Green, why: "no table".to_owned() };
    assert_eq!((&report.state, report.holds()), (&failing, false));
    assert_eq!(report.agreed, asked.iter().filter(|params| **params != first).count() as u64);
    asked_until(&mut probes, &mut now, 2, |_| Asked::Agrees);
    assert!(probes.report(now)[0].holds());
}

/// A probe that was not asked lately, that only moves, or whose tables are not copied, is not known to agree.
#[test]
fn old_answers_do_not_hold() {
    let mut now = Millis(0);
    let mut probes = Probes::new(vec![plan("p", None, 1_000)], 3, now);
    assert!(!probes.report(now)[0].holds(), "nothing is known at first");
    asked_until(&mut probes, &mut now, 1, |_| Asked::Agrees);
    let report = probes.report(now).remove(0);
    assert!(report.holds() && report.clone().aged(30_000).holds() && !report.aged(30_001).holds());
    asked_until(&mut probes, &mut now, 40, |_| Asked::Unsettled);
    let report = &probes.report(now)[0];
    assert!(report.is_stale() && report.unsettled == 40 && report.asked == 41);
    asked_until(&mut probes, &mut now, 1, |_| Asked::Agrees);
    let uncopied = |_: &ProbeParams| Asked::NotAnswered(ProbeSide::Green, NotAnswered::NotCopied);
    asked_until(&mut probes, &mut now, 1, uncopied);
    assert!(matches!(probes.report(now)[0].state, ProbeState::Waiting(_)));
}

/// Every probe is asked at its own pace, slow queries take at most a hundredth of the time, and nothing is asked in between.
#[test]
fn probes_keep_their_pace() {
    let plans = vec![plan("often", None, 100), plan("seldom", None, 1_000), plan("slow", None, 100)];
    let mut probes = Probes::new(plans, 1, Millis(0));
    let (mut now, mut counts) = (Millis(0), [0; 3]);
    while now < Millis(10_000) {
        match probes.next(now) {
            Next::Wait(until) => now = until,
            Next::Do(probe, Task::Ask(params)) => {
                counts[probe] += 1;
                let busy = Duration::from_millis(if probe == 2 { 20 } else { 0 });
                probes.asked(probe, Span { began: now, ended: now, busy }, &params, Asked::Agrees);
            }
            Next::Do(probe, Task::Explain) => probes.explained(probe, now, Ok(Vec::new())),
            Next::Do(_, Task::Sample) => panic!("there is nothing to sample"),
        }
    }
    assert_eq!(counts, [100, 10, 5]);
}

/// Percentiles come from the last five minutes, as bounds not far above what was measured.
#[test]
fn latencies_are_those_of_the_last_minutes() {
    let mut latencies = Latencies::default();
    assert_eq!(latencies.read(Millis(0)), None);
    (0..98).for_each(|_| latencies.record(Millis(1_000), Duration::from_millis(2)));
    (0..2).for_each(|_| latencies.record(Millis(61_000), Duration::from_millis(400)));
    let read = latencies.read(Millis(62_000)).unwrap();
    assert_eq!(read.count, 100);
    assert!((2_000..2_500).contains(&read.p50_us) && (400_000..500_000).contains(&read.p99_us), "{read:?}");
    assert_eq!(latencies.read(Millis(320_000)).unwrap().count, 2);
    assert_eq!(latencies.read(Millis(400_000)), None);
    latencies.record(Millis(400_000), Duration::from_secs(1_000));
    assert_eq!(latencies.read(Millis(400_000)).unwrap().count, 1);
}

fn scans(relations: &[(&str, u64, bool)]) -> Vec<ScannedRelation> {
    let one = |&(name, rows, sequential): &(&str, u64, bool)| {
        let name = name.to_owned();
        ScannedRelation { name, rows, sequential }
    };
    relations.iter().map(one).collect()
}

/// A whole read on green counts where blue goes through an index, be it under another name; small tables, whole reads on both
/// sides and what blue reads as a whole under another name do not.
#[test]
fn a_plan_is_worse_where_green_lacks_an_index() {
    let indexed = scans(&[("public.orders", 50_000, false)]);
    let whole = scans(&[("public.orders", 50_000, true)]);
    let renamed = scans(&[("app.bills", 50_000, true)]);
    let small = scans(&[("app.bills", 999, true)]);
    let told = regressions(&indexed, &whole);
    assert!(told.len() == 1 && told[0].contains("public.orders") && told[0].contains("50000"), "{told:?}");
    assert_eq!(regressions(&indexed, &renamed).len(), 1);
    for (blue, green) in
        [(&whole, &whole), (&whole, &renamed), (&indexed, &small), (&whole, &indexed), (&indexed, &indexed)]
    {
        assert_eq!(regressions(blue, green), [] as [String; 0]);
    }
}

/// Two sides in memory: blue's answer is a number of its own transactions, and green's is what was applied.
#[derive(Default)]
struct World {
    at: u64,
    wrong: bool,
    lost: bool,
}

struct Side(Arc<Mutex<World>>);

impl Side {
    fn world(&self) -> Result<std::sync::MutexGuard<'_, World>, Failure> {
        let world = self.0.lock().unwrap();
        if world.lost { Err(Failure::new(Class::Transient, "lost")) } else { Ok(world) }
    }
}

impl BlueProbe for Side {
    async fn sample(&mut self, _: &str) -> Result<Tried<Vec<ProbeParams>>, Failure> {
        Ok(Ok(sets(3)))
    }

    async fn ask(&mut self, _: &ProbeQuery, _: &ProbeParams) -> Result<Tried<BlueAnswer>, Failure> {
        let mut world = self.world()?;
        world.at += 1;
        Ok(Ok(blue(world.at, "same")))
    }

    async fn plan(&mut self, _: &ProbeQuery) -> Result<Tried<Vec<ScannedRelation>>, Failure> {
        Ok(Ok(scans(&[("t", 5_000, false)])))
    }
}

impl GreenProbe for Side {
    async fn ask(
        &mut self,
        _: &ProbeQuery,
        _: &ProbeParams,
        at_least: Lsn,
    ) -> Result<Tried<GreenAnswer>, Failure> {
        let world = self.world()?;
        assert_eq!(at_least, Lsn::new(world.at));
        Ok(Ok(green(world.at, if world.wrong { "other" } else { "same" })))
    }

    async fn plan(&mut self, _: &ProbeQuery) -> Result<Tried<Vec<ScannedRelation>>, Failure> {
        Ok(Ok(scans(&[("t", 5_000, true)])))
    }
}

/// From the first sample to regressions, a difference and its end: one step at a time through the connectors.
#[tokio::test]
async fn steps_sample_ask_explain_and_survive_a_lost_connection() {
    let world = Arc::new(Mutex::new(World::default()));
    let (mut blue, mut green) = (Side(world.clone()), Side(world.clone()));
    let mut probes = Probes::new(vec![plan("p", Some("sample"), 1_000)], 1, Millis(0));
    let mut now = Millis(0);
    let mut reports = Vec::new();
    for turn in 0..6 {
        let mut done = None;
        while done.is_none() {
            match step(&mut probes, (&mut blue, &mut green), || now).await {
                Ok(Stepped::Wait(until)) => now = until,
                Ok(Stepped::Prepared) => {}
                Ok(Stepped::Asked { asked, .. }) => done = Some(asked),
                Err(_) => world.lock().unwrap().lost = false,
            }
        }
        reports.push((done.unwrap(), probes.report(now).remove(0).state));
        let mut world = world.lock().unwrap();
        (world.wrong, world.lost) = (turn < 2, turn == 0);
    }
    assert_eq!(reports[0], (Asked::Agrees, ProbeState::Agrees));
    assert!(matches!(&reports[1..3], [(Asked::Differs(_), ProbeState::Differs), (_, ProbeState::Differs)]));
    assert_eq!(reports.last().unwrap().1, ProbeState::Agrees);
    let report = probes.report(now).remove(0);
    assert_eq!(report.regressions.len(), 1);
    assert!(report.blue.is_some() && report.ratio_p50().unwrap() > 1.0);
}
