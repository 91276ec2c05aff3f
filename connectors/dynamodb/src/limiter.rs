//! How many calls to a table are under way at once: more while they succeed, half as many when they are throttled.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How many calls are under way at once at first.
const FIRST: usize = 16;

/// How often at most it is told that a table is throttled.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// Lets calls to one table through.
#[derive(Debug)]
pub(crate) struct Limiter {
    table: String,
    window: Mutex<Window>,
    freed: Notify,
}

/// A call that is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'l> {
    limiter: &'l Limiter,
    number: u64,
}

impl Limiter {
    /// One that lets at most so many through at once, and always at least one.
    pub(crate) fn new(table: &str, most: usize) -> Limiter {
        let window = Window::new(most.max(1));
        Limiter { table: table.to_owned(), window: Mutex::new(window), freed: Notify::new() }
    }

    /// Waits until a call may be made. Cancel-safe.
    pub(crate) async fn permit(&self) -> Permit<'_> {
        loop {
            let freed = self.freed.notified();
            let taken = {
                let mut window = self.lock();
                window.take().map(|number| (number, window.is_open()))
            };
            match taken {
                Some((number, more)) => {
                    if more {
                        self.freed.notify_one();
                    }
                    return Permit { limiter: self, number };
                }
                None => freed.await,
            }
        }
    }

    /// How many calls are under way, how many may be now, and how many at most.
    pub(crate) fn figures(&self) -> (usize, usize, usize) {
        let window = self.lock();
        (window.under_way, window.limit(), window.most)
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The call has succeeded, or was refused for another reason than its number.
    pub(crate) fn taken(self) {
        self.limiter.lock().widen();
    }

    /// The call was throttled.
    pub(crate) fn throttled(self) {
        let told = {
            let mut window = self.limiter.lock();
            window.narrow(self.number);
            let is_due = window.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY);
            is_due.then(|| {
                window.told = Some(Instant::now());
                window.limit()
            })
        };
        if let Some(limit) = told {
            tracing::warn!(
                table = self.limiter.table,
                limit,
                "DynamoDB throttles calls to a table, so fewer are made at once: raise its capacity, or look for a hot key"
            );
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.limiter.lock().under_way -= 1;
        self.limiter.freed.notify_one();
    }
}

/// The arithmetic of it.
#[derive(Debug)]
struct Window {
    limit: f64,
    most: usize,
    under_way: usize,
    /// The number of the next call.
    next: u64,
    /// The first call that was begun after the last time that it became narrower.
    since: u64,
    told: Option<Instant>,
}

impl Window {
    fn new(most: usize) -> Window {
        let limit = FIRST.min(most) as f64;
        Window { limit, most, under_way: 0, next: 0, since: 0, told: None }
    }

    fn limit(&self) -> usize {
        self.limit as usize
    }

    fn is_open(&self) -> bool {
        self.under_way < self.limit()
    }

    fn take(&mut self) -> Option<u64> {
        if !self.is_open() {
            return None;
        }
        self.under_way += 1;
        self.next += 1;
        Some(self.next - 1)
    }

    /// One more at once for each round of calls that all succeed.
    fn widen(&mut self) {
        self.limit = (self.limit + 1.0 / self.limit).min(self.most as f64);
    }

    /// Half as many at once, but only once for all calls that were under way when it became so.
    fn narrow(&mut self, number: u64) {
        if number >= self.since {
            self.limit = (self.limit / 2.0).max(1.0);
            self.since = self.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    /// A table that is throttled gets fewer calls, down to one, and more again once they succeed, up to the most.
    #[test]
    fn the_window_follows_what_calls_meet() {
        let mut window = Window::new(64);
        assert_eq!(window.limit(), FIRST);
        for expected in [8, 4, 2, 1, 1] {
            let number = window.take().expect("a place");
            window.narrow(number);
            window.under_way -= 1;
            assert_eq!(window.limit(), expected);
        }
        (0..10_000).for_each(|_| window.widen());
        assert_eq!(window.limit(), 64);
    }

    /// A burst of refusals is one sign: calls that were under way together make it narrower once.
    #[test]
    fn one_burst_halves_it_once() {
        let mut window = Window::new(16);
        let burst = (0..16).map(|_| window.take().expect("a place")).collect::<Vec<_>>();
        assert_eq!(window.take(), None, "no more than the limit at once");
        burst.iter().for_each(|number| window.narrow(*number));
        assert_eq!(window.limit(), 8);
    }

    /// However many ask, no more are under way than are let through, and all come to their turn.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn calls_wait_for_their_turn() {
        let limiter = Arc::new(Limiter::new("t", 4));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut calls = JoinSet::new();
        for n in 0..200 {
            let (limiter, now, most) = (Arc::clone(&limiter), Arc::clone(&now), Arc::clone(&most));
            calls.spawn(async move {
                let permit = limiter.permit().await;
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                if n % 7 == 0 { permit.throttled() } else { permit.taken() }
            });
        }
        assert_eq!(calls.join_all().await.len(), 200);
        assert!(most.load(Ordering::SeqCst) <= 4);
    }
}
