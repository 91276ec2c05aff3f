//! The replication slot: created with a deadline, inspected, taken over from a dead predecessor, dropped.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use understudy_contract::{Blocker, Class, Failure};
use understudy_model::{Checkpoint, Lsn, Xid};

use crate::error::{has_sqlstate, protocol};
use crate::ident::{quote_ident, quote_literal};
use crate::wire::{Client, ConnectOptions, Row};

/// A slot as `pg_replication_slots` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotState {
    /// Its output plugin; `None` for a physical slot.
    pub plugin: Option<String>,
    /// The database it decodes.
    pub database: Option<String>,
    /// The process that reads it.
    pub active_pid: Option<i32>,
    /// The log is kept from here on.
    pub restart: Option<Lsn>,
    /// The stream starts here at the earliest.
    pub confirmed: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`; `None` for a slot that was never used.
    pub wal_status: Option<String>,
    /// Bytes that can still be written before the slot may be lost; `None` without a limit, or once it is lost.
    pub safe_wal_bytes: Option<i64>,
    /// Why it was lost, from Postgres 17 on.
    pub invalidation_reason: Option<String>,
    /// Whether standbys keep a copy of it, from Postgres 17 on.
    pub failover: bool,
}

impl SlotState {
    /// Whether the server has removed log that the slot needs. It never recovers.
    pub fn is_lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost") || self.invalidation_reason.is_some()
    }
}

/// Reads a slot's state. `None` when there is no such slot.
pub async fn inspect(client: &mut Client, slot: &str) -> Result<Option<SlotState>, Failure> {
    let newer =
        if client.server_version() >= 170_000 { "invalidation_reason, failover" } else { "NULL, false" };
    let sql = format!(
        "SELECT plugin, database, active_pid, restart_lsn, confirmed_flush_lsn, wal_status, safe_wal_size, {newer} \
         FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
        quote_literal(slot)
    );
    let rows =
        client.query(&sql).await.map_err(|failure| failure.while_doing(format!("read slot {slot}")))?;
    rows.first().map(state).transpose()
}

fn state(row: &Row) -> Result<SlotState, Failure> {
    let text = |column| row.text(column).map(str::to_owned);
    Ok(SlotState {
        plugin: text(0),
        database: text(1),
        active_pid: row.optional(2)?,
        restart: row.optional(3)?,
        confirmed: row.optional(4)?,
        wal_status: text(5),
        safe_wal_bytes: row.optional(6)?,
        invalidation_reason: text(7),
        failover: row.is_true(8),
    })
}

/// How to create a slot.
pub struct CreateSlot<'a> {
    /// Its name.
    pub slot: &'a str,
    /// How long the server may wait for transactions that were open before.
    pub patience: Duration,
    /// Told about once a second which transactions the server waits for.
    pub on_wait: &'a mut (dyn FnMut(&[Blocker]) + Send),
}

/// Creates a permanent slot and returns the point from which its stream is complete.
///
/// The server first waits for every transaction that writes at the time. It knows no limit for that, so we keep one
/// and leave no slot behind when it passes. Dropping the future may leave one behind: end it by the deadline instead.
pub async fn create(options: &ConnectOptions, request: CreateSlot<'_>) -> Result<Checkpoint, Failure> {
    let slot = request.slot;
    let result = Box::pin(create_within(options, request)).await;
    result.map_err(|failure| {
        let remedy = match () {
            () if has_sqlstate(&failure, "42710") => {
                "a slot of this name exists: `understudy abort` removes what an earlier run left"
            }
            () if has_sqlstate(&failure, "53400") => {
                "raise max_replication_slots on blue, or drop a slot that is not needed"
            }
            () if has_sqlstate(&failure, "55000") => "set wal_level = logical on blue and restart it",
            () if has_sqlstate(&failure, "42501") => "grant blue's role the REPLICATION attribute",
            () => "run `understudy check` for what blue needs",
        };
        failure.while_doing(format!("create slot {slot} on blue")).remedy(remedy)
    })
}

async fn create_within(options: &ConnectOptions, request: CreateSlot<'_>) -> Result<Checkpoint, Failure> {
    let deadline = Instant::now() + request.patience;
    let mut client = Client::connect_replication(options).await?;
    let mut watcher = Client::connect(options).await?;
    let token = client.cancel_token();
    let failover = if client.server_version() >= 170_000 { ", FAILOVER" } else { "" };
    let settings = if client.server_version() >= 150_000 {
        format!("(SNAPSHOT 'nothing'{failover})")
    } else {
        "NOEXPORT_SNAPSHOT".to_owned()
    };
    let sql = format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput {settings}", quote_ident(request.slot));
    let mut creation = Box::pin(client.query(&sql));
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let mut blockers = Vec::new();
    loop {
        tokio::select! {
            biased;
            rows = &mut creation => return consistent_point(&rows?),
            () = tokio::time::sleep_until(deadline) => break,
            _ = ticks.tick() => {
                // A look that fails is no reason to let go of a command that would leave a slot behind.
                if let Ok(Ok(found)) = timeout_at(deadline, writers(&mut watcher)).await {
                    blockers = found;
                    (request.on_wait)(&blockers);
                }
            }
        }
    }
    token.cancel().await?;
    // Either the cancellation wins, or the slot was finished in the same moment and is as good as asked for.
    let rows = timeout_at(Instant::now() + Duration::from_secs(10), creation).await.map_err(|_| {
        Failure::new(Class::Transient, "blue did not give up creating the slot when asked to")
    })?;
    match rows {
        Ok(rows) => consistent_point(&rows),
        Err(failure) if has_sqlstate(&failure, "57014") => Err(Failure::new(
            Class::Transient,
            format!(
                "older transactions were still writing after {} s: {}",
                request.patience.as_secs(),
                list(&blockers)
            ),
        )
        .remedy(
            "end these transactions on blue, or allow more time, and run again: no slot was left behind",
        )),
        Err(failure) => Err(failure),
    }
}

fn list(blockers: &[Blocker]) -> String {
    let names = blockers.iter().map(|blocker| blocker.description.as_str()).collect::<Vec<_>>();
    if names.is_empty() { "none that this role may see".to_owned() } else { names.join("; ") }
}

fn consistent_point(rows: &[Row]) -> Result<Checkpoint, Failure> {
    let row = rows.first().ok_or_else(|| protocol("no answer to CREATE_REPLICATION_SLOT"))?;
    Ok(Checkpoint::at_commit_end(row.parse(1)?))
}

/// The transactions that write at the moment, oldest first, prepared ones included; at most ten.
async fn writers(client: &mut Client) -> Result<Vec<Blocker>, Failure> {
    let sql = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()), xid, description FROM (\
                 SELECT backend_xid AS xid, xact_start AS since, pg_catalog.format(\
                   'process %s, user %s, application \"%s\", open for %s s', pid, usename, application_name, \
                   pg_catalog.round(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - xact_start))) AS description \
                 FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid() \
                 UNION ALL \
                 SELECT transaction, prepared, pg_catalog.format('prepared transaction \"%s\", user %s, open for %s s', \
                   gid, owner, pg_catalog.round(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - prepared))) \
                 FROM pg_catalog.pg_prepared_xacts) writers ORDER BY since LIMIT 10";
    let rows = client.query(sql).await?;
    rows.iter()
        .map(|row| {
            let xid = Xid::widen(row.parse(1)?, Xid::new(row.parse(0)?));
            Ok(Blocker { xid, description: row.required(2)?.to_owned() })
        })
        .collect()
}

/// Drops a slot, ending a reader of ours if there is one. False when there was none.
///
/// `ours` is what the application names of this migration's sessions begin with, up to the slash before their role.
pub async fn drop(client: &mut Client, slot: &str, ours: &str) -> Result<bool, Failure> {
    let sql = format!("SELECT pg_catalog.pg_drop_replication_slot({})", quote_literal(slot));
    let mut wait = Waiting::new();
    loop {
        match client.query(&sql).await {
            Ok(_) => return Ok(true),
            Err(failure) if has_sqlstate(&failure, "42704") => return Ok(false),
            Err(failure) if has_sqlstate(&failure, "55006") => wait.release(client, slot, ours).await?,
            Err(failure) => return Err(failure.while_doing(format!("drop slot {slot}"))),
        }
    }
}

/// How long a reader that is not ours is given to go away.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_secs(5);
/// How long a reader of ours is given to end once it was told to.
const PATIENCE_WITH_OURS: Duration = Duration::from_secs(30);

/// Waiting for a slot that someone else reads, with growing pauses and an end.
pub(super) struct Waiting {
    since: Instant,
    pause: Duration,
}

impl Waiting {
    pub(super) fn new() -> Waiting {
        Waiting { since: Instant::now(), pause: Duration::from_millis(20) }
    }

    /// Takes one step towards a free slot: a reader of this migration is terminated, any other is waited for.
    pub(super) async fn release(
        &mut self,
        client: &mut Client,
        slot: &str,
        ours: &str,
    ) -> Result<(), Failure> {
        if let Some(reader) = reader(client, slot).await? {
            let ours = is_ours(&reader.application, ours);
            if ours {
                tracing::warn!(
                    pid = reader.pid,
                    slot,
                    "an earlier reader of this migration still holds the slot: ending it"
                );
                // Another attempt of ours may have ended it in between: then there is nothing left to end.
                client.query(&format!("SELECT pg_catalog.pg_terminate_backend({})", reader.pid)).await?;
            }
            if self.since.elapsed() > if ours { PATIENCE_WITH_OURS } else { PATIENCE_WITH_OTHERS } {
                return Err(reader.in_the_way(slot, ours));
            }
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Duration::from_secs(1));
        Ok(())
    }
}

struct Reader {
    pid: i32,
    application: String,
    description: String,
}

impl Reader {
    fn in_the_way(&self, slot: &str, ours: bool) -> Failure {
        let class = if ours { Class::Transient } else { Class::Configuration };
        Failure::new(class, format!("slot {slot} is in use by another client: {}", self.description)).remedy(format!(
            "a slot admits one reader: stop that client, or if it is dead end it with SELECT pg_terminate_backend({})",
            self.pid
        ))
    }
}

async fn reader(client: &mut Client, slot: &str) -> Result<Option<Reader>, Failure> {
    let sql = format!(
        "SELECT s.active_pid, coalesce(a.application_name, ''), coalesce(a.usename, ''), coalesce(a.client_addr::text, 'local') \
         FROM pg_catalog.pg_replication_slots s LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid \
         WHERE s.slot_name = {} AND s.active_pid IS NOT NULL",
        quote_literal(slot)
    );
    let rows = client.query(&sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (pid, application) = (row.parse(0)?, row.required(1)?.to_owned());
    let description = format!(
        "process {pid}, application \"{application}\", user {}, from {}",
        row.required(2)?,
        row.required(3)?
    );
    Ok(Some(Reader { pid, application, description }))
}

/// Whether a session with this application name belongs to the migration whose names begin like this.
fn is_ours(application: &str, ours: &str) -> bool {
    application.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What the application names of a migration's sessions begin with, given one of them. A name without a slash says
/// nothing about a migration: it stands for itself.
pub(super) fn prefix_of(application: &str) -> &str {
    application.rsplit_once('/').map_or(application, |(prefix, _)| prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_readers_of_the_same_migration_are_ours() {
        // F14: a dead predecessor is ended, a stranger never.
        let ours = prefix_of("understudy/shop/stream");
        assert_eq!(ours, "understudy/shop");
        assert!(is_ours("understudy/shop/stream", ours) && is_ours("understudy/shop/slot", ours));
        for other in ["understudy/shop-v2/stream", "understudy/other/stream", "understudy", "", "debezium"] {
            assert!(!is_ours(other, ours), "{other}");
        }
        assert!(is_ours("reader", prefix_of("reader")) && !is_ours("readers", prefix_of("reader")));
    }
}
