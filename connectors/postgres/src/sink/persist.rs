//! Makes what has been applied survive a crash of green, and of its standbys where they count, beside what is applied.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use understudy_contract::Failure;

use super::settings::SinkSettings;
use crate::ident::quote_literal;
use crate::wire::{Client, Row};

/// How soon standbys are asked again how far they are: at first, and at last where one stays behind.
const STANDBY_POLL_MIN: Duration = Duration::from_millis(10);
const STANDBY_POLL_MAX: Duration = Duration::from_millis(500);

/// The session that makes things durable. Whoever does so has it alone until that is done.
#[derive(Clone)]
pub(super) struct Keeper {
    client: Arc<Mutex<Client>>,
    /// Writes a little, to be committed on disk.
    touch: Arc<str>,
    standbys: Arc<[String]>,
    patience: Duration,
}

impl Keeper {
    /// Takes over a session that commits on disk.
    pub(super) fn new(client: Client, settings: &SinkSettings) -> Keeper {
        let name = quote_literal(&settings.migration);
        let touch = format!("UPDATE understudy.flush SET flushed_at = now() WHERE name = {name}");
        Keeper {
            client: Arc::new(Mutex::new(client)),
            touch: touch.into(),
            standbys: settings.standbys.as_slice().into(),
            patience: settings.standby_patience,
        }
    }

    /// Has everything flushed that was committed before, and waits for the standbys.
    pub(super) async fn persist(&self) -> Result<(), Failure> {
        let mut client = self.client.lock().await;
        // One commit on disk takes every earlier one with it: its record precedes none of them.
        let flushed = client.query(&self.touch).await;
        flushed.map_err(|failure| failure.while_doing("make changes durable on green"))?;
        self.await_standbys(&mut client).await
    }

    /// Waits until each of the standbys has on disk what green has on disk now, however long that takes: what is not
    /// durable there is not confirmed to blue, and the changes go on meanwhile.
    async fn await_standbys(&self, client: &mut Client) -> Result<(), Failure> {
        if self.standbys.is_empty() {
            return Ok(());
        }
        let flushed = client.query("SELECT pg_current_wal_flush_lsn()").await?;
        let Some(upto) = flushed.first().and_then(|row| row.text(0)) else {
            return Ok(());
        };
        let sql = behind_sql(&self.standbys, upto);
        let began = Instant::now();
        let (mut pause, mut told) = (STANDBY_POLL_MIN, false);
        loop {
            let behind = client.query(&sql).await?;
            let Some(first) = behind.first() else {
                if told {
                    tracing::info!("the standbys of green have flushed what they held back");
                }
                return Ok(());
            };
            if !told && began.elapsed() >= self.patience {
                told = true;
                tell(first)?;
            }
            sleep(pause).await;
            pause = (pause * 2).min(STANDBY_POLL_MAX);
        }
    }
}

/// Asks which of the standbys have not flushed so far, whether each is connected, and whether its progress is hidden.
fn behind_sql(names: &[String], upto: &str) -> String {
    let list = names.iter().map(|name| format!("({})", quote_literal(name))).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT n.name, r.pid IS NOT NULL, r.flush_lsn IS NULL FROM (VALUES {list}) AS n (name) \
         LEFT JOIN pg_stat_replication AS r ON r.application_name = n.name \
         WHERE NOT EXISTS (SELECT FROM pg_stat_replication AS d \
         WHERE d.application_name = n.name AND d.flush_lsn >= '{upto}')"
    )
}

/// Warns that a standby holds confirmation back, and says what helps.
fn tell(behind: &Row) -> Result<(), Failure> {
    let connected = behind.text(1) == Some("t");
    let state = match (connected, behind.text(2) == Some("t")) {
        (true, true) => "its progress cannot be seen by this role: GRANT pg_monitor to it on green",
        (true, false) => "it is connected but has not caught up",
        (false, _) => "it is not connected, or not visible to this role without pg_monitor",
    };
    let standby = behind.required(0)?;
    tracing::warn!(
        standby,
        state,
        "the standby of green has not flushed what was applied, so blue keeps its log: bring the standby back, or take \
         it out of `standbys` if it shall never take over"
    );
    Ok(())
}
