//! Lag in seconds, told by markers alone: it grows when the stream stalls and reads zero only when a marker proves it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most markers remembered while none comes back; further ones are stood for by the newest.
const OUTSTANDING_MAX: usize = 512;

/// Pauses between markers that are remembered.
const PAUSES_MAX: usize = 8;

/// Markers sent through the stream, and the newest one that green has applied.
///
/// An idle source does not make the lag grow, and a dead one does not make it stand still.
#[derive(Debug, Clone, Default)]
pub struct MarkerLag {
    /// When the markers that are not applied yet were sent, oldest first.
    outstanding: VecDeque<Instant>,
    /// When the newest applied marker was sent.
    applied: Option<Instant>,
    /// When it was applied.
    applied_at: Option<Instant>,
    /// The last pauses between applied markers, by when these were sent.
    pauses: VecDeque<Duration>,
}

impl MarkerLag {
    /// A marker was committed on blue.
    pub fn sent(&mut self, at: Instant) {
        if self.outstanding.len() == OUTSTANDING_MAX {
            self.outstanding.pop_back();
        }
        self.outstanding.push_back(at);
    }

    /// Green has applied, at `at`, everything before the marker that was sent at `sent_at`.
    pub fn applied(&mut self, sent_at: Instant, at: Instant) {
        if self.applied < Some(sent_at) {
            if let Some(before) = self.applied {
                self.pauses.truncate(PAUSES_MAX - 1);
                self.pauses.push_front(sent_at.saturating_duration_since(before));
            }
            (self.applied, self.applied_at) = (Some(sent_at), Some(at));
        }
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

    /// The same where nobody hears of markers before they have come: how long the newest one took, and how long the next one is
    /// overdue. The shortest of the last pauses tells when it is due, so that one time of silence excuses no other.
    pub fn by_arrivals(&self, now: Instant) -> Option<Duration> {
        let (sent, applied) = (self.applied?, self.applied_at?);
        let pause = self.pauses.iter().min().copied().unwrap_or_default();
        let silent = now.saturating_duration_since(applied);
        Some(applied.saturating_duration_since(sent) + silent.saturating_sub(pause))
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
        lag.applied(start, start);
        assert_eq!(lag.at(second(start, 1), FRESH), Some(Duration::ZERO));
    }

    #[test]
    fn lag_grows_while_the_stream_stalls() {
        let start = Instant::now();
        let mut lag = MarkerLag::default();
        lag.sent(start);
        lag.applied(start, start);
        for at in 1..=5 {
            lag.sent(second(start, at));
        }
        assert_eq!(lag.at(second(start, 5), FRESH), Some(Duration::from_secs(4)));
        lag.applied(second(start, 2), second(start, 2));
        assert_eq!(lag.at(second(start, 5), FRESH), Some(Duration::from_secs(2)));
        lag.applied(second(start, 5), second(start, 5));
        assert_eq!(lag.at(second(start, 6), FRESH), Some(Duration::ZERO));
    }

    #[test]
    fn a_long_stall_is_remembered_within_bounds() {
        let start = Instant::now();
        let mut lag = MarkerLag::default();
        lag.sent(start);
        lag.applied(start, start);
        for at in 1..=5000 {
            lag.sent(second(start, at));
        }
        assert_eq!(lag.outstanding.len(), OUTSTANDING_MAX);
        assert_eq!(lag.at(second(start, 5000), FRESH), Some(Duration::from_secs(4999)));
        lag.applied(second(start, 4999), second(start, 4999));
        assert_eq!(lag.at(second(start, 5001), FRESH), Some(Duration::from_secs(1)));
    }

    #[test]
    fn silence_is_no_proof() {
        let start = Instant::now();
        let mut lag = MarkerLag::default();
        lag.sent(start);
        lag.applied(start, start);
        assert_eq!(lag.at(second(start, 60), FRESH), Some(Duration::from_secs(60)));
    }

    /// Whoever only hears of markers that have come must not take the pause between two of them for a lag, or a gate whose limit
    /// is as long as that pause never opens; and a sender that falls silent must not look as if nothing was lacking.
    #[test]
    fn markers_that_come_tell_how_long_they_took_and_what_is_overdue() {
        let (start, took) = (Instant::now(), Duration::from_millis(200));
        let mut lag = MarkerLag::default();
        assert_eq!(lag.by_arrivals(start), None);
        lag.applied(start, start + took);
        assert_eq!(lag.by_arrivals(second(start, 1)), Some(Duration::from_secs(1)), "one tells of no pause");
        for at in 1..=20 {
            lag.applied(second(start, at), second(start, at) + took);
        }
        assert_eq!(lag.by_arrivals(second(start, 20) + took), Some(took));
        assert_eq!(lag.by_arrivals(second(start, 21) + took), Some(took), "the next one is due");
        assert_eq!(lag.by_arrivals(second(start, 25) + took), Some(took + Duration::from_secs(4)));
        lag.applied(second(start, 60), second(start, 63));
        assert_eq!(lag.by_arrivals(second(start, 63)), Some(Duration::from_secs(3)));
        assert_eq!(lag.by_arrivals(second(start, 70)), Some(Duration::from_secs(9)), "a silence is no pause");
        lag.applied(second(start, 50), second(start, 71));
        assert_eq!(
            lag.by_arrivals(second(start, 71)),
            Some(Duration::from_secs(10)),
            "an older one proves less"
        );
    }
}
