//! Reading in larger gulps while much arrives: blue sends each change by itself, and waking up for each costs more than
//! the change.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How long the socket is left to fill once wake-ups come thick. Added to the latency of a change only then.
const PAUSE: Duration = Duration::from_millis(1);

/// Wake-ups within one pause from which on they come thick: far more than a thousand transactions a second cause.
const THICK: u32 = 16;

/// Counts wake-ups, and holds the next read back when there are too many.
#[derive(Debug)]
pub(super) struct Pacing {
    since: Instant,
    wakes: u32,
    /// Something was read since everything had been taken last.
    took: bool,
    pause: Option<Pin<Box<Sleep>>>,
    pausing: bool,
}

impl Pacing {
    pub(super) fn new() -> Pacing {
        Pacing { since: Instant::now(), wakes: 0, took: false, pause: None, pausing: false }
    }

    /// Something was read.
    pub(super) fn took(&mut self) {
        self.took = true;
    }

    /// Everything that had arrived has been taken. Begins a pause when that has happened too often lately.
    pub(super) fn drained(&mut self) {
        if !std::mem::take(&mut self.took) {
            self.wakes = 0;
            return;
        }
        let now = Instant::now();
        if now.duration_since(self.since) > PAUSE {
            (self.since, self.wakes) = (now, 0);
        }
        self.wakes += 1;
        if self.wakes >= THICK {
            // While it stays thick each pause follows the other at the first wake-up.
            (self.since, self.wakes) = (now + PAUSE, THICK - 1);
            self.pausing = true;
            match &mut self.pause {
                Some(pause) => pause.as_mut().reset(now + PAUSE),
                None => self.pause = Some(Box::pin(sleep_until(now + PAUSE))),
            }
        }
    }

    /// Whether the socket is to be left alone for now; the task is woken when that is over.
    pub(super) fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.pausing
            && let Some(pause) = &mut self.pause
        {
            if pause.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.pausing = false;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_few_wake_ups_are_never_held_back() {
        let mut pacing = Pacing::new();
        for _ in 0..THICK - 1 {
            pacing.took();
            pacing.drained();
            assert!(!pacing.pausing);
        }
    }

    #[tokio::test]
    async fn many_wake_ups_are_held_back_and_let_go_again() {
        let mut pacing = Pacing::new();
        while !pacing.pausing {
            pacing.took();
            pacing.drained();
        }
        std::future::poll_fn(|cx| pacing.poll_hold(cx)).await;
        pacing.drained();
        assert!(!pacing.pausing, "silence is not waited out in pauses");
    }
}
