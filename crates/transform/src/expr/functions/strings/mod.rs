//! Strings and `bytea`.

mod basics;
mod bytes;
mod format;
mod letters;
mod pattern_table;
mod patterns;
mod quote;
mod regex;
mod table;

use std::borrow::Cow;
use std::ops::Range;

use crate::expr::datum::Datum;
use crate::expr::text::output;
use crate::expr::types::SqlType;

pub(super) use pattern_table::PATTERNS;
pub(super) use table::{CASTS, FUNCTIONS};

mod state {
    //! Codes of failures that only strings have.

    use crate::expr::error::SqlState;

    /// `substring_error`
    pub(super) const SUBSTRING: SqlState = SqlState(*b"22011");
}

/// The text of an argument.
fn text<'v>(args: &'v [Datum<'_>], at: usize) -> &'v str {
    match args.get(at) {
        Some(Datum::Text(text)) => text,
        _ => "",
    }
}

/// The bytes of an argument.
fn bytes<'v>(args: &'v [Datum<'_>], at: usize) -> &'v [u8] {
    match args.get(at) {
        Some(Datum::Bytes(bytes)) => bytes,
        _ => &[],
    }
}

/// The whole number of an argument.
fn whole(args: &[Datum<'_>], at: usize) -> i64 {
    match args.get(at) {
        Some(Datum::Int(number)) => *number,
        _ => 0,
    }
}

/// A part of an argument's text, without a copy where the row holds it.
fn part<'a>(args: &[Datum<'a>], at: usize, range: Range<usize>) -> Datum<'a> {
    match args.get(at) {
        Some(Datum::Text(Cow::Borrowed(text))) => Datum::Text(Cow::Borrowed(&text[range])),
        Some(Datum::Text(Cow::Owned(text))) => Datum::text(&text[range]),
        _ => Datum::Null,
    }
}

/// A value as a cast to text writes it, which for some types is not how it is sent.
fn cast_to_text<'v>(value: &'v Datum<'_>, ty: &SqlType) -> Cow<'v, str> {
    match (value, ty.base()) {
        (Datum::Bool(value), _) => Cow::Borrowed(if *value { "true" } else { "false" }),
        (Datum::Inet(_), _) => output(value, &SqlType::Cidr),
        (Datum::Text(text), SqlType::Bpchar) => Cow::Borrowed(text.trim_end_matches(' ')),
        _ => output(value, ty),
    }
}

#[cfg(test)]
mod tests;
