//! What a record's own schema says of its fields.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

/// What a schema says of one field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Field {
    /// The form of it: `int64`, `string`, `bytes`.
    pub(super) kind: Box<str>,
    /// What it means, where the form alone does not tell.
    pub(super) name: Option<Box<str>>,
    /// For a decimal, how many of its digits stand behind the point.
    pub(super) scale: Option<i64>,
    /// For bits, how many there are.
    pub(super) length: Option<u32>,
    /// For an array, what it holds.
    pub(super) items: Option<Box<Field>>,
}

/// The fields of a row by name.
pub(super) type Shape = HashMap<Box<str>, Field>;

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    field: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    parameters: Option<HashMap<Cow<'a, str>, Cow<'a, str>>>,
    #[serde(borrow, default)]
    fields: Vec<Raw<'a>>,
    #[serde(borrow, default)]
    items: Option<Box<Raw<'a>>>,
}

impl Raw<'_> {
    fn field(&self) -> Field {
        let parameter = |name: &str| self.parameters.as_ref()?.get(name);
        Field {
            kind: (&*self.kind).into(),
            name: self.name.as_deref().map(Into::into),
            scale: parameter("scale").and_then(|scale| scale.parse().ok()),
            length: parameter("length").and_then(|length| length.parse().ok()),
            items: self.items.as_ref().map(|items| Box::new(items.field())),
        }
    }

    fn shape(&self) -> Shape {
        let named = |one: &Raw<'_>| Some((one.field.as_deref()?.into(), one.field()));
        self.fields.iter().filter_map(named).collect()
    }
}

/// Schemas of a topic as they were read last: a connector writes the same one with every record.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    rows: Option<(Box<str>, Arc<Shape>)>,
    keys: Option<(Box<str>, Arc<Shape>)>,
}

impl Shapes {
    /// The fields of a row, from the schema of a change. `None`: it is no schema.
    pub(super) fn of_row(&mut self, schema: &str) -> Option<Arc<Shape>> {
        remembered(&mut self.rows, schema, |raw| {
            let row = |name: &str| raw.fields.iter().find(|one| one.field.as_deref() == Some(name));
            Some(row("after").or_else(|| row("before"))?.shape())
        })
    }

    /// The fields of a key.
    pub(super) fn of_key(&mut self, schema: &str) -> Option<Arc<Shape>> {
        remembered(&mut self.keys, schema, |raw| Some(raw.shape()))
    }
}

fn remembered(
    last: &mut Option<(Box<str>, Arc<Shape>)>,
    schema: &str,
    read: impl FnOnce(&Raw<'_>) -> Option<Shape>,
) -> Option<Arc<Shape>> {
    if let Some((text, shape)) = last
        && **text == *schema
    {
        return Some(shape.clone());
    }
    let raw = serde_json::from_str::<Raw<'_>>(schema).ok()?;
    let shape = Arc::new(read(&raw)?);
    *last = Some((schema.into(), shape.clone()));
    Some(shape)
}
