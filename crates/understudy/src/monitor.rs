//! Looks at blue from outside the stream: where its log ends, how its slot fares, and whether its publication is as made.

use std::time::Duration;

use understudy_contract::{Class, Failure};
use understudy_control::{SlotStatus, StatusHandle, WalStatus};
use understudy_model::Lsn;
use understudy_postgres::source::followed::Followed;
use understudy_postgres::source::publication::{self, PublishedTable};
use understudy_postgres::source::slot;
use understudy_postgres::wire::{Client, ConnectOptions};

/// How long the end of a run may be held up by a blue that does not answer.
const LAST_LOOK_MAX: Duration = Duration::from_secs(2);

/// How the publication must be and stay.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    /// What it must hold.
    pub(crate) tables: Vec<PublishedTable>,
    /// In which versions.
    pub(crate) followed: Followed,
}

impl Watched {
    /// Fails when changes may have been missed, also when the publication is again as it was.
    async fn look(&self, client: &mut Client) -> Result<(), Failure> {
        let name = &self.followed.publication;
        let there = publication::inspect(client, name).await?;
        if let Some(gap) = self.followed.gap_on(client, there.as_ref()).await? {
            return Err(self.followed.failure(&gap));
        }
        there.map_or(Ok(()), |there| there.expect(name, &self.tables))
    }
}

/// What is watched, and how often.
pub(crate) struct Monitor {
    pub(crate) blue: ConnectOptions,
    /// Name of the slot and of the publication.
    pub(crate) slot: String,
    /// How the publication must be.
    pub(crate) watched: Watched,
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

    /// The publication once more, at the end of a run. A blue that is away is asked at the next start.
    pub(crate) async fn last_look(self) -> Result<(), Failure> {
        let look = async {
            let mut client = Client::connect(&self.blue).await?;
            self.watched.look(&mut client).await?;
            client.close().await;
            Ok::<(), Failure>(())
        };
        match tokio::time::timeout(LAST_LOOK_MAX, look).await {
            Ok(Err(failure)) if failure.class() == Class::Diverged => Err(failure),
            Ok(_) | Err(_) => Ok(()),
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
        self.watched.look(client).await?;
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
