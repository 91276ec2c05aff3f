//! Dates and times plus and minus days, times and intervals.

use super::{Out, out_of, wrong};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::text::times::calendar::{self, DAY, INFINITE, Moment, SECOND};
use crate::expr::text::times::{
    date_out_of_range, finite, interval_out_of_range, midnight, timestamp_out_of_range,
};
use crate::expr::value::Interval;

fn moved(days: i32, by: i64) -> Result<Datum<'static>, EvalError> {
    if days == i32::MAX || days == i32::MIN {
        return Ok(Datum::Date(days));
    }
    let sum = calendar::date_in_range(i64::from(days) + by);
    sum.map(Datum::Date).ok_or_else(date_out_of_range)
}

/// `date + integer`
pub(super) fn date_plus_days<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    match args {
        [Datum::Date(days), Datum::Int(by)] | [Datum::Int(by), Datum::Date(days)] => moved(*days, *by),
        _ => wrong(),
    }
}

/// `date - integer`
pub(super) fn date_minus_days<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    match args {
        [Datum::Date(days), Datum::Int(by)] => moved(*days, -by),
        _ => wrong(),
    }
}

/// `date - date`
pub(super) fn date_minus_date<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Date(left), Datum::Date(right)] = args else { return wrong() };
    if [left, right].into_iter().any(|days| *days == i32::MAX || *days == i32::MIN) {
        return Err(out_of("cannot subtract infinite dates"));
    }
    i32::try_from(i64::from(*left) - i64::from(*right))
        .map(|days| Datum::Int(days.into()))
        .map_err(|_| out_of("date out of range"))
}

/// `date + time`
pub(super) fn date_plus_time<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let ([Datum::Date(days), Datum::Time(time)] | [Datum::Time(time), Datum::Date(days)]) = args else {
        return wrong();
    };
    let start = midnight(*days)?;
    in_range(if INFINITE.contains(&start) { Some(start) } else { start.checked_add(*time) })
}

/// `date + timetz`
pub(super) fn date_plus_timetz<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let ([Datum::Date(days), Datum::TimeTz(time, west)] | [Datum::TimeTz(time, west), Datum::Date(days)]) =
        args
    else {
        return wrong();
    };
    let start = midnight(*days)?;
    if INFINITE.contains(&start) {
        return Ok(Datum::Timestamp(start));
    }
    let micros = start.checked_add(*time + i64::from(*west) * SECOND);
    micros
        .filter(|micros| calendar::timestamp_in_range(*micros))
        .map(Datum::Timestamp)
        .ok_or_else(|| out_of("date out of range for timestamp"))
}

/// A timestamp that may be infinite, in range.
fn in_range(micros: Option<i64>) -> Result<Datum<'static>, EvalError> {
    let fits = |micros: &i64| INFINITE.contains(micros) || calendar::timestamp_in_range(*micros);
    micros.filter(fits).map(Datum::Timestamp).ok_or_else(timestamp_out_of_range)
}

/// A timestamp and an interval: first the months, then the days, then the time.
pub(super) fn advanced(micros: i64, span: &Interval) -> Result<i64, EvalError> {
    if INFINITE.contains(&micros) {
        return Ok(micros);
    }
    let mut sum = micros;
    if span.months != 0 {
        let mut moment = Moment::of(sum);
        let months = moment.year * 12 + moment.month - 1 + i64::from(span.months);
        (moment.year, moment.month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        moment.day = moment.day.min(calendar::month_days(moment.year, moment.month));
        sum = moment.timestamp(0).ok_or_else(timestamp_out_of_range)?;
    }
    let fits = |micros: &i64| calendar::timestamp_in_range(*micros);
    if span.days != 0 {
        let days = i128::from(sum) + i128::from(span.days) * i128::from(DAY);
        sum = i64::try_from(days).ok().filter(fits).ok_or_else(timestamp_out_of_range)?;
    }
    sum.checked_add(span.micros).filter(fits).ok_or_else(timestamp_out_of_range)
}

pub(super) fn negated(span: &Interval) -> Result<Interval, EvalError> {
    let negative = |value: i32| value.checked_neg().ok_or_else(interval_out_of_range);
    let micros = span.micros.checked_neg().ok_or_else(interval_out_of_range)?;
    Ok(Interval { months: negative(span.months)?, days: negative(span.days)?, micros })
}

/// `timestamp + interval`, `date + interval`, of both kinds of timestamps.
pub(super) fn plus_interval<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let ([start, Datum::Interval(span)] | [Datum::Interval(span), start]) = args else { return wrong() };
    shifted(start, span)
}

/// The same with a minus.
pub(super) fn minus_interval<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [start, Datum::Interval(span)] = args else { return wrong() };
    let is_infinite = match start {
        Datum::Timestamp(micros) => INFINITE.contains(micros),
        Datum::Date(days) => *days == i32::MAX || *days == i32::MIN,
        _ => false,
    };
    match negated(span) {
        Ok(span) => shifted(start, &span),
        Err(_) if is_infinite => {
            let what = "an infinite date minus such an interval depends on the version of the server";
            Err(EvalError::new(SqlState::NOT_SUPPORTED, what))
        }
        Err(error) => Err(error),
    }
}

fn shifted<'a>(start: &Datum<'a>, span: &Interval) -> Out<'a> {
    match start {
        Datum::Timestamp(micros) => advanced(*micros, span).map(Datum::Timestamp),
        Datum::Date(days) => advanced(midnight(*days)?, span).map(Datum::Timestamp),
        Datum::Time(time) => Ok(Datum::Time(time.wrapping_add(span.micros).rem_euclid(DAY))),
        Datum::TimeTz(time, west) => Ok(Datum::TimeTz(time.wrapping_add(span.micros).rem_euclid(DAY), *west)),
        _ => wrong(),
    }
}

/// `time - interval`, of both kinds of times.
pub(super) fn time_minus_interval<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [start, Datum::Interval(span)] = args else { return wrong() };
    let micros = span.micros.checked_neg().ok_or_else(interval_out_of_range)?;
    shifted(start, &Interval { micros, ..Interval::default() })
}

/// `timestamp - timestamp`, of both kinds.
pub(super) fn minus_timestamp<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Timestamp(left), Datum::Timestamp(right)] = args else { return wrong() };
    refuse_infinite(&[*left, *right])?;
    let micros = left.checked_sub(*right).ok_or_else(|| {
        let what = "a difference past the range of intervals depends on the version of the server";
        EvalError::new(SqlState::NOT_SUPPORTED, what)
    })?;
    finite(Interval { months: 0, days: (micros / DAY) as i32, micros: micros % DAY })
}

fn refuse_infinite(timestamps: &[i64]) -> Result<(), EvalError> {
    if timestamps.iter().any(|micros| INFINITE.contains(micros)) {
        let what = "the difference to an infinite timestamp depends on the version of the server";
        return Err(EvalError::new(SqlState::NOT_SUPPORTED, what));
    }
    Ok(())
}

/// `time - time`
pub(super) fn minus_time<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Time(left), Datum::Time(right)] = args else { return wrong() };
    finite(Interval { micros: left - right, ..Interval::default() })
}

/// `age(timestamp, timestamp)`, of both kinds.
pub(super) fn age<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Timestamp(left), Datum::Timestamp(right)] = args else { return wrong() };
    refuse_infinite(&[*left, *right])?;
    let (later, sooner) = (Moment::of(*left.max(right)), Moment::of(*left.min(right)));
    let mut time = later.time() - sooner.time();
    let mut days = later.day - sooner.day;
    let mut months = (later.year - sooner.year) * 12 + later.month - sooner.month;
    if time < 0 {
        time += DAY;
        days -= 1;
    }
    // Days are borrowed from the month of the earlier one.
    while days < 0 {
        days += calendar::month_days(sooner.year, sooner.month);
        months -= 1;
    }
    let sign = if left < right { -1 } else { 1 };
    let months = i32::try_from(months * sign).map_err(|_| interval_out_of_range())?;
    finite(Interval { months, days: (days * sign) as i32, micros: time * sign })
}

/// `date_bin(interval, timestamp, timestamp)`, of both kinds.
pub(super) fn date_bin<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Interval(stride), Datum::Timestamp(micros), Datum::Timestamp(origin)] = args else {
        return wrong();
    };
    if INFINITE.contains(micros) {
        return Ok(Datum::Timestamp(*micros));
    }
    if INFINITE.contains(origin) {
        return Err(out_of("origin out of range"));
    }
    if stride.months != 0 {
        let what = "timestamps cannot be binned into intervals containing months or years";
        return Err(EvalError::new(SqlState::NOT_SUPPORTED, what));
    }
    let width = i64::from(stride.days).checked_mul(DAY).and_then(|days| days.checked_add(stride.micros));
    let width = width.ok_or_else(interval_out_of_range)?;
    if width <= 0 {
        return Err(out_of("stride must be greater than zero"));
    }
    let distance = micros.checked_sub(*origin).ok_or_else(interval_out_of_range)?;
    // The start of the first bins lies further from the origin than a distance can say.
    let start = i128::from(distance.div_euclid(width)) * i128::from(width) + i128::from(*origin);
    in_range(i64::try_from(start).ok())
}
