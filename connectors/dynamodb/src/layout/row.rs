//! Rows on their way into items: read once, merged with what earlier changes or the store have of them.

use aws_sdk_dynamodb::types::AttributeValue;
use understudy_model::{Key, Tuple, Value};

use super::{Item, ItemKey, ItemLayout, Place, Placed, key, part_name, size, utf8};
use crate::types::{ColumnType, Form, NotFit, Odd, encode};

/// A value of a row on its way.
#[derive(Clone)]
pub(super) enum Sent {
    Value(AttributeValue),
    Null,
    Unchanged,
}

/// A row, read once. Its `Debug` never shows values.
#[derive(Clone)]
pub struct Row {
    pub(super) key: ItemKey,
    /// The part that it is, where it is one.
    pub(super) part: Option<String>,
    /// In the order of the plan's columns.
    pub(super) sent: Vec<Sent>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row")
            .field("key", &self.key)
            .field("is_whole", &self.is_whole())
            .finish_non_exhaustive()
    }
}

impl Row {
    /// The item that it is, or a part of.
    pub fn key(&self) -> &ItemKey {
        &self.key
    }

    /// The part that it is, where it is one.
    pub fn part(&self) -> Option<&str> {
        self.part.as_deref()
    }

    /// Whether every value was sent.
    pub fn is_whole(&self) -> bool {
        !self.sent.iter().any(|sent| matches!(sent, Sent::Unchanged))
    }

    /// Takes what was not sent from an earlier row, of whatever key.
    pub fn take_from(&mut self, earlier: &Row) {
        for (sent, before) in self.sent.iter_mut().zip(&earlier.sent) {
            if matches!(sent, Sent::Unchanged) {
                *sent = before.clone();
            }
        }
    }

    /// About the bytes of its values.
    pub(crate) fn bytes(&self) -> usize {
        let of = |sent: &Sent| match sent {
            Sent::Value(value) => size::value_size(value),
            Sent::Null | Sent::Unchanged => 1,
        };
        self.sent.iter().map(of).sum()
    }
}

impl ItemLayout {
    /// Reads a row as [`ItemLayout::read`] does, and checks its size where that may be too large.
    pub fn read_checked(&self, row: &Tuple, version: super::Version) -> Result<Row, NotFit> {
        /// What names and nesting add to a row's values is far below the rest.
        const SURELY_SMALL_BYTES: usize = 100 * 1024;
        let row = self.read(row)?;
        if row.bytes() > SURELY_SMALL_BYTES {
            self.check_size(&row, version)?;
        }
        Ok(row)
    }

    /// Whether DynamoDB takes what is written of a row, as far as it tells.
    pub fn check_size(&self, row: &Row, version: super::Version) -> Result<(), NotFit> {
        if row.is_whole() { self.item_of(row.clone(), version).map(drop) } else { size::check(row.bytes()) }
    }

    /// Reads a row: what of it cannot be stored is told here, but for its size.
    pub fn read(&self, row: &Tuple) -> Result<Row, NotFit> {
        let (mut pk, mut sk, mut part) = (None, None, None);
        let mut sent = self.plan.columns.iter().map(|_| Sent::Unchanged).collect::<Vec<_>>();
        let mut count = 0;
        for (place, value) in self.places.iter().zip(row.values()) {
            count += 1;
            match place {
                Place::Pk => pk = key_text(&value, &self.plan.pk.name)?,
                Place::Sk => sk = key_text(&value, self.plan.sk.as_ref().map_or("", |sk| &sk.name))?,
                Place::Part => part = key_text(&value, super::path::PART)?,
                Place::Column(at) => sent[*at] = self.sent(*at, &value)?,
            }
        }
        match (pk, part) {
            (Some(pk), Some(part)) if count == self.places.len() => {
                let key = self.key_of(&pk, sk.as_deref())?;
                let part = self.plan.part.as_ref().map(|_| part_name(&part)).transpose()?;
                Ok(Row { key, part, sent })
            }
            _ => Err(NotFit::new("it has other columns than its layout")),
        }
    }

    fn sent(&self, at: usize, value: &Value<'_>) -> Result<Sent, NotFit> {
        let placed = &self.plan.columns[at];
        let encoded = match value {
            Value::Null => return Ok(Sent::Null),
            Value::Unchanged => return Ok(Sent::Unchanged),
            Value::Text(text) => utf8(text).and_then(|text| encode(&placed.ty, placed.form, text)),
        };
        let checked = encoded.and_then(|value| {
            placed.index.map_or(Ok(()), |role| key::check(role, &value))?;
            // The map of all parts and that of its own are around it too.
            let around = placed.path.steps().len() + if self.at().is_some() { 2 } else { 0 };
            size::check_levels(around + size::levels(&value))?;
            Ok(Sent::Value(value))
        });
        checked.map_err(|not_fit| not_fit.of(&self.names[at]))
    }

    /// The row that an item has under a key of the route, with the values as they are stored.
    pub fn row_in(&self, item: &Item, key: &Key) -> Result<Row, Odd> {
        let odd = |_| Odd::new("a key that is none of the layout's");
        let (item_key, part) = (self.item_key(key).map_err(odd)?, self.part_of(key).map_err(odd)?);
        let own = self.own_attributes(item, &part)?;
        let find = |name: &str| own.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
        let sent = self.plan.columns.iter().map(|placed| stored(find(placed.path.root()), placed));
        let sent = sent.collect::<Result<_, Odd>>()?;
        Ok(Row { key: item_key, part: self.plan.part.as_ref().map(|_| part), sent })
    }
}

/// What is stored at a column's path.
fn stored(root: Option<&AttributeValue>, placed: &Placed) -> Result<Sent, Odd> {
    let value = placed.path.below(root)?;
    let is_document = placed.ty == ColumnType::Json && matches!(placed.form, Form::M | Form::L);
    Ok(match value {
        None => Sent::Null,
        Some(AttributeValue::Null(_)) if !is_document => Sent::Null,
        Some(value) => Sent::Value(value.clone()),
    })
}

fn key_text(value: &Value<'_>, name: &str) -> Result<Option<String>, NotFit> {
    match value {
        Value::Text(text) => Ok(Some(utf8(text).map_err(|not_fit| not_fit.of(name))?.to_owned())),
        Value::Null => Err(NotFit::new("a key cannot be null").of(name)),
        Value::Unchanged => Err(NotFit::new("a value of the key was not sent").of(name)),
    }
}
