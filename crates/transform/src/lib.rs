//! Mappings: which green columns a row of blue fills, compiled once and applied to rows in the text that blue sent.

pub mod expr;

mod route;

mod columns;

mod binding;

mod inverse;

mod merge;

mod query;

mod template;

pub use columns::{condition, map_columns};

pub use route::{
    BlueTable, ColumnSource, Computed, GreenColumn, GreenShape, Mapping, MappingError, Requested,
    RouteColumn, RouteSpec, Stored,
};

pub use binding::{BindError, Binding, Mapped, fill_unchanged};

pub use inverse::{Inverse, Lossless, Return, ReturnKind};

pub use merge::{Clash, told_apart};

pub use template::{Prefix, Template};
