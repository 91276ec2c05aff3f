//! The shapes of the tables in the log, by version.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use understudy_model::{Relation, TableName};

use crate::codec::{CodecError, SchemaRecord, TableCodec};

/// One shape of a table, ready to read rows with.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) version: u32,
    pub(crate) relation: Arc<Relation>,
    pub(crate) codec: TableCodec,
}

/// Every shape that the schema topic was seen to hold.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    records: FxHashMap<(TableName, u32), SchemaRecord>,
    ready: FxHashMap<(TableName, u32), Arc<Shape>>,
}

impl Shapes {
    /// Adds what the topic holds. A version never changes its meaning: gives the first that has.
    pub(crate) fn learn(&mut self, records: Vec<SchemaRecord>) -> Result<(), (TableName, u32)> {
        for record in records {
            let at = (record.table.clone(), record.version);
            match self.records.get(&at) {
                Some(known) if *known != record => return Err(at),
                Some(_) => {}
                None => drop(self.records.insert(at, record)),
            }
        }
        Ok(())
    }

    /// Whether a version of a table's shape is known.
    pub(crate) fn knows(&self, table: &TableName, version: u32) -> bool {
        self.records.contains_key(&(table.clone(), version))
    }

    /// A version of a table's shape. `None`: it is not known.
    pub(crate) fn get(&mut self, table: &TableName, version: u32) -> Result<Option<Arc<Shape>>, CodecError> {
        let key = (table.clone(), version);
        if let Some(shape) = self.ready.get(&key) {
            return Ok(Some(Arc::clone(shape)));
        }
        let Some(record) = self.records.get(&key) else { return Ok(None) };
        // Prefix and database only matter to who writes.
        let codec = TableCodec::new(record, "", "")?;
        let shape = Arc::new(Shape { version, relation: Arc::new(record.to_relation()), codec });
        self.ready.insert(key, Arc::clone(&shape));
        Ok(Some(shape))
    }
}

#[cfg(test)]
mod tests {
    use understudy_model::{RelationId, ReplicaIdentity};

    use super::*;
    use crate::codec::SchemaColumn;

    fn shape(version: u32, column: &str) -> SchemaRecord {
        let column = SchemaColumn {
            name: column.to_owned(),
            type_oid: 25,
            type_modifier: -1,
            type_name: None,
            in_identity: true,
            in_key: true,
        };
        let (table, identity) = (TableName::new("public", "t"), ReplicaIdentity::Default);
        SchemaRecord { table, id: RelationId(7), version, identity, columns: vec![column] }
    }

    /// Guards that rows are never read in a shape of another migration, whose log had the same name.
    #[test]
    fn a_version_has_one_meaning() {
        let mut shapes = Shapes::default();
        assert_eq!(shapes.learn(vec![shape(1, "a"), shape(2, "b")]), Ok(()));
        assert_eq!(shapes.learn(vec![shape(1, "a"), shape(3, "b")]), Ok(()));
        assert_eq!(shapes.learn(vec![shape(2, "c")]), Err((TableName::new("public", "t"), 2)));
    }
}
