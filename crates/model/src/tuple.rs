//! Rows as shared bytes: values stay in the text that blue sent, and absent, null and unchanged are kept apart.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// One value of a row.
#[derive(Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// SQL null.
    Null,
    /// A large value that blue did not send because the update left it alone.
    Unchanged,
    /// The value in its text form, UTF-8 as the session's client encoding guarantees.
    Text(Cow<'a, [u8]>),
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("Null"),
            Value::Unchanged => f.write_str("Unchanged"),
            Value::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

/// How a tuple's bytes are laid out. Both forms are exactly what a server sent, so neither costs a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// For each column a kind byte (`n`, `u`, `t`) and, for `t`, a 32-bit length and the text.
    Wire { columns: u16 },
    /// One line of COPY text without its newline: columns separated by tabs, escaped with backslashes.
    CopyText,
}

/// A row, or the columns of it that were sent. Cloning shares the bytes. Its `Debug` never shows values.
#[derive(Clone, PartialEq, Eq)]
pub struct Tuple {
    bytes: Bytes,
    form: Form,
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tuple({} bytes)", self.bytes.len())
    }
}

const NULL: u8 = b'n';
const UNCHANGED: u8 = b'u';
const TEXT: u8 = b't';

impl Tuple {
    /// A tuple over the wire form. `None` unless the bytes hold exactly `columns` well-formed columns.
    pub fn from_wire(bytes: Bytes, columns: u16) -> Option<Tuple> {
        let mut rest: &[u8] = &bytes;
        for _ in 0..columns {
            rest = wire_column(rest)?.1;
        }
        rest.is_empty().then_some(Tuple { bytes, form: Form::Wire { columns } })
    }

    /// Takes a tuple off the front of bytes in wire form, and leaves what follows it. `None`, with the bytes untouched,
    /// unless they start with `columns` well-formed columns.
    pub fn take_wire(bytes: &mut Bytes, columns: u16) -> Option<Tuple> {
        let mut rest: &[u8] = bytes;
        for _ in 0..columns {
            rest = wire_column(rest)?.1;
        }
        let len = bytes.len() - rest.len();
        // The last tuple of a message takes the handle over instead of sharing it.
        let bytes = if len == bytes.len() { std::mem::take(bytes) } else { bytes.split_to(len) };
        Some(Tuple { bytes, form: Form::Wire { columns } })
    }

    /// A tuple over one line of COPY text, given without its newline.
    pub fn from_copy_line(line: Bytes) -> Tuple {
        Tuple { bytes: line, form: Form::CopyText }
    }

    /// Bytes held.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The values in column order.
    pub fn values(&self) -> Values<'_> {
        match self.form {
            Form::Wire { columns } => Values(Walk::Wire { rest: &self.bytes, columns }),
            Form::CopyText => Values(Walk::CopyText { rest: Some(&self.bytes) }),
        }
    }

    /// The value of one column, counted from zero. Walks the row: prefer [`Tuple::values`] for more than one.
    pub fn get(&self, column: usize) -> Option<Value<'_>> {
        self.values().nth(column)
    }

    /// Whether some value was not sent.
    pub fn has_unchanged(&self) -> bool {
        match self.form {
            Form::Wire { .. } => self.values().any(|value| value == Value::Unchanged),
            Form::CopyText => false,
        }
    }

    /// The key made of the given columns, in the given order.
    ///
    /// `None` when a column is missing, null or unchanged: such a row cannot be named.
    pub fn key(&self, columns: &[usize]) -> Option<Key> {
        let mut key = BytesMut::with_capacity(24);
        if columns.is_sorted() {
            let mut values = self.values().enumerate();
            for column in columns {
                let (_, value) = values.by_ref().find(|(at, _)| at == column)?;
                push_key_column(&mut key, &value)?;
            }
        } else {
            let values = self.values().collect::<Vec<_>>();
            for column in columns {
                push_key_column(&mut key, values.get(*column)?)?;
            }
        }
        Some(Key { bytes: key.freeze(), columns: columns.len() as u16 })
    }

    /// Appends all columns as one line of COPY text, without the newline. Unchanged values must not occur.
    pub fn push_copy_line(&self, out: &mut Vec<u8>) {
        match self.form {
            Form::CopyText => out.extend_from_slice(&self.bytes),
            Form::Wire { .. } => {
                for (at, value) in self.values().enumerate() {
                    if at > 0 {
                        out.push(b'\t');
                    }
                    push_copy_value(out, &value);
                }
            }
        }
    }

    /// The raw COPY line when the tuple came as one; its columns are separated by tabs and escaped.
    pub fn as_copy_line(&self) -> Option<&Bytes> {
        matches!(self.form, Form::CopyText).then_some(&self.bytes)
    }
}

/// Iterator over the values of a tuple.
pub struct Values<'a>(Walk<'a>);

enum Walk<'a> {
    Wire { rest: &'a [u8], columns: u16 },
    CopyText { rest: Option<&'a [u8]> },
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        match &mut self.0 {
            Walk::Wire { rest, columns } => {
                *columns = columns.checked_sub(1)?;
                let (value, after) = wire_column(rest)?;
                *rest = after;
                Some(value)
            }
            Walk::CopyText { rest } => {
                let line = (*rest)?;
                let end = line.iter().position(|byte| *byte == b'\t');
                *rest = end.map(|end| &line[end + 1..]);
                Some(copy_field(&line[..end.unwrap_or(line.len())]))
            }
        }
    }
}

/// The first column of wire bytes, and what follows it.
fn wire_column(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    match *kind {
        NULL => Some((Value::Null, rest)),
        UNCHANGED => Some((Value::Unchanged, rest)),
        TEXT => {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            Some((Value::Text(Cow::Borrowed(text)), rest))
        }
        _ => None,
    }
}

/// One field of a COPY line.
fn copy_field(field: &[u8]) -> Value<'_> {
    if field == b"\\N" {
        return Value::Null;
    }
    if !field.contains(&b'\\') {
        return Value::Text(Cow::Borrowed(field));
    }
    let mut text = Vec::with_capacity(field.len());
    let mut bytes = field.iter().copied();
    while let Some(byte) = bytes.next() {
        let plain = match byte {
            b'\\' => match bytes.next() {
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 11,
                Some(other) => other,
                None => b'\\',
            },
            other => other,
        };
        text.push(plain);
    }
    Value::Text(Cow::Owned(text))
}

/// Appends one value as a COPY field: `\N` for null, escaped text otherwise. Unchanged is written as null.
fn push_copy_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null | Value::Unchanged => out.extend_from_slice(b"\\N"),
        Value::Text(text) => push_copy_escaped(out, text),
    }
}

/// Appends text as a COPY field, escaped.
pub fn push_copy_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut plain = 0;
    for (at, byte) in text.iter().enumerate() {
        let escape = match byte {
            b'\\' => b'\\',
            b'\t' => b't',
            b'\n' => b'n',
            b'\r' => b'r',
            _ => continue,
        };
        out.extend_from_slice(&text[plain..at]);
        out.extend_from_slice(&[b'\\', escape]);
        plain = at + 1;
    }
    out.extend_from_slice(&text[plain..]);
}

fn push_key_column(key: &mut BytesMut, value: &Value<'_>) -> Option<()> {
    let Value::Text(text) = value else { return None };
    push_wire_text(key, text);
    Some(())
}

fn push_wire_text(out: &mut BytesMut, text: &[u8]) {
    out.put_u8(TEXT);
    out.put_u32(text.len() as u32);
    out.put_slice(text);
}

/// Builds a tuple in wire form, column by column.
#[derive(Default)]
pub struct TupleBuilder {
    bytes: BytesMut,
    columns: u16,
}

impl TupleBuilder {
    /// An empty tuple with room for `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> TupleBuilder {
        TupleBuilder { bytes: BytesMut::with_capacity(bytes), columns: 0 }
    }

    /// Appends a column.
    pub fn push(&mut self, value: &Value<'_>) {
        match value {
            Value::Null => self.bytes.put_u8(NULL),
            Value::Unchanged => self.bytes.put_u8(UNCHANGED),
            Value::Text(text) => push_wire_text(&mut self.bytes, text),
        }
        self.columns += 1;
    }

    /// The finished tuple.
    pub fn finish(self) -> Tuple {
        Tuple { bytes: self.bytes.freeze(), form: Form::Wire { columns: self.columns } }
    }
}

/// The values of a row's key columns, comparable by bytes. Its `Debug` never shows values.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    bytes: Bytes,
    columns: u16,
}

impl Key {
    /// A key from texts in key column order.
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Key {
        let (mut bytes, mut columns) = (BytesMut::new(), 0);
        for text in texts {
            push_wire_text(&mut bytes, text);
            columns += 1;
        }
        Key { bytes: bytes.freeze(), columns }
    }

    /// The texts in key column order.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: &[u8] = &self.bytes;
        std::iter::from_fn(move || {
            let (len, after) = rest.get(1..)?.split_first_chunk::<4>()?;
            let (text, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            rest = after;
            Some(text)
        })
    }

    /// The key as a tuple of its columns alone.
    pub fn to_tuple(&self) -> Tuple {
        Tuple { bytes: self.bytes.clone(), form: Form::Wire { columns: self.columns } }
    }

    /// Bytes held.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(values: &[Option<&str>]) -> Tuple {
        let mut builder = TupleBuilder::default();
        for value in values {
            builder.push(&value.map_or(Value::Null, |text| Value::Text(text.as_bytes().into())));
        }
        builder.finish()
    }

    #[test]
    fn copy_lines_round_trip_with_every_escape() {
        let row = wire(&[Some("a\tb\nc\rd\\e"), None, Some(""), Some("\\N")]);
        let mut line = Vec::new();
        row.push_copy_line(&mut line);
        assert_eq!(line, b"a\\tb\\nc\\rd\\\\e\t\\N\t\t\\\\N");
        let back = Tuple::from_copy_line(line.into());
        assert!(row.values().eq(back.values()));
    }

    #[test]
    fn keys_are_equal_across_forms() {
        let row = wire(&[Some("1"), Some("x\ty"), None]);
        let mut line = Vec::new();
        row.push_copy_line(&mut line);
        let copied = Tuple::from_copy_line(line.into());
        assert_eq!(row.key(&[0, 1]), copied.key(&[0, 1]));
        assert_eq!(row.key(&[0, 1]).unwrap().texts().collect::<Vec<_>>(), [&b"1"[..], b"x\ty"]);
        assert_eq!(row.key(&[1, 0]).unwrap().texts().collect::<Vec<_>>(), [&b"x\ty"[..], b"1"]);
        assert_eq!(row.key(&[2]), None);
        assert_eq!(row.key(&[3]), None);
    }

    #[test]
    fn malformed_wire_bytes_are_refused() {
        for (bytes, columns) in [
            (&b"n"[..], 2),
            (b"nn", 1),
            (b"x", 1),
            (b"t\0\0\0\x02a", 1),
            (b"t\0\0", 1),
            (b"t\xff\xff\xff\xffa", 1),
        ] {
            assert_eq!(Tuple::from_wire(Bytes::from_static(bytes), columns), None);
        }
    }

    #[test]
    fn debug_shows_no_values() {
        let shown = format!("{:?}", (wire(&[Some("secret")]), Value::Text(b"secret"[..].into())));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
