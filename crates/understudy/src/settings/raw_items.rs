//! What a person writes of items on DynamoDB in an entry of `tables`.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize as DeriveDeserialize, Serialize};
use understudy_dynamodb::layout::NullForm;
use understudy_dynamodb::types::Form;

use super::raw::RawSql;
use super::yaml::Placed;

/// Where rows lie on DynamoDB.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Items")]
pub(super) struct RawItems {
    /// The table, one of those under `green.dynamodb.tables`.
    pub(super) table: Placed<String>,
    /// Attribute of the table's key: a text with columns of blue in it, or `{ sql: ... }`.
    #[schemars(extend("examples" = [
        { "pk": "CUSTOMER#{id}", "sk": "PROFILE" },
        { "pk": { "sql": "'TENANT#' || tenant || '#' || lower(region)" }, "sk": "ORDER#{id}" },
    ]))]
    pub(super) key: Pairs<RawKeyText>,
    /// What the items are, such as `customer`: the same for all entries that fill parts of the same items, and different for
    /// others. Left out: the name of the table on blue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<Placed<String>>,
    /// The part of an item that a row fills, where several rows make one item. Left out: each row is an item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<RawPart>,
    /// Attribute: SQL over blue's columns, as under `columns`, or `{ sql: ..., form: ..., nulls: ... }`. A name may be a path:
    /// `address.city`, `phones[0]`. `"*": "*"` takes every column that no other attribute reads. Left out: every column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [
        { "name": "first_name || ' ' || last_name", "address.city": "city", "*": "*" },
        { "born": { "sql": "born", "form": "epoch" }, "tags": { "sql": "tags", "form": "SS" } },
    ]))]
    pub(super) attributes: Option<Placed<Pairs<RawAttribute>>>,
    /// What becomes of null in attributes that do not say it themselves.
    #[serde(default)]
    pub(super) nulls: RawNulls,
}

/// A text with columns of blue in it, or SQL.
#[derive(Debug, Clone)]
pub(super) enum RawKeyText {
    Template(String),
    Sql(Placed<RawSql>),
}

/// The part of an item that a row fills.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "ItemPart")]
pub(super) struct RawPart {
    /// Its name: a text, with columns of blue in it where each row has a part of its own.
    #[schemars(extend("examples" = ["profile", "LINE#{line}"]))]
    pub(super) name: Placed<String>,
    /// The map below which parts are entries. Left out: the part's attributes are those of the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<Placed<String>>,
}

/// What fills an attribute, and how it is stored.
#[derive(Debug, Clone)]
pub(super) enum RawAttribute {
    /// SQL, stored as its type asks for.
    Sql(Option<String>),
    /// The same with a form.
    Formed(RawFormed),
}

/// What fills an attribute, and how it is stored.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Attribute")]
pub(super) struct RawFormed {
    /// SQL over blue's columns.
    pub(super) sql: Placed<RawSql>,
    /// How its values are stored. Left out: as their type asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) form: Option<RawForm>,
    /// What becomes of null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nulls: Option<RawNulls>,
}

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(rename = "AttributeForm")]
pub(super) enum RawForm {
    /// A string: the text of Postgres, of times that of ISO-8601.
    S,
    /// A number.
    N,
    /// Bytes.
    B,
    /// True or false.
    #[serde(rename = "BOOL")]
    Bool,
    /// A JSON document by value.
    M,
    /// A list.
    L,
    /// A set of strings.
    #[serde(rename = "SS")]
    Ss,
    /// A set of numbers.
    #[serde(rename = "NS")]
    Ns,
    /// A set of bytes.
    #[serde(rename = "BS")]
    Bs,
    /// A JSON document as the text that it is.
    #[serde(rename = "json_text")]
    JsonText,
    /// A time as whole seconds since 1970, which is what TTL reads.
    #[serde(rename = "epoch")]
    Epoch,
    /// A time as the text that Postgres writes.
    #[serde(rename = "text")]
    Text,
}

/// What becomes of null.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, DeriveDeserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Nulls")]
pub(super) enum RawNulls {
    /// The attribute is left out.
    #[default]
    Omit,
    /// The attribute is there and null.
    Keep,
}

/// Names and what belongs to each, in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct Pairs<T>(pub(super) Vec<(Placed<String>, Placed<T>)>);

pub(super) const fn null_form(raw: RawNulls) -> NullForm {
    match raw {
        RawNulls::Omit => NullForm::Omit,
        RawNulls::Keep => NullForm::Null,
    }
}

pub(super) const fn form(raw: RawForm) -> Form {
    match raw {
        RawForm::S => Form::S,
        RawForm::N => Form::N,
        RawForm::B => Form::B,
        RawForm::Bool => Form::Bool,
        RawForm::M => Form::M,
        RawForm::L => Form::L,
        RawForm::Ss => Form::Ss,
        RawForm::Ns => Form::Ns,
        RawForm::Bs => Form::Bs,
        RawForm::JsonText => Form::JsonText,
        RawForm::Epoch => Form::Epoch,
        RawForm::Text => Form::Text,
    }
}

/// A single value or a mapping, as somebody wrote it.
enum Written {
    Text(Option<String>),
    Map(RawFormed),
}

struct WrittenVisitor;

impl<'de> Visitor<'de> for WrittenVisitor {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a mapping with `sql`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
        Ok(Written::Text(Some(text.to_owned())))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Written, E> {
        Ok(Written::Text(Some(value.to_string())))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Written, E> {
        Ok(Written::Text(Some(value.to_string())))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Written, E> {
        Ok(Written::Text(Some(value.to_string())))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Written, E> {
        Ok(Written::Text(Some(value.to_string())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Written, E> {
        Ok(Written::Text(None))
    }

    fn visit_none<E: de::Error>(self) -> Result<Written, E> {
        Ok(Written::Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Written, A::Error> {
        RawFormed::deserialize(de::value::MapAccessDeserializer::new(access)).map(Written::Map)
    }
}

impl<'de> Deserialize<'de> for RawAttribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawAttribute, D::Error> {
        Ok(match deserializer.deserialize_any(WrittenVisitor)? {
            Written::Text(text) => RawAttribute::Sql(text),
            Written::Map(formed) => RawAttribute::Formed(formed),
        })
    }
}

impl<'de> Deserialize<'de> for RawKeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawKeyText, D::Error> {
        Ok(match deserializer.deserialize_any(WrittenVisitor)? {
            Written::Text(text) => RawKeyText::Template(text.unwrap_or_default()),
            Written::Map(formed) => RawKeyText::Sql(formed.sql),
        })
    }
}

impl Serialize for RawAttribute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RawAttribute::Sql(text) => text.serialize(serializer),
            RawAttribute::Formed(formed) => formed.serialize(serializer),
        }
    }
}

impl Serialize for RawKeyText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RawKeyText::Template(text) => text.serialize(serializer),
            RawKeyText::Sql(sql) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("sql", sql)?;
                map.end()
            }
        }
    }
}

impl JsonSchema for RawAttribute {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AttributeSource".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let formed = generator.subschema_for::<RawFormed>();
        json_schema!({ "anyOf": [{ "type": ["string", "number", "boolean", "null"] }, formed] })
    }
}

impl JsonSchema for RawKeyText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeyText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": ["string", "number"] },
            {
                "type": "object", "additionalProperties": false, "required": ["sql"],
                "properties": { "sql": { "type": "string", "description": "SQL over blue's columns." } },
            },
        ] })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs<T>, D::Error> {
        deserializer.deserialize_map(PairsVisitor(std::marker::PhantomData))
    }
}

struct PairsVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
    type Value = Pairs<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Pairs<T>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(name) = access.next_key()? {
            pairs.push((name, access.next_value()?));
        }
        Ok(Pairs(pairs))
    }
}

impl<T: Serialize> Serialize for Pairs<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(&name.value, &value.value)?;
        }
        map.end()
    }
}

impl<T: JsonSchema> JsonSchema for Pairs<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("PairsOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "minProperties": 1, "additionalProperties": value })
    }
}
