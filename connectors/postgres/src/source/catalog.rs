//! Blue's catalog as the loop sees it: the units of each route, snapshots, barriers and who holds them up.

use understudy_contract::{Blocker, BlueCatalog, Class, Failure, Unit};
use understudy_model::{Nonce, Snapshot, Xid};

use super::session::{self, Session};
pub use super::units::ListedTable;
use super::units::Units;
use crate::wire::{Client, ConnectOptions, Row};

/// Looks at blue's catalog on a connection of its own.
pub struct PostgresCatalog {
    session: Session,
    prefix: String,
    units: Units,
}

/// Nothing here waits long for a lock, nor runs long.
const SETTINGS: &str = "SET lock_timeout = '250ms'; SET statement_timeout = '30s'; \
                        SET idle_in_transaction_session_timeout = '30s'";

impl PostgresCatalog {
    /// Connects. `prefix` names our messages; `tables` are those on blue whose units are to be listed.
    pub async fn connect(
        options: &ConnectOptions,
        prefix: impl Into<String>,
        tables: &[ListedTable],
    ) -> Result<PostgresCatalog, Failure> {
        let session = Session::connect(options, SETTINGS).await?;
        Ok(PostgresCatalog { session, prefix: prefix.into(), units: Units::new(tables) })
    }

    async fn value(&mut self, sql: &str, what: &str) -> Result<Row, Failure> {
        let mut client = self.session.lend().await?;
        let rows =
            client.query(sql).await.map_err(|failure| session::retryable(failure).while_doing(what))?;
        self.session.give_back(client);
        let none = || Failure::new(Class::Internal, "blue answered without a row").while_doing(what);
        rows.into_iter().next().ok_or_else(none)
    }
}

impl BlueCatalog for PostgresCatalog {
    async fn units(&mut self) -> Result<Vec<Unit>, Failure> {
        let units = self.units.list(&mut self.session).await;
        units.map_err(|failure| session::retryable(failure).while_doing("list the tables of blue"))
    }

    async fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        let row = self.value("SELECT pg_catalog.pg_current_snapshot()", "take a snapshot of blue").await?;
        row.parse(0)
    }

    async fn barrier(&mut self) -> Result<Xid, Failure> {
        let row =
            self.value("SELECT pg_catalog.pg_current_xact_id()", "draw a transaction id on blue").await?;
        Ok(Xid::new(row.parse(0)?))
    }

    async fn blockers(&mut self, xids: &[Xid]) -> Result<Vec<Blocker>, Failure> {
        let mut client = self.session.lend().await?;
        let blockers = blockers(&mut client, xids).await;
        let blockers = blockers.map_err(|failure| {
            session::retryable(failure).while_doing("look for open transactions on blue")
        })?;
        self.session.give_back(client);
        Ok(blockers)
    }

    async fn mark(&mut self, nonce: Nonce) -> Result<(), Failure> {
        let mut client = self.session.lend().await?;
        session::emit(&mut client, &self.prefix, nonce).await?;
        self.session.give_back(client);
        Ok(())
    }
}

/// Every transaction with an id holds a lock on that id until it ends, prepared ones without a process. Unlike the
/// columns of `pg_stat_activity` that lock is visible without any right; what is hidden there is left out of the text.
async fn blockers(client: &mut Client, xids: &[Xid]) -> Result<Vec<Blocker>, Failure> {
    let wanted = xids.iter().map(|xid| (xid.raw() as u32).to_string()).collect::<Vec<_>>().join(",");
    let sql = format!(
        "SELECT l.transactionid, l.pid, a.usename, a.application_name, a.state, a.wait_event, \
           extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared))::bigint, p.gid, p.owner, p.database \
         FROM pg_catalog.pg_locks l \
         LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         LEFT JOIN pg_catalog.pg_prepared_xacts p ON l.pid IS NULL AND p.transaction = l.transactionid \
         WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted \
         AND l.transactionid::text = ANY ('{{{wanted}}}'::text[])"
    );
    let rows = client.query(&sql).await?;
    let mut blockers = Vec::new();
    for row in rows {
        let short: u32 = row.parse(0)?;
        let wide = xids.iter().copied().filter(|xid| xid.raw() as u32 == short);
        blockers.extend(wide.map(|xid| Blocker { xid, description: describe(&row) }));
    }
    blockers.sort_by_key(|blocker| blocker.xid);
    Ok(blockers)
}

fn describe(row: &Row) -> String {
    let age = row.text(6).map_or(String::new(), |seconds| format!(", open for {seconds} s"));
    if let Some(gid) = row.text(7) {
        let (owner, database) = (row.text(8).unwrap_or("?"), row.text(9).unwrap_or("?"));
        return format!("prepared transaction '{gid}' of {owner} in {database}{age}");
    }
    let mut text = format!("process {}", row.text(1).unwrap_or("?"));
    let known = |column: usize| row.text(column).filter(|text| !text.is_empty());
    if let Some(user) = known(2) {
        text.push_str(&format!(", user {user}"));
    }
    if let Some(application) = known(3) {
        text.push_str(&format!(", application '{application}'"));
    }
    text.push_str(&age);
    if known(5) == Some("SyncRep") {
        text.push_str(", waiting for a synchronous standby");
    } else if let Some(state) = known(4) {
        text.push_str(&format!(", {state}"));
    }
    text
}
