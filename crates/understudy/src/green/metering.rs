//! What calls to DynamoDB come to, for metrics and status: how many there are, what they take, and where they are throttled.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use understudy_control::StatusHandle;
use understudy_dynamodb::{CallFigures, DynamoSink, Figures, TableFigures};
use understudy_observe::names::{self, Metric};
use understudy_observe::{OTHER_TABLES, Recorder, TABLES_MAX};

use crate::assemble::Attempt;

/// The part of the sidecar that writes items.
pub(crate) const APPLY: &str = "apply";

/// How often figures are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// For how long after a table has throttled calls it is told that it does.
const TOLD_FOR: Duration = Duration::from_secs(5);

impl Attempt<'_> {
    /// Takes the figures of a sink to metrics and status for as long as this lives, also while somebody else has the sink.
    pub(crate) fn metering(&self, part: &'static str, sink: &DynamoSink) -> Metering {
        let meter = sink.meter();
        Metering::start(part, move || meter.figures(), (self.recorder, Some(self.status)))
    }
}

/// Takes figures to metrics, and to the status where that is given. The last ones are taken when it is dropped.
pub(crate) struct Metering {
    shown: Arc<Shown>,
    _looking: JoinSet<()>,
}

struct Shown {
    part: &'static str,
    figures: Box<dyn Fn() -> Figures + Send + Sync>,
    recorder: Recorder,
    status: Option<StatusHandle>,
    seen: Mutex<Seen>,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    last: Figures,
    tables: Labels,
    /// When each table was last seen to throttle calls, and to have a partition that does.
    throttled: BTreeMap<String, Instant>,
    hot: BTreeMap<String, Instant>,
}

/// The tables with series of their own.
#[derive(Debug, Default)]
struct Labels(BTreeSet<String>);

impl Metering {
    /// Starts it. Figures count from zero, and only grow.
    pub(crate) fn start(
        part: &'static str,
        figures: impl Fn() -> Figures + Send + Sync + 'static,
        (recorder, status): (&Recorder, Option<&StatusHandle>),
    ) -> Metering {
        let shown = Arc::new(Shown {
            part,
            figures: Box::new(figures),
            recorder: recorder.clone(),
            status: status.cloned(),
            seen: Mutex::default(),
        });
        let mut looking = JoinSet::new();
        let looks = Arc::clone(&shown);
        looking.spawn(async move {
            let mut tick = tokio::time::interval(EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let waits = looks.look();
                looks.tell(waits);
            }
        });
        Metering { shown, _looking: looking }
    }
}

impl Drop for Metering {
    fn drop(&mut self) {
        self.shown.look();
        self.shown.tell(Vec::new());
    }
}

impl Shown {
    /// Takes what is new to the metrics. Returns which tables throttle calls, for people.
    fn look(&self) -> Vec<String> {
        let now = (self.figures)();
        // A panic elsewhere leaves figures that are old at worst.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { last, tables, throttled, hot } = &mut *seen;
        let before = by_call(last);
        for call in &now.calls {
            let before = before.get(&(call.table.as_str(), call.operation)).copied();
            let before = before.cloned().unwrap_or_default();
            self.count(tables.label(&call.table), call, &before);
            if call.throttled > before.throttled || call.unprocessed_items > before.unprocessed_items {
                throttled.insert(call.table.clone(), Instant::now());
            }
            if call.hot > before.hot {
                hot.insert(call.table.clone(), Instant::now());
            }
        }
        now.tables.iter().for_each(|table| self.gauge(tables.label(&table.table), table));
        self.transactions(&now, last);
        for seen in [&mut *throttled, &mut *hot] {
            seen.retain(|_, at| at.elapsed() < TOLD_FOR);
        }
        let throttling = now.tables.iter().filter(|table| throttled.contains_key(&table.table));
        let waits = throttling.map(|table| wait(table, hot.contains_key(&table.table))).collect();
        *last = now;
        waits
    }

    fn tell(&self, waits: Vec<String>) {
        if let Some(status) = &self.status {
            status.green_waits_for(waits);
        }
    }

    fn count(&self, table: &str, now: &CallFigures, before: &CallFigures) {
        let labels = [("table", table), ("operation", now.operation), ("part", self.part)];
        for (metric, more) in more(now, before) {
            self.recorder.add(metric, &labels, more);
        }
        let with = |label| [labels[0], labels[1], labels[2], label];
        for (reason, more) in more_throttled(now, before) {
            self.recorder.add(&names::DYNAMODB_THROTTLED, &with(("reason", reason)), more);
        }
        let capacity = with(("capacity", capacity(now.operation)));
        self.recorder.add(&names::DYNAMODB_CAPACITY, &capacity, more_units(now, before));
    }

    fn gauge(&self, label: &str, table: &TableFigures) {
        // Of several tables that share a label, none stands for all.
        if label == OTHER_TABLES {
            return;
        }
        let labels = [("table", label), ("part", self.part)];
        self.recorder.set(&names::DYNAMODB_IN_FLIGHT, &labels, table.under_way as f64);
        self.recorder.set(&names::DYNAMODB_LIMIT, &labels, table.limit as f64);
    }

    /// Counted by the sink only where all at once is asked for, and shown only there.
    fn transactions(&self, now: &Figures, before: &Figures) {
        if now.transactions_whole + now.transactions_apart == 0 {
            return;
        }
        for (outcome, now, before) in [
            ("whole", now.transactions_whole, before.transactions_whole),
            ("apart", now.transactions_apart, before.transactions_apart),
        ] {
            let more = now.saturating_sub(before);
            self.recorder.add(&names::DYNAMODB_TRANSACTIONS, &[("outcome", outcome)], more);
        }
    }
}

impl Labels {
    /// The table's own label, or that of all beyond so many.
    fn label<'t>(&mut self, table: &'t str) -> &'t str {
        if self.0.len() < TABLES_MAX {
            self.0.insert(table.to_owned());
        }
        if self.0.contains(table) { table } else { OTHER_TABLES }
    }
}

fn by_call(figures: &Figures) -> HashMap<(&str, &'static str), &CallFigures> {
    figures.calls.iter().map(|call| ((call.table.as_str(), call.operation), call)).collect()
}

/// By how much each counter of a call has grown.
fn more(now: &CallFigures, before: &CallFigures) -> [(&'static Metric, u64); 3] {
    [
        (&names::DYNAMODB_CALLS, now.attempts.saturating_sub(before.attempts)),
        (&names::DYNAMODB_RETRIES, now.retries.saturating_sub(before.retries)),
        (&names::DYNAMODB_UNPROCESSED, now.unprocessed_items.saturating_sub(before.unprocessed_items)),
    ]
}

/// The same of throttled calls, by reason.
fn more_throttled(now: &CallFigures, before: &CallFigures) -> [(&'static str, u64); 2] {
    let hot = now.hot.saturating_sub(before.hot);
    [("partition", hot), ("other", now.throttled.saturating_sub(before.throttled).saturating_sub(hot))]
}

/// By how many whole units; what is left over counts as soon as it makes up one.
fn more_units(now: &CallFigures, before: &CallFigures) -> u64 {
    (now.units as u64).saturating_sub(before.units as u64)
}

/// Which of a table's capacities an operation takes.
fn capacity(operation: &str) -> &'static str {
    let reads = operation.contains("Get") || matches!(operation, "Query" | "Scan");
    if reads { "read" } else { "write" }
}

/// What is waited for, for people.
fn wait(table: &TableFigures, is_hot: bool) -> String {
    let TableFigures { table, limit, limit_max, .. } = table;
    let where_it_is = if is_hot { ", since one of its partitions is asked for too much" } else { "" };
    format!(
        "DynamoDB, which throttles calls to table {table}{where_it_is}: {limit} of at most {limit_max} are made at once now"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(attempts: u64, units: f64) -> CallFigures {
        CallFigures { table: "t".to_owned(), operation: "Query", attempts, units, ..CallFigures::default() }
    }

    /// Reads take half units, of which none may get lost however often somebody looks.
    #[test]
    fn halves_of_units_add_up() {
        let looks = [0.0, 0.5, 1.0, 2.5, 2.5, 4.0].map(|units| call(1, units));
        let sum: u64 = looks.windows(2).map(|pair| more_units(&pair[1], &pair[0])).sum();
        assert_eq!(sum, 4);
        assert_eq!(more(&call(7, 0.0), &call(5, 0.0))[0].1, 2);
    }

    /// Thousands of tables must not become thousands of series.
    #[test]
    fn tables_beyond_the_limit_share_a_label() {
        let mut labels = Labels::default();
        let names = (0..TABLES_MAX + 7).map(|at| format!("t{at}")).collect::<Vec<_>>();
        let others = names.iter().filter(|name| labels.label(name) == OTHER_TABLES).count();
        assert_eq!((others, labels.label("t3")), (7, "t3"));
    }

    /// Whoever pays for reads and writes apart must not see one for the other.
    #[test]
    fn operations_take_one_capacity_each() {
        for operation in ["GetItem", "BatchGetItem", "Query", "Scan"] {
            assert_eq!(capacity(operation), "read");
        }
        for operation in ["PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"] {
            assert_eq!(capacity(operation), "write");
        }
    }
}
