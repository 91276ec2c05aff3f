//! The codec between texts of Postgres and attribute values, by a column's type and the form chosen for it.
//!
//! Nothing here guesses: what DynamoDB would round, cut or sort otherwise is [`NotFit`], and what it holds that was not
//! written in the form is [`Odd`]. Two values are equal where their canonical texts are.

mod array;
mod canon;
mod column;
mod json;
mod number;
mod time;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

pub(crate) use canon::feed;
pub use canon::{blue_text, canonical, decode_canonical};
pub use column::ColumnType;
pub use json::DEPTH_MAX;

/// How a value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A string: the text of Postgres, of times that of ISO-8601.
    S,
    /// A number.
    N,
    /// Bytes.
    B,
    /// True or false.
    Bool,
    /// A JSON document by value.
    M,
    /// A list; of a JSON document the same as [`Form::M`].
    L,
    /// A set of strings.
    Ss,
    /// A set of numbers.
    Ns,
    /// A set of bytes.
    Bs,
    /// A JSON document as the text that it is.
    JsonText,
    /// A time as whole seconds since 1970, which is what TTL reads.
    Epoch,
    /// A time as the text that Postgres writes.
    Text,
}

impl Form {
    const NAMES: [(Form, &'static str); 12] = [
        (Form::S, "S"),
        (Form::N, "N"),
        (Form::B, "B"),
        (Form::Bool, "BOOL"),
        (Form::M, "M"),
        (Form::L, "L"),
        (Form::Ss, "SS"),
        (Form::Ns, "NS"),
        (Form::Bs, "BS"),
        (Form::JsonText, "json_text"),
        (Form::Epoch, "epoch"),
        (Form::Text, "text"),
    ];

    /// The form that a migration file calls by this name.
    pub fn named(name: &str) -> Option<Form> {
        Form::NAMES.iter().find(|(_, known)| *known == name).map(|(form, _)| *form)
    }

    /// Its name in a migration file.
    pub fn name(self) -> &'static str {
        Form::NAMES.iter().find(|(form, _)| *form == self).map_or("S", |(_, name)| name)
    }

    /// Whether values of the type can be stored so.
    pub fn fits(self, ty: &ColumnType) -> bool {
        ty.forms().contains(&self)
    }
}

/// Why a value cannot be stored. It holds nothing of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFit {
    /// The column of the route; `None` where the whole item is meant.
    pub column: Option<String>,
    /// What is wrong with it, and where there is one, the form that would keep it.
    pub reason: Cow<'static, str>,
}

impl NotFit {
    /// A value that does not fit, whose column is not known yet.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> NotFit {
        NotFit { column: None, reason: reason.into() }
    }

    pub(crate) fn of(mut self, column: &str) -> NotFit {
        self.column.get_or_insert_with(|| column.to_owned());
        self
    }
}

impl fmt::Display for NotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, "`{column}` cannot be stored: {}", self.reason),
            None => write!(f, "the item cannot be stored: {}", self.reason),
        }
    }
}

impl std::error::Error for NotFit {}

/// What an attribute holds that was never written in its form. It says nothing of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// What was found.
    pub reason: &'static str,
}

impl Odd {
    pub(crate) fn new(reason: &'static str) -> Odd {
        Odd { reason }
    }
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the attribute holds {}", self.reason)
    }
}

impl std::error::Error for Odd {}

/// A value that is not null, in its form.
pub fn encode(ty: &ColumnType, form: Form, text: &str) -> Result<AttributeValue, NotFit> {
    check(ty, form)?;
    Ok(match (form, ty) {
        (Form::M | Form::L, ColumnType::Json) => json::read(text)?,
        (Form::L, ColumnType::Array(element)) => AttributeValue::L(list(element, text)?),
        (Form::Ss, _) => AttributeValue::Ss(set(ty, Form::S, text)?),
        (Form::Ns, _) => AttributeValue::Ns(set(ty, Form::N, text)?),
        (Form::Bs, _) => {
            let hex = set(ty, Form::B, text)?;
            AttributeValue::Bs(
                hex.iter().map(|hex| Ok(Blob::new(bytes(hex)?))).collect::<Result<_, NotFit>>()?,
            )
        }
        (Form::B, _) => AttributeValue::B(Blob::new(bytes(text)?)),
        (Form::Bool, _) => AttributeValue::Bool(canonical(ty, form, text)? == "t"),
        (Form::N | Form::Epoch, _) => AttributeValue::N(canonical(ty, form, text)?),
        (Form::S | Form::Text | Form::JsonText | Form::M | Form::L, _) => {
            AttributeValue::S(canonical(ty, form, text)?)
        }
    })
}

fn check(ty: &ColumnType, form: Form) -> Result<(), NotFit> {
    if form.fits(ty) {
        return Ok(());
    }
    Err(NotFit::new(format!("a value of its type has no form `{}`", form.name())))
}

fn list(element: &ColumnType, text: &str) -> Result<Vec<AttributeValue>, NotFit> {
    let form = element.default_form();
    let each = |text: Option<String>| match text {
        None => Ok(AttributeValue::Null(true)),
        Some(text) => match encode(element, form, &text)? {
            AttributeValue::Null(_) => Err(NotFit::new(
                "a JSON null in an array, which is null like any other in a list: `form: S` keeps it",
            )),
            value => Ok(value),
        },
    };
    array::elements(text)?.into_iter().map(each).collect()
}

/// The canonical texts of a set, sorted.
fn set(ty: &ColumnType, form: Form, text: &str) -> Result<Vec<String>, NotFit> {
    let ColumnType::Array(of) = ty else {
        return Err(NotFit::new("only an array can be a set"));
    };
    let elements = array::elements(text)?;
    if elements.is_empty() {
        return Err(NotFit::new("an empty array, and no set is empty: `form: L` keeps it"));
    }
    let mut seen = HashSet::with_capacity(elements.len());
    for element in elements {
        let Some(text) = element else {
            return Err(NotFit::new("an array with a null, which no set holds: `form: L` keeps it"));
        };
        if !seen.insert(canonical(of, form, &text)?) {
            return Err(NotFit::new(
                "an array with an element twice, which no set holds: `form: L` keeps it",
            ));
        }
    }
    let mut texts = seen.into_iter().collect::<Vec<_>>();
    texts.sort_unstable();
    Ok(texts)
}

/// Bytes from the hex form of `bytea`.
fn bytes(text: &str) -> Result<Vec<u8>, NotFit> {
    let bad = || NotFit::new("bytes that are not in hex form");
    let digits = text.strip_prefix("\\x").ok_or_else(bad)?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    digits.chunks(2).map(pair).collect::<Option<Vec<_>>>().ok_or_else(bad)
}

#[cfg(test)]
mod tests;
