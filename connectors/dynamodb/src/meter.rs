//! What calls come to: how many there are, how many are made again and why, what they cost, and how many are made at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_sdk_dynamodb::types::ConsumedCapacity;

/// What a sink has come to since it was made. Counters only grow; another sink begins anew.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Calls by table and operation.
    pub calls: Vec<CallFigures>,
    /// How many calls are made at once, by table.
    pub tables: Vec<TableFigures>,
    /// Transactions of blue that became visible all at once. Counted only where that is asked for.
    pub transactions_whole: u64,
    /// Those that did not, since DynamoDB's transactions do not take them. Counted only where all at once is asked for.
    pub transactions_apart: u64,
}

/// Calls of one operation to one table. A call to several tables counts for one of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallFigures {
    /// The table.
    pub table: String,
    /// What DynamoDB calls the operation.
    pub operation: &'static str,
    /// Attempts, with those that failed.
    pub attempts: u64,
    /// Attempts that came after another one at the same call.
    pub retries: u64,
    /// Attempts that were refused for being too many, or for meeting others.
    pub throttled: u64,
    /// Those of them that were refused because one partition is asked for too much, as DynamoDB says: a key is hot.
    pub hot: u64,
    /// Items of batches that were left undone, and asked for again.
    pub unprocessed_items: u64,
    /// Capacity units of reads for operations that read, else of writes, as answers say. Refusals cost too, and do not say what.
    pub units: f64,
}

/// Calls to one table that are under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableFigures {
    /// The table.
    pub table: String,
    /// How many are under way.
    pub under_way: usize,
    /// How many may be at this moment: fewer after calls were throttled.
    pub limit: usize,
    /// How many may be at most.
    pub limit_max: usize,
}

/// Counts calls.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    series: Mutex<BTreeMap<(String, &'static str), CallFigures>>,
    whole: AtomicU64,
    apart: AtomicU64,
}

impl Meter {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, &'static str), CallFigures>> {
        // A panic elsewhere leaves figures that are old at worst.
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, (operation, table): (&'static str, &str), change: impl FnOnce(&mut CallFigures)) {
        let mut series = self.lock();
        let new = || CallFigures { table: table.to_owned(), operation, ..CallFigures::default() };
        change(series.entry((table.to_owned(), operation)).or_insert_with(new));
    }

    /// An attempt is made, after another one or as the first.
    pub(crate) fn attempt(&self, call: (&'static str, &str), is_again: bool) {
        self.change(call, |figures| {
            figures.attempts += 1;
            figures.retries += u64::from(is_again);
        });
    }

    /// An attempt was refused for being too many, be it for one partition alone.
    pub(crate) fn throttled(&self, call: (&'static str, &str), is_hot: bool) {
        self.change(call, |figures| {
            figures.throttled += 1;
            figures.hot += u64::from(is_hot);
        });
    }

    pub(crate) fn unprocessed(&self, call: (&'static str, &str), items: usize) {
        self.change(call, |figures| figures.unprocessed_items += items as u64);
    }

    /// What an answer says that its call has cost.
    pub(crate) fn spent<'c>(
        &self,
        operation: &'static str,
        consumed: impl IntoIterator<Item = &'c ConsumedCapacity>,
    ) {
        for one in consumed {
            if let (Some(table), Some(units)) = (one.table_name(), one.capacity_units()) {
                self.change((operation, table), |figures| figures.units += units);
            }
        }
    }

    /// A transaction of blue was written: all at once, or not.
    pub(crate) fn transaction(&self, is_whole: bool) {
        let counter = if is_whole { &self.whole } else { &self.apart };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it so far.
    pub(crate) fn figures(&self, tables: Vec<TableFigures>) -> Figures {
        Figures {
            calls: self.lock().values().cloned().collect(),
            tables,
            transactions_whole: self.whole.load(Ordering::Relaxed),
            transactions_apart: self.apart.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one call costs on two tables is each table's, and no figure is another operation's.
    #[test]
    fn figures_are_kept_by_table_and_operation() {
        let meter = Meter::default();
        meter.attempt(("PutItem", "a"), false);
        meter.attempt(("PutItem", "a"), true);
        meter.throttled(("PutItem", "a"), false);
        meter.unprocessed(("BatchWriteItem", "a"), 7);
        let consumed =
            |table: &str, units| ConsumedCapacity::builder().table_name(table).capacity_units(units).build();
        meter.spent("TransactWriteItems", &[consumed("a", 2.0), consumed("b", 4.0)]);
        meter.transaction(true);
        let figures = meter.figures(Vec::new());
        let of = |table: &str, operation| {
            let mut calls = figures.calls.iter();
            calls.find(|one| (&*one.table, one.operation) == (table, operation)).cloned().unwrap_or_default()
        };
        let put = of("a", "PutItem");
        assert_eq!((put.attempts, put.retries, put.throttled, put.units), (2, 1, 1, 0.0));
        assert_eq!(of("a", "BatchWriteItem").unprocessed_items, 7);
        assert_eq!((of("a", "TransactWriteItems").units, of("b", "TransactWriteItems").units), (2.0, 4.0));
        assert_eq!((figures.transactions_whole, figures.transactions_apart), (1, 0));
    }
}
