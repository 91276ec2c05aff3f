//! How far a sweep is: notes of its own, which its one writer may lose without harm.

use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};
use understudy_model::Checkpoint;

use super::State;
use super::forms::{Fields, MIGRATION, OF, OWNER, Reading};
use crate::calls::{Calls, Segment};
use crate::error::Error;
use crate::layout::{Guard, Item, ItemKey};

/// What the notes begin with.
const SWEEP: &str = "sweep#";

/// How far a segment of a table is swept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Swept {
    of: String,
    /// Where it goes on; `None`: it is done.
    pub(crate) from: Option<Item>,
}

impl Swept {
    /// A segment of a table, of the sweep of this name.
    pub(crate) fn new(sweep: &str, place: (&str, Segment), from: Option<Item>) -> Swept {
        Swept { of: of(sweep, place), from }
    }

    pub(crate) fn is_of(&self, sweep: &str, place: (&str, Segment)) -> bool {
        self.of == of(sweep, place)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.from.is_none()
    }
}

fn of(sweep: &str, (table, segment): (&str, Segment)) -> String {
    let table = Sha256::digest(table.as_bytes());
    let table = table.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{SWEEP}{sweep}#{table}#{}#{}", segment.of, segment.number)
}

impl State {
    /// Where green stands. `None`: nothing is remembered of the migration, or it has not begun.
    pub(crate) async fn checkpoint(&self, calls: &Calls) -> Result<Option<Checkpoint>, Error> {
        let Some(owner) = self.owner(calls).await? else { return Ok(None) };
        let progress = Reading(&owner).progress().map_err(|what| self.unreadable(what))?;
        Ok(progress.map(|progress| progress.checkpoint))
    }

    /// The owner's item. `None`: there is none, or no table of states.
    pub(crate) async fn owner(&self, calls: &Calls) -> Result<Option<Item>, Error> {
        match calls.get(&self.table, self.key(OWNER)).await {
            Err(Error::NoTable { .. }) => Ok(None),
            owner => owner,
        }
    }

    /// What is noted of sweeps.
    pub(crate) async fn swept(&self, calls: &Calls) -> Result<Vec<Swept>, Error> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let this = AttributeValue::S(self.migration.clone());
            let (items, next) = calls.query(&self.table, (MIGRATION, this), from).await?;
            found.extend(items.iter().filter_map(|item| {
                let of = Reading(item).text(OF).filter(|of| of.starts_with(SWEEP))?.to_owned();
                Some(Swept { of, from: item.get("from").and_then(|from| from.as_m().ok()).cloned() })
            }));
            match next {
                Some(next) => from = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// Notes how far a segment is. Whoever owns the migration: a note that is lost or comes late makes a sweep longer.
    pub(crate) async fn note_swept(&self, calls: &Calls, swept: Swept) -> Result<(), Error> {
        let mut item = Fields(self.key(&swept.of));
        if let Some(from) = swept.from {
            item.0.insert("from".to_owned(), AttributeValue::M(from));
        }
        // Every write has a condition; this one always holds.
        let guard = Guard {
            condition: "attribute_exists(#of) OR attribute_not_exists(#of)".to_owned(),
            names: [("#of".to_owned(), OF.to_owned())].into(),
            values: Item::new(),
        };
        calls.put(&self.table, item.0, guard).await.map(drop)
    }

    /// Forgets what is noted of sweeps.
    pub(crate) async fn forget_swept(&self, calls: &Calls) -> Result<(), Error> {
        for swept in self.swept(calls).await? {
            self.remove(calls, &swept.of).await?;
        }
        Ok(())
    }

    /// Removes an item whoever owns the migration.
    pub(super) async fn remove(&self, calls: &Calls, of: &str) -> Result<(), Error> {
        let guard = Guard {
            condition: "attribute_exists(#of)".to_owned(),
            names: [("#of".to_owned(), OF.to_owned())].into(),
            values: Item::new(),
        };
        let key = ItemKey::of_texts(&self.table, (MIGRATION, &self.migration), (OF, of));
        calls.delete(&key, guard).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A note of another sweep, table or division into segments must not make this one pass over items.
    #[test]
    fn notes_are_of_one_segment_of_one_sweep() {
        let place = ("shop", Segment { number: 1, of: 4 });
        let note = Swept::new("a", place, None);
        assert!(note.is_of("a", place) && note.is_done());
        for (sweep, place) in [
            ("b", place),
            ("a", ("stock", place.1)),
            ("a", ("shop", Segment { number: 1, of: 8 })),
            ("a", ("shop", Segment { number: 2, of: 4 })),
        ] {
            assert!(!note.is_of(sweep, place));
        }
        assert!(!Swept::new("a", place, Some(Item::new())).is_done());
    }
}
