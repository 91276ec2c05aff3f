//! What replication itself makes of a row of blue, for comparison with what blue computes and green holds.

use std::collections::HashMap;

use understudy_contract::{ChunkOutcome, ChunkReader, ChunkRequest, ChunkScope, Class, Failure};
use understudy_model::{ChunkId, Key, RouteId, Tuple, UnitId, Value};
use understudy_postgres::source::chunk_reader::PostgresChunkReader;
use understudy_transform::{Binding, Mapped, RouteSpec};

use crate::faults::TestFaults;

/// One row is as large as it is.
const BYTES_MAX: usize = 64 << 20;

/// Reads rows of blue as replication does, and maps them as replication does.
pub(super) struct Evaluator {
    reader: PostgresChunkReader,
    faults: TestFaults,
    routes: HashMap<RouteId, Mapping>,
}

struct Mapping {
    spec: RouteSpec,
    binding: Binding,
    /// Object id of the table on blue.
    table: u32,
}

impl Evaluator {
    /// Routes with the object ids of their tables on blue.
    pub(super) fn new(
        reader: PostgresChunkReader,
        routes: impl IntoIterator<Item = (RouteSpec, u32)>,
        faults: TestFaults,
    ) -> Result<Evaluator, Failure> {
        let mapping = |(spec, table): (RouteSpec, u32)| {
            let binding = spec
                .bind_chunk()
                .map_err(|mismatch| Failure::new(Class::SchemaChange, mismatch.to_string()))?;
            Ok((spec.id, Mapping { spec, binding, table }))
        };
        let routes = routes.into_iter().map(mapping).collect::<Result<_, Failure>>()?;
        Ok(Evaluator { reader, faults, routes })
    }

    /// The values of green's columns for the row of blue with this key; `None` where there is none, or none for green.
    pub(super) async fn evaluated(
        &mut self,
        route: RouteId,
        key: &Key,
    ) -> Result<Option<Vec<Option<Box<str>>>>, Failure> {
        let Some(mapping) = self.routes.get(&route) else { return Ok(None) };
        let request = ChunkRequest {
            id: ChunkId(0),
            unit: UnitId::new(mapping.table, route),
            columns: mapping.spec.source_columns(),
            types: mapping.spec.source_types.clone(),
            scope: ChunkScope::Keys { columns: mapping.spec.key_source.clone(), keys: vec![key.clone()] },
            bytes_max: BYTES_MAX,
        };
        let ChunkOutcome::Read(read) = self.reader.read(&request).await? else { return Ok(None) };
        let Some(row) = read.rows.first() else { return Ok(None) };
        match mapping.binding.up(row) {
            Ok(Mapped::Row(row)) => Ok(Some(texts(&self.faults.evaluated(&mapping.spec, row)))),
            Ok(Mapped::Unknown) | Err(_) => Ok(None),
        }
    }
}

fn texts(row: &Tuple) -> Vec<Option<Box<str>>> {
    let text = |value: Value<'_>| match value {
        Value::Text(text) => Some(String::from_utf8_lossy(&text).into()),
        Value::Null | Value::Unchanged => None,
    };
    row.values().map(text).collect()
}
