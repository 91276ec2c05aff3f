//! `numeric`.

use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::value::{Numeric, Rounding};

type Result<'a> = std::result::Result<Datum<'a>, EvalError>;

fn on_pair<'a>(
    args: &[Datum<'a>],
    operation: fn(&Numeric, &Numeric) -> std::result::Result<Numeric, EvalError>,
) -> Result<'a> {
    match args {
        [Datum::Numeric(left), Datum::Numeric(right)] => operation(left, right).map(Datum::Numeric),
        // Calls are resolved by type.
        _ => Ok(Datum::Null),
    }
}

fn on<'a>(args: &[Datum<'a>], operation: impl FnOnce(&Numeric) -> Datum<'a>) -> Result<'a> {
    match args {
        [Datum::Numeric(value)] => Ok(operation(value)),
        _ => Ok(Datum::Null),
    }
}

pub(super) fn add<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on_pair(args, Numeric::plus)
}

pub(super) fn subtract<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on_pair(args, Numeric::minus)
}

pub(super) fn multiply<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on_pair(args, Numeric::times)
}

pub(super) fn divide<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on_pair(args, Numeric::divided_by)
}

pub(super) fn remainder<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on_pair(args, Numeric::remainder)
}

pub(super) fn whole_quotient<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on_pair(args, Numeric::whole_quotient)
}

/// Without its place in the table a power of `numeric` would be computed as `double precision`. Nothing gets here.
pub(super) fn power<'a>(_: Call<'_>, _: &[Datum<'a>]) -> Result<'a> {
    Err(EvalError::new(
        SqlState::NOT_SUPPORTED,
        "a power of numeric has not the same digits on all versions of Postgres; cast an operand to double precision",
    ))
}

pub(super) fn gcd<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on_pair(args, Numeric::common_divisor)
}

pub(super) fn lcm<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on_pair(args, Numeric::common_multiple)
}

pub(super) fn negate<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on(args, |value| Datum::Numeric(value.negated()))
}

pub(super) fn absolute<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on(args, |value| Datum::Numeric(value.absolute()))
}

pub(super) fn sign<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on(args, |value| Datum::Numeric(value.signum()))
}

pub(super) fn trim_scale<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on(args, |value| Datum::Numeric(value.trimmed()))
}

/// Null unless the number is finite.
pub(super) fn scale<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on(args, |value| value.scale().map_or(Datum::Null, |scale| Datum::Int(scale.into())))
}

pub(super) fn min_scale<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    on(args, |value| value.min_scale().map_or(Datum::Null, |scale| Datum::Int(scale.into())))
}

pub(super) fn sqrt<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    match args {
        [Datum::Numeric(value)] => value.square_root().map(Datum::Numeric),
        _ => Ok(Datum::Null),
    }
}

pub(super) fn factorial<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    match args {
        [Datum::Int(value)] => Numeric::factorial(*value).map(Datum::Numeric),
        _ => Ok(Datum::Null),
    }
}

/// To whole numbers, or to the scale that comes second.
fn rounded<'a>(args: &[Datum<'a>], how: Rounding) -> Result<'a> {
    match args {
        [Datum::Numeric(value)] => value.rounded(0, how).map(Datum::Numeric),
        [Datum::Numeric(value), Datum::Int(scale)] => value.rounded(*scale, how).map(Datum::Numeric),
        _ => Ok(Datum::Null),
    }
}

pub(super) fn round<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    rounded(args, Rounding::HalfAway)
}

pub(super) fn trunc<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    rounded(args, Rounding::Truncate)
}

pub(super) fn ceil<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    rounded(args, Rounding::Up)
}

pub(super) fn floor<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<'a> {
    rounded(args, Rounding::Down)
}
