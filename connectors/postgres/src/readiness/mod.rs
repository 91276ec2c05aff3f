//! What has to be true of both servers before a flip, beside the data: read from their catalogs, changing nothing.
//!
//! Every check has a file of its own with its queries. A check that cannot be made is `Unknown`, never good.

mod lacks;
mod pairs;
mod roster;

mod long_transactions;
mod prepared_transactions;
mod slot;

mod sequence_rows;
mod sequences;

mod constraint_rows;
mod constraints;
mod foreign_keys;
mod index_rows;
mod indexes;

mod analysed;
mod extensions;
mod grants;
mod limits;
mod policies;
mod roles;

mod not_moved;

use std::time::Duration;

use understudy_contract::{Class, Failure, Found, Readiness, ReadinessCheck};
use understudy_model::TableName;

use crate::wire::Client;
use lacks::Lacks;
use pairs::Scene;

/// A migration, as its readiness has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadinessPlan {
    /// Its name.
    pub migration: String,
    /// The slot by which changes come from blue.
    pub feed: Feed,
    /// What goes where.
    pub routes: Vec<ReadyRoute>,
    /// How long a transaction on blue may have been open.
    pub max_transaction_age: Duration,
    /// How many numbers the flip skips in every sequence.
    pub sequence_headroom: u64,
}

/// The slot by which changes come from blue. A publication of ours has its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feed {
    /// The migration's own.
    Own(String),
    /// That of whoever else fills the log.
    Others(String),
    /// That of somebody else, who does not tell which: it is for them to see to.
    Untold,
    /// It is not known, and why.
    Unknown(String),
}

impl Feed {
    /// Its name, where that is known.
    fn name(&self) -> Option<&str> {
        match self {
            Feed::Own(name) | Feed::Others(name) => Some(name),
            Feed::Untold | Feed::Unknown(_) => None,
        }
    }
}

/// One route. Several may share a table on blue, or a table on green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyRoute {
    /// The table on blue.
    pub source: TableName,
    /// The table on green.
    pub target: TableName,
    /// Columns of blue that are passed on unchanged, each with its name on green.
    pub columns: Vec<(String, String)>,
    /// Whether its first copy is complete.
    pub copied_before: bool,
}

/// Makes every check, in the order of [`ReadinessCheck::ALL`].
///
/// Both connections must be outside a transaction, and are so again afterwards. Passwords cannot be compared: that a role
/// is on green does not say that it can log in there with the password it has on blue.
pub async fn examine(blue: &mut Client, green: &mut Client, plan: &ReadinessPlan) -> Vec<Readiness> {
    let scene = Box::pin(Scene::read(blue, green)).await.map_err(|failure| reason_of(&failure));
    let mut examined = Vec::with_capacity(ReadinessCheck::ALL.len());
    for check in ReadinessCheck::ALL {
        let found = match &scene {
            Err(reason) if needs_scene(check) => Err(Failure::new(Class::Internal, reason.clone())),
            scene => {
                let mut look =
                    Look { blue: &mut *blue, green: &mut *green, plan, scene: scene.as_ref().ok() };
                Box::pin(look.within_transactions(check)).await
            }
        };
        let found = found.unwrap_or_else(|failure| Found::Unknown(reason_of(&failure)));
        examined.push(Readiness { check, found });
    }
    examined
}

/// Whether the check compares tables.
fn needs_scene(check: ReadinessCheck) -> bool {
    !is_of_blue(check) && check != ReadinessCheck::Extensions
}

/// Makes those checks that need nothing but blue, and tells of all others why they do not apply. Of what is not moved only what
/// holds rows is looked for.
///
/// The connection must be outside a transaction, and is so again afterwards.
pub async fn examine_blue(blue: &mut Client, plan: &ReadinessPlan, why_not: &str) -> Vec<Readiness> {
    let mut examined = Vec::with_capacity(ReadinessCheck::ALL.len());
    for check in ReadinessCheck::ALL {
        let found = match check {
            ReadinessCheck::NotMoved => Box::pin(not_moved::look_alone(blue, plan)).await,
            check if is_of_blue(check) => Box::pin(within_transaction(blue, plan, check)).await,
            _ => Ok(Found::Inapplicable(why_not.to_owned())),
        };
        let found = found.unwrap_or_else(|failure| Found::Unknown(reason_of(&failure)));
        examined.push(Readiness { check, found });
    }
    examined
}

/// Whether the check looks at blue alone.
fn is_of_blue(check: ReadinessCheck) -> bool {
    use ReadinessCheck::{LongTransactions, PreparedTransactions, Slot};
    matches!(check, Slot | LongTransactions | PreparedTransactions)
}

async fn within_transaction(
    blue: &mut Client,
    plan: &ReadinessPlan,
    check: ReadinessCheck,
) -> Result<Found, Failure> {
    blue.batch(BEGIN).await.map_err(|failure| failure.while_doing("look at blue"))?;
    let mut lacks = Lacks::default();
    let looked = look_at_blue(blue, plan, (check, &mut lacks)).await;
    blue.batch("ROLLBACK").await?;
    looked?;
    Ok(lacks.found(check))
}

async fn look_at_blue(
    blue: &mut Client,
    plan: &ReadinessPlan,
    (check, out): (ReadinessCheck, &mut Lacks),
) -> Result<(), Failure> {
    match check {
        ReadinessCheck::Slot => slot::look(blue, &plan.feed, out).await,
        ReadinessCheck::LongTransactions => long_transactions::look(blue, plan, out).await,
        ReadinessCheck::PreparedTransactions => prepared_transactions::look(blue, out).await,
        _ => Ok(()),
    }
    .map_err(|failure| failure.while_doing(format!("check {}", check.as_str())))
}

fn reason_of(failure: &Failure) -> String {
    failure.remedy_text().map_or_else(|| failure.to_string(), |remedy| format!("{failure} ({remedy})"))
}

/// What a check looks with.
struct Look<'a> {
    blue: &'a mut Client,
    green: &'a mut Client,
    plan: &'a ReadinessPlan,
    scene: Option<&'a Scene>,
}

/// Functions that print definitions lock what they print: whoever holds it exclusively is not waited for.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '2s'; \
                     SET LOCAL statement_timeout = '30s'";

impl Look<'_> {
    /// One snapshot of each side for the whole check.
    async fn within_transactions(&mut self, check: ReadinessCheck) -> Result<Found, Failure> {
        self.blue.batch(BEGIN).await.map_err(|failure| failure.while_doing("look at blue"))?;
        let begun = self.green.batch(BEGIN).await;
        let found = match begun {
            Ok(()) => self.found(check).await,
            Err(failure) => Err(failure.while_doing("look at green")),
        };
        let ended = (self.blue.batch("ROLLBACK").await, self.green.batch("ROLLBACK").await);
        ended.0.and(ended.1)?;
        found
    }

    async fn found(&mut self, check: ReadinessCheck) -> Result<Found, Failure> {
        let mut lacks = Lacks::default();
        let out = &mut lacks;
        match check {
            ReadinessCheck::Slot
            | ReadinessCheck::LongTransactions
            | ReadinessCheck::PreparedTransactions => {
                look_at_blue(self.blue, self.plan, (check, out)).await?;
                Ok(())
            }
            ReadinessCheck::Sequences => sequences::look(self, out).await,
            ReadinessCheck::Indexes => indexes::look(self, out).await,
            ReadinessCheck::Constraints => constraints::look(self, out).await,
            ReadinessCheck::Analysed => analysed::look(self, out).await,
            ReadinessCheck::Roles => roles::look(self, out).await,
            ReadinessCheck::Grants => grants::look(self, out).await,
            ReadinessCheck::Policies => policies::look(self, out).await,
            ReadinessCheck::Extensions => extensions::look(self, out).await,
            ReadinessCheck::Limits => limits::look(self, out).await,
            ReadinessCheck::NotMoved => not_moved::look(self, out).await,
        }
        .map_err(|failure| failure.while_doing(format!("check {}", check.as_str())))?;
        Ok(lacks.found(check))
    }

    /// Both sides' tables.
    fn scene(&self) -> Result<&Scene, Failure> {
        self.scene.ok_or_else(|| Failure::new(Class::Internal, "the tables could not be read"))
    }
}
