//! Casts between JSON and other types.

use super::get::jsonb;
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::{Call, Cast, Slot, cast};
use crate::expr::resolve::Context;
use crate::expr::types::SqlType;
use crate::expr::value::Json;

type Result<T> = std::result::Result<T, EvalError>;

fn json_to_jsonb<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::Jsonb(std::sync::Arc::new(Json::parse(super::get::string(&args[0]))?)))
}

fn jsonb_to_json<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::text(jsonb(&args[0]).to_text()))
}

/// Null is refused: Postgres 15 fails on it, 18 takes it for the null of SQL.
fn no_scalar<'a>(json: &Json) -> Result<Datum<'a>> {
    Err(match json {
        Json::Null => EvalError::new(SqlState::NOT_SUPPORTED, "a cast of jsonb null depends on the version"),
        _ => EvalError::new(SqlState::INVALID_PARAMETER, "cannot cast jsonb to another kind of value"),
    })
}

fn to_bool<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    match jsonb(&args[0]) {
        Json::Bool(value) => Ok(Datum::Bool(*value)),
        other => no_scalar(other),
    }
}

/// Numbers are cast as `numeric` is.
fn to_number<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    match (jsonb(&args[0]), cast(&SqlType::Numeric, call.result.base())) {
        (Json::Number(number), None) => Ok(Datum::Numeric(number.clone())),
        (Json::Number(number), Some((function, _))) => {
            (function.compute)(Call { args: &[SqlType::Numeric], ..call }, &[Datum::Numeric(number.clone())])
        }
        (other, _) => no_scalar(other),
    }
}

pub(in crate::expr::functions) const CASTS: &[Cast] = &[
    Cast::new(Context::Assignment, &[Slot::Json], Slot::Jsonb, json_to_jsonb),
    Cast::new(Context::Assignment, &[Slot::Jsonb], Slot::Json, jsonb_to_json),
    Cast::new(Context::Explicit, &[Slot::Jsonb], Slot::Bool, to_bool),
    Cast::new(Context::Explicit, &[Slot::Jsonb], Slot::Numeric, to_number),
    Cast::new(Context::Explicit, &[Slot::Jsonb], Slot::Int2, to_number),
    Cast::new(Context::Explicit, &[Slot::Jsonb], Slot::Int4, to_number),
    Cast::new(Context::Explicit, &[Slot::Jsonb], Slot::Int8, to_number),
    Cast::new(Context::Explicit, &[Slot::Jsonb], Slot::Float4, to_number),
    Cast::new(Context::Explicit, &[Slot::Jsonb], Slot::Float8, to_number),
];
