//! Writes rows as records. This is the hot path of a capture: everything that does not vary is written beforehand.

use std::ops::Range;

use understudy_model::{Key, Tuple, Value};

use super::super::error::CodecError;
use super::headers::{BEFORE, NEW_KEY, OLD_KEY, PLACE, TOMBSTONE, UNSENT, push_place};
use super::json::{self, push_i64, push_u64};
use super::records::Mark;
use super::{ColumnCodec, Kind, Records, Stamp, TableCodec, UNAVAILABLE};

/// From 1970-01-01 to 2000-01-01, where Postgres counts from.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// Whether values may be unsent in a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unsent {
    Allowed,
    Refused,
}

impl TableCodec {
    /// Appends the key of a record, as JSON.
    pub fn encode_key(&self, key: &Key, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let mut texts = key.texts();
        for (at, column) in self.key.iter().enumerate() {
            out.push(if at == 0 { b'{' } else { b',' });
            out.extend_from_slice(&self.columns[*column].name);
            let text = texts.next().ok_or_else(|| self.no_key(*column))?;
            self.push_text(out, *column, text)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// Adds the record of a row that appeared.
    pub fn encode_insert(&self, new: &Tuple, stamp: &Stamp, out: &mut Records) -> Result<(), CodecError> {
        self.all_or_nothing(out, |out| {
            self.push_row_record((b'c', Unsent::Refused), (None, new), stamp, out).map(drop)
        })
    }

    /// Adds the record of a row of a chunk.
    pub fn encode_read(&self, row: &Tuple, stamp: &Stamp, out: &mut Records) -> Result<(), CodecError> {
        self.all_or_nothing(out, |out| {
            self.push_row_record((b'r', Unsent::Refused), (None, row), stamp, out).map(drop)
        })
    }

    /// Adds the records of a row that changed: one, or three where its key was another (`old_key`) before. `before` is the
    /// whole old row, where it is known.
    pub fn encode_update(
        &self,
        (old_key, before): (Option<&Key>, Option<&Tuple>),
        new: &Tuple,
        stamp: &Stamp,
        out: &mut Records,
    ) -> Result<(), CodecError> {
        self.all_or_nothing(out, |out| match old_key {
            None => self.push_row_record((b'u', Unsent::Allowed), (before, new), stamp, out).map(drop),
            Some(old_key) => self.push_move((old_key, before), new, stamp, out),
        })
    }

    /// Adds the record of a row that vanished, and the tombstone after it.
    pub fn encode_delete(
        &self,
        key: &Key,
        before: Option<&Tuple>,
        stamp: &Stamp,
        out: &mut Records,
    ) -> Result<(), CodecError> {
        self.all_or_nothing(out, |out| self.push_delete((key, before), None, stamp, out).map(drop))
    }

    /// Adds the record that tells that the table was emptied. It has no key and goes to partition 0.
    pub fn encode_truncate(&self, stamp: &Stamp, out: &mut Records) {
        let start = out.bytes.len();
        push_op(&mut out.bytes, b't');
        out.bytes.extend_from_slice(b"null,\"after\":null");
        self.push_tail(&mut out.bytes, b't', stamp);
        let value = start..out.bytes.len();
        out.push(None, Some(value));
        self.push_common_header(stamp, out);
    }

    /// Adds nothing unless everything can be added.
    fn all_or_nothing(
        &self,
        out: &mut Records,
        push: impl FnOnce(&mut Records) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        let mark = out.mark();
        push(out).inspect_err(|_| out.truncate(mark))
    }

    /// A row under its own key. Gives where the key stands.
    fn push_row_record(
        &self,
        (op, may_be_unsent): (u8, Unsent),
        (before, row): (Option<&Tuple>, &Tuple),
        stamp: &Stamp,
        out: &mut Records,
    ) -> Result<Range<usize>, CodecError> {
        let start = out.bytes.len();
        push_op(&mut out.bytes, op);
        match before {
            Some(before) => self.push_row(before, Unsent::Refused, out)?,
            None => out.bytes.extend_from_slice(b"null"),
        }
        out.bytes.extend_from_slice(b",\"after\":");
        self.push_row(row, may_be_unsent, out)?;
        self.push_tail(&mut out.bytes, op, stamp);
        let value = start..out.bytes.len();
        let key = self.push_key_fields(out);
        out.push(Some(key.clone()), Some(value));
        self.push_common_header(stamp, out);
        if before.is_some() {
            push_header(out, BEFORE, |bytes| bytes.extend_from_slice(b"whole"));
        }
        if !out.unsent.is_empty() {
            let unsent = std::mem::take(&mut out.unsent);
            push_header(out, UNSENT, |bytes| {
                for (at, column) in unsent.iter().enumerate() {
                    if at > 0 {
                        bytes.push(b',');
                    }
                    push_u64(bytes, u64::from(*column));
                }
            });
            out.unsent = unsent;
        }
        Ok(key)
    }

    /// A row that leaves its key for another one: a deletion under the old key and a row under the new one, which name each
    /// other.
    fn push_move(
        &self,
        (old_key, before): (&Key, Option<&Tuple>),
        new: &Tuple,
        stamp: &Stamp,
        out: &mut Records,
    ) -> Result<(), CodecError> {
        let new_key = new.key(&self.key).ok_or_else(|| self.no_key_of(new))?;
        if new_key == *old_key {
            return self.push_row_record((b'u', Unsent::Allowed), (before, new), stamp, out).map(drop);
        }
        let old = self.push_delete((old_key, before), Some(&new_key), stamp, out)?;
        self.push_row_record((b'c', Unsent::Allowed), (None, new), stamp, out)?;
        out.push_header(OLD_KEY, old);
        Ok(())
    }

    /// A row that leaves a key, and the tombstone after it. Gives where the key stands.
    fn push_delete(
        &self,
        (key, before): (&Key, Option<&Tuple>),
        new_key: Option<&Key>,
        stamp: &Stamp,
        out: &mut Records,
    ) -> Result<Range<usize>, CodecError> {
        let mark = out.mark();
        let start = out.bytes.len();
        self.encode_key(key, &mut out.bytes)?;
        let key_at = start..out.bytes.len();
        push_op(&mut out.bytes, b'd');
        match before {
            Some(before) => self.push_row(before, Unsent::Refused, out)?,
            None => self.push_key_row(key, &mut out.bytes)?,
        }
        out.bytes.extend_from_slice(b",\"after\":null");
        self.push_tail(&mut out.bytes, b'd', stamp);
        let value = key_at.end..out.bytes.len();
        out.push(Some(key_at.clone()), Some(value));
        self.push_common_header(stamp, out);
        if before.is_some() {
            push_header(out, BEFORE, |bytes| bytes.extend_from_slice(b"whole"));
        }
        if let Some(new_key) = new_key {
            let start = out.bytes.len();
            self.encode_key(new_key, &mut out.bytes)?;
            let value = start..out.bytes.len();
            out.push_header(NEW_KEY, value);
        }
        self.push_tombstone(key_at.clone(), mark, out);
        Ok(key_at)
    }

    fn push_tombstone(&self, key: Range<usize>, deletion: Mark, out: &mut Records) {
        out.push(Some(key), None);
        out.push_header_again(deletion);
        push_header(out, TOMBSTONE, |_| {});
    }

    /// The header that every record has, before all others.
    fn push_common_header(&self, stamp: &Stamp, out: &mut Records) {
        push_header(out, PLACE, |bytes| push_place(bytes, stamp, self.schema.version));
    }

    /// All columns of a row, as an object. Notes where those of the key stand, and which were not sent.
    fn push_row(&self, row: &Tuple, may_be_unsent: Unsent, out: &mut Records) -> Result<(), CodecError> {
        let Records { bytes, key_fields, unsent, .. } = out;
        key_fields.clear();
        unsent.clear();
        let mut values = row.values();
        for (at, column) in self.columns.iter().enumerate() {
            let value = values.next().ok_or_else(|| self.other_columns())?;
            bytes.push(if at == 0 { b'{' } else { b',' });
            let start = bytes.len();
            bytes.extend_from_slice(&column.name);
            match value {
                Value::Text(text) => {
                    self.push_text(bytes, at, &text)?;
                    if column.in_key {
                        key_fields.push(start..bytes.len());
                    }
                }
                Value::Null | Value::Unchanged if column.in_key => return Err(self.no_key(at)),
                Value::Null => bytes.extend_from_slice(b"null"),
                Value::Unchanged => {
                    if may_be_unsent == Unsent::Refused {
                        return Err(CodecError::Unsent {
                            table: self.schema.table.clone(),
                            column: self.name(at),
                        });
                    }
                    unsent.push(at as u16);
                    json::push_string(bytes, UNAVAILABLE.as_bytes());
                }
            }
        }
        bytes.push(b'}');
        match values.next() {
            None => Ok(()),
            Some(_) => Err(self.other_columns()),
        }
    }

    /// The key that [`TableCodec::push_row`] came by last.
    fn push_key_fields(&self, out: &mut Records) -> Range<usize> {
        let Records { bytes, key_fields, .. } = out;
        let start = bytes.len();
        for (at, field) in key_fields.iter().enumerate() {
            bytes.push(if at == 0 { b'{' } else { b',' });
            bytes.extend_from_within(field.clone());
        }
        bytes.push(b'}');
        start..bytes.len()
    }

    /// A row of which only the key is known, as an object.
    fn push_key_row(&self, key: &Key, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let mut texts = key.texts();
        for (at, column) in self.columns.iter().enumerate() {
            out.push(if at == 0 { b'{' } else { b',' });
            out.extend_from_slice(&column.name);
            match column.in_key {
                true => self.push_text(out, at, texts.next().ok_or_else(|| self.no_key(at))?)?,
                false => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn push_text(&self, out: &mut Vec<u8>, column: usize, text: &[u8]) -> Result<(), CodecError> {
        let ColumnCodec { kind, .. } = &self.columns[column];
        match (kind, text) {
            (Kind::Bool, b"t") => out.extend_from_slice(b"true"),
            (Kind::Bool, b"f") => out.extend_from_slice(b"false"),
            (Kind::Integer, _) if json::is_integer(text) => out.extend_from_slice(text),
            (Kind::Float, _) if json::is_number(text) => out.extend_from_slice(text),
            (Kind::Bool | Kind::Integer | Kind::Float | Kind::Text, _) => {
                if std::str::from_utf8(text).is_err() {
                    let (table, column) = (self.schema.table.clone(), self.name(column));
                    return Err(CodecError::NotUtf8 { table, column });
                }
                json::push_string(out, text);
            }
        }
        Ok(())
    }

    /// Everything after the rows: nothing of it is needed to take them in again, for which they stand before it.
    fn push_tail(&self, out: &mut Vec<u8>, op: u8, stamp: &Stamp) {
        let is_read = op == b'r';
        let at_us =
            if is_read { stamp.now_us } else { stamp.commit_time_us.saturating_add(POSTGRES_EPOCH_US) };
        out.extend_from_slice(&self.source.until_time);
        push_i64(out, at_us.div_euclid(1000));
        out.extend_from_slice(&self.source.until_sequence[usize::from(is_read)]);
        push_u64(out, stamp.previous_end.raw());
        out.extend_from_slice(b"\\\",\\\"");
        push_u64(out, stamp.commit.raw());
        out.extend_from_slice(&self.source.until_xid);
        match is_read {
            true => out.extend_from_slice(b"null"),
            false => push_u64(out, u64::from(stamp.xid)),
        }
        out.extend_from_slice(b",\"lsn\":");
        push_u64(out, stamp.commit.raw());
        out.extend_from_slice(b",\"xmin\":null},\"ts_ms\":");
        push_i64(out, stamp.now_us.div_euclid(1000));
        out.extend_from_slice(b",\"ts_us\":");
        push_i64(out, stamp.now_us);
        out.extend_from_slice(b",\"ts_ns\":");
        push_i64(out, stamp.now_us.saturating_mul(1000));
        out.extend_from_slice(b",\"transaction\":");
        if is_read {
            out.extend_from_slice(b"null}");
            return;
        }
        out.extend_from_slice(b"{\"id\":\"");
        push_u64(out, u64::from(stamp.xid));
        out.push(b':');
        push_u64(out, stamp.commit.raw());
        out.extend_from_slice(b"\",\"total_order\":");
        push_u64(out, stamp.ordinal.saturating_add(1));
        out.extend_from_slice(b",\"data_collection_order\":");
        push_u64(out, stamp.table_ordinal.saturating_add(1));
        out.extend_from_slice(b"}}");
    }

    fn name(&self, column: usize) -> String {
        self.schema.columns[column].name.clone()
    }

    #[cold]
    fn no_key(&self, column: usize) -> CodecError {
        CodecError::NoKey { table: self.schema.table.clone(), column: Some(self.name(column)) }
    }

    /// Names the first column of the key that a row lacks.
    #[cold]
    fn no_key_of(&self, row: &Tuple) -> CodecError {
        let lacks = |column: &&usize| !matches!(row.get(**column), Some(Value::Text(_)));
        self.key.iter().find(lacks).map_or_else(|| self.other_columns(), |column| self.no_key(*column))
    }

    #[cold]
    fn other_columns(&self) -> CodecError {
        CodecError::OtherColumns { table: self.schema.table.clone() }
    }
}

/// What a value begins with, up to the row before.
fn push_op(out: &mut Vec<u8>, op: u8) {
    out.extend_from_slice(b"{\"op\":\"");
    out.push(op);
    out.extend_from_slice(b"\",\"before\":");
}

/// Adds a header to the last record.
fn push_header(out: &mut Records, name: &'static str, push: impl FnOnce(&mut Vec<u8>)) {
    let start = out.bytes.len();
    push(&mut out.bytes);
    let value = start..out.bytes.len();
    out.push_header(name, value);
}
