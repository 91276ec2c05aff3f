//! What people ask of the verifier, by way of the state table, and what they are answered. Nothing has to be claimed for it.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ReturnValue;
use understudy_contract::{Ask, Class, Failure};

use super::forms::{answer_of, ask, request_of};
use super::{ended, partition};
use crate::calls::{CallSettings, Calls, Written};
use crate::error::Error;
use crate::layout::{Guard, Item, ItemKey, UpdateParts};
use crate::state::{Fields, MIGRATION, Note, OF, OWNER, Reading, State};

/// What numbers requests.
const REQUESTS: &str = "requests";

/// What is kept of a migration's verification, for people.
#[derive(Debug)]
pub struct DynamoBooks {
    pub(super) calls: Calls,
    pub(super) migration: String,
    /// The partition of the ledger. Its token is nobody's.
    pub(super) state: State,
}

impl DynamoBooks {
    /// The books of a migration. Nothing is asked of DynamoDB yet.
    pub fn new(client: Client, (migration, state_table): (&str, &str), calls: CallSettings) -> DynamoBooks {
        DynamoBooks {
            calls: Calls::new(client, calls),
            migration: migration.to_owned(),
            state: State::new(state_table, &partition(migration), 0),
        }
    }

    /// Asks the verifier for something, in the name of a person, and returns the request's number.
    pub async fn ask(&self, asked: &Ask, by: &str) -> Result<u64, Failure> {
        let left = async {
            if !self.is_known().await? {
                return Err(unknown());
            }
            let number = self.next_number().await?;
            let Note::Put(mut item) = ask(asked, by) else { return Err(unknown()) };
            item.extend(self.key(&request_of(number)));
            self.calls.put(&self.state.table, item, anything()).await?;
            Ok(number)
        };
        left.await.map_err(|failure: Failure| failure.while_doing("leave a request on green"))
    }

    /// What the verifier answered, if it has.
    pub async fn answer(&self, request: u64) -> Result<Option<String>, Failure> {
        let read = async {
            let item = self.calls.get(&self.state.table, self.key(&answer_of(request))).await?;
            match item {
                Some(item) => Ok(Reading(&item).text("answer").map(str::to_owned)),
                None if self.is_known().await? => Ok(None),
                None => Err(ended()),
            }
        };
        read.await.map_err(|failure: Failure| failure.while_doing("read an answer on green"))
    }

    /// Takes a request back that nobody has answered. If somebody has by now, that is the answer.
    pub async fn withdraw(&self, request: u64) -> Result<Option<String>, Failure> {
        let of = request_of(request);
        let key = ItemKey::of_texts(&self.state.table, (MIGRATION, &self.state.migration), (OF, &of));
        let there = Guard { condition: "attribute_exists(#m)".to_owned(), ..anything() };
        match self.calls.delete(&key, there).await {
            Ok(Written::Unmet(_) | Written::NoRoom) => self.answer(request).await,
            Ok(Written::Done(_)) => Ok(None),
            Err(error) => Err(Failure::from(error).while_doing("take a request back on green")),
        }
    }

    fn key(&self, of: &str) -> Item {
        Fields::default().text(MIGRATION, &self.state.migration).text(OF, of).0
    }

    async fn is_known(&self) -> Result<bool, Failure> {
        let key = Fields::default().text(MIGRATION, &self.migration).text(OF, OWNER).0;
        match self.calls.get(&self.state.table, key).await {
            Err(Error::NoTable { .. }) => Ok(false),
            owner => Ok(owner?.is_some()),
        }
    }

    /// A number that nobody else gets. One of which no answer came is not used.
    async fn next_number(&self) -> Result<u64, Failure> {
        let Guard { condition, mut names, mut values } = anything();
        names.insert("#n".to_owned(), "number".to_owned());
        values.extend(Fields::default().number(":one", 1).0);
        let update = UpdateParts {
            key: ItemKey::of_texts(&self.state.table, (MIGRATION, &self.state.migration), (OF, REQUESTS)),
            expression: "ADD #n :one".to_owned(),
            condition,
            names,
            values,
        };
        let number = match self.calls.update(update, ReturnValue::UpdatedNew).await? {
            Written::Done(Some(now)) => Reading(&now).number("number"),
            Written::Done(None) | Written::Unmet(_) | Written::NoRoom => None,
        };
        number.ok_or_else(|| Failure::new(Class::Internal, "the number of a request was not told"))
    }
}

/// A condition that always holds.
fn anything() -> Guard {
    Guard {
        condition: "attribute_exists(#m) OR attribute_not_exists(#m)".to_owned(),
        names: [("#m".to_owned(), MIGRATION.to_owned())].into(),
        values: Item::new(),
    }
}

fn unknown() -> Failure {
    Failure::new(
        Class::Configuration,
        "green does not know this migration: it has not begun, or has been ended",
    )
    .remedy("begin it: understudy run FILE")
}
