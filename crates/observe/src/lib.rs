//! Every metric name in one place, and the typed functions that record under them.
//!
//! Knows nothing of how metrics are exported: `understudy-control` installs the recorder and serves the page.

pub mod names;

mod record;

pub use record::{LATENCY_BUCKETS, OTHER_TABLES, Op, Recorder, TABLES_MAX, describe_all};
