//! `format`: values put into a text at marks that begin with a percent sign.

use std::borrow::Cow;

use super::super::Call;
use super::quote::{quoted_literal, quoted_name};
use super::text;
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::text::output;
use crate::expr::types::{Modifier, SqlType};

fn wrong(what: &'static str) -> EvalError {
    EvalError::new(SqlState::INVALID_PARAMETER, what)
}

/// Where a mark takes its width from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Fixed(i64),
    /// The next argument.
    Next,
    /// An argument by its number.
    Of(usize),
}

/// What stands between a percent sign and its letter.
struct Mark {
    /// The number of the argument; the next one without it.
    arg: Option<usize>,
    is_left: bool,
    width: Width,
    letter: char,
}

/// The text behind the percent sign.
struct Reader<'t>(&'t str);

impl Reader<'_> {
    fn next(&mut self) -> Result<char, EvalError> {
        let mut letters = self.0.chars();
        let letter = letters.next().ok_or_else(|| wrong("unterminated format() type specifier"))?;
        self.0 = letters.as_str();
        Ok(letter)
    }

    fn peek(&self) -> Result<char, EvalError> {
        self.0.chars().next().ok_or_else(|| wrong("unterminated format() type specifier"))
    }

    fn number(&mut self) -> Result<Option<i64>, EvalError> {
        let len = self.0.bytes().take_while(u8::is_ascii_digit).count();
        if len == 0 {
            return Ok(None);
        }
        let (digits, rest) = self.0.split_at(len);
        self.0 = rest;
        let number = digits.parse::<i32>();
        let number = number.map_err(|_| EvalError::new(SqlState::OUT_OF_RANGE, "number is out of range"))?;
        self.peek()?;
        Ok(Some(i64::from(number)))
    }

    fn mark(&mut self) -> Result<Mark, EvalError> {
        let mut mark = Mark { arg: None, is_left: false, width: Width::Fixed(0), letter: 's' };
        if let Some(number) = self.number()? {
            if self.peek()? != '$' {
                mark.width = Width::Fixed(number);
                mark.letter = self.next()?;
                return Ok(mark);
            }
            mark.arg = Some(numbered(number)?);
            self.next()?;
        }
        while self.peek()? == '-' {
            mark.is_left = true;
            self.next()?;
        }
        if self.peek()? == '*' {
            self.next()?;
            mark.width = Width::Next;
            self.peek()?;
            if let Some(number) = self.number()? {
                if self.peek()? != '$' {
                    return Err(wrong("width argument position must be ended by \"$\""));
                }
                mark.width = Width::Of(numbered(number)?);
                self.next()?;
            }
        } else if let Some(number) = self.number()? {
            mark.width = Width::Fixed(number);
        }
        mark.letter = self.next()?;
        Ok(mark)
    }
}

fn numbered(number: i64) -> Result<usize, EvalError> {
    let what = "format specifies argument 0, but arguments are numbered from 1";
    usize::try_from(number).ok().filter(|number| *number > 0).ok_or_else(|| wrong(what))
}

pub(super) fn format<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    if args.first().is_none_or(Datum::is_null) {
        return Ok(Datum::Null);
    }
    let mut reader = Reader(text(args, 0));
    let mut written = String::new();
    let mut next = 1;
    while let Some((front, rest)) = reader.0.split_once('%') {
        written.push_str(front);
        reader.0 = rest;
        if reader.peek()? == '%' {
            reader.next()?;
            written.push('%');
            continue;
        }
        let mark = reader.mark()?;
        if !matches!(mark.letter, 's' | 'I' | 'L') {
            let message = format!("unrecognized format() type specifier \"{}\"", mark.letter);
            let what = "unrecognized format() type specifier";
            return Err(EvalError::quoting(SqlState::INVALID_PARAMETER, what, message));
        }
        let width = width(&mark, (call, args), &mut next)?;
        let (value, ty) = argument((call, args), mark.arg, &mut next)?;
        let value = formatted(value, ty, mark.letter)?;
        let missing = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
        let missing = missing.saturating_sub(value.chars().count());
        if missing > 0x3fff_ffff {
            return Err(EvalError::new(SqlState::LIMIT_EXCEEDED, "out of memory"));
        }
        let is_left = mark.is_left || width < 0;
        let blanks = " ".repeat(missing);
        written.extend(if is_left { [value.as_ref(), &blanks] } else { [&blanks, value.as_ref()] });
    }
    written.push_str(reader.0);
    Ok(Datum::text(written))
}

type Args<'v, 'a> = (Call<'v>, &'v [Datum<'a>]);

/// The argument of a number, or the next one.
fn argument<'v, 'a>(
    (call, args): Args<'v, 'a>,
    number: Option<usize>,
    next: &mut usize,
) -> Result<(&'v Datum<'a>, &'v SqlType), EvalError> {
    let at = number.unwrap_or(*next);
    *next = at + 1;
    args.get(at).zip(call.args.get(at)).ok_or_else(|| wrong("too few arguments for format()"))
}

fn width(mark: &Mark, args: Args<'_, '_>, next: &mut usize) -> Result<i64, EvalError> {
    let number = match mark.width {
        Width::Fixed(width) => return Ok(width),
        Width::Next => None,
        Width::Of(number) => Some(number),
    };
    let (value, ty) = argument(args, number, next)?;
    match value {
        Datum::Null => Ok(0),
        Datum::Int(width) if i32::try_from(*width).is_ok() => Ok(*width),
        other => {
            let written = output(other, ty);
            match crate::expr::text::input(&SqlType::Int4, Modifier::NONE, &written)? {
                Datum::Int(width) => Ok(width),
                _ => Ok(0),
            }
        }
    }
}

fn formatted<'v>(value: &'v Datum<'_>, ty: &SqlType, letter: char) -> Result<Cow<'v, str>, EvalError> {
    if value.is_null() {
        return match letter {
            's' => Ok(Cow::Borrowed("")),
            'L' => Ok(Cow::Borrowed("NULL")),
            _ => Err(EvalError::new(
                SqlState::NULL_NOT_ALLOWED,
                "null values cannot be formatted as an SQL identifier",
            )),
        };
    }
    let written = output(value, ty);
    Ok(match letter {
        's' => written,
        'L' => Cow::Owned(quoted_literal(&written)),
        _ => Cow::Owned(quoted_name(&written)?),
    })
}
