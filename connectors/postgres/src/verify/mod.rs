//! Reading rows of blue and green for comparison: digests of ranges, rows by key, and the moments they were read at.
//!
//! `blue` and `green` keep the sentences on the traits. Both read through `side`: a connection that is lent to one call at
//! a time, and a transaction that has ended on every path. `sql` and `rows` write the statements and `keys` knows how
//! values of key columns are written and compared; `stop` tells what an error of a server means for a read.

mod blue;
mod green;

mod side;

mod keys;
mod rows;
mod sql;
mod stop;

use std::time::Duration;

pub use blue::PostgresBlueRows;
pub(crate) use green::MOMENT;
pub use green::PostgresGreenRows;

/// How much one read may take. What would take more is not read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// How long one statement may run.
    pub statement: Duration,
    /// The same where the key of every row of blue has to be computed to find some: asking for less makes that no quicker.
    pub thorough: Duration,
    /// The most rows that one read returns.
    pub rows_max: usize,
    /// The most bytes of rows that one read returns, unless it is a single row.
    pub bytes_max: usize,
    /// How long a read of green waits until green has applied what is asked for.
    pub green_patience: Duration,
}

impl Default for ReadLimits {
    fn default() -> ReadLimits {
        ReadLimits {
            statement: Duration::from_secs(30),
            thorough: Duration::from_secs(300),
            rows_max: 500_000,
            bytes_max: 64 << 20,
            green_patience: Duration::from_secs(5),
        }
    }
}
