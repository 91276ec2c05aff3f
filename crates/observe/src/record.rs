//! Recording: one function per event, so that a metric's name and labels are never written elsewhere.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::names::{self, Kind, Metric};

/// Most tables with series of their own; the others share `table="_other"`.
pub const TABLES_MAX: usize = 100;

/// The table label under which the overflow is gathered.
pub const OTHER_TABLES: &str = "_other";

/// Upper bounds of the buckets of latency histograms, in seconds.
pub const LATENCY_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A row appeared.
    Insert,
    /// A row changed.
    Update,
    /// A row vanished.
    Delete,
    /// A table was emptied.
    Truncate,
}

impl Op {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Op::Insert => "insert",
            Op::Update => "update",
            Op::Delete => "delete",
            Op::Truncate => "truncate",
        }
    }
}

/// Gives the installed recorder the unit and the help text of every metric.
pub fn describe_all() {
    for metric in names::ALL {
        let Metric { name, unit, help, .. } = *metric;
        // A bare count has no unit to be named after.
        match (metric.kind, unit) {
            (Kind::Counter, _) => describe_counter!(name, help),
            (Kind::Gauge, Unit::Count) => describe_gauge!(name, help),
            (Kind::Gauge, unit) => describe_gauge!(name, unit, help),
            (Kind::Histogram, unit) => describe_histogram!(name, unit, help),
        }
    }
}

/// Records under the name of one migration. Cheap to clone and to keep.
#[derive(Debug, Clone)]
pub struct Recorder {
    pipeline: String,
}

impl Recorder {
    /// A recorder for a migration; its counters start at zero here, so that their first step is seen.
    pub fn new(pipeline: impl Into<String>) -> Recorder {
        let recorder = Recorder { pipeline: pipeline.into() };
        for op in [Op::Insert, Op::Update, Op::Delete, Op::Truncate] {
            recorder.events_received(op, 0);
        }
        recorder.transactions_applied(0);
        recorder.events_filtered(0);
        recorder
    }

    fn pipeline(&self) -> String {
        self.pipeline.clone()
    }

    /// Blue sent changes.
    pub fn events_received(&self, op: Op, count: u64) {
        let name = names::EVENTS_RECEIVED.name;
        counter!(name, "pipeline" => self.pipeline(), "op" => op.as_str()).increment(count);
    }

    /// Green committed changes to a table.
    pub fn events_applied(&self, table: &str, op: Op, count: u64) {
        let name = names::EVENTS_APPLIED.name;
        counter!(name, "pipeline" => self.pipeline(), "table" => table.to_owned(), "op" => op.as_str())
            .increment(count);
    }

    /// Green committed transactions of blue.
    pub fn transactions_applied(&self, count: u64) {
        counter!(names::TRANSACTIONS_APPLIED.name, "pipeline" => self.pipeline()).increment(count);
    }

    /// Changes arrived that no table of the migration wants.
    pub fn events_filtered(&self, count: u64) {
        counter!(names::EVENTS_FILTERED.name, "pipeline" => self.pipeline()).increment(count);
    }

    /// The pipeline starts again; the reason is a class of failure, never a text with values.
    pub fn retry(&self, reason: &'static str) {
        counter!(names::APPLY_RETRIES.name, "pipeline" => self.pipeline(), "reason" => reason).increment(1);
    }

    /// Green committed a batch.
    pub fn batch_applied(&self, took: Duration) {
        histogram!(names::APPLY_BATCH_DURATION.name, "pipeline" => self.pipeline())
            .record(took.as_secs_f64());
    }

    /// A commit of blue became visible on green this long after it was made.
    pub fn end_to_end(&self, latency: Duration) {
        histogram!(names::END_TO_END_LATENCY.name, "pipeline" => self.pipeline())
            .record(latency.as_secs_f64());
    }

    /// A side answered a probe.
    pub fn probe_took(&self, probe: &str, side: &'static str, took: Duration) {
        let name = names::PROBE_DURATION.name;
        histogram!(name, "pipeline" => self.pipeline(), "probe" => probe.to_owned(), "side" => side)
            .record(took.as_secs_f64());
    }

    /// An asking of a probe came to an end.
    pub fn probe_answered(&self, probe: &str, result: &'static str) {
        let name = names::PROBE_ANSWERS.name;
        counter!(name, "pipeline" => self.pipeline(), "probe" => probe.to_owned(), "result" => result)
            .increment(1);
    }

    /// Reading waits for green, or no longer does.
    pub fn backpressure(&self, active: bool) {
        self.set(&names::BACKPRESSURE, &[], f64::from(u8::from(active)));
    }

    /// The first copy wrote rows.
    pub fn rows_copied(&self, table: &str, count: u64) {
        let name = names::BACKFILL_ROWS.name;
        counter!(name, "pipeline" => self.pipeline(), "table" => table.to_owned()).increment(count);
    }

    /// A chunk is to be read again.
    pub fn chunk_discarded(&self, reason: &'static str) {
        let name = names::BACKFILL_CHUNKS_DISCARDED.name;
        counter!(name, "pipeline" => self.pipeline(), "reason" => reason).increment(1);
    }

    /// Sets a gauge. The labels must be those that its entry lists.
    pub fn set(&self, metric: &Metric, labels: &[(&'static str, &str)], value: f64) {
        debug_assert_eq!(metric.kind, Kind::Gauge, "{}", metric.name);
        gauge!(metric.name, self.labels(metric, labels)).set(value);
    }

    fn labels(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> Vec<metrics::Label> {
        debug_assert!(
            labels.iter().map(|label| label.0).eq(metric.labels.iter().copied()),
            "{}",
            metric.name
        );
        let mut all = vec![metrics::Label::new("pipeline", self.pipeline())];
        all.extend(labels.iter().map(|(name, value)| metrics::Label::new(*name, (*value).to_owned())));
        all
    }

    /// Adds to a counter that is kept elsewhere. The labels must be those that its entry lists.
    pub fn add(&self, metric: &Metric, labels: &[(&'static str, &str)], count: u64) {
        debug_assert_eq!(metric.kind, Kind::Counter, "{}", metric.name);
        counter!(metric.name, self.labels(metric, labels)).increment(count);
    }

    /// Sets a gauge for each state there is: 1 for the current one, 0 for the others. `label` is the last label.
    pub fn set_state(
        &self,
        metric: &Metric,
        labels: &[(&'static str, &str)],
        states: &[&str],
        current: &str,
    ) {
        let Some(label) = metric.labels.last() else { return };
        for state in states {
            let mut all = labels.to_vec();
            all.push((label, state));
            self.set(metric, &all, f64::from(u8::from(*state == current)));
        }
    }
}
