//! Reads records back as rows.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use understudy_model::{Key, OldImage, Tuple, TupleBuilder, Value};

use super::super::error::CodecError;
use super::headers::{Half, OLD_KEY, TOMBSTONE, UNSENT};
use super::{DataHeaders, Kind, RowEvent, TableCodec, UNAVAILABLE, json};

impl TableCodec {
    /// What a record says, whose headers name this shape.
    pub fn decode(
        &self,
        headers: &DataHeaders,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<RowEvent, CodecError> {
        let Some(value) = value else {
            return if headers.tombstone { Ok(RowEvent::Tombstone) } else { Err(header(TOMBSTONE)) };
        };
        if headers.tombstone {
            // It only says again what stands before it, for the sake of who does not know these headers.
            return Ok(RowEvent::Tombstone);
        }
        let fields = match self.written_fields(value, headers.whole_before) {
            Some(fields) => fields,
            None => {
                let reading = Cell::new("value");
                let envelope =
                    Envelope { codec: self, whole_before: headers.whole_before, reading: &reading };
                self.parse(value, ("value", &reading), envelope)?
            }
        };
        let op = fields.op.ok_or_else(|| self.missing("op"))?;
        let may_be_unsent = op == "u" || matches!(headers.half, Half::Here(_));
        if !may_be_unsent && !headers.unsent.is_empty() {
            return Err(header(UNSENT));
        }
        let after = || self.whole_row("after", &fields.after, &headers.unsent);
        let before = || match headers.whole_before {
            true => self.whole_row("before", &fields.before, &[]).map(OldImage::Full).map(Some),
            false => Ok(None),
        };
        Ok(match (&*op, &headers.half) {
            ("c", Half::No) => RowEvent::Insert { new: after()? },
            ("c", Half::Here(old)) => RowEvent::MovedHere {
                old: self.old_image(&self.decode_key_part(old, OLD_KEY)?),
                new: after()?,
            },
            ("r", Half::No) => RowEvent::Read { row: after()? },
            ("u", Half::No) => RowEvent::Update { old: before()?, new: after()? },
            ("d", half @ (Half::No | Half::Away)) => {
                let old = match before()? {
                    Some(old) => old,
                    None => self.old_image(&self.decode_key(key.ok_or_else(|| self.missing("key"))?)?),
                };
                if *half == Half::No { RowEvent::Delete { old } } else { RowEvent::MovedAway { old } }
            }
            ("t", Half::No) => RowEvent::Truncate,
            _ => return Err(CodecError::WrongOperation { table: self.schema.table.clone() }),
        })
    }

    /// What a record says of nothing but its row's name: a row that changes in any way comes as one that vanishes.
    pub(crate) fn decode_name(
        &self,
        headers: &DataHeaders,
        key: Option<&[u8]>,
    ) -> Result<RowEvent, CodecError> {
        match key {
            _ if headers.tombstone => Ok(RowEvent::Tombstone),
            Some(key) => Ok(RowEvent::Delete { old: self.old_image(&self.decode_key(key)?) }),
            None => Ok(RowEvent::Truncate),
        }
    }

    /// Reads the key of a record.
    pub fn decode_key(&self, key: &[u8]) -> Result<Key, CodecError> {
        self.decode_key_part(key, "key")
    }

    fn decode_key_part(&self, json: &[u8], part: &'static str) -> Result<Key, CodecError> {
        let RowField::Row(slots) = self.parse(json, (part, &Cell::new(part)), Row { codec: self })? else {
            return Err(self.wrong_type(part));
        };
        let texts = self.key.iter().map(|column| match self.value(*column, slots.at(*column))? {
            Some(Value::Text(text)) => Ok(text),
            Some(Value::Null | Value::Unchanged) | None => Err(CodecError::NoKey {
                table: self.schema.table.clone(),
                column: Some(self.schema.columns[*column].name.clone()),
            }),
        });
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        Ok(Key::from_texts(texts.iter().map(|text| &**text)))
    }

    /// A row of which only the key is known.
    fn old_image(&self, key: &Key) -> OldImage {
        let mut texts = key.texts();
        let mut row = TupleBuilder::with_capacity(key.bytes_len() + self.columns.len());
        for column in &self.columns {
            let text = if column.in_key { texts.next() } else { None };
            row.push(&text.map_or(Value::Null, |text| Value::Text(Cow::Borrowed(text))));
        }
        OldImage::Identity(row.finish())
    }

    /// A row with all its columns.
    fn whole_row(&self, field: &str, row: &RowField<'_>, unsent: &[u16]) -> Result<Tuple, CodecError> {
        let slots = match row {
            RowField::Row(slots) => slots,
            RowField::Null | RowField::Absent => return Err(self.missing(field)),
        };
        if unsent.iter().any(|column| usize::from(*column) >= self.columns.len()) {
            return Err(header(UNSENT));
        }
        let mut tuple = TupleBuilder::with_capacity(slots.tuple_len());
        for column in 0..self.columns.len() {
            let name = || self.schema.columns[column].name.as_str();
            let value = self.value(column, slots.at(column))?.ok_or_else(|| self.missing(name()))?;
            if !unsent.is_empty() && unsent.contains(&(column as u16)) {
                if value != Value::Text(UNAVAILABLE.as_bytes().into()) {
                    return Err(header(UNSENT));
                }
                tuple.push(&Value::Unchanged);
            } else {
                tuple.push(&value);
            }
        }
        Ok(tuple.finish())
    }

    /// A value as Postgres writes it; `None` when it is not there.
    fn value<'de>(&self, column: usize, raw: Option<&'de [u8]>) -> Result<Option<Value<'de>>, CodecError> {
        let Some(raw) = raw else { return Ok(None) };
        let wrong = || self.wrong_type(&self.schema.columns[column].name);
        let text = match (self.columns[column].kind, raw) {
            (_, b"null") => return Ok(Some(Value::Null)),
            (Kind::Bool, b"true") => Cow::Borrowed(&b"t"[..]),
            (Kind::Bool, b"false") => Cow::Borrowed(&b"f"[..]),
            (Kind::Integer, number) if json::is_integer(number) => Cow::Borrowed(number),
            (Kind::Float, number) if json::is_number(number) => Cow::Borrowed(number),
            (_, [b'"', text @ .., b'"']) if !text.contains(&b'\\') => Cow::Borrowed(text),
            (_, [b'"', ..]) => {
                Cow::Owned(serde_json::from_slice::<String>(raw).map_err(|_| wrong())?.into_bytes())
            }
            _ => return Err(wrong()),
        };
        Ok(Some(Value::Text(text)))
    }

    /// Parses a whole text of JSON, which is the given part of a record; errors name the field that is being read.
    fn parse<'de, T: DeserializeSeed<'de>>(
        &self,
        json: &'de [u8],
        (part, reading): (&'static str, &Cell<&'static str>),
        seed: T,
    ) -> Result<T::Value, CodecError> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let parsed =
            seed.deserialize(&mut deserializer).and_then(|parsed| deserializer.end().map(|()| parsed));
        parsed.map_err(|error| match error.is_data() {
            true => self.wrong_type(reading.get()),
            false => CodecError::NotJson { table: self.schema.table.clone(), part, at: error.column() },
        })
    }

    fn missing(&self, field: &str) -> CodecError {
        CodecError::Missing { table: self.schema.table.clone(), field: field.to_owned() }
    }

    fn wrong_type(&self, field: &str) -> CodecError {
        CodecError::WrongType { table: self.schema.table.clone(), field: field.to_owned() }
    }
}

fn header(name: &'static str) -> CodecError {
    CodecError::Header { name }
}

/// `before` or `after`.
pub(super) enum RowField<'de> {
    Absent,
    Null,
    Row(Slots<'de>),
}

/// The values of a row as they stand in the record, by column.
pub(super) struct Slots<'de>(pub(super) Vec<Option<&'de [u8]>>);

impl<'de> Slots<'de> {
    fn at(&self, column: usize) -> Option<&'de [u8]> {
        self.0.get(column).copied().flatten()
    }

    /// How long the tuple of the row is, or how long it is at most where texts are escaped: one that fills its memory is handed
    /// on without being moved.
    fn tuple_len(&self) -> usize {
        let len = |raw: &&[u8]| match *raw {
            [b'n', ..] => 1,
            // As one letter.
            [b't' | b'f', ..] => 6,
            [b'"', text @ .., b'"'] => 5 + text.len(),
            number => 5 + number.len(),
        };
        self.0.iter().flatten().map(len).sum()
    }
}

/// Reads a row, or null in its place.
struct Row<'c> {
    codec: &'c TableCodec,
}

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = RowField<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RowField<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = RowField<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_unit<E: de::Error>(self) -> Result<RowField<'de>, E> {
        Ok(RowField::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<RowField<'de>, A::Error> {
        let columns = &self.codec.schema.columns;
        let mut slots = Slots(vec![None; columns.len()]);
        let mut next = 0;
        while let Some(Name(name)) = fields.next_key()? {
            // Columns stand in order in what we write; only others' records need the map.
            let column = match columns.get(next) {
                Some(column) if column.name == name => Some(next),
                _ => self.codec.places.get(&*name).copied(),
            };
            let Some(column) = column else {
                fields.next_value::<IgnoredAny>()?;
                continue;
            };
            next = column + 1;
            let value = fields.next_value::<&RawValue>()?;
            if slots.0[column].replace(value.get().as_bytes()).is_some() {
                return Err(de::Error::custom("a column occurs twice"));
            }
        }
        Ok(RowField::Row(slots))
    }
}

/// The fields of a record that matter.
pub(super) struct Fields<'de> {
    pub(super) before: RowField<'de>,
    pub(super) after: RowField<'de>,
    pub(super) op: Option<Cow<'de, str>>,
}

/// Reads them, and notes at which of them it is.
struct Envelope<'c> {
    codec: &'c TableCodec,
    whole_before: bool,
    reading: &'c Cell<&'static str>,
}

impl<'de> DeserializeSeed<'de> for Envelope<'_> {
    type Value = Fields<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Envelope<'_> {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Fields<'de>, A::Error> {
        let Envelope { codec, whole_before, reading } = self;
        let twice = || de::Error::custom("a field occurs twice");
        let mut found = Fields { before: RowField::Absent, after: RowField::Absent, op: None };
        while let Some(Name(name)) = fields.next_key()? {
            match &*name {
                "before" if whole_before => {
                    reading.set("before");
                    let row = fields.next_value_seed(Row { codec })?;
                    if !matches!(std::mem::replace(&mut found.before, row), RowField::Absent) {
                        return Err(twice());
                    }
                }
                "after" => {
                    reading.set("after");
                    let row = fields.next_value_seed(Row { codec })?;
                    if !matches!(std::mem::replace(&mut found.after, row), RowField::Absent) {
                        return Err(twice());
                    }
                }
                "op" => {
                    reading.set("op");
                    let Name(op) = fields.next_value()?;
                    if found.op.replace(op).is_some() {
                        return Err(twice());
                    }
                }
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// A text that is borrowed where it can be.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name<'de>, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}
