//! What others give a capture to write down while the pipeline has its sink: beats that came back, and requests taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use understudy_model::{Checkpoint, Key, Nonce, RouteId};

use crate::codec::Beat;

/// Beats that may wait to be written. More are not worth knowing.
const BEATS_MAX: usize = 1_000;

/// Hands beats and requests to the sink. Cloning gives another handle to the same.
#[derive(Debug, Clone, Default)]
pub struct CaptureNotes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pages: Mutex<Pages>,
    beat_came: Notify,
}

#[derive(Debug, Default)]
struct Pages {
    beats: Vec<Beat>,
    /// Requests that were handed on, by their offsets, and have not been seen to be heeded.
    requests: BTreeMap<i64, (RouteId, Option<Key>)>,
    /// Offset after the last request taken; `None` before the first.
    requests_end: Option<i64>,
}

impl CaptureNotes {
    /// A beat has come back: it travels with the next group that holds everything before it.
    pub fn beat(&self, nonce: Nonce, sent_us: i64, at: Checkpoint) {
        let mut pages = self.lock();
        if pages.beats.len() < BEATS_MAX {
            pages.beats.push(Beat { nonce, sent_us, at });
        }
        drop(pages);
        self.0.beat_came.notify_one();
    }

    /// The request at this offset has been handed to the pipeline, for this row, or for all of its table. It is taken again after
    /// a crash until the bookkeeping knows the row, or its table is being copied, which brings the row too.
    pub fn request_handed_on(&self, offset: i64, row: (RouteId, Option<Key>)) {
        let mut pages = self.lock();
        pages.requests.insert(offset, row);
        pages.requests_end = pages.requests_end.max(Some(offset + 1));
    }

    /// Every request before this offset has been taken. Those that were handed on still count as open.
    pub fn requests_consumed(&self, offset: i64) {
        let mut pages = self.lock();
        pages.requests_end = pages.requests_end.max(Some(offset));
    }

    /// Requests are taken from this offset on, which is before where they were taken: their topic was made anew.
    pub fn requests_begin_anew(&self, offset: i64) {
        let mut pages = self.lock();
        pages.requests.clear();
        pages.requests_end = Some(offset);
    }

    /// Where to go on after a crash: after what is known, by `is_known`, and before what is not. `None`: where the bookkeeping
    /// says.
    pub(super) fn requests(&self, is_known: impl Fn(RouteId, Option<&Key>) -> bool) -> Option<i64> {
        let mut pages = self.lock();
        pages.requests.retain(|_, (route, key)| !is_known(*route, key.as_ref()));
        pages.requests.keys().next().copied().or(pages.requests_end)
    }

    /// The beats that can be told once everything before `upto` has been written.
    pub(super) fn take_beats(&self, upto: Checkpoint) -> Vec<Beat> {
        self.lock().beats.extract_if(.., |beat| beat.at <= upto).collect()
    }

    pub(super) fn has_beats(&self, upto: Checkpoint) -> bool {
        self.lock().beats.iter().any(|beat| beat.at <= upto)
    }

    /// A beat has come since this was last awaited. Cancel-safe.
    pub(super) async fn beat_came(&self) {
        self.0.beat_came.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.0.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that a request is not lost when the capture stops between taking it and knowing its row.
    #[test]
    fn requests_are_open_until_their_rows_are_known() {
        let notes = CaptureNotes::default();
        let row = |text: &str| (RouteId(0), Some(Key::from_texts([text.as_bytes()])));
        assert_eq!(notes.requests(|_, _| false), None);
        notes.request_handed_on(3, row("a"));
        notes.request_handed_on(4, row("b"));
        notes.requests_consumed(6);
        assert_eq!(notes.requests(|_, key| key == row("b").1.as_ref()), Some(3));
        assert_eq!(notes.requests(|_, key| key == row("a").1.as_ref()), Some(6));
    }

    /// Guards a migration whose requests topic was lost: what comes in the new one is not passed over, nor taken again at every
    /// start.
    #[test]
    fn a_topic_that_was_made_anew_is_read_from_its_start() {
        let notes = CaptureNotes::default();
        notes.request_handed_on(700, (RouteId(0), None));
        notes.requests_begin_anew(0);
        assert_eq!(notes.requests(|_, _| false), Some(0));
        notes.requests_consumed(2);
        assert_eq!(notes.requests(|_, _| false), Some(2));
    }

    /// Guards that a beat is not told before green can show it.
    #[test]
    fn beats_wait_for_what_was_before_them() {
        let at = |lsn| Checkpoint::at_commit_end(understudy_model::Lsn::new(lsn));
        let notes = CaptureNotes::default();
        notes.beat(Nonce(1), 0, at(10));
        notes.beat(Nonce(2), 0, at(20));
        assert!(!notes.has_beats(at(9)));
        assert_eq!(notes.take_beats(at(10)).len(), 1);
        assert_eq!(notes.take_beats(at(30)).len(), 1);
    }
}
