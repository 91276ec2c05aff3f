//! The functions and operators that take a regular expression.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::syntax::Options;
use super::{Regex, Text, compiled};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::functions::strings::{text, whole};
use crate::expr::value::Array;

type Value<'a> = Result<Datum<'a>, EvalError>;

fn parameter(what: &'static str, message: String) -> EvalError {
    EvalError::quoting(SqlState::INVALID_PARAMETER, what, message)
}

/// Options, and whether every match is meant.
fn options(flags: &str) -> Result<(Options, bool), EvalError> {
    let (mut options, mut is_global) = (Options::default(), false);
    for flag in flags.chars() {
        if flag == 'g' {
            is_global = true;
            continue;
        }
        let what = "invalid regular expression option";
        options.take(flag).ok_or_else(|| parameter(what, format!("{what}: \"{flag}\"")))??;
    }
    Ok((options, is_global))
}

/// Options of a function that does not know `g`.
fn local_options(args: &[Datum<'_>], at: usize, function: &str) -> Result<Options, EvalError> {
    if args.len() <= at {
        return Ok(Options::default());
    }
    let (options, is_global) = options(text(args, at))?;
    if is_global {
        let message = format!("{function}() does not support the \"global\" option");
        return Err(parameter(
            "a regular expression function does not support the \"global\" option",
            message,
        ));
    }
    Ok(options)
}

type Compiled = Rc<RefCell<Regex>>;

fn pattern(call: Call<'_>, args: &[Datum<'_>], options: Options) -> Result<Compiled, EvalError> {
    compiled(text(args, 1), options, call.case)
}

fn is_match(call: Call<'_>, args: &[Datum<'_>], options: Options) -> Result<bool, EvalError> {
    let regex = pattern(call, args, options)?;
    let mut regex = regex.borrow_mut();
    let text = regex.read(text(args, 0))?;
    Ok(regex.is_match(&text))
}

const ANY_CASE: Options = Options { in_any_case: true, stops_at_newline: false, anchors_at_newline: false };

pub(in super::super) fn matches<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_match(call, args, Options::default()).map(Datum::Bool)
}

pub(in super::super) fn differs<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_match(call, args, Options::default()).map(|found| Datum::Bool(!found))
}

pub(in super::super) fn matches_any_case<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_match(call, args, ANY_CASE).map(Datum::Bool)
}

pub(in super::super) fn differs_any_case<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_match(call, args, ANY_CASE).map(|found| Datum::Bool(!found))
}

pub(in super::super) fn regexp_like<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_match(call, args, local_options(args, 2, "regexp_like")?).map(Datum::Bool)
}

fn owned<'a>(text: Option<&str>) -> Datum<'a> {
    text.map_or(Datum::Null, Datum::text)
}

/// What the first parentheses hold, or the whole match when there are none.
pub(in super::super) fn substring<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let regex = pattern(call, args, Options::default())?;
    let mut regex = regex.borrow_mut();
    let text = regex.read(text(args, 0))?;
    let Some(found) = regex.find(&text, 0) else { return Ok(Datum::Null) };
    let wanted = if regex.groups > 0 { regex.captures(&text, found)[1] } else { Some(found) };
    Ok(owned(wanted.map(|range| text.part(range))))
}

fn array<'a>(elements: Vec<Datum<'static>>) -> Datum<'a> {
    Datum::Array(Arc::new(Array::of_elements(elements)))
}

pub(in super::super) fn regexp_match<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let regex = pattern(call, args, local_options(args, 2, "regexp_match")?)?;
    let mut regex = regex.borrow_mut();
    let text = regex.read(text(args, 0))?;
    let Some(found) = regex.find(&text, 0) else { return Ok(Datum::Null) };
    let captures = regex.captures(&text, found);
    let skipped = usize::from(regex.groups > 0);
    let parts = captures.into_iter().skip(skipped);
    Ok(array(parts.map(|part| owned(part.map(|range| text.part(range)))).collect()))
}

/// Every match from a place on. Behind an empty one the next is looked for one character later.
fn all_matches(regex: &mut Regex, text: &Text<'_>, from: usize) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut next = from;
    while let Some((start, end)) = regex.find(text, next) {
        found.push((start, end));
        next = if start == end { end + 1 } else { end };
    }
    found
}

pub(in super::super) fn regexp_split_to_array<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let regex = pattern(call, args, local_options(args, 2, "regexp_split_to_array")?)?;
    let mut regex = regex.borrow_mut();
    let text = regex.read(text(args, 0))?;
    let (mut pieces, mut from, mut last_end) = (Vec::new(), 0, 0);
    for (start, end) in all_matches(&mut regex, &text, 0) {
        // Empty matches at the ends, and right behind another, separate nothing.
        if start < text.len() && end > last_end {
            pieces.push(Datum::text(text.part((from, start))));
            from = end;
        }
        last_end = end;
    }
    pieces.push(Datum::text(text.part((from, text.len()))));
    Ok(array(pieces))
}

/// A number that must not be less than `least`, which it is when it is not given.
fn bounded(args: &[Datum<'_>], at: usize, name: &str, least: i64) -> Result<i64, EvalError> {
    let number = if args.len() > at { whole(args, at) } else { least };
    if number < least { Err(out_of_bounds(name, number)) } else { Ok(number) }
}

fn out_of_bounds(name: &str, number: i64) -> EvalError {
    let message = format!("invalid value for parameter \"{name}\": {number}");
    parameter("invalid value for a parameter of a regular expression function", message)
}

fn start(args: &[Datum<'_>], at: usize) -> Result<usize, EvalError> {
    Ok(usize::try_from(bounded(args, at, "start", 1)? - 1).unwrap_or(usize::MAX))
}

pub(in super::super) fn regexp_count<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let from = start(args, 2)?;
    let regex = pattern(call, args, local_options(args, 3, "regexp_count")?)?;
    let mut regex = regex.borrow_mut();
    let text = regex.read(text(args, 0))?;
    Ok(Datum::Int(all_matches(&mut regex, &text, from).len() as i64))
}

/// The wanted match, or the wanted parentheses of it. `None` when there are none.
fn nth(
    (call, args): (Call<'_>, &[Datum<'_>]),
    (from, number, group): (usize, i64, i64),
    options: Options,
) -> Result<Option<(i64, i64, String)>, EvalError> {
    let regex = pattern(call, args, options)?;
    let mut regex = regex.borrow_mut();
    let group = usize::try_from(group).unwrap_or(usize::MAX);
    if group > regex.groups {
        return Ok(None);
    }
    let text = regex.read(text(args, 0))?;
    let number = usize::try_from(number - 1).unwrap_or(usize::MAX);
    let Some(found) = all_matches(&mut regex, &text, from).get(number).copied() else { return Ok(None) };
    let wanted = regex.captures(&text, found).get(group).copied().flatten();
    Ok(wanted.map(|(start, end)| (start as i64 + 1, end as i64 + 1, text.part((start, end)).to_owned())))
}

pub(in super::super) fn regexp_substr<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (from, number) = (start(args, 2)?, bounded(args, 3, "n", 1)?);
    let options = local_options(args, 4, "regexp_substr")?;
    let group = bounded(args, 5, "subexpr", 0)?;
    let found = nth((call, args), (from, number, group), options)?;
    Ok(found.map_or(Datum::Null, |(_, _, part)| Datum::text(part)))
}

pub(in super::super) fn regexp_instr<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (from, number) = (start(args, 2)?, bounded(args, 3, "n", 1)?);
    let at_end = bounded(args, 4, "endoption", 0)?;
    if at_end > 1 {
        return Err(out_of_bounds("endoption", at_end));
    }
    let options = local_options(args, 5, "regexp_instr")?;
    let group = bounded(args, 6, "subexpr", 0)?;
    let found = nth((call, args), (from, number, group), options)?;
    Ok(Datum::Int(found.map_or(0, |(start, end, _)| if at_end == 1 { end } else { start })))
}

/// `regexp_replace` with flags or nothing behind the replacement.
pub(in super::super) fn regexp_replace<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (options, is_global) = options(if args.len() > 3 { text(args, 3) } else { "" })?;
    replaced((call, args), options, (0, if is_global { 0 } else { 1 }))
}

/// `regexp_replace` with a start, a number of the match, and flags.
pub(in super::super) fn regexp_replace_from<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let from = start(args, 3)?;
    let number = if args.len() > 4 { bounded(args, 4, "n", 0)? } else { 1 };
    let (options, _) = options(if args.len() > 5 { text(args, 5) } else { "" })?;
    replaced((call, args), options, (from, number))
}

/// Replaces the match of a number, or with zero all of them.
fn replaced<'a>(
    (call, args): (Call<'_>, &[Datum<'a>]),
    options: Options,
    (from, number): (usize, i64),
) -> Value<'a> {
    let regex = pattern(call, args, options)?;
    let mut regex = regex.borrow_mut();
    let subject = regex.read(text(args, 0))?;
    let replacement = replacement(text(args, 2));
    let (mut written, mut copied, mut next, mut count) = (String::new(), 0, from, 0);
    while let Some((start, end)) = regex.find(&subject, next) {
        next = if start == end { end + 1 } else { end };
        count += 1;
        if number > 0 && count != number {
            continue;
        }
        written.push_str(subject.part((copied, start)));
        let captures = if replacement.iter().any(|part| matches!(part, Part::Group(1..))) {
            regex.captures(&subject, (start, end))
        } else {
            vec![Some((start, end))]
        };
        for part in &replacement {
            match part {
                Part::Text(text) => written.push_str(text),
                Part::Group(group) => {
                    let range = captures.get(*group).copied().flatten();
                    written.push_str(range.map_or("", |range| subject.part(range)));
                }
            }
        }
        copied = end;
        if number > 0 {
            break;
        }
    }
    written.push_str(subject.part((copied, subject.len())));
    Ok(Datum::text(written))
}

/// A part of a replacement.
enum Part<'r> {
    Text(&'r str),
    /// What parentheses hold; those of number zero are the whole match.
    Group(usize),
}

/// A backslash with a digit or `&` stands for a part of the match, two for one; any other stands for itself.
fn replacement(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        parts.push(Part::Text(&rest[..at]));
        let behind = &rest[at + 1..];
        let (part, len) = match behind.bytes().next() {
            Some(digit @ b'1'..=b'9') => (Part::Group(usize::from(digit - b'0')), 1),
            Some(b'&') => (Part::Group(0), 1),
            Some(b'\\') => (Part::Text("\\"), 1),
            _ => (Part::Text("\\"), 0),
        };
        parts.push(part);
        rest = &behind[len..];
    }
    parts.push(Part::Text(rest));
    parts
}
