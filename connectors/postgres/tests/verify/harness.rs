//! Readers of both sides on one database, where green's table has blue's name with `_green` behind it.

use std::sync::Arc;

use understudy_contract::{
    Answer, BlueRows, ChangeSink, ColumnQuery, CompareRule, ComparedColumn, ComparedRoute, Detail, GreenRows,
    GreenTable, KeyPart, KeyRange, KeyRelation, Lineage, RangeDigest, RowName, RowSeen, SideQuery, Which,
};
use understudy_model::{Checkpoint, Key, Lsn, RouteId, TableName};
use understudy_postgres::ident::{quote_ident, quote_table};
use understudy_postgres::sink::{PostgresSink, SinkSettings};
use understudy_postgres::verify::{PostgresBlueRows, PostgresGreenRows, ReadLimits};
use understudy_postgres::wire::{Client, ConnectOptions};

use crate::databases::{connect, database, shared};
use crate::support::Cluster;

pub(crate) const PREFIX: &str = "understudy/verify-test";
pub(crate) const MIGRATION: &str = "verify-test";
pub(crate) const ROUTE: RouteId = RouteId(0);
/// What green has reached unless a test says otherwise: beyond everything that a server of a test writes.
pub(crate) const FAR: Lsn = Lsn::new(0xFFFF_0000_0000);

/// Both readers, and an ordinary session.
pub(crate) struct Both {
    pub(crate) blue: PostgresBlueRows,
    pub(crate) green: PostgresGreenRows,
    pub(crate) admin: Client,
    pub(crate) options: ConnectOptions,
    _cluster: Arc<Cluster>,
}

/// A database with these tables, and readers of these routes. `None` where servers may be missing.
pub(crate) async fn both(name: &str, sql: &str, routes: Vec<ComparedRoute>) -> Option<Both> {
    limited(name, sql, routes, ReadLimits::default()).await
}

pub(crate) async fn limited(
    name: &str,
    sql: &str,
    routes: Vec<ComparedRoute>,
    limits: ReadLimits,
) -> Option<Both> {
    let cluster = shared()?;
    let options = database(&cluster, name).await;
    Some(on(cluster, options, sql, routes, limits).await)
}

/// The same on a cluster of one's own.
pub(crate) async fn on(
    cluster: Arc<Cluster>,
    options: ConnectOptions,
    sql: &str,
    routes: Vec<ComparedRoute>,
    limits: ReadLimits,
) -> Both {
    let mut admin = connect(&options).await;
    admin.batch(sql).await.unwrap();
    let tables = routes.iter().map(green_table).collect();
    let mut sink = PostgresSink::connect(&options, SinkSettings::new(MIGRATION), tables).await.unwrap();
    sink.claim().await.unwrap();
    let lineage = Lineage {
        system_id: 1,
        timeline: 1,
        database: "shop".into(),
        slot: "understudy_t".into(),
        publication: None,
    };
    sink.begin(&lineage, Checkpoint::at_commit_end(FAR)).await.unwrap();
    let routes = Arc::<[ComparedRoute]>::from(routes);
    let blue = PostgresBlueRows::connect(&options, PREFIX, routes.clone(), limits).await.unwrap();
    let green = PostgresGreenRows::connect(&options, MIGRATION, routes, limits).await.unwrap();
    Both { blue, green, admin, options, _cluster: cluster }
}

fn green_table(route: &ComparedRoute) -> GreenTable {
    GreenTable {
        route: route.route,
        source: route.source.clone(),
        name: route.target.clone(),
        columns: route.columns.iter().map(|column| column.name.clone()).collect(),
        source_columns: route.columns.iter().map(|column| Some(column.name.clone())).collect(),
        key: route.key.clone(),
        filtered: false,
        predicate: None,
        fingerprint: "f1".into(),
    }
}

/// A route that passes these columns on, with the key in the order of the columns and of the index.
pub(crate) fn route(table: &str, columns: &[&str], key: &[&str]) -> ComparedRoute {
    indexed(table, columns, key)
}

/// The same with the index's own order of the key.
pub(crate) fn indexed(table: &str, columns: &[&str], index: &[&str]) -> ComparedRoute {
    let named = columns.iter().copied().filter(|column| index.contains(column)).collect::<Vec<_>>();
    let (source, target) =
        (TableName::new("public", table), TableName::new("public", format!("{table}_green")));
    ComparedRoute {
        route: ROUTE,
        keys: KeyRelation::Aligned,
        columns: columns
            .iter()
            .map(|name| ComparedColumn { name: (*name).to_owned(), rule: CompareRule::Exact })
            .collect(),
        key: (0..columns.len()).filter(|at| named.contains(&columns[*at])).collect(),
        blue: side(&source, columns, &named, index),
        green: side(&target, columns, &named, index),
        source,
        target,
        rows_estimate: None,
        fingerprint: "f".to_owned(),
    }
}

fn side(table: &TableName, columns: &[&str], named: &[&str], index: &[&str]) -> SideQuery {
    let part = |name: &&str| KeyPart {
        sql: format!("{}.{}", quote_ident(&table.name), quote_ident(name)),
        name: (*name).to_owned(),
    };
    SideQuery {
        table: table.clone(),
        from: quote_table(table),
        condition: None,
        key: index.iter().map(part).collect(),
        green_key: named.iter().map(|name| quote_ident(name)).collect(),
        key_order: index.iter().map(|name| named.iter().position(|own| own == name).unwrap()).collect(),
        columns: columns.iter().map(|name| query(&quote_ident(name))).collect(),
        settings: Vec::new(),
        versioned: true,
    }
}

/// A value that is compared as it is.
pub(crate) fn query(sql: &str) -> ColumnQuery {
    ColumnQuery { value: sql.to_owned(), compared: Some(sql.to_owned()) }
}

/// Green as a copy of blue's table, indexes included.
pub(crate) fn copied(table: &str) -> String {
    format!(
        "CREATE TABLE {table}_green (LIKE {table} INCLUDING ALL); INSERT INTO {table}_green SELECT * FROM {table};"
    )
}

pub(crate) fn key(texts: &[&str]) -> Key {
    Key::from_texts(texts.iter().map(|text| text.as_bytes()))
}

/// A row that has the same name on both sides.
pub(crate) fn named(texts: &[&str]) -> RowName {
    RowName { green: key(texts), blue: Some(key(texts)) }
}

pub(crate) fn names(keys: &[&[&str]]) -> Which {
    Which::Names(keys.iter().map(|texts| named(texts)).collect())
}

pub(crate) fn all() -> Which {
    Which::Range(KeyRange::default())
}

/// Keys of rows on green, as texts, sorted.
pub(crate) fn greens(rows: &[RowSeen]) -> Vec<String> {
    let mut texts = rows.iter().map(|row| shown(&row.name.green)).collect::<Vec<_>>();
    texts.sort();
    texts
}

pub(crate) fn shown(key: &Key) -> String {
    key.texts().map(|text| String::from_utf8_lossy(text).into_owned()).collect::<Vec<_>>().join("|")
}

impl Both {
    pub(crate) async fn blue_rows(&mut self, which: &Which) -> Vec<RowSeen> {
        self.blue.rows(ROUTE, which, Detail::Digests).await.unwrap().unwrap().value
    }

    pub(crate) async fn green_rows(&mut self, which: &Which) -> Vec<RowSeen> {
        self.green.rows(ROUTE, which, Detail::Digests, Lsn::ZERO).await.unwrap().unwrap().value
    }

    pub(crate) async fn blue_values(&mut self, which: &Which) -> Vec<RowSeen> {
        self.blue.rows(ROUTE, which, Detail::Values).await.unwrap().unwrap().value
    }

    pub(crate) async fn green_values(&mut self, which: &Which) -> Vec<RowSeen> {
        self.green.rows(ROUTE, which, Detail::Values, Lsn::ZERO).await.unwrap().unwrap().value
    }

    pub(crate) async fn blue_digest(&mut self, range: &KeyRange) -> Answer<RangeDigest> {
        self.blue.digest(ROUTE, range).await.unwrap().map(|read| read.value)
    }

    pub(crate) async fn green_digest(&mut self, range: &KeyRange) -> Answer<RangeDigest> {
        self.green.digest(ROUTE, range, Lsn::ZERO).await.unwrap().map(|read| read.value)
    }

    pub(crate) async fn text(&mut self, sql: &str) -> String {
        self.admin.query(sql).await.unwrap()[0].text(0).unwrap().to_owned()
    }
}
