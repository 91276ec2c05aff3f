//! The gate's clock: it never goes back, and it notices when the machine slept.

use std::time::{Duration, Instant, SystemTime};

use understudy_cutover::Millis;

/// By how much the time of day may run ahead of the clock between two looks before the machine counts as having slept.
const AHEAD_MAX: Duration = Duration::from_secs(2);

/// Milliseconds since the start. Evidence from before a sleep is as old as the sleep was long: the clock of the process
/// stands still meanwhile, the time of day does not.
#[derive(Debug)]
pub(super) struct GateClock {
    began: Instant,
    looked: (Instant, SystemTime),
    /// How long the machine slept in all, until when this was last added to, and what it was before.
    slept: Duration,
    woke: Instant,
    slept_before: Duration,
}

impl GateClock {
    pub(super) fn start(now: Instant, wall: SystemTime) -> GateClock {
        let nothing = Duration::ZERO;
        GateClock { began: now, looked: (now, wall), slept: nothing, woke: now, slept_before: nothing }
    }

    /// Looks at both clocks, and tells the moment.
    pub(super) fn tick(&mut self, now: Instant, wall: SystemTime) -> Millis {
        let passed = now.saturating_duration_since(self.looked.0);
        let by_day = wall.duration_since(self.looked.1).unwrap_or_default();
        if let Some(ahead) = by_day.checked_sub(passed).filter(|ahead| *ahead > AHEAD_MAX) {
            self.slept_before = self.slept;
            self.slept += ahead;
            self.woke = now;
        }
        self.looked = (now, wall);
        self.at(now)
    }

    /// When something was, by this clock.
    pub(super) fn at(&self, moment: Instant) -> Millis {
        let slept = if moment < self.woke { self.slept_before } else { self.slept };
        let since = moment.saturating_duration_since(self.began) + slept;
        Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that was suspended must not wake up with fresh evidence and an open gate.
    #[test]
    fn evidence_from_before_a_sleep_is_old() {
        let (start, day) = (Instant::now(), SystemTime::now());
        let second = Duration::from_secs(1);
        let mut clock = GateClock::start(start, day);
        assert_eq!(clock.tick(start + second, day + second), Millis(1_000));
        let hour = Duration::from_secs(3_600);
        assert_eq!(clock.tick(start + 2 * second, day + 2 * second + hour), Millis(3_602_000));
        assert_eq!(clock.at(start + second), Millis(1_000));
        assert_eq!(clock.tick(start + 3 * second, day + 3 * second + hour), Millis(3_603_000));
    }

    /// A time of day that is set back changes nothing.
    #[test]
    fn a_time_of_day_that_goes_back_is_ignored() {
        let (start, day) = (Instant::now(), SystemTime::now());
        let second = Duration::from_secs(1);
        let mut clock = GateClock::start(start, day);
        assert_eq!(clock.tick(start + second, day - 60 * second), Millis(1_000));
        assert_eq!(clock.tick(start + 2 * second, day - 59 * second), Millis(2_000));
    }
}
