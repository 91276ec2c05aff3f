//! Telling blue what it may forget, on a task of its own: a sink that is blocked must never starve the walsender.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use understudy_contract::{Confirm, Failure};
use understudy_model::Lsn;
use understudy_pgoutput::StatusUpdate;

use crate::wire::CopyWriter;

/// Confirmations closer together than this travel in one update.
const UPDATE_SPACING: Duration = Duration::from_millis(100);
/// How long the last words may take when the stream is dropped.
const FAREWELL: Duration = Duration::from_secs(2);
/// Seconds from the Unix epoch to 2000-01-01 UTC, where Postgres starts to count.
const POSTGRES_EPOCH: Duration = Duration::from_secs(946_684_800);

/// What the stream, its confirmer and the feedback task share.
#[derive(Default)]
pub(super) struct Shared {
    confirmed: AtomicU64,
    /// An update is due now: the server asked, or we want its answer.
    urgent: AtomicBool,
    /// The next update asks the server to answer.
    ask: AtomicBool,
    /// The stream is gone.
    closed: AtomicBool,
    wake: Notify,
}

impl Shared {
    pub(super) fn new(confirmed: Lsn) -> Shared {
        Shared { confirmed: AtomicU64::new(confirmed.raw()), ..Shared::default() }
    }

    /// Sends an update at once.
    pub(super) fn answer(&self) {
        self.urgent.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Sends an update at once that the server must answer.
    pub(super) fn ask(&self) {
        self.ask.store(true, Ordering::Release);
        self.answer();
    }

    /// Lets the feedback task end.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn confirmed(&self) -> Lsn {
        Lsn::new(self.confirmed.load(Ordering::Acquire))
    }
}

/// Confirms to blue. Clones confirm for the same stream.
#[derive(Clone)]
pub struct PostgresConfirm {
    pub(super) shared: Arc<Shared>,
}

impl Confirm for PostgresConfirm {
    fn confirm(&self, lsn: Lsn) {
        if self.shared.confirmed.fetch_max(lsn.raw(), Ordering::AcqRel) < lsn.raw() {
            self.shared.wake.notify_one();
        }
    }
}

/// Sends status updates for as long as the stream lives.
pub struct FeedbackTask {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: CopyWriter,
    pub(super) interval: Duration,
}

impl FeedbackTask {
    /// Runs until the stream is dropped, or the connection fails. To be spawned by whoever owns the stream.
    pub async fn run(mut self) -> Result<(), Failure> {
        let mut sent = (self.shared.confirmed(), Instant::now());
        self.send(sent.0, false).await?;
        while !self.shared.closed.load(Ordering::Acquire) {
            let moved = self.shared.confirmed() != sent.0;
            let due = sent.1 + if moved { UPDATE_SPACING.min(self.interval) } else { self.interval };
            if self.shared.urgent.swap(false, Ordering::AcqRel) || Instant::now() >= due {
                let ask = self.shared.ask.swap(false, Ordering::AcqRel);
                sent = (self.shared.confirmed(), Instant::now());
                self.send(sent.0, ask).await?;
                continue;
            }
            tokio::select! {
                biased;
                () = self.shared.wake.notified() => {}
                () = sleep_until(due) => {}
            }
        }
        self.say_goodbye(sent.0).await;
        Ok(())
    }

    async fn send(&mut self, confirmed: Lsn, reply: bool) -> Result<(), Failure> {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH + POSTGRES_EPOCH).unwrap_or_default();
        let update = StatusUpdate { confirmed, clock_us: clock.as_micros() as i64, reply };
        self.writer.send(&update.encode()).await.map_err(|failure| failure.while_doing("confirm to blue"))
    }

    /// The last confirmation saves blue's next stream from sending again what is durable. Best effort: whatever gets
    /// lost here is sent again and recognised.
    async fn say_goodbye(mut self, sent: Lsn) {
        let farewell = async {
            let last = self.shared.confirmed();
            if last != sent {
                self.send(last, false).await?;
            }
            self.writer.finish().await
        };
        if let Ok(Err(failure)) = timeout(FAREWELL, farewell).await {
            tracing::debug!(%failure, "the last confirmation did not reach blue");
        }
    }
}
