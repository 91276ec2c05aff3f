//! Measures how long a commit on blue takes to show on green: one client writes, one looks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use understudy_contract::{Class, Failure};
use understudy_postgres::wire::{Client, ConnectOptions};

/// What a probe writes and where it looks. Each number is larger than the one before it.
#[derive(Debug, Clone)]
pub struct ProbeSql {
    /// Commits the number that takes the place of `{n}`.
    pub write: String,
    /// Answers with the largest number that green shows, or with NULL.
    pub read: String,
}

/// Times from the acknowledged commit on blue to its being visible on green.
#[derive(Debug, Clone, Default)]
pub struct Delays(Vec<Duration>);

impl Delays {
    /// The delay that `share` of all are not above; `None` when nothing was measured.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted.get((last as f64 * share).round() as usize).copied()
    }

    /// How many were measured.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Those measured while `keep` says so, by the time since the probe began.
    pub(crate) fn add(&mut self, delay: Duration) {
        self.0.push(delay);
    }
}

/// One number on its way to green.
struct Sent {
    number: i64,
    at: Instant,
}

/// Writes a number every `every`, until told to stop, then hands the sending half back by ending.
pub(super) struct Writer {
    pub(super) client: Client,
    pub(super) sql: ProbeSql,
    pub(super) first: i64,
    pub(super) every: Duration,
}

/// Runs both halves until `stop` resolves and every number has arrived, or `patience` has passed since.
pub async fn measure(
    sides: (&ConnectOptions, &ConnectOptions),
    sql: ProbeSql,
    pace: Pace,
    stop: impl Future<Output = ()>,
) -> Result<Delays, Failure> {
    let writer = Writer {
        client: Client::connect(sides.0).await?,
        sql: sql.clone(),
        first: pace.first,
        every: pace.every,
    };
    let green = Client::connect(sides.1).await?;
    let (sender, receiver) = mpsc::channel(4096);
    let writing = async {
        tokio::select! {
            biased;
            // 1. The end of the load ends the probe.
            () = stop => Ok(()),
            // 2. Writing ends only by failing.
            ended = write_on(writer, sender) => ended,
        }
    };
    let (written, delays) = tokio::join!(writing, watch(green, &sql.read, receiver, pace.patience));
    written?;
    delays
}

/// How a probe goes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The first number; each run needs larger ones.
    pub first: i64,
    /// Time between two commits.
    pub every: Duration,
    /// How long to wait for a number to show.
    pub patience: Duration,
}

async fn write_on(mut writer: Writer, sender: mpsc::Sender<Sent>) -> Result<(), Failure> {
    let mut ticks = tokio::time::interval(writer.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = writer.first;
    loop {
        ticks.tick().await;
        writer.client.batch(&writer.sql.write.replace("{n}", &number.to_string())).await?;
        let sent = Sent { number, at: Instant::now() };
        if sender.send(sent).await.is_err() {
            return Ok(());
        }
        number += 1;
    }
}

/// Looks only while something is on its way: at once at first, then every millisecond.
async fn watch(
    mut green: Client,
    read: &str,
    mut receiver: mpsc::Receiver<Sent>,
    patience: Duration,
) -> Result<Delays, Failure> {
    let mut delays = Delays::default();
    let mut waiting: VecDeque<Sent> = VecDeque::new();
    let mut looks = 0;
    loop {
        if waiting.is_empty() {
            let Some(sent) = receiver.recv().await else {
                return Ok(delays);
            };
            waiting.push_back(sent);
            looks = 0;
        }
        while let Ok(sent) = receiver.try_recv() {
            waiting.push_back(sent);
        }
        let rows = green.query(read).await?;
        let now = Instant::now();
        let shown: i64 = match rows.first() {
            Some(row) => row.optional(0)?.unwrap_or(i64::MIN),
            None => i64::MIN,
        };
        while waiting.front().is_some_and(|sent| sent.number <= shown) {
            if let Some(sent) = waiting.pop_front() {
                delays.add(now.duration_since(sent.at));
            }
            looks = 0;
        }
        if waiting.front().is_some_and(|sent| now.duration_since(sent.at) > patience) {
            return Err(Failure::new(Class::Transient, "a probe written on blue does not show on green"));
        }
        looks += 1;
        if looks > 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_nothing_are_unknown_rather_than_zero() {
        assert_eq!(Delays::default().quantile(0.5), None);
        let delays = Delays((1..=100).map(Duration::from_millis).collect());
        assert_eq!(delays.quantile(0.0), Some(Duration::from_millis(1)));
        assert_eq!(delays.quantile(0.99), Some(Duration::from_millis(99)));
        assert_eq!(delays.quantile(1.0), Some(Duration::from_millis(100)));
    }
}
