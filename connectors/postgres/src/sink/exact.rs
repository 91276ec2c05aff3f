//! The exact form: every change by itself in its original order, with a savepoint wherever something may be refused.
//!
//! Groups of changes go in one round trip first; only a group in which something is refused or not as expected is done
//! again change by change. A transaction of blue that cannot be applied leaves nothing behind, and those before it are
//! committed.

use understudy_contract::{Applied, Class, Failure, key_hash};
use understudy_model::{Checkpoint, Key, RowChange, TableName};

use super::applier::{Applier, DEFERRED_REMEDY, Piece, merge, position};
use super::books::{Reached, Why};
use super::park::Parked;
use super::plan::row_op;
use super::script::{Expect, Script, Verdict, unknown_route};
use super::settings::OnError;
use super::target::Target;

/// About how many changes are done again one by one when one of them is refused.
const GROUP_CHANGES: usize = 256;

/// Consecutive changes of the batch: several whole transactions, or a part of one.
struct Group {
    from: usize,
    to: usize,
    /// Whether a transaction starts with it.
    starts: bool,
}

/// Why a change was not applied.
pub(super) enum Refusal {
    /// Green refuses it, and the policy is to stop before its transaction.
    Stop(Failure),
    /// Nothing can be decided here.
    Fatal(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal::Fatal(failure)
    }
}

impl Applier {
    /// Applies a piece change by change.
    pub(super) async fn exactly(&mut self, piece: Piece<'_>, applied: &mut Applied) -> Result<(), Failure> {
        if !self.open {
            let mut script = Script::default();
            script.simple("BEGIN", Expect::Any);
            script.simple(&self.books.fence_at(self.applied), Expect::Fence);
            if let Verdict::Otherwise(_) = self.flush(&mut script).await? {
                return Err(Failure::new(Class::Internal, "green refused to begin a transaction"));
            }
        }
        let mut found = Applied::default();
        let mut saved = false;
        let mut parked = Vec::new();
        for group in groups(&piece) {
            if group.starts {
                let again = if saved { "RELEASE understudy_tx; " } else { "" };
                self.client.batch(&format!("{again}SAVEPOINT understudy_tx")).await?;
                saved = true;
            }
            self.renew(piece.batch, group.from..group.to, &mut found).await?;
            // What is put off goes back at the end of its transaction, and only the other form sees to that.
            if parked.is_empty() && self.group_at_once(&piece, &group, &mut found).await? {
                continue;
            }
            match self.group_one_by_one(&piece, &group, &mut parked, &mut found).await {
                Ok(()) => {}
                Err(Refusal::Fatal(failure)) => return Err(failure),
                Err(Refusal::Stop(failure)) => return Err(self.stop(&piece, failure, saved).await),
            }
        }
        match piece.end {
            Some(end) => {
                let mut script = Script::default();
                script.simple(&self.books.advance(self.applied, end), Expect::Fence);
                self.flush(&mut script).await?;
                self.commit(end.checkpoint, false).await?;
            }
            None => {
                if saved {
                    self.client.batch("RELEASE understudy_tx").await?;
                }
                self.open = true;
            }
        }
        merge(applied, found);
        Ok(())
    }

    /// Tries a group in one round trip. `false`: nothing of it was done.
    async fn group_at_once(
        &mut self,
        piece: &Piece<'_>,
        group: &Group,
        found: &mut Applied,
    ) -> Result<bool, Failure> {
        let changes = &piece.batch.changes[group.from..group.to];
        let aside = !self.quarantined.is_empty() && changes.iter().any(|change| self.is_aside(change));
        let writes = |(_, change): &(usize, &RowChange)| !matches!(change, RowChange::Reread { .. });
        let ops = changes.iter().enumerate().filter(writes);
        let ops = ops.map(|(n, change)| row_op(group.from + n, change));
        let by_itself = aside || self.takes_out(changes);
        let Some(ops) = ops.collect::<Option<Vec<_>>>().filter(|_| !by_itself) else {
            return Ok(false);
        };
        let mut script = Script::default();
        script.simple("SAVEPOINT understudy_group", Expect::Any);
        let mut verdict = self.add_rows(&mut script, &ops).await?;
        if let Verdict::Good = verdict {
            if self.has_deferred() && ends(piece, group.to) {
                script.simple("SET CONSTRAINTS ALL IMMEDIATE", Expect::Any);
                script.simple("SET CONSTRAINTS ALL DEFERRED", Expect::Any);
            }
            verdict = self.flush(&mut script).await?;
        }
        if let Verdict::Good = verdict {
            self.client.batch("RELEASE understudy_group").await?;
            self.need_heals(piece.batch, std::mem::take(&mut script.missing), found).await?;
            return Ok(true);
        }
        // The savepoint is there whatever happened: it is the first step.
        self.client.batch("ROLLBACK TO understudy_group; RELEASE understudy_group").await?;
        Ok(false)
    }

    /// Whether a constraint may speak up as late as at the end of a transaction.
    pub(super) fn has_deferred(&self) -> bool {
        self.targets.iter().any(Target::defers)
    }

    async fn group_one_by_one(
        &mut self,
        piece: &Piece<'_>,
        group: &Group,
        parked: &mut Vec<Parked>,
        found: &mut Applied,
    ) -> Result<(), Refusal> {
        for at in group.from..group.to {
            if at > group.from && ends(piece, at) {
                self.client.batch("RELEASE understudy_tx; SAVEPOINT understudy_tx").await?;
            }
            self.one(piece, at, parked, found).await?;
            if ends(piece, at + 1) {
                self.end_of_transaction(piece, at, parked, found).await?;
            } else if at + 1 == piece.to {
                // The transaction goes on with another batch; what is put off cannot wait for that.
                self.put_parked(piece, parked, found, true).await?;
            }
        }
        Ok(())
    }

    /// What was put off must fit now, and deferred constraints must hold.
    async fn end_of_transaction(
        &mut self,
        piece: &Piece<'_>,
        at: usize,
        parked: &mut Vec<Parked>,
        found: &mut Applied,
    ) -> Result<(), Refusal> {
        self.put_parked(piece, parked, found, true).await?;
        if !self.has_deferred() {
            return Ok(());
        }
        let checked = self.client.batch("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED").await;
        match checked {
            Err(failure) if failure.class() == Class::Data => {
                Err(Refusal::Stop(failure.at(position(piece.batch, at)).remedy(DEFERRED_REMEDY)))
            }
            other => Ok(other?),
        }
    }

    /// Commits what came before the refused transaction.
    async fn stop(&mut self, piece: &Piece<'_>, failure: Failure, saved: bool) -> Failure {
        let before = failure.position().and_then(|refused| {
            let marks = piece.batch.commits.iter().take_while(|mark| mark.position.commit < refused.commit);
            marks.last().map(|mark| mark.checkpoint)
        });
        match self.keep(before.filter(|_| saved && piece.end.is_some())).await {
            Ok(()) => failure,
            Err(worse) => worse,
        }
    }

    async fn keep(&mut self, before: Option<Checkpoint>) -> Result<(), Failure> {
        let Some(to) = before else {
            self.open = false;
            return self.client.batch("ROLLBACK").await;
        };
        self.client.batch("ROLLBACK TO understudy_tx").await?;
        let mut script = Script::default();
        // Which transactions were not yet visible there is not known, nor the place in the log: nothing is assumed.
        let reached = Reached { checkpoint: to, unseen: None, cursor: None };
        script.simple(&self.books.advance(self.applied, reached), Expect::Fence);
        self.flush(&mut script).await?;
        self.commit(to, false).await.map(drop)
    }

    /// Green refuses a change: stops, or sets it aside.
    pub(super) async fn refuse(
        &mut self,
        piece: &Piece<'_>,
        at: usize,
        failure: Failure,
        found: &mut Applied,
    ) -> Result<(), Refusal> {
        let place = position(piece.batch, at);
        let Some(change) = piece.batch.changes.get(at) else {
            return Err(Refusal::Fatal(failure));
        };
        let target = change.routes().first().and_then(|route| self.targets.get(route.index()));
        let Some(target) = target else {
            return Err(Refusal::Fatal(failure));
        };
        if failure.class() != Class::Data || self.client.is_broken() {
            return Err(Refusal::Fatal(failure.at(place).while_doing(describe(change, &target.green.name))));
        }
        let row_change = !matches!(change, RowChange::Truncate { .. } | RowChange::TruncateLeaf { .. });
        if self.on_error == OnError::Stop || !row_change {
            let remedy = "make green accept the row (its type, constraint or length), or set `on_error: quarantine`, and run again";
            let failure = failure.at(place).remedy(remedy).while_doing(describe(change, &target.green.name));
            return Err(Refusal::Stop(failure));
        }
        self.set_aside(piece, at, Some(Why::Refused(&failure)), found).await?;
        Ok(())
    }

    /// The values of a row cannot be computed: stops, or sets it aside.
    pub(super) async fn refuse_uncomputed(
        &mut self,
        piece: &Piece<'_>,
        at: usize,
        refusal: &understudy_model::Refusal,
        found: &mut Applied,
    ) -> Result<(), Refusal> {
        let Some(change @ RowChange::Refused { route, key, .. }) = piece.batch.changes.get(at) else {
            return Ok(());
        };
        if self.on_error == OnError::Quarantine {
            return Ok(self.set_aside(piece, at, Some(Why::Uncomputed(refusal)), found).await?);
        }
        let target = self.targets.get(route.index()).ok_or_else(unknown_route)?;
        let failure = uncomputed(key, refusal).at(position(piece.batch, at));
        Err(Refusal::Stop(failure.while_doing(describe(change, &target.green.name))))
    }

    /// Records a change as set aside, and its keys with it.
    pub(super) async fn set_aside(
        &mut self,
        piece: &Piece<'_>,
        at: usize,
        why: Option<Why<'_>>,
        found: &mut Applied,
    ) -> Result<(), Failure> {
        let Some(change) = piece.batch.changes.get(at) else {
            return Ok(());
        };
        let Some(target) = change.routes().first().and_then(|route| self.targets.get(route.index())) else {
            return Ok(());
        };
        let place = position(piece.batch, at);
        let (old, new) = keys(change, &target.green.key);
        for (nth, key) in [old, new].into_iter().flatten().enumerate() {
            self.books.quarantine(&mut self.client, target, &key, place, why.filter(|_| nth == 0)).await?;
            self.quarantined.insert((target.green.route, key));
        }
        found.quarantined += 1;
        Ok(())
    }
}

/// Whether a transaction of blue ends before the change at this index.
fn ends(piece: &Piece<'_>, at: usize) -> bool {
    piece.batch.commits.binary_search_by_key(&at, |mark| mark.changes_before).is_ok()
}

/// The key to look for and, for a changed key, the new one.
pub(super) fn keys(change: &RowChange, key: &[usize]) -> (Option<Key>, Option<Key>) {
    match change {
        RowChange::Insert { new, .. } | RowChange::Update { new, old_key: None, .. } => (new.key(key), None),
        RowChange::Update { new, old_key: Some(old), .. } => (Some(old.clone()), new.key(key)),
        RowChange::Delete { key, .. } => (Some(key.clone()), None),
        RowChange::Refused { old_key: Some(old), key, .. } => (Some(old.clone()), Some(key.clone())),
        RowChange::Refused { old_key: None, key, .. } => (Some(key.clone()), None),
        RowChange::Reread { .. } | RowChange::Truncate { .. } | RowChange::TruncateLeaf { .. } => {
            (None, None)
        }
    }
}

/// A row whose values cannot be computed, named as far as a message may.
pub(super) fn uncomputed(key: &Key, refusal: &understudy_model::Refusal) -> Failure {
    let cause = format!("{refusal}, in the row whose key has the hash {}", key_hash(key));
    Failure::new(Class::Data, cause)
        .remedy("correct the expression in the migration file, or set `on_error: quarantine`, and run again")
}

fn describe(change: &RowChange, table: &TableName) -> String {
    let what = match change {
        RowChange::Insert { .. } => "insert into",
        RowChange::Update { .. } => "update",
        RowChange::Delete { .. } => "delete from",
        RowChange::Reread { .. } => "read again a row of",
        RowChange::Refused { .. } => "compute a row of",
        RowChange::Truncate { .. } | RowChange::TruncateLeaf { .. } => "truncate",
    };
    format!("{what} {table} on green")
}

/// Cuts a piece into groups at the ends of transactions; a long transaction into several.
fn groups(piece: &Piece<'_>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut start = piece.from;
    let marks = piece.batch.commits.iter().map(|mark| mark.changes_before).filter(|at| *at < piece.to);
    for end in marks.chain([piece.to]).filter(|end| *end > piece.from) {
        if end == start {
            continue;
        }
        let joins = groups.last().is_some_and(|last| last.to == start && end - last.from <= GROUP_CHANGES);
        match groups.last_mut() {
            Some(last) if joins => last.to = end,
            _ => {
                let mut from = start;
                while from < end {
                    let to = end.min(from + GROUP_CHANGES);
                    groups.push(Group { from, to, starts: from == start });
                    from = to;
                }
            }
        }
        start = end;
    }
    groups
}
