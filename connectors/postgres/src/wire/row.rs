//! Result rows in text form.

use std::ops::Range;
use std::str::FromStr;

use bytes::Bytes;
use understudy_contract::{Class, Failure};

use super::message::take_u32;
use crate::error::protocol;

/// One row of a result. Its `Debug` never shows values.
pub struct Row {
    text: String,
    columns: Box<[Option<Range<usize>>]>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({} columns)", self.columns.len())
    }
}

impl Row {
    pub(super) fn from_body(body: &Bytes) -> Result<Row, Failure> {
        parse(body).ok_or_else(|| protocol("a malformed row, or one that is not UTF-8"))
    }

    /// How many columns it has.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether it has no column at all.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The text of a column. `None` for null, and beyond the last column.
    pub fn text(&self, column: usize) -> Option<&str> {
        let range = self.columns.get(column)?.clone()?;
        self.text.get(range)
    }

    /// The text of a column that is never null.
    pub fn required(&self, column: usize) -> Result<&str, Failure> {
        self.text(column).ok_or_else(|| unexpected(column, "is null"))
    }

    /// The value of a column that is never null.
    pub fn parse<T: FromStr>(&self, column: usize) -> Result<T, Failure> {
        self.required(column)?.parse().map_err(|_| unexpected(column, "has an unexpected form"))
    }

    /// The value of a column.
    pub fn optional<T: FromStr>(&self, column: usize) -> Result<Option<T>, Failure> {
        let parse = |text: &str| text.parse().map_err(|_| unexpected(column, "has an unexpected form"));
        self.text(column).map(parse).transpose()
    }

    /// Whether a boolean column is true. Null is false.
    pub fn is_true(&self, column: usize) -> bool {
        self.text(column) == Some("t")
    }
}

fn unexpected(column: usize, what: &str) -> Failure {
    Failure::new(Class::Internal, format!("column {} of a catalog row {what}", column + 1))
}

fn parse(body: &[u8]) -> Option<Row> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut columns = Vec::with_capacity(u16::from_be_bytes(*count).into());
    let mut text = String::with_capacity(rest.len());
    for _ in 0..u16::from_be_bytes(*count) {
        let len = take_u32(&mut rest)?;
        if len == u32::MAX {
            columns.push(None);
            continue;
        }
        let (value, after) = rest.split_at_checked(len as usize)?;
        rest = after;
        let start = text.len();
        text.push_str(std::str::from_utf8(value).ok()?);
        columns.push(Some(start..text.len()));
    }
    Some(Row { text, columns: columns.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tell_null_from_empty_and_refuse_garbage() {
        let body = Bytes::from_static(b"\0\x04\0\0\0\x0242\xff\xff\xff\xff\0\0\0\0\0\0\0\x01t");
        let row = Row::from_body(&body).unwrap();
        assert_eq!(
            (row.len(), row.parse::<u32>(0).unwrap(), row.text(1), row.text(2)),
            (4, 42, None, Some(""))
        );
        assert!(row.is_true(3) && !row.is_true(1) && row.required(1).is_err() && row.parse::<u8>(3).is_err());
        assert_eq!(row.optional::<u32>(1).unwrap(), None);
        for cut in 0..body.len() {
            assert!(Row::from_body(&body.slice(..cut)).is_err());
        }
    }
}
