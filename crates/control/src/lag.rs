//! Lag in seconds, told by markers alone: it grows when the stream stalls and reads zero only when a marker proves it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most markers remembered while none comes back; further ones are stood for by the newest.
const OUTSTANDING_MAX: usize = 512;

/// Markers sent through the stream, and the newest one that green has applied.
///
/// An idle source does not make the lag grow, and a dead one does not make it stand still.
#[derive(Debug, Clone, Default)]
pub struct MarkerLag {
    /// When the markers that are not applied yet were sent, oldest first.
    outstanding: VecDeque<Instant>,
    /// When the newest applied marker was sent.
    applied: Option<Instant>,
}

impl MarkerLag {
    /// A marker was committed on blue.
    pub fn sent(&mut self, at: Instant) {
        if self.outstanding.len() == OUTSTANDING_MAX {
            self.outstanding.pop_back();
        }
        self.outstanding.push_back(at);
    }

    /// Green has applied everything before the marker that was sent at `sent_at`.
    pub fn applied(&mut self, sent_at: Instant) {
        self.applied = self.applied.max(Some(sent_at));
        let returned = self.outstanding.partition_point(|sent| *sent <= sent_at);
        self.outstanding.drain(..returned);
    }

    /// When the newest marker was sent that green has applied.
    pub fn proved(&self) -> Option<Instant> {
        self.applied
    }

    /// The lag, or `None` before the first marker has come back. Zero only while markers keep coming back: when none
    /// was sent for longer than `fresh`, silence proves nothing any more.
    pub fn at(&self, now: Instant, fresh: Duration) -> Option<Duration> {
        let applied = self.applied?;
        if let Some(oldest) = self.outstanding.front() {
            return Some(now.saturating_duration_since(*oldest));
        }
        let age = now.saturating_duration_since(applied);
        Some(if age <= fresh { Duration::ZERO } else { age })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Duration = Duration::from_secs(3);

    fn second(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn zero_is_shown_only_when_a_marker_proves_it() {
        let start = Instant::now();
        let mut lag = MarkerLag::default();
        assert_eq!(lag.at(start, FRESH), None);
        lag.sent(start);
        assert_eq!(lag.at(start, FRESH), None);
        lag.applied(start);
        assert_eq!(lag.at(second(start, 1), FRESH), Some(Duration::ZERO));
    }

    #[test]
    fn lag_grows_while_the_stream_stalls() {
        let start = Instant::now();
        let mut lag = MarkerLag::default();
        lag.sent(start);
        lag.applied(start);
        for at in 1..=5 {
            lag.sent(second(start, at));
        }
        assert_eq!(lag.at(second(start, 5), FRESH), Some(Duration::from_secs(4)));
        lag.applied(second(start, 2));
        assert_eq!(lag.at(second(start, 5), FRESH), Some(Duration::from_secs(2)));
        lag.applied(second(start, 5));
        assert_eq!(lag.at(second(start, 6), FRESH), Some(Duration::ZERO));
    }

    #[test]
    fn a_long_stall_is_remembered_within_bounds() {
        let start = Instant::now();
        let mut lag = MarkerLag::default();
        lag.sent(start);
        lag.applied(start);
        for at in 1..=5000 {
            lag.sent(second(start, at));
        }
        assert_eq!(lag.outstanding.len(), OUTSTANDING_MAX);
        assert_eq!(lag.at(second(start, 5000), FRESH), Some(Duration::from_secs(4999)));
        lag.applied(second(start, 4999));
        assert_eq!(lag.at(second(start, 5001), FRESH), Some(Duration::from_secs(1)));
    }

    #[test]
    fn silence_is_no_proof() {
        let start = Instant::now();
        let mut lag = MarkerLag::default();
        lag.sent(start);
        lag.applied(start);
        assert_eq!(lag.at(second(start, 60), FRESH), Some(Duration::from_secs(60)));
    }
}
