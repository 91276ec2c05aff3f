//! All probes: what is asked next, at which pace, and what is known of each.

use std::time::Duration;

use understudy_contract::{AnswerDifference, NotAnswered, ProbeParams, ProbeQuery, Tried};

use super::latency::Latencies;
use super::report::{DifferingSet, ProbeReport, ProbeSide, ProbeState};
use crate::Millis;

/// Sets of parameters that are asked again before others.
const OPEN_MAX: usize = 20;
/// Of so many askings one is of other parameters than those.
const FRESH_ONE_IN: u64 = 4;

const SAMPLE_EVERY_MS: u64 = 60_000;
const SAMPLE_AGAIN_MS: u64 = 10_000;
const EXPLAIN_EVERY_MS: u64 = 600_000;
const EXPLAIN_AGAIN_MS: u64 = 60_000;
const NOT_ANSWERED_PAUSE_MS: u64 = 1_000;

/// A probe takes at most one part in so many of a connection's time, up to the longest pause.
const BUSY_ONE_IN: u64 = 100;
const PACE_MAX_MS: u64 = 60_000;

/// Askings that may fail to come to an end before nothing is known any more, and how long that is at least.
const STALE_ASKINGS: u64 = 3;
const STALE_MIN_MS: u64 = 30_000;

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbePlan {
    /// Its name.
    pub name: String,
    /// The query on blue.
    pub blue: ProbeQuery,
    /// The query on green.
    pub green: ProbeQuery,
    /// The query on blue that samples parameters; `None` when there are none.
    pub params: Option<String>,
    /// How often it is asked, in milliseconds.
    pub every_ms: u64,
}

/// What an asking came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Both sides gave the same answer.
    Agrees,
    /// They did not.
    Differs(AnswerDifference),
    /// Blue's answer kept changing.
    Unsettled,
    /// A side gave none.
    NotAnswered(ProbeSide, NotAnswered),
}

/// Something to do for a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Sample parameters.
    Sample,
    /// Ask with these.
    Ask(ProbeParams),
    /// Look at the plans of both sides.
    Explain,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Something to do for the probe of this number.
    Do(usize, Task),
    /// Nothing before this moment.
    Wait(Millis),
}

/// All probes of a migration.
#[derive(Debug)]
pub struct Probes {
    probes: Vec<Probe>,
    dice: u64,
}

#[derive(Debug)]
struct Probe {
    plan: ProbePlan,
    sets: Vec<ProbeParams>,
    /// Sets that differ or fail, until they agree.
    open: Vec<Open>,
    sampling_failed: Option<String>,
    waiting: Option<&'static str>,
    sample_at: Millis,
    ask_at: Millis,
    /// `None` before the first answers: until then green's tables may be empty.
    explain_at: Option<Millis>,
    pace_ms: u64,
    turns: u64,
    asked: u64,
    agreed: u64,
    unsettled: u64,
    settled_at: Option<Millis>,
    blue: Latencies,
    green: Latencies,
    regressions: Vec<String>,
}

#[derive(Debug)]
struct Open {
    params: ProbeParams,
    what: Trouble,
    asked_at: Millis,
}

#[derive(Debug)]
enum Trouble {
    Differs(AnswerDifference),
    Fails(ProbeSide, String),
}

impl Probes {
    /// Probes that have not been asked anything. The seed decides which parameters are asked.
    pub fn new(plans: Vec<ProbePlan>, seed: u64, now: Millis) -> Probes {
        Probes { probes: plans.into_iter().map(|plan| Probe::new(plan, now)).collect(), dice: seed }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.probes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.probes.is_empty()
    }

    /// What the probe of a number asks.
    pub fn plan(&self, probe: usize) -> &ProbePlan {
        &self.probes[probe].plan
    }

    /// What comes next: what has been due for longest.
    pub fn next(&mut self, now: Millis) -> Next {
        let dues = self.probes.iter().enumerate().filter_map(|(at, probe)| Some((probe.due()?, at)));
        let Some(((due, kind), at)) = dues.min_by_key(|((due, _), at)| (*due, *at)) else {
            return Next::Wait(Millis(now.0 + SAMPLE_EVERY_MS));
        };
        if due > now {
            return Next::Wait(due);
        }
        let task = match kind {
            Kind::Sample => Task::Sample,
            Kind::Explain => Task::Explain,
            Kind::Ask => Task::Ask(self.probes[at].choose(roll(&mut self.dice))),
        };
        Next::Do(at, task)
    }

    /// Parameters were sampled, which took blue a while.
    pub fn sampled(&mut self, probe: usize, now: Millis, took: Duration, result: Tried<Vec<ProbeParams>>) {
        let probe = &mut self.probes[probe];
        let again_ms = match result {
            Ok(sets) => {
                probe.sampling_failed = None;
                probe.waiting = match sets.is_empty() {
                    true => Some("its query for parameters finds no row on blue"),
                    false => probe.waiting.filter(|_| probe.agreed == 0),
                };
                let found_none = sets.is_empty();
                probe.sets = sets;
                if found_none { SAMPLE_AGAIN_MS } else { SAMPLE_EVERY_MS }
            }
            Err(refused) => {
                if let Some(why) = trouble(refused) {
                    probe.sampling_failed = Some(format!("its query for parameters: {why}"));
                }
                SAMPLE_AGAIN_MS
            }
        };
        probe.sample_at = Millis(now.0 + again_ms.max(rest_after(millis(took))));
    }

    /// Both plans were compared, or one could not be had.
    pub fn explained(&mut self, probe: usize, now: Millis, regressions: Tried<Vec<String>>) {
        let probe = &mut self.probes[probe];
        let again_ms = if regressions.is_ok() { EXPLAIN_EVERY_MS } else { EXPLAIN_AGAIN_MS };
        // A plan that cannot be had at the moment does not take back what is known.
        if let Ok(regressions) = regressions {
            probe.regressions = regressions;
        }
        probe.explain_at = Some(Millis(now.0 + again_ms));
    }

    /// A side answered, within an asking under way.
    pub fn answered(&mut self, probe: usize, now: Millis, side: ProbeSide, took: Duration) {
        let probe = &mut self.probes[probe];
        match side {
            ProbeSide::Blue => probe.blue.record(now, took),
            ProbeSide::Green => probe.green.record(now, took),
        }
    }

    /// An asking that began at a moment and kept the servers busy for a while came to an end.
    pub fn asked(&mut self, probe: usize, span: Span, params: &ProbeParams, asked: Asked) {
        let probe = &mut self.probes[probe];
        probe.pace_ms = probe.plan.every_ms.max(rest_after(millis(span.busy)));
        // Counted from the beginning, so that the pace is kept, yet never without a pause.
        let next = (span.began.0 + probe.pace_ms).max(span.ended.0 + 1);
        probe.ask_at = Millis(next);
        probe.take(span.ended, params, asked);
    }

    /// All that is known.
    pub fn report(&self, now: Millis) -> Vec<ProbeReport> {
        self.probes.iter().map(|probe| probe.report(now)).collect()
    }
}

/// When an asking began and ended, and for how long the servers were at work for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When the first question was asked.
    pub began: Millis,
    /// When it was over.
    pub ended: Millis,
    /// The time that both sides took for their answers.
    pub busy: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Sample,
    Ask,
    Explain,
}

impl Probe {
    fn new(plan: ProbePlan, now: Millis) -> Probe {
        let sets = if plan.params.is_none() { vec![ProbeParams::default()] } else { Vec::new() };
        Probe {
            sets,
            open: Vec::new(),
            sampling_failed: None,
            waiting: Some("it has not been asked yet"),
            sample_at: now,
            ask_at: now,
            explain_at: None,
            pace_ms: plan.every_ms,
            turns: 0,
            asked: 0,
            agreed: 0,
            unsettled: 0,
            settled_at: None,
            blue: Latencies::default(),
            green: Latencies::default(),
            regressions: Vec::new(),
            plan,
        }
    }

    /// What is due first, and when.
    fn due(&self) -> Option<(Millis, Kind)> {
        let can_ask = !self.sets.is_empty() || !self.open.is_empty();
        let sample = self.plan.params.as_ref().map(|_| (self.sample_at, Kind::Sample));
        let ask = can_ask.then_some((self.ask_at, Kind::Ask));
        let explain = self.explain_at.map(|at| (at, Kind::Explain));
        [sample, ask, explain].into_iter().flatten().min()
    }

    fn choose(&mut self, dice: u64) -> ProbeParams {
        self.turns += 1;
        let again = self.open.iter().min_by_key(|open| open.asked_at).map(|open| &open.params);
        let fresh = (!self.sets.is_empty()).then(|| &self.sets[dice as usize % self.sets.len()]);
        let chosen = match self.turns.is_multiple_of(FRESH_ONE_IN) {
            true => fresh.or(again),
            false => again.or(fresh),
        };
        chosen.cloned().unwrap_or_default()
    }

    fn take(&mut self, now: Millis, params: &ProbeParams, asked: Asked) {
        match asked {
            Asked::Agrees => {
                self.settled(now);
                self.agreed += 1;
                self.open.retain(|open| open.params != *params);
            }
            Asked::Differs(difference) => {
                self.settled(now);
                self.keep(now, params, Trouble::Differs(difference));
            }
            Asked::Unsettled => {
                self.unsettled += 1;
                self.waiting = self.waiting.map(|_| "blue's answer keeps changing");
                self.touch(now, params);
            }
            Asked::NotAnswered(side, refused) => self.not_answered(now, params, (side, refused)),
        }
    }

    fn settled(&mut self, now: Millis) {
        self.asked += 1;
        self.waiting = None;
        self.settled_at = Some(now);
        self.explain_at.get_or_insert(now);
    }

    fn not_answered(&mut self, now: Millis, params: &ProbeParams, (side, refused): (ProbeSide, NotAnswered)) {
        self.ask_at = self.ask_at.max(Millis(now.0 + NOT_ANSWERED_PAUSE_MS));
        match &refused {
            NotAnswered::NotCopied => self.waiting = Some("the first copy is not complete"),
            NotAnswered::NotYet => self.waiting = self.waiting.map(|_| "green has to catch up"),
            NotAnswered::Busy => self.waiting = self.waiting.map(|_| "a table is locked"),
            NotAnswered::TooSlow(_) | NotAnswered::Refused(_) => {}
        }
        match trouble(refused) {
            Some(why) => {
                self.asked += 1;
                self.keep(now, params, Trouble::Fails(side, why));
            }
            None => self.touch(now, params),
        }
    }

    /// Remembers a set until it agrees. A difference is never forgotten for a failure, and takes the place of one.
    fn keep(&mut self, now: Millis, params: &ProbeParams, what: Trouble) {
        let differs = matches!(what, Trouble::Differs(_));
        if let Some(known) = self.open.iter_mut().find(|open| open.params == *params) {
            known.asked_at = now;
            if differs || matches!(known.what, Trouble::Fails(..)) {
                known.what = what;
            }
            return;
        }
        let new = Open { params: params.clone(), what, asked_at: now };
        if self.open.len() < OPEN_MAX {
            self.open.push(new);
        } else if differs
            && let Some(failing) = self.open.iter_mut().find(|open| matches!(open.what, Trouble::Fails(..)))
        {
            *failing = new;
        }
    }

    /// Another set has its turn before this one is asked again.
    fn touch(&mut self, now: Millis, params: &ProbeParams) {
        if let Some(known) = self.open.iter_mut().find(|open| open.params == *params) {
            known.asked_at = now;
        }
    }

    fn state(&self) -> ProbeState {
        let fails = self.open.iter().find_map(|open| match &open.what {
            Trouble::Fails(side, why) => Some((*side, why)),
            Trouble::Differs(_) => None,
        });
        let sampling = self.sampling_failed.as_ref().map(|why| (ProbeSide::Blue, why));
        if self.open.iter().any(|open| matches!(open.what, Trouble::Differs(_))) {
            return ProbeState::Differs;
        }
        if let Some((side, why)) = fails.or(sampling) {
            return ProbeState::Failing { side, why: why.clone() };
        }
        match self.waiting {
            Some(why) => ProbeState::Waiting(why.to_owned()),
            None => ProbeState::Agrees,
        }
    }

    fn report(&self, now: Millis) -> ProbeReport {
        let differing = self.open.iter().filter_map(|open| match open.what {
            Trouble::Differs(difference) => Some(DifferingSet { params: open.params.digest(), difference }),
            Trouble::Fails(..) => None,
        });
        ProbeReport {
            name: self.plan.name.clone(),
            state: self.state(),
            asked: self.asked + self.unsettled,
            agreed: self.agreed,
            unsettled: self.unsettled,
            differing: differing.collect(),
            last_settled_age_ms: self.settled_at.map(|at| now.since(at)),
            stale_after_ms: (self.pace_ms * STALE_ASKINGS).max(STALE_MIN_MS),
            blue: self.blue.read(now),
            green: self.green.read(now),
            regressions: self.regressions.clone(),
        }
    }
}

/// What is wrong with a probe that was not answered; `None` where it is only to be asked again.
fn trouble(refused: NotAnswered) -> Option<String> {
    match refused {
        NotAnswered::Busy | NotAnswered::NotYet | NotAnswered::NotCopied => None,
        NotAnswered::TooSlow(limit_ms) => Some(format!("takes longer than {limit_ms} ms")),
        NotAnswered::Refused(why) => Some(why),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn rest_after(busy_ms: u64) -> u64 {
    busy_ms.saturating_mul(BUSY_ONE_IN).min(PACE_MAX_MS)
}

/// The next of a sequence of numbers that looks random (splitmix64).
fn roll(dice: &mut u64) -> u64 {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *dice;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
