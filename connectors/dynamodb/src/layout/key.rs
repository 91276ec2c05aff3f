//! Keys of items: their attributes, their limits, and the values that name an item.

use std::fmt;
use std::sync::Arc;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};

use super::{Item, LayoutError};
use crate::types::{ColumnType, Form, NotFit, canonical, encode};

/// What an attribute is to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyRole {
    /// It tells the partition.
    Partition,
    /// It tells the place in the partition.
    Sort,
}

impl KeyRole {
    /// The longest value in bytes.
    pub const fn bytes_max(self) -> usize {
        match self {
            KeyRole::Partition => 2048,
            KeyRole::Sort => 1024,
        }
    }
}

/// The type of a key attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// A string.
    S,
    /// A number.
    N,
    /// Bytes.
    B,
}

impl KeyKind {
    /// The form that has this type.
    pub const fn form(self) -> Form {
        match self {
            KeyKind::S => Form::S,
            KeyKind::N => Form::N,
            KeyKind::B => Form::B,
        }
    }
}

/// What every value of a key attribute begins with, as far as the mapping tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beginning {
    /// The text that values begin with.
    pub text: String,
    /// Whether it is the whole value.
    pub is_all: bool,
}

impl Beginning {
    /// Whether a value of the one may be a value of the other.
    pub(super) fn may_equal(&self, other: &Beginning) -> bool {
        match (self.is_all, other.is_all) {
            (true, true) => self.text == other.text,
            (true, false) => self.text.starts_with(&other.text),
            (false, true) => other.text.starts_with(&self.text),
            (false, false) => self.text.starts_with(&other.text) || other.text.starts_with(&self.text),
        }
    }
}

/// A key attribute of a table, and the column of the route that fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAttribute {
    /// The attribute.
    pub name: Arc<str>,
    /// Its place among the route's columns.
    pub column: usize,
    /// Its type on DynamoDB.
    pub kind: KeyKind,
    /// What every value begins with.
    pub begins: Beginning,
}

impl KeyAttribute {
    /// A key attribute that is filled by a column of a type of Postgres. A value must be known by one text alone, so only
    /// strings fill strings, whole numbers numbers, and bytes bytes.
    pub fn new(
        name: &str,
        column: usize,
        (kind, ty): (KeyKind, &ColumnType),
    ) -> Result<KeyAttribute, LayoutError> {
        if *ty != kind.column_type() {
            let (what, remedy) = match kind {
                KeyKind::S => {
                    ("it is a string of the key, and is filled by another type", "cast it with `::text`")
                }
                KeyKind::N => {
                    ("it is a number of the key, and is not filled by a whole one", "cast it to `bigint`")
                }
                KeyKind::B => {
                    ("it is bytes of the key, and is filled by another type", "fill it with a `bytea`")
                }
            };
            return Err(LayoutError::new(name, what, remedy));
        }
        Ok(KeyAttribute { name: name.into(), column, kind, begins: Beginning::default() })
    }

    /// The same with what is known of all its values.
    #[must_use]
    pub fn beginning(mut self, begins: Beginning) -> KeyAttribute {
        self.begins = begins;
        self
    }

    pub(super) fn value(&self, role: KeyRole, text: &str) -> Result<KeyValue, NotFit> {
        let value = encode(&self.kind.column_type(), self.kind.form(), text).and_then(|value| {
            check(role, &value)?;
            KeyValue::of(&value).ok_or_else(|| NotFit::new("it is no key"))
        });
        value.map_err(|not_fit| not_fit.of(&self.name))
    }
}

impl KeyKind {
    fn column_type(self) -> ColumnType {
        match self {
            KeyKind::S => ColumnType::Text,
            KeyKind::N => ColumnType::Int,
            KeyKind::B => ColumnType::Bytea,
        }
    }
}

/// Whether a value can be in a key, of a table or of an index.
pub(super) fn check(role: KeyRole, value: &AttributeValue) -> Result<(), NotFit> {
    let bytes = match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::N(_) => return Ok(()),
        _ => return Err(NotFit::new("a key is a string, a number or bytes")),
    };
    if bytes == 0 {
        return Err(NotFit::new("a key cannot be empty"));
    }
    if bytes > role.bytes_max() {
        return Err(NotFit::new(match role {
            KeyRole::Partition => "a partition key has 2,048 bytes at most",
            KeyRole::Sort => "a sort key has 1,024 bytes at most",
        }));
    }
    Ok(())
}

/// One value of a key; equal numbers are equal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum KeyValue {
    S(String),
    N(String),
    B(Vec<u8>),
}

impl KeyValue {
    /// `None` for a type that no key has.
    pub(super) fn of(value: &AttributeValue) -> Option<KeyValue> {
        match value {
            AttributeValue::S(text) => Some(KeyValue::S(text.clone())),
            AttributeValue::N(text) => canonical(&ColumnType::Numeric, Form::N, text).ok().map(KeyValue::N),
            AttributeValue::B(bytes) => Some(KeyValue::B(bytes.as_ref().to_vec())),
            _ => None,
        }
    }

    fn to_av(&self) -> AttributeValue {
        match self {
            KeyValue::S(text) => AttributeValue::S(text.clone()),
            KeyValue::N(text) => AttributeValue::N(text.clone()),
            KeyValue::B(bytes) => AttributeValue::B(Blob::new(bytes.clone())),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            KeyValue::S(text) | KeyValue::N(text) => text.as_bytes(),
            KeyValue::B(bytes) => bytes,
        }
    }
}

/// The item of a table that is meant, the same for all routes into it. Its `Debug` never shows values.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemKey {
    pub(super) table: Arc<str>,
    pub(super) pk: (Arc<str>, KeyValue),
    pub(super) sk: Option<(Arc<str>, KeyValue)>,
}

impl ItemKey {
    /// The item of a table whose key is two texts.
    pub(crate) fn of_texts(table: &str, pk: (&str, &str), sk: (&str, &str)) -> ItemKey {
        let part = |(name, text): (&str, &str)| (Arc::from(name), KeyValue::S(text.to_owned()));
        ItemKey { table: table.into(), pk: part(pk), sk: Some(part(sk)) }
    }

    /// The table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// As requests name it.
    pub fn to_av(&self) -> Item {
        let parts = std::iter::once(&self.pk).chain(&self.sk);
        parts.map(|(name, value)| (name.to_string(), value.to_av())).collect()
    }

    /// Sixteen letters that stand for its values where those must not be told.
    pub fn hashed(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(self.pk.1.bytes());
        if let Some((_, value)) = &self.sk {
            digest.update(b",");
            digest.update(value.bytes());
        }
        digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ItemKey({}, {})", self.table, self.hashed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: KeyKind) -> KeyAttribute {
        KeyAttribute::new("pk", 0, (kind, &kind.column_type())).unwrap()
    }

    /// Keys that DynamoDB refuses are refused with the row still at hand.
    #[test]
    fn keys_keep_to_the_limits() {
        let (text, number) = (attribute(KeyKind::S), attribute(KeyKind::N));
        for (role, bytes_max) in [(KeyRole::Partition, 2048), (KeyRole::Sort, 1024)] {
            assert!(text.value(role, &"x".repeat(bytes_max)).is_ok());
            let refused = text.value(role, &"x".repeat(bytes_max + 1)).err().unwrap();
            assert_eq!(refused.column.as_deref(), Some("pk"));
            assert!(text.value(role, &"ä".repeat(bytes_max / 2 + 1)).is_err(), "bytes count, not letters");
            assert!(text.value(role, "").is_err());
            assert!(attribute(KeyKind::B).value(role, "\\x").is_err());
        }
        assert!(number.value(KeyRole::Partition, "seven").is_err());
    }

    /// Two texts of one value would be two keys to us and one item to DynamoDB.
    #[test]
    fn a_key_is_filled_by_what_has_one_text() {
        for (kind, ty) in [
            (KeyKind::N, ColumnType::Numeric),
            (KeyKind::N, ColumnType::Text),
            (KeyKind::S, ColumnType::TimestampTz),
            (KeyKind::S, ColumnType::Int),
            (KeyKind::B, ColumnType::Text),
        ] {
            assert!(!KeyAttribute::new("pk", 0, (kind, &ty)).unwrap_err().remedy.is_empty());
        }
    }

    /// Routes may share a table only where this says that none of their keys can meet.
    #[test]
    fn beginnings_tell_whether_keys_can_meet() {
        let begin = |text: &str, is_all| Beginning { text: text.to_owned(), is_all };
        for (one, other, expected) in [
            (begin("A#", false), begin("B#", false), false),
            (begin("A#", false), begin("A#B#", false), true),
            (begin("", false), begin("B#", false), true),
            (begin("A", true), begin("B", true), false),
            (begin("A", true), begin("A", true), true),
            (begin("A", true), begin("A#", false), false),
            (begin("A#1", true), begin("A#", false), true),
        ] {
            assert_eq!(one.may_equal(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.may_equal(&one), expected, "{other:?} {one:?}");
        }
    }
}
