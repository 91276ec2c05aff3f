//! Events of a log: transactions into batches, each change once, however often its capture was stopped.

use understudy_contract::{Class, Failure, LogEvent};
use understudy_model::{Before, Lsn, Position, RelationId, RowChange, SourceChange, Xid};

use super::{Beat, LogCore};
use crate::effect::{Effect, Watching};
use crate::rules::Rule;

/// The transaction whose changes are being taken.
#[derive(Debug)]
pub(super) struct OpenTransaction {
    pub(super) commit: Lsn,
    /// The place of the next change in it.
    pub(super) next: u64,
    /// How many of its changes have been taken.
    pub(super) taken: u64,
    /// The last one of those; `None` when it was none of a row.
    pub(super) last: Option<SourceChange>,
}

/// A transaction that comes again and is passed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passing {
    pub(super) commit: Lsn,
    /// It has been taken. Otherwise it must be empty, as those are with which a capture that has just started moves on.
    pub(super) is_taken: bool,
}

impl LogCore {
    /// Whether an event has to wait until green has every chunk that has been handed out. Those come again for as long as a
    /// checkpoint names a place before them, and may not come again together with what this event is about.
    pub fn must_wait(&self, event: &LogEvent) -> bool {
        let is_own = |open: &OpenTransaction| open.commit <= self.batch.last_checkpoint().lsn();
        let waits = match event {
            LogEvent::Entry(_) | LogEvent::Fence { .. } => true,
            LogEvent::TruncateLeaf { .. } => self.open.as_ref().is_some_and(is_own),
            LogEvent::Table(_)
            | LogEvent::Begin { .. }
            | LogEvent::Change(_)
            | LogEvent::Elsewhere { .. }
            | LogEvent::Arrived { .. }
            | LogEvent::Commit { .. }
            | LogEvent::Reached { .. }
            | LogEvent::Rows(_)
            | LogEvent::Beat { .. }
            | LogEvent::Whole { .. } => false,
        };
        waits && !self.places.is_free() && self.rules.holds(Rule::LogEntries)
    }

    /// Takes one event of the log.
    pub fn on_event(&mut self, event: LogEvent) -> Result<(), Failure> {
        if let LogEvent::Whole { cursor } = event {
            self.places.pass(cursor, self.open.is_none());
            self.at_place = true;
            if self.batch.is_full() {
                self.seal_here();
            }
            return Ok(());
        }
        let was_at_place = std::mem::take(&mut self.at_place);
        match event {
            LogEvent::Table(relation) => {
                self.on_table(relation);
                self.at_place = was_at_place;
                Ok(())
            }
            LogEvent::Begin { commit, commit_time_us, xid, from_ordinal } => {
                self.begin((commit, commit_time_us, xid), from_ordinal)
            }
            LogEvent::Change(change) => self.on_change(&change),
            LogEvent::Elsewhere { changes } => self.elsewhere(changes),
            LogEvent::Arrived { relation, old, new } => self.on_arrived(relation, &old, &new),
            LogEvent::Fence { cursor } => self.on_fence(cursor),
            LogEvent::TruncateLeaf { table, predicate } => self.on_truncate_leaf(table, &predicate),
            LogEvent::Commit { commit, end } => self.commit(commit, end),
            LogEvent::Reached { end } => {
                if self.open.is_none() && self.passing.is_none() {
                    self.batch.idle_until(end);
                    self.moved();
                }
                Ok(())
            }
            LogEvent::Rows(chunk) => self.on_rows(chunk),
            LogEvent::Entry(entry) => self.on_entry(entry),
            LogEvent::Beat { nonce, sent_us, at } => {
                self.beats.push(Beat { nonce, sent_us, at });
                Ok(())
            }
            LogEvent::Whole { .. } => Ok(()),
        }
    }

    fn begin(
        &mut self,
        (commit, commit_time_us, xid): (Lsn, i64, u32),
        from_ordinal: u64,
    ) -> Result<(), Failure> {
        self.passing = None;
        if let Some(open) = self.open.as_mut().filter(|open| open.commit == commit) {
            if from_ordinal > open.taken {
                return Err(diverged(format!("the log lacks changes of the transaction at {commit}")));
            }
            open.next = from_ordinal;
            if xid != 0 {
                // A part that was written before the end may not have known it.
                self.batch.tell_open(commit_time_us, Xid::new(u64::from(xid)));
            }
            if from_ordinal == 0 && self.batch.take_back_open() {
                // Green has seen nothing of it.
                (open.taken, open.last) = (0, None);
            }
            return Ok(());
        }
        let is_taken = commit < self.batch.last_checkpoint().lsn() || self.last_commit == Some(commit);
        // A capture that was stopped goes on from before the transactions that it had written together with the open one.
        if is_taken || self.open.as_ref().is_some_and(|open| commit < open.commit) {
            self.passing = Some(Passing { commit, is_taken });
            return Ok(());
        }
        self.abandon()?;
        if from_ordinal > 0 {
            return Err(diverged(format!("the log lacks the beginning of the transaction at {commit}")));
        }
        self.open = Some(OpenTransaction { commit, next: 0, taken: 0, last: None });
        self.batch.begin(commit, commit_time_us, Xid::new(u64::from(xid)));
        Ok(())
    }

    /// The open transaction does not go on. A capture that was stopped within it leaves out changes of leaves that are detached
    /// by then, and here that was all of it.
    fn abandon(&mut self) -> Result<(), Failure> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if !self.batch.take_back_open() {
            return Err(written_otherwise(open.commit));
        }
        self.batch.abandon_open();
        Ok(())
    }

    fn commit(&mut self, commit: Lsn, end: Lsn) -> Result<(), Failure> {
        if self.passing.take_if(|passing| passing.commit == commit).is_some() {
            return Ok(());
        }
        let is_begun = |open: &mut OpenTransaction| open.next == 0 && open.taken > 0;
        if end == commit && self.open.as_mut().is_some_and(is_begun) {
            // The capture moves on where the open transaction's commit record begins.
            return Ok(());
        }
        let Some(open) = self.open.take_if(|open| open.commit == commit) else {
            return Err(diverged(format!("the log ends a transaction at {commit} that it has not begun")));
        };
        if open.next < open.taken {
            return Err(written_otherwise(commit));
        }
        // What the capture does to rows on its own stands at the end of the transaction before it.
        self.last_commit = (end > commit).then_some(commit);
        self.batch.commit(end);
        self.moved();
        self.push_voided();
        self.push_rereads();
        Ok(())
    }

    /// What was on green when the run started no longer comes again.
    pub(super) fn moved(&mut self) {
        if self.has_moved() && !self.done.is_empty() {
            self.done.clear();
        }
    }

    /// Whether the change that comes now has not been taken yet. The last one that has been must be what it was: the capture
    /// leaves out changes of a leaf that was detached while it was stopped, and then places within the transaction differ.
    pub(super) fn is_new(&mut self, change: Option<&SourceChange>) -> Result<bool, Failure> {
        if let Some(Passing { commit, is_taken }) = self.passing {
            return if is_taken { Ok(false) } else { Err(goes_back(commit)) };
        }
        let Some(open) = &mut self.open else {
            return Err(outside());
        };
        let ordinal = open.next;
        open.next += 1;
        if ordinal >= open.taken || !self.rules.holds(Rule::LogOrdinals) {
            open.taken = open.taken.max(open.next);
            open.last = change.cloned();
            return Ok(true);
        }
        if open.next == open.taken && open.last.as_ref() != change {
            return Err(written_otherwise(open.commit));
        }
        Ok(false)
    }

    /// Whether the change that comes now was applied before this run.
    pub(super) fn is_from_before(&self) -> bool {
        self.passing.is_some_and(|passing| passing.commit < self.resumed_at.lsn())
    }

    fn on_change(&mut self, change: &SourceChange) -> Result<(), Failure> {
        let is_new = self.is_new(Some(change))?;
        self.check_change(change, self.is_from_before())?;
        if !is_new {
            return Ok(());
        }
        let at = self.open.as_ref().map(|open| Position { commit: open.commit, ordinal: open.next - 1 });
        let place = |failure: Failure| match at {
            Some(position) => failure.at(position),
            None => failure,
        };
        match change {
            SourceChange::Insert { relation, .. }
            | SourceChange::Update { relation, .. }
            | SourceChange::Delete { relation, .. } => {
                self.bind(*relation).and_then(|()| self.on_row(change)).map_err(place)
            }
            SourceChange::Truncate { relations } => self.on_truncate(relations).map_err(place),
        }
    }

    fn on_row(&mut self, change: &SourceChange) -> Result<(), Failure> {
        let mut effects = std::mem::take(&mut self.effects);
        let trusts = !self.rules.holds(Rule::EarlierCondition);
        let is_complete = |route| trusts || !self.incomplete.contains(&route);
        let watching = Watching {
            // No rows are read beside a log.
            has_window: &|_| false,
            is_followed: &|_| true,
            is_complete: &is_complete,
            names_rows: self.batch.names_rows(),
            keeps_old: false,
        };
        self.relations.row_change(change, (&self.routes, &watching), &mut effects)?;
        let routes_max = if self.rules.holds(Rule::EveryRoute) { usize::MAX } else { 1 };
        for effect in effects.drain(..).take(routes_max) {
            self.push(effect);
        }
        self.effects = effects;
        Ok(())
    }

    pub(super) fn push(&mut self, effect: Effect) {
        let Effect { route, changes, names, .. } = effect;
        let waits = self.waits.any(route);
        for change in changes.into_iter().flatten() {
            let Some(change) = self.rules.leave(change) else { continue };
            let change = if self.as_they_come { whatever_was_there(change) } else { change };
            if waits {
                self.waits.note(&self.routes[route.index()], &change);
            }
            if let Some(names) = &names {
                self.batch.name(names);
            }
            self.batch.push(change);
        }
    }

    fn on_truncate(&mut self, relations: &[RelationId]) -> Result<(), Failure> {
        let mut routes = Vec::new();
        for relation in relations {
            routes.extend(self.followed_routes(*relation)?);
        }
        if !routes.is_empty() {
            self.batch.push(RowChange::Truncate { routes });
        }
        Ok(())
    }

    fn on_truncate_leaf(&mut self, table: RelationId, predicate: &str) -> Result<(), Failure> {
        let is_new = self.is_new(None)?;
        self.check_planned(table, self.is_from_before())?;
        if is_new && self.rules.holds(Rule::LeafTruncate) {
            for route in self.followed_routes(table)? {
                self.batch.push(RowChange::TruncateLeaf { route, predicate: predicate.to_owned() });
            }
        }
        Ok(())
    }
}

pub(super) fn goes_back(commit: Lsn) -> Failure {
    diverged(format!("the log goes back to a transaction at {commit} that it did not have"))
}

pub(super) fn outside() -> Failure {
    diverged("the log holds a change outside any transaction".to_owned())
}

fn written_otherwise(commit: Lsn) -> Failure {
    diverged(format!(
        "the capture has written the transaction at {commit} otherwise after it was stopped within it"
    ))
}

/// The log is not what it was, or not whole: going on could lose changes.
pub(super) fn diverged(cause: String) -> Failure {
    Failure::new(Class::Diverged, cause).remedy(
        "start an apply of its own on an empty green, from the beginning of the log or after the capture has copied \
         everything anew, and compare",
    )
}

/// A change that is made whether or not the row was there before.
fn whatever_was_there(change: RowChange) -> RowChange {
    let before = Before::Unknown;
    match change {
        RowChange::Insert { route, new } => {
            RowChange::Update { route, old_key: None, new, blue_key: None, before }
        }
        RowChange::Update { route, old_key, new, blue_key, .. } => {
            RowChange::Update { route, old_key, new, blue_key, before }
        }
        RowChange::Delete { route, key, .. } => RowChange::Delete { route, key, before },
        RowChange::Reread { .. }
        | RowChange::Refused { .. }
        | RowChange::Truncate { .. }
        | RowChange::TruncateLeaf { .. } => change,
    }
}
