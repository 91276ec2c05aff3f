//! A green on which a migration has begun, and entries of the ledger written down briefly.

use std::sync::Arc;

use understudy_contract::{
    Cause, ChangeSink, ComparedRoute, GreenTable, KeyPart, KeyRange, KeyRelation, Lineage, MismatchId,
    MismatchKind, MismatchRecord, PassRecord, RangeDigest, RangeRecord, RowName, SideQuery, Sweep,
};
use understudy_model::{Checkpoint, Key, Lsn, RouteId, TableName, Xid};
use understudy_postgres::sink::{PostgresSink, SinkSettings};
use understudy_postgres::verify_ledger::PostgresVerifyLedger;
use understudy_postgres::wire::{Client, ConnectOptions};

use crate::databases::{connect, database, shared};
use crate::support::Cluster;

/// A database of its own, with two tables and a migration that has begun.
pub(crate) struct Books {
    _cluster: Arc<Cluster>,
    pub(crate) options: ConnectOptions,
    pub(crate) admin: Client,
    pub(crate) sink: PostgresSink,
    pub(crate) migration: &'static str,
}

pub(crate) const MIGRATION: &str = "ledger";

impl Books {
    /// `None` where servers may be missing.
    pub(crate) async fn open(name: &str) -> Option<Books> {
        Books::open_as(name, MIGRATION).await
    }

    /// The same for a migration of another name. Replication origins belong to the whole cluster.
    pub(crate) async fn open_as(name: &str, migration: &'static str) -> Option<Books> {
        let cluster = shared()?;
        let options = database(&cluster, name).await;
        let mut admin = connect(&options).await;
        let sql = "CREATE TABLE t (a text, b bigint, v text, PRIMARY KEY (b, a)); CREATE TABLE u (id bigint PRIMARY KEY)";
        admin.batch(sql).await.unwrap();
        let sink = begin(&options, migration).await;
        Some(Books { _cluster: cluster, options, admin, sink, migration })
    }

    /// A ledger that is not held yet.
    pub(crate) async fn ledger(&self) -> PostgresVerifyLedger {
        self.ledger_of(routes()).await
    }

    pub(crate) async fn ledger_of(&self, routes: Vec<ComparedRoute>) -> PostgresVerifyLedger {
        PostgresVerifyLedger::connect(&self.options, self.migration, routes.into()).await.unwrap()
    }

    /// One column of a query, joined by blanks.
    pub(crate) async fn text(&mut self, sql: &str) -> String {
        let rows = self.admin.query(sql).await.unwrap();
        rows.iter().map(|row| row.text(0).unwrap_or("NULL").to_owned()).collect::<Vec<_>>().join(" ")
    }
}

/// Claims and begins a migration of both tables.
pub(crate) async fn begin(options: &ConnectOptions, migration: &str) -> PostgresSink {
    let settings = SinkSettings::new(migration);
    let green = |(at, name): (usize, &&str)| GreenTable {
        route: RouteId(at as u16),
        source: TableName::new("public", format!("{name}_blue")),
        name: TableName::new("public", *name),
        columns: if *name == "t" { vec!["a".into(), "b".into(), "v".into()] } else { vec!["id".into()] },
        source_columns: if *name == "t" { vec![None, None, None] } else { vec![None] },
        key: if *name == "t" { vec![0, 1] } else { vec![0] },
        filtered: false,
        predicate: None,
        fingerprint: "f".into(),
    };
    let tables = ["t", "u"].iter().enumerate().map(green).collect();
    let mut sink = PostgresSink::connect(options, settings, tables).await.unwrap();
    if sink.claim().await.unwrap().is_none() {
        let lineage = Lineage {
            system_id: 1,
            timeline: 1,
            database: "shop".into(),
            slot: "understudy_ledger".into(),
            publication: None,
        };
        sink.begin(&lineage, Checkpoint::at_commit_end(Lsn::new(0x2000))).await.unwrap();
    }
    sink
}

/// The two routes. The key of `t` stands in another order in its index on green.
pub(crate) fn routes() -> Vec<ComparedRoute> {
    vec![route(0, "t", &["a", "b"], &[1, 0]), route(1, "u", &["id"], &[0])]
}

fn route(n: u16, name: &str, key: &[&str], order: &[usize]) -> ComparedRoute {
    let side = |table: TableName, key_order: Vec<usize>| SideQuery {
        from: table.to_string(),
        condition: None,
        key: order.iter().map(|at| KeyPart { sql: key[*at].to_owned(), name: key[*at].to_owned() }).collect(),
        green_key: key.iter().map(|name| (*name).to_owned()).collect(),
        key_order,
        columns: Vec::new(),
        settings: Vec::new(),
        versioned: true,
        table,
    };
    // Blue names its rows in the order of the index.
    let blue = side(TableName::new("public", format!("{name}_blue")), (0..key.len()).collect());
    let green = side(TableName::new("public", name), order.to_vec());
    ComparedRoute {
        route: RouteId(n),
        source: blue.table.clone(),
        target: green.table.clone(),
        keys: KeyRelation::Passed,
        columns: Vec::new(),
        key: (0..key.len()).collect(),
        blue,
        green,
        rows_estimate: None,
        fingerprint: "c1".to_owned(),
    }
}

pub(crate) fn key(texts: &[&str]) -> Key {
    Key::from_texts(texts.iter().map(|text| text.as_bytes()))
}

/// A range that has been verified.
pub(crate) fn range(sweep: Sweep, after: Option<&[&str]>, upto: Option<&[&str]>) -> RangeRecord {
    RangeRecord {
        sweep,
        range: KeyRange { after: after.map(key), upto: upto.map(key) },
        rows: 12,
        digest: RangeDigest { rows: 11, upper: i128::from(i64::MIN) * 9, lower: i128::from(i64::MAX) * 7 },
        verified: Some(Lsn::new(0x1234)),
        horizon: Some(Xid::new(1 << 40)),
        age_ms: 0,
    }
}

pub(crate) fn pass(number: u64, completed: u64) -> PassRecord {
    PassRecord {
        number,
        completed,
        completed_age_ms: (completed > 0).then_some(0),
        dirty_upto: Lsn::new(0x100),
    }
}

pub(crate) fn mismatch(id: u64) -> MismatchRecord {
    MismatchRecord {
        id: MismatchId(id),
        route: RouteId(0),
        name: RowName { green: key(&["a \"b\", {c}\\", "7"]), blue: Some(key(&["7", "a \"b\", {c}\\"])) },
        kind: MismatchKind::Differs,
        columns: vec!["v".to_owned(), "odd \"name\"".to_owned()],
        cause: Cause::ForeignWrite,
        digests: ("aa".to_owned(), "bb".to_owned()),
        found_at: Lsn::new(0x4321),
        by_stream: false,
        repair_asked: false,
        waived: None,
    }
}
