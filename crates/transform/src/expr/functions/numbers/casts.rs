//! Casts among the types of numbers, and to and from booleans.

use super::floats::{overflow, underflow};
use super::integers;
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Slot::{Bool, Float4, Float8, Int2, Int4, Int8, Numeric};
use crate::expr::functions::{Call, Cast};
use crate::expr::resolve::Context::{Assignment, Explicit, Implicit};
use crate::expr::types::SqlType;
use crate::expr::value::Numeric as Number;

type Result<'a> = std::result::Result<Datum<'a>, EvalError>;

pub(in crate::expr::functions) const CASTS: &[Cast] = &[
    Cast::new(Implicit, &[Int2], Int4, to_integer),
    Cast::new(Implicit, &[Int2], Int8, to_integer),
    Cast::new(Implicit, &[Int2], Numeric, to_numeric),
    Cast::new(Implicit, &[Int2], Float4, to_float),
    Cast::new(Implicit, &[Int2], Float8, to_float),
    Cast::new(Assignment, &[Int4], Int2, to_integer),
    Cast::new(Implicit, &[Int4], Int8, to_integer),
    Cast::new(Implicit, &[Int4], Numeric, to_numeric),
    Cast::new(Implicit, &[Int4], Float4, to_float),
    Cast::new(Implicit, &[Int4], Float8, to_float),
    Cast::new(Explicit, &[Int4], Bool, to_bool),
    Cast::new(Assignment, &[Int8], Int2, to_integer),
    Cast::new(Assignment, &[Int8], Int4, to_integer),
    Cast::new(Implicit, &[Int8], Numeric, to_numeric),
    Cast::new(Implicit, &[Int8], Float4, to_float),
    Cast::new(Implicit, &[Int8], Float8, to_float),
    Cast::new(Assignment, &[Numeric], Int2, to_integer),
    Cast::new(Assignment, &[Numeric], Int4, to_integer),
    Cast::new(Assignment, &[Numeric], Int8, to_integer),
    Cast::new(Implicit, &[Numeric], Float4, to_float),
    Cast::new(Implicit, &[Numeric], Float8, to_float),
    Cast::new(Assignment, &[Float4], Int2, to_integer),
    Cast::new(Assignment, &[Float4], Int4, to_integer),
    Cast::new(Assignment, &[Float4], Int8, to_integer),
    Cast::new(Assignment, &[Float4], Numeric, to_numeric),
    Cast::new(Implicit, &[Float4], Float8, to_float),
    Cast::new(Assignment, &[Float8], Int2, to_integer),
    Cast::new(Assignment, &[Float8], Int4, to_integer),
    Cast::new(Assignment, &[Float8], Int8, to_integer),
    Cast::new(Assignment, &[Float8], Numeric, to_numeric),
    Cast::new(Assignment, &[Float8], Float4, to_float),
    Cast::new(Explicit, &[Bool], Int4, to_integer),
];

/// Floats go to the nearest integer, to the even one from the middle; `numeric` away from zero.
fn to_integer<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let ty = call.result.base();
    match args {
        [Datum::Int(value)] => integers::fitted(call, Some(*value)),
        [Datum::Bool(value)] => Ok(Datum::Int((*value).into())),
        [Datum::Float4(value)] => from_double(call, f64::from(*value)),
        [Datum::Float8(value)] => from_double(call, *value),
        [Datum::Numeric(value)] if value.is_nan() => Err(EvalError::new(
            SqlState::NOT_SUPPORTED,
            match ty {
                SqlType::Int2 => "cannot convert NaN to smallint",
                SqlType::Int4 => "cannot convert NaN to integer",
                _ => "cannot convert NaN to bigint",
            },
        )),
        [Datum::Numeric(value)] if !value.is_finite() => Err(EvalError::new(
            SqlState::NOT_SUPPORTED,
            match ty {
                SqlType::Int2 => "cannot convert infinity to smallint",
                SqlType::Int4 => "cannot convert infinity to integer",
                _ => "cannot convert infinity to bigint",
            },
        )),
        [Datum::Numeric(value)] => integers::fitted(call, value.to_i64()),
        // Calls are resolved by type.
        _ => Ok(Datum::Null),
    }
}

fn from_double<'a>(call: Call<'_>, value: f64) -> Result<'a> {
    /// 2^63, the first number that `bigint` has no room for.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let rounded = value.round_ties_even();
    let fits = (-LIMIT..LIMIT).contains(&rounded);
    integers::fitted(call, fits.then_some(rounded as i64))
}

fn to_numeric<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    match args {
        [Datum::Int(value)] => Ok(Datum::Numeric(Number::from(*value))),
        [Datum::Float4(value)] => Number::from_f32(*value).map(Datum::Numeric),
        [Datum::Float8(value)] => Number::from_f64(*value).map(Datum::Numeric),
        _ => Ok(Datum::Null),
    }
}

fn to_float<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let is_single = *call.result.base() == SqlType::Float4;
    Ok(match args {
        [Datum::Int(value)] if is_single => Datum::Float4(*value as f32),
        [Datum::Int(value)] => Datum::Float8(*value as f64),
        [Datum::Float4(value)] => Datum::Float8(f64::from(*value)),
        [Datum::Float8(value)] => Datum::Float4(narrowed(*value)?),
        [Datum::Numeric(value)] if is_single => {
            Datum::Float4(value.to_f32().ok_or_else(|| no_room(value, &SqlType::Float4))?)
        }
        [Datum::Numeric(value)] => {
            Datum::Float8(value.to_f64().ok_or_else(|| no_room(value, &SqlType::Float8))?)
        }
        _ => Datum::Null,
    })
}

fn narrowed(value: f64) -> std::result::Result<f32, EvalError> {
    let narrowed = value as f32;
    if narrowed.is_infinite() && value.is_finite() {
        return Err(overflow());
    }
    if narrowed == 0.0 && value != 0.0 {
        return Err(underflow());
    }
    Ok(narrowed)
}

/// A `numeric` becomes a float by its text, and fails in the same words.
fn no_room(value: &Number, ty: &SqlType) -> EvalError {
    let message = format!("\"{value}\" is out of range for type {ty}");
    EvalError::quoting(SqlState::OUT_OF_RANGE, out_of_range_text(ty), message)
}

fn out_of_range_text(ty: &SqlType) -> &'static str {
    match ty {
        SqlType::Float4 => "value is out of range for type real",
        _ => "value is out of range for type double precision",
    }
}

fn to_bool<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    Ok(match args {
        [Datum::Int(value)] => Datum::Bool(*value != 0),
        _ => Datum::Null,
    })
}
