//! `bytea` in its two text forms, and `uuid`.

use std::borrow::Cow;

use super::invalid;
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Reads `bytea`: hexadecimal behind `\x`, otherwise bytes as they are, with escapes.
pub(in crate::expr::text) fn bytea_in(text: &str) -> Result<Datum<'_>, EvalError> {
    let bytes = match text.strip_prefix("\\x") {
        Some(digits) => bytes_of_hex(digits)?,
        None => bytes_of_escaped(text)?,
    };
    Ok(Datum::Bytes(Cow::Owned(bytes)))
}

/// The bytes behind `\x`. Blanks may stand between two bytes.
pub(crate) fn bytes_of_hex(text: &str) -> Result<Vec<u8>, EvalError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut letters = text.chars();
    while let Some(first) = letters.next() {
        if matches!(first, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = hex_digit(first)?;
        let odd = "invalid hexadecimal data: odd number of digits";
        let second = letters.next().ok_or_else(|| EvalError::new(SqlState::INVALID_PARAMETER, odd))?;
        bytes.push(high << 4 | hex_digit(second)?);
    }
    Ok(bytes)
}

fn hex_digit(letter: char) -> Result<u8, EvalError> {
    let value = letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    value.ok_or_else(|| {
        let message = format!("invalid hexadecimal digit: \"{letter}\"");
        EvalError::quoting(SqlState::INVALID_PARAMETER, "invalid hexadecimal digit", message)
    })
}

/// The bytes of a text in which `\\` is a backslash and `\` with three octal digits is any byte.
pub(crate) fn bytes_of_escaped(text: &str) -> Result<Vec<u8>, EvalError> {
    let octal = |byte: &u8, most: u8| (b'0'..=most).contains(byte).then(|| byte - b'0');
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let escaped = match behind {
            [b'\\', ..] => Some((b'\\', 1)),
            [a, b, c, ..] => match (octal(a, b'3'), octal(b, b'7'), octal(c, b'7')) {
                (Some(a), Some(b), Some(c)) => Some((a << 6 | b << 3 | c, 3)),
                _ => None,
            },
            _ => None,
        };
        let wrong = || EvalError::new(SqlState::INVALID_TEXT, "invalid input syntax for type bytea");
        let (byte, len) = escaped.ok_or_else(wrong)?;
        bytes.push(byte);
        rest = &behind[len..];
    }
    Ok(bytes)
}

/// Writes `bytea` in hexadecimal.
pub(in crate::expr::text) fn bytea_out(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    push_hex(&mut text, bytes);
    text
}

/// Two digits for each byte.
pub(crate) fn hex_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push_hex(&mut text, bytes);
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push(char::from(HEX_DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(HEX_DIGITS[usize::from(byte & 15)]));
    }
}

/// Reads `uuid`: 32 digits, with a hyphen behind any group of four but the last, in braces or not.
pub(in crate::expr::text) fn uuid_in(text: &str) -> Result<Datum<'_>, EvalError> {
    let wrong = || invalid(text, "invalid input syntax for type uuid");
    let mut rest = text.as_bytes();
    if let [b'{', inner @ .., b'}'] = rest {
        rest = inner;
    }
    let mut uuid = [0; 16];
    for (at, byte) in uuid.iter_mut().enumerate() {
        let [high, low, behind @ ..] = rest else { return Err(wrong()) };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(wrong()) };
        *byte = high << 4 | low;
        rest = match behind {
            [b'-', behind @ ..] if at % 2 == 1 && at < 15 => behind,
            behind => behind,
        };
    }
    if rest.is_empty() { Ok(Datum::Uuid(uuid)) } else { Err(wrong()) }
}

/// Writes `uuid` in its usual form.
pub(in crate::expr::text) fn uuid_out(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, pair) in uuid.chunks(2).enumerate() {
        if (2..=5).contains(&at) {
            text.push('-');
        }
        push_hex(&mut text, pair);
    }
    text
}
