//! Fields of dates, times and intervals: `extract` and `date_part`.

use num_bigint::BigInt;

use super::{Out, refuse_unit, unexpected, unsupported_unit};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::text::times::calendar::{
    self, DAY, EPOCH_JULIAN, HOUR, INFINITE, MINUTE, SECOND, UNIX_EPOCH_DAYS,
};
use crate::expr::text::times::midnight;
use crate::expr::text::times::words::{self, Unit};
use crate::expr::types::SqlType;
use crate::expr::value::{Interval, Numeric, Rounding};

/// The value of a field before it is a numeric or a double.
enum Field {
    Whole(i64),
    /// Microseconds, shown as seconds, with what the double is computed from.
    Seconds(i128, f64),
    /// The same, too many for 64 bits: the server divides them, to as many digits as a division gives.
    ManySeconds(i128, f64),
    /// Microseconds, shown as milliseconds.
    Millis(i64),
    /// Julian day and microseconds of the day.
    Julian(i64, i64),
    Infinite(bool),
    Null,
}

fn numeric(coefficient: i128, scale: u16) -> Result<Numeric, EvalError> {
    Numeric::new(BigInt::from(coefficient), scale)
}

impl Field {
    fn to_numeric<'a>(&self) -> Out<'a> {
        Ok(Datum::Numeric(match self {
            Field::Whole(value) => numeric((*value).into(), 0)?,
            Field::Seconds(micros, _) => numeric(*micros, 6)?,
            Field::ManySeconds(micros, _) => {
                let quotient = numeric(*micros, 0)?.divided_by(&numeric(1_000_000, 0)?)?;
                quotient.rounded(6, Rounding::HalfAway)?
            }
            Field::Millis(micros) => numeric((*micros).into(), 3)?,
            Field::Julian(day, micros) => {
                let part = numeric((*micros).into(), 0)?.divided_by(&numeric(DAY.into(), 0)?)?;
                numeric((*day).into(), 0)?.plus(&part)?
            }
            Field::Infinite(true) => Numeric::INFINITY,
            Field::Infinite(false) => Numeric::NEGATIVE_INFINITY,
            Field::Null => return Ok(Datum::Null),
        }))
    }

    fn to_double<'a>(&self) -> Out<'a> {
        Ok(Datum::Float8(match self {
            Field::Whole(value) => *value as f64,
            Field::Seconds(_, seconds) | Field::ManySeconds(_, seconds) => *seconds,
            Field::Millis(micros) => (micros / SECOND) as f64 * 1000.0 + (micros % SECOND) as f64 / 1000.0,
            Field::Julian(day, micros) => {
                let seconds = (micros / SECOND) as f64 + (micros % SECOND) as f64 / 1_000_000.0;
                *day as f64 + seconds / 86_400.0
            }
            Field::Infinite(true) => f64::INFINITY,
            Field::Infinite(false) => f64::NEG_INFINITY,
            Field::Null => return Ok(Datum::Null),
        }))
    }
}

/// `extract(field from ...)`
pub(super) fn extract<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    field(call, args)?.to_numeric()
}

/// `date_part(field, ...)`
pub(super) fn date_part<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    match args {
        // Fields of a date are here those of its midnight.
        [name @ Datum::Text(_), Datum::Date(days)] => {
            let types = [SqlType::Text, SqlType::Timestamp];
            let of_midnight = [name.clone(), Datum::Timestamp(midnight(*days)?)];
            field(Call { args: &types, ..call }, &of_midnight)?.to_double()
        }
        _ => field(call, args)?.to_double(),
    }
}

fn field(call: Call<'_>, args: &[Datum<'_>]) -> Result<Field, EvalError> {
    let [Datum::Text(name), value] = args else { return Err(unexpected()) };
    let ty = call.args.get(1).map_or(&SqlType::Unknown, SqlType::base);
    let lower = name.to_ascii_lowercase();
    let Some(unit) = words::unit(&lower) else { return Err(refuse_unit(name, &lower, ty)) };
    let found = match value {
        Datum::Timestamp(micros) => of_timestamp(unit, *micros, *ty == SqlType::TimestampTz),
        Datum::Date(days) => of_date(unit, *days),
        Datum::Time(time) => of_time(unit, *time),
        Datum::TimeTz(time, west) => of_timetz(unit, *time, i64::from(*west)),
        Datum::Interval(span) => of_interval(unit, span)?,
        _ => return Err(unexpected()),
    };
    found.ok_or_else(|| unsupported_unit(name, ty))
}

/// Fields of an infinite date: those that grow are infinite, those that come again are null.
fn of_infinite(unit: Unit, is_positive: bool) -> Field {
    match unit {
        Unit::Year
        | Unit::Decade
        | Unit::Century
        | Unit::Millennium
        | Unit::Julian
        | Unit::IsoYear
        | Unit::Epoch => Field::Infinite(is_positive),
        _ => Field::Null,
    }
}

/// A count in years before and after Christ, of which none is zero.
pub(super) fn shown_year(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}

fn of_day(unit: Unit, days: i64, (year, month, day): (i64, i64, i64)) -> Option<i64> {
    let counted = |length: i64| {
        if year > 0 { (year + length - 1) / length } else { -((length - 1 - (year - 1)) / length) }
    };
    Some(match unit {
        Unit::Day => day,
        Unit::Month => month,
        Unit::Quarter => (month - 1) / 3 + 1,
        Unit::Week => calendar::iso_week(days).1,
        Unit::Year => shown_year(year),
        Unit::Decade if year >= 0 => year / 10,
        Unit::Decade => -((8 - (year - 1)) / 10),
        Unit::Century => counted(100),
        Unit::Millennium => counted(1000),
        Unit::IsoYear => shown_year(calendar::iso_week(days).0),
        Unit::Dow => calendar::weekday(days),
        Unit::IsoDow => (calendar::weekday(days) + 6) % 7 + 1,
        Unit::Doy => days - calendar::days_of(year, 1, 1) + 1,
        _ => return None,
    })
}

fn of_date(unit: Unit, days: i32) -> Option<Field> {
    let is_infinite = days == i32::MAX || days == i32::MIN;
    let days_wide = i64::from(days);
    match unit {
        Unit::Epoch | Unit::Julian if is_infinite => Some(of_infinite(unit, days > 0)),
        Unit::Epoch => Some(Field::Whole((days_wide - UNIX_EPOCH_DAYS) * 86_400)),
        Unit::Julian => Some(Field::Whole(days_wide + EPOCH_JULIAN)),
        _ => {
            let day = of_day(unit, days_wide, calendar::civil(days_wide))?;
            Some(if is_infinite { of_infinite(unit, days > 0) } else { Field::Whole(day) })
        }
    }
}

fn of_timestamp(unit: Unit, micros: i64, is_zoned: bool) -> Option<Field> {
    if INFINITE.contains(&micros) {
        return Some(of_infinite(unit, micros > 0));
    }
    let (days, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    match unit {
        Unit::Timezone | Unit::TimezoneHour | Unit::TimezoneMinute => is_zoned.then_some(Field::Whole(0)),
        Unit::Julian => Some(Field::Julian(days + EPOCH_JULIAN, time)),
        Unit::Epoch => {
            let epoch = UNIX_EPOCH_DAYS * DAY;
            Some(match micros.checked_sub(epoch) {
                Some(since) => Field::Seconds(since.into(), since as f64 / 1_000_000.0),
                None => {
                    let seconds = (micros as f64 - epoch as f64) / 1_000_000.0;
                    Field::ManySeconds(i128::from(micros) - i128::from(epoch), seconds)
                }
            })
        }
        _ => of_clock(unit, time).or_else(|| of_day(unit, days, calendar::civil(days)).map(Field::Whole)),
    }
}

fn of_clock(unit: Unit, time: i64) -> Option<Field> {
    let of_minute = time % MINUTE;
    Some(match unit {
        Unit::Microseconds => Field::Whole(of_minute),
        Unit::Milliseconds => Field::Millis(of_minute),
        Unit::Second => {
            let seconds = (of_minute / SECOND) as f64 + (of_minute % SECOND) as f64 / 1_000_000.0;
            Field::Seconds(of_minute.into(), seconds)
        }
        Unit::Minute => Field::Whole(time / MINUTE % 60),
        Unit::Hour => Field::Whole(time / HOUR),
        _ => return None,
    })
}

fn of_time(unit: Unit, time: i64) -> Option<Field> {
    match unit {
        Unit::Epoch => Some(Field::Seconds(time.into(), time as f64 / 1_000_000.0)),
        _ => of_clock(unit, time),
    }
}

fn of_timetz(unit: Unit, time: i64, west: i64) -> Option<Field> {
    match unit {
        Unit::Timezone => Some(Field::Whole(-west)),
        Unit::TimezoneHour => Some(Field::Whole(-west / 3600)),
        Unit::TimezoneMinute => Some(Field::Whole(-west / 60 % 60)),
        Unit::Epoch => {
            let seconds = time as f64 / 1_000_000.0 + west as f64;
            Some(Field::Seconds(i128::from(time) + i128::from(west * SECOND), seconds))
        }
        _ => of_clock(unit, time),
    }
}

fn of_interval(unit: Unit, span: &Interval) -> Result<Option<Field>, EvalError> {
    let (years, months) = (i64::from(span.months / 12), i64::from(span.months % 12));
    let whole = match unit {
        Unit::Day => i64::from(span.days),
        Unit::Month => months,
        Unit::Quarter if span.months < 0 => {
            let what = "the quarter of a negative interval depends on the version of the server";
            return Err(EvalError::new(SqlState::NOT_SUPPORTED, what));
        }
        Unit::Quarter => months / 3 + 1,
        Unit::Year => years,
        Unit::Decade => years / 10,
        Unit::Century => years / 100,
        Unit::Millennium => years / 1000,
        Unit::Week => {
            let what = "the week of an interval depends on the version of the server";
            return Err(EvalError::new(SqlState::NOT_SUPPORTED, what));
        }
        Unit::Epoch => {
            // A year has 365.25 days here, and a month 30.
            let quarter_days = years * 1461 + months * 120 + i64::from(span.days) * 4;
            let micros = i128::from(quarter_days) * 21_600_000_000 + i128::from(span.micros);
            let mut seconds = span.micros as f64 / 1_000_000.0;
            seconds += 31_557_600.0 * years as f64;
            seconds += 2_592_000.0 * months as f64;
            seconds += 86_400.0 * f64::from(span.days);
            return Ok(Some(Field::Seconds(micros, seconds)));
        }
        _ => return Ok(of_clock(unit, span.micros)),
    };
    Ok(Some(Field::Whole(whole)))
}
