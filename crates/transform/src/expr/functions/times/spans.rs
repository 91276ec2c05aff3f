//! Intervals plus, minus, times and divided, and brought to days and months.

use super::arithmetic::negated;
use super::{Out, wrong};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::text::times::calendar::{DAY, MINUTE, SECOND};
use crate::expr::text::times::{finite, interval_out_of_range};
use crate::expr::value::Interval;

/// `interval + interval`
pub(super) fn plus<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Interval(left), Datum::Interval(right)] = args else { return wrong() };
    let sum = || {
        Some(Interval {
            months: left.months.checked_add(right.months)?,
            days: left.days.checked_add(right.days)?,
            micros: left.micros.checked_add(right.micros)?,
        })
    };
    finite(sum().ok_or_else(interval_out_of_range)?)
}

/// `interval - interval`
pub(super) fn minus<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Interval(left), Datum::Interval(right)] = args else { return wrong() };
    let difference = || {
        Some(Interval {
            months: left.months.checked_sub(right.months)?,
            days: left.days.checked_sub(right.days)?,
            micros: left.micros.checked_sub(right.micros)?,
        })
    };
    finite(difference().ok_or_else(interval_out_of_range)?)
}

/// `- interval`
pub(super) fn negative<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Interval(span)] = args else { return wrong() };
    finite(negated(span)?)
}

/// `interval * double precision`
pub(super) fn times<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let ([Datum::Interval(span), Datum::Float8(factor)] | [Datum::Float8(factor), Datum::Interval(span)]) =
        args
    else {
        return wrong();
    };
    refuse_infinite(*factor)?;
    if factor.is_nan() {
        return Err(interval_out_of_range());
    }
    scaled(span, |value| value * factor)
}

/// `interval / double precision`
pub(super) fn divided<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Interval(span), Datum::Float8(divisor)] = args else { return wrong() };
    if *divisor == 0.0 {
        return Err(EvalError::new(SqlState::DIVISION_BY_ZERO, "division by zero"));
    }
    if divisor.is_nan() {
        return Err(interval_out_of_range());
    }
    scaled(span, |value| value / divisor)
}

fn refuse_infinite(factor: f64) -> Result<(), EvalError> {
    if factor.is_infinite() {
        let what = "an interval times infinity depends on the version of the server";
        return Err(EvalError::new(SqlState::NOT_SUPPORTED, what));
    }
    Ok(())
}

/// A number with six digits behind the point.
fn to_micro(value: f64) -> f64 {
    (value * 1_000_000.0).round_ties_even() / 1_000_000.0
}

/// What is left of months becomes days of which a month has 30, what is left of days becomes time.
fn scaled(span: &Interval, scale: impl Fn(f64) -> f64) -> Result<Datum<'static>, EvalError> {
    const DAY_SECONDS: f64 = 86_400.0;
    let fits_int = |value: f64| (-2_147_483_648.0..2_147_483_648.0).contains(&value);
    let (months, days) = (scale(f64::from(span.months)), scale(f64::from(span.days)));
    if !fits_int(months) || !fits_int(days) {
        return Err(interval_out_of_range());
    }
    let more_days = to_micro((months - months.trunc()) * 30.0);
    let mut seconds = to_micro((days - days.trunc() + more_days - more_days.trunc()) * DAY_SECONDS);
    let mut whole_days = days as i32;
    if seconds.abs() >= DAY_SECONDS {
        let whole = (seconds / DAY_SECONDS).trunc();
        whole_days = whole_days.checked_add(whole as i32).ok_or_else(interval_out_of_range)?;
        seconds -= whole * DAY_SECONDS;
    }
    whole_days = whole_days.checked_add(more_days as i32).ok_or_else(interval_out_of_range)?;
    let micros = (scale(span.micros as f64) + seconds * SECOND as f64).round_ties_even();
    if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&micros) {
        return Err(interval_out_of_range());
    }
    finite(Interval { months: months as i32, days: whole_days, micros: micros as i64 })
}

/// `justify_hours(interval)`
pub(super) fn justify_hours<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Interval(span)] = args else { return wrong() };
    let days = i32::try_from(span.micros / DAY).ok().and_then(|days| span.days.checked_add(days));
    let mut span =
        Interval { days: days.ok_or_else(interval_out_of_range)?, micros: span.micros % DAY, ..*span };
    same_sign_time(&mut span);
    finite(span)
}

/// `justify_days(interval)`
pub(super) fn justify_days<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Interval(span)] = args else { return wrong() };
    let months = span.months.checked_add(span.days / 30).ok_or_else(interval_out_of_range)?;
    let mut span = Interval { months, days: span.days % 30, ..*span };
    if span.months > 0 && span.days < 0 {
        span.days += 30;
        span.months -= 1;
    } else if span.months < 0 && span.days > 0 {
        span.days -= 30;
        span.months += 1;
    }
    finite(span)
}

/// `justify_interval(interval)`
pub(super) fn justify_interval<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Interval(span)] = args else { return wrong() };
    let mut span = *span;
    let add_months = |span: &mut Interval| {
        span.months = span.months.checked_add(span.days / 30).ok_or_else(interval_out_of_range)?;
        span.days %= 30;
        Ok(())
    };
    if (span.days > 0 && span.micros > 0) || (span.days < 0 && span.micros < 0) {
        add_months(&mut span)?;
    }
    span.days += (span.micros / DAY) as i32;
    span.micros %= DAY;
    add_months(&mut span)?;
    if span.months > 0 && (span.days < 0 || (span.days == 0 && span.micros < 0)) {
        span.days += 30;
        span.months -= 1;
    } else if span.months < 0 && (span.days > 0 || (span.days == 0 && span.micros > 0)) {
        span.days -= 30;
        span.months += 1;
    }
    same_sign_time(&mut span);
    finite(span)
}

fn same_sign_time(span: &mut Interval) {
    if span.days > 0 && span.micros < 0 {
        span.micros += DAY;
        span.days -= 1;
    } else if span.days < 0 && span.micros > 0 {
        span.micros -= DAY;
        span.days += 1;
    }
}

/// `make_interval(years, months, weeks, days, hours, mins, secs)`, of which the last may be left out.
pub(super) fn make<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let whole = |at: usize| match args.get(at) {
        Some(Datum::Int(value)) => *value,
        _ => 0,
    };
    let seconds = match args.get(6) {
        Some(Datum::Float8(seconds)) => *seconds,
        _ => 0.0,
    };
    if !seconds.is_finite() {
        return Err(interval_out_of_range());
    }
    let micros = (seconds * SECOND as f64).round_ties_even();
    let minutes = i128::from(whole(4) * 60 + whole(5)) * i128::from(MINUTE);
    let span = || {
        let scaled = |value: i64, unit: i64, more: i64| {
            let product = i32::try_from(value * unit).ok()?;
            i32::try_from(i64::from(product) + more).ok()
        };
        let minutes = i64::try_from(minutes).ok()?;
        let time = i128::from(minutes).saturating_add(micros as i128);
        let micros = i64::try_from(time).ok()?;
        Some((scaled(whole(0), 12, whole(1))?, scaled(whole(2), 7, whole(3))?, micros))
    };
    let Some((months, days, micros)) = span() else {
        let what = "an interval past its range depends on the version of the server";
        return Err(EvalError::new(SqlState::NOT_SUPPORTED, what));
    };
    finite(Interval { months, days, micros })
}
