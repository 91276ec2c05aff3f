//! Spans of time, whose months and days have no fixed length.

/// An `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Interval {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl Interval {
    /// What comparison goes by: microseconds, with months of 30 days and days of 24 hours.
    pub fn order_key(&self) -> i128 {
        let days = i128::from(self.months) * 30 + i128::from(self.days);
        days * 86_400_000_000 + i128::from(self.micros)
    }

    /// Whether Postgres 17 and later take the value for one of the infinities, which earlier ones do not know.
    pub(crate) fn is_infinite(&self) -> bool {
        let all = |months, days, micros| *self == Interval { months, days, micros };
        all(i32::MAX, i32::MAX, i64::MAX) || all(i32::MIN, i32::MIN, i64::MIN)
    }

    /// What comparison of a `timetz` goes by: the instant, and among equal instants the zone.
    pub(crate) fn timetz_key(micros: i64, zone_west: i32) -> (i64, i32) {
        (micros + i64::from(zone_west) * 1_000_000, zone_west)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `interval '1 month' = interval '30 days'` and `timetz '01:00+01' < timetz '00:00+00'`.
    #[test]
    fn spans_and_zoned_times_compare_as_in_postgres() {
        let month = Interval { months: 1, ..Interval::default() };
        let days = Interval { days: 29, micros: 86_400_000_000, ..Interval::default() };
        assert_eq!(month.order_key(), days.order_key());
        assert!(Interval::timetz_key(3_600_000_000, -3600) < Interval::timetz_key(0, 0));
    }
}
