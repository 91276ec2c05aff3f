//! The ledger of verification in the state table: what the verifier keeps there, and what people read and ask there.
//!
//! It lies in a partition of its own beside that of the migration, and belongs to whoever owns the migration: only the process
//! that does may take it, and of several verifiers of that process the one that took it last writes. `forms` says what each item
//! holds, `write` makes notes of what is to be kept, and `journal` has all notes of one call take effect or none. `books` is for
//! people: what is known, and requests.

mod books;
mod claim;
mod forms;
mod journal;
mod look;
mod news;
mod write;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use understudy_contract::{
    Class, ComparedRoute, Failure, LedgerNews, LedgerWrite, MismatchId, SavedVerification, VerifyLedger,
};
use understudy_model::{Lsn, RouteId};

pub use books::DynamoBooks;

use crate::calls::{CallSettings, Calls};
use crate::state::State;
use forms::Times;

/// What a ledger is told beyond the routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerSettings {
    /// The migration's name, under which its state is kept.
    pub migration: String,
    /// The table that keeps it.
    pub state_table: String,
    /// How calls are made.
    pub calls: CallSettings,
    /// Tells this process from others that run the same migration: the same as that of its sink.
    pub instance: u64,
}

/// The ledger on green. After a failure it is to be claimed again.
///
/// What one call writes takes effect as a whole, also across a crash. Whoever reads without holding the ledger may see a part of a
/// call of more than some hundred entries while it is being written.
pub struct DynamoVerifyLedger {
    calls: Calls,
    /// The partition of the migration.
    migration: String,
    instance: u64,
    /// The partition of the ledger, which each claim takes under another token.
    state: State,
    routes: Arc<[ComparedRoute]>,
    held: Option<Held>,
}

/// What is known while the ledger is held.
#[derive(Debug, Default)]
struct Held {
    /// The routes of the ledger.
    known: HashMap<RouteId, KnownRoute>,
    /// The next number of a route.
    next: u32,
    /// When standing mismatches were found, and what was done about them.
    times: HashMap<MismatchId, Times>,
    /// Requests that wait for an answer and have been told.
    told: HashSet<u64>,
    upto: Upto,
    /// The numbers of routes in the migration's own partition, as they become known.
    numbers: HashMap<RouteId, u32>,
    /// The route whose surprises are looked at next.
    turn: usize,
}

/// How far the ledger is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Upto {
    changed: Lsn,
    last_mismatch: u64,
    /// For each number of a route in the migration's own partition: the last surprise that has been told.
    surprises: BTreeMap<u32, String>,
}

/// A route of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownRoute {
    number: u32,
    /// Ranges count for the plan under which they were cut.
    plan: u64,
    fingerprint: String,
}

/// The partition of a migration's ledger. No migration has such a name.
pub(crate) fn partition(migration: &str) -> String {
    format!("{migration}#verify")
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Green does not know the migration.
fn ended() -> Failure {
    Failure::new(Class::Superseded, "green no longer knows this migration: it was finished or aborted")
        .remedy("to begin it anew: understudy run FILE")
}

impl DynamoVerifyLedger {
    /// A ledger over these routes. Nothing is asked of DynamoDB yet; [`VerifyLedger::claim`] takes it.
    pub fn new(client: Client, settings: LedgerSettings, routes: Arc<[ComparedRoute]>) -> DynamoVerifyLedger {
        let LedgerSettings { migration, state_table, calls, instance } = settings;
        DynamoVerifyLedger {
            calls: Calls::new(client, calls),
            state: State::new(&state_table, &partition(&migration), instance),
            migration,
            instance,
            routes,
            held: None,
        }
    }

    /// What is known, taken out: it is put back only once what was begun has succeeded.
    fn take(&mut self) -> Result<Held, Failure> {
        let free = || Failure::new(Class::Transient, "the ledger of verification on green is not held");
        self.held.take().ok_or_else(free)
    }
}

impl VerifyLedger for DynamoVerifyLedger {
    async fn claim(&mut self) -> Result<SavedVerification, Failure> {
        self.held = None;
        self.state = State::new(&self.state.table, &self.state.migration, self.instance);
        let claimed = Box::pin(self.take_over()).await;
        let (saved, held) =
            claimed.map_err(|failure| failure.while_doing("take the ledger of verification on green"))?;
        self.held = Some(held);
        Ok(saved)
    }

    async fn write(&mut self, entries: &[LedgerWrite]) -> Result<(), Failure> {
        let mut held = self.take()?;
        if !entries.is_empty() {
            Box::pin(self.keep(&mut held, entries))
                .await
                .map_err(|failure| failure.while_doing("write to the ledger of verification on green"))?;
        }
        self.held = Some(held);
        Ok(())
    }

    async fn news(&mut self) -> Result<LedgerNews, Failure> {
        let mut held = self.take()?;
        let news = Box::pin(self.look_for_news(&mut held))
            .await
            .map_err(|failure| failure.while_doing("read the ledger of verification on green"))?;
        self.held = Some(held);
        Ok(news)
    }
}
