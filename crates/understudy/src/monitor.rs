//! Looks at blue from outside the stream: where its log ends, how its slot fares, and whether its publication is as made.

use std::time::Duration;

use understudy_contract::{Class, Failure};
use understudy_control::{SlotStatus, StatusHandle, WalStatus};
use understudy_model::Lsn;
use understudy_postgres::source::publication::{self, PublishedTable};
use understudy_postgres::source::slot;
use understudy_postgres::wire::{Client, ConnectOptions};

/// What is watched, and how often.
pub(crate) struct Monitor {
    pub(crate) blue: ConnectOptions,
    /// Name of the slot and of the publication.
    pub(crate) slot: String,
    /// What the publication must hold.
    pub(crate) tables: Vec<PublishedTable>,
    pub(crate) interval: Duration,
    /// Bytes of log that the slot may keep before it is complained about.
    pub(crate) budget_bytes: Option<u64>,
    pub(crate) status: StatusHandle,
}

impl Monitor {
    /// Watches until it is dropped, or until the publication is not as this migration made it: then changes are being
    /// missed. A connection that fails is made again.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut client = None;
        let mut over_budget = false;
        let mut ticks = tokio::time::interval(self.interval);
        loop {
            ticks.tick().await;
            match self.look(&mut client).await {
                Ok(Some(slot)) => {
                    let over = self.budget_bytes.is_some_and(|budget| slot.retained_bytes > budget);
                    if over && !over_budget {
                        tracing::warn!(
                            retained_bytes = slot.retained_bytes,
                            "blue keeps more log for the slot than `wal.budget` allows; to free it: understudy abort"
                        );
                    }
                    over_budget = over;
                    self.status.update(|report| report.slot = Some(slot));
                }
                Ok(None) => self.status.update(|report| report.slot = None),
                Err(failure) if failure.class() == Class::Diverged => return Err(failure),
                Err(failure) => {
                    tracing::debug!(error = %failure, "cannot look at blue's slot");
                    client = None;
                }
            }
        }
    }

    async fn look(&self, client: &mut Option<Client>) -> Result<Option<SlotStatus>, Failure> {
        let client = match client {
            Some(client) => client,
            None => client.insert(Client::connect(&self.blue).await?),
        };
        let rows = client.query("SELECT pg_catalog.pg_current_wal_lsn()").await?;
        let end = rows.first().map(|row| row.parse::<Lsn>(0)).transpose()?.unwrap_or_default();
        self.status.blue_end(end);
        let gone = || {
            Failure::new(Class::Diverged, format!("the publication {} is gone from blue", self.slot)).remedy(
                "changes may be missing: start over with: understudy abort FILE, then understudy run FILE",
            )
        };
        let publication = publication::inspect(client, &self.slot).await?;
        publication.ok_or_else(gone)?.expect(&self.slot, &self.tables)?;
        let Some(state) = slot::inspect(client, &self.slot).await? else {
            return Ok(None);
        };
        Ok(Some(SlotStatus {
            name: self.slot.clone(),
            active: state.active_pid.is_some(),
            wal_status: state.wal_status.as_deref().and_then(WalStatus::parse),
            retained_bytes: state.restart.map_or(0, |restart| end.bytes_since(restart)),
            safe_bytes: state.safe_wal_bytes.map(|bytes| u64::try_from(bytes).unwrap_or(0)),
        }))
    }
}
