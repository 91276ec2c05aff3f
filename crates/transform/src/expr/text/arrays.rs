//! Arrays as text: braces, quotes, and bounds that do not start at one.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::CharIndices;
use std::sync::Arc;

use super::plain::is_space;
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::types::{Modifier, SqlType};
use crate::expr::value::{Array, DIMENSIONS_MAX, Dimension};

/// Reads an array. Nested empty arrays are refused: Postgres 15 does not read them, 18 does.
pub(super) fn array_in<'a>(
    element: &SqlType,
    modifier: Modifier,
    text: &'a str,
) -> Result<Datum<'a>, EvalError> {
    let (bounds, body) = bounds(text)?;
    let mut reader = Reader {
        text: body,
        letters: body.char_indices().peekable(),
        element,
        modifier,
        lengths: [None; DIMENSIONS_MAX],
        depth_of_elements: None,
        elements: Vec::new(),
    };
    reader.skip_blanks();
    if !reader.takes('{') {
        return Err(malformed(text));
    }
    reader.nested(1)?;
    reader.skip_blanks();
    if reader.letters.peek().is_some() {
        return Err(malformed(text));
    }
    let lengths = reader.lengths.iter().map_while(|length| *length).collect::<Vec<_>>();
    if reader.elements.is_empty() && lengths.len() > 1 && bounds.is_empty() {
        return Err(EvalError::new(SqlState::NOT_SUPPORTED, "nested empty arrays depend on the version"));
    }
    let dimensions = if bounds.is_empty() {
        lengths.into_iter().map(|len| Dimension { len, first: 1 }).collect()
    } else if bounds.iter().map(|dimension| dimension.len).ne(lengths) {
        return Err(malformed(text));
    } else {
        bounds
    };
    let dimensions = if reader.elements.is_empty() { Vec::new() } else { dimensions };
    Ok(Datum::Array(Arc::new(Array::of_shape(dimensions, reader.elements))))
}

fn malformed(text: &str) -> EvalError {
    let what = "malformed array literal";
    EvalError::quoting(SqlState::INVALID_TEXT, what, format!("{what}: \"{text}\""))
}

/// The dimensions in front of an equals sign, and what follows.
fn bounds(text: &str) -> Result<(Vec<Dimension>, &str), EvalError> {
    let mut rest = text.trim_start_matches(is_space);
    let mut found = Vec::new();
    while let Some(inside) = rest.strip_prefix('[') {
        let (written, behind) = inside.split_once(']').ok_or_else(|| malformed(text))?;
        if found.len() == DIMENSIONS_MAX {
            return Err(EvalError::new(
                SqlState::LIMIT_EXCEEDED,
                "number of array dimensions exceeds the maximum allowed (6)",
            ));
        }
        let (first, last) = match written.split_once(':') {
            Some((first, last)) => (bound(first, text)?, bound(last, text)?),
            None => (1, bound(written, text)?),
        };
        if last == i32::MAX {
            return Err(EvalError::new(SqlState::LIMIT_EXCEEDED, "array upper bound is too large"));
        }
        let len = i64::from(last) - i64::from(first) + 1;
        let len = usize::try_from(len).ok().filter(|len| *len > 0).ok_or_else(|| {
            EvalError::new(SqlState::SUBSCRIPT, "upper bound cannot be less than lower bound")
        })?;
        found.push(Dimension { len, first });
        rest = behind.trim_start_matches(is_space);
    }
    if found.is_empty() {
        return Ok((found, rest));
    }
    let body = rest.strip_prefix('=').ok_or_else(|| malformed(text))?;
    Ok((found, body))
}

fn bound(written: &str, text: &str) -> Result<i32, EvalError> {
    let digits = written.strip_prefix(['+', '-']).unwrap_or(written);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(malformed(text));
    }
    written
        .parse()
        .map_err(|_| EvalError::new(SqlState::LIMIT_EXCEEDED, "array bound is out of integer range"))
}

struct Reader<'t, 'r> {
    text: &'t str,
    letters: Peekable<CharIndices<'t>>,
    element: &'r SqlType,
    modifier: Modifier,
    /// The count of elements at each depth, once one is complete.
    lengths: [Option<usize>; DIMENSIONS_MAX],
    /// How deep elements stand; all must be at the same depth.
    depth_of_elements: Option<usize>,
    elements: Vec<Datum<'static>>,
}

impl Reader<'_, '_> {
    fn malformed(&self) -> EvalError {
        malformed(self.text)
    }

    fn skip_blanks(&mut self) {
        while self.letters.next_if(|(_, letter)| is_space(*letter)).is_some() {}
    }

    fn takes(&mut self, wanted: char) -> bool {
        self.letters.next_if(|(_, letter)| *letter == wanted).is_some()
    }

    /// What follows an opening brace, to the closing one.
    fn nested(&mut self, depth: usize) -> Result<(), EvalError> {
        if depth > DIMENSIONS_MAX {
            return Err(EvalError::new(
                SqlState::LIMIT_EXCEEDED,
                "number of array dimensions exceeds the maximum allowed (6)",
            ));
        }
        let mut count = 0;
        self.skip_blanks();
        let mut is_done = self.takes('}');
        while !is_done {
            self.skip_blanks();
            if self.takes('{') {
                if self.depth_of_elements.is_some_and(|known| known <= depth) {
                    return Err(self.malformed());
                }
                self.nested(depth + 1)?;
            } else {
                self.item(depth)?;
            }
            count += 1;
            self.skip_blanks();
            is_done = self.takes('}');
            if !is_done && !self.takes(',') {
                return Err(self.malformed());
            }
        }
        match self.lengths[depth - 1] {
            Some(known) if known != count => Err(self.malformed()),
            _ => {
                self.lengths[depth - 1] = Some(count);
                Ok(())
            }
        }
    }

    fn item(&mut self, depth: usize) -> Result<(), EvalError> {
        // Deeper lengths are known where arrays have been nested here.
        let is_nested = self.lengths.get(depth).is_some_and(Option::is_some);
        if is_nested || self.depth_of_elements.is_some_and(|known| known != depth) {
            return Err(self.malformed());
        }
        self.depth_of_elements = Some(depth);
        let written = if self.takes('"') { Some(self.quoted()?) } else { self.unquoted()? };
        let datum = match written {
            None => Datum::Null,
            Some(written) => super::input(self.element, self.modifier, &written)?.into_owned(),
        };
        self.elements.push(datum);
        Ok(())
    }

    fn quoted(&mut self) -> Result<String, EvalError> {
        let mut written = String::new();
        loop {
            match self.letters.next().map(|(_, letter)| letter) {
                Some('"') => return Ok(written),
                Some('\\') => written.push(self.escaped()?),
                Some(letter) => written.push(letter),
                None => return Err(self.malformed()),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, EvalError> {
        let next = self.letters.next().map(|(_, letter)| letter);
        next.ok_or_else(|| self.malformed())
    }

    /// Without quotes, blanks around an element do not count, and the word NULL means null.
    fn unquoted(&mut self) -> Result<Option<String>, EvalError> {
        let mut written = String::new();
        // What stands before this place stays, blank or not.
        let (mut kept, mut has_escape) = (0, false);
        loop {
            match self.letters.peek().map(|(_, letter)| *letter) {
                Some(',' | '}') => break,
                Some('"' | '{') | None => return Err(self.malformed()),
                Some('\\') => {
                    self.letters.next();
                    written.push(self.escaped()?);
                    (kept, has_escape) = (written.len(), true);
                }
                Some(letter) => {
                    self.letters.next();
                    written.push(letter);
                    if !is_space(letter) {
                        kept = written.len();
                    }
                }
            }
        }
        written.truncate(kept);
        if written.is_empty() {
            return Err(self.malformed());
        }
        let is_null = !has_escape && written.eq_ignore_ascii_case("null");
        Ok((!is_null).then_some(written))
    }
}

pub(super) fn array_out(array: &Array, element: &SqlType) -> String {
    if array.elements().is_empty() {
        return "{}".to_owned();
    }
    let mut written = String::new();
    let dimensions = array.dimensions();
    if dimensions.iter().any(|dimension| dimension.first != 1) {
        for dimension in dimensions {
            let last = i64::from(dimension.first) + dimension.len as i64 - 1;
            written.push_str(&format!("[{}:{last}]", dimension.first));
        }
        written.push('=');
    }
    let items = array.elements().iter().map(|value| item_out(value, element)).collect::<Vec<_>>();
    write_nested(&items, dimensions, &mut written);
    written
}

fn write_nested(items: &[Cow<'_, str>], dimensions: &[Dimension], to: &mut String) {
    to.push('{');
    match dimensions {
        [_, inner @ ..] if !inner.is_empty() => {
            let size = inner.iter().map(|dimension| dimension.len).product::<usize>().max(1);
            for (at, part) in items.chunks(size).enumerate() {
                to.push_str(if at == 0 { "" } else { "," });
                write_nested(part, inner, to);
            }
        }
        _ => to.push_str(&items.join(",")),
    }
    to.push('}');
}

fn item_out<'v>(value: &'v Datum<'_>, element: &SqlType) -> Cow<'v, str> {
    if value.is_null() {
        return Cow::Borrowed("NULL");
    }
    let written = super::output(value, element);
    let is_special = |letter: char| matches!(letter, '"' | '\\' | '{' | '}' | ',') || is_space(letter);
    if !written.is_empty() && !written.eq_ignore_ascii_case("null") && !written.contains(is_special) {
        return written;
    }
    let mut quoted = String::with_capacity(written.len() + 2);
    quoted.push('"');
    for letter in written.chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

#[cfg(test)]
mod tests {
    use crate::expr::text::{input, output};
    use crate::expr::types::{Modifier, SqlType};

    fn through(element: SqlType, text: &str) -> String {
        let ty = element.array_of();
        input(&ty, Modifier::NONE, text)
            .map_or_else(|error| error.state().to_string(), |array| output(&array, &ty).into_owned())
    }

    /// What Postgres 15 and 18 answer.
    #[test]
    fn arrays_are_read_and_written_as_in_postgres() {
        let cases = [
            (" { } ", "{}"),
            ("{a b , \"c d\" ,\\\"x,a\\ }", "{\"a b\",\"c d\",\"\\\"x\",\"a \"}"),
            ("{  a  b  ,  c  }", "{\"a  b\",c}"),
            ("{\"NULL\",nUll, NULL ,\"\",a\\NULL,\\NULL}", "{\"NULL\",NULL,NULL,\"\",aNULL,\"NULL\"}"),
            ("{\\x41,é, ü,NU LL}", "{x41,é,ü,\"NU LL\"}"),
            ("{{a},{b}}", "{{a},{b}}"),
            (" [2:3] = {1,2} ", "[2:3]={1,2}"),
            ("[+1:+2]={1,2}", "{1,2}"),
            ("[-0:2]={1,2,3}", "[0:2]={1,2,3}"),
            ("[2]={1,2}", "{1,2}"),
            ("[1:2][2:3]={{1,2},{3,4}}", "[1:2][2:3]={{1,2},{3,4}}"),
            ("[-2147483648:-2147483647]={1,2}", "[-2147483648:-2147483647]={1,2}"),
            ("{{{{{{1}}}}}}", "{{{{{{1}}}}}}"),
        ];
        for (text, expected) in cases {
            assert_eq!(through(SqlType::Text, text), expected, "{text}");
        }
    }

    #[test]
    fn malformed_arrays_fail_with_the_code_of_postgres() {
        let malformed = [
            "",
            "x",
            "{",
            "{a",
            "{\"a",
            "{a\\}",
            "{,}",
            "{ , }",
            "{a,}",
            "{a,,b}",
            "{\"a\",}",
            "{\"a\"b}",
            "{b\"a\"}",
            "{\"a\" \"b\"}",
            "{a{b}",
            "{a}{b}",
            "{{a}{b}}",
            "{{a},{b},}",
            "{a}}",
            "{a}x",
            "{{1,2},{3}}",
            "{1,{2}}",
            "{{1},2}",
            "{{},1}",
            "{{},{1}}",
            "{{1},{}}",
            "{{},{{}}}",
            "{{{}},{{},{}}}",
            "[1:2]={1}",
            "[1:1]={}",
            "[1:1][1:1]={1}",
            "[1:1]={{1}}",
            "[1:2]{1,2}",
            "[1:2]",
            "[1:2]=",
            "[:2]={1}",
            "[1:]={1}",
            "[]={1}",
            "[ 2:3]={1,2}",
            "[1 :2]={1,2}",
        ];
        for text in malformed {
            assert_eq!(through(SqlType::Text, text), "22P02", "{text}");
        }
        let others = [
            ("[3:2]={1}", "2202E"),
            ("[0]={}", "2202E"),
            ("[2147483647:2147483647]={1}", "54000"),
            ("{{{{{{{1}}}}}}}", "54000"),
            ("[1:1][1:1][1:1][1:1][1:1][1:1][1:1]={1}", "54000"),
            ("{{},{}}", "0A000"),
        ];
        for (text, expected) in others {
            assert_eq!(through(SqlType::Text, text), expected, "{text}");
        }
        assert_eq!(through(SqlType::Int4, "{x}"), "22P02");
    }
}
