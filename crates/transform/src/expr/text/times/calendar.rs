//! The calendar: days and microseconds as years, months, hours and back, and the ranges that Postgres keeps.

use understudy_model::CivilDate;
pub(crate) use understudy_model::month_days;

/// Microseconds of a second.
pub(crate) const SECOND: i64 = 1_000_000;
/// Microseconds of a minute.
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// Microseconds of an hour.
pub(crate) const HOUR: i64 = 60 * MINUTE;
/// Microseconds of a day.
pub(crate) const DAY: i64 = 24 * HOUR;
/// Julian day of 2000-01-01.
pub(crate) const EPOCH_JULIAN: i64 = 2_451_545;
/// Days from 2000-01-01 back to 1970-01-01.
pub(crate) const UNIX_EPOCH_DAYS: i64 = -10_957;
/// The infinities of timestamps.
pub(crate) const INFINITE: [i64; 2] = [i64::MIN, i64::MAX];

const DATE_MIN: i64 = -EPOCH_JULIAN;
const DATE_END: i64 = 2_147_483_494 - EPOCH_JULIAN;
const TIMESTAMP_MIN: i64 = DATE_MIN * DAY;
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;

/// A point in time in its parts. The year before 1 is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Moment {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) micros: i64,
}

/// Days since 2000-01-01. Months and days outside their range count on.
pub(crate) fn days_of(year: i64, month: i64, day: i64) -> i64 {
    CivilDate { year, month, day }.unix_days() + UNIX_EPOCH_DAYS
}

/// Year, month and day of the days since 2000-01-01.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let CivilDate { year, month, day } = CivilDate::from_unix_days(days - UNIX_EPOCH_DAYS);
    (year, month, day)
}

/// Day of the week of the days since 2000-01-01, from 0 for Sunday.
pub(crate) fn weekday(days: i64) -> i64 {
    (days + 6).rem_euclid(7)
}

/// Year and week by ISO 8601 of the days since 2000-01-01.
pub(crate) fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - (weekday(days) + 6) % 7 + 3;
    let (year, _, _) = civil(thursday);
    (year, (thursday - days_of(year, 1, 1)) / 7 + 1)
}

/// Monday of the first week by ISO 8601 of a year.
pub(crate) fn iso_year_start(year: i64) -> i64 {
    let fourth = days_of(year, 1, 4);
    fourth - (weekday(fourth) + 6) % 7
}

/// Whether the day can be counted at all.
fn is_countable(year: i64, month: i64) -> bool {
    (year > -4713 || (year == -4713 && month >= 11)) && (year < 5_874_898 || (year == 5_874_898 && month < 6))
}

/// The days of a date that is in range.
pub(crate) fn date_of(year: i64, month: i64, day: i64) -> Option<i32> {
    is_countable(year, month).then(|| days_of(year, month, day)).and_then(date_in_range)
}

/// The same of days that are already counted.
pub(crate) fn date_in_range(days: i64) -> Option<i32> {
    i32::try_from(days).ok().filter(|_| (DATE_MIN..DATE_END).contains(&days))
}

/// Whether a finite timestamp is in range.
pub(crate) fn timestamp_in_range(micros: i64) -> bool {
    (TIMESTAMP_MIN..TIMESTAMP_END).contains(&micros)
}

impl Moment {
    /// The parts of a finite timestamp.
    pub(crate) fn of(timestamp: i64) -> Moment {
        let (year, month, day) = civil(timestamp.div_euclid(DAY));
        Moment { year, month, day, ..Moment::of_time(timestamp.rem_euclid(DAY)) }
    }

    /// The parts of a time of day; the date stays zero.
    pub(crate) fn of_time(time: i64) -> Moment {
        Moment {
            hour: time / HOUR,
            minute: time / MINUTE % 60,
            second: time / SECOND % 60,
            micros: time % SECOND,
            ..Moment::default()
        }
    }

    /// Microseconds since midnight.
    pub(crate) fn time(&self) -> i64 {
        self.hour * HOUR + self.minute * MINUTE + self.second * SECOND + self.micros
    }

    /// Days since 2000-01-01.
    pub(crate) fn days(&self) -> i64 {
        days_of(self.year, self.month, self.day)
    }

    /// The timestamp, with the seconds that its zone lies west; `None` when out of range.
    pub(crate) fn timestamp(&self, west: i64) -> Option<i64> {
        if !is_countable(self.year, self.month) {
            return None;
        }
        let local = i128::from(self.days()) * i128::from(DAY) + i128::from(self.time());
        let local = i64::try_from(local).ok()?;
        local.checked_add(west * SECOND).filter(|micros| timestamp_in_range(*micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day off would shift every date.
    #[test]
    fn days_are_counted_from_the_year_2000() {
        assert_eq!((days_of(2000, 1, 1), civil(-1), weekday(0)), (0, (1999, 12, 31), 6));
        assert_eq!((iso_week(days_of(2021, 1, 3)), iso_year_start(2021)), ((2020, 53), days_of(2021, 1, 4)));
    }
}
