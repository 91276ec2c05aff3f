//! Makes what has been applied survive a crash of green, and of its standbys where they count.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use understudy_contract::{Class, Failure};

use crate::ident::quote_literal;
use crate::wire::Client;

/// How often standbys are asked how far they are.
const STANDBY_POLL: Duration = Duration::from_millis(10);

/// One commit on disk takes every earlier one with it. Its record precedes none of what was applied before.
pub(super) async fn flush(client: &mut Client, migration: &str) -> Result<(), Failure> {
    let sql =
        format!("UPDATE understudy.flush SET flushed_at = now() WHERE name = {}", quote_literal(migration));
    client.query(&sql).await.map(drop).map_err(|failure| failure.while_doing("make changes durable on green"))
}

/// Waits until each of the standbys has on disk what green has on disk now.
pub(super) async fn standbys(
    client: &mut Client,
    names: &[String],
    patience: Duration,
) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let flushed = client.query("SELECT pg_current_wal_flush_lsn()").await?;
    let Some(upto) = flushed.first().and_then(|row| row.text(0)) else {
        return Ok(());
    };
    let list = names.iter().map(|name| format!("({})", quote_literal(name))).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT n.name, r.pid IS NOT NULL, r.flush_lsn IS NULL FROM (VALUES {list}) AS n (name) \
         LEFT JOIN pg_stat_replication AS r ON r.application_name = n.name \
         WHERE NOT EXISTS (SELECT FROM pg_stat_replication AS d \
         WHERE d.application_name = n.name AND d.flush_lsn >= '{upto}')"
    );
    let deadline = Instant::now() + patience;
    loop {
        let behind = client.query(&sql).await?;
        let Some(first) = behind.first() else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            let connected = first.text(1) == Some("t");
            let state = match (connected, first.text(2) == Some("t")) {
                (true, true) => "its progress cannot be seen by this role: GRANT pg_monitor to it on green",
                (true, false) => "it is connected but has not caught up",
                (false, _) => "it is not connected, or not visible to this role without pg_monitor",
            };
            let cause = format!(
                "the standby {} of green has not flushed what was applied: {state}",
                first.required(0)?
            );
            let remedy = "bring the standby back, or take it out of `standbys` if it shall never take over";
            return Err(Failure::new(Class::Transient, cause).remedy(remedy));
        }
        sleep(STANDBY_POLL).await;
    }
}
