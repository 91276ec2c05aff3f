//! The gate over time: it opens only after the soak, and every break begins it anew.

use understudy_cutover::{Dated, Evidence, Gate, GateName, Millis, Policy, Status, Verdict};

use crate::scene::{INTERVAL, SOAK, good, policy};

/// A gate and the clock by which it is sampled.
struct Watch {
    gate: Gate,
    policy: Policy,
    now: Millis,
}

impl Watch {
    fn new(gate: GateName) -> Watch {
        Watch { gate: Gate::new(gate, INTERVAL), policy: policy(), now: Millis(1_000_000) }
    }

    fn sample(&mut self, change: impl FnOnce(&mut Evidence)) -> Verdict {
        self.now.0 += INTERVAL;
        let mut evidence = good(self.now);
        change(&mut evidence);
        self.gate.sample(&self.policy, &evidence, self.now)
    }

    fn lag(&mut self, lag: f64) -> Verdict {
        let now = self.now.0 + INTERVAL;
        self.sample(|evidence| evidence.lag_seconds = Some(Dated::new(Millis(now), Some(lag))))
    }

    /// Good samples until the gate opens; how many it took.
    fn until_open(&mut self) -> u64 {
        (1..=10 * SOAK / INTERVAL).find(|_| self.sample(|_| {}).ready).expect("the gate never opens")
    }
}

/// The soak counts from the first good sample.
const SAMPLES: u64 = SOAK / INTERVAL + 1;

/// "How long everything must have held": not a moment earlier.
#[test]
fn it_opens_only_after_the_soak() {
    let mut watch = Watch::new(GateName::Cutover);
    for at in 0..SAMPLES - 1 {
        let verdict = watch.sample(|_| {});
        assert_eq!((verdict.ready, verdict.verdict), (false, Status::Pending), "sample {at}");
        assert_eq!(verdict.soak_left_ms, SOAK - at * INTERVAL);
    }
    let verdict = watch.sample(|_| {});
    assert_eq!((verdict.ready, verdict.verdict), (true, Status::Pass));
    assert_eq!((verdict.soak_left_ms, verdict.reason.as_str()), (0, "everything has held for 1m"));
}

/// While it soaks the operator reads how long it takes.
#[test]
fn a_soaking_gate_says_how_long() {
    let mut watch = Watch::new(GateName::Cutover);
    for _ in 0..31 {
        watch.sample(|_| {});
    }
    let verdict = watch.sample(|_| {});
    assert_eq!(verdict.reason, "everything has held for 31s and must hold for 1m without a break");
}

/// One sample that is bad, pending or unknown begins the soak anew, also when the gate was open.
#[test]
fn one_bad_sample_begins_the_soak_anew() {
    let mut watch = Watch::new(GateName::Cutover);
    assert_eq!(watch.until_open(), SAMPLES);
    let spoils: [fn(&mut Evidence); 3] = [
        |evidence| evidence.quarantined = None,
        |evidence| evidence.heals.as_mut().unwrap().value = 1,
        |evidence| evidence.faults.as_mut().unwrap().value.push("lose_row".to_owned()),
    ];
    for spoil in spoils {
        let verdict = watch.sample(spoil);
        assert_eq!((verdict.ready, verdict.soak_left_ms), (false, SOAK));
        assert_eq!(watch.until_open(), SAMPLES);
    }
}

/// Nobody knows what happened while no samples were taken: a suspended machine must not wake up with an open gate.
#[test]
fn a_gap_between_samples_begins_the_soak_anew() {
    for (gap, is_open) in [(2 * INTERVAL, true), (3 * INTERVAL, false), (SOAK, false)] {
        let mut watch = Watch::new(GateName::Cutover);
        watch.until_open();
        watch.now.0 += gap;
        assert_eq!(watch.sample(|_| {}).ready, is_open, "after {gap} ms more than usual");
        if !is_open {
            assert_eq!(watch.until_open(), SAMPLES - 1);
        }
    }
}

/// A clock that goes back proves nothing.
#[test]
fn a_clock_that_goes_back_begins_the_soak_anew() {
    let mut watch = Watch::new(GateName::Cutover);
    watch.until_open();
    watch.now.0 -= 10 * INTERVAL;
    assert!(!watch.sample(|_| {}).ready);
}

/// A restart of the process makes a new gate: what the old one had seen does not count.
#[test]
fn a_new_gate_soaks_anew() {
    let mut watch = Watch::new(GateName::Cutover);
    watch.until_open();
    watch.gate = Gate::new(GateName::Cutover, INTERVAL);
    assert_eq!(watch.until_open(), SAMPLES);
}

/// Without a soak the lag is still judged by more than a lucky moment.
#[test]
fn a_lag_needs_ten_samples() {
    let mut watch = Watch::new(GateName::Cutover);
    watch.policy.soak_ms = 0;
    let verdict = watch.sample(|_| {});
    let lag = verdict.checks.iter().find(|check| check.name == "lag").unwrap();
    assert_eq!(lag.reason, "the lag is judged by 10 samples at least; there are 1");
    assert_eq!(lag.status, Status::Pending);
    assert_eq!(watch.until_open(), 9);
}

/// 99 of 100 samples must be good: a single peak after a hundred good ones holds the gate while it lasts and no longer.
#[test]
fn a_rare_peak_of_the_lag_does_not_begin_the_soak_anew() {
    let mut watch = Watch::new(GateName::Cutover);
    for _ in 0..150 {
        watch.sample(|_| {});
    }
    let peak = watch.lag(1.5);
    assert_eq!((peak.ready, peak.verdict, peak.soak_left_ms), (false, Status::Pending, 0));
    assert_eq!(peak.reason, "green is 1.5s behind, more than 1s");
    assert!(watch.sample(|_| {}).ready);
    assert_eq!(watch.lag(1.5).verdict, Status::Fail, "two of 153 are more than one in a hundred");
    assert_eq!(watch.until_open(), SAMPLES);
}

/// Early in the soak one peak is more than one in a hundred.
#[test]
fn an_early_peak_of_the_lag_begins_the_soak_anew() {
    let mut watch = Watch::new(GateName::Cutover);
    for _ in 0..30 {
        watch.sample(|_| {});
    }
    assert_eq!(watch.lag(1.01).verdict, Status::Fail);
    assert_eq!(watch.until_open(), SAMPLES);
}

/// The figure shown is the percentile that was judged.
#[test]
fn the_lag_shown_is_the_one_judged() {
    let mut watch = Watch::new(GateName::Cutover);
    for at in 0..50 {
        watch.lag(f64::from(at) / 100.0);
    }
    let verdict = watch.sample(|_| {});
    let lag = verdict.checks.iter().find(|check| check.name == "lag").unwrap();
    assert_eq!((lag.value, lag.op, lag.threshold, lag.unit), (Some(0.49), Some("<="), Some(1.0), "seconds"));
    assert_eq!(lag.reason, "99 % of 51 samples: green was at most 490ms behind, 1s are allowed");
}

/// Gates that tell of a state reached need no soak, and are as strict otherwise.
#[test]
fn the_other_gates_do_not_soak() {
    for gate in [GateName::Backfilled, GateName::Verified] {
        let mut watch = Watch::new(gate);
        assert!(watch.sample(|_| {}).ready);
        assert!(watch.sample(|evidence| evidence.lag_seconds = None).ready, "lag is asked by cutover alone");
        assert!(!watch.sample(|evidence| evidence.tables = None).ready);
    }
}

/// An operator asks since when something is wrong: the date must not move while it stays so.
#[test]
fn a_check_says_since_when() {
    let mut watch = Watch::new(GateName::Cutover);
    let began = watch.now.0 + INTERVAL;
    for _ in 0..5 {
        let verdict = watch.sample(|_| {});
        assert_eq!(verdict.checks[0].since, Millis(began));
    }
    let verdict = watch.sample(|evidence| evidence.faults = None);
    assert_eq!(verdict.checks[0].since, watch.now);
    let broke = watch.now;
    assert_eq!(watch.sample(|evidence| evidence.faults = None).checks[0].since, broke);
}
