//! From topics that Debezium writes into green: as any apply, with what a capture of ours would do read from blue by key.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use understudy_contract::{
    ChunkOutcome, ChunkReader, ChunkRequest, ChunkScope, Class, Failure, Finding, Severity,
};
use understudy_kafka::{
    BlueLook, BlueRows, DebeziumLog, DebeziumSettings, DebeziumStart, DebeziumTable, KafkaSettings, Kind,
    Progress, RowsRead,
};
use understudy_model::{
    ChunkId, Column, Key, Lsn, Relation, RelationId, ReplicaIdentity, RouteId, TableName, Tuple, UnitId,
};
use understudy_postgres::source::chunk_reader::PostgresChunkReader;
use understudy_postgres::wire::{Client, ConnectOptions};
use understudy_replicate::{End, LogCore};
use understudy_transform::RouteSpec;
use understudy_transform::expr::{Modifier, NamedType, SqlType};

use super::apply::{show_lag, watch_lag};
use super::{Attempt, Store};
use crate::mapping::{Described, Drawn};
use crate::reporting::reads::ToldReads;
use crate::supervise::{Role, Shutdown};

/// Bytes of rows that are read from blue at once.
const READ_BYTES_MAX: usize = 32 << 20;

impl Attempt<'_> {
    /// Follows Debezium's topics until asked to end, or until something fails.
    pub(super) async fn apply_debezium<S: Store>(
        &self,
        store: &S,
        (kafka, debezium): (&KafkaSettings, &DebeziumSettings),
        mut shutdown: Shutdown,
    ) -> Result<End, Failure> {
        let opened = async {
            let ready = Box::pin(self.prepare_apply(store)).await?;
            self.status.target_connected(true);
            let start = DebeziumStart {
                cursor: ready.saved.cursor.clone(),
                checkpoint: ready.saved.checkpoint,
                compiled_at: ready.compiled_at,
            };
            let slot = match &debezium.progress {
                Progress::Slot(name) => Some(name.clone()),
                Progress::Offsets(_) => None,
            };
            let blue = Blue::new((self.blue("rows"), self.prefix()), &ready.debezium, slot);
            let blue = Arc::new(ToldReads::new(blue, self.status.clone()));
            let opening = DebeziumLog::open((kafka, debezium), ready.debezium.clone(), start, blue);
            let log = self.awaiting_kafka(Role::Apply, "show the log", opening).await?;
            Ok::<_, Failure>((ready, log))
        };
        let (ready, (log, ask)) = tokio::select! {
            () = shutdown.requested() => return Ok(End::InOrder),
            opened = opened => opened?,
        };
        self.status.source_connected(true);
        let mut watching = JoinSet::new();
        let status = self.status.clone();
        watching.spawn(watch_lag(log.lag(), move |partitions| show_lag(&status, partitions)));
        self.follow_log(ready, (log, ask), LogCore::take_changes_as_they_come, (watching, shutdown)).await
    }
}

/// A route that takes more of an old row than its key, which is all that is read of one in Debezium's topics.
pub(crate) fn needs_old_rows(one: &Drawn<'_>) -> Option<Finding> {
    let spec = &one.spec;
    let fits = spec.tells_key() && (!spec.narrows_key() || spec.tells_filter());
    (!fits).then(|| Finding {
        severity: Severity::Error,
        code: "log-lacks-old-rows",
        subject: format!("mapping of {} to {}", spec.source, spec.target),
        what: "needs old rows of blue to tell which row of green is meant, and only their keys are read in Debezium's topics"
            .to_owned(),
        remedy: format!("take green's key from the key of {} alone, or leave `debezium` out", spec.source),
    })
}

/// What a new copy would take is in no topic of Debezium.
pub(super) fn no_copy(routes: &[&RouteSpec]) -> Failure {
    let tables = routes.iter().map(|route| route.source.to_string()).collect::<Vec<_>>().join(", ");
    let cause =
        format!("{tables}: a new copy is needed, and Debezium's topics hold each row only as it was written");
    Failure::new(Class::Configuration, cause).remedy(
        "leave new columns out with `columns`, and --recopy away; or begin anew: understudy abort, empty tables on green, a \
         new connector with another topic.prefix",
    )
}

/// The tables of these routes, with the columns that some route reads.
pub(crate) fn tables(drawn: &[Drawn<'_>], blue: &Described) -> Vec<DebeziumTable> {
    let mut tables: Vec<DebeziumTable> = Vec::new();
    for one in drawn {
        let name = &one.taken.table.name;
        if tables.iter().any(|table| table.relation.name == *name) {
            continue;
        }
        let read = drawn.iter().filter(|other| other.spec.source == *name);
        let read = read.flat_map(|other| other.spec.source_columns()).collect::<Vec<_>>();
        tables.push(table(one, blue, &read));
    }
    tables
}

fn table(one: &Drawn<'_>, blue: &Described, read: &[String]) -> DebeziumTable {
    let described = one.taken.table;
    let key = described.key.as_deref().unwrap_or_default();
    let scope = blue.catalog.scope(described);
    let (mut columns, mut kinds, mut defaulted) = (Vec::new(), Vec::new(), Vec::new());
    for seen in scope.columns.iter().filter(|seen| read.contains(&seen.name) || key.contains(&seen.name)) {
        let Some(column) = described.columns.iter().find(|column| column.name == seen.name) else { continue };
        if column.has_default && !column.not_null {
            defaulted.push(columns.len());
        }
        columns.push(Column {
            name: column.name.clone(),
            type_oid: column.type_oid,
            type_modifier: column.type_modifier,
            in_identity: key.contains(&column.name),
        });
        kinds.push(kind(&seen.ty, seen.modifier));
    }
    let is_read = |name: &String| columns.iter().any(|column| column.name == *name);
    let unread = described.columns.iter().map(|column| column.name.clone()).filter(|name| !is_read(name));
    let unread = unread.collect();
    let place = |name: &String| columns.iter().position(|column| column.name == *name);
    let key = one.spec.key_source.iter().filter_map(place).collect();
    let relation = Relation {
        id: RelationId(described.oid),
        name: described.name.clone(),
        identity: ReplicaIdentity::Default,
        columns,
    };
    DebeziumTable { relation: Arc::new(relation), kinds, key, defaulted, unread }
}

/// How values of a type are read.
fn kind(ty: &SqlType, modifier: Modifier) -> Kind {
    let digits = u8::try_from(modifier.0).unwrap_or(6).min(6);
    match ty {
        SqlType::Bool => Kind::Bool,
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 => Kind::Int,
        SqlType::Float4 => Kind::Float { is_single: true },
        SqlType::Float8 => Kind::Float { is_single: false },
        SqlType::Numeric => Kind::Numeric,
        SqlType::Bytea => Kind::Bytea,
        SqlType::Date => Kind::Date,
        SqlType::Time => Kind::Time { digits },
        SqlType::TimeTz => Kind::TimeTz,
        SqlType::Timestamp => Kind::Timestamp { digits },
        SqlType::TimestampTz => Kind::TimestampTz,
        SqlType::Interval => Kind::Interval,
        SqlType::Text
        | SqlType::Varchar
        | SqlType::Bpchar
        | SqlType::Uuid
        | SqlType::Json
        | SqlType::Jsonb
        | SqlType::Inet
        | SqlType::Cidr
        | SqlType::Enum(_)
        | SqlType::Unknown => Kind::Text,
        SqlType::Domain(domain) => {
            kind(&domain.base, if domain.modifier.0 >= 0 { domain.modifier } else { modifier })
        }
        SqlType::Array(element) => Kind::Array(Box::new(kind(element, modifier))),
        SqlType::Opaque(name) => other(name, modifier),
    }
}

/// A type that expressions know nothing of.
fn other(name: &NamedType, modifier: Modifier) -> Kind {
    match name.name.as_str() {
        "oid" => Kind::Int,
        "money" => Kind::Money,
        "bit" => Kind::Bits { length: u32::try_from(modifier.0).ok() },
        "varbit" => Kind::Bits { length: None },
        "hstore" => Kind::Hstore,
        "point" => Kind::Point,
        "vector" | "halfvec" => Kind::Vector,
        "macaddr" | "macaddr8" | "xml" | "citext" | "ltree" | "tsvector" | "int4range" | "int8range"
        | "numrange" | "daterange" | "tsrange" | "tstzrange" => Kind::Text,
        _ => Kind::Opaque(name.name.clone()),
    }
}

/// Looks at blue for what topics do not tell.
struct Blue {
    options: ConnectOptions,
    prefix: String,
    /// For each table its id and the columns of its rows and keys.
    tables: HashMap<TableName, (RelationId, Vec<String>, Vec<String>)>,
    reader: Arc<Mutex<Option<PostgresChunkReader>>>,
    looking: Arc<Mutex<Option<Client>>>,
    /// The connector's slot, where that tells how far it has come.
    slot: Option<String>,
}

impl Blue {
    fn new(
        (options, prefix): (ConnectOptions, String),
        tables: &[DebeziumTable],
        slot: Option<String>,
    ) -> Blue {
        let columns = |table: &DebeziumTable| {
            let names = table.relation.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
            let key = table.key.iter().map(|at| names[*at].clone()).collect::<Vec<_>>();
            (table.relation.name.clone(), (table.relation.id, names, key))
        };
        let tables = tables.iter().map(columns).collect();
        Blue { options, prefix, tables, reader: Arc::default(), looking: Arc::default(), slot }
    }
}

/// The end of what has been written into blue's log, also by those who do not wait for the disk.
async fn end_of_log(looking: &Mutex<Option<Client>>, options: &ConnectOptions) -> Result<Lsn, Failure> {
    let mut kept = looking.lock().await;
    let mut client = match kept.take() {
        Some(client) => client,
        None => Client::connect(options).await?,
    };
    let rows = client.query("SELECT pg_catalog.pg_current_wal_insert_lsn()").await?;
    let end = rows.first().map(|row| row.parse::<Lsn>(0)).transpose()?.unwrap_or_default();
    *kept = Some(client);
    Ok(end)
}

/// How far the connector has confirmed to its slot.
async fn confirmed(
    looking: &Mutex<Option<Client>>,
    options: &ConnectOptions,
    slot: &str,
) -> Result<Lsn, Failure> {
    let mut kept = looking.lock().await;
    let mut client = match kept.take() {
        Some(client) => client,
        None => Client::connect(options).await?,
    };
    let sql = "SELECT confirmed_flush_lsn FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
    let rows = client.query_with(sql, &[Some(slot)]).await?;
    *kept = Some(client);
    match rows.first() {
        Some(row) => row.parse::<Lsn>(0),
        None => Err(Failure::new(Class::Configuration, format!("blue has no replication slot `{slot}`")).remedy(
            "set `debezium: { slot: ... }` under `through.kafka` to the connector's slot.name, or `offsets_topic` where Kafka \
             Connect keeps its offsets in a topic",
        )),
    }
}

impl BlueRows for Blue {
    fn look(&self) -> Pin<Box<dyn Future<Output = Result<BlueLook, Failure>> + Send>> {
        let (looking, options, slot) = (self.looking.clone(), self.options.clone(), self.slot.clone());
        Box::pin(async move {
            // First what has been confirmed, so that it lies before the end.
            let confirmed = match &slot {
                Some(slot) => Some(confirmed(&looking, &options, slot).await?),
                None => None,
            };
            Ok(BlueLook { end: end_of_log(&looking, &options).await?, confirmed })
        })
    }

    fn read(
        &self,
        table: TableName,
        keys: Vec<Key>,
    ) -> Pin<Box<dyn Future<Output = Result<RowsRead, Failure>> + Send>> {
        let of = self.tables.get(&table).cloned();
        let (reader, looking) = (self.reader.clone(), self.looking.clone());
        let (options, prefix) = (self.options.clone(), self.prefix.clone());
        Box::pin(async move {
            let unknown =
                || Failure::new(Class::Internal, format!("{table} is not read from Debezium's topics"));
            let (id, columns, key) = of.ok_or_else(unknown)?;
            let mut kept = reader.lock().await;
            let mut client = match kept.take() {
                Some(client) => client,
                None => PostgresChunkReader::connect(&options, prefix).await?,
            };
            let mut rows = Vec::new();
            let mut waiting = vec![keys];
            while let Some(keys) = waiting.pop() {
                let request = ChunkRequest {
                    id: ChunkId(0),
                    unit: UnitId::new(id.0, RouteId(0)),
                    columns: columns.clone(),
                    types: None,
                    scope: ChunkScope::Keys { columns: key.clone(), keys: keys.clone() },
                    bytes_max: READ_BYTES_MAX,
                };
                match client.read(&request).await? {
                    ChunkOutcome::Read(chunk) => rows.extend::<Vec<Tuple>>(chunk.rows),
                    ChunkOutcome::TooLarge => {
                        let (left, right) = keys.split_at(keys.len() / 2);
                        waiting.extend([right.to_vec(), left.to_vec()]);
                    }
                    ChunkOutcome::Busy => {
                        return Err(Failure::new(Class::Transient, format!("{table} is locked on blue")));
                    }
                    ChunkOutcome::Gone => {
                        let cause = format!("{table} is not on blue as it was");
                        return Err(Failure::new(Class::Transient, cause));
                    }
                }
            }
            *kept = Some(client);
            drop(kept);
            let at = end_of_log(&looking, &options).await?;
            Ok(RowsRead { rows, at })
        })
    }
}
