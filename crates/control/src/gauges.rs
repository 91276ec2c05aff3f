//! The gauges, taken from the status and the bulletin at each scrape.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use understudy_observe::names::{self, Metric};
use understudy_observe::{OTHER_TABLES, Recorder, TABLES_MAX};

use crate::bulletin::Bulletin;
use crate::gates::{GateDocument, GateVerdict};
use crate::status::{Extra, Phase, Status, StatusReport, TableState, TableStatus, WalStatus};

/// Sets the gauges, and takes counters that others keep further.
pub(crate) struct Gauges {
    recorder: Recorder,
    /// What counters that others keep stood at when last looked at, by series.
    counted: Mutex<HashMap<String, u64>>,
    /// Partitions of the log, by topic and number, of which a lag has been shown.
    partitions: Mutex<BTreeSet<(String, String)>>,
}

impl Gauges {
    pub(crate) fn new(recorder: Recorder) -> Gauges {
        Gauges { recorder, counted: Mutex::default(), partitions: Mutex::default() }
    }

    /// Sets every gauge to what status and bulletin say now.
    pub(crate) fn publish(&self, status: &Status, bulletin: &Bulletin) {
        let report = publish(status, &self.recorder);
        self.partitions(&report);
        gates(&self.recorder, &bulletin.gates(), bulletin.evaluated());
        self.verify(&bulletin.verify().0);
    }

    /// How far behind each partition of the log is. One that nobody speaks of any more is not as far behind as it was: it is
    /// another worker's now, or its brokers are away.
    fn partitions(&self, report: &StatusReport) {
        let set = |(topic, partition): &(String, String), lag: f64| {
            let labels = [("topic", topic.as_str()), ("partition", partition.as_str())];
            self.recorder.set(&names::PARTITION_LAG, &labels, lag);
        };
        // A panic elsewhere leaves a figure that is old at worst.
        let mut shown = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unknown = shown.clone();
        for one in report.through.iter().flat_map(|through| through.partitions.iter().flatten()) {
            let series = (one.topic.clone(), one.partition.to_string());
            set(&series, figure(one.records_behind));
            unknown.remove(&series);
            shown.insert(series);
        }
        unknown.iter().for_each(|series| set(series, f64::NAN));
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Takes a counter to where another one stands that begins anew with every attempt of the pipeline.
    pub(crate) fn count(&self, metric: &Metric, labels: &[(&'static str, &str)], stands_at: u64) {
        let series =
            labels.iter().fold(metric.name.to_owned(), |name, (_, value)| format!("{name}\n{value}"));
        // A panic elsewhere leaves a figure that is old at worst.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counted.insert(series, stands_at).unwrap_or(0);
        let more = stands_at.checked_sub(before).unwrap_or(stands_at);
        self.recorder.add(metric, labels, more);
    }
}

fn gates(recorder: &Recorder, gates: &[GateDocument], evaluated: Option<SystemTime>) {
    let since = evaluated.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    for gate in gates {
        let label = ("gate", gate.gate.as_str());
        recorder.set(&names::GATE_READY, &[label], flag(gate.ready));
        for check in &gate.checks {
            let labels = [label, ("check", check.name.as_str())];
            recorder.set(&names::GATE_CHECK_OK, &labels, flag(check.status == GateVerdict::Pass));
        }
        if let Some(since) = since {
            recorder.set(&names::GATE_EVALUATED, &[label], since.as_secs_f64());
        }
    }
}

fn publish(status: &Status, recorder: &Recorder) -> StatusReport {
    let (report, extra) = status.snapshot();
    recorder.set(&names::BUILD_INFO, &[("version", &report.version)], 1.0);
    recorder.set_state(&names::PHASE, &[], &Phase::NAMES, report.phase.as_str());
    recorder.set(&names::SOURCE_CONNECTED, &[], flag(report.source_connected));
    recorder.set(&names::TARGET_CONNECTED, &[("target", "green")], flag(report.target_connected));
    recorder.set(&names::BACKPRESSURE, &[], flag(report.backpressure));
    recorder.set(&names::DEAD_LETTERS, &[], figure(report.quarantined));
    recorder.set(&names::HEALS, &[], figure(report.heals));
    lag(recorder, &report, extra);
    slot(recorder, &report);
    tables(recorder, &report.tables);
    report
}

fn lag(recorder: &Recorder, report: &StatusReport, extra: Extra) {
    // A lag that is not known is not zero.
    let seconds = report.lag_seconds.filter(|_| report.source_connected);
    recorder.set(&names::APPLY_LAG_SECONDS, &[], seconds.unwrap_or(f64::NAN));
    if let Some(through) = &report.through {
        recorder.set(&names::LOG_LAG, &[], through.records_behind.map_or(f64::NAN, figure));
    }
    let bytes: [(&Metric, Option<u64>); 3] = [
        (&names::APPLY_LAG_BYTES, report.lag_bytes),
        (&names::RECEIVED_LAG, extra.received_lag),
        (&names::CONFIRMED_LAG, extra.confirmed_lag),
    ];
    for (metric, bytes) in bytes {
        recorder.set(metric, &[], bytes.map_or(f64::NAN, figure));
    }
    let stamp = |metric: &Metric, labels: &[(&'static str, &str)], time: Option<SystemTime>| {
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        if let Some(since) = since {
            recorder.set(metric, labels, since.as_secs_f64());
        }
    };
    stamp(&names::APPLIED_COMMIT_TIMESTAMP, &[], extra.applied_commit);
    stamp(&names::HEARTBEAT_TIMESTAMP, &[("stage", "sent")], extra.marker_sent_at);
    stamp(&names::HEARTBEAT_TIMESTAMP, &[("stage", "applied")], extra.marker_applied_at);
}

fn slot(recorder: &Recorder, report: &StatusReport) {
    let Some(slot) = &report.slot else { return };
    recorder.set(&names::SLOT_ACTIVE, &[], flag(slot.active));
    recorder.set(&names::SLOT_RETAINED_WAL, &[], figure(slot.retained_bytes));
    if let Some(safe) = slot.safe_bytes {
        recorder.set(&names::SLOT_SAFE_WAL, &[], figure(safe));
    }
    if let Some(wal) = slot.wal_status {
        recorder.set_state(&names::SLOT_WAL_STATUS, &[], &WalStatus::NAMES, wal.as_str());
    }
}

fn tables(recorder: &Recorder, tables: &[TableStatus]) {
    for table in tables.iter().take(TABLES_MAX) {
        let label = ("table", table.source.as_str());
        let estimate = table.rows_estimate.map_or(f64::NAN, figure);
        recorder.set(&names::BACKFILL_ROWS_ESTIMATED, &[label], estimate);
        recorder.set_state(&names::BACKFILL_STATE, &[label], &TableState::NAMES, table.state.as_str());
    }
    let rest = tables.get(TABLES_MAX..).unwrap_or_default();
    if rest.is_empty() {
        return;
    }
    let label = ("table", OTHER_TABLES);
    let estimate = rest.iter().filter_map(|table| table.rows_estimate).sum::<u64>();
    recorder.set(&names::BACKFILL_ROWS_ESTIMATED, &[label], figure(estimate));
    // The least advanced of them stands for all.
    let least = rest.iter().map(|table| table.state).min_by_key(|state| *state as u8);
    recorder.set_state(
        &names::BACKFILL_STATE,
        &[label],
        &TableState::NAMES,
        least.unwrap_or_default().as_str(),
    );
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

/// A figure as metrics carry it; exact up to 2^53.
pub(crate) fn figure(value: u64) -> f64 {
    value as f64
}
