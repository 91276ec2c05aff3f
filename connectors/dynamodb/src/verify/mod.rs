//! Reading rows for comparison: those of green out of its items, and those of blue in the forms that items have.
//!
//! `route` knows the one form in which a value is compared, whichever side it comes from. `blue` puts blue's rows into it,
//! `green` reads items, of which `moment` says at which place of blue's log they are, and `table` goes through a table in the
//! order that it has.

mod blue;
mod green;

mod route;

mod moment;
mod table;

use std::time::Duration;

pub use blue::StoredBlueRows;
pub use green::DynamoGreenRows;
pub use route::StoredRoute;

use crate::calls::CallSettings;

/// How much one read of green may take. What would take more is not read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// How long one read may go on, over all of its calls.
    pub read: Duration,
    /// The most rows that one read returns.
    pub rows_max: usize,
    /// The most bytes of items that one read keeps rows of, unless it is a single row.
    pub bytes_max: usize,
    /// How long a read waits until green has applied what is asked for.
    pub patience: Duration,
}

impl Default for ReadLimits {
    fn default() -> ReadLimits {
        ReadLimits {
            read: Duration::from_secs(120),
            rows_max: 500_000,
            bytes_max: 64 << 20,
            patience: Duration::from_secs(5),
        }
    }
}

/// What a reader of green is told beyond the routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderSettings {
    /// The migration's name, under which its state is kept.
    pub migration: String,
    /// The table that keeps it.
    pub state_table: String,
    /// How calls are made.
    pub calls: CallSettings,
    /// How much one read may take.
    pub limits: ReadLimits,
}

impl ReaderSettings {
    /// Settings for a migration, with everything else at its default.
    pub fn new(migration: impl Into<String>) -> ReaderSettings {
        ReaderSettings {
            migration: migration.into(),
            state_table: "understudy".to_owned(),
            calls: CallSettings { patience: Duration::from_secs(30), at_once: 16 },
            limits: ReadLimits::default(),
        }
    }
}
