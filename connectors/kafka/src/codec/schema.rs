//! The shape of a table in the log, by version.

use serde::{Deserialize, Serialize};
use understudy_model::{Column, Relation, RelationId, ReplicaIdentity, TableName};

use super::error::CodecError;
use super::wire::{self, Format, NameWire};

/// One shape of a table. Every row in the log names its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaRecord {
    /// The table.
    pub table: TableName,
    /// Object id of the table on blue: of the root, where it is partitioned.
    pub id: RelationId,
    /// Counts up from 1 with every other shape of a table of this name.
    pub version: u32,
    /// What blue's changes say of old rows.
    pub identity: ReplicaIdentity,
    /// All columns, in the order of the rows' tuples.
    pub columns: Vec<SchemaColumn>,
}

/// A column of a table in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaColumn {
    /// Its name.
    pub name: String,
    /// Object id of its type on blue.
    pub type_oid: u32,
    /// Modifier of its type, -1 for none.
    pub type_modifier: i32,
    /// Its type as SQL names it, if known.
    pub type_name: Option<String>,
    /// Whether it belongs to the replica identity.
    pub in_identity: bool,
    /// Whether it belongs to the key of the records.
    pub in_key: bool,
}

impl SchemaRecord {
    /// The shape that a relation has, with these columns as the key. Names of types are not known.
    pub fn of(relation: &Relation, version: u32, key: &[usize]) -> SchemaRecord {
        let column = |(at, column): (usize, &Column)| SchemaColumn {
            name: column.name.clone(),
            type_oid: column.type_oid,
            type_modifier: column.type_modifier,
            type_name: None,
            in_identity: column.in_identity,
            in_key: key.contains(&at),
        };
        SchemaRecord {
            table: relation.name.clone(),
            id: relation.id,
            version,
            identity: relation.identity,
            columns: relation.columns.iter().enumerate().map(column).collect(),
        }
    }

    /// The same as a relation.
    pub fn to_relation(&self) -> Relation {
        let column = |column: &SchemaColumn| Column {
            name: column.name.clone(),
            type_oid: column.type_oid,
            type_modifier: column.type_modifier,
            in_identity: column.in_identity,
        };
        Relation {
            id: self.id,
            name: self.table.clone(),
            identity: self.identity,
            columns: self.columns.iter().map(column).collect(),
        }
    }

    /// The columns of the key, ascending; the order of every key of the table.
    pub fn key_columns(&self) -> Vec<usize> {
        self.columns.iter().enumerate().filter(|(_, column)| column.in_key).map(|(at, _)| at).collect()
    }

    /// Whether it differs in nothing but its version, so that no new version is needed.
    pub fn is_like(&self, other: &SchemaRecord) -> bool {
        (&self.table, self.id, self.identity, &self.columns)
            == (&other.table, other.id, other.identity, &other.columns)
    }

    /// The key of its record: `<schema>.<table>/<version>`, with a name in double quotes where its letters would make that
    /// ambiguous.
    pub fn record_key(&self) -> Vec<u8> {
        let mut key = String::new();
        wire::push_table(&mut key, &self.table);
        format!("{key}/{}", self.version).into_bytes()
    }

    /// The value of its record.
    pub fn to_json(&self) -> Vec<u8> {
        wire::write(&SchemaWire {
            v: Format,
            table: (&self.table).into(),
            id: self.id.0,
            version: self.version,
            identity: self.identity.into(),
            columns: self.columns.iter().map(ColumnWire::from).collect(),
        })
    }

    /// Reads the value of a record.
    pub fn from_json(value: &[u8]) -> Result<SchemaRecord, CodecError> {
        let SchemaWire { v: Format, table, id, version, identity, columns } =
            wire::read("the shape of a table", value)?;
        Ok(SchemaRecord {
            table: table.into(),
            id: RelationId(id),
            version,
            identity: identity.into(),
            columns: columns.into_iter().map(SchemaColumn::from).collect(),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct SchemaWire {
    v: Format,
    table: NameWire,
    id: u32,
    version: u32,
    identity: IdentityWire,
    columns: Vec<ColumnWire>,
}

#[derive(Serialize, Deserialize)]
struct ColumnWire {
    name: String,
    type_oid: u32,
    type_modifier: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
    in_identity: bool,
    in_key: bool,
}

impl From<&SchemaColumn> for ColumnWire {
    fn from(column: &SchemaColumn) -> ColumnWire {
        let SchemaColumn { name, type_oid, type_modifier, type_name, in_identity, in_key } = column.clone();
        ColumnWire { name, type_oid, type_modifier, type_name, in_identity, in_key }
    }
}

impl From<ColumnWire> for SchemaColumn {
    fn from(column: ColumnWire) -> SchemaColumn {
        let ColumnWire { name, type_oid, type_modifier, type_name, in_identity, in_key } = column;
        SchemaColumn { name, type_oid, type_modifier, type_name, in_identity, in_key }
    }
}

/// A replica identity by name.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum IdentityWire {
    Default,
    Index,
    Full,
    Nothing,
}

impl From<ReplicaIdentity> for IdentityWire {
    fn from(identity: ReplicaIdentity) -> IdentityWire {
        match identity {
            ReplicaIdentity::Default => IdentityWire::Default,
            ReplicaIdentity::Index => IdentityWire::Index,
            ReplicaIdentity::Full => IdentityWire::Full,
            ReplicaIdentity::Nothing => IdentityWire::Nothing,
        }
    }
}

impl From<IdentityWire> for ReplicaIdentity {
    fn from(identity: IdentityWire) -> ReplicaIdentity {
        match identity {
            IdentityWire::Default => ReplicaIdentity::Default,
            IdentityWire::Index => ReplicaIdentity::Index,
            IdentityWire::Full => ReplicaIdentity::Full,
            IdentityWire::Nothing => ReplicaIdentity::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::wire::arbitrary;
    use super::*;

    fn identity() -> impl Strategy<Value = ReplicaIdentity> {
        prop::sample::select(vec![
            ReplicaIdentity::Default,
            ReplicaIdentity::Index,
            ReplicaIdentity::Full,
            ReplicaIdentity::Nothing,
        ])
    }

    prop_compose! {
        fn column()(
            name in arbitrary::text(),
            (type_oid, type_modifier) in any::<(u32, i32)>(),
            type_name in prop::option::of(arbitrary::text()),
            (in_identity, in_key) in any::<(bool, bool)>(),
        ) -> SchemaColumn {
            SchemaColumn { name, type_oid, type_modifier, type_name, in_identity, in_key }
        }
    }

    prop_compose! {
        fn schema()(
            table in arbitrary::table(),
            (id, version) in any::<(u32, u32)>(),
            identity in identity(),
            columns in prop::collection::vec(column(), 0..4),
        ) -> SchemaRecord {
            SchemaRecord { table, id: RelationId(id), version, identity, columns }
        }
    }

    proptest! {
        /// F32: rows of an older shape are read in that shape, so every shape comes back as it was, and as the relation
        /// that blue announced.
        #[test]
        fn shapes_come_back_as_they_were(schema in schema()) {
            prop_assert_eq!(SchemaRecord::from_json(&schema.to_json()), Ok(schema.clone()));
            let mut unnamed = schema.clone();
            unnamed.columns.iter_mut().for_each(|column| column.type_name = None);
            prop_assert_eq!(SchemaRecord::of(&schema.to_relation(), schema.version, &schema.key_columns()), unnamed);
        }

        /// Guards that compaction never drops a shape because another table has the same key.
        #[test]
        fn keys_of_shapes_are_told_apart(one in schema(), other in schema()) {
            let same = (&one.table, one.version) == (&other.table, other.version);
            prop_assert_eq!(one.record_key() == other.record_key(), same);
        }
    }

    /// Guards that keys are what a reader of the topic looks for.
    #[test]
    fn keys_of_shapes_are_readable() {
        let key = |schema: &str, name: &str| {
            let (table, identity) = (TableName::new(schema, name), ReplicaIdentity::Default);
            let record = SchemaRecord { table, id: RelationId(1), version: 3, identity, columns: Vec::new() };
            String::from_utf8(record.record_key()).unwrap()
        };
        assert_eq!(key("public", "orders"), "public.orders/3");
        assert_eq!(key("a.b", "c"), r#""a.b".c/3"#);
        assert_eq!(key("a", "b.c"), r#"a."b.c"/3"#);
    }
}
