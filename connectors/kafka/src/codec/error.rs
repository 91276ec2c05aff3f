//! Why bytes of a topic make no sense, or a row cannot be written as such bytes. Never holds a value.

use std::fmt;

use understudy_contract::{Class, Failure};
use understudy_model::TableName;

/// Why a record cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodecError {
    /// A column of the key has no value in a row that is to be written, or in one that was read.
    NoKey {
        /// The table.
        table: TableName,
        /// The column; `None` when the table has no key at all.
        column: Option<String>,
    },
    /// A row to be written has not the columns that the table has.
    OtherColumns {
        /// The table.
        table: TableName,
    },
    /// A value is unsent in a row that is to be written whole.
    Unsent {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A value to be written is not UTF-8.
    NotUtf8 {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A record of a table is not well-formed JSON.
    NotJson {
        /// The table.
        table: TableName,
        /// Key or value.
        part: &'static str,
        /// How many bytes into it.
        at: usize,
    },
    /// A record of a table lacks a field or column.
    Missing {
        /// The table.
        table: TableName,
        /// The field or column.
        field: String,
    },
    /// A field or column is not of the type that it must have, or occurs twice.
    WrongType {
        /// The table.
        table: TableName,
        /// The field or column.
        field: String,
    },
    /// The operation of a record is none of those known, or not one that such a record can have.
    WrongOperation {
        /// The table.
        table: TableName,
    },
    /// A header is missing or makes no sense.
    Header {
        /// Its name.
        name: &'static str,
    },
    /// Half of an update that changes a key stands in the log without the other.
    HalfUpdate {
        /// The table.
        table: TableName,
    },
    /// A record of our own bookkeeping makes no sense.
    Record {
        /// Which kind: "a group record".
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A record of our own bookkeeping was written by a later release than this one.
    Later {
        /// Which kind: "a group record".
        what: &'static str,
        /// What this release does not know of it.
        reason: String,
    },
    /// A record of our own bookkeeping would be larger than a broker takes.
    TooLarge {
        /// Which kind: "a group record".
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::NoKey { table, column: Some(column) } => {
                write!(f, "a row of {table} has no value in column `{column}` of its key")
            }
            CodecError::NoKey { table, column: None } => write!(f, "{table} has no key"),
            CodecError::OtherColumns { table } => {
                write!(f, "a row of {table} has other columns than the table")
            }
            CodecError::Unsent { table, column } => {
                write!(f, "column `{column}` of a row of {table} that must be whole was not sent")
            }
            CodecError::NotUtf8 { table, column } => {
                write!(f, "column `{column}` of a row of {table} is not UTF-8")
            }
            CodecError::NotJson { table, part, at } => {
                write!(f, "the {part} of a record of {table} is not well-formed JSON after {at} bytes")
            }
            CodecError::Missing { table, field } => write!(f, "a record of {table} lacks `{field}`"),
            CodecError::WrongType { table, field } => {
                write!(f, "`{field}` of a record of {table} is of another type, or occurs twice")
            }
            CodecError::WrongOperation { table } => {
                write!(f, "a record of {table} has an operation that is not known")
            }
            CodecError::Header { name } => {
                write!(f, "the header `{name}` of a record is missing or malformed")
            }
            CodecError::HalfUpdate { table } => {
                write!(f, "half of an update of {table} that changes a key is missing in the log")
            }
            CodecError::Record { what, reason } => write!(f, "{what} cannot be read: {reason}"),
            CodecError::Later { what, reason } => write!(f, "{what} is of a later release: {reason}"),
            CodecError::TooLarge { what, bytes, bytes_max } => {
                write!(f, "{what} of {bytes} bytes is larger than {bytes_max}")
            }
        }
    }
}

impl std::error::Error for CodecError {}

/// What to do about records of a later release: they are in order, and so is the migration.
pub(crate) const RUN_LATER: &str = "run the release that has written it, or a later one: this part of the sidecar has to be updated first, and nothing is lost";

impl From<CodecError> for Failure {
    fn from(error: CodecError) -> Failure {
        let (class, remedy) = match &error {
            CodecError::NoKey { .. } => {
                (Class::Data, "every row that goes through the log needs a key: give its table a primary key")
            }
            CodecError::NotUtf8 { .. } => {
                (Class::Data, "correct the value on blue: what goes through the log must be UTF-8")
            }
            CodecError::OtherColumns { .. } | CodecError::Unsent { .. } | CodecError::TooLarge { .. } => {
                (Class::Internal, "this is a defect of Understudy: report it")
            }
            CodecError::Later { .. } => (Class::Configuration, RUN_LATER),
            CodecError::NotJson { .. }
            | CodecError::Missing { .. }
            | CodecError::WrongType { .. }
            | CodecError::WrongOperation { .. }
            | CodecError::Header { .. }
            | CodecError::HalfUpdate { .. }
            | CodecError::Record { .. } => (
                Class::Diverged,
                "nothing but Understudy may write to the topics of a migration: find out who else did, then start \
                 again with topics of another prefix",
            ),
        };
        Failure::new(class, error.to_string()).remedy(remedy).caused_by(error)
    }
}
