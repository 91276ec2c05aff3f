//! A database of its own for each test, and batches written down briefly.

use std::sync::{Arc, Mutex, Weak};

use understudy_contract::{
    Batch, ChangeSink, ColumnMarks, GreenTable, LedgerEntry, Lineage, PlacedChunk, PlacedKind, Unit,
};
use understudy_model::{
    Before, Checkpoint, ChunkId, CommitMark, HealKey, Key, Lsn, Position, Refusal, ReplicaIdentity, RouteId,
    RowChange, TableName, Tuple, TupleBuilder, UnitId, Value, Xid,
};
use understudy_postgres::sink::{PostgresSink, SinkSettings};
use understudy_postgres::wire::{Client, ConnectOptions};

use crate::support::Cluster;

static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

/// A column that was not sent.
pub(crate) const UNSENT: &str = "<unsent>";

/// One database on a cluster that tests running at the same time share.
pub(crate) struct Green {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) options: ConnectOptions,
    pub(crate) admin: Client,
    pub(crate) name: String,
    lsn: u64,
}

impl Green {
    /// A database with these tables. `None` where servers may be missing.
    pub(crate) async fn with(name: &str, sql: &str) -> Option<Green> {
        let cluster = {
            let mut shared = SHARED.lock().unwrap();
            match shared.upgrade() {
                Some(cluster) => cluster,
                None => {
                    let cluster = Arc::new(Cluster::start()?);
                    *shared = Arc::downgrade(&cluster);
                    cluster
                }
            }
        };
        cluster.client().await.batch(&format!("CREATE DATABASE {name}")).await.unwrap();
        let mut options = cluster.options();
        options.database = name.to_owned();
        let mut admin = Client::connect(&options).await.unwrap();
        admin.batch(&format!("SET search_path = public; {sql}")).await.unwrap();
        Some(Green { cluster, options, admin, name: name.replace('_', "-"), lsn: 0x1000 })
    }

    pub(crate) fn settings(&self) -> SinkSettings {
        SinkSettings::new(self.name.clone())
    }

    /// A cluster of its own, tables made by the caller.
    pub(crate) async fn on(cluster: Arc<Cluster>, name: &str) -> Green {
        let (options, admin) = (cluster.options(), cluster.client().await);
        Green { cluster, options, admin, name: name.to_owned(), lsn: 0x1000 }
    }

    /// A sink that has claimed and begun, every route complete.
    pub(crate) async fn sink(&mut self, tables: Vec<GreenTable>) -> PostgresSink {
        let settings = self.settings();
        self.sink_with(settings, tables, true).await
    }

    pub(crate) async fn sink_with(
        &mut self,
        settings: SinkSettings,
        tables: Vec<GreenTable>,
        complete: bool,
    ) -> PostgresSink {
        let routes = tables.len();
        let mut sink = PostgresSink::connect(&self.options, settings, tables).await.unwrap();
        assert_eq!(sink.claim().await.unwrap(), None);
        sink.begin(&lineage(), self.at()).await.unwrap();
        for route in 0..if complete { routes } else { 0 } {
            sink.record(LedgerEntry::Complete(RouteId(route as u16))).await.unwrap();
        }
        sink
    }

    /// The checkpoint after the last batch.
    pub(crate) fn at(&self) -> Checkpoint {
        Checkpoint::at_commit_end(Lsn::new(self.lsn))
    }

    /// A batch of whole transactions.
    pub(crate) fn batch(&mut self, transactions: Vec<Vec<RowChange>>) -> Batch {
        let mut batch = Batch { unseen: Some(vec![Xid::new(7)]), ..Batch::default() };
        for changes in transactions {
            batch.changes.extend(changes);
            self.lsn += 0x100;
            batch.commits.push(CommitMark {
                changes_before: batch.changes.len(),
                position: Position { commit: Lsn::new(self.lsn - 8), ordinal: 0 },
                checkpoint: self.at(),
                commit_time_us: 0,
                xid: Xid::new(self.lsn),
            });
        }
        batch
    }

    /// A part of a transaction that goes on. Its commit is that of the next batch.
    pub(crate) fn part(&mut self, changes: Vec<RowChange>) -> Batch {
        Batch { changes, open: Some(Lsn::new(self.lsn + 0x100 - 8)), ..Batch::default() }
    }

    /// A chunk of a route that belongs where green is.
    pub(crate) fn chunk(&self, id: u64, route: u16, kind: PlacedKind, rows: Vec<Tuple>) -> PlacedChunk {
        let (left_out, refused) = (Vec::new(), Vec::new());
        PlacedChunk { id: ChunkId(id), route: RouteId(route), at: self.at(), kind, rows, left_out, refused }
    }

    /// One column of one query, joined by lines.
    pub(crate) async fn rows(&mut self, sql: &str) -> String {
        let rows = self.admin.query(sql).await.unwrap();
        rows.iter().map(|row| row.text(0).unwrap_or("NULL").to_owned()).collect::<Vec<_>>().join("\n")
    }
}

pub(crate) fn lineage() -> Lineage {
    Lineage {
        system_id: u64::MAX - 3,
        timeline: 2,
        database: "shop".into(),
        slot: "understudy_t".into(),
        publication: None,
    }
}

/// Table `public.<name>` as route `n`, key in the first column.
pub(crate) fn table(n: u16, name: &str, columns: &[&str]) -> GreenTable {
    GreenTable {
        route: RouteId(n),
        source: TableName::new("public", format!("{name}_blue")),
        name: TableName::new("public", name),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        source_columns: columns.iter().map(|column| Some(format!("{column}_blue"))).collect(),
        key: vec![0],
        filtered: false,
        predicate: None,
        fingerprint: "f1".into(),
    }
}

pub(crate) fn unit(route: u16) -> Unit {
    Unit {
        id: UnitId::new(4_000_000_000, RouteId(route)),
        root: UnitId::new(4_000_000_001, RouteId(route)),
        route: RouteId(route),
        name: TableName::new("public", "leaf"),
        filenode: 77,
        fingerprint: u64::MAX,
        marks: Some(ColumnMarks { places: u64::MAX, written: 3, keys: 4 }),
        membership: u64::MAX,
        blocks: 9,
        block_bytes: 8192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: Some("(a_blue = 1)".into()),
    }
}

pub(crate) fn row(values: &[&str]) -> Tuple {
    let mut row = TupleBuilder::default();
    for value in values {
        row.push(&match *value {
            UNSENT => Value::Unchanged,
            "NULL" => Value::Null,
            text => Value::Text(text.as_bytes().into()),
        });
    }
    row.finish()
}

pub(crate) fn key(texts: &[&str]) -> Key {
    Key::from_texts(texts.iter().map(|text| text.as_bytes()))
}

pub(crate) fn insert(route: u16, values: &[&str]) -> RowChange {
    RowChange::Insert { route: RouteId(route), new: row(values) }
}

fn changed(route: u16, old: Option<&str>, values: &[&str], before: Before) -> RowChange {
    let old_key = old.map(|old| key(&[old]));
    RowChange::Update { route: RouteId(route), old_key, new: row(values), blue_key: None, before }
}

pub(crate) fn update(route: u16, values: &[&str]) -> RowChange {
    changed(route, None, values, Before::There)
}

pub(crate) fn rekey(route: u16, old: &str, values: &[&str]) -> RowChange {
    changed(route, Some(old), values, Before::There)
}

pub(crate) fn delete(route: u16, old: &str) -> RowChange {
    RowChange::Delete { route: RouteId(route), key: key(&[old]), before: Before::There }
}

/// Like `update`, of a row that may or may not have met the condition before.
pub(crate) fn put(route: u16, values: &[&str]) -> RowChange {
    changed(route, None, values, Before::Unknown)
}

/// Like `rekey`, of such a row.
pub(crate) fn put_rekey(route: u16, old: &str, values: &[&str]) -> RowChange {
    changed(route, Some(old), values, Before::Unknown)
}

/// Like `delete`, of such a row.
pub(crate) fn leave(route: u16, old: &str) -> RowChange {
    RowChange::Delete { route: RouteId(route), key: key(&[old]), before: Before::Unknown }
}

/// A row whose names on green and blue differ is to be read again.
pub(crate) fn reread(route: u16, green: &str, blue: &str) -> RowChange {
    RowChange::Reread { route: RouteId(route), key: heal_key(green, blue) }
}

pub(crate) fn heal_key(green: &str, blue: &str) -> HealKey {
    HealKey { green: key(&[green]), blue: key(&[blue]) }
}

/// A row whose name cannot be computed.
pub(crate) fn refusal() -> Refusal {
    let (sqlstate, reason) = ("22012".into(), "division by zero".into());
    Refusal { column: Some("name".into()), sqlstate, reason }
}

pub(crate) fn uncomputed(route: u16, old: Option<&str>, id: &str) -> RowChange {
    let (old_key, refusal) = (old.map(|old| key(&[old])), Box::new(refusal()));
    RowChange::Refused { route: RouteId(route), old_key, key: key(&[id]), refusal }
}

/// What a heal of rows with the same key on both sides is placed as.
pub(crate) fn heal(keys: &[&str]) -> PlacedKind {
    PlacedKind::Heal { keys: keys.iter().map(|text| heal_key(text, text)).collect() }
}

/// The same for each number of a range.
pub(crate) fn each(range: std::ops::Range<u32>, change: impl Fn(&str) -> RowChange) -> Vec<RowChange> {
    range.map(|n| change(&n.to_string())).collect()
}
