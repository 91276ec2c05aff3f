//! What is remembered of a migration, read by who does not own it.

use aws_sdk_dynamodb::Client;
use understudy_contract::{Cursor, Failure};
use understudy_model::TableName;

use crate::calls::{CallSettings, Calls};
use crate::error::Error;
use crate::state::{Form, State};

/// The books of one migration.
#[derive(Debug, Clone)]
pub struct Books {
    /// The way to DynamoDB.
    pub client: Client,
    /// How calls are made.
    pub calls: CallSettings,
    /// The state table.
    pub table: String,
    /// The migration's name.
    pub migration: String,
}

/// What is remembered of a migration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Whether somebody has begun it: what its tables hold may be its own, also before anything counts as applied.
    pub begun: bool,
    /// Whether blue has been followed from some checkpoint on.
    pub started: bool,
    /// The version of the publication, as it was made.
    pub publication: Option<String>,
    /// Where to go on in a log; `None` where none has been read.
    pub cursor: Option<Cursor>,
    /// The routes it has seen.
    pub routes: Vec<RememberedRoute>,
    /// Rows that wait to be read again.
    pub heals: usize,
    /// Changes that are set aside.
    pub aside: usize,
}

/// One route as it was last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedRoute {
    /// The table on blue.
    pub source: TableName,
    /// The items.
    pub target: TableName,
    /// The fingerprint of its mapping.
    pub fingerprint: String,
    /// Whether its copy is complete.
    pub complete: bool,
    /// The version of its place in the publication, once it is followed.
    pub published: Option<String>,
}

impl Books {
    /// Reads what is remembered, without owning it. Without the state table nothing is.
    pub async fn read(&self) -> Result<Remembered, Failure> {
        let (calls, state) = (self.calls(), self.state());
        let progress = match state.progress(&calls).await {
            Err(Error::NoTable { .. }) => return Ok(Remembered::default()),
            progress => progress?,
        };
        let mut remembered = Remembered::default();
        if let Some(progress) = progress {
            remembered.begun = true;
            remembered.started = progress.checkpoint.lsn().raw() > 0;
            (remembered.publication, remembered.cursor) = (progress.lineage.publication, progress.cursor);
        }
        for (_, form) in state.forms(&calls).await? {
            match form {
                Form::Route(route) => remembered.routes.push(RememberedRoute {
                    source: route.source,
                    target: route.target,
                    fingerprint: route.fingerprint,
                    complete: route.complete,
                    published: route.published,
                }),
                Form::Heal { .. } => remembered.heals += 1,
                Form::Aside { .. } => remembered.aside += 1,
                Form::Unit(_) | Form::Done(_) | Form::Surprise { .. } | Form::Departed(_) | Form::Sweep => {}
            }
        }
        Ok(remembered)
    }

    fn calls(&self) -> Calls {
        Calls::new(self.client.clone(), self.calls)
    }

    fn state(&self) -> State {
        State::new(&self.table, &self.migration, 0)
    }
}
