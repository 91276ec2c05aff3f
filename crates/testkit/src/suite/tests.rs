//! The in-memory green keeps every sentence.

use std::sync::{Arc, Mutex};

use understudy_model::RouteId;

use super::{SinkUnderTest, SuiteRows, run_sink_suite, suite_tables};
use crate::green::{Green, MemorySink};

struct Memory(Arc<Mutex<Green>>);

impl SinkUnderTest for Memory {
    type Sink = MemorySink;

    async fn connect(&self) -> MemorySink {
        MemorySink::new(Arc::clone(&self.0))
    }

    async fn rows(&self, route: RouteId) -> SuiteRows {
        let green = self.0.lock().unwrap();
        let bytes = |row: &crate::green::GreenRow| {
            row.iter().map(|cell| cell.as_ref().map(|text| text.to_vec())).collect()
        };
        green.rows(route).iter().map(|(key, row)| (key.clone(), bytes(row))).collect()
    }
}

#[tokio::test]
async fn the_memory_green_keeps_the_contract() {
    let make = async |_: &'static str| Memory(Arc::new(Mutex::new(Green::new(suite_tables()))));
    run_sink_suite(make).await.unwrap();
}
