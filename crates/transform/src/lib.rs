//! Mappings: which green columns a row of blue fills, compiled once and applied to rows in the text that blue sent.

pub mod expr;

mod route;

mod binding;

pub use route::{BlueTable, ColumnSource, MappingError, Requested, RouteColumn, RouteSpec, map_columns};

pub use binding::{BindError, Binding, fill_unchanged};
