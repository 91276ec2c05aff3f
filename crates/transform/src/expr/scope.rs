//! What an expression can name: the columns of one table of blue, its types, and what its collations do.

use std::collections::HashMap;

use understudy_model::TableName;

use super::functions::CaseRule;
use super::mask::MaskKey;
use super::types::{Modifier, NamedType, SqlType};

/// The names that an expression may use.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The table whose rows are transformed.
    pub table: TableName,
    /// Its columns in the order in which rows arrive.
    pub columns: Vec<ScopeColumn>,
    /// Enums and domains of the database, by schema and name.
    pub types: HashMap<NamedType, SqlType>,
    /// The collation of the database.
    pub collation: Collation,
    /// The key of `mask`; `None` where none is configured.
    pub mask_key: Option<MaskKey>,
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: SqlType,
    /// What stands in brackets behind the type.
    pub modifier: Modifier,
    /// Its collation; `None` when its type has none.
    pub collation: Option<Collation>,
}

/// What an expression has to know of a collation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collation {
    /// Its name as SQL writes it.
    pub name: String,
    /// Whether it is that of the database, which a column has without choosing one.
    pub is_default: bool,
    /// Whether texts sort by their bytes.
    pub sorts_by_bytes: bool,
    /// Whether equal means the same bytes.
    pub is_deterministic: bool,
    /// How it changes the case of letters; `None` when that is known to the server only.
    pub case: Option<CaseRule>,
}

impl Collation {
    /// The collation `"C"`.
    pub fn bytes() -> Collation {
        Collation {
            name: "\"C\"".to_owned(),
            is_default: false,
            sorts_by_bytes: true,
            is_deterministic: true,
            case: Some(CaseRule::Ascii),
        }
    }
}

impl Scope {
    /// The place of a column.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// A type by the name that an expression gives it. Without a schema the built-in ones come first, then one of that name
    /// in the table's own schema, then one in `public`.
    pub(crate) fn named_type(&self, schema: Option<&str>, name: &str) -> Option<SqlType> {
        let known = |schema: &str| {
            self.types.get(&NamedType { schema: Some(schema.to_owned()), name: name.to_owned() }).cloned()
        };
        match schema {
            Some("pg_catalog") => SqlType::builtin(name),
            Some(schema) => known(schema),
            None => SqlType::builtin(name).or_else(|| known(&self.table.schema)).or_else(|| known("public")),
        }
    }

    /// The schema of an enum or domain that is named without one; `None` for built-in types and unknown names.
    pub(crate) fn schema_of_type(&self, name: &str) -> Option<&str> {
        let known = |schema: &&str| {
            self.types.contains_key(&NamedType { schema: Some((*schema).to_owned()), name: name.to_owned() })
        };
        let own = SqlType::builtin(name).is_none().then_some([self.table.schema.as_str(), "public"]);
        own.into_iter().flatten().find(known)
    }
}
