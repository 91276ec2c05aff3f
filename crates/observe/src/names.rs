//! Every metric: its name, kind, unit and help text. The one place where a metric name is written down.

use metrics::Unit;

/// What kind of series a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its full name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit, always a base unit.
    pub unit: Unit,
    /// What it says, for a person.
    pub help: &'static str,
    /// Its labels besides `pipeline`.
    pub labels: &'static [&'static str],
}

macro_rules! metrics_table {
    ($($(#[doc = $help:literal])+ $constant:ident: $kind:ident, $unit:ident, $name:literal, [$($label:literal),*];)+) => {
        $(
            $(#[doc = $help])+
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                help: concat!($($help),+).trim_ascii_start(),
                labels: &[$($label),*],
            };
        )+

        /// Every metric there is.
        pub const ALL: &[Metric] = &[$($constant),+];
    };
}

metrics_table! {
    /// Bytes of write-ahead log between blue's end and what blue has sent.
    RECEIVED_LAG: Gauge, Bytes, "understudy_received_lag_bytes", [];
    /// Bytes of write-ahead log between blue's end and what green shows.
    APPLY_LAG_BYTES: Gauge, Bytes, "understudy_apply_lag_bytes", [];
    /// Bytes of write-ahead log between blue's end and what blue may forget.
    CONFIRMED_LAG: Gauge, Bytes, "understudy_confirmed_lag_bytes", [];
    /// Age of the newest moment of blue that green is proved to hold; zero only when a marker proves it, NaN when unknown.
    APPLY_LAG_SECONDS: Gauge, Seconds, "understudy_apply_lag_seconds", [];
    /// Records of the log between blue and green that green has yet to take, over all partitions; NaN when unknown, absent
    /// without a log.
    LOG_LAG: Gauge, Count, "understudy_log_lag_records", [];
    /// The same for one partition; NaN once it is not known any more.
    PARTITION_LAG: Gauge, Count, "understudy_log_partition_lag_records", ["topic", "partition"];
    /// Commit time on blue of the newest transaction that green shows, as a Unix time.
    APPLIED_COMMIT_TIMESTAMP: Gauge, Seconds, "understudy_applied_commit_timestamp_seconds", [];
    /// When the newest marker was sent, or came back applied, as a Unix time.
    HEARTBEAT_TIMESTAMP: Gauge, Seconds, "understudy_heartbeat_timestamp_seconds", ["stage"];
    /// From commit on blue to visible on green.
    END_TO_END_LATENCY: Histogram, Seconds, "understudy_end_to_end_latency_seconds", [];

    /// 1 while blue's slot is in use.
    SLOT_ACTIVE: Gauge, Count, "understudy_slot_active", [];
    /// Write-ahead log that the slot keeps on blue.
    SLOT_RETAINED_WAL: Gauge, Bytes, "understudy_slot_retained_wal_bytes", [];
    /// Write-ahead log that blue can still write before the slot is lost; absent when there is no limit.
    SLOT_SAFE_WAL: Gauge, Bytes, "understudy_slot_safe_wal_bytes", [];
    /// 1 for the state in which blue reports the slot's write-ahead log, 0 for the others.
    SLOT_WAL_STATUS: Gauge, Count, "understudy_slot_wal_status", ["status"];

    /// Changes that blue has sent.
    EVENTS_RECEIVED: Counter, Count, "understudy_events_received_total", ["op"];
    /// Changes that green has committed.
    EVENTS_APPLIED: Counter, Count, "understudy_events_applied_total", ["table", "op"];
    /// Transactions of blue with changes of the migration that green has committed.
    TRANSACTIONS_APPLIED: Counter, Count, "understudy_transactions_applied_total", [];
    /// Changes that no table of the migration wants.
    EVENTS_FILTERED: Counter, Count, "understudy_events_filtered_total", [];
    /// Times that the pipeline was started again after a passing failure.
    APPLY_RETRIES: Counter, Count, "understudy_apply_retries_total", ["reason"];
    /// Rows that are set aside on green.
    DEAD_LETTERS: Gauge, Count, "understudy_dead_letters_open", [];
    /// 1 while reading waits because green is slower.
    BACKPRESSURE: Gauge, Count, "understudy_backpressure_active", [];
    /// How long one transaction on green takes, from its first statement to its commit.
    APPLY_BATCH_DURATION: Histogram, Seconds, "understudy_apply_batch_duration_seconds", [];
    /// 1 while blue's stream is connected.
    SOURCE_CONNECTED: Gauge, Count, "understudy_source_connected", [];
    /// 1 while green is connected.
    TARGET_CONNECTED: Gauge, Count, "understudy_target_connected", ["target"];

    /// Rows that the first copy has written.
    BACKFILL_ROWS: Counter, Count, "understudy_backfill_rows_total", ["table"];
    /// The planner's estimate of a table's rows.
    BACKFILL_ROWS_ESTIMATED: Gauge, Count, "understudy_backfill_rows_estimated", ["table"];
    /// 1 for the state that a table's first copy is in, 0 for the others.
    BACKFILL_STATE: Gauge, Count, "understudy_backfill_state", ["table", "state"];
    /// Chunks that were read again, because something else than their rows would have been written.
    BACKFILL_CHUNKS_DISCARDED: Counter, Count, "understudy_backfill_chunks_discarded_total", ["reason"];
    /// Rows to be read again by key.
    HEALS: Gauge, Count, "understudy_heals_open", [];

    /// Rows compared, in full passes or because they changed.
    VERIFY_ROWS_CHECKED: Counter, Count, "understudy_verify_rows_checked_total", ["table", "mode"];
    /// Rows that are known to differ, and that nobody decided to live with.
    MISMATCHES: Gauge, Count, "understudy_mismatches_open", ["table", "kind"];
    /// Rows that were found to differ.
    MISMATCHES_FOUND: Counter, Count, "understudy_mismatches_found_total", ["table", "kind"];
    /// Mismatches that came to an end.
    MISMATCHES_RESOLVED: Counter, Count, "understudy_mismatches_resolved_total", ["table", "how"];
    /// Rows of which it is not settled whether they differ.
    VERIFY_PENDING: Gauge, Count, "understudy_verify_pending_rows", ["table"];
    /// Rows that change too often to be compared. Not known to be equal.
    VERIFY_SUSPENDED: Gauge, Count, "understudy_verify_suspended_rows", ["table"];
    /// The share of a table's rows that counts as verified; 1 only when every range does.
    VERIFY_COVERAGE: Gauge, Count, "understudy_verify_coverage_ratio", ["table"];
    /// When the last full pass over a table was completed, as a Unix time; absent before the first.
    VERIFY_FULL_PASS: Gauge, Seconds, "understudy_verify_full_pass_timestamp_seconds", ["table"];

    /// 1 while a gate is open.
    GATE_READY: Gauge, Count, "understudy_gate_ready", ["gate"];
    /// 1 while a check of a gate passes.
    GATE_CHECK_OK: Gauge, Count, "understudy_gate_check_ok", ["gate", "check"];
    /// When a gate was last evaluated, as a Unix time.
    GATE_EVALUATED: Gauge, Seconds, "understudy_gate_evaluated_timestamp_seconds", ["gate"];

    /// How long a probe's query took on a side.
    PROBE_DURATION: Histogram, Seconds, "understudy_probe_seconds", ["probe", "side"];
    /// Askings of a probe, by what came of them.
    PROBE_ANSWERS: Counter, Count, "understudy_probe_answers_total", ["probe", "result"];

    /// Attempts at calls to DynamoDB that writing items takes (`part` is `apply`), with those that failed.
    DYNAMODB_CALLS: Counter, Count, "understudy_dynamodb_calls_total", ["table", "operation", "part"];
    /// Those of them that came after another attempt at the same call.
    DYNAMODB_RETRIES: Counter, Count, "understudy_dynamodb_retries_total", ["table", "operation", "part"];
    /// Those of them that DynamoDB refused for being too many, or for meeting others. `reason`: `partition` where one partition was asked
    /// for too much, so that a key is hot, else `other`.
    DYNAMODB_THROTTLED: Counter, Count, "understudy_dynamodb_throttled_total", ["table", "operation", "part", "reason"];
    /// Items of batches that DynamoDB left undone, and that were asked for again.
    DYNAMODB_UNPROCESSED: Counter, Count, "understudy_dynamodb_unprocessed_items_total", ["table", "operation", "part"];
    /// Capacity units that calls took, as DynamoDB says; it does not say what refusals took. `capacity`: `read` or `write`.
    DYNAMODB_CAPACITY: Counter, Count, "understudy_dynamodb_consumed_capacity_units_total",
        ["table", "operation", "part", "capacity"];
    /// Calls to a table that are under way.
    DYNAMODB_IN_FLIGHT: Gauge, Count, "understudy_dynamodb_calls_in_flight", ["table", "part"];
    /// How many calls to a table may be under way now: fewer after some were throttled, then more again.
    DYNAMODB_LIMIT: Gauge, Count, "understudy_dynamodb_calls_limit", ["table", "part"];
    /// Transactions of blue, where they are to become visible all at once: `whole` if they did, else `apart`.
    DYNAMODB_TRANSACTIONS: Counter, Count, "understudy_dynamodb_transactions_total", ["outcome"];

    /// 1 for the phase that the migration is in, 0 for the others.
    PHASE: Gauge, Count, "understudy_phase", ["phase"];
    /// Always 1; the labels name the build.
    BUILD_INFO: Gauge, Count, "understudy_build_info", ["version"];
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut seen = HashSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.starts_with("understudy_"), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(metric.unit == Unit::Seconds, name.ends_with("_seconds"), "{name}");
            assert_eq!(metric.unit == Unit::Bytes, name.ends_with("_bytes"), "{name}");
            assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
            assert!(!metric.labels.contains(&"pipeline"), "{name}");
        }
    }
}
