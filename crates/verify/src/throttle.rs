//! What holds full passes back: rows per second, rest between reads of blue, and how busy both sides are.

use crate::circumstances::{Load, Millis};
use crate::settings::{VerifyLimits, spelled};

/// Rows that may be saved up while nothing is read, in seconds of the rate.
const SAVED_SECONDS: f64 = 1.0;

/// No range is made smaller than this by the clock.
const ROWS_MIN: u64 = 100;

/// The throttle of full passes.
#[derive(Debug)]
pub(crate) struct Throttle {
    limits: VerifyLimits,
    range_rows: u64,
    /// Rows that a range may have now.
    target: u64,
    /// Rows that may be read at once; below zero after a range that was larger than what was left.
    tokens: f64,
    filled: Millis,
    /// For each worker, until when it reads no range.
    rests: Vec<Millis>,
}

impl Throttle {
    pub(crate) fn new(limits: VerifyLimits, range_rows: u64, now: Millis) -> Throttle {
        let range_rows = range_rows.max(1);
        Throttle { limits, range_rows, target: range_rows, tokens: 0.0, filled: now, rests: Vec::new() }
    }

    pub(crate) fn limits(&self) -> &VerifyLimits {
        &self.limits
    }

    pub(crate) fn set_limits(&mut self, limits: VerifyLimits) {
        self.limits = limits;
        self.tokens = self.tokens.min(self.most_tokens());
    }

    /// Rows that a range may have.
    pub(crate) fn sizes(&self) -> Sizes {
        Sizes { target: self.target, full: self.range_rows }
    }

    /// Why no range may be read by anybody; `None` when one may.
    pub(crate) fn held_back(&self, load: &Load) -> Option<String> {
        if let Some(most) = self.limits.max_active_sessions {
            match load.active_sessions {
                None => {
                    return Some(
                        "how many sessions are active on blue is not known, and max_active_sessions is set"
                            .to_owned(),
                    );
                }
                Some(active) if active > most => {
                    return Some(format!(
                        "{active} sessions are active on blue, above max_active_sessions {most}"
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(most) = self.limits.max_replica_lag {
            let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
            match load.replica_lag_ms {
                None => {
                    return Some(
                        "how far blue's standbys are behind is not known, and max_replica_lag is set"
                            .to_owned(),
                    );
                }
                Some(lag) if lag > most_ms => {
                    let (lag, most) = (seconds(lag), spelled(most));
                    return Some(format!("a standby of blue is {lag} behind, above max_replica_lag {most}"));
                }
                Some(_) => {}
            }
        }
        let most = self.limits.yield_at_lag;
        match load.lag_ms {
            None => Some("how far green is behind is not known, and yield_at_lag is set".to_owned()),
            Some(lag) if u128::from(lag) > most.as_millis() => {
                Some(format!("green is {} behind, above yield_at_lag {}", seconds(lag), spelled(most)))
            }
            Some(_) => None,
        }
    }

    /// Whether a worker may read a range now.
    pub(crate) fn may_read(&mut self, worker: usize, now: Millis) -> bool {
        self.fill(now);
        let rested = self.rests.get(worker).is_none_or(|until| *until <= now);
        rested && (self.limits.rows_per_second.is_none() || self.tokens > 0.0)
    }

    /// A worker has read part of a range: rows, and how long that kept blue and then green busy.
    pub(crate) fn has_read(&mut self, worker: usize, rows: u64, spent: Spent, now: Millis) {
        self.fill(now);
        if self.limits.rows_per_second.is_some() {
            self.tokens -= rows as f64;
        }
        if self.rests.len() <= worker {
            self.rests.resize(worker + 1, Millis::default());
        }
        // Blue rests while green is read.
        let rest_ms = self.rest_ms(spent.blue_ms);
        self.rests[worker] = Millis(now.0 + rest_ms.saturating_sub(spent.green_ms));
    }

    /// For how long blue rests after a read that kept it busy for so long.
    pub(crate) fn rest_ms(&self, blue_ms: u64) -> u64 {
        (blue_ms as f64 * (1.0 / self.limits.busy.max(0.001) - 1.0)) as u64
    }

    /// A range could not be read in time.
    pub(crate) fn too_slow(&mut self) {
        self.target = (self.target / 2).max(ROWS_MIN.min(self.range_rows));
    }

    /// Whether ranges are as small as they get.
    pub(crate) fn is_least(&self) -> bool {
        self.target <= ROWS_MIN
    }

    /// Ranges become smaller while reading one takes long, and larger again.
    pub(crate) fn adapt(&mut self, rows: u64, took_ms: u64) {
        let most_ms = u64::try_from(self.limits.max_read_time.as_millis()).unwrap_or(u64::MAX);
        if took_ms > most_ms {
            self.too_slow();
        } else if took_ms < most_ms / 4 && rows.saturating_mul(2) > self.target {
            self.target = self.target.saturating_mul(2).min(self.range_rows);
        }
    }

    fn fill(&mut self, now: Millis) {
        let passed_s = now.since(self.filled) as f64 / 1_000.0;
        self.filled = self.filled.max(now);
        if let Some(rate) = self.limits.rows_per_second {
            self.tokens = (self.tokens + passed_s * rate as f64).min(self.most_tokens());
        }
    }

    fn most_tokens(&self) -> f64 {
        self.limits.rows_per_second.map_or(0.0, |rate| rate as f64 * SAVED_SECONDS)
    }
}

/// Rows that a range may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// As reads take now.
    pub(crate) target: u64,
    /// As is set.
    pub(crate) full: u64,
}

/// For how long a read kept each side busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Milliseconds on blue.
    pub blue_ms: u64,
    /// Milliseconds on green, the wait for what is asked for included.
    pub green_ms: u64,
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits() -> VerifyLimits {
        VerifyLimits {
            rows_per_second: None,
            busy: 1.0,
            max_active_sessions: None,
            max_replica_lag: None,
            max_read_time: Duration::from_secs(2),
            yield_at_lag: Duration::from_secs(5),
            pass_pause: Duration::from_secs(60),
        }
    }

    fn throttle(limits: VerifyLimits) -> Throttle {
        Throttle::new(limits, 50_000, Millis(0))
    }

    /// Replication comes first, and the operator reads which figure holds verification back.
    #[test]
    fn full_passes_yield_to_lag_in_words() {
        let load = |lag_ms| Load { lag_ms, ..Load::default() };
        let throttle = throttle(limits());
        assert_eq!(
            throttle.held_back(&load(Some(7_200))).as_deref(),
            Some("green is 7.2 s behind, above yield_at_lag 5s")
        );
        assert_eq!(throttle.held_back(&load(Some(5_000))), None);
    }

    /// A limit must not be passed because its figure is missing.
    #[test]
    fn an_unknown_load_holds_back_where_a_limit_is_set() {
        let idle = Load { active_sessions: Some(3), replica_lag_ms: Some(2_000), lag_ms: Some(0) };
        let mut strict = limits();
        strict.max_active_sessions = Some(3);
        strict.max_replica_lag = Some(Duration::from_secs(2));
        let strict = throttle(strict);
        assert_eq!(strict.held_back(&idle), None);
        let reason = |load| strict.held_back(&load).unwrap();
        assert!(reason(Load { active_sessions: None, ..idle }).contains("max_active_sessions"));
        assert!(reason(Load { replica_lag_ms: None, ..idle }).contains("max_replica_lag"));
        assert!(reason(Load { lag_ms: None, ..idle }).contains("yield_at_lag"));
        let busy = Load { active_sessions: Some(4), ..idle };
        assert_eq!(reason(busy), "4 sessions are active on blue, above max_active_sessions 3");
        let late = Load { replica_lag_ms: Some(2_001), ..idle };
        assert_eq!(reason(late), "a standby of blue is 2.0 s behind, above max_replica_lag 2s");
    }

    /// Over any longer time no more rows are read than the rate allows, whatever the size of a range.
    #[test]
    fn rows_per_second_hold_on_average() {
        let mut limited = limits();
        limited.rows_per_second = Some(1_000);
        let mut throttle = throttle(limited);
        let mut rows = 0;
        for ms in 0..100_000 {
            if throttle.may_read(0, Millis(ms)) {
                rows += 3_000;
                throttle.has_read(0, 3_000, Spent::default(), Millis(ms));
            }
        }
        assert!((90_000..=104_000).contains(&rows), "{rows}");
    }

    /// The operator's share of blue is kept: a read of 100 ms at a share of a quarter is followed by 300 ms of rest, during
    /// which green may be read.
    #[test]
    fn a_worker_rests_in_proportion() {
        let mut limited = limits();
        limited.busy = 0.25;
        let mut throttle = throttle(limited);
        throttle.has_read(1, 10, Spent { blue_ms: 100, green_ms: 50 }, Millis(1_000));
        assert!(throttle.may_read(0, Millis(1_000)), "another worker has a connection of its own");
        assert!(!throttle.may_read(1, Millis(1_249)));
        assert!(throttle.may_read(1, Millis(1_250)));
    }

    /// Snapshots on blue stay short: ranges shrink while reads are slow and grow again when they are quick.
    #[test]
    fn ranges_follow_the_time_that_reads_take() {
        let mut throttle = throttle(limits());
        throttle.adapt(50_000, 2_500);
        assert_eq!(throttle.sizes().target, 25_000);
        throttle.adapt(25_000, 1_500);
        assert_eq!(throttle.sizes().target, 25_000);
        throttle.adapt(25_000, 300);
        assert_eq!(throttle.sizes().target, 50_000);
        throttle.adapt(50_000, 30);
        assert_eq!(throttle.sizes().target, 50_000, "never above what is set");
    }
}
