//! Reader, catalog and session on one database, and requests for chunks of it.

#![allow(unreachable_pub, reason = "helpers for the tests beside it")]

use understudy_contract::{
    BlueCatalog, ChunkOutcome, ChunkReader, ChunkRequest, ChunkRows, ChunkScope, Unit,
};
use understudy_model::{BlockRange, ChunkId, Ctid, Key, RouteId, TableName, Tuple, UnitId, Value};
use understudy_postgres::source::catalog::{ListedTable, PostgresCatalog};
use understudy_postgres::source::chunk_reader::PostgresChunkReader;
use understudy_postgres::wire::{Client, ConnectOptions};

use crate::databases::connect;

pub const PREFIX: &str = "understudy/test";

/// Reader, catalog and an ordinary session on one database.
pub struct Blue {
    pub reader: PostgresChunkReader,
    pub catalog: PostgresCatalog,
    pub client: Client,
    pub options: ConnectOptions,
}

pub async fn blue(options: ConnectOptions, schema: &str, tables: &[&str]) -> Blue {
    let mut client = connect(&options).await;
    client.batch(schema).await.unwrap();
    let listed = tables.iter().enumerate().map(|(at, name)| listed(at as u16, name, &["id"]));
    let catalog = PostgresCatalog::connect(&options, PREFIX, &listed.collect::<Vec<_>>()).await.unwrap();
    Blue { reader: PostgresChunkReader::connect(&options, PREFIX).await.unwrap(), catalog, client, options }
}

/// A table of `public` of which a route reads these columns.
pub fn listed(route: u16, name: &str, columns: &[&str]) -> ListedTable {
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    let key = vec!["id".to_owned()];
    ListedTable { route: RouteId(route), name: TableName::new("public", name), columns, key }
}

impl Blue {
    pub async fn unit(&mut self, name: &str) -> Unit {
        let units = self.catalog.units().await.unwrap();
        units.into_iter().find(|unit| unit.name.name == name).expect("the unit is listed")
    }

    pub async fn read(&mut self, request: &ChunkRequest) -> ChunkRows {
        match self.reader.read(request).await.unwrap() {
            ChunkOutcome::Read(rows) => rows,
            other => panic!("not read: {other:?}"),
        }
    }
}

pub fn whole(unit: UnitId, columns: &[&str]) -> ChunkRequest {
    let range = BlockRange { from: Ctid::start_of(0), to: Ctid::start_of(u32::MAX) };
    ChunkRequest {
        id: ChunkId(1),
        unit,
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        types: None,
        scope: ChunkScope::Blocks(range),
        bytes_max: 1 << 20,
    }
}

pub fn by_keys(unit: UnitId, columns: &[&str], key: &[&str], keys: &[&[&str]]) -> ChunkRequest {
    let scope = ChunkScope::Keys {
        columns: key.iter().map(|name| (*name).to_owned()).collect(),
        keys: keys.iter().map(|key| Key::from_texts(key.iter().map(|text| text.as_bytes()))).collect(),
    };
    ChunkRequest { scope, ..whole(unit, columns) }
}

pub fn texts(row: &Tuple) -> Vec<Option<String>> {
    let text = |value: Value<'_>| match value {
        Value::Text(text) => Some(String::from_utf8(text.into_owned()).unwrap()),
        Value::Null | Value::Unchanged => None,
    };
    row.values().map(text).collect()
}

pub fn first_column(rows: &ChunkRows) -> Vec<String> {
    let mut first = rows.rows.iter().map(|row| texts(row)[0].clone().unwrap()).collect::<Vec<_>>();
    first.sort();
    first
}
