//! Integers of two, four and eight bytes.

use super::out_of_range;
use crate::expr::datum::Datum;
use crate::expr::error::EvalError;
use crate::expr::functions::Call;
use crate::expr::types::SqlType;
use crate::expr::value::division_by_zero;

type Result<'a> = std::result::Result<Datum<'a>, EvalError>;

/// The result as an integer of its type, if it has room.
pub(super) fn fitted<'a>(call: Call<'_>, found: Option<i64>) -> Result<'a> {
    let ty = call.result.base();
    let fits = |found: &i64| match ty {
        SqlType::Int2 => i16::try_from(*found).is_ok(),
        SqlType::Int4 => i32::try_from(*found).is_ok(),
        _ => true,
    };
    found.filter(fits).map(Datum::Int).ok_or_else(|| out_of_range(ty))
}

fn pair(args: &[Datum<'_>]) -> (i64, i64) {
    match args {
        [Datum::Int(left), Datum::Int(right)] => (*left, *right),
        // Calls are resolved by type.
        _ => (0, 0),
    }
}

fn single(args: &[Datum<'_>]) -> i64 {
    match args {
        [Datum::Int(value)] => *value,
        _ => 0,
    }
}

pub(super) fn add<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    fitted(call, left.checked_add(right))
}

pub(super) fn subtract<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    fitted(call, left.checked_sub(right))
}

pub(super) fn multiply<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    fitted(call, left.checked_mul(right))
}

pub(super) fn divide<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    if right == 0 {
        return Err(division_by_zero());
    }
    fitted(call, left.checked_div(right))
}

pub(super) fn remainder<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    if right == 0 {
        return Err(division_by_zero());
    }
    // The least number divided by -1 has no quotient, but leaves nothing.
    Ok(Datum::Int(left.checked_rem(right).unwrap_or(0)))
}

pub(super) fn negate<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    fitted(call, single(args).checked_neg())
}

pub(super) fn absolute<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    fitted(call, single(args).checked_abs())
}

pub(super) fn bit_and<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    Ok(Datum::Int(left & right))
}

pub(super) fn bit_or<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    Ok(Datum::Int(left | right))
}

pub(super) fn bit_xor<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    Ok(Datum::Int(left ^ right))
}

pub(super) fn bit_not<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    Ok(Datum::Int(!single(args)))
}

/// Processors look at the last bits of the count only, so a shift by 33 is one by 1.
pub(super) fn shift_left<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (value, count) = pair(args);
    let count = count as u32;
    Ok(Datum::Int(match call.result.base() {
        SqlType::Int2 => (value as i32).wrapping_shl(count) as i16 as i64,
        SqlType::Int4 => (value as i32).wrapping_shl(count) as i64,
        _ => value.wrapping_shl(count),
    }))
}

pub(super) fn shift_right<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (value, count) = pair(args);
    let count = count as u32;
    Ok(Datum::Int(match call.result.base() {
        SqlType::Int2 | SqlType::Int4 => (value as i32).wrapping_shr(count) as i64,
        _ => value.wrapping_shr(count),
    }))
}

fn common_divisor(left: i64, right: i64) -> u64 {
    let (mut left, mut right) = (left.unsigned_abs(), right.unsigned_abs());
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

pub(super) fn gcd<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    fitted(call, i64::try_from(common_divisor(left, right)).ok())
}

pub(super) fn lcm<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let (left, right) = pair(args);
    if left == 0 || right == 0 {
        return Ok(Datum::Int(0));
    }
    let factor = left.unsigned_abs() / common_divisor(left, right);
    let found = factor.checked_mul(right.unsigned_abs());
    fitted(call, found.and_then(|found| i64::try_from(found).ok()))
}

pub(super) fn to_hex<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    let value = single(args);
    Ok(Datum::text(match call.args {
        [ty] if *ty.base() == SqlType::Int8 => format!("{value:x}"),
        _ => format!("{:x}", value as i32),
    }))
}
