//! Dates and intervals cut off at a unit: `date_trunc`.

use super::at_zone::{self, Zone};
use super::{Out, unknown_unit, unsupported_unit, wrong};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::text::times::calendar::{self, DAY, HOUR, INFINITE, MINUTE, Moment, SECOND};
use crate::expr::text::times::words::{SpanWord, Unit, span_word};
use crate::expr::text::times::{finite, timestamp_out_of_range};
use crate::expr::types::SqlType;
use crate::expr::value::Interval;

/// `date_trunc(text, timestamp)`, of both kinds, the zoned one with the name of a zone.
pub(super) fn date_trunc<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let (name, micros, zone) = match args {
        [Datum::Text(name), Datum::Timestamp(micros)] => (name, *micros, None),
        [Datum::Text(name), Datum::Timestamp(micros), Datum::Text(zone)] => (name, *micros, Some(zone)),
        [Datum::Text(name), Datum::Interval(span)] => return interval(name, span),
        _ => return wrong(),
    };
    let ty = call.result.base();
    let truncated = || {
        let unit = unit_of(name, ty)?;
        let zone = zone.map_or(Ok(Zone::West(0)), |zone| at_zone::named(zone))?;
        let finite = if INFINITE.contains(&micros) { 0 } else { micros };
        let (moment, west) = zone.local(finite)?;
        let (moment, is_day) = cut(unit, moment).ok_or_else(|| unsupported_unit(name, ty))?;
        let west = if is_day { zone.west_of_local(&moment)? } else { west };
        moment.timestamp(west).ok_or_else(timestamp_out_of_range)
    };
    if !INFINITE.contains(&micros) {
        return truncated().map(Datum::Timestamp);
    }
    match truncated() {
        Ok(_) => Ok(Datum::Timestamp(micros)),
        Err(_) => {
            let what = "an infinite timestamp with an unknown unit or zone depends on the version";
            Err(EvalError::new(SqlState::NOT_SUPPORTED, what))
        }
    }
}

/// Only the units of intervals are units here.
fn unit_of(name: &str, ty: &SqlType) -> Result<Unit, EvalError> {
    match span_word(&name.to_ascii_lowercase()) {
        Some(SpanWord::Unit(unit)) => Ok(unit),
        _ => Err(unknown_unit(name, ty)),
    }
}

/// The beginning of a unit, and whether that is the beginning of a day.
fn cut(unit: Unit, moment: Moment) -> Option<(Moment, bool)> {
    let day = |year, month, day| (Moment { year, month, day, ..Moment::default() }, true);
    let clock = |unit: i64| {
        let time = Moment::of_time(moment.time() / unit * unit);
        let Moment { year, month, day, .. } = moment;
        (Moment { year, month, day, ..time }, false)
    };
    let Moment { year, month, .. } = moment;
    let counted = |length: i64| {
        if year > 0 {
            (year + length - 1) / length * length - (length - 1)
        } else {
            -((length - 1 - (year - 1)) / length) * length + 1
        }
    };
    Some(match unit {
        Unit::Microseconds => clock(1),
        Unit::Milliseconds => clock(1000),
        Unit::Second => clock(SECOND),
        Unit::Minute => clock(MINUTE),
        Unit::Hour => clock(HOUR),
        Unit::Day => day(year, month, moment.day),
        Unit::Week => {
            let days = moment.days();
            let (year, month, monday) = calendar::civil(days - (calendar::weekday(days) + 6) % 7);
            day(year, month, monday)
        }
        Unit::Month => day(year, month, 1),
        Unit::Quarter => day(year, (month - 1) / 3 * 3 + 1, 1),
        Unit::Year => day(year, 1, 1),
        Unit::Decade if year > 0 => day(year / 10 * 10, 1, 1),
        Unit::Decade => day(-((8 - (year - 1)) / 10) * 10, 1, 1),
        Unit::Century => day(counted(100), 1, 1),
        Unit::Millennium => day(counted(1000), 1, 1),
        _ => return None,
    })
}

fn interval<'a>(name: &str, span: &Interval) -> Out<'a> {
    let ty = SqlType::Interval;
    let unit = unit_of(name, &ty)?;
    let months = |unit: i32| Interval { months: span.months / unit * unit, days: 0, micros: 0 };
    let time = |unit: i64| Interval { micros: span.micros / unit * unit, ..*span };
    finite(match unit {
        Unit::Millennium => months(12_000),
        Unit::Century => months(1200),
        Unit::Decade => months(120),
        Unit::Year => months(12),
        Unit::Quarter => months(3),
        Unit::Month => months(1),
        Unit::Day => Interval { micros: 0, ..*span },
        Unit::Hour => time(HOUR),
        Unit::Minute => time(MINUTE),
        Unit::Second => time(SECOND),
        Unit::Milliseconds => time(1000),
        Unit::Microseconds => *span,
        _ => return Err(unsupported_unit(name, &ty)),
    })
}

/// `isfinite` of whatever can be infinite.
pub(super) fn is_finite<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    Ok(Datum::Bool(match args {
        [Datum::Date(days)] => *days != i32::MAX && *days != i32::MIN,
        [Datum::Timestamp(micros)] => !INFINITE.contains(micros),
        [Datum::Interval(_)] => true,
        _ => return wrong(),
    }))
}

/// The time of day of a timestamp; nothing of an infinite one.
pub(super) fn time_of_day(micros: i64) -> Option<i64> {
    (!INFINITE.contains(&micros)).then(|| micros.rem_euclid(DAY))
}
