//! JSON documents as attribute values, and attribute values as JSON with one text for each document.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::{NotFit, Odd, number};

/// How many levels of values DynamoDB nests: an attribute is one, and what is in a list or map is the next, be it nothing.
pub const DEPTH_MAX: usize = 32;

/// A document by value: objects as maps, in which the last of equal keys counts as it does for `jsonb`.
pub(super) fn read(text: &str) -> Result<AttributeValue, NotFit> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = reader.value()?;
    reader.skip_blanks();
    if reader.at < text.len() { Err(malformed()) } else { Ok(value) }
}

/// The one text of a document: keys sorted, no blanks, numbers as they are stored.
pub(super) fn write(value: &AttributeValue) -> Result<String, Odd> {
    let mut out = String::new();
    push(&mut out, value)?;
    Ok(out)
}

/// Appends a string as JSON.
pub(super) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", control as u32)),
            plain => out.push(plain),
        }
    }
    out.push('"');
}

fn push(out: &mut String, value: &AttributeValue) -> Result<(), Odd> {
    match value {
        AttributeValue::Null(_) => out.push_str("null"),
        AttributeValue::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        AttributeValue::N(text) => {
            out.push_str(&number::canonical(text).map_err(|_| Odd::new("a number that is none"))?);
        }
        AttributeValue::S(text) => push_string(out, text),
        AttributeValue::L(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push(out, element)?;
            }
            out.push(']');
        }
        AttributeValue::M(fields) => {
            let mut fields = fields.iter().collect::<Vec<_>>();
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (at, (name, field)) in fields.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_string(out, name);
                out.push(':');
                push(out, field)?;
            }
            out.push('}');
        }
        _ => return Err(Odd::new("bytes or a set in a document")),
    }
    Ok(())
}

fn malformed() -> NotFit {
    NotFit::new("not a JSON document")
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<AttributeValue, NotFit> {
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.nested(Reader::object),
            Some(b'[') => self.nested(Reader::list),
            Some(b'"') => Ok(AttributeValue::S(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn nested(
        &mut self,
        inner: fn(&mut Self) -> Result<AttributeValue, NotFit>,
    ) -> Result<AttributeValue, NotFit> {
        self.depth += 1;
        if self.depth == DEPTH_MAX {
            return Err(NotFit::new(
                "a document nested more than 32 levels deep: `form: json_text` keeps it",
            ));
        }
        self.at += 1;
        let value = inner(self);
        self.depth -= 1;
        value
    }

    fn list(&mut self) -> Result<AttributeValue, NotFit> {
        let mut elements = Vec::new();
        self.skip_blanks();
        if self.takes(b']') {
            return Ok(AttributeValue::L(elements));
        }
        loop {
            elements.push(self.value()?);
            if self.ends(b']')? {
                return Ok(AttributeValue::L(elements));
            }
        }
    }

    fn object(&mut self) -> Result<AttributeValue, NotFit> {
        let mut fields = HashMap::new();
        self.skip_blanks();
        if self.takes(b'}') {
            return Ok(AttributeValue::M(fields));
        }
        loop {
            self.skip_blanks();
            let name = if self.peek() == Some(b'"') { self.string()? } else { return Err(malformed()) };
            if name.is_empty() {
                return Err(NotFit::new("a document with an empty key: `form: json_text` keeps it"));
            }
            self.skip_blanks();
            if !self.takes(b':') {
                return Err(malformed());
            }
            let value = self.value()?;
            fields.insert(name, value);
            if self.ends(b'}')? {
                return Ok(AttributeValue::M(fields));
            }
        }
    }

    fn takes(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Behind an element: whether the list ends here, or goes on behind a comma.
    fn ends(&mut self, with: u8) -> Result<bool, NotFit> {
        self.skip_blanks();
        if self.takes(b',') {
            return Ok(false);
        }
        if self.takes(with) { Ok(true) } else { Err(malformed()) }
    }

    fn word(&mut self) -> Result<AttributeValue, NotFit> {
        let words = [
            ("null", AttributeValue::Null(true)),
            ("true", AttributeValue::Bool(true)),
            ("false", AttributeValue::Bool(false)),
        ];
        for (word, value) in words {
            if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(malformed())
    }

    fn number(&mut self) -> Result<AttributeValue, NotFit> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(AttributeValue::N(number::canonical(&self.text[start..self.at])?))
    }

    fn string(&mut self) -> Result<String, NotFit> {
        self.at += 1;
        let mut out = String::new();
        let mut plain = self.at;
        loop {
            match self.peek().ok_or_else(malformed)? {
                b'"' => {
                    out.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => {
                    out.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    out.push(self.escaped()?);
                    plain = self.at;
                }
                0..=0x1f => return Err(malformed()),
                _ => self.at += 1,
            }
        }
    }

    fn escaped(&mut self) -> Result<char, NotFit> {
        let letter = self.peek().ok_or_else(malformed)?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(malformed()),
        })
    }

    /// One letter, of which the second half follows as an escape of its own where it needs two.
    fn unicode(&mut self) -> Result<char, NotFit> {
        let half = || NotFit::new("half of a letter in a document: `form: json_text` keeps it");
        let first = self.four()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or_else(half);
        }
        if !(self.takes(b'\\') && self.takes(b'u')) {
            return Err(half());
        }
        let second = self.four()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(half());
        }
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or_else(half)
    }

    fn four(&mut self) -> Result<u32, NotFit> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or_else(malformed)?;
        let digits = digits.iter().map(|digit| char::from(*digit).to_digit(16));
        let code = digits.collect::<Option<Vec<_>>>().ok_or_else(malformed)?;
        self.at += 4;
        Ok(code.into_iter().fold(0, |sum, digit| sum * 16 + digit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> Result<String, NotFit> {
        Ok(write(&read(text)?).unwrap())
    }

    /// A document has one text, whatever its blanks, the order of its keys and the scale of its numbers.
    #[test]
    fn a_document_has_one_text() {
        for (text, expected) in [
            (r#" {"b" : 1.50, "a":[true,null,{}] } "#, r#"{"a":[true,null,{}],"b":1.5}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            ("[]", "[]"),
            ("null", "null"),
            (r#""""#, r#""""#),
            ("-0.0", "0"),
            ("1E2", "100"),
            ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
            (r#""\u00e4\ud83d\ude00\n\u0000\/""#, "\"ä😀\\u000a\\u0000/\""),
            (r#"{"\u0061":1}"#, r#"{"a":1}"#),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
    }

    /// What cannot be kept by value is refused, and never stored as something else.
    #[test]
    fn what_has_no_value_is_refused() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(canonical(&deep(31)).is_ok() && canonical(&deep(32)).is_err());
        let holding = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(canonical(&holding(31)).is_ok() && canonical(&holding(32)).is_err());
        assert!(canonical(&deep(100_000)).is_err(), "no depth exhausts the stack");
        for text in [
            "",
            "nul",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":1,}",
            "1 2",
            "\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\\u12\"",
            "\"\n\"",
            "{\"\":1}",
            "[1e400]",
            "{\"a\":123456789012345678901234567890123456789}",
            "--1",
        ] {
            assert!(canonical(text).is_err(), "{text:?}");
        }
        assert!(write(&AttributeValue::Ss(vec!["a".into()])).is_err());
    }

    proptest! {
        /// No text from anywhere makes it fail otherwise than by saying so.
        #[test]
        fn no_text_breaks_it(text in "[\\[\\]{}:,\"\\\\u0-9a-f .e-]{0,40}") {
            if let Ok(once) = canonical(&text) {
                prop_assert_eq!(canonical(&once), Ok(once));
            }
        }
    }
}
