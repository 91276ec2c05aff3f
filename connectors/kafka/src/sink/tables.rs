//! The tables that a capture follows, as it writes them.

use understudy_contract::{Class, Failure};
use understudy_model::{Relation, RelationId, RouteId, TableName};

use crate::codec::{SchemaRecord, TableCodec};

/// A table that is captured as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedTable {
    /// Its route.
    pub route: RouteId,
    /// The table on blue: the root, where it is partitioned. Its columns are those of the route's tuples, in order.
    pub relation: Relation,
    /// Which of the columns form the key, ascending; the order of every key of the route.
    pub key: Vec<usize>,
    /// Digest of what is captured, recorded so that a change is noticed.
    pub fingerprint: String,
}

/// A table, with what writes its rows.
pub(super) struct Table {
    pub(super) route: RouteId,
    pub(super) name: TableName,
    pub(super) id: RelationId,
    pub(super) key: Vec<usize>,
    pub(super) fingerprint: String,
    pub(super) relation: Relation,
    pub(super) codec: TableCodec,
    /// The version of its shape.
    pub(super) version: u32,
    /// Whether readers have yet to be told of that shape.
    pub(super) is_new: bool,
}

/// All tables, in the order of their routes.
pub(super) struct Tables {
    tables: Vec<Table>,
    pub(super) partitions: u32,
}

impl Tables {
    pub(super) fn new(tables: Vec<Table>, partitions: u16) -> Tables {
        Tables { tables, partitions: u32::from(partitions) }
    }

    pub(super) fn len(&self) -> usize {
        self.tables.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter()
    }

    /// The table at a place.
    pub(super) fn at(&self, place: usize) -> Result<&Table, Failure> {
        self.tables.get(place).ok_or_else(unknown_route)
    }

    /// The table of a route, and its place.
    pub(super) fn of(&self, route: RouteId) -> Result<(usize, &Table), Failure> {
        let place = route.index();
        let table = self.at(place)?;
        if table.route == route { Ok((place, table)) } else { Err(unknown_route()) }
    }

    /// The shapes of those of these tables that readers have yet to be told of. From here on they are known.
    pub(super) fn announce(&mut self, places: impl IntoIterator<Item = usize>) -> Vec<SchemaRecord> {
        let mut shapes = Vec::new();
        for place in places {
            if let Some(table) = self.tables.get_mut(place)
                && std::mem::take(&mut table.is_new)
            {
                shapes.push(table.codec.schema().clone());
            }
        }
        shapes
    }
}

fn unknown_route() -> Failure {
    Failure::new(Class::Internal, "a change belongs to no captured table")
}
