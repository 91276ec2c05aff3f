//! Tables as blue describes them, and the names by which we refer to them.

use std::fmt;

/// A schema-qualified table name, unquoted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Schema, as the catalog stores it.
    pub schema: String,
    /// Table, as the catalog stores it.
    pub name: String,
}

impl TableName {
    /// A name from its two parts.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> TableName {
        TableName { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// The object id of a table on blue, as relation messages carry it. Leaf partitions have their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationId(pub u32);

/// The number of a route (one blue table into one green table) within its migration, counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u16);

impl RouteId {
    /// The route's place in the migration's list.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an UPDATE or DELETE on blue says of the old row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// The columns of a chosen unique index.
    Index,
    /// The whole old row.
    Full,
    /// Nothing: such changes cannot be published.
    Nothing,
}

/// One column of a relation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// Column name, as the catalog stores it.
    pub name: String,
    /// Object id of the type on blue.
    pub type_oid: u32,
    /// Type modifier, -1 for none.
    pub type_modifier: i32,
    /// Whether the column belongs to the replica identity.
    pub in_identity: bool,
}

/// A table as the stream announces it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relation {
    /// Object id on blue; of the leaf for a partitioned table.
    pub id: RelationId,
    /// Name at the time of the change.
    pub name: TableName,
    /// Replica identity at the time of the change.
    pub identity: ReplicaIdentity,
    /// Published columns in order.
    pub columns: Vec<Column>,
}
