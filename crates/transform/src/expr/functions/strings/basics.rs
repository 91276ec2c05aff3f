//! Parts of strings, and strings from parts. Characters are counted, not bytes.

use std::borrow::Cow;

use super::super::Call;
use super::{part, state, text, whole};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::types::SqlType;

type Value<'a> = Result<Datum<'a>, EvalError>;

/// The greatest value that Postgres holds, in bytes.
const BYTES_MAX: usize = 0x3fff_ffff;

fn too_large() -> EvalError {
    EvalError::new(SqlState::LIMIT_EXCEEDED, "requested length too large")
}

/// Where the character of this number starts, counted from zero; the end of the text when it has fewer.
fn offset(text: &str, characters: usize) -> usize {
    if characters >= text.len() {
        return text.len();
    }
    if text.is_ascii() {
        return characters;
    }
    text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at)
}

/// The count of characters.
pub(super) fn count(text: &str) -> i64 {
    text.chars().count() as i64
}

pub(super) fn char_length<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::Int(count(text(args, 0))))
}

/// The trailing blanks of `character` do not count.
pub(super) fn bpchar_length<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::Int(count(text(args, 0).trim_end_matches(' '))))
}

pub(super) fn octet_length<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::Int(text(args, 0).len() as i64))
}

pub(super) fn bit_length<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::Int(text(args, 0).len() as i64 * 8))
}

pub(super) fn concatenate<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::text([text(args, 0), text(args, 1)].concat()))
}

/// A string and a value of any type, as a cast to text writes it.
pub(super) fn concatenate_any<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let mut joined = String::new();
    for (value, ty) in args.iter().zip(call.args) {
        if ty.element().is_some() {
            return Err(EvalError::new(SqlState::NOT_SUPPORTED, "an array is not concatenated with text"));
        }
        joined.push_str(&super::cast_to_text(value, ty));
    }
    Ok(Datum::text(joined))
}

/// `bpchar` loses its trailing blanks where it becomes another string.
pub(super) fn unpadded<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let len = text(args, 0).trim_end_matches(' ').len();
    Ok(part(args, 0, 0..len))
}

pub(super) fn any_to_text<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let ty = call.args.first().unwrap_or(&SqlType::Text);
    Ok(args.first().map_or(Datum::Null, |value| Datum::text(super::cast_to_text(value, ty).into_owned())))
}

pub(super) fn concat<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::text(joined(call, args, 0, "")))
}

pub(super) fn concat_ws<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    match args.first() {
        Some(Datum::Text(separator)) => Ok(Datum::text(joined(call, args, 1, separator))),
        _ => Ok(Datum::Null),
    }
}

fn joined(call: Call<'_>, args: &[Datum<'_>], from: usize, separator: &str) -> String {
    let mut joined = String::new();
    let mut is_first = true;
    for (value, ty) in args.iter().zip(call.args).skip(from).filter(|(value, _)| !value.is_null()) {
        if !is_first {
            joined.push_str(separator);
        }
        is_first = false;
        joined.push_str(&crate::expr::text::output(value, ty));
    }
    joined
}

/// The start and end of a substring in characters or bytes, counted from zero. A place in front of the first counts.
pub(super) fn window(start: i64, len: Option<i64>) -> Result<(usize, Option<usize>), EvalError> {
    let clamped = |place: i64| usize::try_from(place - 1).unwrap_or(0);
    let Some(len) = len else { return Ok((clamped(start), None)) };
    if len < 0 {
        return Err(EvalError::new(state::SUBSTRING, "negative substring length not allowed"));
    }
    Ok((clamped(start), Some(clamped(start + len))))
}

pub(super) fn substring<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let subject = text(args, 0);
    let (start, end) = window(whole(args, 1), (args.len() > 2).then(|| whole(args, 2)))?;
    let from = offset(subject, start);
    let to = end.map_or(subject.len(), |end| from + offset(&subject[from..], end.saturating_sub(start)));
    Ok(part(args, 0, from..to))
}

pub(super) fn left<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (subject, wanted) = (text(args, 0), whole(args, 1));
    let wanted = if wanted < 0 { count(subject) + wanted } else { wanted };
    Ok(part(args, 0, 0..offset(subject, usize::try_from(wanted).unwrap_or(0))))
}

pub(super) fn right<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (subject, wanted) = (text(args, 0), whole(args, 1));
    // The least integer has no positive counterpart and skips nothing.
    let skipped = match wanted {
        0.. => count(subject) - wanted,
        _ => i32::try_from(-wanted).map_or(0, i64::from),
    };
    Ok(part(args, 0, offset(subject, usize::try_from(skipped).unwrap_or(0))..subject.len()))
}

/// What is filled in, and the subject cut to the length.
fn padding<'v>(args: &'v [Datum<'_>]) -> Result<(String, &'v str), EvalError> {
    let subject = text(args, 0);
    let wanted = usize::try_from(whole(args, 1)).unwrap_or(0);
    let fill = if args.len() > 2 { text(args, 2) } else { " " };
    // With nothing to fill in, the subject is as long as it gets.
    let longest = if fill.is_empty() { wanted.min(subject.chars().count()) } else { wanted };
    if longest.saturating_mul(4) + 4 > BYTES_MAX {
        return Err(too_large());
    }
    let missing = wanted.saturating_sub(subject.chars().count());
    let filled = if fill.is_empty() { String::new() } else { fill.chars().cycle().take(missing).collect() };
    Ok((filled, &subject[..offset(subject, wanted)]))
}

pub(super) fn lpad<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (filled, subject) = padding(args)?;
    Ok(Datum::text(filled + subject))
}

pub(super) fn rpad<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (filled, subject) = padding(args)?;
    Ok(Datum::text([subject, &filled].concat()))
}

fn trimmed<'a>(args: &[Datum<'a>], front: bool, back: bool) -> Datum<'a> {
    let subject = text(args, 0);
    let unwanted = if args.len() > 1 { text(args, 1) } else { " " };
    let is_unwanted = |letter: char| unwanted.contains(letter);
    let kept = if back { subject.trim_end_matches(is_unwanted) } else { subject };
    let end = kept.len();
    let start = if front { end - kept.trim_start_matches(is_unwanted).len() } else { 0 };
    part(args, 0, start..end)
}

pub(super) fn btrim<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(trimmed(args, true, true))
}

pub(super) fn ltrim<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(trimmed(args, true, false))
}

pub(super) fn rtrim<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(trimmed(args, false, true))
}

pub(super) fn replace<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (subject, from, to) = (text(args, 0), text(args, 1), text(args, 2));
    if from.is_empty() || !subject.contains(from) {
        return Ok(part(args, 0, 0..subject.len()));
    }
    Ok(Datum::text(subject.replace(from, to)))
}

pub(super) fn translate<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (from, to) = (text(args, 1), text(args, 2));
    let to = to.chars().collect::<Vec<_>>();
    let change = |letter: char| match from.chars().position(|known| known == letter) {
        Some(at) => to.get(at).copied(),
        None => Some(letter),
    };
    Ok(Datum::text(text(args, 0).chars().filter_map(change).collect::<String>()))
}

pub(super) fn split_part<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (subject, separator, wanted) = (text(args, 0), text(args, 1), whole(args, 2));
    if wanted == 0 {
        return Err(EvalError::new(SqlState::INVALID_PARAMETER, "field position must not be zero"));
    }
    let skipped = usize::try_from(wanted.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let found = if separator.is_empty() {
        (skipped == 0 && !subject.is_empty()).then_some(subject)
    } else if wanted > 0 {
        subject.split(separator).nth(skipped)
    } else {
        // Counted from the end, yet found from the start: separators may overlap.
        let parts = subject.split(separator).collect::<Vec<_>>();
        parts.len().checked_sub(skipped + 1).map(|at| parts[at])
    };
    let Some(found) = found else { return Ok(Datum::Text(Cow::Borrowed(""))) };
    let start = found.as_ptr() as usize - subject.as_ptr() as usize;
    Ok(part(args, 0, start..start + found.len()))
}

pub(super) fn strpos<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::Int(place(text(args, 0), text(args, 1))))
}

fn place(subject: &str, wanted: &str) -> i64 {
    subject.find(wanted).map_or(0, |at| count(&subject[..at]) + 1)
}

pub(super) fn starts_with<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::Bool(text(args, 0).starts_with(text(args, 1))))
}

pub(super) fn reverse<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::text(text(args, 0).chars().rev().collect::<String>()))
}

pub(super) fn repeat<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (subject, times) = (text(args, 0), usize::try_from(whole(args, 1)).unwrap_or(0));
    if subject.len().saturating_mul(times).saturating_add(4) > BYTES_MAX {
        return Err(too_large());
    }
    Ok(Datum::text(subject.repeat(times)))
}

pub(super) fn overlay<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (subject, inserted, from) = (text(args, 0), text(args, 1), whole(args, 2));
    let len = if args.len() > 3 { whole(args, 3) } else { count(inserted) };
    let (end, behind) = overlaid(from, len)?;
    let front = &subject[..offset(subject, end)];
    Ok(Datum::text([front, inserted, &subject[offset(subject, behind)..]].concat()))
}

/// What stays in front, and where what stays behind begins.
pub(super) fn overlaid(from: i64, len: i64) -> Result<(usize, usize), EvalError> {
    let out_of_range = || EvalError::new(SqlState::OUT_OF_RANGE, "integer out of range");
    if from <= 0 {
        return Err(EvalError::new(state::SUBSTRING, "negative substring length not allowed"));
    }
    let behind = i32::try_from(from + len).map_err(|_| out_of_range())?;
    let counted = |place: i64| usize::try_from(place - 1).unwrap_or(0);
    Ok((counted(from), counted(i64::from(behind))))
}

pub(super) fn ascii<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::Int(text(args, 0).chars().next().map_or(0, |letter| i64::from(u32::from(letter)))))
}

pub(super) fn chr<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let limit = |what, message: String| EvalError::quoting(SqlState::LIMIT_EXCEEDED, what, message);
    let code = match whole(args, 0) {
        ..0 => {
            return Err(EvalError::new(SqlState::INVALID_PARAMETER, "character number must be positive"));
        }
        0 => return Err(EvalError::new(SqlState::LIMIT_EXCEEDED, "null character not permitted")),
        code => code,
    };
    if code > 0x10_ffff {
        let what = "requested character too large for encoding";
        return Err(limit(what, format!("{what}: {code}")));
    }
    let letter = u32::try_from(code).ok().and_then(char::from_u32);
    let what = "requested character not valid for encoding";
    let letter = letter.ok_or_else(|| limit(what, format!("{what}: {code}")))?;
    Ok(Datum::text(letter))
}

/// The network of an address, as a cast to `cidr` gives it.
pub(super) fn network<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    Ok(match args {
        [Datum::Inet(inet)] => Datum::Inet(inet.network()),
        _ => Datum::Null,
    })
}
