//! Figures of the last moments, and the seeded chance by which ranges are read row by row.

use std::collections::VecDeque;

use crate::circumstances::Millis;

/// Figures that are kept, at most; the oldest go first.
const KEPT_MAX: usize = 200_000;

/// Figures of the last moments.
#[derive(Debug)]
pub(crate) struct Window {
    span_ms: u64,
    figures: VecDeque<(Millis, u64)>,
}

impl Window {
    pub(crate) fn new(span_ms: u64) -> Window {
        Window { span_ms, figures: VecDeque::new() }
    }

    pub(crate) fn push(&mut self, now: Millis, figure: u64) {
        while self.figures.len() >= KEPT_MAX
            || self.figures.front().is_some_and(|(at, _)| now.since(*at) > self.span_ms)
        {
            self.figures.pop_front();
        }
        self.figures.push_back((now, figure));
    }

    fn last(&self, now: Millis) -> impl Iterator<Item = u64> {
        let recent = move |(at, _): &&(Millis, u64)| now.since(*at) <= self.span_ms;
        self.figures.iter().filter(recent).map(|(_, figure)| *figure)
    }

    /// What 99 % of the figures reach at most; `None` without figures.
    pub(crate) fn p99(&self, now: Millis) -> Option<u64> {
        let mut figures: Vec<u64> = self.last(now).collect();
        let at = (figures.len() * 99).div_ceil(100).checked_sub(1)?;
        Some(*figures.select_nth_unstable(at).1)
    }

    /// Their sum per second.
    pub(crate) fn per_second(&self, now: Millis) -> f64 {
        self.last(now).sum::<u64>() as f64 * 1_000.0 / self.span_ms as f64
    }
}

/// Chance that a seed determines.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.next().is_multiple_of(times)
    }
}
