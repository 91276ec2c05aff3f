//! One record of a table's topic, as a change of blue.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use understudy_contract::Class;
use understudy_model::{Key, Lsn, OldImage, SourceChange, Tuple, TupleBuilder, Value};

use super::DebeziumTable;
use super::fault::Unfit;
use super::shape::{Shape, Shapes};
use super::text::{Declared, Slot, read, read_snapshot};

/// Between 1970 and 2000, in microseconds.
const EPOCH_2000_US: i64 = 946_684_800_000_000;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// A row has changed, or all of them are gone.
    Change {
        change: SourceChange,
        /// The row's key; `None` where all rows are meant.
        key: Option<Key>,
        stamp: Stamp,
        /// Where blue's log was when a snapshot showed it; `None` for what was streamed.
        read_at: Option<Lsn>,
    },
    /// It is there for others: a tombstone, or a message.
    Nothing,
}

/// Where a change comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp {
    /// Its transaction, 32 bits of it; zero for rows of a snapshot, which blue has shown.
    pub(super) xid: u32,
    /// When that was committed, microseconds since 2000-01-01 UTC.
    pub(super) time_us: i64,
}

/// Reads the records of one table.
#[derive(Debug)]
pub(super) struct Reader {
    table: DebeziumTable,
    declared: Declared,
    /// Where blue's log ended when its catalog was read: what is newer may be of another shape.
    compiled_at: Lsn,
    shapes: Shapes,
    /// Columns that records lack, and that a warning has named.
    lacking: Vec<usize>,
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    op: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    before: Option<Row<'a>>,
    #[serde(borrow, default)]
    after: Option<Row<'a>>,
    #[serde(borrow)]
    source: Source<'a>,
    #[serde(borrow)]
    op: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Row<'a>(#[serde(borrow)] HashMap<Cow<'a, str>, &'a RawValue>);

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow, default)]
    connector: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    snapshot: Option<&'a RawValue>,
    #[serde(borrow, default)]
    schema: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    table: Option<Cow<'a, str>>,
    #[serde(rename = "txId", default)]
    xid: Option<u64>,
    #[serde(default)]
    lsn: Option<u64>,
    #[serde(default)]
    ts_ms: Option<i64>,
    #[serde(default)]
    ts_us: Option<i64>,
}

impl Source<'_> {
    /// Whether blue had shown what this is about before it was written.
    fn is_read(&self, op: &str) -> bool {
        let is_streamed = |raw: &RawValue| matches!(raw.get(), "\"false\"" | "false");
        op == "r" || self.snapshot.is_some_and(|raw| !is_streamed(raw) && raw.get() != "\"incremental\"")
    }

    fn stamp(&self, op: &str) -> Stamp {
        let since_1970 = self.ts_us.or(self.ts_ms.and_then(|ms| ms.checked_mul(1_000))).unwrap_or_default();
        let xid = if self.is_read(op) { 0 } else { self.xid.unwrap_or_default() as u32 };
        Stamp { xid, time_us: since_1970.saturating_sub(EPOCH_2000_US) }
    }
}

impl Reader {
    pub(super) fn new(table: DebeziumTable, declared: Declared, compiled_at: Lsn) -> Reader {
        Reader { table, declared, compiled_at, shapes: Shapes::default(), lacking: Vec::new() }
    }

    pub(super) fn table(&self) -> &DebeziumTable {
        &self.table
    }

    /// What a record says.
    pub(super) fn read(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Told, Unfit> {
        let Some(value) = value.filter(|value| *value != b"null") else { return Ok(Told::Nothing) };
        let not_json = |_| Unfit::foreign("is no change as Debezium's JSON has it");
        let value = std::str::from_utf8(value).map_err(|_| Unfit::foreign("is no JSON"))?;
        let outer = serde_json::from_str::<Outer<'_>>(value).map_err(not_json)?;
        let (schema, payload) = match (&outer.op, outer.payload) {
            (None, Some(payload)) => (outer.schema, payload.get()),
            (None, None) if outer.schema.is_some() => return Ok(Told::Nothing),
            _ => (None, value),
        };
        let shape = match schema {
            Some(schema) => Some(self.shapes.of_row(schema.get()).ok_or_else(unreadable_schema)?),
            None => None,
        };
        let envelope = serde_json::from_str::<Envelope<'_>>(payload).map_err(not_json)?;
        self.belongs(&envelope.source)?;
        let is_newer = envelope.source.lsn.is_some_and(|lsn| lsn > self.compiled_at.raw());
        self.change(&envelope, shape.as_deref(), (key, is_newer)).map_err(|unfit| match is_newer {
            // The table may have changed since; what stays is told after blue has been looked at anew.
            true => Unfit { class: Class::Transient, ..unfit },
            false => unfit,
        })
    }

    fn belongs(&self, source: &Source<'_>) -> Result<(), Unfit> {
        if source.connector.as_deref() != Some("postgresql") {
            return Err(Unfit::foreign("does not come from Debezium's connector for Postgres"));
        }
        let name = &self.table.relation.name;
        let is_ours = |of: &Option<Cow<'_, str>>, ours: &str| of.as_deref().is_none_or(|of| of == ours);
        if !is_ours(&source.schema, &name.schema) || !is_ours(&source.table, &name.name) {
            return Err(Unfit {
                remedy: "see which transforms of the connector route records; partitions come under the name of their table \
                         with publish.via.partition.root=true"
                    .to_owned(),
                ..Unfit::foreign("is of another table than its topic")
            });
        }
        Ok(())
    }

    fn change(
        &mut self,
        envelope: &Envelope<'_>,
        shape: Option<&Shape>,
        (key, is_newer): (Option<&[u8]>, bool),
    ) -> Result<Told, Unfit> {
        let relation = self.table.relation.id;
        let stamp = envelope.source.stamp(&envelope.op);
        let read_at =
            envelope.source.is_read(&envelope.op).then(|| Lsn::new(envelope.source.lsn.unwrap_or_default()));
        match &*envelope.op {
            "c" | "u" | "r" => {
                let after = envelope.after.as_ref().ok_or_else(|| Unfit::foreign("has no `after`"))?;
                let new = self.row(after, shape, (is_newer, read_at.is_some()))?;
                let key = new.key(&self.table.key).ok_or_else(keyless)?;
                // Whether the row was there matters to nobody: what comes again must end as it was.
                let change = SourceChange::Update { relation, old: None, new };
                Ok(Told::Change { change, key: Some(key), stamp, read_at })
            }
            "d" => {
                let old = self.old_row(key, envelope.before.as_ref(), shape)?;
                let key = old.key(&self.table.key).ok_or_else(keyless)?;
                let change = SourceChange::Delete { relation, old: OldImage::Identity(old) };
                Ok(Told::Change { change, key: Some(key), stamp, read_at })
            }
            "t" => {
                let change = SourceChange::Truncate { relations: vec![relation] };
                Ok(Told::Change { change, key: None, stamp, read_at })
            }
            "m" => Ok(Told::Nothing),
            _ => Err(Unfit::foreign("has an operation that this version does not know")),
        }
    }

    fn row(
        &mut self,
        row: &Row<'_>,
        shape: Option<&Shape>,
        (is_newer, is_read): (bool, bool),
    ) -> Result<Tuple, Unfit> {
        let columns = &self.table.relation.columns;
        let unread = &self.table.unread;
        let is_known = |name: &str| {
            columns.iter().any(|column| column.name == name) || unread.iter().any(|unread| unread == name)
        };
        if is_newer && row.0.keys().any(|name| !is_known(name)) {
            return Err(Unfit::foreign("has a column that blue's table did not have when this run began"));
        }
        let last = columns.iter().rposition(|column| row.0.contains_key(&*column.name));
        let mut tuple = TupleBuilder::with_capacity(64 + 16 * columns.len());
        for (at, column) in columns.iter().enumerate() {
            let Some(json) = row.0.get(&*column.name) else {
                // One that was added later comes behind all that were there.
                if last.is_none_or(|last| at < last) {
                    return Err(left_out().of_column(&column.name));
                }
                if !self.lacking.contains(&at) {
                    tracing::warn!(table = %self.table.relation.name, column = column.name,
                        "records lack a column: their rows are read again from blue");
                    self.lacking.push(at);
                }
                tuple.push(&Value::Unchanged);
                continue;
            };
            let field = shape.and_then(|shape| shape.get(&*column.name));
            // A key must be there; it names the row to be read again.
            let read = if is_read && !self.table.key.contains(&at) { read_snapshot } else { read };
            let slot = read(&self.table.kinds[at], field, json.get(), &self.declared);
            push(&mut tuple, slot.map_err(|unfit| unfit.of_column(&column.name))?);
        }
        Ok(tuple.finish())
    }

    /// The key of a row that is gone, with null in all other columns.
    fn old_row(
        &mut self,
        key: Option<&[u8]>,
        before: Option<&Row<'_>>,
        shape: Option<&Shape>,
    ) -> Result<Tuple, Unfit> {
        let key = key
            .map(std::str::from_utf8)
            .transpose()
            .map_err(|_| Unfit::foreign("has a key that is no JSON"))?;
        let outer = key.and_then(|key| serde_json::from_str::<Outer<'_>>(key).ok());
        let (schema, payload) = match outer {
            Some(Outer { schema: Some(schema), payload: Some(payload), .. }) => {
                (Some(schema), Some(payload.get()))
            }
            _ => (None, key),
        };
        let of_key: Option<Arc<Shape>> = schema.and_then(|schema| self.shapes.of_key(schema.get()));
        let named = payload.and_then(|payload| serde_json::from_str::<Row<'_>>(payload).ok());
        let mut tuple = TupleBuilder::with_capacity(64);
        for (at, column) in self.table.relation.columns.iter().enumerate() {
            if !self.table.key.contains(&at) {
                tuple.push(&Value::Null);
                continue;
            }
            let name = &*column.name;
            let from_key =
                named.as_ref().and_then(|row| row.0.get(name)).map(|json| (json, of_key.as_deref()));
            let found = from_key.or_else(|| before.and_then(|row| row.0.get(name)).map(|json| (json, shape)));
            let (json, shape) = found.ok_or_else(|| no_key().of_column(name))?;
            let field = shape.and_then(|shape| shape.get(name));
            let slot = read(&self.table.kinds[at], field, json.get(), &self.declared);
            push(&mut tuple, slot.map_err(|unfit| unfit.of_column(name))?);
        }
        Ok(tuple.finish())
    }
}

fn push(tuple: &mut TupleBuilder, slot: Slot<'_>) {
    match slot {
        Slot::Null => tuple.push(&Value::Null),
        Slot::Unsent => tuple.push(&Value::Unchanged),
        Slot::Text(text) => tuple.push(&Value::Text(Cow::Borrowed(text.as_bytes()))),
    }
}

fn unreadable_schema() -> Unfit {
    Unfit::foreign("has a schema that is none of a change of Debezium")
}

fn keyless() -> Unfit {
    Unfit::foreign("has a row without its key")
}

fn no_key() -> Unfit {
    Unfit::settings(
        "names a row of blue, and the record of its end lacks it",
        "take message.key.columns out of the connector, or give the table REPLICA IDENTITY FULL on blue",
    )
}

fn left_out() -> Unfit {
    Unfit::settings(
        "of blue's table is missing",
        "let the connector write it (column.exclude.list, column.include.list, include.unknown.datatypes, \
         field.name.adjustment.mode), or leave it out with `columns`",
    )
}
