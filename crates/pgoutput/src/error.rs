//! Why bytes are not a message.

use thiserror::Error;

/// Why bytes are not a message. Holds no row value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The message ends before its content does, or a text in it has no end.
    #[error("{what} is cut short")]
    Short {
        /// What was being read.
        what: &'static str,
    },
    /// The message goes on after its content.
    #[error("{what} has {bytes} bytes too many")]
    Long {
        /// What was being read.
        what: &'static str,
        /// How many.
        bytes: usize,
    },
    /// A byte that stands for a kind of thing stands for none that is known.
    #[error("{what} has the unknown kind {kind:#04x}")]
    Kind {
        /// What was being read.
        what: &'static str,
        /// The byte.
        kind: u8,
    },
    /// A name or prefix is not UTF-8 although the session asked for it.
    #[error("{what} is not UTF-8")]
    Text {
        /// What was being read.
        what: &'static str,
    },
    /// A tuple is malformed.
    #[error("a row has malformed columns")]
    Tuple,
    /// A column came in binary form although text was asked for.
    #[error("column {column} of a row came in binary form although text was asked for")]
    Binary {
        /// Its place, counted from one.
        column: usize,
    },
    /// A message of a protocol version that was not asked for.
    #[error("message `{tag}` belongs to a protocol version that was not asked for")]
    Version {
        /// Its tag.
        tag: char,
    },
}
