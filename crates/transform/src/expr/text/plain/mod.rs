//! Booleans, strings and labels as text; bytes, identifiers and addresses have files of their own.

mod address;
mod bytes;

use std::borrow::Cow;

pub(super) use address::{inet_in, inet_out};
pub(super) use bytes::{bytea_in, bytea_out, uuid_in, uuid_out};
pub(crate) use bytes::{bytes_of_escaped, bytes_of_hex, hex_of};

use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::types::{EnumType, Modifier, SqlType};

/// Reads `boolean`: any unambiguous beginning of its words.
pub(super) fn bool_in(text: &str) -> Result<Datum<'_>, EvalError> {
    let word = text.trim_matches(is_space).to_ascii_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    let value = match word.as_str() {
        "1" => true,
        "0" => false,
        _ if begins("true", 1) || begins("yes", 1) || begins("on", 2) => true,
        _ if begins("false", 1) || begins("no", 1) || begins("off", 2) => false,
        _ => return Err(invalid(text, "invalid input syntax for type boolean")),
    };
    Ok(Datum::Bool(value))
}

/// What C calls a space.
pub(super) fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// A text that its type does not read, in the words of Postgres.
pub(super) fn invalid(text: &str, what: &'static str) -> EvalError {
    EvalError::quoting(SqlState::INVALID_TEXT, what, format!("{what}: \"{text}\""))
}

/// Reads a label of an enum, which is written as it is.
pub(super) fn enum_in<'a>(ty: &EnumType, text: &'a str) -> Result<Datum<'a>, EvalError> {
    if ty.labels.iter().any(|label| label == text) {
        return Ok(Datum::Text(Cow::Borrowed(text)));
    }
    let message = format!("invalid input value for enum {}: \"{text}\"", ty.name.name);
    Err(EvalError::quoting(SqlState::INVALID_TEXT, "invalid input value for an enum", message))
}

/// Brings a string to its length. Blanks may always be cut off, anything else only where the cast was asked for. What is
/// too short for `character` is filled with blanks.
pub(super) fn fit_string<'a>(
    value: Datum<'a>,
    ty: &SqlType,
    modifier: Modifier,
    is_explicit: bool,
) -> Result<Datum<'a>, EvalError> {
    let (Datum::Text(text), Some(most)) = (&value, modifier.characters()) else { return Ok(value) };
    let is_padded = *ty == SqlType::Bpchar;
    // No text has more characters than bytes.
    if !is_padded && text.len() <= most {
        return Ok(value);
    }
    let Some((end, _)) = text.char_indices().nth(most) else {
        let missing = if is_padded { most - text.chars().count() } else { 0 };
        if missing == 0 {
            return Ok(value);
        }
        return Ok(Datum::text(format!("{text}{}", " ".repeat(missing))));
    };
    if !is_explicit && text[end..].bytes().any(|byte| byte != b' ') {
        let kind = if is_padded { "character" } else { "character varying" };
        let message = format!("value too long for type {kind}({most})");
        return Err(EvalError::quoting(SqlState::TRUNCATION, "value too long for its type", message));
    }
    Ok(match value {
        Datum::Text(Cow::Borrowed(text)) => Datum::Text(Cow::Borrowed(&text[..end])),
        Datum::Text(Cow::Owned(mut text)) => {
            text.truncate(end);
            Datum::text(text)
        }
        other => other,
    })
}

#[cfg(test)]
mod tests;
