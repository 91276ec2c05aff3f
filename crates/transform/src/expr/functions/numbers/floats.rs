//! Floating-point numbers, with the failures where a result is too great or too small.

use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::types::SqlType;
use crate::expr::value::{INVALID_POWER, division_by_zero, negative_root};

type Result<'a> = std::result::Result<Datum<'a>, EvalError>;

pub(super) fn overflow() -> EvalError {
    EvalError::new(SqlState::OUT_OF_RANGE, "value out of range: overflow")
}

pub(super) fn underflow() -> EvalError {
    EvalError::new(SqlState::OUT_OF_RANGE, "value out of range: underflow")
}

/// Any float as the wider type, which has all values of the narrower one.
pub(super) fn double(value: Option<&Datum<'_>>) -> f64 {
    match value {
        Some(Datum::Float8(value)) => *value,
        Some(Datum::Float4(value)) => f64::from(*value),
        // Calls are resolved by type.
        _ => f64::NAN,
    }
}

fn pair(args: &[Datum<'_>]) -> (f64, f64) {
    (double(args.first()), double(args.get(1)))
}

/// Computed in the result's own precision. The wider one is rounded once more for `real`, which changes no sum, difference,
/// product or quotient: it has more than twice the digits.
fn rounded<'a>(call: Call<'_>, found: f64) -> (Datum<'a>, f64) {
    if *call.result.base() == SqlType::Float4 {
        let found = found as f32;
        (Datum::Float4(found), f64::from(found))
    } else {
        (Datum::Float8(found), found)
    }
}

pub(super) fn add<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    sum(call, left, right)
}

pub(super) fn subtract<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    sum(call, left, -right)
}

fn sum<'a>(call: Call<'_>, left: f64, right: f64) -> Result<'a> {
    let (datum, found) = rounded(call, left + right);
    if found.is_infinite() && left.is_finite() && right.is_finite() {
        return Err(overflow());
    }
    Ok(datum)
}

pub(super) fn multiply<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    let (datum, found) = rounded(call, left * right);
    if found.is_infinite() && left.is_finite() && right.is_finite() {
        return Err(overflow());
    }
    if found == 0.0 && left != 0.0 && right != 0.0 {
        return Err(underflow());
    }
    Ok(datum)
}

pub(super) fn divide<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    if right == 0.0 && !left.is_nan() {
        return Err(division_by_zero());
    }
    let (datum, found) = rounded(call, left / right);
    if found.is_infinite() && left.is_finite() {
        return Err(overflow());
    }
    if found == 0.0 && left != 0.0 && right.is_finite() {
        return Err(underflow());
    }
    Ok(datum)
}

fn each<'a>(args: &[Datum<'a>], single: fn(f32) -> f32, double: fn(f64) -> f64) -> Datum<'a> {
    match args {
        [Datum::Float4(value)] => Datum::Float4(single(*value)),
        [Datum::Float8(value)] => Datum::Float8(double(*value)),
        _ => Datum::Null,
    }
}

pub(super) fn negate<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    Ok(each(args, |value| -value, |value| -value))
}

pub(super) fn absolute<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    Ok(each(args, f32::abs, f64::abs))
}

pub(super) fn round<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    Ok(each(args, f32::round_ties_even, f64::round_ties_even))
}

pub(super) fn trunc<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    Ok(each(args, f32::trunc, f64::trunc))
}

pub(super) fn ceil<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    Ok(each(args, f32::ceil, f64::ceil))
}

pub(super) fn floor<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    Ok(each(args, f32::floor, f64::floor))
}

pub(super) fn sign<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let value = double(args.first());
    let is_positive = i8::from(value > 0.0);
    Ok(Datum::Float8(f64::from(is_positive - i8::from(value < 0.0))))
}

pub(super) fn sqrt<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let value = double(args.first());
    if value < 0.0 {
        return Err(negative_root());
    }
    Ok(Datum::Float8(value.sqrt()))
}

pub(super) fn power<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (base, exponent) = pair(args);
    if base.is_nan() || exponent.is_nan() {
        // One to any power, and anything to the power of zero, is one.
        return Ok(Datum::Float8(base.powf(exponent)));
    }
    if base == 0.0 && exponent < 0.0 {
        return Err(EvalError::new(INVALID_POWER, "zero raised to a negative power is undefined"));
    }
    if base < 0.0 && exponent.floor() != exponent {
        return Err(EvalError::new(
            INVALID_POWER,
            "a negative number raised to a non-integer power yields a complex result",
        ));
    }
    let found = base.powf(exponent);
    if base.is_finite() && exponent.is_finite() {
        if found.is_infinite() {
            return Err(overflow());
        }
        if found == 0.0 && base != 0.0 {
            return Err(underflow());
        }
    }
    Ok(Datum::Float8(found))
}
