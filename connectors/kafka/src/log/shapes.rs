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
    /// Adds what the topic holds. A version never changes its meaning, so what is known already stays.
    pub(crate) fn learn(&mut self, records: Vec<SchemaRecord>) {
        for record in records {
            self.records.entry((record.table.clone(), record.version)).or_insert(record);
        }
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
