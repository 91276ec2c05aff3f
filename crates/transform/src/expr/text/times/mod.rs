//! Dates, times and intervals as text.

pub(crate) mod calendar;
mod parts;
mod quick;
mod read;
mod span;
mod split;
pub(crate) mod words;
pub(crate) mod write;
pub(crate) mod zones;

#[cfg(test)]
mod tests;

use calendar::{Moment, SECOND, UNIX_EPOCH_DAYS};
use read::Meaning;

use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::types::{Modifier, SqlType};
use crate::expr::value::Interval;

/// `invalid_time_zone_displacement_value`
const DISPLACEMENT: SqlState = SqlState(*b"22009");
/// `interval_field_overflow`
const INTERVAL_OVERFLOW: SqlState = SqlState(*b"22015");

/// Why a text is no date, time or interval.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    Format,
    Field,
    SpanField,
    SpanRange,
    Displacement,
    /// The zone of this name is not known.
    Zone(String),
    /// The offset of the zone then is not known to us.
    ZoneData,
    Unsupported(&'static str),
}

impl Failure {
    fn error(self, ty: &SqlType, text: &str) -> EvalError {
        let quoting =
            |state, what: &'static str| EvalError::quoting(state, what, format!("{what}: \"{text}\""));
        match self {
            Failure::Format => quoting(
                SqlState::INVALID_DATETIME,
                match ty {
                    SqlType::Date => "invalid input syntax for type date",
                    SqlType::Time => "invalid input syntax for type time",
                    SqlType::TimeTz => "invalid input syntax for type time with time zone",
                    SqlType::Timestamp => "invalid input syntax for type timestamp",
                    SqlType::Interval => "invalid input syntax for type interval",
                    _ => "invalid input syntax for type timestamp with time zone",
                },
            ),
            Failure::Field => quoting(SqlState::DATETIME_OVERFLOW, "date/time field value out of range"),
            Failure::SpanField => quoting(INTERVAL_OVERFLOW, "interval field value out of range"),
            Failure::SpanRange => interval_out_of_range(),
            Failure::Displacement => quoting(DISPLACEMENT, "time zone displacement out of range"),
            Failure::Zone(name) => unknown_zone(&name),
            Failure::ZoneData => EvalError::new(
                SqlState::NOT_SUPPORTED,
                "a time zone abbreviation whose meaning changed over time is not supported",
            ),
            Failure::Unsupported(what) => EvalError::new(SqlState::NOT_SUPPORTED, what),
        }
    }
}

/// A zone that Postgres does not know.
pub(crate) fn unknown_zone(name: &str) -> EvalError {
    EvalError::quoting(
        SqlState::INVALID_PARAMETER,
        "time zone not recognized",
        format!("time zone \"{name}\" not recognized"),
    )
}

/// Past the range of `interval`.
pub(crate) fn interval_out_of_range() -> EvalError {
    EvalError::new(SqlState::DATETIME_OVERFLOW, "interval out of range")
}

/// Past the range of `timestamp`.
pub(crate) fn timestamp_out_of_range() -> EvalError {
    EvalError::new(SqlState::DATETIME_OVERFLOW, "timestamp out of range")
}

/// Past the range of `date`.
pub(crate) fn date_out_of_range() -> EvalError {
    EvalError::new(SqlState::DATETIME_OVERFLOW, "date out of range")
}

/// An interval that no server takes for an infinity.
pub(crate) fn finite(span: Interval) -> Result<Datum<'static>, EvalError> {
    if span.is_infinite() {
        let what = "an infinite interval, which Postgres knows from 17 on, is not supported";
        return Err(EvalError::new(SqlState::NOT_SUPPORTED, what));
    }
    Ok(Datum::Interval(span))
}

pub(super) fn time_in<'a>(ty: &SqlType, text: &'a str) -> Result<Datum<'a>, EvalError> {
    if let Some(value) = quick::read(ty, text) {
        return Ok(value);
    }
    let failed = |failure: Failure| failure.error(ty, text);
    match ty {
        SqlType::Date => date_in(text).map_err(failed)?,
        SqlType::Time => Ok(Datum::Time(read::time_only(text, false).map_err(failed)?.0)),
        SqlType::TimeTz => {
            let (time, west) = read::time_only(text, true).map_err(failed)?;
            Ok(Datum::TimeTz(time, west as i32))
        }
        SqlType::Interval => finite(span::interval(text).map_err(failed)?),
        _ => timestamp_in(text, *ty == SqlType::TimestampTz).map_err(failed)?,
    }
}

fn date_in<'a>(text: &str) -> Result<Result<Datum<'a>, EvalError>, Failure> {
    Ok(match read::date_time(text, read::ROOM)? {
        Meaning::Moment(moment, _) => {
            calendar::date_of(moment.year, moment.month, moment.day).map(Datum::Date).ok_or_else(|| {
                EvalError::quoting(
                    SqlState::DATETIME_OVERFLOW,
                    "date out of range",
                    format!("date out of range: \"{text}\""),
                )
            })
        }
        Meaning::Epoch => Ok(Datum::Date(UNIX_EPOCH_DAYS as i32)),
        Meaning::Infinity => Ok(Datum::Date(i32::MAX)),
        Meaning::NegativeInfinity => Ok(Datum::Date(i32::MIN)),
    })
}

fn timestamp_in<'a>(text: &str, is_zoned: bool) -> Result<Result<Datum<'a>, EvalError>, Failure> {
    let (moment, zone) = match read::date_time(text, read::TIMESTAMP_ROOM)? {
        Meaning::Moment(moment, zone) => (moment, zone),
        Meaning::Epoch => return Ok(Ok(Datum::Timestamp(UNIX_EPOCH_DAYS * calendar::DAY))),
        Meaning::Infinity => return Ok(Ok(Datum::Timestamp(i64::MAX))),
        Meaning::NegativeInfinity => return Ok(Ok(Datum::Timestamp(i64::MIN))),
    };
    let west = match zone {
        _ if !is_zoned => 0,
        parts::ZoneRead::None => 0,
        parts::ZoneRead::West(west) => west,
        parts::ZoneRead::Named(zone) => zones::local_west(&zone, &moment).ok_or(Failure::ZoneData)?,
        parts::ZoneRead::Dynamic => return Err(Failure::ZoneData),
    };
    Ok(moment.timestamp(west).map(Datum::Timestamp).ok_or_else(|| {
        EvalError::quoting(
            SqlState::DATETIME_OVERFLOW,
            "timestamp out of range",
            format!("timestamp out of range: \"{text}\""),
        )
    }))
}

pub(super) fn time_out(value: &Datum<'_>, ty: &SqlType) -> String {
    match value {
        Datum::Date(days) => write::date(*days),
        Datum::Time(micros) => write::time(*micros),
        Datum::TimeTz(micros, west) => write::timetz(*micros, *west),
        Datum::Timestamp(micros) => write::timestamp(*micros, *ty == SqlType::TimestampTz),
        Datum::Interval(span) => write::interval(span),
        _ => String::new(),
    }
}

pub(super) fn fit_time<'a>(
    value: Datum<'a>,
    _: &SqlType,
    modifier: Modifier,
) -> Result<Datum<'a>, EvalError> {
    let digits = modifier.fraction_digits().unwrap_or(6);
    Ok(match value {
        Datum::Time(micros) => Datum::Time(rounded(micros, digits).unwrap_or(micros)),
        Datum::TimeTz(micros, west) => Datum::TimeTz(rounded(micros, digits).unwrap_or(micros), west),
        Datum::Timestamp(micros) if !calendar::INFINITE.contains(&micros) => {
            Datum::Timestamp(rounded(micros, digits).ok_or_else(timestamp_out_of_range)?)
        }
        Datum::Interval(span) => return finite(fit_interval(span, modifier, digits)?),
        other => other,
    })
}

/// What is left of an interval whose type has only some fields, as in `interval day to minute`. What is above the first
/// of them stays.
fn fit_interval(span: Interval, modifier: Modifier, digits: u32) -> Result<Interval, EvalError> {
    const FIELDS: [i32; 6] = [1 << 12, 1 << 11, 1 << 10, 1 << 3, 1 << 1, 1 << 2];
    const ALL: i32 = 0x7fff;
    let range = (modifier.0 >> 16) & ALL;
    let last = FIELDS.iter().position(|field| range & field != 0);
    let cut = |unit: i64| Interval { micros: span.micros / unit * unit, ..span };
    Ok(match last {
        Some(1) => cut(calendar::MINUTE),
        Some(2) => cut(calendar::HOUR),
        Some(3) => Interval { micros: 0, ..span },
        Some(4) => Interval { days: 0, micros: 0, ..span },
        Some(5) => Interval { months: span.months / 12 * 12, days: 0, micros: 0 },
        _ => {
            let micros = rounded(span.micros, digits).ok_or_else(|| {
                let what = "an interval rounded past its range depends on the version of the server";
                EvalError::new(SqlState::NOT_SUPPORTED, what)
            })?;
            Interval { micros, ..span }
        }
    })
}

/// Microseconds rounded to so many digits of a second; half goes away from zero.
pub(crate) fn rounded(micros: i64, digits: u32) -> Option<i64> {
    let unit = 10_i64.pow(6_u32.saturating_sub(digits));
    let half = if micros < 0 { -unit / 2 } else { unit / 2 };
    micros.checked_add(half).map(|micros| micros / unit * unit)
}

/// The seconds that a zone written as an offset lies west; nothing when it is none, an error when it is too far.
pub(crate) fn offset_in(text: &str) -> Result<Option<i64>, ()> {
    let mut parts = parts::Parts::default();
    match parts.zone_offset(text) {
        Err(Failure::Displacement) => Err(()),
        Err(_) => Ok(None),
        Ok(_) => Ok(match parts.zone {
            parts::ZoneRead::West(west) => Some(west),
            _ => None,
        }),
    }
}

/// Midnight of a date as a timestamp; the infinities stay.
pub(crate) fn midnight(days: i32) -> Result<i64, EvalError> {
    match days {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        days => {
            let micros = i64::from(days).checked_mul(calendar::DAY);
            micros
                .filter(|micros| calendar::timestamp_in_range(*micros))
                .ok_or_else(|| EvalError::new(SqlState::DATETIME_OVERFLOW, "date out of range for timestamp"))
        }
    }
}

/// The parts of a finite timestamp as it is shown by clocks that lie so many seconds west.
pub(crate) fn shown(micros: i64, west: i64) -> Moment {
    Moment::of(micros.saturating_sub(west * SECOND))
}
