//! The calendar of all dates in Postgres: the Gregorian one, as if it had always been used.

/// Days of 400 years, after which the calendar repeats.
const CYCLE_DAYS: i64 = 146_097;

/// Days from 0000-03-01 to 1970-01-01. Years are counted from March, so that the odd day is the last one of its year.
const EPOCH_FROM_MARCH: i64 = 719_468;

/// A date. Each of its parts may have at most fifteen digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CivilDate {
    /// The year; the one before 1, which Postgres writes as `0001 BC`, is 0, and 44 BC is -43.
    pub year: i64,
    /// The month, from 1 to 12.
    pub month: i64,
    /// The day of the month, from 1.
    pub day: i64,
}

impl CivilDate {
    /// The date so many days after 1970-01-01, at most 10^17 in either direction.
    pub const fn from_unix_days(days: i64) -> CivilDate {
        let days = days + EPOCH_FROM_MARCH;
        let (cycle, of_cycle) = (days.div_euclid(CYCLE_DAYS), days.rem_euclid(CYCLE_DAYS));
        let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
        let of_year = of_cycle - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year + cycle * 400 + if month <= 2 { 1 } else { 0 };
        CivilDate { year, month, day: of_year - (153 * from_march + 2) / 5 + 1 }
    }

    /// Days since 1970-01-01. A month or day that is out of range counts on: month 13 is January of the next year, and day 0
    /// the last one of the month before.
    pub const fn unix_days(self) -> i64 {
        let months = self.month - 1;
        let (year, month) = (self.year + months.div_euclid(12), months.rem_euclid(12) + 1);
        let year = if month <= 2 { year - 1 } else { year };
        let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + self.day - 1;
        cycle * CYCLE_DAYS + year * 365 + year / 4 - year / 100 + of_year - EPOCH_FROM_MARCH
    }

    /// Whether the calendar has this date.
    pub const fn exists(self) -> bool {
        1 <= self.month && self.month <= 12 && 1 <= self.day && self.day <= month_days(self.year, self.month)
    }
}

/// How many days a month has, which is a number from 1 to 12.
pub const fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn date(year: i64, month: i64, day: i64) -> CivilDate {
        CivilDate { year, month, day }
    }

    /// A day off would shift every date. The first and the last are those of Postgres' own ranges, by its own arithmetic:
    /// `SELECT '4714-11-24 BC'::date - '1970-01-01'`.
    #[test]
    fn known_days_have_their_dates() {
        for (days, date) in [
            (0, date(1970, 1, 1)),
            (-1, date(1969, 12, 31)),
            (10_957, date(2000, 1, 1)),
            (11_016, date(2000, 2, 29)),
            (-25_509, date(1900, 2, 28)),
            (-25_508, date(1900, 3, 1)),
            (19_782, date(2024, 2, 29)),
            (-719_162, date(1, 1, 1)),
            (-719_163, date(0, 12, 31)),
            (-719_469, date(0, 2, 29)),
            (-735_160, date(-43, 3, 15)),
            (-2_440_588, date(-4713, 11, 24)),
            (2_145_042_905, date(5_874_897, 12, 31)),
        ] {
            assert_eq!((CivilDate::from_unix_days(days), date.unix_days()), (date, days));
            assert!(date.exists());
        }
    }

    /// Intervals are added to parts of dates, which then are out of their ranges.
    #[test]
    fn parts_out_of_range_count_on() {
        for (odd, even) in [
            (date(2023, 13, 1), date(2024, 1, 1)),
            (date(2024, 0, 31), date(2023, 12, 31)),
            (date(2024, -11, 1), date(2023, 1, 1)),
            (date(2024, 3, 0), date(2024, 2, 29)),
            (date(2023, 2, 29), date(2023, 3, 1)),
            (date(0, 1, 366), date(0, 12, 31)),
        ] {
            assert_eq!(CivilDate::from_unix_days(odd.unix_days()), even, "{odd:?}");
            assert!(!odd.exists() && even.exists(), "{odd:?}");
        }
    }

    proptest! {
        /// Every day has one date, the next day the next date.
        #[test]
        fn days_and_dates_are_each_others_inverse(days in prop_oneof![-3_000_000_i64..3_000_000, any::<i32>().prop_map(i64::from), -100_000_000_000_000_000_i64..=100_000_000_000_000_000]) {
            let (date, next) = (CivilDate::from_unix_days(days), CivilDate::from_unix_days(days + 1));
            prop_assert!(date.exists() && date < next);
            prop_assert_eq!(date.unix_days(), days);
            let is_next = CivilDate { day: date.day + 1, ..date } == next
                || date.day == month_days(date.year, date.month) && next.day == 1;
            prop_assert!(is_next, "{:?} is followed by {:?}", date, next);
        }
    }
}
