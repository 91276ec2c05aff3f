//! Rows as records: JSON as consumers of Debezium expect it, with headers of our own that keep every value exact.

mod decode;
mod encode;

mod headers;
mod join;
mod json;
mod records;
mod written;

#[cfg(test)]
mod tests;

pub use headers::{DataHeaders, RecordOrder};
pub(crate) use headers::{PLACE, TOMBSTONE, placed_in_group};
pub use join::{Joiner, RowEvent};
pub use records::{DataRecord, Records};

use std::collections::HashMap;

use understudy_model::Lsn;

use super::error::CodecError;
use super::schema::{SchemaColumn, SchemaRecord};

/// What stands in place of a value that blue did not send. A text of the same letters is told apart by a header.
pub const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// Where a change belongs and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Address of the commit record; for rows of a chunk, the checkpoint at which they belong.
    pub commit: Lsn,
    /// Where the transaction before ended.
    pub previous_end: Lsn,
    /// Zero-based place of the change in its transaction, or of the row in its chunk.
    pub ordinal: u64,
    /// The same among the changes of this table.
    pub table_ordinal: u64,
    /// How many changes the transaction has; 0 when not known yet.
    pub tx_size: u64,
    /// Top-level transaction id.
    pub xid: u32,
    /// Commit time on blue, microseconds since 2000-01-01 UTC.
    pub commit_time_us: i64,
    /// When it is written, microseconds since 1970-01-01 UTC.
    pub now_us: i64,
    /// The group that it is written with.
    pub group: u64,
}

/// Writes and reads the records of one table in one shape.
#[derive(Debug)]
pub struct TableCodec {
    schema: SchemaRecord,
    columns: Vec<ColumnCodec>,
    /// The columns of the key, ascending.
    key: Vec<usize>,
    /// Where each column stands.
    places: HashMap<String, usize>,
    /// What of `source` never varies, in pieces.
    source: SourcePieces,
}

/// How the values of a column are written.
#[derive(Debug)]
struct ColumnCodec {
    /// The name as JSON, and a colon.
    name: Vec<u8>,
    kind: Kind,
    in_key: bool,
}

/// How a value is written, where its text allows it; otherwise as a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `true` and `false`.
    Bool,
    /// A whole number.
    Integer,
    /// A number.
    Float,
    /// A string.
    Text,
}

/// The pieces of `source` between what varies.
#[derive(Debug)]
struct SourcePieces {
    until_time: Vec<u8>,
    /// From there until the addresses, for a change and for a row of a chunk.
    until_sequence: [Vec<u8>; 2],
    until_xid: Vec<u8>,
}

impl TableCodec {
    /// For a table in this shape; `prefix` is that of the topics, `database` blue's.
    pub fn new(schema: &SchemaRecord, prefix: &str, database: &str) -> Result<TableCodec, CodecError> {
        let key = schema.key_columns();
        if key.is_empty() {
            return Err(CodecError::NoKey { table: schema.table.clone(), column: None });
        }
        let places = schema.columns.iter().enumerate().map(|(at, column)| (column.name.clone(), at));
        Ok(TableCodec {
            columns: schema.columns.iter().map(ColumnCodec::new).collect(),
            key,
            places: places.collect(),
            source: SourcePieces::new(schema, prefix, database),
            schema: schema.clone(),
        })
    }

    /// What the text of a key depends on beside the values in it.
    pub(crate) fn key_form(&self) -> String {
        let kind = |kind| match kind {
            Kind::Bool => 'b',
            Kind::Integer => 'i',
            Kind::Float => 'f',
            Kind::Text => 't',
        };
        let columns = self.key.iter().map(|at| &self.columns[*at]);
        columns
            .map(|column| format!("{}{},", String::from_utf8_lossy(&column.name), kind(column.kind)))
            .collect()
    }

    /// The shape.
    pub fn schema(&self) -> &SchemaRecord {
        &self.schema
    }
}

impl ColumnCodec {
    fn new(column: &SchemaColumn) -> ColumnCodec {
        let mut name = Vec::new();
        json::push_string(&mut name, column.name.as_bytes());
        name.push(b':');
        let kind = match column.type_oid {
            16 => Kind::Bool,
            20 | 21 | 23 => Kind::Integer,
            700 | 701 => Kind::Float,
            _ => Kind::Text,
        };
        ColumnCodec { name, kind, in_key: column.in_key }
    }
}

impl SourcePieces {
    fn new(schema: &SchemaRecord, prefix: &str, database: &str) -> SourcePieces {
        let piece = |parts: &[&str]| {
            // Every other part is text to be quoted.
            let mut piece = Vec::new();
            for (at, part) in parts.iter().enumerate() {
                match at % 2 {
                    0 => piece.extend_from_slice(part.as_bytes()),
                    _ => json::push_string(&mut piece, part.as_bytes()),
                }
            }
            piece
        };
        let version = env!("CARGO_PKG_VERSION");
        let until_sequence =
            |snapshot| piece(&[",\"snapshot\":", snapshot, ",\"db\":", database, ",\"sequence\":\"[\\\""]);
        SourcePieces {
            until_time: piece(&[
                ",\"source\":{\"version\":",
                version,
                ",\"connector\":\"postgresql\",\"name\":",
                prefix,
                ",\"ts_ms\":",
            ]),
            until_sequence: [until_sequence("false"), until_sequence("incremental")],
            until_xid: piece(&[
                "\\\"]\",\"schema\":",
                &schema.table.schema,
                ",\"table\":",
                &schema.table.name,
                ",\"txId\":",
            ]),
        }
    }
}
