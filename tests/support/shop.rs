//! The demo's shop under load, from the first row to the proof that nothing was lost.

use understudy::demo::loadgen::{Load, LoadSettings};
use understudy::demo::shop::{self, Scale, TABLES};
use understudy_postgres::wire::Client;

use crate::compare::{Same, assert_same};
use crate::pair::{DATABASE, Pair};
use crate::sidecar::Sidecar;

/// The shop on blue, its empty new layout on green, and clients that change it.
#[derive(Debug)]
pub struct Shop {
    load: Option<Load>,
    scale: Scale,
}

impl Shop {
    /// Creates both schemas and about `rows` rows on blue.
    pub async fn open(pair: &Pair, rows: u64) -> Shop {
        let (mut blue, mut green) = clients(pair).await;
        let scale = Scale::of_rows(rows);
        shop::create_blue(&mut blue).await.expect("create the shop on blue");
        shop::create_green(&mut green).await.expect("create the shop on green");
        scale.seed(&mut blue).await.expect("fill the shop");
        Shop { load: None, scale }
    }

    /// The shop on blue alone, for tests that lay green out themselves.
    pub async fn on_blue(pair: &Pair, rows: u64) -> Shop {
        let (mut blue, _) = clients(pair).await;
        let scale = Scale::of_rows(rows);
        shop::create_blue(&mut blue).await.expect("create the shop on blue");
        scale.seed(&mut blue).await.expect("fill the shop");
        Shop { load: None, scale }
    }

    /// Starts clients that commit about `rate` operations a second.
    pub async fn start_load(&mut self, pair: &Pair, rate: f64) {
        let options = pair.blue.options(DATABASE).expect("blue's address");
        let settings = LoadSettings { clients: 4, rate, scale: self.scale, journal: None };
        self.load = Some(Load::start(&options, settings).await.expect("start the load"));
    }

    /// Operations that blue has acknowledged so far.
    pub fn committed(&self) -> u64 {
        self.load.as_ref().map_or(0, |load| load.counters().committed())
    }

    /// Ends the load. Returns how many operations blue has acknowledged.
    pub async fn end_load(&mut self) -> usize {
        let load = self.load.take().expect("a running load");
        load.stop().await.expect("the load ends in order").committed_count()
    }

    /// Ends the load, lets green catch up, and proves that green is blue: row for row, and by the clients' own records.
    pub async fn prove(mut self, pair: &Pair, sidecar: &mut Sidecar) {
        let load = self.load.take().expect("a running load");
        let record = load.stop().await.expect("the load ends in order");
        assert!(record.committed_count() > 0, "the load did nothing");
        let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
        sidecar.wait_copied().await;
        sidecar.wait_caught_up(&mut blue, &mut green).await;
        let tables: Vec<Same> =
            TABLES.iter().map(|table| Same { blue: table.blue_rows(), green: table.green_rows() }).collect();
        assert_same(&mut blue, &mut green, &tables).await;
        let (mut blue, mut green) = clients(pair).await;
        let proof = record.prove(&mut blue, &mut green).await.expect("read both ledgers");
        assert!(proof.holds(), "{proof:?}");
    }
}

async fn clients(pair: &Pair) -> (Client, Client) {
    let connect = async |options| Client::connect(&options).await.expect("connect");
    let options =
        |cluster: &understudy::demo::cluster::Cluster| cluster.options(DATABASE).expect("an address");
    (connect(options(&pair.blue)).await, connect(options(&pair.green)).await)
}
