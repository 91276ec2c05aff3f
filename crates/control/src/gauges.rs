//! The gauges, taken from the status at each scrape.

use std::time::{SystemTime, UNIX_EPOCH};

use understudy_observe::names::{self, Metric};
use understudy_observe::{OTHER_TABLES, Recorder, TABLES_MAX};

use crate::status::{Extra, Phase, Status, StatusReport, TableState, TableStatus, WalStatus};

/// Sets every gauge to what the status says now.
pub(crate) fn publish(status: &Status, recorder: &Recorder) {
    let (report, extra) = status.snapshot();
    recorder.set(&names::BUILD_INFO, &[("version", &report.version)], 1.0);
    recorder.set_state(&names::PHASE, &[], &Phase::NAMES, report.phase.as_str());
    recorder.set(&names::SOURCE_CONNECTED, &[], flag(report.source_connected));
    recorder.set(&names::TARGET_CONNECTED, &[("target", "green")], flag(report.target_connected));
    recorder.set(&names::BACKPRESSURE, &[], flag(report.backpressure));
    recorder.set(&names::DEAD_LETTERS, &[], figure(report.quarantined));
    recorder.set(&names::MISMATCHES, &[], figure(report.mismatches));
    recorder.set(&names::HEALS, &[], figure(report.heals));
    lag(recorder, &report, extra);
    slot(recorder, &report);
    tables(recorder, &report.tables);
}

fn lag(recorder: &Recorder, report: &StatusReport, extra: Extra) {
    // A lag that is not known is not zero.
    let seconds = report.lag_seconds.filter(|_| report.source_connected);
    recorder.set(&names::APPLY_LAG_SECONDS, &[], seconds.unwrap_or(f64::NAN));
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
fn figure(value: u64) -> f64 {
    value as f64
}
