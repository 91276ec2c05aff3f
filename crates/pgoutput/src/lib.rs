//! Bytes to replication messages: the CopyBoth frames of a logical walsender and pgoutput protocol 1 in text form.
//!
//! Pure and zero-copy: tuples are slices of the bytes given. No input makes it panic; what it does not understand is an
//! error, never a guess.

mod error;
mod frame;
mod message;

mod reader;

pub use error::DecodeError;
pub use frame::{Frame, STATUS_BYTES, StatusUpdate, decode_frame};
pub use message::{Message, decode};
