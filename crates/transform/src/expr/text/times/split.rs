//! A text of a date, a time or an interval cut into its fields, before anything is known of their meaning.

use super::Failure;

/// What a field looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    /// Digits, perhaps with a point.
    Number,
    /// Letters.
    Word,
    /// A sign and letters.
    SignedWord,
    /// Numbers or words with the same separator between them; a zone's name looks like it too.
    Date,
    /// Numbers with colons.
    Time,
    /// A sign and a number.
    Signed,
}

/// One field, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) looks: Looks,
    pub(super) text: String,
}

const FIELDS_MAX: usize = 25;

struct Cursor<'t> {
    rest: &'t [u8],
}

impl Cursor<'_> {
    fn peek(&self) -> u8 {
        self.rest.first().copied().unwrap_or(0)
    }

    fn take(&mut self, into: &mut String) {
        into.push(self.peek().to_ascii_lowercase() as char);
        self.skip();
    }

    fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    fn take_while(&mut self, into: &mut String, fits: impl Fn(u8) -> bool) {
        while !self.rest.is_empty() && fits(self.peek()) {
            self.take(into);
        }
    }
}

/// What C takes for a space.
pub(super) fn is_space(byte: u8) -> bool {
    byte == b' ' || (9..=13).contains(&byte)
}

/// The fields of a text, which together may not be longer than `room` bytes.
pub(super) fn split(
    text: &str,
    room: usize,
    is_core_word: impl Fn(&str) -> bool,
) -> Result<Vec<Field>, Failure> {
    let mut cursor = Cursor { rest: text.as_bytes() };
    let (mut fields, mut used) = (Vec::with_capacity(4), 0);
    while !cursor.rest.is_empty() {
        let first = cursor.peek();
        if is_space(first) {
            cursor.skip();
            continue;
        }
        let mut field = String::new();
        let looks = if first.is_ascii_digit() {
            number_first(&mut cursor, &mut field)
        } else if first == b'.' {
            cursor.take(&mut field);
            cursor.take_while(&mut field, |byte| byte.is_ascii_digit());
            Looks::Number
        } else if first.is_ascii_alphabetic() {
            letter_first(&mut cursor, &mut field, &is_core_word)
        } else if first == b'+' || first == b'-' {
            sign_first(&mut cursor, &mut field)?
        } else if first.is_ascii_punctuation() {
            cursor.skip();
            continue;
        } else {
            return Err(Failure::Format);
        };
        used += field.len() + 1;
        if used > room || fields.len() == FIELDS_MAX {
            return Err(Failure::Format);
        }
        fields.push(Field { looks, text: field });
    }
    Ok(fields)
}

fn number_first(cursor: &mut Cursor<'_>, field: &mut String) -> Looks {
    cursor.take_while(field, |byte| byte.is_ascii_digit());
    let mark = cursor.peek();
    match mark {
        b':' => {
            cursor.take_while(field, |byte| byte.is_ascii_digit() || byte == b':' || byte == b'.');
            Looks::Time
        }
        b'-' | b'/' | b'.' => {
            cursor.take(field);
            if !cursor.peek().is_ascii_digit() {
                cursor.take_while(field, |byte| byte.is_ascii_alphanumeric() || byte == mark);
                return Looks::Date;
            }
            cursor.take_while(field, |byte| byte.is_ascii_digit());
            if cursor.peek() == mark {
                cursor.take_while(field, |byte| byte.is_ascii_digit() || byte == mark);
                return Looks::Date;
            }
            if mark == b'.' { Looks::Number } else { Looks::Date }
        }
        _ => Looks::Number,
    }
}

fn letter_first(cursor: &mut Cursor<'_>, field: &mut String, is_core_word: &impl Fn(&str) -> bool) -> Looks {
    cursor.take_while(field, |byte| byte.is_ascii_alphabetic());
    let next = cursor.peek();
    let goes_on = matches!(next, b'-' | b'/' | b'.')
        || ((next == b'+' || next.is_ascii_digit()) && !is_core_word(field));
    if !goes_on {
        return Looks::Word;
    }
    cursor.take_while(field, |byte| byte.is_ascii_alphanumeric() || b"+-/_.:".contains(&byte));
    Looks::Date
}

fn sign_first(cursor: &mut Cursor<'_>, field: &mut String) -> Result<Looks, Failure> {
    cursor.take(field);
    while is_space(cursor.peek()) {
        cursor.skip();
    }
    if cursor.peek().is_ascii_digit() {
        cursor.take_while(field, |byte| byte.is_ascii_digit() || b":.-".contains(&byte));
        return Ok(Looks::Signed);
    }
    if cursor.peek().is_ascii_alphabetic() {
        cursor.take_while(field, |byte| byte.is_ascii_alphabetic());
        return Ok(Looks::SignedWord);
    }
    Err(Failure::Format)
}
