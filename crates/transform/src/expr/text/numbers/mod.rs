//! Numbers as text.

mod floats;

use super::plain::{invalid, is_space};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::types::{Modifier, SqlType};
use crate::expr::value::Numeric;

pub(super) use floats::float_in;

/// Reads an integer. Other bases and underscores between digits are known to version 16 and later only, and refused.
pub(super) fn integer_in<'a>(ty: &SqlType, text: &'a str) -> Result<Datum<'a>, EvalError> {
    let least = match ty {
        SqlType::Int2 => i64::from(i16::MIN),
        SqlType::Int4 => i64::from(i32::MIN),
        _ => i64::MIN,
    };
    if let Some(value) = plain_integer(text.as_bytes()).filter(|value| (least..=-(least + 1)).contains(value))
    {
        return Ok(Datum::Int(value));
    }
    let trimmed = text.trim_matches(is_space).as_bytes();
    let (is_negative, digits) = match trimmed.first() {
        Some(b'-') => (true, &trimmed[1..]),
        Some(b'+') => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    if digits.is_empty() {
        return Err(no_integer(ty, text));
    }
    // Below zero there is room for one more.
    let mut negative = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(no_integer(ty, text));
        }
        let next = negative.checked_mul(10).and_then(|value| value.checked_sub(i64::from(digit - b'0')));
        // What follows is not looked at.
        negative = next.filter(|next| *next >= least).ok_or_else(|| no_room(ty, text))?;
    }
    let value = if is_negative { Some(negative) } else { negative.checked_neg() };
    value.filter(|value| *value <= -(least + 1)).map(Datum::Int).ok_or_else(|| no_room(ty, text))
}

/// The short way for what Postgres itself writes, but for the longest: nothing but digits, behind a minus below zero.
fn plain_integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // Eighteen digits always fit.
    if !(1..=18).contains(&digits.len()) {
        return None;
    }
    let mut value = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Some(if is_negative { -value } else { value })
}

/// Appends an integer.
pub(super) fn push_integer(out: &mut String, value: i64) {
    let mut digits = [b'0'; 20];
    let (mut rest, mut at) = (value.unsigned_abs(), digits.len());
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push('-');
    }
    // Digits are ASCII, so nothing is ever left out.
    out.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

fn no_integer(ty: &SqlType, text: &str) -> EvalError {
    invalid(
        text,
        match ty {
            SqlType::Int2 => "invalid input syntax for type smallint",
            SqlType::Int4 => "invalid input syntax for type integer",
            _ => "invalid input syntax for type bigint",
        },
    )
}

fn no_room(ty: &SqlType, text: &str) -> EvalError {
    let what = match ty {
        SqlType::Int2 => "value is out of range for type smallint",
        SqlType::Int4 => "value is out of range for type integer",
        _ => "value is out of range for type bigint",
    };
    EvalError::quoting(
        SqlState::OUT_OF_RANGE,
        what,
        format!("value \"{text}\" is out of range for type {ty}"),
    )
}

pub(super) fn numeric_in(text: &str) -> Result<Datum<'_>, EvalError> {
    text.parse().map(Datum::Numeric)
}

/// The text of a number that is no integer.
pub(super) fn number_out(value: &Datum<'_>) -> String {
    match value {
        Datum::Float4(value) => floats::shown_f32(*value),
        Datum::Float8(value) => floats::shown_f64(*value),
        Datum::Numeric(value) => value.shown().into_owned(),
        _ => String::new(),
    }
}

/// Brings a `numeric` to its precision and scale.
pub(super) fn fit_numeric<'a>(value: Datum<'a>, modifier: Modifier) -> Result<Datum<'a>, EvalError> {
    match (value, modifier.precision_and_scale()) {
        (Datum::Numeric(number), Some((precision, scale))) => {
            Numeric::fitted(number, precision, scale).map(Datum::Numeric)
        }
        (value, _) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts and codes as on Postgres 15 and 18.
    #[test]
    fn integers_are_read_as_on_the_server() {
        let cases = [
            (SqlType::Int4, " +1 ", 1),
            (SqlType::Int4, "-0", 0),
            (SqlType::Int4, "-000000000000002147483648", i64::from(i32::MIN)),
            (SqlType::Int2, "32767", 32_767),
            (SqlType::Int8, "\t-9223372036854775808\n", i64::MIN),
        ];
        for (ty, text, expected) in cases {
            assert_eq!(integer_in(&ty, text).unwrap(), Datum::Int(expected), "{text}");
        }
        let (syntax, range) = (SqlState::INVALID_TEXT, SqlState::OUT_OF_RANGE);
        let cases = [
            (SqlType::Int4, "", syntax, "invalid input syntax for type integer: \"\""),
            (SqlType::Int4, "+ 1", syntax, "invalid input syntax for type integer: \"+ 1\""),
            (SqlType::Int8, "1 1", syntax, "invalid input syntax for type bigint: \"1 1\""),
            (SqlType::Int8, "1.5", syntax, "invalid input syntax for type bigint: \"1.5\""),
            (SqlType::Int2, "0x1", syntax, "invalid input syntax for type smallint: \"0x1\""),
            (SqlType::Int4, "1_0", syntax, "invalid input syntax for type integer: \"1_0\""),
            (SqlType::Int4, "2147483648x", syntax, "invalid input syntax for type integer: \"2147483648x\""),
            (SqlType::Int4, "99999999999x", range, "value \"99999999999x\" is out of range for type integer"),
            (SqlType::Int2, "-32769", range, "value \"-32769\" is out of range for type smallint"),
            (
                SqlType::Int8,
                "9223372036854775808",
                range,
                "value \"9223372036854775808\" is out of range for type bigint",
            ),
        ];
        for (ty, text, state, message) in cases {
            let error = integer_in(&ty, text).unwrap_err();
            assert_eq!((error.state(), error.message_with_values()), (state, message));
        }
    }

    /// The least integer has no counterpart above zero, and zero has a digit.
    #[test]
    fn integers_are_written_as_on_the_server() {
        for value in [0, 7, -10, i64::MAX, i64::MIN] {
            let mut out = "x".to_owned();
            push_integer(&mut out, value);
            assert_eq!(out, format!("x{value}"));
        }
    }

    /// The modifier is unpacked as the catalog packs it, and applied.
    #[test]
    fn a_precision_is_applied() {
        let fit =
            |modifier| fit_numeric(numeric_in("12.345").unwrap(), modifier).map(|value| number_out(&value));
        assert_eq!(fit(Modifier::of_numeric(4, 2)).unwrap(), "12.35");
        assert_eq!(fit(Modifier::of_numeric(4, -1)).unwrap(), "10");
        assert_eq!(fit(Modifier::NONE).unwrap(), "12.345");
        assert_eq!(fit(Modifier::of_numeric(3, 2)).unwrap_err().state(), SqlState::OUT_OF_RANGE);
    }
}
