//! What the capture does, turned into status. What green shows is told by whoever fills it, where that runs here too.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use understudy_contract::{Applied, Blocker, ChunkDone};
use understudy_control::{Phase, StatusHandle, StatusReport};
use understudy_kafka::CaptureNotes;
use understudy_model::{Checkpoint, Lsn, Nonce, Watermarks};
use understudy_replicate::{Observer, Progress, Tally};

use super::{Beats, HEARTBEATS_MAX};

/// Tells of a capture, and hands its beats to the log, so that the way through it can be timed.
pub(crate) struct CaptureReporting {
    status: StatusHandle,
    /// No apply runs in this process: then the capture's marks are all that there is to tell.
    alone: bool,
    /// For whoever applies them in this process.
    beats: Beats,
    notes: CaptureNotes,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    marks: Watermarks,
    received: Lsn,
    /// When beats were sent that have not come back: by our clock, and for others.
    sent: HashMap<Nonce, (Instant, i64)>,
    /// Beats that have come back and that the log does not hold yet.
    returned: VecDeque<(Checkpoint, Instant)>,
}

impl CaptureReporting {
    /// Reports of a capture that goes on at `checkpoint`.
    pub(crate) fn new(
        (status, alone, beats): (StatusHandle, bool, Beats),
        notes: CaptureNotes,
        checkpoint: Checkpoint,
    ) -> CaptureReporting {
        let inner = Inner { marks: Watermarks::resume_at(checkpoint), ..Inner::default() };
        let reporting = CaptureReporting { status, alone, beats, notes, inner: Mutex::new(inner) };
        reporting.show(&reporting.inner());
        reporting
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves figures that are old at worst.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, inner: &Inner) {
        if self.alone {
            self.status.watermarks(inner.marks);
        }
        let captured = inner.marks.applied().to_string();
        self.status.update(|report| {
            if let Some(through) = &mut report.through {
                through.captured = Some(captured);
            }
        });
    }

    /// What is reported of green is an apply's, for which a capture does not vouch.
    fn beat(&self) {
        if self.alone { self.status.beat() } else { self.status.capture_alive() }
    }

    fn phase(&self, phase: Phase) {
        let alone = self.alone;
        self.status.update(|report: &mut StatusReport| {
            if let Some(through) = &mut report.through {
                through.capture = Some(phase);
            }
            if alone {
                report.phase = phase;
            }
        });
    }
}

impl Observer for CaptureReporting {
    fn received(&self, lsn: Lsn) {
        let mut inner = self.inner();
        inner.received = inner.received.max(lsn);
    }

    fn applying(&self) {}

    fn applied(&self, tally: &Tally, _: &Applied) {
        let Some(checkpoint) = tally.checkpoint else { return };
        let mut inner = self.inner();
        let received = inner.received;
        inner.marks.receive(received);
        inner.marks.apply(checkpoint);
        self.show(&inner);
        while let Some((_, sent)) = inner.returned.pop_front_if(|(at, _)| *at <= checkpoint) {
            if self.alone {
                self.status.marker_applied(sent);
            }
        }
    }

    fn durable(&self, checkpoint: Checkpoint) {
        let mut inner = self.inner();
        inner.marks.persist(checkpoint);
        self.show(&inner);
    }

    fn chunk_done(&self, _: &ChunkDone) {
        self.beat();
    }

    fn heartbeat_sent(&self, nonce: Nonce) {
        let now = Instant::now();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let sent_us = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        let mut inner = self.inner();
        if inner.sent.len() < HEARTBEATS_MAX {
            inner.sent.insert(nonce, (now, sent_us));
        }
        drop(inner);
        if !self.alone {
            self.beats.sent(nonce, now);
        }
        self.status.marker_sent(now);
        self.beat();
    }

    fn heartbeat_seen(&self, nonce: Nonce, checkpoint: Checkpoint) {
        let mut inner = self.inner();
        if let Some((sent, sent_us)) = inner.sent.remove(&nonce) {
            inner.returned.push_back((checkpoint, sent));
            drop(inner);
            self.notes.beat(nonce, sent_us, checkpoint);
        }
    }

    fn progress(&self, progress: &Progress) {
        self.phase(if progress.incomplete.is_empty() { Phase::Following } else { Phase::Copying });
    }

    fn waiting_for(&self, blockers: &[Blocker]) {
        self.status.capture_waits_for(super::sentences(blockers));
    }
}
