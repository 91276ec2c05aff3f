//! Dates, times and intervals written by a pattern.

use super::pattern::{self, DAYS, Item, Letters, MONTHS, Piece, Word};
use super::{Out, wrong};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::text::times::calendar::{self, DAY, EPOCH_JULIAN, HOUR, INFINITE, MINUTE, Moment, SECOND};
use crate::expr::text::times::write;
use crate::expr::types::SqlType;
use crate::expr::value::Interval;

/// What patterns can show.
struct Shown {
    moment: Moment,
    days: i64,
    day_of_year: i64,
    is_interval: bool,
    is_zoned: bool,
}

/// `to_char(timestamp, text)`, of both kinds, and `to_char(interval, text)`.
pub(super) fn to_char<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [value, Datum::Text(pattern)] = args else { return wrong() };
    let is_zoned = call.args.first().map(SqlType::base) == Some(&SqlType::TimestampTz);
    let shown = match value {
        Datum::Timestamp(micros) if INFINITE.contains(micros) => return Ok(Datum::Null),
        Datum::Timestamp(micros) => Shown::of_timestamp(*micros, is_zoned),
        Datum::Interval(span) => Shown::of_interval(span),
        _ => return wrong(),
    };
    if pattern.is_empty() {
        return Ok(Datum::Null);
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    for piece in pattern::parse(pattern)? {
        match piece {
            Piece::Space(letter) | Piece::Separator(letter) | Piece::Letter(letter) => out.push(letter),
            Piece::Word(word) => shown.write(&word, &mut out)?,
        }
    }
    Ok(Datum::text(out))
}

impl Shown {
    fn of_timestamp(micros: i64, is_zoned: bool) -> Shown {
        let moment = Moment::of(micros);
        let days = micros.div_euclid(DAY);
        let day_of_year = days - calendar::days_of(moment.year, 1, 1) + 1;
        Shown { moment, days, day_of_year, is_interval: false, is_zoned }
    }

    fn of_interval(span: &Interval) -> Shown {
        let moment = Moment {
            year: i64::from(span.months / 12),
            month: i64::from(span.months % 12),
            day: i64::from(span.days),
            hour: span.micros / HOUR,
            minute: span.micros / MINUTE % 60,
            second: span.micros / SECOND % 60,
            micros: span.micros % SECOND,
        };
        let day_of_year = i64::from(span.months) * 30 + moment.day;
        Shown { moment, days: 0, day_of_year, is_interval: true, is_zoned: false }
    }

    /// A year as it is counted before and after Christ.
    fn counted(&self, year: i64) -> i64 {
        if self.is_interval || year > 0 { year } else { 1 - year }
    }

    fn write(&self, word: &Word, out: &mut String) -> Result<(), EvalError> {
        if self.is_interval {
            self.refuse_for_interval(word.item)?;
        }
        match self.number(word.item) {
            Some((value, width)) => number(word, value, width, out),
            None => self.write_other(word, out),
        }
        Ok(())
    }

    /// The value of a field that is a number, and the digits that it is filled up to.
    fn number(&self, item: Item) -> Option<(i64, usize)> {
        let Moment { year, month, day, hour, minute, second, .. } = self.moment;
        let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
        Some(match item {
            // A negative hour is wide even where what is left of it is not.
            Item::Hour12 => (twelve, if hour < 0 && twelve > 0 { 3 } else { 2 }),
            Item::Hour24 => (hour, 2),
            Item::Minute => (minute, 2),
            Item::Second => (second, 2),
            Item::Month => (month, 2),
            Item::Day if day < 0 => (day, 1),
            Item::Day => (day, 2),
            Item::DayOfYear if self.day_of_year < 0 => (self.day_of_year, 2),
            Item::DayOfYear => (self.day_of_year, 3),
            Item::Weekday => (calendar::weekday(self.days) + 1, 1),
            Item::IsoWeekday => ((calendar::weekday(self.days) + 6) % 7 + 1, 1),
            Item::IsoDayOfYear => {
                let (iso_year, _) = calendar::iso_week(self.days);
                (self.days - calendar::iso_year_start(iso_year) + 1, 3)
            }
            Item::Week => match (self.day_of_year - 1) / 7 + 1 {
                // Here and above, the sign takes the place of a zero.
                week @ ..0 => (week, 1),
                week => (week, 2),
            },
            Item::IsoWeek => (calendar::iso_week(self.days).1, 2),
            Item::WeekOfMonth => ((day - 1) / 7 + 1, 1),
            Item::Quarter if month != 0 => ((month - 1) / 3 + 1, 1),
            Item::Julian => (self.days + EPOCH_JULIAN, 1),
            Item::SecondOfDay => (hour * 3600 + minute * 60 + second, 1),
            Item::Century if self.is_interval => (year / 100, 2),
            Item::Century if year > 0 => ((year - 1) / 100 + 1, 2),
            Item::Century => (year / 100 - 1, 2),
            Item::Year(digits) => self.year(year, digits),
            Item::IsoYear(digits) => self.year(calendar::iso_week(self.days).0, digits),
            _ => return None,
        })
    }

    fn year(&self, year: i64, digits: u32) -> (i64, usize) {
        let year = self.counted(year);
        let value = if digits == 4 { year } else { year % 10_i64.pow(digits) };
        let width = digits as usize;
        // The place of a sign is kept even where the shortened year has none.
        (value, if year < 0 && value == 0 && digits > 1 { width + 1 } else { width })
    }

    fn write_other(&self, word: &Word, out: &mut String) {
        let Moment { year, month, hour, .. } = self.moment;
        let in_letters = |text: &str| match word.letters {
            Letters::Upper => text.to_ascii_uppercase(),
            Letters::Capital => text.to_owned(),
            Letters::Lower => text.to_ascii_lowercase(),
        };
        let width = if word.is_bare { 0 } else { 9 };
        match word.item {
            Item::Fraction(digits) => self.fraction(word, digits, out),
            Item::Millis => self.fraction(word, 3, out),
            Item::Micros => self.fraction(word, 6, out),
            Item::Half(has_points) => {
                let is_afternoon = hour % 24 >= 12;
                let text = match (is_afternoon, has_points) {
                    (false, false) => "AM",
                    (false, true) => "A.M.",
                    (true, false) => "PM",
                    (true, true) => "P.M.",
                };
                out.push_str(&in_letters(text));
            }
            Item::Era(has_points) => {
                let text = match (year > 0, has_points) {
                    (true, false) => "AD",
                    (true, true) => "A.D.",
                    (false, false) => "BC",
                    (false, true) => "B.C.",
                };
                out.push_str(&in_letters(text));
            }
            Item::MonthName => {
                out.push_str(&format!("{:<width$}", in_letters(MONTHS[(month - 1).rem_euclid(12) as usize])));
            }
            Item::MonthShort => {
                out.push_str(&in_letters(&MONTHS[(month - 1).rem_euclid(12) as usize][..3]));
            }
            Item::DayName => {
                out.push_str(&format!("{:<width$}", in_letters(DAYS[calendar::weekday(self.days) as usize])));
            }
            Item::DayShort => out.push_str(&in_letters(&DAYS[calendar::weekday(self.days) as usize][..3])),
            Item::YearComma => {
                let year = self.counted(year);
                let thousands = year / 1000;
                let start = out.len();
                out.push_str(&format!("{thousands},{:03}", year - thousands * 1000));
                ordinal(word, start, out);
            }
            Item::Zone if self.is_zoned => out.push_str(&in_letters("UTC")),
            Item::Offset => out.push_str(if word.is_bare { "+0" } else { "+00" }),
            _ => {}
        }
    }

    /// Fields that an interval does not have; those that would show a date are left to the server.
    fn refuse_for_interval(&self, item: Item) -> Result<(), EvalError> {
        match item {
            Item::Era(_)
            | Item::MonthName
            | Item::MonthShort
            | Item::DayName
            | Item::DayShort
            | Item::Weekday
            | Item::IsoWeekday
            | Item::Zone
            | Item::Offset => Err(EvalError::new(
                SqlState::INVALID_DATETIME,
                "invalid format specification for an interval value",
            )),
            Item::Julian | Item::IsoYear(_) | Item::IsoWeek | Item::IsoDayOfYear => {
                Err(pattern::not_supported())
            }
            Item::WeekOfMonth if self.moment.day == i64::from(i32::MIN) => Err(pattern::not_supported()),
            Item::DayOfYear | Item::Week if i32::try_from(self.day_of_year - 1).is_err() => {
                Err(pattern::not_supported())
            }
            _ => Ok(()),
        }
    }

    fn fraction(&self, word: &Word, digits: u32, out: &mut String) {
        let value = self.moment.micros / 10_i64.pow(6 - digits);
        let start = out.len();
        // Here the sign takes the place of a zero.
        digits_of(value, digits as usize - usize::from(value < 0), out);
        ordinal(word, start, out);
    }
}

/// A number, filled with zeros up to a width that does not count the sign.
fn number(word: &Word, value: i64, width: usize, out: &mut String) {
    let start = out.len();
    digits_of(value, if word.is_bare { 1 } else { width }, out);
    ordinal(word, start, out);
}

fn digits_of(value: i64, width: usize, out: &mut String) {
    if value < 0 {
        out.push('-');
    }
    write::push_padded(out, value, width);
}

/// The ending of an ordinal behind the number that begins at `start`.
fn ordinal(word: &Word, start: usize, out: &mut String) {
    let Some(is_lower) = word.ordinal else { return };
    let mut last = out.as_bytes()[start..].iter().rev();
    let (ones, tens) = (last.next(), last.next());
    let ending = match ones {
        _ if tens == Some(&b'1') => "th",
        Some(b'1') => "st",
        Some(b'2') => "nd",
        Some(b'3') => "rd",
        _ => "th",
    };
    if is_lower { out.push_str(ending) } else { out.push_str(&ending.to_ascii_uppercase()) }
}
