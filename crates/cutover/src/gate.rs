//! A gate: moments that follow each other, and whether they were good for long enough.

use std::collections::{BTreeMap, VecDeque};

use crate::check::{Check, Status};
use crate::evaluate::evaluate;
use crate::evidence::{Evidence, Millis};
use crate::names::GateName;
use crate::policy::Policy;
use crate::words::{seconds, span};

/// Samples of the lag of which the percentile is taken at least.
const LAGS_MIN: usize = 10;

/// Samples of the lag that are remembered at most: over an hour of them at one a second.
const LAGS_MAX: usize = 4_096;

/// After this many sample intervals without a sample nobody knows what happened meanwhile.
const GAP_INTERVALS: u64 = 3;

/// What a gate came to at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What all checks came to together.
    pub verdict: Status,
    /// Whether the gate is open.
    pub ready: bool,
    /// Why, on one line.
    pub reason: String,
    /// The checks that the gate asks, always in the same order.
    pub checks: Vec<Check>,
    /// Milliseconds for which everything must still hold.
    pub soak_left_ms: u64,
}

/// A gate. What it remembers begins with the process: after a restart it soaks anew.
#[derive(Debug, Clone)]
pub struct Gate {
    name: GateName,
    interval_ms: u64,
    /// Since when everything has held without a break.
    held_since: Option<Millis>,
    /// When the last sample was taken.
    sampled: Option<Millis>,
    /// How far green was behind in the samples since `held_since`, oldest first.
    lags: VecDeque<f64>,
    /// Since when each check is what it is.
    since: BTreeMap<String, (Status, Millis)>,
}

impl Gate {
    /// A gate that is sampled every `interval_ms` milliseconds.
    pub const fn new(name: GateName, interval_ms: u64) -> Gate {
        Gate {
            name,
            interval_ms,
            held_since: None,
            sampled: None,
            lags: VecDeque::new(),
            since: BTreeMap::new(),
        }
    }

    /// Which gate it is.
    pub const fn name(&self) -> GateName {
        self.name
    }

    /// Takes a sample. Opens only when everything has held without a break for as long as the policy asks.
    pub fn sample(&mut self, policy: &Policy, evidence: &Evidence, now: Millis) -> Verdict {
        let gap_max = self.interval_ms.saturating_mul(GAP_INTERVALS);
        if self.sampled.is_some_and(|last| now.since(last) > gap_max || now < last) {
            self.begin_anew();
        }
        self.sampled = Some(now);
        let mut checks = evaluate(policy, evidence, now);
        checks.retain(|check| self.name.asks(&check.name));
        let mut unbroken = true;
        for check in &mut checks {
            let keeps = if check.name == "lag" { self.over_time(policy, check) } else { false };
            unbroken &= keeps || check.status == Status::Pass;
        }
        if unbroken {
            self.held_since.get_or_insert(now);
        } else {
            self.begin_anew();
        }
        self.date(&mut checks, now);
        self.conclude(policy, checks, now)
    }

    fn begin_anew(&mut self) {
        self.held_since = None;
        self.lags.clear();
    }

    /// Judges the lag by its samples since everything holds; tells whether it leaves the soak unbroken.
    fn over_time(&mut self, policy: &Policy, check: &mut Check) -> bool {
        let Some(lag) = check.value.filter(|_| check.status != Status::Unknown) else {
            return false;
        };
        if self.lags.len() == LAGS_MAX {
            self.lags.pop_front();
        }
        self.lags.push_back(lag);
        let p99 = p99(&self.lags);
        let (most, samples) = (policy.max_lag_seconds, self.lags.len());
        if p99 > most {
            if check.status == Status::Pass {
                check.status = Status::Fail;
                check.value = Some(p99);
                let (was, most) = (seconds(p99), seconds(most));
                check.reason = format!("99 % of {samples} samples: green was {was} behind, more than {most}");
            }
            return false;
        }
        if check.status != Status::Pass {
            // One sample in a hundred may be worse. It holds the gate while it lasts.
            check.status = Status::Pending;
        } else if samples < LAGS_MIN {
            check.status = Status::Pending;
            check.reason = format!("the lag is judged by {LAGS_MIN} samples at least; there are {samples}");
        } else {
            check.value = Some(p99);
            let (was, most) = (seconds(p99), seconds(most));
            check.reason =
                format!("99 % of {samples} samples: green was at most {was} behind, {most} are allowed");
        }
        true
    }

    /// Says since when each check is what it is.
    fn date(&mut self, checks: &mut [Check], now: Millis) {
        for check in checks {
            let known = self.since.get(&check.name).filter(|(status, _)| *status == check.status);
            check.since = known.map_or(now, |(_, since)| *since);
            self.since.insert(check.name.clone(), (check.status, check.since));
        }
    }

    fn conclude(&self, policy: &Policy, checks: Vec<Check>, now: Millis) -> Verdict {
        let soak_ms = if self.name.soaks() { policy.soak_ms } else { 0 };
        let held_ms = self.held_since.map(|since| now.since(since));
        let soak_left_ms = held_ms.map_or(soak_ms, |held| soak_ms.saturating_sub(held));
        let worst = checks.iter().map(|check| check.status).max().unwrap_or(Status::Unknown);
        let verdict = match worst {
            Status::Pass if held_ms.is_none() || soak_left_ms > 0 => Status::Pending,
            status => status,
        };
        let reason = match (verdict, worst) {
            (Status::Pass, _) => match soak_ms {
                0 => "everything holds".to_owned(),
                _ => format!("everything has held for {}", span(held_ms.unwrap_or(0))),
            },
            (_, Status::Pass) => {
                let (held, soak) = (span(held_ms.unwrap_or(0)), span(soak_ms));
                format!("everything has held for {held} and must hold for {soak} without a break")
            }
            _ => held_by(&checks, worst),
        };
        Verdict { verdict, ready: verdict == Status::Pass, reason, checks, soak_left_ms }
    }
}

/// What holds the gate: the first of the worst, and how many others do.
fn held_by(checks: &[Check], worst: Status) -> String {
    let Some(first) = checks.iter().find(|check| check.status == worst) else {
        return "nothing was checked".to_owned();
    };
    let others = checks.iter().filter(|check| check.status != Status::Pass).count() - 1;
    match others {
        0 => first.reason.clone(),
        1 => format!("{} (and 1 more check)", first.reason),
        _ => format!("{} (and {others} more checks)", first.reason),
    }
}

/// The value that 99 of 100 samples do not exceed; the largest one of fewer than a hundred.
fn p99(samples: &VecDeque<f64>) -> f64 {
    let mut sorted = samples.iter().copied().collect::<Vec<_>>();
    if sorted.is_empty() {
        return f64::INFINITY;
    }
    let at = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
    let (_, value, _) = sorted.select_nth_unstable_by(at, f64::total_cmp);
    *value
}
