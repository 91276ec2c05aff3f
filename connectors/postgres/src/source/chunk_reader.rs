//! Chunks of blue's rows, each under a lock and a short snapshot of its own.

use understudy_contract::{ChunkOutcome, ChunkReader, ChunkRequest, ChunkRows, ChunkScope, Class, Failure};
use understudy_model::{BlockRange, Nonce, Snapshot, TableName, Tuple};

use super::fingerprint;
use super::keys::{self, KeyType};
use super::session::{self, Session};
use crate::error::server_error;
use crate::ident::{quote_ident, quote_literal, quote_table};
use crate::wire::{Client, ConnectOptions};

/// Reads chunks on a connection of its own.
pub struct PostgresChunkReader {
    session: Session,
    prefix: String,
    /// The table that was read last, under the name it had then.
    last: Option<Target>,
}

/// A table to read from, by the name that has to be locked.
#[derive(Clone)]
struct Target {
    oid: u32,
    name: TableName,
    partitioned: bool,
}

/// How one attempt at a chunk ended.
enum Attempt {
    Done(ChunkOutcome),
    /// The name belongs to another table by now, or to none.
    Renamed,
    /// Somebody holds the table exclusively.
    Locked,
}

/// What is read under the lock before the rows.
struct Facts {
    oid: u32,
    /// Whether the columns asked for have the types asked for.
    fits: bool,
    filenode: u32,
    fingerprint: u64,
    snapshot: Snapshot,
}

/// Sequential scans are priced out, so that blocks are read by TID range scan and keys through their index whatever the
/// statistics say. Waiting for the table lock happens before there is a snapshot, and in short turns.
const SETTINGS: &str = "SET lock_timeout = '1s'; SET statement_timeout = '10min'; \
                        SET idle_in_transaction_session_timeout = '1min'; SET enable_seqscan = off; \
                        SET max_parallel_workers_per_gather = 0";
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Names to try: a table may be renamed between looking its name up and locking it.
const NAME_ATTEMPTS: usize = 5;

impl PostgresChunkReader {
    /// Connects. `prefix` names our messages.
    pub async fn connect(
        options: &ConnectOptions,
        prefix: impl Into<String>,
    ) -> Result<PostgresChunkReader, Failure> {
        Ok(PostgresChunkReader {
            session: Session::connect(options, SETTINGS).await?,
            prefix: prefix.into(),
            last: None,
        })
    }

    async fn read_retrying(
        &mut self,
        client: &mut Client,
        request: &ChunkRequest,
    ) -> Result<ChunkOutcome, Failure> {
        let mut renamed = 0;
        loop {
            let known = self.last.take().filter(|target| target.oid == request.unit.oid);
            let target = match known {
                Some(target) => target,
                None => match look_up(client, request.unit.oid).await? {
                    Some(target) => target,
                    None => return Ok(ChunkOutcome::Gone),
                },
            };
            match attempt(client, &target, request).await? {
                Attempt::Done(outcome) => {
                    self.last = Some(target);
                    return Ok(outcome);
                }
                Attempt::Renamed if renamed + 1 < NAME_ATTEMPTS => renamed += 1,
                Attempt::Renamed => return Err(keeps_moving(&target.name)),
                Attempt::Locked => {
                    let holder = holder(client, &target).await;
                    tracing::info!(table = %target.name, holder, "waiting for a table lock");
                    self.last = Some(target);
                    return Ok(ChunkOutcome::Busy);
                }
            }
        }
    }
}

impl ChunkReader for PostgresChunkReader {
    async fn read(&mut self, request: &ChunkRequest) -> Result<ChunkOutcome, Failure> {
        let mut client = self.session.lend().await?;
        let outcome = self.read_retrying(&mut client, request).await;
        let outcome =
            outcome.map_err(|failure| session::retryable(failure).while_doing("read a chunk of blue"))?;
        self.session.give_back(client);
        Ok(outcome)
    }

    async fn mark(&mut self, nonce: Nonce) -> Result<(), Failure> {
        let mut client = self.session.lend().await?;
        session::emit(&mut client, &self.prefix, nonce).await?;
        self.session.give_back(client);
        Ok(())
    }
}

async fn look_up(client: &mut Client, oid: u32) -> Result<Option<Target>, Failure> {
    let sql = format!(
        "SELECT n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = {oid} AND c.relkind IN ('r', 'p')"
    );
    let rows = client.query(&sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let name = TableName::new(row.required(0)?, row.required(1)?);
    Ok(Some(Target { oid, name, partitioned: row.required(2)? == "p" }))
}

/// One transaction: lock, then snapshot, then rows. It has ended on every path that leaves the connection in use.
async fn attempt(client: &mut Client, target: &Target, request: &ChunkRequest) -> Result<Attempt, Failure> {
    let done = in_transaction(client, target, request).await;
    let state = done.as_ref().err().and_then(server_error).map(|error| error.sqlstate.clone());
    match (done, state.as_deref()) {
        (Ok(Attempt::Done(outcome @ ChunkOutcome::Read(_))), _) => {
            client.batch("COMMIT").await?;
            Ok(Attempt::Done(outcome))
        }
        (Ok(other), _) => {
            client.batch("ROLLBACK").await?;
            Ok(other)
        }
        (Err(_), Some("55P03")) => {
            client.batch("ROLLBACK").await?;
            Ok(Attempt::Locked)
        }
        // The name is looked up again: only an object id that is gone means that the table is.
        (Err(_), Some("42P01" | "3F000" | "42809")) => {
            client.batch("ROLLBACK").await?;
            Ok(Attempt::Renamed)
        }
        (Err(_), Some("42703")) => {
            client.batch("ROLLBACK").await?;
            Ok(Attempt::Done(ChunkOutcome::Gone))
        }
        (Err(failure), _) => Err(failure.while_doing(format!("read {}", target.name))),
    }
}

async fn in_transaction(
    client: &mut Client,
    target: &Target,
    request: &ChunkRequest,
) -> Result<Attempt, Failure> {
    let table = relation(target);
    client.batch(&format!("{BEGIN}; LOCK TABLE {table} IN ACCESS SHARE MODE")).await?;
    let facts = facts(client, target, request).await?;
    if facts.oid != target.oid {
        return Ok(Attempt::Renamed);
    }
    if !facts.fits {
        return Ok(Attempt::Done(ChunkOutcome::Gone));
    }
    let select = match &request.scope {
        ChunkScope::Blocks(range) => blocks_sql(&table, &request.columns, *range),
        ChunkScope::Keys { columns, .. } => match keys::types(client, target.oid, columns).await? {
            Some(types) => keys_sql(&table, request, &types)?,
            None => return Ok(Attempt::Done(ChunkOutcome::Gone)),
        },
    };
    let Some(rows) = copy_rows(client, &select, request.bytes_max).await? else {
        return Ok(Attempt::Done(ChunkOutcome::TooLarge));
    };
    let Facts { snapshot, filenode, fingerprint, .. } = facts;
    Ok(Attempt::Done(ChunkOutcome::Read(ChunkRows { snapshot, filenode, fingerprint, rows })))
}

/// The table as it has to appear in SQL: without the tables that inherit from it, but with its partitions.
fn relation(target: &Target) -> String {
    if target.partitioned { quote_table(&target.name) } else { format!("ONLY {}", quote_table(&target.name)) }
}

async fn facts(client: &mut Client, target: &Target, request: &ChunkRequest) -> Result<Facts, Failure> {
    let sql = format!(
        "SELECT t.oid::bigint, coalesce(pg_catalog.pg_relation_filenode(t.oid), 0), {}, pg_catalog.pg_current_snapshot(), {} \
         FROM (SELECT {}::regclass::oid) AS t(oid)",
        fingerprint::sql("t.oid"),
        fits_sql("t.oid", request)?,
        quote_literal(&quote_table(&target.name)),
    );
    let rows = client.query(&sql).await?;
    let row = rows.first().ok_or_else(|| Failure::new(Class::Internal, "blue answered without a row"))?;
    Ok(Facts {
        oid: row.parse(0)?,
        filenode: row.parse(1)?,
        fingerprint: fingerprint::parse(row.required(2)?)?,
        snapshot: row.parse(3)?,
        fits: row.is_true(4),
    })
}

/// SQL that is true where a table, given an expression for its object id, has every column asked for with the type that it
/// must have. Nobody changes that before the lock on it is given up.
fn fits_sql(table: &str, request: &ChunkRequest) -> Result<String, Failure> {
    let Some(types) = &request.types else { return Ok("true".to_owned()) };
    if types.len() != request.columns.len() {
        return Err(Failure::new(Class::Internal, "a chunk has another number of types than of columns"));
    }
    if types.is_empty() {
        return Ok("true".to_owned());
    }
    let wanted = request.columns.iter().zip(types).map(|(column, (oid, modifier))| {
        format!("({}::name, {oid}::oid, {modifier}::int4)", quote_literal(column))
    });
    let wanted = wanted.collect::<Vec<_>>();
    Ok(format!(
        "(SELECT count(*) FROM (VALUES {}) AS w(name, type, modifier) JOIN pg_catalog.pg_attribute a \
           ON a.attname = w.name AND a.atttypid = w.type AND a.atttypmod = w.modifier \
         WHERE a.attrelid = {table} AND a.attnum > 0 AND NOT a.attisdropped) = {}",
        wanted.join(", "),
        wanted.len()
    ))
}

fn blocks_sql(table: &str, columns: &[String], range: BlockRange) -> String {
    let columns = columns.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
    let BlockRange { from, to } = range;
    format!("SELECT {columns} FROM {table} WHERE ctid >= '{from}'::tid AND ctid < '{to}'::tid")
}

fn keys_sql(table: &str, request: &ChunkRequest, types: &[KeyType]) -> Result<String, Failure> {
    let ChunkScope::Keys { columns, keys } = &request.scope else {
        return Err(Failure::new(Class::Internal, "a chunk by keys needs keys"));
    };
    let selected =
        request.columns.iter().map(|column| format!("x.{}", quote_ident(column))).collect::<Vec<_>>();
    let selected = selected.join(", ");
    if keys.is_empty() {
        return Ok(format!("SELECT {selected} FROM {table} AS x WHERE false"));
    }
    Ok(format!("SELECT {selected} FROM {table} AS x JOIN {}", keys::join_sql(columns, types, keys)?))
}

/// The rows of a query, or `None` when they take more than `bytes_max` and there is more than one.
async fn copy_rows(
    client: &mut Client,
    select: &str,
    bytes_max: usize,
) -> Result<Option<Vec<Tuple>>, Failure> {
    let mut copy = client.copy_out(&format!("COPY ({select}) TO STDOUT")).await?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(mut line) = copy.next().await? {
        line.truncate(line.len().saturating_sub(1));
        bytes += line.len();
        if bytes > bytes_max && !rows.is_empty() {
            // What is left is drained rather than left behind with the connection, whose end the server would
            // notice late: until then the snapshot would hold vacuum up.
            copy.cancel().await?;
            return Ok(None);
        }
        rows.push(Tuple::from_copy_line(line));
    }
    Ok(Some(rows))
}

fn keeps_moving(table: &TableName) -> Failure {
    Failure::new(Class::Transient, format!("{table} is being renamed again and again"))
}

/// Who holds the table, as far as it can be seen.
async fn holder(client: &mut Client, target: &Target) -> String {
    let sql = format!(
        "SELECT string_agg('process ' || l.pid || coalesce(', user ' || a.usename, '') || \
           coalesce(', application ''' || nullif(a.application_name, '') || '''', ''), '; ') \
         FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         WHERE l.relation = {} AND l.mode = 'AccessExclusiveLock' AND l.granted",
        target.oid
    );
    let rows = client.query(&sql).await.unwrap_or_default();
    rows.first().and_then(|row| row.text(0)).unwrap_or("somebody unknown").to_owned()
}
