//! Values from their text and back, exactly as Postgres reads and writes them under the session settings that we pin:
//! ISO dates, intervals in the style `postgres`, UTC, hexadecimal bytea, shortest exact floats.

mod arrays;
mod json;
mod numbers;
mod plain;
pub(super) mod times;

use std::borrow::Cow;

pub(crate) use plain::{bytes_of_escaped, bytes_of_hex, hex_of};

use super::datum::Datum;
use super::error::EvalError;
use super::types::{Modifier, SqlType};

/// The value of a text. A modifier is applied as when a row is stored: what does not fit fails.
pub(crate) fn input<'a>(ty: &SqlType, modifier: Modifier, text: &'a str) -> Result<Datum<'a>, EvalError> {
    let value = match ty.base() {
        SqlType::Text | SqlType::Varchar | SqlType::Bpchar | SqlType::Opaque(_) | SqlType::Unknown => {
            Datum::Text(Cow::Borrowed(text))
        }
        SqlType::Enum(labels) => plain::enum_in(labels, text)?,
        SqlType::Bool => plain::bool_in(text)?,
        SqlType::Bytea => plain::bytea_in(text)?,
        SqlType::Uuid => plain::uuid_in(text)?,
        SqlType::Inet => plain::inet_in(text, false)?,
        SqlType::Cidr => plain::inet_in(text, true)?,
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 => numbers::integer_in(ty.base(), text)?,
        SqlType::Float4 | SqlType::Float8 => numbers::float_in(ty.base(), text)?,
        SqlType::Numeric => numbers::numeric_in(text)?,
        SqlType::Date
        | SqlType::Time
        | SqlType::TimeTz
        | SqlType::Timestamp
        | SqlType::TimestampTz
        | SqlType::Interval => times::time_in(ty.base(), text)?,
        SqlType::Json => json::json_in(text)?,
        SqlType::Jsonb => json::jsonb_in(text)?,
        SqlType::Array(element) => arrays::array_in(element, modifier, text)?,
        // `base` has no domain left.
        SqlType::Domain(_) => Datum::Text(Cow::Borrowed(text)),
    };
    fit(value, ty, modifier, false)
}

/// The text of a value that is not null.
pub(crate) fn output<'v>(value: &'v Datum<'_>, ty: &SqlType) -> Cow<'v, str> {
    match value {
        Datum::Null => Cow::Borrowed(""),
        Datum::Text(text) => Cow::Borrowed(text),
        Datum::Bool(value) => Cow::Borrowed(if *value { "t" } else { "f" }),
        Datum::Int(value) => Cow::Owned(value.to_string()),
        Datum::Float4(_) | Datum::Float8(_) | Datum::Numeric(_) => Cow::Owned(numbers::number_out(value)),
        Datum::Bytes(bytes) => Cow::Owned(plain::bytea_out(bytes)),
        Datum::Uuid(uuid) => Cow::Owned(plain::uuid_out(uuid)),
        Datum::Inet(inet) => Cow::Owned(plain::inet_out(inet, *ty.base() == SqlType::Cidr)),
        Datum::Date(_) | Datum::Time(_) | Datum::TimeTz(..) | Datum::Timestamp(_) | Datum::Interval(_) => {
            Cow::Owned(times::time_out(value, ty.base()))
        }
        Datum::Jsonb(json) => Cow::Owned(json::jsonb_out(json)),
        Datum::Array(array) => Cow::Owned(arrays::array_out(array, ty.element().unwrap_or(&SqlType::Text))),
    }
}

/// Appends the text of a value; nothing for null.
pub(crate) fn write(value: &Datum<'_>, ty: &SqlType, out: &mut String) {
    match value {
        Datum::Int(value) => numbers::push_integer(out, *value),
        value => out.push_str(&output(value, ty)),
    }
}

/// A value brought to its modifier. What does not fit fails, or is cut off where the cast was asked for.
pub(crate) fn fit<'a>(
    value: Datum<'a>,
    ty: &SqlType,
    modifier: Modifier,
    is_explicit: bool,
) -> Result<Datum<'a>, EvalError> {
    if modifier == Modifier::NONE || value.is_null() {
        return Ok(value);
    }
    match ty.base() {
        SqlType::Varchar | SqlType::Bpchar => plain::fit_string(value, ty.base(), modifier, is_explicit),
        SqlType::Numeric => numbers::fit_numeric(value, modifier),
        SqlType::Time | SqlType::TimeTz | SqlType::Timestamp | SqlType::TimestampTz | SqlType::Interval => {
            times::fit_time(value, ty.base(), modifier)
        }
        _ => Ok(value),
    }
}
