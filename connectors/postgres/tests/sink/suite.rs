//! The contract's own suite, on a real server.

use understudy_model::{Key, RouteId};
use understudy_postgres::sink::{OnError, PostgresSink, SinkSettings};
use understudy_postgres::wire::Client;
use understudy_testkit::suite::{SUITE_SQL, SinkUnderTest, SuiteRows, run_sink_suite, suite_tables};

use crate::green::Green;

/// A database, and what becomes of rows that cannot be computed.
struct Real(Green, OnError);

impl SinkUnderTest for Real {
    type Sink = PostgresSink;

    async fn connect(&self) -> PostgresSink {
        let settings = SinkSettings { on_error: self.1, ..self.0.settings() };
        PostgresSink::connect(&self.0.options, settings, suite_tables()).await.unwrap()
    }

    async fn rows(&self, route: RouteId) -> SuiteRows {
        let table = suite_tables().swap_remove(route.index());
        let mut client = Client::connect(&self.0.options).await.unwrap();
        let own = table.predicate.as_deref().unwrap_or("true");
        let sql = format!("SELECT {} FROM {} WHERE {own}", table.columns.join(", "), table.name);
        let rows = client.query(&sql).await.unwrap();
        let texts =
            rows.iter().map(|row| (0..table.columns.len()).map(|at| row.text(at)).collect::<Vec<_>>());
        let keyed = texts.map(|row| {
            let key = Key::from_texts(table.key.iter().map(|at| row[*at].unwrap().as_bytes()));
            (key, row.iter().map(|text| text.map(|text| text.as_bytes().to_vec())).collect())
        });
        keyed.collect()
    }
}

async fn run(policy: OnError, prefix: &str) {
    let Some(probe) = Green::with(prefix, SUITE_SQL).await else { return };
    let _cluster = probe;
    let make = async |case: &'static str| {
        // Names of databases are cut off at 63 bytes.
        let name = format!("{prefix}_{case}").chars().take(60).collect::<String>();
        Real(Green::with(&name, SUITE_SQL).await.unwrap(), policy)
    };
    Box::pin(run_sink_suite(make)).await.unwrap();
}

/// Every sentence of the contract holds, as it does for the green of the simulator.
#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_of_the_contract_is_kept() {
    run(OnError::Stop, "suite").await;
}

/// The same where rows that cannot be computed are set aside.
#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_is_kept_where_rows_are_set_aside() {
    run(OnError::Quarantine, "aside").await;
}
