//! Takes records apart in just the form in which they are written here, without reading what nobody asks for. Whatever differs from
//! it in anything is left to the reader of JSON, which takes it or says what is wrong.

use super::decode::{Fields, RowField, Slots};
use super::{TableCodec, json};

/// What follows the rows of a record.
const TAIL: &[u8] = b",\"source\":{";

impl TableCodec {
    /// The fields of a record that matter. The rows are read whole; of what follows them only that it is there and how it ends,
    /// which tells a record that was cut off.
    pub(super) fn written_fields<'de>(&self, value: &'de [u8], whole_before: bool) -> Option<Fields<'de>> {
        let (op, rest) = value.strip_prefix(b"{\"op\":\"")?.split_at_checked(1)?;
        let (before, rest) = self.written_row(rest.strip_prefix(b"\",\"before\":")?)?;
        let (after, tail) = self.written_row(rest.strip_prefix(b",\"after\":")?)?;
        if !tail.starts_with(TAIL) || !is_whole_tail(tail) {
            return None;
        }
        std::str::from_utf8(&value[..value.len() - tail.len()]).ok()?;
        let op = std::str::from_utf8(op).ok()?;
        let before = if whole_before { before } else { RowField::Absent };
        Some(Fields { before, after, op: Some(op.into()) })
    }

    /// A row with all columns in their order, or null, and what follows it.
    fn written_row<'de>(&self, text: &'de [u8]) -> Option<(RowField<'de>, &'de [u8])> {
        if let Some(rest) = text.strip_prefix(b"null") {
            return Some((RowField::Null, rest));
        }
        let mut slots = Slots(Vec::with_capacity(self.columns.len()));
        let (mut before, mut rest) = (b'{', text);
        for column in &self.columns {
            let (first, named) = rest.split_first()?;
            if *first != before {
                return None;
            }
            let (value, after) = split_value(named.strip_prefix(&*column.name)?)?;
            slots.0.push(Some(value));
            (before, rest) = (b',', after);
        }
        Some((RowField::Row(slots), rest.strip_prefix(b"}")?))
    }
}

/// Whether a record ends where it was written to its end. No text of JSON has a comma and a bare quote in it, so that nothing
/// before the end looks like it.
fn is_whole_tail(tail: &[u8]) -> bool {
    let Some(tail) = tail.strip_suffix(b"}") else { return false };
    let Some(counted) = tail.strip_suffix(b"}") else { return tail.ends_with(b",\"transaction\":null") };
    let digits = counted.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && counted[..counted.len() - digits].ends_with(b",\"data_collection_order\":")
}

/// A value that is no object and no list, as it stands, and what follows it.
fn split_value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = match text.first()? {
        b'"' => string_len(text)?,
        b'n' | b't' | b'f' => {
            [&b"null"[..], b"true", b"false"].into_iter().find(|word| text.starts_with(word))?.len()
        }
        _ => {
            let is_of_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
            let len = text.iter().take_while(is_of_number).count();
            json::is_number(&text[..len]).then_some(len)?
        }
    };
    Some(text.split_at(len))
}

/// How long a string is, with its quotes.
fn string_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += json::plain_len(text.get(at..)?);
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            // Control characters are none of a string.
            _ => return None,
        }
    }
}
