//! JSON as it is written: checked, taken apart, and every part still with its own text.

use std::borrow::Cow;

use crate::expr::error::{EvalError, SqlState};

/// Deeper nesting fails as it does on a server whose stack is small; ours is finite as well.
const DEPTH_MAX: usize = 400;

/// The code `statement_too_complex`, by which a server says that its stack does not suffice.
const TOO_COMPLEX: SqlState = SqlState(*b"54001");

/// The code `untranslatable_character`.
const UNTRANSLATABLE: SqlState = SqlState(*b"22P05");

/// What becomes of the escapes in strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// They are replaced by what they stand for, so those that stand for nothing fail.
    Read,
    /// Only their form is checked.
    Kept,
}

/// A value and the text that it was written as, from its first letter to its last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawJson<'t> {
    pub(crate) text: &'t str,
    pub(crate) kind: RawKind<'t>,
}

/// What kind of value it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RawKind<'t> {
    Null,
    Bool(bool),
    Number,
    String(Cow<'t, str>),
    Array(Vec<RawJson<'t>>),
    /// Fields as they were written, the same key perhaps more than once.
    Object(Vec<(Cow<'t, str>, RawJson<'t>)>),
}

impl<'t> RawJson<'t> {
    /// Takes a text apart.
    pub(crate) fn parse(text: &'t str, escapes: Escapes) -> Result<RawJson<'t>, EvalError> {
        let mut parser = Parser { text, at: 0, depth: 0, escapes };
        let value = parser.value()?;
        parser.skip_blanks();
        if parser.at < text.len() {
            return Err(parser.invalid());
        }
        Ok(value)
    }

    /// As `typeof` names it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.kind {
            RawKind::Null => "null",
            RawKind::Bool(_) => "boolean",
            RawKind::Number => "number",
            RawKind::String(_) => "string",
            RawKind::Array(_) => "array",
            RawKind::Object(_) => "object",
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    escapes: Escapes,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn invalid(&self) -> EvalError {
        EvalError::new(SqlState::INVALID_TEXT, "invalid input syntax for type json")
    }

    fn expect(&mut self, wanted: u8) -> Result<(), EvalError> {
        if self.peek() == Some(wanted) {
            self.at += 1;
            return Ok(());
        }
        Err(self.invalid())
    }

    fn value(&mut self) -> Result<RawJson<'t>, EvalError> {
        self.skip_blanks();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => self.nested(Parser::object)?,
            Some(b'[') => self.nested(Parser::array)?,
            Some(b'"') => RawKind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(RawJson { text: &self.text[start..self.at], kind })
    }

    fn nested(
        &mut self,
        inner: fn(&mut Parser<'t>) -> Result<RawKind<'t>, EvalError>,
    ) -> Result<RawKind<'t>, EvalError> {
        if self.depth == DEPTH_MAX {
            return Err(EvalError::new(TOO_COMPLEX, "stack depth limit exceeded"));
        }
        self.depth += 1;
        self.at += 1;
        let kind = inner(self)?;
        self.depth -= 1;
        Ok(kind)
    }

    fn array(&mut self) -> Result<RawKind<'t>, EvalError> {
        let mut elements = Vec::new();
        self.skip_blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(RawKind::Array(elements));
        }
        loop {
            elements.push(self.value()?);
            if self.ends(b']')? {
                return Ok(RawKind::Array(elements));
            }
        }
    }

    fn object(&mut self) -> Result<RawKind<'t>, EvalError> {
        let mut fields = Vec::new();
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(RawKind::Object(fields));
        }
        loop {
            self.skip_blanks();
            let key = self.string()?;
            self.skip_blanks();
            self.expect(b':')?;
            fields.push((key, self.value()?));
            if self.ends(b'}')? {
                return Ok(RawKind::Object(fields));
            }
        }
    }

    /// Behind an element: whether the list ends here, or goes on behind a comma.
    fn ends(&mut self, with: u8) -> Result<bool, EvalError> {
        self.skip_blanks();
        let found = self.peek();
        self.at += 1;
        match found {
            Some(b',') => Ok(false),
            Some(other) if other == with => Ok(true),
            _ => Err(self.invalid()),
        }
    }

    fn word(&mut self) -> Result<RawKind<'t>, EvalError> {
        let words = [("null", RawKind::Null), ("true", RawKind::Bool(true)), ("false", RawKind::Bool(false))];
        for (word, kind) in words {
            if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(kind);
            }
        }
        Err(self.invalid())
    }

    fn digits(&mut self) -> Result<(), EvalError> {
        let start = self.at;
        while self.peek().is_some_and(|letter| letter.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.invalid()) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<RawKind<'t>, EvalError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(RawKind::Number)
    }

    fn string(&mut self) -> Result<Cow<'t, str>, EvalError> {
        self.expect(b'"')?;
        let start = self.at;
        // Filled from the first escape on.
        let mut read: Option<String> = None;
        loop {
            let plain = self.at;
            while self.peek().is_some_and(|letter| letter >= b' ' && letter != b'"' && letter != b'\\') {
                self.at += 1;
            }
            if let Some(read) = &mut read {
                read.push_str(&self.text[plain..self.at]);
            }
            match self.peek() {
                Some(b'"') => {
                    let written = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(read.map_or(Cow::Borrowed(written), Cow::Owned));
                }
                Some(b'\\') => {
                    let so_far = &self.text[start..self.at];
                    self.at += 1;
                    let letter = self.escape()?;
                    if let Some(letter) = letter {
                        read.get_or_insert_with(|| so_far.to_owned()).push(letter);
                    }
                }
                _ => return Err(self.invalid()),
            }
        }
    }

    /// What stands behind a backslash; `None` when escapes are kept.
    fn escape(&mut self) -> Result<Option<char>, EvalError> {
        let letter = match self.peek() {
            Some(letter @ (b'"' | b'\\' | b'/')) => char::from(letter),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.invalid()),
        };
        self.at += 1;
        Ok((self.escapes == Escapes::Read).then_some(letter))
    }

    fn unicode(&mut self) -> Result<Option<char>, EvalError> {
        let unit = self.hexadecimal()?;
        if self.escapes == Escapes::Kept {
            return Ok(None);
        }
        let code = match unit {
            0 => {
                return Err(EvalError::new(UNTRANSLATABLE, "unsupported Unicode escape sequence"));
            }
            0xd800..=0xdbff => {
                self.expect(b'\\')?;
                self.expect(b'u')?;
                let low = self.hexadecimal()?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(self.invalid());
                }
                0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
            }
            other => other,
        };
        char::from_u32(code).map(Some).ok_or_else(|| self.invalid())
    }

    fn hexadecimal(&mut self) -> Result<u32, EvalError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or_else(|| self.invalid())?;
        let mut code = 0;
        for digit in digits {
            code = code * 16 + char::from(*digit).to_digit(16).ok_or_else(|| self.invalid())?;
        }
        self.at += 4;
        Ok(code)
    }
}

/// Writes a string with its quotes.
pub(crate) fn write_string(text: &str, to: &mut String) {
    to.push('"');
    for letter in text.chars() {
        match letter {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\u{8}' => to.push_str("\\b"),
            '\u{c}' => to.push_str("\\f"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            control if control < ' ' => to.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => to.push(other),
        }
    }
    to.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str, escapes: Escapes) -> String {
        RawJson::parse(text, escapes)
            .map_or_else(|error| error.state().to_string(), |raw| raw.text.to_owned())
    }

    /// As Postgres 15 and 18 answer: a looser reading would store what green refuses.
    #[test]
    fn only_json_is_read() {
        let good =
            ["0", "-0", "1.50", "1e5", "1E-07", "null", "true", r#""""#, "[]", "{}", r#"[1,[2],{"a":1}]"#];
        for text in good {
            assert_eq!(state(&format!(" \t\n\r{text} \t\n\r"), Escapes::Read), text);
        }
        let bad = [
            "",
            " ",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "nul",
            "NULL",
            "truex",
            "[1,]",
            "[,]",
            "{1:2}",
            "{\"a\"}",
            "[1}",
            "[",
            "\"",
            "\"\t\"",
            r#""\x""#,
            r#""\u12""#,
            r#""\uzzzz""#,
            "1 2",
            "'a'",
            "NaN",
            "\u{b}1",
            "\u{a0}1",
        ];
        for text in bad {
            assert_eq!(
                [state(text, Escapes::Read), state(text, Escapes::Kept)],
                ["22P02", "22P02"],
                "{text}"
            );
        }
    }

    /// `json` keeps what `jsonb` cannot hold.
    #[test]
    fn escapes_fail_only_where_they_are_read() {
        let cases = [
            (r#""\u0000""#, "22P05"),
            (r#""\ud800""#, "22P02"),
            (r#""\ud800\ud800""#, "22P02"),
            (r#""\udc00""#, "22P02"),
        ];
        for (text, failure) in cases {
            assert_eq!([state(text, Escapes::Read), state(text, Escapes::Kept)], [failure, text]);
        }
        let read = RawJson::parse(r#""a\u00e9\n\/\ud83d\ude00""#, Escapes::Read).unwrap();
        assert_eq!(read.kind, RawKind::String("aé\n/😀".into()));
    }

    /// A stack that overflows would end the process.
    #[test]
    fn deep_nesting_fails() {
        assert_eq!(state(&"[".repeat(100_000), Escapes::Read), "54001");
        let deep = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert_eq!(state(&deep, Escapes::Kept), deep);
    }
}
