//! Dates and times from numbers.

use super::at_zone::{self, Zone};
use super::{Out, out_of, wrong};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::text::times::calendar::{self, DAY, HOUR, MINUTE, Moment, SECOND};
use crate::expr::text::times::{date_out_of_range, offset_in, timestamp_out_of_range};

/// A date whose negative years count before Christ.
fn date(written: i64, month: i64, day: i64) -> Result<Moment, EvalError> {
    let year = if written < 0 { written + 1 } else { written };
    let fits =
        written != 0 && (1..=12).contains(&month) && (1..=calendar::month_days(year, month)).contains(&day);
    let too_far = || {
        let what = "date field value out of range";
        let date = format!("{what}: {written}-{month:02}-{day:02}");
        EvalError::quoting(SqlState::DATETIME_OVERFLOW, what, date)
    };
    if fits { Ok(Moment { year, month, day, ..Moment::default() }) } else { Err(too_far()) }
}

/// Microseconds since midnight, up to 24:00.
fn time(hour: i64, minute: i64, second: f64) -> Result<i64, EvalError> {
    let too_far = || out_of("time field value out of range");
    let micros = (second * SECOND as f64).round_ties_even();
    if !(0..=24).contains(&hour) || !(0..60).contains(&minute) || !(0.0..=60e6).contains(&micros) {
        return Err(too_far());
    }
    let time = hour * HOUR + minute * MINUTE + micros as i64;
    if time > DAY { Err(too_far()) } else { Ok(time) }
}

/// `make_date(year, month, day)`
pub(super) fn make_date<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Int(year), Datum::Int(month), Datum::Int(day)] = args else { return wrong() };
    let moment = date(*year, *month, *day)?;
    calendar::date_of(moment.year, moment.month, moment.day).map(Datum::Date).ok_or_else(date_out_of_range)
}

/// `make_time(hour, minute, second)`
pub(super) fn make_time<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    match args {
        [Datum::Int(hour), Datum::Int(minute), Datum::Float8(second)] => {
            time(*hour, *minute, *second).map(Datum::Time)
        }
        _ => wrong(),
    }
}

/// `make_timestamp` and `make_timestamptz`, with and without a zone.
pub(super) fn make_timestamp<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [
        Datum::Int(year),
        Datum::Int(month),
        Datum::Int(day),
        Datum::Int(hour),
        Datum::Int(minute),
        rest @ ..,
    ] = args
    else {
        return wrong();
    };
    let (second, zone) = match rest {
        [Datum::Float8(second)] => (*second, None),
        [Datum::Float8(second), Datum::Text(zone)] => (*second, Some(zone)),
        _ => return wrong(),
    };
    let midnight = date(*year, *month, *day)?;
    let time = time(*hour, *minute, second)?;
    let local = midnight.timestamp(0).and_then(|start| start.checked_add(time));
    let local = local.filter(|micros| calendar::timestamp_in_range(*micros));
    let local = local.ok_or_else(timestamp_out_of_range)?;
    let west = match zone {
        None => 0,
        Some(zone) => zone_of(zone)?.west_of_local(&Moment::of(local))?,
    };
    let instant = local.checked_add(west * SECOND).filter(|micros| calendar::timestamp_in_range(*micros));
    instant.map(Datum::Timestamp).ok_or_else(timestamp_out_of_range)
}

/// A zone by its offset or its name. An offset needs its sign.
fn zone_of(text: &str) -> Result<Zone, EvalError> {
    let refused = |what| EvalError::new(SqlState::INVALID_PARAMETER, what);
    if text.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Err(refused("invalid input syntax for type numeric time zone"));
    }
    match offset_in(text) {
        Ok(Some(west)) => Ok(Zone::West(west)),
        Ok(None) => at_zone::named(text),
        Err(()) => Err(refused("numeric time zone out of range")),
    }
}

/// `to_timestamp(double precision)`: seconds since 1970.
pub(super) fn from_epoch<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    const EPOCH: f64 = 946_684_800.0;
    let [Datum::Float8(seconds)] = args else { return wrong() };
    if seconds.is_nan() {
        return Err(out_of("timestamp cannot be NaN"));
    }
    if seconds.is_infinite() {
        return Ok(Datum::Timestamp(if *seconds > 0.0 { i64::MAX } else { i64::MIN }));
    }
    let too_far = || {
        let what = "timestamp out of range";
        EvalError::quoting(SqlState::DATETIME_OVERFLOW, what, format!("{what}: \"{seconds}\""))
    };
    if !(-210_866_803_200.0..9_224_318_016_000.0).contains(seconds) {
        return Err(too_far());
    }
    let micros = ((seconds - EPOCH) * SECOND as f64).round_ties_even() as i64;
    if calendar::timestamp_in_range(micros) { Ok(Datum::Timestamp(micros)) } else { Err(too_far()) }
}
