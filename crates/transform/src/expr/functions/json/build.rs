//! JSON from values of other types.

use std::sync::Arc;

use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::text;
use crate::expr::types::SqlType;
use crate::expr::value::{Array, Dimension, Json, write_string};

type Result<T> = std::result::Result<T, EvalError>;

/// Numbers that JSON has no form for are strings.
fn is_number(ty: &SqlType, written: &str) -> bool {
    let is_numeric = matches!(
        ty,
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Numeric | SqlType::Float4 | SqlType::Float8
    );
    is_numeric
        && written.starts_with(|letter: char| letter == '-' || letter.is_ascii_digit())
        && written.ends_with(|letter: char| letter.is_ascii_digit())
}

/// The text of a scalar: dates and times as ISO 8601 has them.
fn plain_text(value: &Datum<'_>, ty: &SqlType) -> String {
    let written = text::output(value, ty).into_owned();
    match ty {
        SqlType::Bool => (if *value == Datum::Bool(true) { "true" } else { "false" }).to_owned(),
        SqlType::Timestamp | SqlType::TimestampTz if !written.ends_with("infinity") => {
            let written = written.replacen(' ', "T", 1);
            // Minutes of the offset, which is that of UTC.
            if *ty == SqlType::TimestampTz { written.replacen("+00", "+00:00", 1) } else { written }
        }
        _ => written,
    }
}

fn write(value: &Datum<'_>, ty: &SqlType, to: &mut String) {
    let ty = ty.base();
    match value {
        Datum::Null => to.push_str("null"),
        Datum::Bool(_) => to.push_str(&plain_text(value, ty)),
        Datum::Jsonb(json) => to.push_str(&json.to_text()),
        Datum::Text(json) if *ty == SqlType::Json => to.push_str(json),
        Datum::Array(array) => {
            write_array(array.elements(), array.dimensions(), ty.element().unwrap_or(&SqlType::Text), to);
        }
        _ => {
            let written = plain_text(value, ty);
            if is_number(ty, &written) { to.push_str(&written) } else { write_string(&written, to) }
        }
    }
}

/// The elements of each part of the outermost dimension, and the dimensions within.
fn parts<'d>(
    elements: &'d [Datum<'static>],
    dimensions: &'d [Dimension],
) -> Option<(impl Iterator<Item = &'d [Datum<'static>]>, &'d [Dimension])> {
    let inner = dimensions.get(1..).filter(|inner| !inner.is_empty())?;
    let size = inner.iter().map(|dimension| dimension.len).product::<usize>().max(1);
    Some((elements.chunks(size), inner))
}

fn write_array(elements: &[Datum<'static>], dimensions: &[Dimension], ty: &SqlType, to: &mut String) {
    let comma = |at: usize| if at == 0 { "" } else { "," };
    to.push('[');
    if let Some((parts, inner)) = parts(elements, dimensions) {
        for (at, part) in parts.enumerate() {
            to.push_str(comma(at));
            write_array(part, inner, ty, to);
        }
    } else {
        for (at, element) in elements.iter().enumerate() {
            to.push_str(comma(at));
            write(element, ty, to);
        }
    }
    to.push(']');
}

fn value(datum: &Datum<'_>, ty: &SqlType) -> Result<Json> {
    let ty = ty.base();
    Ok(match datum {
        Datum::Null => Json::Null,
        Datum::Bool(value) => Json::Bool(*value),
        Datum::Jsonb(json) => Json::clone(json),
        Datum::Text(json) if *ty == SqlType::Json => Json::parse(json)?,
        Datum::Array(array) => array_value(array, ty.element().unwrap_or(&SqlType::Text))?,
        _ => {
            let written = plain_text(datum, ty);
            if is_number(ty, &written) { Json::number(&written)? } else { Json::String(written) }
        }
    })
}

fn array_value(array: &Array, ty: &SqlType) -> Result<Json> {
    fn nested(elements: &[Datum<'static>], dimensions: &[Dimension], ty: &SqlType) -> Result<Json> {
        Ok(Json::Array(match parts(elements, dimensions) {
            Some((parts, inner)) => parts.map(|part| nested(part, inner, ty)).collect::<Result<_>>()?,
            None => elements.iter().map(|element| value(element, ty)).collect::<Result<_>>()?,
        }))
    }
    nested(array.elements(), array.dimensions(), ty)
}

/// The arguments with their types.
fn typed<'d, 'a>(
    call: Call<'d>,
    args: &'d [Datum<'a>],
) -> impl Iterator<Item = (&'d Datum<'a>, &'d SqlType)> {
    args.iter().zip(call.args)
}

pub(super) fn to_json<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let mut written = String::new();
    typed(call, args).for_each(|(datum, ty)| write(datum, ty, &mut written));
    Ok(Datum::text(written))
}

pub(super) fn to_jsonb<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let mut built = Json::Null;
    for (datum, ty) in typed(call, args) {
        built = value(datum, ty)?;
    }
    Ok(Datum::Jsonb(Arc::new(built)))
}

pub(super) fn json_array<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let mut written = String::from("[");
    for (at, (datum, ty)) in typed(call, args).enumerate() {
        written.push_str(if at == 0 { "" } else { ", " });
        write(datum, ty, &mut written);
    }
    written.push(']');
    Ok(Datum::text(written))
}

pub(super) fn jsonb_array<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let elements = typed(call, args).map(|(datum, ty)| value(datum, ty)).collect::<Result<_>>()?;
    Ok(Datum::Jsonb(Arc::new(Json::Array(elements))))
}

/// The texts of the keys, each with the value behind it.
fn fields<'d, 'a>(
    call: Call<'d>,
    args: &'d [Datum<'a>],
) -> Result<Vec<(String, &'d Datum<'a>, &'d SqlType)>> {
    let wrong = |what| EvalError::new(SqlState::INVALID_PARAMETER, what);
    if !args.len().is_multiple_of(2) {
        return Err(wrong("argument list must have even number of elements"));
    }
    let mut found = Vec::with_capacity(args.len() / 2);
    let mut rest = typed(call, args);
    while let (Some((key, ty)), Some((datum, of))) = (rest.next(), rest.next()) {
        let key = match (key, ty.base()) {
            (Datum::Null, _) => return Err(wrong("null value not allowed for object key")),
            (_, SqlType::Json | SqlType::Jsonb | SqlType::Array(_)) => {
                return Err(wrong("key value must be scalar, not array, composite, or json"));
            }
            (key, ty) => plain_text(key, ty),
        };
        found.push((key, datum, of));
    }
    Ok(found)
}

pub(super) fn json_object<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let mut written = String::from("{");
    for (at, (key, datum, ty)) in fields(call, args)?.into_iter().enumerate() {
        written.push_str(if at == 0 { "" } else { ", " });
        write_string(&key, &mut written);
        written.push_str(" : ");
        write(datum, ty, &mut written);
    }
    written.push('}');
    Ok(Datum::text(written))
}

pub(super) fn jsonb_object<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let fields = fields(call, args)?.into_iter().map(|(key, datum, ty)| Ok((key, value(datum, ty)?)));
    Ok(Datum::Jsonb(Arc::new(Json::object(fields.collect::<Result<_>>()?))))
}
