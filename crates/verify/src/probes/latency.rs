//! How long answers took over the last minutes, in buckets of fixed bounds.

use std::time::Duration;

use super::report::Latency;
use crate::Millis;

/// Buckets grow by a quarter from 100 µs to about a minute; the last one holds what is beyond.
const BUCKETS: usize = 62;
const FIRST_BOUND_US: u64 = 100;

/// How many stretches of time are kept, and how long each is.
const SLOTS: usize = 5;
const SLOT_MS: u64 = 60_000;

const BOUNDS_US: [u64; BUCKETS] = bounds();

const fn bounds() -> [u64; BUCKETS] {
    let mut bounds = [FIRST_BOUND_US; BUCKETS];
    let mut at = 1;
    while at < BUCKETS {
        bounds[at] = bounds[at - 1] * 5 / 4;
        at += 1;
    }
    bounds
}

/// Latencies of one side over the last five minutes.
#[derive(Debug, Clone)]
pub struct Latencies {
    slots: [Slot; SLOTS],
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Which stretch of time it is of, counted from the clock's start.
    stretch: u64,
    counts: [u32; BUCKETS],
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { slots: [Slot { stretch: 0, counts: [0; BUCKETS] }; SLOTS] }
    }
}

impl Latencies {
    /// Takes one more in.
    pub fn record(&mut self, now: Millis, took: Duration) {
        let stretch = now.0 / SLOT_MS;
        let slot = &mut self.slots[stretch as usize % SLOTS];
        if slot.stretch != stretch {
            *slot = Slot { stretch, counts: [0; BUCKETS] };
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < micros).min(BUCKETS - 1);
        slot.counts[bucket] = slot.counts[bucket].saturating_add(1);
    }

    /// What they come to; `None` when there were none.
    pub fn read(&self, now: Millis) -> Option<Latency> {
        let oldest = (now.0 / SLOT_MS).saturating_sub(SLOTS as u64 - 1);
        let mut counts = [0_u64; BUCKETS];
        for slot in self.slots.iter().filter(|slot| slot.stretch >= oldest) {
            counts.iter_mut().zip(slot.counts).for_each(|(sum, count)| *sum += u64::from(count));
        }
        let count = counts.iter().sum::<u64>();
        let at_share = |percent: u64| {
            let wanted = (count * percent).div_ceil(100);
            let mut seen = 0;
            let reached = |count: &u64| {
                seen += count;
                seen >= wanted
            };
            BOUNDS_US[counts.iter().position(reached).unwrap_or(BUCKETS - 1)]
        };
        (count > 0).then(|| Latency { count, p50_us: at_share(50), p99_us: at_share(99) })
    }
}
