//! Waiting for conditions, never for the clock. The only place where tests sleep.

use std::time::{Duration, Instant};

/// How long a condition may take before the test gives up; generous, since machines are slow and shared.
const PATIENCE: Duration = Duration::from_secs(90);

/// Calls `probe` until it answers, and returns the answer. Fails after the usual patience.
pub async fn until<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, probe).await
}

/// Calls `probe` until it answers, and returns the answer. Fails after `patience`.
pub async fn until_within<T>(patience: Duration, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(start.elapsed() < patience, "gave up after {:?}: {what}", start.elapsed());
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(250));
    }
}

/// Checks for a whole `period` that something stays as it is. `check` fails the test when it does not.
pub async fn hold(period: Duration, mut check: impl AsyncFnMut()) {
    let start = Instant::now();
    while start.elapsed() < period {
        check().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a slow or forgetful network takes, for those that stand in for one. No test waits by it.
pub(crate) async fn delay(period: Duration) {
    tokio::time::sleep(period).await;
}
