//! The tables that a capture follows, as it writes them.

use understudy_contract::{Class, Failure, RawNotes};
use understudy_model::{Column, Key, Relation, RelationId, RouteId, TableName};

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

impl CapturedTable {
    /// Whether a row of the table can have such a key: as many parts, and whole numbers where the columns hold nothing else.
    pub fn has_key_like(&self, key: &Key) -> bool {
        let columns = self.key.iter().map(|at| self.relation.columns.get(*at));
        let fits = |(column, part): (Option<&Column>, &[u8])| {
            let text = std::str::from_utf8(part);
            match (column.map(|column| column.type_oid), text) {
                (_, Err(_)) => false,
                (Some(21), Ok(text)) => text.parse::<i16>().is_ok(),
                (Some(23), Ok(text)) => text.parse::<i32>().is_ok(),
                (Some(20), Ok(text)) => text.parse::<i64>().is_ok(),
                (Some(2950), Ok(text)) => {
                    text.len() == 36 && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
                }
                (_, Ok(_)) => true,
            }
        };
        key.texts().count() == self.key.len() && columns.zip(key.texts()).all(fits)
    }
}

/// A table, with what writes its rows.
pub(super) struct Table {
    pub(super) route: RouteId,
    pub(super) name: TableName,
    pub(super) id: RelationId,
    pub(super) key: Vec<usize>,
    pub(super) fingerprint: String,
    pub(super) relation: Relation,
    /// Every shape of it that is known, by version.
    shapes: Vec<Shape>,
    /// Which of them changes come in, and which one it has on blue, so that rows of chunks have it.
    streamed: usize,
    read: usize,
}

/// A shape of a table, with what writes rows in it.
struct Shape {
    codec: TableCodec,
    /// Whether readers have yet to be told of it.
    is_new: bool,
}

/// From a change of a batch on, those of a table come in another shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) change: usize,
    pub(super) place: usize,
    pub(super) shape: usize,
}

impl Table {
    /// A table in the shape that it has on blue now. `known` are those that readers know; `last` is the version of the newest
    /// that they were told of.
    pub(super) fn new(
        captured: &CapturedTable,
        (known, last): (Vec<SchemaRecord>, u32),
        (prefix, database): (&str, &str),
    ) -> Result<Table, Failure> {
        let mut known = known;
        known.sort_by_key(|shape| shape.version);
        let shape = |schema: &SchemaRecord| {
            Ok(Shape { codec: TableCodec::new(schema, prefix, database)?, is_new: false })
        };
        let mut table = Table {
            route: captured.route,
            name: captured.relation.name.clone(),
            id: captured.relation.id,
            key: captured.key.clone(),
            fingerprint: captured.fingerprint.clone(),
            relation: captured.relation.clone(),
            shapes: known.iter().map(shape).collect::<Result<_, Failure>>()?,
            streamed: 0,
            read: 0,
        };
        let now = SchemaRecord::of(&captured.relation, last + 1, &captured.key);
        table.read = table.shape_like(now, (prefix, database))?;
        table.streamed = table.read;
        Ok(table)
    }

    /// The shape that rows of chunks have.
    pub(super) fn read(&self) -> &TableCodec {
        &self.shapes[self.read].codec
    }

    /// The shape that changes come in, unless they have come in another one since.
    pub(super) fn streamed(&self, switched: Option<usize>) -> &TableCodec {
        &self.shapes[switched.unwrap_or(self.streamed)].codec
    }

    /// The newest shape like this one, or this one from now on.
    fn shape_like(&mut self, wanted: SchemaRecord, names: (&str, &str)) -> Result<usize, Failure> {
        let newest = self.shapes.last().map_or(0, |shape| shape.codec.schema().version);
        let wanted = SchemaRecord { version: wanted.version.max(newest + 1), ..wanted };
        if let Some(known) = self.shapes.iter().rposition(|shape| shape.codec.schema().is_like(&wanted)) {
            return Ok(known);
        }
        self.shapes.push(Shape { codec: TableCodec::new(&wanted, names.0, names.1)?, is_new: true });
        Ok(self.shapes.len() - 1)
    }
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

    /// Where the changes of a batch come with other types than before.
    pub(super) fn switches(
        &mut self,
        notes: Option<&RawNotes>,
        names: (&str, &str),
    ) -> Result<Vec<Switch>, Failure> {
        let mut switches = Vec::new();
        for from in notes.iter().flat_map(|notes| &notes.types) {
            let (place, table) = self.of(from.route)?;
            let mut relation = table.relation.clone();
            for (column, (oid, modifier)) in relation.columns.iter_mut().zip(&from.types) {
                (column.type_oid, column.type_modifier) = (*oid, *modifier);
            }
            let wanted = SchemaRecord::of(&relation, 1, &table.key);
            let shape = self.tables[place].shape_like(wanted, names)?;
            switches.push(Switch { change: from.change, place, shape });
        }
        Ok(switches)
    }

    /// Changes come in these shapes from now on.
    pub(super) fn switch(&mut self, switches: &[Switch]) {
        for switch in switches {
            if let Some(table) = self.tables.get_mut(switch.place) {
                table.streamed = switch.shape;
            }
        }
    }

    /// The shapes of these tables that readers have yet to be told of. From here on they are known.
    pub(super) fn announce(&mut self, places: impl IntoIterator<Item = usize>) -> Vec<SchemaRecord> {
        let mut shapes = Vec::new();
        for place in places {
            let Some(table) = self.tables.get_mut(place) else { continue };
            for shape in table.shapes.iter_mut().filter(|shape| shape.is_new) {
                shape.is_new = false;
                shapes.push(shape.codec.schema().clone());
            }
        }
        shapes
    }
}

fn unknown_route() -> Failure {
    Failure::new(Class::Internal, "a change belongs to no captured table")
}

#[cfg(test)]
mod tests {
    use understudy_contract::TypesFrom;
    use understudy_model::ReplicaIdentity;

    use super::*;

    /// Guards that a request for a row which cannot be, of an apply that knows the table as it was, does not stop the capture at
    /// every start.
    #[test]
    fn keys_that_do_not_fit_are_known() {
        let column = |name: &str, type_oid| Column {
            name: name.to_owned(),
            type_oid,
            type_modifier: -1,
            in_identity: true,
        };
        let table = CapturedTable {
            route: RouteId(0),
            relation: Relation {
                id: RelationId(1),
                name: TableName::new("public", "t"),
                identity: ReplicaIdentity::Default,
                columns: vec![column("id", 23), column("n", 25), column("u", 2950)],
            },
            key: vec![0, 1],
            fingerprint: String::new(),
        };
        let fits =
            |texts: &[&str]| table.has_key_like(&Key::from_texts(texts.iter().map(|text| text.as_bytes())));
        assert!(fits(&["7", "any text"]));
        assert!(
            !fits(&["7"]) && !fits(&["7", "a", "b"]) && !fits(&["seven", "a"]) && !fits(&["3000000000", "a"])
        );
        assert!(!table.has_key_like(&Key::from_texts([&b"7"[..], b"\xff"])));
        let by_uuid = CapturedTable { key: vec![2], ..table };
        let fits = |text: &str| by_uuid.has_key_like(&Key::from_texts([text.as_bytes()]));
        assert!(fits("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11") && !fits("7"));
    }

    const NAMES: (&str, &str) = ("shop", "shop");

    /// A table whose column `n` has this type on blue.
    fn captured(type_oid: u32) -> CapturedTable {
        let column = |name: &str, type_oid| Column {
            name: name.to_owned(),
            type_oid,
            type_modifier: -1,
            in_identity: name == "id",
        };
        CapturedTable {
            route: RouteId(0),
            relation: Relation {
                id: RelationId(1),
                name: TableName::new("public", "t"),
                identity: ReplicaIdentity::Default,
                columns: vec![column("id", 23), column("n", type_oid)],
            },
            key: vec![0],
            fingerprint: String::new(),
        }
    }

    fn from(change: usize, type_oid: u32) -> TypesFrom {
        TypesFrom { change, route: RouteId(0), types: vec![(23, -1), (type_oid, -1)] }
    }

    fn version(table: &Table, shape: usize) -> u32 {
        table.streamed(Some(shape)).schema().version
    }

    /// F32: rows are read by the types that they were written with, also where blue has others by now, or again.
    #[test]
    fn rows_of_other_types_are_written_in_a_shape_of_their_own() {
        let mut tables = Tables::new(vec![Table::new(&captured(23), (Vec::new(), 0), NAMES).unwrap()], 1);
        let notes = RawNotes { types: vec![from(2, 20), from(5, 23)], ..RawNotes::default() };
        let switches = tables.switches(Some(&notes), NAMES).unwrap();
        let seen = switches.iter().map(|switch| (switch.change, version(&tables.tables[0], switch.shape)));
        assert_eq!(seen.collect::<Vec<_>>(), [(2, 2), (5, 1)]);
        let told = tables.announce([0]);
        assert_eq!(told.iter().map(|shape| shape.version).collect::<Vec<_>>(), [1, 2]);
        assert!(tables.announce([0]).is_empty(), "readers know them");
        tables.switch(&switches[..1]);
        let table = &tables.tables[0];
        assert_eq!((table.streamed(None).schema().version, table.read().schema().version), (2, 1));

        let mut again = Tables::new(vec![Table::new(&captured(20), (told, 2), NAMES).unwrap()], 1);
        assert_eq!(again.tables[0].read().schema().version, 2, "as readers know it");
        let old = RawNotes { types: vec![from(0, 23)], ..RawNotes::default() };
        let switches = again.switches(Some(&old), NAMES).unwrap();
        assert_eq!(version(&again.tables[0], switches[0].shape), 1, "what comes again is as it was");
        assert!(again.announce([0]).is_empty());
    }
}
