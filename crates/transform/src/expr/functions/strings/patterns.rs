//! LIKE, on text and on bytes.

use std::borrow::Cow;

use super::super::Call;
use super::letters::lowered;
use super::{bytes, text};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};

type Value<'a> = Result<Datum<'a>, EvalError>;

/// How a comparison with a pattern ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Matches,
    Differs,
    /// The text was used up before the pattern: no later start can do better.
    TooShort,
}

/// A pattern that ends in an escape fails only where the comparison gets that far.
fn dangling() -> EvalError {
    EvalError::new(SqlState::INVALID_ESCAPE, "LIKE pattern must not end with escape character")
}

/// `is_text` tells whether `_` stands for a character instead of a byte.
fn matches(mut subject: &[u8], mut pattern: &[u8], is_text: bool) -> Result<Ending, EvalError> {
    if pattern == b"%" {
        return Ok(Ending::Matches);
    }
    while let ([first, behind @ ..], [wanted, rest @ ..]) = (subject, pattern) {
        match wanted {
            b'%' => return matches_later(subject, rest, is_text),
            b'_' => subject = &subject[width(subject, is_text)..],
            b'\\' => {
                let [escaped, ..] = rest else { return Err(dangling()) };
                if escaped != first {
                    return Ok(Ending::Differs);
                }
                (subject, pattern) = (behind, rest);
            }
            _ if wanted != first => return Ok(Ending::Differs),
            _ => subject = behind,
        }
        pattern = &pattern[1..];
    }
    if !subject.is_empty() {
        return Ok(Ending::Differs);
    }
    let is_done = pattern.iter().all(|byte| *byte == b'%');
    Ok(if is_done { Ending::Matches } else { Ending::TooShort })
}

/// What follows a `%` may begin anywhere.
fn matches_later(mut subject: &[u8], mut pattern: &[u8], is_text: bool) -> Result<Ending, EvalError> {
    while let [first @ (b'%' | b'_'), rest @ ..] = pattern {
        if *first == b'_' {
            if subject.is_empty() {
                return Ok(Ending::TooShort);
            }
            subject = &subject[width(subject, is_text)..];
        }
        pattern = rest;
    }
    let first = match pattern {
        [] => return Ok(Ending::Matches),
        [b'\\'] => return Err(dangling()),
        [b'\\', escaped, ..] => escaped,
        [first, ..] => first,
    };
    while let [next, ..] = subject {
        if next == first {
            let ending = matches(subject, pattern, is_text)?;
            if ending != Ending::Differs {
                return Ok(ending);
            }
        }
        subject = &subject[width(subject, is_text)..];
    }
    Ok(Ending::TooShort)
}

/// The bytes of the first character.
fn width(subject: &[u8], is_text: bool) -> usize {
    let continued = subject.iter().skip(1).take_while(|byte| is_text && **byte & 0xc0 == 0x80);
    1 + continued.count()
}

fn is_like(subject: &str, pattern: &str) -> Result<bool, EvalError> {
    Ok(matches(subject.as_bytes(), pattern.as_bytes(), true)? == Ending::Matches)
}

pub(super) fn like<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_like(text(args, 0), text(args, 1)).map(Datum::Bool)
}

pub(super) fn not_like<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_like(text(args, 0), text(args, 1)).map(|found| Datum::Bool(!found))
}

fn is_like_in_any_case(call: Call<'_>, args: &[Datum<'_>]) -> Result<bool, EvalError> {
    is_like(&lowered(text(args, 0), call.case)?, &lowered(text(args, 1), call.case)?)
}

pub(super) fn ilike<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_like_in_any_case(call, args).map(Datum::Bool)
}

pub(super) fn not_ilike<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_like_in_any_case(call, args).map(|found| Datum::Bool(!found))
}

fn is_like_bytes(args: &[Datum<'_>]) -> Result<bool, EvalError> {
    Ok(matches(bytes(args, 0), bytes(args, 1), false)? == Ending::Matches)
}

pub(super) fn like_bytes<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_like_bytes(args).map(Datum::Bool)
}

pub(super) fn not_like_bytes<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_like_bytes(args).map(|found| Datum::Bool(!found))
}

/// The pattern with a backslash as its escape.
pub(super) fn like_escape<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (pattern, escape) = (text(args, 0), text(args, 1));
    let mut letters = escape.chars();
    let escape = match (letters.next(), letters.next()) {
        (escape, None) => escape,
        _ => return Err(EvalError::new(SqlState::INVALID_ESCAPE, "invalid escape string")),
    };
    if escape == Some('\\') {
        return Ok(Datum::text(pattern));
    }
    let mut changed = String::with_capacity(pattern.len());
    let mut is_escaped = false;
    for letter in pattern.chars() {
        if Some(letter) == escape && !is_escaped {
            changed.push('\\');
            is_escaped = true;
            continue;
        }
        if letter == '\\' && !is_escaped {
            changed.push('\\');
        }
        changed.push(letter);
        is_escaped = false;
    }
    Ok(Datum::Text(Cow::Owned(changed)))
}
