//! What others give a capture to write down while the pipeline has its sink: beats that came back, and requests taken.

use std::collections::{BTreeMap, HashMap};
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
    requests: BTreeMap<i64, (RouteId, Handed)>,
    /// Offset after the last request taken; `None` before the first.
    requests_end: Option<i64>,
    /// Where the copy of each table is planned, unless nothing of it is.
    planned: HashMap<RouteId, Planned>,
}

/// Where the copy of a table is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    /// All of it behind this group.
    pub(super) all: u64,
    /// Some of it behind this one, and nothing behind a later one.
    pub(super) last: u64,
}

/// What was handed to the pipeline on behalf of an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handed {
    /// A row is read again.
    Row(Key),
    /// A table is copied anew, for one who reads on behind this group.
    Copy {
        /// The group, where it was told.
        since: Option<u64>,
    },
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

    /// The request at this offset has been handed to the pipeline. It is taken again after a crash until the bookkeeping knows the
    /// row, or its table is being copied, which brings the row too; and one for a copy until that is planned.
    pub fn request_handed_on(&self, offset: i64, what: (RouteId, Handed)) {
        let mut pages = self.lock();
        pages.requests.insert(offset, what);
        pages.requests_end = pages.requests_end.max(Some(offset + 1));
    }

    /// Whether a table must be copied anew for one who reads on behind this group. Otherwise he comes by a copy that is planned
    /// there, because blue's table has become another one or because somebody has asked before, or is about to be: what is not
    /// planned yet will be behind every group that there is.
    pub fn wants_copy(&self, route: RouteId, since: Option<u64>) -> bool {
        let pages = self.lock();
        let Some(since) = since else { return true };
        let planned = pages.planned.get(&route);
        let is_planned = planned.is_some_and(|planned| planned.all >= since);
        let is_about_to_be = |(of, handed): &(RouteId, Handed)| {
            let Handed::Copy { since: Some(earlier) } = handed else { return false };
            *of == route && planned.is_none_or(|planned| planned.last < *earlier)
        };
        !is_planned && !pages.requests.values().any(is_about_to_be)
    }

    /// Where the copy of a table is planned by now.
    pub(super) fn set_planned(&self, route: RouteId, planned: Option<Planned>) {
        let mut pages = self.lock();
        match planned {
            Some(planned) => pages.planned.insert(route, planned),
            None => pages.planned.remove(&route),
        };
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
        let Pages { requests, planned, .. } = &mut *pages;
        requests.retain(|_, (route, handed)| match handed {
            Handed::Row(key) => !is_known(*route, Some(key)),
            // That the table is being copied says nothing: that copy may have been planned long ago.
            Handed::Copy { since: Some(since) } => {
                planned.get(route).is_none_or(|planned| planned.all < *since)
            }
            Handed::Copy { since: None } => !is_known(*route, None),
        });
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
        let key = |text: &str| Key::from_texts([text.as_bytes()]);
        let row = |text: &str| (RouteId(0), Handed::Row(key(text)));
        assert_eq!(notes.requests(|_, _| false), None);
        notes.request_handed_on(3, row("a"));
        notes.request_handed_on(4, row("b"));
        notes.requests_consumed(6);
        assert_eq!(notes.requests(|_, of| of == Some(&key("b"))), Some(3));
        assert_eq!(notes.requests(|_, of| of == Some(&key("a"))), Some(6));
    }

    /// Guards blue against a table that is read twice because a column has come in, which its capture and every apply see, and an
    /// apply against a copy that never comes: a request counts until a copy is planned behind where it reads on.
    #[test]
    fn a_copy_is_made_once_for_all_who_ask() {
        let (notes, table) = (CaptureNotes::default(), RouteId(0));
        assert!(notes.wants_copy(table, Some(0)), "nothing is planned");
        let planned = |all, last| Some(Planned { all, last });
        notes.set_planned(table, planned(20, 20));
        assert!(!notes.wants_copy(table, Some(20)), "it comes by that");
        assert!(notes.wants_copy(table, Some(21)), "it has gone past that");
        assert!(notes.wants_copy(table, None) && notes.wants_copy(RouteId(1), Some(20)));
        notes.request_handed_on(3, (table, Handed::Copy { since: Some(21) }));
        assert!(!notes.wants_copy(table, Some(22)), "it was asked for already");
        notes.requests_consumed(9);
        notes.set_planned(table, planned(20, 30));
        assert!(notes.wants_copy(table, Some(31)), "a part of it may be behind him");
        // Killed here, it is taken again, though the table is being copied.
        assert_eq!(notes.requests(|_, _| true), Some(3));
        notes.set_planned(table, planned(30, 31));
        assert_eq!(notes.requests(|_, _| true), Some(9));
        assert!(!notes.wants_copy(table, Some(22)));
    }

    /// Guards a migration whose requests topic was lost: what comes in the new one is not passed over, nor taken again at every
    /// start.
    #[test]
    fn a_topic_that_was_made_anew_is_read_from_its_start() {
        let notes = CaptureNotes::default();
        notes.request_handed_on(700, (RouteId(0), Handed::Copy { since: None }));
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
