//! At which place of blue's log the rows of green are.
//!
//! DynamoDB has no snapshot over several items. In its place stands what the sink promises, of which each part is needed here:
//! the checkpoint is recorded once all rows before it are acknowledged, what is owed to rows is recorded before it, each write to
//! a row carries the place of its change, and whoever deletes a row leaves that place in a tombstone. So the checkpoint is read
//! first, then what is owed, then the rows. A row whose place is before the checkpoint is as blue's log leaves it there: nothing
//! earlier is missing, and nothing later has been written when it was read. A row whose place is beyond it is of a transaction
//! that is just being applied, or that has been applied since, and is told as one that is owed: it may be seen to be equal, and
//! it never shows that green is wrong.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use understudy_contract::{Answer, Awaited, Awaits, Class, Failure, GreenMoment, NotRead};
use understudy_model::{Key, Lsn, TableName};

use crate::calls::Calls;
use crate::error::Error;
use crate::layout::Version;
use crate::state::{Fields, MIGRATION, OF, OWNER, Reading};

/// How long green is left alone between two questions whether it is there yet.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// So many pages of what is owed are read at most. Where there is more, every row is taken for one that is owed.
const PAGES_MOST: usize = 20;

/// The state of the migration, for those who only read it.
#[derive(Debug, Clone)]
pub(super) struct Books {
    pub(super) table: String,
    pub(super) migration: String,
}

/// Where green is.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) moment: GreenMoment,
    /// The number of the run that writes.
    epoch: u32,
    /// That of the run with which the migration began, or its life under a new slot.
    begun: u32,
}

/// What is owed to the rows of a route.
#[derive(Debug, Default)]
pub(super) struct Owed {
    heals: HashSet<Key>,
    aside: HashSet<Key>,
    /// There is more than is read.
    is_beyond: bool,
}

impl Books {
    /// Where green is now; `None` while nothing has begun.
    pub(super) async fn known(&self, calls: &Calls) -> Result<Option<Known>, Failure> {
        let key = Fields::default().text(MIGRATION, &self.migration).text(OF, OWNER).0;
        let owner = match calls.get(&self.table, key).await {
            Err(Error::NoTable { .. }) => None,
            owner => owner?,
        };
        let Some(owner) = owner else { return Ok(None) };
        let unreadable = |what: &str| {
            let cause = format!("the state in table {} is not readable: {what}", self.table);
            Failure::new(Class::Diverged, cause)
                .remedy("someone changed the state table: find out who before running again")
        };
        let Some(progress) = Reading(&owner).progress().map_err(unreadable)? else { return Ok(None) };
        let epoch = Reading(&owner).number("epoch").ok_or_else(|| unreadable("the run's number"))?;
        let moment = GreenMoment { checkpoint: progress.checkpoint, unseen: progress.unseen };
        let begun = Reading(&owner).number("begun").ok_or_else(|| unreadable("the first run's number"))?;
        Ok(Some(Known { moment, epoch, begun }))
    }

    /// Where green is, once it has applied everything before `at_least`.
    pub(super) async fn at_least(
        &self,
        calls: &Calls,
        at_least: Lsn,
        patience: Duration,
    ) -> Result<Answer<Known>, Failure> {
        let deadline = Instant::now() + patience;
        let [mut pause, longest] = PAUSES;
        loop {
            if let Some(known) = self.known(calls).await?
                && known.moment.checkpoint.lsn() >= at_least
            {
                return Ok(Ok(known));
            }
            if Instant::now() + pause > deadline {
                return Ok(Err(NotRead::NotYet));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// The number of a route in the state; `None` while it is not known there.
    pub(super) async fn number(
        &self,
        calls: &Calls,
        (source, target): (&TableName, &TableName),
    ) -> Result<Option<u32>, Failure> {
        let mut from = None;
        loop {
            let at = ((MIGRATION, self.migration.as_str()), (OF, "route#"));
            let (items, next) = calls.beginning(&self.table, at, from).await?;
            let is_it = |item: &&crate::layout::Item| {
                let reading = Reading(item);
                reading.table("source").as_ref() == Some(source)
                    && reading.table("target").as_ref() == Some(target)
            };
            if let Some(route) = items.iter().find(is_it) {
                return Ok(Reading(route).number("route"));
            }
            match next {
                Some(next) => from = Some(next),
                None => return Ok(None),
            }
        }
    }

    /// What is owed to the rows of a route, by its number.
    pub(super) async fn owed(&self, calls: &Calls, number: u32) -> Result<Owed, Failure> {
        let mut owed = Owed::default();
        for (kind, is_heal) in [("heal", true), ("aside", false)] {
            let prefix = format!("{kind}#{number:05}#");
            let (mut from, mut pages) = (None, 0);
            loop {
                let at = ((MIGRATION, self.migration.as_str()), (OF, prefix.as_str()));
                let (items, next) = calls.beginning(&self.table, at, from).await?;
                let keys = items.iter().filter_map(|item| Reading(item).key("key"));
                if is_heal {
                    owed.heals.extend(keys)
                } else {
                    owed.aside.extend(keys)
                }
                pages += 1;
                match next {
                    Some(_) if pages >= PAGES_MOST => {
                        owed.is_beyond = true;
                        break;
                    }
                    Some(next) => from = Some(next),
                    None => break,
                }
            }
        }
        Ok(owed)
    }
}

impl Known {
    /// Whether the checkpoint is before the change that wrote a row.
    pub(super) fn is_before(&self, version: Version) -> bool {
        let at = self.moment.checkpoint.lsn();
        // What an earlier life of the migration wrote is as it is: its places are those of another log, and nobody owes it anything.
        if version.epoch < self.begun {
            return false;
        }
        // A chunk's rows are as everything before its place leaves them, and a change takes effect with its commit.
        if version.is_of_chunk() { version.lsn > at } else { version.lsn >= at }
    }

    /// Whether a version is of a run that is later than the one that writes.
    pub(super) fn is_of_later_run(&self, version: Version) -> bool {
        version.epoch > self.epoch
    }
}

impl Owed {
    /// What is owed to a row that is asked for by name.
    pub(super) fn to(&self, key: &Key) -> Option<Awaited> {
        let why = if self.is_beyond || self.heals.contains(key) {
            Awaits::Heal
        } else if self.aside.contains(key) {
            Awaits::Quarantine
        } else {
            return None;
        };
        Some(Awaited { key: key.clone(), why })
    }
}

#[cfg(test)]
mod tests {
    use understudy_model::{Checkpoint, Position};

    use super::*;

    /// A row that is taken for one of the checkpoint while it is beyond it shows that green is wrong where it is only ahead.
    #[test]
    fn rows_beyond_the_checkpoint_are_told_from_those_before() {
        let checkpoint = Checkpoint::at_commit_end(Lsn::new(100));
        let known =
            Known { moment: GreenMoment { checkpoint, unseen: Some(Vec::new()) }, epoch: 2, begun: 1 };
        let change = |lsn| Version::change(2, Position { commit: Lsn::new(lsn), ordinal: 7 });
        let chunk = |lsn| Version::chunk(1, Lsn::new(lsn));
        assert!(!known.is_before(change(99)) && known.is_before(change(100)));
        assert!(!known.is_before(chunk(100)) && known.is_before(chunk(101)));
        let earlier = Version::change(0, Position { commit: Lsn::new(100), ordinal: 0 });
        assert!(!known.is_before(earlier), "a row of an earlier life waits for nothing");
        assert!(known.is_of_later_run(Version::chunk(3, Lsn::ZERO)) && !known.is_of_later_run(chunk(1)));
    }

    /// Where more is owed than is read, no row counts as one to which nothing is.
    #[test]
    fn what_is_not_known_is_owed() {
        let (key, other) = (Key::from_texts([&b"a"[..]]), Key::from_texts([&b"b"[..]]));
        let mut owed = Owed { aside: HashSet::from([key.clone()]), ..Owed::default() };
        assert_eq!(owed.to(&key).map(|awaited| awaited.why), Some(Awaits::Quarantine));
        assert_eq!(owed.to(&other), None);
        owed.is_beyond = true;
        assert_eq!(owed.to(&other).map(|awaited| awaited.why), Some(Awaits::Heal));
    }
}
