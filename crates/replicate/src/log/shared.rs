//! A log that several share, each with rows of its own: changes of others are counted, rows that come over from them are taken
//! in, and where what happens concerns the rows of all, everybody says how far he has come.

use understudy_contract::{Batch, Class, Cursor, Failure};
use understudy_model::{OldImage, RelationId, Tuple};

use super::events::{goes_back, outside};
use super::{LogCore, Work};
use crate::effect::Watching;
use crate::rules::Rule;

impl LogCore {
    /// Takes rows that were read again whether or not green waits for them, since somebody else asks for them here.
    pub fn take_every_heal(&mut self) {
        self.takes_heals = true;
    }

    /// So many changes of the open transaction are for others.
    pub(super) fn elsewhere(&mut self, changes: u64) -> Result<(), Failure> {
        if let Some(passing) = self.passing {
            return if passing.is_taken { Ok(()) } else { Err(goes_back(passing.commit)) };
        }
        let open = self.open.as_mut().ok_or_else(outside)?;
        open.next += changes;
        if open.next >= open.taken {
            (open.taken, open.last) = (open.next, None);
        }
        Ok(())
    }

    /// A row has come over: it is new here, and what was not sent of it only a read of blue can tell.
    pub(super) fn on_arrived(
        &mut self,
        relation: RelationId,
        old: &OldImage,
        new: &Tuple,
    ) -> Result<(), Failure> {
        let is_new = self.is_new(None)?;
        self.check_planned(relation, self.is_from_before())?;
        if !is_new {
            return Ok(());
        }
        self.bind(relation)?;
        let is_complete = |route| !self.incomplete.contains(&route);
        let watching = Watching {
            has_window: &|_| false,
            is_followed: &|_| true,
            is_complete: &is_complete,
            names_rows: self.batch.names_rows(),
            keeps_old: false,
        };
        let mut effects = Vec::new();
        for bound in self.relations.bound(relation)? {
            let spec = &self.routes[bound.route.index()];
            effects.push(bound.arrived(old, new, &watching).map_err(|why| why.failure(spec))?);
        }
        effects.into_iter().for_each(|effect| self.push(effect));
        Ok(())
    }

    /// Everything before is handed out, and after it a checkpoint that names the place. Every chunk is on green by now.
    pub(super) fn on_fence(&mut self, cursor: Cursor) -> Result<(), Failure> {
        if self.open.is_some() || self.passing.is_some() {
            let cause = "a transaction that empties tables has begun again: it is taken from its beginning";
            return Err(Failure::new(Class::Transient, cause));
        }
        self.seal_here();
        if self.batch.sealed_at_commit() && self.rules.holds(Rule::LogEntries) {
            self.batch.mark_again();
            let batch = self.batch.seal(None);
            self.out.push_back(Work::Batch(Batch { cursor: Some(cursor), ..batch }));
        }
        Ok(())
    }
}
