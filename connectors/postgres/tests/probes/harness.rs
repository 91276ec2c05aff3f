//! Blue and green as two databases of one server, and replication as a statement of the test.

#![allow(unreachable_pub, reason = "helpers for the tests beside it")]

use std::sync::Arc;
use std::time::Duration;

use understudy_contract::{
    BlueAnswer, BlueProbe, ChangeSink, GreenAnswer, GreenProbe, ProbeAnswer, ProbeParams, ProbeQuery, Tried,
};
use understudy_model::Lsn;
use understudy_postgres::probes::{PostgresBlueProbe, PostgresGreenProbe, ProbeLimits};
use understudy_postgres::sink::{PostgresSink, SinkSettings};
use understudy_postgres::wire::{Client, ConnectOptions};

use crate::databases::{connect, database};
use crate::support::Cluster;

pub const MIGRATION: &str = "probed";
pub const PREFIX: &str = "understudy/probed";

/// Ten orders, found by their customer.
pub const ORDERS: &str = "CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL, note text); \
     CREATE INDEX orders_customer ON orders (customer); \
     INSERT INTO orders SELECT n, n % 3, 'note ' || n FROM generate_series(1, 10) AS n";

/// Both sides, sessions on them, and what asks them.
pub struct Pair {
    pub blue: Client,
    pub green: Client,
    pub options: ConnectOptions,
    pub ask_blue: PostgresBlueProbe,
    pub ask_green: PostgresGreenProbe,
    _cluster: Arc<Cluster>,
}

pub fn limits() -> ProbeLimits {
    ProbeLimits { green_patience: Duration::from_millis(100), ..ProbeLimits::default() }
}

/// Two databases with the same schema, of which green has caught up.
pub async fn pair(cluster: Arc<Cluster>, name: &str, schema: &str) -> Pair {
    pair_within(cluster, name, schema, limits()).await
}

pub async fn pair_within(cluster: Arc<Cluster>, name: &str, schema: &str, limits: ProbeLimits) -> Pair {
    let options = database(&cluster, &format!("{name}_blue")).await;
    let on_green = database(&cluster, &format!("{name}_green")).await;
    let (mut blue, mut green) = (connect(&options).await, connect(&on_green).await);
    for side in [&mut blue, &mut green] {
        side.batch(schema).await.unwrap();
    }
    let ask_blue = PostgresBlueProbe::new(&named(&options), PREFIX, limits);
    let ask_green = PostgresGreenProbe::new(&named(&on_green), MIGRATION, limits);
    let mut sink = PostgresSink::connect(&on_green, SinkSettings::new(MIGRATION), Vec::new()).await.unwrap();
    sink.claim().await.unwrap();
    let mut pair = Pair { blue, green, options, ask_blue, ask_green, _cluster: cluster };
    pair.caught_up().await;
    pair
}

/// So that the sessions that ask are told from others.
fn named(options: &ConnectOptions) -> ConnectOptions {
    options.clone().with_application_name("probe")
}

pub fn query(sql: &str) -> ProbeQuery {
    ProbeQuery { sql: sql.to_owned(), ordered: false }
}

pub fn ordered(sql: &str) -> ProbeQuery {
    ProbeQuery { ordered: true, ..query(sql) }
}

pub fn params(texts: &[&str]) -> ProbeParams {
    ProbeParams::new(texts.iter().map(|text| Some((*text).into())))
}

impl Pair {
    /// Says that green has applied all that blue has written so far.
    pub async fn caught_up(&mut self) {
        let at = self.end_of_log().await;
        let sql = "UPDATE understudy.migration SET checkpoint = $1::pg_lsn, unseen = '' WHERE name = $2";
        let text = at.to_string();
        assert_eq!(self.green.execute_with(sql, &[Some(text.as_str()), Some(MIGRATION)]).await.unwrap(), 1);
    }

    pub async fn end_of_log(&mut self) -> Lsn {
        let rows = self.blue.query("SELECT pg_current_wal_insert_lsn()").await.unwrap();
        rows[0].parse(0).unwrap()
    }

    pub async fn on_blue(&mut self, query: &ProbeQuery, params: &ProbeParams) -> Tried<BlueAnswer> {
        self.ask_blue.ask(query, params).await.unwrap()
    }

    pub async fn on_green(&mut self, query: &ProbeQuery, params: &ProbeParams) -> Tried<GreenAnswer> {
        self.ask_green.ask(query, params, Lsn::ZERO).await.unwrap()
    }

    /// What both sides say to the same query at rest.
    pub async fn both(&mut self, query: &ProbeQuery, params: &ProbeParams) -> (ProbeAnswer, ProbeAnswer) {
        let blue = self.on_blue(query, params).await.unwrap();
        self.caught_up().await;
        let green = self.ask_green.ask(query, params, blue.moment.lsn).await.unwrap().unwrap();
        (blue.answer, green.answer)
    }
}
