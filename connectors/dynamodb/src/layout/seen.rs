//! The way back: which rows of a route an item holds, and what their values are.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use understudy_model::Key;

use super::path::{DELETED, DIGEST, Step, TAG, VERSION};
use super::write::{dead_parts, digest, version_parts};
use super::{
    Item, ItemKey, ItemLayout, KeyAttribute, NullForm, Place, Placed, Version, is_own, key::KeyValue,
    own_name,
};
use crate::types::{ColumnType, Form, NotFit, Odd, blue_text, decode_canonical};

/// A row of a route as an item has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its key on green.
    pub key: Key,
    /// The canonical text of each of the route's columns; null as `None`. A deleted row has nulls.
    pub columns: Vec<Result<Option<String>, Odd>>,
    /// The version under which it was written; `None` where it has none of ours.
    pub version: Option<Version>,
    /// Whether it was deleted, and only its version is left.
    pub is_tombstone: bool,
    /// Whether the item is tagged as one of the route's.
    pub is_ours: bool,
    /// Whether somebody else changed it since; `None` where nothing tells.
    pub is_foreign: Option<bool>,
    /// Differs whenever version or attributes do.
    pub mark: String,
    /// When DynamoDB may remove the item, in seconds since 1970.
    pub expires_s: Option<i64>,
    /// Its key on blue, where the item tells it.
    pub blue_key: Option<Key>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen")
            .field("version", &self.version)
            .field("is_tombstone", &self.is_tombstone)
            .field("is_foreign", &self.is_foreign)
            .finish_non_exhaustive()
    }
}

impl ItemLayout {
    /// The key of an item as a read shows it; `None` where it is not one of this table.
    pub fn key_of_item(&self, item: &Item) -> Option<ItemKey> {
        let value = |attribute: &KeyAttribute| {
            Some((attribute.name.clone(), KeyValue::of(item.get(&*attribute.name)?)?))
        };
        let sk = match &self.plan.sk {
            Some(attribute) => Some(value(attribute)?),
            None => None,
        };
        Some(ItemKey { table: self.table.clone(), pk: value(&self.plan.pk)?, sk })
    }

    /// The row that a key of the route means, in the item that it means.
    pub fn seen(&self, item: &Item, key: &Key) -> Result<Seen, NotFit> {
        let part = self.part_of(key)?;
        self.row(item, &part).ok_or_else(|| NotFit::new("the item has no key of its table"))
    }

    /// All rows of the route that an item holds or held. An item that nobody tagged may be one of the route's by its key.
    pub fn rows(&self, item: &Item) -> Vec<Seen> {
        let may_be_ours = match item.get(TAG) {
            Some(tag) => tag.as_s() == Ok(&self.plan.tag),
            None => self.has_such_keys(item),
        };
        if !may_be_ours {
            return Vec::new();
        }
        let Some(part) = &self.plan.part else {
            return self.row(item, &self.plan.tag).into_iter().collect();
        };
        let mut names = version_parts(item).collect::<BTreeSet<_>>();
        match &part.at {
            Some(at) => {
                let below = item.get(at).and_then(|map| map.as_m().ok());
                names.extend(below.into_iter().flat_map(HashMap::keys).map(String::as_str));
            }
            None if self.shape.keys().any(|name| item.contains_key(name)) => {
                names.insert(&part.name.text);
            }
            None => {}
        }
        let is_ours = |name: &&str| {
            if part.name.is_all { **name == part.name.text } else { name.starts_with(&part.name.text) }
        };
        names.into_iter().filter(is_ours).filter_map(|name| self.row(item, name)).collect()
    }

    fn has_such_keys(&self, item: &Item) -> bool {
        let fits = |attribute: &KeyAttribute| match item.get(&*attribute.name) {
            Some(AttributeValue::S(text)) if attribute.begins.is_all => *text == attribute.begins.text,
            Some(AttributeValue::S(text)) => text.starts_with(&attribute.begins.text),
            Some(_) => true,
            None => false,
        };
        fits(&self.plan.pk) && self.plan.sk.as_ref().is_none_or(fits)
    }

    fn row(&self, item: &Item, part: &str) -> Option<Seen> {
        let of_part = self.plan.part.as_ref().map(|_| part);
        let own = self.own_attributes(item, part);
        let is_deleted =
            item.contains_key(DELETED) || of_part.is_some_and(|part| dead_parts(item).contains(&part));
        // Whoever writes into a tombstone makes a row of it for those who read.
        let is_revived = is_deleted && own.as_ref().is_ok_and(|own| self.has_values(item, own));
        let is_tombstone = is_deleted && !is_revived;
        let version = item.get(&own_name(VERSION, of_part)).and_then(Version::from_av);
        let now = match (of_part, &own) {
            (None, _) => digest(item),
            (Some(_), Ok(own)) => digest(own.iter().copied()),
            (Some(_), Err(_)) => [0; 8],
        };
        let written = item.get(&own_name(DIGEST, of_part));
        let column = |place: &Place| match place {
            Place::Pk => self.key_text(item, &self.plan.pk),
            Place::Sk => self.plan.sk.as_ref().map_or(Ok(None), |sk| self.key_text(item, sk)),
            Place::Part => Ok(Some(part.to_owned())),
            Place::Column(_) if is_tombstone => Ok(None),
            Place::Column(at) => {
                let own = own.as_ref().map_err(Clone::clone)?;
                let find = |name: &str| own.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
                column_text(find, &self.plan.columns[*at])
            }
        };
        let columns = self.places.iter().map(column).collect::<Vec<_>>();
        let is_key = |(place, _): &(&Place, _)| !matches!(place, Place::Column(_));
        let key = self.places.iter().zip(&columns).filter(is_key);
        let key = key.map(|(_, text)| text.as_ref().ok()?.as_deref()).collect::<Option<Vec<_>>>()?;
        let expires = self.plan.ttl.as_ref().and_then(|ttl| item.get(ttl)?.as_n().ok());
        Some(Seen {
            key: Key::from_texts(key.into_iter().map(str::as_bytes)),
            version,
            is_tombstone,
            is_ours: item.get(TAG).is_some_and(|tag| tag.as_s() == Ok(&self.plan.tag)),
            is_foreign: match written {
                _ if is_revived => Some(true),
                written => written.map(|written| written.as_b().map(AsRef::as_ref) != Ok(&now[..])),
            },
            mark: mark(version, now),
            expires_s: expires.and_then(|text| text.split('.').next()?.parse().ok()),
            blue_key: self.blue_key(&columns),
            columns,
        })
    }

    /// Whether attributes hold more than a key and what is ours.
    fn has_values(&self, item: &Item, own: &[(&String, &AttributeValue)]) -> bool {
        let is_key = |name: &str| {
            *self.plan.pk.name == *name || self.plan.sk.as_ref().is_some_and(|sk| *sk.name == *name)
        };
        let ends_tombstone = |name: &String, value: &AttributeValue| {
            Some(name) == self.plan.ttl.as_ref() && item.get(DELETED) == Some(value)
        };
        own.iter().any(|(name, value)| !is_own(name) && !is_key(name) && !ends_tombstone(name, value))
    }

    /// The attributes that rows of the route fill, or of a whole item all.
    pub(super) fn own_attributes<'i>(
        &self,
        item: &'i Item,
        part: &str,
    ) -> Result<Vec<(&'i String, &'i AttributeValue)>, Odd> {
        let at = self.plan.part.as_ref().map(|part| part.at.as_ref());
        let attributes = match at {
            None => item.iter().collect(),
            Some(None) => item.iter().filter(|(name, _)| self.shape.contains_key(*name)).collect(),
            Some(Some(at)) => {
                let odd = |_| Odd::new("something else than a map of parts");
                let Some(parts) = item.get(at) else { return Ok(Vec::new()) };
                match parts.as_m().map_err(odd)?.get(part) {
                    Some(part) => part.as_m().map_err(odd)?.iter().collect(),
                    None => Vec::new(),
                }
            }
        };
        Ok(attributes)
    }

    fn key_text(&self, item: &Item, attribute: &KeyAttribute) -> Result<Option<String>, Odd> {
        let value = item.get(&*attribute.name).ok_or(Odd::new("nothing where a key belongs"))?;
        let ty = match value {
            AttributeValue::N(_) => ColumnType::Int,
            AttributeValue::B(_) => ColumnType::Bytea,
            _ => ColumnType::Text,
        };
        decode_canonical(value, &ty, attribute.kind.form()).map(Some)
    }

    fn blue_key(&self, columns: &[Result<Option<String>, Odd>]) -> Option<Key> {
        let text = |column: &usize| {
            let canonical = columns.get(*column)?.as_ref().ok()?.as_deref()?;
            match self.places.get(*column)? {
                Place::Column(at) => {
                    let placed = &self.plan.columns[*at];
                    blue_text(&placed.ty, placed.form, canonical)
                }
                Place::Pk | Place::Sk | Place::Part => Some(canonical.to_owned()),
            }
        };
        let texts = self.plan.blue_key.as_ref()?.iter().map(text).collect::<Option<Vec<_>>>()?;
        Some(Key::from_texts(texts.iter().map(String::as_bytes)))
    }
}

fn column_text<'i>(
    find: impl Fn(&str) -> Option<&'i AttributeValue>,
    placed: &Placed,
) -> Result<Option<String>, Odd> {
    let value = placed.path.below(find(placed.path.root()))?;
    let is_document = placed.ty == ColumnType::Json && matches!(placed.form, Form::M | Form::L);
    let is_element = matches!(placed.path.steps().last(), Some(Step::Element(_)));
    let keeps_null = placed.null == NullForm::Null || is_element;
    match value {
        None if keeps_null => Err(Odd::new("nothing where at least null is written")),
        None => Ok(None),
        Some(AttributeValue::Null(_)) if keeps_null => Ok(None),
        Some(AttributeValue::Null(_)) if !is_document => Err(Odd::new("null where nothing is written")),
        Some(value) => decode_canonical(value, &placed.ty, placed.form).map(Some),
    }
}

fn mark(version: Option<Version>, digest: [u8; 8]) -> String {
    let version = version.map(|version| version.to_string()).unwrap_or_default();
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{version} {digest}")
}
