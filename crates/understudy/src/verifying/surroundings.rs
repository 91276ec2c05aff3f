//! What verification and the gate have to know of both servers beside their rows: how busy they are, and what green lacks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use understudy_contract::Failure;
use understudy_control::StatusHandle;
use understudy_postgres::load::server_load;
use understudy_postgres::readiness::{self, ReadinessPlan, ReadyRoute};
use understudy_postgres::wire::{Client, ConnectOptions};
use understudy_transform::ColumnSource;
use understudy_verify::{Circumstances, Load};

use crate::gate::VerifyBoard;
use crate::mapping::Drawn;
use crate::settings::Settings;

/// How often the load is looked at.
const LOAD_EVERY: Duration = Duration::from_secs(1);

/// How often both servers are examined.
const EXAMINE_EVERY: Duration = Duration::from_secs(10);

/// How long any one look may take.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// What both servers are examined for.
pub(super) fn readiness_plan(settings: &Settings, drawn: &[Drawn<'_>]) -> ReadinessPlan {
    let route = |one: &Drawn<'_>| {
        let passed = one.spec.columns.iter().filter_map(|column| match &column.from {
            ColumnSource::Column(blue) => Some((blue.clone(), column.name.clone())),
            ColumnSource::Constant(_) | ColumnSource::Computed(_) => None,
        });
        ReadyRoute {
            source: one.spec.source.clone(),
            target: one.spec.target.clone(),
            columns: passed.collect(),
            copied_before: false,
        }
    };
    ReadinessPlan {
        migration: settings.name.as_str().to_owned(),
        slot: settings.name.slot(),
        routes: drawn.iter().map(route).collect(),
        max_transaction_age: settings.gate.max_transaction_age,
        sequence_headroom: settings.gate.sequence_headroom,
    }
}

/// Looks around until it is dropped.
pub(super) struct Surroundings {
    pub(super) blue: ConnectOptions,
    pub(super) green: ConnectOptions,
    pub(super) plan: ReadinessPlan,
    pub(super) status: StatusHandle,
    pub(super) circumstances: Arc<watch::Sender<Circumstances>>,
    pub(super) board: Arc<VerifyBoard>,
}

impl Surroundings {
    /// Looks around. A server that is away leaves what was known to grow old.
    pub(super) async fn watch(mut self) {
        let mut sides: Option<(Client, Client)> = None;
        let mut examined: Option<Instant> = None;
        let mut tick = tokio::time::interval(LOAD_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let is_due = examined.is_none_or(|at| at.elapsed() >= EXAMINE_EVERY);
            let look = tokio::time::timeout(LOOK_MAX, self.look(&mut sides, is_due)).await;
            match look {
                Ok(Ok(())) => {
                    if is_due {
                        examined = Some(Instant::now());
                    }
                }
                Ok(Err(failure)) => {
                    tracing::debug!(error = %failure, "cannot look at both servers");
                    sides = None;
                    self.unknown_load();
                }
                Err(_) => {
                    sides = None;
                    self.unknown_load();
                }
            }
        }
    }

    async fn look(&mut self, sides: &mut Option<(Client, Client)>, examine: bool) -> Result<(), Failure> {
        let (blue, green) = match sides {
            Some(sides) => sides,
            None => sides.insert((Client::connect(&self.blue).await?, Client::connect(&self.green).await?)),
        };
        let load = server_load(blue).await?;
        let lag_ms = self.lag_ms();
        self.circumstances.send_modify(|circumstances| {
            circumstances.load = Load {
                active_sessions: Some(load.active_sessions),
                replica_lag_ms: Some(load.replica_lag_ms),
                lag_ms,
            };
        });
        // What is said of a table depends on whether it is copied.
        if self.copied() || examine {
            let found = Box::pin(readiness::examine(blue, green, &self.plan)).await;
            self.board.readiness(found);
        }
        Ok(())
    }

    /// Takes over which tables are copied. Returns whether that has changed.
    fn copied(&mut self) -> bool {
        let report = self.status.report();
        let mut changed = false;
        for route in &mut self.plan.routes {
            let name = route.source.to_string();
            let is_copied = report.tables.iter().any(|table| {
                table.source == name && table.state == understudy_control::TableState::Following
            });
            changed |= std::mem::replace(&mut route.copied_before, is_copied) != is_copied;
        }
        changed
    }

    fn unknown_load(&self) {
        let lag_ms = self.lag_ms();
        self.circumstances.send_modify(|circumstances| {
            circumstances.load = Load { lag_ms, ..Load::default() };
        });
    }

    fn lag_ms(&self) -> Option<u64> {
        self.status.report().lag_seconds.map(|lag| (lag.max(0.0) * 1_000.0) as u64)
    }
}
