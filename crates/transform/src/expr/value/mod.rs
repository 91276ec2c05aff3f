//! Values that have no form of their own in the language: numbers of any size, spans of time, JSON, arrays, addresses.

mod array;
mod inet;
mod interval;
mod json;
mod numeric;

pub use array::Array;
pub(crate) use array::{DIMENSIONS_MAX, Dimension};
pub use inet::Inet;
pub use interval::Interval;
pub use json::Json;
pub(crate) use json::{Escapes, RawJson, RawKind, write_string};
pub use numeric::Numeric;
pub(crate) use numeric::{INVALID_POWER, Rounding, division_by_zero, negative_root};
