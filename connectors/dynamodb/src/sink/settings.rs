//! What a sink is told beyond the tables: whose changes it applies, and what it does with rows that cannot be stored.

use std::time::Duration;

use crate::calls::CallSettings;

/// What happens to a change of a row that DynamoDB does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// Stop before the transaction that holds it.
    Stop,
    /// Set it aside with its reason, and with it every later change to its key.
    Quarantine,
}

/// Whether rows are put in batches, which have no conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batches {
    /// Every write has the condition that what is there is earlier.
    Never,
    /// Rows of a first copy are, where the table had no item at all when the copy was planned, and each is a whole item: 25 in one
    /// call instead of one. An instance that was frozen in the middle of a copy, and wakes up after another one has gone on, may then
    /// put back rows of that copy as they were; verification tells them.
    FirstCopy {
        /// How long a batch of which no answer came may still be done after it was made again. Changes to the route wait for that.
        in_doubt: Duration,
    },
}

/// How transactions of blue become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transactions {
    /// Row by row, many side by side.
    #[default]
    Rows,
    /// All at once, in the order of blue, each as far as DynamoDB's own transactions take it. [`given_up`] says what is not, and
    /// what it costs.
    Whole,
}

/// What readers of green cannot rely on, and what that which they can costs: a sentence each.
pub fn given_up(transactions: Transactions) -> Vec<String> {
    let sentences: &[&str] = match transactions {
        Transactions::Rows => &[
            "readers may see some rows of a transaction of blue before the others, and later transactions before earlier ones; \
             with writes to green closed and all applied, items are exactly what blue's rows come to",
        ],
        Transactions::Whole => &[
            "a transaction of blue is visible all at once where it changes at most 100 items with 4 MB together and none of them \
             in two parts; readers may see some rows of any other before the rest",
            "so it is with a transaction that empties a table, that moves a row to another key after sending only a part of it, \
             or that is so long that it is applied before its end is known",
            "rows of the first copy, and rows that are read again, become visible one by one",
            "each write takes twice the capacity, since DynamoDB prepares and commits it, and transactions are written one after the \
             other, so that fewer rows a second are written",
        ],
    };
    sentences.iter().map(|sentence| (*sentence).to_owned()).collect()
}

/// The settings of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSettings {
    /// The migration's name, under which its state is kept.
    pub migration: String,
    /// The table that keeps it. It is created where it is missing.
    pub state_table: String,
    /// What happens to a change of a row that DynamoDB does not take.
    pub on_error: OnError,
    /// How many placed chunks are written at once; at least one.
    pub writers: usize,
    /// Whether rows are put in batches.
    pub batches: Batches,
    /// How transactions of blue become visible.
    pub transactions: Transactions,
    /// Whether an item without a version and a tag of ours, which a first copy finds in a row's place, is taken for blue's and
    /// written over. Otherwise the row is not taken, and what is there stays.
    pub adopts: bool,
    /// How long a deleted row is remembered, so that a write which comes late does not bring it back.
    pub tombstones: Duration,
    /// How calls are made.
    pub calls: CallSettings,
    /// Tells this process from others that run the same migration.
    pub instance: u64,
    /// This process has owned the migration before: the claim then fails as superseded if another instance has become
    /// the owner since, because a process that lost the migration must not take it back.
    pub reclaim: bool,
}

impl SinkSettings {
    /// Settings for a migration, with everything else at its default.
    pub fn new(migration: impl Into<String>) -> SinkSettings {
        SinkSettings {
            migration: migration.into(),
            state_table: "understudy".to_owned(),
            on_error: OnError::Stop,
            writers: 2,
            batches: Batches::Never,
            transactions: Transactions::Rows,
            adopts: false,
            tombstones: Duration::from_secs(7 * 24 * 60 * 60),
            calls: CallSettings::default(),
            instance: rand::random(),
            reclaim: false,
        }
    }
}
