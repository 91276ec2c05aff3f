//! The contract's own suite, on a real server.

use understudy_model::{Key, RouteId};
use understudy_postgres::sink::PostgresSink;
use understudy_postgres::wire::Client;
use understudy_testkit::suite::{SUITE_SQL, SinkUnderTest, SuiteRows, run_sink_suite, suite_tables};

use crate::green::Green;

struct Real(Green);

impl SinkUnderTest for Real {
    type Sink = PostgresSink;

    async fn connect(&self) -> PostgresSink {
        PostgresSink::connect(&self.0.options, self.0.settings(), suite_tables()).await.unwrap()
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

/// Every sentence of the contract holds, as it does for the green of the simulator.
#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_of_the_contract_is_kept() {
    let Some(probe) = Green::with("suite", SUITE_SQL).await else { return };
    let _cluster = probe;
    let make =
        async |case: &'static str| Real(Green::with(&format!("suite_{case}"), SUITE_SQL).await.unwrap());
    Box::pin(run_sink_suite(make)).await.unwrap();
}
