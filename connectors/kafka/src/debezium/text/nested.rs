//! Values that hold others: arrays, maps, points and vectors.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::fault::Unfit;
use super::super::shape::Field;
use super::{Declared, Kind, Slot, UNAVAILABLE, number, read};

/// An array of one dimension. Of those with more Debezium tells too little.
pub(super) fn array<'a>(
    element: &Kind,
    field: Option<&Field>,
    json: &'a str,
    declared: &Declared,
) -> Result<Slot<'a>, Unfit> {
    let elements = serde_json::from_str::<Vec<&RawValue>>(json).map_err(|_| Unfit::malformed("an array"))?;
    if is_unsent(&elements) {
        return Ok(Slot::Unsent);
    }
    let of = field.and_then(|field| field.items.as_deref());
    let mut text = String::with_capacity(json.len() + 2);
    text.push('{');
    for (at, one) in elements.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        if one.get().starts_with('[') {
            return Err(Unfit::settings(
                "holds an array of several dimensions, which Debezium does not tell from others",
                "leave the column out with `columns`: no setting of the connector keeps them",
            ));
        }
        match read(element, of, one.get(), declared)? {
            Slot::Null => text.push_str("NULL"),
            Slot::Unsent => return Ok(Slot::Unsent),
            Slot::Text(one) => push_quoted(&mut text, &one),
        }
    }
    text.push('}');
    Ok(Slot::Text(Cow::Owned(text)))
}

/// The marker for what was not sent, as arrays of numbers have it: its bytes.
fn is_unsent(elements: &[&RawValue]) -> bool {
    elements.len() == UNAVAILABLE.len()
        && elements.iter().zip(UNAVAILABLE.bytes()).all(|(one, byte)| one.get() == byte.to_string())
}

/// An element in quotes where Postgres would have them.
fn push_quoted(text: &mut String, element: &str) {
    let special = |letter: char| {
        matches!(letter, '{' | '}' | ',' | '"' | '\\') || letter.is_ascii_whitespace() || letter == '\u{b}'
    };
    let must_quote = element.is_empty() || element.eq_ignore_ascii_case("null") || element.contains(special);
    if !must_quote {
        text.push_str(element);
        return;
    }
    quote(text, element);
}

fn quote(text: &mut String, inner: &str) {
    text.push('"');
    for letter in inner.chars() {
        if matches!(letter, '"' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
}

/// An `hstore`: an object, or a text that holds one.
pub(super) fn hstore<'a>(json: &'a str, text: Option<Cow<'a, str>>) -> Result<Slot<'a>, Unfit> {
    let json = text.unwrap_or(Cow::Borrowed(json));
    let pairs = serde_json::from_str::<BTreeMap<String, Option<String>>>(&json);
    let pairs = pairs.map_err(|_| Unfit::malformed("a map of texts"))?;
    if pairs.len() == 1 && pairs.contains_key(UNAVAILABLE) {
        return Ok(Slot::Unsent);
    }
    let mut text = String::with_capacity(json.len() + 8);
    for (at, (key, value)) in pairs.iter().enumerate() {
        if at > 0 {
            text.push_str(", ");
        }
        quote(&mut text, key);
        text.push_str("=>");
        match value {
            Some(value) => quote(&mut text, value),
            None => text.push_str("NULL"),
        }
    }
    Ok(Slot::Text(Cow::Owned(text)))
}

/// A `point`: its two numbers.
pub(super) fn point(json: &str) -> Result<String, Unfit> {
    #[derive(Deserialize)]
    struct Point<'a> {
        #[serde(borrow)]
        x: &'a RawValue,
        #[serde(borrow)]
        y: &'a RawValue,
    }
    let Point { x, y } = serde_json::from_str(json).map_err(|_| Unfit::malformed("a point"))?;
    let number = |raw: &RawValue| {
        let text = super::string(raw.get())?;
        number::float(raw.get(), text, false)
    };
    Ok(format!("({},{})", number(x)?, number(y)?))
}

/// A vector of numbers.
pub(super) fn vector<'a>(json: &'a str, text: Option<Cow<'a, str>>) -> Result<Cow<'a, str>, Unfit> {
    if let Some(text) = text {
        return Ok(text);
    }
    let wrong = || Unfit::malformed("a vector");
    let numbers = serde_json::from_str::<Vec<&RawValue>>(json).map_err(|_| wrong())?;
    let texts = numbers.iter().map(|one| number::is_number(one.get()).then(|| one.get()));
    let texts = texts.collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    Ok(Cow::Owned(format!("[{}]", texts.join(","))))
}
