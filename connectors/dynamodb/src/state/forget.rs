//! The end of a migration's state: whoever owned it is sent away, and all that is remembered goes.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use super::State;
use super::forms::{MIGRATION, Note, Notes, OF, OWNER, Reading};
use crate::calls::{Calls, Written};
use crate::error::Error;
use crate::layout::{Guard, ItemKey, UpdateParts};

impl State {
    /// Takes the migration from whoever owns it, without reading what is remembered. Returns whether there is any.
    pub(crate) async fn evict(&self, calls: &Calls) -> Result<bool, Error> {
        if self.owner(calls).await?.is_none() {
            return Ok(false);
        }
        let update = UpdateParts {
            key: ItemKey::of_texts(&self.table, (MIGRATION, &self.migration), (OF, OWNER)),
            expression: "SET #token = :token".to_owned(),
            condition: "attribute_exists(#token)".to_owned(),
            names: [("#token".to_owned(), "token".to_owned())].into(),
            values: [(":token".to_owned(), AttributeValue::S(self.token.clone()))].into(),
        };
        Ok(matches!(calls.update(update, ReturnValue::None).await?, Written::Done(_)))
    }

    /// Removes all that is remembered, the owner last, so that what is interrupted can be repeated, as long as nobody else takes the
    /// migration over. Returns how many items.
    pub(crate) async fn forget(&self, calls: &Calls) -> Result<u64, Error> {
        let owner = self.owner(calls).await?;
        if owner.is_some() && !self.owns(owner.as_ref()) {
            return Err(Error::Superseded);
        }
        let (mut count, mut from) = (0, None);
        loop {
            let this = AttributeValue::S(self.migration.clone());
            let (items, next) = match calls.query(&self.table, (MIGRATION, this), from).await {
                Err(Error::NoTable { .. }) => return Ok(0),
                page => page?,
            };
            let names = items.iter().filter_map(|item| Reading(item).text(OF).map(str::to_owned));
            let gone = names.filter(|of| of != OWNER).map(|of| (of, Note::Remove)).collect::<Notes>();
            count += gone.len() as u64;
            if owner.is_some() {
                self.write(calls, gone).await?;
            } else {
                for of in gone.keys() {
                    self.remove(calls, of).await?;
                }
            }
            match next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        if owner.is_some() {
            self.remove_owner(calls).await?;
            count += 1;
        }
        Ok(count)
    }

    async fn remove_owner(&self, calls: &Calls) -> Result<(), Error> {
        let guard = Guard {
            condition: "#token = :token".to_owned(),
            names: [("#token".to_owned(), "token".to_owned())].into(),
            values: [(":token".to_owned(), AttributeValue::S(self.token.clone()))].into(),
        };
        let key = ItemKey::of_texts(&self.table, (MIGRATION, &self.migration), (OF, OWNER));
        match calls.delete(&key, guard).await? {
            Written::Unmet(Some(_)) => Err(Error::Superseded),
            // Where nothing is there any more, an attempt before has done it.
            Written::Done(_) | Written::Unmet(None) | Written::NoRoom => Ok(()),
        }
    }
}
