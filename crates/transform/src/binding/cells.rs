//! The values of one row by their places, found by a single walk that ends behind the last that is asked for.

use std::borrow::Cow;

use bytes::Bytes;
use understudy_model::{Tuple, Value};

use crate::expr::text::input;
use crate::expr::{Columns, Datum, EvalError, Modifier, SqlState, SqlType};

/// Rows of so many columns are walked without asking the heap for room.
const INLINE: usize = 16;

/// The values of one row in the form in which it came.
#[derive(Clone, Copy)]
pub(super) enum Cells<'a> {
    /// As the stream sends them.
    Wire(&'a [Value<'a>]),
    /// The fields of a COPY line, escaped. All of them are there.
    Line(&'a [&'a [u8]]),
}

/// Calls `then` with the first `count` values of a row.
pub(super) fn with_cells<T>(row: &Tuple, count: usize, then: impl FnOnce(Cells<'_>) -> T) -> T {
    let Some(line) = row.as_copy_line() else {
        if count > INLINE {
            let mut values = Vec::with_capacity(count);
            values.extend(row.values().take(count));
            return then(Cells::Wire(&values));
        }
        let mut values = [const { Value::Null }; INLINE];
        let found = fill(&mut values[..count], row.values());
        return then(Cells::Wire(&values[..found]));
    };
    let fields = line.split(|byte| *byte == b'\t');
    if count > INLINE {
        let mut found = Vec::with_capacity(count);
        found.extend(fields.take(count));
        return then(Cells::Line(&found));
    }
    let mut values: [&[u8]; INLINE] = [b""; INLINE];
    let found = fill(&mut values[..count], fields);
    then(Cells::Line(&values[..found]))
}

/// Fills places from the front; returns how many.
fn fill<T>(places: &mut [T], values: impl Iterator<Item = T>) -> usize {
    let mut found = 0;
    for (place, value) in places.iter_mut().zip(values) {
        *place = value;
        found += 1;
    }
    found
}

impl<'a> Cells<'a> {
    /// Whether a value was not sent.
    pub(super) fn is_unchanged(self, at: usize) -> bool {
        match self {
            Cells::Wire(values) => matches!(values.get(at), Some(Value::Unchanged)),
            Cells::Line(_) => false,
        }
    }

    /// One value; null where the row has no such column.
    pub(super) fn value(self, at: usize) -> Value<'a> {
        match self {
            Cells::Wire(values) => match values.get(at) {
                Some(Value::Text(text)) => Value::Text(Cow::Borrowed(text)),
                Some(Value::Unchanged) => Value::Unchanged,
                Some(Value::Null) | None => Value::Null,
            },
            Cells::Line(fields) => match fields.get(at) {
                Some(field) if !field.contains(&b'\\') => Value::Text(Cow::Borrowed(field)),
                Some(field) => unescaped(field),
                None => Value::Null,
            },
        }
    }
}

/// A field of a COPY line that is null or has escapes.
#[cold]
fn unescaped(field: &[u8]) -> Value<'static> {
    match Tuple::from_copy_line(Bytes::copy_from_slice(field)).get(0) {
        Some(Value::Text(text)) => Value::Text(Cow::Owned(text.into_owned())),
        Some(Value::Unchanged) => Value::Unchanged,
        Some(Value::Null) | None => Value::Null,
    }
}

/// The values of one row, for an expression.
pub(super) struct RowOf<'a> {
    pub(super) cells: Cells<'a>,
    /// For each column that the expression may name its place in the row.
    pub(super) places: &'a [usize],
}

impl<'a> Columns<'a> for RowOf<'a> {
    fn column(&self, at: usize, ty: &SqlType, modifier: Modifier) -> Result<Datum<'a>, EvalError> {
        let Some(place) = self.places.get(at) else { return Ok(Datum::Null) };
        match self.cells.value(*place) {
            Value::Text(Cow::Borrowed(text)) => {
                input(ty, modifier, utf8(text)?).map_err(|error| stored(error, ty))
            }
            Value::Text(Cow::Owned(text)) => {
                let value = input(ty, modifier, utf8(&text)?).map(Datum::into_owned);
                value.map_err(|error| stored(error, ty))
            }
            Value::Null | Value::Unchanged => Ok(Datum::Null),
        }
    }
}

/// What it means that a value is refused which blue has stored: an enum has other labels by now.
#[cold]
fn stored(error: EvalError, ty: &SqlType) -> EvalError {
    let element = if let SqlType::Array(element) = ty.base() { element.base() } else { ty.base() };
    if matches!(element, SqlType::Enum(_)) { error.of_outdated_type() } else { error }
}

fn utf8(text: &[u8]) -> Result<&str, EvalError> {
    std::str::from_utf8(text)
        .map_err(|_| EvalError::new(SqlState::NOT_IN_REPERTOIRE, "the value is not valid UTF-8"))
}
