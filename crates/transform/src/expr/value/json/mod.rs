//! JSON as `jsonb` keeps it: keys sorted and unique, numbers exact.

mod order;
mod raw;

use std::borrow::Cow;

use super::Numeric;
use crate::expr::datum::Datum;
use crate::expr::error::EvalError;
use crate::expr::text;
use crate::expr::types::{Modifier, SqlType};

pub(crate) use raw::{Escapes, RawJson, RawKind, write_string};

/// A `jsonb` value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, which is never infinite.
    Number(Numeric),
    /// A string, which holds no zero byte.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object; its keys are sorted by length, then by bytes, and occur once.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The value of a text.
    pub(crate) fn parse(text: &str) -> Result<Json, EvalError> {
        Json::from_raw(&RawJson::parse(text, Escapes::Read)?)
    }

    /// The value of a text that has been taken apart.
    pub(crate) fn from_raw(raw: &RawJson<'_>) -> Result<Json, EvalError> {
        Ok(match &raw.kind {
            RawKind::Null => Json::Null,
            RawKind::Bool(value) => Json::Bool(*value),
            RawKind::Number => Json::number(raw.text)?,
            RawKind::String(text) => Json::String(text.to_string()),
            RawKind::Array(elements) => {
                Json::Array(elements.iter().map(Json::from_raw).collect::<Result<_, _>>()?)
            }
            RawKind::Object(fields) => {
                let field = |(key, value): &(Cow<'_, str>, RawJson<'_>)| {
                    Ok((key.clone().into_owned(), Json::from_raw(value)?))
                };
                Json::object(fields.iter().map(field).collect::<Result<_, EvalError>>()?)
            }
        })
    }

    /// A number from its text.
    pub(crate) fn number(written: &str) -> Result<Json, EvalError> {
        Ok(match text::input(&SqlType::Numeric, Modifier::NONE, written)? {
            Datum::Numeric(number) => Json::Number(number),
            _ => Json::Null,
        })
    }

    /// An object of these fields. The last of those with the same key stays.
    pub(crate) fn object(mut fields: Vec<(String, Json)>) -> Json {
        fields.sort_by(|(left, _), (right, _)| order::key(left).cmp(&order::key(right)));
        let mut unique: Vec<(String, Json)> = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            match unique.last_mut() {
                Some((known, last)) if *known == key => *last = value,
                _ => unique.push((key, value)),
            }
        }
        Json::Object(unique)
    }

    /// The value of a key; `None` when it has none, or this is no object.
    pub(crate) fn field(&self, key: &str) -> Option<&Json> {
        let Json::Object(fields) = self else { return None };
        let found = fields.binary_search_by(|(known, _)| order::key(known).cmp(&order::key(key)));
        found.ok().and_then(|at| fields.get(at)).map(|(_, value)| value)
    }

    /// Whether it is neither an array nor an object.
    pub(crate) fn is_scalar(&self) -> bool {
        !matches!(self, Json::Array(_) | Json::Object(_))
    }

    /// As `typeof` names it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Number(_) => "number",
            Json::String(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// As Postgres writes it.
    pub(crate) fn to_text(&self) -> String {
        let mut written = String::new();
        self.write(&mut written);
        written
    }

    fn write(&self, to: &mut String) {
        match self {
            Json::Array(elements) => {
                to.push('[');
                for (at, element) in elements.iter().enumerate() {
                    to.push_str(if at == 0 { "" } else { ", " });
                    element.write(to);
                }
                to.push(']');
            }
            Json::Object(fields) => {
                to.push('{');
                for (at, (key, value)) in fields.iter().enumerate() {
                    to.push_str(if at == 0 { "" } else { ", " });
                    write_string(key, to);
                    to.push_str(": ");
                    value.write(to);
                }
                to.push('}');
            }
            scalar => scalar.write_scalar(to),
        }
    }

    fn write_scalar(&self, to: &mut String) {
        match self {
            Json::Null => to.push_str("null"),
            Json::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
            Json::String(text) => write_string(text, to),
            Json::Number(number) => to.push_str(&number_text(number)),
            Json::Array(_) | Json::Object(_) => {}
        }
    }

    /// On lines of their own, four blanks for each level.
    pub(crate) fn to_pretty(&self) -> String {
        let mut written = String::new();
        self.write_pretty(0, &mut written);
        written
    }

    fn write_pretty(&self, level: usize, to: &mut String) {
        let line = |level: usize, to: &mut String| {
            to.push('\n');
            to.push_str(&"    ".repeat(level));
        };
        match self {
            Json::Array(elements) => {
                to.push('[');
                for (at, element) in elements.iter().enumerate() {
                    to.push_str(if at == 0 { "" } else { "," });
                    line(level + 1, to);
                    element.write_pretty(level + 1, to);
                }
                line(level, to);
                to.push(']');
            }
            Json::Object(fields) => {
                to.push('{');
                for (at, (key, value)) in fields.iter().enumerate() {
                    to.push_str(if at == 0 { "" } else { "," });
                    line(level + 1, to);
                    write_string(key, to);
                    to.push_str(": ");
                    value.write_pretty(level + 1, to);
                }
                line(level, to);
                to.push('}');
            }
            scalar => scalar.write_scalar(to),
        }
    }

    /// What `->>` gives: a string without quotes, nothing for null.
    pub(crate) fn as_text(&self) -> Option<String> {
        match self {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            other => Some(other.to_text()),
        }
    }
}

/// A number as `numeric` shows it.
pub(crate) fn number_text(number: &Numeric) -> String {
    text::output(&Datum::Numeric(number.clone()), &SqlType::Numeric).into_owned()
}
