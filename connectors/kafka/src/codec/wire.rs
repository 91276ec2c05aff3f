//! Forms that several records of our own share.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::error::Category;
use understudy_contract::ColumnMarks;
use understudy_model::{BlockRange, Ctid, Key, Lsn, TableName};

use super::error::CodecError;

/// The format of our own records. Written as a field of each, so that a later one is known as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format;

const FORMAT: u32 = 1;

/// The first format that a later release may write.
const FORMAT_LATER: u32 = FORMAT + 1;

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(FORMAT)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
        match u32::deserialize(deserializer)? {
            FORMAT => Ok(Format),
            _ => Err(de::Error::custom("another format")),
        }
    }
}

/// Writes a record of ours.
pub(crate) fn write<T: Serialize>(record: &T) -> Vec<u8> {
    // Nothing here can fail to serialise: no map has keys other than texts, and memory does not refuse a write.
    serde_json::to_vec(record).unwrap_or_default()
}

/// Reads a record of ours. The error never shows what was read.
pub(crate) fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    serde_json::from_slice::<T>(bytes).map_err(|error| {
        let format = serde_json::from_slice::<Versioned>(bytes).map(|versioned| versioned.v);
        if let (Category::Data, Ok(format @ FORMAT_LATER..)) = (error.classify(), &format) {
            let reason = format!("it has format {format}, and this release reads format {FORMAT}");
            return CodecError::Later { what, reason };
        }
        let reason = match (error.classify(), format) {
            (Category::Data, _) => format!("its fields are not as they must be, at byte {}", error.column()),
            (Category::Syntax | Category::Eof | Category::Io, _) => {
                format!("it is not well-formed JSON at byte {}", error.column())
            }
        };
        CodecError::Record { what, reason }
    })
}

/// Something that is written as the text that it is displayed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AsText<T>(pub(crate) T);

impl<T: fmt::Display> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr> Deserialize<'de> for AsText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AsText<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(AsText).map_err(|_| de::Error::custom("another form of text"))
    }
}

/// An address in blue's log.
pub(crate) type Address = AsText<Lsn>;

impl<T> AsText<T> {
    pub(crate) fn into_inner(self) -> T {
        self.0
    }
}

/// The marks of a unit's columns: places, written, keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MarksWire(u64, u64, u64);

impl From<ColumnMarks> for MarksWire {
    fn from(ColumnMarks { places, written, keys }: ColumnMarks) -> MarksWire {
        MarksWire(places, written, keys)
    }
}

impl From<MarksWire> for ColumnMarks {
    fn from(MarksWire(places, written, keys): MarksWire) -> ColumnMarks {
        ColumnMarks { places, written, keys }
    }
}

/// A table's name: schema and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameWire(String, String);

impl From<&TableName> for NameWire {
    fn from(name: &TableName) -> NameWire {
        NameWire(name.schema.clone(), name.name.clone())
    }
}

impl From<NameWire> for TableName {
    fn from(NameWire(schema, name): NameWire) -> TableName {
        TableName { schema, name }
    }
}

/// A range of rows: first address, and first beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RangeWire(AsText<Ctid>, AsText<Ctid>);

impl From<BlockRange> for RangeWire {
    fn from(range: BlockRange) -> RangeWire {
        RangeWire(AsText(range.from), AsText(range.to))
    }
}

impl From<RangeWire> for BlockRange {
    fn from(RangeWire(from, to): RangeWire) -> BlockRange {
        BlockRange { from: from.0, to: to.0 }
    }
}

/// A row's key: its texts in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyWire(pub(crate) Key);

impl Serialize for KeyWire {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.texts().map(TextRef))
    }
}

impl<'de> Deserialize<'de> for KeyWire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeyWire, D::Error> {
        let texts = Vec::<Text>::deserialize(deserializer)?;
        Ok(KeyWire(Key::from_texts(texts.iter().map(|text| text.0.as_slice()))))
    }
}

/// A text of Postgres: as JSON text, or as numbers where it is not UTF-8.
struct TextRef<'a>(&'a [u8]);

impl Serialize for TextRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_seq(self.0),
        }
    }
}

struct Text(Vec<u8>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        struct TextOrBytes;

        impl<'de> Visitor<'de> for TextOrBytes {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or its bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.as_bytes().to_vec()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Text, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = numbers.next_element()? {
                    bytes.push(byte);
                }
                Ok(Text(bytes))
            }
        }

        deserializer.deserialize_any(TextOrBytes)
    }
}

/// How long a text becomes in JSON, quotes included; never less than it turns out to be.
pub(crate) fn text_len_max(text: &[u8]) -> usize {
    if std::str::from_utf8(text).is_err() {
        return 2 + 4 * text.len();
    }
    let len = |byte: &u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    2 + text.iter().map(len).sum::<usize>()
}

/// How long a table's name becomes in JSON; never less than it turns out to be.
pub(crate) fn name_len_max(table: &TableName) -> usize {
    3 + text_len_max(table.schema.as_bytes()) + text_len_max(table.name.as_bytes())
}

/// How long a key becomes in JSON; never less than it turns out to be.
pub(crate) fn key_len_max(key: &Key) -> usize {
    2 + key.texts().map(|text| 1 + text_len_max(text)).sum::<usize>()
}

/// Writes a table's name so that it can be told where it ends and which part is which: `public.orders`, `"a.b"."c/d"`.
pub(crate) fn push_table(out: &mut String, table: &TableName) {
    push_part(out, &table.schema);
    out.push('.');
    push_part(out, &table.name);
}

fn push_part(out: &mut String, part: &str) {
    if part.is_empty() || part.contains(['.', '/', '"']) {
        out.push('"');
        out.push_str(&part.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(part);
    }
}

/// Takes a table's name off the front of a text, and gives what follows it.
pub(crate) fn take_table(text: &str) -> Option<(TableName, &str)> {
    let (schema, rest) = take_part(text)?;
    let (name, rest) = take_part(rest.strip_prefix('.')?)?;
    Some((TableName { schema, name }, rest))
}

fn take_part(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(['.', '/', '"']).unwrap_or(text.len());
        let (part, rest) = text.split_at(end);
        return (!part.is_empty()).then(|| (part.to_owned(), rest));
    };
    let mut part = String::new();
    loop {
        let (piece, after) = rest.split_once('"')?;
        part.push_str(piece);
        let Some(more) = after.strip_prefix('"') else {
            return Some((part, after));
        };
        part.push('"');
        rest = more;
    }
}

#[cfg(test)]
pub(crate) mod arbitrary {
    //! Values that property tests draw.

    use proptest::prelude::*;
    use understudy_model::{BlockRange, Ctid, Key, Lsn, TableName};

    /// Any text that Postgres can hold, often an awkward one.
    pub(crate) fn text() -> impl Strategy<Value = String> {
        let awkward = prop::sample::select(vec![
            "",
            "null",
            "true",
            "t",
            "0",
            "-0",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e400",
            "\\N",
            "\\",
            "\"",
            "\\u0041",
            "\u{1}\u{1f}\u{7f}",
            "\u{2028}\u{feff}",
            "😀\u{10ffff}",
            "a\tb\nc\rd\u{8}\u{c}",
            "__debezium_unavailable_value",
            "9223372036854775807",
            "-9223372036854775808",
            "01",
            "1.",
            "{\"a\": 1e400}",
            "1e-07",
            "+1",
            " 1",
        ]);
        let any = prop::collection::vec(any::<char>().prop_filter("NUL", |letter| *letter != '\0'), 0..12);
        prop_oneof![awkward.prop_map(str::to_owned), any.prop_map(String::from_iter), "[ -~]{0,12}"]
    }

    /// Any name of a table.
    pub(crate) fn table() -> impl Strategy<Value = TableName> {
        let part = || prop_oneof!["[a-z_.\"/ ]{1,5}", "[a-z]{1,5}", text()];
        (part(), part()).prop_map(|(schema, name)| TableName { schema, name })
    }

    /// Any key.
    pub(crate) fn key() -> impl Strategy<Value = Key> {
        let bytes = prop_oneof![
            4 => text().prop_map(String::into_bytes),
            1 => prop::collection::vec(1..=u8::MAX, 0..6)
        ];
        prop::collection::vec(bytes, 1..3).prop_map(|texts| Key::from_texts(texts.iter().map(Vec::as_slice)))
    }

    /// Any address.
    pub(crate) fn lsn() -> impl Strategy<Value = Lsn> {
        prop_oneof![any::<u64>(), Just(0), Just(u64::MAX)].prop_map(Lsn::new)
    }

    /// Any range of rows.
    pub(crate) fn range() -> impl Strategy<Value = BlockRange> {
        let row = || (any::<u32>(), any::<u16>()).prop_map(|(block, line)| Ctid { block, line });
        (row(), row()).prop_map(|(from, to)| BlockRange { from, to })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Guards that records of two tables never replace each other in a compacted topic: a name comes back as it was,
        /// whatever it holds and whatever follows it.
        #[test]
        fn names_in_keys_are_told_apart(table in arbitrary::table(), after in "(/.{0,5})?") {
            let mut text = String::new();
            push_table(&mut text, &table);
            text.push_str(&after);
            prop_assert_eq!(take_table(&text), Some((table, after.as_str())));
        }

        /// Guards that a row to be read again is asked for under its exact key.
        #[test]
        fn keys_come_back_as_they_were(key in arbitrary::key()) {
            let json = write(&KeyWire(key.clone()));
            prop_assert!(json.len() <= key_len_max(&key));
            prop_assert_eq!(read::<KeyWire>("a key", &json), Ok(KeyWire(key)));
        }
    }

    /// Guards that bytes of a topic are never shown, and that records of a later release are told as such.
    #[test]
    fn errors_name_the_format_and_never_a_value() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only its shape matters")]
        struct Record {
            v: Format,
            key: u32,
        }
        let reason = |json: &str| read::<Record>("a record", json.as_bytes()).unwrap_err().to_string();
        let later = read::<Record>("a record", br#"{"v":2,"key":1}"#).unwrap_err();
        assert!(matches!(&later, CodecError::Later { reason, .. } if reason.contains("format 2")), "{later}");
        for json in
            [r#"{"v":1,"key":"secret"}"#, r#"{"v":1,"secret":1}"#, r#"{"v":1,"key":secret}"#, "secret", ""]
        {
            let reason = reason(json);
            assert!(
                reason.starts_with("a record cannot be read: ") && !reason.contains("secret"),
                "{reason}"
            );
        }
    }
}
